/* A doubly linked ring whose links lie in what is linked. An entry that is on no list points at itself. */
#ifndef CW_TCPIP_LIST_H
#define CW_TCPIP_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct cw_list {
	struct cw_list *next, *previous;
};

#define cw_entry(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void cw_list_init(struct cw_list *list)
{
	list->next = list->previous = list;
}

static inline bool cw_list_empty(const struct cw_list *list)
{
	return list->next == list;
}

static inline void cw_list_remove(struct cw_list *entry)
{
	entry->next->previous = entry->previous;
	entry->previous->next = entry->next;
	cw_list_init(entry);
}

/* Behind `place`: for the head of a list, at its beginning. */
static inline void cw_list_add_after(struct cw_list *place, struct cw_list *entry)
{
	entry->next = place->next;
	entry->previous = place;
	place->next->previous = entry;
	place->next = entry;
}

static inline void cw_list_add_last(struct cw_list *list, struct cw_list *entry)
{
	cw_list_add_after(list->previous, entry);
}

#endif
