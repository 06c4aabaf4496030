// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to make a memory file of huge pages
 * Wins: the pool of huge pages of the machine, which no limit of the worker counts
 * Must: the jail kills the worker, and nobody but the caller notices
 * Outcome: killed memfd_create
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	(void)call;
	return result(memfd_create("huge", MFD_HUGETLB));
}
