// SPDX-License-Identifier: MIT OR Apache-2.0
/* Records the explicit ids of its configuration, "ID,ID...", in each getppid, which then continues. */
#include "kcov_handler.h"

#include <stdlib.h>

#define MOST 8

static const struct kcov_host *host;
static uint64_t ids[MOST];
static size_t count;

static struct kcov_answer ids_call(void *state, const struct kcov_call *call, struct kcov_caller *caller)
{
	(void)state;
	(void)call;
	(void)caller;
	for (size_t i = 0; i < count; i++)
		host->record_edge(ids[i]);
	return kcov_continue("others record, too");
}

static const struct kcov_call_claim calls[] = {{.call = "getppid"}};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "ids",
	.calls = calls,
	.calls_count = 1,
	.call = ids_call,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	char *rest = (char *)config;

	host = given;
	while (*rest && count < MOST) {
		ids[count++] = strtoull(rest, &rest, 0);
		rest += *rest == ',';
	}
	return &handler;
}
