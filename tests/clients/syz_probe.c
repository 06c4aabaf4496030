// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syz_probe - whether RESET_TRACE is there, as an executor asks, and that the
 * probe leaves nothing: 100 times, then an instance is used.
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

	/* What the request itself reached after it had reset may stand there. */
	printf("emptied %s\n", !reset && cover_count(&cover) < CALLS ? "yes" : "no");
	need(!cover_disable(&cover), "DISABLE");
	return 0;
}
