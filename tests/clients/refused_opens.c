// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * refused_opens TRIES - opens the device with random flags, modes and resolve bits, and a plain file of
 * the same mode with the same arguments: the checks that the kernel makes before it asks a file are the
 * same for every file. Left out is O_DIRECT, which the device refuses and a tmpfs does not.
 */
#include "hostile_kit.h"
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>

#define PLAIN_DIRECTORY "/mnt"
#define DEVICE_DIRECTORY "/sys/kernel/debug"

/* An open, without its path. */
struct how {
	int call;
	uint64_t flags;
	mode_t mode;
	size_t size;
	struct open_how how;
	uint64_t rest[4];
};

static uint64_t seed = 88172645463325252ull;

static int one_in(uint64_t n)
{
	return next_random(&seed) % n == 0;
}

static uint64_t random_bit(unsigned bits)
{
	return 1ull << next_random(&seed) % bits;
}

static struct how random_how(void)
{
	static const int flags[] = { O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC, O_APPEND, O_NONBLOCK, O_DSYNC,
				     O_ASYNC, O_DIRECTORY, O_NOFOLLOW, O_NOATIME, O_CLOEXEC, O_SYNC, O_PATH, O_TMPFILE };
	struct how how = { .call = next_random(&seed) % 3, .size = sizeof(struct open_how) };

	for (size_t i = 0; i < NUMBER_OF(flags); i++)
		how.flags |= one_in(5) ? flags[i] : 0;
	how.flags |= one_in(8) ? random_bit(32) : 0;
	how.flags &= ~(uint64_t)O_DIRECT;
	how.mode = one_in(3) ? next_random(&seed) % 010000 : 0;
	how.how = (struct open_how){ .flags = how.flags, .mode = how.mode };
	how.how.flags |= one_in(16) ? random_bit(64) & ~(uint64_t)O_DIRECT : 0;
	how.how.mode |= one_in(16) ? random_bit(64) : 0;
	/* Without RESOLVE_CACHED, as the contents of the name cache are not predictable. */
	how.how.resolve = one_in(4) ? next_random(&seed) % 32 : 0;
	how.how.resolve |= one_in(16) ? random_bit(64) & ~(uint64_t)RESOLVE_CACHED : 0;
	if (one_in(8))
		how.size = next_random(&seed) % sizeof(how.how);
	else if (one_in(8))
		how.size += next_random(&seed) % sizeof(how.rest);
	else if (one_in(64))
		how.size = 4096 + next_random(&seed) % 100;
	how.rest[0] = one_in(4) && one_in(2);
	return how;
}

static long open_by(struct how *how, int directory, const char *path)
{
	if (how->call == 0)
		return syscall(SYS_openat, directory, path, how->flags, how->mode);
	if (how->call == 1)
		return syscall(SYS_openat, directory, path, how->flags | 0xabcdull << 32, how->mode);
	return syscall(SYS_openat2, directory, path, &how->how, how->size);
}

static void compare(struct how *how, int plain, int plain_errno, int device, int device_errno)
{
	if (plain_errno != device_errno)
		wrong("call %d, flags %#lx, mode %#o, how %#llx %#llo %#llx of %zu bytes: %s, a file gives %s", how->call,
		      how->flags, how->mode, how->how.flags, how->how.mode, how->how.resolve, how->size,
		      strerrorname_np(device_errno), strerrorname_np(plain_errno));
	if (plain < 0 || device < 0)
		return;
	if (fcntl(plain, F_GETFL) != fcntl(device, F_GETFL) || fcntl(plain, F_GETFD) != fcntl(device, F_GETFD))
		wrong("flags %#lx are shown as %#x, of a file as %#x", how->flags, fcntl(device, F_GETFL),
		      fcntl(plain, F_GETFL));
	expect("INIT_TRACE of what was opened", outcome(ioctl(device, KCOV_INIT_TRACE, KIT_WORDS)),
	       fcntl(device, F_GETFL) & O_PATH ? EBADF : 0);
}

static void try(int plain_directory, int device_directory)
{
	struct how how = random_how();
	int relative = one_in(3);
	int at[2] = { relative ? plain_directory : AT_FDCWD, relative ? device_directory : AT_FDCWD };
	int plain = open_by(&how, at[0], relative ? "kcov" : PLAIN_DIRECTORY "/kcov"), plain_errno = outcome(plain);
	int device = open_by(&how, at[1], relative ? "kcov" : KCOV_DEVICE), device_errno = outcome(device);

	compare(&how, plain, plain_errno, device, device_errno);
	close(plain);
	close(device);
}

/* The kernel reads a path or structure from any readable memory. A mapping with only PROT_WRITE is
 * readable too. */
static void of_any_memory(void)
{
	static const struct { const char *name; int protection, wanted; } cases[] = {
		{ "memory to read", PROT_READ, 0 },
		{ "memory to write", PROT_WRITE, 0 },
		{ "memory for nothing", PROT_NONE, EFAULT },
	};
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct open_how *how = (void *)(page + 64);

	need(page != MAP_FAILED, "memory");
	strcpy(page, KCOV_DEVICE);
	how->flags = O_RDWR;
	for (size_t i = 0; i < NUMBER_OF(cases); i++) {
		need(!mprotect(page, 4096, cases[i].protection), "mprotect");
		int path = open(page, O_RDWR), both = syscall(SYS_openat2, AT_FDCWD, page, how, sizeof(*how));

		expect(cases[i].name, path < 0 ? errno : 0, cases[i].wanted);
		if (cases[i].wanted == 0) {
			expect(cases[i].name, outcome(ioctl(path, KCOV_INIT_TRACE, KIT_WORDS)), 0);
			expect(cases[i].name, outcome(ioctl(both, KCOV_INIT_TRACE, KIT_WORDS)), 0);
		}
		close(path);
		close(both);
	}
	munmap(page, 4096);
}

int main(int argc, char **argv)
{
	unsigned long tries = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000;

	need(!unshare(CLONE_NEWNS) && !mount("none", PLAIN_DIRECTORY, "tmpfs", 0, "mode=755"), "a tmpfs");
	close(open(PLAIN_DIRECTORY "/kcov", O_CREAT | O_WRONLY, 0600));
	int plain = open(PLAIN_DIRECTORY, O_PATH), device = open(DEVICE_DIRECTORY, O_PATH);
	need(plain >= 0 && device >= 0, "directories");
	for (unsigned long i = 0; i < tries; i++)
		try(plain, device);
	of_any_memory();
	cycle("after the opens");
	return verdict();
}
