/* Segments of conformance scenarios: read from a line, sent to the core, and compared with what it sends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"
#include "script_link.h"
#include "transport/tcpip/checksum.h"
#include "transport/tcpip/packet.h"
#include "transport/tcpip/tcp_options.h"

#define LINK 16u /* room for a link header */

static const char letters[] = "FSRPAUEC";

static unsigned flags_of(const char *word)
{
	unsigned flags = 0;

	for (; *word; word++) {
		const char *letter = strchr(letters, *word);

		if (!letter)
			return 0x1000;
		flags |= 1u << (letter - letters);
	}
	return flags;
}

static uint32_t next_number(void)
{
	char *word = strtok(NULL, " \t");

	return word ? (uint32_t)strtoul(word, NULL, 0) : 0;
}

static void parse_sacks(struct wanted *wanted)
{
	char *word;

	while (wanted->sacks < 4 && (word = strtok(NULL, " \t"))) {
		char *end;

		wanted->sack[wanted->sacks].start = (uint32_t)strtoul(word, &end, 0);
		wanted->sack[wanted->sacks++].end = (uint32_t)strtoul(end + 1, NULL, 0);
	}
}

static void parse_stamps(struct wanted *wanted)
{
	char *word;

	wanted->has_stamp = true;
	wanted->stamp = next_number();
	word = strtok(NULL, " \t");
	wanted->echo_last = word && strcmp(word, "echo") == 0;
	wanted->echo_first = word && strcmp(word, "first") == 0;
	wanted->echo = word && !wanted->echo_last && !wanted->echo_first ? (uint32_t)strtoul(word, NULL, 0) : 0;
}

/* Bytes in hexadecimal digits, which may be parted by points. */
static bool parse_bytes(struct wanted *wanted)
{
	char *word = strtok(NULL, " \t");

	while (word && *word && wanted->ip_bytes < sizeof(wanted->ip)) {
		char digits[3] = {word[0], word[1], 0}, *end;

		wanted->ip[wanted->ip_bytes++] = (unsigned char)strtoul(digits, &end, 16);
		if (end != digits + 2)
			return false;
		word += word[2] == '.' ? 3 : 2;
	}
	return word && !*word;
}

/* Words on what lies below TCP. */
static bool parse_ip(struct wanted *wanted, const char *word)
{
	if (strcmp(word, "ip") == 0)
		return parse_bytes(wanted);
	if (strcmp(word, "next") == 0)
		wanted->next = next_number() | 0x100;
	else if (strcmp(word, "version") == 0)
		wanted->version = next_number();
	else if (strcmp(word, "total") == 0)
		wanted->total = (int)next_number();
	else if (strcmp(word, "pad") == 0)
		wanted->pad = next_number();
	else if (strcmp(word, "badsum") == 0)
		wanted->bad_sum = true;
	else if (strcmp(word, "badipsum") == 0)
		wanted->bad_ip_sum = true;
	else if (strcmp(word, "ect") == 0)
		wanted->ect = true;
	else if (strcmp(word, "noect") == 0)
		wanted->no_ect = true;
	else if (strcmp(word, "df") == 0)
		wanted->df = true;
	else
		return false;
	return true;
}

/* The line behind < or >. SACK blocks come last. */
bool wanted_parse(char *line, struct wanted *wanted)
{
	char *word = strtok(line, " \t"), *end;

	*wanted = (struct wanted){.window = 65535, .none = word && strcmp(word, "none") == 0};
	if (!word || wanted->none)
		return word;
	wanted->flags = flags_of(word);
	word = strtok(NULL, " \t");
	if (wanted->flags & 0x1000 || !word)
		return false;
	wanted->seq = (uint32_t)strtol(word, &end, 0);
	if (*end == '(')
		wanted->bytes = (uint32_t)strtoul(end + 1, NULL, 0);
	while ((word = strtok(NULL, " \t"))) {
		if (strcmp(word, "ack") == 0) {
			wanted->has_ack = true;
			wanted->ack = next_number();
		} else if (strcmp(word, "win") == 0) {
			wanted->has_window = true;
			wanted->window = next_number();
		} else if (strcmp(word, "mss") == 0) {
			wanted->has_mss = true;
			wanted->mss = next_number();
		} else if (strcmp(word, "ws") == 0) {
			wanted->has_scale = true;
			wanted->scale = next_number();
		} else if (strcmp(word, "sackok") == 0) {
			wanted->has_sackok = true;
		} else if (strcmp(word, "ts") == 0) {
			parse_stamps(wanted);
		} else if (strcmp(word, "uto") == 0) {
			wanted->user_timeout = next_number();
		} else if (strcmp(word, "urg") == 0) {
			wanted->has_urgent = true;
			wanted->urgent = next_number();
		} else if (strcmp(word, "ce") == 0) {
			wanted->mark = true;
		} else if (strcmp(word, "sack") == 0) {
			parse_sacks(wanted);
		} else if (!parse_ip(wanted, word)) {
			return false;
		}
	}
	return true;
}

struct cw_ip_address script_address(const struct script *script, unsigned host)
{
	struct cw_ip_address made = {{0}};

	if (script->ip6)
		made.octet[0] = 0xfd;
	else
		made.octet[10] = made.octet[11] = 0xff, made.octet[12] = 10;
	made.octet[15] = (uint8_t)host;
	return made;
}

static struct cw_ip_endpoint end_of(const struct script *script, unsigned host, uint16_t port)
{
	return (struct cw_ip_endpoint){script_address(script, host), port};
}

void script_open(struct script *script)
{
	struct cw_ip_endpoint ours = end_of(script, 1, 80), theirs = end_of(script, 2, 4000);
	struct cw_tcp_rings rings = {script->send, script->send_size, script->receive, script->receive_size, script};

	for (unsigned i = 0; i < 32; i++)
		script->config.secret[i] = (uint8_t)(i * 7 + 1);
	script->settings.receive_size = script->receive_size;
	script->memory = aligned_alloc(64, (cw_tcpip_size(&script->config) + 63) & ~63ull);
	if (!script->memory)
		abort();
	memset(script->memory, 0, cw_tcpip_size(&script->config));
	script->core = cw_tcpip_init(script->memory, &script->config, script->now);
	if (script->config.link)
		script_link_begin(script);
	script->their_isn = 0xffffff00; /* their numbers wrap soon */
	script->port = 4000;
	if (script->opened) {
		script->connection = cw_tcp_connect(script->core, &ours, &theirs, &rings, &script->settings, script->now);
		return;
	}
	script->listener = cw_tcp_listen(script->core, &ours, &script->settings);
	for (uint32_t i = 0; i < script->supply; i++)
		cw_tcp_supply(script->listener, &rings);
}

static uint32_t options_of(const struct script *script, const struct wanted *segment, unsigned char *at)
{
	struct cw_tcp_options options = {.mss = (uint16_t)segment->mss,
					 .has_window_scale = segment->has_scale,
					 .window_scale = (uint8_t)segment->scale,
					 .sack_permitted = segment->has_sackok,
					 .has_timestamp = segment->has_stamp,
					 .user_timeout = segment->user_timeout,
					 .timestamp = segment->stamp,
					 .echo = segment->echo_last    ? script->stamp
						 : segment->echo_first ? script->first_stamp
								       : segment->echo};
	struct cw_sack_range range[4];
	uint32_t length = 0;

	if (segment->flags & CW_SYN && segment->has_mss)
		return cw_tcp_options_put_syn(at, &options);
	if (segment->has_stamp)
		length = cw_tcp_options_put_timestamps(at, options.timestamp, options.echo);
	if (segment->user_timeout)
		length += cw_tcp_options_put_user_timeout(at + length, segment->user_timeout);
	for (uint32_t i = 0; i < segment->sacks; i++)
		range[i] = (struct cw_sack_range){script->isn + segment->sack[i].start, script->isn + segment->sack[i].end};
	return segment->sacks ? length + cw_tcp_options_put_sack(at + length, range, segment->sacks) : length;
}

/* Another connection of the same core, to this port; the numbers of lines to come are its own. */
void script_connect(struct script *script, uint16_t port)
{
	struct cw_ip_endpoint ours = end_of(script, 1, 80), theirs = end_of(script, 2, port);
	struct cw_tcp_rings rings = {script->send, script->send_size, script->receive, script->receive_size, script};

	script->written = script->read = script->received = script->acknowledged = 0;
	script->gone = script->knows_isn = false;
	script->port = port;
	script->connection = cw_tcp_connect(script->core, &ours, &theirs, &rings, &script->settings, script->now);
}

static void feed(struct script *script, unsigned char *packet, uint32_t length)
{
	struct cw_frame frame = {.pieces = 1};

	frame.length = script->config.link ? script_link_put(script, packet, length) : length;
	frame.piece[0] = (struct cw_piece){packet + length - frame.length, frame.length};
	cw_tcpip_input(script->core, &frame, script->now);
}

/* What the line says of the IP header: options or extension headers, which the TCP header has been moved behind, and what is wrong. */
static void change_ip(const struct script *script, const struct wanted *segment, unsigned char *packet, uint32_t length)
{
	uint16_t sum;

	if (segment->next)
		packet[script->ip6 ? 6 : 9] = (unsigned char)segment->next;
	if (segment->version)
		packet[0] = (unsigned char)(segment->version << 4 | (packet[0] & 15));
	if (script->ip6) {
		cw_put16(packet + 4, (uint32_t)((int)(length - 40) + segment->total));
		return;
	}
	packet[0] = (unsigned char)((packet[0] & 0xf0) | (20 + segment->ip_bytes) / 4);
	cw_put16(packet + 2, (uint32_t)((int)length + segment->total));
	cw_put16(packet + 10, 0);
	sum = (uint16_t)~cw_checksum_fold(cw_checksum_add(0, packet, 20 + segment->ip_bytes, 0));
	memcpy(packet + 10, &sum, 2);
	if (segment->bad_ip_sum)
		packet[11] ^= 1;
}

void script_input(struct script *script, const struct wanted *segment)
{
	static unsigned char bytes[LINK + 65536];
	struct cw_ip_address ours = script_address(script, 1), theirs = script_address(script, 2);
	uint32_t ip = script->ip6 ? 40 : 20, options, length;
	unsigned char *packet = bytes + LINK, *tcp = packet + ip + segment->ip_bytes;
	uint16_t sum;

	options = options_of(script, segment, tcp + 20);
	length = 20 + options + segment->bytes;
	cw_ip_header(packet, &theirs, &ours, CW_PROTOCOL_TCP, length, segment->mark ? CW_ECN_CE : 0, 1, 64);
	memcpy(packet + ip, segment->ip, segment->ip_bytes);
	cw_put16(tcp, script->port);
	cw_put16(tcp + 2, 80);
	cw_put32(tcp + 4, script->their_isn + segment->seq);
	cw_put32(tcp + 8, segment->has_ack ? script->isn + segment->ack : 0);
	tcp[12] = (unsigned char)((20 + options) / 4 << 4);
	tcp[13] = (unsigned char)segment->flags;
	cw_put16(tcp + 14, segment->window);
	cw_put32(tcp + 16, segment->urgent);
	for (uint32_t i = 0; i < segment->bytes; i++)
		tcp[20 + options + i] = (unsigned char)((segment->seq - 1 + i) * 7);
	sum = (uint16_t)~cw_checksum_fold(cw_checksum_add(cw_checksum_pseudo(&theirs, &ours, CW_PROTOCOL_TCP, length), tcp, length, 0));
	memcpy(tcp + 16, &sum, 2);
	if (segment->bad_sum)
		tcp[17] ^= 1;
	length += ip + segment->ip_bytes;
	change_ip(script, segment, packet, length);
	memset(packet + length, 0xee, segment->pad);
	feed(script, packet, length + segment->pad);
}

void script_icmp(struct script *script, unsigned type, unsigned code, uint32_t seq, uint32_t mtu)
{
	unsigned char bytes[LINK + 128] = {0}, *packet = bytes + LINK, *icmp;
	struct cw_ip_address ours = script_address(script, 1), theirs = script_address(script, 2), router = script_address(script, 9);
	uint8_t protocol = script->ip6 ? CW_PROTOCOL_ICMP6 : CW_PROTOCOL_ICMP;
	uint32_t ip = cw_ip_header(packet, &router, &ours, protocol, 8 + (script->ip6 ? 40 : 20) + 8, 0, 1, 64), quote;
	uint16_t sum;

	icmp = packet + ip;
	icmp[0] = (unsigned char)type;
	icmp[1] = (unsigned char)code;
	cw_put32(icmp + 4, mtu);
	quote = cw_ip_header(icmp + 8, &ours, &theirs, CW_PROTOCOL_TCP, 1020, 0, 1, 64);
	cw_put16(icmp + 8 + quote, 80);
	cw_put16(icmp + 8 + quote + 2, script->port);
	cw_put32(icmp + 8 + quote + 4, script->isn + seq);
	sum = (uint16_t)~cw_checksum_fold(
		cw_checksum_add(script->ip6 ? cw_checksum_pseudo(&router, &ours, protocol, 16 + quote) : 0, icmp, 16 + quote, 0));
	memcpy(icmp + 2, &sum, 2);
	feed(script, packet, ip + 16 + quote);
}

static void describe(const struct script *script, const struct cw_segment *segment, char *text, size_t room)
{
	size_t at = 0;

	for (unsigned i = 0; i < 8; i++)
		if (segment->flags & 1u << i)
			text[at++] = letters[i];
	at += (size_t)snprintf(text + at, room - at, " %d(%u)", (int)(segment->seq - script->isn), segment->length);
	if (segment->flags & CW_ACK)
		at += (size_t)snprintf(text + at, room - at, " ack %u", segment->ack - script->their_isn);
	at += (size_t)snprintf(text + at, room - at, " win %u", segment->window);
	for (unsigned i = 0; i < segment->options.sacks; i++)
		at += (size_t)snprintf(text + at, room - at, " sack %u-%u", segment->options.sack[i].start - script->their_isn,
				       segment->options.sack[i].end - script->their_isn);
	if (segment->options.user_timeout)
		at += (size_t)snprintf(text + at, room - at, " uto %u", segment->options.user_timeout);
	if (segment->flags & CW_SYN)
		snprintf(text + at, room - at, " mss %u", segment->options.mss);
}

static bool matches(const struct script *script, const struct wanted *wanted, const struct cw_segment *segment)
{
	const struct cw_tcp_options *options = &segment->options;
	unsigned compared = wanted->flags & CW_PSH ? 0xff : 0xff & ~CW_PSH;

	if ((segment->flags & compared) != wanted->flags || segment->length != wanted->bytes || segment->seq != script->isn + wanted->seq)
		return false;
	if (wanted->has_ack && segment->ack != script->their_isn + wanted->ack)
		return false;
	if (wanted->has_window && segment->window != wanted->window)
		return false;
	if (segment->flags & CW_SYN &&
	    ((wanted->has_mss && options->mss != wanted->mss) || wanted->has_scale != options->has_window_scale ||
	     (wanted->has_scale && options->window_scale != wanted->scale) || wanted->has_sackok != options->sack_permitted))
		return false;
	if (wanted->has_stamp != options->has_timestamp || (wanted->has_stamp && options->echo != wanted->echo))
		return false;
	if (wanted->user_timeout != options->user_timeout)
		return false;
	if (wanted->has_urgent && segment->urgent != wanted->urgent)
		return false;
	if ((wanted->mark || wanted->ect) && segment->ecn != CW_ECN_ECT0)
		return false;
	if (wanted->no_ect && segment->ecn)
		return false;
	if (wanted->df && !(segment->frame->piece[0].at[6] & 0x40))
		return false;
	if (wanted->sacks != options->sacks)
		return false;
	for (uint32_t i = 0; i < wanted->sacks; i++)
		if (options->sack[i].start != script->their_isn + wanted->sack[i].start ||
		    options->sack[i].end != script->their_isn + wanted->sack[i].end)
			return false;
	return true;
}

bool script_skip(struct script *script, uint32_t count)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_frame frame;

	for (uint32_t i = 0; i < count; i++)
		if (!cw_tcpip_output(script->core, &frame, header, script->now)) {
			snprintf(script->why, sizeof(script->why), "only %u were sent", i);
			return false;
		}
	return true;
}

bool script_expect(struct script *script, const struct wanted *wanted)
{
	unsigned char header[CW_HEADER_ROOM];
	struct cw_frame frame;
	struct cw_packet packet;
	struct cw_segment segment;
	const unsigned char *ip;
	char text[256];

	if (!cw_tcpip_output(script->core, &frame, header, script->now)) {
		snprintf(script->why, sizeof(script->why), "nothing was sent");
		return wanted->none;
	}
	if (script->config.link && !script_link_take(script, &frame)) {
		snprintf(script->why, sizeof(script->why), "what was sent isn't for the peer");
		return false;
	}
	ip = frame.piece[0].at;
	if (!(ip[0] >> 4 == 4 ? cw_ip4_parse : cw_ip6_parse)(ip, frame.piece[0].length, frame.length, &packet) ||
	    cw_segment_parse(&frame, &packet, &segment) != CW_SEGMENT_GOOD) {
		snprintf(script->why, sizeof(script->why), "what was sent can't be read");
		return false;
	}
	if (segment.flags & CW_SYN && !script->knows_isn) {
		script->knows_isn = true;
		script->isn = segment.seq;
	}
	if (segment.options.has_timestamp)
		script->stamp = segment.options.timestamp;
	if (segment.options.has_timestamp && !(segment.flags & CW_SYN) && segment.length && !script->first_stamp)
		script->first_stamp = segment.options.timestamp;
	describe(script, &segment, text, sizeof(text));
	snprintf(script->why, sizeof(script->why), "sent: %s", text);
	return !wanted->none && matches(script, wanted, &segment);
}
