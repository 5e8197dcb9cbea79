/*
 * A flow of datagrams (sockets/datagram.h): one sender, one receiver, a ring of CAP records beside the kernel's queue. Nobody is told of a
 * datagram that the kernel drops, so nothing here is an offset: the sender counts what it gives to the kernel, and takes records back by a
 * claim on the receiver's index. Each datagram is received once, in order; one that waits in the ring is not left beside a sleeper.
 *
 * DROPS: the kernel may drop so many. Memory is sequentially consistent; the code's steps on both sides are, by name (A, B, C).
 */
#ifndef T
#define T 5 /* datagrams */
#endif
#ifndef CAP
#define CAP 2
#endif
#ifndef DROPS
#define DROPS 0
#endif
#ifdef REACH
#define NOTE(place) assert((place) != REACH)
#else
#define NOTE(place)
#endif
#define BY_RING 1  /* a record was read */
#define RANG 2	   /* a sleeper's record was sent again */
#define RACED 3	   /* a record was taken back before its reader had it */
#define WAITED 4   /* a record had to wait for the kernel's queue */
#define GIVEN_UP 5 /* what was counted never came */

#define TAKEN 0
#define CONSENT 1
#define LIVE 2
#define ASLEEP 3

byte state;
byte widx, roff;
bit claimed;	 /* CW_CLAIMED in roff */
byte ring[CAP];
byte up, spell;	 /* stored at the step to LIVE */
byte woff, seen; /* given to the kernel, and got from it */
byte dropped;
byte last;	 /* the datagram received last */
byte received;
bit done;
chan queue = [T] of { byte };

/* cw_state_step. It may take another sleep for the one that was seen, which the code's generation excludes. */
inline step(to)
{
	atomic {
		fine = state == what;
		if
		:: fine -> state = to
		:: else -> what = state
		fi
	}
}

inline by_kernel(n)
{
	woff = woff + 1;
	if
	:: dropped < DROPS -> dropped = dropped + 1
	:: queue!n
	fi
}

inline receive(n)
{
	atomic {
		assert(n > last);
		last = n;
		received = received + 1
	}
}

inline take_back()
{
	do
	:: what != LIVE && what != ASLEEP -> break
	:: else ->
		rang = what == ASLEEP;
		step(TAKEN);
		if
		:: fine ->
#ifdef M_NO_CLAIM
			from = roff;
#else
			atomic { from = roff; claimed = 1 } /* C */
#endif
			do
			:: from != widx ->
				if
				:: rang -> NOTE(RANG)
				:: else
				fi;
				by_kernel(ring[from % CAP]);
				from = from + 1
			:: else -> break
			od;
			what = state;
			break
		:: else
		fi
	od
}

inline accept()
{
	credit = widx;
#ifdef M_INDEX_AS_IT_WAS
	claimed = 0;
#else
	atomic { roff = widx; claimed = 0 };
#endif
	up = woff;
	spell = spell + 1;
	step(LIVE);
	if
	:: fine -> what = LIVE
	:: else
	fi
}

active proctype Sender()
{
	byte n = 1, what, from, credit;
	bit fine, rang;

	do
	:: n <= T ->
		what = state;
		do
		:: what == CONSENT -> accept()
		:: what == ASLEEP -> take_back()
		:: what == TAKEN -> by_kernel(n); break
		:: what == LIVE ->
			if
			:: widx - credit == CAP -> credit = roff
			:: else
			fi;
			if
			:: widx - credit < CAP ->
				ring[widx % CAP] = n;
				widx = widx + 1; /* A */
#ifndef M_NO_LOOK_AFTER_PUBLISH
				what = state;
				if
				:: what == ASLEEP -> take_back()
				:: else
				fi;
#endif
				break
			:: else -> take_back()
			fi
		od;
		n = n + 1
	:: else -> break
	od;
	done = 1
}

#define UNREAD (!claimed && widx != roff)

active proctype Receiver()
{
	byte what, n, seen_roff, got, passed;
	bit fine;

again:
	do
	:: nempty(queue) ->
		queue?n;
		seen = seen + 1;
		receive(n)
	:: UNREAD && (state == LIVE || state == ASLEEP) ->
		atomic { seen_roff = roff; fine = !claimed };
		if
		:: fine && widx != seen_roff ->
#ifdef M_RING_AT_ONCE
			passed = spell;
#endif
			if
			:: passed == spell -> skip
			:: passed != spell && seen >= up -> passed = spell
			/* The time is over, and nothing is in the queue: it was dropped. */
			:: passed != spell && seen < up && dropped && empty(queue) -> NOTE(GIVEN_UP); seen = up; passed = spell
			:: passed != spell && seen < up && nempty(queue) -> NOTE(WAITED)
			fi;
			if
			:: passed == spell ->
				got = ring[seen_roff % CAP];
				atomic {
					if
#ifdef M_NO_CLAIM
					:: 1 -> roff = seen_roff + 1; fine = 1
#else
					:: roff == seen_roff && !claimed -> roff = seen_roff + 1; fine = 1 /* C */
					:: else -> fine = 0; NOTE(RACED)
#endif
					fi
				};
				if
				:: fine -> NOTE(BY_RING); receive(got)
				:: else
				fi
			:: else
			fi
		:: else
		fi
	:: !UNREAD ->
		what = state;
		if
		/* Offer, and look on. */
		:: what == TAKEN -> step(CONSENT)
		/* Or go to sleep. */
		:: what == CONSENT ->
			step(TAKEN);
			if
			:: fine -> goto sleep
			:: else
			fi
		:: what == LIVE ->
			step(ASLEEP); /* B */
			if
			:: fine ->
#ifndef M_NO_SECOND_LOOK
				if
				:: UNREAD -> what = state; if :: what == ASLEEP -> step(LIVE) :: else fi
				:: else -> goto sleep
				fi
#else
				goto sleep
#endif
			:: else
			fi
		:: what == TAKEN -> goto sleep
		fi
	:: done && empty(queue) && !UNREAD -> break
	od;
	assert(received + dropped == T);
	goto end;
sleep:
	if
	:: nempty(queue)
	:: done && empty(queue) && !UNREAD
	fi;
	what = state;
	if
	:: what == ASLEEP -> step(LIVE)
	:: else
	fi;
	goto again;
end:
	skip
}
