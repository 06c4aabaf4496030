// SPDX-License-Identifier: MIT OR Apache-2.0
/* Comparisons, divisions and switches of each width, to be compiled with instrumentation. widths.rs is the
 * same in Rust. */
#include <stdint.h>

/* The value under test, as numbers of each width. */
union numbers {
	uint64_t value;
	int8_t bytes[8];
	int16_t halves[4];
	int32_t words[2];
};

static int compare_bytes(const union numbers *numbers)
{
	return numbers->bytes[0] == numbers->bytes[1];
}

static int compare_halves(const union numbers *numbers)
{
	return numbers->halves[0] == numbers->halves[1];
}

static int compare_words(const union numbers *numbers)
{
	return numbers->words[0] == numbers->words[1];
}

static int is_this_byte(const union numbers *numbers)
{
	return numbers->bytes[0] == -2;
}

static int is_this_half(const union numbers *numbers)
{
	return numbers->halves[0] == -2;
}

static int divide_by_word(const union numbers *numbers)
{
	return 1000 / numbers->words[0];
}

static int divide_by_value(const union numbers *numbers)
{
	return 1000 / numbers->value;
}

/* Cases that no compiler turns into a table. */
#define REACH(number) __asm__ volatile("# " #number)

static int switch_byte(const union numbers *numbers)
{
	switch (numbers->bytes[0]) {
	case 1:
		REACH(1);
		return 1;
	case -2:
		REACH(2);
		return 2;
	case 4:
		REACH(3);
		return 3;
	}
	return 0;
}

static int switch_half(const union numbers *numbers)
{
	switch (numbers->halves[0]) {
	case 1:
		REACH(1);
		return 1;
	case -2:
		REACH(2);
		return 2;
	case 4:
		REACH(3);
		return 3;
	}
	return 0;
}

static int switch_word(const union numbers *numbers)
{
	switch (numbers->words[0]) {
	case 1:
		REACH(1);
		return 1;
	case -2:
		REACH(2);
		return 2;
	case 4:
		REACH(3);
		return 3;
	}
	return 0;
}

static int (*const operations[])(const union numbers *numbers) = {
	compare_bytes,	compare_halves,	 compare_words, is_this_byte, is_this_half,
	divide_by_word, divide_by_value, switch_byte,	switch_half,  switch_word,
};

int decide(uint32_t key, uint64_t value);

int decide(uint32_t key, uint64_t value)
{
	union numbers numbers = {.value = value};

	return operations[key](&numbers);
}
