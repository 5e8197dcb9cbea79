/*
 * A node of the cluster gone mad: member DIRECTORY ADDRESS SEED ROUNDS plays the node whose files are in the directory, and says what no
 * service says. Each round makes a connection and goes as far as chance has it. Ends with 0 when all rounds were played.
 * member DIRECTORY ADDRESS hold COUNT makes so many connections, says no more than HELLO, and prints how many are refused as too many.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/cluster_inside.h"
#include "node/service_between.h"

#define ANSWER_MS 1000

static struct cw_identity identity;
static struct cw_map *map;
static uint64_t seed;
static bool sane;

struct line {
	int fd;
	struct cw_noise noise;
	struct cw_cipher sending, receiving;
	unsigned char in[CW_FRAME_MOST];
	size_t have;
};

static uint64_t chance(uint64_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % below;
}

static void fill(unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)chance(256);
}

static bool put(struct line *line, const void *bytes, size_t length)
{
	const unsigned char *at = bytes;

	while (length) {
		struct pollfd look = {.fd = line->fd, .events = POLLOUT};
		ssize_t sent = send(line->fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && (errno != EAGAIN || poll(&look, 1, ANSWER_MS) <= 0))
			return false;
		if (sent > 0) {
			at += sent;
			length -= (size_t)sent;
		}
	}
	return true;
}

/* The next frame's bytes into `to`; its kind, or 0: there is none. */
static unsigned get(struct line *line, unsigned char *to, size_t *length)
{
	for (;;) {
		struct pollfd look = {.fd = line->fd, .events = POLLIN};
		struct cw_frame frame;
		ssize_t size = cw_frame_take(line->in, line->have, sizeof(line->in), &frame), got;

		if (size > 0) {
			*length = frame.length;
			memcpy(to, frame.bytes, frame.length);
			line->have -= (size_t)size;
			memmove(line->in, line->in + size, line->have);
			return frame.kind;
		}
		if (size < 0 || poll(&look, 1, ANSWER_MS) <= 0)
			return 0;
		got = recv(line->fd, line->in + line->have, sizeof(line->in) - line->have, 0);
		if (got <= 0)
			return 0;
		line->have += (size_t)got;
	}
}

static bool put_frame(struct line *line, enum cw_frame_kind kind, const unsigned char *bytes, size_t length)
{
	unsigned char head[CW_FRAME_HEAD];

	cw_frame_head(head, kind, length);
	return put(line, head, sizeof(head)) && put(line, bytes, length);
}

static bool put_record(struct line *line, uint16_t type, const void *bytes, size_t length)
{
	static unsigned char room[CW_FRAME_MOST];

	return put(line, room, cw_record_seal(&line->sending, type, bytes, length, room));
}

static bool shake_hands(struct line *line)
{
	unsigned char words[CW_FRAME_MOST], nothing[CW_FRAME_MOST], digest[16];
	size_t length;
	ssize_t size;

	cw_digest16(digest, identity.cluster, CW_KEY);
	cw_preamble_make(words, digest);
	cw_noise_begin(&line->noise, true, &identity.keys, words, CW_PREAMBLE);
	size = cw_noise_write(&line->noise, NULL, 0, words + CW_PREAMBLE);
	if (!put_frame(line, CW_FRAME_OPENING, words, CW_PREAMBLE + (size_t)size) || get(line, words, &length) != CW_FRAME_ANSWER ||
	    cw_noise_read(&line->noise, words, length, nothing) < 0)
		return false;
	size = cw_noise_write(&line->noise, NULL, 0, words);
	if (size < 0)
		return false;
	if (!sane && !chance(8))
		words[chance((uint64_t)size)] ^= 1;
	if (!put_frame(line, CW_FRAME_PROOF, words, (size_t)size))
		return false;
	cw_noise_split(&line->noise, &line->sending, &line->receiving);
	return true;
}

static void say_hello(struct line *line)
{
	struct cw_hello hello = {.map_version = map->version, .instance = chance(4), .version = "mad\033[2J"};
	unsigned char words[CW_HELLO_RECORD];

	memcpy(hello.map_hash, map->hash, sizeof(hello.map_hash));
	memcpy(hello.id, identity.id, CW_ID);
	if (!sane && !chance(6))
		hello.map_version += chance(3) - 1;
	if (!sane && !chance(8))
		fill(hello.id, CW_ID);
	cw_hello_make(words, &hello);
	put_record(line, CW_RECORD_HELLO, words, sane || chance(10) ? sizeof(words) : chance(sizeof(words)));
}

static void say_map(struct line *line)
{
	unsigned char *text = malloc(map->length);

	memcpy(text, map->text, map->length);
	if (chance(3))
		text[chance(map->length)] ^= (unsigned char)(1u << chance(8));
	put_record(line, CW_RECORD_MAP, text, chance(4) ? map->length : chance(map->length));
	free(text);
}

static void say_twice(struct line *line)
{
	unsigned char room[CW_RECORD_ROOM + 8];
	size_t length = cw_record_seal(&line->sending, CW_RECORD_PING, "12345678", 8, room);

	put(line, room, length);
	put(line, room, length);
}

/* More questions than it reads the answers of. */
static void ask_much(struct line *line)
{
	uint64_t much = chance(4) ? 100 : 60000;

	for (uint64_t i = 0; i < much && put_record(line, CW_RECORD_PING, "12345678", 8); i++)
		;
}

static void say_something(struct line *line)
{
	static unsigned char bytes[CW_RECORD_LONGEST];
	size_t length = chance(5) ? chance(300) : chance(CW_RECORD_LONGEST + 1);

	fill(bytes, length);
	switch (chance(12)) {
	case 0:
		say_map(line);
		break;
	case 1:
		say_twice(line);
		break;
	case 2:
		ask_much(line);
		break;
	case 3:
		put_frame(line, (enum cw_frame_kind)chance(256), bytes, length);
		break;
	case 4:
		put_record(line, CW_RECORD_CONFIRM, bytes, chance(2) ? 0 : length);
		break;
	case 5:
		say_hello(line);
		break;
	case 6: /* in the form of the streams' words (service_between.h) */
		length = sizeof(struct cw_between) + (chance(4) ? 0 : chance(3) * 8 - 8);
		memcpy(bytes, (uint32_t[]){CW_BETWEEN_MAGIC + CW_LAYOUT + !chance(6), (uint32_t)chance(16)}, 8);
		put_record(line, CW_BETWEEN, bytes, length);
		break;
	default:
		put_record(line, (uint16_t)(chance(2) ? chance(20) : chance(65536)), bytes, length);
	}
}

static int dial(const struct sockaddr_storage *address)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)address, cw_address_length(address)) == 0)
		return fd;
	perror("connect");
	exit(1);
}

/* Some go on without having heard whether they are the channel. */
static void play(const struct sockaddr_storage *address)
{
	struct line *line = calloc(1, sizeof(*line));
	unsigned char heard[CW_FRAME_MOST];
	size_t length;

	line->fd = dial(address);
	if (shake_hands(line)) {
		if (chance(8))
			say_hello(line);
		if (chance(4) && get(line, heard, &length)) /* its HELLO */
			put_record(line, CW_RECORD_CONFIRM, NULL, 0);
		for (uint64_t words = chance(12); words; words--)
			say_something(line);
	}
	close(line->fd);
	free(line);
}

/* Before it has heard who this is, or after. */
static bool is_refused(struct line *line)
{
	unsigned char heard[CW_FRAME_MOST], *bytes;
	struct cw_frame frame = {.bytes = heard};
	uint16_t type;
	size_t length;

	while ((frame.kind = (enum cw_frame_kind)get(line, heard, &frame.length)))
		if (!cw_record_open(&line->receiving, &frame, &type, &bytes, &length))
			return false;
		else if (type == CW_RECORD_REFUSED)
			return cw_refusal_take(bytes, length) == CW_REFUSED_too_many;
	return false;
}

/* Its kernel has it: the service reads it before it takes the next connection. */
static void await_sent(const struct line *line)
{
	int left = 1;

	for (int ms = 0; left && ms < ANSWER_MS; ms++) {
		if (ioctl(line->fd, SIOCOUTQ, &left) < 0)
			break;
		usleep(1000);
	}
}

static void hold(const struct sockaddr_storage *address, long count)
{
	struct line **lines = calloc((size_t)count, sizeof(struct line *));
	long refused = 0;

	sane = true;
	for (long i = 0; i < count; i++) {
		struct line *line = calloc(1, sizeof(*line));

		line->fd = dial(address);
		if (shake_hands(line)) {
			say_hello(line);
			await_sent(line);
			lines[i] = line;
			continue;
		}
		refused++;
		close(line->fd);
		free(line);
	}
	for (long i = 0; i < count; i++) {
		if (!lines[i])
			continue;
		refused += is_refused(lines[i]);
		close(lines[i]->fd);
		free(lines[i]);
	}
	free(lines);
	printf("%ld\n", refused);
}

int main(int argc, char **argv)
{
	struct sockaddr_storage address;
	char why[CW_WHY] = "takes DIRECTORY ADDRESS SEED ROUNDS";

	if (argc != 5 || !cw_noise_ready() || !cw_address_read(argv[2], &address) || cw_identity_load(argv[1], &identity, why) < 0 ||
	    !(map = cw_map_load(argv[1], identity.cluster, why))) {
		fprintf(stderr, "member: %s\n", why);
		return 1;
	}
	seed = strtoull(argv[3], NULL, 10);
	if (strcmp(argv[3], "hold") == 0)
		hold(&address, strtol(argv[4], NULL, 10));
	else
		for (long rounds = strtol(argv[4], NULL, 10); rounds > 0; rounds--)
			play(&address);
	cw_map_free(map);
	return 0;
}
