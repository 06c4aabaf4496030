// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to raise its priority for input and output (ioprio_set)
 * Wins: delays for others that use the same disk
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed ioprio_set
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	(void)call;
	return result(syscall(SYS_ioprio_set, 1, 0, 1 << 13));
}
