// SPDX-License-Identifier: MIT OR Apache-2.0
/* Crashes while it is loaded, before anybody asks it for a handler; built with HANGS, does not come to an end. */
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
