#include "service_inside.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "sync/decimal.h"

#define ROOM_NS          2000000
#define NO_ROOM_NS       50000000ull
#define HIGH_DESCRIPTORS 1024 /* ours goes below this, or below the limit if that is lower: select looks at no more than the table has */
#define BELOW_LIMIT      32

static bool trusted(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return cw_raw_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static int connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_usec = CW_SERVICE_LIMIT_US};
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

_Atomic int cw_service_room;

/* Out of the way of the program's own numbers. */
int cw_service_move_high(int fd)
{
	struct rlimit limit;
	long low = HIGH_DESCRIPTORS, high = -1, room = atomic_load_explicit(&cw_service_room, memory_order_relaxed);

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < HIGH_DESCRIPTORS)
		low = (long)limit.rlim_cur;
	if (room && room < low) /* the limit may be higher by now, but not the table */
		low = room;
	for (long from = low - BELOW_LIMIT; from > 3 && high < 0; from -= 256)
		high = cw_raw_fcntl(fd, F_DUPFD_CLOEXEC, from);
	if (high < 0)
		return fd;
	cw_raw_close(fd);
	return (int)high;
}

static bool moved_on(_Atomic int *own, int fd)
{
	long moved = cw_raw_fcntl(fd, F_DUPFD_CLOEXEC, fd > 64 ? fd - 32 : fd + 1);

	if (moved < 0)
		return false;
	cw_table_take(fd);
	cw_table_put((int)moved, CW_FD_OWN, 0);
	atomic_store_explicit(own, (int)moved, memory_order_release);
	cw_raw_close(fd);
	return true;
}

void cw_service_make_way(_Atomic int *own)
{
	int fd = atomic_load_explicit(own, memory_order_relaxed);

	if (moved_on(own, fd))
		return;
	cw_table_take(fd);
	atomic_store_explicit(own, -1, memory_order_release);
	cw_raw_close(fd);
}

void cw_service_move_descriptor(void)
{
	int fd = atomic_load_explicit(&cw_service_fd, memory_order_relaxed);

	if (fd < 0 || !cw_service_lock())
		return;
	moved_on(&cw_service_fd, fd);
	cw_service_unlock();
}

void cw_service_make_room(void)
{
	/* Closing it gives up none of the program's record locks, as it is no descriptor to read by (O_PATH). */
	long fd = cw_raw(SYS_openat, AT_FDCWD, (long)"/", O_PATH | O_CLOEXEC, 0, 0, 0);

	if (fd < 0)
		return;
	fd = cw_service_move_high((int)fd);
	cw_raw_close((int)fd);
	atomic_store_explicit(&cw_service_room, (int)fd + BELOW_LIMIT, memory_order_relaxed);
}

int cw_service_open(void)
{
	char name[64] = "causeway/user/";
	int fd;

	if (cw_service.name[0])
		return connect_to(cw_service.name);
	fd = connect_to(CW_SERVICE_SYSTEM);
	if (fd >= 0)
		return fd;
	cw_put_decimal(name + strlen(name), geteuid());
	return connect_to(name);
}

bool cw_service_send(int fd, const struct cw_message *message, int descriptor, int flags)
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
int cw_service_receive(int fd, struct cw_message *message, int descriptors[2], int flags)
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

/* The queue is full, but somebody is there to read it. */
bool cw_service_is_there(void)
{
	int connection = atomic_load_explicit(&cw_service_fd, memory_order_relaxed);

	return connection >= 0 && cw_raw_poll(connection, 0) == 0;
}

bool cw_service_say(const struct cw_message *message)
{
	return cw_service_send(atomic_load_explicit(&cw_service_fd, memory_order_acquire), message, -1, MSG_DONTWAIT);
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

void cw_service_tell(struct cw_message *message)
{
	int fd = atomic_load_explicit(&cw_service_fd, memory_order_acquire);
	bool own = cw_service.owner == cw_own_pid();

	/* A vfork child has no word of its own, but its parent waits for it, and a ring must not be lost. */
	if (fd < 0 || (!own && message->type != CW_RESEND))
		return;
	if (((!own || cw_kept_say(cw_service_say)) && cw_service_say(message)) || !cw_service_is_there())
		return;
	if (!room_comes(fd) || !cw_service_say(message))
		cw_kept_put(message);
}

void cw_service_tell_slot(uint32_t type, const struct cw_token *token, uint64_t arena, uint32_t slot, uint32_t end)
{
	struct cw_message message = cw_service_message(type);

	message.grant.token = *token;
	message.grant.arena = arena;
	message.grant.slot = slot;
	message.grant.end = end;
	cw_service_tell(&message);
}
