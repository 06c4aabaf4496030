// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Attacker: a handler in its worker
 * Tries: to double its memory by mremap of a map of a file with length 0
 * Wins: a second map that is not counted
 * Must: the maps fail with ENOMEM at the limit of the address space
 * Outcome: -ENOMEM
 * Options: --worker-memory 64M --max-total 64M
 */
#include "attack.h"

static long attack(const struct kcov_call *call)
{
	int file = memfd_create("map", MFD_CLOEXEC);
	char *map;

	(void)call;
	if (file < 0 || ftruncate(file, 64 << 20) < 0)
		return -errno;
	map = mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (map == MAP_FAILED)
		return -errno;
	while (mremap(map, 0, 64 << 20, MREMAP_MAYMOVE) != MAP_FAILED)
		;
	return -errno;
}
