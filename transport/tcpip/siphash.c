/* SipHash-c-d with c and d known when compiled. */
#include "transport/tcpip/siphash.h"

#include <string.h>

struct state {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void rounds(struct state *s, unsigned count)
{
	while (count--) {
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v1;
		s->v0 += s->v3;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 = rotate(s->v2, 32);
	}
}

static inline uint64_t little_endian(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap64(word);
#else
	return word;
#endif
}

static inline __attribute__((always_inline)) uint64_t siphash(const struct cw_siphash_key *key, const unsigned char *data, size_t length,
							      unsigned c, unsigned d)
{
	struct state s = {
		.v0 = key->k0 ^ 0x736f6d6570736575ull,
		.v1 = key->k1 ^ 0x646f72616e646f6dull,
		.v2 = key->k0 ^ 0x6c7967656e657261ull,
		.v3 = key->k1 ^ 0x7465646279746573ull,
	};
	uint64_t word, last = (uint64_t)length << 56;
	size_t left = length;

	for (; left >= 8; left -= 8, data += 8) {
		memcpy(&word, data, 8);
		word = little_endian(word);
		s.v3 ^= word;
		rounds(&s, c);
		s.v0 ^= word;
	}
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)data[i] << (8 * i);
	s.v3 ^= last;
	rounds(&s, c);
	s.v0 ^= last;
	s.v2 ^= 0xff;
	rounds(&s, d);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t cw_siphash(const struct cw_siphash_key *key, const void *data, size_t length)
{
	return siphash(key, data, length, 2, 4);
}

uint64_t cw_siphash_short(const struct cw_siphash_key *key, const void *data, size_t length)
{
	return siphash(key, data, length, 1, 3);
}
