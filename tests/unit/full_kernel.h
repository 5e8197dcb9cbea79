/* A stream with both its ends in this process, whose kernel is full, and whose reader leaves unread what it was told of. */
#ifndef CW_TESTS_UNIT_FULL_KERNEL_H
#define CW_TESTS_UNIT_FULL_KERNEL_H

#include "both_ends.h"

static uint64_t written, read_so_far;

static inline unsigned char content(uint64_t at)
{
	return (unsigned char)(at * 167 >> 3);
}

static inline ssize_t put_some(size_t count)
{
	unsigned char bytes[4096];
	ssize_t sent;

	for (size_t i = 0; i < count; i++)
		bytes[i] = content(written + i);
	sent = cw_send(writer, pair.fd[0], bytes, count, MSG_DONTWAIT);
	written += sent > 0 ? (uint64_t)sent : 0;
	return sent;
}

static inline bool get_some(size_t count)
{
	unsigned char bytes[4096];
	ssize_t some = cw_receive(reader, pair.fd[1], bytes, count, MSG_DONTWAIT);

	for (ssize_t i = 0; i < some; i++)
		if (bytes[i] != content(read_so_far + (uint64_t)i))
			ck_abort_msg("another byte at %llu", (unsigned long long)read_so_far + (unsigned long long)i);
	read_so_far += some > 0 ? (uint64_t)some : 0;
	return some > 0;
}

/* The kernel is full, what comes behind it is in the ring, and the reader sleeps in the knowledge of that. Returns LIVE's word. */
static inline uint64_t asleep_behind_a_full_kernel(bool told)
{
	uint64_t word, live;

	open_both();
	written = read_so_far = 0;
	words = writer->tx;
	while (put_some(4096) > 0)
		;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert(get_some(1));
	ck_assert_int_eq(cw_state_of(words->state), CW_CONSENT);
	word = words->state;
	ck_assert(cw_switch_accept(writer, pair.fd[0], &word));
	live = word;
	for (int i = 0; i < 8 && told; i++)
		ck_assert_int_eq(put_some(1000), 1000);
	ck_assert_uint_eq(words->widx - words->up, told ? 8000 : 0);
	ck_assert(cw_switch_fall_asleep(reader, &word, words->widx));
	return live;
}

static inline void the_rest_comes_in_order(void)
{
	ck_assert(!writer->broken);
	for (int i = 0; get_some(4096); i++)
		if (i % 8 == 7 && written - read_so_far > 4096)
			put_some(100);
	ck_assert_uint_eq(read_so_far, written);
}

#endif
