/* Descriptors' numbers: closing, duplicating, and the flags that belong to them. */
#include "call.h"
#include "listed.h"
#include "plain.h"
#include "process.h"
#include "sockets/bell.h"
#include "sockets/children.h"
#include "sockets/leave.h"
#include "sockets/pending.h"
#include "sockets/service.h"
#include "sockets/set.h"
#include "stdio.h"

#include <limits.h>
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define MOST_TRIES 20

static void forget(uint32_t entry, int fd)
{
	switch (cw_table_kind(entry)) {
	case CW_FD_STREAM:
		cw_stream_close(&cw_streams[cw_table_index(entry)], fd);
		break;
	case CW_FD_DATAGRAM:
		cw_datagram_close(&cw_datagrams[cw_table_index(entry)], fd);
		break;
	case CW_FD_SET:
		cw_set_close(cw_table_index(entry), fd);
		break;
	default:
		break;
	}
}

void cw_forget(int fd)
{
	forget(cw_table_take(fd), fd);
}

bool cw_call_again(struct cw_again *again, struct cw_stream **stream, int fd)
{
	static struct cw_stream none;

	if (again->by_kernel || !cw_table_was_changed(fd) || again->tries++ == MOST_TRIES || cw_raw_fcntl(fd, F_GETFD, 0) < 0) {
		errno = EBADF;
		return false;
	}
	*stream = cw_stream_of(fd);
	again->by_kernel = !*stream;
	if (!*stream)
		*stream = &none;
	return true;
}

static bool is_ours(int fd)
{
	return cw_table_kind(cw_table_get(fd)) == CW_FD_OWN;
}

/* A cancellation point: who is cancelled there leaves the descriptor open, and whole. */
static int close_known(int fd)
{
	int before, result;

	cw_cancellation_point();
	before = cw_hold_cancellation();
	cw_forget(fd);
	result = cw_real.close(fd);
	cw_release_cancellation(before);
	return result;
}

CW_EXPORT int close(int fd)
{
	cw_ensure_started();
	if (cw_likely(!cw_table_get(fd)))
		return cw_real.close(fd);
	if (is_ours(fd)) {
		errno = EBADF; /* for the program it isn't there; a vfork child needs it until its exec, which closes it */
		return -1;
	}
	return cw_is_other_process() ? cw_real.close(fd) : close_known(fd);
}

/* What we need for as long as the process lives. */
static bool is_kept(int fd)
{
	return fd == cw_service_descriptor() || cw_children_is(fd) || cw_bell_is(fd) || cw_set_is_waker(fd);
}

static int next_kept(unsigned first, unsigned last)
{
	for (unsigned fd = first; fd <= last && fd < cw_table_end(); fd++)
		if (is_kept((int)fd))
			return (int)fd;
	return -1;
}

static int close_kernel_range(unsigned first, unsigned last, int flags)
{
	int own = flags & CLOSE_RANGE_CLOEXEC ? -1 : next_kept(first, last);

	for (; own >= 0; own = next_kept(first, last)) {
		if ((unsigned)own > first && cw_real.close_range(first, (unsigned)own - 1, flags) < 0)
			return -1;
		if ((unsigned)own >= last)
			return 0;
		first = (unsigned)own + 1;
	}
	return cw_real.close_range(first, last, flags);
}

static bool any_of_ours(unsigned first, unsigned last)
{
	for (unsigned fd = first; fd <= last && fd < cw_table_end(); fd++)
		if (cw_table_get((int)fd) && !is_kept((int)fd))
			return true;
	return false;
}

/* Old kernels have no such call, and the filters of containers may refuse it: then nothing ends. */
static bool closes_ranges(void)
{
	return cw_raw(SYS_close_range, ~0u, ~0u, 0, 0, 0, 0) == 0;
}

CW_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	bool other;

	if (cw_unlikely(flags & CLOSE_RANGE_UNSHARE) && first <= last && !(flags & ~(int)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)))
		cw_before_unshare();
	if (cw_is_plain())
		return close_kernel_range(first, last, flags);
	other = cw_is_other_process();
	if (first > last || (flags & ~(int)CLOSE_RANGE_UNSHARE) || (!other && any_of_ours(first, last) && !closes_ranges()))
		return cw_real.close_range(first, last, flags);
	for (unsigned fd = first; !other && fd <= last && fd < cw_table_end(); fd++)
		if (cw_table_get((int)fd) && !is_kept((int)fd))
			cw_forget((int)fd);
	return close_kernel_range(first, last, flags);
}

static void close_from(int fd, int low)
{
	if (fd >= low)
		close(fd);
}

/* Where libc's own closefrom ends the program. */
static void close_to_limit(int low)
{
	struct rlimit limit = {.rlim_cur = 0};

	getrlimit(RLIMIT_NOFILE, &limit);
	for (int fd = low; (rlim_t)fd < limit.rlim_cur && fd < INT_MAX; fd++)
		close(fd);
}

CW_EXPORT void closefrom(int low)
{
	int before;

	if (low < 0)
		low = 0;
	if (close_range((unsigned)low, ~0u, 0) == 0)
		return;
	before = cw_hold_cancellation(); /* close is a point of it, this is none */
	if (!cw_each_open_descriptor(close_from, low))
		close_to_limit(low);
	cw_release_cancellation(before);
}

static int duplicated(int from, int to)
{
	struct cw_stream *stream = cw_stream_of(from);
	struct cw_set *set = cw_set_of(from);
	uint32_t life = stream ? cw_stream_life(stream) : 0;
	struct cw_datagram *datagram;

	if (to < 0 || cw_is_other_process())
		return to;
	/* Another thread may close the number, and have its place used again. */
	if (stream && cw_stream_of(from) != stream)
		stream = NULL;
	if (stream)
		cw_stream_dup(stream, life, to);
	else if (set)
		cw_set_dup(set, to);
	else if ((datagram = cw_datagram_held(from))) {
		cw_datagram_dup(datagram, to);
		cw_datagram_release(datagram);
	}
	cw_stdio_given(to);
	return to;
}

CW_EXPORT int dup(int fd)
{
	if (cw_is_plain())
		return cw_real.dup(fd);
	return duplicated(fd, cw_real.dup(fd));
}

/* The limit may have been lowered below what is open. */
static bool is_beyond_limit(int fd)
{
	uint64_t limit[2];

	return cw_raw(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)limit, 0, 0) == 0 && (uint64_t)fd >= limit[0];
}

/* The number that is about to be taken: what of ours is there goes elsewhere. False: the call fails. */
static bool make_way(int from, int to)
{
	if (from == to || to < 0 || cw_raw_fcntl(from, F_GETFD, 0) < 0 || (cw_table_get(to) && is_beyond_limit(to)))
		return false;
	if (cw_is_other_process())
		return true;
	if (to == cw_service_descriptor())
		cw_service_move_descriptor();
	else if (cw_children_is(to))
		cw_children_move();
	else if (cw_bell_is(to))
		cw_bell_move(to);
	else if (is_ours(to))
		cw_table_take(to); /* what wakes sleepers, which is made anew; or a set's that is waited for without the program's number */
	return true;
}

static int duplicate_in_kernel(int from, int to, int flags)
{
	return flags < 0 ? cw_real.dup2(from, to) : cw_real.dup3(from, to, flags);
}

/* What the number meant ends, and what it means from now on begins, with nothing in between for who uses it. */
static int put_in_place(int from, int to, int flags)
{
	int before = cw_hold_cancellation(), result;
	struct cw_stream *stream;
	uint32_t meant;
	bool locked;

	meant = cw_table_change(to, &locked);
	stream = cw_stream_in(meant);
	if (stream)
		cw_stream_let_pass(stream);
	forget(meant, to);
	result = duplicated(from, duplicate_in_kernel(from, to, flags));
	cw_table_changed(to, locked);
	cw_release_cancellation(before);
	return result;
}

/* flags: dup3's, -1 for dup2. */
static int replaced(int from, int to, int flags)
{
	if ((cw_is_plain() && !is_ours(to)) || !make_way(from, to))
		return duplicate_in_kernel(from, to, flags);
	if (cw_is_other_process() || (!cw_table_get(from) && !cw_table_get(to)))
		return duplicated(from, duplicate_in_kernel(from, to, flags));
	return put_in_place(from, to, flags);
}

/* A number of the same stream, datagram socket or set: it means the same all the time, whoever is in a call there. */
static bool means_the_same(int from, int to)
{
	uint32_t entry = cw_table_get(to);
	enum cw_descriptor_kind kind = cw_table_kind(entry);

	return (kind == CW_FD_STREAM || kind == CW_FD_DATAGRAM || kind == CW_FD_SET) && cw_table_get(from) == entry &&
	       !cw_is_other_process();
}

/* Unless another thread has closed it meanwhile. */
static int kept(int from, int to, uint32_t meaning, int result)
{
	return result < 0 || cw_table_get(to) == meaning ? result : duplicated(from, to);
}

CW_EXPORT int dup2(int from, int to)
{
	uint32_t meaning = cw_table_get(to);

	if (cw_unlikely(means_the_same(from, to)))
		return kept(from, to, meaning, cw_real.dup2(from, to));
	return replaced(from, to, -1);
}

CW_EXPORT int dup3(int from, int to, int flags)
{
	uint32_t meaning = cw_table_get(to);

	if (cw_unlikely(means_the_same(from, to)))
		return kept(from, to, meaning, cw_real.dup3(from, to, flags));
	return flags & ~O_CLOEXEC ? cw_real.dup3(from, to, flags) : replaced(from, to, flags);
}

static void set_datagram(int fd, bool nonblocking, bool asynchronous)
{
	struct cw_datagram *socket = cw_datagram_held(fd);

	if (!socket)
		return;
	atomic_store_explicit(&socket->entry->nonblocking, nonblocking, memory_order_relaxed);
	if (asynchronous)
		cw_datagram_leave(socket, fd, CW_REASON_asynchronous);
	cw_datagram_release(socket);
}

/* After F_DUPFD and its kin, and after F_SETFL of a stream. */
static int control(int fd, int command, void *argument)
{
	struct cw_stream *stream = cw_stream_of(fd);
	int result = cw_real.fcntl(fd, command, argument);

	if (result < 0)
		return result;
	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		return duplicated(fd, result);
	if (!stream) {
		set_datagram(fd, (long)argument & O_NONBLOCK, (long)argument & O_ASYNC);
		return result;
	}
	atomic_store_explicit(&stream->nonblocking, ((long)argument & O_NONBLOCK) != 0, memory_order_relaxed);
	if ((long)argument & O_ASYNC)
		cw_leave(stream, CW_REASON_asynchronous);
	return result;
}

static bool concerns_us(int fd, int command)
{
	return cw_table_get(fd) &&
	       (command == F_DUPFD || command == F_DUPFD_CLOEXEC || (command == F_SETFL && (cw_stream_of(fd) || cw_datagram_of(fd))));
}

/*
 * Variadic in C. What comes third is in the same register either way (x86-64, aarch64), and without a list to be walked the call of a
 * foreign descriptor is a jump: returning twice costs as much as the look, since the processor's predictions of returns are gone after a
 * system call.
 */
CW_EXPORT int cw_fcntl(int fd, int command, void *argument) __asm__("fcntl");
CW_EXPORT int cw_fcntl64(int fd, int command, void *argument) __asm__("fcntl64");
CW_EXPORT int cw_ioctl(int fd, unsigned long request, void *argument) __asm__("ioctl");

static cw_noinline int control_ours(int fd, int command, void *argument)
{
	cw_ensure_started();
	if (!concerns_us(fd, command))
		return cw_real.fcntl(fd, command, argument);
	return control(fd, command, argument);
}

int cw_fcntl(int fd, int command, void *argument)
{
	if (cw_likely(cw_is_foreign(fd)))
		return cw_real.fcntl(fd, command, argument);
	return control_ours(fd, command, argument);
}

#ifdef __GLIBC__
/* The two differ where off_t has 32 bits, and there in locks alone. */
int cw_fcntl64(int fd, int command, void *argument)
{
#if __SIZEOF_LONG__ == 4
	cw_ensure_started();
	if (!concerns_us(fd, command))
		return cw_real.fcntl64(fd, command, argument);
#endif
	return cw_fcntl(fd, command, argument);
}
#endif

/* AF_UNIX counts the memory that bytes take there: true is what the kernel says of its own, so who asks for it gets all there from now on.
 */
static void add_unsent(struct cw_stream *stream, int fd, int *unsent)
{
	int pending = cw_pending_out(stream);

	*unsent += pending;
	if (pending && stream->is_unix)
		cw_leave_sending_by_send(stream, fd, CW_REASON_option);
}

static int ask_stream(struct cw_stream *stream, int fd, unsigned long request, void *argument)
{
	int result;

	result = cw_real.ioctl(fd, request, argument);
	if (result < 0)
		return result;
	switch (request) {
	case FIONBIO:
		atomic_store_explicit(&stream->nonblocking, *(int *)argument != 0, memory_order_relaxed);
		break;
	case FIOASYNC:
		if (*(int *)argument)
			cw_leave(stream, CW_REASON_asynchronous);
		break;
	case FIONREAD:
		if (cw_is_moved(stream, fd))
			*(int *)argument = cw_pending_in(stream, fd);
		break;
	case SIOCATMARK:
		if (cw_is_moved(stream, fd) && cw_pending_in(stream, -1) > 0)
			*(int *)argument = 0; /* the ring's bytes come before the mark */
		break;
	case SIOCOUTQ:
		if (cw_is_moved(stream, fd))
			add_unsent(stream, fd, argument);
		break;
	}
	return result;
}

/* When the last one came: the kernel tells it of its own alone. By two names of old, and two of longs' size. */
static bool asks_for_time(unsigned long request)
{
	unsigned long kind = request & (_IOC_TYPEMASK << _IOC_TYPESHIFT | _IOC_NRMASK);

	return kind == SIOCGSTAMP_OLD || kind == SIOCGSTAMPNS_OLD;
}

static int ask_datagram(struct cw_datagram *socket, int fd, unsigned long request, void *argument)
{
	int result = cw_real.ioctl(fd, request, argument), error = errno, size;

	/* Who asks for the time before there is any will ask again. */
	if ((result < 0 && !asks_for_time(request)) || !cw_datagram_hold(socket, fd))
		return result;
	if (request == FIONBIO)
		atomic_store_explicit(&socket->entry->nonblocking, *(int *)argument != 0, memory_order_relaxed);
	else if (request == FIOASYNC && *(int *)argument)
		cw_datagram_leave(socket, fd, CW_REASON_asynchronous);
	else if (request == FIONREAD && (size = cw_datagram_pending(socket, fd)) >= 0)
		*(int *)argument = size;
	else if (asks_for_time(request))
		cw_datagram_leave_to(socket, fd, CW_REASON_option);
	cw_datagram_release(socket);
	errno = error;
	return result;
}

/* libc's own would ask the kernel alone. */
CW_EXPORT int sockatmark(int fd)
{
	int mark = 0;

	return cw_ioctl(fd, SIOCATMARK, &mark) < 0 ? -1 : mark;
}

static cw_noinline int ioctl_ours(int fd, unsigned long request, void *argument)
{
	struct cw_stream *stream = cw_stream_for(fd);
	struct cw_datagram *datagram = cw_datagram_of(fd);

	if (datagram)
		return ask_datagram(datagram, fd, request, argument);
	return stream ? ask_stream(stream, fd, request, argument) : cw_real.ioctl(fd, request, argument);
}

int cw_ioctl(int fd, unsigned long request, void *argument)
{
	if (cw_likely(cw_is_foreign(fd)))
		return cw_real.ioctl(fd, request, argument);
	return ioctl_ours(fd, request, argument);
}
