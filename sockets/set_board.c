/*
 * The boards that an event set watches (sync/board.h). A set with few hot streams looks at each; one with many joins them to boards, and
 * looks at those that are marked, or were told and may have more. What is on the look list is looked at; a stream leaves it when it has
 * nothing, and only if it is on a board, which brings it back. A mark that somebody has cleared is made good by looking at all now and
 * then.
 */
#include <string.h>

#include "ready.h"
#include "set_item.h"
#include "sync/board.h"
#include "sync/cpu.h"

#define MAX_VIEWS      2048
#define LOOK_AT_ALL_US 5000

/* One word of a board, as one set sees it. */
struct cw_board_view {
	struct cw_board_view *next;
	_Atomic uint64_t *word;
	uint64_t mask; /* this set's bits */
	struct cw_item *item[64];
};

static struct cw_board_view views[MAX_VIEWS] CW_TABLE;
static struct cw_board_view *free_views;
static uint32_t used;
static struct cw_lock lock;

static struct cw_board_view *new_view(struct cw_set *set, _Atomic uint64_t *word)
{
	struct cw_board_view *view = NULL;
	bool locked = cw_lock_own(&lock, cw_thread_id(), NULL) != CW_LOCK_NESTED;

	if (locked && free_views) {
		view = free_views;
		free_views = view->next;
	} else if (locked && used < MAX_VIEWS) {
		view = &views[used++];
	}
	if (locked)
		cw_unlock(&lock);
	if (!view)
		return NULL;
	memset(view, 0, sizeof(*view));
	view->word = word;
	view->next = set->views;
	set->views = view;
	return view;
}

static void free_view(struct cw_set *set, struct cw_board_view *view)
{
	struct cw_board_view **place = &set->views;

	while (*place && *place != view)
		place = &(*place)->next;
	if (*place)
		*place = view->next;
	if (cw_lock_own(&lock, cw_thread_id(), NULL) == CW_LOCK_NESTED)
		return; /* one less */
	view->next = free_views;
	free_views = view;
	cw_unlock(&lock);
}

static struct cw_board_view *view_of(struct cw_set *set, _Atomic uint64_t *word)
{
	struct cw_board_view *view = set->views;

	while (view && view->word != word)
		view = view->next;
	return view ? view : new_view(set, word);
}

void cw_item_watch(struct cw_item *item)
{
	struct cw_stream *stream = item->stream;
	struct cw_board_view *view;

	/* Of a stream's registrations one may watch: two would take each other's marks. */
	if (item->view || !stream->slot || !cw_set_alone(stream))
		return;
	view = view_of(item->set, stream->rx_board);
	if (!view)
		return;
	view->item[__builtin_ctzll(stream->board_bit)] = item;
	view->mask |= stream->board_bit;
	item->view = view;
	atomic_store_explicit(&stream->rx->rx_board, 1, memory_order_seq_cst);
	/* Asked for marks before it is looked at (it is on the look list): what was published without one is seen there. */
	atomic_thread_fence(memory_order_seq_cst);
	cw_item_look(item);
}

void cw_item_unwatch(struct cw_item *item)
{
	struct cw_stream *stream = item->stream;
	struct cw_board_view *view = item->view;

	if (!view)
		return;
	/* A child has the words in common with its parent, who goes on watching. */
	if (!item->set->shared)
		atomic_store_explicit(&stream->rx->rx_board, 0, memory_order_relaxed);
	view->item[__builtin_ctzll(stream->board_bit)] = NULL;
	view->mask &= ~stream->board_bit;
	item->view = NULL;
	if (!view->mask)
		free_view(item->set, view);
	if (item->hot)
		cw_item_look(item);
}

void cw_board_after_fork(void)
{
	cw_lock_after_fork(&lock);
}

void cw_item_look(struct cw_item *item)
{
	struct cw_set *set = item->set;

	if (item->looked)
		return;
	item->look_next = set->look;
	if (set->look)
		set->look->look_before = &item->look_next;
	set->look = item;
	item->look_before = &set->look;
	item->looked = true;
}

void cw_item_unlook(struct cw_item *item)
{
	if (!item->looked)
		return;
	*item->look_before = item->look_next;
	if (item->look_next)
		item->look_next->look_before = item->look_before;
	item->looked = false;
}

/* A set that never sleeps would keep what was hot once, and look at its board for ever. */
static void look_at_all(struct cw_set *set)
{
	struct cw_item *item, *next;

	for (item = set->hot; item; item = next) {
		next = item->hot_next;
		cw_item_look(item);
		cw_item_doze(item);
	}
}

void cw_set_sweep(struct cw_set *set)
{
	uint64_t now;

	if (cw_likely(!set->views))
		return;
	now = cw_ticks();
	if (now - set->swept > LOOK_AT_ALL_US * cw_ticks_per_us()) {
		set->swept = now;
		look_at_all(set);
	}
	for (struct cw_board_view *view = set->views; view; view = view->next)
		for (uint64_t bits = cw_board_take(view->word, view->mask); bits; bits &= bits - 1)
			cw_item_look(view->item[__builtin_ctzll(bits)]);
}
