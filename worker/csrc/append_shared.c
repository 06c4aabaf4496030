/*
 * The reference for an area with several writers: the same record as in append_limit.c, with the count incremented by
 * compare-and-swap. In a file of its own, so that the code of the other reference keeps its place.
 */
#include <stdint.h>

/* The part of struct task_struct that a record needs. */
struct task {
	volatile int on;
	uint64_t *area;
	uint64_t words;
};

static _Thread_local struct task current;

#define barrier() __asm__ volatile("" ::: "memory")

__attribute__((noipa)) static void append_pc_shared(uint64_t pc)
{
	struct task *task = &current;

	if (!task->on)
		return;
	barrier();
	uint64_t *area = task->area;
	uint64_t count = __atomic_load_n(&area[0], __ATOMIC_ACQUIRE);
	do {
		if (__builtin_expect(count + 1 >= task->words, 0))
			return;
	} while (!__atomic_compare_exchange_n(&area[0], &count, count + 1, 1, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	area[count + 1] = pc;
}

/* Append `records` PCs to `area`, which has `words` words and other writers. */
void kcov_limit_append_pcs_shared(uint64_t *area, uint64_t words, uint64_t records, uint64_t pc)
{
	current = (struct task){ 1, area, words };
	for (uint64_t i = 0; i < records; i++)
		append_pc_shared(pc + 8 * i);
	current.on = 0;
}
