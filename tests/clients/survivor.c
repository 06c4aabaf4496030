// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * survivor CONTROL - four threads go through the life of KCOV instances and make traced calls while their
 * workers are being killed, until the test sets go.
 *
 * A call may give EIO, and must not have taken effect then, so that its repetition gives the expected
 * result. Any other unexpected result is wrong.
 *   facts: 0 rounds, 1 calls that gave EIO, 2 wrong results, 3 the longest call in milliseconds,
 *          4 descriptors left over
 */
#include "control.h"
#include "kcov_client.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

enum { THREADS = 4, WORDS = 512 };
enum { ROUNDS = CONTROL_FACTS, EIOS, WRONGS, SLOWEST, LEFT_OVER };

static volatile uint64_t *page;
static pid_t parent;

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static void wrong(const char *what, long got)
{
	control_add(page, WRONGS, 1);
	/* Writes directly: this call may itself be traced and fail. */
	dprintf(2, "wrong: %s gave %ld, errno %d\n", what, got, errno);
}

/* Makes the call, and repeats it while it gives EIO. */
static long persist(long number, long a, long b, long c, long d, long e, long f)
{
	for (;;) {
		uint64_t start = milliseconds();
		long result = syscall(number, a, b, c, d, e, f);
		uint64_t took = milliseconds() - start;

		if (took > control_get(page, SLOWEST))
			control_set(page, SLOWEST, took);
		if (result != -1 || errno != EIO)
			return result;
		control_add(page, EIOS, 1);
	}
}

static void expect_ok(const char *what, long got)
{
	if (got < 0)
		wrong(what, got);
}

static void traced_calls(void)
{
	long got = persist(SYS_getppid, 0, 0, 0, 0, 0, 0);

	if (got != parent)
		wrong("getppid", got);
	got = persist(SYS_read, -1, 0, 0, 0, 0, 0);
	if (got != -1 || errno != EBADF)
		wrong("read", got);
	got = persist(SYS_dup, -1, 0, 0, 0, 0, 0);
	if (got != -1 || errno != EBADF)
		wrong("dup", got);
}

static void life(void)
{
	long fd = persist(SYS_openat, AT_FDCWD, (long)KCOV_DEVICE, O_RDWR | O_CLOEXEC, 0, 0, 0);
	if (fd < 0) {
		wrong("open", fd);
		return;
	}
	expect_ok("INIT_TRACE", persist(SYS_ioctl, fd, KCOV_INIT_TRACE, WORDS, 0, 0, 0));
	long mapped = persist(SYS_mmap, 0, WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == -1) {
		wrong("mmap", mapped);
		close(fd);
		return;
	}
	volatile uint64_t *area = (volatile uint64_t *)mapped;
	expect_ok("ENABLE", persist(SYS_ioctl, fd, KCOV_ENABLE, KCOV_TRACE_PC, 0, 0, 0));
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	traced_calls();
	uint64_t count = __atomic_load_n(&area[0], __ATOMIC_RELAXED);
	if (count >= WORDS)
		wrong("count", count);
	expect_ok("DISABLE", persist(SYS_ioctl, fd, KCOV_DISABLE, 0, 0, 0, 0));
	munmap((void *)area, WORDS * 8);
	close(fd);
}

static void *thread(void *unused)
{
	while (control_get(page, CONTROL_GO) == 0) {
		life();
		control_add(page, ROUNDS, 1);
	}
	return unused;
}

/* Counts open descriptors: an open that took effect but gave EIO leaves one. */
static uint64_t descriptors(void)
{
	uint64_t open = 0;

	for (int fd = 0; fd < 1024; fd++)
		open += fcntl(fd, F_GETFD) >= 0;
	return open;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	page = control_map(argc > 1 ? argv[1] : "");
	parent = getppid();
	uint64_t before = descriptors();
	for (int i = 0; i < THREADS; i++)
		need(!pthread_create(&threads[i], NULL, thread, NULL), "pthread_create");
	control_set(page, CONTROL_READY, 1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	control_set(page, LEFT_OVER, descriptors() - before);
	return 0;
}
