// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * remote_only - after REMOTE_ENABLE neither the thread's own calls nor those of a child, which has the same
 * common handle, leave records. Prints their numbers.
 */
#include "hostile_kit.h"

static void calls(void)
{
	for (int i = 0; i < 8; i++) {
		close(open("/dev/null", O_RDONLY));
		syscall(SYS_getppid);
	}
	unlink("/nonexistent");
}

int main(void)
{
	struct kcov_remote_arg remote = {
		.area_size = 65536, .num_handles = 1, .common_handle = 0x42, .handles = { 1ull << 56 | 1 }
	};
	uint64_t *area;
	int fd = kcov_ready(65536, &area);

	expect("REMOTE_ENABLE", outcome(ioctl(fd, KCOV_REMOTE_ENABLE, &remote)), 0);
	calls();
	printf("own %lu\n", load(&area[0]));
	pid_t child = fork();
	need(child >= 0, "fork");
	if (child == 0) {
		calls();
		_exit(0);
	}
	wait_for(child);
	printf("child %lu\n", load(&area[0]));
	expect("DISABLE", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	return verdict();
}
