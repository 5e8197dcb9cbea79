/*
 * One direction of a stream between two nodes whose window isn't coherent, and whose readers may sleep on a bell (kmod/bell.c). A window
 * that is coherent is the same with a fence for each flush: then what is on its way is in the processor's store buffer.
 *
 * What is modelled:
 * - Stores to the other node are posted: they land there in order, each at any time, and surely by a flush (a read back). Loads are of one's
 *   own node alone. Data, widx, epoch, up and from lie with the reader; roff, offer and flag with the writer.
 * - No compare-and-swap reaches across, so each word is stored by one side alone. The writer alone switches: its epoch is odd where bytes go by
 *   ring, from `up` on, and even where they go by the kernel, from `from` on. That is the ring's end where it is full (seal), or what the
 *   reader is known to have (take back): then bytes come twice, and the reader leaves out of the kernel's what it had by ring. The reader's
 *   words only say what it would like: `offer` names the epoch that may be followed by the ring, `flag` the sleep in which it is and how
 *   it wants to be called.
 * - A sleeper on a bell is called by a ring and finds the bytes in the ring; one in its program's own wait by the kernel's socket: take back.
 *   A ring is an interrupt of the reader's node, where the module raises the bell's count and wakes who is queued.
 *
 * SPURIOUS: so many rings of others. LOSES: rings to a peer that is absent are lost without a word. KILL: the writer's process dies at any step,
 * and its kernel closes the socket. NODE_DIES: its node does: what it stored is lost on the way, and the kernel connection fails some
 * time. READER_DIES: the reader's node. PULLS: a read back returns after all that had left the other's processor (PCI), so that the writer fences
 * and doesn't flush.
 */
#ifndef T
#define T 3 /* bytes at most */
#endif
#ifndef CAP
#define CAP 2
#endif
#ifndef KC
#define KC T /* bytes of the kernel's buffers */
#endif
#ifndef INTERRUPTS
#define INTERRUPTS 1 /* waits that end with nothing (a signal, a time-out of the program's) */
#endif
#ifndef SPURIOUS
#define SPURIOUS 0
#endif
#ifdef REACH
#define NOTE(place) assert((place) != REACH)
#else
#define NOTE(place) skip
#endif
#define RANG 1	     /* a sleeper on a bell was called by its ring */
#define TAKEN_BACK 2 /* and one in the kernel by the bytes */
#define SKIPPED 3    /* a byte that came twice was left out */
#define SEALED 4
#define AHEAD 5	     /* accepted with bytes unread in the kernel */
#define REST 6	     /* the rest of a killed writer's take back came from the ring */
#define NOTHING_THERE 7 /* a ring for nothing: slept again */
#define FAILED 8     /* the dead node was noticed asleep */

/* Words in the reader's memory. */
#define BYTE 0
#define WIDX 1
#define UP 2
#define FROM 3
#define EPOCH 4
#define BYTE_AND_INDEX 5 /* two stores, as one where it makes no difference */
byte ring[CAP], widx, up, from, epoch = 1;
/* Words in the writer's memory. */
#define ROFF 0
#define OFFER 1
#define FLAG 2
byte roff, offer, flag;
#define ON_BELL(flag) ((flag) & 1)
#define BY_RING(epoch) ((epoch) & 1)

/* Stores on their way. */
#define READ_BACK (len(to_reader) == 0)
chan to_reader = [4] of { byte, byte };
chan to_writer = [3] of { byte, byte };

inline land_at_reader(what, value)
{
	to_reader?what, value;
	if
	:: what == BYTE -> ring[(value - 1) % CAP] = value
	:: what == BYTE_AND_INDEX -> ring[(value - 1) % CAP] = value; widx = value
	:: what == WIDX -> widx = value
	:: what == UP -> up = value
	:: what == FROM -> from = value
	:: what == EPOCH -> epoch = value
	fi
}

inline land_at_writer(what, value)
{
	to_writer?what, value;
	if
	:: what == ROFF -> roff = value
	:: what == OFFER -> offer = value
	:: what == FLAG -> flag = value
	fi
}

#ifdef PULLS
byte left; /* so many of to_reader have left the processor */
#define MAY_LAND (left > 0)
#define LANDED left--
#define WRITER_FLUSHES (left == len(to_reader)) /* a fence */
#ifndef M_NO_PULL
#define PULL \
	do \
	:: left > 0 -> land_at_reader(what, value); left-- \
	:: else -> break \
	od
#else
#define PULL skip
#endif
#else
#define MAY_LAND (len(to_reader) > 0)
#define LANDED skip
#define WRITER_FLUSHES len(to_reader) == 0
#define PULL skip
#endif
#define READER_FLUSHES atomic { len(to_writer) == 0 -> PULL; what = 0; value = 0 }

active proctype Fabric()
{
	byte what, value;

end:
	do
	:: atomic { MAY_LAND -> land_at_reader(what, value); LANDED; what = 0; value = 0 }
	:: atomic { len(to_writer) > 0 -> land_at_writer(what, value); what = 0; value = 0 }
#ifdef PULLS
	:: atomic { left < len(to_reader) -> left++ }
#endif
	od
}

/* The kernel's socket, and the connection's end: closed by the other end, or failed. */
chan kernel = [KC] of { byte };
bit fin, reset;
#define FIN (fin && len(kernel) == 0)
#define READABLE (arrived > 0 || FIN || reset)

#ifdef FLIGHT
byte arrived;
#define RECEIVE(b) kernel?b; arrived--

active proctype Net()
{
end:
	do
	:: atomic { arrived < len(kernel) -> arrived++ }
	od
}
#else
#define arrived len(kernel)
#define RECEIVE(b) kernel?b
#endif

inline kernel_send(value)
{
	if
	:: kernel!(value)
	:: reset
	fi
}

/* The module of the reader's node. The device keeps one interrupt, however many it was told of. */
bit interrupt, rings, queued, woken; /* rings: the count is not what the sleeper has seen */
bit lost;

active proctype Module()
{
end:
	do
	:: atomic { interrupt -> interrupt = 0 };
#ifdef M_COUNT_AFTER_LOOK
		if
		:: queued -> woken = 1
		:: else
		fi;
		rings = 1
#else
		rings = 1;
		if
		:: queued -> woken = 1
		:: else
		fi
#endif
	od
}

#if SPURIOUS
active [SPURIOUS] proctype Other()
{
	interrupt = 1
}
#endif

/* For the assertions. */
byte sent, got, rang_for;
bit dead;
#define TOOK(b) assert(b == got + 1); got++

#if defined(KILL) || defined(NODE_DIES)
#define WRITER_DIES unless { atomic { kill_writer -> kill_writer = 0; dead = 1 } }
bit kill_writer;

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

inline call(s)
{
	atomic {
		assert(s != rang_for); /* once a sleep */
		rang_for = s;
#ifdef LOSES
		if
		:: interrupt = 1
		:: lost = 1
		fi
#else
		interrupt = 1
#endif
	}
}

/* From now on by the kernel, whose bytes may be faster than the window's: they wait for the word. */
inline leave_ring(offset)
{
	atomic {
		e++;
#ifdef M_WORD_BEFORE_OFFSET
		to_reader!EPOCH, e;
		to_reader!FROM, offset
#else
		to_reader!FROM, offset;
		to_reader!EPOCH, e
#endif
	};
#ifndef M_SOCKET_BEFORE_FLUSH
	READ_BACK
#endif
}

#ifdef M_SEND_BACK_FROM_ROFF
#define KNOWN roff
#else
#define KNOWN (roff > began -> roff : began)
#endif

/* The writer looks at the flag. Quiet: the reader is awake. The ring's generation is the flag itself. */
inline look()
{
	s = flag;
	if
	:: s == 0 ->
#ifdef M_NO_GENERATION
		rung = 0
#else
		skip
#endif
	:: s != 0 && ON_BELL(s) ->
		if
#ifdef M_RING_EACH_TIME
		:: true -> call(s)
#elif defined(M_NO_GENERATION)
		:: rung == 0 -> call(s); rung = 1
		:: else
#else
		:: rung != s -> call(s); rung = s
		:: else
#endif
		fi
	:: s != 0 && !ON_BELL(s) ->
		j = KNOWN;
		leave_ring(j);
		do
		:: j < woff ->
			assert(j >= began && woff - j <= CAP); /* the ring has it still */
			kernel_send(j + 1);
			j++;
			NOTE(TAKEN_BACK)
		:: else -> break
		od;
		j = 0
	fi;
	s = 0
}

#ifdef M_STALE_OFFER
#define OFFERED (offer != 0)
#else
#define OFFERED (offer == e)
#endif

active proctype Writer()
{
	byte e = 1, woff, began, rung, s, j;
	bit idle;

	{
	do
	:: woff < T ->
again:
		if
		:: !BY_RING(e) -> /* an offer need not be taken */
			atomic { kernel_send(woff + 1); woff++ }
		:: !BY_RING(e) && OFFERED ->
			atomic {
				began = woff;
				to_reader!UP, woff;
				e++;
				to_reader!EPOCH, e;
				if
				:: len(kernel) > 0 -> NOTE(AHEAD)
				:: else
				fi
			};
			goto again
#ifndef M_WAIT_FOR_ROOM
		:: BY_RING(e) && woff - KNOWN >= CAP ->
			leave_ring(woff);
			NOTE(SEALED);
			goto again
#endif
		:: BY_RING(e) && woff - KNOWN < CAP ->
#ifdef M_LOOK_BEFORE_PUBLISH
			look();
#endif
#ifdef M_INDEX_BEFORE_BYTES
			atomic { to_reader!WIDX, woff + 1; to_reader!BYTE, woff + 1; woff++ };
#elif defined(APART)
			atomic { to_reader!BYTE, woff + 1; to_reader!WIDX, woff + 1; woff++ };
#else
			atomic { to_reader!BYTE_AND_INDEX, woff + 1; woff++ };
#endif
#ifdef M_RING_BEFORE_FLUSH
			look();
			WRITER_FLUSHES
#elif defined(M_LOOK_BEFORE_PUBLISH)
			WRITER_FLUSHES
#elif defined(M_NO_WRITER_FLUSH)
			look()
#else
			WRITER_FLUSHES;
			look()
#endif
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
	:: idle && timeout -> assert(reset || got == sent) /* a writer that stays idle leaves nothing unseen */
	fi
	} WRITER_DIES;
#ifdef NODE_DIES
	atomic {
		do
		:: to_reader?s, j
		:: len(to_reader) == 0 -> break
		od
	};
	reset = 1
#else
	fin = 1
#endif
}

/* While the kernel is used, with an offer, it is the switch that would be missed: what the ring has is there from before. */
#define SECOND_LOOK (BY_RING(s) || k < up -> widx > (r > up -> r : up) : epoch != s)

/* Flag, flush, the second look, the wait, awake. */
inline sleep()
{
	atomic { g++; to_writer!FLAG, 2 * g + on_bell };
#ifndef M_NO_READER_FLUSH
	READER_FLUSHES;
#endif
	if
#ifndef M_NO_SECOND_LOOK
	:: SECOND_LOOK -> skip
#endif
	:: else ->
		if
		:: on_bell ->
#ifdef M_COUNT_READ_LATE
			rings = 0;
#endif
			queued = 1;
			do
			:: rings -> NOTE(RANG); break
			:: !rings ->
				if
				:: woken -> woken = 0
#ifndef M_BELL_ALONE
				:: READABLE -> break
#endif
				:: atomic { interrupts > 0 -> interrupts-- }; break
#if defined(LOSES) && !defined(M_NO_TIME_LIMIT)
				:: atomic { lost -> lost = 0 }; break /* its own time is over */
#endif
				fi
			od;
			atomic {
				queued = 0;
				woken = 0;
				if
				:: rings && widx <= r && !READABLE -> NOTE(NOTHING_THERE)
				:: else
				fi;
				rings = 0
			};
#ifdef M_TRUST_THE_RING
			b = ring[r % CAP];
			TOOK(b);
			r++;
#endif
			if
			:: reset -> NOTE(FAILED)
			:: else
			fi
		:: !on_bell ->
			if
			:: READABLE
			:: atomic { interrupts > 0 -> interrupts-- }
			fi
		fi
	fi;
	to_writer!FLAG, 0
}

inline sleep_somewhere()
{
#ifdef ONE_WAY /* all sleeps are alike */
	on_bell = ONE_WAY;
#else
	if
	:: on_bell = 1
	:: on_bell = 0
	fi;
#endif
	sleep();
	on_bell = 0
}

inline read_ring()
{
	atomic { b = ring[r % CAP]; TOOK(b); b = 0; r++; to_writer!ROFF, r }
}

/* The byte at k. */
inline read_kernel()
{
	atomic {
		RECEIVE(b);
#ifdef M_NO_SKIP
		TOOK(b);
		r++;
#else
		if
		:: k < r -> assert(b == k + 1); NOTE(SKIPPED)
		:: else -> TOOK(b); r++
		fi;
#endif
		b = 0;
		k++
	}
}

/* The end was seen: what was stored before it may still be on its way. */
inline look_at_end()
{
#ifndef M_NO_FLUSH_AT_END
	READER_FLUSHES;
#endif
	saw_end = 1
}

#ifdef READER_DIES
#define ITS_NODE_DIES unless { atomic { kill_reader -> kill_reader = 0 }; reset = 1 }
bit kill_reader;

active proctype Killer_of_reader()
{
	if
	:: kill_reader = 1
	:: skip
	fi
}
#else
#define ITS_NODE_DIES
#endif

active proctype Reader()
{
	byte s, k, r, b, g, base, offered, what, value, interrupts = INTERRUPTS;
	bit on_bell, saw_end, there;

	{
	do
	:: reset -> break
	:: !reset ->
#ifndef M_READ_WITHOUT_LOOK
		there = arrived > 0;
#endif
		s = epoch;
#ifdef M_READ_WITHOUT_LOOK
		there = arrived > 0;
#endif
		if
		:: k < up -> /* what the kernel had before the ring began */
			if
			:: arrived > 0 -> read_kernel()
			:: arrived == 0 && widx > up -> READABLE
			:: arrived == 0 && widx <= up -> sleep_somewhere()
			:: READABLE
			fi
		:: k >= up && BY_RING(s) && widx > r -> read_ring()
		:: k >= up && BY_RING(s) && widx <= r ->
			if
			:: saw_end -> break
#if defined(M_SOCKET_BEFORE_FLUSH) || defined(M_READ_WITHOUT_LOOK)
			:: there -> epoch != s || reset
#else
			:: there -> assert(false) /* what is sent after the ring is told of before */
#endif
			:: !saw_end && FIN -> look_at_end()
			:: !saw_end && !READABLE -> sleep_somewhere()
			:: !saw_end && !FIN -> widx > r || epoch != s || READABLE /* looks */
			fi
		:: k >= up && !BY_RING(s) && s != base ->
			if
			:: r < from -> read_ring()
			:: else -> k = from; base = s
			fi
		:: k >= up && s == base ->
			if
			:: there -> read_kernel() /* sent before any switch: they were there before the look at the epoch */
			:: !there && FIN && !saw_end -> look_at_end()
#ifdef M_NO_REST
			:: !there && FIN && saw_end -> break
#else
			:: !there && FIN && saw_end && widx > r -> NOTE(REST); read_ring() /* killed while it took back */
			:: !there && FIN && saw_end && widx <= r -> break
#endif
			:: !there && offered != s -> atomic { to_writer!OFFER, s; offered = s }
			:: !there && !FIN && offered == s -> sleep_somewhere()
			:: !there && !FIN && offered == s -> epoch != s || READABLE /* looks */
			:: !there && !FIN && offered != s -> READABLE
			fi
		fi
	od
	} ITS_NODE_DIES;
	assert(reset || got >= sent);
	assert(reset || dead || got == sent)
}
