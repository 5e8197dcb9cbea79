/*
 * What a descriptor number is to us: nothing (the kernel's alone), a stream, an event set, a datagram socket, or one of our own that the
 * program must not touch. One load decides. Numbers beyond the table are the kernel's alone.
 */
#ifndef CW_SOCKETS_TABLE_H
#define CW_SOCKETS_TABLE_H

#include <stdatomic.h>
#include <stdint.h>

#define CW_DESCRIPTORS (1u << 20)

enum cw_descriptor_kind { CW_FD_NONE, CW_FD_STREAM, CW_FD_SET, CW_FD_OWN, CW_FD_DATAGRAM };
#define CW_FD_BITS 3

extern _Atomic uint32_t cw_table[CW_DESCRIPTORS];
extern _Atomic uint32_t cw_table_highest;

/* Numbers from here on never meant anything to us. */
static inline uint32_t cw_table_end(void)
{
	return atomic_load_explicit(&cw_table_highest, memory_order_relaxed) + 1;
}

static inline uint32_t cw_table_get(int fd)
{
	/* T0: acquire, pairs with the release in cw_table_put: the object was ready before its number was. */
	return (unsigned)fd < CW_DESCRIPTORS ? atomic_load_explicit(&cw_table[fd], memory_order_acquire) : 0;
}

static inline void cw_table_put(int fd, enum cw_descriptor_kind kind, uint32_t index)
{
	uint32_t highest = atomic_load_explicit(&cw_table_highest, memory_order_relaxed);

	if ((unsigned)fd >= CW_DESCRIPTORS)
		return;
	while ((unsigned)fd > highest && !atomic_compare_exchange_weak_explicit(&cw_table_highest, &highest, (unsigned)fd,
										memory_order_relaxed, memory_order_relaxed))
		;
	atomic_store_explicit(&cw_table[fd], index << CW_FD_BITS | kind, memory_order_release);
}

static inline uint32_t cw_table_take(int fd)
{
	return (unsigned)fd < CW_DESCRIPTORS ? atomic_exchange_explicit(&cw_table[fd], 0, memory_order_acq_rel) : 0;
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
