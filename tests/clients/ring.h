// SPDX-License-Identifier: MIT OR Apache-2.0
/* Opens through io_uring, which no filter sees. */
#ifndef RING_H
#define RING_H
#include "hostile_kit.h"
#include <linux/io_uring.h>

static char *ring;
static struct io_uring_sqe *entries;
static struct io_uring_params parameters;
static int ring_fd;

static inline void set_up(void)
{
	ring_fd = syscall(SYS_io_uring_setup, 4, &parameters);
	if (ring_fd < 0)
		exit(KIT_UNAVAILABLE);
	size_t bytes = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
	size_t queue = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
	ring = mmap(NULL, bytes > queue ? bytes : queue, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_fd,
		    IORING_OFF_SQ_RING);
	entries = mmap(NULL, parameters.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       ring_fd, IORING_OFF_SQES);
	need(ring != MAP_FAILED && entries != MAP_FAILED && (parameters.features & IORING_FEAT_SINGLE_MMAP), "io_uring");
}

static inline uint32_t *word(uint32_t offset)
{
	return (uint32_t *)(ring + offset);
}

/* Returns the descriptor or -errno. */
static inline int open_by_ring(const char *path, int flags)
{
	uint32_t tail = *word(parameters.sq_off.tail), mask = *word(parameters.sq_off.ring_mask);

	entries[tail & mask] = (struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
						      .addr = (uintptr_t)path, .open_flags = flags | O_CLOEXEC };
	word(parameters.sq_off.array)[tail & mask] = tail & mask;
	__atomic_store_n(word(parameters.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	need(syscall(SYS_io_uring_enter, ring_fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1, "io_uring_enter");
	uint32_t head = *word(parameters.cq_off.head), cq_mask = *word(parameters.cq_off.ring_mask);
	struct io_uring_cqe *cqes = (void *)(ring + parameters.cq_off.cqes);
	int result = cqes[head & cq_mask].res;
	__atomic_store_n(word(parameters.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return result;
}
#endif
