/*
 * What a descriptor number is to us: nothing (the kernel's alone), a stream, an event set, a datagram socket, or one of our own that the
 * program must not touch. One load decides. Numbers beyond the table are the kernel's alone.
 *
 * dup2 puts another socket in a number's place at once, as far as threads that use the number can tell. For us that is two steps, the
 * kernel's and ours: meanwhile the number is *changing*, and who asks what it means waits. A call that found what it meant before looks
 * once more, counted or under a lock that dup2 passes (cw_stream_let_pass), before it asks the kernel by the number.
 */
#ifndef CW_SOCKETS_TABLE_H
#define CW_SOCKETS_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CW_DESCRIPTORS (1u << 20)

enum cw_descriptor_kind { CW_FD_NONE, CW_FD_STREAM, CW_FD_SET, CW_FD_OWN, CW_FD_DATAGRAM, CW_FD_CHANGING };
#define CW_FD_BITS 3

extern _Atomic uint32_t cw_table[CW_DESCRIPTORS];
extern _Atomic uint32_t cw_table_highest;

/* Numbers from here on never meant anything to us. */
static inline uint32_t cw_table_end(void)
{
	return atomic_load_explicit(&cw_table_highest, memory_order_relaxed) + 1;
}

/* What it means when it is no longer changing. In a handler on top of who changes it, or where that lasts too long: nothing. */
uint32_t cw_table_await(int fd);
/* From here on fd is changing, until it was put, or else means nothing. One number at a time: *locked is for the end of it. Returns what it
 * meant. */
uint32_t cw_table_change(int fd, bool *locked);
void cw_table_changed(int fd, bool locked);
/* One of the last that were. */
bool cw_table_was_changed(int fd);
/* No number is changing while a fork copies the table. */
void cw_table_hold(void);
void cw_table_let_go(void);
void cw_table_after_fork(void);

/* What stands at the number of such an object. */
static inline uint32_t cw_table_entry(enum cw_descriptor_kind kind, uint32_t index)
{
	return index << CW_FD_BITS | kind;
}

/* As it is, be it changing. */
static inline uint32_t cw_table_peek(int fd)
{
	/* T0: acquire, pairs with the release in cw_table_put: the object was ready before its number was. */
	return (unsigned)fd < CW_DESCRIPTORS ? atomic_load_explicit(&cw_table[fd], memory_order_acquire) : 0;
}

static inline uint32_t cw_table_get(int fd)
{
	uint32_t entry = cw_table_peek(fd);

	return __builtin_expect(entry == CW_FD_CHANGING, 0) ? cw_table_await(fd) : entry;
}

static inline void cw_table_put(int fd, enum cw_descriptor_kind kind, uint32_t index)
{
	uint32_t highest = atomic_load_explicit(&cw_table_highest, memory_order_relaxed);

	if ((unsigned)fd >= CW_DESCRIPTORS)
		return;
	while ((unsigned)fd > highest && !atomic_compare_exchange_weak_explicit(&cw_table_highest, &highest, (unsigned)fd,
										memory_order_relaxed, memory_order_relaxed))
		;
	atomic_store_explicit(&cw_table[fd], cw_table_entry(kind, index), memory_order_release);
}

static inline uint32_t cw_table_take(int fd)
{
	uint32_t entry = cw_table_get(fd);

	while (entry && !atomic_compare_exchange_strong_explicit(&cw_table[fd], &entry, 0, memory_order_acq_rel, memory_order_relaxed))
		entry = cw_table_get(fd);
	return entry;
}

static inline enum cw_descriptor_kind cw_table_kind(uint32_t entry)
{
	return (enum cw_descriptor_kind)(entry & ((1u << CW_FD_BITS) - 1));
}

static inline uint32_t cw_table_index(uint32_t entry)
{
	return entry >> CW_FD_BITS;
}

#endif
