/* windowed.h says what it is. */
#include "transport/tcpip/windowed.h"

uint64_t cw_windowed_take(struct cw_windowed *windowed, uint64_t window, uint64_t time, uint64_t value, bool most)
{
	struct cw_windowed_sample *best = windowed->best, now = {time, value};
	uint64_t age = time - best[0].time;

	if (time - best[2].time > window)
		return cw_windowed_set(windowed, time, value);
	if (most ? value >= best[1].value : value <= best[1].value)
		best[1] = best[2] = now;
	else if (most ? value >= best[2].value : value <= best[2].value)
		best[2] = now;
	if (age > window) {
		best[0] = best[1];
		best[1] = best[2];
		best[2] = now;
		if (time - best[0].time > window) {
			best[0] = best[1];
			best[1] = best[2];
		}
	} else if (best[1].time == best[0].time && age > window / 4) {
		best[1] = best[2] = now;
	} else if (best[2].time == best[1].time && age > window / 2) {
		best[2] = now;
	}
	return best[0].value;
}
