/* A look of the calling thread, and what its sleeps say of looks (sync/look.h, spin.h), by the policy. */
#ifndef CW_SOCKETS_LOOKING_H
#define CW_SOCKETS_LOOKING_H

#include "service.h"

static inline void cw_looking(struct cw_look *look)
{
	unsigned how = (cw_policy.number[CW_OPTION_give_way] ? CW_LOOK_GIVES_WAY : 0) |
		       (cw_policy.number[CW_OPTION_step_aside] ? CW_LOOK_STEPS_ASIDE : 0);

	cw_look_begin(look, &cw_thread.spin, &cw_thread.way, (uint32_t)cw_policy_spin_us(), how);
}

/* cw_look_is_quiet */
static inline bool cw_kernel_is_quiet(void)
{
	return cw_look_is_quiet(&cw_thread.spin);
}

/* cw_look_spares_kernel */
static inline bool cw_spares_kernel(void)
{
	return cw_look_spares_kernel(&cw_thread.spin);
}

static inline void cw_asked(bool found)
{
	cw_look_asked(&cw_thread.spin, found);
}

/* cw_spin_sparse */
static inline bool cw_sparse(void)
{
	return cw_spin_sparse(&cw_thread.spin, (uint32_t)cw_policy_spin_us());
}

static inline bool cw_is_sparse(void)
{
	return cw_spin_is_sparse(&cw_thread.spin, (uint32_t)cw_policy_spin_us());
}

/* A sleep is over; start is where the look before it began, if there was one. */
static inline void cw_slept(uint64_t start, bool looked)
{
	(looked ? cw_spin_lost : cw_spin_slept)(&cw_thread.spin, (uint32_t)cw_policy_spin_us(), cw_ticks() - start);
}

#endif
