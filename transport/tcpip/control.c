/* The ring of what the network layer has to say. */
#include "transport/tcpip/control.h"

#include "transport/tcpip/core.h"
#include "transport/tcpip/udp.h"

#define ALIGN 16u

static struct cw_control_record *at(struct cw_control *control, uint64_t offset)
{
	return (struct cw_control_record *)(void *)(control->ring + offset % control->size);
}

struct cw_control_record *cw_control_add(struct cw_tcpip *core, uint32_t length, unsigned char **bytes)
{
	struct cw_control *control = &core->control;
	uint32_t size = ((uint32_t)sizeof(struct cw_control_record) + length + ALIGN - 1) & ~(ALIGN - 1), skip;
	struct cw_control_record *record;

	if (!control->size || length > CW_FRAME_MAX)
		return NULL;
	skip = control->size - (uint32_t)(control->last % control->size);
	if (skip >= size)
		skip = 0;
	if (control->size - (control->last - control->first) < (uint64_t)skip + size) {
		cw_count(core, CW_TCPIP_CONTROL_DROPPED);
		return NULL;
	}
	if (skip)
		at(control, control->last)->size = 0;
	control->last += skip;
	record = at(control, control->last);
	*record = (struct cw_control_record){.size = size, .length = length};
	control->last += size;
	*bytes = (unsigned char *)(record + 1);
	return record;
}

static void begin(struct cw_outgoing *out, const struct cw_control_record *record)
{
	*out = (struct cw_outgoing){
		.source = record->source,
		.destination = record->destination,
		.protocol = record->protocol,
		.traffic_class = record->traffic_class,
		.hop_limit = record->hop_limit,
		.may_fragment = true,
		.router_alert = record->router_alert,
		.length = record->length,
		.piece = {{(const unsigned char *)(record + 1), record->length}},
	};
}

bool cw_control_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header)
{
	struct cw_control *control = &core->control;
	struct cw_control_record *record;

	if (control->first == control->last)
		return false;
	record = at(control, control->first);
	if (!record->size) {
		control->first += control->size - control->first % control->size;
		record = at(control, control->first);
	}
	if (!control->sending) {
		begin(&control->out, record);
		control->mtu = cw_tcpip_path_mtu(core, &record->destination);
	}
	control->sending = cw_outgoing_next(core, &control->out, control->mtu, frame, header);
	if (!control->sending)
		control->first += record->size;
	return true;
}
