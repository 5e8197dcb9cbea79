#include "unix.h"

#include <fcntl.h>
#include <string.h>
#include <sys/un.h>

#include "fork.h"
#include "kernel.h"
#include "leave.h"
#include "ready.h"
#include "service.h"
#include "switch.h"

#define PASSES_PIDFD 76 /* SO_PASSPIDFD */

struct cw_stream *cw_unix_open(int fd, bool connected, bool nonblocking)
{
	struct cw_stream *stream;
	socklen_t size = sizeof(stream->cookie);

	if (!cw_policy.number[CW_OPTION_unix_sockets])
		return NULL;
	stream = cw_stream_open_unix(fd, connected, nonblocking);
	/* Known at once: a vfork child's descriptors are found by it (process.c). */
	if (stream && cw_raw_getsockopt(fd, SOL_SOCKET, SO_COOKIE, &stream->cookie, &size) < 0)
		cw_stream_stays(stream, CW_REASON_option);
	return stream;
}

static int ask(int fd, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return cw_raw_getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : 0;
}

bool cw_unix_is_stream(int fd)
{
	return cw_policy.number[CW_OPTION_unix_sockets] && ask(fd, SO_DOMAIN) == AF_UNIX && ask(fd, SO_TYPE) == SOCK_STREAM;
}

/* ---- the book of bytes before the slot: of the processes that hold the socket, if there are several ---- */

static struct cw_family_book *book_of(struct cw_stream *stream)
{
	struct cw_family_book *family = cw_family_book(stream);

	return family ? family : &stream->passed;
}

void cw_unix_enter(struct cw_stream *stream, bool out)
{
	atomic_fetch_add_explicit(&book_of(stream)->busy[out], 1, memory_order_seq_cst);
}

void cw_unix_leave(struct cw_stream *stream, bool out, ssize_t bytes)
{
	struct cw_family_book *book = book_of(stream);

	if (bytes > 0)
		atomic_fetch_add_explicit(&book->bytes[out], (uint64_t)bytes, memory_order_relaxed);
	/* Pairs with the acquire in cw_unix_offset: who finds nobody busy finds the bytes. */
	atomic_fetch_sub_explicit(&book->busy[out], 1, memory_order_release);
}

void cw_unix_correct(struct cw_stream *stream, ssize_t by)
{
	atomic_fetch_add_explicit(&book_of(stream)->bytes[0], (uint64_t)by, memory_order_relaxed);
}

ssize_t cw_unix_looked(struct cw_stream *stream, int flags, ssize_t result)
{
	if (cw_unlikely(stream->is_unix) && (flags & MSG_PEEK) && result > 0)
		cw_unix_correct(stream, -result);
	return result;
}

int cw_unix_many(struct cw_stream *stream, const struct mmsghdr *messages, int flags, int result)
{
	ssize_t bytes = -result;

	for (int i = 0; i < result && !(flags & MSG_PEEK); i++)
		bytes += messages[i].msg_len;
	if (cw_unlikely(stream->is_unix) && result > 0)
		cw_unix_correct(stream, bytes);
	return result;
}

/* Every holder but this one is gone; one that was killed in a call never said what it took. */
bool cw_unix_offset(struct cw_stream *stream, bool out, uint64_t *bytes)
{
	struct cw_family_book *book = book_of(stream);

	if (!cw_family_alone(stream) || atomic_load_explicit(&book->lost, memory_order_acquire) ||
	    atomic_load_explicit(&book->busy[out], memory_order_acquire))
		return false;
	*bytes = atomic_load_explicit(&book->bytes[out], memory_order_relaxed);
	return true;
}

void cw_unix_lose(struct cw_stream *stream)
{
	atomic_store_explicit(&stream->passed.lost, 1, memory_order_release);
	atomic_store_explicit(&book_of(stream)->lost, 1, memory_order_release);
}

/* ---- what moves ---- */

enum cw_reason cw_unix_judge(struct cw_stream *stream, int fd)
{
	struct cw_family_book *book = book_of(stream);

	/* Where only some addresses or ports are wanted, a socket that has neither isn't. */
	if (!cw_policy_admits(&cw_policy, &in6addr_any, 0, &in6addr_any, 0))
		return CW_REASON_policy;
	if (atomic_load_explicit(&book->lost, memory_order_acquire))
		return CW_REASON_inherited;
	/* Its listener may have had them. */
	if (ask(fd, SO_PASSCRED) || ask(fd, SO_PASSSEC) || ask(fd, PASSES_PIDFD))
		return CW_REASON_option;
	return CW_REASON_none;
}

bool cw_unix_tells_sender(int level, int name)
{
	return level == SOL_SOCKET && (name == SO_PASSCRED || name == SO_PASSSEC || name == PASSES_PIDFD);
}

void cw_unix_shut_reading(struct cw_stream *stream, int fd)
{
	bool nested;

	if (stream->broken || !cw_rx_lock(stream, fd, &nested))
		return;
	cw_state_mark(&stream->rx->state, CW_MARK_LEFT);
	cw_ready_settle(stream, 0, false);
	cw_rx_unlock(stream, nested);
}

void cw_unix_name(int fd, struct sockaddr *name, socklen_t *size)
{
	struct sockaddr_un from;
	socklen_t length = sizeof(from), room = *size;

	*size = 0;
	if (cw_raw(SYS_getpeername, fd, (long)&from, (long)&length, 0, 0, 0) < 0 || length <= sizeof(sa_family_t))
		return; /* bound to nothing: the kernel tells no address */
	memcpy(name, &from, length < room ? length : room);
	*size = length;
}

void cw_unix_before_close(struct cw_stream *stream, int fd)
{
	if (!stream->broken && atomic_load_explicit(&stream->slot->end[stream->end].holders, memory_order_acquire) == 1 &&
	    cw_switch_leaves_unread(stream))
		cw_leave_unread(stream, fd);
}

/* AF_UNIX has no reset but this one: the other end was closed with unread bytes. */
void cw_unix_put_reset(int fd)
{
	long flags = cw_raw_fcntl(fd, F_GETFD, 0);
	int pair[2];

	if (flags < 0 ||
	    cw_raw(SYS_socketpair, AF_UNIX, SOCK_STREAM | (cw_raw_fcntl(fd, F_GETFL, 0) & O_NONBLOCK), 0, (long)pair, 0, 0) < 0)
		return;
	cw_raw(SYS_sendto, pair[0], (long)"", 1, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
	cw_raw_close(pair[1]);
	cw_raw(SYS_dup3, pair[0], fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0, 0, 0, 0);
	cw_raw_close(pair[0]);
}
