// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syz_device - the instances of an executor and the probes that it makes on them. Prints one fact a line.
 */
#define _GNU_SOURCE
#include "syz_cover.h"
#include <sys/wait.h>

static struct cover covers[INSTANCES], extra;

static void fact(const char *name, int result)
{
	printf("%s %s\n", name, said(result));
}

static void holds(const char *name, int truth)
{
	printf("%s %s\n", name, truth ? "yes" : "no");
}

/* The kernel reads `byte` for us, and gives EFAULT where an access would kill us. */
static int touch(const void *byte)
{
	int pipes[2];

	need(!pipe(pipes), "pipe");
	int result = write(pipes[1], byte, 1);
	int seen = errno;

	close(pipes[0]);
	close(pipes[1]);
	errno = seen;
	return result;
}

static void guards(const struct cover *cover)
{
	fact("guard-before", touch(cover->guarded + PAGE - 1));
	fact("first-byte", touch(cover->area));
	fact("last-byte", touch((char *)cover->area + cover->words * 8 - 1));
	fact("guard-behind", touch((char *)cover->area + cover->words * 8));
}

/* Returns whether a call of this thread is recorded. The state of the instance is restored. */
static int records(const struct cover *cover)
{
	if (cover_enable(cover, KCOV_TRACE_PC))
		return 0;
	cover_reset(cover);
	int mapped = one_mmap();
	uint64_t count = cover_count(cover);

	return !cover_disable(cover) && mapped && count > 0 && count < cover->words;
}

/* Exit status of `body` in a child. */
static int in_child(int (*body)(void))
{
	int status;
	pid_t child = fork();

	need(child >= 0, "fork");
	if (!child) {
		/* Without flushing what the parent has printed. */
		_exit(body());
	}
	need(waitpid(child, &status, 0) == child, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int maps_late(void)
{
	cover_map(&covers[PREMAPPED]);
	return records(&covers[PREMAPPED]) ? 0 : 1;
}

/* Two views of one descriptor show the same contents. */
static void two_views(const struct cover *cover)
{
	uint64_t *view = mmap(NULL, cover->words * 8, PROT_READ | PROT_WRITE, MAP_SHARED, cover->fd, 0);

	need(view != MAP_FAILED, "second view");
	cover->area[1] = 0x1234;
	int written = view[1] == 0x1234;
	int recorded = records(cover) && view[0] == cover->area[0] && view[1] == cover->area[1];

	holds("second-view", written && recorded && view[1] != 0x1234);
	fact("unmap-second", munmap(view, cover->words * 8));
	holds("first-view-stays", records(cover));
}

static void read_only_view(const struct cover *cover)
{
	const uint64_t *view = mmap(NULL, cover->words * 8, PROT_READ, MAP_SHARED, cover->fd, 0);

	need(view != MAP_FAILED, "view for reading");
	holds("read-only-view", records(cover) && view[0] > 0 && view[1] == cover->area[1]);
	munmap((void *)view, cover->words * 8);
}

static void keys(const struct cover *cover)
{
	int key = pkey_alloc(0, 0);

	if (key < 0) {
		puts("pkey none");
		return;
	}
	fact("pkey", pkey_mprotect(cover->area, cover->words * 8, PROT_READ | PROT_WRITE, key));
	holds("recorded-under-pkey", records(cover));
}

static int enables_remote_and_leaves(void)
{
	return cover_enable_remote(&extra) ? errno : 0;
}

static int enables_remote_on_another(void)
{
	return cover_enable_remote(&covers[0]) ? errno : 0;
}

static void remote(void)
{
	holds("remote-child", in_child(enables_remote_and_leaves) == 0);
	/* The child's handles are free after its exit. */
	fact("remote", cover_enable_remote(&extra));
	cover_reset(&extra);
	need(one_mmap(), "mmap");
	holds("own-calls-not-remote", cover_count(&extra) == 0);
	holds("handles-taken", in_child(enables_remote_on_another) == EEXIST);
	/* As in Linux 7.2; in Linux 6.12 the thread is busy. */
	fact("enable-beside-remote", cover_enable(&covers[0], KCOV_TRACE_PC));
	fact("disable-beside-remote", cover_disable(&covers[0]));
	fact("remote-disable", cover_disable(&extra));
	holds("handles-free", in_child(enables_remote_on_another) == 0);
	holds("records-after-remote", records(&covers[0]));
}

int main(void)
{
	cover_open_all(covers, &extra);
	guards(&covers[0]);
	guards(&extra);
	fact("second-init", syscall(SYS_ioctl, COVER_FD, SIGN_EXTENDED_INIT, COVER_WORDS));
	/* The upper halves of the registers are not part of a descriptor or a request. */
	fact("wide-enable", syscall(SYS_ioctl, 0xffffffff00000000ul | COVER_FD, 0xffffffff00006364ul, 0));
	fact("disable", cover_disable(&covers[0]));
	for (int i = 0; i < PREMAPPED; i++)
		holds("records", records(&covers[i]));
	holds("mapped-late", in_child(maps_late) == 0);
	two_views(&covers[1]);
	read_only_view(&covers[1]);
	keys(&covers[2]);
	remote();
	return 0;
}
