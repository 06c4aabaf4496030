// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to read the processor time of the process that started its tenant
 * Wins: a side channel: when and how long another process computes
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed clock_gettime
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	struct timespec time;
	clockid_t clock = ~(clockid_t)call->args[0] << 3 | 2;

	return result(syscall(SYS_clock_gettime, clock, &time));
}
