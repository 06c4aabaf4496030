// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * cycles CONTROL - goes through the whole life of a KCOV instance each time the test raises go (1, 2,
 * ...), until go is END, while the processes that serve it may be killed at any step.
 *
 * A call may give EIO, and must not have taken effect then. The client repeats it; the result of the
 * repetition shows whether the first call took effect after all. Any other unexpected result is wrong. A
 * call that no handler claims may leave no record, but has its own result.
 *   ready: 1 + cycles done
 *   facts: 0 calls that gave EIO, 1 wrong results, 2 calls that gave EIO but took effect,
 *          3 the longest call in milliseconds, 4 descriptors left over,
 *          5 calls without a record; all since the start
 */
#include "control.h"
#include "kcov_client.h"
#include <sys/syscall.h>
#include <time.h>

enum { WORDS = 512, DESCRIPTORS = 64 };
enum { EIOS = CONTROL_FACTS, WRONGS, LATE, SLOWEST, LEFT_OVER, UNRECORDED };
static const uint64_t END = 1ull << 32;

static volatile uint64_t *page;
static pid_t parent;

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

/* Result of a call, or -errno. */
static long call(long number, long a, long b, long c, long d, long e)
{
	uint64_t start = milliseconds();
	long result = syscall(number, a, b, c, d, e, 0);
	uint64_t took = milliseconds() - start;

	if (took > control_get(page, SLOWEST))
		control_set(page, SLOWEST, took);
	if (result != -1)
		return result;
	if (errno == EIO)
		control_add(page, EIOS, 1);
	return -errno;
}

/* Makes the call, and repeats it while it gives EIO. Sets `again` if it was repeated. */
static long persist(int *again, long number, long a, long b, long c, long d, long e)
{
	long result;

	*again = 0;
	while ((result = call(number, a, b, c, d, e)) == -EIO)
		*again = 1;
	return result;
}

static void expect(const char *what, long got, int holds)
{
	if (holds)
		return;
	control_add(page, WRONGS, 1);
	dprintf(2, "wrong: %s gave %ld\n", what, got);
}

/* A request whose repetition gives `done` if the first one took effect. */
static void request(const char *name, int fd, unsigned long code, unsigned long arg, long done)
{
	int again;
	long got = persist(&again, SYS_ioctl, fd, code, arg, 0, 0);

	if (again && got == done) {
		control_add(page, LATE, 1);
		return;
	}
	expect(name, got, got == 0);
}

/* ENABLE. After an EIO, a DISABLE shows whether it took effect before it is repeated. */
static void enable(int fd)
{
	long got = call(SYS_ioctl, fd, KCOV_ENABLE, KCOV_TRACE_PC, 0, 0);
	int again;

	while (got == -EIO) {
		long probe = persist(&again, SYS_ioctl, fd, KCOV_DISABLE, 0, 0, 0);

		expect("DISABLE after ENABLE gave EIO", probe, probe == 0 || probe == -EINVAL);
		if (probe == 0)
			control_add(page, LATE, 1);
		got = call(SYS_ioctl, fd, KCOV_ENABLE, KCOV_TRACE_PC, 0, 0);
	}
	expect("ENABLE", got, got == 0);
}

static void traced_call(void)
{
	long got = call(SYS_getppid, 0, 0, 0, 0, 0);

	expect("getppid", got, got == parent);
}

static void collect(int fd, volatile uint64_t *area)
{
	enable(fd);
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	traced_call();
	uint64_t count = __atomic_load_n(&area[0], __ATOMIC_RELAXED);
	expect("count", count, count < WORDS);
	control_add(page, UNRECORDED, count == 0);
	for (uint64_t i = 1; i <= count && i < WORDS; i++)
		expect("PC", area[i], area[i] >= 0xffffffff80000000);
	request("DISABLE", fd, KCOV_DISABLE, 0, -EINVAL);
	count = __atomic_load_n(&area[0], __ATOMIC_RELAXED);
	traced_call();
	expect("count after DISABLE", area[0], area[0] == count);
}

static void cycle(void)
{
	int again;
	int fd = persist(&again, SYS_openat, AT_FDCWD, (long)KCOV_DEVICE, O_RDWR | O_CLOEXEC, 0, 0);

	expect("open", fd, fd >= 0);
	if (fd < 0)
		return;
	request("INIT_TRACE", fd, KCOV_INIT_TRACE, WORDS, -EBUSY);
	long mapped = persist(&again, SYS_mmap, 0, WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	/* An error is a small negative number. */
	expect("mmap", mapped, (unsigned long)mapped < -4096ul);
	if ((unsigned long)mapped < -4096ul) {
		collect(fd, (volatile uint64_t *)mapped);
		munmap((void *)mapped, WORDS * 8);
	}
	close(fd);
}

/* Counts open descriptors: an open that took effect but gave EIO leaves one. */
static uint64_t descriptors(void)
{
	uint64_t open = 0;

	for (int fd = 0; fd < DESCRIPTORS; fd++)
		open += fcntl(fd, F_GETFD) >= 0;
	return open;
}

int main(int argc, char **argv)
{
	page = control_map(argc > 1 ? argv[1] : "");
	parent = getppid();
	uint64_t before = descriptors();
	control_set(page, CONTROL_READY, 1);
	for (uint64_t turn = 1;; turn++) {
		control_wait(page, turn);
		if (control_get(page, CONTROL_GO) >= END)
			return 0;
		cycle();
		control_set(page, LEFT_OVER, descriptors() - before);
		control_set(page, CONTROL_READY, 1 + turn);
	}
}
