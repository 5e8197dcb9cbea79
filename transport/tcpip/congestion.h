/* Congestion control (RFC 5681) behind one interface. Windows are in bytes; when to call is tcp_recovery.c's, how the window grows and
 * shrinks is here. */
#ifndef CW_TCPIP_CONGESTION_H
#define CW_TCPIP_CONGESTION_H

#include <stdbool.h>
#include <stdint.h>

struct cw_tcp;

/* All that an algorithm keeps of a connection. */
struct cw_congestion_state {
	uint64_t epoch;  /* CUBIC: when this congestion avoidance began; 0: not yet */
	uint64_t last;   /* ... the last time the window was in use */
	double w_max, k; /* ... bytes, seconds */
	double w_est;    /* ... what Reno would have by now */
	double prior;    /* ... the window before the last reduction */
	double undo_w_max;
	uint64_t credit;                    /* bytes acknowledged that haven't made a segment of growth yet */
	double alpha;                       /* DCTCP: the share of bytes that are marked, as a moving average */
	uint64_t window_end, acked, marked; /* ... one observation, and where it ends */
};

/* HyStart++ (RFC 9406), of the first slow start. */
struct cw_hystart {
	uint64_t window_end;    /* of this round */
	uint64_t last, current; /* least round trips of the round before and of this one; 0: none */
	uint64_t baseline;      /* which conservative slow start (CSS) began at; 0: it isn't on */
	uint32_t samples;
	uint32_t css_rounds;
};

struct cw_congestion {
	const char *name;
	void (*init)(struct cw_tcp *tcp);
	/* So many bytes were acknowledged in congestion avoidance while the window was full. */
	void (*avoid)(struct cw_tcp *tcp, uint64_t bytes);
	/* Congestion: returns the new slow start threshold. */
	uint64_t (*reduce)(struct cw_tcp *tcp);
	void (*timeout)(struct cw_tcp *tcp);
	void (*undo)(struct cw_tcp *tcp);
	/* These may be missing: so many bytes were acknowledged, with the echo of a mark or without; and the slow start threshold after a
	 * mark, if that isn't a loss's. */
	void (*acknowledged)(struct cw_tcp *tcp, uint64_t bytes, bool echoed);
	uint64_t (*marked)(struct cw_tcp *tcp);
	bool hystart;
	bool exact_echo; /* the receiver tells which data were marked, not only that some were (RFC 8257 3.2) */
};

extern const struct cw_congestion cw_cubic, cw_newreno, cw_dctcp;

#endif
