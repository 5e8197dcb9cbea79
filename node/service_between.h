/*
 * Streams between programs of two nodes (docs/windows.md): what the service of one says to that of the other, over the channel of
 * cluster.h. Memory is passed beside it (service_windows.c).
 *
 * The node with the lower id *leads*: it brings the two ends together and its memory is used. Numbers of offers and programs are those of
 * the node that they are of.
 *
 *   follower      leader
 *   OFFERED   ->  a program here offers a connection to your node; its two addresses as we see them.
 *   WITHDRAWN ->  no longer.
 *             <-  PROVE the offer: our end is offered too, and this is what our kernel has counted of it.
 *   PROVED    ->  that goes with what ours has; here it is.
 *   REFUSED   ->  (either way) it doesn't, or that offer is gone: the connection stays with the kernel.
 *             <-  GIVE the offer a slot. The memory was passed before, if it is the first slot in it.
 *   RELEASED  ->  the last holder of a slot's end has given it back, or died.
 *   CROWDED   ->  a child of the program maps the arena too: no new slots in it.
 *   UNMAPPED  ->  no program here maps the arena any more.
 *   PULSE     <-> this node's heartbeat is in memory that was passed under this key.
 *   ECHO_ASKED <-> I want to measure the way by memory: look at `asked` of this echo of my page, for a moment.
 *   ECHOING   <-> I do, and answer in this echo of mine.
 *   WINDOW_GRANTED  <->  a window with a name, which was passed under this key, or is at this place of the device's.
 *   WINDOW_REVOKED  <->  it is yours no more.
 *   PART      <-> this node's part of the device's window, where it beats too, and how the node is rung; length 0: it has none any more.
 *   KEPT_ASKED <-> which memory of mine in the device's window is still mapped on your node?
 *   KEPT      <-> this; KEPT_END: no other.
 *   RESEND    <-> the reader of a slot leaves with unread bytes in its ring; the writer is with you.
 *
 * All words come from another machine, and are checked as those of a program are. Integers are in the byte order of the sender: a node of
 * the other order, or of another layout, is told by the first word and not understood.
 */
#ifndef CW_NODE_SERVICE_BETWEEN_H
#define CW_NODE_SERVICE_BETWEEN_H

#include "node/cluster.h"
#include "node/service.h"
#include "transport/pci/part.h"

#define CW_BETWEEN       (CW_CLUSTER_TYPE_FIRST + 0) /* type of the channel's messages */
#define CW_BETWEEN_MAGIC 0x43580000u                 /* + layout */

enum cw_between_kind {
	CW_OFFERED_THERE = 1,
	CW_WITHDRAWN_THERE,
	CW_PROVE,
	CW_PROVED,
	CW_REFUSED,
	CW_GIVE,
	CW_RELEASED_THERE,
	CW_CROWDED,
	CW_UNMAPPED,
	CW_RESEND_THERE,
	CW_PULSE,
	CW_WINDOW_GRANTED,
	CW_WINDOW_REVOKED,
	CW_PART,
	CW_KEPT_ASKED,
	CW_KEPT,
	CW_KEPT_END,
	CW_ECHO_ASKED,
	CW_ECHOING
};

struct cw_between {
	uint32_t magic; /* CW_BETWEEN_MAGIC + CW_LAYOUT */
	uint32_t kind;
	uint64_t mine, yours; /* offers, as the sender sees it */
	uint64_t program;     /* the sender's; in GIVE and UNMAPPED the follower's */
	union {
		struct {
			struct in6_addr local, remote;
			uint16_t local_port, remote_port;
			uint32_t uid;
		} offered;
		struct cw_stream_counts counts;
		struct {
			uint64_t arena, key;
			uint32_t slot, end;
			uint64_t at, length; /* in the device's window, if it is there */
		} slot;
		struct {
			uint64_t at, length;
			uint32_t peer, bells; /* by what number its node is rung, and how many bells it has; 0: none */
		} part;
		struct {
			uint64_t nonce;
			uint32_t asked, answered; /* numbers of echoes: the asker's, the other's */
		} echo;
		struct {
			uint64_t key, size; /* by_device: where it is in the device's window, not a key */
			uint32_t writable;
			char name[CW_WINDOW_NAME];
			uint32_t by_device;
		} window;
	};
};

struct cw_far_offer;

struct cw_node {
	uint64_t id;
	bool leads;
	struct cw_program *programs;      /* stand-ins */
	struct cw_far_offer *offers;      /* what was offered to us as the leader, by tuple */
	struct cw_arena_record *imported; /* by id */
	int link;                         /* memory goes this way; -1 */
	void *page;                       /* where it beats; NULL: nowhere */
	size_t page_size;
	const _Atomic uint64_t *beats;
	const struct cw_echo *echoes; /* beside it */
	uint64_t beat, beat_at;       /* as last seen, and when that was new */
	uint32_t peer, bells;         /* of its device, as it says; bells 0: none */
	struct cw_part part;          /* of the device's window, where its memory is; length 0: it has no such device */
	UT_hash_handle hh;
};

/* service_between.c */
void cw_between_begin(void);
struct cw_node *cw_node_of_id(uint64_t id); /* made when it is first asked for; NULL: no memory */
struct cw_between cw_between_words(enum cw_between_kind kind);
bool cw_between_say(const struct cw_node *node, const struct cw_between *words);
struct cw_program *cw_stand_in(struct cw_node *node, uint64_t number, uid_t uid, bool make);
void cw_between_lose(struct cw_node *node);         /* what its programs and ours share is memory no more */
void cw_stand_in_leave(struct cw_program *program); /* it may have nothing left */
void cw_between_ask_resend(const struct cw_arena_record *record, uint32_t slot, uint32_t end);
/* Each arena that another node made and that is used here. */
void cw_between_each(void (*each)(const struct cw_arena_record *record, void *context), void *context);
static inline uint64_t cw_node_id(const struct cw_node *node)
{
	return node->id;
}

/* service_match.c: an offer whose other end isn't here. */
void cw_match_offered(struct cw_offer *offer);
void cw_match_forget(struct cw_offer *offer);
struct cw_offer *cw_match_find(uint64_t number);
void cw_match_offered_there(struct cw_node *node, const struct cw_between *words);
void cw_match_withdrawn_there(struct cw_node *node, const struct cw_between *words);
void cw_match_prove(struct cw_node *node, const struct cw_between *words);
void cw_match_proved(struct cw_node *node, const struct cw_between *words);
void cw_match_refused(struct cw_node *node, const struct cw_between *words);
void cw_match_node_up(struct cw_node *node);
void cw_match_node_down(struct cw_node *node);
/* A slot for the other node's end, to its service. */
void cw_match_give(const struct cw_offer *offer, const struct cw_message *grant, struct cw_mapping *mapping);

/* Could what one kernel has counted, between two looks of the other at its end, be of the same connection? */
bool cw_counts_agree(const struct cw_stream_counts *before, const struct cw_stream_counts *there, const struct cw_stream_counts *after);

/* service_windows.c: memory from node to node, on one machine by descriptors. */
int cw_windows_set(const char *directory);
bool cw_windows_open(void); /* is there any way to share memory? */
bool cw_windows_files(void);
int cw_windows_begin(void); /* 0 too where there is no directory */
void cw_windows_end(void);  /* this node is none of the cluster any more */
bool cw_windows_pass(struct cw_node *node, uint64_t arena, uint64_t key, int fd);
/* What that node has passed under this key: the caller's descriptor, or -1. */
int cw_windows_take(uint64_t node, uint64_t arena, uint64_t key);
void cw_windows_node_down(struct cw_node *node);

/* service_device.c: memory from node to node by a device that both have, through causeway.ko. */
int cw_device_set(const char *path);
int cw_device_set_parts(const char *value);
int cw_device_set_part(const char *value);
bool cw_device_is_open(void);
const char *cw_device_name(void);
void cw_device_begin(void);
void cw_device_end(void);
void cw_device_beat(void);
struct cw_echo *cw_device_echoes(void); /* in this node's part; NULL: it has none */
void cw_device_node_up(struct cw_node *node);
void cw_device_node_down(struct cw_node *node);
bool cw_device_said(struct cw_node *node, const struct cw_between *words); /* false: it is about something else */
/* An arena for a program of that node; record->fd and record->at are set. -1: there is no room. */
int cw_device_make(struct cw_arena_record *record, uint64_t id, uint32_t slots, const struct cw_node *node);
/* A descriptor for memory of that node's part; -1. arena: its id, for programs that may ring and wait; 0: none. */
int cw_device_reach(const struct cw_node *node, uint64_t at, uint64_t length, bool writable, uint64_t arena, uint32_t *grant);
/* A descriptor for memory of this node's part, wiped; -1 with errno. */
int cw_device_take(uint64_t size, uint64_t *at, uint32_t *grant);
bool cw_device_has_room(uint64_t size);
/* As claim, of memory that several nodes may have; false: it must not be given to that one. */
bool cw_device_share(const struct cw_node *node, uint64_t at, uint64_t size);
/* From now on the node may store there, and its kernel is asked before anybody else is given it: when it says that nobody maps it. */
void cw_device_claim(const struct cw_node *node, const struct cw_arena_record *record);
void cw_device_ask(struct cw_node *node);
void cw_device_take_away(uint32_t grant); /* of all programs of this node */

/* service_pulse.c: heartbeats, as long as programs share memory. */
void cw_pulse_up(struct cw_node *node);
void cw_pulse_heard(struct cw_node *node, const struct cw_between *words);
/* From now on its life is seen by that word; the page is unmapped when it goes down. */
void cw_pulse_watch(struct cw_node *node, void *page, size_t size, const _Atomic uint64_t *beats, const struct cw_echo *echoes);
struct cw_echo *cw_pulse_echoes(void); /* in this node's page; NULL: it has none */
void cw_pulse_down(struct cw_node *node);
void cw_pulse_needed(void);                                 /* memory is shared from now on */
bool cw_between_shares(void (*each)(struct cw_node *node)); /* calls it for each node that is up and shares memory; is there one? */

/* service_echo.c: round trips by memory, when they are asked for. */
void cw_echo_begin(void);
bool cw_echo_said(struct cw_node *node, const struct cw_between *words); /* false: it is about something else */
void cw_echo_node_down(const struct cw_node *node);

/* service_foreign.c: the follower's side of arenas. */
void cw_foreign_give(struct cw_node *node, const struct cw_between *words);
void cw_foreign_released(struct cw_arena_record *record, uint32_t slot, uint32_t end);
void cw_foreign_crowded(struct cw_arena_record *record);
void cw_foreign_unmapped(struct cw_arena_record *record);
void cw_foreign_node_down(struct cw_node *node);

#endif
