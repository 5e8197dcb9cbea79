/* conformance FILE...: runs the scenarios of script.h's language. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenarios.h"
#include "script.h"
#include "script_link.h"

static void new_script(void *context)
{
	struct script *script = context;

	free(script->memory);
	memset(script, 0, sizeof(*script));
	script->config = (struct cw_tcpip_config){
		.connections = 16, .listeners = 2, .half_open = 4, .time_waits = 4, .sent = 256, .blocks = 64, .replies = 8, .mtu = 1040};
	script->settings =
		(struct cw_tcp_settings){.no_timestamps = true, .congestion = CW_TCP_NEWRENO, .mtu_probing = CW_TCP_MTU_NO_PROBES};
	script->supply = 4;
	script->receive_size = 1 << 15;
	script->send_size = 1 << 16;
	script->receive_now = script->receive;
	script->now = 5000000;
}

void script_events(struct script *script)
{
	struct cw_tcp_event event;

	while (cw_tcpip_event(script->core, &event)) {
		script->events |= event.events;
		if (event.events & CW_TCP_UNSUPPLIED)
			continue;
		if (event.events & CW_TCP_ACCEPTED)
			script->connection = event.connection;
		if (event.connection != script->connection)
			continue;
		script->received = event.received;
		script->acknowledged = event.acknowledged;
		script->receive_wanted = event.receive_wanted;
		script->send_wanted = event.send_wanted;
		if (event.error)
			script->error = event.error;
		if (event.events & CW_TCP_GONE) {
			script->gone = true;
			script->connection = NULL;
		}
	}
}

static bool set(struct script *script, const char *name, uint32_t value)
{
#define SETTING(word, place)                                                                                                               \
	if (strcmp(name, word) == 0) {                                                                                                     \
		place;                                                                                                                     \
		return true;                                                                                                               \
	}
	SETTING("sack", script->settings.no_sack = !value)
	SETTING("scale", script->settings.no_window_scale = !value)
	SETTING("stamps", script->settings.no_timestamps = !value)
	SETTING("nodelay", script->settings.no_delay = value)
	SETTING("ecn", script->settings.ecn = value)
	SETTING("cubic", script->settings.congestion = value ? CW_TCP_CUBIC : CW_TCP_NEWRENO)
	SETTING("receive", script->receive_size = value)
	SETTING("dctcp", script->settings.congestion = value ? CW_TCP_DCTCP : CW_TCP_NEWRENO)
	SETTING("hystart", script->settings.no_hystart = !value)
	SETTING("pacing", script->settings.pacing = value; script->settings.pacing_rate = value > 1 ? value : 0)
	SETTING("uto", script->settings.user_timeout_option = value)
	SETTING("finwait", script->settings.fin_wait_2_ms = value)
	SETTING("probing", script->settings.mtu_probing = value ? CW_TCP_MTU_PROBES : CW_TCP_MTU_PROBES_LATER)
	SETTING("age", script->settings.mtu_age_s = value)
	SETTING("receivemost", script->settings.receive_most = value)
	SETTING("sendmost", script->settings.send_most = value)
	SETTING("sendring", script->send_size = value)
	SETTING("frame", script->config.frame_max = (uint16_t)value)
	SETTING("offload", script->config.checksum_offload = value)
	SETTING("mss", script->settings.mss = (uint16_t)value)
	SETTING("half", script->config.half_open = value)
	SETTING("supply", script->supply = value)
	SETTING("ip6", script->ip6 = value)
	SETTING("user", script->settings.user_timeout_ms = value)
	SETTING("rate", script->config.challenge_rate = value)
	SETTING("records", script->config.sent = value)
	SETTING("waits", script->config.time_waits = value)
	SETTING("link", if (value) script_link_configure(script))
	SETTING("mtu", script->config.mtu = (uint16_t)value)
	SETTING("keep", script->settings.keep_alive = true; script->settings.keep_idle_s = script->settings.keep_interval_s = value;
		script->settings.keep_count = 3)
#undef SETTING
	return false;
}

static bool run_line(struct script *script, const char *text);

/* Time passes between our SYN and the answer to it, if that is asked for: the path is that long. */
static bool established(struct script *script, const char *delay)
{
	static const char *const lines[] = {"listen", "< S 0 mss 1000", "> SA 0 ack 1 mss 1000", "< A 1 ack 1", "> none", "event accepted"};
	static const char *const with_sack[] = {"listen", "< S 0 mss 1000 sackok", "> SA 0 ack 1 mss 1000 sackok", "< A 1 ack 1",
						"> none", "event accepted"};

	for (unsigned i = 0; i < 6; i++) {
		if (i == 3 && delay)
			script->now += strtoull(delay, NULL, 0) * 1000;
		if (!run_line(script, script->settings.no_sack ? lines[i] : with_sack[i]))
			return false;
	}
	return true;
}

/* Time passes; timers run when they are due. */
static bool pass(struct script *script, uint64_t ms, bool silent)
{
	uint64_t until = script->now + ms * 1000;
	struct wanted none = {.none = true};

	for (;;) {
		uint64_t next = cw_tcpip_timer(script->core);

		if (next > until)
			break;
		script->now = next;
		cw_tcpip_advance(script->core, next);
		if (silent && !script_expect(script, &none))
			return false;
	}
	script->now = until;
	cw_tcpip_advance(script->core, until);
	script_events(script);
	return true;
}

static bool check_events(struct script *script)
{
	static const char *const names[] = {"connected", "accepted", "readable",   "writable", "peer", "failed",
					    "soft",      "urgent",   "unsupplied", "gone",     "grow", "lingered"};
	unsigned wanted = 0;
	char *word;

	while ((word = strtok(NULL, " \t")))
		for (unsigned i = 0; i < 12; i++)
			if (strcmp(word, names[i]) == 0)
				wanted |= 1u << i;
	script_events(script);
	snprintf(script->why, sizeof(script->why), "events: 0x%x, wanted 0x%x", script->events, wanted);
	word = script->why;
	wanted ^= script->events & ~(unsigned)CW_TCP_WRITABLE;
	script->events = 0;
	return !wanted;
}

static bool check_state(struct script *script, const char *name)
{
	static const char *const names[] = {"",          "established", "syn-sent",   "syn-received", "fin-wait-1", "fin-wait-2",
					    "time-wait", "closed",      "close-wait", "last-ack",     "listen",     "closing"};
	unsigned state = script->connection ? script->connection->state : CW_TCP_CLOSED;

	if (!script->connection && script->core->time_wait_pool.used)
		state = CW_TCP_TIME_WAIT;
	snprintf(script->why, sizeof(script->why), "state: %s", names[state]);
	return strcmp(name, names[state]) == 0;
}

static bool check_number(struct script *script, const char *what, uint64_t is, const char *wanted)
{
	snprintf(script->why, sizeof(script->why), "%s: %llu", what, (unsigned long long)is);
	return wanted && is == strtoull(wanted, NULL, 0);
}

static bool check_counter(struct script *script, const char *name, const char *wanted)
{
	static const char *const names[] = {
#define CW_COUNTER(name, text) #name,
#include "transport/tcpip/counters.def"
#undef CW_COUNTER
	};

	for (int i = 0; i < CW_TCPIP_COUNTERS; i++)
		if (strcmp(name, names[i]) == 0)
			return check_number(script, name, cw_tcpip_counter(script->core, i), wanted);
	return false;
}

/* RFC 6528's clock: what lies further away is another flow's. */
static bool check_isn(struct script *script, const char *wanted)
{
	uint32_t distance = script->isn - script->noted_isn;

	snprintf(script->why, sizeof(script->why), "isn: %u above the one noted", distance);
	if (wanted && strcmp(wanted, "other") == 0)
		return distance > 1u << 24 && distance < 0u - (1u << 24);
	return wanted && distance == strtoul(wanted, NULL, 0);
}

/* A larger ring; the old one is spoilt, for nobody may look at it any more. */
static bool grow(struct script *script, const char *which, uint32_t size)
{
	if (strcmp(which, "send") == 0) {
		if (size > sizeof(script->grown_send) || !cw_tcp_grow_send(script->connection, script->grown_send, size, script->now))
			return false;
		memset(script->send, 0xdd, sizeof(script->send));
		return true;
	}
	if (size > sizeof(script->grown_receive) || !cw_tcp_grow_receive(script->connection, script->grown_receive, size, script->now))
		return false;
	memset(script->receive, 0xdd, sizeof(script->receive));
	script->receive_now = script->grown_receive;
	script->receive_size = size;
	return true;
}

static bool user_line(struct script *script, const char *verb, const char *argument)
{
	uint32_t count = argument ? (uint32_t)strtoul(argument, NULL, 0) : 0;

	if (strcmp(verb, "skip") == 0)
		return script_skip(script, count);
	if (strcmp(verb, "asks") == 0)
		return argument && script_link_asks(script, strcmp(argument, "all") == 0);
	if (strcmp(verb, "answers") == 0 || strcmp(verb, "moves") == 0) {
		script_link_tell(script, verb[0] == 'm');
		return true;
	}
	if (strcmp(verb, "unlisten") == 0) {
		cw_tcp_unlisten(script->listener, script->now);
		return true;
	}
	if (strcmp(verb, "again") == 0) {
		script_connect(script, count ? (uint16_t)count : script->port);
		return script->connection;
	}
	if (strcmp(verb, "note") == 0) {
		script->noted_isn = script->isn;
		return true;
	}
	if (strcmp(verb, "isn") == 0)
		return check_isn(script, argument);
	if (!script->connection)
		return false;
	if (strcmp(verb, "write") == 0 || strcmp(verb, "cork") == 0)
		cw_tcp_written(script->connection, script->written += count, verb[0] == 'c', script->now);
	else if (strcmp(verb, "read") == 0)
		cw_tcp_read(script->connection, script->read += count, script->now);
	else if (strcmp(verb, "shutdown") == 0)
		cw_tcp_shutdown(script->connection, script->now);
	else if (strcmp(verb, "close") == 0)
		cw_tcp_close(script->connection, script->now);
	else if (strcmp(verb, "linger") == 0)
		cw_tcp_linger(script->connection, count, script->now);
	else if (strcmp(verb, "userto") == 0)
		cw_tcp_set_user_timeout(script->connection, count, script->now);
	else if (strcmp(verb, "abort") == 0)
		cw_tcp_abort(script->connection, script->now);
	else if (strcmp(verb, "urgent") == 0)
		cw_tcp_urgent(script->connection, script->now);
	else if (strcmp(verb, "cwndis") == 0)
		script->connection->cwnd = count;
	else if (strcmp(verb, "keeptimes") == 0)
		cw_tcp_set_keep_alive_times(script->connection, count, count, 0, script->now);
	else if (strcmp(verb, "pace") == 0)
		cw_tcp_set_pacing(script->connection, count, count, script->now);
	else if (strcmp(verb, "becubic") == 0)
		return cw_tcp_set_congestion(script->connection, CW_TCP_CUBIC, script->now) == (count != 0);
	else if (strcmp(verb, "quickack") == 0)
		cw_tcp_set_quick_ack(script->connection, count, script->now);
	else if (strcmp(verb, "nodelay") == 0)
		cw_tcp_set_no_delay(script->connection, true, script->now);
	else
		return false;
	return true;
}

static bool check_line(struct script *script, const char *verb, char *argument)
{
	if (strcmp(verb, "event") == 0)
		return check_events(script);
	script_events(script);
	if (strcmp(verb, "state") == 0)
		return check_state(script, argument ? argument : "");
	if (strcmp(verb, "error") == 0) {
		int error = script->error;

		script->error = 0;
		return check_number(script, "error", (uint64_t)error, argument);
	}
	if (strcmp(verb, "wanted") == 0)
		return check_number(script, "receive wanted", script->receive_wanted, argument) &&
		       check_number(script, "send wanted", script->send_wanted, strtok(NULL, " \t"));
	if (strcmp(verb, "alpha") == 0)
		return script->connection && check_number(script, "alpha in thousandths",
							  (uint64_t)(script->connection->congestion_state.alpha * 1000 + 0.5), argument);
	if (strcmp(verb, "cwnd") == 0)
		return script->connection && check_number(script, "cwnd", script->connection->cwnd, argument);
	if (strcmp(verb, "ssthresh") == 0)
		return script->connection && check_number(script, "ssthresh", script->connection->ssthresh, argument);
	if (strcmp(verb, "received") == 0)
		return check_number(script, "received", script->received, argument);
	if (strcmp(verb, "acknowledged") == 0)
		return check_number(script, "acknowledged", script->acknowledged, argument);
	if (strcmp(verb, "counter") == 0)
		return check_counter(script, argument ? argument : "", strtok(NULL, " \t"));
	return user_line(script, verb, argument);
}

/* What was received must be what script_input has sent. */
static bool content_is_right(struct script *script)
{
	script_events(script);
	for (uint64_t i = script->read; i < script->received; i++)
		if (script->receive_now[i & (script->receive_size - 1)] != (unsigned char)(i * 7)) {
			snprintf(script->why, sizeof(script->why), "byte %llu isn't right", (unsigned long long)i);
			return false;
		}
	return true;
}

static bool run_line(struct script *script, const char *text)
{
	char line[256], *verb, *argument;
	struct wanted wanted;

	snprintf(line, sizeof(line), "%s", text);
	snprintf(script->why, sizeof(script->why), "the line isn't understood");
	if (line[0] == '<' || line[0] == '>') {
		if (!wanted_parse(line + 1, &wanted))
			return false;
		if (line[0] == '>')
			return script_expect(script, &wanted);
		script_input(script, &wanted);
		return content_is_right(script);
	}
	verb = strtok(line, " \t");
	argument = strtok(NULL, " \t");
	if (strcmp(verb, "listen") == 0 || strcmp(verb, "connect") == 0) {
		script->opened = verb[0] == 'c';
		script_open(script);
		return true;
	}
	if (strcmp(verb, "established") == 0)
		return established(script, argument);
	if (strcmp(verb, "set") == 0)
		return argument && set(script, argument, (uint32_t)strtoul(strtok(NULL, " \t"), NULL, 0));
	if (strcmp(verb, "+") == 0)
		return argument && pass(script, strtoull(argument, NULL, 0), strtok(NULL, " \t"));
	if (strcmp(verb, "icmp") == 0) {
		unsigned code = (unsigned)strtoul(strtok(NULL, " \t"), NULL, 0);
		uint32_t seq = (uint32_t)strtoul(strtok(NULL, " \t"), NULL, 0);
		char *mtu = strtok(NULL, " \t");

		script_icmp(script, (unsigned)strtoul(argument, NULL, 0), code, seq, mtu ? (uint32_t)strtoul(mtu, NULL, 0) : 0);
		return true;
	}
	if (strcmp(verb, "grow") == 0) {
		char *size = strtok(NULL, " \t");

		return size && grow(script, argument, (uint32_t)strtoul(size, NULL, 0));
	}
	if (strcmp(verb, "event") == 0) { /* its words are all taken by check_events */
		snprintf(line, sizeof(line), "%s", text);
		strtok(line, " \t");
		return check_line(script, "event", NULL);
	}
	return check_line(script, verb, argument);
}

static const char *step(void *context, const char *line)
{
	struct script *script = context;

	return run_line(script, line) ? NULL : script->why;
}

int main(int argc, char **argv)
{
	struct script *script = calloc(1, sizeof(*script));
	struct scenarios scenarios = {"conformance", new_script, step, script};
	unsigned bad;

	if (!script)
		return 1;
	bad = scenarios_run(&scenarios, argc - 1, argv + 1);
	free(script->memory);
	free(script);
	return bad != 0;
}
