/* What is done when the library is loaded into a program, or at the first call if a constructor of another library makes one earlier; and
 * when the program exits. */
#include <stdlib.h>

#include "execute.h"
#include "plain.h"
#include "process.h"
#include "raw.h"
#include "real.h"
#include "sockets/patience.h"
#include "sockets/service.h"
#include "stdio.h"
#include "sync/clock.h"
#include "sync/spin.h"

_Atomic uint8_t cw_stage;
extern char **environ;

static void decide(void)
{
	const char *program = program_invocation_short_name;

	if (cw_policy_read(&cw_policy, getenv("CAUSEWAY_CONFIG"), program ? program : "", environ) < 0 || cw_policy.broken)
		cw_moving_reason = CW_REASON_policy_broken;
	else if (!cw_policy.number[CW_OPTION_move])
		cw_moving_reason = CW_REASON_switched_off;
	else if (cw_policy.program_excluded)
		cw_moving_reason = CW_REASON_policy;
	else if (!cw_stdio_start())
		cw_moving_reason = CW_REASON_no_stdio;
	else
		cw_moving = true;
}

/* The last step, since from here on the program's calls come by us. */
static void catch_calls(void)
{
	if (!cw_moving || !cw_raw_needed())
		return;
	if (!cw_policy.number[CW_OPTION_raw_calls] || !cw_raw_start_program()) {
		cw_moving = false;
		cw_moving_reason = CW_REASON_raw_calls;
	}
}

void cw_start(void)
{
	static _Atomic int begun;
	const char *run;

	if (atomic_load_explicit(&begun, memory_order_relaxed) || atomic_exchange_explicit(&begun, 1, memory_order_acq_rel))
		return;
	cw_clock_begin();
	cw_ticks_begin();
	cw_real_find();
	atomic_store_explicit(&cw_stage, CW_STARTED, memory_order_relaxed);
	if (!environ)
		return;
	if (getenv(CW_FILTERED)) {
		atomic_store_explicit(&cw_stage, CW_PLAIN, memory_order_relaxed);
		return;
	}
	decide();
	cw_process_start();
	run = getenv("CAUSEWAY_RUN");
	cw_service_start(getenv("CAUSEWAY_SERVICE"), run ? strtoull(run, NULL, 10) : 0);
	if (cw_moving && !cw_service_room)
		cw_service_make_room();
	if (run)
		cw_service_register();
	catch_calls();
	cw_execute_start();
}

__attribute__((constructor)) static void start_when_loaded(void)
{
	cw_start();
}

__attribute__((destructor)) static void end_when_unloaded(void)
{
	cw_patience_exit();
}
