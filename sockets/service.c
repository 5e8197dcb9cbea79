#include "service.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "fork.h"
#include "kept.h"
#include "set.h"
#include "kernel.h"
#include "switch.h"
#include "transport/window/window.h"

#define WELCOME_LIMIT_US 200000
#define LOST_OFFER       (~0u) /* on a connection that was given up with it */
#define RETRY_NS         1000000000ull
#define ROOM_NS          2000000
#define NO_ROOM_NS       50000000ull
#define HIGH_DESCRIPTORS 4096 /* ours goes below this, or below the limit if that is lower */

struct cw_policy cw_policy;
bool cw_moving;
enum cw_reason cw_moving_reason = CW_REASON_switched_off;

static struct {
	struct cw_lock lock;
	char name[64];
	uint64_t run, number;
	_Atomic int fd; /* -1 not registered */
	uint32_t owner; /* pid that registered: a vfork child must not speak */
	_Atomic uint32_t mail_seen;
	uint32_t offers; /* sent on this connection */
	uint64_t next_try;
	struct cw_node_page *node;
} service = {.fd = -1};

static uint32_t own_pid(void)
{
	return (uint32_t)cw_raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static bool lock_service(void)
{
	uint64_t ignored = 0;

	enum cw_lock_result result = cw_lock(&service.lock, cw_thread_id(), &ignored);

	/* Nested: a signal handler in the middle of our words with the service. What it wanted is done at another call. */
	return result == CW_LOCK_HELD || result == CW_LOCK_RECOVERED;
}

void cw_service_start(const char *name, uint64_t run)
{
	size_t length = name ? strlen(name) : 0;

	service.run = run;
	if (length && length < sizeof(service.name))
		memcpy(service.name, name, length + 1);
}

/* ---- the connection ---- */

static bool trusted(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return cw_raw_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static int connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_usec = WELCOME_LIMIT_US};
	size_t length = strlen(name);
	int fd;

	if (length + 1 > sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path + 1, name, length);
	fd = (int)cw_raw(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0, 0);
	if (fd < 0)
		return -1;
	cw_raw_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	cw_raw_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (cw_raw(SYS_connect, fd, (long)&address, (long)(offsetof(struct sockaddr_un, sun_path) + 1 + length), 0, 0, 0) == 0 &&
	    trusted(fd))
		return fd;
	cw_raw_close(fd);
	return -1;
}

/* Out of the way of the program's own numbers. */
static int move_high(int fd)
{
	struct rlimit limit;
	long low = HIGH_DESCRIPTORS, high = -1;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < HIGH_DESCRIPTORS)
		low = (long)limit.rlim_cur;
	for (long from = low - 32; from > 3 && high < 0; from -= 256)
		high = cw_raw_fcntl(fd, F_DUPFD_CLOEXEC, from);
	if (high < 0)
		return fd;
	cw_raw_close(fd);
	return (int)high;
}

static int open_connection(void)
{
	char name[64] = "causeway/user/";
	int fd, digits = 0;
	uid_t user = geteuid();
	char number[12];

	if (service.name[0])
		return connect_to(service.name);
	fd = connect_to(CW_SERVICE_SYSTEM);
	if (fd >= 0)
		return fd;
	do
		number[digits++] = (char)('0' + user % 10);
	while (user /= 10);
	for (size_t at = strlen(name); digits; at++)
		name[at] = number[--digits];
	return connect_to(name);
}

static bool send_message(int fd, const struct cw_message *message, int descriptor, int flags)
{
	struct iovec iov = {(void *)message, sizeof(*message)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr envelope = {.msg_iov = &iov, .msg_iovlen = 1};

	if (descriptor >= 0) {
		envelope.msg_control = &control;
		envelope.msg_controllen = sizeof(control.room);
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
	}
	return cw_raw_sendmsg(fd, &envelope, flags | MSG_NOSIGNAL) == sizeof(*message);
}

/* Returns the number of descriptors that came, or -errno. All of them are the caller's to close. */
static int receive_message(int fd, struct cw_message *message, int descriptors[2], int flags)
{
	struct iovec iov = {message, sizeof(*message)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct msghdr envelope = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room)};
	long got = cw_raw_recvmsg(fd, &envelope, flags | MSG_CMSG_CLOEXEC);
	int count = 0;

	if (got < 0)
		return (int)got;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&envelope); header; header = CMSG_NXTHDR(&envelope, header))
		if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
			count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(descriptors, CMSG_DATA(header), (size_t)count * sizeof(int));
		}
	if (got == sizeof(*message) && message->magic == CW_MESSAGE_MAGIC + CW_LAYOUT)
		return count;
	while (count)
		cw_raw_close(descriptors[--count]);
	return got == 0 ? -EPIPE : -EPROTO;
}

static struct cw_message new_message(uint32_t type)
{
	return (struct cw_message){.magic = CW_MESSAGE_MAGIC + CW_LAYOUT, .type = type};
}

static void say_command(char command[20])
{
	const char *name = program_invocation_short_name ? program_invocation_short_name : "";
	size_t length = strlen(name);

	memcpy(command, name, length < 19 ? length : 19);
}

static struct cw_message new_hello(void)
{
	struct cw_message hello = new_message(CW_HELLO);

	hello.hello.run = service.run;
	hello.hello.pid = own_pid();
	say_command(hello.hello.command);
	return hello;
}

/* HELLO and WELCOME. Returns the connection; book and node page descriptors in descriptors. Waits, with the limit set on the socket. */
static int greet(uint64_t parent, struct cw_message *welcome, int descriptors[2])
{
	struct cw_message hello = new_hello();
	int fd = open_connection(), count;

	if (fd < 0)
		return -ENOENT;
	hello.hello.parent = parent;
	if (!send_message(fd, &hello, -1, 0)) {
		cw_raw_close(fd);
		return -ENOENT;
	}
	count = receive_message(fd, welcome, descriptors, 0);
	if (count == 2 && welcome->type == CW_WELCOME && !welcome->status && welcome->welcome.book_size >= sizeof(struct cw_book) &&
	    welcome->welcome.node_size >= sizeof(struct cw_node_page))
		return move_high(fd);
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
	memcpy(&book->totals, &cw_own_book.totals, sizeof(book->totals));
	memcpy(book->entry, cw_own_book.entry, count * sizeof(book->entry[0]));
	atomic_store_explicit(&book->highest, count, memory_order_relaxed);
	munmap(book, sizeof(cw_own_book));
	if (cw_raw(SYS_mmap, (long)&cw_own_book, sizeof(cw_own_book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !=
	    (long)&cw_own_book)
		return false;
	/* Another thread may have taken an entry meanwhile. */
	atomic_store_explicit(&cw_own_book.highest, cw_streams_used(), memory_order_relaxed);
	return true;
}

/* A book without a service: memory of this process alone, empty. */
static void blank_book(void)
{
	cw_raw(SYS_mmap, (long)&cw_own_book, sizeof(cw_own_book), PROT_READ | PROT_WRITE,
	       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
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
	if (service.node)
		munmap(service.node, sizeof(*service.node));
	service.node = node;
	service.number = welcome->welcome.number;
	service.owner = own_pid();
	service.offers = 0;
	atomic_store_explicit(&service.mail_seen, 0, memory_order_relaxed);
	cw_table_put(fd, CW_FD_OWN, 0);
	atomic_store_explicit(&service.fd, fd, memory_order_release);
	return true;
}

static bool register_locked(void)
{
	struct cw_message welcome;
	int descriptors[2], fd;

	if (atomic_load_explicit(&service.fd, memory_order_relaxed) >= 0)
		return service.owner == own_pid();
	if (cw_monotonic_ns() < service.next_try)
		return false;
	fd = greet(0, &welcome, descriptors);
	if (fd < 0) {
		service.next_try = cw_monotonic_ns() + RETRY_NS;
		cw_moving_reason = fd == -EOVERFLOW ? CW_REASON_other_layout : CW_REASON_no_service;
		return false;
	}
	return settle_in(fd, &welcome, descriptors);
}

bool cw_service_register(void)
{
	int error = errno;
	bool fine = false;

	if (lock_service()) {
		fine = register_locked();
		cw_unlock(&service.lock);
	}
	errno = error;
	return fine;
}

static bool taken_up(const struct cw_stream *stream)
{
	uint32_t offer = atomic_load_explicit(&stream->offer, memory_order_relaxed);

	return offer != LOST_OFFER && atomic_load_explicit(&cw_own_book.offers, memory_order_acquire) >= offer;
}

/* The service is gone: what is moved goes on, and the next offer looks for its successor. */
static void hang_up(void)
{
	int fd = atomic_exchange_explicit(&service.fd, -1, memory_order_acq_rel);
	struct cw_book *copy;

	if (fd < 0)
		return;
	cw_table_take(fd);
	cw_raw_close(fd);
	cw_kept_drop();
	service.next_try = cw_monotonic_ns() + RETRY_NS / 10;
	/* Its memory stays as long as it is mapped. */
	copy = &cw_own_book;
	atomic_store_explicit(&copy->mail, 0, memory_order_relaxed);
	atomic_store_explicit(&service.mail_seen, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < CW_BOOK_ENTRIES && i < atomic_load_explicit(&cw_own_book.highest, memory_order_relaxed); i++) {
		uint8_t offered = CW_OFFERED;

		if (atomic_load_explicit(&cw_streams[i].offer, memory_order_relaxed) && !taken_up(&cw_streams[i]))
			atomic_store_explicit(&cw_streams[i].offer, LOST_OFFER, memory_order_relaxed);
		else
			atomic_store_explicit(&cw_streams[i].offer, 0, memory_order_relaxed);
		atomic_compare_exchange_strong_explicit(&cw_streams[i].phase, &offered, CW_KERNEL, memory_order_relaxed,
							memory_order_relaxed);
	}
}

/* ---- offers ---- */

static void to_v6(const struct sockaddr_storage *from, struct in6_addr *address, uint16_t *port)
{
	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;

		*address = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
		memcpy(&address->s6_addr[12], &v4->sin_addr, 4);
		*port = ntohs(v4->sin_port);
		return;
	}
	*address = ((const struct sockaddr_in6 *)from)->sin6_addr;
	*port = ntohs(((const struct sockaddr_in6 *)from)->sin6_port);
}

static bool is_loopback(const struct in6_addr *address)
{
	return IN6_IS_ADDR_LOOPBACK(address) || (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == 127);
}

static bool is_own(const struct in6_addr *address)
{
	struct cw_node_page *node = service.node;
	bool found = false;
	uint32_t before;

	if (is_loopback(address))
		return true;
	do {
		uint32_t count = node->addresses;

		/* N: acquire, pairs with the service's release when it has written the addresses; an odd number means it is writing. */
		before = atomic_load_explicit(&node->sequence, memory_order_acquire);
		found = false;
		for (uint32_t i = 0; i < count && i < CW_NODE_ADDRESSES && !found; i++)
			found = memcmp(&node->address[i], address, sizeof(*address)) == 0;
		atomic_thread_fence(memory_order_acquire);
	} while (!(before & 1) && before != atomic_load_explicit(&node->sequence, memory_order_relaxed));
	return found;
}

/* May it be moved at all? Returns the reason if not. */
static enum cw_reason judge(struct cw_stream *stream, int fd)
{
	struct sockaddr_storage local = {0}, remote = {0};
	struct in6_addr local_address, remote_address;
	uint16_t local_port, remote_port;
	socklen_t size = sizeof(local);

	if (cw_raw(SYS_getsockname, fd, (long)&local, (long)&size, 0, 0, 0) < 0)
		return CW_REASON_not_connected;
	size = sizeof(remote);
	if (cw_raw(SYS_getpeername, fd, (long)&remote, (long)&size, 0, 0, 0) < 0)
		return CW_REASON_not_connected;
	to_v6(&local, &local_address, &local_port);
	to_v6(&remote, &remote_address, &remote_port);
	if (!cw_policy_admits(&cw_policy, &local_address, local_port, &remote_address, remote_port))
		return CW_REASON_policy;
	if (is_loopback(&remote_address) || memcmp(&local_address, &remote_address, sizeof(local_address)) == 0)
		return CW_REASON_none;
	if (service.node)
		return is_own(&remote_address) ? CW_REASON_none : CW_REASON_remote_host;
	return CW_REASON_none;
}

/* The queue is full, but somebody is there to read it. */
static bool waits_for_service(void)
{
	struct pollfd connection = {.fd = atomic_load_explicit(&service.fd, memory_order_relaxed)};
	struct timespec none = {0};

	return cw_raw(SYS_ppoll, (long)&connection, 1, (long)&none, 0, 0, 0) == 0;
}

static bool say(const struct cw_message *message)
{
	return send_message(atomic_load_explicit(&service.fd, memory_order_acquire), message, -1, MSG_DONTWAIT);
}

static bool offer_locked(struct cw_stream *stream, int fd)
{
	struct cw_message offer = new_message(CW_OFFER);
	socklen_t size = sizeof(stream->cookie);
	enum cw_reason reason;
	uint8_t kernel = CW_KERNEL;

	if (!register_locked()) {
		atomic_store_explicit(&cw_own_book.entry[stream->number].reason, cw_moving_reason, memory_order_relaxed);
		return false;
	}
	cw_kept_say(say);
	reason = judge(stream, fd);
	if (reason != CW_REASON_none || cw_raw_getsockopt(fd, SOL_SOCKET, SO_COOKIE, &stream->cookie, &size) < 0) {
		cw_stream_stays(stream, reason ? reason : CW_REASON_option);
		return false;
	}
	offer.offer.token.index = stream->number;
	offer.offer.token.generation = atomic_load_explicit(&stream->generation, memory_order_relaxed);
	offer.offer.cookie = stream->cookie;
	if (!atomic_compare_exchange_strong_explicit(&stream->phase, &kernel, CW_OFFERED, memory_order_acq_rel, memory_order_relaxed))
		return false;
	atomic_store_explicit(&cw_own_book.entry[stream->number].reason, CW_REASON_peer_absent, memory_order_relaxed);
	if (send_message(atomic_load_explicit(&service.fd, memory_order_relaxed), &offer, fd, MSG_DONTWAIT)) {
		atomic_store_explicit(&stream->offer, ++service.offers, memory_order_relaxed);
		return true;
	}
	if (waits_for_service()) {
		/* It has much to read: offer again later. */
		atomic_store_explicit(&stream->calls, 0, memory_order_relaxed);
		atomic_store_explicit(&stream->phase, CW_KERNEL, memory_order_release);
		return false;
	}
	hang_up();
	return false;
}

void cw_service_offer(struct cw_stream *stream, int fd)
{
	int error = errno;

	if (!cw_moving) {
		cw_stream_stays(stream, cw_moving_reason);
	} else if (!cw_family_alone(stream)) {
		atomic_store_explicit(&cw_own_book.entry[stream->number].reason, CW_REASON_inherited, memory_order_relaxed);
	} else if (lock_service()) {
		offer_locked(stream, fd);
		cw_unlock(&service.lock);
	}
	errno = error;
}

void cw_service_part(struct cw_stream *stream, int fd)
{
	struct timespec turn = {.tv_nsec = 50000};
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	int unread = 0;

	for (int i = 0; i < 400 && !taken_up(stream) && atomic_load_explicit(&stream->offer, memory_order_relaxed) != LOST_OFFER; i++)
		cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0);
	if (taken_up(stream) || !cw_family_alone(stream))
		return;
	cw_set_leave_all(stream);
	cw_raw(SYS_ioctl, fd, FIONREAD, (long)&unread, 0, 0, 0);
	if (unread > 0)
		cw_raw(SYS_connect, fd, (long)&nowhere, sizeof(nowhere), 0, 0, 0);
	else
		cw_raw(SYS_shutdown, fd, SHUT_RDWR, 0, 0, 0, 0);
}

/* Room in the queue: soon, unless the service is stopped, and then it is not waited for each time. */
static bool room_comes(int fd)
{
	static _Atomic uint64_t not_before;
	struct pollfd room = {.fd = fd, .events = POLLOUT};
	struct timespec turn = {.tv_nsec = ROOM_NS};

	if (cw_monotonic_ns() < atomic_load_explicit(&not_before, memory_order_relaxed))
		return false;
	if (cw_raw(SYS_ppoll, (long)&room, 1, (long)&turn, 0, 0, 0) > 0)
		return room.revents & POLLOUT;
	atomic_store_explicit(&not_before, cw_monotonic_ns() + NO_ROOM_NS, memory_order_relaxed);
	return false;
}

static void tell(struct cw_message *message)
{
	int fd = atomic_load_explicit(&service.fd, memory_order_acquire);
	bool own = service.owner == own_pid();

	/* A vfork child has no word of its own, but its parent waits for it, and a ring must not be lost. */
	if (fd < 0 || (!own && message->type != CW_RESEND))
		return;
	if (((!own || cw_kept_say(say)) && say(message)) || !waits_for_service())
		return;
	if (!room_comes(fd) || !say(message))
		cw_kept_put(message);
}

void cw_service_withdraw(struct cw_stream *stream)
{
	struct cw_message message = new_message(CW_WITHDRAW);

	message.offer.token.index = stream->number;
	message.offer.token.generation = atomic_load_explicit(&stream->generation, memory_order_relaxed);
	message.offer.cookie = stream->cookie;
	tell(&message);
}

static void tell_of_slot(uint32_t type, const struct cw_token *token, uint64_t arena, uint32_t slot, uint32_t end)
{
	struct cw_message message = new_message(type);

	message.grant.token = *token;
	message.grant.arena = arena;
	message.grant.slot = slot;
	message.grant.end = end;
	tell(&message);
}

void cw_service_release(struct cw_stream *stream)
{
	struct cw_token token = {stream->number, atomic_load_explicit(&stream->generation, memory_order_relaxed)};

	tell_of_slot(CW_RELEASE, &token, stream->arena, stream->slot_number, stream->end);
}

void cw_service_ask_resend(struct cw_stream *stream)
{
	struct cw_token token = {stream->number, atomic_load_explicit(&stream->generation, memory_order_relaxed)};

	tell_of_slot(CW_RESEND, &token, stream->arena, stream->slot_number, stream->end);
}

/* ---- grants ---- */

bool cw_service_has_mail(void)
{
	return atomic_load_explicit(&cw_own_book.mail, memory_order_acquire) !=
	       atomic_load_explicit(&service.mail_seen, memory_order_relaxed);
}

static bool attach(const struct cw_message *message, struct cw_arena *arena)
{
	struct cw_stream *stream;
	struct cw_book_entry *entry;
	uint8_t offered = CW_OFFERED;

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
	if (lock_service())
		cw_unlock(&service.lock);
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
	tell_of_slot(CW_RELEASE, &message->grant.token, message->grant.arena, message->grant.slot, message->grant.end);
}

static void take_grant(const struct cw_message *message, const int *descriptors, int count)
{
	struct cw_arena *arena;

	arena = count ? cw_arena_map(descriptors[0], message->grant.arena) : cw_arena_find(message->grant.arena);
	if (!attach(message, arena))
		refuse(message, arena);
}

void cw_service_take_mail(void)
{
	struct cw_message message;
	int descriptors[2], count, error = errno;
	int fd = atomic_load_explicit(&service.fd, memory_order_acquire);

	if (fd < 0 || service.owner != own_pid() || !lock_service())
		return;
	atomic_store_explicit(&service.mail_seen, atomic_load_explicit(&cw_own_book.mail, memory_order_acquire), memory_order_relaxed);
	while ((count = receive_message(fd, &message, descriptors, MSG_DONTWAIT)) >= 0) {
		if (message.type == CW_GRANT)
			take_grant(&message, descriptors, count);
		while (count)
			cw_raw_close(descriptors[--count]);
	}
	if (count != -EAGAIN && count != -EINTR)
		hang_up();
	cw_unlock(&service.lock);
	errno = error;
}

/* ---- fork ---- */

/* The parent made the connection: the service takes the child's process id from who sends this. */
static void say_name(int fd)
{
	struct cw_message hello = new_hello();

	send_message(fd, &hello, -1, MSG_DONTWAIT);
}

static struct cw_message child_welcome;
static int child_descriptors[2];

int cw_service_before_fork(bool needed)
{
	int fd = -1;

	if (atomic_load_explicit(&service.fd, memory_order_relaxed) < 0 || service.owner != own_pid() || (!needed && !service.run))
		return -1;
	if (!lock_service())
		return -1;
	fd = greet(service.number, &child_welcome, child_descriptors);
	return fd < 0 ? -2 : fd; /* the lock is held until after the fork */
}

void cw_service_after_fork(int connection, bool in_child)
{
	int old = atomic_load_explicit(&service.fd, memory_order_relaxed);

	if (!in_child) {
		if (connection >= 0) {
			cw_raw_close(child_descriptors[0]);
			cw_raw_close(child_descriptors[1]);
			cw_raw_close(connection);
		}
		if (connection != -1)
			cw_unlock(&service.lock);
		return;
	}
	atomic_store_explicit(&service.lock.holder, 0, memory_order_relaxed);
	if (old >= 0) {
		cw_table_take(old);
		cw_raw_close(old);
	}
	atomic_store_explicit(&service.fd, -1, memory_order_relaxed);
	blank_book();
	service.next_try = 0;
	if (connection >= 0 && settle_in(connection, &child_welcome, child_descriptors))
		say_name(connection);
}

int cw_service_descriptor(void)
{
	return atomic_load_explicit(&service.fd, memory_order_relaxed);
}

void cw_service_move_descriptor(void)
{
	int old = atomic_load_explicit(&service.fd, memory_order_relaxed);
	long moved;

	if (old < 0 || !lock_service())
		return;
	moved = cw_raw_fcntl(old, F_DUPFD_CLOEXEC, old > 64 ? old - 32 : old + 1);
	if (moved >= 0) {
		cw_table_take(old);
		cw_table_put((int)moved, CW_FD_OWN, 0);
		atomic_store_explicit(&service.fd, (int)moved, memory_order_release);
		cw_raw_close(old);
	}
	cw_unlock(&service.lock);
}
