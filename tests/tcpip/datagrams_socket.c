/* What programs do with UDP sockets. */
#include "datagrams_socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct udp_end *end_of(struct udp_ends *ends, const char *name)
{
	for (unsigned i = 0; i < SOCKETS; i++)
		if (ends->end[i].udp && strcmp(ends->end[i].name, name) == 0)
			return &ends->end[i];
	return NULL;
}

static void take_events(struct udp_ends *ends)
{
	struct cw_udp_event event;

	while (cw_udp_event(ends->core, &event)) {
		struct udp_end *end = event.owner;

		end->events |= event.events;
		end->received = event.received;
		end->sent = event.sent;
		end->dropped = event.dropped;
		end->error = event.error ? event.error : end->error;
		end->refusal = event.refusal ? event.refusal : end->refusal;
	}
}

static bool open_end(struct udp_ends *ends, const struct words *words)
{
	struct cw_udp_settings settings = {.reuse = words_has(words, "reuse"),
					   .only_ip6 = words_has(words, "only6"),
					   .broadcast = words_has(words, "broadcast"),
					   .fragment = words_has(words, "fragment"),
					   .merged = words_has(words, "merged"),
					   .only_joined = words_has(words, "joined"),
					   .no_loop = words_has(words, "noloop"),
					   .hop_limit = (uint8_t)words_number(words, "ttl", 0),
					   .group_hop_limit = (uint8_t)words_number(words, "gttl", 0),
					   .traffic_class = (uint8_t)words_number(words, "tos", 0),
					   .truncate = words_number(words, "truncate", 0)};
	struct cw_udp_rings rings;
	struct cw_ip_endpoint local;
	struct udp_end *end = NULL;

	for (unsigned i = 0; i < SOCKETS && !end; i++)
		if (!ends->end[i].size)
			end = &ends->end[i];
	if (!end || words->count < 3 || !parse_endpoint(words->word[2], &local))
		return false;
	end->size = words_number(words, "ring", 1 << 17);
	end->send = aligned_alloc(64, end->size);
	end->receive = aligned_alloc(64, end->size);
	snprintf(end->name, sizeof(end->name), "%s", words->word[1]);
	rings = (struct cw_udp_rings){end->send, end->size, end->receive, end->size, end};
	end->udp = cw_udp_open(ends->core, &local, &rings, &settings);
	if (!end->udp) {
		free(end->send);
		free(end->receive);
		memset(end, 0, sizeof(*end));
	}
	return (end->udp != NULL) != words_has(words, "fails");
}

static void put_in_ring(struct udp_end *end, uint64_t at, const unsigned char *bytes, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		end->send[(at + i) & (end->size - 1)] = bytes[i];
}

static bool send_datagram(struct udp_end *end, const struct words *words, uint64_t now)
{
	static unsigned char bytes[MOST_BYTES];
	struct cw_udp_record record = {.length = content_of(words, bytes),
				       .segment_size = (uint16_t)words_number(words, "segment", 0),
				       .hop_limit = (uint8_t)words_number(words, "ttl", 0),
				       .traffic_class = (uint8_t)words_number(words, "tos", CW_UDP_DEFAULT_CLASS)};
	struct cw_ip_endpoint to = {.port = 0};

	if (words_value(words, "to") && !parse_endpoint(words_value(words, "to"), &to))
		return false;
	if (words_value(words, "from") && !parse_address(words_value(words, "from"), &record.local))
		return false;
	record.remote = to.address;
	record.remote_port = to.port;
	put_in_ring(end, end->written, (const unsigned char *)&record, sizeof(record));
	put_in_ring(end, end->written + sizeof(record), bytes, record.length);
	end->written += cw_udp_record_space(record.length);
	cw_udp_written(end->udp, end->written, now);
	return true;
}

static void say_record(const struct udp_end *end, const struct cw_udp_record *record, char text[8][80], struct words *words)
{
	char name[64];

	(void)end;
	words->count = 0;
	name_address(&record->remote, name);
	snprintf(text[0], 80, strchr(name, ':') ? "from=[%s]:%u" : "from=%s:%u", name, record->remote_port);
	name_address(&record->local, name);
	snprintf(text[1], 80, "local=%s", name);
	snprintf(text[2], 80, "datagram=%u", record->datagram);
	snprintf(text[3], 80, "segment=%u", record->segment_size);
	snprintf(text[4], 80, "ttl=%u", record->hop_limit);
	snprintf(text[5], 80, "tos=%u", record->traffic_class);
	while (words->count < 6) {
		words->word[words->count] = text[words->count];
		words->count++;
	}
}

static bool receive(struct udp_end *end, const struct words *words, uint64_t now, char *why, size_t size)
{
	static unsigned char bytes[MOST_BYTES];
	struct cw_udp_record record;
	struct words is;
	char text[8][80];

	if (end->read == end->received) {
		snprintf(why, size, "nothing was received");
		return words_has(words, "none");
	}
	memcpy(&record, end->receive + (end->read & (end->size - 1)), sizeof(record));
	say_record(end, &record, text, &is);
	snprintf(why, size, "%s %s %s %s %s %s, %u bytes", text[0], text[1], text[2], text[3], text[4], text[5], record.length);
	if (record.length > sizeof(bytes) || words_has(words, "none"))
		return false;
	for (uint32_t i = 0; i < record.length; i++)
		bytes[i] = end->receive[(end->read + sizeof(record) + i) & (end->size - 1)];
	end->read += cw_udp_record_space(record.length);
	if (!words_has(words, "keep"))
		cw_udp_read(end->udp, end->read, now);
	for (unsigned i = 2; i < words->count; i++) {
		const char *word = words->word[i];

		if (strcmp(word, "keep") == 0)
			continue;
		if (strncmp(word, "content=", 8) == 0 ? !content_is(bytes, record.length, word + 8) : !words_has(&is, word))
			return false;
	}
	return true;
}

static bool check_events(struct udp_end *end, const struct words *words, char *why, size_t size)
{
	static const char *const names[] = {"readable", "writable", "error", "dropped", "refused", "gone"};
	unsigned wanted = 0, is = end->events & ~(unsigned)CW_UDP_WRITABLE;
	int error = (int)words_number(words, "error", 0), refusal = (int)words_number(words, "refused", 0);
	uint64_t sent = words_number(words, "sent", (uint32_t)end->sent), dropped = words_number(words, "dropped", (uint32_t)end->dropped);

	for (unsigned i = 0; i < 6; i++)
		if (i != 1 && (words_has(words, names[i]) || words_value(words, names[i])))
			wanted |= 1u << i;
	snprintf(why, size, "events 0x%x, wanted 0x%x, error %d, refused %d, sent %llu, dropped %llu", is, wanted, end->error, end->refusal,
		 (unsigned long long)end->sent, (unsigned long long)end->dropped);
	if (is != wanted || end->error != error || end->refusal != refusal || end->sent != sent || end->dropped != dropped)
		return false;
	end->events = 0;
	end->error = end->refusal = 0;
	return true;
}

static bool filter(struct udp_end *end, const struct words *words, uint64_t now, char *why, size_t size)
{
	struct cw_ip_address group, sources[2 * MOST_WORDS];
	uint32_t count = 0, made = words_number(words, "sources", 0);
	bool exclude = words_has(words, "exclude");
	int result;

	if (words->count < 4 || !parse_address(words->word[2], &group))
		return false;
	for (unsigned i = 4; i < words->count; i++)
		if (parse_address(words->word[i], &sources[count]))
			count++;
	for (uint32_t i = 0; i < made && count < 2 * MOST_WORDS; i++) {
		sources[count] = group;
		sources[count].octet[12] = 10;
		sources[count].octet[15] = (uint8_t)i;
		sources[count++].octet[14] = (uint8_t)words_number(words, "net", 0);
	}
	result = cw_udp_filter(end->udp, &group, exclude, sources, count, now);
	snprintf(why, size, "it says %d", result);
	return result == (int)words_number(words, "fails", 0);
}

static bool broken(struct udp_end *end, const struct words *words, uint64_t now)
{
	static unsigned char bytes[MOST_BYTES];
	uint32_t length = content_of(words, bytes);

	put_in_ring(end, end->written, bytes, length);
	end->written += (uint64_t)(int32_t)words_number(words, "written", 64);
	if (words_value(words, "read"))
		cw_udp_read(end->udp, words_number(words, "read", 0), now);
	else
		cw_udp_written(end->udp, end->written, now);
	return true;
}

static bool connect_end(struct udp_end *end, const struct words *words)
{
	struct cw_ip_endpoint remote;
	struct cw_ip_address from;
	bool has_from = words_value(words, "from");

	if (words->count < 3 || !parse_endpoint(words->word[2], &remote) || (has_from && !parse_address(words_value(words, "from"), &from)))
		return false;
	return cw_udp_connect(end->udp, has_from ? &from : NULL, &remote) != words_has(words, "fails");
}

bool udp_line(struct udp_ends *ends, const struct words *words, uint64_t now, char *why, size_t size, bool *known)
{
	static const char *const verbs[] = {"open", "connect", "disconnect", "close", "send", "recv", "event", "filter", "broken"};
	const char *verb = words->word[0];
	struct udp_end *end;

	*known = false;
	for (unsigned i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		*known |= strcmp(verb, verbs[i]) == 0;
	if (!*known || words->count < 2)
		return false;
	take_events(ends);
	if (strcmp(verb, "open") == 0)
		return open_end(ends, words);
	end = end_of(ends, words->word[1]);
	if (!end)
		return false;
	if (strcmp(verb, "event") == 0)
		return check_events(end, words, why, size);
	if (strcmp(verb, "recv") == 0)
		return receive(end, words, now, why, size);
	if (end->events & CW_UDP_GONE)
		return false;
	if (strcmp(verb, "connect") == 0)
		return connect_end(end, words);
	if (strcmp(verb, "disconnect") == 0)
		return cw_udp_connect(end->udp, NULL, NULL);
	if (strcmp(verb, "send") == 0)
		return send_datagram(end, words, now);
	if (strcmp(verb, "filter") == 0)
		return filter(end, words, now, why, size);
	if (strcmp(verb, "broken") == 0)
		return broken(end, words, now);
	cw_udp_close(end->udp, now);
	return true;
}

void udp_ends_free(struct udp_ends *ends)
{
	for (unsigned i = 0; i < SOCKETS; i++) {
		free(ends->end[i].send);
		free(ends->end[i].receive);
	}
	memset(ends, 0, sizeof(*ends));
}
