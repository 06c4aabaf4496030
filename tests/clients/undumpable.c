// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * undumpable - makes itself not dumpable, so that only root may trace it, then uses the device: area, PC
 * and CMP records, a remote handle, open by a relative path. Prints "ok" or what did not work.
 */
#include "kcov_client.h"
#include <sys/prctl.h>

static void collect(int fd, uint64_t *area, unsigned long mode)
{
	need(!ioctl(fd, KCOV_ENABLE, mode), "ENABLE");
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	for (int i = 0; i < 8; i++)
		getppid();
	need(__atomic_load_n(&area[0], __ATOMIC_ACQUIRE) > 0, "records");
	need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");
}

int main(void)
{
	struct kcov_remote_arg remote = { .area_size = 64, .common_handle = getpid() };
	uint64_t *area;
	int fd, other;

	need(!prctl(PR_SET_DUMPABLE, 0), "PR_SET_DUMPABLE");
	fd = kcov_ready(512, &area);
	other = dup(fd);
	collect(fd, area, KCOV_TRACE_PC);
	collect(other, area, KCOV_TRACE_CMP);
	need(!ioctl(other, KCOV_REMOTE_ENABLE, &remote), "REMOTE_ENABLE");
	need(ioctl(fd, KCOV_REMOTE_ENABLE, &remote) && errno == EINVAL, "EINVAL from a second REMOTE_ENABLE");
	need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE of the remote one");
	need(ioctl(0, KCOV_DISABLE, 0), "failure of DISABLE on a descriptor that is not a device");
	need(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096) == MAP_FAILED, "mmap at an offset");
	need(!chdir("/sys/kernel"), "chdir");
	other = open("debug/kcov", O_RDWR);
	need(other >= 0 && !ioctl(other, KCOV_INIT_TRACE, 64ul), "a relative path");
	puts("ok");
	return 0;
}
