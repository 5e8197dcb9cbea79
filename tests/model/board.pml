/*
 * The board (sync/board.h, sockets/set_board.c, send.c): a set with many rings watches their bits. Two writers publish, and mark if the reader
 * asked for marks; the reader begins to watch at any time, takes the bits, looks at the rings that are on its list, and leaves out those
 * that have nothing. It is stuck, an invalid end, if a ring has bytes that nothing will make it look at.
 *
 * Memory is sequentially consistent here: the code's steps on both sides are, by name (M, N).
 */
#ifndef T
#define T 3 /* messages a writer */
#endif
#define RINGS 2
#ifdef REACH
#define NOTE(place) assert((place) != REACH)
#else
#define NOTE(place)
#endif
#define MARKED 1 /* a ring came back to the list by its mark */
#define SPARED 2 /* a mark was there already */
#define WATCHED_LATE 3 /* bytes that came without a mark were found because the ring was looked at after the flag */

byte widx[RINGS], roff[RINGS];
bit board[RINGS];   /* the ring's bit */
bit flag[RINGS];    /* rx_board */
bit looked[RINGS];  /* on the reader's list */
bit unmarked[RINGS];

proctype Writer(byte i)
{
	byte n;
	bit seen;

	do
	:: n < T ->
#ifdef M_MARK_FIRST
		if
		:: flag[i] -> board[i] = 1
		:: else
		fi;
		widx[i] = widx[i] + 1;
#else
		widx[i] = widx[i] + 1;
		if
		:: flag[i] ->
			seen = board[i];
			if
			:: seen -> NOTE(SPARED)
			:: else -> board[i] = 1
			fi
		:: else -> unmarked[i] = 1
		fi;
#endif
		n = n + 1
	:: else -> break
	od
}

inline look(i)
{
#ifdef M_TAKE_AFTER_LOOK
	if
	:: looked[i] || board[i] ->
		w = widx[i];
		board[i] = 0;
#else
	if
	:: board[i] -> board[i] = 0; looked[i] = 1; NOTE(MARKED)
	:: else
	fi;
	if
	:: looked[i] ->
		w = widx[i];
#endif
		if
		:: w != roff[i] ->
			roff[i] = w;
			looked[i] = 1;
			if
			:: unmarked[i] && flag[i] -> NOTE(WATCHED_LATE)
			:: else
			fi
		:: w == roff[i] && flag[i] -> looked[i] = 0
		:: else
		fi
	:: else
	fi
}

#define ALL_READ (roff[0] == T && roff[1] == T)

active proctype Reader()
{
	byte w;

	looked[0] = 1;
	looked[1] = 1;
	run Writer(0);
	run Writer(1);
	do
	:: ALL_READ -> break
	:: !ALL_READ && (looked[0] || board[0]) -> look(0)
	:: !ALL_READ && (looked[1] || board[1]) -> look(1)
	:: !flag[0] ->
#ifdef M_WATCH_WITHOUT_LOOK
		looked[0] = 0;
		flag[0] = 1
#else
		flag[0] = 1;
		looked[0] = 1
#endif
	:: !flag[1] ->
		flag[1] = 1;
		looked[1] = 1
	od
}
