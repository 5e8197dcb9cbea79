/* Fragments put together: a buffer holds room for the header, the data, and a bit for each place where a fragment began. */
#include "transport/tcpip/reassembly.h"

#include "transport/tcpip/core.h"
#include "transport/tcpip/frame.h"
#include "transport/tcpip/icmp_error.h"

#define HEAD_ROOM     256u
#define DATA_ROOM     65536u
#define TIMEOUT_4     30000000u /* RFC 791 3.2 leaves it to us; Linux's */
#define TIMEOUT_6     60000000u /* RFC 8200 4.5 */
#define ECN_FORBIDDEN ((1u << 0) | (1u << CW_ECN_CE))

static unsigned char *data_of(const struct cw_reassemblies *all, const struct cw_reassembly *reassembly)
{
	size_t index = (size_t)((const unsigned char *)reassembly - all->pool.memory) / all->pool.size;

	return all->buffers + index * CW_REASSEMBLY_BUFFER + HEAD_ROOM;
}

static unsigned char *starts_of(unsigned char *data)
{
	return data + DATA_ROOM;
}

static bool starts_at(unsigned char *data, uint32_t at)
{
	return starts_of(data)[at / 64] >> (at / 8 % 8) & 1;
}

void cw_reassembly_init(struct cw_tcpip *core, void *pool, unsigned char *buffers)
{
	struct cw_reassemblies *all = &core->reassemblies;
	uint32_t limit = core->config.reassemblies;

	cw_pool_init(&all->pool, pool, sizeof(struct cw_reassembly), limit);
	all->buffers = buffers;
	all->a_source = core->config.reassemblies_a_source;
	if (!all->a_source)
		all->a_source = cw_max32(limit / 8, 4);
	cw_list_init(&all->age);
	for (unsigned i = 0; i < CW_REASSEMBLY_BUCKETS; i++)
		cw_list_init(&all->bucket[i]);
}

void cw_reassembly_free(struct cw_tcpip *core, struct cw_reassembly *reassembly)
{
	cw_list_remove(&reassembly->bucket);
	cw_list_remove(&reassembly->age);
	cw_wheel_stop(&core->wheel, &reassembly->timer);
	cw_pool_give(&core->reassemblies.pool, reassembly);
}

static void evict(struct cw_tcpip *core, struct cw_reassembly *reassembly)
{
	if (!reassembly->condemned)
		cw_count(core, CW_TCPIP_REASSEMBLY_EVICTED);
	cw_reassembly_free(core, reassembly);
}

static void condemn(struct cw_tcpip *core, struct cw_reassembly *reassembly)
{
	cw_count(core, CW_TCPIP_REASSEMBLY_CONDEMNED);
	reassembly->condemned = true;
}

static struct cw_reassembly *create(struct cw_tcpip *core, struct cw_list *bucket, const struct cw_reassembly_key *key)
{
	struct cw_reassemblies *all = &core->reassemblies;
	struct cw_reassembly *reassembly;

	if (all->pool.used == all->pool.limit)
		evict(core, cw_entry(all->age.next, struct cw_reassembly, age));
	reassembly = cw_pool_take(&all->pool);
	reassembly->key = *key;
	memset(starts_of(data_of(all, reassembly)), 0, DATA_ROOM / 64);
	cw_list_init(&reassembly->bucket);
	cw_list_init(&reassembly->age);
	cw_list_add_last(bucket, &reassembly->bucket);
	cw_list_add_last(&all->age, &reassembly->age);
	reassembly->timer.owner = CW_TIMER_REASSEMBLY;
	cw_wheel_start(&core->wheel, &reassembly->timer, core->now + (cw_ip_is_4(&key->source) ? TIMEOUT_4 : TIMEOUT_6));
	return reassembly;
}

/* By source alone, so that what one source has is in one chain, which is as short as its share. */
static struct cw_reassembly *find(struct cw_tcpip *core, const struct cw_packet *packet)
{
	struct cw_reassemblies *all = &core->reassemblies;
	struct cw_reassembly_key key = {packet->source, packet->destination, packet->fragment_id, 0};
	struct cw_list *bucket = &all->bucket[cw_siphash_short(&all->secret, &key.source, sizeof(key.source)) % CW_REASSEMBLY_BUCKETS];
	struct cw_reassembly *oldest = NULL;
	uint32_t count = 0;

	if (cw_ip_is_4(&packet->source))
		key.protocol = packet->protocol;
	for (struct cw_list *entry = bucket->next; entry != bucket; entry = entry->next) {
		struct cw_reassembly *reassembly = cw_entry(entry, struct cw_reassembly, bucket);

		if (memcmp(&reassembly->key, &key, sizeof(key)) == 0)
			return reassembly;
		if (memcmp(&reassembly->key.source, &key.source, sizeof(key.source)) != 0)
			continue;
		oldest = oldest ? oldest : reassembly;
		count++;
	}
	if (count >= all->a_source)
		evict(core, oldest);
	return create(core, bucket, &key);
}

/* The same fragment again: it began and ended where another did, and says the same. */
static bool is_duplicate(const struct cw_reassembly *reassembly, uint32_t range, unsigned char *data, const struct cw_frame *frame,
			 const struct cw_packet *packet)
{
	uint32_t from = packet->fragment_offset, to = from + packet->length, at = packet->at, done = from;

	if (from < reassembly->range[range].from || to > reassembly->range[range].to || !starts_at(data, from))
		return false;
	if (to != reassembly->range[range].to && !starts_at(data, to))
		return false;
	for (uint32_t inside = from + 8; inside < to; inside += 8)
		if (starts_at(data, inside))
			return false;
	for (uint32_t i = 0; i < frame->pieces && done < to; i++) {
		const struct cw_piece *piece = &frame->piece[i];
		uint32_t length;

		if (at >= piece->length) {
			at -= piece->length;
			continue;
		}
		length = cw_min32(piece->length - at, to - done);
		if (memcmp(data + done, piece->at + at, length) != 0)
			return false;
		done += length;
		at = 0;
	}
	return true;
}

static void insert(struct cw_reassembly *reassembly, uint32_t i, uint32_t from, uint32_t to)
{
	bool joins_last = i && reassembly->range[i - 1].to == from;
	bool joins_next = i < reassembly->ranges && reassembly->range[i].from == to;

	if (joins_last && joins_next) {
		reassembly->range[i - 1].to = reassembly->range[i].to;
		reassembly->ranges--;
		memmove(&reassembly->range[i], &reassembly->range[i + 1], (reassembly->ranges - i) * sizeof(reassembly->range[0]));
	} else if (joins_last) {
		reassembly->range[i - 1].to = to;
	} else if (joins_next) {
		reassembly->range[i].from = from;
	} else {
		memmove(&reassembly->range[i + 1], &reassembly->range[i], (reassembly->ranges - i) * sizeof(reassembly->range[0]));
		reassembly->range[i].from = from;
		reassembly->range[i].to = to;
		reassembly->ranges++;
	}
}

/* False: it contradicts what is known of the datagram's end. */
static bool end_is_right(struct cw_reassembly *reassembly, uint32_t to, bool more)
{
	uint32_t last = reassembly->ranges ? reassembly->range[reassembly->ranges - 1].to : 0;

	if (reassembly->total)
		return more ? to <= reassembly->total : to == reassembly->total;
	if (!more) {
		if (last > to)
			return false;
		reassembly->total = to;
	}
	return true;
}

static void keep_head(struct cw_reassembly *reassembly, unsigned char *data, const struct cw_frame *frame, const struct cw_packet *packet)
{
	cw_frame_copy(frame, 0, data - packet->at, packet->at);
	reassembly->head = packet->at;
	reassembly->first_length = packet->length;
	reassembly->fragment_at = packet->fragment_at;
	reassembly->named_at = packet->named_at;
}

/* The place of a fragment among the ranges. False: it isn't to be kept. */
static bool place(struct cw_tcpip *core, struct cw_reassembly *reassembly, unsigned char *data, const struct cw_frame *frame,
		  const struct cw_packet *packet)
{
	uint32_t from = packet->fragment_offset, to = from + packet->length, i = 0;

	while (i < reassembly->ranges && reassembly->range[i].to <= from)
		i++;
	if (i < reassembly->ranges && reassembly->range[i].from < to) {
		if (is_duplicate(reassembly, i, data, frame, packet) && end_is_right(reassembly, to, packet->more_fragments))
			cw_count(core, CW_TCPIP_FRAGMENT_DUPLICATES);
		else
			condemn(core, reassembly);
		return false;
	}
	if (!end_is_right(reassembly, to, packet->more_fragments) || reassembly->ranges == CW_REASSEMBLY_RANGES) {
		condemn(core, reassembly);
		return false;
	}
	insert(reassembly, i, from, to);
	return true;
}

/* RFC 8200 4.5: the fragment header goes, and what it named is named by the header before it. */
static unsigned char *finish_6(struct cw_reassembly *reassembly, unsigned char *data)
{
	unsigned char *head = data - reassembly->head, next = head[reassembly->fragment_at];

	memmove(head + 8, head, reassembly->fragment_at);
	head += 8;
	head[reassembly->named_at] = next;
	cw_put16(head + 4, reassembly->fragment_at - 40 + reassembly->total);
	if (reassembly->ecn >> CW_ECN_CE & 1)
		head[1] |= CW_ECN_CE << 4;
	return head;
}

static unsigned char *finish_4(struct cw_reassembly *reassembly, unsigned char *data)
{
	unsigned char *head = data - reassembly->head;

	cw_put16(head + 2, reassembly->head + reassembly->total);
	cw_put16(head + 6, 0);
	if (reassembly->ecn >> CW_ECN_CE & 1)
		head[1] |= CW_ECN_CE;
	cw_ip4_sum(head);
	return head;
}

/* RFC 3168 5.3: who isn't capable of ECN can't have been marked, so some of it isn't of this datagram. */
static bool finish(struct cw_tcpip *core, struct cw_reassembly *reassembly, unsigned char *data, struct cw_frame *whole)
{
	bool ip4 = cw_ip_is_4(&reassembly->key.source);
	uint32_t length = (ip4 ? reassembly->head : reassembly->fragment_at - 40) + reassembly->total; /* as the header will say */
	unsigned char *head;

	if ((reassembly->ecn & ECN_FORBIDDEN) == ECN_FORBIDDEN || length > CW_FRAME_MAX) {
		condemn(core, reassembly);
		return false;
	}
	head = ip4 ? finish_4(reassembly, data) : finish_6(reassembly, data);
	*whole = (struct cw_frame){.pieces = 1, .length = (uint32_t)(data - head) + reassembly->total};
	whole->piece[0] = (struct cw_piece){head, whole->length};
	cw_count(core, CW_TCPIP_REASSEMBLED);
	return true;
}

/* What is wrong with a fragment by itself: IPv6 wants the sender to hear of it (RFC 8200 4.5). */
static bool may_be(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet)
{
	bool ip4 = cw_ip_is_4(&packet->source);
	uint32_t head = ip4 ? packet->at : packet->fragment_at - 40, pointer;

	if (packet->more_fragments && packet->length % 8)
		pointer = 4;
	else if (head + packet->fragment_offset + packet->length > CW_FRAME_MAX)
		pointer = packet->fragment_at + 2;
	else
		return packet->length && packet->at <= HEAD_ROOM;
	if (!ip4)
		cw_icmp_problem(core, frame, packet, CW_PROBLEM_FIELD, pointer);
	return false;
}

struct cw_reassembly *cw_reassembly_input(struct cw_tcpip *core, const struct cw_frame *frame, const struct cw_packet *packet,
					  struct cw_frame *whole)
{
	struct cw_reassembly *reassembly;
	uint32_t from = packet->fragment_offset;
	unsigned char *data;

	cw_count(core, CW_TCPIP_FRAGMENTS);
	if (!core->reassemblies.pool.limit)
		return NULL;
	if (!may_be(core, frame, packet)) {
		cw_count(core, CW_TCPIP_MALFORMED);
		return NULL;
	}
	reassembly = find(core, packet);
	data = data_of(&core->reassemblies, reassembly);
	if (reassembly->condemned || !place(core, reassembly, data, frame, packet))
		return NULL;
	starts_of(data)[from / 64] |= (unsigned char)(1u << from / 8 % 8);
	cw_frame_copy(frame, packet->at, data + from, packet->length);
	reassembly->ecn |= (uint8_t)(1u << packet->ecn);
	if (from == 0) {
		keep_head(reassembly, data, frame, packet);
		/* RFC 7112: what says who it is for mustn't be hidden in a later one. */
		if (!cw_ip_is_4(&packet->source) && !cw_ip6_chain_is_whole(data, packet->length, packet->protocol)) {
			condemn(core, reassembly);
			cw_icmp_problem(core, frame, packet, CW_PROBLEM_FIRST_FRAGMENT, 0);
			return NULL;
		}
	}
	if (!reassembly->total || reassembly->ranges != 1 || reassembly->range[0].from || reassembly->range[0].to != reassembly->total)
		return NULL;
	return finish(core, reassembly, data, whole) ? reassembly : NULL;
}

/* RFC 1122 3.3.2, 4443 3.3: the sender is told if the first fragment is there, which says who it was for. */
void cw_reassembly_expired(struct cw_tcpip *core, struct cw_reassembly *reassembly)
{
	unsigned char *data = data_of(&core->reassemblies, reassembly);
	struct cw_frame frame = {.pieces = 1, .length = reassembly->head + reassembly->first_length};
	struct cw_packet packet = {.source = reassembly->key.source, .destination = reassembly->key.destination};

	if (!reassembly->condemned)
		cw_count(core, CW_TCPIP_REASSEMBLY_TIMEOUTS);
	if (reassembly->head && !reassembly->condemned) {
		bool ip4 = cw_ip_is_4(&packet.source);

		frame.piece[0] = (struct cw_piece){data - reassembly->head, frame.length};
		if ((ip4 ? cw_ip4_parse : cw_ip6_parse)(frame.piece[0].at, frame.length, frame.length, &packet))
			cw_icmp_error(core, &frame, &packet, ip4 ? 11 : 3, 1, 0);
	}
	cw_reassembly_free(core, reassembly);
}
