// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_files - files that look like the device, and operations on the device's own file: seals, sizes,
 * writes and holes, before INIT_TRACE and while it is traced.
 */
#include "hostile_kit.h"
#include <linux/falloc.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int fresh(void)
{
	int fd = open(KCOV_DEVICE, O_RDWR | O_CLOEXEC);

	need(fd >= 0, "open");
	return fd;
}

static void expect_no_device(const char *what, int fd)
{
	struct kcov_remote_arg remote = { .area_size = KIT_WORDS };

	expect(what, outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), ENOTTY);
	expect(what, outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), ENOTTY);
	expect(what, outcome(ioctl(fd, KCOV_DISABLE, 0)), ENOTTY);
	expect(what, outcome(ioctl(fd, KCOV_REMOTE_ENABLE, &remote)), ENOTTY);
}

static void a_memfd_of_our_name(void)
{
	int live = fresh(), fd = memfd_create("kcov", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	need(fd >= 0, "memfd_create");
	expect_no_device("a memfd named kcov", fd);
	close(fd);
	close(live);
}

/* With one processor a tmpfs counts its inodes from 1, so creating files reaches a given number. */
static void a_file_with_the_inode_number(void)
{
	enum { MOST = 400000 };
	struct stat device, file = { 0 };
	int fd = fresh();
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	need(!fstat(fd, &device), "fstat");
	need(!mount("none", "/mnt", "tmpfs", 0, NULL), "mount of a tmpfs");
	sched_setaffinity(0, sizeof(one), &one);
	for (int i = 0; i < MOST && file.st_ino < device.st_ino; i++) {
		/* Unlike open(2), mknod(2) is not trapped. */
		need(!mknod("/mnt/x", S_IFREG | 0600, 0), "mknod");
		need(!lstat("/mnt/x", &file), "lstat");
		if (file.st_ino != device.st_ino)
			unlink("/mnt/x");
	}
	if (file.st_ino == device.st_ino) {
		int other = open("/mnt/x", O_RDWR);

		need(other >= 0, "open of a file in a tmpfs");
		expect_no_device("a file of the same inode number", other);
		close(other);
		printf("inode number reached\n");
	} else {
		printf("inode number %lu is out of reach\n", (unsigned long)device.st_ino);
	}
	umount2("/mnt", MNT_DETACH);
	close(fd);
}

/* The tenant's own seals: INIT_TRACE gives EPERM, and the instance is unchanged. */
static void seals_before_init(void)
{
	static const struct { const char *name; int seals; off_t size; int errno_wanted; } cases[] = {
		{ "F_SEAL_SEAL", F_SEAL_SEAL, 0, EPERM },
		{ "F_SEAL_WRITE", F_SEAL_WRITE, 0, EPERM },
		{ "F_SEAL_FUTURE_WRITE", F_SEAL_FUTURE_WRITE, 0, EPERM },
		{ "F_SEAL_GROW", F_SEAL_GROW, 0, EPERM },
		{ "F_SEAL_SHRINK, larger than the area", F_SEAL_SHRINK, 2 * KIT_BYTES, EPERM },
		/* This one asks for no more than INIT_TRACE itself does. */
		{ "F_SEAL_SHRINK", F_SEAL_SHRINK, 0, 0 },
	};

	for (size_t i = 0; i < NUMBER_OF(cases); i++) {
		int fd = fresh();

		need(!ftruncate(fd, cases[i].size), "ftruncate");
		need(!fcntl(fd, F_ADD_SEALS, cases[i].seals), "F_ADD_SEALS");
		expect(cases[i].name, outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), cases[i].errno_wanted);
		if (cases[i].errno_wanted) {
			expect(cases[i].name, outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), EINVAL);
			expect(cases[i].name, outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), EPERM);
		}
		close(fd);
	}
}

static void contents_before_init(off_t size)
{
	static char bytes[2 * KIT_BYTES];
	int fd = fresh();

	memset(bytes, 0xa5, sizeof(bytes));
	need(!ftruncate(fd, size), "ftruncate");
	need(pwrite(fd, bytes, sizeof(bytes), 0) == sizeof(bytes), "pwrite");
	expect("INIT_TRACE of a file with contents", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
	uint64_t *area = mmap(NULL, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(area != MAP_FAILED, "mmap");
	for (int i = 0; i < KIT_WORDS; i++)
		if (area[i])
			wrong("INIT_TRACE left %#lx in word %d", area[i], i);
	munmap(area, KIT_BYTES);
	close(fd);
}

/* Two at once: each INIT_TRACE gives a complete area or none. */
static void sizes_while_init(void)
{
	for (int i = 0; i < 300; i++) {
		int fd = fresh();
		pid_t pid = fork();

		if (pid == 0) {
			for (int j = 0; j < 40; j++)
				if (ftruncate(fd, j % 2 ? 0 : 3 * KIT_BYTES))
					break;
			_exit(0);
		}
		int got = outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS));
		wait_for(pid);
		expect_one_of("INIT_TRACE against ftruncate", got, 0, EPERM);
		expect("ENABLE after it", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), got ? EINVAL : 0);
		struct stat facts;
		need(!fstat(fd, &facts), "fstat");
		if (!got && facts.st_size != KIT_BYTES)
			wrong("an initialised area of %ld bytes", (long)facts.st_size);
		syscall(SYS_getppid);
		expect("DISABLE after it", outcome(ioctl(fd, KCOV_DISABLE, 0)), got ? EINVAL : 0);
		close(fd);
	}
}

/* Seals keep the size. The tenant may spoil all other contents, which harms nobody else. */
static void acts_while_traced(void)
{
	uint64_t *area, junk = ~0ull;
	int fd = kcov_ready(KIT_WORDS, &area);

	expect("ENABLE", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	for (int i = 0; i < 300; i++) {
		expect("shrinking", outcome(ftruncate(fd, 0)), EPERM);
		expect("growing", outcome(ftruncate(fd, 1 << 20)), EPERM);
		expect("F_ADD_SEALS", outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)), EPERM);
		expect("fallocate", outcome(fallocate(fd, 0, 0, KIT_BYTES)), 0);
		expect("fallocate beyond", outcome(fallocate(fd, 0, 0, 2 * KIT_BYTES)), EPERM);
		expect("a hole", outcome(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, KIT_BYTES)), 0);
		syscall(SYS_getppid);
		if (load(&area[0]) == 0 || load(&area[0]) >= KIT_WORDS)
			wrong("records after a hole: %lu", load(&area[0]));
		expect("MADV_REMOVE", outcome(madvise(area, KIT_BYTES, MADV_REMOVE)), 0);
		syscall(SYS_getppid);
		if (load(&area[0]) == 0)
			wrong("no records after MADV_REMOVE");
		need(pwrite(fd, &junk, sizeof(junk), 8) == 8, "pwrite");
		need(write(fd, &junk, sizeof(junk)) == 8 || errno == EPERM, "write");
		syscall(SYS_getppid);
		lseek(fd, 0, SEEK_SET);
		__atomic_store_n(&area[0], 0, __ATOMIC_RELEASE);
	}
	expect("DISABLE", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
	munmap(area, KIT_BYTES);
	close(fd);
}

int main(void)
{
	need(!unshare(CLONE_NEWNS), "mounts of its own");
	a_memfd_of_our_name();
	a_file_with_the_inode_number();
	seals_before_init();
	contents_before_init(0);
	contents_before_init(1 << 20);
	sizes_while_init();
	acts_while_traced();
	cycle("after all operations");
	return verdict();
}
