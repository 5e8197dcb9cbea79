#include "bell.h"

#include <fcntl.h>
#include <pthread.h>

#include "kernel.h"
#include "service_inside.h"

#define MOST_BELLS 4096

/* By number less one, which is 0 for none. rings: the module's count, as some thread has last heard it. */
static struct bell {
	_Atomic int fd; /* -1 no more */
	_Atomic uint64_t rings;
} bells[MOST_BELLS] CW_TABLE;
static _Atomic uint32_t count;

static long ring(int fd)
{
	return cw_raw(SYS_ioctl, fd, CAUSEWAY_IOC_RING, 0, 0, 0, 0);
}

/* A cancellation point, as the receive in the kernel that it stands for. */
static long await_module(int fd, struct causeway_await *await)
{
	int before;
	long result;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
	result = cw_raw(SYS_ioctl, fd, CAUSEWAY_IOC_AWAIT, (long)await, 0, 0, 0);
	pthread_setcanceltype(before, NULL);
	return result;
}

static bool has_bells(int fd)
{
	struct causeway_version version = {0};
	struct causeway_grant_info info = {0};
	const uint32_t rights = CAUSEWAY_MAY_WAIT | CAUSEWAY_MAY_RING;

	return cw_raw(SYS_ioctl, fd, CAUSEWAY_IOC_VERSION, (long)&version, 0, 0, 0) == 0 && version.version >= 2 &&
	       cw_raw(SYS_ioctl, fd, CAUSEWAY_IOC_INFO, (long)&info, 0, 0, 0) == 0 && (info.rights & rights) == rights;
}

struct cw_bell_calls cw_bell_calls = {has_bells, ring, await_module};

void cw_bell_keep(struct cw_arena *arena, int fd)
{
	uint32_t number = atomic_load_explicit(&count, memory_order_relaxed);
	long own;

	if (arena->bell || !cw_policy.number[CW_OPTION_bells] || number == MOST_BELLS || !cw_bell_calls.has(fd))
		return;
	own = cw_raw_fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return;
	own = cw_service_move_high((int)own);
	atomic_store_explicit(&bells[number].fd, (int)own, memory_order_relaxed);
	cw_table_put((int)own, CW_FD_OWN, 0);
	atomic_store_explicit(&count, number + 1, memory_order_release);
	arena->bell = number + 1;
}

static struct bell *of(int fd)
{
	uint32_t most = atomic_load_explicit(&count, memory_order_acquire);

	for (uint32_t i = 0; i < most; i++)
		if (atomic_load_explicit(&bells[i].fd, memory_order_relaxed) == fd)
			return &bells[i];
	return NULL;
}

bool cw_bell_is(int fd)
{
	return fd >= 0 && cw_table_kind(cw_table_peek(fd)) == CW_FD_OWN && of(fd);
}

void cw_bell_move(int fd)
{
	cw_service_make_way(&of(fd)->fd);
}

static struct bell *bell_of(const struct cw_stream *stream)
{
	uint32_t number = atomic_load_explicit(&stream->bell, memory_order_relaxed);

	return number ? &bells[number - 1] : NULL;
}

static void do_without(struct cw_stream *stream)
{
	atomic_store_explicit(&stream->bell, 0, memory_order_relaxed);
	atomic_store_explicit(&stream->tx->tx_bell, 0, memory_order_relaxed);
}

/* ---- the writer ---- */

bool cw_bell_wanted(const struct cw_stream *stream, uint64_t word)
{
	return cw_unlikely(bell_of(stream) != NULL) &&
	       atomic_load_explicit(&stream->tx->rx_bell, memory_order_seq_cst) == cw_bell_sleep_of(word);
}

bool cw_bell_ring(struct cw_stream *stream, uint64_t word)
{
	struct bell *bell = bell_of(stream);
	uint64_t sleep = cw_bell_sleep_of(word);

	if (!bell || atomic_load_explicit(&stream->rung, memory_order_relaxed) == sleep)
		return bell;
	/* Rung before it is noted: who is killed in between rings twice, not never. */
	if (cw_bell_calls.ring(atomic_load_explicit(&bell->fd, memory_order_acquire)) < 0) {
		do_without(stream);
		return false;
	}
	atomic_store_explicit(&stream->rung, sleep, memory_order_relaxed);
	CW_COUNT(stream, rings, 1);
	return true;
}

/* ---- the reader ---- */

bool cw_bell_may_sleep(const struct cw_stream *stream)
{
	return bell_of(stream);
}

uint64_t cw_bell_seen(const struct cw_stream *stream)
{
	struct bell *bell = bell_of(stream);

	return bell ? atomic_load_explicit(&bell->rings, memory_order_relaxed) : 0;
}

void cw_bell_missed(struct cw_stream *stream)
{
	if (++stream->rings_missed >= CW_BELLS_LOST)
		do_without(stream);
}

long cw_bell_await(struct cw_stream *stream, struct causeway_await *await)
{
	struct bell *bell = bell_of(stream);
	long result = bell ? cw_bell_calls.await(atomic_load_explicit(&bell->fd, memory_order_acquire), await) : -EBADF;

	if (result < 0 && result != -EINTR)
		do_without(stream);
	else if (result == 0)
		atomic_store_explicit(&bell->rings, await->rings, memory_order_relaxed);
	return result;
}
