// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * signals CONTROL - makes system calls all the time while two signal handlers run: for SIGALRM of a 1 kHz
 * timer, and for SIGUSR1, which the SIGALRM handler sends. Both handlers restart calls, so that no call
 * may fail, and both make a call.
 *   facts: 0 calls made, 1 SIGALRMs, 2 SIGUSR1s, 3 wrong results
 */
#include "control.h"
#include "kcov_client.h"
#include <signal.h>
#include <sys/time.h>

enum { CALLS = CONTROL_FACTS, ALARMS, USERS, WRONGS };

static volatile uint64_t *page;
static pid_t self;

static void on_alarm(int number)
{
	int saved = errno;

	control_add(page, ALARMS, 1);
	if (kill(self, SIGUSR1))
		control_add(page, WRONGS, number);
	errno = saved;
}

static void on_user(int number)
{
	int saved = errno;

	control_add(page, USERS, 1);
	if (getpid() != self)
		control_add(page, WRONGS, number);
	errno = saved;
}

static void handle(int number, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	need(!sigaction(number, &action, NULL), "sigaction");
}

int main(int argc, char **argv)
{
	struct itimerval kilohertz = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };
	int ends[2];
	char byte = 0;

	page = control_map(argc > 1 ? argv[1] : "");
	self = getpid();
	need(!pipe(ends), "pipe");
	handle(SIGALRM, on_alarm);
	handle(SIGUSR1, on_user);
	need(!setitimer(ITIMER_REAL, &kilohertz, NULL), "setitimer");
	control_set(page, CONTROL_READY, 1);
	while (control_get(page, CONTROL_GO) == 0) {
		/* A byte through the pipe: a write that took effect twice would leave one. */
		if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
			control_add(page, WRONGS, 1);
		if (getppid() <= 0)
			control_add(page, WRONGS, 1);
		control_add(page, CALLS, 3);
	}
	need(!setitimer(ITIMER_REAL, &never, NULL), "setitimer");
	/* The pipe must be empty. */
	need(!fcntl(ends[0], F_SETFL, O_NONBLOCK), "fcntl");
	if (read(ends[0], &byte, 1) != -1 || errno != EAGAIN)
		control_add(page, WRONGS, 1);
	return control_get(page, WRONGS) ? 1 : 0;
}
