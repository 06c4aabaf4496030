// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * cover_calls WORD... - performs one action for each word, in order:
 *   pc:WORDS, cmp:WORDS   enables an instance with an area of WORDS words
 *   reset                 prints the count of the area and sets it to 0
 *   disable               disables the instance
 *   crash                 makes the handler `probe` crash
 *   N                     makes system call N with invalid arguments
 */
#define _GNU_SOURCE
#include "kcov_client.h"
#include <sys/syscall.h>

#define PROBE_CRASH 0x7004u

static int kcov = -1;
static uint64_t *area;

/* The smallest area, of 2 words, cannot be mapped: its size is not a multiple of the page size. */
static void collect(size_t words, unsigned long mode)
{
	kcov = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);
	need(kcov >= 0, "open");
	need(!ioctl(kcov, KCOV_INIT_TRACE, words), "INIT_TRACE");
	if (words % 512 == 0) {
		area = mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_SHARED, kcov, 0);
		need(area != MAP_FAILED, "mmap");
	}
	need(!ioctl(kcov, KCOV_ENABLE, mode), "ENABLE");
}

static void reset(void)
{
	need(area != NULL, "a mapped area");
	printf("%llu\n", (unsigned long long)__atomic_exchange_n(area, 0, __ATOMIC_SEQ_CST));
}

static void crash(void)
{
	int fd = open("/dev/probe", O_RDWR | O_CLOEXEC);

	need(fd >= 0, "open /dev/probe");
	need(ioctl(fd, PROBE_CRASH, 0) < 0 && errno == EIO, "PROBE_CRASH");
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "pc:", 3))
			collect(strtoul(argv[i] + 3, NULL, 0), KCOV_TRACE_PC);
		else if (!strncmp(argv[i], "cmp:", 4))
			collect(strtoul(argv[i] + 4, NULL, 0), KCOV_TRACE_CMP);
		else if (!strcmp(argv[i], "reset"))
			reset();
		else if (!strcmp(argv[i], "disable"))
			need(!ioctl(kcov, KCOV_DISABLE, 0), "DISABLE");
		else if (!strcmp(argv[i], "crash"))
			crash();
		else
			syscall(strtol(argv[i], NULL, 0), -1L, -1L, -1L, -1L, -1L, -1L);
	}
	return 0;
}
