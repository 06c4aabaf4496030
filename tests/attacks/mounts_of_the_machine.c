// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to list mounts (listmount)
 * Wins: the names of file systems outside of its root
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed 458
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	static uint64_t request[4], mounts[16];

	(void)call;
	request[0] = 24;
	request[1] = ~0UL;
	return result(syscall(458, request, mounts, 16, 0));
}
