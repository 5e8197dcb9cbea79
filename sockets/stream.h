/*
 * A TCP socket of this process. Its number is also its entry in the book. Streams are never freed, only used again, so a pointer taken from
 *the table stays valid memory whatever another thread closes.
 *
 * phase	UNBORN	not connected yet, or a listener
 *		KERNEL	connected; counted until it has shown that it lives
 *		OFFERED	the service has been told; the other end not yet, or not ours
 *		MOVED	has a slot: every call goes by the state words of its two directions
 *		STAYS	on kernel TCP for good; reason says why
 */
#ifndef CW_SOCKETS_STREAM_H
#define CW_SOCKETS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "book.h"
#include "sync/ring.h"
#include "sync/look.h"
#include "table.h"
#include "transport/shm/arena.h"
#include "transport/window/protocol.h"

enum cw_phase { CW_UNBORN, CW_KERNEL, CW_OFFERED, CW_MOVED, CW_STAYS };

#define CW_CORK_OPTION 1 /* TCP_CORK */
#define CW_CORK_MORE   2 /* MSG_MORE at the last send */

#define CW_NOTE_INHERITED 1 /* came by fork while moved; this process has not used it yet */
#define CW_NOTE_PLAIN     2 /* it has left, and nothing of it is in the ring: each call is the kernel's own (leave.h) */

struct cw_item;

#define CW_NO_CLAIM UINT64_MAX

/* AF_UNIX, before it is moved: bytes that went through the kernel since the socket's birth. [1] out of this end, [0] into it. */
struct cw_family_book {
	_Atomic uint64_t bytes[2];
	_Atomic uint32_t busy[2]; /* calls in the kernel, whose bytes are not booked yet */
	_Atomic uint32_t lost;    /* somebody used the socket who doesn't count */
};

struct cw_stream {
	/* Read at every call. */
	_Atomic uint8_t phase;
	_Atomic bool nonblocking;    /* as last seen */
	_Atomic bool lent;           /* another process has, or had, the socket too, and may have changed that */
	uint8_t corked;              /* CW_CORK_*: bytes in the kernel may wait there for more */
	bool broken;                 /* reset because of shared memory; every call says ECONNRESET */
	bool tells_unread;           /* TCP_INQ */
	bool reset_told;             /* ECONNRESET for a peer that died with unread bytes is told once */
	bool clamped, bounded;       /* the kernel's buffers have been bounded for this direction (switch.h) */
	bool own_clamp;              /* TCP_WINDOW_CLAMP is the program's */
	bool keeps_unsent;           /* TCP_NOTSENT_LOWAT is ours, and was own_unsent */
	_Atomic bool room_by_edge;   /* an event set tells by edge when there is room again, or did once */
	uint8_t awaited;             /* turns for bytes on their way out of the ring, in all (receive_kernel.c) */
	uint8_t linger_shift;        /* so often in a row waiting for the offer to be taken didn't help (switch.h) */
	uint32_t by_kernel_in;       /* bytes through the kernel while moved, since the last such wait */
	uint32_t by_kernel_out;      /* the same, up to the bound */
	uint32_t offers_missed;      /* looks for the reader's offer in vain, in a row */
	_Atomic uint32_t bell;       /* of its arena (bell.h); 0: none */
	uint32_t rings_missed;       /* times that bytes were there, and nobody had rung */
	_Atomic uint64_t rung;       /* the other end's sleep that was rung for last */
	_Atomic uint64_t left_at;    /* widx when the stream last fell asleep in a set */
	_Atomic uint32_t offers;     /* made: what was told of the ring of one says nothing of the next (set_look.c) */
	uint64_t lingered;           /* roff at the last wait that let the offer stand */
	_Atomic uint64_t offered_up; /* receive_offer.c: the ring's beginning at the last offer */
	_Atomic uint8_t offers_in_vain, offers_left_out;
	bool shut_writing;      /* by us, perhaps before it was moved */
	bool shut_reading;      /* by us: an end of file says nothing of the peer */
	bool is_unix;           /* AF_UNIX (unix.h) */
	_Atomic int error;      /* of the kernel, that came behind bytes and is still to be told */
	_Atomic uint64_t claim; /* of the part of the ring that a send is filling (sending.h) */
	_Atomic uint8_t notes;  /* CW_NOTE_*: what a call of a moved stream looks at first */
	uint8_t end;            /* of the slot */
	uint8_t most_bits;      /* class of the largest ring that the program's buffer sizes allow */
	uint32_t number;
	struct cw_slot *_Atomic slot;
	struct cw_direction *tx, *rx;
	unsigned char *tx_data, *rx_data;
	_Atomic uint64_t *tx_board, *rx_board; /* the words with board_bit */
	uint64_t board_bit;
	struct cw_item *_Atomic items; /* its entries in event sets of this process; set_list.c */

	/* Before it is moved. */
	_Atomic uint32_t tx_busy, rx_busy; /* calls in the kernel that don't know of a slot */
	_Atomic uint32_t generation;       /* of this use of the entry */
	_Atomic uint32_t life;             /* the same, but ended by close before anything of it is given back */
	_Atomic int32_t references;        /* descriptors of this process */
	_Atomic uint32_t family;           /* shared count of the processes that hold it, 0 none but us (fork.h) */
	_Atomic uint32_t calls;            /* 0: already decided */
	_Atomic uint32_t
		offer; /* which of our offers it was; 0: none. While the service has not taken it up, the socket is held there too */
	uint64_t cookie;
	uint64_t arena;
	uint32_t slot_number;
	uint32_t rcvbuf; /* SO_RCVBUF if the program set it */
	int own_unsent;  /* TCP_NOTSENT_LOWAT as the program has it, where keeps_unsent */
	int32_t fd;      /* one of its descriptors */
	bool accepted;
	_Atomic uint8_t teaches;                /* what its end may say of its port (patience.c) */
	_Atomic uint16_t port;                  /* of the service, 0: not asked for */
	uint64_t messages_before, bytes_before; /* its offer */
	struct cw_family_book passed;
	_Atomic uint32_t next_free; /* while it is: the entry below it on the stack */
};

/* What a thread needs at hand. */
struct cw_thread {
	uint32_t tid;
	struct cw_spin spin; /* waiting for bytes */
	struct cw_give_way way;
};

extern __thread struct cw_thread cw_thread;
extern struct cw_stream cw_streams[CW_BOOK_ENTRIES];
/* Alone on its pages: the service's shared memory is mapped over it when the program registers (service.c). */
#define CW_BOOK_ALIGNMENT 65536
union cw_book_memory {
	struct cw_book book;
	char pages[(sizeof(struct cw_book) + CW_BOOK_ALIGNMENT - 1) / CW_BOOK_ALIGNMENT * CW_BOOK_ALIGNMENT];
};
extern union cw_book_memory cw_book_memory;
#define cw_own_book (cw_book_memory.book)

uint32_t cw_thread_id_slow(void);
static inline uint32_t cw_thread_id(void)
{
	return cw_likely(cw_thread.tid) ? cw_thread.tid : cw_thread_id_slow();
}

static inline struct cw_stream *cw_stream_in(uint32_t entry)
{
	return cw_table_kind(entry) == CW_FD_STREAM ? &cw_streams[cw_table_index(entry)] : NULL;
}

static inline struct cw_stream *cw_stream_of(int fd)
{
	uint32_t entry = cw_table_peek(fd);

	return cw_unlikely(entry == CW_FD_CHANGING) ? cw_stream_in(cw_table_await(fd)) : cw_stream_in(entry);
}

/* For a call that found it there and is counted, or under its lock: it is still there, and stays until the call is over, or in the kernel.
 */
static inline bool cw_stream_at(const struct cw_stream *stream, int fd)
{
	return cw_likely((unsigned)fd < CW_DESCRIPTORS &&
			 atomic_load_explicit(&cw_table[fd], memory_order_seq_cst) == cw_table_entry(CW_FD_STREAM, stream->number));
}

static inline uint64_t *cw_counters(const struct cw_stream *stream)
{
	return cw_own_book.entry[stream->number].counter;
}

/* What the entry counted goes to the book's totals. */
void cw_book_end(struct cw_book *book, uint32_t number);
/* What is counted for the program, not for one stream: waits for many. */
void cw_count(enum cw_counter counter);

#define CW_COUNT(stream, name, by) (cw_counters(stream)[CW_COUNT_##name] += (by))

static inline struct cw_ring cw_stream_ring(unsigned char *data, uint32_t bits)
{
	return (struct cw_ring){data, 1ull << bits};
}

/* A new socket of the program. connected: by accept, or by an earlier life of the descriptor. Without room in the table fd stays the
 * kernel's. */
struct cw_stream *cw_stream_open(int fd, bool connected, bool nonblocking);
struct cw_stream *cw_stream_open_unix(int fd, bool connected, bool nonblocking);
void cw_stream_connected(struct cw_stream *stream);
/* Streams with numbers from this on were never used. */
uint32_t cw_streams_used(void);
/* An entry of the book for another kind of socket, with its place among the streams but none in the table; NULL: too many. */
struct cw_stream *cw_entry_open(int fd);
void cw_entry_close(struct cw_stream *entry);
/* One more descriptor of it. False: another thread has closed the last one; who does that has counted to nothing before anything ends, and
 * from there nobody counts up. */
bool cw_entry_count(struct cw_stream *entry);
/* Another descriptor of the same socket, if that is still what lived when life was read; else fd is the kernel's alone. */
void cw_stream_dup(struct cw_stream *stream, uint32_t life, int fd);
/* A descriptor is about to be closed; call it before the kernel's close. The last one ends the stream here. */
void cw_stream_close(struct cw_stream *stream, int fd);
/* One of its descriptors is changing: waits for who is about to ask the kernel by its number. */
void cw_stream_let_pass(struct cw_stream *stream);
/* For a call that has slept in the kernel: another thread has closed the stream meanwhile. The call has its answer, and nothing of the
 * stream, nor fd, may be touched: they may be another's by now. */
static inline uint32_t cw_stream_life(const struct cw_stream *stream)
{
	return atomic_load_explicit(&stream->life, memory_order_acquire);
}

static inline bool cw_stream_ended(const struct cw_stream *stream, uint32_t life)
{
	return cw_unlikely(cw_stream_life(stream) != life);
}

/*
 * Under the lock of one of its directions, for a call that found the stream by a number: it may have been closed since, and its place, or
 * slot, be another's. Who closes says so, and then waits for who is under a lock.
 */
static inline bool cw_stream_has(const struct cw_stream *stream, const struct cw_direction *way)
{
	return cw_likely(atomic_load_explicit(&stream->phase, memory_order_acquire) == CW_MOVED &&
			 (stream->tx == way || stream->rx == way));
}

/* An event set may tell of room by edge: this process's, or that of another which has had the socket too. */
static inline bool cw_stream_makes_edges(const struct cw_stream *stream)
{
	return atomic_load_explicit(&stream->room_by_edge, memory_order_relaxed) ||
	       atomic_load_explicit(&stream->lent, memory_order_relaxed);
}

/* What the program asked for by O_NONBLOCK, where it doesn't ask for it by a flag of the call. */
bool cw_stream_blocks(struct cw_stream *stream, int fd);
/* Decide for kernel TCP. Not for moved streams (leave.h). */
void cw_stream_stays(struct cw_stream *stream, enum cw_reason reason);

/* Before a call in the kernel of a stream without a slot, or of a plain one: false if it has a slot by now. */
bool cw_stream_enter(struct cw_stream *stream, _Atomic uint32_t *busy);
/* After it: count, and see whether the stream has shown that it lives. result: bytes, or -1. errno is kept. */
void cw_stream_sent(struct cw_stream *stream, int fd, ssize_t result);
void cw_stream_received(struct cw_stream *stream, int fd, ssize_t result);

#endif
