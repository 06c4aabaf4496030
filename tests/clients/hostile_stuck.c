// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_stuck WHAT - calls whose structure cannot be read: on a page that userfaultfd does not resolve
 * (remote, mmap), or on a page of a file whose FUSE server never answers a read (fuse-remote, fuse-mmap).
 * With a handler that has devices also opens whose path or structure cannot be read (path, how, fuse-path,
 * fuse-how), or whose path is below a FUSE mount whose server answers nothing (fuse). REMOTE_ENABLE, which
 * the broker serves, gets EIO at the deadline. The kernel runs the others, which wait as they do without a
 * broker, until the page is resolved or the file system is aborted. Calls of other threads wait no longer
 * than a deadline, and the device works afterwards.
 */
#include "userfault.h"
#include <linux/fuse.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* Milliseconds: many deadlines, of 500 ms, of a loaded machine. */
enum { PATIENCE = 15000 };
/* Pages have addresses that an i386 call can name. */
#ifdef __x86_64__
enum { LOW = MAP_32BIT };
#else
enum { LOW = 0 };
#endif

static const char *what;
static void *page;
static volatile int done, result;
static int device_fd, fuse_fd;

/* The node of the only file in this file system. */
enum { FILE_NODE = 2 };

static void answer_fuse(uint64_t unique, const void *body, size_t length)
{
	char out[512];
	struct fuse_out_header header = { .len = sizeof(header) + length, .unique = unique };

	memcpy(out, &header, sizeof(header));
	if (length)
		memcpy(out + sizeof(header), body, length);
	need(write(fuse_fd, out, header.len) == (ssize_t)header.len, "answer to FUSE");
}

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){ .ino = node,
				   .size = node == FILE_NODE ? 4096 : 0,
				   .mode = node == FILE_NODE ? S_IFREG | 0644 : S_IFDIR | 0755,
				   .nlink = 1,
				   .blksize = 4096 };
}

/* Answers what is needed to map a file, but never a read. */
static void serve_file(const struct fuse_in_header *in)
{
	if (in->opcode == FUSE_LOOKUP) {
		struct fuse_entry_out entry = { .nodeid = FILE_NODE, .attr = attributes(FILE_NODE) };

		answer_fuse(in->unique, &entry, sizeof(entry));
	} else if (in->opcode == FUSE_GETATTR) {
		struct fuse_attr_out out = { .attr = attributes(in->nodeid) };

		answer_fuse(in->unique, &out, sizeof(out));
	} else if (in->opcode == FUSE_OPEN) {
		struct fuse_open_out out = { .fh = 1 };

		answer_fuse(in->unique, &out, sizeof(out));
	} else if (in->opcode == FUSE_FLUSH) {
		answer_fuse(in->unique, NULL, 0);
	}
}

/* Answers INIT and the requests for the file, and nothing else. */
static void *serve_fuse(void *unused)
{
	static char request[1 << 17];

	for (;;) {
		struct fuse_in_header *in = (void *)request;
		ssize_t length = read(fuse_fd, request, sizeof(request));

		if (length < (ssize_t)sizeof(*in))
			return unused;
		if (in->opcode != FUSE_INIT) {
			if (strcmp(what, "fuse"))
				serve_file(in);
			continue;
		}
		struct fuse_init_out body = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096 };

		answer_fuse(in->unique, &body, sizeof(body));
	}
}

static void mount_fuse(void)
{
	char options[128];
	pthread_t server;

	fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse_fd < 0)
		exit(KIT_UNAVAILABLE);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse_fd);
	if (mount("stuck", "/mnt", "fuse", 0, options))
		exit(KIT_UNAVAILABLE);
	need(!pthread_create(&server, NULL, serve_fuse, NULL), "pthread_create");
	usleep(50000);
}

static void *unanswered_page(void)
{
	int fd;
	void *mapped;

	mount_fuse();
	fd = open("/mnt/file", O_RDONLY);
	need(fd >= 0, "open of a file of the own file system");
	mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | LOW, fd, 0);
	need(mapped != MAP_FAILED, "mmap of it");
	/* Now and not at exit, when its server would be gone. */
	need(!close(fd), "close of it");
	return mapped;
}

/* i386's mmap, whose arguments are in memory. */
static long old_mmap(void)
{
#ifdef __x86_64__
	long result = 90;

	__asm__ volatile("int $0x80" : "+a"(result) : "b"(page) : "memory", "r8", "r9", "r10", "r11");
	errno = -(int)result;
	return (int)result < 0 && (int)result > -4096 ? -1 : 0;
#else
	exit(KIT_UNAVAILABLE);
#endif
}

static long stuck_call(void)
{
	const char *part = !strncmp(what, "fuse-", 5) ? what + 5 : what;

	if (!strcmp(part, "path"))
		return syscall(SYS_openat, AT_FDCWD, page, O_RDWR);
	if (!strcmp(part, "remote"))
		return syscall(SYS_ioctl, device_fd, KCOV_REMOTE_ENABLE, page);
	if (!strcmp(part, "mmap"))
		return old_mmap();
	if (!strcmp(part, "how"))
		return syscall(SYS_openat2, AT_FDCWD, KCOV_DEVICE, page, sizeof(struct open_how));
	return syscall(SYS_openat, AT_FDCWD, "/mnt/x/kcov", O_RDWR);
}

static void *make_stuck_call(void *unused)
{
	result = outcome(stuck_call());
	done = 1;
	return unused;
}

static void others_go_on(void)
{
	uint64_t start = milliseconds();

	if (syscall(SYS_getppid) < 0)
		wrong("getppid of another thread: %m");
	cycle("while a call is stuck");
	if (milliseconds() - start > PATIENCE)
		wrong("calls of another thread took %lu ms", milliseconds() - start);
}

static int served(void)
{
	return !strcmp(what, "remote") || !strcmp(what, "fuse-remote");
}

static void release(void)
{
	struct uffdio_zeropage zero = { .range = { .start = (uintptr_t)page, .len = 4096 } };

	if (!strncmp(what, "fuse", 4))
		umount2("/mnt", MNT_FORCE);
	else
		need(!ioctl(fault_fd, UFFDIO_ZEROPAGE, &zero), "UFFDIO_ZEROPAGE");
}

/* The errno of a call that waited for its memory: an empty path, no flags, a length of 0. */
static void expect_result(void)
{
	if (served())
		expect(what, result, EIO);
	else if (!strcmp(what, "fuse"))
		expect_one_of(what, result, ECONNABORTED, ENOTCONN);
	else if (!strncmp(what, "fuse-", 5))
		expect(what, result, EFAULT);
	else
		expect(what, result, !strcmp(what, "path") ? ENOENT : !strcmp(what, "how") ? 0 : EINVAL);
}

static void get_stuck(int times)
{
	for (int i = 0; i < times; i++) {
		uint64_t start = milliseconds();
		pthread_t thread;

		done = 0;
		need(!pthread_create(&thread, NULL, make_stuck_call, NULL), "pthread_create");
		usleep(20000);
		others_go_on();
		if (!served()) {
			/* Several deadlines. */
			usleep(2000000);
			if (done)
				wrong("%s: %s before its memory could be read", what, strerrorname_np(result));
			others_go_on();
			release();
			start = milliseconds();
		}
		while (!done && milliseconds() - start < PATIENCE)
			usleep(1000);
		if (!done) {
			wrong("the call never returned");
			return;
		}
		pthread_join(thread, NULL);
		expect_result();
		printf("%s: %s after %lu ms\n", what, strerrorname_np(result), milliseconds() - start);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	uint64_t *area;

	what = argc > 1 ? argv[1] : "remote";
	device_fd = kcov_ready(KIT_WORDS, &area);
	if (!strcmp(what, "fuse"))
		mount_fuse();
	else if (!strncmp(what, "fuse-", 5))
		page = unanswered_page();
	else
		page = unresolved_page(LOW);
	get_stuck(served() ? 2 : 1);
	if (!verdict())
		cycle("afterwards");
	/* Stuck threads cannot be joined; the end of this process closes the descriptors that hold them. */
	_exit(verdict());
}
