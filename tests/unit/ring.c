/* sync/ring: bytes in and out of the data area, against the simplest thing that could be right. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "sync/ring.h"

#define SIZE  64u
#define MANY  4096u
#define STEPS 20000

static unsigned char data[SIZE];
static const struct cw_ring ring = {data, SIZE};

/* What the ring should be: byte i of the stream stands at i modulo its size. */
static void put_slowly(unsigned char *area, uint64_t offset, const unsigned char *from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		area[(offset + i) % SIZE] = from[i];
}

START_TEST(every_place_and_length)
{
	unsigned char expected[SIZE], in[SIZE], out[SIZE + 1];

	for (uint64_t offset = UINT64_MAX - SIZE; offset != SIZE + 1; offset++) {
		for (size_t count = 0; count <= SIZE; count++) {
			memset(data, 0xee, SIZE);
			memset(expected, 0xee, SIZE);
			for (size_t i = 0; i < count; i++)
				in[i] = (unsigned char)(offset + 3 * i);
			cw_ring_put(&ring, offset, in, count);
			put_slowly(expected, offset, in, count);
			ck_assert_mem_eq(data, expected, SIZE);
			memset(out, 0xdd, sizeof(out));
			cw_ring_get(&ring, offset, out, count);
			ck_assert_mem_eq(out, in, count);
			ck_assert_uint_eq(out[count], 0xdd);
		}
	}
}
END_TEST

START_TEST(pieces_cover_what_was_asked)
{
	for (uint64_t offset = UINT64_MAX - SIZE; offset != SIZE + 1; offset++) {
		for (size_t count = 1; count <= SIZE; count++) {
			struct iovec pieces[2] = {{0}};
			int used = cw_ring_pieces(&ring, offset, count, pieces);
			size_t first = pieces[0].iov_len, second = used == 2 ? pieces[1].iov_len : 0;

			ck_assert(used == 1 || used == 2);
			ck_assert_uint_eq(first + second, count);
			ck_assert_ptr_eq(pieces[0].iov_base, data + offset % SIZE);
			ck_assert_uint_le(offset % SIZE + first, SIZE);
			if (used == 2) {
				ck_assert_ptr_eq(pieces[1].iov_base, data);
				ck_assert_uint_gt(second, 0);
			}
		}
	}
}
END_TEST

START_TEST(sane_indices)
{
	ck_assert(cw_ring_sane(&ring, 0, 0));
	ck_assert(cw_ring_sane(&ring, SIZE, 0));
	ck_assert(!cw_ring_sane(&ring, SIZE + 1, 0));
	ck_assert(!cw_ring_sane(&ring, 0, 1));
	ck_assert(cw_ring_sane(&ring, 3, UINT64_MAX - 3)); /* the indices have wrapped */
	ck_assert(!cw_ring_sane(&ring, UINT64_MAX, 0));
}
END_TEST

/* Scattered memory: pieces of random length, some of them empty, in one block with gaps that must stay untouched. */
struct scattered {
	struct iovec iov[12];
	size_t iovcnt, total;
	unsigned char memory[2048];
};

static void scatter(struct scattered *scattered, uint64_t *seed)
{
	size_t at = 0;

	scattered->iovcnt = next_random(seed) % 12;
	scattered->total = 0;
	for (size_t i = 0; i < scattered->iovcnt; i++) {
		size_t length = next_random(seed) % 4 ? next_random(seed) % 40 : 0;

		scattered->iov[i] = (struct iovec){scattered->memory + at, length};
		scattered->total += length;
		at += length + next_random(seed) % 8;
	}
}

/* Byte number n of scattered memory, slowly. */
static unsigned char *byte_at(const struct scattered *scattered, size_t n)
{
	for (size_t i = 0; i < scattered->iovcnt; i++) {
		if (n < scattered->iov[i].iov_len)
			return (unsigned char *)scattered->iov[i].iov_base + n;
		n -= scattered->iov[i].iov_len;
	}
	return NULL;
}

START_TEST(scattered_memory_in_and_out)
{
	uint64_t seed = 88172645463325252u + (uint64_t)_i;
	struct scattered scattered, before;
	unsigned char expected[SIZE];

	for (int step = 0; step < STEPS; step++) {
		uint64_t offset = next_random(&seed);
		size_t skip, count = next_random(&seed) % (SIZE + 1), done, most;

		scatter(&scattered, &seed);
		skip = scattered.total ? next_random(&seed) % (scattered.total + 2) : next_random(&seed) % 3;
		most = skip < scattered.total ? scattered.total - skip : 0;
		most = most < count ? most : count;

		for (size_t i = 0; i < sizeof(scattered.memory); i++)
			scattered.memory[i] = (unsigned char)next_random(&seed);
		memcpy(expected, data, SIZE);
		for (size_t i = 0; i < most; i++)
			expected[(offset + i) % SIZE] = *byte_at(&scattered, skip + i);
		done = cw_ring_put_iov(&ring, offset, scattered.iov, scattered.iovcnt, skip, count);
		ck_assert_uint_eq(done, most);
		ck_assert_mem_eq(data, expected, SIZE);

		for (size_t i = 0; i < SIZE; i++)
			data[i] = (unsigned char)next_random(&seed);
		memcpy(&before, &scattered, sizeof(before));
		done = cw_ring_get_iov(&ring, offset, scattered.iov, scattered.iovcnt, skip, count);
		ck_assert_uint_eq(done, most);
		for (size_t i = 0; i < most; i++)
			before.memory[byte_at(&scattered, skip + i) - scattered.memory] = data[(offset + i) % SIZE];
		ck_assert_mem_eq(scattered.memory, before.memory, sizeof(before.memory));
	}
}
END_TEST

/* Two threads, one stream, indices near their wrap; the order of bytes and indices is the thread sanitizer's to check too. */
static unsigned char large[MANY];
static struct cw_ring wide = {large, MANY};
static _Atomic uint64_t widx, roff;
#define FIRST (UINT64_MAX - 100000)
#define TOTAL 4000000u

static unsigned char content(uint64_t offset)
{
	return (unsigned char)(offset * 31 + (offset >> 8));
}

static void *write_stream(void *argument)
{
	uint64_t seed = 1234567, at = FIRST;
	unsigned char bytes[MANY];

	while (at - FIRST < TOTAL) {
		size_t room = MANY - (at - atomic_load_explicit(&roff, memory_order_acquire)), count = next_random(&seed) % MANY;

		count = count < room ? count : room;
		if (count > TOTAL - (at - FIRST))
			count = TOTAL - (at - FIRST);
		if (!count) {
			sched_yield();
			continue;
		}
		for (size_t i = 0; i < count; i++)
			bytes[i] = content(at + i);
		cw_ring_put(&wide, at, bytes, count);
		at += count;
		atomic_store_explicit(&widx, at, memory_order_release);
	}
	return argument;
}

START_TEST(a_stream_of_two_threads)
{
	uint64_t seed = 7654321, at = FIRST;
	unsigned char bytes[MANY];
	pthread_t writer;

	atomic_store(&widx, FIRST);
	atomic_store(&roff, FIRST);
	ck_assert_int_eq(pthread_create(&writer, NULL, write_stream, NULL), 0);
	while (at - FIRST < TOTAL) {
		uint64_t last = atomic_load_explicit(&widx, memory_order_acquire);
		size_t count = next_random(&seed) % MANY + 1;

		ck_assert(cw_ring_sane(&wide, last, at));
		if (last == at)
			sched_yield();
		if (count > last - at)
			count = last - at;
		cw_ring_get(&wide, at, bytes, count);
		for (size_t i = 0; i < count; i++)
			if (bytes[i] != content(at + i))
				ck_abort_msg("byte %lu of the stream is wrong", (unsigned long)(at + i - FIRST));
		at += count;
		atomic_store_explicit(&roff, at, memory_order_release);
	}
	ck_assert_int_eq(pthread_join(writer, NULL), 0);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("ring", 60, &runner);

	tcase_add_test(units, every_place_and_length);
	tcase_add_test(units, pieces_cover_what_was_asked);
	tcase_add_test(units, sane_indices);
	tcase_add_loop_test(units, scattered_memory_in_and_out, 0, 4);
	tcase_add_test(units, a_stream_of_two_threads);
	return run_units(runner);
}
