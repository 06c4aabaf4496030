// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * odd_tasks THREADS - unusual tasks own instances: the last thread of a process whose leader has exited, a
 * child that shares the memory, a vfork child, a thread with its own descriptor table, THREADS threads at
 * once; and a task owns an instance whose descriptor is closed.
 */
#include "hostile_kit.h"
#include <pthread.h>
#include <sched.h>

static int shared;
static uint32_t ready, refused;
static volatile int go;

static void *outlive_the_leader(void *unused)
{
	usleep(20000);
	cycle("in a thread without a leader");
	need(!chdir("/sys/kernel"), "chdir");
	int fd = open("debug/kcov", O_RDWR);
	expect("open by a relative path", outcome(fd), 0);
	expect("INIT_TRACE", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	expect("ENABLE of the instance of its process", outcome(ioctl(shared, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	syscall(SYS_exit_group, verdict());
	return unused;
}

static void without_a_leader(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;

		need(!pthread_create(&thread, NULL, outlive_the_leader, NULL), "pthread_create");
		syscall(SYS_exit, 0);
	}
	expect("a process without a leader", wait_for(pid), 0);
}

static int enable_shared(void *unused)
{
	(void)unused;
	return outcome(ioctl(shared, KCOV_ENABLE, KCOV_TRACE_PC));
}

/* Each exits without DISABLE, and leaves the instance free. */
static void children(void)
{
	static char stack[65536];
	static const int kinds[] = { CLONE_VM, CLONE_VM | CLONE_FILES, CLONE_VM | CLONE_VFORK, CLONE_FS, CLONE_NEWPID };

	for (size_t i = 0; i < NUMBER_OF(kinds); i++) {
		pid_t pid = clone(enable_shared, stack + sizeof(stack), kinds[i] | SIGCHLD, NULL);

		need(pid > 0, "clone");
		expect("ENABLE by a child", wait_for(pid), 0);
		expect("ENABLE after it", outcome(ioctl(shared, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		expect("DISABLE", outcome(ioctl(shared, KCOV_DISABLE, 0)), 0);
	}
}

/* In a thread with its own descriptor table the same number is another instance. */
static void *with_own_descriptors(void *unused)
{
	uint64_t *area;

	need(!unshare(CLONE_FILES), "unshare");
	int own = kcov_ready(KIT_WORDS, &area);
	need(dup2(own, shared) == shared, "dup2");
	expect("ENABLE of the own object", outcome(ioctl(shared, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	syscall(SYS_getppid);
	if (load(&area[0]) == 0)
		wrong("no records in the own object");
	expect("DISABLE of the own object", outcome(ioctl(shared, KCOV_DISABLE, 0)), 0);
	return unused;
}

static void *own_without_descriptor(void *unused)
{
	int fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, KCOV_INIT_TRACE, 2) || ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
		__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
	close(fd);
	__atomic_add_fetch(&ready, 1, __ATOMIC_RELEASE);
	while (!go)
		usleep(1000);
	return unused;
}

static void many(unsigned number)
{
	pthread_t threads[4096];
	pthread_attr_t small;

	need(number <= NUMBER_OF(threads) && !pthread_attr_init(&small), "threads");
	need(!pthread_attr_setstacksize(&small, 65536), "stack");
	for (unsigned i = 0; i < number; i++)
		need(!pthread_create(&threads[i], &small, own_without_descriptor, NULL), "pthread_create");
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < number)
		usleep(1000);
	go = 1;
	for (unsigned i = 0; i < number; i++)
		pthread_join(threads[i], NULL);
	if (refused)
		wrong("%u of %u threads own no instance", refused, number);
}

/* Another instance under the same number does not change what the thread owns. */
static void another_under_the_number(uint64_t *area)
{
	uint64_t *unused;
	int other = kcov_ready(KIT_WORDS, &unused);

	expect("ENABLE", outcome(ioctl(shared, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	need(dup2(other, shared) == shared, "dup2");
	expect("ENABLE of the other", outcome(ioctl(shared, KCOV_ENABLE, KCOV_TRACE_PC)), EBUSY);
	expect("DISABLE of the other", outcome(ioctl(shared, KCOV_DISABLE, 0)), EINVAL);
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	syscall(SYS_getppid);
	if (load(&area[0]) == 0)
		wrong("no records once the descriptor is gone");
	pid_t pid = fork();
	if (pid == 0)
		_exit(enable_shared(NULL));
	expect("ENABLE of the other by a child", wait_for(pid), 0);
}

int main(int argc, char **argv)
{
	uint64_t *area;
	pthread_t thread;

	shared = kcov_ready(KIT_WORDS, &area);
	without_a_leader();
	children();
	need(!pthread_create(&thread, NULL, with_own_descriptors, NULL) && !pthread_join(thread, NULL), "a thread");
	many(argc > 1 ? strtoul(argv[1], NULL, 0) : 100);
	another_under_the_number(area);
	return verdict();
}
