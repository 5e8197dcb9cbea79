/* Messages of the causeway command that need nothing but the service itself. */
#include <errno.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service.h"
#include "sync/cpu.h"
#include "version.h"

bool cw_may_command(const struct cw_program *sender)
{
	return sender->peer.uid == 0 || sender->peer.uid == geteuid();
}

static const char *const counter_names[] = {
#define X(name, text) #name,
#include "service_counters.def"
#undef X
};

static json_int_t number(uint64_t value)
{
	return (json_int_t)(value & INT64_MAX);
}

static json_t *counters(void)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < CW_SERVICE_COUNTERS; i++)
		json_object_set_new(object, counter_names[i], json_integer(number(service.counter[i])));
	return object;
}

void cw_status(struct cw_program *sender)
{
	struct cw_message answer = cw_link_message(CW_STATUS);
	struct cw_memory_use use = cw_memory_use();
	json_t *status =
		json_pack("{s:s, s:i, s:s, s:i, s:i, s:I, s:i, s:i, s:i, s:i, s:I, s:{s:I, s:I, s:I}, s:o}", "version", CW_VERSION,
			  "layout", (int)CW_LAYOUT, "name", service.name, "pid", (int)getpid(), "uid", (int)geteuid(), "uptime",
			  number((cw_monotonic_ns() - service.started) / 1000000000u), "programs", (int)HASH_COUNT(service.programs),
			  "runs", (int)cw_runs_count(), "offers_waiting", (int)HASH_CNT(hh_tuple, service.offers), "arenas",
			  (int)HASH_COUNT(service.arenas), "slots", number(service.slots), "memory", "bound", number(service.memory),
			  "promised", number(use.promised), "resident", number(use.resident), "counters", counters());

	if (!status || cw_send_text(sender->source.fd, CW_STATUS, status) < 0) {
		answer.status = ENOMEM;
		cw_link_send(sender->source.fd, &answer, NULL, 0);
	}
	json_decref(status);
}

void cw_stop(struct cw_program *sender, const struct cw_message *message)
{
	struct cw_message answer = cw_link_message(CW_STOP);

	if (cw_may_command(sender)) {
		service.stopping = true;
		return;
	}
	answer.status = EPERM;
	cw_link_send(sender->source.fd, &answer, NULL, 0);
}
