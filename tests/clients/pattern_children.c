// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * pattern_children N - the parent opens, initialises and maps; children only enable: one after the other
 * on one instance, then all at once on one each, each run N times. Prints one fact a line.
 */
#include "kcov_client.h"
#include <sys/wait.h>

enum { CHILDREN = 4, WORDS = 4096 };

struct device {
	int fd;
	volatile uint64_t *area;
};

static struct device devices[CHILDREN];
/* Shared: the child that looks at the parent's area is done. */
static volatile int *looked;

/* Returns whether a call of this process is recorded in the parent's mapping. */
static int covered(const struct device *device)
{
	device->area[0] = 0;
	getppid();
	return device->area[0] > 0 && device->area[0] < WORDS;
}

static pid_t start(int (*body)(const struct device *), const struct device *device)
{
	pid_t child = fork();

	need(child >= 0, "fork");
	if (!child)
		_exit(body(device));
	return child;
}

static int holds(pid_t child)
{
	int status;

	need(waitpid(child, &status, 0) == child, "waitpid");
	return status == 0;
}

static int enables_and_leaves(const struct device *device)
{
	return ioctl(device->fd, KCOV_ENABLE, KCOV_TRACE_PC) || !covered(device);
}

static int is_not_enabled(const struct device *device)
{
	device->area[0] = 0;
	getppid();
	int recorded = device->area[0] > 0;

	__atomic_store_n(looked, 1, __ATOMIC_RELEASE);
	if (recorded)
		return 1;
	/* The parent owns it, and a child cannot disable it. */
	if (!ioctl(device->fd, KCOV_ENABLE, KCOV_TRACE_PC) || errno != EINVAL)
		return 1;
	return !ioctl(device->fd, KCOV_DISABLE, 0) || errno != EINVAL;
}

static unsigned long one_after_the_other(unsigned long rounds)
{
	unsigned long good = 0;

	for (unsigned long round = 0; round < rounds; round++)
		good += holds(start(enables_and_leaves, &devices[0]));
	return good;
}

static unsigned long all_at_once(unsigned long rounds)
{
	unsigned long good = 0;

	for (unsigned long round = 0; round < rounds; round++) {
		pid_t children[CHILDREN];

		for (int i = 0; i < CHILDREN; i++)
			children[i] = start(enables_and_leaves, &devices[i]);
		int all = 1;

		for (int i = 0; i < CHILDREN; i++)
			all &= holds(children[i]);
		good += all;
	}
	return good;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;

	looked = mmap(NULL, sizeof(*looked), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(looked != MAP_FAILED, "shared page");
	for (int i = 0; i < CHILDREN; i++) {
		uint64_t *area;

		devices[i].fd = kcov_ready(WORDS, &area);
		devices[i].area = area;
	}
	printf("one-after-the-other %lu\n", one_after_the_other(rounds));
	printf("all-at-once %lu\n", all_at_once(rounds));
	need(!ioctl(devices[0].fd, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	pid_t child = start(is_not_enabled, &devices[0]);

	/* No call in between, as it would be recorded. */
	while (!__atomic_load_n(looked, __ATOMIC_ACQUIRE))
		;
	printf("child-is-not-enabled %d\n", holds(child));
	printf("child-has-another %d\n", holds(start(enables_and_leaves, &devices[1])));
	printf("parent-goes-on %d\n", covered(&devices[0]));
	need(!ioctl(devices[0].fd, KCOV_DISABLE, 0), "DISABLE");
	return 0;
}
