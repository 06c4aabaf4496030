// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_uring - opens through io_uring, which no filter sees, are opens of the device: of its path, and of
 * an instance's link in procfs, which is a fresh open.
 */
#include "ring.h"

int main(void)
{
	char path[64];
	uint64_t *area, *other;

	set_up();
	for (int i = 0; i < 200; i++) {
		int fd = open_by_ring(KCOV_DEVICE, O_RDWR);

		if (fd < 0)
			wrong("open: %s", strerrorname_np(-fd));
		expect("ENABLE before INIT_TRACE", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), EINVAL);
		expect("INIT_TRACE", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
		area = mmap(NULL, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		need(area != MAP_FAILED, "mmap");
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		int again = open_by_ring(path, O_RDWR);
		if (again < 0)
			wrong("re-open: %s", strerrorname_np(-again));
		expect("ENABLE of a re-open", outcome(ioctl(again, KCOV_ENABLE, KCOV_TRACE_PC)), EINVAL);
		expect("INIT_TRACE of a re-open", outcome(ioctl(again, KCOV_INIT_TRACE, 2 * KIT_WORDS)), 0);
		other = mmap(NULL, 2 * KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
		need(other != MAP_FAILED, "mmap of a re-open");
		expect("ENABLE", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		/* The two are closed in either order. */
		if (i % 2)
			close(again);
		syscall(SYS_getppid);
		if (load(&area[0]) == 0 || load(&other[0]) != 0)
			wrong("records: %lu and %lu", load(&area[0]), load(&other[0]));
		expect("DISABLE", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
		munmap(area, KIT_BYTES);
		munmap(other, 2 * KIT_BYTES);
		close(fd);
		if (i % 2 == 0)
			close(again);
	}
	cycle("afterwards");
	return verdict();
}
