// SPDX-License-Identifier: MIT OR Apache-2.0
/* Uses the device and the calls of the handler `probe`. The argument selects what to try. */
#define _GNU_SOURCE
#include "kcov_client.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PROBE_ADD      0x7001u
#define PROBE_SUM      0x7002u
#define PROBE_COPY     0x7003u
#define PROBE_CRASH    0x7004u
#define PROBE_HANG     0x7005u
#define PROBE_RELEASED 0x7006u
#define PROBE_RECORD   0x7007u
#define PROBE_MEMFD    0x7008u
#define PROBE_LISTENER 0x7009u

struct copy {
	uint64_t from, to, length;
};

static int probe(void)
{
	int fd = open("/dev/probe", O_RDWR | O_CLOEXEC);

	need(fd >= 0, "open /dev/probe");
	return fd;
}

static long sum(int fd)
{
	uint64_t value = 0;

	need(!ioctl(fd, PROBE_SUM, &value), "PROBE_SUM");
	return value;
}

/* A result as the kernel returns it: a value or -errno. */
static long raw(long result)
{
	return result < 0 ? -errno : result;
}

static void state(void)
{
	int one = probe(), two = probe(), copy = dup(one);
	pid_t child;

	need(!ioctl(one, PROBE_ADD, 40) && !ioctl(copy, PROBE_ADD, 2) && !ioctl(two, PROBE_ADD, 5), "ADD");
	child = fork();
	if (!child)
		_exit(ioctl(one, PROBE_ADD, 100) != 0);
	waitpid(child, NULL, 0);
	printf("sums %ld %ld\n", sum(copy), sum(two));
	/* Sign-extended, as some clients pass their requests. */
	printf("wide %ld\n", raw(syscall(SYS_ioctl, one, 0xffffffff00000000ul | PROBE_ADD, 0)));
	printf("other %ld\n", raw(ioctl(one, 0x6fff, 0)));
	printf("beyond %ld\n", raw(ioctl(one, 0x700e, 0)));
	printf("not ours %ld\n", raw(ioctl(0, PROBE_ADD, 0)));
	close(one);
	printf("held %d\n", ioctl(two, PROBE_RELEASED, 0));
	close(copy);
	for (int i = 0; i < 500 && !ioctl(two, PROBE_RELEASED, 0); i++)
		usleep(10000);
	printf("released %d\n", ioctl(two, PROBE_RELEASED, 0));
}

static void paths(void)
{
	struct stat facts;
	char name[64];
	int fd = probe(), again;

	need(!stat("/dev/probe", &facts) && !access("/dev/probe", R_OK | W_OK), "stat");
	printf("mode %o\n", facts.st_mode & 07777);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	again = open(name, O_RDWR);
	need(again >= 0 && !ioctl(fd, PROBE_ADD, 3), "again");
	/* Each open of a device gives a separate file. */
	printf("again %ld\n", sum(again));
	need(!chdir("/dev/shm"), "chdir");
	again = openat(AT_FDCWD, ".././/probe", O_RDONLY);
	printf("spelled %ld\n", sum(again));
	printf("busy %ld\n", raw(open("/dev/probes/busy", O_RDWR)));
	printf("none %ld\n", raw(open("/dev/probes/none", O_RDWR)));
	printf("path %ld\n", raw(ioctl(open("/dev/probe", O_PATH), PROBE_ADD, 0)));
	printf("exclusive %ld\n", raw(open("/dev/probe", O_CREAT | O_EXCL, 0600)));
	printf("write %ld\n", raw(write(fd, "x", 1)));
	printf("grow %ld\n", raw(ftruncate(fd, 4096)));
}

static void memory(void)
{
	size_t length = 3 << 20, page = 4096;
	char *from = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *to = mmap(NULL, length + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *fixed = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct copy copy = {(uintptr_t)from, (uintptr_t)to, length};
	int fd = probe();

	need(from != MAP_FAILED && to != MAP_FAILED && fixed != MAP_FAILED, "mmap");
	for (size_t i = 0; i < length; i++)
		from[i] = i * 7 >> 3;
	printf("copy %ld\n", raw(ioctl(fd, PROBE_COPY, &copy)));
	printf("equal %d\n", !memcmp(from, to, length));
	munmap(to + length, page);
	copy.to = (uintptr_t)to + length - 8;
	copy.length = 16;
	printf("past the end %ld\n", raw(ioctl(fd, PROBE_COPY, &copy)));
	copy.from = (uintptr_t)to + length - 8;
	copy.to = (uintptr_t)from;
	printf("from past the end %ld\n", raw(ioctl(fd, PROBE_COPY, &copy)));
	copy = (struct copy){(uintptr_t)from, (uintptr_t)fixed, 8};
	printf("read-only %ld\n", raw(ioctl(fd, PROBE_COPY, &copy)));
	copy = (struct copy){~0ul - 3, (uintptr_t)from, 8};
	printf("wraps %ld\n", raw(ioctl(fd, PROBE_COPY, &copy)));
	copy = (struct copy){(uintptr_t)from, (uintptr_t)to, 17 << 20};
	printf("too much %ld\n", raw(ioctl(fd, PROBE_COPY, &copy)));
	copy = (struct copy){(uintptr_t)from, (uintptr_t)to, 0};
	printf("nothing %ld\n", raw(ioctl(fd, PROBE_COPY, &copy)));
	printf("null %ld\n", raw(ioctl(fd, PROBE_COPY, NULL)));
}

/* Makes the handler write until the result is `wanted`, or many times. */
static long write_until(int fd, long wanted)
{
	uint64_t value;
	long result = -1;

	for (int i = 0; i < 1000 && (i == 0 || result != wanted); i++) {
		result = raw(ioctl(fd, PROBE_SUM, &value));
		if (result != wanted && wanted == 0)
			usleep(1000);
	}
	return result;
}

/* What handlers cannot read and write over their quota, and that the device itself still works. */
static void assists(void)
{
	static char from[1 << 16], to[1 << 16];
	struct copy copy = { (uintptr_t)from, (uintptr_t)to, sizeof(to) };
	struct kcov_remote_arg remote = { .area_size = 512, .common_handle = 1 };
	uint64_t *area;
	int fd = probe();

	printf("large %ld\n", raw(ioctl(fd, PROBE_COPY, &copy)));
	printf("at last %ld\n", write_until(fd, -ENOMEM));
	printf("later %ld\n", write_until(fd, 0));
	for (int i = 0; i < 50; i++) {
		int kcov = kcov_ready(512, &area);

		need(!ioctl(kcov, KCOV_REMOTE_ENABLE, &remote) && !ioctl(kcov, KCOV_DISABLE, 0), "remote");
		need(!ioctl(kcov, KCOV_ENABLE, KCOV_TRACE_PC) && !ioctl(kcov, KCOV_DISABLE, 0), "ENABLE");
		need(!munmap(area, 4096) && !close(kcov), "close");
	}
}

static void answers(void)
{
	uint64_t count = 0;
	char text[16] = "";
	int fd, file = probe();

	printf("value %ld\n", raw(syscall(SYS_getpriority, 44, 0)));
	printf("error %ld\n", raw(syscall(SYS_getpriority, 41, 0)));
	/* The kernel has no such `which`. */
	printf("continued %ld\n", raw(syscall(SYS_getpriority, 40, 0)));
	printf("not claimed %ld\n", raw(syscall(SYS_getpriority, 39, 0)));
	fd = syscall(SYS_getpriority, 42, 0);
	need(fd >= 0 && read(fd, &count, 8) == 8, "eventfd");
	printf("eventfd %lu, close-on-exec %d\n", count, fcntl(fd, F_GETFD));
	fd = ioctl(file, PROBE_MEMFD, 0);
	need(fd >= 0 && pread(fd, text, sizeof(text), 0) == 6, "memfd");
	printf("memfd %.5s, close-on-exec %d\n", text, fcntl(fd, F_GETFD));
	/* The worker must not pass on its own descriptors, whatever they are. */
	for (int given = 0; given < 12; given++) {
		long result = raw(ioctl(file, PROBE_LISTENER, given));

		if (result != -EIO)
			printf("given away: %d as %ld\n", given, result);
		/* A worker that closed its listener or a socket ends, and the next one does not know the file. */
		usleep(30000);
		close(file);
		while ((file = open("/dev/probe", O_RDWR)) < 0)
			need(errno == EIO, "EIO from open of /dev/probe");
	}
}

static void records(void)
{
	uint64_t *area;
	int kcov = kcov_ready(512, &area), file = probe();

	need(!ioctl(kcov, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	for (int round = 0; round < 2; round++) {
		area[0] = 0;
		need(!ioctl(file, PROBE_RECORD, 9), "RECORD");
		printf("pcs %lu", area[0]);
		for (uint64_t i = 1; i <= area[0]; i++)
			printf(" %lx", area[i]);
		printf("\n");
	}
	area[0] = 0;
	close(open("/dev/probe", O_RDWR));
	printf("open has %s\n", area[0] >= 2 ? "the handler's edge" : "nothing of the handler");
	area[0] = 0;
	need(syscall(SYS_getpriority, 44, 0) == 1044, "getpriority");
	printf("call %lu\n", area[0]);
	need(!ioctl(kcov, KCOV_DISABLE, 0) && !ioctl(kcov, KCOV_ENABLE, KCOV_TRACE_CMP), "CMP");
	area[0] = 0;
	need(!ioctl(file, PROBE_RECORD, 9), "RECORD");
	printf("comparisons %lu", area[0]);
	for (uint64_t i = 0; i < area[0]; i++)
		printf(" %lx:%lx:%lx", area[4 * i + 1], area[4 * i + 2], area[4 * i + 3]);
	printf("\n");
}

static void *adds(void *unused)
{
	static long wrong;

	(void)unused;
	for (int i = 0; i < 300; i++) {
		int fd = open("/dev/probe", O_RDWR);
		long result;

		if (fd < 0) {
			wrong += errno != EIO;
			continue;
		}
		result = raw(ioctl(fd, PROBE_ADD, i));
		wrong += result && result != -EIO;
		close(fd);
	}
	return &wrong;
}

static void crash(void)
{
	int fd = probe(), other = probe();
	pthread_t threads[3];
	void *wrong = NULL;

	for (int i = 0; i < 3; i++)
		need(!pthread_create(&threads[i], NULL, adds, NULL), "pthread_create");
	for (int i = 0; i < 20; i++) {
		int again = open("/dev/probe", O_RDWR);

		if (again < 0)
			continue;
		if (raw(ioctl(again, PROBE_CRASH, 0)) != -EIO)
			printf("a crash did not give EIO\n");
		close(again);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], &wrong);
	printf("lost %ld %ld\n", raw(ioctl(fd, PROBE_ADD, 1)), raw(ioctl(other, PROBE_ADD, 1)));
	close(fd);
	fd = probe();
	printf("anew %ld, wrong %ld\n", raw(ioctl(fd, PROBE_ADD, 1)), *(long *)wrong);
}

static void hang(void)
{
	int fd = probe();

	printf("hang %ld\n", raw(ioctl(fd, PROBE_HANG, 0)));
	printf("hang in open %ld\n", raw(open("/dev/probes/busy", O_RDWR | O_NONBLOCK)));
	fd = probe();
	printf("after %ld\n", raw(ioctl(fd, PROBE_ADD, 0)));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tries[] = {
		{"state", state},     {"paths", paths}, {"memory", memory}, {"assists", assists},
		{"answers", answers}, {"records", records}, {"crash", crash}, {"hang", hang},
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++)
		if (argc == 2 && !strcmp(argv[1], tries[i].name)) {
			tries[i].run();
			return 0;
		}
	fprintf(stderr, "usage: handler_probe WHAT\n");
	return 2;
}
