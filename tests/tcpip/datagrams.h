/* clang-format off */
/*
 * The language of scenarios for what isn't TCP: packets in and out, a line each, told by words. A word is KEY=VALUE or a flag. Of a packet
 * out only the words that are named are compared. Numbers are decimal, or hexadecimal with 0x; times are in milliseconds.
 *
 *	== RFC 791 3.2: name	a scenario begins: a new core
 *	set NAME VALUE		before anything else: a member of the configuration
 *	own ADDRESS/PREFIX [probe] | disown ADDRESS | router ADDRESS
 *	< WORD...		a packet comes
 *	> WORD... | > none	the next packet out is like this; nothing is sent
 *	+ MS [none]		time passes; "none": and nothing is sent meanwhile
 *	counter NAME N
 *	open NAME ENDPOINT [reuse] [only6] [broadcast] [fragment] [merged] [joined] [noloop] [ttl=] [gttl=] [tos=] [truncate=] [ring=]
 *	connect NAME ENDPOINT [from=ADDRESS] | disconnect NAME | close NAME
 *	duplicate ADDRESS	somebody else has it
 *	send NAME content=N@O [to=ENDPOINT] [from=ADDRESS] [segment=] [ttl=] [tos=]
 *	broken NAME hex=BYTES [written=N] | broken NAME read=N	a record of these bytes, or an index, that can't be
 *	recv NAME WORD... | recv NAME none	the next datagram: from= local= content= datagram= segment= ttl= tos=
 *	event NAME WORD...	readable error=NUMBER refused=NUMBER sent=N dropped[=N] gone: these came since the last such line, no others but writable
 *	filter NAME GROUP include|exclude [ADDRESS...] [sources=N [net=M]] [fails=NUMBER]	N made-up ones
 *
 * IP:	src= dst= ttl= tos= id= df mf off= take= (of the message, this many bytes from `off` on) proto= length= (of the packet) alert badsum
 *	hop=HEX options=HEX inner=HEX (extension headers, the last one behind a fragment header) pad=N cut=N version=N
 *	segment= partial valid (the frame's properties) pieces=N, the first one first=N
 * UDP:	udp sport= dport= ulen= sum=none|bad|good|partial
 * ICMP: icmp type= code= word= sum=bad|good; in: quote=N, bytes of the last packet out behind it; out: quotes=N, bytes of a packet in
 * IGMP, MLD: igmp|mld type= code= group= [v3] [suppress] [qrv=] [qqic=] [sources=A,B]; out: record=KIND:GROUP:A,B for each record
 * ND:	nd type= target= flags= sll= tll= ; ARP: arp op= sha= spa= tha= tpa=; Ethernet: esrc= edst=
 * What follows: content=N@O, N bytes of a pattern from O on; hex=BYTES
 */
/* clang-format on */
#ifndef CW_TESTS_TCPIP_DATAGRAMS_H
#define CW_TESTS_TCPIP_DATAGRAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "transport/tcpip/tcpip.h"

#define MOST_WORDS  64u
#define MOST_BYTES  70000u
#define KEPT        32u
#define KEPT_LENGTH 1400u

struct words {
	unsigned count;
	char *word[MOST_WORDS];
	char text[2048];
};

struct bytes {
	uint32_t length;
	unsigned char at[MOST_BYTES];
};

/* Heads of the packets that came, for what quotes them. */
struct kept {
	uint32_t length;
	unsigned char at[KEPT_LENGTH];
};

struct wire {
	bool ethernet;
	struct bytes last; /* out, without link header */
	struct kept kept[KEPT];
	unsigned next_kept;
};

void words_split(struct words *words, const char *line);
/* The value of KEY=VALUE; NULL: there is none. */
const char *words_value(const struct words *words, const char *key);
bool words_has(const struct words *words, const char *flag);
uint32_t words_number(const struct words *words, const char *key, uint32_t otherwise);

bool parse_address(const char *text, struct cw_ip_address *address);
bool parse_endpoint(const char *text, struct cw_ip_endpoint *end); /* 10.0.0.1:7, [fd00::1]:7 */
void name_address(const struct cw_ip_address *address, char text[64]);
bool parse_mac(const char *text, unsigned char mac[6]);
unsigned char pattern(uint32_t at);
/* Are these N bytes of the pattern from O on, by "N@O"? */
bool content_is(const unsigned char *at, uint32_t length, const char *wanted);
/* The bytes of "N@O", or of `hex=`. */
uint32_t content_of(const struct words *words, unsigned char *at);

/* A packet as the words say, in a frame; false: they can't be understood. */
bool packet_build(struct wire *wire, const struct words *words, struct bytes *packet, struct cw_frame *frame);
/* Words for a frame that came out; its payload in `*payload`. */
bool packet_describe(struct wire *wire, const struct cw_frame *frame, struct words *words, struct bytes *payload);

#endif
