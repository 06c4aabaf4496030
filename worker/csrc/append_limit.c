/*
 * The reference of the recording benchmark: the kernel's code for a record (__sanitizer_cov_trace_pc and
 * write_comp_data in kernel/kcov.c, Linux 6.12), compiled for user space. Each record is one call that the compiler
 * cannot inline, like a callback in the kernel.
 */
#include <stdint.h>

enum mode { MODE_OFF, MODE_PC, MODE_CMP };

/* Size of a comparison record in words, and the type used here: 8 bytes, no constant. */
#define CMP_WORDS 4
#define CMP_TYPE 6

/* The part of struct task_struct that a record needs. */
struct task {
	volatile enum mode mode;
	uint64_t *area;
	uint64_t words;
};

static _Thread_local struct task current;

#define ONCE(word) (*(volatile uint64_t *)&(word))
#define barrier() __asm__ volatile("" ::: "memory")

__attribute__((noipa)) static void append_pc(uint64_t pc)
{
	struct task *task = &current;

	if (task->mode != MODE_PC)
		return;
	barrier();
	uint64_t *area = task->area;
	uint64_t position = ONCE(area[0]) + 1;
	if (__builtin_expect(position < task->words, 1)) {
		/* The count first: an interrupt may record in between, as in the kernel. */
		ONCE(area[0]) = position;
		barrier();
		area[position] = pc;
	}
}

__attribute__((noipa)) static void append_cmp(uint64_t arg1, uint64_t arg2, uint64_t pc)
{
	struct task *task = &current;

	if (task->mode != MODE_CMP)
		return;
	barrier();
	uint64_t *area = task->area;
	uint64_t count = ONCE(area[0]);
	uint64_t start = 1 + count * CMP_WORDS;
	if (__builtin_expect((start + CMP_WORDS) * sizeof(*area) <= task->words * sizeof(*area), 1)) {
		ONCE(area[0]) = count + 1;
		barrier();
		area[start] = CMP_TYPE;
		area[start + 1] = arg1;
		area[start + 2] = arg2;
		area[start + 3] = pc;
	}
}

/* Append `records` PCs to `area`, which has `words` words. */
void kcov_limit_append_pcs(uint64_t *area, uint64_t words, uint64_t records, uint64_t pc)
{
	current = (struct task){ MODE_PC, area, words };
	for (uint64_t i = 0; i < records; i++)
		append_pc(pc + 8 * i);
	current.mode = MODE_OFF;
}

/* Append `records` comparisons to `area`, which has `words` words. */
void kcov_limit_append_cmps(uint64_t *area, uint64_t words, uint64_t records, uint64_t pc)
{
	current = (struct task){ MODE_CMP, area, words };
	for (uint64_t i = 0; i < records; i++)
		append_cmp(i, pc, pc);
	current.mode = MODE_OFF;
}

/* Do nothing: measures the call. */
__attribute__((noipa)) void kcov_limit_empty(uint64_t pc)
{
	(void)pc;
}
