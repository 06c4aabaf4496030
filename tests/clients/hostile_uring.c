// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_uring - opens through io_uring, which no filter sees: the device's path leads to the
 * placeholder, and a re-open of an instance gives the same instance.
 */
#include "ring.h"

int main(void)
{
	char path[64];
	uint64_t *area;

	set_up();
	int fd = open_by_ring(KCOV_DEVICE, O_RDWR);
	if (fd < 0)
		wrong("open of the placeholder: %s", strerrorname_np(-fd));
	expect("INIT_TRACE of the placeholder", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), ENOTTY);
	expect("ENABLE of the placeholder", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), ENOTTY);
	for (int i = 0; i < 200; i++) {
		int object = kcov_ready(KIT_WORDS, &area);

		snprintf(path, sizeof(path), "/proc/self/fd/%d", object);
		int again = open_by_ring(path, O_RDWR);
		if (again < 0)
			wrong("re-open: %s", strerrorname_np(-again));
		expect("INIT_TRACE of a re-open", outcome(ioctl(again, KCOV_INIT_TRACE, KIT_WORDS)), EBUSY);
		expect("ENABLE of a re-open", outcome(ioctl(again, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		/* The two are closed in either order. */
		close(i % 2 ? object : again);
		syscall(SYS_getppid);
		if (load(&area[0]) == 0)
			wrong("no records");
		expect("DISABLE by the one that is left", outcome(ioctl(i % 2 ? again : object, KCOV_DISABLE, 0)), 0);
		munmap(area, KIT_BYTES);
		close(i % 2 ? again : object);
	}
	cycle("afterwards");
	return verdict();
}
