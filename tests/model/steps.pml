/*
 * What the models share: the words of one direction (transport/shm/slot.h), the kernel's socket, and the steps of the
 * switch by the names they have in sockets/switch.c. Bytes are counted by offset: byte b stands at offset b - 1, unless a
 * model says otherwise by defining TOOK.
 *
 * The writer's plain store of widx passes through a store buffer of one entry (x86); compare-and-swap, fences and system
 * calls drain it. All other stores are at once: the reader's store of roff may be late on the machine too, but is read
 * only after a compare-and-swap of the reader (take_back) or as credit, where late means small.
 */
/* A run with REACH shows that the models come to the places that matter: it must fail there. */
#define MOVED 1     /* a byte came by ring */
#define DRAINED_ALL 2
#define AHEAD 3     /* accepted with bytes unread in the kernel */
#define RESENT 4    /* a byte was taken back */
#define REST 5      /* the rest of a killed writer's take back came from the ring */
#define CROWD 6     /* two wait in the kernel */
#define RECOVERED_TX 7
#define RECOVERED_RX 8
#define ALL_GONE 9  /* both ends left the ring */
#define TOO_LATE 10 /* the reader left with bytes that nobody can send again */
#define RANG 11     /* the bell of a set */
#define BOOKED 12   /* a byte was read through the kernel while the ring was offered */
#define RANG_FOR 13 /* a ring called the reader */
#define FULL_ON_BELL 14 /* taken back because the ring was full before the reader came */
#define TOOK_OFFER   15 /* the reader slept on it */
#define LEFT_TOLD    16 /* sealed while the reader slept */
#define NOT_SENT     17 /* put into the ring, and taken out again: the kernel had no room for it */
#define TOLD_BY_RING 18
#define REST_STAYS   19 /* in the ring, as the kernel had no room for all that was taken back */
#ifdef REACH
#define NOTE(place) assert((place) != REACH)
#else
#define NOTE(place) skip
#endif

#ifndef CAP
#define CAP 2 /* bytes of the ring */
#endif
#ifndef KC
#define KC 2 /* bytes of the kernel's buffers */
#endif

#define TAKEN 0
#define CONSENT 1
#define LIVE 2
#define ASLEEP 3
#define SEALED 4
/* Behind bytes that were told and are unread a writer may put more before it takes them back, so that they arrive as one. */
#define MAY_PUT(word) (STATE(word) == LIVE || STATE(word) == ASLEEP && widx != roff && widx != up)
#define NOTHING 255
#define LEFT 8    /* CW_MARK_LEFT */
#define RESEND 16 /* CW_MARK_RESEND */
#define SHUT 32   /* CW_MARK_WRITER_SHUT */
#define OTHER 64  /* any mark that somebody else sets at any time */
#define STATE(word) ((word) & 7)
#define MARKS(word) ((word) & 248)

byte st = TAKEN, up = 0, widx = 0, roff = 0, seal = 0, woff = 0, credit = 0;
byte ring[CAP];
byte tx_op = 0; /* tx_kernel_op: what the holder of the tx lock does with the kernel */
#define SENDING 1
#define TAKING_BACK 2

/* The kernel's socket: bytes sent, of which the first `arrived` can be read; fin is the last of all. */
chan kernel = [KC] of { byte };
bit fin = 0;
#define FIN (fin && len(kernel) == 0)
#define READABLE (arrived > 0 || FIN)

#ifdef NO_FLIGHT
#define arrived len(kernel)
#define RECEIVE(b) kernel?b
#else
byte arrived = 0;
#define RECEIVE(b) kernel?b; arrived--

active proctype Net()
{
end:
	do
	:: atomic { arrived < len(kernel) -> arrived++ }
	od
}
#endif

/* The writer's store buffer. */
#ifdef NO_STORE_BUFFER /* where many processes leave no room for it; the fences are the base model's to check */
#define FENCE true
#define PUBLISH(index) widx = index
#else
bit buffered = 0;
byte buffer;
#define FENCE (!buffered)
#define PUBLISH(index) atomic { !buffered -> buffered = 1; buffer = index }

active proctype Drain()
{
end:
	do
	:: atomic { buffered -> widx = buffer; buffered = 0 }
	od
}
#endif

/* A send that blocks while the kernel's buffers are full, and fails when the stream is reset. */
bit reset = 0;
inline kernel_send(value)
{
	if
	:: kernel!(value)
	:: reset
	fi
}

/* For the assertions: bytes whose send has returned, bytes received; what a run has seen. */
byte sent = 0, got = 0;
#ifndef TOOK
#define TOOK(b) assert(b == got + 1); got++
#endif

/* cw_state_step: from the word that was seen to another state; the marks stay. STEPPED: what a model has for the generation. */
#ifndef STEPPED
#define STEPPED skip
#endif
inline step(seen, to, won)
{
	atomic {
		if
		:: st == seen -> st = MARKS(seen) | to; won = 1; STEPPED
		:: else -> won = 0
		fi
	}
}

/* cw_state_mark */
inline mark(marks)
{
	st = st | (marks)
}

/* Writer: CONSENT -> LIVE. SAME_OFFER: of the same generation, where a model has one; without, an offer made again is as good. */
#ifndef SAME_OFFER
#define SAME_OFFER true
#endif
inline accept(seen, won)
{
	FENCE;
	up = woff;
	credit = woff;
	widx = woff;
	atomic {
		won = 0;
		if
		:: SAME_OFFER -> step(seen, LIVE, won)
		:: else
		fi
	}
}

/* Something is unread in the ring, wherever the reader is. Nobody sleeps then. */
#define RING_UNREAD (widx > (roff > up -> roff : up))

#ifdef M_SEND_BACK_FROM_ROFF
#define RING_FROM roff
#else
#define RING_FROM (roff > up -> roff : up)
#endif

#ifdef M_NO_RETRY
#define RETRY break /* lost: the reader must be awake */
#else
#define RETRY s = st
#endif

/* Writer: ASLEEP -> TAKEN, the doorbell. What is unread in the ring goes through the kernel, whose bytes wake the reader. tx_op
 * is set before the step: whoever comes after a writer that was killed in between must see it. A step that fails because of a mark is tried
 * again: only a word that isn't ASLEEP tells that the reader is awake. */
inline take_back(s, won, j)
{
	do
	:: STATE(s) != ASLEEP -> break
	:: else ->
		FENCE;
#ifndef M_OP_AFTER_STEP
		tx_op = TAKING_BACK;
#endif
		step(s, TAKEN, won);
		if
		:: won ->
#ifdef M_OP_AFTER_STEP
			tx_op = TAKING_BACK;
#endif
#ifdef M_TAKE_BACK_FROM_CREDIT
			j = credit;
#else
			j = RING_FROM;
#endif
			do
			:: j < woff -> kernel_send(ring[j % CAP]); j++; NOTE(RESENT)
			:: else -> break
			od;
			tx_op = 0;
			break
		:: else ->
			tx_op = 0;
			RETRY
		fi
	od;
	j = 0
}

/* Reader: ASLEEP -> LIVE, or it was taken back. */
inline wake(s, won)
{
	do
	:: s = st;
		if
		:: STATE(s) == ASLEEP ->
			step(s, LIVE, won);
			if
			:: won -> break
			:: else -> skip
			fi
		:: else -> break
		fi
	od
}

/* Writer: LIVE -> SEALED. */
inline do_seal(seen, won)
{
	FENCE;
#ifdef M_SEAL_AFTER_STEP
	step(seen, SEALED, won);
	if
	:: won -> seal = woff
	:: else
	fi
#else
	seal = woff;
	step(seen, SEALED, won)
#endif
}

#ifdef M_OVERRUN
#define ROOM(from) (woff - (from) <= CAP)
#else
#define ROOM(from) (woff - (from) < CAP)
#endif

/* Writer in LIVE with room: store the byte, publish, look at the state. */
inline publish(value)
{
	ring[woff % CAP] = value;
	woff++;
	PUBLISH(woff);
#ifndef M_NO_WRITER_FENCE
	FENCE
#endif
}

/* Reader: a kernel read that doesn't wait, of at most limit bytes. n: how many there were, 0 if it would wait, END at the end of file.
 * The caller books them in roff. */
#define END 9
inline kernel_read(limit, n, b)
{
	atomic {
		n = (FIN -> END : 0);
		do
		:: n < limit && arrived > 0 -> RECEIVE(b); TOOK(b); n++
		:: n > 0 || limit == 0 || arrived == 0 -> break
		od;
		b = 0
	}
}

#ifdef M_DRAINED_EARLY
#define DRAINED (roff + 1 >= seal)
#else
#define DRAINED (roff >= seal)
#endif
