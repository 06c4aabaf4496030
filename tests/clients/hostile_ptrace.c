// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_ptrace step      - traces a child through lives of instances and stops it at each entry into
 *                            and exit from a system call
 * hostile_ptrace interrupt - the same, but interrupts it at any time
 * hostile_ptrace stop      - stops a child with SIGSTOP at any time, or lets it stop itself, and continues
 * it
 *
 * The child must find everything right.
 */
#include "hostile_kit.h"
#include <sys/ptrace.h>

enum { LIVES = 100 };

static pid_t start(int stops_itself, int traced)
{
	pid_t pid = fork();

	need(pid >= 0, "fork");
	if (pid == 0) {
		if (traced)
			raise(SIGSTOP);
		for (int i = 0; i < LIVES; i++) {
			cycle("of a child that is held up");
			if (stops_itself && i % 4 == 0)
				raise(SIGSTOP);
		}
		_exit(verdict());
	}
	return pid;
}

static int ended(int status)
{
	if (!WIFEXITED(status) && !WIFSIGNALED(status))
		return 0;
	expect("the child", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), 0);
	return 1;
}

static unsigned long trace(int interrupt)
{
	pid_t pid = start(0, 1);
	unsigned long stops = 0;
	int status;

	need(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "stop of the child");
	need(!ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), "PTRACE_SEIZE");
	kill(pid, SIGCONT);
	for (;; stops++) {
		if (interrupt) {
			usleep(200);
			ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		}
		need(waitpid(pid, &status, 0) == pid, "waitpid");
		if (ended(status))
			return stops;
		/* The SIGSTOP of the start, and SIGCONT, are suppressed. */
		ptrace(interrupt ? PTRACE_CONT : PTRACE_SYSCALL, pid, 0, 0);
	}
}

static unsigned long stop(void)
{
	pid_t pid = start(1, 0);
	unsigned long stops = 0;
	int status;

	for (;; stops++) {
		usleep(300);
		kill(pid, SIGSTOP);
		usleep(100);
		/* Also continues a child that stopped itself, at any point. */
		kill(pid, SIGCONT);
		if (waitpid(pid, &status, WNOHANG) == pid && ended(status))
			return stops;
	}
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "step";

	printf("%lu stops\n", !strcmp(how, "stop") ? stop() : trace(!strcmp(how, "interrupt")));
	cycle("afterwards");
	return verdict();
}
