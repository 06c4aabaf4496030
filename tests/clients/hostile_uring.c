// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_uring - opens by io_uring, which no filter sees: the device's path
 * leads to the placeholder, a re-open of an object leads to the same object.
 */
#include "hostile_kit.h"
#include <linux/io_uring.h>

static char *ring;
static struct io_uring_sqe *entries;
static struct io_uring_params parameters;
static int ring_fd;

static void set_up(void)
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

static uint32_t *word(uint32_t offset)
{
	return (uint32_t *)(ring + offset);
}

/* Descriptor, or minus the errno. */
static int open_by_ring(const char *path)
{
	uint32_t tail = *word(parameters.sq_off.tail), mask = *word(parameters.sq_off.ring_mask);

	entries[tail & mask] = (struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
						      .addr = (uintptr_t)path, .open_flags = O_RDWR | O_CLOEXEC };
	word(parameters.sq_off.array)[tail & mask] = tail & mask;
	__atomic_store_n(word(parameters.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	need(syscall(SYS_io_uring_enter, ring_fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1, "io_uring_enter");
	uint32_t head = *word(parameters.cq_off.head), cq_mask = *word(parameters.cq_off.ring_mask);
	struct io_uring_cqe *cqes = (void *)(ring + parameters.cq_off.cqes);
	int result = cqes[head & cq_mask].res;
	__atomic_store_n(word(parameters.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return result;
}

int main(void)
{
	char path[64];
	uint64_t *area;

	set_up();
	int fd = open_by_ring(KCOV_DEVICE);
	if (fd < 0)
		wrong("open of the placeholder: %s", strerrorname_np(-fd));
	expect("INIT_TRACE of the placeholder", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), ENOTTY);
	expect("ENABLE of the placeholder", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), ENOTTY);
	for (int i = 0; i < 200; i++) {
		int object = kcov_ready(KIT_WORDS, &area);

		snprintf(path, sizeof(path), "/proc/self/fd/%d", object);
		int again = open_by_ring(path);
		if (again < 0)
			wrong("re-open: %s", strerrorname_np(-again));
		expect("INIT_TRACE of a re-open", outcome(ioctl(again, KCOV_INIT_TRACE, KIT_WORDS)), EBUSY);
		expect("ENABLE of a re-open", outcome(ioctl(again, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		/* Any order of the two ends. */
		close(i % 2 ? object : again);
		syscall(SYS_getppid);
		if (load(&area[0]) == 0)
			wrong("no records");
		expect("DISABLE by the one that is left", outcome(ioctl(i % 2 ? again : object, KCOV_DISABLE, 0)), 0);
		munmap(area, KIT_BYTES);
		close(i % 2 ? again : object);
	}
	cycle("afterwards");
	return verdict();
}
