// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * one_call CONTROL CALLS [KIND] - makes a traced call each time the test raises go (1, 2, ...): getppid,
 * and, from the second on, the call KIND of the handler `retry` if given
 *   ready: calls made
 *   facts: 0 errno of the last call, 1 its milliseconds
 */
#include "control.h"
#include "kcov_client.h"
#include <sys/syscall.h>
#include <time.h>

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	need(argc == 3 || argc == 4, "usage: one_call CONTROL CALLS [KIND]");
	volatile uint64_t *page = control_map(argv[1]);
	uint64_t calls = strtoull(argv[2], NULL, 0);

	control_set(page, CONTROL_READY, 1);
	for (uint64_t call = 1; call <= calls; call++) {
		control_wait(page, call);
		uint64_t start = milliseconds();
		int is_plain = call == 1 || argc == 3;
		long result = is_plain ? syscall(SYS_getppid) : syscall(SYS_getpriority, atoi(argv[3]), NULL);

		control_set(page, CONTROL_FACTS, result < 0 ? errno : 0);
		control_set(page, CONTROL_FACTS + 1, milliseconds() - start);
		control_set(page, CONTROL_READY, 1 + call);
	}
	return 0;
}
