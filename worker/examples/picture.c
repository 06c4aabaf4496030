// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A library as a device: /dev/picture decodes pictures (PNG, GIF, BMP, ...) with
 * stb_image (Debian package libstb-dev). A fuzzer can drive the library through
 * ioctl; a crash of the library ends only a worker.
 *
 *	cc -shared -fPIC -g -fsanitize-coverage=trace-pc,trace-cmp \
 *	   -I worker/include -o libpicture.so worker/examples/picture.c -lm
 *	kcov-broker run --handler ./libpicture.so -- \
 *		target/release/examples/fuzz --device /dev/picture \
 *		--requests 0x7701 --memory 1024
 */
#include "kcov_handler.h"

#include <errno.h>
#include <stdlib.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 64 /* larger ones take longer without new coverage */
#include <stb/stb_image.h>

#define DECODE 0x7701 /* returns the sum of the pixels; argument points to a struct picture */
#define MAX_BYTES 4096 /* of a picture */

struct picture {
	uint32_t length;
	unsigned char bytes[MAX_BYTES];
};

static const struct kcov_host *host;

static int64_t decode(const unsigned char *bytes, int length)
{
	int width, height, channels;
	unsigned char *pixels =
		stbi_load_from_memory(bytes, length, &width, &height, &channels, 0);
	int64_t sum = 0;

	if (!pixels)
		return -EILSEQ;
	for (int i = 0; i < width * height * channels; i++)
		sum += pixels[i];
	stbi_image_free(pixels);
	return sum;
}

static int64_t fetch_and_decode(uint64_t arg, struct kcov_caller *caller)
{
	unsigned char *bytes;
	uint32_t length;
	int64_t result = host->read(caller, arg, &length, sizeof(length));

	if (result)
		return result;
	if (length > MAX_BYTES)
		return -E2BIG;
	/* Exactly this size, so that AddressSanitizer detects reads past the end. */
	bytes = malloc(length);
	if (!bytes)
		return -ENOMEM;
	result = host->read(caller, arg + offsetof(struct picture, bytes), bytes, length);
	if (!result)
		result = decode(bytes, length);
	free(bytes);
	return result;
}

static struct kcov_answer picture_ioctl(void *state, void *file, uint32_t request, uint64_t arg,
					struct kcov_caller *caller)
{
	(void)state, (void)file, (void)request;
	return kcov_value(fetch_and_decode(arg, caller));
}

static int picture_open(void *state, uint32_t device, uint32_t flags, struct kcov_caller *caller,
			void **file)
{
	(void)state, (void)device, (void)flags, (void)caller, (void)file;
	return 0;
}

const struct kcov_handler *kcov_handler_v1(const struct kcov_host *given, const char *config)
{
	static const struct kcov_device_claim device = {"/dev/picture", DECODE, DECODE};
	static const struct kcov_handler handler = {
		.version = KCOV_HANDLER_VERSION,
		.size = sizeof(handler),
		.name = "picture",
		.devices = &device,
		.devices_count = 1,
		.open = picture_open,
		.ioctl = picture_ioctl,
	};

	(void)config;
	host = given;
	return &handler;
}
