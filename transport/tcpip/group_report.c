/* What routers are told of groups (RFC 3376 sections 4.2, 5 and 7; 3810 sections 5.2, 6 and 8). */
#include "transport/tcpip/core.h"
#include "transport/tcpip/group.h"
#include "transport/tcpip/icmp_error.h"

#define SECOND         1000000u
#define INTERVAL_NEW   (1 * SECOND)  /* unsolicited reports, at random within: RFC 3376 8.11, 3810 9.11 */
#define INTERVAL_OLD   (10 * SECOND) /* RFC 2236 8.10, 2710 7.10 */
#define RECORDS_AT     8u
#define MOST           1208u /* of 1280 with IPv6's headers and the router alert; IPv4's smallest MTU takes one record at least */
#define INTERNET_CLASS 0xc0u

enum record { IS_INCLUDE = 1, IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW, BLOCK };
enum { REPORT_1 = 0x12, REPORT_2 = 0x16, LEAVE_2 = 0x17, REPORT_3 = 0x22, MLD_REPORT = 131, MLD_DONE = 132, MLD_REPORT_2 = 143 };

struct report {
	struct cw_tcpip *core;
	bool ip4;
	uint32_t length, records;
	unsigned char at[MOST];
};

struct cw_group_family *cw_group_family(struct cw_tcpip *core, bool ip4)
{
	return &core->groups.family[ip4];
}

bool cw_group_is_wanted(const struct cw_group *group)
{
	for (uint32_t i = 0; i < group->count; i++)
		if (group->source[i].current)
			return true;
	return group->exclude;
}

/* All hosts' groups are never told (RFC 3376 section 6, 3810 section 6), nor what doesn't leave the interface. */
static bool is_told(const struct cw_ip_address *group)
{
	if (cw_ip_is_4(group))
		return cw_get32(group->octet + 12) != 0xe0000001;
	return (group->octet[1] & 15u) > 1 && !(cw_get32(group->octet) == 0xff020000 && cw_get32(group->octet + 12) == 1 &&
						cw_get32(group->octet + 4) == 0 && cw_get32(group->octet + 8) == 0);
}

static struct cw_ip_address all_routers(bool ip4, bool new)
{
	struct cw_ip_address address = {.octet = {0xff, 2, [15] = new ? 0x16 : 2}};
	const unsigned char octets[4] = {224, 0, 0, new ? 22 : 2};

	if (ip4)
		cw_ip_set_4(&address, octets);
	return address;
}

/* From an address of the link (RFC 3810 5.2.13), or from nobody (3376 4.2.13, 3590). */
static struct cw_ip_address source_for(struct cw_tcpip *core, bool ip4)
{
	struct cw_ip_address none = {.octet = {0}}, to = all_routers(ip4, true);
	const struct cw_ip_address *source = cw_address_source(core, &to);

	if (ip4)
		cw_ip_set_4(&none, none.octet);
	return source && (ip4 || cw_ip_is_link_local(source)) ? *source : none;
}

static void send_message(struct cw_tcpip *core, bool ip4, const struct cw_ip_address *to, const unsigned char *message, uint32_t length)
{
	unsigned char *at;
	struct cw_control_record *record = cw_control_add(core, length, &at);
	uint16_t sum;

	if (!record)
		return;
	record->source = source_for(core, ip4);
	record->destination = *to;
	record->protocol = ip4 ? CW_PROTOCOL_IGMP : CW_PROTOCOL_ICMP6;
	record->hop_limit = 1;
	record->router_alert = true;
	record->traffic_class = ip4 ? INTERNET_CLASS : 0;
	memcpy(at, message, length);
	sum = cw_icmp_sum(&record->source, to, at, length);
	memcpy(at + 2, &sum, 2);
	cw_count(core, CW_TCPIP_GROUP_REPORTS);
}

static void report_begin(struct report *report, struct cw_tcpip *core, bool ip4)
{
	report->core = core;
	report->ip4 = ip4;
	report->length = RECORDS_AT;
	report->records = 0;
}

static void report_send(struct report *report)
{
	struct cw_ip_address to = all_routers(report->ip4, true);

	if (report->records) {
		memset(report->at, 0, RECORDS_AT);
		report->at[0] = report->ip4 ? REPORT_3 : MLD_REPORT_2;
		cw_put16(report->at + 6, report->records);
		send_message(report->core, report->ip4, &to, report->at, report->length);
	}
	report_begin(report, report->core, report->ip4);
}

static void report_add(struct report *report, enum record kind, const struct cw_group *group, const struct cw_ip_address *sources,
		       uint32_t count)
{
	uint32_t size = report->ip4 ? 4 : 16, length = 4 + size + count * size;
	uint32_t most = cw_min32(report->core->config.mtu - (report->ip4 ? 24 : 48), MOST);
	unsigned char *at;

	if (report->length + length > most)
		report_send(report);
	at = report->at + report->length;
	at[0] = (unsigned char)kind;
	at[1] = 0;
	cw_put16(at + 2, count);
	memcpy(at + 4, group->address.octet + 16 - size, size);
	for (uint32_t i = 0; i < count; i++)
		memcpy(at + 4 + size + i * size, sources[i].octet + 16 - size, size);
	report->length += length;
	report->records++;
}

static uint32_t current_sources(const struct cw_group *group, struct cw_ip_address list[CW_GROUP_SOURCES])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < group->count; i++)
		if (group->source[i].current)
			list[count++] = group->source[i].address;
	return count;
}

static void forget_told(struct cw_group *group)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < group->count; i++)
		if (group->source[i].current || group->source[i].allow_left || group->source[i].block_left)
			group->source[kept++] = group->source[i];
	group->count = kept;
}

/* RFC 3376 5.1: the mode first; what is told of sources meanwhile is in it, and counts as told. */
static void report_change(struct report *report, struct cw_group *group)
{
	struct cw_ip_address allowed[CW_GROUP_SOURCES], blocked[CW_GROUP_SOURCES];
	uint32_t allow = 0, block = 0;

	for (uint32_t i = 0; i < group->count; i++) {
		struct cw_group_source *source = &group->source[i];

		if (source->allow_left) {
			source->allow_left--;
			allowed[allow++] = source->address;
		}
		if (source->block_left) {
			source->block_left--;
			blocked[block++] = source->address;
		}
	}
	if (group->mode_left) {
		group->mode_left--;
		allow = current_sources(group, allowed);
		report_add(report, group->exclude ? TO_EXCLUDE : TO_INCLUDE, group, allowed, allow);
	} else {
		if (allow)
			report_add(report, ALLOW, group, allowed, allow);
		if (block)
			report_add(report, BLOCK, group, blocked, block);
	}
	forget_told(group);
}

static bool more_to_tell(const struct cw_group *group)
{
	for (uint32_t i = 0; i < group->count; i++)
		if (group->source[i].allow_left || group->source[i].block_left)
			return true;
	return group->mode_left;
}

static void send_old(struct cw_group *group, unsigned version, bool is_leave)
{
	bool ip4 = cw_ip_is_4(&group->address);
	unsigned char message[24] = {0};
	struct cw_ip_address to = is_leave ? all_routers(ip4, false) : group->address;

	if (!ip4)
		message[0] = is_leave ? MLD_DONE : MLD_REPORT;
	else if (is_leave)
		message[0] = LEAVE_2;
	else
		message[0] = version == 1 ? REPORT_1 : REPORT_2;
	if (version == 1 && is_leave)
		return;
	memcpy(message + (ip4 ? 4 : 8), group->address.octet + (ip4 ? 12 : 0), ip4 ? 4 : 16);
	send_message(group->core, ip4, &to, message, ip4 ? 8 : 24);
}

static void settle(struct cw_group *group)
{
	group->mode_left = 0;
	for (uint32_t i = 0; i < group->count; i++)
		group->source[i].allow_left = group->source[i].block_left = 0;
	forget_told(group);
}

/* A router that knows no filters hears of the first and of the last who is in it (RFC 2236 section 3). */
static void tell_change_old(struct cw_group *group, unsigned version, bool was_wanted)
{
	bool is_wanted = cw_group_is_wanted(group);
	struct cw_tcpip *core = group->core;

	if (is_wanted == was_wanted)
		return;
	settle(group);
	cw_wheel_stop(&core->wheel, &group->change);
	cw_wheel_stop(&core->wheel, &group->response);
	group->responding = false;
	send_old(group, version, !is_wanted);
	if (!is_wanted)
		return;
	group->mode_left = (uint8_t)(cw_group_family(core, cw_ip_is_4(&group->address))->robustness - 1);
	if (group->mode_left)
		cw_wheel_start(&core->wheel, &group->change, core->now + 1 + cw_random(core) % INTERVAL_OLD);
}

static void tell_again_later(struct cw_group *group, uint32_t interval)
{
	struct cw_tcpip *core = group->core;

	if (more_to_tell(group))
		cw_wheel_start(&core->wheel, &group->change, core->now + 1 + cw_random(core) % interval);
	else
		cw_wheel_stop(&core->wheel, &group->change);
}

static void tell_change_new(struct cw_group *group)
{
	struct report report;

	report_begin(&report, group->core, cw_ip_is_4(&group->address));
	report_change(&report, group);
	report_send(&report);
	tell_again_later(group, INTERVAL_NEW);
}

void cw_group_tell_change(struct cw_group *group, bool was_wanted)
{
	unsigned version = cw_group_version(cw_group_family(group->core, cw_ip_is_4(&group->address)));

	if (!is_told(&group->address))
		settle(group);
	else if (version < 3)
		tell_change_old(group, version, was_wanted);
	else
		tell_change_new(group);
}

void cw_group_change_expired(struct cw_group *group)
{
	unsigned version = cw_group_version(cw_group_family(group->core, cw_ip_is_4(&group->address)));

	if (version == 3) {
		tell_change_new(group);
	} else if (group->mode_left && cw_group_is_wanted(group)) {
		group->mode_left--;
		send_old(group, version, false);
		tell_again_later(group, INTERVAL_OLD);
	} else {
		settle(group);
	}
	cw_group_free_if_idle(group);
}

static void report_current(struct report *report, const struct cw_group *group)
{
	struct cw_ip_address list[CW_GROUP_SOURCES];
	uint32_t count = current_sources(group, list);

	if (is_told(&group->address) && (group->exclude || count))
		report_add(report, group->exclude ? IS_EXCLUDE : IS_INCLUDE, group, list, count);
}

static bool is_current(const struct cw_group *group, const struct cw_ip_address *source)
{
	for (uint32_t i = 0; i < group->count; i++)
		if (group->source[i].current && memcmp(&group->source[i].address, source, sizeof(*source)) == 0)
			return true;
	return false;
}

/* RFC 3376 5.2: of the sources that were asked for, those that are wanted. */
static void report_asked(struct report *report, const struct cw_group *group)
{
	struct cw_ip_address list[CW_GROUP_SOURCES];
	uint32_t count = 0;

	for (uint32_t i = 0; i < group->asked; i++)
		if (group->exclude != is_current(group, &group->asked_source[i]))
			list[count++] = group->asked_source[i];
	if (count)
		report_add(report, IS_INCLUDE, group, list, count);
}

void cw_group_response_expired(struct cw_group *group)
{
	bool ip4 = cw_ip_is_4(&group->address);
	unsigned version = cw_group_version(cw_group_family(group->core, ip4));
	struct report report;

	group->responding = false;
	if (!is_told(&group->address) || !cw_group_is_wanted(group))
		return;
	if (version < 3) {
		send_old(group, version, false);
		return;
	}
	report_begin(&report, group->core, ip4);
	if (group->asked)
		report_asked(&report, group);
	else
		report_current(&report, group);
	report_send(&report);
	group->asked = 0;
}

void cw_group_general_expired(struct cw_group_family *family)
{
	struct cw_list *all = &family->core->groups.all;
	struct report report;

	family->responding = false;
	report_begin(&report, family->core, family->ip4);
	for (struct cw_list *entry = all->next; entry != all; entry = entry->next) {
		const struct cw_group *group = cw_entry(entry, struct cw_group, all);

		if (cw_ip_is_4(&group->address) == family->ip4)
			report_current(&report, group);
	}
	report_send(&report);
}

/* RFC 3376 7.2.1: whoever speaks the oldest version decides; what was to be said in another is dropped. */
unsigned cw_group_version(struct cw_group_family *family)
{
	struct cw_tcpip *core = family->core;
	struct cw_list *all = &core->groups.all;
	uint8_t version = family->v1_until > core->now ? 1 : family->old_until > core->now ? 2 : 3;

	if (version == family->version)
		return version;
	family->version = version;
	family->responding = false;
	cw_wheel_stop(&core->wheel, &family->general);
	for (struct cw_list *entry = all->next; entry != all; entry = entry->next) {
		struct cw_group *group = cw_entry(entry, struct cw_group, all);

		if (cw_ip_is_4(&group->address) != family->ip4)
			continue;
		group->responding = false;
		cw_wheel_stop(&core->wheel, &group->response);
		/* Who has left, or has new filters, still says so when the timer runs. */
	}
	return version;
}
