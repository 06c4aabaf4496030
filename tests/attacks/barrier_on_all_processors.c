// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to interrupt all processors of the machine (membarrier)
 * Wins: delays for all tenants
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed membarrier
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	(void)call;
	return result(syscall(SYS_membarrier, 1, 0, 0));
}
