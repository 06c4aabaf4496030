// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to make a timer on the processor time of its caller
 * Wins: signals of its choice, and the time of another process
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed timer_create
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	int timer;
	clockid_t clock = ~(clockid_t)call->tid << 3 | 2;

	return result(syscall(SYS_timer_create, clock, 0, &timer));
}
