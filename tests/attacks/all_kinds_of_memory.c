// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to take private memory, reservations and maps of files together
 * Wins: more memory than --worker-memory and --max-total allow together
 * Must: it ends with ENOMEM before the address space has 2 GiB
 * Outcome: -ENOMEM
 * Options: --worker-memory 64M --max-total 64M
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	long bytes = 0;
	int file = memfd_create("map", MFD_CLOEXEC);

	(void)call;
	if (file < 0 || ftruncate(file, 32 << 20) < 0)
		return -errno;
	for (int turn = 0;; turn++) {
		int kind = turn % 3;
		int flags = kind == 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | (kind == 1 ? MAP_NORESERVE : 0);

		if (mmap(0, 32 << 20, kind == 1 ? PROT_NONE : PROT_READ | PROT_WRITE, flags, kind == 0 ? file : -1, 0) !=
			MAP_FAILED)
			bytes += 32 << 20;
		else if (kind == 1)
			return bytes < 2L << 30 ? -ENOMEM : -E2BIG;
	}
}
