/*
 * The layout of an arena: a header page, the slots' words, the slots' rings. One slot serves one connection at a time; its two ends are 0
 *and 1. End e writes direction[e] and reads direction[1 - e]. An offset is a byte's place in the stream, counted from the connection's
 *first byte in that direction, wherever the bytes before it went.
 *
 *	0			struct cw_arena_header
 *	CW_ARENA_BOARD		the boards: for each direction a bit a slot, a cache line a word (sync/board.h)
 *	CW_ARENA_WORDS		slots * struct cw_slot
 *	rings_at		slots * 2 rings of CW_RING_MAX bytes, of which a connection uses (and so touches) as much as its class says
 *
 * All of it is written by both ends, so none of it is trusted: what a program needs to stay unharmed (addresses, sizes) it keeps in memory
 *of its own.
 */
#ifndef CW_TRANSPORT_SHM_SLOT_H
#define CW_TRANSPORT_SHM_SLOT_H

#include <stdatomic.h>
#include <stdint.h>

#include "sync/cpu.h"
#include "sync/lock.h"
#include "sync/state.h"

#define CW_LAYOUT          10u /* raise it when anything in this file, protocol.h or book.h changes its place or meaning */
#define CW_ARENA_MAGIC     0x63617573657761ull
#define CW_ARENA_BOARD     2048u
#define CW_ARENA_WORDS     4096u
#define CW_RING_MIN_BITS   14u
#define CW_RING_MAX_BITS   18u
#define CW_RING_MAX        (1u << CW_RING_MAX_BITS)
#define CW_ARENA_MAX_SLOTS 1024u

#define CW_TAKING_BACK 2u /* tx_kernel_op */

struct cw_direction {
	/* The writer's, at each message; the reader looks here. */
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t widx; /* offset behind the last byte published in the ring */

	/* The reader's, at each read; the writer looks here when its credit is used up, and when it takes the stream back. */
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t roff; /* offset of the next byte to be read, from the ring or the kernel */

	/* Changed by steps of the switch alone. */
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t state; /* sync/state.h */
	_Atomic uint64_t up;                            /* LIVE: offset from which bytes are in the ring */
	_Atomic uint64_t seal;                          /* SEALED: offset from which bytes are in the kernel again */
	_Atomic uint32_t ring_bits;                     /* the ring's class, chosen by the writer before LIVE */
	_Atomic uint32_t rx_board;                      /* the reader watches its board: mark what is published */

	/* The holders of the writing end. */
	_Alignas(CW_CACHE_LINE) struct cw_lock tx_lock;
	_Atomic uint32_t tx_attached;  /* woff holds */
	_Atomic uint32_t tx_in_kernel; /* send calls in the kernel without the lock: woff doesn't hold until they are back */
	_Atomic uint64_t woff;         /* offset of the next byte to be written by the kernel; by ring it is widx */
	_Atomic uint64_t tx_credit;    /* roff as last seen by the writer */
	_Atomic uint32_t tx_bits;      /* class wanted for the next LIVE */
	_Atomic uint32_t
		tx_kernel_op; /* CW_TAKING_BACK: what was in the ring is on its way through the kernel; its death here ends the stream */
	_Atomic uint32_t tx_shared; /* two processes write here: nobody takes the ring */
	_Atomic uint32_t tx_bell;   /* the writer can ring (sockets/bell.h) */

	/* The holders of the reading end. */
	_Alignas(CW_CACHE_LINE) struct cw_lock rx_lock;
	_Atomic uint32_t rx_attached; /* roff holds */
	_Atomic uint32_t rx_asleep;   /* threads waiting in the kernel for this direction, or reading there without the lock */
	_Atomic uint32_t rx_shared;   /* two processes read here: nobody offers the ring */
	_Atomic uint32_t rx_kernel_op;
	_Atomic uint64_t rx_bell; /* the sleep (the state word without marks) in which the reader waits for its bell too; 0: none */
};

struct cw_end {
	_Alignas(CW_CACHE_LINE) _Atomic uint32_t holders; /* processes; corrected by the service when one dies */
	_Atomic uint32_t processor;                       /* and 1: where this end last woke the other through the kernel (sync/aside.h) */
	_Atomic uint32_t rcvbuf; /* SO_RCVBUF if the program set it, else 0: bounds what the ring may hold unread */
	_Atomic uint32_t nagle;  /* its holders did not ask for TCP_NODELAY, which the socket has for the switch's sake */
};

struct cw_slot {
	struct cw_direction direction[2];
	struct cw_end end[2];
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t use; /* raised by the service each time the slot is given out */
};

struct cw_board_word {
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t bits;
};

_Static_assert(CW_ARENA_BOARD + CW_ARENA_MAX_SLOTS / 64 * 2 * sizeof(struct cw_board_word) <= CW_ARENA_WORDS,
	       "the boards fit the header's page");

struct cw_arena_header {
	uint64_t magic;
	uint32_t layout;
	uint32_t slots;
	uint64_t id;
	uint64_t size;
	uint64_t rings_at;
};

/* Programs of 32 and of 64 bits share slots: the places are the same for both. */
_Static_assert(sizeof(struct cw_direction) == 5 * CW_CACHE_LINE && sizeof(struct cw_slot) == 13 * CW_CACHE_LINE, "a slot has one size");
_Static_assert(sizeof(struct cw_arena_header) == 40, "the header has one size");
_Static_assert(_Alignof(_Atomic uint64_t) == 8, "words of 64 bits lie in one cache line");

static inline uint64_t cw_arena_rings_at(uint32_t slots)
{
	return (CW_ARENA_WORDS + (uint64_t)slots * sizeof(struct cw_slot) + CW_RING_MAX - 1) & ~(uint64_t)(CW_RING_MAX - 1);
}

static inline uint64_t cw_arena_size(uint32_t slots)
{
	return cw_arena_rings_at(slots) + (uint64_t)slots * 2 * CW_RING_MAX;
}

#endif
