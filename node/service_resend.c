/*
 * A reader leaves shared memory with unread bytes in its ring, and the writer isn't in the library: its bytes are sent again here, through
 * its own socket. By a child, because the socket may have no room for a while; the slot stays in use until it has ended.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "service.h"
#include "sockets/resend.h"
#include "sockets/stream.h"

struct resend {
	struct cw_arena_record *record;
	uint32_t slot, end;
};

static bool holds(const struct cw_mapping *mapping, uint32_t slot, uint32_t end)
{
	uint32_t which = 2 * slot + end;

	return mapping->held[which / 64] >> which % 64 & 1;
}

/* The number that a program has for its end, as its book says; -1 none. */
static int descriptor_of(const struct cw_program *program, uint64_t arena, uint32_t slot, uint32_t end)
{
	uint32_t used = program->book ? cw_book_used(program->book) : 0;

	for (uint32_t i = 0; i < used; i++) {
		struct cw_book_entry *entry = &program->book->entry[i];

		if (atomic_load_explicit(&entry->arena, memory_order_relaxed) == arena &&
		    atomic_load_explicit(&entry->slot, memory_order_relaxed) == slot &&
		    atomic_load_explicit(&entry->end, memory_order_relaxed) == end &&
		    atomic_load_explicit(&entry->kind, memory_order_relaxed) != CW_ENTRY_FREE)
			return atomic_load_explicit(&entry->fd, memory_order_relaxed);
	}
	return -1;
}

/* What a book says is not believed: the socket must be that end of the connection that the slot was given to. */
static bool is_end_of(int fd, const struct cw_tuple *tuple, uint32_t end)
{
	struct cw_tuple found, wanted = *tuple;
	uint64_t cookie;

	if (end) {
		wanted.local = tuple->remote;
		wanted.remote = tuple->local;
		wanted.local_port = tuple->remote_port;
		wanted.remote_port = tuple->local_port;
	}
	return cw_socket_inspect(fd, &found, &cookie) == CW_SOCKET_FINE && memcmp(&found, &wanted, sizeof(found)) == 0;
}

static uint64_t work(int fd, void *argument)
{
	const struct resend *job = argument;

	cw_thread.tid = 0; /* the lock in the slot must name this process, not its parent */
	return cw_resend(cw_arena_slot(&job->record->arena, job->slot), job->end, cw_arena_ring(&job->record->arena, job->slot, job->end),
			 fd);
}

static void done(void *context, uint64_t result)
{
	struct resend *job = context;

	if (result)
		cw_tally(CW_SERVICE_resent);
	cw_slot_unpin(job->record, job->slot, job->end);
	free(job);
}

static bool start(const struct resend *job, int fd)
{
	struct resend *copy = malloc(sizeof(*copy));

	if (!copy)
		return false;
	*copy = *job;
	if (cw_worker(work, copy, fd, done, copy) < 0) {
		free(copy);
		return false;
	}
	cw_slot_pin(job->record, job->slot, job->end);
	return true;
}

static bool resend_by(struct cw_program *writer, const struct resend *job)
{
	int number = descriptor_of(writer, job->record->arena.id, job->slot, job->end);
	int process = number >= 0 ? pidfd_open(writer->pid, 0) : -1;
	int fd = process >= 0 ? pidfd_getfd(process, number, 0) : -1;
	bool started = fd >= 0 && is_end_of(fd, &job->record->tuples[job->slot], job->end) && start(job, fd);

	if (fd >= 0)
		cw_close_foreign(fd);
	if (process >= 0)
		close(process);
	return started;
}

void cw_resend_asked(struct cw_program *reader, const struct cw_message *message)
{
	struct cw_mapping *mapping = cw_mapping_find(reader, message->grant.arena), *other;
	uint32_t slot = message->grant.slot, end = message->grant.end;
	struct resend job;

	if (!mapping)
		return; /* of an earlier instance */
	if (slot >= mapping->record->arena.slots || end > 1 || !holds(mapping, slot, end)) {
		cw_nonsense(reader);
		return;
	}
	job = (struct resend){.record = mapping->record, .slot = slot, .end = 1 - end};
	DL_FOREACH2(mapping->record->mapped, other, arena_next)
	if (holds(other, slot, job.end) && resend_by(other->program, &job))
		return;
}
