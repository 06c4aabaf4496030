// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * queue KIND... - makes the calls of the handler `retry` with these numbers, each in its own thread,
 * started when the one before is on its way. Prints in this order the result or -errno of each, and its
 * duration in milliseconds.
 */
#define _GNU_SOURCE
#include "kcov_client.h"
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

struct one {
	int kind;
	long result, milliseconds;
};

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *make(void *argument)
{
	struct one *one = argument;
	long start = milliseconds();

	one->result = syscall(SYS_getpriority, one->kind, NULL);
	if (one->result < 0)
		one->result = -errno;
	one->milliseconds = milliseconds() - start;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[16];
	struct one all[16];
	int count = argc - 1;

	need(count <= 16, "usage: queue KIND...");
	for (int i = 0; i < count; i++) {
		all[i].kind = atoi(argv[i + 1]);
		need(!pthread_create(&threads[i], NULL, make, &all[i]), "pthread_create");
		usleep(20000);
	}
	for (int i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		printf("%d: %ld in %ld\n", all[i].kind, all[i].result, all[i].milliseconds);
	}
	return 0;
}
