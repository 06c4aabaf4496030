// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A page that the test and a client share. Through it they agree on an order of actions without a system
 * call, so that the agreement itself is never traced.
 */
#ifndef CONTROL_H
#define CONTROL_H
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CONTROL_GO = 0, CONTROL_READY = 1, CONTROL_FACTS = 2 };

static volatile uint64_t *control_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED) {
		perror(path);
		exit(9);
	}
	close(fd);
	return page;
}

static inline void control_set(volatile uint64_t *page, unsigned word, uint64_t value)
{
	__atomic_store_n(&page[word], value, __ATOMIC_RELEASE);
}

static inline void control_add(volatile uint64_t *page, unsigned word, uint64_t value)
{
	__atomic_add_fetch(&page[word], value, __ATOMIC_ACQ_REL);
}

static inline uint64_t control_get(volatile uint64_t *page, unsigned word)
{
	return __atomic_load_n(&page[word], __ATOMIC_ACQUIRE);
}

/* Waits until the test has set CONTROL_GO to at least `value`. */
static inline void control_wait(volatile uint64_t *page, uint64_t value)
{
	while (control_get(page, CONTROL_GO) < value)
		usleep(1000);
}
#endif
