/*
 * An event set (epoll) of one process: SLEEPERS threads wait for a stream through the set, one more reads the stream by itself and may
 * stop doing so at any time. Locks go in the order set, reading end. What is level-triggered must come true: nobody may sleep in the set
 * while the stream has something to read.
 *
 * With ADD the stream enters the set only some time later, perhaps while others sleep in it and perhaps with bytes in the ring. The
 * kernel's set knows nothing of those, so the sleepers are called out by a bell: a descriptor in the set that is always readable, armed
 * until the last of them is out.
 */
#ifndef SLEEPERS
#define SLEEPERS 1
#endif
#ifndef T
#define T 3
#endif
#ifndef INTERRUPTS
#define INTERRUPTS 1
#endif
#ifndef CAP
#define CAP 1 /* full with one byte, so that few bytes come to all states */
#endif
#define NO_STORE_BUFFER
#include "steps.pml"

bit set_lock = 0, rx_lock = 0;
byte sleepers = 0;
bit hot = 0;  /* on the set's list of those that may be in the ring */
bit bell = 0; /* armed */
byte interrupts = INTERRUPTS;
#ifdef ADD
bit member = 0;
#else
#define member true
#endif

#ifdef M_IGNORE_SLEEPERS
#define MAY_LIVE true
#else
#define MAY_LIVE (sleepers == 0 || !member)
#endif

#ifdef M_BELL_CALLS_ONE
#define BELL_STAYS false
#else
#define BELL_STAYS (sleepers > 0)
#endif

active proctype Writer()
{
	byte j, s;
	bit won, idle = 0;

	do
	:: woff < T ->
again:
		s = st;
		if
		:: STATE(s) == TAKEN || STATE(s) == SEALED || STATE(s) == CONSENT ->
			atomic { len(kernel) < KC -> kernel!(woff + 1); woff++ }
		:: STATE(s) == CONSENT ->
			accept(s, won);
			goto again
		:: STATE(s) == LIVE && !ROOM(credit) ->
			credit = RING_FROM;
			if
			:: ROOM(credit)
			:: else ->
				do_seal(s, won);
				if
				:: break /* leaves without a byte */
				:: skip
				fi
			fi;
			goto again
		:: MAY_PUT(s) && ROOM(credit) ->
			publish(woff + 1);
			s = st;
			take_back(s, won, j)
		:: STATE(s) == ASLEEP ->
			take_back(s, won, j);
			goto again
		fi;
		sent = woff
	:: break
	od;
	if
	:: idle = 1
	:: skip
	fi;
	if
	:: !idle
	:: idle && timeout -> assert(got == sent)
	fi;
	fin = 1
}

inline read_ring()
{
	b = ring[roff % CAP];
	atomic { TOOK(b); ring[roff % CAP] = NOTHING; roff++; b = 0; NOTE(MOVED) }
}

/* A receive that doesn't wait. more: something came; ended: the end of file came. */
inline receive()
{
	more = 0;
	last = 0;
	atomic { rx_lock == 0 -> rx_lock = 1; s = st };
	do
	:: STATE(s) == CONSENT -> atomic { step(s, TAKEN, won); s = st }
	:: STATE(s) == TAKEN || STATE(s) == ASLEEP && sleepers > 0 -> /* asleep: the writer sends again what others are to be woken by */
		atomic {
			kernel_read(2, n, b);
			if
			:: n == END && STATE(st) == ASLEEP -> step(s, LIVE, won); s = st; last = 1 /* the end calls all sleepers */
			:: n == END && STATE(st) != ASLEEP -> ended = 1; break
			:: n > 0 && n < END -> assert(STATE(st) == TAKEN || roff < up); roff = roff + n; more = 1; break
			:: n == 0 -> break
			fi
		}
	:: STATE(s) == ASLEEP && sleepers == 0 -> break /* woken below */
	:: (STATE(s) == LIVE || STATE(s) == SEALED) && roff < up ->
		atomic { kernel_read(up - roff, n, b); assert(n < END); roff = roff + n; more = (n > 0) };
		break
	:: (STATE(s) == LIVE && roff >= up && widx > roff || STATE(s) == SEALED && roff >= up && !DRAINED) -> read_ring(); more = 1; break
	:: STATE(s) == SEALED && roff >= up && DRAINED -> atomic { step(s, TAKEN, won); s = st }
	:: STATE(s) == LIVE && roff >= up && widx <= roff ->
		if
		:: last -> ended = 1; break
		:: !last && FIN -> last = 1; s = st
		:: !last && !FIN -> break
		fi
	od;
	atomic { rx_lock = 0; s = 0; n = 0; last = 0; won = 0 };

	/* What came by the kernel may be followed by an offer, what fell asleep may be woken: under the lock of the set. */
	if
	:: atomic { set_lock == 0 && !ended -> set_lock = 1 };
		if
		:: MAY_LIVE ->
			atomic { rx_lock == 0 -> rx_lock = 1; s = st };
			atomic {
				if
				:: STATE(s) == TAKEN -> step(s, CONSENT, won)
				:: STATE(s) == ASLEEP -> step(s, LIVE, won)
				:: else
				fi;
#ifndef M_OFFER_NOT_LISTED
				hot = member;
#endif
				rx_lock = 0
			}
		:: else
		fi;
		atomic { set_lock = 0; s = 0; won = 0 }
	:: skip
	fi
}

/* With the set's lock: nothing of the stream may stay in the ring unseen while somebody sleeps. ready: it has something to read. */
inline put_asleep()
{
	atomic { rx_lock == 0 -> rx_lock = 1; s = st };
	do
	:: STATE(s) == CONSENT -> atomic { step(s, TAKEN, won); s = st }
	:: STATE(s) == TAKEN || STATE(s) == ASLEEP -> hot = 0; break
	:: STATE(s) == LIVE && roff < up && arrived > 0 -> ready = 1; break
#ifndef M_SLEEP_BEFORE_UP
	:: STATE(s) == LIVE && roff < up && arrived == 0 && RING_UNREAD -> ready = 1; break
#endif
#ifdef M_SLEEP_SEALED
	:: STATE(s) == SEALED && roff < up -> break
#else
	:: STATE(s) == SEALED && roff < up -> ready = 1; break /* the kernel's bytes are on their way, the ring's behind them: look again in short turns */
#endif
#ifdef M_SLEEP_BEFORE_UP
	:: STATE(s) == LIVE && roff < up && arrived == 0 -> atomic { step(s, ASLEEP, won); s = st }
	:: STATE(s) == LIVE && roff >= up ->
#else
	:: STATE(s) == LIVE && (roff >= up || arrived == 0 && !RING_UNREAD) ->
#endif
		atomic { step(s, ASLEEP, won); s = st };
		if
#ifndef M_NO_SECOND_LOOK
		:: won && RING_UNREAD -> /* the second look */
			wake(s, won);
			ready = 1;
			break
#endif
		:: else
		fi
	:: STATE(s) == SEALED && roff >= up && !DRAINED -> ready = 1; break
	:: STATE(s) == SEALED && roff >= up && DRAINED -> atomic { step(s, TAKEN, won); s = st }
	od;
	atomic { rx_lock = 0; s = 0; won = 0 }
}

proctype Sleeper(byte me)
{
	byte b, s, n;
	bit won, ready, more, ended = 0, last;

	do
	:: ended -> break
	:: !ended ->
		/* epoll_wait */
		atomic { set_lock == 0 -> set_lock = 1 };
		ready = 0;
		if
		:: hot -> put_asleep()
		:: else
		fi;
		if
		:: ready -> set_lock = 0
		:: !ready ->
#ifndef M_COUNT_AFTER_UNLOCK
			atomic { sleepers++; set_lock = 0 };
#else
			set_lock = 0;
			sleepers++;
#endif
			if
			:: member && READABLE
			:: bell
			:: atomic { interrupts > 0 -> interrupts-- }
			fi;
			atomic { set_lock == 0 -> set_lock = 1; sleepers--; bell = (BELL_STAYS -> bell : 0) };
			if
			:: member && MAY_LIVE ->
				atomic { rx_lock == 0 -> rx_lock = 1; s = st };
				atomic {
					if
					:: STATE(s) == ASLEEP -> step(s, LIVE, won); hot = 1
					:: else
					fi;
					rx_lock = 0
				}
			:: else
			fi;
			atomic { set_lock = 0; s = 0; won = 0 }
		fi;
		if
		:: member -> receive()
		:: else
		fi;
		ready = 0;
		more = 0
	:: me > 0 -> goto away /* waits no more */
	od;
	assert(got == sent);
away:
	skip
}

/* Reads by itself, may put the stream into the set, may stop at any time. */
proctype Other()
{
	byte b, s, n;
	bit won, ready, more, ended = 0, last;

	do
	:: !ended -> receive(); more = 0
	:: break
	od;
#ifdef ADD
	atomic { set_lock == 0 -> set_lock = 1; member = 1 };
	ready = 0;
	if
	:: sleepers > 0 ->
#ifndef M_ADD_AWAKE
		put_asleep();
#endif
		if
#ifndef M_NO_BELL
		:: ready -> bell = 1; NOTE(RANG)
#endif
		:: else
		fi
	:: else
	fi;
	hot = 1;
	set_lock = 0
#endif
}

init
{
	atomic {
		run Sleeper(0);
#if SLEEPERS > 1
		run Sleeper(1);
#endif
		run Other()
	}
}
