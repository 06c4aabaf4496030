// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syz_trace pc|cmp - prints the records of each call of a test program, which runs twice, one call a line:
 * its round, its name, then the words of its records.
 */
#define _GNU_SOURCE
#include "syz_cover.h"
#include <sys/socket.h>

static struct cover cover;
static unsigned long mode;

static void begin(void)
{
	cover_reset(&cover);
}

/* Right after the call: only loads. */
static void end(int round, const char *name)
{
	static uint64_t words[COVER_WORDS];
	uint64_t count = cover_count(&cover);

	need(count <= (COVER_WORDS - 1) / record_words(mode), "count within the area");
	count *= record_words(mode);
	memcpy(words, &cover.area[1], count * 8);
	printf("%d %s", round, name);
	for (uint64_t i = 0; i < count; i++)
		printf(" 0x%llx", (unsigned long long)words[i]);
	printf("\n");
}

/* The arguments are the same in every run: fixed descriptor numbers, data at fixed addresses. */
static void program(int round)
{
	begin();
	need(one_mmap(), "mmap");
	end(round, "mmap");
	memcpy(DATA, "/dev/null", 10);
	begin();
	int fd = syscall(SYS_openat, AT_FDCWD, DATA, O_RDWR, 0);
	end(round, "openat");
	need(fd >= 0, "openat");
	begin();
	syscall(SYS_read, fd, DATA + 64, 64ul);
	end(round, "read");
	begin();
	syscall(SYS_write, fd, DATA + 64, 64ul);
	end(round, "write");
	begin();
	syscall(SYS_ioctl, fd, 0xffffffffc0045520ul, DATA);
	end(round, "ioctl");
	begin();
	syscall(SYS_close, fd);
	end(round, "close");
	begin();
	syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	end(round, "socket");
	begin();
	syscall(SYS_close, fd);
	end(round, "close");
	begin();
	syscall(SYS_getpid);
	end(round, "getpid");
	begin();
	syscall(SYS_munmap, DATA, PAGE);
	end(round, "munmap");
}

int main(int argc, char **argv)
{
	need(argc == 2, "usage: syz_trace pc|cmp");
	mode = strcmp(argv[1], "cmp") ? KCOV_TRACE_PC : KCOV_TRACE_CMP;
	cover_open(&cover, COVER_FD, COVER_WORDS);
	cover_map(&cover);
	need(!cover_enable(&cover, mode), "ENABLE");
	program(1);
	program(2);
	need(!cover_disable(&cover), "DISABLE");
	return 0;
}
