// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A compromised handler that makes each attempt to escape from its worker, by name.
 *
 * Its device has one request, whose argument points to the name and to the data that the attempt needs.
 * The result is that of the attempt's system call; a worker that dies of it does not answer.
 */
#define _GNU_SOURCE
#include "kcov_handler.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define ESCAPE 0x7101
#define PAGE   4096UL

static const struct kcov_host *host;
static struct kcov_caller *caller_at;	/* of the call in which the attempt is made */
static struct request {
	char name[64];
	uint64_t tid;		/* of the caller */
	uint64_t neighbour;	/* a process of another tenant */
	uint64_t memory;	/* an address that is mapped in both */
} request;

/* Room for structures that a call would read or write. */
static unsigned char zeroes[PAGE];
static unsigned char page[PAGE] __attribute__((aligned(4096)));

static long result(long value)
{
	return value < 0 ? -errno : value;
}

/* Descriptors that the worker was given. */

static int listener(void)
{
	for (int fd = 3; fd < 64; fd++) {
		uint64_t none = 0;

		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &none) < 0 && errno == ENOENT)
			return fd;
	}
	return -1;
}

/* The sockets: the first two are right behind the listener; the third changes with each new reader. */
enum peer { BROKER, ORDERS, READER };

static int socket_of(enum peer peer)
{
	int first = listener() + 1;
	char byte;
	struct iovec room = {&byte, 1};
	struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1};

	if (peer != READER)
		return first + peer;
	for (int fd = 3; fd < 64; fd++) {
		if (fd == first || fd == first + 1)
			continue;
		if (recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno == EAGAIN)
			return fd;
	}
	return -1;
}

/* The number of descriptors from 0 on for which act() succeeds. */
static long for_each_descriptor(long (*act)(int fd))
{
	long count = 0;

	for (int fd = 0; fd < 64; fd++)
		count += act(fd) >= 0;
	return count;
}

static long shrink(int fd)
{
	return ftruncate(fd, 0);
}

static long seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE);
}

static long map_page(int fd)
{
	void *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	return map == MAP_FAILED ? -1 : 0;
}

static long shrink_all(void)
{
	return for_each_descriptor(shrink);
}

static long seal_all(void)
{
	return for_each_descriptor(seal);
}

/* Memory files that are still open: the slot, the roster, the journal, areas. */
static long map_all(void)
{
	return for_each_descriptor(map_page);
}

/* Messages in bincode's encoding. */

struct message {
	unsigned char bytes[128];
	size_t length;
};

static void put(struct message *message, uint64_t value)
{
	size_t size = value >> 32 ? 8 : value >> 16 ? 4 : value > 250 ? 2 : 1;

	/* A value that does not fit into one byte is preceded by a mark of its size. */
	if (size > 1)
		message->bytes[message->length++] = size == 8 ? 253 : size == 4 ? 252 : 251;
	memcpy(message->bytes + message->length, &value, size);
	message->length += size;
}

static long transmit(enum peer peer, const void *bytes, size_t length)
{
	return result(send(socket_of(peer), bytes, length, MSG_NOSIGNAL));
}

/* The broker ends a worker that broke the rules, which waits for that here. */
static long await_the_end(long sent)
{
	if (sent < 0)
		return sent;
	for (;;)
		poll(NULL, 0, -1);
}

static long answer_of(enum peer peer, struct message *answer)
{
	long length = read(socket_of(peer), answer->bytes, sizeof(answer->bytes));

	answer->length = length < 0 ? 0 : length;
	return length ? result(length) : -EPIPE;
}

/* Finds the id of the notification in flight in the memory of the worker's code, by asking the kernel. */
static uint64_t in_flight(void)
{
	uint64_t *const *words = (uint64_t *const *)caller_at;
	int fd = listener();

	for (int word = 0; word < 3; word++) {
		for (int place = 0; place < 10; place++) {
			uint64_t id = words[word][place];

			if (id && !ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id))
				return id;
		}
	}
	return 0;
}

/* The broker answers the caller itself. */
static long await_an_answer(long sent)
{
	if (sent >= 0)
		while (in_flight())
			usleep(1000);
	return sent;
}

/* Variants of AssistKind and ReaderKind, by position. */
enum { READY, IOCTL, MMAP, EXEC, SETTLE, ARENA, NEW_READER, OPENED, FILE_OF, INJECT, REASON, SILENCE, COLLISION };
enum { MEMORY, WRITE, PATH_OPEN, PATH_OPENAT2, READER_IOCTL, READER_MMAP };
/* Variants of ReaderReply. */
enum { READ, WRITTEN, FAILED, GONE };

static struct message ask(uint64_t id, uint64_t tid, unsigned int what)
{
	struct message message = {0};

	put(&message, id);
	put(&message, tid);
	put(&message, what);
	return message;
}

static long noise(void)
{
	memset(page, 0xff, sizeof(page));
	return await_the_end(transmit(BROKER, page, 100));
}

static long nothing_at_all(void)
{
	return await_the_end(transmit(BROKER, "", 0));
}

static long cut_off(void)
{
	struct message message = ask(in_flight(), request.tid, IOCTL);

	return await_the_end(transmit(BROKER, message.bytes, message.length));
}

static long too_long(void)
{
	static char large[100000];

	return await_the_end(transmit(BROKER, large, sizeof(large)));
}

static long with_more_behind(void)
{
	struct message message = ask(in_flight(), request.tid, FILE_OF);

	put(&message, 6);
	put(&message, 6);
	return await_the_end(transmit(BROKER, message.bytes, message.length));
}

static long ready_again(void)
{
	struct message message = ask(0, 0, READY);

	for (int word = 0; word < 5; word++)
		put(&message, 0);
	return await_the_end(transmit(BROKER, message.bytes, message.length));
}

static long decide_twice(void)
{
	struct message message = ask(in_flight(), request.tid, EXEC);
	long sent = transmit(BROKER, message.bytes, message.length);

	if (sent < 0)
		return sent;
	return await_the_end(transmit(BROKER, message.bytes, message.length));
}

static long opened_what_nobody_asked(void)
{
	struct message message = ask(in_flight(), request.tid, OPENED);

	put(&message, 0);
	return transmit(BROKER, message.bytes, message.length) < 0 ? -EPIPE : 0;
}

static long flood(void)
{
	struct message message = ask(in_flight(), request.tid, FILE_OF);

	put(&message, 6);
	for (;;) {
		long sent = transmit(BROKER, message.bytes, message.length);

		if (sent < 0)
			return sent;
	}
}

/* The same, but the answers are read: the only bound is the number of requests for one call. */
static long flood_with_answers(void)
{
	struct message message = ask(in_flight(), request.tid, FILE_OF), answer;
	long done;

	put(&message, 6);
	do
		done = transmit(BROKER, message.bytes, message.length);
	while (done >= 0 && (done = answer_of(BROKER, &answer)) >= 0);
	return await_the_end(done);
}

/* A request without an answer is sent until the socket is closed. */
static long flood_without_answers(enum peer peer, const struct message *one, const struct message *two)
{
	for (;;) {
		long sent = transmit(peer, one->bytes, one->length);

		if (sent >= 0)
			sent = transmit(peer, two->bytes, two->length);
		if (sent < 0)
			return await_the_end(sent);
	}
}

static long flood_of_reasons(void)
{
	struct message message = ask(in_flight(), request.tid, REASON);

	for (int text = 0; text < 2; text++) {
		put(&message, 1);
		put(&message, 'x');
	}
	return flood_without_answers(BROKER, &message, &message);
}

/* Two decisions for one call would be a violation. */
static long flood_of_decisions(void)
{
	struct message one = ask(1, request.tid, EXEC), two = ask(2, request.tid, EXEC);

	return flood_without_answers(BROKER, &one, &two);
}

/* The reader passes them on to the broker. */
static long flood_by_the_reader(void)
{
	struct message message = ask(1, request.tid, READER_IOCTL);

	put(&message, 2 * 3);
	put(&message, 0x6364);
	put(&message, 0);
	return flood_without_answers(READER, &message, &message);
}

/* Whether the broker reports that another process's descriptor is a device file: the reply has no 'file'
 * otherwise. */
static long file_of(uint64_t id, uint64_t tid, int fd)
{
	struct message message = ask(id, tid, FILE_OF), answer;
	long done;

	/* Signed numbers are zigzag-encoded. */
	put(&message, 2 * fd);
	done = transmit(BROKER, message.bytes, message.length);
	if (done >= 0)
		done = answer_of(BROKER, &answer);
	if (done < 0)
		return done;
	/* id, verdict with its value, no arena, then the file; a large id takes nine bytes. */
	return answer.length > 24;
}

static long descriptor_of_a_neighbour(void)
{
	return file_of(in_flight(), request.neighbour, 3);
}

static long enable_of_a_neighbour(void)
{
	struct message message = ask(in_flight(), request.neighbour, IOCTL);

	put(&message, 2 * 3);
	put(&message, 0x6364);
	put(&message, 0);
	return await_an_answer(transmit(BROKER, message.bytes, message.length));
}

static long descriptor_for_a_stale_call(void)
{
	return file_of(1, request.tid, 3);
}

static long of_the_reader(uint64_t id, uint64_t tid, int what)
{
	struct message message = ask(id, tid, what), answer;
	long done;

	put(&message, request.memory);
	put(&message, what == WRITE ? 1 : 8);
	if (what == WRITE)
		put(&message, 'x');
	done = transmit(READER, message.bytes, message.length);
	if (done >= 0)
		done = answer_of(READER, &answer);
	/* On a busy machine the reader may be replaced during the request. */
	if (done == -EPIPE)
		return -EAGAIN;
	if (done < 0)
		return done;
	switch (answer.bytes[0]) {
	case FAILED:
		/* Zigzag-encoded in one byte. */
		return -(answer.bytes[1] / 2);
	case GONE:
		return -ESRCH;
	default:
		return 0;
	}
}

static long memory_of_the_caller(void)
{
	return of_the_reader(in_flight(), request.tid, MEMORY);
}

static long memory_of_a_neighbour(void)
{
	return of_the_reader(in_flight(), request.neighbour, MEMORY);
}

static long memory_of_init(void)
{
	return of_the_reader(in_flight(), 1, MEMORY);
}

static long write_to_a_neighbour(void)
{
	return of_the_reader(in_flight(), request.neighbour, WRITE);
}

static long write_for_a_stale_call(void)
{
	return of_the_reader(1, request.tid, WRITE);
}

static long memory_for_a_stale_call(void)
{
	return of_the_reader(1, request.tid, MEMORY);
}

/* The reader treats it as a fault of the worker, and ends; another reader replaces it. */
static long noise_for_the_reader(void)
{
	struct message answer;
	long sent;

	memset(page, 0xff, sizeof(page));
	sent = transmit(READER, page, 100);
	return sent < 0 ? sent : answer_of(READER, &answer);
}

static long send_with(enum peer peer, int type, const void *data, size_t size, struct message message)
{
	unsigned char control[1200] = {0};
	struct iovec bytes = {message.bytes, message.length};
	struct msghdr header = {
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(size),
	};
	struct cmsghdr *first = CMSG_FIRSTHDR(&header);

	first->cmsg_level = SOL_SOCKET;
	first->cmsg_type = type;
	first->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(first), data, size);
	return result(sendmsg(socket_of(peer), &header, MSG_NOSIGNAL));
}

/* The broker closes descriptors that it did not ask for, and answers the request that came with them. */
static long unasked_descriptors(void)
{
	struct message message = ask(in_flight(), request.tid, FILE_OF), answer;
	int fds[8] = {0, 0, 0, 0, 0, 0, 0, 0};
	long sent;

	put(&message, 12);
	sent = send_with(BROKER, SCM_RIGHTS, fds, sizeof(fds), message);
	if (sent < 0)
		return sent;
	sent = answer_of(BROKER, &answer);
	return sent < 0 ? sent : 0;
}

static long too_many_descriptors(void)
{
	struct message message = ask(in_flight(), request.tid, FILE_OF);
	int fds[253] = {0};

	put(&message, 12);
	return await_the_end(send_with(BROKER, SCM_RIGHTS, fds, sizeof(fds), message));
}

/* A descriptor that leads out of the worker: its own listener, to be put among the caller's. */
static long give_the_listener_away(void)
{
	struct message message = ask(in_flight(), request.tid, INJECT);
	int fd = listener();

	put(&message, 0);
	return await_an_answer(send_with(BROKER, SCM_RIGHTS, &fd, sizeof(fd), message));
}

static long credentials_of_others(void)
{
	struct ucred root = {.pid = 1, .uid = 0, .gid = 0};

	return send_with(BROKER, SCM_CREDENTIALS, &root, sizeof(root), ask(0, 0, EXEC));
}

/* Memory. */

/* Ask the kernel whether a page can be read or written, as the kernel does not fault. */
static int is_readable(int pipe[2], const void *address)
{
	char byte;

	return write(pipe[1], address, 1) == 1 && read(pipe[0], &byte, 1) == 1;
}

static int is_writable(int pipe[2], void *address)
{
	char byte = *(volatile char *)address;

	if (write(pipe[1], &byte, 1) != 1 || read(pipe[0], address, 1) == 1)
		return 1;
	return read(pipe[0], &byte, 1) != 1;
}

/* A page of the roster: read-only, with the thread id of the caller, which collects coverage. */
static void *roster(void)
{
	char *newest = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const unsigned long reach = 64UL << 20;
	int ends[2];

	if (newest == MAP_FAILED || pipe(ends))
		return NULL;
	for (char *place = newest - reach; place < newest + reach; place += PAGE) {
		uint32_t *words = (uint32_t *)place;

		if (!is_readable(ends, place) || is_writable(ends, place))
			continue;
		for (unsigned long word = 0; word < PAGE / 4; word++)
			if (words[word] == request.tid)
				return place;
	}
	return NULL;
}

static long write_to_the_roster(void)
{
	void *place = roster();

	return place ? result(mprotect(place, PAGE, PROT_READ | PROT_WRITE)) : -ENOENT;
}

static long read_into_the_roster(void)
{
	void *place = roster();
	int fd = memfd_create("roster", 0);

	if (!place)
		return -ENOENT;
	return write(fd, "x", 1) == 1 ? result(pread(fd, place, 1, 0)) : -EIO;
}

static long punch_the_roster(void)
{
	void *place = roster();

	return place ? result(madvise(place, PAGE, MADV_REMOVE)) : -ENOENT;
}

static long move_the_roster(void)
{
	void *place = roster(), *copy;

	if (!place)
		return -ENOENT;
	/* Maps the same pages again; the second mapping has the same rights as the first. */
	copy = mremap(place, 0, PAGE, MREMAP_MAYMOVE);
	return copy == MAP_FAILED ? -errno : result(mprotect(copy, PAGE, PROT_READ | PROT_WRITE));
}

/* The page that shows the broker which call is in flight. */
static uint64_t *slot(void)
{
	char *newest = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const unsigned long reach = 64UL << 20;
	uint64_t id = in_flight();
	int ends[2];

	if (newest == MAP_FAILED || pipe(ends))
		return NULL;
	for (char *place = newest - reach; place < newest + reach; place += PAGE) {
		uint64_t *words = (uint64_t *)place;

		/* The layout of kcov_proto::slot. */
		if (is_readable(ends, place) && words[8] == id && (uint32_t)words[9] == request.tid)
			return words;
	}
	return NULL;
}

static long hide_the_call(void)
{
	uint64_t *words = slot();

	if (!words)
		return -ENOENT;
	memset(words, 0, PAGE);
	return await_the_end(0);
}

/* Claims to go on from call to call. */
static long count_on(uint64_t *words)
{
	for (uint64_t taken = words[1];; taken++)
		__atomic_store_n(&words[1], taken, __ATOMIC_RELAXED);
	return 0;
}

static long hide_behind_new_ids(void)
{
	uint64_t *words = slot();

	if (!words)
		return -ENOENT;
	memset(words, 0, PAGE);
	return count_on(words);
}

static long show_new_ids(void)
{
	uint64_t *words = slot();

	return words ? count_on(words) : -ENOENT;
}

/* Serves other calls with this one unanswered, and shows each of them. */
static long keep_one(void)
{
	uint64_t *words = slot(), id = in_flight();
	int fd = listener();

	if (!words)
		return -ENOENT;
	while (!ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id)) {
		struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

		memset(&words[8], 0, sizeof(struct seccomp_notif));
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &words[8]))
			continue;
		words[1]++;
		answer.id = words[8];
		/* So that the broker sees each. */
		poll(NULL, 0, 1);
		ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
	_exit(0);
}

static long mislead_and_end(void)
{
	struct message message = ask(in_flight() + (1UL << 40), request.tid, FILE_OF);
	uint64_t *words = slot();
	long sent;

	put(&message, 2 * 3);
	sent = transmit(BROKER, message.bytes, message.length);
	if (!words || sent < 0)
		return -ENOENT;
	memset(words, 0, PAGE);
	_exit(0);
}

static long data_into_code(void)
{
	int fd = memfd_create("code", 0);

	if (fd < 0 || ftruncate(fd, PAGE))
		return -EIO;
	return result((long)mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
}

static long execute_memory(void)
{
	int fd = memfd_create("program", 0);

	return fd < 0 ? -EIO : result(syscall(SYS_execveat, fd, "", NULL, NULL, AT_EMPTY_PATH));
}

static long code_into_data(void)
{
	return result(mprotect(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
}

/* Like any process it can make its own code writable, but then not executable again. */
static long rewrite_code(void)
{
	unsigned char *code = (unsigned char *)((uintptr_t)abs & ~(PAGE - 1));

	if (mprotect(code, PAGE, PROT_READ | PROT_WRITE))
		return -errno;
	code[0] ^= 1;
	return result(mprotect(code, PAGE, PROT_READ | PROT_EXEC));
}

static long nothing(void)
{
	return 0;
}

/* Processes. */

/* The only signal that it may send is that of abort(), and only to itself. */
static long abort_a_neighbour(void)
{
	return result(syscall(SYS_tgkill, request.neighbour, request.neighbour, SIGABRT));
}

static long fork_bomb(void)
{
	while (fork() >= 0)
		;
	return -errno;
}

/* Resources. */

static long all_memory(void)
{
	const unsigned long part = 64UL << 20;
	void *parts[64];
	long value = 0;
	int count = 0;

	while (!value && count < 64) {
		parts[count] = mmap(NULL, part, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (parts[count] == MAP_FAILED)
			value = -errno;
		else
			count++;
	}
	while (count--)
		munmap(parts[count], part);
	return value;
}

static long all_descriptors(void)
{
	int fds[1024];
	long value = 0;
	int count = 0;

	while (!value && count < 1024) {
		fds[count] = memfd_create("one", 0);
		if (fds[count] < 0)
			value = -errno;
		else
			count++;
	}
	while (count--)
		close(fds[count]);
	return value;
}

static long a_large_file(void)
{
	return result(ftruncate(memfd_create("large", 0), 1L << 40));
}

static long stack_without_end(long depth)
{
	volatile char frame[PAGE];

	frame[0] = depth;
	return depth < LONG_MAX ? stack_without_end(depth + 1) + frame[0] : 0;
}

static long deep_recursion(void)
{
	return stack_without_end(0);
}

/* Other tables of system calls. */

#ifdef __x86_64__
static long by_int_80(void)
{
	long value;

	/* getpid by the i386 number, which its own table has for a permitted call. */
	__asm__ volatile("int $0x80" : "=a"(value) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
	return value;
}
#endif

struct attempt {
	const char *name;
	long number;
	unsigned long args[6];
	long (*act)(void);
};

#define PTR(pointer)	   ((unsigned long)(pointer))
#define CALL(name, call, ...) {name, SYS_##call, {__VA_ARGS__}, NULL}
#define ACT(name, function)	   {name, 0, {0}, function}
#define ALL	 0xffffffffUL
#define HERE	 ((unsigned long)AT_FDCWD)

static const struct attempt attempts[] = {
#include "escape_attempts.h"
};

static long attempt(const char *name)
{
	for (size_t place = 0; place < sizeof(attempts) / sizeof(*attempts); place++) {
		const struct attempt *one = &attempts[place];
		const unsigned long *args = one->args;

		if (strcmp(one->name, name))
			continue;
		if (one->act)
			return one->act();
		return result(syscall(one->number, args[0], args[1], args[2], args[3], args[4],
				      args[5]));
	}
	/* The two tables have different names. */
	return -ENOSYS;
}

static int escape_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
		       void **file)
{
	(void)state, (void)device, (void)flags, (void)caller, (void)file;
	return 0;
}

static struct kcov_answer escape_ioctl(void *state, void *file, uint32_t number, uint64_t arg,
				       struct kcov_caller *caller)
{
	int unreadable = host->read(caller, arg, &request, sizeof(request));

	(void)state, (void)file, (void)number;
	/* Nothing was tried: a slow reader on a busy machine is replaced, and its current request is lost. */
	if (unreadable)
		return kcov_value(-EAGAIN);
	request.name[sizeof(request.name) - 1] = 0;
	caller_at = caller;
	return kcov_value(attempt(request.name));
}

static const struct kcov_device_claim devices[] = {
	{.path = "/dev/escape", .first = ESCAPE, .last = ESCAPE},
};
static const struct kcov_handler handler = {
	.version = KCOV_HANDLER_VERSION,
	.size = sizeof(struct kcov_handler),
	.name = "escape",
	.devices = devices,
	.devices_count = 1,
	.open = escape_open,
	.ioctl = escape_ioctl,
};

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	(void)config;
	host = given;
	return &handler;
}
