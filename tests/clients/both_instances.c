// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * both_instances - one thread, one instance for its own calls and another one for remote collection. Prints the
 * result of each request.
 */
#define _GNU_SOURCE
#include "kcov_client.h"

static void show(const char *what, int result)
{
	printf("%s %s\n", what, result ? strerrorname_np(errno) : "ok");
}

int main(void)
{
	struct kcov_remote_arg arg = { .area_size = 64, .common_handle = 7 };
	uint64_t *own_area, *remote_area, *third_area;
	int own = kcov_ready(512, &own_area), remote = kcov_ready(512, &remote_area);
	int third = kcov_ready(512, &third_area);

	show("own", ioctl(own, KCOV_ENABLE, KCOV_TRACE_PC));
	show("remote-of-same", ioctl(own, KCOV_REMOTE_ENABLE, &arg));
	show("remote", ioctl(remote, KCOV_REMOTE_ENABLE, &arg));
	show("second-own", ioctl(third, KCOV_ENABLE, KCOV_TRACE_PC));
	arg.common_handle = 0;
	show("second-remote", ioctl(third, KCOV_REMOTE_ENABLE, &arg));
	show("disable-own", ioctl(own, KCOV_DISABLE, 0));
	show("own-again", ioctl(third, KCOV_ENABLE, KCOV_TRACE_PC));
	show("disable-remote", ioctl(remote, KCOV_DISABLE, 0));
	arg.common_handle = 7;
	show("handle-is-free", ioctl(remote, KCOV_REMOTE_ENABLE, &arg));
	show("disable-third", ioctl(third, KCOV_DISABLE, 0));
	show("disable-again", ioctl(third, KCOV_DISABLE, 0));
	return 0;
}
