/* LIST: every socket of every program, as JSON. Made by a child, from the state at the moment of the question. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service.h"
#include "sockets_table.h"

struct question {
	bool all;
	uid_t uid;
};

static void put(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)(value & INT64_MAX)));
}

static void put_address(json_t *object, const char *key, const struct in6_addr *address, uint16_t port)
{
	char text[64];

	cw_address_text(text, sizeof(text), address, port);
	json_object_set_new(object, key, json_string(text));
}

static const char *const protocol_names[] = {"tcp", "udp", "unix"};

static void put_end(json_t *object, const char *key, const struct cw_tuple *tuple, bool remote)
{
	char text[64];

	if (tuple->protocol != CW_TUPLE_UNIX) {
		put_address(object, key, remote ? &tuple->remote : &tuple->local, remote ? tuple->remote_port : tuple->local_port);
		return;
	}
	snprintf(text, sizeof(text), "inode %" PRIu64, cw_unix_inode(remote ? &tuple->remote : &tuple->local));
	json_object_set_new(object, key, json_string(text));
}

static const char *const state_names[CW_STATES] = {"taken", "consent", "live", "asleep", "sealed"};

static json_t *state_of(const struct cw_direction *direction)
{
	enum cw_state state = cw_state_of(atomic_load_explicit(&direction->state, memory_order_acquire));

	return json_string(state < CW_STATES ? state_names[state] : "nonsense");
}

uint64_t cw_unread(const struct cw_direction *direction)
{
	uint64_t roff = atomic_load_explicit(&direction->roff, memory_order_acquire);
	uint64_t widx = atomic_load_explicit(&direction->widx, memory_order_acquire);

	/* The reader may be beyond it: then what it read came by the kernel. */
	return widx - roff <= CW_RING_MAX ? widx - roff : 0;
}

static void put_counters(json_t *object, const struct cw_book_entry *entry)
{
	json_t *bytes = json_object();

	json_object_set_new(object, "bytes", bytes);
	put(object, "messages", entry->counter[CW_COUNT_messages_in] + entry->counter[CW_COUNT_messages_out]);
	for (unsigned i = 0; i < CW_COUNTERS; i++) {
		const char *name = cw_counter_name((enum cw_counter)i);

		if (strncmp(name, "bytes_", 6) == 0)
			put(bytes, name + 6, entry->counter[i]);
		else
			put(object, name, entry->counter[i]);
	}
}

/* The entry says which slot; that the program holds it is what we know ourselves. */
static const struct cw_arena_record *record_of(const struct cw_program *program, const struct cw_book_entry *entry, uint32_t *slot,
					       uint32_t *end)
{
	const struct cw_mapping *mapping = cw_mapping_find(program, atomic_load_explicit(&entry->arena, memory_order_relaxed));
	uint32_t which;

	*slot = atomic_load_explicit(&entry->slot, memory_order_relaxed);
	*end = atomic_load_explicit(&entry->end, memory_order_relaxed);
	if (!mapping || *slot >= mapping->record->arena.slots || *end > 1)
		return NULL;
	which = 2 * *slot + *end;
	return mapping->held[which / 64] >> which % 64 & 1 ? mapping->record : NULL;
}

static void put_ring(json_t *object, const struct cw_arena_record *record, uint32_t slot, uint32_t end)
{
	const struct cw_slot *words = cw_arena_slot(&record->arena, slot);
	const struct cw_tuple *tuple = &record->tuples[slot]; /* as end 0 sees it */
	json_t *queue = json_object(), *state = json_object();

	put_end(object, "local", tuple, end);
	put_end(object, "remote", tuple, !end);
	put(queue, "in", cw_unread(&words->direction[1 - end]));
	put(queue, "out", cw_unread(&words->direction[end]));
	json_object_set_new(object, "queue", queue);
	json_object_set_new(state, "in", state_of(&words->direction[1 - end]));
	json_object_set_new(state, "out", state_of(&words->direction[end]));
	json_object_set_new(object, "state", state);
}

static void put_kernel(json_t *object, const struct cw_kernel_socket *kernel)
{
	json_t *queue = json_object(), *state = json_object();

	put_address(object, "local", &kernel->local, kernel->local_port);
	put_address(object, "remote", &kernel->remote, kernel->remote_port);
	put(queue, "in", kernel->queue_in);
	put(queue, "out", kernel->queue_out);
	json_object_set_new(object, "queue", queue);
	json_object_set_new(state, "tcp", json_string(cw_tcp_state_name(kernel->state)));
	json_object_set_new(object, "state", state);
}

static json_t *socket_json(const struct cw_program *program, const struct cw_book_entry *entry, uint32_t kind)
{
	uint32_t reason = atomic_load_explicit(&entry->reason, memory_order_relaxed), slot, end;
	int fd = atomic_load_explicit(&entry->fd, memory_order_relaxed);
	const struct cw_arena_record *record = kind == CW_ENTRY_MOVED ? record_of(program, entry, &slot, &end) : NULL;
	uint32_t protocol = atomic_load_explicit(&entry->protocol, memory_order_relaxed);
	const char *name = protocol_names[protocol < CW_ARRAY_SIZE(protocol_names) ? protocol : 0];
	const struct cw_kernel_socket *kernel = NULL;
	json_t *object = json_object();

	if (cw_program_silent(program))
		json_object_set_new(object, "pid", json_null());
	else
		put(object, "pid", (uint64_t)program->pid);
	json_object_set_new(object, "command", json_string_nocheck(program->command));
	put(object, "fd", (uint64_t)(fd < 0 ? 0 : fd));
	json_object_set_new(object, "protocol", json_string(name));
	json_object_set_new(object, "transport", json_string(record ? "shm" : name));
	if (!record) {
		json_object_set_new(object, "reason", json_string(cw_reason_name((enum cw_reason)reason)));
		json_object_set_new(object, "demoted", json_boolean(kind == CW_ENTRY_DEMOTED));
		kernel = protocol || cw_program_silent(program) ? NULL : cw_kernel_socket_of(program->pid, fd);
	}
	if (record)
		put_ring(object, record, slot, end);
	else if (kernel)
		put_kernel(object, kernel);
	put_counters(object, entry);
	return object;
}

static void add_program(json_t *list, const struct cw_program *program)
{
	for (uint32_t i = 0; i < cw_book_used(program->book); i++) {
		const struct cw_book_entry *entry = &program->book->entry[i];
		uint32_t kind = atomic_load_explicit(&entry->kind, memory_order_acquire);

		if (kind == CW_ENTRY_OPEN || kind == CW_ENTRY_MOVED || kind == CW_ENTRY_DEMOTED)
			json_array_append_new(list, socket_json(program, entry, kind));
	}
}

static uint64_t list(int fd, void *argument)
{
	const struct question *question = argument;
	struct cw_program *program, *next;
	json_t *all = json_array();

	HASH_ITER(hh, service.programs, program, next)
	if (question->all || program->peer.uid == question->uid)
		add_program(all, program);
	return cw_send_text(fd, CW_LIST, all) == 0;
}

int cw_send_text(int fd, enum cw_message_type type, json_t *json)
{
	struct cw_message answer = cw_link_message(type);
	int file = memfd_create("causeway answer", MFD_CLOEXEC), result = -1;

	if (file >= 0 && json_dumpfd(json, file, JSON_INDENT(1)) == 0)
		result = cw_link_send(fd, &answer, &file, 1);
	if (file >= 0)
		close(file);
	return result;
}

void cw_list(struct cw_program *sender)
{
	struct question question = {.all = cw_may_command(sender), .uid = sender->peer.uid};
	struct cw_message refusal = cw_link_message(CW_LIST);

	if (cw_worker_asked(sender->peer.uid, list, &question, sender->source.fd, NULL, NULL) == 0)
		return;
	refusal.status = EAGAIN;
	cw_link_send(sender->source.fd, &refusal, NULL, 0);
}
