/*
 * How long a word takes to another node and back by memory: ping-pong on words of the two pages in which the nodes beat (struct cw_echo).
 * Only when somebody wants to know (`causeway nodes`): each service has a child that looks, for LIMIT_NS at most, so that neither's loop
 * waits, and what is idle stays idle.
 *
 *   asker                          the other
 *   ECHO_ASKED: my echo i     ->   a child looks at asked of the asker's echo i
 *                             <-   ECHOING: in mine of number k
 *   a child stores numbers there, and looks for each in answered of the other's echo k
 *
 * Numbers begin with the asker's nonce, so what an earlier one has left is none of them. Both write to all pages of their own that there
 * are: which of them the other sees is its affair.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "service_between.h"
#include "sync/cpu.h"

#define ROUNDS   16u /* where the two have no processor at the same time each takes a turn of the scheduler's */
#define LIMIT_NS 300000000ull
#define WAIT_NS  700000000ull  /* for the other's word, and for the child */
#define FRESH_NS 1000000000ull /* it isn't measured anew for whoever asks in a loop */
#define LOOKS    200           /* before others get the processor */
#define NONCE(n) ((n) & ~0xffffull)

enum phase { NOTHING, ASKED, MEASURING, MEASURED };

/* What this node wants to know of another; its place is the number of its echo. */
static struct asking {
	struct cw_timer limit;
	enum phase phase;
	uint64_t node, nonce, ns, at;
} askings[CW_ECHOES];

/* And what it does for another. */
static struct {
	bool busy;
	uint64_t node;
} answering[CW_ECHOES];

struct work {
	const _Atomic uint64_t *theirs;
	_Atomic uint64_t *ours[2];
	uint64_t nonce;
};

/* ---- the children ---- */

static void put(const struct work *work, uint64_t value)
{
	for (unsigned i = 0; i < 2; i++)
		if (work->ours[i])
			atomic_store_explicit(work->ours[i], value, memory_order_release);
}

/* False: not until then. */
static bool await(const _Atomic uint64_t *word, uint64_t value, uint64_t end)
{
	for (unsigned looks = 1; atomic_load_explicit(word, memory_order_acquire) != value; looks++) {
		cw_pause();
		if (looks % LOOKS)
			continue;
		if (cw_monotonic_ns() > end)
			return false;
		sched_yield();
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

static uint64_t measure(int fd, void *argument)
{
	const struct work *work = argument;
	uint64_t took[ROUNDS], end = cw_monotonic_ns() + LIMIT_NS;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t begin = cw_monotonic_ns();

		put(work, work->nonce | (i + 1));
		if (!await(work->theirs, work->nonce | (i + 1), end))
			return 0;
		took[i] = cw_monotonic_ns() - begin;
	}
	qsort(took, ROUNDS, sizeof(took[0]), compare);
	return took[ROUNDS / 2] ? took[ROUNDS / 2] : 1;
}

static uint64_t answer(int fd, void *argument)
{
	const struct work *work = argument;
	uint64_t end = cw_monotonic_ns() + LIMIT_NS;

	for (uint64_t i = 0; i < ROUNDS && await(work->theirs, work->nonce | (i + 1), end); i++)
		put(work, work->nonce | (i + 1));
	return 1;
}

/* ---- asking ---- */

static struct asking *find(uint64_t node)
{
	for (unsigned i = 0; i < CW_ECHOES; i++)
		if (askings[i].phase != NOTHING && askings[i].node == node)
			return &askings[i];
	return NULL;
}

/* A free one; else the one whose answer is the oldest. */
static struct asking *take(void)
{
	struct asking *oldest = NULL;

	for (unsigned i = 0; i < CW_ECHOES; i++) {
		if (askings[i].phase == NOTHING)
			return &askings[i];
		if (askings[i].phase == MEASURED && (!oldest || askings[i].at < oldest->at))
			oldest = &askings[i];
	}
	return oldest;
}

static void settle(struct asking *asking, uint64_t ns)
{
	cw_timer_stop(&asking->limit);
	asking->phase = MEASURED;
	asking->ns = ns;
	asking->at = cw_monotonic_ns();
}

static void no_answer(struct cw_timer *timer)
{
	settle((struct asking *)((char *)timer - offsetof(struct asking, limit)), 0);
}

static void begin(const struct cw_node *node)
{
	struct asking *asking = find(node->id);
	struct cw_between words = cw_between_words(CW_ECHO_ASKED);

	if (asking && (asking->phase != MEASURED || cw_monotonic_ns() - asking->at < FRESH_NS))
		return;
	if (!asking)
		asking = take();
	if (!asking || getrandom(&asking->nonce, sizeof(asking->nonce), 0) != sizeof(asking->nonce))
		return;
	asking->node = node->id;
	asking->nonce = NONCE(asking->nonce);
	words.echo.nonce = asking->nonce;
	words.echo.asked = (uint32_t)(asking - askings);
	if (!cw_between_say(node, &words))
		return;
	asking->phase = ASKED;
	asking->limit.expired = no_answer;
	cw_timer_set(&asking->limit, WAIT_NS);
}

/* Its asking may have been given up, and be another's. */
static void measured(void *context, uint64_t ns)
{
	uint64_t *nonce = context;

	for (unsigned i = 0; i < CW_ECHOES; i++)
		if (askings[i].phase == MEASURING && askings[i].nonce == *nonce)
			settle(&askings[i], ns);
	free(nonce);
}

static void echoing(const struct cw_node *node, const struct cw_between *words)
{
	struct asking *asking = find(node->id);
	struct cw_echo *here = cw_pulse_echoes(), *there = cw_device_echoes();
	unsigned number = asking ? (unsigned)(asking - askings) : 0;
	uint64_t *nonce;
	struct work work;

	if (!asking || asking->phase != ASKED || words->echo.nonce != asking->nonce || words->echo.answered >= CW_ECHOES || !node->echoes)
		return;
	work = (struct work){.theirs = &node->echoes[words->echo.answered].answered,
			     .ours = {here ? &here[number].asked : NULL, there ? &there[number].asked : NULL},
			     .nonce = asking->nonce};
	cw_tally(CW_SERVICE_echoes);
	asking->phase = MEASURING;
	nonce = malloc(sizeof(*nonce));
	if (nonce)
		*nonce = asking->nonce;
	if (!nonce || cw_worker(measure, &work, -1, measured, nonce) < 0) {
		free(nonce);
		settle(asking, 0);
	}
}

/* ---- answering ---- */

static void answered(void *context, uint64_t result)
{
	*(bool *)context = false;
}

static int free_echo(uint64_t node)
{
	int found = -1;

	for (int i = 0; i < (int)CW_ECHOES; i++)
		if (answering[i].busy && answering[i].node == node)
			return -1;
		else if (!answering[i].busy)
			found = i;
	return found;
}

static void asked(const struct cw_node *node, const struct cw_between *words)
{
	struct cw_between reply = cw_between_words(CW_ECHOING);
	struct cw_echo *here = cw_pulse_echoes(), *there = cw_device_echoes();
	int number = free_echo(node->id);
	struct work work;

	if (number < 0 || words->echo.asked >= CW_ECHOES || !node->echoes)
		return;
	work = (struct work){.theirs = &node->echoes[words->echo.asked].asked,
			     .ours = {here ? &here[number].answered : NULL, there ? &there[number].answered : NULL},
			     .nonce = NONCE(words->echo.nonce)};
	if (cw_worker(answer, &work, -1, answered, &answering[number].busy) < 0)
		return;
	cw_tally(CW_SERVICE_echoes);
	answering[number].busy = true;
	answering[number].node = node->id;
	reply.echo.nonce = words->echo.nonce;
	reply.echo.answered = (uint32_t)number;
	cw_between_say(node, &reply);
}

bool cw_echo_said(struct cw_node *node, const struct cw_between *words)
{
	if (words->kind == CW_ECHO_ASKED)
		asked(node, words);
	else if (words->kind == CW_ECHOING)
		echoing(node, words);
	return words->kind == CW_ECHO_ASKED || words->kind == CW_ECHOING;
}

/* ---- telling ---- */

void cw_echo_node_down(const struct cw_node *node)
{
	struct asking *asking = find(node->id);

	if (!asking)
		return;
	settle(asking, 0);
	asking->phase = NOTHING;
}

static struct cw_memory_round_trip tell(uint64_t id, bool measure_it)
{
	const struct cw_cluster_node *known = cw_cluster_node(id);
	const struct cw_node *node = known && known->up ? cw_node_of_id(id) : NULL;
	const struct asking *asking;

	if (!node || !node->echoes)
		return (struct cw_memory_round_trip){0};
	if (measure_it)
		begin(node);
	asking = find(id);
	return (struct cw_memory_round_trip){.ns = asking && asking->phase == MEASURED ? asking->ns : 0,
					     .measuring = asking && asking->phase != MEASURED};
}

void cw_echo_begin(void)
{
	cw_cluster_on_memory_round_trip(tell);
}
