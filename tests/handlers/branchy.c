// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Functions with branches of every kind, covered in two ways: as a handler (/dev/branchy), and with
 * -DBRANCHY_MAIN as a program for gcov and llvm-cov that makes the calls of its arguments.
 */
#include <errno.h>
#include <stdint.h>

struct list {
	int length;
	uint64_t words[4];
};

static int push(struct list *list, uint64_t word)
{
	if (list->length == 4)
		return -ENOSPC;
	list->words[list->length++] = word;
	return 0;
}

static uint64_t sum(const struct list *list)
{
	uint64_t total = 0;

	for (int i = 0; i < list->length; i++)
		total += list->words[i];
	return total;
}

static int never(struct list *list)
{
	while (list->length > 0)
		list->length--;
	return -EPERM;
}

/* Blocks that begin in one line and branch in another, and several returns. */
static int classify(uint64_t request)
{
	int kind = 0;
	char letter = (char)request;

	if (letter == 'x') kind |= 1;
	if (request > 1002) return 9;
	kind += (int)(request & 1);
	while (kind > 1) kind--;
	if (kind == 1) { letter = 'y'; if (request == 7) return letter; }
	return kind;
}

static int branchy(uint64_t request)
{
	struct list list = {0};
	int result = 0;

	if (request > 1000) {
		if (request & 1)
			result = -EDOM;
		else
			result = 7;
	}
	switch (request) {
	case 3:
		result = 30;
		break;
	case 4:
		result = 40;
		/* fallthrough */
	case 5:
		result += 50;
		break;
	case 6:
		result = never(&list);
		break;
	default:
		break;
	}
	for (uint64_t word = 0; word < request % 8; word++) {
		if (result < 0)
			break;
		result = push(&list, word);
	}
	if (result >= 0)
		result += (int)sum(&list);
	return result + classify(request);
}

#ifdef BRANCHY_MAIN
#include <stdlib.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		branchy(strtoull(argv[i], 0, 0));
	return 0;
}
#else
#include "kcov_handler.h"

#define BRANCHY 0x7201

static int branchy_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller, void **file)
{
	(void)state;
	(void)device;
	(void)flags;
	(void)caller;
	*file = 0;
	return 0;
}

static struct kcov_answer branchy_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
					struct kcov_caller *caller)
{
	(void)state;
	(void)file;
	(void)request;
	(void)caller;
	return kcov_value(branchy(arg));
}

static const struct kcov_device_claim devices[] = {
	{.path = "/dev/branchy", .first = BRANCHY, .last = BRANCHY},
};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "branchy",
	.devices = devices,
	.devices_count = 1,
	.open = branchy_open,
	.ioctl = branchy_ioctl,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host, const char *config)
{
	(void)host;
	(void)config;
	return &handler;
}
#endif
