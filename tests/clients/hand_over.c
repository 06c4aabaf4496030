// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hand_over give SOCKET CONTROL - passes an initialised device to the client that connects
 * hand_over take SOCKET CONTROL - tries the requests on a device that it received:
 *   facts: errno of INIT_TRACE, ENABLE, DISABLE, REMOTE_ENABLE on it
 */
#include "control.h"
#include "kcov_client.h"
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	need(strlen(path) < sizeof(name.sun_path), "short path of the socket");
	strcpy(name.sun_path, path);
	return name;
}

static void send_descriptor(int to, int fd)
{
	char byte = 0, space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = space,
				  .msg_controllen = sizeof(space) };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
	need(sendmsg(to, &message, 0) == 1, "sendmsg");
}

static int receive_descriptor(int from)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = space,
				  .msg_controllen = sizeof(space) };
	int fd;

	need(recvmsg(from, &message, 0) == 1, "recvmsg");
	need(CMSG_FIRSTHDR(&message) != NULL, "descriptor in the message");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

static void give(const char *path, volatile uint64_t *page)
{
	struct sockaddr_un name = address(path);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t *area;
	int fd = kcov_ready(512, &area);

	need(!bind(listener, (struct sockaddr *)&name, sizeof(name)), "bind");
	need(!listen(listener, 1), "listen");
	control_set(page, CONTROL_READY, 1);
	int peer = accept(listener, NULL, NULL);
	need(peer >= 0, "accept");
	send_descriptor(peer, fd);
	/* The peer closes the connection when it has tried everything. */
	char byte;
	need(read(peer, &byte, 1) == 0, "end of the peer");
	/* None of its requests had an effect here. */
	need(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE by the owner");
	need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE by the owner");
}

static void take(const char *path, volatile uint64_t *page)
{
	struct sockaddr_un name = address(path);
	int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(!connect(peer, (struct sockaddr *)&name, sizeof(name)), "connect");
	int fd = receive_descriptor(peer);
	struct kcov_remote_arg remote = { .area_size = 512 };
	const unsigned long arguments[] = { 512, KCOV_TRACE_PC, 0, (unsigned long)&remote };
	const unsigned int requests[] = { KCOV_INIT_TRACE, KCOV_ENABLE, KCOV_DISABLE, KCOV_REMOTE_ENABLE };

	for (int i = 0; i < 4; i++)
		control_set(page, CONTROL_FACTS + i, ioctl(fd, requests[i], arguments[i]) ? errno : 0);
	control_set(page, CONTROL_READY, 1);
}

int main(int argc, char **argv)
{
	need(argc == 4, "usage: hand_over give|take SOCKET CONTROL");
	volatile uint64_t *page = control_map(argv[3]);

	if (!strcmp(argv[1], "give"))
		give(argv[2], page);
	else
		take(argv[2], page);
	return 0;
}
