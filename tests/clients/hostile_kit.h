// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Shared code of the hostile clients. Each checks its own outcomes, names wrong results on standard error,
 * and exits with 1 if there were any. Statuses: 0 all as expected, 1 something wrong, 9 its own set-up
 * failed, 77 not supported on this machine.
 */
#ifndef HOSTILE_KIT_H
#define HOSTILE_KIT_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "kcov_client.h"
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { KIT_WORDS = 512, KIT_BYTES = KIT_WORDS * 8, KIT_UNAVAILABLE = 77 };

static volatile int kit_wrongs;

__attribute__((format(printf, 1, 2))) static inline void wrong(const char *format, ...)
{
	va_list list;

	/* The first messages are enough; a million would hide them. */
	if (__atomic_fetch_add(&kit_wrongs, 1, __ATOMIC_RELAXED) >= 20)
		return;
	va_start(list, format);
	dprintf(2, "wrong: ");
	vdprintf(2, format, list);
	dprintf(2, "\n");
	va_end(list);
}

static inline int verdict(void)
{
	return __atomic_load_n(&kit_wrongs, __ATOMIC_RELAXED) ? 1 : 0;
}

/* 0, or the errno of a call that failed. */
static inline int outcome(long result)
{
	return result < 0 ? errno : 0;
}

static inline void expect(const char *what, int got, int wanted)
{
	if (got != wanted)
		wrong("%s: %s, expected %s", what, strerrorname_np(got), strerrorname_np(wanted));
}

#define NUMBER_OF(array) (sizeof(array) / sizeof((array)[0]))

/* `got` must be 0 or an errno that some order of events can give. */
#define expect_one_of(what, got, ...)                                                              \
	do {                                                                                       \
		const int kit_set[] = { __VA_ARGS__ };                                             \
		int kit_got = (got), kit_found = 0;                                                \
		for (size_t kit_i = 0; kit_i < NUMBER_OF(kit_set); kit_i++)                        \
			kit_found |= kit_set[kit_i] == kit_got;                                    \
		if (!kit_found)                                                                    \
			wrong("%s: %s", what, strerrorname_np(kit_got));                           \
	} while (0)

static inline uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline uint64_t load(uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* A complete, correct life of an instance: the device works, whatever happened before. A traced call leaves
 * at least `least` records: 0 where workers of the same tenant die. */
static inline void cycle_with(const char *when, uint64_t least)
{
	uint64_t *area = MAP_FAILED;
	int fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		wrong("open %s: %m", when);
		return;
	}
	expect("INIT_TRACE of a good cycle", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	area = mmap(NULL, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED) {
		wrong("mmap %s: %m", when);
		close(fd);
		return;
	}
	for (int i = 0; i < KIT_WORDS; i++)
		if (area[i])
			wrong("word %d of a fresh area %s: %#lx", i, when, area[i]);
	expect("ENABLE of a good cycle", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	syscall(SYS_getppid);
	uint64_t count = load(&area[0]);
	if (count < least || count >= KIT_WORDS)
		wrong("records %s: %lu", when, count);
	expect("DISABLE of a good cycle", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	munmap(area, KIT_BYTES);
	close(fd);
}

static inline void cycle(const char *when)
{
	cycle_with(when, 1);
}

/* Exit code of a child, or 128 and its signal. */
static inline int wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
#endif
