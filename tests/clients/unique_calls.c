// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * unique_calls BITMAP CALLS SEED RESET - makes random calls on the vault and prints the PCs that they cover, in
 * ascending order, then how many were recorded a second time. BITMAP: words of the bitmap, 0 to collect with ENABLE,
 * or `full` for the largest. RESET: what happens after half of the calls, when the PCs so far are forgotten: `none`,
 * `memory` (bitmap and count are set to 0) or `request` (RESET_TRACE). None of the calls reaches a bug of the vault.
 */
#include "kcov_client.h"

#define KCOV_UNIQUE_ENABLE 0x40086367u
#define KCOV_RESET_TRACE   0x6368u

enum { WORDS = 1 << 14, SLOTS = 1 << 14 };

struct deposit {
	uint32_t drawer, length;
	unsigned char bytes[64];
};

struct key {
	uint32_t word, serial;
	uint64_t pin, seal;
};

static uint64_t *area, seen[SLOTS], state;
static size_t bitmap, twice;

static uint32_t below(uint32_t end)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (state >> 33) % end;
}

/* Moves the PCs of the trace to the set. */
static void drain(void)
{
	uint64_t count = __atomic_exchange_n(&area[bitmap], 0, __ATOMIC_ACQUIRE);

	need(count < WORDS - bitmap, "count");
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t pc = area[bitmap + i];
		size_t slot = pc / 4 % SLOTS;

		need(pc >= 0xffffffff80000000u, "PC");
		while (seen[slot] && seen[slot] != pc)
			slot = (slot + 1) % SLOTS;
		twice += seen[slot] == pc;
		seen[slot] = pc;
	}
}

static void call(int vault)
{
	switch (below(4)) {
	case 0: {
		struct deposit deposit = { .drawer = below(5), .length = below(8) ? below(49) : 65 };

		ioctl(vault, 0x7601, &deposit);
		break;
	}
	case 1: {
		uint64_t mark = below(8) ? 0x6d61726bu : below(100);

		ioctl(vault, 0x7602, mark << 32 | below(256) << 8 | (1 + below(255)));
		break;
	}
	case 2:
		ioctl(vault, 0x7603, below(4) ? 0x746f63746f63746full : below(100));
		break;
	default: {
		struct key key = { .word = below(4) ? 0x73657361u : 1, .serial = below(200) };

		key.pin = below(2) ? 0x3141592653589793ull : below(100);
		ioctl(vault, 0x7604, below(8) ? &key : NULL);
	}
	}
	drain();
}

static int ascending(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

int main(int argc, char **argv)
{
	need(argc == 5, "arguments");
	bitmap = strcmp(argv[1], "full") ? strtoul(argv[1], NULL, 0) : WORDS - 2;
	unsigned long calls = strtoul(argv[2], NULL, 0);
	state = strtoul(argv[3], NULL, 0);
	int fd = kcov_ready(WORDS, &area), vault = open("/dev/vault", O_RDWR);

	need(vault >= 0, "vault");
	if (bitmap) {
		const size_t wrong[] = { 0, WORDS - 1, WORDS, ~0ul };

		for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
			need(ioctl(fd, KCOV_UNIQUE_ENABLE, wrong[i]) == -1 && errno == EINVAL, "wrong bitmap");
		need(!ioctl(fd, KCOV_UNIQUE_ENABLE, bitmap), "UNIQUE_ENABLE");
	} else {
		need(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	}
	drain();
	for (unsigned long i = 0; i < calls; i++) {
		if (i == calls / 2 && strcmp(argv[4], "none")) {
			memset(seen, 0, sizeof(seen));
			if (!strcmp(argv[4], "memory"))
				memset(area, 0, (bitmap + 1) * sizeof(*area));
			else
				need(!ioctl(fd, KCOV_RESET_TRACE, 0), "RESET_TRACE");
			drain();
		}
		call(vault);
	}
	need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");
	/* The whole area is the trace again. */
	memset(area, 0, WORDS * sizeof(*area));
	need(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	need(area[0] > 0 && area[1] != 0, "records from word 1 on");
	need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");

	qsort(seen, SLOTS, sizeof(*seen), ascending);
	for (size_t i = 0; i < SLOTS; i++)
		if (seen[i])
			printf("%#lx\n", seen[i]);
	printf("twice %zu\n", twice);
	return 0;
}
