/*
 * A reader leaves shared memory with unread bytes in its ring, and the writer isn't in the library: its bytes are sent again here, through
 * its own socket. By a child, because the socket may have no room for a while; the slot stays in use until it has ended.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "service.h"
#include "service_between.h"
#include "sockets/datagram.h"
#include "sockets/resend.h"
#include "sockets/stream.h"

struct resend {
	struct cw_arena_record *record;
	uint32_t slot, end;
};

#define DESCRIPTOR_WORK 500 /* another's descriptor looked at, in entries of a book */

static uint64_t looked_at; /* entries, for who asks now */

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

		looked_at++;
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
	const struct cw_tuple *tuple = &job->record->tuples[job->slot];

	cw_thread.tid = 0; /* the lock in the slot must name this process, not its parent */
	if (tuple->protocol == IPPROTO_UDP)
		return cw_flow_resend(cw_arena_slot(&job->record->arena, job->slot), cw_arena_ring(&job->record->arena, job->slot, 0), fd,
				      &tuple->remote, tuple->remote_port);
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

/* A program may have a socket for each of its addresses, with one port (DNS). */
static bool is_sender_of(int fd, const struct cw_tuple *tuple)
{
	struct sockaddr_storage name;
	socklen_t length = sizeof(name), size = sizeof(int);
	struct in6_addr address;
	int protocol = 0;
	uint16_t port;

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_UDP &&
	       getsockname(fd, (struct sockaddr *)&name, &length) == 0 && cw_socket_address(&name, &address, &port) &&
	       port == tuple->local_port && cw_socket_cookie(fd, SO_NETNS_COOKIE) == tuple->netns &&
	       (cw_socket_is_any(&address) || memcmp(&address, &tuple->local, sizeof(address)) == 0);
}

/* A datagram socket has many flows, of which its entry names but one: each is looked at. */
static int sender_of(struct cw_program *program, const struct cw_tuple *tuple)
{
	uint32_t used = program->book ? cw_book_used(program->book) : 0;
	int process = used ? pidfd_open(program->pid, 0) : -1, found = -1;

	for (uint32_t i = 0; i < used && process >= 0 && found < 0 && !cw_closing_has_much(program); i++) {
		const struct cw_book_entry *entry = &program->book->entry[i];

		looked_at++;
		if (atomic_load_explicit(&entry->kind, memory_order_relaxed) == CW_ENTRY_FREE ||
		    atomic_load_explicit(&entry->protocol, memory_order_relaxed) != 1)
			continue;
		looked_at += DESCRIPTOR_WORK;
		found = pidfd_getfd(process, atomic_load_explicit(&entry->fd, memory_order_relaxed), 0);
		if (found >= 0 && !is_sender_of(found, tuple)) {
			cw_close_foreign(program, found);
			found = -1;
		}
	}
	if (process >= 0)
		close(process);
	return found;
}

static bool resend_flow_by(struct cw_program *writer, const struct resend *job)
{
	int fd = sender_of(writer, &job->record->tuples[job->slot]);
	bool started = fd >= 0 && start(job, fd);

	if (fd >= 0)
		cw_close_foreign(writer, fd);
	return started;
}

/* A descriptor of that end, the program's own socket; -1: it has none. */
static int socket_of(struct cw_program *program, const struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	int number = record->tuples[slot].protocol == IPPROTO_UDP ? -1 : descriptor_of(program, record->arena.id, slot, end);
	int process = number >= 0 ? pidfd_open(program->pid, 0) : -1;
	int fd = process >= 0 ? pidfd_getfd(process, number, 0) : -1;

	if (process >= 0)
		close(process);
	if (fd < 0 || is_end_of(fd, &record->tuples[slot], end))
		return fd;
	cw_close_foreign(program, fd);
	return -1;
}

static bool resend_by(struct cw_program *writer, const struct resend *job)
{
	int fd = socket_of(writer, job->record, job->slot, job->end);
	bool started = fd >= 0 && start(job, fd);

	if (fd >= 0)
		cw_close_foreign(writer, fd);
	return started;
}

/* Disconnecting sends a reset, and wakes whoever waits for the socket. */
static void reset(struct cw_program *program, const struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	int fd = socket_of(program, record, slot, end);

	if (fd < 0)
		return;
	if (connect(fd, &nowhere, sizeof(nowhere)) < 0)
		shutdown(fd, SHUT_RDWR); /* AF_UNIX */
	cw_close_foreign(program, fd);
}

void cw_reset_here(const struct cw_arena_record *record)
{
	const struct cw_mapping *mapping;

	DL_FOREACH2(record->mapped, mapping, arena_next)
	for (uint32_t which = 0; !mapping->program->node && which < 2 * record->arena.slots; which++)
		if (holds(mapping, which / 2, which % 2))
			reset(mapping->program, record, which / 2, which % 2);
}

bool cw_resend_here(struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	struct resend job = {.record = record, .slot = slot, .end = end};
	struct cw_mapping *other;

	looked_at = 0;
	DL_FOREACH2(record->mapped, other, arena_next)
	if (looked_at < CW_MUCH_WORK && holds(other, slot, end) &&
	    (record->tuples[slot].protocol == IPPROTO_UDP ? resend_flow_by(other->program, &job) : resend_by(other->program, &job)))
		return true;
	return false;
}

void cw_resend_asked(struct cw_program *reader, const struct cw_message *message)
{
	struct cw_mapping *mapping = cw_mapping_find(reader, message->grant.arena);
	uint32_t slot = message->grant.slot, end = message->grant.end;

	if (!mapping)
		return; /* of an earlier instance */
	if (slot >= mapping->record->arena.slots || end > 1) {
		cw_nonsense(reader);
		return;
	}
	if (!holds(mapping, slot, end))
		return; /* another thread's close gave it back before */
	if (!cw_resend_here(mapping->record, slot, 1 - end))
		cw_between_ask_resend(mapping->record, slot, 1 - end);
	cw_program_asked_for(reader, looked_at);
}
