// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to report a page of its own as broken hardware (MADV_HWPOISON)
 * Wins: memory of the machine that nobody can use again
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed madvise
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	static char page[2 * PAGE];
	char *start = (char *)(((uintptr_t)page + PAGE - 1) & ~(PAGE - 1));

	(void)call;
	return result(madvise(start, PAGE, MADV_HWPOISON));
}
