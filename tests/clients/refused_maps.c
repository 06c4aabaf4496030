// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * refused_maps TRIES - maps the device with random lengths, offsets, addresses, protections and flags, and
 * a plain file that was opened alike with the same arguments: the device's own checks only apply where the
 * kernel would map a file. Left out is what depends on the memory of the process: its limits, and
 * MAP_FIXED_NOREPLACE where something is mapped.
 */
#include "hostile_kit.h"

enum { AREA_WORDS = 1024, AREA_BYTES = AREA_WORDS * 8, ROOM = 1 << 20 };

/* By access mode; the last one is an instance that was never initialised. */
static int devices[4], files[4];
static char *room;
static uint64_t seed = 88172645463325252ull;

struct map {
	int which;
	uint64_t address, length, protection, flags, offset;
};

static uint64_t one_of(const uint64_t *values, size_t number)
{
	return values[next_random(&seed) % number];
}

#define ONE_OF(...) one_of((const uint64_t[]){ __VA_ARGS__ }, NUMBER_OF(((const uint64_t[]){ __VA_ARGS__ })))

static void open_both(void)
{
	static const int modes[] = { O_RDWR, O_RDONLY, O_WRONLY, O_RDWR };
	char path[64];
	int file = memfd_create("plain", MFD_CLOEXEC);

	need(file >= 0 && !ftruncate(file, ROOM), "a plain file");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	for (int i = 0; i < 4; i++) {
		devices[i] = open(KCOV_DEVICE, modes[i]);
		files[i] = open(path, modes[i]);
		need(devices[i] >= 0 && files[i] >= 0, "open");
		need(i == 3 || !ioctl(devices[i], KCOV_INIT_TRACE, AREA_WORDS), "INIT_TRACE");
	}
}

static struct map random_map(void)
{
	struct map map = { .which = next_random(&seed) % 4, .length = AREA_BYTES, .flags = next_random(&seed) % 4 };

	map.protection = next_random(&seed) % 8;
	if (next_random(&seed) % 2)
		map.length = ONE_OF(0, 1, 4095, 4096, 4097, 8191, 8193, 12288, ROOM, 1ull << 47, 1ull << 56, 1ull << 63, ~0ull,
				    ~0ull - 4095, ~0ull - 8191);
	if (next_random(&seed) % 3 == 0)
		map.offset = ONE_OF(1, 8, 4096, 8192, 1ull << 40, 1ull << 62, 1ull << 63, ~0ull, ~0ull - 4095,
				    INT64_MAX - 4095, INT64_MAX - 8191);
	if (next_random(&seed) % 3 == 0)
		map.flags |= ONE_OF(MAP_FIXED, MAP_GROWSDOWN, MAP_POPULATE, MAP_NORESERVE, MAP_STACK, MAP_DENYWRITE,
				    MAP_SYNC, MAP_HUGETLB, 4, 5, 8);
	if (map.flags & MAP_FIXED) {
		map.address = ONE_OF((uintptr_t)room, (uintptr_t)room + 8, 1ull << 47, 1ull << 63, ~0ull - 4095);
		/* It must not replace other mappings. */
		if (map.length < 1ull << 47 && map.length > ROOM)
			map.length = ROOM;
	}
	return map;
}

static int try_map(const struct map *map, int fd)
{
	long result = syscall(SYS_mmap, map->address, map->length, map->protection, map->flags, fd, map->offset);

	if (result == -1)
		return errno;
	munmap((void *)result, map->length);
	return 0;
}

static void keep_room(void)
{
	void *kept = mmap(room, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | (room ? MAP_FIXED : 0), -1, 0);

	need(kept != MAP_FAILED, "room");
	room = kept;
}

/* The checks of `kcov_mmap`. */
static int rule(const struct map *map)
{
	return map->which == 3 || map->offset || ((map->length + 4095) & ~4095ull) != AREA_BYTES ? EINVAL : 0;
}

int main(int argc, char **argv)
{
	unsigned long tries = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000;

	open_both();
	for (unsigned long i = 0; i < tries; i++) {
		struct map map = random_map();

		keep_room();
		int file = try_map(&map, files[map.which]);
		keep_room();
		int device = try_map(&map, devices[map.which]);
		int wanted = file ? file : rule(&map);
		if (device != wanted)
			wrong("object %d, %#lx bytes at %#lx, protection %lu, flags %#lx, offset %#lx: %s, expected %s",
			      map.which, map.length, map.address, map.protection, map.flags, map.offset,
			      strerrorname_np(device), strerrorname_np(wanted));
	}
	cycle("after the maps");
	return verdict();
}
