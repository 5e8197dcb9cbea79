#include "service_inside.h"

#include "children.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "datagram.h"

#define RETRY_NS 1000000000ull

struct cw_policy cw_policy;
bool cw_moving;
enum cw_reason cw_moving_reason = CW_REASON_switched_off;
struct cw_service cw_service;
_Atomic int cw_service_fd = -1;

bool cw_service_lock(void)
{
	enum cw_lock_result result = cw_lock_own(&cw_service.lock, cw_thread_id(), NULL);

	/* Nested: a signal handler in the middle of our words with the service. What it wanted is done at another call. */
	return result == CW_LOCK_HELD || result == CW_LOCK_RECOVERED;
}

void cw_service_start(const char *name, uint64_t run)
{
	size_t length = name ? strlen(name) : 0;

	cw_service.run = run;
	if (length && length < sizeof(cw_service.name))
		memcpy(cw_service.name, name, length + 1);
}

static void say_command(char command[20])
{
	const char *name = program_invocation_short_name ? program_invocation_short_name : "";
	size_t length = strlen(name);

	memcpy(command, name, length < 19 ? length : 19);
}

static struct cw_message new_hello(void)
{
	struct cw_message hello = cw_service_message(CW_HELLO);

	hello.hello.run = cw_service.run;
	hello.hello.pid = cw_own_pid();
	say_command(hello.hello.command);
	return hello;
}

/* HELLO and WELCOME. Returns the connection; book and node page descriptors in descriptors. Waits, with the limit set on the socket. */
static int greet(uint64_t parent, struct cw_message *welcome, int descriptors[2])
{
	struct cw_message hello = new_hello();
	int fd = cw_service_open(), count;

	if (fd < 0)
		return -ENOENT;
	hello.hello.parent = parent;
	if (!cw_service_send(fd, &hello, -1, 0)) {
		cw_raw_close(fd);
		return -ENOENT;
	}
	count = cw_service_receive(fd, welcome, descriptors, 0);
	if (count == 2 && welcome->type == CW_WELCOME && !welcome->status && welcome->welcome.book_size >= sizeof(struct cw_book) &&
	    welcome->welcome.node_size >= sizeof(struct cw_node_page))
		return cw_service_move_high(fd);
	while (count > 0)
		cw_raw_close(descriptors[--count]);
	cw_raw_close(fd);
	if (count == -EPROTO)
		return -EOVERFLOW; /* another layout: its words are not ours */
	return count < 0 || !welcome->status ? -ENOENT : -(int)welcome->status;
}

/* Map the service's book over ours, with what was counted so far. */
static bool open_book(int fd)
{
	struct cw_book *book = cw_window_map(fd, sizeof(cw_own_book), true);
	uint32_t count = atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed);

	if (!book)
		return false;
	cw_children_leave();
	memcpy(&book->totals, &cw_own_book.totals, sizeof(book->totals));
	memcpy(book->entry, cw_own_book.entry, count * sizeof(book->entry[0]));
	atomic_store_explicit(&book->highest, count, memory_order_relaxed);
	munmap(book, sizeof(cw_own_book));
	if (cw_raw_map(&cw_own_book, sizeof(cw_own_book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd) != (long)&cw_own_book) {
		cw_children_stay();
		return false;
	}
	cw_children_left();
	/* Another thread may have taken an entry meanwhile. */
	atomic_store_explicit(&cw_own_book.highest, cw_streams_used(), memory_order_relaxed);
	return true;
}

/* A book without a service: memory of this process alone, empty. */
static void blank_book(void)
{
	cw_raw_map(&cw_own_book, sizeof(cw_own_book), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1);
}

static bool settle_in(int fd, const struct cw_message *welcome, int descriptors[2])
{
	struct cw_node_page *node = cw_window_map(descriptors[1], sizeof(*node), false);
	bool fine = node && open_book(descriptors[0]);

	cw_raw_close(descriptors[0]);
	cw_raw_close(descriptors[1]);
	if (!fine) {
		cw_raw_close(fd);
		return false;
	}
	if (cw_service.node)
		munmap(cw_service.node, sizeof(*cw_service.node));
	cw_service.node = node;
	cw_service.number = welcome->welcome.number;
	cw_service.owner = cw_own_pid();
	cw_service.offers = 0;
	atomic_store_explicit(&cw_service.mail_seen, 0, memory_order_relaxed);
	cw_table_put(fd, CW_FD_OWN, 0);
	atomic_store_explicit(&cw_service_fd, fd, memory_order_release);
	return true;
}

bool cw_service_register_locked(void)
{
	struct cw_message welcome;
	int descriptors[2], fd;

	if (atomic_load_explicit(&cw_service_fd, memory_order_relaxed) >= 0)
		return cw_service.owner == cw_own_pid();
	if (cw_monotonic_ns() < cw_service.next_try)
		return false;
	fd = greet(0, &welcome, descriptors);
	if (fd < 0) {
		cw_service.next_try = cw_monotonic_ns() + RETRY_NS;
		cw_moving_reason = fd == -EOVERFLOW ? CW_REASON_other_layout : CW_REASON_no_service;
		return false;
	}
	return settle_in(fd, &welcome, descriptors);
}

bool cw_service_register(void)
{
	int error = errno;
	bool fine = false;

	if (cw_service_lock()) {
		fine = cw_service_register_locked();
		cw_service_unlock();
	}
	errno = error;
	return fine;
}

bool cw_service_took(const _Atomic uint32_t *which)
{
	uint32_t offer = atomic_load_explicit(which, memory_order_relaxed);

	return offer != CW_LOST_OFFER && atomic_load_explicit(&cw_own_book.offers, memory_order_acquire) >= offer;
}

/* The service is gone: what is moved goes on, and the next offer looks for its successor. */
void cw_service_hang_up(void)
{
	int fd = atomic_exchange_explicit(&cw_service_fd, -1, memory_order_acq_rel);
	struct cw_book *copy;

	if (fd < 0)
		return;
	cw_table_take(fd);
	cw_raw_close(fd);
	cw_kept_drop();
	cw_service.next_try = cw_monotonic_ns() + RETRY_NS / 10;
	/* Its memory stays as long as it is mapped. */
	copy = &cw_own_book;
	atomic_store_explicit(&copy->mail, 0, memory_order_relaxed);
	atomic_store_explicit(&cw_service.mail_seen, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < CW_BOOK_ENTRIES && i < atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed); i++) {
		uint8_t offered = CW_OFFERED;

		if (atomic_load_explicit(&cw_streams[i].offer, memory_order_relaxed) && !cw_service_took(&cw_streams[i].offer))
			atomic_store_explicit(&cw_streams[i].offer, CW_LOST_OFFER, memory_order_relaxed);
		else
			atomic_store_explicit(&cw_streams[i].offer, 0, memory_order_relaxed);
		atomic_compare_exchange_strong_explicit(&cw_streams[i].phase, &offered, CW_KERNEL, memory_order_relaxed,
							memory_order_relaxed);
	}
	cw_datagrams_hang_up();
}

/* ---- fork ---- */

/* The parent made the connection: the service takes the child's process id from who sends this. */
static void say_name(int fd)
{
	struct cw_message hello = new_hello();

	cw_service_send(fd, &hello, -1, MSG_DONTWAIT);
}

static struct cw_message child_welcome;
static int child_descriptors[2];
static bool counted; /* the child is, as the process that makes it is */

bool cw_service_hold(void)
{
	return cw_service_lock();
}

void cw_service_let_go(void)
{
	cw_service_unlock();
}

int cw_service_before_fork(bool needed)
{
	bool registered = atomic_load_explicit(&cw_service_fd, memory_order_relaxed) >= 0 && cw_service.owner == cw_own_pid();
	int fd;

	counted = cw_service.run && (registered || cw_children_has());
	if (counted && !needed)
		cw_children_ask();
	if (!needed || !registered)
		return -1;
	/* What is refused now (a flow's) is not counted as the child's. */
	cw_service_take_mail_locked(atomic_load_explicit(&cw_service_fd, memory_order_relaxed));
	fd = greet(cw_service.number, &child_welcome, child_descriptors);
	/* What the service has granted so far it counts as the child's too: so it must be the parent's when the child is made. */
	cw_service_take_mail_locked(atomic_load_explicit(&cw_service_fd, memory_order_relaxed));
	return fd < 0 ? -1 : fd;
}

/* In a child without a connection: with the other children, or where that can't be as a program like any. */
static void be_counted(void)
{
	if (cw_children_take())
		return;
	blank_book();
	cw_service_register();
}

void cw_service_after_fork(int connection, bool in_child)
{
	int old = atomic_load_explicit(&cw_service_fd, memory_order_relaxed);

	if (!in_child) {
		if (connection >= 0) {
			cw_raw_close(child_descriptors[0]);
			cw_raw_close(child_descriptors[1]);
			cw_raw_close(connection);
		}
		return;
	}
	cw_lock_after_fork(&cw_service.lock);
	if (old >= 0) {
		cw_table_take(old);
		cw_raw_close(old);
		atomic_store_explicit(&cw_service_fd, -1, memory_order_relaxed);
	} else if (cw_moving && cw_streams_used()) {
		cw_service_make_room();
	} else {
		atomic_store_explicit(&cw_service_room, 0, memory_order_relaxed);
	}
	blank_book();
	cw_children_begin();
	cw_service.next_try = 0;
	if (connection >= 0 && settle_in(connection, &child_welcome, child_descriptors))
		say_name(connection);
	else if (connection < 0 && counted)
		be_counted();
}

int cw_service_descriptor(void)
{
	return atomic_load_explicit(&cw_service_fd, memory_order_relaxed);
}
