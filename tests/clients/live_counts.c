// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * live_counts CONTROL CALLS - collects CALLS calls of getppid in an area of 512 words, sets ready, and
 * goes on when the test sets go.
 *
 * It is a static program, so that nothing is added by a dynamic loader: traced as "kcov,getppid" it makes
 * 3 requests and 2 mappings of files.
 */
#include "control.h"
#include "kcov_client.h"

int main(int argc, char **argv)
{
	volatile uint64_t *page = control_map(argc > 1 ? argv[1] : "");
	unsigned long calls = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	uint64_t *area;
	int fd = kcov_ready(512, &area);

	need(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	while (calls--)
		getppid();
	need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");
	control_set(page, CONTROL_READY, 1);
	control_wait(page, 1);
	return 0;
}
