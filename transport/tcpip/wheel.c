/* The wheel of timers: wheel.h says how it is laid out. */
#include "transport/tcpip/wheel.h"

#include <stddef.h>

#define DUE 0xff

static void push(struct cw_timer **head, struct cw_timer *timer)
{
	timer->next = *head;
	timer->link = head;
	if (timer->next)
		timer->next->link = &timer->next;
	*head = timer;
}

static void lay(struct cw_wheel *wheel, struct cw_timer *timer)
{
	unsigned level;

	if (timer->expiry <= wheel->now) {
		timer->level = DUE;
		push(&wheel->due, timer);
		return;
	}
	level = (63u - (unsigned)__builtin_clzll(timer->expiry ^ wheel->now)) / CW_WHEEL_BITS;
	timer->level = (uint8_t)level;
	timer->slot = (timer->expiry >> (level * CW_WHEEL_BITS)) % CW_WHEEL_SLOTS;
	push(&wheel->slot[level][timer->slot], timer);
	wheel->used[level] |= 1ull << timer->slot;
}

void cw_wheel_init(struct cw_wheel *wheel, uint64_t now)
{
	*wheel = (struct cw_wheel){.now = now};
}

void cw_wheel_stop(struct cw_wheel *wheel, struct cw_timer *timer)
{
	if (!timer->link)
		return;
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	else if (timer->level != DUE && !wheel->slot[timer->level][timer->slot])
		wheel->used[timer->level] &= ~(1ull << timer->slot);
	timer->link = NULL;
}

void cw_wheel_start(struct cw_wheel *wheel, struct cw_timer *timer, uint64_t expiry)
{
	cw_wheel_stop(wheel, timer);
	timer->expiry = expiry;
	lay(wheel, timer);
}

/* The lowest level in use and when its first slot begins. */
static unsigned first_slot(const struct cw_wheel *wheel, uint64_t *begins)
{
	for (unsigned level = 0; level < CW_WHEEL_LEVELS; level++) {
		unsigned shift = level * CW_WHEEL_BITS;
		uint64_t above;

		if (!wheel->used[level])
			continue;
		above = shift + CW_WHEEL_BITS < 64 ? wheel->now >> (shift + CW_WHEEL_BITS) << (shift + CW_WHEEL_BITS) : 0;
		*begins = above | (uint64_t)__builtin_ctzll(wheel->used[level]) << shift;
		return level;
	}
	*begins = UINT64_MAX;
	return CW_WHEEL_LEVELS;
}

struct cw_timer *cw_wheel_expired(struct cw_wheel *wheel, uint64_t now)
{
	while (!wheel->due) {
		uint64_t begins;
		unsigned level = first_slot(wheel, &begins);
		struct cw_timer *timer, **slot;

		if (level == CW_WHEEL_LEVELS || begins > now) {
			if (now > wheel->now)
				wheel->now = now;
			return NULL;
		}
		wheel->now = begins;
		slot = &wheel->slot[level][__builtin_ctzll(wheel->used[level])];
		wheel->used[level] &= wheel->used[level] - 1;
		timer = *slot;
		*slot = NULL;
		while (timer) {
			struct cw_timer *next = timer->next;

			lay(wheel, timer);
			timer = next;
		}
	}
	struct cw_timer *timer = wheel->due;

	cw_wheel_stop(wheel, timer);
	return timer;
}

uint64_t cw_wheel_next(const struct cw_wheel *wheel)
{
	uint64_t begins;

	if (wheel->due)
		return wheel->now;
	first_slot(wheel, &begins);
	return begins;
}
