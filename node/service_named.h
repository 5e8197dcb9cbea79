/*
 * Windows with a name, made by an administrator.
 *
 *	service_named.c		made, granted, taken back; those of other nodes
 *	service_named_lost.c	what became of those that are no more
 *	service_named_asked.c	what `causeway windows COMMAND` asks for
 */
#ifndef CW_NODE_SERVICE_NAMED_H
#define CW_NODE_SERVICE_NAMED_H

#include <jansson.h>

#include "service_between.h"

#define CW_WINDOWS_NAMED 64 /* the most of one node */

struct cw_window_grant {
	uint64_t node;
	bool writable;
};

struct cw_named {
	char name[CW_WINDOW_NAME];
	struct cw_node *owner; /* NULL: this node */
	uint64_t size, generation;
	unsigned char *base;
	int fd;
	uint64_t at;     /* in the device's window; 0: a memory file */
	uint32_t number; /* of its grant by causeway.ko there */
	bool writable;   /* of another node's */
	struct cw_window_grant grant[CW_CLUSTER_NODES];
	uint32_t grants;
	struct cw_named *next, *prev;
};
extern struct cw_named *cw_named;

bool cw_window_name_is_fine(const char name[CW_WINDOW_NAME]);
struct cw_named *cw_named_find(uint64_t owner, const char *name); /* owner 0: this node */
bool cw_named_full(void);
bool cw_named_lives(const struct cw_named *window); /* false: what is mapped was taken away, and shows zeros */
uint64_t cw_named_size(void);                       /* of all that this node has made, bytes */
int cw_named_make(const char *name, uint64_t size);
int cw_named_grant(struct cw_named *window, uint64_t node, bool writable);
struct cw_window_grant *cw_named_grant_of(struct cw_named *window, uint64_t node);
void cw_named_revoke(struct cw_named *window, uint64_t node);
void cw_named_remove(struct cw_named *window);

void cw_named_granted(struct cw_node *node, const struct cw_between *words);
void cw_named_revoked(struct cw_node *node, const struct cw_between *words);
void cw_named_node_up(struct cw_node *node);
void cw_named_node_down(struct cw_node *node);
void cw_named_device_up(struct cw_node *node);   /* it has a part of the device now */
void cw_named_device_gone(struct cw_node *node); /* it has none any more; NULL: this node has none */

/* service_named_lost.c: why a window isn't there any more; owner NULL: this node. */
void cw_named_lost(const struct cw_named *window, const char *why);
void cw_named_found(const struct cw_named *window);
const char *cw_named_why(uint64_t owner, const char *name); /* NULL: nothing is known of it */

/* service_window_take.c: a window of streams, from all programs of this node. 0, or an errno and why; `said` gets "breaks". */
#define CW_WINDOW_WHY 120
struct cw_window_taking {
	const char *name;
	bool force, dry;
};
int cw_window_take(const struct cw_window_taking *taking, json_t *said, char why[CW_WINDOW_WHY]);

/* service_named_asked.c */
void cw_window_asked(struct cw_program *sender, const struct cw_message *message, int fd);

#endif
