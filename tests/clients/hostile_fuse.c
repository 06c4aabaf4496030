// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_fuse - the tenant's own file system, whose files have any inode number: that of an area, that of
 * the device's path. None of them is an instance or the device.
 */
#include "hostile_kit.h"
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { SIZE = KIT_BYTES };

static int fuse_fd;
static uint64_t inode;

static void answer(uint64_t unique, int error, const void *body, size_t length)
{
	char out[512];
	struct fuse_out_header header = { .len = sizeof(header) + length, .error = -error, .unique = unique };

	memcpy(out, &header, sizeof(header));
	if (length)
		memcpy(out + sizeof(header), body, length);
	/* An interrupted request has no caller any more. */
	if (write(fuse_fd, out, header.len) != (ssize_t)header.len && errno != ENOENT)
		wrong("answer to FUSE: %m");
}

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){ .ino = node == FUSE_ROOT_ID ? 1 : inode,
				   .size = node == FUSE_ROOT_ID ? 0 : SIZE,
				   .mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
				   .nlink = 1,
				   .blksize = 4096 };
}

/* Every name is a file, with the inode number that is wanted at the moment. */
static void *serve(void *unused)
{
	static char request[1 << 17];
	static char zeroes[64];

	for (;;) {
		struct fuse_in_header *in = (void *)request;
		ssize_t length = read(fuse_fd, request, sizeof(request));

		if (length < (ssize_t)sizeof(*in))
			return unused;
		if (in->opcode == FUSE_INIT) {
			struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096 };

			answer(in->unique, 0, &out, sizeof(out));
		} else if (in->opcode == FUSE_LOOKUP) {
			/* A separate node for each number: the kernel identifies files by their nodes. */
			struct fuse_entry_out out = { .nodeid = inode + 1000, .attr = attributes(2) };

			answer(in->unique, 0, &out, sizeof(out));
		} else if (in->opcode == FUSE_GETATTR) {
			struct fuse_attr_out out = { .attr = attributes(in->nodeid) };

			answer(in->unique, 0, &out, sizeof(out));
		} else if (in->opcode == FUSE_OPEN) {
			struct fuse_open_out out = { .fh = 1 };

			answer(in->unique, 0, &out, sizeof(out));
		} else if (in->opcode == FUSE_READ) {
			answer(in->unique, 0, zeroes, sizeof(zeroes));
		} else if (in->opcode == FUSE_FLUSH || in->opcode == FUSE_RELEASE) {
			answer(in->unique, 0, NULL, 0);
		} else if (in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET &&
			   in->opcode != FUSE_INTERRUPT) {
			answer(in->unique, ENOSYS, NULL, 0);
		}
	}
}

static void mount_own(void)
{
	char options[128];
	pthread_t server;

	need(!unshare(CLONE_NEWNS), "mounts of its own");
	fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse_fd < 0)
		exit(KIT_UNAVAILABLE);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse_fd);
	if (mount("own", "/mnt", "fuse", 0, options))
		exit(KIT_UNAVAILABLE);
	need(!pthread_create(&server, NULL, serve, NULL), "pthread_create");
	usleep(50000);
}

/* A file with this inode number is neither the device nor an instance. */
static void try(const char *as, const char *name)
{
	struct stat facts;
	int fd = open(name, O_RDONLY);
	void *view;

	need(fd >= 0, name);
	need(!fstat(fd, &facts), "fstat");
	if (facts.st_ino != inode)
		wrong("%s: inode %lu, not %lu", as, facts.st_ino, inode);
	expect("INIT_TRACE of a foreign file", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), ENOTTY);
	expect("ENABLE of a foreign file", outcome(ioctl(fd, KCOV_ENABLE, 0)), ENOTTY);
	/* A device would refuse half of its area. */
	view = mmap(NULL, SIZE / 2, PROT_READ, MAP_PRIVATE, fd, 0);
	if (view == MAP_FAILED)
		wrong("mmap of %s: %m", as);
	else
		munmap(view, SIZE / 2);
	close(fd);
}

int main(void)
{
	uint64_t *area;
	struct stat facts;
	int device = kcov_ready(KIT_WORDS, &area);

	need(!ioctl(device, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	mount_own();
	need(!fstat(device, &facts), "fstat of an instance");
	inode = facts.st_ino;
	try("an area", "/mnt/area");
	need(!stat(KCOV_DEVICE, &facts), "stat of the device");
	inode = facts.st_ino;
	try("the device", "/mnt/kcov");
	/* The instance is unaffected. */
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	syscall(SYS_getppid);
	if (load(&area[0]) != 1)
		wrong("%lu records of a getppid", load(&area[0]));
	need(!ioctl(device, KCOV_DISABLE, 0), "DISABLE");
	if (!verdict())
		cycle("afterwards");
	_exit(verdict());
}
