/* What the rest needs of the processor: a pause in a look, a cheap clock, a full fence. */
#ifndef CW_SYNC_CPU_H
#define CW_SYNC_CPU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"

#define CW_CACHE_LINE    64
#define cw_noinline      __attribute__((noinline))
#define cw_likely(x)     __builtin_expect(!!(x), 1)
#define cw_unlikely(x)   __builtin_expect(!!(x), 0)
#define CW_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
/* A variable of several pages: behind all small ones, which so share theirs. A child by fork that writes to a page pays for a copy of it.
 */
#define CW_TABLE __attribute__((section(".bss.table")))
/* The one whose first entries share a page with the small ones. */
#define CW_FIRST_TABLE __attribute__((section(".bss.first")))

static inline void cw_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/*
 * A compare-and-swap between a thread and the signal handlers on top of it, on a word that nobody else touches meanwhile: one instruction
 * without the bus lock where there is such a thing.
 */
static inline bool cw_swap_before_signals(_Atomic uint64_t *word, uint64_t expected, uint64_t wanted)
{
#if defined(__x86_64__)
	bool swapped;

	__asm__ volatile("cmpxchgq %3, %1" : "=@ccz"(swapped), "+m"(*word), "+a"(expected) : "r"(wanted) : "memory");
	return swapped;
#else
	return atomic_compare_exchange_strong_explicit(word, &expected, wanted, memory_order_relaxed, memory_order_relaxed);
#endif
}

static inline uint64_t cw_monotonic_ns(void)
{
	struct timespec now;

	cw_clock(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A counter that rises at a constant rate; cw_ticks_per_us() (spin.c) tells the rate. */
static inline uint64_t cw_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	return cw_monotonic_ns();
#endif
}

#endif
