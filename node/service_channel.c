/* One connection between two node services: what came in, cut into frames; what goes out, in a bounded queue. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "service_channel.h"

#define TURN           4             /* reads of one connection before the others have theirs */
#define OWN_RECORDS    (256u << 10)  /* beyond the queue's bound: maps and answers to signs of life */
#define LEAVE_NS       2000000000ull /* for the other to read why */
#define KEPT_WHEN_IDLE 4096

struct cw_channel *cw_channels;
static struct cw_channel *buried;
static struct cw_member *buried_peers;

static void expired(struct cw_timer *timer)
{
	struct cw_channel *channel = (struct cw_channel *)((char *)timer - offsetof(struct cw_channel, deadline));

	if (channel->phase < CW_CHANNEL_KEYED && !channel->initiator)
		cw_tally(CW_SERVICE_channel_strangers);
	if (channel->phase == CW_CHANNEL_KEYED || channel->phase == CW_CHANNEL_GREETED)
		cw_channel_refuse(channel, CW_REFUSED_too_late);
	else
		cw_channel_end(channel, channel->phase == CW_CHANNEL_UP ? "its connection broke" : "no answer");
}

bool cw_channel_open(const struct cw_channel *channel)
{
	return channel->phase < CW_CHANNEL_LEAVING;
}

/* ---- out ---- */

static void want_writing(struct cw_channel *channel, bool wanted)
{
	if (channel->writing == wanted || channel->phase == CW_CHANNEL_CONNECTING)
		return;
	channel->writing = wanted;
	cw_loop_change(&channel->source, (channel->held ? 0 : EPOLLIN) | (wanted ? EPOLLOUT : 0));
}

/* Nobody may be told of an end from inside a send: the loop finds it. */
static void flush(struct cw_channel *channel)
{
	while (channel->out_begin < channel->out_end) {
		ssize_t put = send(channel->source.fd, channel->out + channel->out_begin, channel->out_end - channel->out_begin,
				   MSG_DONTWAIT | MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno != EAGAIN)
			cw_timer_set(&channel->deadline, 0);
		if (put < 0)
			break;
		channel->out_begin += (size_t)put;
	}
	want_writing(channel, channel->out_begin < channel->out_end);
	if (channel->out_begin < channel->out_end)
		return;
	channel->out_begin = channel->out_end = 0;
	if (channel->out_room > KEPT_WHEN_IDLE) {
		free(channel->out);
		channel->out = NULL;
		channel->out_room = 0;
	}
}

static unsigned char *room_for(struct cw_channel *channel, size_t length)
{
	size_t waiting = channel->out_end - channel->out_begin, wanted = waiting + length;
	unsigned char *more;

	if (channel->out_end + length > channel->out_room && channel->out_begin) {
		memmove(channel->out, channel->out + channel->out_begin, waiting);
		channel->out_begin = 0;
		channel->out_end = waiting;
	}
	if (channel->out_end + length > channel->out_room) {
		wanted = wanted < KEPT_WHEN_IDLE ? KEPT_WHEN_IDLE : wanted + wanted / 2;
		more = realloc(channel->out, wanted);
		if (!more)
			return NULL;
		channel->out = more;
		channel->out_room = wanted;
	}
	return channel->out + channel->out_end;
}

void cw_channel_frame(struct cw_channel *channel, enum cw_frame_kind kind, const void *bytes, size_t length)
{
	unsigned char *to = room_for(channel, CW_FRAME_HEAD + length);

	if (!to)
		return;
	cw_frame_head(to, kind, length);
	memcpy(to + CW_FRAME_HEAD, bytes, length);
	channel->out_end += CW_FRAME_HEAD + length;
	flush(channel);
}

bool cw_channel_record(struct cw_channel *channel, uint16_t type, const void *bytes, size_t length)
{
	size_t waiting = channel->out_end - channel->out_begin,
	       most = type < CW_CLUSTER_TYPE_FIRST ? CW_CLUSTER_QUEUE + OWN_RECORDS : CW_CLUSTER_QUEUE;
	unsigned char *to;

	if (length > CW_RECORD_LONGEST || waiting + length + CW_RECORD_ROOM > most || !(to = room_for(channel, length + CW_RECORD_ROOM))) {
		/* Its own records can't be left out: one that doesn't read them isn't there. */
		if (type < CW_CLUSTER_TYPE_FIRST)
			cw_timer_set(&channel->deadline, 0);
		return false;
	}
	channel->out_end += cw_record_seal(&channel->sending, type, bytes, length, to);
	flush(channel);
	return true;
}

/* ---- in ---- */

static bool take_frames(struct cw_channel *channel)
{
	size_t at = 0;
	ssize_t size = 0;

	while (cw_channel_open(channel) && !channel->held) {
		size_t most = channel->phase < CW_CHANNEL_KEYED ? CW_FRAME_EARLY : CW_FRAME_MOST;
		struct cw_frame frame;

		size = cw_frame_take(channel->in + at, channel->have - at, most, &frame);
		if (size <= 0)
			break;
		cw_meet_frame(channel, &frame);
		at += (size_t)size;
	}
	if (size < 0 && cw_channel_open(channel))
		cw_channel_refuse(channel, CW_REFUSED_nonsense);
	if (!cw_channel_open(channel))
		return false;
	channel->have -= at;
	memmove(channel->in, channel->in + at, channel->have);
	return true;
}

void cw_channel_hold(struct cw_channel *channel, bool hold)
{
	channel->held = hold;
	cw_loop_change(&channel->source, (hold ? 0 : EPOLLIN) | (channel->writing ? EPOLLOUT : 0));
	if (!hold)
		take_frames(channel);
}

static bool have_room(struct cw_channel *channel)
{
	size_t wanted = channel->phase < CW_CHANNEL_KEYED ? CW_FRAME_EARLY : CW_FRAME_MOST;
	unsigned char *more;

	if (channel->in_room >= wanted)
		return true;
	more = realloc(channel->in, wanted);
	if (!more)
		return false;
	channel->in = more;
	channel->in_room = wanted;
	return true;
}

/* False: no more now. */
static bool read_some(struct cw_channel *channel)
{
	ssize_t got;

	if (!have_room(channel))
		return false;
	got = recv(channel->source.fd, channel->in + channel->have, channel->in_room - channel->have, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		cw_channel_end(channel, got < 0 ? strerror(errno) : "it closed the connection");
		return false;
	}
	channel->have += (size_t)got;
	return take_frames(channel);
}

/* What is unread when a socket is closed makes a reset of it, which can overtake the reason: wait for the other's end. */
static void drain(struct cw_channel *channel)
{
	char waste[4096];
	ssize_t got = recv(channel->source.fd, waste, sizeof(waste), MSG_DONTWAIT);

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		cw_channel_end(channel, "");
}

static void channel_ready(struct cw_source *source, uint32_t events)
{
	struct cw_channel *channel = (struct cw_channel *)source;

	if (channel->phase == CW_CHANNEL_ENDED)
		return;
	if (channel->phase == CW_CHANNEL_CONNECTING) {
		cw_channel_connected(channel);
		return;
	}
	if (channel->phase == CW_CHANNEL_LEAVING) {
		drain(channel);
		return;
	}
	if (events & EPOLLOUT)
		flush(channel);
	if (channel->held && events & (EPOLLHUP | EPOLLERR))
		cw_channel_end(channel, "it closed the connection");
	for (int turn = 0; turn < TURN && !channel->held && cw_channel_open(channel) && read_some(channel); turn++)
		;
}

/* ---- begin and end ---- */

struct cw_channel *cw_channel_make(int fd, enum cw_channel_phase phase, const struct sockaddr_storage *address)
{
	struct cw_channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		return NULL;
	channel->source = (struct cw_source){.fd = fd, .ready = channel_ready};
	channel->phase = phase;
	channel->address = *address;
	channel->deadline.expired = expired;
	if (cw_loop_add(&channel->source, phase == CW_CHANNEL_CONNECTING ? EPOLLOUT : EPOLLIN) < 0) {
		free(channel);
		return NULL;
	}
	DL_APPEND(cw_channels, channel);
	return channel;
}

void cw_channel_end(struct cw_channel *channel, const char *why)
{
	bool was_up = channel->phase == CW_CHANNEL_UP;

	if (channel->phase == CW_CHANNEL_ENDED)
		return;
	channel->phase = CW_CHANNEL_ENDED;
	cw_timer_stop(&channel->deadline);
	cw_loop_remove(&channel->source);
	close(channel->source.fd);
	DL_DELETE(cw_channels, channel);
	DL_APPEND(buried, channel);
	if (was_up)
		cw_channel_down(channel);
	else if (channel->target)
		cw_dial_failed(channel, why);
}

static void log_refusal(const struct cw_channel *channel, enum cw_cluster_reason reason)
{
	char text[CW_ADDRESS_TEXT];

	cw_address_write(&channel->address, text);
	cw_cluster_log("%s%s%s is refused: %s", channel->peer ? channel->peer->node.name : "", channel->peer ? " at " : "", text,
		       cw_cluster_reason_text(reason));
}

void cw_channel_refuse(struct cw_channel *channel, enum cw_cluster_reason reason)
{
	unsigned char words[CW_REFUSAL];
	bool keyed = channel->phase >= CW_CHANNEL_KEYED, was_up = channel->phase == CW_CHANNEL_UP;

	if (!cw_channel_open(channel))
		return;
	cw_tally(CW_SERVICE_channel_refused);
	log_refusal(channel, reason);
	if (channel->peer) {
		channel->peer->refused = reason;
		channel->peer->refused_by_us = true;
	}
	cw_refusal_make(words, reason);
	if (keyed)
		cw_channel_record(channel, CW_RECORD_REFUSED, words, sizeof(words));
	else
		cw_channel_frame(channel, CW_FRAME_REFUSAL, words, sizeof(words));
	channel->phase = CW_CHANNEL_LEAVING;
	shutdown(channel->source.fd, SHUT_WR);
	cw_loop_change(&channel->source, EPOLLIN);
	cw_timer_set(&channel->deadline, LEAVE_NS);
	if (was_up)
		cw_channel_down(channel);
	else if (channel->target)
		cw_dial_failed(channel, cw_cluster_reason_text(reason));
}

void cw_member_free(struct cw_member *peer)
{
	peer->next = buried_peers;
	buried_peers = peer;
}

void cw_channels_bury(void)
{
	struct cw_channel *channel;
	struct cw_member *peer;

	while ((channel = buried)) {
		DL_DELETE(buried, channel);
		free(channel->in);
		free(channel->out);
		explicit_bzero(channel, sizeof(*channel));
		free(channel);
	}
	while ((peer = buried_peers)) {
		buried_peers = peer->next;
		free(peer);
	}
}
