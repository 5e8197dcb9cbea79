/* datagrams FILE...: runs the scenarios of datagrams.h's language. */
#include "datagrams.h"
#include "datagrams_socket.h"
#include "scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
	struct cw_tcpip *core;
	void *memory;
	struct cw_tcpip_config config;
	struct wire wire;
	struct udp_ends sockets;
	uint64_t now;
	char why[4096];
};

static void new_test(void *context)
{
	struct test *test = context;

	free(test->memory);
	udp_ends_free(&test->sockets);
	memset(test, 0, sizeof(*test));
	test->config = (struct cw_tcpip_config){.connections = 2,
						.replies = 8,
						.mtu = 1500,
						.addresses = 8,
						.control_bytes = 1 << 18,
						.reassemblies = 8,
						.reassemblies_a_source = 4,
						.path_mtus = 4,
						.udp_sockets = 8,
						.memberships = 16,
						.groups = 16,
						.link_address = {2, 0, 0, 0, 0, 1},
						.neighbours = 8,
						.neighbour_packets = 8};
	for (unsigned i = 0; i < 32; i++)
		test->config.secret[i] = (uint8_t)(i * 37);
	test->now = 5000000;
}

/* The core is made when it is needed first, by what was set until then. */
static void begin(struct test *test)
{
	if (test->core)
		return;
	test->memory = aligned_alloc(64, (cw_tcpip_size(&test->config) + 63) & ~(size_t)63);
	if (!test->memory)
		abort();
	memset(test->memory, 0, cw_tcpip_size(&test->config));
	test->core = cw_tcpip_init(test->memory, &test->config, test->now);
	test->sockets.core = test->core;
	test->wire.ethernet = test->config.link == CW_LINK_ETHERNET;
}

static bool set(struct test *test, const char *name, uint32_t value)
{
	static const struct {
		const char *name;
		size_t offset, size;
	} members[] = {
#define MEMBER(member) {#member, offsetof(struct cw_tcpip_config, member), sizeof(((struct cw_tcpip_config *)NULL)->member)}
		MEMBER(mtu),       MEMBER(frame_max),   MEMBER(checksum_offload), MEMBER(control_bytes),
		MEMBER(addresses), MEMBER(icmp_rate),   MEMBER(reassemblies),     MEMBER(reassemblies_a_source),
		MEMBER(path_mtus), MEMBER(udp_sockets), MEMBER(udp_segmentation), MEMBER(memberships),
		MEMBER(groups),    MEMBER(link),        MEMBER(neighbours),       MEMBER(neighbour_packets),
#undef MEMBER
	};

	for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (strcmp(name, members[i].name) == 0) {
			memcpy((char *)&test->config + members[i].offset, &value, members[i].size);
			return !test->core;
		}
	return false;
}

static bool input(struct test *test, const struct words *words)
{
	static struct bytes packet;
	struct cw_frame frame;
	unsigned char *exact;

	if (!packet_build(&test->wire, words, &packet, &frame))
		return false;
	exact = malloc(packet.length + 1); /* of its own, so that a byte too far is seen */
	if (!exact)
		abort();
	memcpy(exact, packet.at, packet.length);
	for (uint32_t i = 0; i < frame.pieces; i++)
		frame.piece[i].at = exact + (frame.piece[i].at - packet.at);
	cw_tcpip_input(test->core, &frame, test->now);
	free(exact);
	return true;
}

static void append(char *text, size_t size, const struct words *words, const struct bytes *payload)
{
	size_t used = strlen(text);

	for (unsigned i = 0; i < words->count && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, " %s", words->word[i]);
	if (used < size)
		snprintf(text + used, size - used, ", %u bytes behind that", payload->length);
}

/* Each word that is wanted is one of those that are, or is true of the payload. */
static bool all_are(struct test *test, const struct words *wanted, unsigned from, const struct words *words, const struct bytes *payload)
{
	for (unsigned i = from; i < wanted->count; i++) {
		const char *word = wanted->word[i];
		bool good;

		if (strncmp(word, "content=", 8) == 0)
			good = content_is(payload->at, payload->length, word + 8);
		else
			good = words_has(words, word);
		if (good)
			continue;
		snprintf(test->why, sizeof(test->why), "%s isn't true of", word);
		append(test->why, sizeof(test->why), words, payload);
		return false;
	}
	return true;
}

static bool expect(struct test *test, const struct words *wanted)
{
	static struct bytes payload;
	unsigned char header[CW_HEADER_ROOM];
	struct words words;
	struct cw_frame frame;
	bool none = words_has(wanted, "none");

	if (!cw_tcpip_output(test->core, &frame, header, test->now)) {
		snprintf(test->why, sizeof(test->why), "nothing is sent");
		return none;
	}
	if (!packet_describe(&test->wire, &frame, &words, &payload)) {
		snprintf(test->why, sizeof(test->why), "a frame that can't be:");
		append(test->why, sizeof(test->why), &words, &payload);
		return false;
	}
	if (none) {
		snprintf(test->why, sizeof(test->why), "sent:");
		append(test->why, sizeof(test->why), &words, &payload);
		return false;
	}
	return all_are(test, wanted, 1, &words, &payload);
}

/* Time passes; timers run when they are due. */
static bool pass(struct test *test, uint64_t ms, bool silent)
{
	uint64_t until = test->now + ms * 1000;
	struct words none = {.count = 2, .word = {(char *)(uintptr_t) ">", (char *)(uintptr_t) "none"}};

	while (cw_tcpip_timer(test->core) <= until) {
		test->now = cw_tcpip_timer(test->core);
		cw_tcpip_advance(test->core, test->now);
		if (silent && !expect(test, &none))
			return false;
	}
	test->now = until;
	cw_tcpip_advance(test->core, until);
	return !silent || expect(test, &none);
}

static bool check_counter(struct test *test, const char *name, uint64_t wanted)
{
	static const char *const names[] = {
#define CW_COUNTER(name, text) #name,
#include "transport/tcpip/counters.def"
#undef CW_COUNTER
	};

	for (int i = 0; i < CW_TCPIP_COUNTERS; i++)
		if (strcmp(name, names[i]) == 0) {
			snprintf(test->why, sizeof(test->why), "%s: %llu", name, (unsigned long long)cw_tcpip_counter(test->core, i));
			return cw_tcpip_counter(test->core, i) == wanted;
		}
	return false;
}

static bool own(struct test *test, const struct words *words)
{
	char copy[80], *slash;
	struct cw_ip_address address;

	snprintf(copy, sizeof(copy), "%s", words->word[1]);
	slash = strchr(copy, '/');
	if (!slash)
		return false;
	*slash = 0;
	return parse_address(copy, &address) &&
	       cw_tcpip_own(test->core, &address, (unsigned)strtoul(slash + 1, NULL, 0), words_has(words, "probe"), test->now);
}

static bool run_words(struct test *test, const struct words *words)
{
	const char *verb = words->word[0], *argument = words->count > 1 ? words->word[1] : "";
	struct cw_ip_address address;
	bool known, good;

	snprintf(test->why, sizeof(test->why), "the line isn't understood");
	if (strcmp(verb, "set") == 0)
		return words->count == 3 && set(test, argument, (uint32_t)strtoul(words->word[2], NULL, 0));
	begin(test);
	good = udp_line(&test->sockets, words, test->now, test->why, sizeof(test->why), &known);
	if (known)
		return good;
	if (strcmp(verb, "<") == 0)
		return input(test, words);
	if (strcmp(verb, ">") == 0)
		return expect(test, words);
	if (strcmp(verb, "+") == 0)
		return pass(test, strtoull(argument, NULL, 0), words_has(words, "none"));
	if (strcmp(verb, "own") == 0)
		return own(test, words);
	if (strcmp(verb, "counter") == 0)
		return words->count == 3 && check_counter(test, argument, strtoull(words->word[2], NULL, 0));
	if (!parse_address(argument, &address))
		return false;
	if (strcmp(verb, "disown") == 0)
		cw_tcpip_disown(test->core, &address);
	else if (strcmp(verb, "router") == 0)
		cw_tcpip_set_router(test->core, &address);
	else if (strcmp(verb, "duplicate") == 0)
		return cw_tcpip_duplicate(test->core, &address);
	else
		return false;
	return true;
}

static const char *step(void *context, const char *line)
{
	struct test *test = context;
	struct words words;

	words_split(&words, line);
	return run_words(test, &words) ? NULL : test->why;
}

int main(int argc, char **argv)
{
	struct test *test = calloc(1, sizeof(*test));
	struct scenarios scenarios = {"datagrams", new_test, step, test};
	unsigned bad;

	if (!test)
		return 1;
	bad = scenarios_run(&scenarios, argc - 1, argv + 1);
	free(test->memory);
	udp_ends_free(&test->sockets);
	free(test);
	return bad != 0;
}
