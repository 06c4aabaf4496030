// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Closes the last descriptor of /dev/releasing while it collects PCs, and prints the number of records that are
 * there at the end of:
 *	next	the next close, of no descriptor
 *	later	at most 10 s without a call of this thread that is traced
 *	other	the same, after a close of another descriptor of the file, which was not the last
 *	crash	as next, after a request that makes the release crash; prints the thread's id, too
 */
#include "kcov_client.h"

int main(int count, char **words)
{
	uint64_t *area;
	const char *what = count > 1 ? words[1] : "";
	unsigned long records;
	int fd, other, kcov = kcov_ready(4096, &area);

	need(!ioctl(kcov, KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
	fd = open("/dev/releasing", O_RDWR);
	need(fd >= 0, "open");
	if (!strcmp(what, "crash"))
		need(!ioctl(fd, 0x7b01), "request");
	other = dup(fd);
	area[0] = 0;
	close(other);
	if (!strcmp(what, "other")) {
		usleep(200000);
		printf("%lu\n", (unsigned long)area[0]);
		return 0;
	}
	area[0] = 0;
	close(fd);
	if (!strcmp(what, "later"))
		for (int i = 0; i < 1000 && area[0] < 4; i++)
			usleep(10000);
	else
		close(-1);
	records = area[0];
	printf("%lu %d\n", records, getpid());
	return 0;
}
