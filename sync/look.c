#include "look.h"

#include "cpu.h"

#define UNDISTURBED_US 2 /* an end that runs, and has little to do, answers in less */
#define ANEW_US        1000

void cw_look_begin(struct cw_look *look, struct cw_spin *spin, struct cw_give_way *way, uint32_t most_us, unsigned how)
{
	*look = (struct cw_look){.spin = spin, .way = way, .most_us = most_us, .how = (uint16_t)how};
	look->budget = cw_spin_budget(spin, most_us);
	look->anew = ANEW_US * cw_ticks_per_us();
	look->start = cw_ticks();
}

static void give_way(struct cw_look *look)
{
	uint64_t past;

	look->gave = cw_give_way(look->way);
	past = cw_ticks() - look->start;
	if ((look->gave == CW_GAVE || look->gave == CW_GAVE_BRIEFLY) && past <= look->anew) {
		look->anew -= past;
		look->start += past;
	}
}

bool cw_look_goes_on(struct cw_look *look)
{
	uint64_t looked = cw_ticks() - look->start;

	look->gave = CW_GAVE_NOTHING;
	if (looked >= look->budget)
		return false;
	if (look->how & CW_LOOK_GIVES_WAY && looked >= UNDISTURBED_US * cw_ticks_per_us())
		give_way(look);
	return true;
}

/* After a longer turn of others it isn't known where it came from. */
void cw_look_paid(struct cw_look *look)
{
	cw_spin_paid(look->spin, look->most_us);
	if (look->gave == CW_GAVE_NOTHING)
		cw_aside_found(&look->spin->aside);
	else if (look->gave == CW_GAVE_BRIEFLY && look->how & CW_LOOK_STEPS_ASIDE)
		cw_aside_note(&look->spin->aside, 1, 1);
}
