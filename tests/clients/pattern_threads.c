// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * pattern_threads N - one descriptor and several threads: N times, eight threads enable it at once and
 * exactly one succeeds. The next round starts as soon as they were joined, whether the winner disabled it
 * or exited. Then two threads hand one descriptor to each other in turns.
 */
#include "kcov_client.h"
#include <pthread.h>

enum { THREADS = 8, WORDS = 4096, HANDS = 100 };

static int fd;
static volatile uint64_t *area;
static pthread_barrier_t barrier;
static int disables;

/* Result: 1 if it succeeded and was recorded, 0 if it was refused as by the kernel. */
static void *ask(void *result)
{
	pthread_barrier_wait(&barrier);
	int got = !ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC);
	int refusal = errno;

	/* All have tried, and none has exited. */
	pthread_barrier_wait(&barrier);
	if (!got) {
		need(refusal == EINVAL, "refusal");
		*(int *)result = 0;
		return NULL;
	}
	area[0] = 0;
	getppid();
	need(area[0] > 0, "record");
	if (disables)
		need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");
	*(int *)result = 1;
	return NULL;
}

static int winners(void)
{
	pthread_t threads[THREADS];
	int results[THREADS], sum = 0;

	for (int i = 0; i < THREADS; i++)
		need(!pthread_create(&threads[i], NULL, ask, &results[i]), "pthread_create");
	for (int i = 0; i < THREADS; i++) {
		need(!pthread_join(threads[i], NULL), "pthread_join");
		sum += results[i];
	}
	return sum;
}

static pthread_barrier_t hand;

/* The first takes even turns, the second odd turns. */
static void *take_turns(void *which)
{
	for (int turn = 0; turn < HANDS; turn++) {
		if (turn % 2 == *(int *)which) {
			need(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE in turn");
			area[0] = 0;
			getppid();
			need(area[0] > 0, "record in turn");
			need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE in turn");
		}
		pthread_barrier_wait(&hand);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 1, good = 0;
	pthread_t other;
	uint64_t *mapped;
	int first = 0, second = 1;

	fd = kcov_ready(WORDS, &mapped);
	area = mapped;
	pthread_barrier_init(&barrier, NULL, THREADS);
	pthread_barrier_init(&hand, NULL, 2);
	for (unsigned long round = 0; round < rounds; round++) {
		disables = round % 2;
		good += winners() == 1;
	}
	printf("one-of-eight %lu\n", good);
	need(!pthread_create(&other, NULL, take_turns, &second), "pthread_create");
	take_turns(&first);
	need(!pthread_join(other, NULL), "pthread_join");
	puts("turns yes");
	return 0;
}
