// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * shared_instance CALLS - the main thread, a second one and a forked child enable one instance, and each makes CALLS
 * calls that leave one record. Prints the results of the requests, and the number of records.
 */
#define _GNU_SOURCE
#include "kcov_client.h"
#include <pthread.h>
#include <sys/wait.h>

static unsigned long calls;
static int fd;

static void show(const char *what, int result)
{
	printf("%s %s\n", what, result ? strerrorname_np(errno) : "ok");
	fflush(stdout);
}

static void work(void)
{
	for (unsigned long i = 0; i < calls; i++)
		getppid();
}

static void *second(void *unused)
{
	if (ioctl(fd, KCOV_ENABLE, KCOV_TRACE_CMP) != -1 || errno != EINVAL)
		show("second-other-mode", -1);
	int result = ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC);

	show("second", result);
	if (result)
		return unused;
	work();
	show("second-disable", ioctl(fd, KCOV_DISABLE, 0));
	return unused;
}

int main(int argc, char **argv)
{
	need(argc == 2, "arguments");
	calls = strtoul(argv[1], NULL, 0);
	size_t words = (4 * calls + 511) / 512 * 512 + 512;
	uint64_t *area;
	pthread_t thread;

	fd = kcov_ready(words, &area);
	show("first", ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC));
	/* The record of the request. */
	need(area[0] == 1, "a record after ENABLE");
	show("first-again", ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC));
	pid_t child = fork();

	if (!child) {
		int result = ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC);

		if (!result)
			work();
		/* Its exit disables. */
		_exit(result ? errno : 0);
	}
	int status;

	need(!pthread_create(&thread, NULL, second, NULL), "pthread_create");
	work();
	need(!pthread_join(thread, NULL), "pthread_join");
	need(waitpid(child, &status, 0) == child && WIFEXITED(status), "waitpid");
	printf("child %s\n", WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "ok");
	uint64_t count = area[0], empty = 0;

	for (uint64_t i = 1; i <= count && i < words; i++)
		empty += area[i] < 0xffffffff80000000u;
	printf("records %lu, %lu without a PC\n", count, empty);
	area[0] = 0;
	show("first-disable", ioctl(fd, KCOV_DISABLE, 0));
	show("first-disable-again", ioctl(fd, KCOV_DISABLE, 0));
	show("other-mode-now", ioctl(fd, KCOV_ENABLE, KCOV_TRACE_CMP));
	show("disable", ioctl(fd, KCOV_DISABLE, 0));
	return 0;
}
