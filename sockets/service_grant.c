#include "service_inside.h"

#include "bell.h"
#include "datagram.h"
#include "fork.h"
#include "switch.h"

bool cw_service_has_mail(void)
{
	return atomic_load_explicit(&cw_own_book.mail, memory_order_acquire) !=
	       atomic_load_explicit(&cw_service.mail_seen, memory_order_relaxed);
}

static bool attach(const struct cw_message *message, struct cw_arena *arena)
{
	struct cw_stream *stream;
	struct cw_book_entry *entry;
	uint8_t offered = CW_OFFERED;

	if (message->grant.token.index & CW_FLOW_TOKEN)
		return arena && cw_arena_slot(arena, message->grant.slot) &&
		       cw_flow_attach(message->grant.token.index & ~CW_FLOW_TOKEN, message->grant.token.generation, arena,
				      message->grant.slot, message->grant.end, &message->grant.local);
	if (message->grant.token.index >= CW_BOOK_ENTRIES)
		return false;
	stream = &cw_streams[message->grant.token.index];
	if (atomic_load_explicit(&stream->generation, memory_order_acquire) != message->grant.token.generation || !cw_family_alone(stream))
		return false;
	if (!arena || !cw_arena_slot(arena, message->grant.slot) || message->grant.end > 1)
		return false;
	if (!atomic_compare_exchange_strong_explicit(&stream->phase, &offered, CW_MOVED, memory_order_acq_rel, memory_order_relaxed))
		return false;
	atomic_store_explicit(&stream->offer, 0, memory_order_relaxed); /* taken up, as it is answered */
	entry = &cw_own_book.entry[stream->number];
	atomic_store_explicit(&entry->arena, arena->id, memory_order_relaxed);
	atomic_store_explicit(&entry->slot, message->grant.slot, memory_order_relaxed);
	atomic_store_explicit(&entry->end, message->grant.end, memory_order_relaxed);
	atomic_store_explicit(&entry->reason, CW_REASON_none, memory_order_relaxed);
	atomic_store_explicit(&entry->kind, CW_ENTRY_MOVED, memory_order_relaxed);
	cw_switch_attach(stream, arena, message->grant.slot, message->grant.end);
	return true;
}

bool cw_service_attached(const struct cw_stream *stream)
{
	/* Who attaches holds the lock from before the phase says so until the slot is there. */
	if (cw_service_lock())
		cw_service_unlock();
	return stream->slot != NULL;
}

static void refuse(const struct cw_message *message, const struct cw_arena *arena)
{
	const struct cw_slot *slot = arena ? cw_arena_slot(arena, message->grant.slot) : NULL;

	/* The other end may be using its side already: it must not wait for us by ring. */
	if (slot && message->grant.end < 2) {
		struct cw_slot *words = cw_arena_slot(arena, message->grant.slot);

		cw_state_mark(&words->direction[message->grant.end].state, CW_MARK_LEFT);
		cw_state_mark(&words->direction[1 - message->grant.end].state, CW_MARK_LEFT | CW_MARK_READER_GONE);
	}
	cw_service_tell_slot(CW_RELEASE, &message->grant.token, message->grant.arena, message->grant.slot, message->grant.end);
}

static void take_grant(const struct cw_message *message, const int *descriptors, int count)
{
	struct cw_arena *arena;

	arena = count ? cw_arena_map(descriptors[0], message->grant.arena) : cw_arena_find(message->grant.arena);
	if (count && arena)
		cw_bell_keep(arena, descriptors[0]);
	if (!attach(message, arena))
		refuse(message, arena);
}

void cw_service_take_mail_locked(int fd)
{
	struct cw_message message;
	int descriptors[2], count;

	atomic_store_explicit(&cw_service.mail_seen, atomic_load_explicit(&cw_own_book.mail, memory_order_acquire), memory_order_relaxed);
	while ((count = cw_service_receive(fd, &message, descriptors, MSG_DONTWAIT)) >= 0) {
		if (message.type == CW_GRANT)
			take_grant(&message, descriptors, count);
		while (count)
			cw_raw_close(descriptors[--count]);
	}
	if (count != -EAGAIN && count != -EINTR)
		cw_service_hang_up();
}

void cw_service_take_mail(void)
{
	int error = errno, fd = atomic_load_explicit(&cw_service_fd, memory_order_acquire);

	if (fd < 0 || cw_service.owner != cw_own_pid() || !cw_service_lock())
		return;
	cw_service_take_mail_locked(fd);
	cw_service_unlock();
	errno = error;
}
