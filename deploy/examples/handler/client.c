// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * client NUMBER... - adds up numbers with /dev/adder and collects coverage.
 *
 * Prints the sum to standard error, and to standard output one line for each
 * PC that the calls reached in the handler, as kcov-broker symbolize reads it.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define KCOV_INIT_TRACE _IOR('c', 1, unsigned long)
#define KCOV_ENABLE     _IO('c', 100)
#define KCOV_DISABLE    _IO('c', 101)
#define KCOV_TRACE_PC   0

#define ADDER_ADD 0x7001
#define ADDER_SUM 0x7002

enum { WORDS = 64 << 10 };

static void need(int holds, const char *what)
{
	if (!holds) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int kcov = open("/sys/kernel/debug/kcov", O_RDWR);
	uint64_t *area, sum, count;

	need(kcov >= 0, "/sys/kernel/debug/kcov");
	need(!ioctl(kcov, KCOV_INIT_TRACE, WORDS), "KCOV_INIT_TRACE");
	area = mmap(NULL, WORDS * sizeof(*area), PROT_READ | PROT_WRITE, MAP_SHARED, kcov, 0);
	need(area != MAP_FAILED, "mmap");

	int adder = open("/dev/adder", O_RDWR);
	need(adder >= 0, "/dev/adder");

	/* From here on, KCOV records the code that calls of this thread reach. */
	need(!ioctl(kcov, KCOV_ENABLE, KCOV_TRACE_PC), "KCOV_ENABLE");
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	for (int i = 1; i < argc; i++)
		need(!ioctl(adder, ADDER_ADD, strtoull(argv[i], NULL, 0)), argv[i]);
	need(!ioctl(adder, ADDER_SUM, &sum), "ADDER_SUM");
	count = __atomic_load_n(&area[0], __ATOMIC_RELAXED);
	need(!ioctl(kcov, KCOV_DISABLE, 0), "KCOV_DISABLE");

	fprintf(stderr, "%llu\n", (unsigned long long)sum);
	for (uint64_t i = 1; i <= count; i++)
		printf("0x%llx\n", (unsigned long long)area[i]);
	return 0;
}
