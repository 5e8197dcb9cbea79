#include "children.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "service_inside.h"

#define TRIES 16 /* places that are looked at */

static struct cw_children_memory *children;
static _Atomic int connection = -1;
static uint32_t place = CW_CHILD_PLACES; /* of this process; CW_CHILD_PLACES: none */
static bool asked, stopped, told;

static void open_connection(int fd)
{
	struct cw_message question = cw_service_message(CW_CHILDREN), answer;
	int descriptors[2], count;

	question.run.run = cw_service.run;
	count = cw_service_send(fd, &question, -1, 0) ? cw_service_receive(fd, &answer, descriptors, 0) : -EPIPE;
	if (count == 1 && answer.type == CW_CHILDREN && !answer.status)
		children = cw_window_map(descriptors[0], sizeof(*children), true);
	while (count > 0)
		cw_raw_close(descriptors[--count]);
	if (!children) {
		cw_raw_close(fd);
		return;
	}
	fd = cw_service_move_high(fd);
	cw_table_put(fd, CW_FD_OWN, 0);
	atomic_store_explicit(&connection, fd, memory_order_release);
}

void cw_children_ask(void)
{
	int fd;

	if (asked || stopped)
		return;
	asked = true;
	fd = cw_service_open();
	if (fd >= 0)
		open_connection(fd);
}

bool cw_children_has(void)
{
	return place < CW_CHILD_PLACES;
}

bool cw_children_beyond(uint32_t number)
{
	return cw_unlikely(number >= CW_CHILD_ENTRIES) && cw_children_has();
}

void cw_children_begin(void)
{
	place = CW_CHILD_PLACES;
	told = false;
}

void cw_children_stop(void)
{
	stopped = true;
}

/* One with our own number is dead: the number is ours. */
static bool is_free(uint32_t pid, uint32_t own)
{
	return !pid || pid == own || (pid != CW_CHILD_LEAVES && cw_raw(SYS_kill, (long)pid, 0, 0, 0, 0, 0) == -ESRCH);
}

static bool claim(uint32_t *at, uint32_t *before)
{
	uint32_t own = cw_own_pid();

	for (unsigned i = 0; i < TRIES; i++) {
		*at = atomic_fetch_add_explicit(&children->head.next, 1, memory_order_relaxed) % CW_CHILD_PLACES;
		*before = atomic_load_explicit(&children->head.pid[*at], memory_order_relaxed);
		if (is_free(*before, own) && atomic_compare_exchange_strong_explicit(&children->head.pid[*at], before, own,
										     memory_order_acq_rel, memory_order_relaxed))
			return true;
	}
	return false;
}

/* The same pages once more (mremap(2): of no bytes). */
static bool map_place(uint32_t at)
{
	return cw_raw(SYS_mremap, (long)children->book[at], 0, CW_CHILD_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, (long)&cw_own_book, 0) ==
	       (long)&cw_own_book;
}

/* Each is taken away before it is added: who is killed in between loses a number, and counts none twice. */
static void carry(_Atomic uint64_t *from, _Atomic uint64_t *to)
{
	if (atomic_load_explicit(from, memory_order_relaxed))
		atomic_fetch_add_explicit(to, atomic_exchange_explicit(from, 0, memory_order_relaxed), memory_order_release);
}

/* made before moved (book.h). */
static void carry_totals(struct cw_book_totals *from, struct cw_book_totals *to)
{
	carry(&from->made, &to->made);
	carry(&from->moved, &to->moved);
	carry(&from->demoted, &to->demoted);
	for (unsigned i = 0; i < CW_REASONS; i++)
		carry(&from->reasons[i], &to->reasons[i]);
	for (unsigned i = 0; i < CW_COUNTERS; i++)
		carry(&from->counter[i], &to->counter[i]);
}

/* What the dead process had open ends here. */
static void settle(struct cw_book *book)
{
	uint32_t highest = atomic_load_explicit(&book->highest, memory_order_relaxed);

	for (uint32_t i = 0; i < highest && i < CW_CHILD_ENTRIES; i++)
		if (atomic_load_explicit(&book->entry[i].kind, memory_order_relaxed) != CW_ENTRY_FREE)
			cw_book_end(book, i);
	carry_totals(&book->totals, &children->head.totals);
	atomic_store_explicit(&book->highest, 0, memory_order_relaxed);
	atomic_store_explicit(&book->mail, 0, memory_order_relaxed);
	atomic_store_explicit(&book->offers, 0, memory_order_relaxed);
}

bool cw_children_take(void)
{
	uint32_t at, before;

	if (!children || stopped || cw_streams_used() > CW_CHILD_ENTRIES || !claim(&at, &before))
		return false;
	if (!map_place(at)) {
		atomic_store_explicit(&children->head.pid[at], before, memory_order_release);
		return false;
	}
	place = at;
	atomic_fetch_add_explicit(&children->head.begun, 1, memory_order_relaxed);
	settle(&cw_own_book);
	return true;
}

static void say_pid(uint32_t pid)
{
	if (cw_children_has())
		atomic_store_explicit(&children->head.pid[place], pid, memory_order_release);
}

void cw_children_leave(void)
{
	say_pid(CW_CHILD_LEAVES);
}

void cw_children_stay(void)
{
	say_pid(cw_own_pid());
}

static void forget(struct cw_book *book)
{
	uint32_t highest = atomic_load_explicit(&book->highest, memory_order_relaxed);

	memset(book->entry, 0, (highest < CW_CHILD_ENTRIES ? highest : CW_CHILD_ENTRIES) * sizeof(book->entry[0]));
	memset(book, 0, offsetof(struct cw_book, entry));
}

void cw_children_left(void)
{
	if (!cw_children_has())
		return;
	forget((struct cw_book *)children->book[place]);
	if (!told) /* else it was done for an exec that has failed */
		atomic_fetch_sub_explicit(&children->head.begun, 1, memory_order_relaxed);
	say_pid(0);
	place = CW_CHILD_PLACES;
}

/* Not a vfork child, which is nobody's place. */
void cw_children_executes(void)
{
	uint32_t own = cw_own_pid(), at;

	if (!cw_children_has() || told || atomic_load_explicit(&children->head.pid[place], memory_order_relaxed) != own)
		return;
	at = atomic_fetch_add_explicit(&children->head.executed, 1, memory_order_relaxed);
	if (at >= CW_CHILD_EXECUTED)
		return;
	told = true;
	atomic_store_explicit(&children->head.executed_pid[at], own, memory_order_relaxed);
	atomic_fetch_sub_explicit(&children->head.begun, 1, memory_order_relaxed);
}

bool cw_children_is(int fd)
{
	return fd >= 0 && fd == atomic_load_explicit(&connection, memory_order_relaxed) && cw_table_kind(cw_table_peek(fd)) == CW_FD_OWN;
}

void cw_children_move(void)
{
	cw_service_make_way(&connection);
}
