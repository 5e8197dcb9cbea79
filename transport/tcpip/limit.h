/* A token bucket whose tokens have random prices, so that nobody learns from it what others do (RFC 4443 2.4(f); CVE-2020-25705). */
#ifndef CW_TCPIP_LIMIT_H
#define CW_TCPIP_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct cw_tcpip;

struct cw_limit {
	uint64_t time;
	uint32_t left;  /* thousandths of a token */
	uint32_t price; /* of the next one: it stays until it is paid, else who asks often enough is asked for little; 0: not known */
};

void cw_limit_init(struct cw_limit *limit, uint32_t rate, uint64_t now);
/* `rate` is in tokens a second; a twentieth of it, 10 at least, may be saved. */
bool cw_limit_allows(struct cw_tcpip *core, struct cw_limit *limit, uint32_t rate);

#endif
