/*
 * One direction of a stream with one writer and one reader: the base of the protocol (SWITCH), the offer made while bytes are
 * unread in the kernel, credit, the reader that doesn't wait but asks the kernel for the end of file, and, with KILL, a writer
 * that is killed at any step.
 */
#ifndef T
#define T 4 /* bytes at most */
#endif
#include "steps.pml"

bit eof = 0, killed = 0, dead = 0;
#ifndef INTERRUPTS
#define INTERRUPTS 1 /* waits in the kernel that end with nothing (a signal, a time-out) */
#endif
byte interrupts = INTERRUPTS;
#ifdef REACH /* what a run has seen */
bit moved = 0, sealed = 0, ahead = 0, rest = 0;
#define NOTE(flag) flag = 1
#else
#define NOTE(flag) skip
#endif

#ifdef KILL
active proctype Killer()
{
	if
	:: killed = 1
	:: skip
	fi
}
#endif

active proctype Writer()
{
	byte j, s;
	bit won, idle = 0;

	{
	do
	:: woff < T ->
again:
		s = st;
		if
		:: STATE(s) == TAKEN || STATE(s) == SEALED || STATE(s) == CONSENT -> /* an offer need not be taken */
			kernel!(woff + 1);
			woff++
		:: STATE(s) == CONSENT ->
			accept(s, won);
			if
			:: won && roff < up -> NOTE(ahead)
			:: else
			fi;
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
		:: STATE(s) == LIVE && ROOM(credit) ->
			publish(woff + 1);
#ifndef M_NO_LOOK_AFTER_PUBLISH
			s = st;
			if
			:: STATE(s) == ASLEEP -> take_back(s, won, j)
			:: else
			fi
#endif
		:: STATE(s) == ASLEEP ->
			take_back(s, won, j);
			goto again
		fi;
		sent = woff
	:: break
	od;
	FENCE;
	if
	:: idle = 1
	:: skip
	fi;
	if
	:: !idle
	:: idle && timeout -> assert(got == sent) /* a writer that stays idle leaves nothing unseen */
	fi;
	fin = 1
	} unless { atomic { killed -> dead = 1 }; FENCE; fin = 1 }
}

/* Reader: LIVE -> ASLEEP, the second look, the program's own wait in the kernel, and back. */
inline sleep_in_kernel()
{
	step(s, ASLEEP, won);
	if
	:: !won
	:: won ->
		if
#ifndef M_NO_SECOND_LOOK
		:: widx > roff && roff >= up -> skip
#endif
		:: else ->
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
		fi;
		s = st; /* wake */
		if
		:: STATE(s) == ASLEEP -> step(s, LIVE, won)
		:: else
		fi
	fi
}

active proctype Reader()
{
	byte b, s, n;
	bit sawfin = 0, won;

	do
	:: eof -> break
	:: !eof ->
		s = st;
		if
		:: STATE(s) == CONSENT ->
#ifdef M_NO_WITHDRAW
			kernel_read(2, n, b);
			if
			:: n == 0 || n == END -> READABLE
			:: else -> roff = roff + n
			fi;
#endif
			step(s, TAKEN, won) /* withdraw */
		:: STATE(s) == TAKEN ->
			kernel_read(2, n, b);
			if
			:: n == END ->
				if
#ifndef M_NO_REST
				:: roff < widx && roff >= up -> /* the writer was killed while it took back */
					b = ring[roff % CAP];
					TOOK(b);
					roff++;
					NOTE(rest)
#endif
				:: else -> eof = 1
				fi
			:: n < END ->
				roff = roff + n;
				if
				:: step(s, CONSENT, won) /* more may be unread in the kernel */
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
				:: STATE(s) == LIVE -> sleep_in_kernel()
				:: READABLE
				fi
			fi
		:: STATE(s) == LIVE && roff >= up && widx > roff || STATE(s) == SEALED && roff >= up && !DRAINED ->
			b = ring[roff % CAP];
			TOOK(b);
			roff++;
			NOTE(moved)
		:: STATE(s) == SEALED && roff >= up && DRAINED ->
			step(s, TAKEN, won); /* drained */
			NOTE(sealed)
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
	assert(got >= sent);
	assert(dead || got == sent)
}

#ifdef REACH
never { do :: assert(!(REACH)) od }
#endif
