// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A tenant of the handler escape.c: makes it try each attempt that is named on the command line, and
 * prints the result. It collects coverage all the while.
 *
 * escape NEIGHBOUR NAME...
 *
 * During the attempt COMPANY another thread makes calls too.
 */
#define _GNU_SOURCE
#include "kcov_client.h"
#include <pthread.h>

#define ESCAPE 0x7101

static struct request {
	char name[64];
	uint64_t tid;
	uint64_t neighbour;
	uint64_t memory;
} request;

#define COMPANY "one call kept while others are served"

static volatile int in_company;

static void *make_calls(void *unused)
{
	while (in_company)
		ioctl(-1, KCOV_DISABLE, 0);
	return unused;
}

/* The result of ioctl(), or -errno. The device is opened again for each attempt: files of a dead worker
 * are lost. */
static long attempt(const char *name)
{
	long value;
	int fd;

	/* A call that arrives while a dead worker is being cleaned up may get EIO with it. */
	do
		fd = open("/dev/escape", O_RDWR | O_CLOEXEC);
	while (fd < 0 && errno == EIO);
	if (fd < 0)
		return -errno;
	snprintf(request.name, sizeof(request.name), "%s", name);
	do
		value = ioctl(fd, ESCAPE, &request);
	while (value < 0 && errno == EAGAIN);
	if (value < 0)
		value = -errno;
	close(fd);
	return value;
}

int main(int argc, char **argv)
{
	static char memory[8] = "memory";
	uint64_t *area;
	int kcov = kcov_ready(1024, &area);

	need(argc > 2, "arguments");
	need(!ioctl(kcov, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	request.tid = getpid();
	request.neighbour = strtoul(argv[1], NULL, 10);
	request.memory = (uintptr_t)memory;
	for (int arg = 2; arg < argc; arg++) {
		pthread_t company;

		in_company = !strcmp(argv[arg], COMPANY);
		if (in_company)
			need(!pthread_create(&company, NULL, make_calls, NULL), "pthread_create");
		long value = attempt(argv[arg]);

		if (in_company) {
			in_company = 0;
			pthread_join(company, NULL);
		}
		printf("%s: %ld\n", argv[arg], value);
		fflush(stdout);
	}
	return 0;
}
