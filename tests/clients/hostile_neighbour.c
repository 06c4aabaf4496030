// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * hostile_neighbour CONTROL - the quiet tenant beside a hostile one: whole lives of instances, in which
 * everything must be right, until the test sets go.
 *   facts: 0 lives
 */
#include "hostile_kit.h"
#include "control.h"

int main(int argc, char **argv)
{
	volatile uint64_t *page = control_map(argc > 1 ? argv[1] : "");

	control_set(page, CONTROL_READY, 1);
	while (control_get(page, CONTROL_GO) == 0) {
		cycle("beside a hostile tenant");
		control_add(page, CONTROL_FACTS, 1);
		usleep(500);
	}
	return verdict();
}
