// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Makes the calls of the handler `retry` whose numbers are the arguments. Prints the result or -errno of
 * each, and how often it was attempted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RETRY_COUNT 44

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		uint64_t word = 4711;
		long result = syscall(SYS_getpriority, atoi(argv[i]), &word);

		if (result < 0)
			result = -errno;
		printf("%s: %ld after %ld\n", argv[i], result,
		       syscall(SYS_getpriority, RETRY_COUNT, NULL));
	}
	return 0;
}
