// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * ROUNDS [KEY VALUE]... - asks each question of the handler `branches` ROUNDS times and prints what it
 * left in the area. Fails unless each round leaves the same.
 *
 *         KEY VALUE = RESULT
 *         pc PC...
 *         cmp TYPE ARG1 ARG2 PC, a line each
 */
#include "kcov_client.h"

#include <inttypes.h>

#define BRANCHES_DECIDE 0x7101u
#define WORDS           512

struct question {
	uint64_t key, value;
};

/* Returns the result. The records are in `area`. */
static int ask(int fd, const struct question *question, uint64_t *area)
{
	int result;

	__atomic_store_n(&area[0], 0, __ATOMIC_SEQ_CST);
	result = ioctl(fd, BRANCHES_DECIDE, question);
	need(result >= 0, "DECIDE");
	return result;
}

static void print(unsigned long mode, const uint64_t *area)
{
	if (mode == KCOV_TRACE_PC) {
		printf("pc");
		for (uint64_t i = 1; i <= area[0]; i++)
			printf(" %#" PRIx64, area[i]);
		printf("\n");
		return;
	}
	for (uint64_t i = 0; i < area[0]; i++)
		printf("cmp %" PRIu64 " %#" PRIx64 " %#" PRIx64 " %#" PRIx64 "\n", area[1 + 4 * i], area[2 + 4 * i],
		       area[3 + 4 * i], area[4 + 4 * i]);
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 1;
	int device = open("/dev/branches", O_RDWR);

	need(device >= 0, "open /dev/branches");
	for (int i = 2; i + 1 < argc; i += 2) {
		struct question question = {strtoull(argv[i], 0, 0), strtoull(argv[i + 1], 0, 0)};

		printf("%#" PRIx64 " %#" PRIx64, question.key, question.value);
		for (unsigned long mode = KCOV_TRACE_PC; mode <= KCOV_TRACE_CMP; mode++) {
			static uint64_t first[WORDS];
			uint64_t *area;
			int fd = kcov_ready(WORDS, &area), result;

			need(!ioctl(fd, KCOV_ENABLE, mode), "ENABLE");
			result = ask(device, &question, area);
			memcpy(first, area, sizeof(first));
			for (long round = 1; round < rounds; round++) {
				need(ask(device, &question, area) == result, "the same result");
				need(!memcmp(first, area, sizeof(first)), "the same records");
			}
			need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");
			if (mode == KCOV_TRACE_PC)
				printf(" = %d\n", result);
			print(mode, first);
			munmap(area, WORDS * 8);
			close(fd);
		}
	}
	return 0;
}
