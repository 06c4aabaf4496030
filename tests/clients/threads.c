// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * threads - eight threads, each with its own KCOV instance, that meet at barriers, count under a lock,
 * allocate, and start short-lived threads.
 */
#include "kcov_client.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 50, WORDS = 4096 };

static pthread_barrier_t barrier;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long sum;

static void *add(void *amount)
{
	pthread_mutex_lock(&lock);
	sum += *(unsigned long *)amount;
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *work(void *unused)
{
	uint64_t *area;
	int fd = kcov_ready(WORDS, &area);

	need(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	for (int round = 0; round < ROUNDS; round++) {
		unsigned long *one = malloc(sizeof(*one));
		pthread_t helper;

		*one = 1;
		pthread_barrier_wait(&barrier);
		need(!pthread_create(&helper, NULL, add, one), "pthread_create");
		need(!pthread_join(helper, NULL), "pthread_join");
		free(one);
	}
	need(__atomic_load_n(&area[0], __ATOMIC_RELAXED) > 0, "records");
	need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");
	return unused;
}

int main(void)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		need(!pthread_create(&threads[i], NULL, work, NULL), "pthread_create");
	for (int i = 0; i < THREADS; i++)
		need(!pthread_join(threads[i], NULL), "pthread_join");
	printf("%lu\n", sum);
	return 0;
}
