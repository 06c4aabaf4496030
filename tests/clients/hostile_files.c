// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_files - files that look like the device, and operations on the device's own files: seals, sizes,
 * writes, holes and attributes, before INIT_TRACE and while it is traced.
 */
#include "hostile_kit.h"
#include <linux/falloc.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

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
static void a_file_with_the_inode_number(const char *what, int fd)
{
	enum { MOST = 400000 };
	struct stat device, file = { 0 };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	need(!fstat(fd, &device), "fstat");
	need(!mount("none", "/mnt", "tmpfs", 0, NULL), "mount of a tmpfs");
	sched_setaffinity(0, sizeof(one), &one);
	for (int i = 0; i < MOST && file.st_ino < device.st_ino; i++) {
		need(!mknod("/mnt/x", S_IFREG | 0600, 0), "mknod");
		need(!lstat("/mnt/x", &file), "lstat");
		if (file.st_ino != device.st_ino)
			unlink("/mnt/x");
	}
	if (file.st_ino == device.st_ino) {
		int other = open("/mnt/x", O_RDWR);

		need(other >= 0, "open of a file in a tmpfs");
		expect_no_device(what, other);
		close(other);
		printf("%s: reached\n", what);
	} else {
		printf("%s: %lu is out of reach\n", what, (unsigned long)device.st_ino);
	}
	umount2("/mnt", MNT_DETACH);
	close(fd);
}

/* The file that every open leads to has no room. A size or a hole is not stored data. */
static void nothing_is_stored_before_init(void)
{
	static const char *const attributes[] = { "user.x", "trusted.x", "security.x" };
	static char bytes[2 * KIT_BYTES];
	int fd = fresh();

	memset(bytes, 0xa5, sizeof(bytes));
	for (int i = 0; i < 100; i++) {
		expect("pwrite", outcome(pwrite(fd, bytes, sizeof(bytes), i * 4096)), ENOSPC);
		expect("fallocate", outcome(fallocate(fd, 0, i * 4096, KIT_BYTES)), ENOSPC);
		for (size_t j = 0; j < NUMBER_OF(attributes); j++)
			expect_one_of(attributes[j], outcome(fsetxattr(fd, attributes[j], bytes, 1 + i, 0)), ENOSPC,
				      EOPNOTSUPP);
	}
	expect("F_ADD_SEALS", outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)), EPERM);
	for (off_t size = 0; size < 1 << 20; size += 1 << 18) {
		uint64_t *area;

		need(!ftruncate(fd, size), "ftruncate");
		void *map = mmap(NULL, KIT_BYTES, PROT_READ, MAP_SHARED, fd, 0);
		expect("mmap before INIT_TRACE", map == MAP_FAILED ? errno : 0, EINVAL);
		expect("INIT_TRACE after operations on the file", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
		area = mmap(NULL, KIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		need(area != MAP_FAILED, "mmap");
		for (int i = 0; i < KIT_WORDS; i++)
			if (area[i])
				wrong("INIT_TRACE left %#lx in word %d", area[i], i);
		munmap(area, KIT_BYTES);
		close(fd);
		fd = fresh();
	}
	need(!ftruncate(fd, 0), "ftruncate");
	close(fd);
}

/* Sizes of the file that every open leads to have no effect on INIT_TRACE. */
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
		expect("INIT_TRACE against ftruncate", outcome(ioctl(fd, KCOV_INIT_TRACE, KIT_WORDS)), 0);
		wait_for(pid);
		expect("ENABLE after it", outcome(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
		struct stat facts;
		need(!fstat(fd, &facts), "fstat");
		if (facts.st_size != KIT_BYTES)
			wrong("an initialised area of %ld bytes", (long)facts.st_size);
		syscall(SYS_getppid);
		expect("DISABLE after it", outcome(ioctl(fd, KCOV_DISABLE, 0)), 0);
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
	uint64_t *area;

	need(!unshare(CLONE_NEWNS), "mounts of its own");
	a_memfd_of_our_name();
	a_file_with_the_inode_number("the inode number of an open", fresh());
	a_file_with_the_inode_number("the inode number of an area", kcov_ready(KIT_WORDS, &area));
	nothing_is_stored_before_init();
	sizes_while_init();
	acts_while_traced();
	cycle("after all operations");
	return verdict();
}
