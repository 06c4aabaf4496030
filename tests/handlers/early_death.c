// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A handler whose first workers die before they serve, as many as its configuration says. With ":PATH"
 * behind the number, loading fails while that file exists.
 */
#define _GNU_SOURCE
#include "kcov_handler.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint32_t dying;
/* Shared by all workers. */
static uint32_t *forks;

static void count_fork(void)
{
	if (__atomic_fetch_add(forks, 1, __ATOMIC_RELAXED) < dying)
		abort();
}

static struct kcov_answer early_death_call(void *state, const struct kcov_call *call,
					 struct kcov_caller *caller)
{
	(void)state;
	(void)call;
	(void)caller;
	return kcov_value(*forks);
}

static const struct kcov_call_claim calls[] = {{.call = "getpriority"}};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "early_death",
	.calls = calls,
	.calls_count = 1,
	.call = early_death_call,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host, const char *config)
{
	char *path;

	(void)host;
	dying = strtoul(config, &path, 10);
	if (*path == ':' && !access(path + 1, F_OK))
		abort();
	forks = mmap(NULL, sizeof(*forks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (forks == MAP_FAILED || pthread_atfork(NULL, NULL, count_fork))
		return NULL;
	return &handler;
}
