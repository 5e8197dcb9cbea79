/*
 * Inside a connection.
 *
 * Sequence numbers are kept as *positions*: 64 bits whose lower half is the number on the wire, the first one being 2^32 + ISN. A position
 * never wraps, so it is compared by < alone; cw_tcp_position is the only place where RFC 9293 3.4's arithmetic happens. Byte n of the
 * stream is at position ISN + 1 + n, and so at (position - ISN - 1) % size of its ring; the SYN and the FIN have positions of their own.
 *
 * What is in flight is a list of records by position, each a range that was sent in one go; they cover [snd_una, snd_nxt) without holes,
 * the SYN excepted. Its sums: in flight = (snd_nxt - snd_una) - sacked - lost + retransmitted, in bytes (RFC 6675's pipe).
 */
#ifndef CW_TCPIP_TCP_H
#define CW_TCPIP_TCP_H

#include "transport/tcpip/congestion.h"
#include "transport/tcpip/core.h"
#include "transport/tcpip/windowed.h"

/* As Linux numbers them. */
enum cw_tcp_state {
	CW_TCP_ESTABLISHED = 1,
	CW_TCP_SYN_SENT,
	CW_TCP_SYN_RECEIVED,
	CW_TCP_FIN_WAIT_1,
	CW_TCP_FIN_WAIT_2,
	CW_TCP_TIME_WAIT,
	CW_TCP_CLOSED,
	CW_TCP_CLOSE_WAIT,
	CW_TCP_LAST_ACK,
	CW_TCP_LISTEN,
	CW_TCP_CLOSING
};

enum cw_tcp_deadline {
	CW_TCP_RETRANSMIT, /* or the tail loss probe: one of them at a time (RFC 8985 7.2) */
	CW_TCP_REORDER,    /* RACK's */
	CW_TCP_PERSIST,
	CW_TCP_DELAYED_ACK,
	CW_TCP_KEEP_ALIVE,
	CW_TCP_LINGERING, /* who closes waits for all to be acknowledged; then FIN-WAIT-2 of a closed socket */
	CW_TCP_PACE,      /* it isn't too early any more */
	CW_TCP_CORK,      /* what is held back goes all the same */
	CW_TCP_DEADLINES
};

/* F-RTO (RFC 5682): the first acknowledgement behind a time-out is awaited; new data was sent, and what is said of it is awaited. */
enum cw_tcp_forward { CW_TCP_NO_FORWARD, CW_TCP_FORWARD_FIRST, CW_TCP_FORWARD_SECOND };

enum cw_tcp_recovery { CW_TCP_OPEN, CW_TCP_RECOVERY_STATE, CW_TCP_LOSS };

/* A range that was sent in one go. */
struct cw_sent {
	struct cw_list order;   /* by position; covers what is in flight */
	struct cw_list by_time; /* by the time sent last; those SACKed or lost aren't on it */
	uint64_t start, end;
	uint64_t time; /* sent last, in the upper 56 bits; below the flags */
};

#define CW_SENT_SACKED         1u
#define CW_SENT_LOST           2u
#define CW_SENT_AGAIN          4u /* the last transmission was a retransmission, and counts as in flight */
#define CW_SENT_MORE_THAN_ONCE 8u

/* Data behind a gap, in the ring already. */
struct cw_tcp_block {
	struct cw_tcp_block *next;
	uint64_t start, end;
};

#define CW_TCP_QUICK_ACKS 16u /* while the peer is in slow start */

struct cw_tcp {
	struct cw_flow flow;
	uint8_t state;
	uint8_t recovery;
	bool ack_now;
	bool timestamps, sack, ecn; /* agreed */
	uint8_t send_scale, receive_scale;
	bool more;      /* corked */
	bool closed;    /* nobody reads or writes any more */
	bool lingering; /* ... and who has closed waits to be told that all has arrived */
	bool fin_wanted, fin_received;

	/* What the fast path looks at. */
	uint64_t rcv_nxt, rcv_adv; /* next expected; right edge of the window that was told */
	uint64_t snd_una, snd_nxt;
	uint64_t snd_edge; /* right edge of the peer's window */
	uint64_t snd_end;  /* behind what the program has written, and behind the FIN if it is wanted */
	uint64_t read;     /* position up to which the program has read */
	uint32_t ts_recent, mss;
	uint64_t ts_recent_time;
	uint64_t last_ack_sent; /* position */

	unsigned char *send, *receive;
	uint32_t send_mask, receive_mask;
	uint64_t send_origin, receive_origin; /* positions of byte 0 */

	struct cw_tcpip *core;
	struct cw_list transmit, event;
	struct cw_timer timer;
	uint64_t deadline[CW_TCP_DEADLINES];
	void *owner;
	unsigned events;
	int error;
	struct cw_tcp_listener *listener; /* of a supplied or just accepted one */
	struct cw_list supply;
	struct cw_tcp_settings settings;

	/* Sending. */
	struct cw_list sent, sent_by_time;
	struct cw_sent spare; /* so that a connection with nothing in flight can always send */
	bool spare_used;
	uint32_t sent_records;
	uint64_t sacked, lost, retransmitted;  /* bytes */
	uint64_t sacked_end;                   /* highest position that was SACKed (RFC 6675's HighData of the other end) */
	uint64_t to_retransmit;                /* of those lost, the bytes not yet sent again */
	struct cw_sent *sack_hint, *lost_hint; /* where a search begins */
	uint64_t snd_wl1, snd_wl2;             /* of the segment that told the window */
	uint64_t fin_at;                       /* position of our FIN; CW_NEVER */
	uint64_t small_end;                    /* behind the last segment sent that wasn't full (Minshall) */
	uint64_t urgent_end;                   /* our urgent pointer; 0: none */
	uint32_t max_window;                   /* largest the peer ever told, in bytes */
	uint32_t peer_mss, path_mtu;
	uint32_t ts_offset;
	uint16_t ip_id;
	struct {                     /* tcp_path.c */
		uint32_t high;       /* above path_mtu, and not known to be too large; 0: there is nothing to look for */
		uint32_t size;       /* of the probe in flight; 0: there is none, or its loss is known */
		uint64_t start, end; /* its payload; end 0: none, and nothing of one is being repaired */
		uint64_t again_at;   /* no probe before */
		uint8_t failures;
		bool high_first;
		bool lost, others_lost, repairing;
	} path;
	uint64_t last_sent; /* data, last */
	bool window_probe, keep_probe;
	uint8_t tail_probe; /* asked for by the timer: send one segment whatever the window of congestion is */
	bool force_retransmit;
	bool window_overridden;   /* what fits into a small window goes, for it has stayed so (RFC 9293 3.8.6.2.1) */
	bool user_timeout_due;    /* the option is to be sent (RFC 5482) */
	uint32_t user_timeout_ms; /* in force; 0: none */

	/* Receiving. */
	struct cw_tcp_block *blocks, *blocks_last;
	uint32_t block_count;
	uint64_t sack_recent[CW_SACK_BLOCKS]; /* starts of what came last, newest first */
	uint64_t dsack_start, dsack_end;      /* equal: none */
	uint64_t fin_received_at;             /* CW_NEVER */
	uint64_t received_urgent;
	uint32_t quick_acks; /* to be sent without delay */
	bool interactive;    /* the program answers what comes: an acknowledgement goes along */
	uint64_t data_came;  /* last */
	uint32_t unacked;    /* bytes received since the last acknowledgement */
	uint16_t receive_mss;
	struct {
		uint64_t rtt_end,
			rtt_since;    /* what is expected to come in a round trip ends here; CW_NEVER: no tuning. And when it began */
		uint64_t rtt;         /* the receiver's view of it; 0: none yet */
		uint64_t since, read; /* this measurement's beginning */
		uint64_t space;       /* most that the program has read in a round trip */
		uint32_t receive_wanted, send_wanted;
	} tuning;

	/* Round trips (RFC 6298) and the timer's. */
	uint64_t srtt8, rttvar4; /* scaled by 8 and 4; srtt8 0: no sample yet */
	uint32_t rto;
	uint32_t backoffs;
	uint64_t retransmit_since; /* of the oldest thing without an answer; 0: none */
	uint32_t probes;           /* window or keep-alive probes without an answer */
	uint32_t persists;         /* window probes since the window shut, answered or not */
	int soft_error;            /* what ICMP told since the last answer */
	uint64_t min_rtt;          /* of the last minutes: */
	struct cw_windowed rtts;
	uint64_t last_heard;
	uint64_t confirm_at; /* its neighbour isn't confirmed before */

	/* RACK-TLP (RFC 8985 section 6.1 and 7.1). */
	struct {
		uint64_t time, end, rtt; /* of the segment sent last of all that were delivered */
		uint64_t highest;        /* position delivered: what comes below it later was reordered */
		uint64_t dsack_round;    /* 0: none */
		uint32_t window_steps, window_persists;
		bool reordering_seen, dsack_seen;
		uint64_t tail_end; /* of the probe; 0: none */
		bool tail_again;   /* the probe was a retransmission */
		bool timer_is_probe;
	} rack;

	/* Congestion (RFC 5681), in bytes. */
	uint64_t cwnd, ssthresh;
	uint64_t recovery_point;
	struct {                         /* tcp_undo.c: the last reduction, which may turn out to have been for nothing */
		uint64_t cwnd, ssthresh; /* before it */
		uint64_t from, to;       /* what was sent again since lies between; from 0: no reduction, or one that was right */
		uint64_t again;          /* bytes of it that no duplicate SACK has told of */
		uint64_t since;
		uint32_t stamp; /* time stamp of the first retransmission */
		bool by_stamp;  /* its first acknowledgement is awaited */
		uint8_t forward;
	} undo;
	uint32_t duplicates; /* acknowledgements, without SACK */
	struct {
		uint64_t delivered, out, flight; /* RFC 6937 */
	} prr;
	uint64_t ecn_reduced;     /* no second reduction before this position is acknowledged */
	bool ecn_echo, ecn_reply; /* we echo CE; we owe a CWR */
	bool marked;              /* the last data that came were marked, where each mark is told (RFC 8257 3.2: DCTCP.CE) */
	const struct cw_congestion *congestion;
	struct cw_congestion_state congestion_state;
	struct cw_hystart hystart;
	uint64_t pace_next; /* nothing goes before; nanoseconds */

	uint64_t challenge_until; /* this connection's own limit */
	uint32_t challenges;
	uint64_t retransmissions, bytes_retransmitted;
};

static inline uint64_t cw_sent_time(const struct cw_sent *sent)
{
	return sent->time >> 8;
}

static inline unsigned cw_sent_flags(const struct cw_sent *sent)
{
	return (unsigned)sent->time & 0xff;
}

/* The position with this number on the wire that is nearest to another one. */
static inline uint64_t cw_tcp_position(uint32_t number, uint64_t near)
{
	return near + (uint64_t)(int64_t)(int32_t)(number - (uint32_t)near);
}

static inline uint64_t cw_tcp_first_position(uint32_t number)
{
	return (1ull << 32) + number;
}

static inline uint64_t cw_tcp_outstanding(const struct cw_tcp *tcp)
{
	return tcp->snd_nxt - tcp->snd_una;
}

static inline uint64_t cw_tcp_in_flight(const struct cw_tcp *tcp)
{
	return cw_tcp_outstanding(tcp) + tcp->retransmitted - tcp->sacked - tcp->lost;
}

static inline uint64_t cw_tcp_unread(const struct cw_tcp *tcp)
{
	uint64_t end = tcp->fin_received ? tcp->rcv_nxt - 1 : tcp->rcv_nxt;

	return end - tcp->read;
}

/* What the program is told. */
static inline uint64_t cw_tcp_received(const struct cw_tcp *tcp)
{
	return tcp->rcv_nxt - tcp->receive_origin - tcp->fin_received;
}

static inline uint64_t cw_tcp_acknowledged(const struct cw_tcp *tcp)
{
	return cw_min64(cw_max64(tcp->snd_una, tcp->send_origin), tcp->fin_at) - tcp->send_origin;
}

static inline bool cw_tcp_synchronized(const struct cw_tcp *tcp)
{
	return tcp->state != CW_TCP_CLOSED && tcp->state != CW_TCP_LISTEN && tcp->state != CW_TCP_SYN_SENT;
}

static inline uint32_t cw_tcp_clock(const struct cw_tcp *tcp)
{
	return (uint32_t)(tcp->core->now / 1000) + tcp->ts_offset;
}

/* It may have something to send. */
static inline void cw_tcp_ready(struct cw_tcp *tcp)
{
	if (cw_list_empty(&tcp->transmit) && tcp->state != CW_TCP_CLOSED)
		cw_list_add_last(&tcp->core->transmit, &tcp->transmit);
}

static inline void cw_tcp_ack_now(struct cw_tcp *tcp)
{
	tcp->ack_now = true;
	cw_tcp_ready(tcp);
}

static inline void cw_tcp_tell(struct cw_tcp *tcp, unsigned events)
{
	tcp->events |= events;
	if (cw_list_empty(&tcp->event))
		cw_list_add_last(&tcp->core->events, &tcp->event);
}

/* tcp_timers.c */
void cw_tcp_deadline(struct cw_tcp *tcp, enum cw_tcp_deadline which, uint64_t when);
static inline void cw_tcp_no_deadline(struct cw_tcp *tcp, enum cw_tcp_deadline which)
{
	tcp->deadline[which] = CW_NEVER;
}
void cw_tcp_timer_expired(struct cw_tcp *tcp);
/* After something was sent or acknowledged: the retransmission timer or the tail loss probe, or neither. */
void cw_tcp_arm_retransmit(struct cw_tcp *tcp);
void cw_tcp_arm_persist(struct cw_tcp *tcp);
void cw_tcp_arm_keep_alive(struct cw_tcp *tcp);

/* tcp_rtt.c */
void cw_tcp_rtt_init(struct cw_tcp *tcp);
void cw_tcp_rtt_sample(struct cw_tcp *tcp, uint64_t rtt);
void cw_tcp_rtt_min(struct cw_tcp *tcp, uint64_t rtt);

/* What one acknowledgement has done, on the way through its steps. */
struct cw_tcp_acked {
	uint64_t ack;                    /* position */
	uint64_t una;                    /* before */
	uint64_t in_flight;              /* before */
	uint64_t delivered;              /* bytes newly acknowledged or SACKed */
	uint64_t oldest;                 /* time the oldest of those acknowledged that was sent once went out; 0: none */
	uint64_t newest;                 /* the same, the newest */
	uint32_t echo;                   /* time stamp echoed, if has_echo */
	uint64_t dsack_start, dsack_end; /* if dsack */
	bool has_echo;
	bool ambiguous; /* the echo is of before the last transmission: that was needless, or an acknowledgement was lost */
	bool sacked, dsack, progress, duplicate, again; /* again: something acknowledged had been sent more than once */
	bool reduced;                                   /* it has brought the window down, so it doesn't let it grow */
};

/* tcp_sent.c: the records. */
struct cw_sent *cw_sent_append(struct cw_tcp *tcp, uint64_t end);
bool cw_sent_split(struct cw_tcp *tcp, struct cw_sent *sent, uint64_t at);
void cw_sent_mark_lost(struct cw_tcp *tcp, struct cw_sent *sent);
void cw_sent_mark_all_lost(struct cw_tcp *tcp);
void cw_sent_unmark_lost(struct cw_tcp *tcp);
void cw_sent_mark_again(struct cw_tcp *tcp, struct cw_sent *sent);
void cw_sent_mark_sacked(struct cw_tcp *tcp, struct cw_sent *sent);
struct cw_sent *cw_sent_first_lost(struct cw_tcp *tcp);
void cw_sent_acknowledge(struct cw_tcp *tcp, struct cw_tcp_acked *acked);
void cw_sent_release(struct cw_tcp *tcp);
void cw_sent_drop(struct cw_tcp *tcp, struct cw_sent *sent);
/* False: the records don't cover what is in flight, or a sum is wrong. For tests. */
bool cw_sent_consistent(const struct cw_tcp *tcp);

/* tcp_sack.c */
void cw_tcp_sack_take(struct cw_tcp *tcp, const struct cw_segment *segment, struct cw_tcp_acked *acked);
uint32_t cw_tcp_sack_make(struct cw_tcp *tcp, struct cw_sack_range *range, uint32_t most);

/* tcp_rack.c */
void cw_rack_delivered(struct cw_tcp *tcp, const struct cw_sent *sent, uint64_t end, struct cw_tcp_acked *acked);
void cw_rack_detect(struct cw_tcp *tcp);
void cw_rack_acknowledged(struct cw_tcp *tcp, struct cw_tcp_acked *acked);
uint64_t cw_rack_probe_timeout(const struct cw_tcp *tcp);
bool cw_rack_probe_wanted(const struct cw_tcp *tcp);

/* tcp_recovery.c */
void cw_tcp_congestion_init(struct cw_tcp *tcp);
uint64_t cw_tcp_initial_window(const struct cw_tcp *tcp);
void cw_tcp_recover(struct cw_tcp *tcp, const struct cw_tcp_acked *acked, bool congestion_echoed);
void cw_tcp_enter_loss(struct cw_tcp *tcp);
/* A signal of congestion without anything left to repair. */
void cw_tcp_reduce(struct cw_tcp *tcp);

/* hystart.c */
uint64_t cw_hystart_step(struct cw_tcp *tcp, const struct cw_tcp_acked *acked);

/* tcp_pace.c */
void cw_tcp_pace(struct cw_tcp *tcp, uint64_t bytes);
bool cw_tcp_paced(struct cw_tcp *tcp);
uint32_t cw_tcp_pace_frame(const struct cw_tcp *tcp);

/* tcp_path.c */
void cw_tcp_path_begin(struct cw_tcp *tcp);
uint32_t cw_tcp_path_probe(struct cw_tcp *tcp);
void cw_tcp_path_sent(struct cw_tcp *tcp, uint64_t start, uint64_t end);
void cw_tcp_path_forget(struct cw_tcp *tcp);
void cw_tcp_path_answered(struct cw_tcp *tcp);
void cw_tcp_path_lost(struct cw_tcp *tcp, const struct cw_sent *sent);
/* True: a probe was lost and nothing else, and it is being repaired. */
bool cw_tcp_path_repair(struct cw_tcp *tcp);
void cw_tcp_path_told(struct cw_tcp *tcp, uint64_t position, uint32_t mtu);
void cw_tcp_path_timed_out(struct cw_tcp *tcp);

/* tcp_undo.c */
void cw_tcp_undo_remember(struct cw_tcp *tcp);
void cw_tcp_undo_forget(struct cw_tcp *tcp);
void cw_tcp_undo_count(struct cw_tcp *tcp, uint64_t start, uint64_t end);
void cw_tcp_undo_left(struct cw_tcp *tcp);
void cw_tcp_undo_timeout(struct cw_tcp *tcp, bool anew);
/* True: the reduction was for nothing, and has been taken back. */
bool cw_tcp_undo(struct cw_tcp *tcp, const struct cw_tcp_acked *acked);

/* tcp_receive.c */
uint32_t cw_tcp_window(const struct cw_tcp *tcp);
void cw_tcp_receive(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t start);
void cw_tcp_copy_in(struct cw_tcp *tcp, const struct cw_segment *segment, uint32_t skip, uint64_t position, uint32_t length);
bool cw_tcp_window_update_due(const struct cw_tcp *tcp);
void cw_tcp_acknowledge_data(struct cw_tcp *tcp, uint32_t length);
void cw_tcp_dsack(struct cw_tcp *tcp, uint64_t start, uint64_t end);
void cw_tcp_blocks_release(struct cw_tcp *tcp);
uint64_t cw_tcp_blocks_end(const struct cw_tcp *tcp); /* behind the last one */

/* tcp_tuning.c */
void cw_tcp_tuning_begin(struct cw_tcp *tcp);
void cw_tcp_tuning_rtt(struct cw_tcp *tcp, const struct cw_segment *segment);
void cw_tcp_tune_receive(struct cw_tcp *tcp);
void cw_tcp_tune_send(struct cw_tcp *tcp);

/* tcp_ack.c. False: the segment goes no further. */
bool cw_tcp_ack(struct cw_tcp *tcp, const struct cw_segment *segment);
void cw_tcp_confirm_neighbour(struct cw_tcp *tcp, const struct cw_tcp_acked *acked);
void cw_tcp_update_window(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t seq, uint64_t ack);

/* tcp_fast.c: true if it was the expected segment, which is done then. */
bool cw_tcp_fast(struct cw_tcp *tcp, const struct cw_segment *segment);

/* tcp_input.c */
void cw_tcp_input(struct cw_tcpip *core, const struct cw_segment *segment);
void cw_tcp_segment(struct cw_tcp *tcp, const struct cw_segment *segment);
void cw_tcp_take_timestamp(struct cw_tcp *tcp, const struct cw_segment *segment, uint64_t seq);
/* tcp_syn_sent.c */
void cw_tcp_syn_sent(struct cw_tcp *tcp, const struct cw_segment *segment);

/* tcp_output.c: false: there is nothing to be sent now. */
bool cw_tcp_output(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header);
uint64_t cw_tcp_send_limit(const struct cw_tcp *tcp);
void cw_tcp_set_mss(struct cw_tcp *tcp);

/* tcp_header.c. Among the flags: */
#define CW_ECN_CAPABLE 0x100u /* the packet may be marked instead of dropped */
#define CW_ONE_PACKET  0x200u /* it isn't cut, though it is larger than others */
void cw_tcp_header(struct cw_tcp *tcp, struct cw_frame *frame, unsigned char *header, uint64_t start, uint64_t end, unsigned flags);
/* What has come so far is acknowledged now, whatever comes next. */
void cw_tcp_ack_before(struct cw_tcp *tcp);
void cw_reply_frame(struct cw_tcpip *core, const struct cw_reply *reply, struct cw_frame *frame, unsigned char *header);

/* tcp_reply.c */
struct cw_reply *cw_reply(struct cw_tcpip *core, const struct cw_flow_key *key, uint8_t flags, uint32_t seq, uint32_t ack);
/* The reset that a segment without connection is answered by (RFC 9293 3.10.7.1). */
void cw_reply_reset(struct cw_tcpip *core, const struct cw_segment *segment);

/* tcp_challenge.c: RFC 5961. */
void cw_tcp_challenge(struct cw_tcp *tcp);
bool cw_challenge_allowed(struct cw_tcpip *core);

bool cw_tcp_listener_exists(struct cw_tcpip *core, const struct cw_flow_key *key);

/* tcp_user_timeout.c */
uint32_t cw_tcp_user_timeout_told(const struct cw_tcp_settings *settings);
void cw_tcp_user_timeout_take(struct cw_tcp *tcp, uint32_t seconds);

/* tcp_open.c */
void cw_tcp_init(struct cw_tcp *tcp, struct cw_tcpip *core, const struct cw_tcp_rings *rings);
void cw_tcp_begin(struct cw_tcp *tcp, const struct cw_flow_key *key, uint32_t hash, const struct cw_tcp_settings *settings, uint32_t isn);
void cw_tcp_syn_options(const struct cw_tcp_settings *settings, uint32_t mss, uint32_t receive_size, struct cw_tcp_options *options);
void cw_tcp_agree(struct cw_tcp *tcp, const struct cw_tcp_options *ours, const struct cw_tcp_options *theirs, uint32_t irs);
uint32_t cw_tcp_isn(struct cw_tcpip *core, const struct cw_flow_key *key);
uint32_t cw_tcp_timestamp_offset(struct cw_tcpip *core, const struct cw_flow_key *key);
uint32_t cw_tcp_largest_segment(const struct cw_tcpip *core, const struct cw_ip_address *remote);
void cw_tcp_connected(struct cw_tcp *tcp);
void cw_tcp_opened_late(struct cw_tcp *tcp, uint32_t retransmissions);
void cw_tcp_defaults(struct cw_tcp_settings *settings);

/* tcp_close.c */
void cw_tcp_gone(struct cw_tcp *tcp, int error);
void cw_tcp_reset(struct cw_tcp *tcp, int error); /* tells the peer too */
void cw_tcp_finished(struct cw_tcp *tcp);         /* our FIN was acknowledged */
void cw_tcp_peer_finished(struct cw_tcp *tcp);    /* the peer's came in order */
void cw_tcp_lingered(struct cw_tcp *tcp);         /* the time for that is over */
void cw_tcp_free(struct cw_tcp *tcp);

#endif
