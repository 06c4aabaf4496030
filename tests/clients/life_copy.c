// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * life_copy HOW CONTROL - an open is copied, then initialised through the first descriptor, which is closed.
 * HOW selects the copy that is left:
 *   duplicate  a descriptor on which no request was made since
 *   used       a descriptor on which a request was made since
 *   read-only  as duplicate, of an open with O_RDONLY
 *   child      a descriptor of a child
 *   queue      a message in a socket's queue
 * ready 1: only that is left. When the test sets go 1 it is closed, followed by ready 2. go 2 ends the client.
 */
#include "hostile_kit.h"
#include "control.h"
#include <sys/socket.h>

static volatile uint64_t *page;

static void keep(void)
{
	control_set(page, CONTROL_READY, 1);
	control_wait(page, 1);
}

static void initialise_and_close(int fd)
{
	expect("INIT_TRACE", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	close(fd);
}

static void duplicate(int flags, int request)
{
	int fd = open(KCOV_DEVICE, flags | O_CLOEXEC), copy = dup(fd);

	need(copy >= 0, "dup");
	initialise_and_close(fd);
	if (request) {
		expect("ENABLE of a copy", outcome(ioctl(copy, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		expect("DISABLE of a copy", outcome(ioctl(copy, KCOV_DISABLE, 0)), 0);
	}
	keep();
	close(copy);
}

static void child(void)
{
	int fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);
	pid_t pid = fork();

	need(fd >= 0 && pid >= 0, "fork");
	if (pid == 0) {
		control_wait(page, 1);
		_exit(0);
	}
	initialise_and_close(fd);
	keep();
	wait_for(pid);
}

static void queue(void)
{
	int sockets[2], fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);
	char byte = 0, space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = space,
				  .msg_controllen = sizeof(space) };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	need(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), "socketpair");
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
	need(sendmsg(sockets[0], &message, 0) == 1, "sendmsg");
	initialise_and_close(fd);
	keep();
	close(sockets[0]);
	close(sockets[1]);
}

int main(int argc, char **argv)
{
	need(argc == 3, "usage: life_copy HOW CONTROL");
	page = control_map(argv[2]);
	if (!strcmp(argv[1], "child"))
		child();
	else if (!strcmp(argv[1], "queue"))
		queue();
	else
		duplicate(strcmp(argv[1], "read-only") ? O_RDWR : O_RDONLY, !strcmp(argv[1], "used"));
	control_set(page, CONTROL_READY, 2);
	control_wait(page, 2);
	return verdict();
}
