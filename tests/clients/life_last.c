// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * life_last HOW CONTROL - a process opens an instance and is gone; HOW selects what keeps the instance.
 * ready 1: only that keeps it. When the test sets go 1 it ends, followed by ready 2. go 2 ends the client.
 */
#include "hostile_kit.h"
#include "control.h"
#include <sys/prctl.h>
#include <sys/socket.h>

static volatile uint64_t *page;
static const char *how;
static int sockets[2];

static int is(const char *name)
{
	return !strcmp(how, name);
}

static void send_descriptor(int fd)
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
	need(sendmsg(sockets[0], &message, 0) == 1, "sendmsg");
}

static int receive_descriptor(void)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = space,
				  .msg_controllen = sizeof(space) };
	int fd;

	need(recvmsg(sockets[1], &message, 0) == 1, "recvmsg");
	need(CMSG_FIRSTHDR(&message) != NULL, "descriptor in the message");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

/* The instance that was kept is the same one, and it works. */
static void use(int fd)
{
	expect("INIT_TRACE, again", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), EBUSY);
	expect("ENABLE of what was kept", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	expect("DISABLE of what was kept", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
}

/* Keeps it until the test sets go. */
static void keep(void)
{
	control_set(page, CONTROL_READY, 1);
	control_wait(page, 1);
}

/* Ends without a further call of the device: by exit or by a signal. */
static void end_of_keeper(void)
{
	if (is("killed"))
		raise(SIGKILL);
	_exit(verdict());
}

static void keeper(int fd, uint64_t *area)
{
	if (is("mapping"))
		close(fd);
	else
		munmap(area, KIT_BYTES);
	if (is("owner") || is("killed")) {
		expect("ENABLE", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		close(fd);
	}
	if (is("duplicate")) {
		int other = dup(fd);

		close(fd);
		use(other);
	}
	if (is("child"))
		use(fd);
	if (is("exec")) {
		char path[64];

		need(!fcntl(fd, F_SETFD, 0), "F_SETFD");
		snprintf(path, sizeof(path), "%d", fd);
		setenv("LIFE_LAST_FD", path, 1);
		execl("/proc/self/exe", "life_last", how, getenv("LIFE_LAST_PAGE"), NULL);
		need(0, "exec");
	}
	keep();
	if (is("mapping"))
		munmap(area, KIT_BYTES);
	end_of_keeper();
}

static pid_t keeping;

/* The opener creates the instance, leaves it to a child or a socket, and ends. */
static void opener(void)
{
	uint64_t *area;
	int fd = kcov_ready(KIT_WORDS, &area);

	if (is("received") || is("flight") || is("queue")) {
		send_descriptor(fd);
		_exit(0);
	}
	/* The keeper is the grandchild; PR_SET_CHILD_SUBREAPER makes it a child of the client. */
	if (fork() == 0) {
		while (getppid() == keeping)
			usleep(1000);
		keeper(fd, area);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	need(argc == 3, "usage: life_last HOW CONTROL");
	how = argv[1];
	page = control_map(argv[2]);
	if (getenv("LIFE_LAST_FD")) {
		use(atoi(getenv("LIFE_LAST_FD")));
		keep();
		_exit(verdict());
	}
	setenv("LIFE_LAST_PAGE", argv[2], 1);
	need(!prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
	need(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets), "socketpair");
	pid_t pid = fork();
	if (pid == 0) {
		keeping = getpid();
		opener();
	}
	expect("the opener", wait_for(pid), 0);
	if (is("received")) {
		int fd = receive_descriptor();

		use(fd);
		keep();
		close(fd);
	} else if (is("flight")) {
		/* In the socket's queue: the sender is gone and the message has not been received. */
		close(sockets[0]);
		keep();
		close(receive_descriptor());
	} else if (is("queue")) {
		/* Never received: it ends with the socket. */
		close(sockets[0]);
		keep();
		close(sockets[1]);
	} else {
		expect("the keeper", wait_for(-1), is("killed") ? 128 + SIGKILL : 0);
	}
	control_set(page, CONTROL_READY, 2);
	control_wait(page, 2);
	return verdict();
}
