// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_swap TRIES - another thread exchanges a descriptor between two instances and a plain file during
 * every call. Every result must be possible for some order of events, each call acts on one instance only,
 * and nothing is recorded into a file or into an instance that was not enabled.
 */
#include "hostile_kit.h"
#include <pthread.h>

static int slot, objects[2], file;
static volatile int over;

static void *exchange(void *unused)
{
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		dup2(objects[0], slot);
		dup2(file, slot);
		dup2(objects[1], slot);
		dup2(file, slot);
	}
	return unused;
}

static int other_calls(uint64_t *random)
{
	struct kcov_remote_arg remote = { .area_size = KIT_WORDS };
	void *mapped;

	switch (next_random(random) % 5) {
	case 0:
		expect_one_of("INIT_TRACE", outcome(ioctl(slot, KCOV_INIT_TRACE, KIT_WORDS)), EBUSY, ENOTTY);
		return 0;
	case 1:
		expect_one_of("DISABLE", outcome(ioctl(slot, KCOV_DISABLE, 0)), EINVAL, ENOTTY);
		return 0;
	case 2:
		mapped = mmap(NULL, KIT_BYTES, PROT_READ, MAP_SHARED, slot, 0);
		if (mapped == MAP_FAILED)
			wrong("mmap: %m");
		else
			munmap(mapped, KIT_BYTES);
		/* One page more is EINVAL for an instance, but not for a file. */
		mapped = mmap(NULL, 2 * KIT_BYTES, PROT_READ, MAP_SHARED, slot, 0);
		expect_one_of("longer mmap", mapped == MAP_FAILED ? errno : 0, 0, EINVAL);
		if (mapped != MAP_FAILED)
			munmap(mapped, 2 * KIT_BYTES);
		return 0;
	case 3: {
		int got = outcome(ioctl(slot, KCOV_REMOTE_ENABLE, &remote));

		expect_one_of("REMOTE_ENABLE", got, 0, ENOTTY);
		return got == 0;
	}
	default: {
		int again = open("/proc/self/fd/100", O_RDWR | O_CLOEXEC);

		if (again < 0)
			wrong("re-open: %m");
		else
			close(again);
		return 0;
	}
	}
}

int main(int argc, char **argv)
{
	unsigned long tries = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000, hits = 0;
	uint64_t *areas[2], *foreign, *plain, random = 88172645463325252ull;
	pthread_t thread;

	objects[0] = kcov_ready(KIT_WORDS, &areas[0]);
	objects[1] = kcov_ready(KIT_WORDS, &areas[1]);
	int never = kcov_ready(KIT_WORDS, &foreign);
	file = memfd_create("plain", MFD_CLOEXEC);
	need(file >= 0 && !ftruncate(file, KIT_BYTES), "a plain file");
	plain = mmap(NULL, KIT_BYTES, PROT_READ, MAP_SHARED, file, 0);
	need(plain != MAP_FAILED, "mmap of the plain file");
	slot = 100;
	need(dup2(file, slot) == slot, "dup2");
	need(!pthread_create(&thread, NULL, exchange, NULL), "pthread_create");
	for (unsigned long i = 0; i < tries; i++) {
		int enabled = outcome(ioctl(slot, KCOV_ENABLE, KCOV_TRACE_PC));

		expect_one_of("ENABLE", enabled, 0, ENOTTY);
		if (enabled == 0) {
			hits++;
			__atomic_store_n(&areas[0][0], 0, __ATOMIC_RELEASE);
			__atomic_store_n(&areas[1][0], 0, __ATOMIC_RELEASE);
			syscall(SYS_getppid);
			if (!load(&areas[0][0]) == !load(&areas[1][0]))
				wrong("one is enabled, records: %lu and %lu", load(&areas[0][0]), load(&areas[1][0]));
		} else {
			enabled = !other_calls(&random);
		}
		int first = outcome(ioctl(objects[0], KCOV_DISABLE, 0));
		int second = outcome(ioctl(objects[1], KCOV_DISABLE, 0));
		expect_one_of("DISABLE of the first", first, 0, EINVAL);
		expect_one_of("DISABLE of the second", second, 0, EINVAL);
		if ((first == 0) + (second == 0) != (enabled == 0))
			wrong("enabled %s, disabled %d", enabled ? "none" : "one", (first == 0) + (second == 0));
	}
	over = 1;
	pthread_join(thread, NULL);
	for (int i = 0; i < KIT_WORDS; i++)
		if (foreign[i] || plain[i])
			wrong("word %d of what was never enabled: %#lx %#lx", i, foreign[i], plain[i]);
	close(never);
	printf("%lu of %lu found an instance\n", hits, tries);
	cycle("after the exchanges");
	return verdict();
}
