#include "switch.h"

#include <linux/tcp.h>
#include <netinet/in.h>

#include "bell.h"
#include "kernel.h"
#include "leave.h"
#include "ready.h"
#include "sending.h"
#include "service.h"
#include "set.h"
#include "unix.h"

#define STREAMS_BYTES (1u << 20) /* a connection that has sent so much streams: it gets the largest ring */

#define IN_BULK      (128u << 10)
#define WINDOW       (128u << 10)
#define NOT_SENT     (32u << 10)
#define LINGER_AFTER (64u << 10)
#define LINGER_SHIFT 10

static void set_tcp(int fd, int name, int value)
{
	cw_raw_setsockopt(fd, IPPROTO_TCP, name, &value, sizeof(value));
}

void cw_switch_bound_in(struct cw_stream *stream, int fd, size_t count)
{
	uint64_t in = (uint64_t)stream->by_kernel_in + count;

	stream->by_kernel_in = in < UINT32_MAX ? (uint32_t)in : UINT32_MAX;
	if (in < IN_BULK || stream->clamped || stream->own_clamp)
		return;
	stream->clamped = true;
	set_tcp(fd, TCP_WINDOW_CLAMP, WINDOW);
}

/* One that the program has set to less holds. */
static void bound_unsent(struct cw_stream *stream, int fd)
{
	socklen_t size = sizeof(stream->own_unsent);

	if (cw_raw_getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &stream->own_unsent, &size) < 0 ||
	    (stream->own_unsent && (unsigned)stream->own_unsent <= NOT_SENT))
		return;
	stream->keeps_unsent = true;
	set_tcp(fd, TCP_NOTSENT_LOWAT, NOT_SENT);
}

/* Once two processes use a direction it stays with the kernel until one of them has closed it, or died. */
static bool shared_by_others(const struct cw_stream *stream, _Atomic uint32_t *shared)
{
	if (cw_likely(!atomic_load_explicit(shared, memory_order_acquire)))
		return false;
	if (atomic_load_explicit(&stream->slot->end[stream->end].holders, memory_order_acquire) != 1)
		return true;
	atomic_store_explicit(shared, 0, memory_order_relaxed);
	return false;
}

/* Not of what several processes send: beyond the bound a small message of one waits for room between its halves, and another's comes there.
 */
void cw_switch_bound_out(struct cw_stream *stream, int fd, size_t count)
{
	if (stream->bounded || shared_by_others(stream, &stream->tx->tx_shared) || (stream->by_kernel_out += (uint32_t)count) < IN_BULK)
		return;
	stream->bounded = true;
	bound_unsent(stream, fd);
}

/* In a child that begins to use what its parent has bound, unless that has set a bound of its own meanwhile. */
static void unbound_unsent(struct cw_stream *stream, int fd)
{
	int bound = 0;
	socklen_t size = sizeof(bound);

	if (!stream->keeps_unsent)
		return;
	if (cw_raw_getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bound, &size) == 0 && bound == NOT_SENT)
		set_tcp(fd, TCP_NOTSENT_LOWAT, stream->own_unsent);
	stream->keeps_unsent = stream->bounded = false;
	stream->by_kernel_out = 0;
}

void cw_switch_unbound(struct cw_stream *stream, int fd)
{
	if (stream->is_unix)
		return;
	if (stream->clamped && !stream->own_clamp)
		set_tcp(fd, TCP_WINDOW_CLAMP, 1 << 30);
	if (stream->keeps_unsent)
		set_tcp(fd, TCP_NOTSENT_LOWAT, stream->own_unsent);
	stream->keeps_unsent = false;
	stream->clamped = stream->bounded = true; /* and never again */
}

void cw_switch_note_wake(struct cw_stream *stream)
{
	struct cw_end *end = stream->slot->end;
	uint32_t here;

	if (!cw_policy.number[CW_OPTION_step_aside])
		return;
	here = cw_aside_here();
	/* The line is the other end's too. */
	if (atomic_load_explicit(&end[stream->end].processor, memory_order_relaxed) != here)
		atomic_store_explicit(&end[stream->end].processor, here, memory_order_relaxed);
	cw_aside_note(&cw_thread.spin.aside, atomic_load_explicit(&end[1 - stream->end].processor, memory_order_relaxed), here);
}

/* ---- the writer's steps ---- */

static uint32_t choose_class(const struct cw_stream *stream, uint64_t woff)
{
	uint32_t bits = atomic_load_explicit(&stream->tx->tx_bits, memory_order_relaxed);
	uint32_t peer_buffer = atomic_load_explicit(&stream->slot->end[1 - stream->end].rcvbuf, memory_order_relaxed);
	uint32_t most = stream->most_bits;

	if (woff >= STREAMS_BYTES || bits > CW_RING_MAX_BITS)
		bits = CW_RING_MAX_BITS;
	while (peer_buffer && most > CW_RING_LEAST_BITS && (1u << most) > peer_buffer)
		most--;
	if (bits > most)
		bits = most;
	return bits < CW_RING_LEAST_BITS ? CW_RING_LEAST_BITS : bits;
}

/* What the kernel keeps back until there is more: there will be no more by the kernel, and what comes by ring has to wait for it. Setting
 * TCP_NODELAY sends it, even while TCP_CORK is set (tcp(7)). */
static void push(struct cw_stream *stream, int fd)
{
	if (!stream->is_unix)
		set_tcp(fd, TCP_NODELAY, 1);
	stream->corked &= CW_CORK_OPTION;
}

bool cw_switch_accept(struct cw_stream *stream, int fd, uint64_t *word)
{
	struct cw_direction *tx = stream->tx;
	uint64_t woff;

	if ((*word & (CW_MARK_LEFT | CW_MARK_READER_GONE)) || shared_by_others(stream, &tx->tx_shared) ||
	    !atomic_load_explicit(&tx->tx_attached, memory_order_relaxed) ||
	    atomic_load_explicit(&tx->tx_in_kernel,
				 memory_order_acquire)) /* S0: pairs with the release of a kernel send that booked woff (send.c) */
		return false;
	woff = atomic_load_explicit(&tx->woff, memory_order_relaxed);
	atomic_store_explicit(&tx->ring_bits, choose_class(stream, woff), memory_order_relaxed);
	atomic_store_explicit(&tx->up, woff, memory_order_relaxed);
	atomic_store_explicit(&tx->widx, woff, memory_order_relaxed);
	atomic_store_explicit(&tx->tx_credit, woff, memory_order_relaxed);
	/* The step is a release: who sees LIVE sees up, widx and the class. */
	if (!cw_state_step(&tx->state, word, CW_LIVE))
		return false;
	CW_COUNT(stream, switches, 1);
	if (cw_unlikely(stream->corked))
		push(stream, fd);
	return true;
}

void cw_switch_share(struct cw_stream *stream, int fd)
{
	bool nested;

	atomic_store_explicit(&stream->rx->rx_shared, 1, memory_order_release);
	atomic_store_explicit(&stream->tx->tx_shared, 1, memory_order_release);
	unbound_unsent(stream, fd);
	if (stream->broken || !cw_tx_lock(stream, fd, &nested))
		return;
	/* What awaits a reader stays until a send of either process comes to it; by ring two write as well, one after the other. */
	cw_switch_to_kernel(stream, fd, nested);
	cw_tx_unlock(stream, nested);
	/* Asleep beside what an edge has told it: who sleeps there is another process's. */
	if (cw_state_of(atomic_load_explicit(&stream->rx->state, memory_order_acquire)) == CW_ASLEEP && cw_switch_unread_asleep(stream))
		cw_leave_unread(stream, fd);
}

/* ---- the reader's steps ---- */

bool cw_switch_count_asleep(struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word;

	atomic_fetch_add_explicit(&rx->rx_asleep, 1, memory_order_seq_cst);
	word = atomic_load_explicit(&rx->state, memory_order_acquire);
	while (cw_state_of(word) == CW_ASLEEP)
		if (!cw_switch_unread_asleep(stream) || cw_state_step(&rx->state, &word, CW_ASLEEP))
			return true;
	if (cw_state_of(word) == CW_TAKEN)
		return true;
	atomic_fetch_sub_explicit(&rx->rx_asleep, 1, memory_order_release);
	return false;
}

bool cw_switch_others_asleep(const struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;

	if (atomic_load_explicit(&rx->rx_asleep, memory_order_acquire))
		return true;
	return shared_by_others(stream, &rx->rx_shared) || cw_set_asleep(stream);
}

static bool may_offer(const struct cw_stream *stream, uint64_t word)
{
	return cw_state_of(word) == CW_TAKEN && !(word & (CW_MARK_LEFT | CW_MARK_WRITER_GONE | CW_MARK_WRITER_SHUT)) &&
	       atomic_load_explicit(&stream->rx->rx_attached, memory_order_relaxed) && !cw_switch_others_asleep(stream);
}

/* Bytes that the writer took out of the ring again may have been told up to where it ends behind this offer (set_look.c). */
static bool step_to_consent(struct cw_stream *stream, uint64_t *word)
{
	atomic_fetch_add_explicit(&stream->offers, 1, memory_order_relaxed);
	return cw_state_step(&stream->rx->state, word, CW_CONSENT);
}

void cw_switch_offer(struct cw_stream *stream, int fd)
{
	struct cw_direction *rx = stream->rx;
	uint64_t word = atomic_load_explicit(&rx->state, memory_order_relaxed);
	struct cw_item *in_set;
	bool nested;

	if (cw_state_of(word) != CW_TAKEN || (word & CW_MARK_LEFT))
		return;
	/* Set before stream: who puts a set to sleep takes them in this order too, and finds the stream among the set's hot ones. */
	if (!cw_set_enter(stream, &in_set))
		return;
	if (cw_rx_lock(stream, fd, &nested)) {
		word = atomic_load_explicit(&rx->state, memory_order_acquire);
		if (!nested && may_offer(stream, word) && cw_set_alone(stream) && step_to_consent(stream, &word) && in_set)
			cw_set_heat(in_set);
		cw_rx_unlock(stream, nested);
	}
	if (in_set)
		cw_set_leave(in_set);
	else if (cw_unlikely(atomic_load_explicit(&stream->items, memory_order_seq_cst) != NULL))
		cw_set_notice(stream); /* registered while we offered */
}

void cw_switch_offer_again(struct cw_stream *stream)
{
	uint64_t word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);

	if (may_offer(stream, word))
		step_to_consent(stream, &word);
}

bool cw_switch_withdraw(struct cw_stream *stream, uint64_t *word)
{
	return cw_state_step(&stream->rx->state, word, CW_TAKEN);
}

bool cw_switch_fall_asleep(struct cw_stream *stream, uint64_t *word, uint64_t seen)
{
	struct cw_direction *rx = stream->rx;

	switch (cw_state_of(*word)) {
	case CW_CONSENT:
		return cw_switch_withdraw(stream, word);
	case CW_LIVE:
		/* B: ASLEEP is stored before widx is loaded; pairs with A in send.c (widx is published before the state is loaded). */
		if (!cw_state_step(&rx->state, word, CW_ASLEEP))
			return false;
		if (atomic_load_explicit(&rx->widx, memory_order_seq_cst) == seen)
			return true;
		cw_switch_wake(stream, word);
		return false;
	case CW_SEALED:
		return false;
	default:
		return true;
	}
}

bool cw_switch_fall_asleep_on_bell(struct cw_stream *stream, uint64_t *word, uint64_t seen)
{
	struct cw_direction *rx = stream->rx;
	uint64_t asleep = ((*word & ~CW_STATE_MASK) + CW_GENERATION) | CW_ASLEEP;

	/* Before the step: who finds the sleep finds how it wants to be woken. */
	atomic_store_explicit(&rx->rx_bell, cw_bell_sleep_of(asleep), memory_order_seq_cst);
	if (cw_switch_fall_asleep(stream, word, seen) && *word == asleep)
		return true;
	atomic_store_explicit(&rx->rx_bell, 0, memory_order_seq_cst);
	return false;
}

bool cw_switch_offer_on_bell(struct cw_stream *stream, uint64_t word)
{
	struct cw_direction *rx = stream->rx;

	if (cw_state_of(word) != CW_CONSENT || !atomic_load_explicit(&rx->tx_bell, memory_order_relaxed))
		return false;
	/* E: rx_bell is stored before the second look at the offer; pairs with E in send.c. */
	atomic_store_explicit(&rx->rx_bell, cw_bell_sleep_of(word), memory_order_seq_cst);
	if (atomic_load_explicit(&rx->state, memory_order_seq_cst) == word)
		return true;
	atomic_store_explicit(&rx->rx_bell, 0, memory_order_seq_cst);
	return false;
}

void cw_switch_quit_bell(struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;
	uint64_t slept = atomic_load_explicit(&rx->rx_bell, memory_order_relaxed), word;

	/* D: rx_bell is cleared before widx is loaded; pairs with A. The writer takes the stream back from here on, or we see what it put.
	 */
	atomic_store_explicit(&rx->rx_bell, 0, memory_order_seq_cst);
	word = atomic_load_explicit(&rx->state, memory_order_seq_cst);
	if (cw_state_of(word) == CW_ASLEEP && cw_switch_unread_asleep(stream))
		cw_switch_wake(stream, &word);
	else if (cw_state_of(word) == CW_CONSENT && cw_bell_sleep_of(word) == slept)
		cw_switch_withdraw(stream, &word);
}

bool cw_switch_linger_due(const struct cw_stream *stream)
{
	return cw_unlikely(stream->clamped) &&
	       atomic_load_explicit(&stream->rx->roff, memory_order_relaxed) - stream->lingered >= LINGER_AFTER << stream->linger_shift;
}

/* It has helped if most has come by ring since. */
static void note_linger(struct cw_stream *stream, uint64_t roff)
{
	bool helped = stream->by_kernel_in < (roff - stream->lingered) / 2;

	if (helped || !stream->lingered) /* before the first one nothing could help */
		stream->linger_shift = 0;
	else if (stream->linger_shift < LINGER_SHIFT)
		stream->linger_shift++;
	stream->lingered = roff;
	stream->by_kernel_in = 0;
}

bool cw_switch_lingers(struct cw_stream *stream)
{
	struct cw_direction *rx = stream->rx;

	if (!cw_switch_linger_due(stream) || cw_state_of(atomic_load_explicit(&rx->state, memory_order_relaxed)) != CW_CONSENT)
		return false;
	note_linger(stream, atomic_load_explicit(&rx->roff, memory_order_relaxed));
	return true;
}

bool cw_switch_wake(struct cw_stream *stream, uint64_t *word)
{
	/* As in take_back: a mark is no reason to stay asleep. */
	while (cw_state_of(*word) == CW_ASLEEP)
		if (cw_state_step(&stream->rx->state, word, CW_LIVE))
			return true;
	return false;
}

void cw_switch_rouse(struct cw_stream *stream, int fd)
{
	uint64_t word;
	bool nested;

	if (!cw_rx_lock(stream, fd, &nested))
		return;
	word = atomic_load_explicit(&stream->rx->state, memory_order_acquire);
	if (!nested && cw_state_of(word) == CW_ASLEEP && !cw_switch_others_asleep(stream))
		cw_switch_wake(stream, &word);
	cw_rx_unlock(stream, nested);
	cw_set_notice(stream);
}

bool cw_switch_drained(struct cw_stream *stream, uint64_t *word)
{
	return cw_state_step(&stream->rx->state, word, CW_TAKEN);
}

size_t cw_switch_unread(const struct cw_stream *stream, uint64_t word, uint64_t roff, struct cw_ring *ring)
{
	struct cw_direction *rx = stream->rx;
	uint64_t last;
	uint32_t bits = atomic_load_explicit(&rx->ring_bits, memory_order_relaxed);

	if (cw_state_of(word) == CW_SEALED)
		last = atomic_load_explicit(&rx->seal, memory_order_relaxed);
	else
		last = atomic_load_explicit(&rx->widx, memory_order_acquire); /* R: pairs with A, the writer's publishing */
	if (cw_unlikely(!cw_class_sane(bits) || last - roff > 1ull << bits))
		return SIZE_MAX;
	if (ring)
		*ring = cw_stream_ring(stream->rx_data, bits);
	return last - roff;
}

bool cw_switch_unread_asleep(const struct cw_stream *stream)
{
	uint64_t at = cw_switch_reader_at(stream->rx);

	return atomic_load_explicit(&stream->rx->widx, memory_order_acquire) != at;
}

/* ---- ends ---- */

bool cw_switch_leaves_unread(struct cw_stream *stream)
{
	uint64_t word = atomic_load_explicit(&stream->rx->state, memory_order_seq_cst);
	enum cw_state state = cw_state_of(word);
	uint64_t roff = atomic_load_explicit(&stream->rx->roff, memory_order_relaxed);
	size_t unread;

	if (state == CW_TAKEN || state == CW_CONSENT || (int64_t)(roff - atomic_load_explicit(&stream->rx->up, memory_order_relaxed)) < 0)
		return false; /* what is unread is in the kernel, which resets by itself */
	unread = cw_switch_unread(stream, word, roff, NULL);
	return unread && unread != SIZE_MAX;
}

void cw_switch_close(struct cw_stream *stream, int fd)
{
	struct cw_slot *slot = stream->slot;
	uint64_t word;
	bool nested, last;

	/* The phase says that it is closed: who gets a lock from here on goes no further (cw_stream_has). */
	cw_lock_pass(&stream->tx->tx_lock, cw_thread_id());
	cw_lock_pass(&stream->rx->rx_lock, cw_thread_id());
	if (stream->is_unix)
		cw_unix_before_close(stream, fd);
	last = atomic_fetch_sub_explicit(&slot->end[stream->end].holders, 1, memory_order_acq_rel) == 1;
	/* Marked before it is looked for RESEND: a reader that leaves sees the mark, or we see its. */
	word = last ? cw_state_mark(&stream->tx->state, CW_MARK_WRITER_GONE | CW_MARK_WRITER_SHUT)
		    : atomic_load_explicit(&stream->tx->state, memory_order_acquire);
	/* Where others hold it the lock may be theirs for long (a copy from a file that is slow to come), and not to get it is a reset. */
	if ((last || (word & CW_MARK_RESEND)) && cw_tx_lock(stream, fd, &nested)) {
		word = atomic_load_explicit(&stream->tx->state, memory_order_acquire);
		/* A reader that can't read the ring waits for these: before the FIN is the last moment. */
		if (cw_state_of(word) == CW_ASLEEP && (word & CW_MARK_RESEND))
			cw_switch_take_back(stream, fd, &word);
		cw_tx_unlock(stream, nested);
	}
	if (last) {
		struct linger reset = {.l_onoff = 1};

		/* C: READER_GONE is marked before the ring is looked at; pairs with A: the writer sees the mark, or we see its bytes. */
		cw_state_mark(&stream->rx->state, CW_MARK_READER_GONE);
		/* Closing with unread bytes is a reset in TCP (RFC 2525, 2.17); the kernel does it for those in its own queue. */
		if (!stream->is_unix && cw_switch_leaves_unread(stream))
			cw_raw_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	}
	cw_service_release(stream);
}

void cw_switch_break(struct cw_stream *stream, int fd, enum cw_reason reason)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	struct cw_book_entry *entry = &cw_own_book.entry[stream->number];

	if (stream->broken)
		return;
	stream->broken = true;
	CW_COUNT(stream, broken, 1);
	atomic_store_explicit(&entry->reason, reason, memory_order_relaxed);
	atomic_store_explicit(&entry->kind, CW_ENTRY_DEMOTED, memory_order_relaxed);
	/* RESET is for those who hold the same end, and, of AF_UNIX, for the other one. */
	cw_state_mark(&stream->tx->state, CW_MARK_LEFT | CW_MARK_WRITER_GONE | CW_MARK_RESET);
	cw_state_mark(&stream->rx->state, CW_MARK_LEFT | CW_MARK_READER_GONE | CW_MARK_RESET);
	/* Disconnecting sends a reset, and wakes whoever waits for this socket. */
	if (stream->is_unix) {
		cw_raw(SYS_shutdown, fd, SHUT_RDWR, 0, 0, 0, 0);
		return;
	}
	cw_raw(SYS_connect, fd, (long)&nowhere, sizeof(nowhere), 0, 0, 0);
}
