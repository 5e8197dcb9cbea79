/*
 * Steps of a random walk: datagrams beside the streams. Two sockets here, three of the peer's, two of which hear from our first and one
 * from our second; each of ours hears from all of them. Of two sources nobody says whose datagram comes first; of each they come in order.
 */
#include "walking.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>

#define OURS        2
#define THEIRS      3
#define UNTAKEN     40
#define NUMBER      700 /* of the peer's first */
#define ROOM_UNREAD 60000u

struct queue {
	unsigned first, count;
	unsigned forks; /* before the first of them was sent */
	uint64_t number[UNTAKEN];
	size_t size[UNTAKEN];
};

struct name {
	struct sockaddr_storage address;
	socklen_t length;
};

struct ours {
	int fd, twin;
	struct name name;
	struct queue from[THEIRS];
	size_t unread;
	int connected; /* to which of theirs, or -1 */
};

struct theirs {
	struct name name;
	unsigned number, hears; /* the peer's number of it; which of ours it hears from */
	uint64_t sent, taken, to_it;
	struct queue in;
	size_t unread;
};

static __thread struct ours ours[OURS];
static __thread struct theirs theirs[THEIRS];
static __thread bool opened;
static __thread int set;

static struct sockaddr *at(struct name *name)
{
	return (struct sockaddr *)&name->address;
}

static void put(struct queue *q, uint64_t number, size_t size)
{
	unsigned place = (q->first + q->count++) % UNTAKEN;

	if (q->count == 1)
		q->forks = walk_forks;
	q->number[place] = number;
	q->size[place] = size;
}

static void drop(struct queue *q)
{
	q->first = (q->first + 1) % UNTAKEN;
	q->count--;
}

static unsigned untaken(const struct ours *o)
{
	unsigned count = 0;

	for (unsigned i = 0; i < THEIRS; i++)
		count += o->from[i].count;
	return count;
}

static void open_ours(struct ours *o, unsigned number)
{
	struct sockaddr_in any_port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event event = {EPOLLIN, {.u32 = number}};

	o->fd = (int)MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	o->twin = -1;
	o->connected = -1;
	/* Again where it was, if nobody else has got that port meanwhile. */
	if (!o->name.length || bind(o->fd, at(&o->name), o->name.length))
		MUST(bind(o->fd, (struct sockaddr *)&any_port, sizeof(any_port)));
	o->name.length = sizeof(o->name.address);
	MUST(getsockname(o->fd, at(&o->name), &o->name.length));
	memset(o->from, 0, sizeof(o->from));
	o->unread = 0;
	MUST(epoll_ctl(set, EPOLL_CTL_ADD, o->fd, &event));
}

static void open_theirs(struct theirs *t, unsigned hears)
{
	static _Atomic unsigned numbers = NUMBER;
	struct peer_order order = {.does = PEER_UDP_OPEN, .number = numbers++, .length = sizeof(struct sockaddr_in)};
	struct sockaddr_in any_port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	memcpy(&order.address, &any_port, sizeof(any_port));
	struct peer_answer answer = peer_ask(order);

	*t = (struct theirs){.name = {answer.address, answer.length}, .number = order.number, .hears = hears};
	MUST(answer.result);
}

static void open_all(void)
{
	set = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
	for (unsigned i = 0; i < OURS; i++)
		open_ours(&ours[i], i);
	for (unsigned i = 0; i < THEIRS; i++)
		open_theirs(&theirs[i], i < 2 ? 0 : 1);
	opened = true;
}

static size_t datagram_size(void)
{
	return any(5) ? any(1500) : any(30000);
}

/* ---- steps ---- */

static void peer_sends_to(struct ours *o, unsigned from, size_t size)
{
	struct theirs *t = &theirs[from];
	long sent = peer_ask((struct peer_order){.does = PEER_UDP_SEND,
						 .number = t->number,
						 .count = (long)size,
						 .address = o->name.address,
						 .length = o->name.length})
			    .result;

	if (sent != (long)size && sent)
		wrong("datagrams: the peer sent %ld of %zu", sent, size);
	if (o->connected < 0 || o->connected == (int)from) {
		put(&o->from[from], t->sent, size);
		o->unread += size;
	}
	t->sent++;
}

static bool room_for(const struct ours *o, unsigned from, size_t size)
{
	return o->from[from].count < UNTAKEN && untaken(o) < UNTAKEN && o->unread + size < ROOM_UNREAD;
}

static void give_ours(struct ours *o)
{
	unsigned from = (unsigned)any(THEIRS), times = 1 + (unsigned)any(4);

	for (unsigned i = 0; i < times; i++) {
		size_t size = datagram_size();

		if (!room_for(o, from, size))
			return;
		doing("datagrams: theirs %u sends %zu to ours %u", from, size, (unsigned)(o - ours));
		peer_sends_to(o, from, size);
		if (any(2))
			from = (unsigned)any(THEIRS);
	}
}

/* Of those that were under way when somebody forked the kernel's may come before the ring's: to the front with what came. */
static void reorder(struct queue *q, long got)
{
	for (unsigned i = 0; i < q->count && q->forks != walk_forks; i++) {
		unsigned place = (q->first + i) % UNTAKEN;
		uint64_t number = q->number[place];
		size_t size = q->size[place];

		if ((long)size != got || content_good(1, number * DATAGRAM_ROOM, room, size) < size)
			continue;
		for (; i; i--) {
			unsigned to = (q->first + i) % UNTAKEN, from = (q->first + i - 1) % UNTAKEN;

			q->number[to] = q->number[from];
			q->size[to] = q->size[from];
		}
		q->number[q->first] = number;
		q->size[q->first] = size;
		return;
	}
}

static void check_datagram(struct ours *o, long got, const struct name *source, bool keep)
{
	unsigned from = 0;

	while (from < THEIRS && (source->length != theirs[from].name.length ||
				 memcmp(&source->address, &theirs[from].name.address, sizeof(struct sockaddr_in))))
		from++;
	struct queue *q = from < THEIRS ? &o->from[from] : NULL;

	if (q)
		reorder(q, got);
	if (!q || !q->count) {
		wrong("datagrams: ours %u received %s that nobody sent, from %u", (unsigned)(o - ours), RESULT(got), from);
	} else if (got != (long)q->size[q->first] ||
		   content_good(1, q->number[q->first] * DATAGRAM_ROOM, room, (size_t)got) < (size_t)got) {
		wrong("datagrams: ours %u received %ld from %u and not number %lu, of %zu", (unsigned)(o - ours), got, from,
		      (unsigned long)q->number[q->first], q->size[q->first]);
	} else if (!keep) {
		o->unread -= q->size[q->first];
		drop(q);
	}
}

static void take_one(struct ours *o, int flags)
{
	struct name source = {.length = sizeof(source.address)};
	struct iovec v = {room, ROOM};
	struct mmsghdr m = {
		.msg_hdr = {.msg_name = &source.address, .msg_namelen = sizeof(source.address), .msg_iov = &v, .msg_iovlen = 1}};
	int fd = o->twin >= 0 && any(2) ? o->twin : o->fd;
	long got;

	switch (any(3)) {
	case 0:
		got = recvmsg(fd, &m.msg_hdr, flags);
		source.length = m.msg_hdr.msg_namelen;
		break;
	case 1:
		got = recvmmsg(fd, &m, 1, flags, NULL) == 1 ? (long)m.msg_len : -1;
		source.length = m.msg_hdr.msg_namelen;
		break;
	default:
		got = recvfrom(fd, room, ROOM, flags, at(&source), &source.length);
	}
	if (got < 0)
		wrong("datagrams: ours %u receives %s, %u untaken", (unsigned)(o - ours), RESULT(got), untaken(o));
	else
		check_datagram(o, got, &source, flags & MSG_PEEK);
}

static void wait_for_ours(struct ours *o)
{
	struct pollfd p = {o->fd, POLLIN, 0};
	struct epoll_event events[OURS];
	fd_set readable;
	int n = 0;

	switch (any(3)) {
	case 0:
		n = poll(&p, 1, 3000);
		break;
	case 1:
		FD_ZERO(&readable);
		FD_SET(o->fd, &readable);
		n = select(o->fd + 1, &readable, NULL, NULL, &(struct timeval){3, 0});
		break;
	default:
		for (uint64_t limit = now_ms() + 3000; !n && now_ms() < limit;) {
			int all = epoll_wait(set, events, OURS, 1000);

			for (int i = 0; i < all; i++) {
				n |= events[i].data.u32 == (unsigned)(o - ours);
				if (!untaken(&ours[events[i].data.u32]))
					wrong("datagrams: the set tells of ours %u", events[i].data.u32);
			}
		}
	}
	if (n != 1)
		wrong("datagrams: ours %u is not told of %u", (unsigned)(o - ours), untaken(o));
}

static void take_ours(struct ours *o)
{
	struct pollfd p = {o->fd, POLLIN, 0};
	bool keep = !any(4);

	if (!untaken(o)) {
		doing("datagrams: ours %u has nothing", (unsigned)(o - ours));
		if (poll(&p, 1, 0) != 0 || recv(o->fd, room, 10, MSG_DONTWAIT) != -1 || errno != EAGAIN)
			wrong("datagrams: ours %u has something", (unsigned)(o - ours));
		return;
	}
	for (unsigned times = 1 + (unsigned)any(untaken(o)); times && untaken(o); times--) {
		doing("datagrams: ours %u takes one of %u", (unsigned)(o - ours), untaken(o));
		if (any(2))
			wait_for_ours(o);
		take_one(o, keep ? MSG_PEEK : 0);
	}
}

static void wait_with_ours(struct ours *o)
{
	unsigned from = o->connected >= 0 ? (unsigned)o->connected : (unsigned)any(THEIRS);
	size_t size = datagram_size();

	if (untaken(o))
		return;
	doing("datagrams: ours %u waits for %zu from %u", (unsigned)(o - ours), size, from);
	later(1 + (int)any(3));
	peer_sends_to(o, from, size);
	if (any(2))
		wait_for_ours(o);
	take_one(o, 0);
	peer_wait();
}

static void send_to_theirs(struct ours *o)
{
	unsigned to = o->connected >= 0 ? (unsigned)o->connected : (unsigned)any(THEIRS);
	struct theirs *t = &theirs[to];
	size_t size = datagram_size();
	struct iovec v[2] = {{room, size / 2}, {room + size / 2, size - size / 2}};
	struct mmsghdr m = {.msg_hdr = {.msg_name = &t->name.address, .msg_namelen = t->name.length, .msg_iov = v, .msg_iovlen = 2}};
	long sent;

	if (t->hears != (unsigned)(o - ours) || t->in.count == UNTAKEN || t->unread + size > ROOM_UNREAD)
		return;
	doing("datagrams: ours %u sends %zu to %u", (unsigned)(o - ours), size, to);
	content_fill(0, t->to_it * DATAGRAM_ROOM, room, size);
	switch (any(4)) {
	case 0:
		sent = sendmsg(o->fd, &m.msg_hdr, 0);
		break;
	case 1:
		sent = sendmmsg(o->fd, &m, 1, 0) == 1 ? (long)m.msg_len : -1;
		break;
	case 2:
		if (o->connected >= 0) {
			sent = write(o->fd, room, size);
			break;
		}
		/* fallthrough */
	default:
		sent = sendto(o->twin >= 0 ? o->twin : o->fd, room, size, 0, at(&t->name), t->name.length);
	}
	if (sent != (long)size)
		wrong("datagrams: ours %u sends %s of %zu", (unsigned)(o - ours), RESULT(sent), size);
	put(&t->in, t->to_it++, size);
	t->unread += size;
}

static void peer_takes(void)
{
	struct theirs *t = &theirs[any(THEIRS)];

	for (unsigned times = t->in.count ? 1 + (unsigned)any(t->in.count) : 0; times; times--) {
		size_t size = t->in.size[t->in.first];

		doing("datagrams: theirs %u takes one of %u", (unsigned)(t - theirs), t->in.count);
		long got = peer_ask((struct peer_order){.does = PEER_UDP_RECV, .number = t->number}).result;

		if (got != (long)size)
			wrong("datagrams: theirs %u took %ld and not %zu", (unsigned)(t - theirs), got, size);
		t->unread -= size;
		drop(&t->in);
	}
}

static void twin_of_ours(struct ours *o)
{
	if (o->twin < 0) {
		doing("datagrams: dup of ours %u", (unsigned)(o - ours));
		o->twin = (int)MUST(dup(o->fd));
	} else {
		doing("datagrams: a twin of ours %u is closed", (unsigned)(o - ours));
		close(o->twin);
		o->twin = -1;
	}
}

/* What was unread there is gone. */
static void reopen_ours(struct ours *o)
{
	doing("datagrams: ours %u is opened again", (unsigned)(o - ours));
	lend_lock();
	if (o->twin >= 0)
		close(o->twin);
	close(o->fd);
	open_ours(o, (unsigned)(o - ours));
	lend_unlock();
}

/* To one of theirs, where nothing of others is unread; or to nobody any more. */
static void connect_ours(struct ours *o)
{
	struct name nobody = {.length = sizeof(struct sockaddr)};
	unsigned to = (unsigned)any(THEIRS);

	if (untaken(o) || any(2))
		return;
	nobody.address.ss_family = AF_UNSPEC;
	if (o->connected >= 0) {
		doing("datagrams: ours %u is connected to nobody", (unsigned)(o - ours));
		/* Its port would be another one if the kernel had chosen it; it was bound. */
		if (connect(o->fd, at(&nobody), nobody.length))
			wrong("datagrams: disconnect: %s", RESULT(-1));
		o->connected = -1;
		struct name name = {.length = sizeof(name.address)};

		if (getsockname(o->fd, at(&name), &name.length) || memcmp(&name.address, &o->name.address, sizeof(struct sockaddr_in)))
			reopen_ours(o);
	} else {
		doing("datagrams: ours %u is connected to %u", (unsigned)(o - ours), to);
		if (connect(o->fd, at(&theirs[to].name), theirs[to].name.length))
			wrong("datagrams: connect: %s", RESULT(-1));
		o->connected = (int)to;
	}
}

static void count_ours(struct ours *o)
{
	int there = -1;
	bool good = false;

	if (!untaken(o))
		return;
	wait_for_ours(o);
	if (ioctl(o->fd, FIONREAD, &there))
		wrong("datagrams: FIONREAD: %s", RESULT(-1));
	for (unsigned i = 0; i < THEIRS; i++)
		good |= o->from[i].count && (size_t)there == o->from[i].size[o->from[i].first];
	if (!good)
		wrong("datagrams: FIONREAD of ours %u gives %d", (unsigned)(o - ours), there);
}

void step_datagrams(struct walker *w __attribute__((unused)))
{
	static void (*const steps[])(struct ours *) = {give_ours,  give_ours,      take_ours,      take_ours,
						       take_ours,  send_to_theirs, send_to_theirs, wait_with_ours,
						       count_ours, twin_of_ours,   reopen_ours,    connect_ours};
	unsigned times = 1 + (unsigned)any(6);

	if (manner.family == AF_UNIX)
		return;
	if (!opened)
		open_all();
	while (times--) {
		uint64_t what = any(2 + sizeof(steps) / sizeof(steps[0]));

		if (what < sizeof(steps) / sizeof(steps[0]))
			steps[what](&ours[any(OURS)]);
		else
			peer_takes();
	}
}
