// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * KCOV instances as syzkaller's executor sets them up: fixed descriptors, large areas between guard pages,
 * requests that are sign-extended ints.
 */
#ifndef SYZ_COVER_H
#define SYZ_COVER_H
#include "kcov_client.h"
#include <sys/syscall.h>

enum {
	EXTRA_FD = 215,            /* the instance for remote coverage */
	COVER_FD = 216,            /* the first of the others */
	INSTANCES = 8,
	PREMAPPED = 3,             /* mapped before the first fork; a child maps the others when it needs them */
	COVER_WORDS = 0x80000,
	EXTRA_WORDS = 0x100000,
	PAGE = 4096,
};

/* `KCOV_INIT_TRACE` as a sign-extended int: only its low half is the request. */
#define SIGN_EXTENDED_INIT 0xffffffff80086301ul
/* Proposed upstream. */
#define KCOV_RESET_TRACE 0x6368ul
/* The number of this executor, used in a USB handle and a common handle. */
#define USB_HANDLE 0x0100000000000000ul
/* Data of test programs has fixed addresses. */
#define DATA ((char *)0x20000000)

static uint64_t proc_id;

struct cover {
	int fd;
	size_t words;
	char *guarded;             /* inaccessible pages before and behind the area */
	uint64_t *area;
};

static inline void cover_open(struct cover *cover, int fd, size_t words)
{
	int opened = openat(AT_FDCWD, KCOV_DEVICE, O_RDWR);

	need(opened >= 0, "open of the device");
	need(dup2(opened, fd) == fd, "dup2 of the device");
	need(!close(opened), "close");
	need(!syscall(SYS_ioctl, fd, SIGN_EXTENDED_INIT, words), "INIT_TRACE");
	*cover = (struct cover){ .fd = fd, .words = words };
}

static inline void cover_map(struct cover *cover)
{
	size_t size = cover->words * 8;

	cover->guarded = mmap(NULL, size + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(cover->guarded != MAP_FAILED, "room for the area");
	cover->area = mmap(cover->guarded + PAGE, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			   cover->fd, 0);
	need((char *)cover->area == cover->guarded + PAGE, "area between its guards");
}

/* All instances; the first ones and the remote one are mapped. */
static inline void cover_open_all(struct cover *covers, struct cover *extra)
{
	/* Its handles contain its own number, as other clients run in the same tenant. */
	proc_id = getpid() - 1;
	for (int i = 0; i < INSTANCES; i++) {
		cover_open(&covers[i], COVER_FD + i, COVER_WORDS);
		if (i < PREMAPPED)
			cover_map(&covers[i]);
	}
	cover_open(extra, EXTRA_FD, EXTRA_WORDS);
	cover_map(extra);
}

static inline int cover_enable(const struct cover *cover, unsigned long mode)
{
	return ioctl(cover->fd, KCOV_ENABLE, mode);
}

static inline int cover_enable_remote(const struct cover *cover)
{
	struct kcov_remote_arg arg = {
		.trace_mode = KCOV_TRACE_PC,
		.area_size = EXTRA_WORDS,
		.num_handles = 1,
		.common_handle = proc_id + 1,
		.handles = { USB_HANDLE | (proc_id + 1) },
	};

	return ioctl(cover->fd, KCOV_REMOTE_ENABLE, &arg);
}

static inline int cover_disable(const struct cover *cover)
{
	return ioctl(cover->fd, KCOV_DISABLE, 0);
}

static inline void cover_reset(const struct cover *cover)
{
	*(volatile uint64_t *)cover->area = 0;
}

static inline uint64_t cover_count(const struct cover *cover)
{
	return *(volatile uint64_t *)cover->area;
}

/* A call that every profile with traced calls traces, and that touches only its own page. */
static inline int one_mmap(void)
{
	return mmap(DATA, PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == DATA;
}

/* Records in words after the count. */
static inline uint64_t record_words(unsigned long mode)
{
	return mode == KCOV_TRACE_CMP ? 4 : 1;
}

/* The result of a call: "ok" or the name of its errno. */
static inline const char *said(int result)
{
	return result < 0 ? strerrorname_np(errno) : "ok";
}
#endif
