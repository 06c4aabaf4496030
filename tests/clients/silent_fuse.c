// SPDX-License-Identifier: MIT OR Apache-2.0
/* A FUSE file system that takes requests and never answers them: its users wait in the kernel (state D).
 *
 *     silent_fuse DIRECTORY READY TAKEN
 *
 * Mounts it on DIRECTORY and creates the file READY, and the file TAKEN once it took a request: from then on its
 * caller cannot be killed. Runs until it is killed, which ends the waits. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static char buffer[1 << 20];

static void create(const char *path)
{
	if (close(open(path, O_CREAT | O_WRONLY, 0600)))
		exit(1);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail("/dev/fuse");
	char options[100];
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("silent", argv[1], "fuse", MS_NOSUID | MS_NODEV, options))
		fail("mount");
	for (;;) {
		struct fuse_in_header *in = (void *)buffer;
		if (read(fd, buffer, sizeof buffer) < (ssize_t)sizeof *in)
			fail("read");
		if (in->opcode != FUSE_INIT) {
			create(argv[3]);
			continue;
		}
		struct {
			struct fuse_out_header header;
			struct fuse_init_out init;
		} out = {
			.header = { .len = sizeof out, .unique = in->unique },
			.init = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096 },
		};
		if (write(fd, &out, sizeof out) != sizeof out)
			fail("write");
		create(argv[2]);
	}
}
