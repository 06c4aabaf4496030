// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A handler whose calls may be repeated, and that dies of them. Its configuration: empty; "once", to not
 * declare its calls repeatable; "short", to have a size without flags; "unknown", to set an unknown flag.
 */
#define _GNU_SOURCE
#include "kcov_handler.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RETRY_ONCE  40 /* dies once: the number of attempts */
#define RETRY_EVER  41 /* dies each time */
#define RETRY_READ  42 /* reads a word, and dies once: returns the word */
#define RETRY_WRITE 43 /* writes a word, and dies */
#define RETRY_COUNT 44 /* attempted calls of the last kind */
#define RETRY_HANG  45 /* never returns */
#define RETRY_TWO   46 /* dies once, and never returns the second time */
#define RETRY_KILL  47 /* waits once for the worker to be killed */

static const struct kcov_host *host;
/* Shared by all workers, unlike their other memory. */
static struct shared {
	uint32_t kind, attempts;
} *shared;

static void spin(void)
{
	for (;;)
		;
}

static uint32_t attempt(uint32_t kind)
{
	if (shared->kind != kind)
		shared->attempts = 0;
	shared->kind = kind;
	return ++shared->attempts;
}

static struct kcov_answer retry_call(void *state, const struct kcov_call *call,
				     struct kcov_caller *caller)
{
	uint32_t kind = call->args[0], attempts;
	uint64_t word = 0;

	(void)state;
	if (kind == RETRY_COUNT)
		return kcov_value(shared->attempts);
	attempts = attempt(kind);
	if (kind == RETRY_READ && host->read(caller, call->args[1], &word, sizeof(word)))
		return kcov_value(-EFAULT);
	if (kind == RETRY_WRITE)
		host->write(caller, call->args[1], &word, sizeof(word));
	if (kind == RETRY_HANG || (kind == RETRY_TWO && attempts > 1) ||
	    (kind == RETRY_KILL && attempts == 1))
		spin();
	if (attempts == 1 || kind == RETRY_EVER)
		abort();
	return kcov_value(kind == RETRY_READ ? (int64_t)word : attempts);
}

static const struct kcov_condition forties[] = {
	{.argument = 0, .mask = 0xfffffff8, .value = 40},
};
static const struct kcov_call_claim calls[] = {
	{.call = "getpriority", .conditions = forties, .conditions_count = 1},
};
static struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "retry",
	.calls = calls,
	.calls_count = 1,
	.call = retry_call,
	.flags = KCOV_HANDLER_IDEMPOTENT,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	host = given;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return NULL;
	if (!strcmp(config, "once"))
		handler.flags = 0;
	if (!strcmp(config, "short"))
		handler.size = offsetof(struct kcov_handler, flags);
	if (!strcmp(config, "unknown"))
		handler.flags |= 1u << 31;
	return &handler;
}
