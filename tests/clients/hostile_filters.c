// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_filters - the tenant's own filters on top of the broker's: a second listener, and stricter
 * filters. The kernel's order of actions decides, as without the broker: kill before errno before
 * notification.
 */
#include "hostile_kit.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

static int install(unsigned flags, unsigned number, unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { NUMBER_OF(code), code };

	need(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	return outcome(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

/* Exit status of a child that enables an instance under its own filter. */
static int under(unsigned number, unsigned action)
{
	pid_t pid = fork();

	need(pid >= 0, "fork");
	if (pid == 0) {
		uint64_t *area;
		int fd = kcov_ready(KIT_WORDS, &area);

		expect("a filter of its own", install(0, number, action), 0);
		int got = outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC));
		_exit(verdict() ? 1 : 100 + got);
	}
	return wait_for(pid);
}

int main(void)
{
	expect("a second listener", install(SECCOMP_FILTER_FLAG_NEW_LISTENER, SYS_getpid, SECCOMP_RET_USER_NOTIF), EBUSY);
	expect("under one that kills at ioctl", under(SYS_ioctl, SECCOMP_RET_KILL_PROCESS), 128 + SIGSYS);
	expect("under one that denies ioctl", under(SYS_ioctl, SECCOMP_RET_ERRNO | EXDEV), 100 + EXDEV);
	/* A notification takes precedence over trace, log and allow actions of other filters. */
	expect("under one that allows", under(SYS_ioctl, SECCOMP_RET_LOG), 100);
	expect("under one that notifies a missing listener", under(SYS_getpid, SECCOMP_RET_USER_NOTIF), 100);
	cycle("beneath the children's filters");
	return verdict();
}
