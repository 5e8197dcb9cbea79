/* Calls of datagram sockets that name their memory by a vector or a message. What makes no sense is the kernel's to refuse. */
#include "datagram.h"

#include <pthread.h>
#include <sys/uio.h>

#include "sockets/memory.h"
#include "sockets/service.h"

#define MOST_PIECES 1024

/* *somewhere: so many of its pieces, from the first on. False: the kernel refuses it before all else. */
static bool sensible_until(const struct iovec *iov, size_t count, size_t *somewhere)
{
	bool all = true;

	*somewhere = 0;
	if (!count || count > MOST_PIECES || cw_nowhere(iov, 1))
		return false;
	for (size_t i = 0; i < count; i++) {
		if ((ssize_t)iov[i].iov_len < 0 || cw_far_up(iov[i].iov_base, iov[i].iov_len))
			return false;
		all = all && !cw_nowhere(iov[i].iov_base, iov[i].iov_len);
		*somewhere += all;
	}
	return true;
}

static bool sensible(const struct iovec *iov, size_t count)
{
	size_t somewhere;

	return sensible_until(iov, count, &somewhere) && somewhere == count;
}

ssize_t cw_datagram_lose(struct cw_datagram *socket, int fd, const struct cw_taking *taking)
{
	struct iovec nothing = {NULL, 0};
	struct cw_taking somewhere = *taking;
	size_t room = 0;
	ssize_t got;

	if (!sensible_until(taking->iov, taking->iovcnt, &somewhere.iovcnt))
		return cw_bad_address();
	for (size_t i = 0; i < somewhere.iovcnt; i++)
		room += taking->iov[i].iov_len;
	if (!somewhere.iovcnt) {
		somewhere.iov = &nothing;
		somewhere.iovcnt = 1;
	}
	somewhere.flags |= MSG_TRUNC;
	got = cw_datagram_receive(socket, fd, &somewhere);
	return got > (ssize_t)room ? cw_bad_address() : got;
}

static ssize_t receive(struct cw_datagram *socket, int fd, const struct cw_taking *taking, size_t somewhere)
{
	cw_cancellation_point();
	return cw_likely(somewhere == taking->iovcnt) ? cw_datagram_receive(socket, fd, taking) : cw_datagram_lose(socket, fd, taking);
}

static bool is_empty(const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++)
		if (iov[i].iov_len)
			return false;
	return true;
}

ssize_t cw_datagram_put_iov(struct cw_datagram *socket, int fd, const struct iovec *iov, int count, int flags)
{
	struct cw_giving giving = {.iov = iov, .iovcnt = (size_t)count, .flags = flags};

	if (count < 0 || !sensible(iov, (size_t)count))
		return cw_real.writev(fd, iov, count);
	cw_cancellation_point();
	return is_empty(iov, count) ? 0 : cw_datagram_send(socket, fd, &giving);
}

ssize_t cw_datagram_get_iov(struct cw_datagram *socket, int fd, const struct iovec *iov, int count, int flags)
{
	struct cw_taking taking = {.iov = iov, .iovcnt = (size_t)count, .flags = flags};
	size_t somewhere;

	if (count < 0 || !sensible_until(iov, (size_t)count, &somewhere))
		return cw_real.readv(fd, iov, count);
	cw_cancellation_point();
	return is_empty(iov, count) ? 0 : receive(socket, fd, &taking, somewhere);
}

ssize_t cw_datagram_sendmsg(struct cw_datagram *socket, int fd, const struct msghdr *message, int flags)
{
	struct cw_giving giving = {.message = message, .flags = flags};

	if (cw_nowhere(message, sizeof(*message)) || !sensible(message->msg_iov, message->msg_iovlen) || cw_named_by_less(message) ||
	    cw_nowhere(message->msg_name, message->msg_namelen)) {
		if (cw_datagram_hold(socket, fd)) {
			cw_datagram_leave_sending(socket, fd); /* an empty one is sent */
			cw_datagram_release(socket);
		}
		return cw_kernel.sendmsg(fd, message, flags);
	}
	giving.iov = message->msg_iov;
	giving.iovcnt = message->msg_iovlen;
	giving.name = message->msg_namelen ? message->msg_name : NULL;
	giving.size = message->msg_namelen;
	cw_cancellation_point();
	return cw_datagram_send(socket, fd, &giving);
}

static ssize_t receive_message(struct cw_datagram *socket, int fd, struct msghdr *message, int flags, bool behind)
{
	struct cw_taking taking = {.message = message, .flags = flags, .behind = behind};
	size_t somewhere = 0;

	if (cw_nowhere(message, sizeof(*message)) || cw_named_by_less(message) ||
	    (message->msg_iovlen && !sensible_until(message->msg_iov, message->msg_iovlen, &somewhere)))
		return cw_kernel.recvmsg(fd, message, flags);
	taking.iov = message->msg_iov;
	taking.iovcnt = message->msg_iovlen;
	return receive(socket, fd, &taking, somewhere);
}

ssize_t cw_datagram_recvmsg(struct cw_datagram *socket, int fd, struct msghdr *message, int flags)
{
	return receive_message(socket, fd, message, flags, false);
}

ssize_t cw_datagram_recvmsg_behind(struct cw_datagram *socket, int fd, struct msghdr *message, int flags)
{
	return receive_message(socket, fd, message, flags, true);
}

bool cw_datagram_begins(struct cw_datagram *socket)
{
	if (atomic_load_explicit(&socket->offered, memory_order_relaxed) && cw_service_has_mail())
		cw_service_take_mail();
	return atomic_load_explicit(&socket->moved_in, memory_order_acquire) != 0;
}

#define NAMES 64 /* of more messages at once the sources are not looked at */

/* Places for the names of sources, in messages whose program doesn't ask for them. */
struct lent {
	struct cw_datagram *socket;
	struct mmsghdr *messages;
	unsigned count;
	socklen_t lengths[NAMES]; /* as the program has left them */
	struct sockaddr_storage names[NAMES];
};

static void lend(struct lent *lent)
{
	for (unsigned i = 0; i < lent->count; i++) {
		struct msghdr *header = &lent->messages[i].msg_hdr;

		if (header->msg_name)
			continue;
		lent->lengths[i] = header->msg_namelen;
		header->msg_name = &lent->names[i];
		header->msg_namelen = sizeof(lent->names[i]);
	}
}

static void take_back(struct lent *lent)
{
	for (unsigned i = 0; i < lent->count; i++) {
		struct msghdr *header = &lent->messages[i].msg_hdr;

		if (header->msg_name != &lent->names[i])
			continue;
		header->msg_name = NULL;
		header->msg_namelen = lent->lengths[i];
	}
}

static void cancelled(void *argument)
{
	struct lent *lent = argument;

	take_back(lent);
	cw_datagram_leave_kernel(lent->socket);
	cw_datagram_release(lent->socket);
}

static int wait_for_many(struct lent *lent, int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	int got;

	pthread_cleanup_push(cancelled, lent);
	got = cw_real.recvmmsg(fd, messages, count, flags, timeout);
	pthread_cleanup_pop(0);
	return got;
}

/* Of a socket that is held, and in the kernel. */
static int receive_many(struct cw_datagram *socket, int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	struct lent lent;
	int got, error;

	lent.socket = socket;
	lent.messages = messages;
	lent.count = count <= NAMES && !cw_nowhere(messages, sizeof(*messages)) && !(flags & (MSG_PEEK | MSG_ERRQUEUE)) ? count : 0;
	lend(&lent);
	got = wait_for_many(&lent, fd, messages, count, flags, timeout);
	error = errno;
	cw_datagram_leave_kernel(socket);
	for (unsigned i = 0; i < lent.count && (int)i < got; i++)
		cw_datagram_received(socket, fd, messages[i].msg_len, messages[i].msg_hdr.msg_name, messages[i].msg_hdr.msg_namelen);
	take_back(&lent);
	errno = error;
	return got;
}

int cw_datagram_recvmmsg(struct cw_datagram *socket, int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	bool held = !socket->stays && cw_datagram_hold(socket, fd);
	int got;

	if (!held)
		return cw_real.recvmmsg(fd, messages, count, flags, timeout);
	if (cw_datagram_enter_kernel(socket)) {
		got = receive_many(socket, fd, messages, count, flags, timeout);
		cw_datagram_release(socket);
		return got;
	}
	cw_datagram_release(socket);
	return recvmmsg(fd, messages, count, flags, timeout); /* it has begun meanwhile */
}

bool cw_datagram_sends_by_ring(struct cw_datagram *socket)
{
	if (atomic_load_explicit(&socket->offered, memory_order_relaxed) && cw_service_has_mail())
		cw_service_take_mail();
	return atomic_load_explicit(&socket->moved_out, memory_order_acquire) != 0;
}

int cw_datagram_sendmmsg(struct cw_datagram *socket, int fd, struct mmsghdr *messages, unsigned count, int flags)
{
	int sent = cw_real.sendmmsg(fd, messages, count, flags), error = errno;

	if (sent <= 0 || socket->stays || !cw_datagram_hold(socket, fd))
		return sent;
	socket->corked = (flags & MSG_MORE) != 0;
	for (int i = 0; i < sent; i++)
		cw_datagram_sent(socket, fd, messages[i].msg_len, messages[i].msg_hdr.msg_name, messages[i].msg_hdr.msg_namelen);
	cw_datagram_release(socket);
	errno = error;
	return sent;
}

static void leave_by(int fd, enum cw_reason reason, void (*leave)(struct cw_datagram *, int, enum cw_reason))
{
	struct cw_datagram *socket = cw_datagram_held(fd);

	if (!socket)
		return;
	leave(socket, fd, reason);
	cw_datagram_release(socket);
}

void cw_datagram_leave_by(int fd, enum cw_reason reason)
{
	leave_by(fd, reason, cw_datagram_leave);
}

void cw_datagram_leave_to_by(int fd, enum cw_reason reason)
{
	leave_by(fd, reason, cw_datagram_leave_to);
}
