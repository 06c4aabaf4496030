// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to ask which pages of a file are in memory (mincore)
 * Wins: a side channel: which files others use
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed mincore
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	static char page[2 * PAGE];
	unsigned char there;
	char *start = (char *)(((uintptr_t)page + PAGE - 1) & ~(PAGE - 1));

	(void)call;
	return result(syscall(SYS_mincore, start, PAGE, &there));
}
