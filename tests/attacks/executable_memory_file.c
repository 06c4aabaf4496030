// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to make a memory file that is meant to be executed (MFD_EXEC)
 * Wins: a first step to code of its own
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed memfd_create
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	(void)call;
	return result(syscall(SYS_memfd_create, "code", 0x10));
}
