/*
 * Timers in microseconds, on a hierarchical wheel (Varghese and Lauck, scheme 7): starting, stopping and expiring cost O(1).
 *
 * Level l has 64 slots of 64^l microseconds. A timer lies on the level of the highest base-64 digit in which its expiry differs from the
 * wheel's time, in the slot of that digit. So slots of the lowest level in use that aren't empty come before all others, and a timer moves
 * down at most once a level. Invariant: no slot in use begins at or before the wheel's time; what is due is on the list `due`.
 */
#ifndef CW_TCPIP_WHEEL_H
#define CW_TCPIP_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define CW_WHEEL_BITS   6u
#define CW_WHEEL_SLOTS  64u
#define CW_WHEEL_LEVELS 11u /* all of 64 bits */

struct cw_timer {
	struct cw_timer *next, **link; /* link: NULL when it isn't running */
	uint64_t expiry;
	uint8_t level, slot;
	uint8_t owner; /* the user's: what it lies in */
};

struct cw_wheel {
	uint64_t now;
	uint64_t used[CW_WHEEL_LEVELS];
	struct cw_timer *slot[CW_WHEEL_LEVELS][CW_WHEEL_SLOTS];
	struct cw_timer *due;
};

void cw_wheel_init(struct cw_wheel *wheel, uint64_t now);
/* A running timer is moved. An expiry that has passed is due at once. */
void cw_wheel_start(struct cw_wheel *wheel, struct cw_timer *timer, uint64_t expiry);
void cw_wheel_stop(struct cw_wheel *wheel, struct cw_timer *timer);
/* Take one timer that expired until now; NULL: none, and the wheel's time is now. */
struct cw_timer *cw_wheel_expired(struct cw_wheel *wheel, uint64_t now);
/* No timer expires before; it may be earlier than the first one, never later. UINT64_MAX: none is running. */
uint64_t cw_wheel_next(const struct cw_wheel *wheel);

static inline bool cw_timer_running(const struct cw_timer *timer)
{
	return timer->link;
}

#endif
