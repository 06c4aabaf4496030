// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Makes requests to the handler of tests/handlers/faults.c: REQUEST[:ARGUMENT[:TIMES]]... in hexadecimal.
 * "call:N" is getpriority(N, 0), "keep" makes later requests use one open file, "collect" collects PCs
 * from then on. Prints a line for each request with the last result and the number of EIO results, and, if
 * PCs are collected, a line with the PCs of the request.
 */
#include "../handlers/faults.h"
#include "kcov_client.h"

#include <inttypes.h>
#include <sys/syscall.h>

#define WORDS 4096

static int kept = -1;
static uint64_t *area;

static long ask(unsigned long request, unsigned long argument)
{
	struct order order = {FAULT_MAGIC, argument};
	int fd = kept >= 0 ? kept : open("/dev/faults", O_RDWR);
	long result = fd < 0 ? -errno : ioctl(fd, request, &order);

	if (fd >= 0 && result < 0)
		result = -errno;
	if (kept < 0 && fd >= 0)
		close(fd);
	return result;
}

static void print_pcs(void)
{
	if (!area)
		return;
	printf("pcs");
	for (uint64_t i = 1; i <= area[0]; i++)
		printf(" %#" PRIx64, area[i]);
	printf("\n");
}

int main(int count, char **words)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < count; i++) {
		char *rest;
		unsigned long argument = 0, times = 1, eios = 0, request;
		long result = 0;

		if (!strcmp(words[i], "keep")) {
			kept = open("/dev/faults", O_RDWR);
			continue;
		}
		if (!strcmp(words[i], "collect")) {
			need(!ioctl(kcov_ready(WORDS, &area), KCOV_ENABLE, KCOV_TRACE_PC), "ENABLE");
			continue;
		}
		if (!strncmp(words[i], "call:", 5)) {
			result = syscall(SYS_getpriority, strtoul(words[i] + 5, NULL, 0), 0);
			printf("%s %ld\n", words[i], result < 0 ? -(long)errno : result);
			continue;
		}
		request = strtoul(words[i], &rest, 16);
		if (*rest == ':')
			argument = strtoul(rest + 1, &rest, 16);
		if (*rest == ':')
			times = strtoul(rest + 1, NULL, 16);
		if (area)
			area[0] = 0;
		for (unsigned long turn = 0; turn < times; turn++) {
			result = ask(request, argument);
			eios += result == -EIO;
		}
		printf("%lx %ld %lu\n", request, result, eios);
		print_pcs();
	}
	return 0;
}
