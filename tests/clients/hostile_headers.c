// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_headers MILLISECONDS - four threads store garbage into the count of an area during recording, at
 * full speed: in PC mode, then in CMP mode. No record lands outside the area, and no other client is
 * affected.
 */
#include "hostile_kit.h"
#include <pthread.h>

static uint64_t *area;
static volatile int over;

static void *scribble(void *seed)
{
	static const uint64_t edges[] = { 0, 1, 126, 127, 128, 510, 511, 512, 513, 1ull << 32, 1ull << 59,
					  1ull << 61, 1ull << 62, (1ull << 61) - 1, 1ull << 63, ~0ull, ~0ull - 1 };
	uint64_t random = (uintptr_t)seed;

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		uint64_t next = next_random(&random);

		__atomic_store_n(&area[0], next % 3 ? edges[next % NUMBER_OF(edges)] : next, __ATOMIC_RELAXED);
		/* Into the records too: only clients read them. */
		__atomic_store_n(&area[next % KIT_WORDS], next, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void traced_for(int fd, unsigned long mode, uint64_t duration)
{
	uint64_t end = milliseconds() + duration;

	expect("ENABLE", outcome(ioctl(fd, KCOV_ENABLE, mode)), 0);
	while (milliseconds() < end)
		for (int i = 0; i < 100; i++)
			if (syscall(SYS_getppid) < 0)
				wrong("getppid: %m");
	expect("DISABLE", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
}

int main(int argc, char **argv)
{
	uint64_t duration = argc > 1 ? strtoull(argv[1], NULL, 0) : 500, *neighbour;
	pthread_t threads[4];
	int fd = kcov_ready(KIT_WORDS, &area), other = kcov_ready(KIT_WORDS, &neighbour);

	for (uintptr_t i = 0; i < 4; i++)
		need(!pthread_create(&threads[i], NULL, scribble, (void *)(i * 977 + 1)), "pthread_create");
	traced_for(fd, KCOV_TRACE_PC, duration);
	traced_for(fd, KCOV_TRACE_CMP, duration);
	over = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < KIT_WORDS; i++)
		if (neighbour[i])
			wrong("word %d of another area: %#lx", i, neighbour[i]);
	close(other);
	/* Afterwards the same instance counts correctly. */
	expect("ENABLE", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	__atomic_store_n(&area[0], 0, __ATOMIC_RELEASE);
	syscall(SYS_getppid);
	if (load(&area[0]) == 0 || load(&area[0]) >= KIT_WORDS)
		wrong("records afterwards: %lu", load(&area[0]));
	return verdict();
}
