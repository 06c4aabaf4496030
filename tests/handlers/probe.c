// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A handler that does each thing that a handler can do once, and, selected by its configuration, each
 * thing that it should not do.
 */
#define _GNU_SOURCE
#include "kcov_handler.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROBE_ADD      0x7001 /* adds the argument to the file's sum */
#define PROBE_SUM      0x7002 /* stores the sum where the argument points to */
#define PROBE_COPY     0x7003 /* copies { from, to, length } */
#define PROBE_CRASH    0x7004
#define PROBE_HANG     0x7005
#define PROBE_RELEASED 0x7006 /* files released so far */
#define PROBE_RECORD   0x7007 /* three edges, two comparisons */
#define PROBE_MEMFD    0x7008
#define PROBE_LISTENER 0x7009 /* tries to pass on descriptors that it must not */
#define PROBE_LAST     0x700f

static const struct kcov_host *host;
static uint64_t released;

struct file {
	uint64_t sum;
};

struct copy {
	uint64_t from, to, length;
};

static int probe_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
		      void **file)
{
	(void)state;
	(void)caller;
	host->record_edge(100 + device);
	if (device == 1) {
		if (flags & O_NONBLOCK)
			for (;;)
				;
		return -EBUSY;
	}
	*file = calloc(1, sizeof(struct file));
	return *file ? 0 : -ENOMEM;
}

static struct kcov_answer copy(struct kcov_caller *caller, uint64_t arg)
{
	struct copy what;
	void *bytes;
	int result = host->read(caller, arg, &what, sizeof(what));

	if (result)
		return kcov_value(result);
	bytes = malloc(what.length ? what.length : 1);
	if (!bytes)
		return kcov_value(-ENOMEM);
	result = host->read(caller, what.from, bytes, what.length);
	if (!result)
		result = host->write(caller, what.to, bytes, what.length);
	free(bytes);
	return kcov_value(result);
}

static struct kcov_answer memory(void)
{
	int fd = memfd_create("probe", MFD_CLOEXEC);

	if (fd < 0 || write(fd, "probe\n", 6) != 6)
		return kcov_value(-EIO);
	return kcov_descriptor(fd, 1);
}

static struct kcov_answer probe_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
				      struct kcov_caller *caller)
{
	struct file *own = file;

	(void)state;
	switch (request) {
	case PROBE_ADD:
		own->sum += arg;
		return kcov_value(0);
	case PROBE_SUM:
		return kcov_value(host->write(caller, arg, &own->sum, sizeof(own->sum)));
	case PROBE_COPY:
		return copy(caller, arg);
	case PROBE_CRASH:
		abort();
	case PROBE_HANG:
		for (;;)
			;
	case PROBE_RELEASED:
		return kcov_value(released);
	case PROBE_RECORD:
		for (uint64_t id = 1; id <= 3; id++)
			host->record_edge(id);
		host->record_cmp(4, 2, 1, 0x1234, arg);
		host->record_cmp(5, 8, 0, arg, 7);
		return kcov_value(0);
	case PROBE_MEMFD:
		return memory();
	case PROBE_LISTENER:
		return kcov_descriptor(arg, 0);
	default:
		return kcov_value(-ENOTTY);
	}
}

static void probe_release(void *state, void *file)
{
	(void)state;
	released++;
	free(file);
}

/* getpriority() is three calls: one returns a value, one continues, one fails. */
static struct kcov_answer probe_call(void *state, const struct kcov_call *call,
				     struct kcov_caller *caller)
{
	(void)state;
	(void)caller;
	host->record_edge(200 + call->args[0]);
	if (call->args[0] == 40)
		return kcov_continue("it asks for 40");
	if (call->args[0] == 41)
		return kcov_value(-EXDEV);
	if (call->args[0] == 42)
		return kcov_descriptor(eventfd(5, 0), 0);
	return kcov_value(1000 + call->args[0]);
}

static const struct kcov_condition forties[] = {
	{.argument = 0, .mask = 0xfffffff8, .value = 40},
};
static const struct kcov_call_claim calls[] = {
	{.call = "getpriority", .conditions = forties, .conditions_count = 1},
};
static const struct kcov_device_claim devices[] = {
	{.path = "/dev/probe", .first = PROBE_ADD, .last = PROBE_LAST},
	{.path = "/dev/probes/busy", .first = PROBE_ADD, .last = PROBE_LAST},
};
static struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "probe",
	.calls = calls,
	.calls_count = 1,
	.devices = devices,
	.devices_count = 2,
	.call = probe_call,
	.open = probe_open,
	.ioctl = probe_ioctl,
	.release = probe_release,
};

static void *idle(void *unused)
{
	(void)unused;
	pause();
	return NULL;
}

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	static struct kcov_device_claim elsewhere = {.path = "/etc/passwd", .last = 1};
	static struct kcov_device_claim placed = {.path = "/dev/pts/9", .last = 1};
	static const struct kcov_call_claim nonsense = {.call = "frobnicate"};
	static const struct kcov_call_claim never = {.call = "rt_sigreturn"};
	pthread_t thread;

	host = given;
	if (!strcmp(config, "refuse")) {
		host->refuse("the moon is not full");
		return NULL;
	}
	if (!strcmp(config, "silent"))
		return NULL;
	if (!strcmp(config, "null")) {
		host->refuse(NULL);
		return NULL;
	}
	if (!strcmp(config, "crash"))
		*(volatile int *)8 = 0;
	if (!strcmp(config, "exit"))
		_exit(3);
	if (!strcmp(config, "hang"))
		for (;;)
			;
	if (!strcmp(config, "thread"))
		pthread_create(&thread, NULL, idle, NULL);
	if (!strcmp(config, "version"))
		handler.version = 7;
	if (!strcmp(config, "nameless"))
		handler.name = NULL;
	if (!strcmp(config, "place")) {
		handler.devices = &placed;
		handler.devices_count = 1;
	}
	if (!strcmp(config, "path")) {
		handler.devices = &elsewhere;
		handler.devices_count = 1;
	}
	if (!strcmp(config, "call"))
		handler.calls = &nonsense;
	if (!strcmp(config, "never"))
		handler.calls = &never;
	return &handler;
}
