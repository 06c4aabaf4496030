// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * i386_calls - uses the device through the 32-bit table of system calls: every way to open and map it, the
 * same requests as in the 64-bit table, and calls that are recorded.
 */
#include "hostile_kit.h"
#include <linux/openat2.h>

#ifndef __x86_64__
int main(void)
{
	return KIT_UNAVAILABLE;
}
#else
/* Numbers of `arch/x86/entry/syscalls/syscall_32.tbl`. */
enum { OPEN = 5, CREAT = 8, IOCTL = 54, GETPPID = 64, OLD_MMAP = 90, MMAP2 = 192, OPENAT = 295, OPENAT2 = 437 };

/* The calls' data must have 32-bit addresses. */
struct low {
	char path[64];
	struct open_how how;
	struct kcov_remote_arg remote;
	uint32_t map[6];
};

static struct low *low;

static uint32_t address(const void *pointer)
{
	return (uint32_t)(uintptr_t)pointer;
}

static long call(uint32_t number, uint32_t b, uint32_t c, uint32_t d, uint32_t s, uint32_t di, uint64_t bp)
{
	long result;

	__asm__ volatile("push %%rbp; mov %7, %%rbp; int $0x80; pop %%rbp"
			 : "=a"(result)
			 : "a"(number), "b"(b), "c"(c), "d"(d), "S"(s), "D"(di), "r"(bp)
			 : "memory", "r8", "r9", "r10", "r11");
	if ((int)result < 0 && (int)result > -4096) {
		errno = -(int)result;
		return -1;
	}
	return (uint32_t)result;
}

static int request(int fd, uint32_t what, uint32_t arg)
{
	return outcome(call(IOCTL, fd, what, arg, 0, 0, 0));
}

static int mmap2(uint32_t length, int fd, uint32_t page)
{
	return outcome(call(MMAP2, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page));
}

static long old_mmap(uint32_t length, int fd, uint32_t offset)
{
	uint32_t map[6] = { 0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset };

	memcpy(low->map, map, sizeof(map));
	return call(OLD_MMAP, address(low->map), 0, 0, 0, 0, 0);
}

static void opens(void)
{
	int opened[] = { call(OPEN, address(low->path), O_RDWR, 0, 0, 0, 0),
			 call(OPENAT, AT_FDCWD, address(low->path), O_RDWR, 0, 0, 0),
			 call(CREAT, address(low->path), 0600, 0, 0, 0, 0),
			 call(OPENAT2, AT_FDCWD, address(low->path), address(&low->how), sizeof(low->how), 0, 0) };

	for (size_t i = 0; i < NUMBER_OF(opened); i++) {
		expect("open", outcome(opened[i]), 0);
		expect("INIT_TRACE", request(opened[i], KCOV_INIT_TRACE, KIT_WORDS), 0);
		expect("INIT_TRACE, again", request(opened[i], KCOV_INIT_TRACE, KIT_WORDS), EBUSY);
		close(opened[i]);
	}
	low->how.flags |= 1ull << 40;
	expect("openat2 with an unknown flag",
	       outcome(call(OPENAT2, AT_FDCWD, address(low->path), address(&low->how), sizeof(low->how), 0, 0)), EINVAL);
}

static uint64_t *maps(int fd)
{
	expect("mmap2", mmap2(KIT_BYTES, fd, 0), 0);
	expect("mmap2 of more", mmap2(2 * KIT_BYTES, fd, 0), EINVAL);
	expect("mmap2 of the second page", mmap2(KIT_BYTES, fd, 1), EINVAL);
	expect("mmap of more", outcome(old_mmap(2 * KIT_BYTES, fd, 0)), EINVAL);
	expect("mmap of the second page", outcome(old_mmap(KIT_BYTES, fd, KIT_BYTES)), EINVAL);
	expect("mmap between pages", outcome(old_mmap(KIT_BYTES, fd, 7)), EINVAL);
	expect("mmap with arguments that cannot be read", outcome(call(OLD_MMAP, 8, 0, 0, 0, 0, 0)), EFAULT);
	long area = old_mmap(KIT_BYTES, fd, 0);
	need(area != -1, "mmap");
	return (uint64_t *)area;
}

static void requests(int fd)
{
	low->remote = (struct kcov_remote_arg){ .area_size = 64, .common_handle = getpid() };
	expect("REMOTE_ENABLE", request(fd, KCOV_REMOTE_ENABLE, address(&low->remote)), 0);
	expect("REMOTE_ENABLE, again", request(fd, KCOV_REMOTE_ENABLE, address(&low->remote)), EINVAL);
	expect("REMOTE_ENABLE of no memory", request(fd, KCOV_REMOTE_ENABLE, 8), EFAULT);
	expect("DISABLE with an argument", request(fd, KCOV_DISABLE, 1), EINVAL);
	expect("DISABLE", request(fd, KCOV_DISABLE, 0), 0);
	expect("INIT_TRACE of a 32-bit word", request(fd, 0x80046301u, KIT_WORDS), ENOTTY);
}

static void records(int fd, uint64_t *area)
{
	for (uint32_t mode = KCOV_TRACE_PC; mode <= KCOV_TRACE_CMP; mode++) {
		expect("ENABLE", request(fd, KCOV_ENABLE, mode), 0);
		__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
		call(GETPPID, 0, 0, 0, 0, 0, 0);
		if (load(&area[0]) == 0 || load(&area[0]) >= KIT_WORDS)
			wrong("records of a call in mode %u: %lu", mode, load(&area[0]));
		expect("DISABLE", request(fd, KCOV_DISABLE, 0), 0);
	}
}

int main(void)
{
	low = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	need(low != MAP_FAILED, "memory");
	strcpy(low->path, KCOV_DEVICE);
	low->how.flags = O_RDWR;
	if (call(GETPPID, 0, 0, 0, 0, 0, 0) < 0)
		return KIT_UNAVAILABLE;
	opens();
	int fd = call(OPEN, address(low->path), O_RDWR, 0, 0, 0, 0);
	need(fd >= 0 && !request(fd, KCOV_INIT_TRACE, KIT_WORDS), "an object");
	uint64_t *area = maps(fd);
	requests(fd);
	records(fd, area);
	cycle("afterwards");
	return verdict();
}
#endif
