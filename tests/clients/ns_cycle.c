// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * ns_cycle here       - a life of an instance that is opened here
 * ns_cycle fd N       - the same with the inherited descriptor N
 * ns_cycle nest N     - N levels down, each in new PID, user, mount, network, cgroup, UTS and IPC
 * namespaces,
 *                       a life at each level
 * ns_cycle chroot DIR - in DIR, which has no device: an open fails, but an instance that was opened before
 *                       works, and so does a device reached through a descriptor
 */
#include "hostile_kit.h"
#include <sched.h>
#include <sys/mount.h>

enum { ALL = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC };

static void use_inherited(int fd)
{
	uint64_t *area;

	expect("INIT_TRACE of an inherited object", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	area = mmap(NULL, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(area != MAP_FAILED, "mmap");
	expect("ENABLE of an inherited object", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	syscall(SYS_getppid);
	if (load(&area[0]) == 0 || load(&area[0]) >= KIT_WORDS)
		wrong("records of an inherited object: %lu", load(&area[0]));
	expect("DISABLE of an inherited object", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	munmap(area, KIT_BYTES);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	need(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
	close(fd);
}

static void nest(int depth)
{
	int fd = open(KCOV_DEVICE, O_RDWR);

	need(fd >= 0, "open");
	if (depth == 0) {
		use_inherited(fd);
		cycle("at the deepest level");
		return;
	}
	need(!unshare(ALL), "unshare");
	write_file("/proc/self/setgroups", "deny");
	write_file("/proc/self/uid_map", "0 0 1");
	write_file("/proc/self/gid_map", "0 0 1");
	/* This process stays in the outer PID namespace; its child is the first process of the inner one. */
	cycle("after unshare");
	pid_t pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0) {
		need(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
		need(!mount("proc", "/proc", "proc", 0, NULL), "mount of procfs");
		need(getpid() == 1, "the first process");
		cycle("in new namespaces");
		use_inherited(fd);
		nest(depth - 1);
		_exit(verdict());
	}
	expect("a level below", wait_for(pid), 0);
	close(fd);
}

static void change_root(const char *directory)
{
	int before = open(KCOV_DEVICE, O_RDWR), place = open("/", O_PATH | O_DIRECTORY);

	need(before >= 0 && place >= 0, "open");
	need(!chroot(directory) && !chdir("/"), "chroot");
	expect("open where no device is", outcome(open(KCOV_DEVICE, O_RDWR)), ENOENT);
	use_inherited(before);
	/* A descriptor from outside leads to the old root. */
	int fd = openat(place, &KCOV_DEVICE[1], O_RDWR);
	expect("openat from a descriptor of the old root", outcome(fd), 0);
	use_inherited(fd);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "here";

	if (!strcmp(what, "nest"))
		nest(argc > 2 ? atoi(argv[2]) : 3);
	else if (!strcmp(what, "fd"))
		use_inherited(argc > 2 ? atoi(argv[2]) : 3);
	else if (!strcmp(what, "chroot"))
		change_root(argc > 2 ? argv[2] : "/proc");
	else
		cycle("here");
	return verdict();
}
