// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Queues two numbers on /dev/queue in a thread that collects remotely, has another thread process them, and prints
 * the number of records before, after, and after one more number that is processed by the last close.
 */
#include "kcov_client.h"

#include <pthread.h>

#define SUBMIT 0x7901
#define PROCESS 0x7902

static int queue;

static void *process(void *unused)
{
	(void)unused;
	need(ioctl(queue, PROCESS) == 2, "PROCESS");
	return NULL;
}

int main(void)
{
	struct kcov_remote_arg remote = {.area_size = 512, .common_handle = 0x42};
	unsigned long before, after;
	volatile uint64_t *words;
	pthread_t thread;
	uint64_t *area;
	int kcov = kcov_ready(512, &area);

	words = area;
	need(!ioctl(kcov, KCOV_REMOTE_ENABLE, &remote), "REMOTE_ENABLE");
	queue = open("/dev/queue", O_RDWR);
	need(queue >= 0, "open");
	need(!ioctl(queue, SUBMIT, 5), "SUBMIT");
	need(!ioctl(queue, SUBMIT, 0x7175657565), "SUBMIT");
	before = words[0];
	need(!pthread_create(&thread, NULL, process, NULL), "pthread_create");
	pthread_join(thread, NULL);
	after = words[0];
	need(!ioctl(queue, SUBMIT, 6), "SUBMIT");
	close(queue);
	for (int i = 0; i < 1000 && words[0] == after; i++)
		usleep(10000);
	printf("%lu %lu %lu\n", before, after, (unsigned long)words[0]);
	need(!ioctl(kcov, KCOV_DISABLE, 0), "DISABLE");
	return 0;
}
