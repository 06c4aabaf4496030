// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * after_stuck N - N times, a call whose memory cannot be read (handlers/syslog.c, userfaultfd), which gets EIO
 * at the deadline, and a call of another kind right behind it. Prints how many of the latter failed.
 */
#include "userfault.h"

int main(int argc, char **argv)
{
	unsigned long tries = argc > 1 ? strtoul(argv[1], NULL, 0) : 300, stuck = 0, failed = 0;
	void *page = unresolved_page(0);

	for (unsigned long i = 0; i < tries; i++) {
		stuck += syscall(SYS_syslog, 1, page, 0) < 0 && errno == EIO;
		failed += syscall(SYS_getppid) < 0;
	}
	fprintf(stderr, "%lu of %lu calls were stuck\n", stuck, tries);
	printf("failed %lu\n", failed);
	return 0;
}
