// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * two_instances - one thread enables normal coverage on one instance and remote coverage on another, in both
 * orders. Prints the errno of the second request. In Linux 6.12 a thread has one instance.
 */
#include "hostile_kit.h"

int main(void)
{
	struct kcov_remote_arg remote = { .area_size = KIT_WORDS, .common_handle = 7 };
	uint64_t *areas[2];
	int one = kcov_ready(KIT_WORDS, &areas[0]), other = kcov_ready(KIT_WORDS, &areas[1]);

	expect("ENABLE", outcome(ioctl(one, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	printf("REMOTE_ENABLE %s\n", strerrorname_np(outcome(ioctl(other, KCOV_REMOTE_ENABLE, &remote))));
	expect("DISABLE", outcome(ioctl(one, KCOV_DISABLE, 0)), 0);
	expect("REMOTE_ENABLE", outcome(ioctl(other, KCOV_REMOTE_ENABLE, &remote)), 0);
	printf("ENABLE %s\n", strerrorname_np(outcome(ioctl(one, KCOV_ENABLE, KCOV_TRACE_PC))));
	expect("DISABLE", outcome(ioctl(other, KCOV_DISABLE, 0)), 0);
	return verdict();
}
