// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * soak_pattern ID SECONDS strict|tolerant - makes calls whose arguments carry a pattern unique to this
 * tenant, in comparison mode, and in PC mode calls that leave one record each. The client's own calls must
 * explain every record: an operand with another tenant's pattern, an unexpected count, or a PC outside the
 * text is wrong. With `tolerant`, workers are being killed: a request may give EIO, and a call that no handler
 * claims may leave no record.
 * Prints the rounds, and the requests that gave EIO together with the calls without a record.
 */
#define _GNU_SOURCE
#include "hostile_kit.h"

#define TAG	   0x5eedull
#define TEXT_FIRST 0xffffffff80000000ull
#define TEXT_LAST  0xffffffffff000000ull

enum { CALLS = 20 };

static uint64_t own, eios;
static int tolerant;

/* Makes the call, and repeats it while it gives EIO in tolerant mode. */
static long persist(long number, long a, long b, long c, long d, long e)
{
	for (;;) {
		long result = syscall(number, a, b, c, d, e, 0);

		if (result != -1 || errno != EIO || !tolerant)
			return result;
		eios++;
	}
}

/* Whether the worker died before it recorded the call. */
static int is_lost(uint64_t count)
{
	eios += tolerant && !count;
	return tolerant && !count;
}

static void check_operand(uint64_t operand, uint64_t value)
{
	if (operand >> 48 == TAG && operand != value)
		wrong("a foreign pattern: %#lx, own call had %#lx", operand, value);
}

static void check_pc(uint64_t pc)
{
	if (pc < TEXT_FIRST || pc > TEXT_LAST)
		wrong("a PC outside of the text: %#lx", pc);
}

static void compare(uint64_t *area, uint64_t value)
{
	uint64_t before = eios, count;
	int found = 0;

	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	if (persist(SYS_lseek, -1, value, 0, 0, 0) != -1 || errno != EBADF)
		wrong("lseek: %m");
	count = load(&area[0]);
	if (is_lost(count))
		return;
	if (count > (KIT_WORDS - 1) / 4) {
		wrong("count %lu", count);
		return;
	}
	for (uint64_t i = 0; i < count; i++) {
		uint64_t *record = &area[1 + 4 * i];

		if (record[0] > 7)
			wrong("type %#lx", record[0]);
		check_operand(record[1], value);
		check_operand(record[2], value);
		check_pc(record[3]);
		found |= record[1] == value || record[2] == value;
	}
	if (!found)
		wrong("%lu records, and none of lseek(%#lx) after %lu EIO", count, value, eios - before);
}

static void cover(uint64_t *area, uint64_t *usual)
{
	uint64_t before = eios, count;

	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	persist(SYS_getppid, 0, 0, 0, 0, 0);
	count = load(&area[0]);
	if (is_lost(count))
		return;
	/* A worker that died may have left its record, and the next one another. */
	if (count < 1 || count > 1 + eios - before) {
		wrong("%lu records of a getppid after %lu EIO", count, eios - before);
		return;
	}
	check_pc(area[1]);
	if (*usual && area[1] != *usual)
		wrong("getppid left %#lx, and %#lx before", area[1], *usual);
	*usual = area[1];
}

static void life(int comparisons, uint64_t round)
{
	static uint64_t usual;
	long mode = comparisons ? KCOV_TRACE_CMP : KCOV_TRACE_PC;
	long fd = persist(SYS_openat, AT_FDCWD, (long)KCOV_DEVICE, O_RDWR | O_CLOEXEC, 0, 0);
	uint64_t *area;

	need(fd >= 0, "open");
	/* An INIT_TRACE or ENABLE that took effect and gave EIO gives EBUSY when repeated. */
	need(!persist(SYS_ioctl, fd, KCOV_INIT_TRACE, KIT_WORDS, 0, 0) || (tolerant && errno == EBUSY), "INIT");
	area = (uint64_t *)persist(SYS_mmap, 0, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	need(area != MAP_FAILED, "mmap");
	for (int i = 0; i < KIT_WORDS; i++)
		if (area[i])
			wrong("word %d of a fresh area: %#lx", i, area[i]);
	need(!persist(SYS_ioctl, fd, KCOV_ENABLE, mode, 0, 0) || (tolerant && errno == EBUSY), "ENABLE");
	for (uint64_t call = 0; call < CALLS; call++) {
		if (comparisons)
			compare(area, TAG << 48 | own << 32 | (round * CALLS + call) % (1ull << 32));
		else
			cover(area, &usual);
	}
	if (persist(SYS_ioctl, fd, KCOV_DISABLE, 0, 0, 0) && !(tolerant && errno == EINVAL))
		wrong("DISABLE: %m");
	munmap(area, KIT_BYTES);
	close(fd);
}

int main(int argc, char **argv)
{
	uint64_t rounds = 0, end = 0;

	own = argc > 1 ? strtoul(argv[1], NULL, 0) & 0xffff : 0;
	end = milliseconds() + 1000 * (argc > 2 ? strtoul(argv[2], NULL, 0) : 1);
	tolerant = argc > 3 && !strcmp(argv[3], "tolerant");
	do {
		life(rounds & 1, rounds);
		rounds++;
	} while (milliseconds() < end && !verdict());
	printf("%lu %lu\n", rounds, eios);
	return verdict();
}
