/*
 * Bytes that were told and are left unread: a set (epoll) whose registration is edge-triggered sleeps beside what its ring has, with others
 * before it unread in the kernel, whose room is bounded. Nobody need ever read them, so the writer can't wait for that room: it seals the
 * ring of the sleeper (ASLEEP -> SEALED), and a byte that it has just put there it takes out again, and sends behind it.
 *
 * Besides the set's thread one reads, and reads on or leaves it at any time; with PASSES a third passes the set on to another process. What must hold: all that is read is in order;
 * no byte stays unread that no edge has told; the writer waits for nobody but where its program's own send waits.
 */
#ifndef T
#define T 4
#endif
#ifndef INTERRUPTS
#define INTERRUPTS 0 /* waits in the kernel that end with nothing (a signal, a time-out) */
#endif
#define NO_STORE_BUFFER
#define NO_FLIGHT
/* The word's generation, for the writer: the word has changed since it looked. */
bit stale = 0;
#define STEPPED    stale = 1
#define SAME_OFFER (!stale)
#define LOOK       atomic { s = st; stale = 0 }
#include "steps.pml"

byte rx_lock = 0, set_lock = 0, rx_asleep = 0, sleepers = 0;
byte left_at = 0;       /* what had been told when the set fell asleep */
byte interrupts = INTERRUPTS;
bit hot = 0;            /* on the set's list */
bit edge = 0, kick = 0; /* what calls the set's thread: the kernel's, ours */

/* For the assertions: what had been sent at the set's last answer; the last receive found nothing; the thread sleeps. */
byte told = 0;
bit dry = 0, asleep = 0;

#ifdef MARKED
active proctype Marker()
{
	mark(OTHER)
}
#endif

/* The kernel takes a byte, if there is room. */
#define PUT(value, count) atomic { len(kernel) < KC -> kernel!(value); edge = 1; woff = woff + count }
/* Where bytes are taken out of the ring again, having told them was in vain. */
#define END_RING_AT(end) widx = end; woff = widx; told = (told > widx -> widx : told)

/* ---- the writer ---- */

#define TOLD(end) ((end) > up && (end) - up <= CAP)
#ifdef M_SEAL_BEHIND_UP
#define BEFORE_UP true
#else
#define BEFORE_UP (roff < up)
#endif
#ifdef M_SEAL_WITH_SLEEPERS
#define NONE_COUNTED true
#else
#define NONE_COUNTED (rx_asleep == 0)
#endif
#ifdef M_SEAL_ONCE
#define SEAL_AGAIN break
#else
#define SEAL_AGAIN LOOK
#endif

inline step_from_look(to)
{
	atomic {
		won = 0;
		if
		:: !stale -> step(s, to, won)
		:: else
		fi
	}
}

/* ASLEEP -> SEALED. What is behind `end` was put there by this call, and is not sent. */
inline seal_asleep(end)
{
	won = 0;
#ifndef M_TAKE_BACK_INTO_FULL
	do
	:: STATE(s) == ASLEEP && !(s & RESEND) && BEFORE_UP && TOLD(end) ->
		if
		:: NONE_COUNTED ->
#ifdef M_SEAL_WITH_LAST
			seal = woff;
#else
			seal = end;
#endif
			step_from_look(SEALED);
			if
			:: won ->
				atomic { END_RING_AT(end); NOTE(LEFT_TOLD) };
				break
			:: else -> SEAL_AGAIN
			fi
		:: else -> break
		fi
	:: else -> break
	od
#endif
}

#define NOBODY_READS (rx_lock == 0 && rx_asleep == 0)

/*
 * ASLEEP -> TAKEN. `last` bytes this call has put there: what of them the kernel has no room for is not sent. Others stay in the ring,
 * TAKEN or CONSENT -> SEALED, as if it had been offered behind what the kernel took; only for who is reading there it waits.
 */
inline take_back_but(last)
{
	do
	:: STATE(s) != ASLEEP -> break
	:: else ->
		step_from_look(TAKEN);
		if
		:: won ->
			j = RING_FROM;
			do
			:: j < woff ->
				if
				:: PUT(ring[j % CAP], 0); j++; NOTE(RESENT)
#ifndef M_WAIT_FOR_ALL
				:: len(kernel) == KC && j + last >= woff -> atomic { END_RING_AT(j); NOTE(NOT_SENT) }; break
#endif
#ifndef M_TAKE_BACK_INTO_FULL
				:: atomic {
					len(kernel) == KC && j + last < woff && NOBODY_READS && (STATE(st) == TAKEN || STATE(st) == CONSENT) ->
#ifndef M_REST_WITHOUT_UP
						up = j;
#endif
						END_RING_AT(woff - last);
						seal = widx;
						st = MARKS(st) | SEALED;
						stale = 1;
						NOTE(REST_STAYS)
				   };
				   break
#endif
				fi
			:: else -> break
			od;
			break
		:: else -> LOOK
		fi
	od;
	j = 0
}

proctype Writer()
{
	byte j, s;
	bit won;

	do
	:: woff < T ->
again:
		LOOK;
		if
		:: STATE(s) == TAKEN || STATE(s) == SEALED || STATE(s) == CONSENT ->
end_blocked:
			if
			:: PUT(woff + 1, 1)
			:: len(kernel) == KC -> goto away /* EAGAIN, and it sends no more */
			fi
		:: STATE(s) == CONSENT ->
			accept(s, won);
			goto again
		:: STATE(s) == LIVE && !ROOM(credit) ->
			credit = RING_FROM;
			if
			:: ROOM(credit)
			:: else -> do_seal(s, won)
			fi;
			goto again
		:: STATE(s) == ASLEEP ->
			seal_asleep(widx);
			if
			:: won || STATE(s) != ASLEEP -> goto again
			:: !won && STATE(s) == ASLEEP && MAY_PUT(s) && ROOM(credit) -> goto put
			:: !won && STATE(s) == ASLEEP && !(MAY_PUT(s) && ROOM(credit)) -> take_back_but(0); goto again
			fi
		:: STATE(s) == LIVE && ROOM(credit) ->
put:
			ring[woff % CAP] = woff + 1;
			atomic { woff++; widx = woff };
			LOOK;
			if
			:: STATE(s) == ASLEEP ->
				seal_asleep(woff - 1);
				if
				:: !won -> take_back_but(1)
				:: else
				fi
			:: else
			fi
		fi;
		atomic { s = 0; won = 0 }
	:: break
	od;
away:
	skip
}

/* ---- the reader's process ---- */

#define LOCK_RX   atomic { rx_lock == 0 -> rx_lock = 1; s = st }
#define UNLOCK_RX rx_lock = 0
#define LOCK_SET  atomic { set_lock == 0 -> set_lock = 1 }

#ifdef M_NO_SECOND_LOOK
#define LOOKED(told) true
#else
#define LOOKED(told) (widx == (told))
#endif

/* cw_ready_settle, for who was told up to `seen`; with both locks. */
inline settle(known)
{
	LOCK_RX;
	do
	:: STATE(s) == CONSENT -> step(s, TAKEN, won); s = st
	:: STATE(s) == SEALED && roff >= up && DRAINED -> step(s, TAKEN, won); s = st
	:: STATE(s) == SEALED && !(roff >= up && DRAINED) -> fine = (roff < up && widx == up || widx == known); break
	:: STATE(s) == LIVE ->
		atomic { w = widx; n = (w == RING_FROM -> w : known); left_at = (w == n -> n : left_at) };
		if
		:: w != n -> fine = 0; break
		:: else ->
			step(s, ASLEEP, won);
			if
			:: won && LOOKED(n) -> fine = 1; break
			:: won && !LOOKED(n) -> wake(s, won); s = st
			:: else -> s = st
			fi
		fi
	:: else -> fine = (STATE(s) != ASLEEP || !RING_UNREAD || widx != left_at || widx == known); break
	od;
	atomic { UNLOCK_RX; s = 0; n = 0; w = 0; won = 0 }
}

/* Who has woken the stream, or found it SEALED, has the sets look at it: it may be cold there, and somebody may sleep. */
inline notice()
{
	LOCK_SET;
	if
	:: STATE(st) == LIVE || STATE(st) == CONSENT || STATE(st) == SEALED ->
		hot = 1;
		if
		:: sleepers > 0 ->
			settle(seen);
			kick = (fine -> kick : 1);
			fine = 0
		:: else
		fi
	:: else
	fi;
	set_lock = 0
}

#ifdef M_READ_ON_OLD_SLEEP
#define RENEW won = 1
#else
#define RENEW atomic { won = (st == s); stale = (won -> 1 : stale) }
#endif

#ifdef PASSES
bit passed = 0; /* the set is another process's too, whose sleepers nobody sees: what was told is asked for through the kernel */
#else
#define passed false
#endif
#define MAY_WAKE (!passed && rx_asleep == 0 && (sleepers == 0 || RING_UNREAD))

/* What is put behind an offer was not told, though bytes that were taken out of the ring again may have been told up to the same place. */
#ifdef M_SEEN_STAYS
#define FORGET skip
#else
#define FORGET seen = NOTHING
#endif

/* A receive that doesn't wait, of `limit` bytes at most. */
inline receive(limit)
{
	LOCK_RX;
	do
	:: STATE(s) == CONSENT -> step(s, TAKEN, won); s = st
	:: (STATE(s) == LIVE || STATE(s) == SEALED) && roff < up ->
		atomic { n = (up - roff < limit -> up - roff : limit); w = n; kernel_read(w, n, b); roff = roff + n; UNLOCK_RX };
		break
	:: STATE(s) == LIVE && roff >= up && widx > roff || STATE(s) == SEALED && roff >= up && !DRAINED ->
		b = ring[roff % CAP];
		atomic { TOOK(b); ring[roff % CAP] = NOTHING; roff++; UNLOCK_RX };
		break
	:: STATE(s) == SEALED && roff >= up && DRAINED -> step(s, TAKEN, won); s = st
	:: STATE(s) == LIVE && roff >= up && widx <= roff ->
		if
		:: atomic { st == s && widx <= roff -> dry = 1; rx_lock = 0 }; break
		:: else -> s = st
		fi
	:: STATE(s) == ASLEEP && MAY_WAKE -> wake(s, won); s = st; roused = 1
	:: STATE(s) == TAKEN || STATE(s) == ASLEEP && !MAY_WAKE ->
		rx_asleep++;
		if
		:: STATE(s) == ASLEEP && RING_UNREAD -> RENEW /* before it reads without a bound: a seal on the way sees the count, or we it */
		:: else -> won = 1
		fi;
		if
		:: !won -> rx_asleep--; s = st
		:: won ->
			UNLOCK_RX;
			atomic { w = limit; kernel_read(w, n, b); dry = (n == 0 && STATE(st) == TAKEN && widx <= roff) };
			atomic { roff = roff + n; rx_asleep-- };
			LOCK_SET;
			if
			:: sleepers == 0 && !passed ->
				atomic {
					rx_lock == 0;
					s = st;
					if
					:: rx_asleep == 0 && STATE(s) == TAKEN -> step(s, CONSENT, won); hot = (won -> 1 : hot); FORGET
					:: else
					fi
				}
			:: else
			fi;
			set_lock = 0;
			break
		fi
	od;
	atomic { roused = (STATE(s) == SEALED && !hot -> 1 : roused); s = 0; n = 0; w = 0; b = 0; won = 0 };
	if
	:: roused -> roused = 0; notice()
	:: else
	fi
}

byte seen = 0; /* the registration's: up to where the ring was told */

proctype Sleeper()
{
	byte s, n, w;
	bit won, fine, answer;

	do
	::
		LOCK_SET;
		s = st;
		atomic {
			if
			:: edge -> edge = 0; answer = 1 /* the kernel is asked too */
			:: else
			fi;
			if
			:: hot && (STATE(s) == LIVE || STATE(s) == SEALED) && roff >= up && widx != seen &&
				(STATE(s) == SEALED -> !DRAINED : widx > roff) -> answer = 1; seen = widx; NOTE(TOLD_BY_RING)
			:: hot && STATE(s) == LIVE && roff < up && widx != seen && widx != up && len(kernel) > 0 -> answer = 1; seen = widx
			:: else
			fi;
			if
			:: answer -> told = woff; dry = 0
			:: else
			fi;
			s = 0
		};
		if
		:: answer -> atomic { set_lock = 0; answer = 0 }
		:: !answer ->
			atomic { sleepers++; answer = 0; fine = 1 };
			if
			:: hot -> settle(seen)
			:: else
			fi;
			if
			:: !fine -> skip
			:: fine ->
				atomic {
					if
					:: STATE(st) == ASLEEP || STATE(st) == TAKEN -> hot = 0 /* idle for long: cold */
					:: skip
					fi;
					asleep = 1;
					set_lock = 0
				};
end_asleep:
				if
				:: atomic { edge -> edge = 0; told = woff; dry = 0 }
				:: kick
				:: atomic { interrupts > 0 -> interrupts-- }
				fi;
				atomic { set_lock == 0 -> set_lock = 1; asleep = 0; kick = 0 }
			fi;
			sleepers--;
			if
			:: hot && rx_asleep == 0 && !passed ->
				LOCK_RX;
				if
				:: STATE(s) == ASLEEP && rx_asleep == 0 -> wake(s, won)
				:: else
				fi;
				UNLOCK_RX
			:: else
			fi;
			atomic { set_lock = 0; s = 0; won = 0; fine = 0 }
		fi;
	od
}

proctype Other()
{
	byte b, s, n, w;
	bit won, fine, roused;

	do
	:: receive(1)
#if KC > 1
	:: receive(2)
#endif
	:: break
	od
}

#ifdef PASSES
active proctype Passer()
{
	passed = 1 /* what it asks for next, the ring's bytes sent again, waits for room, and ends in a reset: not of the model */
}
#endif

/* When nothing goes on: who sleeps was told of all, and where all was read all has come. */
proctype Quiet()
{
	timeout;
	assert(!asleep || told == woff || got == woff);
	assert(!(asleep && dry) || got == woff)
}

/* It begins where the ring has been taken up behind a kernel that is full; what is there was told. */
init
{
	atomic {
		do
		:: len(kernel) < KC -> woff++; kernel!woff
		:: else -> break
		od;
		widx = woff;
		up = woff;
		credit = woff;
		told = woff;
		hot = 1;
		st = LIVE;
		run Writer();
		run Sleeper();
		run Other();
		run Quiet()
	}
}
