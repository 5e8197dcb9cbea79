/* Queries of routers, and reports of others (RFC 3376 4.1 and 5.2, 3810 5.1 and 6.2). */
#include "transport/tcpip/checksum.h"
#include "transport/tcpip/core.h"
#include "transport/tcpip/frame.h"
#include "transport/tcpip/group.h"

#define MESSAGE 1500u

enum { QUERY = 0x11, REPORT_1 = 0x12, REPORT_2 = 0x16, MLD_QUERY = 130, MLD_REPORT = 131 };

struct query {
	unsigned version; /* as of IGMP */
	struct cw_ip_address group;
	bool general;
	uint64_t most; /* until when to respond */
	uint8_t robustness;
	uint32_t interval_s;
	uint32_t count;
	const unsigned char *sources;
};

/* RFC 3376 4.1.1, 3810 5.1.3: large numbers with a mantissa of this many bits. */
static uint32_t floating(uint32_t code, unsigned mantissa)
{
	uint32_t exponent = code >> mantissa & 7u;

	if (!(code >> (mantissa + 3)))
		return code;
	return ((code & ((1u << mantissa) - 1)) | 1u << mantissa) << (exponent + 3);
}

static bool read_sources(struct query *query, const unsigned char *at, uint32_t length, uint32_t size)
{
	query->robustness = at[0] & 7u;
	query->interval_s = floating(at[1], 4);
	query->count = cw_get16(at + 2);
	query->sources = at + 4;
	return query->count <= (length - 4) / size;
}

static bool read_igmp(struct query *query, const unsigned char *at, uint32_t length)
{
	query->version = length >= 12 ? 3 : at[1] ? 2 : 1;
	if (length != 8 && length < 12)
		return false;
	cw_ip_set_4(&query->group, at + 4);
	query->general = cw_get32(at + 4) == 0;
	query->most = (query->version == 1 ? 100u : query->version == 2 ? at[1] : floating(at[1], 4)) * 100000ull;
	return query->version < 3 || read_sources(query, at + 8, length - 8, 4);
}

static bool read_mld(struct query *query, const unsigned char *at, uint32_t length)
{
	query->version = length >= 28 ? 3 : 2;
	if (length != 24 && length < 28)
		return false;
	memcpy(query->group.octet, at + 8, 16);
	query->general = cw_ip_is_any(&query->group);
	query->most = (query->version == 2 ? cw_get16(at + 4) : floating(cw_get16(at + 4), 12)) * 1000ull;
	return query->version < 3 || read_sources(query, at + 24, length - 24, 16);
}

/* Random within what is left to answer, so that not all answer at once. */
static uint64_t moment(struct cw_tcpip *core, const struct query *query)
{
	return core->now + 1 + (query->most ? cw_random(core) % query->most : 0);
}

static void respond(struct cw_group *group, uint64_t at)
{
	group->responding = true;
	group->response_at = at;
	cw_wheel_start(&group->core->wheel, &group->response, at);
}

/* What was asked before and what is asked now: the group as a whole, or some of its sources. */
static void ask(struct cw_group *group, const struct query *query, bool pending)
{
	uint32_t size = cw_ip_is_4(&group->address) ? 4 : 16;

	if (pending && !group->asked)
		return;
	if (!query->count || group->asked + query->count > CW_GROUP_SOURCES) {
		group->asked = 0;
		return;
	}
	for (uint32_t i = 0; i < query->count; i++) {
		struct cw_ip_address *to = &group->asked_source[group->asked++];

		if (size == 4)
			cw_ip_set_4(to, query->sources + i * 4);
		else
			memcpy(to->octet, query->sources + i * 16, 16);
	}
}

static void query_group(struct cw_group *group, const struct query *query, uint64_t at)
{
	bool pending = group->responding;

	if (!pending)
		group->asked = 0;
	ask(group, query, pending);
	if (!pending || at < group->response_at)
		respond(group, at);
}

static void query_all_old(struct cw_tcpip *core, bool ip4, const struct query *query)
{
	struct cw_list *all = &core->groups.all;

	for (struct cw_list *entry = all->next; entry != all; entry = entry->next) {
		struct cw_group *group = cw_entry(entry, struct cw_group, all);

		if (cw_ip_is_4(&group->address) == ip4)
			query_group(group, query, moment(core, query));
	}
}

/* How long an older router is remembered: RFC 3376 8.12, 3810 9.12. */
static void note_version(struct cw_group_family *family, const struct query *query)
{
	uint64_t until = family->core->now + (uint64_t)family->robustness * family->query_interval_s * 1000000 + query->most;

	if (query->version == 2 && (query->general || !family->ip4)) /* RFC 3376 7.2.1: of IGMPv2 those that ask for all */
		family->old_until = until;
	if (query->version == 1)
		family->v1_until = until;
	if (query->version < 3)
		return;
	family->robustness = query->robustness ? query->robustness : 2;
	if (query->interval_s)
		family->query_interval_s = query->interval_s;
}

static void query_input(struct cw_tcpip *core, bool ip4, const struct query *query)
{
	struct cw_group_family *family = cw_group_family(core, ip4);
	struct cw_group *group;
	uint64_t at = moment(core, query);

	cw_count(core, CW_TCPIP_GROUP_QUERIES);
	note_version(family, query);
	if (family->responding && family->response_at <= at && cw_group_version(family) == 3)
		return;
	if (query->general && cw_group_version(family) < 3) {
		query_all_old(core, ip4, query);
	} else if (query->general) {
		family->responding = true;
		family->response_at = at;
		cw_wheel_start(&core->wheel, &family->general, at);
	} else {
		cw_group_version(family);
		group = cw_group_find(core, &query->group);
		if (group)
			query_group(group, query, at);
	}
}

/* RFC 2236 section 3, 2710 section 4: somebody else has answered. With filters everybody answers for itself. */
static void report_input(struct cw_tcpip *core, const struct cw_ip_address *address)
{
	struct cw_group *group = cw_group_find(core, address);

	if (!group || !group->responding || cw_group_version(cw_group_family(core, cw_ip_is_4(address))) == 3)
		return;
	group->responding = false;
	cw_wheel_stop(&core->wheel, &group->response);
}

/* To all systems, to the group that it is about, or to us (RFC 3376 4.1.12, 3810 5.1.15). */
static bool query_is_for_us(const struct cw_tcpip *core, const struct cw_packet *packet, const struct query *query)
{
	const struct cw_ip_address *to = &packet->destination;

	if (memcmp(to, &query->group, sizeof(*to)) == 0 || cw_address_is_own(core, to))
		return true;
	if (cw_ip_is_4(to))
		return cw_get32(to->octet + 12) == 0xe0000001;
	return cw_get32(to->octet) == 0xff020000 && cw_get32(to->octet + 4) == 0 && cw_get32(to->octet + 8) == 0 &&
	       cw_get32(to->octet + 12) == 1;
}

static void refuse(struct cw_tcpip *core)
{
	cw_count(core, CW_TCPIP_GROUP_REFUSED);
}

static bool group_may_be(const struct query *query)
{
	return query->general ? query->count == 0 : cw_ip_is_multicast(&query->group);
}

void cw_igmp_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	unsigned char at[MESSAGE];
	struct query query = {.count = 0};

	if (packet->length < 8 || packet->length > MESSAGE || !cw_ip_is_4(&packet->source)) {
		refuse(core);
		return;
	}
	cw_frame_copy(frame, packet->at, at, packet->length);
	if (frame->checksum == CW_CHECKSUM_COMPLETE && cw_checksum_fold(cw_checksum_add(0, at, packet->length, 0)) != 0xffff) {
		cw_count(core, CW_TCPIP_CHECKSUM);
		return;
	}
	if (at[0] == QUERY) {
		/* RFC 3376 4, 9.1: routers send them so, and nobody from afar can. */
		if (packet->hop_limit != 1 || !read_igmp(&query, at, packet->length) || (query.version == 3 && !packet->router_alert) ||
		    !group_may_be(&query) || !query_is_for_us(core, packet, &query))
			refuse(core);
		else
			query_input(core, true, &query);
	} else if (at[0] == REPORT_1 || at[0] == REPORT_2) {
		cw_ip_set_4(&query.group, at + 4);
		if (packet->hop_limit != 1 || memcmp(&query.group, &packet->destination, sizeof(query.group)) != 0)
			refuse(core);
		else
			report_input(core, &query.group);
	}
}

void cw_mld_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	unsigned char at[MESSAGE];
	struct query query = {.count = 0};

	/* RFC 3810 6.2, 2710 section 3. */
	if (packet->length < 24 || packet->length > MESSAGE || packet->hop_limit != 1 || !packet->router_alert ||
	    !cw_ip_is_link_local(&packet->source)) {
		refuse(core);
		return;
	}
	cw_frame_copy(frame, packet->at, at, packet->length);
	if (at[0] == MLD_QUERY) {
		if (!read_mld(&query, at, packet->length) || !group_may_be(&query) || !query_is_for_us(core, packet, &query))
			refuse(core);
		else
			query_input(core, false, &query);
	} else if (at[0] == MLD_REPORT) {
		memcpy(query.group.octet, at + 8, 16);
		if (memcmp(&query.group, &packet->destination, sizeof(query.group)) != 0)
			refuse(core);
		else
			report_input(core, &query.group);
	}
}
