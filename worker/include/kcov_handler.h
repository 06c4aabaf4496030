/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Handlers for kcov-broker in C.
 *
 * A handler plays the kernel for some system calls of a tenant, or for the
 * devices that it brings. It is a shared library that exports one function:
 *
 *	const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host,
 *						   const char *config);
 *
 * and is used by
 *
 *	kcov-broker run --handler ./libfoo.so[:CONFIG] -- COMMAND
 *
 * Build it with cc -shared -fPIC, and with coverage instrumentation if the
 * caller's KCOV area is to show what the handler did:
 *
 *	gcc   -g -fsanitize-coverage=trace-pc,trace-cmp \
 *	      -fno-optimize-sibling-calls
 *	clang -g -fsanitize-coverage=trace-pc-guard,pc-table,trace-cmp,trace-div
 *
 * (Without the last flag, gcc -O2 lets the last point of a function return to
 * the function's caller, which is then what is recorded. With -flto, the link
 * needs the flags as well.)
 *
 * The function is called once, before the tenant starts, in a process without
 * rights that may still open files. All others are called in a jailed worker:
 * no file, no network, no other process. One call at a time, in one thread. What
 * callers say is hostile. A call that is not answered within the deadline of
 * the run, or in which the worker dies, returns EIO to its caller (but see
 * KCOV_HANDLER_IDEMPOTENT); a fresh worker starts from the state in which
 * kcov_handler_v1() returned.
 */
#ifndef KCOV_HANDLER_H
#define KCOV_HANDLER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface; also in the name of the entry function. */
#define KCOV_HANDLER_VERSION 1

/* The caller of the call that a handler has, valid for as long as it has it. */
struct kcov_caller;

/* Tables that system call numbers count in. */
#define KCOV_ABI_NATIVE 0 /* the machine's own */
#define KCOV_ABI_I386 1   /* 32-bit programs on x86-64 */
#define KCOV_ABI_X32 2    /* the x32 numbers of x86-64, with their bit */

struct kcov_call {
	uint32_t tid;	/* calling thread */
	uint32_t abi;	/* KCOV_ABI_* */
	int32_t number; /* as the table counts */
	uint32_t reserved;
	uint64_t args[6]; /* argument registers, all 64 bits */
};

/* What becomes of a call. */
#define KCOV_ANSWER_VALUE 0	 /* it returns value; -1 to -4095 is an error */
#define KCOV_ANSWER_DESCRIPTOR 1 /* it returns a new descriptor of fd's file */
#define KCOV_ANSWER_CONTINUE 2	 /* the kernel runs it, for this reason */

struct kcov_answer {
	uint32_t kind;
	uint32_t close_on_exec; /* of the caller's descriptor: 0 or 1 */
	int64_t value;		/* or -errno */
	int32_t fd;		/* a memfd, pipe or eventfd; closed by the worker */
	uint32_t reserved;
	const char *reason; /* a string that lives as long as the library */
};

static inline struct kcov_answer kcov_value(int64_t value)
{
	struct kcov_answer answer = {0};

	answer.kind = KCOV_ANSWER_VALUE;
	answer.value = value;
	return answer;
}

static inline struct kcov_answer kcov_descriptor(int fd, int close_on_exec)
{
	struct kcov_answer answer = {0};

	answer.kind = KCOV_ANSWER_DESCRIPTOR;
	answer.fd = fd;
	answer.close_on_exec = close_on_exec != 0;
	return answer;
}

static inline struct kcov_answer kcov_continue(const char *reason)
{
	struct kcov_answer answer = {0};

	answer.kind = KCOV_ANSWER_CONTINUE;
	answer.reason = reason;
	return answer;
}

/*
 * What the worker does for a handler. size is that of the structure as the
 * worker knows it: a later minor version may append members.
 */
struct kcov_host {
	uint32_t version; /* KCOV_HANDLER_VERSION */
	uint32_t size;
	/*
	 * The caller's memory, at most 16 MiB at a time. 0, or -EFAULT where it
	 * is not mapped, -ENOMEM over a quota of the tenant's; read is all or
	 * nothing. Other threads of the caller may
	 * write there at any time: read once what must not change.
	 */
	int (*read)(struct kcov_caller *caller, uint64_t address, void *buffer, size_t length);
	int (*write)(struct kcov_caller *caller, uint64_t address, const void *buffer,
		     size_t length);
	/*
	 * Records for the caller's KCOV area, for code that is not compiled with
	 * instrumentation: a point by any number of its own, a comparison (size
	 * 1, 2, 4 or 8 bytes; a is the constant, if one is) at such a point. Two
	 * numbers of which one is 2^25 or more may be one point; the log tells.
	 */
	void (*record_edge)(uint64_t id);
	void (*record_cmp)(uint64_t id, uint32_t size, int is_const, uint64_t a, uint64_t b);
	/*
	 * For kcov_handler_v1() alone, before it returns NULL: why, for the
	 * operator.
	 */
	void (*refuse)(const char *message);
};

/* Condition on one argument of a call: its bits under mask are value. */
struct kcov_condition {
	uint32_t argument; /* from 0 to 5 */
	uint32_t reserved;
	uint64_t mask;
	uint64_t value;
};

/* A system call that the handler wants, if all conditions hold. */
struct kcov_call_claim {
	const char *call; /* its name, as in syscalls(2) */
	const struct kcov_condition *conditions;
	size_t conditions_count;
};

/* A device that the handler plays. */
struct kcov_device_claim {
	const char *path; /* /dev/NAME or /dev/DIRECTORY/NAME */
	uint32_t first;	  /* requests of ioctl that it answers, */
	uint32_t last;	  /* from the first to the last */
};

/*
 * A call that was claimed may be handled twice. If a worker dies of one in the
 * first half of the deadline, and has written nothing to the caller's memory, a
 * fresh worker handles it from the beginning instead of failing it with EIO:
 * once, within the same deadline. What the first attempt recorded stays in the
 * caller's area. A call that does not come to an end is not repeated, nor are
 * requests of devices: the state of a file dies with the worker.
 */
#define KCOV_HANDLER_IDEMPOTENT 1

struct kcov_handler {
	uint32_t version; /* KCOV_HANDLER_VERSION */
	uint32_t size;	  /* sizeof(struct kcov_handler) */
	const char *name; /* letters, digits and -_.+:@, */
	void *state;	  /* passed to all functions */

	const struct kcov_call_claim *calls;
	size_t calls_count;
	const struct kcov_device_claim *devices;
	size_t devices_count;

	/* Handles a call that was claimed; NULL if none is. */
	struct kcov_answer (*call)(void *state, const struct kcov_call *call,
				   struct kcov_caller *caller);
	/*
	 * Opens device number (its place in devices) with the caller's open flags.
	 * 0, with anything in *file; or -errno. NULL if there is no device.
	 */
	int (*open)(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
		    void **file);
	/* Handles a request of the range on an open file. */
	struct kcov_answer (*ioctl)(void *state, void *file, uint32_t request, uint64_t arg,
				    struct kcov_caller *caller);
	/* The last descriptor of the file is closed. May be NULL. */
	void (*release)(void *state, void *file);

	/* From here on: for libraries whose size says that they have it. */
	uint32_t flags; /* KCOV_HANDLER_*; one that the worker does not know is refused */
	uint32_t reserved;
};

/* What the library exports. */
const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host, const char *config);

#ifdef __cplusplus
}
#endif

#endif
