/* SipHash (Aumasson and Bernstein, 2012): a keyed hash that who doesn't know the key can't make collide. */
#ifndef CW_TCPIP_SIPHASH_H
#define CW_TCPIP_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct cw_siphash_key {
	uint64_t k0, k1;
};

/* SipHash-2-4: sequence numbers and cookies, which the other end sees. */
uint64_t cw_siphash(const struct cw_siphash_key *key, const void *data, size_t length);
/* SipHash-1-3: tables, whose values nobody sees. */
uint64_t cw_siphash_short(const struct cw_siphash_key *key, const void *data, size_t length);

#endif
