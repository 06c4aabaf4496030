// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * life_cycle N - goes N times through the whole life of a KCOV instance. Each time the area is fresh and
 * one call is recorded.
 */
#include "kcov_client.h"

enum { WORDS = 512 };

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;

	for (unsigned long round = 0; round < rounds; round++) {
		uint64_t *area;
		int fd = kcov_ready(WORDS, &area);

		for (int i = 0; i < WORDS; i++)
			need(area[i] == 0, "fresh area");
		need(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
		__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
		getppid();
		need(__atomic_load_n(&area[0], __ATOMIC_RELAXED) > 0, "record of a traced call");
		need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");
		need(!munmap(area, WORDS * 8), "munmap");
		need(!close(fd), "close");
	}
	printf("%lu\n", rounds);
	return 0;
}
