// SPDX-License-Identifier: MIT OR Apache-2.0
/* A function with known branches and comparisons, to be compiled with instrumentation. decide.rs is the
 * same in Rust. */
#include <stdint.h>

int decide(uint32_t key, uint64_t value);

int decide(uint32_t key, uint64_t value)
{
	if (key == 0x1234) {
		if (value > 77)
			return 2;
		return 1;
	}
	switch (value) {
	case 5:
		return 3;
	case 1000:
		return 4;
	case 70000:
		return 6;
	case 0x100000000:
		return 7;
	}
	return key < value;
}
