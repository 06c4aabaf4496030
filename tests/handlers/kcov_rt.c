// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The test device of the conformance programs, /dev/kcov_rt: remote sections, and callbacks in the caller. It
 * calls the functions of the instrumentation itself, as the kernel module behind the transcripts does.
 *
 * RUN      _IOW('R',1,rt_arg)  a section: pcs times trace_pc, then cmps times trace_cmp8; with hold it stays open
 * RELEASE  _IO('R',2)          stops the section that is held; ENOENT if there is none
 * COMMON   _IOR('R',3,u64)     the common handle of the caller
 * LOCAL    _IOW('R',4,rt_arg)  the callbacks of RUN in the caller's call
 * SOFTIRQ  _IOW('R',5,rt_arg)  as RUN, in a softirq section; hold is ignored
 * SWITCH   _IO('R',6)          trace_switch of the argument with the cases 5, 6 and 7 of 32 bits
 * CMPS     _IO('R',7)          each of trace_cmp1 to 8, then each of trace_const_cmp1 to 8
 */
#include "kcov_handler.h"

#include <errno.h>
#include <sys/ioctl.h>

struct rt_arg {
	uint64_t handle;
	uint32_t pcs, cmps, hold, pad;
};

#define RUN _IOW('R', 1, struct rt_arg)
#define RELEASE _IO('R', 2)
#define COMMON _IOR('R', 3, uint64_t)
#define LOCAL _IOW('R', 4, struct rt_arg)
#define SOFTIRQ _IOW('R', 5, struct rt_arg)
#define SWITCH _IO('R', 6)
#define CMPS _IO('R', 7)

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_cmp1(uint8_t a, uint8_t b);
void __sanitizer_cov_trace_cmp2(uint16_t a, uint16_t b);
void __sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b);
void __sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b);
void __sanitizer_cov_trace_const_cmp1(uint8_t a, uint8_t b);
void __sanitizer_cov_trace_const_cmp2(uint16_t a, uint16_t b);
void __sanitizer_cov_trace_const_cmp4(uint32_t a, uint32_t b);
void __sanitizer_cov_trace_const_cmp8(uint64_t a, uint64_t b);
void __sanitizer_cov_trace_switch(uint64_t value, uint64_t *cases);

static const struct kcov_host *host;
static struct kcov_section *held;

/* The callbacks that a request asks for. */
static void callbacks(void *argument)
{
	const struct rt_arg *arg = argument;

	for (uint32_t i = 0; i < arg->pcs; i++)
		__sanitizer_cov_trace_pc();
	for (uint64_t i = 0; i < arg->cmps; i++)
		__sanitizer_cov_trace_cmp8(0x1111111100000000 | i, 0x2222222200000000 | i);
}

static int64_t section(struct rt_arg *arg, uint32_t flags)
{
	int hold = arg->hold && !(flags & KCOV_REMOTE_SOFTIRQ);
	struct kcov_section *started;

	if (hold && held)
		return -EBUSY;
	started = host->remote_start(arg->handle, flags);
	host->remote_run(started, callbacks, arg);
	if (hold)
		held = started;
	else
		host->remote_stop(started);
	return 0;
}

static int64_t release(void)
{
	if (!held)
		return -ENOENT;
	host->remote_stop(held);
	held = NULL;
	return 0;
}

static int64_t common(uint64_t address, struct kcov_caller *caller)
{
	uint64_t handle = host->common_handle(caller);

	return host->write(caller, address, &handle, sizeof(handle));
}

static int64_t cmps(void)
{
	__sanitizer_cov_trace_cmp1(0x11, 0x22);
	__sanitizer_cov_trace_cmp2(0x1111, 0x2222);
	__sanitizer_cov_trace_cmp4(0x11111111, 0x22222222);
	__sanitizer_cov_trace_cmp8(0x1111111111111111, 0x2222222222222222);
	__sanitizer_cov_trace_const_cmp1(0x11, 0x22);
	__sanitizer_cov_trace_const_cmp2(0x1111, 0x2222);
	__sanitizer_cov_trace_const_cmp4(0x11111111, 0x22222222);
	__sanitizer_cov_trace_const_cmp8(0x1111111111111111, 0x2222222222222222);
	return 0;
}

static int64_t rt_request(uint32_t request, uint64_t arg, struct kcov_caller *caller)
{
	static uint64_t cases[] = {3, 32, 5, 6, 7};
	struct rt_arg copy;
	int error;

	switch (request) {
	case RELEASE:
		return release();
	case COMMON:
		return common(arg, caller);
	case SWITCH:
		__sanitizer_cov_trace_switch(arg, cases);
		return 0;
	case CMPS:
		return cmps();
	case RUN:
	case LOCAL:
	case SOFTIRQ:
		break;
	default:
		return -ENOTTY;
	}
	error = host->read(caller, arg, &copy, sizeof(copy));
	if (error)
		return error;
	if (request != LOCAL)
		return section(&copy, request == SOFTIRQ ? KCOV_REMOTE_SOFTIRQ : 0);
	callbacks(&copy);
	return 0;
}

static int rt_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller, void **file)
{
	(void)state, (void)device, (void)flags, (void)caller, (void)file;
	return 0;
}

static struct kcov_answer rt_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
				   struct kcov_caller *caller)
{
	(void)state, (void)file;
	/* Stands for the records of the kernel's own ioctl. */
	__sanitizer_cov_trace_pc();
	return kcov_value(rt_request(request, arg, caller));
}

static const struct kcov_device_claim devices[] = {{"/dev/kcov_rt", RUN & 0xffff, COMMON}};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(handler),
	.name = "kcov_rt",
	.devices = devices,
	.devices_count = 1,
	.open = rt_open,
	.ioctl = rt_ioctl,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	(void)config;
	host = given;
	if (given->size < sizeof(struct kcov_host)) {
		given->refuse("it needs remote sections, which this worker does not have");
		return NULL;
	}
	return &handler;
}
