/* Challenge ACKs (RFC 5961): the answer to what a blind attacker might have sent. Limited a connection, and in all with a noise that keeps
 * the limit from telling anybody what others do (section 7, and CVE-2016-5696). */
#include "transport/tcpip/tcp.h"

#define SECOND       1000000u
#define A_CONNECTION 10u

bool cw_challenge_allowed(struct cw_tcpip *core)
{
	uint32_t rate = core->config.challenge_rate;

	if (core->now >= core->challenges_until) {
		core->random = core->random * 1664525u + 1013904223u;
		core->challenges = rate / 2 + (uint32_t)((uint64_t)rate * (core->random >> 8) >> 24);
		core->challenges_until = core->now + SECOND;
	}
	if (!core->challenges) {
		cw_count(core, CW_TCPIP_CHALLENGE_LIMIT);
		return false;
	}
	core->challenges--;
	cw_count(core, CW_TCPIP_CHALLENGE);
	return true;
}

void cw_tcp_challenge(struct cw_tcp *tcp)
{
	if (tcp->core->now >= tcp->challenge_until) {
		tcp->challenge_until = tcp->core->now + SECOND;
		tcp->challenges = 0;
	}
	if (tcp->challenges == A_CONNECTION) {
		cw_count(tcp->core, CW_TCPIP_CHALLENGE_LIMIT);
		return;
	}
	if (!cw_challenge_allowed(tcp->core))
		return;
	tcp->challenges++;
	cw_tcp_ack_now(tcp);
}
