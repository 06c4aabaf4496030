/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests of the client of faults.c. */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdint.h>

#define FAULT_MAGIC 0xfa017fa017u

struct order {
	uint64_t magic;
	uint64_t address; /* or another argument */
};

enum {
	FAULT_NONE = 0x7100, /* returns the argument */
	FAULT_SEGV,	     /* stores to the address, three functions deep */
	FAULT_ABORT,
	FAULT_HANG,
	FAULT_STACK, /* 0x7104 */
	FAULT_EXIT,
	FAULT_HEAP, /* writes a byte more than malloc gave */
	FAULT_INT,
	FAULT_FPE, /* 0x7108 */
	FAULT_ILL,
	FAULT_BUS,
	FAULT_FORK,
	FAULT_DESCRIPTORS, /* 0x710c */
	FAULT_MEMORY,
	FAULT_CLOSE,
	FAULT_RELEASE, /* 0x710f: 1 aborts, 2 hangs with the last close */
	FAULT_READ,    /* reads a MiB */
	FAULT_SLEEP,   /* a hang in the kernel */
	FAULT_RAISE,   /* 0x7112: sends itself the signal, again and again */
	FAULT_TRAP,
	FAULT_FORBIDDEN, /* 0x7114: opens a file, or makes a socket */
	FAULT_OTHER_EXIT,
	FAULT_CALL, /* 0x7116: calls the address */
	FAULT_LAST,
};

#endif
