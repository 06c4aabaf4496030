// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to get a deadline of the scheduler (sched_setattr)
 * Wins: processor time before all others
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed sched_setattr
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	struct timespec zeroes[8];

	(void)call;
	memset(zeroes, 0, sizeof(zeroes));
	return result(syscall(SYS_sched_setattr, 0, zeroes, 0));
}
