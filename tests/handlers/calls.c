// SPDX-License-Identifier: MIT OR Apache-2.0
/* A function that calls others, each of which ends in a point. To be compiled with instrumentation and
 * optimisation. */
#include <stdint.h>

static volatile int count;

static __attribute__((noinline)) void increase(void)
{
	count++;
}

static __attribute__((noinline)) void increase_for_seven(uint64_t value)
{
	if (value == 7)
		increase();
}

int decide(uint32_t key, uint64_t value);

int decide(uint32_t key, uint64_t value)
{
	count = key;
	increase_for_seven(value);
	return count;
}
