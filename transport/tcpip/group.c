/* Memberships of sockets, and the sum of their filters (RFC 3376 section 3, 3810 section 4). */
#include "transport/tcpip/group.h"

#include <errno.h>

#include "transport/tcpip/udp_socket.h"

#define ROBUSTNESS       2u
#define QUERY_INTERVAL_S 125u

struct filter {
	bool exclude;
	uint32_t count;
	struct cw_ip_address source[CW_GROUP_SOURCES];
};

void cw_groups_init(struct cw_tcpip *core, void *groups, void *memberships)
{
	struct cw_groups *all = &core->groups;

	cw_pool_init(&all->pool, groups, sizeof(struct cw_group), core->config.groups);
	cw_pool_init(&all->memberships, memberships, sizeof(struct cw_membership), core->config.memberships);
	cw_list_init(&all->all);
	for (unsigned i = 0; i < CW_GROUP_BUCKETS; i++)
		cw_list_init(&all->bucket[i]);
	for (unsigned i = 0; i < 2; i++)
		all->family[i] = (struct cw_group_family){.core = core,
							  .ip4 = i,
							  .robustness = ROBUSTNESS,
							  .version = 3,
							  .query_interval_s = QUERY_INTERVAL_S,
							  .general = {.owner = CW_TIMER_GROUP_GENERAL}};
}

static struct cw_list *bucket_of(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	return (struct cw_list *)(uintptr_t)&core->groups.bucket[cw_core_bucket(core, address, CW_GROUP_BUCKETS)];
}

struct cw_group *cw_group_find(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	struct cw_list *bucket = bucket_of(core, address);

	for (struct cw_list *entry = bucket->next; entry != bucket; entry = entry->next) {
		struct cw_group *group = cw_entry(entry, struct cw_group, bucket);

		if (memcmp(&group->address, address, sizeof(*address)) == 0)
			return group;
	}
	return NULL;
}

static struct cw_group *find_or_create(struct cw_tcpip *core, const struct cw_ip_address *address)
{
	struct cw_group *group = cw_group_find(core, address);

	if (group)
		return group;
	group = cw_pool_take(&core->groups.pool);
	if (!group)
		return NULL;
	group->core = core;
	group->address = *address;
	group->change.owner = CW_TIMER_GROUP_CHANGE;
	group->response.owner = CW_TIMER_GROUP_RESPONSE;
	cw_list_init(&group->members);
	cw_list_init(&group->bucket);
	cw_list_init(&group->all);
	cw_list_add_last(bucket_of(core, address), &group->bucket);
	cw_list_add_last(&core->groups.all, &group->all);
	return group;
}

void cw_group_free_if_idle(struct cw_group *group)
{
	if (!cw_list_empty(&group->members) || group->held || cw_timer_running(&group->change))
		return;
	cw_wheel_stop(&group->core->wheel, &group->response);
	cw_list_remove(&group->bucket);
	cw_list_remove(&group->all);
	cw_pool_give(&group->core->groups.pool, group);
}

static bool has(const struct cw_ip_address *source, uint32_t count, const struct cw_ip_address *one)
{
	while (count--)
		if (memcmp(&source[count], one, sizeof(*one)) == 0)
			return true;
	return false;
}

/* Does every socket that excludes some exclude this one, and none want it? */
static bool nobody_wants(const struct cw_group *group, const struct cw_ip_address *source)
{
	for (struct cw_list *entry = group->members.next; entry != &group->members; entry = entry->next) {
		const struct cw_membership *member = cw_entry(entry, struct cw_membership, of_group);

		if (member->exclude != has(member->source, member->count, source))
			return false;
	}
	return !group->held;
}

/* False: more sources than there is room for. */
static bool merge(const struct cw_group *group, struct filter *filter)
{
	filter->exclude = group->held;
	filter->count = 0;
	for (struct cw_list *entry = group->members.next; entry != &group->members; entry = entry->next)
		filter->exclude |= cw_entry(entry, struct cw_membership, of_group)->exclude;
	for (struct cw_list *entry = group->members.next; entry != &group->members; entry = entry->next) {
		const struct cw_membership *member = cw_entry(entry, struct cw_membership, of_group);

		if (member->exclude != filter->exclude)
			continue;
		for (uint32_t i = 0; i < member->count; i++) {
			if (has(filter->source, filter->count, &member->source[i]))
				continue;
			if (filter->exclude && !nobody_wants(group, &member->source[i]))
				continue;
			if (filter->count == CW_GROUP_SOURCES)
				return false;
			filter->source[filter->count++] = member->source[i];
		}
	}
	return true;
}

static struct cw_group_source *source_of(struct cw_group *group, const struct cw_ip_address *address)
{
	for (uint32_t i = 0; i < group->count; i++)
		if (memcmp(&group->source[i].address, address, sizeof(*address)) == 0)
			return &group->source[i];
	return NULL;
}

/* Those that are only to be told still give way. */
static struct cw_group_source *add_source(struct cw_group *group, const struct cw_ip_address *address)
{
	struct cw_group_source *source = source_of(group, address);

	if (source)
		return source;
	for (uint32_t i = 0; !source && group->count == CW_GROUP_SOURCES && i < group->count; i++)
		if (!group->source[i].current)
			source = &group->source[i];
	if (!source)
		source = &group->source[group->count++];
	*source = (struct cw_group_source){.address = *address};
	return source;
}

/* RFC 3376 5.1, 3810 6.1: who changes the mode tells all of its sources, else only what is new. */
static bool change_mode(struct cw_group *group, const struct filter *filter, uint8_t robustness)
{
	group->exclude = filter->exclude;
	group->mode_left = robustness;
	group->count = 0;
	for (uint32_t i = 0; i < filter->count; i++)
		add_source(group, &filter->source[i])->current = true;
	return true;
}

static bool change_sources(struct cw_group *group, const struct filter *filter, uint8_t robustness)
{
	bool changed = false;

	for (uint32_t i = 0; i < group->count; i++) {
		struct cw_group_source *source = &group->source[i];

		if (!source->current || has(filter->source, filter->count, &source->address))
			continue;
		source->current = false;
		source->allow_left = group->exclude ? robustness : 0;
		source->block_left = group->exclude ? 0 : robustness;
		changed = true;
	}
	for (uint32_t i = 0; i < filter->count; i++) {
		struct cw_group_source *source = add_source(group, &filter->source[i]);

		if (source->current)
			continue;
		source->current = true;
		source->allow_left = group->exclude ? 0 : robustness;
		source->block_left = group->exclude ? robustness : 0;
		changed = true;
	}
	return changed;
}

/* False: the sockets' filters together are too long, and nothing has changed. */
static bool update(struct cw_group *group)
{
	uint8_t robustness = cw_group_family(group->core, cw_ip_is_4(&group->address))->robustness;
	bool was_wanted = cw_group_is_wanted(group), changed;
	struct filter filter;

	if (!merge(group, &filter))
		return false;
	if (filter.exclude != group->exclude)
		changed = change_mode(group, &filter, robustness);
	else
		changed = change_sources(group, &filter, robustness);
	if (changed)
		cw_group_tell_change(group, was_wanted);
	cw_group_free_if_idle(group);
	return true;
}

static struct cw_membership *membership_of(const struct cw_udp *udp, const struct cw_ip_address *group)
{
	for (struct cw_list *entry = udp->memberships.next; entry != &udp->memberships; entry = entry->next) {
		struct cw_membership *membership = cw_entry(entry, struct cw_membership, of_socket);

		if (memcmp(&membership->group->address, group, sizeof(*group)) == 0)
			return membership;
	}
	return NULL;
}

static struct cw_membership *join(struct cw_udp *udp, const struct cw_ip_address *address)
{
	struct cw_tcpip *core = udp->core;
	struct cw_membership *membership = cw_pool_take(&core->groups.memberships);
	struct cw_group *group = membership ? find_or_create(core, address) : NULL;

	if (!group) {
		if (membership)
			cw_pool_give(&core->groups.memberships, membership);
		return NULL;
	}
	membership->udp = udp;
	membership->group = group;
	cw_list_init(&membership->of_socket);
	cw_list_init(&membership->of_group);
	cw_list_add_last(&udp->memberships, &membership->of_socket);
	cw_list_add_last(&group->members, &membership->of_group);
	return membership;
}

static void leave(struct cw_membership *membership)
{
	struct cw_group *group = membership->group;

	cw_list_remove(&membership->of_socket);
	cw_list_remove(&membership->of_group);
	cw_pool_give(&group->core->groups.memberships, membership);
	update(group);
}

static void set_filter(struct cw_membership *membership, const struct filter *filter)
{
	membership->exclude = filter->exclude;
	membership->count = filter->count;
	memcpy(membership->source, filter->source, filter->count * sizeof(filter->source[0]));
}

int cw_udp_filter(struct cw_udp *udp, const struct cw_ip_address *group, bool exclude, const struct cw_ip_address *sources, uint32_t count,
		  uint64_t now)
{
	struct cw_membership *membership = membership_of(udp, group);
	struct filter filter = {.exclude = exclude}, before = {.exclude = false};

	cw_core_clock(udp->core, now);
	if (udp->closing || !cw_ip_is_multicast(group) || (!membership && !exclude && !count))
		return EADDRNOTAVAIL;
	if (count > CW_GROUP_SOURCES)
		return ENOBUFS;
	for (uint32_t i = 0; i < count; i++) {
		if (cw_ip_is_4(&sources[i]) != cw_ip_is_4(group) || !cw_ip_is_host(&sources[i]))
			return EADDRNOTAVAIL;
		if (!has(filter.source, filter.count, &sources[i]))
			filter.source[filter.count++] = sources[i];
	}
	if (!exclude && !count) {
		leave(membership);
		return 0;
	}
	if (membership) {
		before.exclude = membership->exclude;
		before.count = membership->count;
		memcpy(before.source, membership->source, before.count * sizeof(before.source[0]));
	} else {
		membership = join(udp, group);
	}
	if (!membership)
		return ENOBUFS;
	set_filter(membership, &filter);
	if (update(membership->group))
		return 0;
	if (before.exclude || before.count)
		set_filter(membership, &before);
	else
		leave(membership);
	return ENOBUFS;
}

void cw_group_leave_all(struct cw_udp *udp)
{
	while (!cw_list_empty(&udp->memberships))
		leave(cw_entry(udp->memberships.next, struct cw_membership, of_socket));
}

bool cw_group_hold(struct cw_tcpip *core, const struct cw_ip_address *address)
{
	struct cw_group *group = find_or_create(core, address);

	if (!group)
		return false;
	group->held++;
	update(group);
	return true;
}

void cw_group_release(struct cw_tcpip *core, const struct cw_ip_address *address)
{
	struct cw_group *group = cw_group_find(core, address);

	if (!group || !group->held)
		return;
	group->held--;
	update(group);
}

/* All hosts are in these, without a word (RFC 1112 7.1, 4291 2.7.1). */
static bool is_all_hosts(const struct cw_ip_address *group)
{
	static const struct cw_ip_address all = {.octet = {0xff, 2, [15] = 1}};

	if (cw_ip_is_4(group))
		return cw_get32(group->octet + 12) == 0xe0000001;
	return memcmp(group, &all, sizeof(all)) == 0;
}

bool cw_group_takes(const struct cw_udp *udp, const struct cw_ip_address *address, const struct cw_ip_address *source)
{
	const struct cw_membership *membership = membership_of(udp, address);
	struct cw_group *group;
	struct cw_group_source *known;

	if (membership)
		return membership->exclude != has(membership->source, membership->count, source);
	if (udp->settings.only_joined)
		return false;
	group = cw_group_find(udp->core, address);
	if (!group)
		return is_all_hosts(address);
	known = source_of(group, source);
	return group->exclude != (known && known->current);
}
