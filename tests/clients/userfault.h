// SPDX-License-Identifier: MIT OR Apache-2.0
/* A page that nobody resolves: who touches it waits. */
#ifndef USERFAULT_H
#define USERFAULT_H
#include "hostile_kit.h"
#include <linux/userfaultfd.h>

/* Resolves the page, or lets go of it when closed. */
static int fault_fd = -1;

/* Maps the page with these flags besides MAP_PRIVATE and MAP_ANONYMOUS. */
static inline void *unresolved_page(int flags)
{
	struct uffdio_api api = { .api = UFFD_API };
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	struct uffdio_register range = { .range = { .start = (uintptr_t)page, .len = 4096 },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };

	fault_fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fault_fd < 0)
		exit(KIT_UNAVAILABLE);
	need(!ioctl(fault_fd, UFFDIO_API, &api), "UFFDIO_API");
	need(!ioctl(fault_fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
	return page;
}
#endif
