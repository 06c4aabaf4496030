// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to move waiters to a futex with priority inheritance
 * Wins: the same as by FUTEX_LOCK_PI, by a way that checks of that call may forget
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed futex
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	static uint32_t words[2];

	(void)call;
	return result(syscall(SYS_futex, &words[0], FUTEX_CMP_REQUEUE_PI, 1, 1, &words[1], 0));
}
