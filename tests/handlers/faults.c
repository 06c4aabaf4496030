// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A handler that ends in every possible way: by signals, by exit, by hanging, by errors that sanitizers
 * report.
 */
#define _GNU_SOURCE
#include "kcov_handler.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "faults.h"

static const struct kcov_host *host;

/* Three functions in one frame, which a backtrace must tell apart. */
static inline __attribute__((always_inline)) void store(volatile int *place)
{
	*place = 1; /* HERE: store */
}

static inline __attribute__((always_inline)) void follow(const struct order *order)
{
	store((volatile int *)order->address); /* HERE: follow */
}

static __attribute__((noinline)) void obey(const struct order *order)
{
	if (order->magic == FAULT_MAGIC)
		follow(order); /* HERE: obey */
	host->record_edge(1);
}

static __attribute__((noinline)) int overflow_stack(volatile int depth)
{
	volatile char pad[256];

	pad[0] = (char)depth;
	return depth < 0 ? 0 : overflow_stack(depth + 1) + pad[0];
}

static __attribute__((noinline)) void overflow_heap(uint64_t length)
{
	volatile char *bytes = malloc(length);

	for (uint64_t i = 0; i <= length; i++)
		bytes[i] = 7; /* HERE: overflow_heap */
	free((void *)bytes);
}

static __attribute__((noinline)) int overflow_int(int number)
{
	return number + 0x7fffffff; /* HERE: overflow_int */
}

static __attribute__((noinline)) int divide(int by)
{
	volatile int one = 1;

	return one / by;
}

/* A load past the end of the file behind a mapping. */
static __attribute__((noinline)) int past_the_file(void)
{
	int fd = memfd_create("empty", MFD_CLOEXEC);
	volatile int *bytes = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	return *bytes;
}

static __attribute__((noinline)) void trap(void)
{
#ifdef __aarch64__
	__asm__ volatile("brk #0");
#else
	__asm__ volatile("int3");
#endif
}

static __attribute__((noinline)) void spin(void)
{
	for (volatile int turn = 0;; turn++)
		host->record_edge(2);
}

static __attribute__((noinline)) int64_t take_descriptors(void)
{
	while (memfd_create("one more", MFD_CLOEXEC) >= 0)
		;
	return -errno;
}

static __attribute__((noinline)) int64_t take_memory(void)
{
	const size_t size = 1 << 20;

	for (;;) {
		char *bytes = malloc(size);

		if (!bytes)
			return -ENOMEM;
		memset(bytes, 1, size);
	}
}

static __attribute__((noinline)) int64_t read_much(struct kcov_caller *caller, uint64_t from)
{
	static char bytes[1 << 20];

	return host->read(caller, from, bytes, sizeof(bytes));
}

static int faults_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
		       void **file)
{
	(void)state;
	(void)caller;
	(void)flags;
	*file = calloc(1, sizeof(uint64_t));
	(void)device;
	return *file ? 0 : -ENOMEM;
}

static struct kcov_answer faults_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
				       struct kcov_caller *caller)
{
	struct order order = {0};
	uint64_t *last = file;

	(void)state;
	if (host->read(caller, arg, &order, sizeof(order)))
		return kcov_value(-EFAULT);
	switch (request) {
	case FAULT_NONE:
		return kcov_value((int64_t)order.address);
	case FAULT_SEGV:
		obey(&order);
		break;
	case FAULT_ABORT:
		abort();
	case FAULT_HANG:
		spin();
		break;
	case FAULT_STACK:
		return kcov_value(overflow_stack(0));
	case FAULT_EXIT:
		exit((int)order.address); /* HERE: exit */
	case FAULT_HEAP:
		overflow_heap(order.address);
		break;
	case FAULT_INT:
		return kcov_value(overflow_int((int)order.address));
	case FAULT_FPE:
		return kcov_value(divide((int)order.address));
	case FAULT_ILL:
		__builtin_trap();
	case FAULT_BUS:
		return kcov_value(past_the_file());
	case FAULT_FORK:
		for (;;)
			fork();
	case FAULT_DESCRIPTORS:
		return kcov_value(take_descriptors());
	case FAULT_MEMORY:
		return kcov_value(take_memory());
	case FAULT_CLOSE:
		for (int fd = 0; fd < 64; fd++)
			close(fd);
		return kcov_value(0);
	case FAULT_RELEASE:
		*last = order.address;
		break;
	case FAULT_READ:
		return kcov_value(read_much(caller, order.address));
	case FAULT_SLEEP:
		for (;;)
			sleep(1000);
	case FAULT_RAISE:
		/* The worker may only take note of the first one. */
		for (;;)
			syscall(SYS_tgkill, getpid(), gettid(), (int)order.address);
	case FAULT_FORBIDDEN:
		if (order.address == 0)
			return kcov_value(open("/", O_RDONLY)); /* HERE: open */
		return kcov_value(socket(AF_UNIX, SOCK_STREAM, 0)); /* HERE: socket */
	case FAULT_OTHER_EXIT:
		exit((int)order.address); /* HERE: other exit */
	case FAULT_CALL:
		((void (*)(void))order.address)(); /* HERE: call */
		break;
	case FAULT_TRAP:
		trap();
		break;
	default:
		return kcov_value(-ENOTTY);
	}
	return kcov_value(0);
}

/* Does on the last close what an earlier request asked for. */
static void faults_release(void *state, void *file)
{
	uint64_t *last = file;

	(void)state;
	if (*last == 1)
		abort();
	if (*last == 2)
		spin();
	free(file);
}

static struct kcov_answer faults_call(void *state, const struct kcov_call *call,
				      struct kcov_caller *caller)
{
	(void)state;
	(void)caller;
	if (call->args[0] == 40)
		abort();
	return kcov_value(1000 + call->args[0]);
}

static const struct kcov_call_claim calls[] = {{.call = "getpriority"}};
static const struct kcov_device_claim devices[] = {
	{.path = "/dev/faults", .first = FAULT_NONE, .last = FAULT_LAST},
};
static struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "faults",
	.calls = calls,
	.calls_count = 1,
	.devices = devices,
	.devices_count = 1,
	.call = faults_call,
	.open = faults_open,
	.ioctl = faults_ioctl,
	.release = faults_release,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	(void)config;
	host = given;
	return &handler;
}
