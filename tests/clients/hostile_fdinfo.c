// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_fdinfo MILLISECONDS - a trap for a process that looks at more of a descriptor than its file's
 * identity: an epoll instance whose lock is held forever, because epoll_wait(2) copies its events to a
 * page that userfaultfd never resolves. A process that reads the fdinfo of that descriptor sleeps on the
 * lock and cannot be killed. Another thread exchanges the trap with an instance while calls of the device
 * name it.
 */
#include "userfault.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int slot = 100, object, trap;
static volatile int over, ended;
static volatile uint64_t made;

/* Milliseconds after which a call counts as lost: far above the deadline. */
enum { PATIENCE = 15000 };

static void *hold_lock(void *page)
{
	syscall(SYS_epoll_wait, trap, page, 1, -1);
	return NULL;
}

static void *exchange(void *unused)
{
	while (!over) {
		dup2(object, slot);
		dup2(trap, slot);
	}
	return unused;
}

static void *map(void *unused)
{
	while (!over) {
		/* Longer than the area: refused by the device or by the kernel. */
		void *mapped = mmap(NULL, 2 * KIT_BYTES, PROT_READ, MAP_SHARED, slot, 0);

		/* 0: the check saw the trap, and the kernel mapped the instance's file. */
		expect_one_of("mmap", mapped == MAP_FAILED ? errno : 0, EINVAL, ENODEV, 0);
		if (mapped != MAP_FAILED)
			munmap(mapped, 2 * KIT_BYTES);
		made++;
	}
	ended = 1;
	return unused;
}

int main(int argc, char **argv)
{
	uint64_t end = milliseconds() + (argc > 1 ? strtoull(argv[1], NULL, 0) : 2000), *area, last = 0, since = 0;
	struct epoll_event event = { .events = EPOLLIN };
	pthread_t threads[3];

	object = kcov_ready(KIT_WORDS, &area);
	trap = epoll_create1(EPOLL_CLOEXEC);
	need(trap >= 0 && !epoll_ctl(trap, EPOLL_CTL_ADD, eventfd(1, EFD_CLOEXEC), &event), "epoll");
	need(!pthread_create(&threads[0], NULL, hold_lock, unresolved_page(0)), "pthread_create");
	usleep(20000);
	need(dup2(object, slot) == slot, "dup2");
	need(!pthread_create(&threads[1], NULL, exchange, NULL), "pthread_create");
	need(!pthread_create(&threads[2], NULL, map, NULL), "pthread_create");
	for (since = milliseconds(); milliseconds() < end; usleep(1000)) {
		if (made != last)
			last = made, since = milliseconds();
		else if (milliseconds() - since > PATIENCE)
			break;
	}
	over = 1;
	usleep(100000);
	for (last = made; milliseconds() - since < PATIENCE && !ended; usleep(1000))
		;
	if (!ended) {
		wrong("a call of the device never returned, after %lu calls", last);
		/* Ends the thread that holds the lock, with all others. */
		_exit(1);
	}
	printf("%lu calls\n", made);
	cycle("beside the trap");
	fflush(stdout);
	/* The trapped thread cannot be joined. */
	_exit(verdict());
}
