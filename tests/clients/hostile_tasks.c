// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_tasks ROUNDS - children that enable instances in several threads and then race: execs of several
 * threads at once, exits of a thread and of the process, vforks, clones, and a SIGKILL at any time.
 * Nothing of them may be left, and the device works for the next child.
 */
#include "hostile_kit.h"
#include <pthread.h>
#include <sched.h>

enum { THREADS = 4 };

static uint64_t seed;

static void enable_one(void)
{
	int fd = open(KCOV_DEVICE, O_RDWR | (next_random(&seed) % 2 ? O_CLOEXEC : 0));

	if (fd < 0)
		return;
	struct kcov_remote_arg remote = { .area_size = 64, .common_handle = 1 + next_random(&seed) % 4 };
	ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS);
	if (next_random(&seed) % 4)
		ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC);
	else
		ioctl(fd, KCOV_REMOTE_ENABLE, &remote);
	if (next_random(&seed) % 2)
		close(fd);
}

static void become_leaf(void)
{
	char *words[] = { "hostile_tasks", "leaf", NULL };

	execv("/proc/self/exe", words);
}

static int idle(void *unused)
{
	(void)unused;
	syscall(SYS_getppid);
	return 0;
}

static void *race(void *number)
{
	static char stacks[THREADS][16384];
	pid_t pid;

	enable_one();
	syscall(SYS_getppid);
	switch (next_random(&seed) % 7) {
	case 0:
	case 1:
		become_leaf();
		break;
	case 2:
		_exit(0);
	case 3:
		pid = vfork();
		if (pid == 0) {
			become_leaf();
			_exit(1);
		}
		break;
	case 4:
		clone(idle, stacks[(uintptr_t)number] + sizeof(stacks[0]), CLONE_FS | CLONE_FILES | SIGCHLD, NULL);
		break;
	case 5:
		syscall(SYS_exit, 0);
		break;
	default:
		enable_one();
	}
	return NULL;
}

static void child(void)
{
	pthread_t threads[THREADS];

	enable_one();
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, race, (void *)i))
			_exit(0);
	if (next_random(&seed) % 4 == 0)
		syscall(SYS_exit, 0);
	usleep(next_random(&seed) % 3000);
	_exit(0);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;

	if (argc > 1 && !strcmp(argv[1], "leaf")) {
		syscall(SYS_getppid);
		return 0;
	}
	for (unsigned long round = 0; round < rounds; round++) {
		seed = 0x9e3779b97f4a7c15ull * (round + 1);
		pid_t pid = fork();

		need(pid >= 0, "fork");
		if (pid == 0) {
			setpgid(0, 0);
			child();
		}
		usleep(next_random(&seed) % 4000);
		if (round % 3 == 0)
			kill(pid, SIGKILL);
		int status = wait_for(pid);
		if (status != 0 && status != 128 + SIGKILL)
			wrong("round %lu ended with %d", round, status);
		/* Orphans of vfork and clone. */
		kill(-pid, SIGKILL);
		if (round % 8 == 0)
			cycle("between the races");
	}
	cycle("after the races");
	return verdict();
}
