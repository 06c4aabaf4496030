// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syz_reset CALLS - the main thread resets the area of another thread: between its calls, where each call
 * must then leave the same records, and while it makes CALLS calls, where the area must stay valid.
 */
#define _GNU_SOURCE
#include "syz_cover.h"
#include <pthread.h>

enum { ROUNDS = 100 };

static struct cover cover;
static unsigned long calls;
/* Odd: the thread's turn. Even: the main thread's turn. */
static volatile unsigned long turn;
static volatile int enabled, busy;

/* Without a system call between reset and call, as it would be recorded. */
static void await_turn(unsigned long mine)
{
	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != mine)
		;
}

static void pass_turn(void)
{
	__atomic_add_fetch(&turn, 1, __ATOMIC_RELEASE);
}

static void *work(void *unused)
{
	need(!cover_enable(&cover, KCOV_TRACE_PC), "ENABLE");
	__atomic_store_n(&enabled, 1, __ATOMIC_RELEASE);
	for (int round = 0; round < ROUNDS; round++) {
		await_turn(2 * round + 1);
		need(one_mmap(), "mmap");
		pass_turn();
	}
	/* The records of the last round have been read. */
	await_turn(2 * ROUNDS + 1);
	for (unsigned long call = 0; call < calls; call++) {
		need(one_mmap(), "mmap");
		need(cover_count(&cover) < cover.words, "count within the area");
	}
	__atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
	/* Ends without DISABLE. */
	return unused;
}

/* Rounds with the same records as the first. */
static unsigned equal_rounds(void)
{
	static uint64_t first[COVER_WORDS];
	unsigned equal = 0;

	for (unsigned long round = 0; round < ROUNDS; round++) {
		cover_reset(&cover);
		pass_turn();
		await_turn(2 * round + 2);
		uint64_t count = cover_count(&cover);

		need(count > 0 && count < cover.words, "count");
		if (!round)
			memcpy(first, cover.area, (count + 1) * 8);
		equal += !memcmp(first, cover.area, (count + 1) * 8);
	}
	return equal;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	unsigned long resets = 0;

	need(argc == 2, "usage: syz_reset CALLS");
	calls = strtoul(argv[1], NULL, 0);
	cover_open(&cover, COVER_FD, COVER_WORDS);
	cover_map(&cover);
	busy = 1;
	need(!pthread_create(&thread, NULL, work, NULL), "pthread_create");
	while (!__atomic_load_n(&enabled, __ATOMIC_ACQUIRE))
		;
	printf("equal %u\n", equal_rounds());
	pass_turn();
	do {
		cover_reset(&cover);
		resets++;
	} while (__atomic_load_n(&busy, __ATOMIC_ACQUIRE));
	need(!pthread_join(thread, NULL), "pthread_join");
	uint64_t count = cover_count(&cover);

	need(resets > 1, "resets");
	need(count < cover.words, "count within the area");
	for (uint64_t i = 1; i <= count; i++)
		need(cover.area[i] >= 0xffffffff80000000ul, "PC of the text");
	need(!cover_enable(&cover, KCOV_TRACE_PC), "ENABLE after the thread's exit");
	need(!cover_disable(&cover), "DISABLE");
	puts("whole yes");
	return 0;
}
