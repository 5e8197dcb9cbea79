/*
 * A program that does not fetch its messages gets its grants later, not never: they wait here. It can have no more grants than offers,
 * and no more offers than entries in its book, so this is bounded.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "service.h"

struct cw_grant {
	struct cw_message message;
	struct cw_mapping *mapping; /* whose descriptor goes with it, if the program doesn't have it yet */
	struct cw_grant *next, *prev;
};

/* The mail word is raised after the message is in the program's queue. */
static bool send_now(struct cw_program *program, const struct cw_message *message, struct cw_mapping *mapping)
{
	if (cw_link_send(program->source.fd, message, &mapping->record->fd, mapping->sent ? 0 : 1) < 0)
		return false;
	mapping->sent = true;
	program->grants++;
	atomic_fetch_add_explicit(&program->book->mail, 1, memory_order_release);
	return true;
}

static void want_writing(struct cw_program *program, bool wanted)
{
	if (program->writing == wanted)
		return;
	program->writing = wanted;
	if (!program->held)
		cw_loop_change(&program->source, EPOLLIN | EPOLLRDHUP | (wanted ? EPOLLOUT : 0));
}

/* May it succeed later? Only EAGAIN is told by EPOLLOUT; after the others the program's next message, or next grant, is the occasion. */
static bool passing(void)
{
	return errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS;
}

void cw_grant_send(struct cw_program *program, const struct cw_message *message, struct cw_mapping *mapping)
{
	struct cw_grant *grant;

	if (program->outbox)
		cw_outbox_flush(program);
	if (!program->outbox) {
		if (send_now(program, message, mapping))
			return;
		/* EPIPE and the like: the end of the connection is on its way to us, and takes the slot back. */
		if (!passing())
			return;
		want_writing(program, errno == EAGAIN);
	}
	grant = malloc(sizeof(*grant));
	if (!grant)
		return; /* the other end offers the ring to nobody, and the stream stays on the kernel */
	*grant = (struct cw_grant){.message = *message, .mapping = mapping};
	DL_APPEND(program->outbox, grant);
	cw_tally(CW_SERVICE_grants_queued);
}

void cw_outbox_flush(struct cw_program *program)
{
	struct cw_grant *grant;

	while ((grant = program->outbox)) {
		if (!send_now(program, &grant->message, grant->mapping)) {
			if (passing())
				return;
			cw_outbox_drop(program);
			break;
		}
		DL_DELETE(program->outbox, grant);
		free(grant);
	}
	want_writing(program, false);
}

/* A slot can be given back before its grant was fetched, by a program that guesses. */
void cw_outbox_forget(const struct cw_mapping *mapping)
{
	struct cw_grant *grant, *next;

	DL_FOREACH_SAFE(mapping->program->outbox, grant, next)
	if (grant->mapping == mapping) {
		DL_DELETE(mapping->program->outbox, grant);
		free(grant);
	}
}

/* A child holds what its parent was told it holds. */
bool cw_outbox_holds(const struct cw_program *program, uint64_t arena, uint32_t end)
{
	const struct cw_grant *grant;

	DL_FOREACH(program->outbox, grant)
	if (grant->message.grant.arena == arena && 2 * grant->message.grant.slot + grant->message.grant.end == end)
		return true;
	return false;
}

void cw_outbox_drop(struct cw_program *program)
{
	struct cw_grant *grant;

	while ((grant = program->outbox)) {
		DL_DELETE(program->outbox, grant);
		free(grant);
	}
}
