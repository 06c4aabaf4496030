// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The vault of vault.rs in C. The compiler's instrumentation records coverage,
 * and AddressSanitizer detects the overflow:
 *
 *	cc -shared -fPIC -g -fsanitize-coverage=trace-pc,trace-cmp \
 *	   -fsanitize=address -I worker/include -o libvault.so \
 *	   worker/examples/vault.c
 *	kcov-broker run --handler ./libvault.so --artifacts crashes -- \
 *		target/release/examples/fuzz --device /dev/vault \
 *		--requests 0x7601-0x7604
 */
#include "kcov_handler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VAULT_PUT    0x7601 /* argument points to a struct deposit */
#define VAULT_DIAL   0x7602 /* argument: mark, position and step */
#define VAULT_KNOCK  0x7603 /* argument: a magic number */
#define VAULT_UNLOCK 0x7604 /* argument points to a struct key */

#define DRAWERS	    4
#define DRAWER_SIZE 48 /* in bytes */
#define MAX_DEPOSIT 64 /* in bytes */
#define POSITIONS   100

#define MARK	 0x6d61726bu /* upper half of the argument of VAULT_DIAL */
#define KNOCKING 0x746f63746f63746full
#define WORD	 0x73657361u
#define PIN	 0x3141592653589793ull

static const struct kcov_host *host;

struct deposit {
	uint32_t drawer;
	uint32_t length;
	unsigned char bytes[MAX_DEPOSIT];
};

struct key {
	uint32_t word;
	uint32_t serial;
	uint64_t pin;
	uint64_t seal;
};

/* An open file. */
struct visit {
	unsigned char *drawers[DRAWERS];
	int knocked;
	const int *behind_the_door;
};

static void vault_release(void *state, void *file)
{
	struct visit *visit = file;

	(void)state;
	for (int i = 0; i < DRAWERS; i++)
		free(visit->drawers[i]);
	free(visit);
}

static int vault_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
		      void **file)
{
	struct visit *visit = calloc(1, sizeof(*visit));

	(void)device;
	(void)flags;
	(void)caller;
	if (!visit)
		return -ENOMEM;
	for (int i = 0; i < DRAWERS; i++) {
		visit->drawers[i] = calloc(1, DRAWER_SIZE);
		if (!visit->drawers[i]) {
			vault_release(state, visit);
			return -ENOMEM;
		}
	}
	*file = visit;
	return 0;
}

static int put(struct visit *visit, uint64_t arg, struct kcov_caller *caller)
{
	struct deposit deposit;
	int error = host->read(caller, arg, &deposit, offsetof(struct deposit, bytes));

	if (error)
		return error;
	if (deposit.drawer >= DRAWERS)
		return -ENXIO;
	if (deposit.length > MAX_DEPOSIT)
		return -E2BIG;
	error = host->read(caller, arg + offsetof(struct deposit, bytes), deposit.bytes,
			   deposit.length);
	if (error)
		return error;
	/* BUG: a drawer holds fewer than MAX_DEPOSIT bytes. */
	memcpy(visit->drawers[deposit.drawer], deposit.bytes, deposit.length);
	return 0;
}

static int dial(uint64_t arg)
{
	unsigned int mark = arg >> 32, position = arg >> 8 & 0xff, step = arg & 0xff;
	int turns = 0;

	if (mark != MARK)
		return -EINVAL;
	/* BUG: a step of 0 loops forever. */
	for (; position < POSITIONS; position += step)
		turns++;
	return turns;
}

static int knock(struct visit *visit, uint64_t arg)
{
	if (arg != KNOCKING)
		return -EPERM;
	visit->knocked = 1;
	return 0;
}

/* The seal that belongs to the other fields. */
static uint64_t right_seal(const struct key *key)
{
	unsigned int left = key->serial % 64;
	uint64_t turned = left ? key->pin << left | key->pin >> (64 - left) : key->pin;

	return turned ^ key->serial;
}

static int unlock(struct visit *visit, uint64_t arg, struct kcov_caller *caller)
{
	struct key key;
	int error = host->read(caller, arg, &key, sizeof(key));

	if (error)
		return error;
	if (key.word != WORD)
		return -EINVAL;
	if (!visit->knocked)
		return -EPERM;
	if (key.pin != PIN)
		return -EACCES;
	if (key.seal != right_seal(&key))
		return -EACCES;
	/* BUG: behind_the_door is never set. */
	return *visit->behind_the_door;
}

static struct kcov_answer vault_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
				      struct kcov_caller *caller)
{
	(void)state;
	switch (request) {
	case VAULT_PUT:
		return kcov_value(put(file, arg, caller));
	case VAULT_DIAL:
		return kcov_value(dial(arg));
	case VAULT_KNOCK:
		return kcov_value(knock(file, arg));
	case VAULT_UNLOCK:
		return kcov_value(unlock(file, arg, caller));
	default:
		return kcov_value(-ENOTTY);
	}
}

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	static const struct kcov_device_claim device = {
		.path = "/dev/vault",
		.first = VAULT_PUT,
		.last = VAULT_UNLOCK,
	};
	static const struct kcov_handler handler = {
		.version = KCOV_HANDLER_VERSION,
		.size = sizeof(handler),
		.name = "vault",
		.devices = &device,
		.devices_count = 1,
		.open = vault_open,
		.ioctl = vault_ioctl,
		.release = vault_release,
	};

	(void)config;
	host = given;
	return &handler;
}
