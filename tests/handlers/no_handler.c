// SPDX-License-Identifier: MIT OR Apache-2.0
/* A library that is not a handler. */
int nothing(void);
int nothing(void)
{
	return 0;
}
