// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_neighbour CONTROL [same] - the quiet tenant beside a hostile one: whole lives of instances, in
 * which everything must be right, until the test sets go. With `same`, the hostile one is of the same tenant,
 * so a call may leave no record.
 *   facts: 0 lives
 */
#include "hostile_kit.h"
#include "control.h"

int main(int argc, char **argv)
{
	volatile uint64_t *page = control_map(argc > 1 ? argv[1] : "");

	uint64_t least = argc > 2 && !strcmp(argv[2], "same") ? 0 : 1;

	control_set(page, CONTROL_READY, 1);
	while (control_get(page, CONTROL_GO) == 0) {
		cycle_with("beside a hostile tenant", least);
		control_add(page, CONTROL_FACTS, 1);
		usleep(500);
	}
	return verdict();
}
