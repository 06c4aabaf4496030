// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * open_copies ROUNDS - descriptors that were copied before INIT_TRACE (dup, fork, vfork, a table of a thread's
 * own, SCM_RIGHTS, pidfd_getfd) are one instance: what one process does to one of them shows in all others.
 * An open through a descriptor's link in procfs is an instance of its own.
 */
#include "hostile_kit.h"
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static int fresh(void)
{
	int fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);

	need(fd >= 0, "open");
	return fd;
}

static int init(int fd)
{
	return outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS));
}

static int enable(int fd)
{
	return outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC));
}

static int disable(int fd)
{
	return outcome(ioctl(fd, KCOV_DISABLE, 0));
}

static uint64_t *map(int fd)
{
	uint64_t *area = mmap(NULL, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return area == MAP_FAILED ? NULL : area;
}

static uint64_t recorded(uint64_t *area)
{
	__atomic_store_n(&area[0], 0, __ATOMIC_RELEASE);
	syscall(SYS_getppid);
	return load(&area[0]);
}

static void send_descriptor(int to, int fd)
{
	char byte = 0, room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	need(sendmsg(to, &message, 0) == 1, "sendmsg");
}

static int receive_descriptor(int from)
{
	char byte, room[CMSG_SPACE(sizeof(int))];
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	int fd;

	need(recvmsg(from, &message, 0) == 1 && CMSG_FIRSTHDR(&message), "recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

static int sent(int fd)
{
	int pair[2], got;

	need(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
	send_descriptor(pair[0], fd);
	got = receive_descriptor(pair[1]);
	close(pair[0]);
	close(pair[1]);
	return got;
}

static int taken(pid_t from, int fd)
{
	int process = syscall(SYS_pidfd_open, from, 0), got;

	need(process >= 0, "pidfd_open");
	got = syscall(SYS_pidfd_getfd, process, fd, 0);
	need(got >= 0, "pidfd_getfd");
	close(process);
	return got;
}

/* Descriptors of one open in one process. */
static void one_instance(int one, int other)
{
	struct kcov_remote_arg remote = { .area_size = KIT_WORDS };
	struct stat first, second;
	uint64_t *area, *same;

	need(one >= 0 && other >= 0, "a copy");
	expect("ENABLE of a copy before INIT_TRACE", enable(other), EINVAL);
	expect("mmap of a copy before INIT_TRACE", map(other) ? 0 : errno, EINVAL);
	expect("INIT_TRACE of a copy", init(other), 0);
	expect("INIT_TRACE of the first", init(one), EBUSY);
	expect("INIT_TRACE of a copy again", init(other), EBUSY);
	area = map(one);
	same = map(other);
	need(area && same, "mmap");
	need(!fstat(one, &first) && !fstat(other, &second), "fstat");
	if (first.st_ino != second.st_ino || first.st_dev != second.st_dev)
		wrong("two files: inodes %lu and %lu", (unsigned long)first.st_ino, (unsigned long)second.st_ino);
	expect("ENABLE of the first", enable(one), 0);
	expect("ENABLE of a copy of an enabled one", enable(other), EINVAL);
	if (recorded(area) == 0 || load(&same[0]) != load(&area[0]))
		wrong("records: %lu and %lu", load(&area[0]), load(&same[0]));
	expect("DISABLE of a copy", disable(other), 0);
	expect("REMOTE_ENABLE of a copy", outcome(ioctl(other, KCOV_REMOTE_ENABLE, &remote)), 0);
	expect("DISABLE of the first", disable(one), 0);
	close(one);
	expect("ENABLE of the last", enable(other), 0);
	if (recorded(area) == 0)
		wrong("no records with the last descriptor");
	expect("DISABLE of the last", disable(other), 0);
	munmap(area, KIT_BYTES);
	munmap(same, KIT_BYTES);
	close(other);
}

static void copies_in_one_process(void)
{
	int fd = fresh();

	one_instance(fd, dup(fd));
	fd = fresh();
	one_instance(fd, dup3(fd, 200, O_CLOEXEC));
	fd = fresh();
	one_instance(fd, fcntl(fd, F_DUPFD_CLOEXEC, 300));
	fd = fresh();
	one_instance(fd, sent(fd));
	fd = fresh();
	one_instance(fd, taken(getpid(), fd));
	/* The first is not the one that was opened. */
	fd = fresh();
	int copy = dup(fd), last = sent(copy);
	close(fd);
	one_instance(copy, last);
}

/* The parent initialises, maps and closes. A child enables the descriptor that it has from before. */
static void a_child_enables(int (*copy)(int), int early)
{
	int go[2], fd = fresh();
	char byte;

	need(!pipe2(go, O_CLOEXEC), "pipe");
	pid_t parent = getpid(), child = fork();
	need(child >= 0, "fork");
	if (child == 0) {
		kit_wrongs = 0;
		int mine = copy ? copy(fd) : early ? taken(parent, fd) : fd;

		need(write(go[1], "", 1) == 1, "write");
		/* Until the parent is ready. */
		raise(SIGSTOP);
		expect("ENABLE by a child", enable(mine), 0);
		uint64_t *area = map(mine);
		need(area != NULL, "mmap by a child");
		if (recorded(area) == 0)
			wrong("no records by a child");
		expect("INIT_TRACE by a child", init(mine), EBUSY);
		expect("DISABLE by a child", disable(mine), 0);
		_exit(verdict());
	}
	need(read(go[0], &byte, 1) == 1, "read");
	expect("INIT_TRACE by the parent", init(fd), 0);
	uint64_t *area = map(fd);
	need(area != NULL, "mmap by the parent");
	close(fd);
	int status;
	need(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status), "a stopped child");
	kill(child, SIGCONT);
	expect("a child", wait_for(child), 0);
	if (load(&area[0]) == 0)
		wrong("the parent does not see what its child records");
	munmap(area, KIT_BYTES);
	close(go[0]);
	close(go[1]);
}

static void a_child_initialises(pid_t (*start)(void))
{
	int fd = fresh();
	pid_t child = start();

	if (child == 0)
		_exit(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS) ? 1 : 0);
	need(child > 0, "fork");
	expect("INIT_TRACE by a child", wait_for(child), 0);
	expect("INIT_TRACE after a child", init(fd), EBUSY);
	expect("ENABLE after a child initialised", enable(fd), 0);
	uint64_t *area = map(fd);
	need(area != NULL, "mmap");
	if (recorded(area) == 0)
		wrong("no records after a child initialised");
	expect("DISABLE", disable(fd), 0);
	munmap(area, KIT_BYTES);
	close(fd);
}

/* A child of vfork shares the parent's memory, and the function that calls it must not return in the child. */
static void a_child_of_vfork_initialises(void)
{
	int fd = fresh();
	pid_t child = vfork();

	if (child == 0)
		_exit(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS) ? 1 : 0);
	need(child > 0, "vfork");
	expect("INIT_TRACE by a child of vfork", wait_for(child), 0);
	expect("ENABLE after it", enable(fd), 0);
	expect("DISABLE after it", disable(fd), 0);
	close(fd);
}

static void *initialise_in_a_table_of_its_own(void *fd)
{
	need(!unshare(CLONE_FILES), "unshare");
	expect("INIT_TRACE in another table", init(*(int *)fd), 0);
	close(*(int *)fd);
	return NULL;
}

static void *enable_in_the_same_table(void *fd)
{
	expect("ENABLE by another thread", enable(*(int *)fd), 0);
	expect("DISABLE by another thread", disable(*(int *)fd), 0);
	return NULL;
}

static void threads(void *(*body)(void *), int initialised)
{
	int fd = fresh();
	pthread_t thread;

	if (initialised)
		expect("INIT_TRACE before a thread", init(fd), 0);
	need(!pthread_create(&thread, NULL, body, &fd), "pthread_create");
	pthread_join(thread, NULL);
	expect("INIT_TRACE after a thread", init(fd), EBUSY);
	expect("ENABLE after a thread", enable(fd), 0);
	expect("DISABLE after a thread", disable(fd), 0);
	close(fd);
}

/* A new open of the same file, whether or not that is initialised: of an instance, its copy, and so on. */
static void opened_again(int fd, int depth)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, O_RDWR | O_CLOEXEC), copy = dup(again);
	need(again >= 0, "open through procfs");
	expect("ENABLE of a new open", enable(again), EINVAL);
	expect("mmap of a new open", map(again) ? 0 : errno, EINVAL);
	expect("DISABLE of a new open", disable(copy), EINVAL);
	if (depth)
		opened_again(copy, depth - 1);
	expect("INIT_TRACE of a new open", init(copy), 0);
	expect("INIT_TRACE of its copy", init(again), EBUSY);
	if (depth)
		opened_again(again, depth - 1);
	expect("ENABLE of an initialised new open", enable(again), 0);
	expect("DISABLE of an initialised new open", disable(copy), 0);
	close(again);
	close(copy);
}

static void opens_through_procfs(void)
{
	uint64_t *area;
	int fd = fresh(), ready, copy;

	opened_again(fd, 1);
	expect("INIT_TRACE after new opens", init(fd), 0);
	close(fd);
	ready = kcov_ready(KIT_WORDS, &area);
	copy = dup(ready);
	opened_again(ready, 1);
	opened_again(copy, 1);
	expect("ENABLE after new opens", enable(copy), 0);
	if (recorded(area) == 0)
		wrong("no records after new opens");
	expect("DISABLE after new opens", disable(ready), 0);
	munmap(area, KIT_BYTES);
	close(ready);
	close(copy);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;

	for (unsigned long round = 0; round < rounds; round++) {
		copies_in_one_process();
		a_child_enables(NULL, 0);
		a_child_enables(dup, 0);
		a_child_enables(sent, 0);
		a_child_enables(NULL, 1);
		a_child_initialises(fork);
		a_child_of_vfork_initialises();
		threads(initialise_in_a_table_of_its_own, 0);
		threads(enable_in_the_same_table, 1);
		opens_through_procfs();
	}
	cycle("after all copies");
	printf("%lu\n", rounds);
	return verdict();
}
