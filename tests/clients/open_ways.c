// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * open_ways every     - every call that opens a file leads to the device: open, openat, openat2, creat,
 *                       open_by_handle_at, io_uring, links in procfs
 * open_ways store     - nothing can be stored in the device before INIT_TRACE
 * open_ways cycles N  - opens, initialises and closes N times
 * open_ways opens N   - opens and closes N times
 * open_ways replace N - another thread replaces the descriptor N times during INIT_TRACE
 * open_ways shrink N  - another thread truncates the file of the descriptor during N INIT_TRACEs
 */
#include "ring.h"
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static void is_the_device(const char *way, int fd)
{
	if (fd < 0) {
		wrong("%s: %m", way);
		return;
	}
	expect(way, outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), EINVAL);
	expect(way, outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	expect(way, outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	expect(way, outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	close(fd);
}

static void by_handle(void)
{
	struct {
		struct file_handle head;
		unsigned char bytes[MAX_HANDLE_SZ];
	} handle = { .head.handle_bytes = MAX_HANDLE_SZ };
	int mount, directory = open("/sys/kernel/debug", O_RDONLY | O_DIRECTORY);

	if (name_to_handle_at(AT_FDCWD, KCOV_DEVICE, &handle.head, &mount, 0)) {
		printf("name_to_handle_at: %m\n");
		return;
	}
	int fd = open_by_handle_at(directory, &handle.head, O_RDWR);
	if (fd < 0 && errno == EPERM)
		printf("open_by_handle_at: %m\n");
	else
		is_the_device("open_by_handle_at", fd);
	close(directory);
}

static void every_way(void)
{
	struct open_how how = { .flags = O_RDWR | O_CLOEXEC };
	char path[64];
	int link = open(KCOV_DEVICE, O_PATH), directory = open("/sys/kernel/debug", O_PATH);

	is_the_device("openat", open(KCOV_DEVICE, O_RDWR));
	is_the_device("openat of a directory", openat(directory, "kcov", O_RDWR));
	is_the_device("openat2", syscall(SYS_openat2, AT_FDCWD, KCOV_DEVICE, &how, sizeof(how)));
	how.resolve = RESOLVE_BENEATH;
	is_the_device("openat2 beneath", syscall(SYS_openat2, directory, "kcov", &how, sizeof(how)));
	is_the_device("creat", creat(KCOV_DEVICE, 0600));
	is_the_device("/dev/kcov", open("/dev/kcov", O_RDWR));
#ifdef SYS_open
	is_the_device("open", syscall(SYS_open, KCOV_DEVICE, O_RDWR));
#endif
	snprintf(path, sizeof(path), "/proc/self/fd/%d", link);
	is_the_device("a link in procfs", open(path, O_RDWR));
	by_handle();
	ring_fd = syscall(SYS_io_uring_setup, 4, &parameters);
	if (ring_fd < 0) {
		printf("io_uring_setup: %m\n");
		return;
	}
	close(ring_fd);
	memset(&parameters, 0, sizeof(parameters));
	set_up();
	is_the_device("io_uring", open_by_ring(KCOV_DEVICE, O_RDWR));
}

static void store(void)
{
	static char bytes[1 << 16];
	int fd = open(KCOV_DEVICE, O_RDWR);

	for (size_t i = 0; i < 200; i++) {
		char name[32];

		snprintf(name, sizeof(name), "user.x%zu", i);
		expect("write", outcome(pwrite(fd, bytes, 1 + i, i * 4096)), ENOSPC);
		expect("fallocate", outcome(fallocate(fd, 0, i * 4096, sizeof(bytes))), ENOSPC);
		expect_one_of("fsetxattr", outcome(fsetxattr(fd, name, bytes, i, 0)), ENOSPC, EOPNOTSUPP);
		expect_one_of("setxattr", outcome(setxattr("/sys/kernel/debug", name, bytes, i, 0)), ENOSPC, EOPNOTSUPP, EACCES,
			      EPERM);
	}
	expect("a new file", outcome(open("/sys/kernel/debug/new", O_CREAT | O_RDWR, 0600)) != 0, 1);
	expect("mmap", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0, EINVAL);
	is_the_device("after all that", fd);
}

static void cycles(unsigned long rounds, int initialise)
{
	for (unsigned long i = 0; i < rounds; i++) {
		int fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);

		if (fd < 0) {
			wrong("open %lu: %m", i);
			return;
		}
		if (initialise)
			expect("INIT_TRACE", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
		close(fd);
	}
}

static int slot, plain;
static volatile int turn, over;

static void *replace(void *unused)
{
	for (int seen = 0; !over;) {
		if (turn == seen)
			continue;
		seen = turn;
		for (volatile unsigned spin = seen * 7919u % 20000; spin; spin--)
			;
		dup2(plain, slot);
		__atomic_store_n(&turn, 0, __ATOMIC_RELEASE);
		seen = 0;
	}
	return unused;
}

/* The descriptor is the instance or the plain file. A copy of the open shows that INIT_TRACE counted. */
static void replaced(unsigned long rounds)
{
	unsigned long counts[3] = { 0 };
	struct stat of_plain, found;
	pthread_t thread;

	slot = 100;
	plain = memfd_create("plain", MFD_CLOEXEC);
	need(plain >= 0 && !fstat(plain, &of_plain), "a plain file");
	need(!pthread_create(&thread, NULL, replace, NULL), "pthread_create");
	for (unsigned long i = 0; i < rounds; i++) {
		int fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);

		need(fd >= 0 && dup2(fd, slot) == slot, "open");
		__atomic_store_n(&turn, i + 1, __ATOMIC_RELEASE);
		int got = outcome(ioctl(slot, KCOV_INIT_TRACE, KIT_WORDS));
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE))
			;
		expect_one_of("INIT_TRACE", got, 0, ENOTTY);
		need(!fstat(slot, &found), "fstat");
		counts[got ? 2 : found.st_ino != of_plain.st_ino]++;
		expect("INIT_TRACE of a copy", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), got ? 0 : EBUSY);
		expect("ENABLE of a copy", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		expect("DISABLE of a copy", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
		close(fd);
	}
	over = 1;
	pthread_join(thread, NULL);
	if (fstat(plain, &found) || found.st_ino != of_plain.st_ino)
		wrong("the plain file's own descriptor changed");
	printf("replaced after INIT_TRACE %lu, overwritten %lu, replaced before %lu\n", counts[0], counts[1], counts[2]);
}

static void *shrink(void *unused)
{
	while (!over) {
		int ignored = ftruncate(__atomic_load_n(&slot, __ATOMIC_RELAXED), 0);

		(void)ignored;
	}
	return unused;
}

static void shrunk(unsigned long rounds)
{
	pthread_t thread;

	slot = -1;
	need(!pthread_create(&thread, NULL, shrink, NULL), "pthread_create");
	for (unsigned long i = 0; i < rounds; i++) {
		int fd = open(KCOV_DEVICE, O_RDWR | O_TRUNC | O_CLOEXEC);

		need(fd >= 0, "open");
		__atomic_store_n(&slot, fd, __ATOMIC_RELAXED);
		expect("INIT_TRACE against ftruncate", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
		expect("ENABLE after ftruncate", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		expect("DISABLE after ftruncate", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
		close(fd);
	}
	over = 1;
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;

	if (!strcmp(what, "every"))
		every_way();
	else if (!strcmp(what, "store"))
		store();
	else if (!strcmp(what, "cycles"))
		cycles(rounds, 1);
	else if (!strcmp(what, "opens"))
		cycles(rounds, 0);
	else if (!strcmp(what, "replace"))
		replaced(rounds);
	else if (!strcmp(what, "shrink"))
		shrunk(rounds);
	else
		need(0, "usage");
	return verdict();
}
