/* Steps of a random walk that others take part in: children, borrowers, other threads; and going back to the kernel. */
#include "walking.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>

/* A child goes on with the stream a little. */
void step_fork(struct walker *w)
{
	size_t n = unread(w) ? 1 + any(unread(w)) : 0;

	if (manner.peer == PEER_THREAD || w->child || w->shut || w->e.sent - w->peer_taken + 100 > UNREAD_MOST)
		return;
	doing("%u: a child takes %zu, gives 100", w->e.number, n);
	lend(w);
	if (!lent_take(w, n) || !lent_give(w, 100))
		wrong("%u: the child could not", w->e.number);
	lend_end(w, any(2));
}

/* A process that was forked earlier takes and gives. */
void step_lend(struct walker *w)
{
	size_t n = unread(w) ? 1 + any(unread(w)) : 0, more = 1 + any(3000);

	if (manner.peer == PEER_THREAD)
		return;
	if (!w->child) {
		doing("%u: lend", w->e.number);
		lend(w);
	}
	if (n && any(2)) {
		doing("%u: the borrower takes %zu", w->e.number, n);
		if (!lent_take(w, n))
			wrong("%u: the borrower could not take", w->e.number);
	}
	if (!w->shut && w->e.sent - w->peer_taken + more <= UNREAD_MOST && any(2)) {
		doing("%u: the borrower gives %zu", w->e.number, more);
		if (!lent_give(w, more))
			wrong("%u: the borrower could not give", w->e.number);
	}
	if (!any(3)) {
		doing("%u: the borrower ends", w->e.number);
		lend_end(w, any(2));
	}
}

/* Something that only the kernel has for all bytes; not wanted any more. */
void step_demote(struct walker *w)
{
	if (any(4))
		return;
	doing("%u: demote", w->e.number);
	for (int on = 1; on >= 0; on--)
		setsockopt(any_fd(w), SOL_TCP, TCP_INQ, &on, sizeof(on));
}

static void *step_by_another(void *argument);

struct borrowed {
	void (*act)(struct walker *w);
	struct walker *w;
	uint64_t state;
};

/* The same thread-local model, but another thread makes the call. */
void step_thread(struct walker *w)
{
	struct borrowed by = {NULL, w, 0};
	pthread_t thread;
	size_t n = any_size();
	uint64_t there = unread(w);

	if (n > there)
		n = there;
	if (!n)
		return;
	doing("%u: another thread takes %zu of %lu", w->e.number, n, (unsigned long)there);
	by.state = n;
	MUST(-pthread_create(&thread, NULL, step_by_another, &by));
	pthread_join(thread, NULL);
	w->e.taken += n;
	if (!by.state)
		wrong("%u: another thread could not take %zu", w->e.number, n);
}

static void *step_by_another(void *argument)
{
	struct borrowed *by = argument;
	size_t count = by->state;
	unsigned char *bytes = malloc(count);
	ssize_t n = recv(by->w->fd[0], bytes, count, MSG_WAITALL);

	if (n != (ssize_t)count || content_good(1, by->w->e.taken, bytes, count) < count)
		by->state = 0;
	free(bytes);
	return NULL;
}
