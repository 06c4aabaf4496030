// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to make a pipe for notifications of the kernel (O_NOTIFICATION_PIPE)
 * Wins: events of keyrings, and code of the kernel that handlers do not need
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed pipe2
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	int ends[2];

	(void)call;
	return result(syscall(SYS_pipe2, ends, O_EXCL));
}
