/* A look (sync/look.h) of the calling thread, by the policy. */
#ifndef CW_SOCKETS_LOOKING_H
#define CW_SOCKETS_LOOKING_H

#include "service.h"

static inline void cw_looking(struct cw_look *look)
{
	unsigned how = (cw_policy.number[CW_OPTION_give_way] ? CW_LOOK_GIVES_WAY : 0) |
		       (cw_policy.number[CW_OPTION_step_aside] ? CW_LOOK_STEPS_ASIDE : 0);

	cw_look_begin(look, &cw_thread.spin, &cw_thread.way, (uint32_t)cw_policy_spin_us(), how);
}

#endif
