// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * pattern_descriptors - two descriptors in one thread, several names of one instance (dup, re-open, passed
 * over a socket), and comparisons and remote coverage as the documentation uses them. Prints one fact a
 * line.
 */
#define _GNU_SOURCE
#include "kcov_client.h"
#include <sys/socket.h>
#include <sys/wait.h>

enum { WORDS = 4096 };

static void fact(const char *name, int holds)
{
	printf("%s %s\n", name, holds ? "yes" : "no");
}

static int enable(int fd)
{
	return !ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC);
}

static int disable(int fd)
{
	return !ioctl(fd, KCOV_DISABLE, 0);
}

static uint64_t recorded(volatile uint64_t *area)
{
	area[0] = 0;
	getppid();
	return area[0];
}

static void two_in_one_thread(void)
{
	uint64_t *first_area, *second_area;
	int first = kcov_ready(WORDS, &first_area), second = kcov_ready(WORDS, &second_area);

	fact("first", enable(first) && recorded(first_area) > 0);
	fact("second-is-busy", !enable(second) && errno == EBUSY);
	fact("not-to-be-disabled-by-the-other", !disable(second) && errno == EINVAL);
	fact("still-first", recorded(first_area) > 0 && recorded(second_area) == 0);
	fact("second", disable(first) && enable(second) && recorded(second_area) > 0);
	fact("first-is-off", recorded(first_area) == 0);
	need(disable(second), "DISABLE");
	close(first);
	close(second);
}

static int passed(int fd)
{
	int pair[2], got = -1;
	char byte = 0, room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };

	need(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), "socketpair");
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	need(sendmsg(pair[0], &message, 0) == 1, "sendmsg");
	need(recvmsg(pair[1], &message, 0) == 1, "recvmsg");
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	close(pair[0]);
	close(pair[1]);
	return got;
}

static void one_by_many_names(void)
{
	uint64_t *area;
	int fd = kcov_ready(WORDS, &area), copy = dup(fd), sent = passed(fd);
	char path[64];

	fact("dup-enables", enable(copy) && recorded(area) > 0);
	fact("sent-disables", disable(sent));
	close(fd);
	close(copy);
	fact("last-name", enable(sent) && recorded(area) > 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", sent);
	int fresh = open(path, O_RDWR);

	/* A re-open gives a new instance, not yet initialised. */
	fact("reopened-is-another", fresh >= 0 && !ioctl(fresh, KCOV_INIT_TRACE, WORDS));
	close(sent);
	fact("goes-on-when-closed", recorded(area) > 0);
	fact("busy-when-closed", !enable(fresh) && errno == EBUSY);
	close(fresh);
}

static void comparisons(void)
{
	uint64_t *area;
	int fd = kcov_ready(WORDS, &area), holds;

	holds = !ioctl(fd, KCOV_ENABLE, KCOV_TRACE_CMP);
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	(void)!read(-1, NULL, 0);
	uint64_t count = __atomic_load_n(&area[0], __ATOMIC_RELAXED);

	holds &= disable(fd) && count > 0 && count <= (WORDS - 1) / 4;
	for (uint64_t i = 0; holds && i < count; i++)
		holds = area[1 + 4 * i] <= 7 && area[4 + 4 * i] >= 0xffffffff80000000ul;
	fact("comparisons", holds);
	close(fd);
}

static void remote(void)
{
	uint64_t *area;
	int fd = kcov_ready(WORDS, &area);
	struct kcov_remote_arg arg = {
		.trace_mode = KCOV_TRACE_PC,
		.area_size = WORDS,
		.num_handles = 1,
		.common_handle = getpid(),
		.handles = { 0x0100000000000000ul | getpid() },
	};

	fact("remote", !ioctl(fd, KCOV_REMOTE_ENABLE, &arg));
	fact("remote-records-no-own-calls", recorded(area) == 0);
	fact("remote-disable", disable(fd));
	close(fd);
}

/* Each group is a process, as the second leaves a thread enabled for good. */
static void group(void (*body)(void))
{
	int status;
	pid_t child = fork();

	need(child >= 0, "fork");
	if (!child) {
		body();
		exit(0);
	}
	need(waitpid(child, &status, 0) == child && status == 0, "waitpid");
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	group(two_in_one_thread);
	group(one_by_many_names);
	group(comparisons);
	group(remote);
	return 0;
}
