#include "look.h"

#include "cpu.h"

#define UNDISTURBED_US 2 /* an end that runs, and has little to do, answers in less */
#define MOST_GIVEN     32

void cw_look_begin(struct cw_look *look, struct cw_spin *spin, struct cw_give_way *way, uint32_t most_us, unsigned how)
{
	*look = (struct cw_look){.spin = spin, .way = way, .most_us = most_us, .how = (uint16_t)how};
	look->budget = cw_spin_budget(spin, most_us);
	look->start = cw_ticks();
}

static void give_way(struct cw_look *look)
{
	enum cw_gave gave = cw_give_way(look->way);

	look->brief = gave == CW_GAVE_BRIEFLY;
	if ((gave == CW_GAVE || gave == CW_GAVE_BRIEFLY) && look->given < MOST_GIVEN) {
		look->given++;
		look->start = cw_ticks();
	}
}

bool cw_look_goes_on(struct cw_look *look)
{
	uint64_t looked = cw_ticks() - look->start;

	look->brief = false;
	if (looked >= look->budget)
		return false;
	if (look->how & CW_LOOK_GIVES_WAY && looked >= UNDISTURBED_US * cw_ticks_per_us())
		give_way(look);
	return true;
}

void cw_look_paid(struct cw_look *look)
{
	cw_spin_paid(look->spin, look->most_us);
	if (!look->brief)
		cw_aside_found(&look->spin->aside);
	else if (look->how & CW_LOOK_STEPS_ASIDE)
		cw_aside_note(&look->spin->aside, 1, 1);
}
