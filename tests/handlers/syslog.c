// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A handler of one call that programs hardly make: syslog(2), by its first argument.
 *   1   reads 8 bytes of the caller's memory at the second argument, and returns the result of that
 *   15  never returns
 *   20  crashes
 * All others return 0.
 */
#include "kcov_handler.h"

static const struct kcov_host *host;

static struct kcov_answer serve(void *state, const struct kcov_call *call, struct kcov_caller *caller)
{
	uint64_t word;

	(void)state;
	switch (call->args[0]) {
	case 1:
		return kcov_value(host->read(caller, call->args[1], &word, sizeof(word)));
	case 15:
		for (;;)
			__asm__ volatile("");
	case 20:
		__builtin_trap();
	default:
		return kcov_value(0);
	}
}

static const struct kcov_call_claim calls[] = {{.call = "syslog"}};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "syslog",
	.calls = calls,
	.calls_count = 1,
	.call = serve,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	(void)config;
	host = given;
	return &handler;
}
