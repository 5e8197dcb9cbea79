/* Duplicate addresses: looked for before one is used, told of when it is, and defended. */
#include "transport/tcpip/duplicate.h"

#include "transport/tcpip/core.h"
#include "transport/tcpip/group.h"

#define SECOND        1000000u
#define PROBES_4      3u /* RFC 5227 section 1.1 */
#define ANNOUNCEMENTS 2u
#define PROBES_6      1u /* RFC 4862 5.1 */
#define DEFEND        (10 * SECOND)

static const struct cw_ip_address nobody_4 = {.octet = {[10] = 0xff, 0xff}};

static void start(struct cw_address *own, uint64_t delay)
{
	cw_wheel_start(&own->core->wheel, &own->timer, own->core->now + delay);
}

static bool on_ethernet(const struct cw_address *own)
{
	return own->core->config.link == CW_LINK_ETHERNET;
}

void cw_duplicate_begin(struct cw_address *own, bool probe)
{
	bool ip4 = cw_ip_is_4(&own->address);
	struct cw_ip_address group = cw_nd_group(&own->address);

	if (!on_ethernet(own))
		return;
	if (!ip4)
		own->in_group = cw_group_hold(own->core, &group);
	if (!probe)
		return;
	own->state = CW_ADDRESS_PROBED;
	own->left = ip4 ? PROBES_4 : PROBES_6;
	start(own, 1 + cw_random(own->core) % SECOND);
}

void cw_duplicate_end(struct cw_address *own)
{
	struct cw_ip_address group = cw_nd_group(&own->address);

	cw_wheel_stop(&own->core->wheel, &own->timer);
	if (own->in_group)
		cw_group_release(own->core, &group);
}

/* Probes, then a time of silence, then it is ours. */
static void probe(struct cw_address *own)
{
	struct cw_tcpip *core = own->core;
	bool ip4 = cw_ip_is_4(&own->address);

	if (own->left) {
		own->left--;
		if (ip4)
			cw_arp_request(core, &nobody_4, &own->address, NULL);
		else
			cw_nd_solicit(core, NULL, &own->address, false);
		start(own, ip4 ? own->left ? SECOND + cw_random(core) % SECOND : 2 * SECOND : SECOND);
		return;
	}
	own->state = CW_ADDRESS_USABLE;
	own->left = ANNOUNCEMENTS;
	if (ip4)
		cw_duplicate_expired(own);
}

void cw_duplicate_expired(struct cw_address *own)
{
	if (own->state == CW_ADDRESS_PROBED) {
		probe(own);
	} else if (own->state == CW_ADDRESS_USABLE && own->left) {
		own->left--;
		cw_arp_request(own->core, &own->address, &own->address, NULL);
		if (own->left)
			start(own, 2 * SECOND);
	}
}

/* RFC 5227 2.4(b): once in a while we say that it is ours; who is wrong has to find out. */
static void conflict(struct cw_address *own)
{
	struct cw_tcpip *core = own->core;

	cw_count(core, CW_TCPIP_ADDRESS_CONFLICTS);
	if (own->state == CW_ADDRESS_PROBED) {
		own->state = CW_ADDRESS_DUPLICATE;
		cw_wheel_stop(&core->wheel, &own->timer);
		return;
	}
	if (own->state == CW_ADDRESS_DUPLICATE || core->now < own->defended_until || !cw_ip_is_4(&own->address))
		return;
	own->defended_until = core->now + DEFEND;
	cw_arp_request(core, &own->address, &own->address, NULL);
}

bool cw_duplicate_arp(struct cw_tcpip *core, const struct cw_ip_address *sender, const struct cw_ip_address *target)
{
	if (cw_duplicate_claim(core, sender))
		return true;
	return cw_get32(sender->octet + 12) == 0 && cw_duplicate_probe(core, target);
}

bool cw_duplicate_probe(struct cw_tcpip *core, const struct cw_ip_address *target)
{
	struct cw_address *own = cw_address_find(core, target);

	if (!own || own->state != CW_ADDRESS_PROBED)
		return false;
	conflict(own);
	return true;
}

bool cw_duplicate_claim(struct cw_tcpip *core, const struct cw_ip_address *target)
{
	struct cw_address *own = cw_address_find(core, target);

	if (own)
		conflict(own);
	return own;
}
