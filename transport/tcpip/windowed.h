/*
 * The least, or the most, of the samples of a window of time that moves, in constant room (Nichols' filter): the best one, the best of
 * those that came behind it, and the best behind that. When the first one is too old the second takes its place. A quarter and a half of
 * the window make sure that what follows isn't as old as what it follows.
 */
#ifndef CW_TCPIP_WINDOWED_H
#define CW_TCPIP_WINDOWED_H

#include <stdbool.h>
#include <stdint.h>

struct cw_windowed {
	struct cw_windowed_sample {
		uint64_t time, value;
	} best[3];
};

static inline uint64_t cw_windowed_set(struct cw_windowed *windowed, uint64_t time, uint64_t value)
{
	windowed->best[0] = windowed->best[1] = windowed->best[2] = (struct cw_windowed_sample){time, value};
	return value;
}

/* windowed.c: the rest, for a sample that isn't the best one. */
uint64_t cw_windowed_take(struct cw_windowed *windowed, uint64_t window, uint64_t time, uint64_t value, bool most);

static inline uint64_t cw_windowed_least(struct cw_windowed *windowed, uint64_t window, uint64_t time, uint64_t value)
{
	if (value <= windowed->best[0].value)
		return cw_windowed_set(windowed, time, value);
	return cw_windowed_take(windowed, window, time, value, false);
}

static inline uint64_t cw_windowed_most(struct cw_windowed *windowed, uint64_t window, uint64_t time, uint64_t value)
{
	if (value >= windowed->best[0].value)
		return cw_windowed_set(windowed, time, value);
	return cw_windowed_take(windowed, window, time, value, true);
}

#endif
