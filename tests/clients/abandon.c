// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * abandon N - N children, each of which enables an instance and a remote handle and dies by SIGKILL
 * without any clean-up.
 */
#include "kcov_client.h"
#include <signal.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	unsigned long children = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	/* Handles belong to the tenant, in which several of these clients may run. */
	uint64_t handle = getpid();

	for (unsigned long i = 0; i < children; i++) {
		pid_t child = fork();

		need(child >= 0, "fork");
		if (!child) {
			struct kcov_remote_arg remote = { .area_size = 512, .num_handles = 1, .common_handle = handle,
							  .handles = { 1ull << 56 | handle } };
			uint64_t *area;
			int fd = kcov_ready(512, &area);

			/* The handles of the last child are free as soon as it was waited for. */
			need(!ioctl(fd, KCOV_REMOTE_ENABLE, &remote), "REMOTE_ENABLE");
			kill(getpid(), SIGKILL);
		}
		int status;
		need(waitpid(child, &status, 0) == child, "waitpid");
		need(WIFSIGNALED(status), "death of the child by its own SIGKILL");
	}
	printf("%lu\n", children);
	return 0;
}
