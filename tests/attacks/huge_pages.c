// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to map huge pages
 * Wins: the pool of huge pages of the machine, which no limit of the worker counts
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed mmap
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	(void)call;
	return mmap(0, 1 << 21, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0) == MAP_FAILED
			   ? -errno
			   : 0;
}
