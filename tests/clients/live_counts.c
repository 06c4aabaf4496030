// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * live_counts CONTROL CALLS - collects over CALLS calls of getppid in an area
 * of 512 words, says that it has, and goes on when it is told to.
 *
 * Without a libc's start-up but that of a static program: traced as
 * "kcov,getppid" it makes 2 opens, 3 requests and 2 mappings of files.
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
