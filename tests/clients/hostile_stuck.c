// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_stuck WHAT - calls of the device whose path or structure cannot be
 * read: on a page that userfaultfd never resolves (path, remote, how), or below
 * a FUSE mount whose server takes requests and never answers (fuse, below).
 * Such a call gets EIO at the deadline; calls of others wait no longer than
 * that, and the device works afterwards.
 */
#include "hostile_kit.h"
#include <linux/fuse.h>
#include <linux/openat2.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* Milliseconds: many deadlines, of 500 ms, of a loaded machine. */
enum { PATIENCE = 15000 };

static const char *what;
static void *page;
static volatile int done, result;
static int device_fd, fuse_fd;

static void *unresolved_page(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = { .range = { .start = (uintptr_t)mapped, .len = 4096 },
					 .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (fd < 0)
		exit(KIT_UNAVAILABLE);
	need(!ioctl(fd, UFFDIO_API, &api), "UFFDIO_API");
	need(!ioctl(fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
	return mapped;
}

/* Says INIT's answer, and nothing to anything else. */
static void *serve_fuse(void *unused)
{
	static char request[1 << 17];

	for (;;) {
		struct fuse_in_header *in = (void *)request;
		ssize_t length = read(fuse_fd, request, sizeof(request));

		if (length < (ssize_t)sizeof(*in))
			return unused;
		if (in->opcode != FUSE_INIT)
			continue;
		struct {
			struct fuse_out_header header;
			struct fuse_init_out body;
		} out = { .header = { .len = sizeof(out), .unique = in->unique },
			  .body = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096 } };
		need(write(fuse_fd, &out, sizeof(out)) == sizeof(out), "answer to FUSE_INIT");
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

static long stuck_call(void)
{
	if (!strcmp(what, "path"))
		return syscall(SYS_openat, AT_FDCWD, page, O_RDWR);
	if (!strcmp(what, "remote"))
		return syscall(SYS_ioctl, device_fd, KCOV_REMOTE_ENABLE, page);
	if (!strcmp(what, "how"))
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

static void get_stuck(int times)
{
	for (int i = 0; i < times; i++) {
		uint64_t start = milliseconds();
		pthread_t thread;

		done = 0;
		need(!pthread_create(&thread, NULL, make_stuck_call, NULL), "pthread_create");
		usleep(20000);
		others_go_on();
		while (!done && milliseconds() - start < PATIENCE)
			usleep(1000);
		if (!done) {
			wrong("the call waits for ever");
			return;
		}
		pthread_join(thread, NULL);
		expect(what, result, EIO);
		printf("%s: %s after %lu ms\n", what, strerrorname_np(result), milliseconds() - start);
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	uint64_t *area;

	what = argc > 1 ? argv[1] : "path";
	device_fd = kcov_ready(KIT_WORDS, &area);
	if (!strcmp(what, "fuse"))
		mount_fuse();
	else
		page = unresolved_page();
	get_stuck(2);
	if (!verdict())
		cycle("afterwards");
	/* Threads that are stuck cannot be joined; the end of this process closes what holds them. */
	_exit(verdict());
}
