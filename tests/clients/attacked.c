// SPDX-License-Identifier: MIT OR Apache-2.0
/* Makes one call that the handler of an attack serves, and prints its result. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	long value = syscall(SYS_syslog, getppid(), 0, 0);

	printf("%ld\n", value < 0 ? -errno : value);
	return 0;
}
