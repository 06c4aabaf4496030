// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to seal memory (mseal), so that its own process cannot unmap an area any more
 * Wins: areas that stay mapped after their end
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed 462
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	static char page[2 * PAGE];
	char *start = (char *)(((uintptr_t)page + PAGE - 1) & ~(PAGE - 1));

	(void)call;
	return result(syscall(462, start, PAGE, 0));
}
