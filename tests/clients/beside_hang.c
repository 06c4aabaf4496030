// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * beside_hang mutex THREADS SECONDS - THREADS threads call a handler that never returns (handlers/syslog.c).
 * Four others lock and unlock a mutex. Prints "alive" if they made progress. The C library aborts the process
 * if a futex call fails.
 * beside_hang files THREADS SECONDS - meanwhile a thread opens a plain file and maps it. Prints how many of
 * these calls failed, and whether the longest took less than the deadline of 500 ms.
 */
#include "hostile_kit.h"
#include <pthread.h>

enum { DEADLINE = 500, LOCKERS = 4 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned long locked;

static void *hang(void *argument)
{
	for (;;)
		syscall(SYS_syslog, 15, argument, 0);
	return NULL;
}

static void *lock(void *unused)
{
	for (;;) {
		pthread_mutex_lock(&mutex);
		__atomic_fetch_add(&locked, 1, __ATOMIC_RELAXED);
		for (volatile int i = 0; i < 20000; i++)
			;
		pthread_mutex_unlock(&mutex);
	}
	return unused;
}

static void start(void *(*body)(void *), long number)
{
	pthread_t thread;

	need(!pthread_create(&thread, NULL, body, (void *)number), "pthread_create");
}

static uint64_t longest;

static void timed(uint64_t start)
{
	uint64_t took = milliseconds() - start;

	longest = took > longest ? took : longest;
}

static void files_until(uint64_t end)
{
	unsigned long opens = 0, maps = 0, tries = 0;

	for (; milliseconds() < end; tries++) {
		uint64_t begin = milliseconds();
		int fd = open("/etc/passwd", O_RDONLY);

		timed(begin);
		if (fd < 0) {
			opens++;
			continue;
		}
		begin = milliseconds();
		void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
		timed(begin);
		maps += page == MAP_FAILED;
		if (page != MAP_FAILED)
			munmap(page, 4096);
		close(fd);
	}
	printf("opens failed %lu\nmaps failed %lu\nlongest %s\n", opens, maps,
	       longest < DEADLINE ? "below the deadline" : "above the deadline");
	fprintf(stderr, "%lu tries, longest %lu ms\n", tries, longest);
}

int main(int argc, char **argv)
{
	need(argc == 4, "usage: beside_hang mutex|files THREADS SECONDS");
	uint64_t end = milliseconds() + 1000 * strtoul(argv[3], NULL, 0);
	int files = !strcmp(argv[1], "files");

	for (long i = 0; !files && i < LOCKERS; i++)
		start(lock, i);
	for (long i = 0; i < atoi(argv[2]); i++)
		start(hang, i);
	if (files) {
		files_until(end);
	} else {
		while (milliseconds() < end)
			usleep(1000);
		puts(__atomic_load_n(&locked, __ATOMIC_RELAXED) ? "alive" : "no progress");
	}
	fflush(stdout);
	_exit(0);
}
