#include "look.h"

#include <errno.h>
#include <sched.h>

#include "cpu.h"

#define UNDISTURBED_US 2    /* an end that runs, and has little to do, answers in less */
#define ANEW_US        1000 /* in all */
#define ALONE_US       8    /* of our own time; about what a wake-up takes */
#define HERE           16   /* finds in others' turns, until they are taken to come from this processor alone */
#define ELSEWHERE      4    /* of these speak against it for one find in our own; we may have been preempted in that */
#define ASK_US         8    /* then after twice as much, and no longer: what comes by the kernel has waited for its system calls */
#define QUIET          16
#define SPARED_OF      61 /* calls; a prime, so that what comes in turns doesn't always meet the same one */
#define PINNED_FOR     16 /* looks */

void cw_look_begin(struct cw_look *look, struct cw_spin *spin, struct cw_give_way *way, uint32_t most_us, unsigned how)
{
	*look = (struct cw_look){.spin = spin, .way = way, .most_us = most_us, .how = (uint16_t)how};
	look->budget = cw_spin_budget(spin, most_us);
	look->anew = ANEW_US * cw_ticks_per_us();
	look->only_gives = (how & CW_LOOK_GIVES_WAY) && spin->pinned && spin->here >= HERE && look->budget <= most_us * cw_ticks_per_us();
	look->shares = look->is_short = look->only_gives;
	look->start = cw_ticks();
	look->ask_at = look->start + ASK_US * cw_ticks_per_us();
}

static bool has_one_processor(void)
{
	cpu_set_t own;

	return sched_getaffinity(0, sizeof(own), &own) == 0 && CPU_COUNT(&own) == 1;
}

/* What we look from here on is at others' expense; on the only processor that we may use, mostly at that of whoever is to answer. Now and
 * then a long look is due, which finds out whether that is so. */
static void share(struct cw_look *look)
{
	uint64_t rate = cw_ticks_per_us(), most = look->most_us * rate;
	int error = errno;

	if (look->spin->shared++ % PINNED_FOR == 0)
		look->spin->pinned = has_one_processor();
	if (look->budget > ALONE_US * rate && look->budget <= most && look->spin->pinned)
		look->budget = ALONE_US * rate;
	look->is_short = look->budget < most;
	look->shares = true;
	errno = error;
}

static void give_way(struct cw_look *look)
{
	uint64_t from = cw_ticks(), past;

	look->gave = cw_give_way(look->way);
	if (look->gave == CW_GAVE_NOTHING)
		return;
	look->turns = true;
	cw_rest_gave(&look->spin->rest);
	if (look->gave != CW_GAVE && look->gave != CW_GAVE_BRIEFLY)
		return;
	if (!look->shares)
		share(look);
	past = cw_ticks() - (look->is_short ? from : look->start);
	if (past <= look->anew) {
		look->anew -= past;
		look->start += past;
	}
}

static bool in_vain(struct cw_look *look)
{
	if (look->turns)
		cw_rest_lost(&look->spin->rest);
	return false;
}

bool cw_look_goes_on(struct cw_look *look)
{
	uint64_t looked = cw_ticks() - look->start;

	look->gave = CW_GAVE_NOTHING;
	if (looked >= look->budget || cw_rests(&look->spin->rest))
		return in_vain(look);
	if (look->how & CW_LOOK_GIVES_WAY && (look->only_gives || looked >= UNDISTURBED_US * cw_ticks_per_us()))
		give_way(look);
	return !look->only_gives || look->gave != CW_GAVE_NOTHING || cw_give_way_is_near(look->way) || in_vain(look);
}

/* Where does what we look for come from? What is there as the look begins says nothing. */
static void note_where(struct cw_look *look)
{
	struct cw_spin *spin = look->spin;

	if (look->gave != CW_GAVE_NOTHING)
		spin->here = (uint8_t)(spin->here < HERE ? spin->here + 1 : HERE);
	else if (cw_ticks() - look->start > UNDISTURBED_US / 2 * cw_ticks_per_us())
		spin->here = (uint8_t)(spin->here > ELSEWHERE ? spin->here - ELSEWHERE : 0);
}

void cw_look_told(struct cw_look *look)
{
	cw_rest_found(&look->spin->rest);
}

/* After a longer turn of others it isn't known where it came from. */
void cw_look_paid(struct cw_look *look, unsigned found)
{
	if (found > 1 && look->gave != CW_GAVE_NOTHING)
		cw_give_way_brought(look->way, found - 1);
	note_where(look);
	cw_rest_found(&look->spin->rest);
	cw_spin_paid(look->spin, look->most_us);
	if (look->gave == CW_GAVE_NOTHING)
		cw_aside_found(&look->spin->aside);
	else if (look->gave == CW_GAVE_BRIEFLY && look->how & CW_LOOK_STEPS_ASIDE)
		cw_aside_note(&look->spin->aside, 1, 1);
}

bool cw_look_asks(struct cw_look *look)
{
	uint64_t now = cw_ticks();

	if ((int64_t)(now - look->ask_at) < 0)
		return false;
	look->ask_at = now + 2 * ASK_US * cw_ticks_per_us();
	return true;
}

void cw_look_asked(struct cw_spin *spin, bool found)
{
	if (found)
		spin->quiet = 0;
	else if (spin->quiet < QUIET)
		spin->quiet++;
}

bool cw_look_is_quiet(const struct cw_spin *spin)
{
	return spin->quiet >= QUIET;
}

bool cw_look_spares_kernel(struct cw_spin *spin)
{
	return ++spin->calls % SPARED_OF != 0;
}
