// SPDX-License-Identifier: MIT OR Apache-2.0
/* /dev/releasing: the release of a file records the points 1, 2 and 3. Request 0x7b01 makes it crash then. */
#include "kcov_handler.h"

#include <stdlib.h>

static const struct kcov_host *host;

static int releasing_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller, void **file)
{
	(void)state, (void)device, (void)flags, (void)caller;
	*file = calloc(1, sizeof(int));
	return 0;
}

static struct kcov_answer releasing_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
					  struct kcov_caller *caller)
{
	(void)state, (void)request, (void)arg, (void)caller;
	*(int *)file = 1;
	return kcov_value(0);
}

static void releasing_release(void *state, void *file)
{
	(void)state;
	for (uint64_t id = 1; id <= 3; id++)
		host->record_edge(id);
	if (*(int *)file)
		abort();
	free(file);
}

static const struct kcov_device_claim devices[] = {{"/dev/releasing", 0x7b01, 0x7b01}};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "releasing",
	.devices = devices,
	.devices_count = 1,
	.open = releasing_open,
	.ioctl = releasing_ioctl,
	.release = releasing_release,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	(void)config;
	host = given;
	return &handler;
}
