// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * pipes_beside_crashes N PROCESSES - N requests that crash the handler of the example vault, while other
 * processes write to pipes and read from them, which no handler claims. Prints how many of these calls failed.
 */
#include "hostile_kit.h"

enum { VAULT_PUT = 0x7601, MOST = 64 };

struct counts {
	unsigned long done, failed;
};

static void use_pipe(struct counts *counts)
{
	int ends[2];
	char byte;

	need(!pipe(ends), "pipe");
	for (;;) {
		if (write(ends[1], "x", 1) == 1 && read(ends[0], &byte, 1) == 1)
			__atomic_fetch_add(&counts->done, 1, __ATOMIC_RELAXED);
		else
			__atomic_fetch_add(&counts->failed, 1, __ATOMIC_RELAXED);
		usleep(200);
	}
}

static int crash(void)
{
	struct {
		uint32_t drawer, length;
		char bytes[64];
	} deposit = { .drawer = 1, .length = 64 };
	int fd = open("/dev/vault", O_RDWR);

	if (fd < 0)
		return 0;
	int crashed = ioctl(fd, VAULT_PUT, &deposit) < 0 && errno == EIO;
	close(fd);
	return crashed;
}

int main(int argc, char **argv)
{
	int tries = argc > 1 ? atoi(argv[1]) : 100, processes = argc > 2 ? atoi(argv[2]) : 6, crashes = 0;
	pid_t pids[MOST];
	struct counts *counts =
		mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	need(counts != MAP_FAILED && processes <= MOST, "usage");
	for (int i = 0; i < processes; i++) {
		pids[i] = fork();
		need(pids[i] >= 0, "fork");
		if (pids[i] == 0)
			use_pipe(counts);
	}
	for (int i = 0; i < tries; i++)
		crashes += crash();
	for (int i = 0; i < processes; i++) {
		kill(pids[i], SIGKILL);
		wait_for(pids[i]);
	}
	fprintf(stderr, "%d crashes of %d, %lu calls succeeded\n", crashes, tries, counts->done);
	printf("%s\nfailed %lu\n", crashes ? "crashed" : "never crashed", counts->failed);
	return 0;
}
