// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A handler that fills memory files without end, which no limit of the process counts. getpriority()
 * returns how many megabytes it got before it failed.
 */
#define _GNU_SOURCE
#include "kcov_handler.h"

#include <sys/mman.h>
#include <unistd.h>

#define MEGABYTE (1UL << 20)

static struct kcov_answer glutton_call(void *state, const struct kcov_call *call,
				       struct kcov_caller *caller)
{
	static char megabyte[MEGABYTE];
	long count = 0;

	(void)state, (void)call, (void)caller;
	for (int files = 0; files < 16; files++) {
		int fd = memfd_create("full", 0);

		for (int part = 0; part < 32 && write(fd, megabyte, MEGABYTE) == (long)MEGABYTE; part++)
			count++;
	}
	return kcov_value(count);
}

static const struct kcov_call_claim calls[] = {{.call = "getpriority"}};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "glutton",
	.calls = calls,
	.calls_count = 1,
	.call = glutton_call,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	(void)given, (void)config;
	return &handler;
}
