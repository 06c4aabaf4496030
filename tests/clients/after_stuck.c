// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * after_stuck N - N times, a call whose memory cannot be read (handlers/syslog.c, userfaultfd), which gets EIO
 * at the deadline, and a call of another kind right behind it. Prints how many of the latter failed.
 */
#include "hostile_kit.h"
#include <linux/userfaultfd.h>

int main(int argc, char **argv)
{
	unsigned long tries = argc > 1 ? strtoul(argv[1], NULL, 0) : 300, stuck = 0, failed = 0;
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = { .range = { .start = (uintptr_t)page, .len = 4096 },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (fd < 0)
		return KIT_UNAVAILABLE;
	need(!ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &range), "userfaultfd");
	for (unsigned long i = 0; i < tries; i++) {
		stuck += syscall(SYS_syslog, 1, page, 0) < 0 && errno == EIO;
		failed += syscall(SYS_getppid) < 0;
	}
	fprintf(stderr, "%lu of %lu calls were stuck\n", stuck, tries);
	printf("failed %lu\n", failed);
	return 0;
}
