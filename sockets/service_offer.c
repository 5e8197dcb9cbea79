#include "service_inside.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "fork.h"
#include "patience.h"
#include "set.h"
#include "unix.h"

void cw_service_address(const struct sockaddr_storage *from, struct in6_addr *address, uint16_t *port)
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

static bool listed(const struct in6_addr *list, uint32_t count, uint32_t most, const struct in6_addr *address)
{
	bool found = false;

	for (uint32_t i = 0; i < count && i < most && !found; i++)
		found = memcmp(&list[i], address, sizeof(*address)) == 0;
	return found;
}

static bool find(const struct in6_addr *address, bool peers)
{
	struct cw_node_page *node = cw_service.node;
	bool found = false;
	uint32_t before;

	if (is_loopback(address))
		return true;
	do {

		/* N: acquire, pairs with the service's release when it has written the addresses; an odd number means it is writing. */
		before = atomic_load_explicit(&node->sequence, memory_order_acquire);
		found = listed(node->address, node->addresses, CW_NODE_ADDRESSES, address) ||
			(peers && listed(node->peer, node->peers, CW_NODE_PEERS, address));
		atomic_thread_fence(memory_order_acquire);
	} while (!(before & 1) && before != atomic_load_explicit(&node->sequence, memory_order_relaxed));
	return found;
}

bool cw_service_is_own(const struct in6_addr *address)
{
	return find(address, false);
}

bool cw_service_is_near(const struct in6_addr *address)
{
	return find(address, true);
}

/* One of BPF's newer kind can't be shown. */
static bool has_filter(int fd)
{
	socklen_t none = 0;
	long result = cw_raw_getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &none);

	return result == -EACCES || (result == 0 && none);
}

/* Options that only the kernel can keep, and that nobody has told us of: its listener's, or of another process that holds the socket. Not
 * SO_ZEROCOPY: the calls that use it name it by a flag. */
static bool has_kernels_options(int fd)
{
	static const struct {
		int name, harmless;
	} option[] = {
		{SO_RCVLOWAT, 1},  {SO_PEEK_OFF, -1},    {SO_OOBINLINE, 0},
		{SO_TIMESTAMP, 0}, {SO_TIMESTAMPNS, 0},  {63, 0}, /* and 64: of SO_TIMESTAMP*_NEW */
		{64, 0},           {SO_TIMESTAMPING, 0}, {SO_MAX_PACING_RATE, -1},
	};

	for (size_t i = 0; i < sizeof(option) / sizeof(*option); i++) {
		int value = 0;
		socklen_t size = sizeof(value);

		if (cw_raw_getsockopt(fd, SOL_SOCKET, option[i].name, &value, &size) == 0 && value != option[i].harmless)
			return true;
	}
	return has_filter(fd) || (cw_raw_fcntl(fd, F_GETFL, 0) & O_ASYNC);
}

/* May it be moved at all? Returns the reason if not. */
static enum cw_reason judge(struct cw_stream *stream, int fd)
{
	struct sockaddr_storage local = {0}, remote = {0};
	struct in6_addr local_address, remote_address;
	uint16_t local_port, remote_port;
	socklen_t size = sizeof(local);

	if (has_kernels_options(fd))
		return CW_REASON_option;
	if (stream->is_unix)
		return cw_unix_judge(stream, fd);
	if (cw_raw(SYS_getsockname, fd, (long)&local, (long)&size, 0, 0, 0) < 0)
		return CW_REASON_not_connected;
	size = sizeof(remote);
	if (cw_raw(SYS_getpeername, fd, (long)&remote, (long)&size, 0, 0, 0) < 0)
		return CW_REASON_not_connected;
	cw_service_address(&local, &local_address, &local_port);
	cw_service_address(&remote, &remote_address, &remote_port);
	if (!cw_policy_admits(&cw_policy, &local_address, local_port, &remote_address, remote_port))
		return CW_REASON_policy;
	if (is_loopback(&remote_address) || memcmp(&local_address, &remote_address, sizeof(local_address)) == 0)
		return CW_REASON_none;
	if (cw_service.node)
		return cw_service_is_near(&remote_address) ? CW_REASON_none : CW_REASON_remote_host;
	return CW_REASON_none;
}

/* Another thread may put something else over the number at any time: what the service is given may have been that already. */
static bool take_offer_back(struct cw_stream *stream)
{
	uint8_t offered = CW_OFFERED;

	cw_service_withdraw(stream);
	/* A grant that is on its way finds another generation and is given back. */
	atomic_fetch_add_explicit(&stream->generation, 1, memory_order_release);
	atomic_compare_exchange_strong_explicit(&stream->phase, &offered, CW_KERNEL, memory_order_acq_rel, memory_order_relaxed);
	return false;
}

static bool offer_locked(struct cw_stream *stream, int fd)
{
	struct cw_message offer = cw_service_message(CW_OFFER);
	socklen_t size = sizeof(stream->cookie);
	enum cw_reason reason;
	uint8_t kernel = CW_KERNEL;

	if (!cw_service_register_locked()) {
		atomic_store_explicit(&cw_own_book.entry[stream->number].reason, cw_moving_reason, memory_order_relaxed);
		return false;
	}
	cw_kept_say(cw_service_say);
	if (!cw_stream_at(stream, fd))
		return false; /* put over since the call began */
	reason = judge(stream, fd);
	if (reason != CW_REASON_none || cw_raw_getsockopt(fd, SOL_SOCKET, SO_COOKIE, &stream->cookie, &size) < 0) {
		cw_stream_stays(stream, reason ? reason : CW_REASON_option);
		return false;
	}
	offer.offer.token.index = stream->number;
	offer.offer.token.generation = atomic_load_explicit(&stream->generation, memory_order_relaxed);
	offer.offer.cookie = stream->cookie;
	cw_patience_begin(stream);
	if (!atomic_compare_exchange_strong_explicit(&stream->phase, &kernel, CW_OFFERED, memory_order_acq_rel, memory_order_relaxed))
		return false;
	atomic_store_explicit(&cw_own_book.entry[stream->number].reason, CW_REASON_peer_absent, memory_order_relaxed);
	if (cw_service_send(atomic_load_explicit(&cw_service_fd, memory_order_relaxed), &offer, fd, MSG_DONTWAIT)) {
		atomic_store_explicit(&stream->offer, ++cw_service.offers, memory_order_relaxed);
		return cw_stream_at(stream, fd) || take_offer_back(stream);
	}
	if (cw_service_is_there()) {
		/* It has much to read: offer again later. */
		atomic_store_explicit(&stream->calls, 0, memory_order_relaxed);
		atomic_store_explicit(&stream->phase, CW_KERNEL, memory_order_release);
		return false;
	}
	cw_service_hang_up();
	return false;
}

void cw_service_offer(struct cw_stream *stream, int fd)
{
	int error = errno;

	if (!cw_moving) {
		cw_stream_stays(stream, cw_moving_reason);
	} else if (!cw_family_alone(stream)) {
		atomic_store_explicit(&cw_own_book.entry[stream->number].reason, CW_REASON_inherited, memory_order_relaxed);
	} else if (cw_service_lock()) {
		offer_locked(stream, fd);
		cw_service_unlock();
	}
	errno = error;
}

void cw_service_part(struct cw_stream *stream, int fd)
{
	struct timespec turn = {.tv_nsec = 50000};
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	struct linger linger = {0};
	socklen_t size = sizeof(linger);
	int unread = 0;

	for (int i = 0;
	     i < 400 && !cw_service_took(&stream->offer) && atomic_load_explicit(&stream->offer, memory_order_relaxed) != CW_LOST_OFFER;
	     i++)
		cw_raw(SYS_nanosleep, (long)&turn, 0, 0, 0, 0, 0);
	if (cw_service_took(&stream->offer) || !cw_family_alone(stream))
		return;
	cw_set_leave_all(stream);
	cw_raw(SYS_ioctl, fd, FIONREAD, (long)&unread, 0, 0, 0);
	cw_raw_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size);
	if (!stream->is_unix && (unread > 0 || (linger.l_onoff && !linger.l_linger)))
		cw_raw(SYS_connect, fd, (long)&nowhere, sizeof(nowhere), 0, 0, 0);
	else
		cw_raw(SYS_shutdown, fd, SHUT_RDWR, 0, 0, 0, 0);
}

void cw_service_withdraw(struct cw_stream *stream)
{
	struct cw_message message = cw_service_message(CW_WITHDRAW);

	message.offer.token.index = stream->number;
	message.offer.token.generation = atomic_load_explicit(&stream->generation, memory_order_relaxed);
	message.offer.cookie = stream->cookie;
	cw_service_tell(&message);
}

void cw_service_release(struct cw_stream *stream)
{
	struct cw_token token = {stream->number, atomic_load_explicit(&stream->generation, memory_order_relaxed)};

	cw_service_tell_slot(CW_RELEASE, &token, stream->arena, stream->slot_number, stream->end);
}

void cw_service_ask_resend(struct cw_stream *stream)
{
	struct cw_token token = {stream->number, atomic_load_explicit(&stream->generation, memory_order_relaxed)};

	cw_service_tell_slot(CW_RESEND, &token, stream->arena, stream->slot_number, stream->end);
}
