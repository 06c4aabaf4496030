// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to send SIGABRT, the one signal that it may send, to its caller
 * Wins: the end of a process of its tenant, or of another one by its number
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed tgkill
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	return result(syscall(SYS_tgkill, (pid_t)call->tid, (pid_t)call->tid, SIGABRT));
}
