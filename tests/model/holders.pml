/*
 * Several holders of one end: READERS on the reading end, WRITERS on the writing end, under the locks of the slot. The last reader
 * (KILL_READER) or the last writer (KILL_WRITER) may be killed at any step, inside a lock too. A byte's high bits tell who wrote it.
 *
 * A holder that waits in the kernel, or reads or sends there, without the lock is counted: rx_asleep, tx_in_kernel. The count of
 * one that was killed stays too high, and the stream stays with the kernel.
 */
#ifndef READERS
#define READERS 1
#endif
#ifndef WRITERS
#define WRITERS 1
#endif
#ifndef T
#define T 3 /* bytes a writer at most */
#endif
#ifndef T_LAST
#define T_LAST T /* the last writer's, which is the one that may be killed */
#endif
byte next[WRITERS];
#define TOOK(b)                                   \
	assert(b / 8 < WRITERS && b % 8 == next[b / 8]); \
	next[b / 8]++;                            \
	got++
#ifndef CAP
#define CAP 1 /* full with one byte, so that few bytes come to all states */
#endif
#define NO_STORE_BUFFER
#include "steps.pml"

byte rx_lock = 0, rx_asleep = 0, tx_lock = 0, tx_in_kernel = 0; /* a lock holds its holder's number + 1 */
bit rx_op = 0; /* rx_kernel_op: a kernel read under the lock is not booked yet */
bit lost = 0;  /* roff doesn't hold any more: nobody offers */
bit reader_dead = 0, writer_dead = 0;
byte open = WRITERS;
#ifndef INTERRUPTS
#define INTERRUPTS 1 /* waits in the kernel that end with nothing (a signal, a time-out) */
#endif
byte interrupts = INTERRUPTS;

/*
 * Taking a lock commutes with what others do before it, giving it back with what they do after it (Lipton), so each goes in one step
 * with its neighbour, and of the steps of a section under the lock those that only the holders of that lock can see go together. Where a
 * holder may be killed a section is cut where its successor can tell.
 */
#ifdef KILL_READER
#define READER_STEP
#else
#define READER_STEP atomic
#endif
#ifdef KILL_WRITER
#define WRITER_STEP
#else
#define WRITER_STEP atomic
#endif

#ifdef KILL_READER
#define READER_DIES unless { atomic { me == READERS - 1 && kill_reader -> kill_reader = 0; reader_dead = 1 } }
bit kill_reader = 0;

active proctype KillerOfReader()
{
	if
	:: kill_reader = 1
	:: skip
	fi
}
#else
#define READER_DIES
#endif
#ifdef KILL_WRITER
#define WRITER_DIES unless { atomic { me == WRITERS - 1 && kill_writer -> kill_writer = 0; writer_dead = 1 } }
bit kill_writer = 0;

active proctype KillerOfWriter()
{
	if
	:: kill_writer = 1
	:: skip
	fi
}
#else
#define WRITER_DIES
#endif

/* A writer that finds its predecessor dead: an unbooked kernel call means that nobody knows what the kernel has. */
inline lock_tx()
{
	if
	:: atomic { tx_lock == 0 -> tx_lock = me + 1; s = st }
	:: atomic { tx_lock == WRITERS && writer_dead -> tx_lock = me + 1 };
		NOTE(RECOVERED_TX);
		if
#ifndef M_IGNORE_OP
		:: tx_op -> reset = 1
#endif
		:: else ->
			if
			:: STATE(st) == LIVE || STATE(st) == ASLEEP -> woff = widx
			:: else
			fi
		fi;
		s = st
	fi
}

proctype Writer(byte me)
{
	byte j, s, n = (me == WRITERS - 1 -> T - T_LAST : 0);
	bit won, idle = 0;

	{
	do
	:: n < T && !reset ->
		lock_tx();
look:
		if
		:: reset
		:: !reset && (STATE(s) == TAKEN || STATE(s) == SEALED || STATE(s) == CONSENT) ->
			if
			:: len(kernel) < KC -> /* at once, under the lock */
				WRITER_STEP { tx_op = SENDING; kernel!(me * 8 + n); woff++; tx_op = 0 }
			:: tx_in_kernel++;
				tx_lock = 0;
				kernel_send(me * 8 + n);
				lock_tx();
				atomic { woff++; tx_in_kernel-- }
			fi;
			n++;
			sent++
#ifdef M_ACCEPT_WITH_SENDERS
		:: !reset && STATE(s) == CONSENT ->
#else
		:: !reset && STATE(s) == CONSENT && tx_in_kernel == 0 ->
#endif
			accept(s, won);
			s = st;
			goto look
		:: !reset && STATE(s) == LIVE && !ROOM(credit) ->
			credit = RING_FROM;
			if
			:: ROOM(credit)
			:: else ->
				if
				:: do_seal(s, won)
				:: do_seal(s, won); n = T /* and leaves without a byte */
				:: skip           /* looks again before it gives the ring up */
				fi
			fi
		:: !reset && MAY_PUT(s) && ROOM(credit) ->
			publish(me * 8 + n);
			s = st;
			if
			:: STATE(s) == ASLEEP -> take_back(s, won, j)
			:: else
			fi;
			n++;
			sent++
		:: !reset && STATE(s) == ASLEEP ->
			take_back(s, won, j)
		fi;
		atomic { tx_lock = 0; s = 0; won = 0; j = 0 }
	:: n == T || reset -> break
	:: n < T -> n = T; break
	od;
	if
	:: idle = 1
	:: skip
	fi;
	if
	:: !idle || reset
	:: idle && timeout -> assert(reset || got >= sent)
	fi
	} WRITER_DIES;
	atomic { open--; fin = (open == 0) }
}

/* A reader that finds its predecessor dead, with a kernel read not booked. */
inline lock_rx()
{
	if
	:: atomic { rx_lock == 0 -> rx_lock = me + 1; s = st }
#ifdef KILL_READER
	:: atomic { rx_lock == READERS && reader_dead -> rx_lock = me + 1 };
		NOTE(RECOVERED_RX);
		if
#ifndef M_IGNORE_RX_OP
		:: rx_op && STATE(st) == TAKEN -> lost = 1
		:: rx_op && STATE(st) != TAKEN -> reset = 1
#endif
		:: else
		fi;
		rx_op = 0;
		s = st
#endif
	fi
}

#ifdef M_OFFER_WITH_SLEEPERS
#define MAY_OFFER (!lost)
#else
#define MAY_OFFER (!lost && rx_asleep == 0)
#endif
#ifdef M_WAKE_WITH_SLEEPERS
#define MAY_WAKE true
#else
#define MAY_WAKE (rx_asleep == 0 || sawfin) /* the end wakes all of them */
#endif

/* A byte that is read leaves nothing behind: what is read twice isn't what was expected. */
inline read_ring()
{
	b = ring[roff % CAP];
	atomic { TOOK(b); ring[roff % CAP] = NOTHING; roff++; b = 0 }
}

proctype Reader(byte me)
{
	byte b, s, n;
	bit sawfin = 0, won, whole;

	{
	skip;
call:
	lock_rx();
look:
	if
	:: reset -> goto ended
	:: !reset && STATE(s) == CONSENT -> /* withdraw */
		atomic { step(s, TAKEN, won); s = st };
		goto look
	:: !reset && STATE(s) == TAKEN ->
		READER_STEP { rx_op = 1; kernel_read(2, n, b); roff = (n < END -> roff + n : roff); rx_op = 0 };
		if
		:: n == END ->
			if
#ifdef M_REST_BY_INDEX_ALONE
			:: roff < widx && roff >= up -> read_ring(); goto done
			:: else -> goto ended
#else
			:: tx_op != TAKING_BACK || roff >= widx && rx_asleep == 0 && !lost -> goto ended
			:: tx_op == TAKING_BACK && roff < widx && rx_asleep == 0 && !lost -> /* the writer was killed while it took back */
				read_ring();
				NOTE(REST);
				goto done
			:: tx_op == TAKING_BACK && rx_asleep > 0 && !lost -> goto done /* the others come out soon, or ... */
			:: tx_op == TAKING_BACK && (rx_asleep > 0 || lost) -> reset = 1; goto ended
#endif
			fi
		:: n < END && MAY_OFFER -> step(s, CONSENT, won); goto done
		:: n > 0 && n < END -> goto done
#ifdef M_PLAIN_WAIT_WHILE_TAKING
		:: n == 0 -> goto sleep
#else
		:: n == 0 && !(tx_op == TAKING_BACK && roff < widx) -> goto sleep
		:: n == 0 && tx_op == TAKING_BACK && roff < widx -> /* bytes of others may hang on this writer's life: wait in short turns */
			if
			:: writer_dead && tx_lock == WRITERS -> reset = 1; goto ended
			:: else -> goto done
			fi
#endif
		fi
	:: !reset && (STATE(s) == LIVE || STATE(s) == SEALED) && roff < up ->
		READER_STEP { rx_op = 1; kernel_read(up - roff, n, b); assert(n < END); roff = roff + n; rx_op = 0 };
		if
		:: n > 0 -> goto done
		:: n == 0 && STATE(s) == LIVE && !RING_UNREAD -> goto fall_asleep
		:: n == 0 && (STATE(s) == SEALED || RING_UNREAD) ->
#ifdef M_PLAIN_WAIT_BEFORE_UP
			goto sleep
#else
			goto done /* they are on their way: look again in short turns */
#endif
		fi
	:: !reset && (STATE(s) == LIVE && roff >= up && widx > roff || STATE(s) == SEALED && roff >= up && !DRAINED) ->
		read_ring();
		NOTE(MOVED);
		goto done
	:: !reset && STATE(s) == SEALED && roff >= up && DRAINED ->
		atomic { step(s, TAKEN, won); s = st };
		goto look
	:: !reset && STATE(s) == LIVE && roff >= up && widx <= roff && sawfin -> goto ended
	:: !reset && STATE(s) == LIVE && roff >= up && widx <= roff && !sawfin ->
fall_asleep:
#ifdef M_COUNT_BEFORE_LOOK
		rx_asleep++;
#endif
		step(s, ASLEEP, won);
		if
		:: !won
		:: won && !RING_UNREAD ->
#ifdef M_COUNT_BEFORE_LOOK
			rx_asleep--; /* sleep counts it again: one step in the code */
#endif
			goto sleep
		:: won && RING_UNREAD -> /* the second look */
			atomic {
				s = st;
				if
				:: STATE(s) == ASLEEP -> step(s, LIVE, won)
				:: else
				fi
			}
		fi;
#ifdef M_COUNT_BEFORE_LOOK
		rx_asleep--;
#endif
		goto done
	:: !reset && STATE(s) == ASLEEP && MAY_WAKE -> /* who put it to sleep was killed before it was counted */
		atomic { step(s, LIVE, won); s = st };
		goto look
#ifdef M_READ_RING_ASLEEP
	:: !reset && STATE(s) == ASLEEP && !MAY_WAKE && widx > roff && roff >= up -> read_ring(); goto done
#endif
	:: !reset && STATE(s) == ASLEEP && !MAY_WAKE -> goto sleep
	fi;

	/* With the lock: wait in the kernel without it. Before `up` a poll, then a read under the lock; otherwise the program's own call. */
sleep:
	atomic {
		whole = (STATE(s) == TAKEN || roff >= up);
		if
		:: rx_asleep > 0 -> NOTE(CROWD)
		:: else
		fi;
		rx_asleep++;
		s = 0
	};
	rx_lock = 0;
	if
	:: READABLE
	:: atomic { interrupts > 0 -> interrupts-- }
	fi;
	atomic {
		if
		:: whole -> kernel_read(2, n, b)
		:: else -> n = (FIN -> END : 0)
		fi;
		if
		:: n == END -> n = 0; sawfin = 1
		:: else
		fi;
		whole = 0
	};
	lock_rx();
	atomic {
		roff = roff + n;
		rx_asleep--;
		s = st; /* wake */
		if
		:: STATE(s) == ASLEEP && MAY_WAKE -> step(s, LIVE, won)
		:: else
		fi
	};

done:
	atomic { rx_lock = 0; s = 0; n = 0; won = 0 };
	if
	:: goto call
	:: me > 0 -> goto away /* doesn't read any more */
	fi;

ended:
	rx_lock = 0;
	assert(reset || got >= sent);
	assert(!reset || reader_dead || writer_dead);
	assert(reset || writer_dead || got == sent)
	} READER_DIES;
away:
	skip
}

init
{
	atomic {
		next[WRITERS - 1] = T - T_LAST;
		run Writer(0);
#if WRITERS > 1
		run Writer(1);
#endif
		run Reader(0);
#if READERS > 1
		run Reader(1)
#endif
	}
}
