/*
 * Offers: a program shows one end of a connection. What counts is what the kernel says of the descriptor. It is closed at once, because it
 * keeps the connection open; so when the other end comes, the kernel is asked whether the first is still that connection.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service.h"
#include "service_between.h"

#define RETRY_NS 110000000ull /* a little longer than a measure of memory holds */

static struct cw_offer *find(const struct cw_tuple *tuple)
{
	struct cw_offer *offer;

	HASH_FIND(hh_tuple, service.offers, tuple, sizeof(*tuple), offer);
	return offer;
}

static struct cw_offer *find_index(const struct cw_program *program, uint32_t index)
{
	struct cw_offer *offer;

	HASH_FIND(hh_index, program->offers, &index, sizeof(index), offer);
	return offer;
}

bool cw_offered(const struct cw_program *program, uint32_t index)
{
	return find_index(program, index);
}

static struct cw_offer *find_other_end(const struct cw_offer *offer)
{
	struct cw_tuple reversed = {.local = offer->tuple.remote,
				    .remote = offer->tuple.local,
				    .local_port = offer->tuple.remote_port,
				    .remote_port = offer->tuple.local_port,
				    .protocol = offer->tuple.protocol,
				    .netns = offer->tuple.netns};

	return find(&reversed);
}

static void drop(struct cw_offer *offer)
{
	cw_match_forget(offer);
	HASH_DELETE(hh_tuple, service.offers, offer);
	HASH_DELETE(hh_index, offer->program->offers, offer);
	if (offer->starved)
		DL_DELETE(service.starved, offer);
	free(offer);
}

static struct cw_offer *make(struct cw_program *program, const struct cw_message *message, const struct cw_tuple *tuple)
{
	struct cw_offer *offer = find_index(program, message->offer.token.index);

	if (offer)
		drop(offer);
	offer = find(tuple); /* of an earlier connection with these addresses, or of somebody who was passed this one */
	if (offer)
		drop(offer);
	offer = calloc(1, sizeof(*offer));
	if (!offer)
		return NULL;
	offer->tuple = *tuple;
	offer->cookie = message->offer.cookie;
	offer->token = message->offer.token;
	offer->program = program;
	HASH_ADD(hh_tuple, service.offers, tuple, sizeof(offer->tuple), offer);
	HASH_ADD(hh_index, program->offers, token.index, sizeof(offer->token.index), offer);
	return offer;
}

static void retry(struct cw_timer *timer);

static struct cw_timer again = {.expired = retry};

static void starve(struct cw_offer *offer, const struct cw_offer *other)
{
	if (offer->starved || other->starved)
		return;
	offer->starved = true;
	DL_APPEND(service.starved, offer);
	cw_tally(CW_SERVICE_no_memory);
	offer->program->refused_memory++;
	if (other->program != offer->program)
		other->program->refused_memory++;
	cw_timer_set(&again, RETRY_NS);
}

/* True if the offer is settled, and gone. */
static bool match(struct cw_offer *offer)
{
	struct cw_offer *other = find_other_end(offer);

	if (!other)
		return false;
	if (!cw_diag_lives(&other->tuple, other->cookie, other->program->peer.uid == offer->program->peer.uid)) {
		cw_tally(CW_SERVICE_offers_stale);
		drop(other);
		return false;
	}
	if (!cw_slot_give(other, offer)) {
		starve(offer, other);
		return false;
	}
	drop(other);
	drop(offer);
	return true;
}

static void feed_no_more(struct cw_offer *offer)
{
	DL_DELETE(service.starved, offer);
	offer->starved = false;
}

static void feed(struct cw_offer *offer)
{
	const struct cw_offer *other = find_other_end(offer);

	if (other && !cw_memory_admits(offer->program->peer.uid, other->program->peer.uid))
		return;
	if (!cw_diag_lives(&offer->tuple, offer->cookie, true)) {
		cw_tally(CW_SERVICE_offers_stale);
		drop(offer);
		return;
	}
	if (!match(offer) && !find_other_end(offer))
		feed_no_more(offer); /* the other end was taken back, or is another connection's */
}

/* All of them, because one user's bound must not keep another's waiting. */
static void feed_all(void)
{
	struct cw_offer *offer, *next;

	DL_FOREACH_SAFE(service.starved, offer, next)
	feed(offer); /* drops at most itself and its other end, which is not in this list */
}

/* Tried when slots were given back; and once more when memory has been measured anew, but not for ever: what could give memory back is
 * somebody's message, or end. */
void cw_offers_retry(void)
{
	static uint32_t slots;

	if (service.starved && service.slots < slots) {
		feed_all();
		cw_timer_set(&again, RETRY_NS);
	}
	slots = service.slots;
}

static void retry(struct cw_timer *timer)
{
	uint32_t before = service.slots;

	feed_all();
	if (service.starved && service.slots != before)
		cw_timer_set(&again, RETRY_NS);
}

static void keep(struct cw_program *program, const struct cw_message *message, const struct cw_tuple *tuple)
{
	struct cw_offer *offer = make(program, message, tuple);

	if (offer && !match(offer) && tuple->protocol != CW_TUPLE_UNIX)
		cw_match_offered(offer);
}

void cw_offer_drop(struct cw_offer *offer)
{
	drop(offer);
}

/* A descriptor that was shown, and has been closed. */
struct cw_shown {
	struct cw_message message;
	struct cw_tuple tuple;
	uint64_t cookie;
	enum cw_inspection result;
};

static void judge(struct cw_program *program, const struct cw_shown *shown)
{
	cw_tally(CW_SERVICE_offers);
	if (shown->result == CW_SOCKET_ELSEWHERE) {
		cw_tally(CW_SERVICE_offers_elsewhere);
		return;
	}
	if (shown->message.offer.token.index >= CW_BOOK_ENTRIES) {
		cw_nonsense(program);
	} else if (shown->result == CW_SOCKET_FINE && shown->cookie == shown->message.offer.cookie) {
		keep(program, &shown->message, &shown->tuple);
		return;
	}
	/* Another socket or a file is no nonsense: a thread of the program's may have closed the number, and opened that, while it was
	 * shown. */
	cw_tally(CW_SERVICE_offers_refused);
}

void cw_offer_taken(struct cw_program *program)
{
	if (program->book)
		atomic_fetch_add_explicit(&program->book->offers, 1, memory_order_release);
}

static void closed(struct cw_program *program)
{
	judge(program, program->shown);
	free(program->shown);
	program->shown = NULL;
	cw_offer_taken(program);
}

/* The program goes on when it is told that we have closed its socket, and its peer is to see the end when it closes: so that is done before
 * anything else. But if we are the last, descriptors in an AF_UNIX socket's queue are closed with it. */
void cw_offer(struct cw_program *program, const struct cw_message *message, int fd)
{
	struct cw_shown shown = {.message = *message};

	shown.result = cw_socket_inspect(fd, &shown.tuple, &shown.cookie);
	if (shown.tuple.protocol == CW_TUPLE_UNIX && (program->shown = malloc(sizeof(shown)))) {
		*program->shown = shown;
		cw_close_and_wait(program, fd, closed);
		return;
	}
	cw_close_foreign(program, fd);
	judge(program, &shown);
	cw_offer_taken(program);
}

void cw_withdraw(struct cw_program *program, const struct cw_message *message)
{
	struct cw_offer *offer = find_index(program, message->offer.token.index);

	if (offer && offer->token.generation == message->offer.token.generation)
		drop(offer);
}

void cw_offers_drop(struct cw_program *program)
{
	struct cw_offer *offer, *next;

	HASH_ITER(hh_index, program->offers, offer, next)
	drop(offer);
	free(program->shown);
	program->shown = NULL;
}
