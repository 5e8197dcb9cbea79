/* A stream with both its ends in this process. */
#ifndef CW_TESTS_UNIT_BOTH_ENDS_H
#define CW_TESTS_UNIT_BOTH_ENDS_H

#include "pair.h"

#include <string.h>

static struct pair pair;
static struct cw_stream *writer, *reader;
static struct cw_direction *words;

static inline void open_both(void)
{
	pair_make(&pair);
	pair_start(0);
	writer = pair_open(&pair, 0);
	reader = pair_open(&pair, 1);
}

/* LIVE, with some bytes in the ring that the reader has not seen, and the reader asleep. Returns the word that it left. */
static inline uint64_t asleep_with(const char *bytes)
{
	uint64_t word, widx;
	char byte;

	open_both();
	words = writer->tx;
	ck_assert_ptr_eq(words, reader->rx);
	/* The first call of each side attaches it. */
	ck_assert_int_eq(cw_send(writer, pair.fd[0], "!", 1, 0), 1);
	ck_assert_int_eq(cw_receive(reader, pair.fd[1], &byte, 1, 0), 1);
	ck_assert_int_eq(cw_state_of(words->state), CW_CONSENT);
	ck_assert_int_eq(cw_send(writer, pair.fd[0], bytes, strlen(bytes), 0), (int)strlen(bytes));
	word = words->state;
	widx = words->widx;
	ck_assert_int_eq(cw_state_of(word), CW_LIVE);
	ck_assert_uint_eq(widx, 1 + strlen(bytes));
	ck_assert(cw_switch_fall_asleep(reader, &word, widx));
	ck_assert_int_eq(cw_state_of(words->state), CW_ASLEEP);
	return word;
}

static inline void comes_by_kernel(const char *bytes)
{
	char got[64];

	ck_assert_int_eq(recv(pair.fd[1], got, sizeof(got), MSG_DONTWAIT), (int)strlen(bytes));
	ck_assert_mem_eq(got, bytes, strlen(bytes));
}

#endif
