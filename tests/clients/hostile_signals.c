// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_signals restart|interrupt MILLISECONDS - lives of instances under a storm of signals, whose
 * handler restarts calls or does not. Only without SA_RESTART may a call give EINTR, and it must not have
 * taken effect then.
 */
#include "hostile_kit.h"
#include <pthread.h>

static int restarts;
static volatile int over;
static volatile uint64_t signals, interrupted;

static void handle(int number)
{
	(void)number;
	signals++;
}

static void *storm(void *target)
{
	while (!over) {
		pthread_kill(*(pthread_t *)target, SIGUSR1);
		usleep(300);
	}
	return NULL;
}

/* Makes the call, and repeats it while it is interrupted. */
static long persist(long number, long a, long b, long c, long d, long e, long f)
{
	for (;;) {
		long result = syscall(number, a, b, c, d, e, f);

		if (result != -1 || errno != EINTR)
			return result;
		interrupted++;
		if (restarts)
			wrong("call %ld: EINTR although the handler restarts calls", number);
	}
}

static void life(void)
{
	int fd = persist(SYS_openat, AT_FDCWD, (long)KCOV_DEVICE, O_RDWR | O_CLOEXEC, 0, 0, 0);

	expect("open", outcome(fd), 0);
	/* The repetition of a call that took effect would give EBUSY. */
	expect("INIT_TRACE", outcome(persist(SYS_ioctl, fd, KCOV_INIT_TRACE, KIT_WORDS, 0, 0, 0)), 0);
	long area = persist(SYS_mmap, 0, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect("mmap", outcome(area), 0);
	expect("ENABLE", outcome(persist(SYS_ioctl, fd, KCOV_ENABLE, KCOV_TRACE_PC, 0, 0, 0)), 0);
	expect("getppid", outcome(persist(SYS_getppid, 0, 0, 0, 0, 0, 0)), 0);
	if (area != -1 && load((uint64_t *)area) == 0)
		wrong("no records");
	expect("DISABLE", outcome(persist(SYS_ioctl, fd, KCOV_DISABLE, 0, 0, 0, 0)), 0);
	if (area != -1)
		munmap((void *)area, KIT_BYTES);
	close(fd);
}

static int descriptors(void)
{
	int open = 0;

	for (int fd = 0; fd < 256; fd++)
		open += fcntl(fd, F_GETFD) >= 0;
	return open;
}

int main(int argc, char **argv)
{
	need(argc == 3, "usage: hostile_signals restart|interrupt MILLISECONDS");
	restarts = !strcmp(argv[1], "restart");
	uint64_t end = milliseconds() + strtoull(argv[2], NULL, 0), lives = 0;
	struct sigaction action = { .sa_handler = handle, .sa_flags = restarts ? SA_RESTART : 0 };
	pthread_t self = pthread_self(), thread;
	int before = descriptors();

	need(!sigaction(SIGUSR1, &action, NULL), "sigaction");
	need(!pthread_create(&thread, NULL, storm, &self), "pthread_create");
	for (; milliseconds() < end; lives++)
		life();
	over = 1;
	pthread_join(thread, NULL);
	if (descriptors() != before)
		wrong("%d descriptors, %d before: an interrupted open took effect", descriptors(), before);
	printf("%lu lives, %lu signals, %lu calls interrupted\n", lives, signals, interrupted);
	return verdict();
}
