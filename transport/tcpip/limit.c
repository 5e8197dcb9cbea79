/* How often a thing may be done. */
#include "transport/tcpip/limit.h"

#include "transport/tcpip/core.h"

#define TOKEN 1000u

static uint32_t most_of(uint32_t rate)
{
	return TOKEN * cw_max32(rate / 20, 10);
}

void cw_limit_init(struct cw_limit *limit, uint32_t rate, uint64_t now)
{
	*limit = (struct cw_limit){.time = now, .left = most_of(rate)};
}

bool cw_limit_allows(struct cw_tcpip *core, struct cw_limit *limit, uint32_t rate)
{
	uint64_t gained = cw_min64(core->now - limit->time, 1000000) * rate / 1000;

	if (gained) {
		limit->left = (uint32_t)cw_min64(limit->left + gained, most_of(rate));
		limit->time = core->now;
	}
	if (!limit->price)
		limit->price = TOKEN / 2 + (uint32_t)(cw_random(core) % (TOKEN + 1));
	if (limit->left < limit->price)
		return false;
	limit->left -= limit->price;
	limit->price = 0;
	return true;
}
