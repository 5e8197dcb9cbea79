/* Neighbours, and whether they are still there (RFC 4861 7.2 and 7.3; 1122 2.3.2.1 asks the same of ARP). */
#include "transport/tcpip/core.h"
#include "transport/tcpip/frame.h"
#include "transport/tcpip/icmp.h"
#include "transport/tcpip/link.h"

#define SECOND       1000000u
#define RETRANSMIT   SECOND
#define FIRST_PROBE  (5 * SECOND)
#define REACHABLE    (30 * SECOND) /* times 0.5 to 1.5 */
#define MOST_SOLICIT 3u
#define MOST_WAITING 3u

static struct cw_list *bucket_of(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	return (struct cw_list *)(uintptr_t)&core->link.bucket[cw_core_bucket(core, address, CW_NEIGHBOUR_BUCKETS)];
}

struct cw_neighbour *cw_neighbour_find(const struct cw_tcpip *core, const struct cw_ip_address *address)
{
	struct cw_list *bucket = bucket_of(core, address);

	for (struct cw_list *entry = bucket->next; entry != bucket; entry = entry->next) {
		struct cw_neighbour *neighbour = cw_entry(entry, struct cw_neighbour, bucket);

		if (memcmp(&neighbour->address, address, sizeof(*address)) == 0)
			return neighbour;
	}
	return NULL;
}

static void drop_waiting(struct cw_neighbour *neighbour)
{
	struct cw_waiting *waiting = cw_entry(neighbour->waiting.next, struct cw_waiting, entry);

	cw_list_remove(&waiting->entry);
	cw_pool_give(&neighbour->core->link.waiting, waiting);
	neighbour->waits--;
	cw_count(neighbour->core, CW_TCPIP_NEIGHBOUR_DROPPED);
}

static void forget(struct cw_neighbour *neighbour)
{
	struct cw_tcpip *core = neighbour->core;

	while (!cw_list_empty(&neighbour->waiting))
		drop_waiting(neighbour);
	if (neighbour->state == CW_NEIGHBOUR_INCOMPLETE)
		core->link.unanswered_count--;
	cw_wheel_stop(&core->wheel, &neighbour->timer);
	cw_list_remove(&neighbour->bucket);
	cw_list_remove(&neighbour->age);
	cw_pool_give(&core->link.neighbours, neighbour);
}

static struct cw_neighbour *first_of(struct cw_list *list)
{
	return cw_list_empty(list) ? NULL : cw_entry(list->next, struct cw_neighbour, age);
}

/* Who gives way to a new one. NULL: nobody has to, or nobody does. */
static struct cw_neighbour *victim(struct cw_link_layer *link, bool used)
{
	struct cw_neighbour *oldest = first_of(&link->age);

	if (used && link->unanswered_count >= cw_max32(link->neighbours.limit / 2, 1))
		return first_of(&link->unanswered);
	if (link->neighbours.used < link->neighbours.limit)
		return NULL;
	if (oldest && (used || !oldest->used))
		return oldest;
	return used ? first_of(&link->unanswered) : NULL;
}

/* `used`: by a packet of ours. It is unanswered then, else what is known is filled in at once. */
static struct cw_neighbour *create(struct cw_tcpip *core, const struct cw_ip_address *address, bool used)
{
	struct cw_link_layer *link = &core->link;
	struct cw_neighbour *neighbour, *least = victim(link, used);

	if (least)
		forget(least);
	neighbour = cw_pool_take(&link->neighbours);
	if (!neighbour)
		return NULL;
	neighbour->core = core;
	neighbour->address = *address;
	neighbour->timer.owner = CW_TIMER_NEIGHBOUR;
	cw_list_init(&neighbour->bucket);
	cw_list_init(&neighbour->age);
	cw_list_init(&neighbour->waiting);
	cw_list_add_last(bucket_of(core, address), &neighbour->bucket);
	cw_list_add_last(&link->unanswered, &neighbour->age);
	link->unanswered_count++;
	neighbour->used = used;
	return neighbour;
}

/* Those that we never sent to are the first to go. */
static void touch(struct cw_neighbour *neighbour)
{
	struct cw_list *age = &neighbour->core->link.age;

	cw_list_remove(&neighbour->age);
	if (neighbour->used)
		cw_list_add_last(age, &neighbour->age);
	else
		cw_list_add_after(age, &neighbour->age);
}

static void enter(struct cw_neighbour *neighbour, enum cw_neighbour_state state)
{
	struct cw_tcpip *core = neighbour->core;

	if (neighbour->state == CW_NEIGHBOUR_INCOMPLETE) {
		core->link.unanswered_count--;
		touch(neighbour);
	}
	neighbour->state = (uint8_t)state;
	neighbour->solicits = 0;
	if (state == CW_NEIGHBOUR_REACHABLE)
		neighbour->reachable_until = core->now + REACHABLE / 2 + cw_random(core) % REACHABLE;
	if (state == CW_NEIGHBOUR_DELAY)
		cw_wheel_start(&core->wheel, &neighbour->timer, core->now + FIRST_PROBE);
	else
		cw_wheel_stop(&core->wheel, &neighbour->timer);
}

static void solicit(struct cw_neighbour *neighbour)
{
	struct cw_tcpip *core = neighbour->core;
	bool unicast = neighbour->state == CW_NEIGHBOUR_PROBE;

	neighbour->solicits++;
	cw_count(core, CW_TCPIP_SOLICITATIONS);
	if (cw_ip_is_4(&neighbour->address))
		cw_arp_request(core, &neighbour->source, &neighbour->address, unicast ? neighbour->link : NULL);
	else
		cw_nd_solicit(core, &neighbour->source, &neighbour->address, unicast);
	cw_wheel_start(&core->wheel, &neighbour->timer, core->now + RETRANSMIT);
}

static unsigned char *buffer_of(const struct cw_link_layer *link, const struct cw_waiting *waiting)
{
	size_t index = (size_t)((const unsigned char *)waiting - link->waiting.memory) / link->waiting.size;

	return link->buffers + index * link->buffer_size + CW_LINK_ROOM;
}

/* RFC 4861 7.2.2: to who sent it, as if an ICMP error had come. */
static void tell_waiting(const struct cw_neighbour *neighbour)
{
	const struct cw_link_layer *link = &neighbour->core->link;

	for (struct cw_list *entry = neighbour->waiting.next; entry != &neighbour->waiting; entry = entry->next) {
		const struct cw_waiting *waiting = cw_entry(entry, struct cw_waiting, entry);

		cw_icmp_host_unreachable(neighbour->core, buffer_of(link, waiting), waiting->length);
	}
}

void cw_neighbour_expired(struct cw_neighbour *neighbour)
{
	if (neighbour->state == CW_NEIGHBOUR_DELAY)
		enter(neighbour, CW_NEIGHBOUR_PROBE);
	if (neighbour->solicits < MOST_SOLICIT) {
		solicit(neighbour);
		return;
	}
	cw_count(neighbour->core, CW_TCPIP_NEIGHBOUR_FAILED);
	tell_waiting(neighbour);
	forget(neighbour);
}

/* Addressed, and in the order in which they came. */
static void release_waiting(struct cw_neighbour *neighbour)
{
	struct cw_link_layer *link = &neighbour->core->link;

	while (!cw_list_empty(&neighbour->waiting)) {
		struct cw_waiting *waiting = cw_entry(neighbour->waiting.next, struct cw_waiting, entry);
		unsigned char *head = buffer_of(link, waiting) - CW_ETHERNET_HEADER;

		memcpy(head, neighbour->link, 6);
		memcpy(head + 6, neighbour->core->config.link_address, 6);
		cw_put16(head + 12, cw_ip_is_4(&neighbour->address) ? 0x0800 : 0x86dd);
		cw_list_remove(&waiting->entry);
		cw_list_add_last(&link->ready, &waiting->entry);
	}
	neighbour->waits = 0;
}

/* Who waits longest for an answer gives its room up. */
static struct cw_waiting *take_waiting(struct cw_link_layer *link, struct cw_neighbour *neighbour)
{
	struct cw_waiting *waiting = cw_pool_take(&link->waiting);
	struct cw_neighbour *first = first_of(&link->unanswered);

	if (waiting || !link->waiting.limit)
		return waiting;
	if (first != neighbour)
		forget(first);
	else if (neighbour->waits)
		drop_waiting(neighbour);
	return cw_pool_take(&link->waiting);
}

/* RFC 4861 7.2.2: a small queue, from which the oldest gives way. What the device would have to cut can't wait. */
static void wait(struct cw_neighbour *neighbour, const struct cw_frame *frame)
{
	struct cw_link_layer *link = &neighbour->core->link;
	struct cw_waiting *waiting;

	if (neighbour->waits == MOST_WAITING)
		drop_waiting(neighbour);
	waiting = frame->segment_size || frame->length > neighbour->core->config.mtu ? NULL : take_waiting(link, neighbour);
	if (!waiting) {
		cw_count(neighbour->core, CW_TCPIP_NEIGHBOUR_DROPPED);
		return;
	}
	waiting->length = frame->length;
	waiting->checksum = frame->checksum;
	waiting->checksum_start = frame->checksum_start;
	waiting->checksum_offset = frame->checksum_offset;
	cw_frame_copy(frame, 0, buffer_of(link, waiting), frame->length);
	cw_list_init(&waiting->entry);
	cw_list_add_last(&neighbour->waiting, &waiting->entry);
	neighbour->waits++;
}

const uint8_t *cw_neighbour_resolve(struct cw_tcpip *core, const struct cw_ip_address *address, const struct cw_ip_address *source,
				    const struct cw_frame *frame)
{
	struct cw_neighbour *neighbour = cw_neighbour_find(core, address);

	if (!neighbour) {
		neighbour = create(core, address, true);
		if (!neighbour)
			return NULL;
		neighbour->source = *source;
		solicit(neighbour);
	}
	if (neighbour->state == CW_NEIGHBOUR_INCOMPLETE) {
		wait(neighbour, frame);
		return NULL;
	}
	neighbour->used = true;
	touch(neighbour);
	if (neighbour->state == CW_NEIGHBOUR_REACHABLE && core->now >= neighbour->reachable_until)
		enter(neighbour, CW_NEIGHBOUR_STALE);
	if (neighbour->state == CW_NEIGHBOUR_STALE) {
		neighbour->source = *source;
		enter(neighbour, CW_NEIGHBOUR_DELAY);
	}
	return neighbour->link;
}

static bool link_may_be(const uint8_t link[6])
{
	static const uint8_t none[6];

	return !(link[0] & 1) && memcmp(link, none, 6) != 0;
}

static void put_link(struct cw_neighbour *neighbour, const uint8_t link[6])
{
	memcpy(neighbour->link, link, 6);
	neighbour->since = neighbour->core->now;
}

/* RFC 4861 7.3.1 and appendix C. What went to another link address says nothing of this one. */
bool cw_neighbour_confirm(struct cw_tcpip *core, const struct cw_ip_address *address, uint64_t sent)
{
	struct cw_neighbour *neighbour = cw_neighbour_find(core, address);

	if (!neighbour || neighbour->state == CW_NEIGHBOUR_INCOMPLETE || sent <= neighbour->since)
		return false;
	enter(neighbour, CW_NEIGHBOUR_REACHABLE);
	return true;
}

/* RFC 4861 7.2.3. */
void cw_neighbour_learn(struct cw_tcpip *core, const struct cw_ip_address *address, const uint8_t link[6], bool needed)
{
	struct cw_neighbour *neighbour = cw_neighbour_find(core, address);

	if (!link_may_be(link))
		return;
	if (!neighbour && needed)
		neighbour = create(core, address, false);
	else if (neighbour && neighbour->state != CW_NEIGHBOUR_INCOMPLETE && memcmp(neighbour->link, link, 6) == 0)
		return;
	if (!neighbour)
		return;
	put_link(neighbour, link);
	enter(neighbour, CW_NEIGHBOUR_STALE);
	release_waiting(neighbour);
}

/* RFC 4861 7.2.5. */
void cw_neighbour_answer(struct cw_tcpip *core, const struct cw_ip_address *address, const uint8_t *link, bool solicited, bool override)
{
	struct cw_neighbour *neighbour = cw_neighbour_find(core, address);
	bool incomplete, changes;

	if (!neighbour || (link && !link_may_be(link)))
		return;
	incomplete = neighbour->state == CW_NEIGHBOUR_INCOMPLETE;
	if (incomplete && !link)
		return;
	changes = link && (incomplete || memcmp(neighbour->link, link, 6) != 0);
	if (changes && !override && !incomplete) {
		if (neighbour->state == CW_NEIGHBOUR_REACHABLE)
			enter(neighbour, CW_NEIGHBOUR_STALE);
		return;
	}
	if (changes)
		put_link(neighbour, link);
	if (solicited)
		enter(neighbour, CW_NEIGHBOUR_REACHABLE);
	else if (changes)
		enter(neighbour, CW_NEIGHBOUR_STALE);
	if (incomplete)
		release_waiting(neighbour);
}
