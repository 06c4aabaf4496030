// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to map shared anonymous memory, which RLIMIT_DATA does not count
 * Wins: memory beyond --worker-memory
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed mmap
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	(void)call;
	return mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -errno : 0;
}
