// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syz_programs N [bare] - N test programs, each in a forked child whose threads enable inherited instances
 * and never disable them. The next child enables the same instances as soon as the last one was waited
 * for. `bare` leaves KCOV out, to measure the programs themselves.
 *
 * Prints how many programs lost coverage: an ENABLE that was refused, or a call without a record. The time
 * per program goes to standard error.
 */
#define _GNU_SOURCE
#include "syz_cover.h"
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum {
	THREADS = 3,
	LATE = INSTANCES - 1,      /* the last thread's instance, mapped by the child */
	RUNS = 2,                  /* calls per thread, each after a reset */
	HANGS = 4,                 /* every so many programs, a thread is left in a call that never returns */
	KILLED = 5,                /* every so many programs end by SIGKILL */
};

/* State of the running program, which it writes and its parent reads after its death. */
struct seen {
	uint32_t enabled, remote, covered, overflown;
	int32_t refusal;
};

struct event {
	uint32_t set;
};

struct worker {
	const struct cover *cover;
	unsigned long mode;
	struct event ready, done;
};

static struct cover covers[INSTANCES], extra;
static struct seen *seen;
static int with_cover;

static void event_set(struct event *event)
{
	__atomic_store_n(&event->set, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &event->set, FUTEX_WAKE, 1000000, NULL);
}

static void event_wait(struct event *event)
{
	while (!__atomic_load_n(&event->set, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &event->set, FUTEX_WAIT, 0, NULL);
	__atomic_store_n(&event->set, 0, __ATOMIC_RELAXED);
}

static void count(uint32_t *what)
{
	__atomic_add_fetch(what, 1, __ATOMIC_RELAXED);
}

static int enable(int refused, uint32_t *what)
{
	if (!with_cover || !refused) {
		count(what);
		return 1;
	}
	__atomic_store_n(&seen->refusal, errno, __ATOMIC_RELAXED);
	return 0;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	const struct cover *cover = worker->cover;
	int on = enable(with_cover && cover_enable(cover, worker->mode), &seen->enabled);

	for (;;) {
		event_wait(&worker->ready);
		if (with_cover)
			cover_reset(cover);
		int mapped = one_mmap();
		uint64_t records = with_cover ? cover_count(cover) : 1;

		if (on && mapped && records > 0)
			count(&seen->covered);
		if (with_cover && records > (cover->words - 1) / record_words(worker->mode))
			count(&seen->overflown);
		event_set(&worker->done);
	}
	return NULL;
}

static void *hang(void *unused)
{
	pause();
	return unused;
}

static _Noreturn void program(unsigned long number)
{
	static struct worker workers[THREADS];
	pthread_t thread;

	enable(with_cover && cover_enable_remote(&extra), &seen->remote);
	if (with_cover)
		cover_map(&covers[LATE]);
	for (int i = 0; i < THREADS; i++) {
		workers[i].cover = &covers[i + 1 == THREADS ? LATE : i];
		workers[i].mode = number % 2 ? KCOV_TRACE_CMP : KCOV_TRACE_PC;
		need(!pthread_create(&thread, NULL, work, &workers[i]), "pthread_create");
	}
	for (int run = 0; run < RUNS; run++) {
		for (int i = 0; i < THREADS; i++)
			event_set(&workers[i].ready);
		for (int i = 0; i < THREADS; i++)
			event_wait(&workers[i].done);
	}
	if (number % HANGS == 0)
		need(!pthread_create(&thread, NULL, hang, NULL), "pthread_create");
	if (number % KILLED == 0)
		kill(getpid(), SIGKILL);
	/* Its other threads are in the middle of a wait. */
	_exit(0);
}

/* Returns whether the program lost coverage. */
static int lost(unsigned long number)
{
	if (seen->enabled == THREADS && seen->remote == 1 && seen->covered == THREADS * RUNS && !seen->overflown)
		return 0;
	fprintf(stderr, "program %lu: enabled %u, remote %u, covered %u, overflown %u, refusal %s\n", number,
		seen->enabled, seen->remote, seen->covered, seen->overflown, strerrorname_np(seen->refusal));
	return 1;
}

static void on_child(int signal)
{
	(void)signal;
}

static unsigned long microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ul + now.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
	/* SIGCHLD interrupts calls: no SA_RESTART. */
	struct sigaction action = { .sa_handler = on_child };
	unsigned long programs, losses = 0;

	need(argc >= 2, "usage: syz_programs N [bare]");
	programs = strtoul(argv[1], NULL, 0);
	with_cover = argc == 2;
	need(!sigaction(SIGCHLD, &action, NULL), "sigaction");
	seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(seen != MAP_FAILED, "shared page");
	if (with_cover)
		cover_open_all(covers, &extra);
	unsigned long start = microseconds();

	for (unsigned long number = 0; number < programs; number++) {
		pid_t child, gone;
		int status;

		memset(seen, 0, sizeof(*seen));
		child = fork();
		need(child >= 0, "fork");
		if (!child)
			program(number);
		do
			gone = waitpid(child, &status, __WALL);
		while (gone < 0 && errno == EINTR);
		need(gone == child, "waitpid");
		losses += lost(number);
	}
	fprintf(stderr, "%lu us a program\n", programs ? (microseconds() - start) / programs : 0);
	printf("programs %lu lost %lu\n", programs, losses);
	return losses > 0;
}
