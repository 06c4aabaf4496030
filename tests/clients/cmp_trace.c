// SPDX-License-Identifier: MIT OR Apache-2.0
/* cmp_trace - prints the comparisons of one mmap and one read of a bad descriptor, one record a line. */
#include "kcov_client.h"

enum { WORDS = 64 << 10 };

int main(void)
{
	uint64_t *area;
	int fd = kcov_ready(WORDS, &area);

	need(!ioctl(fd, KCOV_ENABLE, KCOV_TRACE_CMP), "ENABLE");
	__atomic_store_n(&area[0], 0, __ATOMIC_RELAXED);
	/* At a fixed address, so that the arguments are the same in every run. */
	void *page = mmap((void *)0x20000000, 4096, PROT_READ | PROT_WRITE,
			  MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t got = read(-1, (void *)0x20000000, 64);
	uint64_t count = __atomic_load_n(&area[0], __ATOMIC_RELAXED);
	need(!ioctl(fd, KCOV_DISABLE, 0), "DISABLE");
	need(page != MAP_FAILED, "anonymous mmap");
	need(got == -1 && errno == EBADF, "read of a bad descriptor");
	need(count <= (WORDS - 1) / 4, "count within the area");
	for (uint64_t i = 0; i < count; i++) {
		const uint64_t *record = &area[1 + 4 * i];

		printf("%llu 0x%llx 0x%llx 0x%llx\n", (unsigned long long)record[0], (unsigned long long)record[1],
		       (unsigned long long)record[2], (unsigned long long)record[3]);
	}
	return 0;
}
