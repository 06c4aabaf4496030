// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_exhaust fds           - opens until its own limit gives EMFILE
 * hostile_exhaust maps          - maps until no more mappings are possible
 * hostile_exhaust watches       - takes all inotify instances of its user
 * hostile_exhaust pids GROUP    - forks until the pids cgroup at GROUP gives EAGAIN
 * hostile_exhaust memory GROUP  - writes to areas until the memory cgroup at GROUP kills it
 * hostile_exhaust opens N MOST  - holds N opens at a time, of which MOST can be initialised and the others
 * give ENOMEM
 * hostile_exhaust area          - asks for the largest area under a limit: ENOMEM, and nothing is
 * allocated
 * hostile_exhaust total WORDS N - asks for N areas of WORDS words: the last one fails until another is
 * gone
 * hostile_exhaust handles MOST  - takes remote handles, of which MOST are granted, from 8 on
 * hostile_exhaust broker [CONTROL] - makes instances in several processes until the broker has no more
 * descriptors
 *
 * Afterwards the device works.
 */
#include "hostile_kit.h"
#include "control.h"
#include <stddef.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int try_open(void)
{
	return open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);
}

static int try_init(int fd)
{
	return outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS));
}

/* A closed instance makes room when the broker has noticed the close: soon, but not at once. */
static void init_soon(int fd)
{
	uint64_t end = milliseconds() + 10000;
	int got;

	while ((got = try_init(fd)) == ENOMEM && milliseconds() < end)
		;
	expect("INIT_TRACE after a close made room", got, 0);
}

static void limit_descriptors(rlim_t most)
{
	struct rlimit limit = { most, most };

	if (setrlimit(RLIMIT_NOFILE, &limit))
		exit(KIT_UNAVAILABLE);
}

static void exhaust_descriptors(void)
{
	int fds[64], count = 0, got = 0;

	limit_descriptors(NUMBER_OF(fds));
	while (count < 64 && (fds[count] = try_open()) >= 0)
		count++;
	got = errno;
	expect("open without a free descriptor", got, EMFILE);
	for (int i = 0; i < 1000; i++)
		expect("open without a free descriptor", outcome(try_open()), EMFILE);
	while (count)
		close(fds[--count]);
}

static void exhaust_mappings(void)
{
	enum { MOST = 200000 };
	static char *pages[MOST];
	int count = 0, fd = try_open();

	need(fd >= 0 && !ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS), "an object");
	/* Neighbours of different protection do not merge. */
	while (count < MOST) {
		void *page = mmap(NULL, 4096, count % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED)
			break;
		pages[count++] = page;
	}
	void *area = mmap(NULL, KIT_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	expect("mmap of an area without room", area == MAP_FAILED ? errno : 0, ENOMEM);
	expect("ENABLE without room for a mapping", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	syscall(SYS_getppid);
	expect("DISABLE without room for a mapping", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	while (count)
		munmap(pages[--count], 4096);
	close(fd);
}

/* A broker of the same user has no inotify instance left either. Only instances with access mode 3 need one. */
static void exhaust_watches(void)
{
	int instances[4096], count = 0;

	while (count < (int)NUMBER_OF(instances) && (instances[count] = inotify_init1(IN_CLOEXEC)) >= 0)
		count++;
	expect("inotify_init1 beyond the limit", count < (int)NUMBER_OF(instances) ? errno : 0, EMFILE);
	for (int i = 0; i < 20; i++)
		cycle("without inotify");
	/* Another process may have released one in the meantime. */
	int odd = open(KCOV_DEVICE, O_ACCMODE | O_CLOEXEC);
	expect("open with access mode 3", outcome(odd), 0);
	expect_one_of("INIT_TRACE with access mode 3", try_init(odd), 0, EMFILE);
	close(odd);
	while (count)
		close(instances[--count]);
	odd = open(KCOV_DEVICE, O_ACCMODE | O_CLOEXEC);
	expect("INIT_TRACE with access mode 3 afterwards", try_init(odd), 0);
	close(odd);
}

static void enter_group(const char *group)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	FILE *file = fopen(path, "w");
	need(file && fprintf(file, "0\n") > 0 && !fclose(file), path);
}

static int in_a_child(void (*act)(const char *), const char *group)
{
	pid_t pid = fork();

	need(pid >= 0, "fork");
	if (pid == 0) {
		act(group);
		_exit(verdict());
	}
	return wait_for(pid);
}

static void exhaust_processes(const char *group)
{
	pid_t children[256];
	int count = 0;

	enter_group(group);
	while (count < 256) {
		children[count] = fork();
		if (children[count] < 0)
			break;
		if (children[count] == 0) {
			cycle("with as many processes as the limit permits");
			pause();
			_exit(0);
		}
		count++;
	}
	expect("fork beyond the limit", count < 256 ? errno : 0, EAGAIN);
	cycle("with no process left");
	while (count) {
		kill(children[--count], SIGKILL);
		wait_for(children[count]);
	}
}

static void exhaust_memory(const char *group)
{
	enum { MANY = 16 << 20 };
	uint64_t *area;

	enter_group(group);
	int sparse = try_open(), fd = kcov_ready(MANY, &area);
	need(sparse >= 0 && !ioctl(sparse, KCOV_INIT_TRACE, (unsigned long)MANY), "an area that is not mapped");
	expect("ENABLE", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	for (size_t i = 0; i < MANY; i += 512) {
		area[i] = 0;
		need(pwrite(sparse, &area[i], 8, i * 8) == 8, "pwrite");
		if (i % (1 << 16) == 0)
			syscall(SYS_getppid);
	}
	wrong("the memory limit had no effect");
}

static void hold_opens(long wanted, long most)
{
	int *fds = calloc(wanted, sizeof(*fds));
	long granted = 0;

	limit_descriptors(wanted + 64);
	for (long i = 0; i < wanted; i++) {
		fds[i] = try_open();
		need(fds[i] >= 0, "open");
		int got = try_init(fds[i]);
		granted += got == 0;
		expect(i < most ? "INIT_TRACE within the quota" : "INIT_TRACE above the quota", got, i < most ? 0 : ENOMEM);
	}
	printf("%ld of %ld opens initialised\n", granted, wanted);
	/* After one close, the next INIT_TRACE soon succeeds. */
	close(fds[0]);
	init_soon(fds[wanted - 1]);
	for (long i = 1; i < wanted; i++)
		close(fds[i]);
	int fd = try_open();
	init_soon(fd);
	close(fd);
	free(fds);
}

static void ask_for_area(void)
{
	struct stat facts;
	int fd = try_open();

	need(fd >= 0, "open");
	expect("INIT_TRACE of 2 GiB", outcome(ioctl(fd, KCOV_INIT_TRACE, 0x0ffffffful)), ENOMEM);
	need(!fstat(fd, &facts), "fstat");
	if (facts.st_size || facts.st_blocks)
		wrong("%ld bytes, %ld blocks after ENOMEM", (long)facts.st_size, (long)facts.st_blocks);
	expect("ENABLE after ENOMEM", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), EINVAL);
	expect("smaller INIT_TRACE", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	close(fd);
}

static void ask_for_all(unsigned long words, int number)
{
	int fds[64];

	for (int i = 0; i < number; i++) {
		fds[i] = try_open();
		need(fds[i] >= 0, "open");
		expect("INIT_TRACE", outcome(ioctl(fds[i], KCOV_INIT_TRACE, words)), i < number - 1 ? 0 : ENOMEM);
	}
	close(fds[0]);
	uint64_t end = milliseconds() + 10000;
	int got = ENOMEM;
	while (got == ENOMEM && milliseconds() < end)
		got = outcome(ioctl(fds[number - 1], KCOV_INIT_TRACE, words));
	expect("INIT_TRACE after a close made room", got, 0);
	for (int i = 1; i < number; i++)
		close(fds[i]);
}

enum { MOST_AT_ONCE = 256 };

struct many_handles {
	struct kcov_remote_arg arg;
	uint64_t more[MOST_AT_ONCE];
};

static uint64_t usb_handle(uint32_t instance)
{
	return 1ull << 56 | instance;
}

/* Asks for `count` handles from `first` on, and for the common handle unless it is 0. */
static int remote_enable(int fd, uint32_t first, uint32_t count, uint64_t common)
{
	struct many_handles many = { .arg = { .area_size = KIT_WORDS, .num_handles = count, .common_handle = common } };
	/* `more` continues where `handles` ends. */
	uint64_t *handles = (uint64_t *)((char *)&many + offsetof(struct kcov_remote_arg, handles));

	for (uint32_t i = 0; i < count; i++)
		handles[i] = usb_handle(first + i);
	return outcome(ioctl(fd, KCOV_REMOTE_ENABLE, &many));
}

static int ready_object(void)
{
	int fd = try_open();

	need(fd >= 0 && !ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS), "an object");
	return fd;
}

/* A child takes handles 0 to `count` - 1, all but one as USB handles, and keeps them. */
static pid_t keep_handles(uint32_t count)
{
	int told[2];
	char byte;
	pid_t child;

	need(!pipe2(told, O_CLOEXEC), "pipe");
	child = fork();
	need(child >= 0, "fork");
	if (child == 0) {
		expect("REMOTE_ENABLE under the quota", remote_enable(ready_object(), 0, count - 1, 1), 0);
		need(write(told[1], "", 1) == 1, "write");
		for (;;)
			pause();
	}
	need(read(told[0], &byte, 1) == 1, "a child's word");
	close(told[0]);
	close(told[1]);
	return child;
}

/* Checks are in the kernel's order, handle by handle. A refused call takes nothing. */
static void take_handles(uint32_t most)
{
	int fd = ready_object();
	pid_t child = keep_handles(most - 4);
	uint32_t next = most;

	for (int round = 0; round < 3; round++) {
		expect("one too many", remote_enable(fd, next, 5, 0), ENOMEM);
		expect("one too many with the common one", remote_enable(fd, next, 4, 2), ENOMEM);
		expect("a taken one within the limit", remote_enable(fd, 0, 1, 0), EEXIST);
		expect("a taken common one after too many others", remote_enable(fd, next, 5, 1), ENOMEM);
		expect("a taken common one", remote_enable(fd, next, 4, 1), EEXIST);
	}
	expect("as many as the limit permits", remote_enable(fd, next, 3, 2), 0);
	int other = ready_object();
	pid_t third = fork();
	if (third == 0) {
		expect("one more", remote_enable(other, next + 9, 1, 0), ENOMEM);
		expect("one more, common", remote_enable(other, 0, 0, 3), ENOMEM);
		expect("one that is taken", remote_enable(other, 0, 1, 0), EEXIST);
		expect("none", remote_enable(other, 0, 0, 0), 0);
		_exit(verdict());
	}
	expect("a third process", wait_for(third), 0);
	expect("DISABLE", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	/* The handles of dead owners are free at once. */
	kill(child, SIGKILL);
	wait_for(child);
	expect("all of them", remote_enable(fd, next, most - 1, 2), 0);
	expect("DISABLE", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	close(other);
	close(fd);
}

/* Makes instances until that fails, reports the number and the errno, and holds them until told to end. */
static void keep_opening(int report, int end)
{
	static int fds[1 << 20];
	int count = 0;
	char byte;

	while (count < 1 << 20 && (fds[count] = try_open()) >= 0 && !ioctl(fds[count], KCOV_INIT_TRACE, KIT_WORDS))
		count++;
	int facts[2] = { count, errno };
	need(write(report, facts, sizeof(facts)) == sizeof(facts), "write");
	if (read(end, &byte, 1) < 0)
		wrong("read: %m");
}

/* Several processes, each with the same descriptor limit as the broker, use up the broker's descriptors. */
static void exhaust_broker(const char *control)
{
	volatile uint64_t *page = *control ? control_map(control) : NULL;
	enum { CHILDREN = 3 };
	int report[2], end[2], facts[2];
	pid_t children[CHILDREN];
	int kept = try_open();

	need(kept >= 0 && !ioctl(kept, KCOV_INIT_TRACE, KIT_WORDS), "an object");
	need(!pipe2(report, O_CLOEXEC) && !pipe2(end, O_CLOEXEC), "pipe");
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		need(children[i] >= 0, "fork");
		if (children[i] == 0) {
			close(end[1]);
			keep_opening(report[1], end[0]);
			_exit(verdict());
		}
		need(read(report[0], facts, sizeof(facts)) == sizeof(facts), "a child's facts");
		expect_one_of("INIT_TRACE without a free descriptor in the broker", facts[1], EMFILE, ENOMEM);
		printf("%d instances, then %s\n", facts[0], strerrorname_np(facts[1]));
	}
	/* Existing instances keep working: the broker reserves descriptors for owners and helpers. */
	expect("ENABLE while INIT_TRACE fails", outcome(ioctl(kept, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	syscall(SYS_getppid);
	expect("DISABLE while INIT_TRACE fails", outcome(ioctl(kept, KCOV_DISABLE, 0)), 0);
	if (page) {
		control_set(page, CONTROL_READY, 1);
		control_wait(page, 1);
		/* If a worker was killed in the meantime, its replacement serves. */
		expect("ENABLE", outcome(ioctl(kept, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		expect("DISABLE", outcome(ioctl(kept, KCOV_DISABLE, 0)), 0);
	}
	close(end[1]);
	for (int i = 0; i < CHILDREN; i++)
		expect("a child", wait_for(children[i]), 0);
	close(kept);
	usleep(300000);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *group = argc > 2 ? argv[2] : "";

	if (!strcmp(what, "fds"))
		exhaust_descriptors();
	else if (!strcmp(what, "maps"))
		exhaust_mappings();
	else if (!strcmp(what, "watches"))
		exhaust_watches();
	else if (!strcmp(what, "pids"))
		expect("the child", in_a_child(exhaust_processes, group), 0);
	else if (!strcmp(what, "memory")) {
		int status = in_a_child(exhaust_memory, group);

		if (status != 128 + SIGKILL)
			wrong("the child ended with %d", status);
	} else if (!strcmp(what, "opens") && argc > 3)
		hold_opens(atol(argv[2]), atol(argv[3]));
	else if (!strcmp(what, "area"))
		ask_for_area();
	else if (!strcmp(what, "total") && argc > 3)
		ask_for_all(strtoul(argv[2], NULL, 0), atoi(argv[3]));
	else if (!strcmp(what, "handles") && argc > 2)
		take_handles(strtoul(argv[2], NULL, 0));
	else if (!strcmp(what, "broker"))
		exhaust_broker(group);
	else
		need(0, "usage");
	cycle("after exhaustion");
	return verdict();
}
