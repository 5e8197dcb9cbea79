/*
 * Out of the peer's way. A kernel's wake-up puts the one that is woken on the processor of who wakes it, if it takes that for idle soon; in
 * a virtual machine it often does, and then both ends of a stream stay on one processor for ever: whoever looks keeps the other from
 * answering, no look pays, and they go on by wake-ups. Looking can't get out of that: one of them must move. A thread that several times in
 * a row, at short intervals, wakes a peer that last ran on its own processor leaves that processor: it takes it out of its affinity, which
 * moves the thread, and puts it back. So does one that several times finds what it looked for just after it gave way (give_way.h). At most
 * once a millisecond, and each time four times more seldom, until very many looks in a row have found something while the processor was
 * kept: where more threads are busy than there are processors they share them whatever they do, and moves only cost.
 */
#ifndef CW_SYNC_ASIDE_H
#define CW_SYNC_ASIDE_H

#include <stdbool.h>
#include <stdint.h>

struct cw_aside {
	uint16_t stacked;      /* in a row: wake-ups of a peer on our own processor, or finds just after it had a brief turn there */
	uint16_t patience;     /* ms between two moves */
	uint16_t apart;        /* in a row: finds while the processor was kept */
	uint64_t noted, moved; /* ticks */
};

/* The processor that the caller runs on, and 1; what peers tell each other (0: not known). */
uint32_t cw_aside_here(void);
/* A peer is about to be woken through the kernel; or, with the same number twice, one has just been found to share the processor. */
void cw_aside_note(struct cw_aside *aside, uint32_t peer, uint32_t here);
/* What was looked for came while the caller kept its processor. */
void cw_aside_found(struct cw_aside *aside);
/* If it is time, move. True: the caller has another processor now. errno is kept. */
bool cw_aside_step(struct cw_aside *aside);

#endif
