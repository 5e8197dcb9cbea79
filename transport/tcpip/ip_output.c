/* Who sends next: what the network layer has to say, answers without a connection, then connections and sockets in turns. */
#include "transport/tcpip/ip_output.h"

#include "transport/tcpip/core.h"
#include "transport/tcpip/tcp.h"
#include "transport/tcpip/udp_socket.h"

static bool tcp_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header)
{
	while (!cw_list_empty(&core->transmit)) {
		struct cw_tcp *tcp = cw_entry(core->transmit.next, struct cw_tcp, transmit);

		cw_list_remove(&tcp->transmit);
		if (!cw_tcp_output(tcp, frame, header))
			continue;
		cw_tcp_ready(tcp);
		return true;
	}
	return false;
}

static bool udp_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header)
{
	while (!cw_list_empty(&core->udp_transmit)) {
		struct cw_udp *udp = cw_entry(core->udp_transmit.next, struct cw_udp, transmit);

		cw_list_remove(&udp->transmit);
		if (!cw_udp_output(udp, frame, header))
			continue;
		cw_udp_ready(udp);
		return true;
	}
	return false;
}

/* The two take turns, and of each the sockets, a frame each. */
static bool transport_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header)
{
	bool udp_first = core->udp_turn;

	core->udp_turn = !udp_first;
	if (udp_first && udp_output(core, frame, header))
		return true;
	return tcp_output(core, frame, header) || (!udp_first && udp_output(core, frame, header));
}

bool cw_ip_output(struct cw_tcpip *core, struct cw_frame *frame, unsigned char *header)
{
	if (cw_control_output(core, frame, header))
		return true;
	if (core->replies) {
		cw_reply_frame(core, &core->reply[core->reply_first], frame, header);
		core->reply_first = (core->reply_first + 1) % core->config.replies;
		core->replies--;
		return true;
	}
	return transport_output(core, frame, header);
}
