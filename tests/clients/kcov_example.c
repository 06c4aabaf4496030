// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * kcov_example - the smallest use of a KCOV device: which code does one system call reach? Prints the
 * number of covered points, then one PC a line.
 *
 *   kcov_example [DEVICE]        (default /sys/kernel/debug/kcov)
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KCOV_INIT_TRACE _IOR('c', 1, unsigned long)
#define KCOV_ENABLE     _IO('c', 100)
#define KCOV_DISABLE    _IO('c', 101)
#define KCOV_TRACE_PC   0

enum { WORDS = 64 << 10 };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	const char *device = argc > 1 ? argv[1] : "/sys/kernel/debug/kcov";
	int fd = open(device, O_RDWR);

	if (fd < 0)
		fail(device);
	if (ioctl(fd, KCOV_INIT_TRACE, WORDS))
		fail("KCOV_INIT_TRACE");
	uint64_t *area = mmap(NULL, WORDS * sizeof(*area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED)
		fail("mmap");

	/* From here on the calls of this thread are covered. */
	if (ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
		fail("KCOV_ENABLE");
	/* Word 0 counts the records. The reset drops what ENABLE itself reached. */
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);

	ssize_t got = read(-1, NULL, 0);

	/* Read before another call adds to it. */
	uint64_t count = __atomic_load_n(&area[0], __ATOMIC_RELAXED);
	if (ioctl(fd, KCOV_DISABLE, 0))
		fail("KCOV_DISABLE");
	if (got != -1) {
		fprintf(stderr, "read of descriptor -1 succeeded\n");
		return 1;
	}

	fprintf(stderr, "%llu points covered by read(-1, NULL, 0)\n", (unsigned long long)count);
	for (uint64_t i = 1; i <= count; i++)
		printf("0x%llx\n", (unsigned long long)area[i]);
	munmap(area, WORDS * sizeof(*area));
	close(fd);
	return 0;
}
