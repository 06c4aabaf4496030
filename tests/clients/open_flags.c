// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * open_flags [undumpable] - access mode, status flags and close-on-exec are the same before and after INIT_TRACE, of the
 * descriptor itself and of copies, whether they are set by open(2) or fcntl(2). An O_PATH descriptor is not
 * an instance. With `undumpable` only root may trace this process.
 */
#include "hostile_kit.h"
#include <sys/prctl.h>

static void compare(const char *what, int flags, int status, int close_on_exec, int fd)
{
	if (fcntl(fd, F_GETFL) != status || fcntl(fd, F_GETFD) != close_on_exec)
		wrong("%s, flags %#o: status %#o and %d, were %#o and %d", what, flags, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD),
		      status, close_on_exec);
}

/* `set` and `cloexec`: what fcntl(2) changes before INIT_TRACE, or -1. */
static void keeps(int flags, int set, int cloexec)
{
	int fd = open(KCOV_DEVICE, flags), copy;

	if (fd < 0) {
		wrong("open with %#o: %m", flags);
		return;
	}
	copy = fcntl(fd, flags & O_CLOEXEC ? F_DUPFD : F_DUPFD_CLOEXEC, 0);
	need(copy >= 0, "dup");
	if (set >= 0)
		need(!fcntl(fd, F_SETFL, set), "F_SETFL");
	if (cloexec >= 0)
		need(!fcntl(fd, F_SETFD, cloexec), "F_SETFD");
	int status = fcntl(fd, F_GETFL), close_on_exec = fcntl(fd, F_GETFD), of_copy = fcntl(copy, F_GETFD);
	expect("INIT_TRACE", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	compare("after INIT_TRACE", flags, status, close_on_exec, fd);
	compare("a copy", flags, status, of_copy, copy);
	/* The kernel has no mark for access mode 3: copies of such an open are not known to be of the same. */
	if ((flags & O_ACCMODE) != O_ACCMODE) {
		expect("ENABLE of a copy", outcome(ioctl(copy, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		compare("a copy after its request", flags, status, of_copy, copy);
		expect("DISABLE", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	}
	int writable = (flags & O_ACCMODE) == O_RDWR, readable = writable || (flags & O_ACCMODE) == O_RDONLY;
	void *area = mmap(NULL, KIT_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	expect("mmap for reading", area == MAP_FAILED ? errno : 0, readable ? 0 : EACCES);
	area = mmap(NULL, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect("mmap for writing", area == MAP_FAILED ? errno : 0, writable ? 0 : EACCES);
	compare("at the end", flags, status, close_on_exec, fd);
	close(fd);
	close(copy);
}

static void is_not_an_instance(int fd)
{
	struct kcov_remote_arg remote = { .area_size = KIT_WORDS };

	need(fd >= 0, "open with O_PATH");
	expect("INIT_TRACE of O_PATH", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), EBADF);
	expect("ENABLE of O_PATH", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), EBADF);
	expect("DISABLE of O_PATH", outcome(ioctl(fd, KCOV_DISABLE, 0)), EBADF);
	expect("REMOTE_ENABLE of O_PATH", outcome(ioctl(fd, KCOV_REMOTE_ENABLE, &remote)), EBADF);
	expect("mmap of O_PATH", mmap(NULL, KIT_BYTES, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0, EBADF);
	close(fd);
}

int main(int argc, char **argv)
{
	static const int modes[] = { O_RDWR, O_RDONLY, O_WRONLY, O_ACCMODE };
	static const int status[] = { 0,
				      O_APPEND,
				      O_NONBLOCK,
				      O_SYNC,
				      O_DSYNC,
				      O_NOATIME,
				      O_CLOEXEC,
				      O_APPEND | O_NONBLOCK | O_CLOEXEC,
				      O_SYNC | O_APPEND | O_CLOEXEC,
				      O_SYNC | O_NONBLOCK | O_APPEND };

	if (argc > 1 && !strcmp(argv[1], "undumpable"))
		need(!prctl(PR_SET_DUMPABLE, 0), "PR_SET_DUMPABLE");
	for (size_t i = 0; i < NUMBER_OF(modes); i++)
		for (size_t j = 0; j < NUMBER_OF(status); j++) {
			int flags = modes[i] | status[j];

			keeps(flags, -1, -1);
			keeps(flags, O_APPEND, -1);
			keeps(flags, O_NONBLOCK, FD_CLOEXEC);
			keeps(flags, 0, 0);
		}
	is_not_an_instance(open(KCOV_DEVICE, O_PATH));
	is_not_an_instance(open(KCOV_DEVICE, O_PATH | O_CLOEXEC | O_NOFOLLOW));
	is_not_an_instance(dup(open(KCOV_DEVICE, O_PATH)));
	cycle("afterwards");
	return verdict();
}
