// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syz_probe - probes for RESET_TRACE as an executor does, and checks that 100 probes leave nothing behind
 * and that an instance works afterwards.
 */
#define _GNU_SOURCE
#include "syz_cover.h"

enum { PROBES = 100, CALLS = 100 };

static const char *probe(void)
{
	struct cover cover;

	cover_open(&cover, COVER_FD, COVER_WORDS);
	cover_map(&cover);
	need(!cover_enable(&cover, KCOV_TRACE_PC), "ENABLE");
	const char *answer = said(ioctl(cover.fd, KCOV_RESET_TRACE, 0));

	need(!munmap(cover.guarded, cover.words * 8 + 2 * PAGE), "munmap");
	need(!cover_disable(&cover), "DISABLE");
	need(!close(cover.fd), "close");
	return answer;
}

int main(void)
{
	struct cover cover;
	const char *answer = probe();

	for (int i = 1; i < PROBES; i++)
		need(!strcmp(probe(), answer), "the same answer each time");
	printf("reset %s\n", answer);
	cover_open(&cover, COVER_FD, COVER_WORDS);
	cover_map(&cover);
	need(!cover_enable(&cover, KCOV_TRACE_PC), "ENABLE");
	for (int i = 0; i < CALLS; i++)
		need(one_mmap(), "mmap");
	printf("recorded %s\n", cover_count(&cover) >= CALLS ? "yes" : "no");
	int reset = ioctl(cover.fd, KCOV_RESET_TRACE, 0);

	/* The request itself may leave records after its reset. */
	printf("emptied %s\n", !reset && cover_count(&cover) < CALLS ? "yes" : "no");
	need(!cover_disable(&cover), "DISABLE");
	return 0;
}
