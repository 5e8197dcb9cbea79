/*
 * One direction of a stream with one writer and one reader: the base of the protocol, the offer made while bytes are unread in the
 * kernel, credit, the reader that doesn't wait but asks the kernel for the end of file; with KILL a writer that is killed at any
 * step; with READER_LEAVES and WRITER_LEAVES an end that leaves the ring for good; with BELLS sleeps that a ring ends, and with OFFERED as
 * well those of a reader whose offer stands.
 */
#ifndef T
#define T 5 /* bytes at most */
#endif
#ifndef INTERRUPTS
#define INTERRUPTS 1 /* waits in the kernel that end with nothing (a signal, a time-out) */
#endif
#if defined(OFFERED) && !defined(M_OFFER_WITHOUT_GENERATION)
#define SAME_OFFER (sleeps == sleep)
#endif
#include "steps.pml"

bit eof = 0, dead = 0;
bit writer_left = 0;
bit gone = 0; /* the reader can't read the ring any more */
byte interrupts = INTERRUPTS;

#ifdef KILL
#define WRITER_DIES unless { atomic { kill_writer -> kill_writer = 0; dead = 1 }; FENCE }
bit kill_writer = 0;

active proctype Killer()
{
	if
	:: kill_writer = 1
	:: skip
	fi
}
#else
#define WRITER_DIES
#endif

#ifdef M_ACCEPT_LEFT
#define MAY_ACCEPT (STATE(s) == CONSENT)
#else
#define MAY_ACCEPT (STATE(s) == CONSENT && !(s & LEFT))
#endif

#ifdef MARKED
active proctype Marker()
{
	mark(OTHER)
}
#endif

/* The writer leaves: what it sends from now on goes to the kernel and looks at nothing. */
inline writer_leaves()
{
	mark(LEFT);
	won = 0;
	do
	:: won -> break
	:: !won ->
		s = st;
		if
#ifndef M_WRITER_LEAVES_LIVE
		:: STATE(s) == LIVE -> do_seal(s, won)
#endif
#ifndef M_WRITER_LEAVES_ASLEEP
		:: STATE(s) == ASLEEP -> take_back(s, won, j)
#endif
		:: else -> won = 1
		fi
	od;
	raw = 1;
	writer_left = 1
}

#ifdef BELLS
/*
 * Sleeps that a ring ends: the writer leaves the word alone and the bytes in the ring. `sleeps` stands for the word's generation: it is
 * changed and read with the word. `bell` is the sleep in which the reader waits for its bell too, 0 none; or the offer that it sleeps on,
 * which has a generation as well.
 */
byte sleeps = 1, bell = 0;
byte rung = 0, sleep = 0; /* the writer's: rung for last, seen last */
byte taken = 0;           /* the offer that it took, whose reader may sleep still */
/* Generations are compared for equality alone: one that nobody remembers is as good as the next, and keeps the states few. */
#define KNOWN(x) ((x) == sleeps || (x) == rung || (x) == sleep || (x) == taken)
#define NEXT     (!KNOWN(1) -> 1 : (!KNOWN(2) -> 2 : (!KNOWN(3) -> 3 : (!KNOWN(4) -> 4 : 5))))
bit rings = 0;
#define LOOK atomic { s = st; sleep = sleeps }
#define STEP_AS(to, generation) atomic { step(s, to, won); sleeps = (won -> generation : sleeps) }
#define WANTED (bell != 0 && bell == sleep)
inline ring_once()
{
	if
#ifdef M_RING_WITHOUT_GENERATION
	:: rung == 0 ->
#else
	:: rung != sleep ->
#endif
		rings = 1;
		rung = sleep
	:: else
	fi
}

inline call_offerer()
{
	if
#ifndef M_NO_RING_FOR_OFFER
	:: taken != 0 && bell == taken ->
		rings = 1;
		rung = taken;
		NOTE(TOOK_OFFER)
#endif
	:: else
	fi;
	taken = 0
}
#else
#define LOOK s = st
#define WANTED false
#endif
#ifdef OFFERED
#define OFFERS STEP_AS(CONSENT, NEXT)
#else
#define OFFERS step(s, CONSENT, won)
#endif

active proctype Writer()
{
	byte j, s;
	bit won, idle = 0, raw = 0;

	{
	do
	:: woff < T && !raw ->
again:
		LOOK;
		if
		:: STATE(s) == TAKEN || STATE(s) == SEALED || STATE(s) == CONSENT -> /* an offer need not be taken */
			kernel_send(woff + 1);
			woff++
		:: MAY_ACCEPT ->
			accept(s, won);
			if
			:: won && roff < up -> NOTE(AHEAD)
			:: else
			fi;
#ifdef OFFERED
			taken = (won -> sleep : taken);
#endif
			goto again
		:: STATE(s) == LIVE && !ROOM(credit) ->
			credit = RING_FROM;
			if
			:: ROOM(credit)
			:: else ->
				if
				:: do_seal(s, won)
				:: skip /* looks again before it gives the ring up */
				fi
			fi;
			goto again
#ifdef BELLS
		:: STATE(s) == ASLEEP && WANTED && !ROOM(RING_FROM) -> take_back(s, won, j); NOTE(FULL_ON_BELL); goto again
#endif
		:: (MAY_PUT(s) || STATE(s) == ASLEEP && WANTED) && ROOM(credit) ->
			publish(woff + 1);
#ifdef OFFERED
			call_offerer();
#endif
#ifndef M_NO_LOOK_AFTER_PUBLISH
			LOOK;
			if
#ifdef BELLS
			:: STATE(s) == ASLEEP && WANTED -> ring_once()
#endif
			:: STATE(s) == ASLEEP && !(WANTED) -> take_back(s, won, j)
			:: else
			fi
#endif
		:: STATE(s) == ASLEEP ->
			take_back(s, won, j);
			goto again
		fi;
		sent = woff
#ifdef WRITER_LEAVES
	:: !raw -> writer_leaves()
	:: raw && woff < T ->
		kernel_send(woff + 1);
		woff++;
		sent = woff
#endif
	:: break
	od;
	FENCE;
	if
	:: idle = 1
	:: skip
	fi;
	if
	:: !idle
#ifdef READER_LEAVES
	:: idle && gone -> /* any call that enters the library */
#ifndef M_NO_RESEND_ON_ENTRY
		s = st;
		if
		:: STATE(s) == ASLEEP && (s & RESEND) -> take_back(s, won, j)
		:: else
		fi;
#endif
		timeout;
		assert(reset || got == sent)
	:: idle && timeout -> assert(reset || got == sent || gone)
#else
	:: idle && timeout -> assert(got == sent) /* a writer that stays idle leaves nothing unseen */
#endif
	fi;
#ifdef READER_LEAVES
#ifndef M_NO_SHUT_MARK
	mark(SHUT);
#endif
#ifndef M_NO_RESEND_BEFORE_FIN
	s = st;
	if
	:: STATE(s) == ASLEEP && (s & RESEND) -> take_back(s, won, j)
	:: else
	fi
#endif
#endif
	} WRITER_DIES;
	fin = 1
}

#ifdef BELLS
#define LIES_DOWN STEP_AS(ASLEEP, NEXT)

/* Awake: from now on the writer takes the stream back, or what it put before is seen here. */
inline quit_bell()
{
	bell = 0;
#ifndef M_NO_LOOK_AFTER_BELL
	if
	:: STATE(st) == ASLEEP && RING_UNREAD -> wake(s, won)
	:: else
	fi
#endif
}

/* LIVE -> ASLEEP on a bell, the second look, the wait; then the stream is as without a bell, asleep or awake. */
inline sleep_on_bell()
{
	bell = NEXT;
	STEP_AS(ASLEEP, bell);
	if
	:: !won || RING_UNREAD -> skip
	:: else ->
		do
		:: rings ->
			rings = 0; /* noted on waking: it may be of a sleep before */
			if
			:: RING_UNREAD -> NOTE(RANG_FOR); break
#ifdef M_SAME_SLEEP
			:: else
#else
			/* Perhaps this sleep's, by a writer whose byte was read before it, and who won't ring for it again. */
			:: else -> wake(s, won); break
#endif
			fi
		:: READABLE -> break
		:: atomic { interrupts > 0 -> interrupts-- }; break
		od
	fi;
	quit_bell()
}
/* CONSENT: the offer stands while the reader sleeps. Whoever takes it rings; who doesn't sends through the kernel, where it is heard. */
inline sleep_on_offer()
{
	bell = sleeps;
	if
#ifndef M_NO_LOOK_AT_OFFER
	:: st != s -> skip
#endif
	:: else ->
		if
		:: rings -> rings = 0
		:: READABLE
		:: atomic { interrupts > 0 -> interrupts-- }
		fi
	fi;
	bell = 0;
	s = st;
	if
	:: STATE(s) == CONSENT -> step(s, TAKEN, won)
	:: else
	fi
}
#else
#define LIES_DOWN step(s, ASLEEP, won)
#endif

/* The program's own wait in the kernel, and back. */
inline wait_in_kernel()
{
	if
	:: READABLE
	:: atomic { interrupts > 0 -> interrupts-- }
	fi;
	kernel_read(2, n, b);
	if
	:: n == END -> sawfin = 1
	:: else ->
		assert(n == 0 || STATE(st) == TAKEN || roff + n <= up);
		roff = roff + n
	fi
}

/* Reader: LIVE -> ASLEEP, the second look, the wait. */
inline lie_down()
{
	LIES_DOWN;
	if
	:: !won
	:: won ->
		if
#ifndef M_NO_SECOND_LOOK
		:: RING_UNREAD -> skip
#endif
		:: else -> wait_in_kernel()
		fi;
		wake(s, won)
	fi
}

#ifdef BELLS
inline sleep_in_kernel()
{
	if
	:: sleep_on_bell(); s = st
	:: skip
	fi;
	if
	:: STATE(s) == ASLEEP -> wait_in_kernel(); wake(s, won)
	:: STATE(s) == LIVE -> lie_down()
	:: STATE(s) != ASLEEP -> skip
	fi
}
#else
#define sleep_in_kernel lie_down
#endif

/*
 * The reader leaves and will never read the ring again. Asleep for good, it asks the writer to send again what is unread; a writer that
 * marked its end before that doesn't come any more, and in a sealed ring later bytes are in the kernel already: both too late, a reset.
 */
inline reader_leaves()
{
#ifndef M_LEAVE_WITHOUT_MARK
	mark(LEFT);
#endif
	won = 0;
	do
	:: won -> break
	:: !won ->
		s = st;
		if
#ifndef M_READER_LEAVES_LIVE
		:: STATE(s) == LIVE -> step(s, ASLEEP, won)
#endif
		:: STATE(s) == SEALED && roff >= up && DRAINED -> step(s, TAKEN, won)
#ifndef M_READER_LEAVES_SEALED
		:: STATE(s) == SEALED && !(roff >= up && DRAINED) -> reset = 1; won = 1
#endif
		:: else -> won = 1
		fi
	od;
	mark(RESEND);
#ifdef WAITS /* until the writer, or the service for it, has done it; or else a reset: then no death is silent */
	do
	:: reset -> break
#ifdef M_WAIT_FOR_STATE_ALONE
	:: !reset && (STATE(st) == TAKEN || STATE(st) == CONSENT) -> break
#else
	:: !reset && (STATE(st) == TAKEN || STATE(st) == CONSENT) && tx_op == 0 -> break
#endif
	:: !reset && !(widx > roff && widx > up) && STATE(st) == ASLEEP -> break /* nothing is in the ring */
	:: !reset -> reset = 1
	od;
#endif
	s = st;
	if
	:: STATE(s) == ASLEEP && (s & SHUT) && (widx > roff && widx > up) -> reset = 1
	:: else
	fi;
	eof = reset;
	gone = 1;
	if
	:: reset -> NOTE(TOO_LATE)
	:: writer_left -> NOTE(ALL_GONE)
	:: else
	fi
}

active proctype Reader()
{
	byte b, s, n, w;
	bit sawfin = 0, won;

	do
	:: eof -> break
#ifdef READER_LEAVES
	:: !eof && !gone -> reader_leaves()
	:: !eof && !gone && !(st & LEFT) -> mark(LEFT) /* demoted, but reads the ring until it is taken back */
	:: !eof && gone ->
		kernel_read(2, n, b);
		if
		:: n == END -> eof = 1
		:: n == 0 -> READABLE
		:: else
		fi
#endif
	:: !eof && !gone ->
		s = st;
		if
		:: STATE(s) == CONSENT && woff > roff -> /* what the writer has booked is before any switch */
			w = woff;
			if
#ifdef M_BOOKED_WITHOUT_LOOK
			:: true ->
#else
			:: st == s ->
#endif
				kernel_read(w - roff, n, b);
				if
				:: n == 0 || n == END -> step(s, TAKEN, won) /* withdraw */
				:: else -> roff = roff + n; NOTE(BOOKED)
				fi
#ifndef M_BOOKED_WITHOUT_LOOK
			:: st != s
#endif
			fi;
			w = 0
		:: STATE(s) == CONSENT ->
#ifdef M_NO_WITHDRAW
			kernel_read(2, n, b);
			if
			:: n == 0 || n == END -> READABLE
			:: else -> roff = roff + n
			fi;
#endif
			step(s, TAKEN, won) /* withdraw */
#ifdef OFFERED
		:: STATE(s) == CONSENT -> sleep_on_offer()
#endif
		:: STATE(s) == TAKEN ->
			kernel_read(2, n, b);
			if
			:: n == END ->
				if
#ifndef M_NO_REST
				:: tx_op == TAKING_BACK && roff < widx -> /* the writer was killed while it took back */
					b = ring[roff % CAP];
					TOOK(b);
					roff++;
					NOTE(REST)
#endif
				:: else -> eof = 1
				fi
			:: n < END ->
				roff = roff + n;
				if
				:: !(s & LEFT) -> OFFERS /* more may be unread in the kernel */
				:: n == 0 -> READABLE
				:: n > 0
				fi
			fi
		:: (STATE(s) == LIVE || STATE(s) == SEALED) && roff < up -> /* what was sent before the switch */
#ifdef M_UNBOUNDED_BEFORE_UP
			kernel_read(2, n, b);
#else
			kernel_read(up - roff, n, b);
#endif
			assert(n < END);
			if
			:: n > 0 -> roff = roff + n
			:: n == 0 ->
				if
				:: STATE(s) == LIVE && !RING_UNREAD -> sleep_in_kernel()
				:: READABLE
				fi
			fi
		:: STATE(s) == LIVE && roff >= up && widx > roff || STATE(s) == SEALED && roff >= up && !DRAINED ->
			b = ring[roff % CAP];
			TOOK(b);
			roff++;
			NOTE(MOVED)
		:: STATE(s) == SEALED && roff >= up && DRAINED ->
			step(s, TAKEN, won); /* drained */
			NOTE(DRAINED_ALL)
		:: STATE(s) == LIVE && roff >= up && widx <= roff && sawfin -> eof = 1 /* the last look came after the end was seen */
		:: STATE(s) == LIVE && roff >= up && widx <= roff && !sawfin ->
			if
			:: sleep_in_kernel()
#ifdef M_READ_IN_LIVE
			:: kernel_read(2, n, b); roff = (n < END -> roff + n : roff)
#endif
			:: arrived > 0 -> skip /* peek: bytes there mean that the state has changed: look again */
			:: arrived == 0 && FIN ->
				sawfin = 1
#ifdef M_NO_LAST_LOOK
				; eof = 1
#endif
			:: arrived == 0 && !FIN -> skip /* EAGAIN */
			fi
		:: STATE(s) == ASLEEP -> assert(false)
		fi
	od;
	assert(reset || got >= sent);
	assert(reset || dead || got == sent)
}
