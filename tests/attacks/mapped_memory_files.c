// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to map memory files and close their descriptors, again and again
 * Wins: memory that neither the limit of descriptors nor RLIMIT_DATA counts
 * Must: the maps fail with ENOMEM at the limit of the address space
 * Outcome: -ENOMEM
 * Options: --worker-memory 64M --max-total 64M
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	(void)call;
	for (;;) {
		int file = memfd_create("map", MFD_CLOEXEC);

		if (file < 0 || ftruncate(file, 64 << 20) < 0)
			return -errno;
		if (mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED)
			return -errno;
		close(file);
	}
}
