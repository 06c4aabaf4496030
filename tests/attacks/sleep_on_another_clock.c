// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to sleep on the processor time of another process
 * Wins: an alarm at the moment when the other process has computed enough
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed clock_nanosleep
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	struct timespec time = {0, 1};
	clockid_t clock = ~(clockid_t)call->args[0] << 3 | 2;

	return result(syscall(SYS_clock_nanosleep, clock, 0, &time, 0));
}
