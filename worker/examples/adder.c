// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The device of adder.rs in C: ioctl request 0x7001 adds its argument to the sum
 * of the open file, 0x7002 stores the sum at the address in its argument.
 *
 *	cc -shared -fPIC -g $(pkg-config --cflags kcov-handler) \
 *	   $(pkg-config --variable=gcc_coverage kcov-handler) \
 *	   -o libadder.so adder.c
 *	kcov-broker run --handler ./libadder.so -- COMMAND
 *
 * The compiler's instrumentation records the coverage.
 */
#include "kcov_handler.h"

#include <errno.h>
#include <stdlib.h>

#define ADD 0x7001
#define SUM 0x7002

#define MAX_SUM (1ull << 32) /* larger sums are refused */

static const struct kcov_host *host;

/* An open file. */
struct sum {
	uint64_t value;
};

static int adder_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
		      void **file)
{
	(void)state, (void)device, (void)flags, (void)caller;
	*file = calloc(1, sizeof(struct sum));
	return *file ? 0 : -ENOMEM;
}

static void adder_release(void *state, void *file)
{
	(void)state;
	free(file);
}

static int add(struct sum *sum, uint64_t more)
{
	if (more > MAX_SUM - sum->value)
		return -ERANGE;
	sum->value += more;
	return 0;
}

static struct kcov_answer adder_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
				      struct kcov_caller *caller)
{
	struct sum *sum = file;

	(void)state;
	switch (request) {
	case ADD:
		return kcov_value(add(sum, arg));
	case SUM:
		return kcov_value(host->write(caller, arg, &sum->value, sizeof(sum->value)));
	default:
		return kcov_value(-ENOTTY);
	}
}

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	static const struct kcov_device_claim device = {"/dev/adder", ADD, SUM};
	static const struct kcov_handler handler = {
		.version = KCOV_HANDLER_VERSION,
		.size = sizeof(handler),
		.name = "adder",
		.devices = &device,
		.devices_count = 1,
		.open = adder_open,
		.ioctl = adder_ioctl,
		.release = adder_release,
	};

	/* CONFIG of --handler LIBRARY:CONFIG. Use host->refuse() to reject a bad one. */
	(void)config;
	host = given;
	return &handler;
}
