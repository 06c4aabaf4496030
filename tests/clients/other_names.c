// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * other_names DIRECTORY - the device and its instances under every other name: links in procfs, /dev/fd,
 * paths with dots, symbolic links made in DIRECTORY. An open of any such name gives a new instance; an
 * O_PATH descriptor is not an instance. The device's name cannot be removed or replaced.
 */
#include "hostile_kit.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

__attribute__((format(printf, 1, 2))) static const char *name(const char *format, ...)
{
	static char text[4096];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	return text;
}

/* An open of `path` gives an instance that was never initialised. */
static void is_new(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		wrong("%s: %m", path);
		return;
	}
	expect(path, outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), EINVAL);
	expect(path, outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	close(fd);
}

/* Names of the file that `fd` refers to. */
static void names_of(int fd)
{
	is_new(name("/proc/self/fd/%d", fd));
	is_new(name("/proc/thread-self/fd/%d", fd));
	is_new(name("/dev/fd/%d", fd));
	is_new(name("/proc/%d/fd/%d", getpid(), fd));
	is_new(name("/proc/%d/task/%d/fd/%d", getpid(), getpid(), fd));
	pid_t pid = fork();
	if (pid == 0) {
		is_new(name("/proc/%d/fd/%d", getppid(), fd));
		_exit(verdict());
	}
	expect("a child that opens its parent's", wait_for(pid), 0);
}

static void paths(const char *directory)
{
	is_new("//sys/kernel/../kernel/debug/./kcov");
	is_new("/proc/self/root" KCOV_DEVICE);
	need(!chdir("/sys/kernel/debug"), "chdir");
	is_new("kcov");
	is_new("./../debug//kcov");
	is_new("/proc/self/cwd/kcov");
	need(!chdir(directory), directory);
	need(!symlink(KCOV_DEVICE, "absolute") && !symlink("/sys/kernel", "kernel") && !symlink("kernel/debug/kcov", "both"),
	     "symlink");
	is_new("absolute");
	is_new("kernel/debug/kcov");
	is_new("both");
	expect("O_NOFOLLOW of a link", outcome(open("absolute", O_RDWR | O_NOFOLLOW)), ELOOP);
	expect("a path below the device", outcome(open(KCOV_DEVICE "/x", O_RDWR)), ENOTDIR);
	expect("the device as a directory", outcome(open(KCOV_DEVICE "/", O_RDWR)), ENOTDIR);
}

static void is_no_object(const char *what, int fd)
{
	struct kcov_remote_arg remote = { .area_size = KIT_WORDS };

	need(fd >= 0, what);
	expect(what, outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), EBADF);
	expect(what, outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), EBADF);
	expect(what, outcome(ioctl(fd, KCOV_DISABLE, 0)), EBADF);
	expect(what, outcome(ioctl(fd, KCOV_REMOTE_ENABLE, &remote)), EBADF);
	for (int factor = 1; factor <= 2; factor++)
		expect(what, mmap(NULL, factor * KIT_BYTES, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0, EBADF);
}

static void paths_alone(int object)
{
	int device = open(KCOV_DEVICE, O_PATH), same = open(name("/proc/self/fd/%d", object), O_PATH);

	is_no_object("O_PATH of the device", device);
	is_no_object("O_PATH of an object", same);
	is_no_object("its duplicate", dup(same));
	names_of(device);
	names_of(same);
}

/* Even as root, who has every permission: debugfs does not support these operations. */
static void keeps_its_name(void)
{
	struct stat facts;

	expect("unlink", outcome(unlink(KCOV_DEVICE)), EPERM);
	expect("rename", outcome(rename(KCOV_DEVICE, "/sys/kernel/debug/other")), EPERM);
	expect("rename over it", outcome(rename("absolute", KCOV_DEVICE)), EXDEV);
	expect("link", outcome(link(KCOV_DEVICE, "/sys/kernel/debug/other")), EPERM);
	expect("mkdir beside it", outcome(mkdir("/sys/kernel/debug/other", 0700)), EPERM);
	need(!stat(KCOV_DEVICE, &facts), "stat");
	if (facts.st_mode != (S_IFREG | 0600) || facts.st_size || facts.st_nlink != 1)
		wrong("mode %#o, size %ld, links %lu", facts.st_mode, (long)facts.st_size, facts.st_nlink);
}

/* A user who may not open the device may not re-open an instance either, but may use an open one. */
static void of_another_user(int object)
{
	pid_t pid = fork();

	if (pid == 0) {
		need(!setgid(65534) && !setuid(65534), "setuid");
		expect("open by another user", outcome(open(KCOV_DEVICE, O_RDWR)), EACCES);
		expect("a new object by another user", outcome(open(name("/proc/self/fd/%d", object), O_RDWR)), EACCES);
		expect("ENABLE by another user", outcome(ioctl(object, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		_exit(verdict());
	}
	expect("another user", wait_for(pid), 0);
}

/* A read-only bind mount of the device's directory. */
static void read_only(const char *directory)
{
	pid_t pid = fork();

	if (pid == 0) {
		need(!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mounts of its own");
		need(!mount("/sys/kernel/debug", directory, NULL, MS_BIND, NULL), "bind mount");
		is_new(name("%s/kcov", directory));
		need(!mount(NULL, directory, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "remount");
		expect("open for writing", outcome(open(name("%s/kcov", directory), O_RDWR)), EROFS);
		int fd = open(name("%s/kcov", directory), O_RDONLY);
		expect("open for reading", outcome(fd), 0);
		expect("INIT_TRACE", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
		_exit(verdict());
	}
	expect("bind mounts", wait_for(pid), 0);
}

int main(int argc, char **argv)
{
	uint64_t *area;
	int object = kcov_ready(KIT_WORDS, &area);

	need(argc == 2, "usage: other_names DIRECTORY");
	names_of(object);
	paths(argv[1]);
	paths_alone(object);
	keeps_its_name();
	of_another_user(object);
	read_only(argv[1]);
	cycle("by its own name");
	return verdict();
}
