#include "patience.h"

#include <sys/mman.h>

#include "service_inside.h"

#define PORTS      64u /* a place for each port modulo this: who comes later has it */
#define STEP       8u  /* streams in vain, in a row, for which the limits are doubled */
#define DOUBLINGS  5u
#define SCORE_MOST (STEP * DOUBLINGS)
#define SCORE_BITS 16
#define SCORE_MASK ((1u << SCORE_BITS) - 1)
#define PAYS       32u /* messages after its offer with which a stream has paid for its move */
#define BYTES_PAY  1000000u

enum teaches {
	NOTHING, /* not offered, or already judged */
	ALL,
	PAYING, /* others may have used it, so what is missing here says nothing */
};

/*
 * The port and its score in one word each. Relaxed order is enough: the word says all there is to know, nothing else is read on the
 * strength of it, and whoever sees it late waits a little less, or longer.
 */
struct scores {
	_Atomic uint32_t port[PORTS];
};

static struct scores own;
static struct scores *_Atomic scores = &own;

static _Atomic uint32_t *place_of(uint16_t port)
{
	return &atomic_load_explicit(&scores, memory_order_acquire)->port[port % PORTS];
}

/* Other processes write there too: whatever is read is within bounds. */
static uint32_t score_in(uint32_t word, uint16_t port)
{
	uint32_t score = word & SCORE_MASK;

	if (word >> SCORE_BITS != port)
		return 0;
	return score < SCORE_MOST ? score : SCORE_MOST;
}

static void learn(uint16_t port, bool paid)
{
	_Atomic uint32_t *place = place_of(port);
	uint32_t word = atomic_load_explicit(place, memory_order_relaxed), score, next;

	do {
		score = score_in(word, port);
		/* Another port's score isn't forgotten for one that has none. */
		if (paid ? !score : score == SCORE_MOST)
			return;
		next = (uint32_t)port << SCORE_BITS | (paid ? 0 : score + 1);
	} while (!atomic_compare_exchange_weak_explicit(place, &word, next, memory_order_relaxed, memory_order_relaxed));
}

/* Of the end that was connected to. 0: not to be had. */
static uint16_t service_port(const struct cw_stream *stream, int fd)
{
	struct sockaddr_storage end = {0};
	socklen_t size = sizeof(end);
	struct in6_addr address;
	uint16_t port;

	if (cw_raw(stream->accepted ? SYS_getsockname : SYS_getpeername, fd, (long)&end, (long)&size, 0, 0, 0) < 0)
		return 0;
	cw_service_address(&end, &address, &port);
	return port;
}

unsigned cw_patience(struct cw_stream *stream, int fd)
{
	uint16_t port = atomic_load_explicit(&stream->port, memory_order_relaxed);

	if (!cw_policy.number[CW_OPTION_patience] || stream->is_unix)
		return 0;
	if (!port) {
		port = service_port(stream, fd);
		atomic_store_explicit(&stream->port, port, memory_order_relaxed);
	}
	return port ? score_in(atomic_load_explicit(place_of(port), memory_order_relaxed), port) / STEP : 0;
}

static uint64_t messages(const struct cw_stream *stream)
{
	const uint64_t *counter = cw_counters(stream);

	return counter[CW_COUNT_messages_in] + counter[CW_COUNT_messages_out];
}

static uint64_t bytes(const struct cw_stream *stream)
{
	const uint64_t *counter = cw_counters(stream);

	return counter[CW_COUNT_bytes_ring_in] + counter[CW_COUNT_bytes_ring_out] + counter[CW_COUNT_bytes_kernel_in] +
	       counter[CW_COUNT_bytes_kernel_out];
}

void cw_patience_begin(struct cw_stream *stream)
{
	stream->messages_before = messages(stream);
	stream->bytes_before = bytes(stream);
	atomic_store_explicit(&stream->teaches, ALL, memory_order_release);
}

void cw_patience_end(struct cw_stream *stream, enum cw_phase phase)
{
	uint8_t teaches = atomic_exchange_explicit(&stream->teaches, NOTHING, memory_order_acquire);
	uint16_t port = atomic_load_explicit(&stream->port, memory_order_relaxed);
	bool paid;

	if (teaches == NOTHING || !port || (phase != CW_OFFERED && phase != CW_MOVED) ||
	    atomic_load_explicit(&cw_own_book.entry[stream->number].kind, memory_order_relaxed) == CW_ENTRY_DEMOTED)
		return;
	paid = messages(stream) - stream->messages_before >= PAYS || bytes(stream) - stream->bytes_before >= BYTES_PAY;
	if (paid || teaches == ALL)
		learn(port, paid);
}

void cw_patience_exit(void)
{
	for (uint32_t i = 0, count = cw_streams_used(); i < count; i++)
		if (atomic_load_explicit(&cw_streams[i].references, memory_order_acquire) > 0)
			cw_patience_end(&cw_streams[i], atomic_load_explicit(&cw_streams[i].phase, memory_order_acquire));
}

void cw_patience_share(void)
{
	struct scores *before = &own;
	void *memory;

	/* Not for every shell: who has no socket yet, be it a listener, is no server's first process. */
	if (!cw_policy.number[CW_OPTION_patience] || !cw_streams_used() || atomic_load_explicit(&scores, memory_order_relaxed) != before)
		return;
	memory = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return;
	for (unsigned i = 0; i < PORTS; i++)
		((struct scores *)memory)->port[i] = atomic_load_explicit(&own.port[i], memory_order_relaxed);
	if (!atomic_compare_exchange_strong_explicit(&scores, &before, memory, memory_order_release, memory_order_relaxed))
		munmap(memory, sizeof(own)); /* another thread forks too */
}

void cw_patience_inherit(struct cw_stream *stream)
{
	uint8_t all = ALL;

	atomic_compare_exchange_strong_explicit(&stream->teaches, &all, PAYING, memory_order_relaxed, memory_order_relaxed);
}

void cw_patience_child(struct cw_stream *stream)
{
	stream->messages_before = stream->bytes_before = 0;
}
