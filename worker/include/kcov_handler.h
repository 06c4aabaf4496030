/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Handlers for kcov-broker in C.
 *
 * A handler plays the kernel for some system calls of a tenant, or for
 * devices that it provides. It is a shared library that exports one function:
 *
 *	const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host,
 *						   const char *config);
 *
 * Use it with
 *
 *	kcov-broker run --handler ./libfoo.so[:CONFIG] -- COMMAND
 *
 * Build it with cc -shared -fPIC. Add coverage instrumentation to record the
 * handler's coverage in the caller's KCOV area:
 *
 *	gcc   -g -fsanitize-coverage=trace-pc,trace-cmp \
 *	      -fno-optimize-sibling-calls
 *	clang -g -fsanitize-coverage=trace-pc-guard,pc-table,trace-cmp,trace-div
 *
 * (Without -fno-optimize-sibling-calls, gcc -O2 turns the callback at the end
 * of a function into a jump, and the PC of the function's caller is recorded
 * instead. With -flto, pass the flags to the linker as well.)
 *
 * kcov_handler_v1() is called once, before the tenant starts, in a process
 * without privileges that may still open files. All other functions are called
 * in a confined worker, which has no files, no network and no access to other
 * processes. They are called one at a time, in one thread. Treat all input from
 * callers as hostile.
 *
 * If the deadline of the run passes during a call, or the worker crashes, the
 * call returns EIO (but see KCOV_HANDLER_IDEMPOTENT). A new worker then starts
 * with the state that existed when kcov_handler_v1() returned.
 */
#ifndef KCOV_HANDLER_H
#define KCOV_HANDLER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface. The name of the entry function contains it too. */
#define KCOV_HANDLER_VERSION 1

/* The caller of a call. Valid until the handler has answered the call. */
struct kcov_caller;

/*
 * A remote section: work for a caller that is not done in one of its calls. See
 * kcov_host.remote_start.
 */
struct kcov_section;

/* Flags of remote_start. */
#define KCOV_REMOTE_SOFTIRQ 1 /* may come inside another section, as an interrupt does */

/* System call tables. */
#define KCOV_ABI_NATIVE 0 /* the machine's own table */
#define KCOV_ABI_I386 1   /* 32-bit programs on x86-64 */
#define KCOV_ABI_X32 2    /* x32 programs on x86-64; numbers include bit 30 */

struct kcov_call {
	uint32_t tid;	/* calling thread */
	uint32_t abi;	/* KCOV_ABI_* */
	int32_t number; /* number in that table */
	uint32_t reserved;
	uint64_t args[6]; /* argument registers, all 64 bits */
};

/* Kinds of answers. */
#define KCOV_ANSWER_VALUE 0	 /* return value; -1 to -4095 is an errno */
#define KCOV_ANSWER_DESCRIPTOR 1 /* return a new descriptor of fd's file */
#define KCOV_ANSWER_CONTINUE 2	 /* ask the next handler, or let the kernel run the call */

struct kcov_answer {
	uint32_t kind;
	uint32_t close_on_exec; /* for the caller's descriptor: 0 or 1 */
	int64_t value;		/* result, or -errno */
	int32_t fd;		/* a memfd, pipe or eventfd; the worker closes it */
	uint32_t reserved;
	const char *reason; /* for the log; must stay valid as long as the library */
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
 * Functions that the worker provides. size is the size of the structure that
 * the worker was built with: later minor versions may append members.
 */
struct kcov_host {
	uint32_t version; /* KCOV_HANDLER_VERSION */
	uint32_t size;
	/*
	 * Read or write the caller's memory, at most 16 MiB at a time. Return
	 * 0; -EFAULT if the memory is not mapped; -EINVAL for a larger length;
	 * -ENOMEM over a quota of the tenant; -EIO if the broker or the reader
	 * does not answer. A read is all or nothing. Other threads of the caller
	 * may change the memory at any time: read once what must not change
	 * between check and use.
	 */
	int (*read)(struct kcov_caller *caller, uint64_t address, void *buffer, size_t length);
	int (*write)(struct kcov_caller *caller, uint64_t address, const void *buffer,
		     size_t length);
	/*
	 * Record coverage in the caller's KCOV area, for code without
	 * instrumentation: a point with any id, or a comparison at such a point
	 * (size is 1, 2, 4 or 8 bytes; if one operand is a constant, it must be
	 * a). Ids below 2^25 have distinct PCs; larger ones may collide, which
	 * the log reports.
	 */
	void (*record_edge)(uint64_t id);
	void (*record_cmp)(uint64_t id, uint32_t size, int is_const, uint64_t a, uint64_t b);
	/*
	 * Report an error to the operator. Only for kcov_handler_v1(), before it
	 * returns NULL.
	 */
	void (*refuse)(const char *message);

	/* Members from here on exist only if size covers them. */

	/*
	 * The common handle of the calling thread (kcov_common_handle), for
	 * work that is done for it later; 0 if it has none.
	 */
	uint64_t (*common_handle)(struct kcov_caller *caller);
	/*
	 * Remote sections (kcov_remote_start, kcov_remote_stop). Start one for
	 * a handle, run code in it, and stop it:
	 *
	 *	struct kcov_section *section = host->remote_start(handle, 0);
	 *
	 *	host->remote_run(section, work, argument);
	 *	host->remote_stop(section);
	 *
	 * The records of work() go to a private buffer. remote_stop() appends
	 * them to the area of the thread that has the handle, unless it has
	 * disabled that meanwhile. A handle that is not in use, also 0, records
	 * nothing; remote_start() never returns NULL. Sections may stay open
	 * over calls and may be started in every function of the handler,
	 * release() included. A section that is started by code in another one
	 * has no effect, except with KCOV_REMOTE_SOFTIRQ.
	 */
	struct kcov_section *(*remote_start)(uint64_t handle, uint32_t flags);
	void (*remote_run)(struct kcov_section *section, void (*work)(void *argument),
			   void *argument);
	void (*remote_stop)(struct kcov_section *section);
};

/* A condition on an argument of a call: its bits under mask equal value. */
struct kcov_condition {
	uint32_t argument; /* from 0 to 5 */
	uint32_t reserved;
	uint64_t mask;
	uint64_t value;
};

/* A system call that the handler claims if all conditions hold. */
struct kcov_call_claim {
	const char *call; /* name as in syscalls(2) */
	const struct kcov_condition *conditions;
	size_t conditions_count;
};

/* A device that the handler provides. */
struct kcov_device_claim {
	const char *path; /* /dev/NAME or /dev/DIRECTORY/NAME */
	uint32_t first;	  /* first ioctl request that it answers */
	uint32_t last;	  /* last ioctl request that it answers */
};

/*
 * Claimed calls may be handled twice. If a worker crashes in the first half of
 * the deadline while it handles a call, and has not written to the caller's
 * memory, a new worker handles the call again from the start instead of failing
 * it with EIO. This happens at most once, within the same deadline. Records of
 * the first attempt stay in the caller's area. A call that hangs is not
 * repeated. Requests on devices are not repeated either, because the state of
 * their files is lost with the worker.
 */
#define KCOV_HANDLER_IDEMPOTENT 1

struct kcov_handler {
	uint32_t version; /* KCOV_HANDLER_VERSION */
	uint32_t size;	  /* sizeof(struct kcov_handler) */
	const char *name; /* letters, digits and -_.+:@, */
	void *state;	  /* passed to all functions below */

	const struct kcov_call_claim *calls;
	size_t calls_count;
	const struct kcov_device_claim *devices;
	size_t devices_count;

	/* Handle a claimed call. NULL if no call is claimed. */
	struct kcov_answer (*call)(void *state, const struct kcov_call *call,
				   struct kcov_caller *caller);
	/*
	 * Open the device with this index in devices. flags are the caller's
	 * open flags. Store any value in *file and return 0, or return -errno.
	 * NULL if there is no device.
	 */
	int (*open)(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
		    void **file);
	/* Handle an ioctl request in the claimed range on an open file. */
	struct kcov_answer (*ioctl)(void *state, void *file, uint32_t request, uint64_t arg,
				    struct kcov_caller *caller);
	/* Release a file whose last descriptor was closed. May be NULL. */
	void (*release)(void *state, void *file);

	/* Members from here on are read only if size covers them. */
	uint32_t flags; /* KCOV_HANDLER_*; unknown flags are refused */
	uint32_t reserved;
};

/* The function that the library exports. */
const struct kcov_handler *kcov_handler_v1(const struct kcov_host *host, const char *config);

#ifdef __cplusplus
}
#endif

#endif
