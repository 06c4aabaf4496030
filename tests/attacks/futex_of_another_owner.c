// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to wait for a futex with priority inheritance whose owner, by its word, is a thread of
 *   another process
 * Wins: whether a thread with that number exists; its priority, if the attacker has a higher one
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed futex
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	static uint32_t word;

	word = call->tid;
	return result(syscall(SYS_futex, &word, FUTEX_LOCK_PI, 0, 0, 0, 0));
}
