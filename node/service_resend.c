/* A reader leaves shared memory with unread bytes in its ring, and the writer isn't in the library: its bytes are sent again here, through its own socket. */
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "service.h"
#include "sockets/resend.h"

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
		    atomic_load_explicit(&entry->slot, memory_order_relaxed) == slot && atomic_load_explicit(&entry->end, memory_order_relaxed) == end &&
		    atomic_load_explicit(&entry->kind, memory_order_relaxed) != CW_ENTRY_FREE)
			return atomic_load_explicit(&entry->fd, memory_order_relaxed);
	}
	return -1;
}

/* What a book says is not believed: the socket must be an end of the connection that the slot was given to. */
static bool is_end_of(int fd, const struct cw_tuple *tuple)
{
	struct cw_tuple found;
	uint64_t cookie;

	if (cw_socket_inspect(fd, &found, &cookie) == CW_SOCKET_REFUSED || found.netns != tuple->netns)
		return false;
	return (found.local_port == tuple->local_port && found.remote_port == tuple->remote_port && !memcmp(&found.local, &tuple->local, 16)) ||
	       (found.local_port == tuple->remote_port && found.remote_port == tuple->local_port && !memcmp(&found.local, &tuple->remote, 16));
}

static bool resend_by(struct cw_program *writer, struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	int number = descriptor_of(writer, record->arena.id, slot, end);
	int process = number >= 0 ? pidfd_open(writer->pid, 0) : -1;
	int fd = process >= 0 ? pidfd_getfd(process, number, 0) : -1;
	bool done = fd >= 0 && is_end_of(fd, &record->tuples[slot]) &&
		    cw_resend(cw_arena_slot(&record->arena, slot), end, cw_arena_ring(&record->arena, slot, end), fd);

	if (fd >= 0)
		close(fd);
	if (process >= 0)
		close(process);
	return done;
}

void cw_resend_asked(struct cw_program *reader, const struct cw_message *message)
{
	struct cw_mapping *mapping = cw_mapping_find(reader, message->grant.arena), *other;
	uint32_t slot = message->grant.slot, end = message->grant.end;

	if (!mapping || slot >= mapping->record->arena.slots || end > 1 || !holds(mapping, slot, end)) {
		cw_nonsense(reader);
		return;
	}
	for (other = mapping->record->mapped; other; other = other->arena_next)
		if (holds(other, slot, 1 - end) && resend_by(other->program, mapping->record, slot, 1 - end)) {
			cw_count(CW_SERVICE_resent);
			return;
		}
}
