// SPDX-License-Identifier: MIT OR Apache-2.0
/* A handler without its own coverage, around the function of decide.c or decide.rs: /dev/branches. */
#include "kcov_handler.h"

#include <errno.h>

/* Reads a struct question, returns the decision. */
#define BRANCHES_DECIDE 0x7101

struct question {
	uint64_t key, value;
};

int decide(uint32_t key, uint64_t value);

static const struct kcov_host *host;

static int branches_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
			 void **file)
{
	(void)state;
	(void)device;
	(void)flags;
	(void)caller;
	*file = 0;
	return 0;
}

static struct kcov_answer branches_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
					 struct kcov_caller *caller)
{
	struct question question;
	int result = host->read(caller, arg, &question, sizeof(question));

	(void)state;
	(void)file;
	(void)request;
	return kcov_value(result ? result : decide(question.key, question.value));
}

static const struct kcov_device_claim devices[] = {
	{.path = "/dev/branches", .first = BRANCHES_DECIDE, .last = BRANCHES_DECIDE},
};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "branches",
	.devices = devices,
	.devices_count = 1,
	.open = branches_open,
	.ioctl = branches_ioctl,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	(void)config;
	host = given;
	return &handler;
}
