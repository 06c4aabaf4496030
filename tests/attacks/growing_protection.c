// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to change the protection of its stack down to its end (PROT_GROWSDOWN)
 * Wins: protection of memory that the call does not name
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed mprotect
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	char byte;
	uintptr_t page = (uintptr_t)&byte & ~(PAGE - 1);

	(void)call;
	return result(syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_WRITE | PROT_GROWSDOWN));
}
