/* Own addresses: few, in a list. */
#include "transport/tcpip/address.h"

#include "transport/tcpip/core.h"
#include "transport/tcpip/duplicate.h"
#include "transport/tcpip/packet.h"

void cw_addresses_init(struct cw_addresses *addresses, void *pool, uint32_t limit)
{
	cw_pool_init(&addresses->pool, pool, sizeof(struct cw_address), limit);
	cw_list_init(&addresses->all);
}

struct cw_address *cw_address_find(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	const struct cw_list *all = &core->addresses.all;

	for (struct cw_list *entry = all->next; entry != all; entry = entry->next) {
		struct cw_address *own = cw_entry(entry, struct cw_address, all);

		if (memcmp(&own->address, address, sizeof(*address)) == 0)
			return own;
	}
	return NULL;
}

bool cw_address_is_own(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	const struct cw_address *own = cw_address_find(core, address);

	return own && own->state == CW_ADDRESS_USABLE;
}

static unsigned common_bits(const struct cw_ip_address *a, const struct cw_ip_address *b)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned difference = a->octet[i] ^ b->octet[i];

		if (difference)
			return i * 8 + (unsigned)__builtin_clz(difference) - 24;
	}
	return 128;
}

static bool is_near(const struct cw_address *own, const struct cw_ip_address *address)
{
	return common_bits(&own->address, address) >= own->prefix + (cw_ip_is_4(&own->address) ? 96u : 0u);
}

static bool ends_in_ones(const struct cw_ip_address *address, unsigned from)
{
	for (unsigned bit = from; bit < 128; bit++)
		if (!(address->octet[bit / 8] >> (7 - bit % 8) & 1))
			return false;
	return true;
}

bool cw_address_is_broadcast(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	const struct cw_list *all = &core->addresses.all;

	if ((address->octet[15] & 3) != 3 || !cw_ip_is_4(address)) /* a network with one has two bits of hosts at least */
		return false;
	if (ends_in_ones(address, 96))
		return true;
	for (struct cw_list *entry = all->next; entry != all; entry = entry->next) {
		const struct cw_address *own = cw_entry(entry, struct cw_address, all);

		/* Networks of one or two have none (RFC 3021). */
		if (cw_ip_is_4(&own->address) && own->prefix < 31 && is_near(own, address) && ends_in_ones(address, 96u + own->prefix))
			return true;
	}
	return false;
}

bool cw_address_is_near(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	const struct cw_list *all = &core->addresses.all;

	for (struct cw_list *entry = all->next; entry != all; entry = entry->next)
		if (is_near(cw_entry(entry, struct cw_address, all), address))
			return true;
	return !cw_ip_is_4(address) && cw_ip_is_link_local(address);
}

static bool is_of_link(const struct cw_ip_address *address)
{
	if (!cw_ip_is_4(address) && cw_ip_is_multicast(address))
		return (address->octet[1] & 15u) <= 2;
	return cw_ip_is_link_local(address);
}

const struct cw_ip_address *cw_address_source(const struct cw_tcpip *core, const struct cw_ip_address *destination)
{
	const struct cw_list *all = &core->addresses.all;
	const struct cw_ip_address *best = NULL;
	unsigned best_score = 0;

	for (struct cw_list *entry = all->next; entry != all; entry = entry->next) {
		const struct cw_address *own = cw_entry(entry, struct cw_address, all);
		unsigned score;

		if (own->state != CW_ADDRESS_USABLE || cw_ip_is_4(&own->address) != cw_ip_is_4(destination))
			continue;
		score = 1 + common_bits(&own->address, destination);
		if (is_of_link(&own->address) == is_of_link(destination))
			score += 1000;
		if (score > best_score) {
			best_score = score;
			best = &own->address;
		}
	}
	return best;
}

bool cw_tcpip_own(struct cw_tcpip *core, const struct cw_ip_address *address, unsigned prefix, bool probe, uint64_t now)
{
	struct cw_address *own;

	cw_core_clock(core, now);
	if (!cw_ip_is_host(address) || prefix > (cw_ip_is_4(address) ? 32u : 128u) || cw_address_find(core, address))
		return false;
	own = cw_pool_take(&core->addresses.pool);
	if (!own)
		return false;
	own->core = core;
	own->address = *address;
	own->prefix = (uint8_t)prefix;
	own->state = CW_ADDRESS_USABLE;
	own->timer.owner = CW_TIMER_ADDRESS;
	cw_list_init(&own->all);
	cw_list_add_last(&core->addresses.all, &own->all);
	cw_duplicate_begin(own, probe);
	return true;
}

void cw_tcpip_disown(struct cw_tcpip *core, const struct cw_ip_address *address)
{
	struct cw_address *own = cw_address_find(core, address);

	if (!own)
		return;
	cw_duplicate_end(own);
	cw_list_remove(&own->all);
	cw_pool_give(&core->addresses.pool, own);
}

bool cw_tcpip_duplicate(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	const struct cw_address *own = cw_address_find(core, address);

	return own && own->state == CW_ADDRESS_DUPLICATE;
}
