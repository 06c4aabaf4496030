// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * gvisor_kcov - checks what gVisor's own KCOV tests check, written anew. Prints one fact a line.
 */
#define _GNU_SOURCE
#include "kcov_client.h"
#include <pthread.h>

enum { WORDS = 4096, CALLS = 10 };
#define BELOW_TEXT 0xffffffff7ffffffful

struct device {
	int fd;
	uint64_t *area;
};

static void fact(const char *name, int holds)
{
	printf("%s %s\n", name, holds ? "yes" : "no");
}

static int refused(int result, int with)
{
	return result < 0 && errno == with;
}

static void *map(int fd)
{
	return mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

/* Returns whether calls of this thread, which has enabled an instance, leave only PCs of the text. */
static int covered(volatile uint64_t *area)
{
	area[0] = 0;
	for (int i = 0; i < CALLS; i++)
		getppid();
	uint64_t count = area[0];

	if (!count || count >= WORDS)
		return 0;
	for (uint64_t i = 1; i <= count; i++)
		if (area[i] <= BELOW_TEXT)
			return 0;
	return 1;
}

static void calls_are_covered(void)
{
	struct device device;

	device.fd = kcov_ready(WORDS, &device.area);
	int holds = !ioctl(device.fd, KCOV_ENABLE, KCOV_TRACE_PC) && covered(device.area);

	fact("covered", holds && !ioctl(device.fd, KCOV_DISABLE, 0));
	fact("not-after-disable", (device.area[0] = 0, getppid(), device.area[0] == 0));
	munmap(device.area, WORDS * 8);
	close(device.fd);
}

static void maps_after_init_alone(void)
{
	int fd = open(KCOV_DEVICE, O_RDWR);

	need(fd >= 0, "open");
	fact("mmap-before-init", map(fd) == MAP_FAILED && errno == EINVAL);
	fact("init", !ioctl(fd, KCOV_INIT_TRACE, WORDS));
	fact("mmap-after-init", map(fd) != MAP_FAILED);
	close(fd);
}

static pthread_barrier_t both;

/* Both are enabled at the same time, and each records only its own calls. */
static void *own_device(void *holds)
{
	struct device device;

	device.fd = kcov_ready(WORDS, &device.area);
	*(int *)holds = !ioctl(device.fd, KCOV_ENABLE, KCOV_TRACE_PC);
	pthread_barrier_wait(&both);
	*(int *)holds &= covered(device.area);
	pthread_barrier_wait(&both);
	*(int *)holds &= !ioctl(device.fd, KCOV_DISABLE, 0);
	return holds;
}

static void two_devices_two_threads(void)
{
	pthread_t threads[2];
	int holds[2];

	pthread_barrier_init(&both, NULL, 2);
	for (int i = 0; i < 2; i++)
		need(!pthread_create(&threads[i], NULL, own_device, &holds[i]), "pthread_create");
	for (int i = 0; i < 2; i++)
		need(!pthread_join(threads[i], NULL), "pthread_join");
	fact("two-at-once", holds[0] && holds[1]);
}

static void *enable_is_refused(void *device)
{
	return refused(ioctl(((struct device *)device)->fd, KCOV_ENABLE, KCOV_TRACE_PC), EINVAL) ? device : NULL;
}

static void *map_enable_and_leave(void *device)
{
	int fd = ((struct device *)device)->fd;
	uint64_t *area = map(fd);
	int holds = area != MAP_FAILED && !ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC) && covered(area);

	return holds ? device : NULL;
}

static int in_thread(void *(*body)(void *), struct device *device)
{
	pthread_t thread;
	void *holds;

	need(!pthread_create(&thread, NULL, body, device), "pthread_create");
	need(!pthread_join(thread, &holds), "pthread_join");
	return holds != NULL;
}

static void one_device_two_threads(void)
{
	struct device device;

	device.fd = kcov_ready(WORDS, &device.area);
	fact("first-enables", !ioctl(device.fd, KCOV_ENABLE, KCOV_TRACE_PC));
	fact("second-is-refused", in_thread(enable_is_refused, &device));
	fact("first-disables", !ioctl(device.fd, KCOV_DISABLE, 0));
	fact("second-enables-and-leaves", in_thread(map_enable_and_leave, &device));
	/* The first mapping and INIT_TRACE are still valid. */
	fact("first-enables-again", !ioctl(device.fd, KCOV_ENABLE, KCOV_TRACE_PC) && covered(device.area));
	fact("first-disables-again", !ioctl(device.fd, KCOV_DISABLE, 0));
}

int main(void)
{
	calls_are_covered();
	maps_after_init_alone();
	two_devices_two_threads();
	one_device_two_threads();
	return 0;
}
