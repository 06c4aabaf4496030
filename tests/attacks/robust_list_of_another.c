// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to read the list of robust futexes of its caller
 * Wins: an address in the memory of another process
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed get_robust_list
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	void *head;
	size_t length;

	return result(syscall(SYS_get_robust_list, call->tid, &head, &length));
}
