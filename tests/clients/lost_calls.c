// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * lost_calls N - a process that handles SIGCHLD without SA_RESTART, as shells do, starts N children that exit
 * at once. Meanwhile it makes calls that never return EINTR. Prints how many failed, by call.
 */
#include "kcov_client.h"
#include <signal.h>
#include <sys/wait.h>

enum call { PIPE, FORK, CLOSE, MMAP, OPEN, DUP, CALLS };

static const char *const names[CALLS] = { "pipe", "fork", "close", "mmap", "open", "dup" };
static unsigned long lost[CALLS];

static void on_child(int signal)
{
	(void)signal;
}

/* Returns whether the call succeeded. */
static int kept(enum call call, int holds)
{
	lost[call] += !holds;
	return holds;
}

static void shut(int fd)
{
	if (!kept(CLOSE, close(fd) == 0))
		close(fd);
}

static void round_of_calls(void)
{
	int ends[2], fd;
	void *page;
	char byte;

	if (!kept(PIPE, pipe(ends) == 0))
		return;
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	kept(FORK, child > 0);
	shut(ends[1]);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (kept(MMAP, page != MAP_FAILED))
		munmap(page, 4096);
	fd = open("/etc/passwd", O_RDONLY);
	if (kept(OPEN, fd >= 0)) {
		int copy = dup(fd);

		if (kept(DUP, copy >= 0))
			shut(copy);
		shut(fd);
	}
	/* This one may return EINTR. */
	while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
		;
	shut(ends[0]);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 2000;
	struct sigaction action = { .sa_handler = on_child };

	need(!sigaction(SIGCHLD, &action, NULL), "sigaction");
	for (unsigned long i = 0; i < rounds; i++)
		round_of_calls();
	for (int call = 0; call < CALLS; call++)
		printf("%s %lu\n", names[call], lost[call]);
	return 0;
}
