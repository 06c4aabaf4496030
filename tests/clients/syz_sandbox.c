// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syz_sandbox setuid|namespace CGROUP - enters an executor's sandbox step by step and prints after each
 * step whether the instances still work. CGROUP is a memory cgroup to enter, or `-`.
 */
#define _GNU_SOURCE
#include "syz_cover.h"
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
	LAST_OWN_FD = 6,
	NOBODY = 65534,
	PROGRAMS = 3,
	MEMORY = 300 << 20,
};

static struct cover covers[INSTANCES], extra;

/* Checks whether a call under `cover` leaves a record. */
static const char *covered(const struct cover *cover, unsigned long mode)
{
	if (cover_enable(cover, mode))
		return strerrorname_np(errno);
	cover_reset(cover);
	int mapped = one_mmap();
	uint64_t records = cover_count(cover);

	if (cover_disable(cover))
		return strerrorname_np(errno);
	return mapped && records > 0 && records < cover->words ? "covers" : "covers nothing";
}

/* Prints the result of the step, and whether the instances work after it. */
static void step(const char *name, int result)
{
	const char *answer = said(result);
	const char *pc = covered(&covers[0], KCOV_TRACE_PC), *cmp = covered(&covers[1], KCOV_TRACE_CMP);

	printf("%s %s, %s, %s\n", name, answer, pc, cmp);
}

static int write_file(const char *directory, const char *name, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	ssize_t written = write(fd, text, strlen(text));

	close(fd);
	return written == (ssize_t)strlen(text) ? 0 : -1;
}

static int enter_cgroup(const char *directory)
{
	char limit[32];

	snprintf(limit, sizeof(limit), "%d", MEMORY);
	/* The first name is that of cgroup version 1. */
	if (write_file(directory, "memory.limit_in_bytes", limit) && write_file(directory, "memory.max", limit))
		return -1;
	return write_file(directory, "cgroup.procs", "0");
}

static int limit(int resource, rlim_t value)
{
	struct rlimit both = { .rlim_cur = value, .rlim_max = value };

	return setrlimit(resource, &both);
}

static int limits(void)
{
	return limit(RLIMIT_AS, 336 << 20) || limit(RLIMIT_MEMLOCK, 32 << 20) || limit(RLIMIT_FSIZE, 136 << 20) ||
	       limit(RLIMIT_STACK, 1 << 20) || limit(RLIMIT_CORE, 0) || limit(RLIMIT_NOFILE, 256);
}

/* A child that is init of a PID namespace. */
static pid_t clone_init(int users)
{
	if (users)
		return syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	need(!unshare(CLONE_NEWPID), "unshare(CLONE_NEWPID)");
	return fork();
}

static int be_root_of_namespace(void)
{
	return write_file("/proc/self", "setgroups", "deny") || write_file("/proc/self", "uid_map", "0 0 1") ||
	       write_file("/proc/self", "gid_map", "0 0 1");
}

/* A tmpfs as root, into which the device's directories are bound. */
static int pivot(void)
{
	const char *place = "/tmp";

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("", place, "tmpfs", 0, NULL) || chdir(place))
		return -1;
	if (mkdir("newroot", 0755) || mkdir("newroot/dev", 0755) || mkdir("newroot/sys", 0755) || mkdir("pivot", 0700))
		return -1;
	if (mount("/dev", "newroot/dev", NULL, MS_BIND | MS_REC | MS_PRIVATE, NULL) ||
	    mount("/sys", "newroot/sys", NULL, MS_BIND | MS_REC | MS_PRIVATE, NULL))
		return -1;
	if (syscall(SYS_pivot_root, ".", "pivot") || chdir("/"))
		return -1;
	return umount2("/pivot", MNT_DETACH);
}

static int enter_root(void)
{
	return chroot("/newroot") || chdir("/");
}

static int drop_uid(void)
{
	return setgroups(0, NULL) || syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) ||
	       syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY);
}

/* A test program may open the device again. */
static void open_again(const char *name, const char *path)
{
	int fd = openat(AT_FDCWD, path, O_RDWR);
	const char *answer = said(fd);
	int made = fd >= 0 ? syscall(SYS_ioctl, fd, SIGN_EXTENDED_INIT, 512) : 0;

	printf("%s %s%s\n", name, answer, made ? ", INIT_TRACE refused" : "");
	if (fd >= 0)
		close(fd);
}

static void *work(void *cover)
{
	if (cover_enable(cover, KCOV_TRACE_PC))
		return NULL;
	cover_reset(cover);
	return one_mmap() && cover_count(cover) > 0 ? cover : NULL;
}

/* A test program whose thread enables an instance, mapped late, and never disables it. */
static void program(void)
{
	pthread_t thread;
	void *result;
	pid_t child = fork();

	need(child >= 0, "fork");
	if (!child) {
		cover_map(&covers[INSTANCES - 1]);
		need(!cover_enable_remote(&extra), "REMOTE_ENABLE");
		need(!pthread_create(&thread, NULL, work, &covers[INSTANCES - 1]), "pthread_create");
		need(!pthread_join(thread, &result), "pthread_join");
		_exit(result ? 0 : 1);
	}
	int status;

	need(waitpid(child, &status, 0) == child, "waitpid");
	printf("program %s\n", status == 0 ? "covers" : "lost");
}

static _Noreturn void init(int users)
{
	if (users)
		step("uid-map", be_root_of_namespace());
	step("namespaces", unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_SYSVSEM));
	step("limits", limits());
	step("pivot_root", pivot());
	step("chroot", enter_root());
	open_again("open", KCOV_DEVICE);
	open_again("open-dev", "/dev/kcov");
	if (!users)
		step("setuid", drop_uid());
	step("dumpable", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	step("no-new-privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	for (int i = 0; i < PROGRAMS; i++)
		program();
	if (!users)
		open_again("open-as-nobody", KCOV_DEVICE);
	step("end", 0);
	exit(0);
}

static int in_sandbox(int users, const char *cgroup)
{
	int status;

	cover_open_all(covers, &extra);
	step("start", 0);
	if (strcmp(cgroup, "-"))
		step("memory", enter_cgroup(cgroup));
	step("session", setsid() < 0 && errno != EPERM ? -1 : 0);
	pid_t child = clone_init(users);

	need(child >= 0, "clone");
	if (!child)
		init(users);
	need(waitpid(child, &status, 0) == child, "waitpid");
	step("outside", 0);
	return status ? 1 : 0;
}

int main(int argc, char **argv)
{
	char *environment[] = { NULL };

	need(argc >= 3, "usage: syz_sandbox setuid|namespace CGROUP");
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 3)
		return in_sandbox(!strcmp(argv[1], "namespace"), argv[2]);
	/* As the runner starts an executor: without environment and without other descriptors. */
	close_range(LAST_OWN_FD + 1, ~0u, 0);
	char *again[] = { argv[0], argv[1], argv[2], "inside", NULL };

	execve("/proc/self/exe", again, environment);
	need(0, "execve");
}
