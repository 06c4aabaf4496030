// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A compromised handler: each attack defines attack(), which runs in the worker when the client calls syslog(2).
 * The client sees what it returns. An attack that ends the worker returns nothing.
 */
#ifndef ATTACK_H
#define ATTACK_H
#define _GNU_SOURCE
#include "kcov_handler.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

static long attack(const struct kcov_call *call);

/* The result of a system call, as the kernel returns it. */
static inline long result(long value)
{
	return value < 0 ? -errno : value;
}

static struct kcov_answer answer(void *state, const struct kcov_call *call, struct kcov_caller *caller)
{
	(void)state;
	(void)caller;
	return kcov_value(attack(call));
}

static const struct kcov_call_claim claims[] = {{"syslog", 0, 0}};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(handler),
	.name = "attack",
	.calls = claims,
	.calls_count = 1,
	.call = answer,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host, const char *config);
const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host, const char *config)
{
	(void)host;
	(void)config;
	return &handler;
}
#endif
