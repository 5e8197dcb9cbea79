/* A datagram socket's reader looks, falls asleep, wakes. */
#include "datagram.h"

#include "kernel.h"
#include "service.h"

#define IDLE_SLEEPS 3 /* a flow without a record in so many is left to the kernel until one comes there */

static bool look(struct cw_datagram *socket, uint64_t *edge, bool *later)
{
	bool locked = cw_rx_enter(socket), ready = false;

	*edge = socket->edges_before;
	*later = false;
	for (uint32_t i = 0; i < socket->in_count; i++) {
		struct cw_flow *flow = socket->in[i];

		*edge += atomic_load_explicit(&flow->way->widx, memory_order_acquire);
		if (cw_flow_has(flow, later))
			ready = true;
	}
	cw_rx_exit(socket, locked);
	return ready;
}

bool cw_datagram_ready(struct cw_datagram *socket, uint64_t *edge)
{
	bool later;

	*edge = 0;
	if (!atomic_load_explicit(&socket->moved_in, memory_order_acquire))
		return false;
	while (!look(socket, edge, &later))
		if (!later || cw_datagram_nap(socket))
			return false; /* nothing, or what the kernel has comes first */
	return true;
}

bool cw_datagram_has_news(struct cw_datagram *socket, uint64_t told, uint64_t *edge)
{
	bool later;

	*edge = 0;
	if (!atomic_load_explicit(&socket->moved_in, memory_order_acquire))
		return false;
	for (;;) {
		bool ready = look(socket, edge, &later);

		if (*edge == told || (!ready && !later))
			return false;
		if (ready || cw_datagram_nap(socket))
			return true;
	}
}

bool cw_datagram_nap(struct cw_datagram *socket)
{
	struct pollfd readable = {.fd = socket->entry->fd, .events = POLLIN};
	struct timespec turn = {.tv_nsec = CW_FLOW_WAIT_NS / 10};

	long told = cw_raw(SYS_ppoll, (long)&readable, 1, (long)&turn, 0, 0, 0);

	if (told <= 0 || (readable.revents & POLLIN))
		return told != 0;
	cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0); /* an error that may stay */
	return false;
}

bool cw_datagram_known(const struct cw_datagram *socket)
{
	return !socket->connected.port && !socket->reports_errors && !atomic_load_explicit(&socket->stays, memory_order_relaxed);
}

/* ---- under rx_lock ---- */

static void offer(struct cw_flow *flow)
{
	uint64_t word = atomic_load_explicit(&flow->way->state, memory_order_acquire);

	if (flow->idle >= IDLE_SLEEPS)
		return;
	if (cw_state_of(word) == CW_ASLEEP && !(word & CW_MARK_LEFT))
		cw_state_step(&flow->way->state, &word, CW_LIVE);
	else if (cw_state_of(word) == CW_TAKEN && !(word & (CW_MARK_LEFT | CW_MARK_WRITER_GONE)) &&
		 cw_state_step(&flow->way->state, &word, CW_CONSENT))
		flow->since = flow->due = 0;
}

static void offer_all(struct cw_datagram *socket)
{
	for (uint32_t i = 0; i < socket->in_count; i++)
		offer(socket->in[i]);
}

static bool unread(const struct cw_flow *flow)
{
	uint64_t roff = atomic_load_explicit(&flow->way->roff, memory_order_relaxed);
	uint64_t widx = atomic_load_explicit(&flow->way->widx, memory_order_seq_cst);

	return !(roff & CW_CLAIMED) && widx != roff;
}

/* may_leave: what is unread now the program knows of. */
static bool settle(struct cw_flow *flow, bool may_leave)
{
	uint64_t word = atomic_load_explicit(&flow->way->state, memory_order_acquire);

	for (;;) {
		switch (cw_state_of(word)) {
		case CW_CONSENT:
			if (!cw_state_step(&flow->way->state, &word, CW_TAKEN))
				continue;
			return true;
		case CW_LIVE:
			if (!may_leave && unread(flow))
				return false;
			if (!cw_state_step(&flow->way->state, &word, CW_ASLEEP))
				continue;
			/* B: the second look, pairs with A of the writer. */
			if (may_leave || !unread(flow))
				return true;
			if (!(word & CW_MARK_LEFT))
				cw_state_step(&flow->way->state, &word, CW_LIVE);
			return false;
		case CW_ASLEEP:
			return may_leave || !unread(flow);
		case CW_TAKEN: /* it has left, and what is unread stays in its ring */
			return may_leave || !(word & CW_MARK_LEFT) || !unread(flow);
		default:
			return true;
		}
	}
}

/* Asleep: where it will be woken, unless the kernel knows better (sync/aside.h). */
static void note_sleep(struct cw_flow *flow, uint32_t here)
{
	uint64_t widx = atomic_load_explicit(&flow->way->widx, memory_order_relaxed);

	flow->idle = widx == flow->told ? flow->idle + (flow->idle < IDLE_SLEEPS) : 0;
	flow->told = widx;
	atomic_store_explicit(&flow->slot->end[1].processor, here, memory_order_relaxed);
}

/* ---- */

void cw_datagram_offer(struct cw_datagram *socket)
{
	bool locked;

	if (atomic_load_explicit(&socket->asleep, memory_order_seq_cst))
		return;
	locked = cw_rx_enter(socket);
	if (!socket->asleep)
		offer_all(socket);
	cw_rx_exit(socket, locked);
}

static uint64_t edge_of(const struct cw_datagram *socket)
{
	uint64_t edge = socket->edges_before;

	for (uint32_t i = 0; i < socket->in_count; i++)
		edge += atomic_load_explicit(&socket->in[i]->way->widx, memory_order_seq_cst);
	return edge;
}

bool cw_datagram_settle(struct cw_datagram *socket, bool by_edge, uint64_t told)
{
	bool locked = cw_rx_enter(socket), fine = true;
	bool may_leave = by_edge && edge_of(socket) == told;

	for (uint32_t i = 0; i < socket->in_count && fine; i++)
		fine = settle(socket->in[i], may_leave);
	/* The second look (B) for what may be left unread: a writer that came after the first, and before ASLEEP, rings no bell. */
	if (fine && may_leave)
		fine = edge_of(socket) == told;
	if (fine) {
		uint32_t here = cw_aside_here();

		socket->asleep++;
		for (uint32_t i = 0; i < socket->in_count; i++)
			note_sleep(socket->in[i], here);
	} else if (!socket->asleep) {
		offer_all(socket);
	}
	cw_rx_exit(socket, locked);
	return fine;
}

void cw_datagram_rise(struct cw_datagram *socket)
{
	bool locked = cw_rx_enter(socket);

	if (atomic_fetch_sub_explicit(&socket->asleep, 1, memory_order_seq_cst) == 1)
		offer_all(socket);
	cw_rx_exit(socket, locked);
	cw_datagram_awake(socket);
}
