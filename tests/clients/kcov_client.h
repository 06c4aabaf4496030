// SPDX-License-Identifier: MIT OR Apache-2.0
/* The KCOV ABI, spelled out so that no kernel header is needed. */
#ifndef KCOV_CLIENT_H
#define KCOV_CLIENT_H
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KCOV_DEVICE        "/sys/kernel/debug/kcov"
#define KCOV_INIT_TRACE    0x80086301u
#define KCOV_ENABLE        0x6364u
#define KCOV_DISABLE       0x6365u
#define KCOV_REMOTE_ENABLE 0x40186366u
#define KCOV_TRACE_PC      0ul
#define KCOV_TRACE_CMP     1ul

struct kcov_remote_arg {
	uint32_t trace_mode;
	uint32_t area_size;
	uint32_t num_handles;
	uint32_t pad;
	uint64_t common_handle;
	uint64_t handles[4];
};

/* Ends the client with a message. Exit status 9 means that its own set-up failed. */
static inline void need(int holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		exit(9);
	}
}

/* Opens and initialises a device with an area of `words` words, and maps the area. */
static inline int kcov_ready(size_t words, uint64_t **area)
{
	int fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);

	need(fd >= 0, "open");
	need(!ioctl(fd, KCOV_INIT_TRACE, words), "INIT_TRACE");
	*area = mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(*area != MAP_FAILED, "mmap");
	return fd;
}
#endif
