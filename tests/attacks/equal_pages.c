// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to let the kernel merge its pages with equal ones of other processes (MADV_MERGEABLE)
 * Wins: a side channel: the time of a write shows whether another process has the same page
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed madvise
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	static char page[2 * PAGE];
	char *start = (char *)(((uintptr_t)page + PAGE - 1) & ~(PAGE - 1));

	(void)call;
	return result(madvise(start, PAGE, MADV_MERGEABLE));
}
