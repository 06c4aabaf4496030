// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * quiet CONTROL - makes a traced call every millisecond while go is odd. A round ends when go becomes
 * even. Go with all bits set ends the client.
 *   ready: 1 + rounds
 *   facts of the last round: 0 calls, 1 their median, 2 their 99th percentile, in microseconds
 */
#include "control.h"
#include "kcov_client.h"
#include <sys/syscall.h>
#include <time.h>

enum { MOST = 1 << 17 };

static uint32_t took[MOST];

static uint64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static size_t round_of_calls(volatile uint64_t *page, uint64_t go)
{
	size_t calls = 0;

	while (control_get(page, CONTROL_GO) == go) {
		uint64_t start = nanoseconds();

		syscall(SYS_getppid);
		took[calls % MOST] = (nanoseconds() - start) / 1000;
		calls++;
		usleep(1000);
	}
	return calls < MOST ? calls : MOST;
}

int main(int argc, char **argv)
{
	volatile uint64_t *page = control_map(argc > 1 ? argv[1] : "");
	uint64_t round = 1;

	control_set(page, CONTROL_READY, 1);
	for (;;) {
		uint64_t go = control_get(page, CONTROL_GO);

		if (go == ~0ull)
			return 0;
		if (go != 2 * round - 1) {
			usleep(1000);
			continue;
		}
		size_t calls = round_of_calls(page, go);

		qsort(took, calls, sizeof(took[0]), by_size);
		control_set(page, CONTROL_FACTS, calls);
		control_set(page, CONTROL_FACTS + 1, calls ? took[calls / 2] : 0);
		control_set(page, CONTROL_FACTS + 2, calls ? took[calls * 99 / 100] : 0);
		control_set(page, CONTROL_READY, 1 + round);
		round++;
	}
}
