// SPDX-License-Identifier: MIT OR Apache-2.0
/* Crashes while it is loaded, before it is asked for a handler. Built with HANGS, it never finishes
 * loading. */
#include <stdlib.h>

static __attribute__((constructor)) void construct(void)
{
#ifdef HANGS
	for (;;)
		;
#else
	abort();
#endif
}
