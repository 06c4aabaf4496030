// SPDX-License-Identifier: MIT OR Apache-2.0
/* Collects coverage of one read(2), as Documentation/dev-tools/kcov.rst shows it. Prints the number of records. */
#include "kcov_client.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	int fd = open("/sys/kernel/debug/kcov", O_RDWR);
	if (fd < 0 || ioctl(fd, KCOV_INIT_TRACE, 512))
		return 1;
	unsigned long *area = mmap(NULL, 512 * sizeof *area, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED || ioctl(fd, KCOV_ENABLE, 0))
		return 1;
	__atomic_store_n(area, 0, __ATOMIC_RELAXED);
	if (read(-1, NULL, 0) != -1)
		return 1;
	unsigned long count = __atomic_load_n(area, __ATOMIC_RELAXED);
	if (ioctl(fd, KCOV_DISABLE, 0))
		return 1;
	printf("%s\n", count ? "records" : "none");
	return 0;
}
