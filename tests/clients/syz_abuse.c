// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syz_abuse - what test programs can do to the executor's own instances. Each act runs in a child that has
 * one instance enabled and never disables it; afterwards both that instance and another must still work.
 */
#define _GNU_SOURCE
#include "syz_cover.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { BYSTANDER = 0, VICTIM = 1, REOPENS = 300 };

static struct cover covers[INSTANCES], extra;

static const char *covered(const struct cover *cover)
{
	if (cover_enable(cover, KCOV_TRACE_PC))
		return strerrorname_np(errno);
	cover_reset(cover);
	int mapped = one_mmap();
	uint64_t records = cover_count(cover);

	if (cover_disable(cover))
		return strerrorname_np(errno);
	return mapped && records > 0 && records < cover->words ? "covers" : "covers nothing";
}

static struct cover *victim(void)
{
	return &covers[VICTIM];
}

/* Each act ends with 0, or with another status if an answer that it needs was unexpected. */
static int nothing(void)
{
	return 0;
}

static int truncates(void)
{
	/* Whatever the result, the size must not change. */
	(void)!ftruncate(victim()->fd, 0);
	(void)!ftruncate(victim()->fd, 1ul << 40);
	one_mmap();
	return victim()->area[COVER_WORDS - 1] != 0;
}

static int writes_to_it(void)
{
	static char ones[8 * PAGE];

	memset(ones, 0xff, sizeof(ones));
	(void)!pwrite(victim()->fd, ones, sizeof(ones), 0);
	(void)!write(victim()->fd, ones, sizeof(ones));
	return !one_mmap();
}

static int punches_holes(void)
{
	for (int i = 0; i < 100; i++) {
		(void)!fallocate(victim()->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, COVER_WORDS * 8);
		madvise(victim()->area, COVER_WORDS * 8, MADV_REMOVE);
		if (!one_mmap())
			return 1;
	}
	return 0;
}

static int allocates(void)
{
	(void)!fallocate(victim()->fd, 0, 0, 1ul << 40);
	(void)!fallocate(victim()->fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE);
	(void)!fallocate(victim()->fd, FALLOC_FL_ZERO_RANGE, 0, COVER_WORDS * 8);
	return !one_mmap();
}

static int closes_all(void)
{
	for (int fd = EXTRA_FD; fd < COVER_FD + INSTANCES; fd++)
		close(fd);
	return !one_mmap() || !cover_count(victim());
}

static int replaces_all(void)
{
	for (int fd = EXTRA_FD; fd < COVER_FD + INSTANCES; fd++)
		if (dup2(STDERR_FILENO, fd) != fd)
			return 1;
	/* No longer a device. */
	return !one_mmap() || !cover_enable(victim(), KCOV_TRACE_PC) || errno != ENOTTY;
}

static int swaps_two(void)
{
	if (dup2(covers[VICTIM + 1].fd, victim()->fd) < 0)
		return 1;
	/* Another instance now, while this thread has one enabled. */
	return !cover_enable(victim(), KCOV_TRACE_PC) || errno != EBUSY;
}

static int opens_until_no_descriptor_is_left(void)
{
	struct rlimit few = { 256, 256 };
	int fd = 0;

	if (setrlimit(RLIMIT_NOFILE, &few))
		return 1;
	for (int i = 0; i < REOPENS && fd >= 0; i++)
		fd = openat(AT_FDCWD, KCOV_DEVICE, O_RDWR);
	return fd >= 0 || errno != EMFILE;
}

static int opens_and_enables_another(void)
{
	struct cover own;

	cover_open(&own, EXTRA_FD - 1, 512);
	return !cover_enable(&own, KCOV_TRACE_PC) || errno != EBUSY;
}

static int writes_headers(void)
{
	static const uint64_t headers[] = { ~0ul, ~0ul - 1, COVER_WORDS, COVER_WORDS - 1, 1ul << 63, 1ul << 32 };

	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
		victim()->area[0] = headers[i];
		if (!one_mmap())
			return 1;
	}
	return 0;
}

static int unmaps(void)
{
	mprotect(victim()->area, COVER_WORDS * 8, PROT_NONE);
	if (!one_mmap())
		return 1;
	munmap(victim()->guarded, COVER_WORDS * 8 + 2 * PAGE);
	return !one_mmap();
}

static int seals_and_leases(void)
{
	fcntl(victim()->fd, F_ADD_SEALS, F_SEAL_WRITE);
	fcntl(victim()->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	fcntl(victim()->fd, F_SETLEASE, F_RDLCK);
	fcntl(victim()->fd, F_SETLEASE, F_WRLCK);
	fcntl(victim()->fd, F_SETFL, O_ASYNC | O_NONBLOCK | O_APPEND);
	return !one_mmap();
}

static int installs_a_listener(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return 1;
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);

	return fd >= 0 || errno != EBUSY;
}

static int installs_a_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		return 1;
	cover_reset(victim());
	return !one_mmap() || !cover_count(victim());
}

static int traces_another(void)
{
	int status;
	pid_t traced = fork();

	if (!traced) {
		if (cover_enable(&covers[VICTIM + 1], KCOV_TRACE_PC))
			_exit(1);
		for (;;)
			one_mmap();
	}
	if (ptrace(PTRACE_SEIZE, traced, 0, 0))
		return 1;
	for (int i = 0; i < 20; i++) {
		if (ptrace(PTRACE_INTERRUPT, traced, 0, 0) || waitpid(traced, &status, __WALL) != traced ||
		    !WIFSTOPPED(status) || ptrace(PTRACE_SYSCALL, traced, 0, 0))
			return 1;
		if (waitpid(traced, &status, __WALL) != traced || !WIFSTOPPED(status) || ptrace(PTRACE_CONT, traced, 0, 0))
			return 1;
	}
	kill(traced, SIGKILL);
	return waitpid(traced, &status, __WALL) != traced || !WIFSIGNALED(status);
}

static int hides(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || cover_disable(victim()) || cover_enable(victim(), KCOV_TRACE_PC))
		return 1;
	cover_reset(victim());
	return !one_mmap() || !cover_count(victim());
}

static void act(const char *name, int (*body)(void))
{
	int status;
	pid_t child = fork();

	need(child >= 0, "fork");
	if (!child) {
		need(!cover_enable(victim(), KCOV_TRACE_PC), "ENABLE");
		_exit(body());
	}
	need(waitpid(child, &status, 0) == child, "waitpid");
	printf("%s %d, %s, %s\n", name, status, covered(&covers[VICTIM]), covered(&covers[BYSTANDER]));
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	cover_open_all(covers, &extra);
	act("nothing", nothing);
	act("ftruncate", truncates);
	act("pwrite", writes_to_it);
	act("punch-hole", punches_holes);
	act("fallocate", allocates);
	act("close", closes_all);
	act("dup2", replaces_all);
	act("dup2-another", swaps_two);
	act("open-all", opens_until_no_descriptor_is_left);
	act("open-again", opens_and_enables_another);
	act("headers", writes_headers);
	act("unmap", unmaps);
	act("seal-and-lease", seals_and_leases);
	act("listener", installs_a_listener);
	act("filter", installs_a_filter);
	act("ptrace", traces_another);
	act("dumpable", hides);
	return 0;
}
