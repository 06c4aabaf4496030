// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A handler whose first workers die before they serve: as many as its
 * configuration says. With ":PATH" behind the number it cannot be loaded while
 * there is such a file.
 */
#define _GNU_SOURCE
#include "kcov_handler.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint32_t dead_born;
/* Shared by all workers. */
static uint32_t *born;

static void be_born(void)
{
	if (__atomic_fetch_add(born, 1, __ATOMIC_RELAXED) < dead_born)
		abort();
}

static struct kcov_answer stillborn_call(void *state, const struct kcov_call *call,
					 struct kcov_caller *caller)
{
	(void)state;
	(void)call;
	(void)caller;
	return kcov_value(*born);
}

static const struct kcov_call_claim calls[] = {{.call = "getpriority"}};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "stillborn",
	.calls = calls,
	.calls_count = 1,
	.call = stillborn_call,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host, const char *config)
{
	char *path;

	(void)host;
	dead_born = strtoul(config, &path, 10);
	if (*path == ':' && !access(path + 1, F_OK))
		abort();
	born = mmap(NULL, sizeof(*born), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (born == MAP_FAILED || pthread_atfork(NULL, NULL, be_born))
		return NULL;
	return &handler;
}
