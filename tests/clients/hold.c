// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hold CONTROL [COMMON_HANDLE] - enables an instance (remotely, with a common handle) and holds it until
 * the test sets go. Fact 0 is the errno of the request.
 */
#include "control.h"
#include "kcov_client.h"

int main(int argc, char **argv)
{
	volatile uint64_t *page = control_map(argc > 1 ? argv[1] : "");
	uint64_t *area;
	int fd = kcov_ready(512, &area), result;

	if (argc > 2) {
		struct kcov_remote_arg remote = { .area_size = 512, .common_handle = strtoull(argv[2], NULL, 0) };
		result = ioctl(fd, KCOV_REMOTE_ENABLE, &remote);
	} else {
		result = ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC);
	}
	control_set(page, CONTROL_FACTS, result ? errno : 0);
	control_set(page, CONTROL_READY, 1);
	control_wait(page, 1);
	return 0;
}
