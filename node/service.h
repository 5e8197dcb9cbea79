/*
 * The inside of causewayd. One thread, one loop; nothing here waits for a program.
 *
 *	service_loop.c		sources of events, timers, the end of the loop
 *	service_programs.c	connections, what programs and the command say, their end
 *	service_book.c		books: made, and read with distrust
 *	service_children.c	where children of a run count
 *	service_outbox.c	grants to programs that are slow to fetch them
 *	service_socket.c	what the kernel says of a descriptor that was offered
 *	service_closing.c	closing descriptors, which could block
 *	service_diag.c		what the kernel says of a connection whose descriptor is closed
 *	service_unix.c		what the kernel says of an AF_UNIX stream
 *	service_offers.c	offers, and finding the other end
 *	service_flows.c		the same for datagrams
 *	service_arenas.c	arenas of pairs of programs, and who maps them
 *	service_place.c		on which memory node rings lie
 *	service_slots.c		who holds which end of a slot; marks when nobody does
 *	service_resend.c	sending a ring's bytes again for its writer
 *	service_users.c		limits of each user; service_memory.c: of memory
 *	service_guests.c	processes that an idle service waits for
 *	service_addresses.c	the node page
 *	service_run.c		runs and their report
 *	service_totals.c	what books add up to
 *	service_list.c		`causeway ss`
 *	service_window_list.c	`causeway windows`
 *	service_control.c	`causeway status`, `causeway stop`
 *	service_worker.c	children for what could block
 *	service_between.h	streams between programs of two nodes: what follows is part of that
 *	service_between.c	nodes, stand-ins for their programs, the end of a node
 *	service_match.c		the two ends of a connection find each other
 *	service_windows.c	memory of one node is passed to the other
 *	service_device.c	memory of a device that both nodes have
 *	service_foreign.c	arenas that another node made
 *	service_named.h		windows that an administrator makes
 *	service_pulse.c		heartbeats of services whose programs share memory
 *	service_channel.h	the services of several nodes, and the channels between them: another part
 *
 * Words: a *program* is one process image with the library. A *pair* is two programs (or one, connected to itself). A *mapping* is a
 * program that maps an arena, with a bit for each slot end it holds. Who holds is known by mappings alone: the words in the arena are
 * written for the programs, never read back as truth. A *stand-in* is a program of another node: it maps and
 * holds as one of this node, and what it is told goes to its own service.
 */
#ifndef CW_NODE_SERVICE_H
#define CW_NODE_SERVICE_H

#include <hwloc.h>
#include <jansson.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uthash.h>
#include <utlist.h>

#include "node/link.h"
#include "sockets/children.h"
#include "transport/shm/arena.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

enum cw_service_counter {
#define X(name, text) CW_SERVICE_##name,
#include "node/service_counters.def"
#undef X
	CW_SERVICE_COUNTERS
};

struct cw_source {
	int fd;
	void (*ready)(struct cw_source *source, uint32_t events);
};

struct cw_timer {
	uint64_t at; /* monotonic ns; 0 not set */
	void (*expired)(struct cw_timer *timer);
	struct cw_timer *next, *prev;
};

#define CW_MUCH_WORK 2000000u /* entries of books, which takes some milliseconds */

struct cw_closing;
struct cw_closings {
	struct cw_closing *first, *last;
};

struct cw_user {
	uid_t uid;
	uint32_t connections, slots;
	uint32_t closing, closers; /* descriptors of its that are not closed yet; of these, with a thread */
	struct cw_closings waiting;
	uint64_t work, worked_at; /* what it has asked for since one of its programs rested; when it last asked */
	uint64_t resident;        /* bytes, at the last measure */
	UT_hash_handle hh;
};

struct cw_run;
struct cw_pair;

/* A connection to the service; a program once it has said hello, otherwise a command (or nothing yet). */
struct cw_program {
	struct cw_source source;
	struct ucred peer; /* who made the connection */
	pid_t pid;         /* who spoke last on it: a child takes over what its parent connected for it */
	struct cw_user *user;
	uint64_t number; /* 0: no hello yet */
	uint64_t parent;
	char command[24];
	struct cw_book *book;
	struct cw_children_memory *children; /* of a connection that is children's, and no program's */
	struct cw_run *run;
	struct cw_run *keeps;    /* the run that was begun on this connection */
	struct cw_offer *offers; /* by index */
	struct cw_flow_offer *flow_offers;
	struct cw_mapping *mappings;     /* by arena */
	struct cw_arena_record *widowed; /* list: arenas that it alone maps */
	struct cw_grant *outbox;         /* list */
	hwloc_nodeset_t nodes;           /* memory nodes beside it, at seen_at */
	uint64_t seen_at;
	uint64_t refused_memory; /* connections of its that were matched and got no memory */
	uint32_t grants;         /* sent to it: what its mail word should be */
	uint32_t nonsense;       /* messages that made no sense */
	struct cw_node *node;    /* of a stand-in: where it is */
	bool writing;            /* EPOLLOUT asked for */
	bool held;               /* not read, until what it has sent is closed */
	bool resting;            /* nor before a rest is over */
	uint32_t closing;
	struct cw_closing *closings; /* list */
	struct cw_closing *awaited;  /* what it has sent last is closed before it goes on with that */
	void (*closed)(struct cw_program *program);
	struct cw_timer patience;
	struct cw_shown *shown; /* the offer that waits for it */
	bool dead;              /* freed when the batch of events is over */
	uint64_t theirs;        /* of a stand-in: its number there */
	UT_hash_handle hh;      /* by number; a stand-in by its number there */
	struct cw_program *next, *prev;
};

#define CW_TUPLE_UNIX 1u /* AF_UNIX: the addresses are inodes (service_unix.c) */

/* A connection as one end sees it; plain bytes, compared whole. */
struct cw_tuple {
	struct in6_addr local, remote; /* IPv4 as v4-mapped */
	uint16_t local_port, remote_port;
	uint32_t protocol; /* 0 TCP; CW_TUPLE_UNIX; IPPROTO_UDP: a flow, from local to remote */
	uint64_t netns;
};

/* What the kernel has counted of a connection (TCP_INFO). */
struct cw_stream_counts {
	uint64_t sent, acknowledged, received; /* bytes */
	uint32_t scale_out, scale_in, options, unused;
};

struct cw_offer {
	struct cw_tuple tuple;
	uint64_t cookie;
	struct cw_token token;
	struct cw_program *program;
	bool starved;                   /* both ends are here, and there was no memory; in the list of those who wait for it */
	struct cw_node *node;           /* where the other end may be; NULL: nowhere else */
	uint64_t number;                /* what the two services call it */
	uint64_t proving;               /* of the other node's offer that it is compared with */
	struct cw_stream_counts counts; /* when that began */
	UT_hash_handle hh_tuple, hh_index, hh_number;
	struct cw_offer *next, *prev;
};

struct cw_arena_record {
	struct cw_arena arena;
	int fd;
	struct cw_pair *pair;     /* NULL: widowed */
	struct cw_program *widow; /* in whose list of widowed ones it is */
	uint32_t mappers;
	uint32_t used, touched; /* slots in use; slots ever given out since the memory was last given back */
	uint16_t *free;         /* stack, the slot given back last on top: its pages are there */
	uint32_t frees;
	uint32_t *holders;       /* of end e of slot s: [2 * s + e] */
	struct cw_tuple *tuples; /* of slot s: its connection, as end 0 sees it */
	uid_t uid[2];            /* charged for its slots; one of another node is not */
	uint64_t node;           /* the second of its pair is a program of that node */
	struct cw_node *owner;   /* NULL: made here */
	uint64_t generation;     /* of another node: the instance of its service that made it */
	uint64_t theirs, key;    /* for another node: the program there, and what proves that its service gave it to us */
	uint64_t at;             /* in the device's window; 0: a memory file */
	uint32_t grant;          /* what causeway.ko calls it, there */
	bool crowded;            /* a child on the other node maps it too: no new slots */
	bool lost;               /* somebody on a node that we don't hear from may still use it: no new slots, never another pair */
	bool revoked;            /* this node's programs find zeros in it: no new slots, never another pair */
	struct cw_mapping *mapped;
	UT_hash_handle hh;                   /* by arena.id */
	struct cw_arena_record *next, *prev; /* of its pair, or of its widow */
};

struct cw_mapping {
	struct cw_program *program;
	struct cw_arena_record *record;
	bool sent; /* the program has the descriptor, or inherited the memory */
	struct cw_mapping *next, *prev;
	struct cw_mapping *arena_next, *arena_prev;
	UT_hash_handle hh; /* of its program, by arena id */
	uint64_t arena;
	uint64_t held[]; /* bit 2 * s + e */
};

struct cw_service {
	char name[100];
	uint64_t instance; /* numbers of this instance begin here: never those of an earlier one that programs may still know */
	uint64_t numbers;
	uint64_t netns;
	uint64_t memory, user_memory; /* bounds, bytes */
	uint64_t idle_ns;             /* 0: stay */
	uint64_t started;
	bool huge_pages, stopping;
	uint32_t slots; /* in use */
	uint32_t connections;
	struct cw_program *programs; /* hash of those that said hello */
	struct cw_program *all;      /* list */
	struct cw_offer *offers;     /* by tuple */
	struct cw_offer *starved;
	struct cw_pair *pairs;
	struct cw_arena_record *arenas;
	struct cw_user *users;
	struct cw_run *runs;
	int node_page; /* descriptor */
	uint64_t counter[CW_SERVICE_COUNTERS];
};

extern struct cw_service service;

static inline void cw_tally(enum cw_service_counter which)
{
	service.counter[which]++;
}

/* service_loop.c */
int cw_loop_begin(void);
int cw_loop_add(struct cw_source *source, uint32_t events);
void cw_loop_change(struct cw_source *source, uint32_t events);
void cw_loop_remove(struct cw_source *source);
void cw_timer_set(struct cw_timer *timer, uint64_t after_ns);
void cw_timer_stop(struct cw_timer *timer);
void cw_loop_run(void);

/* service_programs.c */
int cw_listen(void);
bool cw_accept_waiting(void); /* true if somebody came */
void cw_listen_end(void);
void cw_programs_bury(void); /* free what died in this batch of events */
uint64_t cw_new_number(void);

void cw_program_end(struct cw_program *program);
void cw_nonsense(struct cw_program *program); /* it said something that made no sense */

/* service_hello.c */
bool cw_program_silent(const struct cw_program *program); /* a child that has not spoken yet goes by its parent's process id */
void cw_hello(struct cw_program *program, const struct cw_message *message);
void cw_refuse_layout(struct cw_program *program);

/* service_control.c */
void cw_list(struct cw_program *sender);
uint64_t cw_unread(const struct cw_direction *direction); /* bytes in the ring, by words that programs have written */
void cw_windows_list(struct cw_program *sender);          /* service_window_list.c */
void cw_status(struct cw_program *sender);
int cw_send_text(int fd, enum cw_message_type type, json_t *json); /* in a memory file beside the message */
bool cw_may_command(const struct cw_program *sender);              /* root or the owner */
void cw_stop(struct cw_program *sender, const struct cw_message *message);

/* service_book.c */
void *cw_book_room(const char *name, size_t size, int *fd); /* sealed, and mapped */
struct cw_book *cw_book_make(int *fd);
void cw_book_drop(struct cw_book *book);
uint32_t cw_book_used(const struct cw_book *book); /* entries that may be in use */

/* service_children.c */
struct cw_totals;
void cw_children_asked(struct cw_program *sender, const struct cw_message *message);
void cw_children_add(struct cw_totals *totals, const struct cw_children_memory *children);
uint32_t cw_children_executed(const struct cw_children *children); /* the numbers there are in executed_pid */
void cw_children_drop(struct cw_program *program);

/* service_outbox.c */
void cw_grant_send(struct cw_program *program, const struct cw_message *message, struct cw_mapping *mapping);
void cw_outbox_flush(struct cw_program *program);
void cw_outbox_drop(struct cw_program *program);
void cw_outbox_forget(const struct cw_mapping *mapping);
bool cw_outbox_holds(const struct cw_program *program, uint64_t arena, uint32_t end);

/* service_socket.c */
enum cw_inspection {
	CW_SOCKET_FINE,
	CW_SOCKET_ENDED,     /* a TCP socket, but no connection any more */
	CW_SOCKET_ELSEWHERE, /* can't be matched safely */
	CW_SOCKET_OTHER      /* something else */
};
enum cw_inspection cw_socket_inspect(int fd, struct cw_tuple *tuple, uint64_t *cookie);
uint64_t cw_own_netns(void);
/* Options of SOL_SOCKET; -1 and 0 where the kernel has no answer. */
int cw_socket_integer(int fd, int option);
uint64_t cw_socket_cookie(int fd, int option);
/* IPv4 as v4-mapped. False: of another family. */
bool cw_socket_address(const struct sockaddr_storage *from, struct in6_addr *address, uint16_t *port);
/* Of a socket that is bound to none: each of its own. */
bool cw_socket_is_any(const struct in6_addr *address);

/* service_diag.c */
struct cw_diag_answer {
	struct nlmsghdr header;
	char room[2048];
};
/* 0 or an errno. */
int cw_diag_ask(const void *question, size_t size, struct cw_diag_answer *answer);
bool cw_diag_begin(void); /* false: this kernel can't be asked */
/* Does the connection with that cookie still exist? `otherwise` is the answer where the kernel can't be asked. */
bool cw_diag_lives(const struct cw_tuple *tuple, uint64_t cookie, bool otherwise);
/* Would the socket with that cookie get a datagram from the tuple's local address to its remote one? False too where it can't be asked. */
bool cw_diag_receives(const struct cw_tuple *tuple, uint64_t cookie);

/* What it has counted; false: it is gone, or the kernel can't be asked. */
bool cw_diag_counts(const struct cw_tuple *tuple, uint64_t cookie, struct cw_stream_counts *counts);

/* service_unix.c */
enum cw_inspection cw_unix_inspect(int fd, struct cw_tuple *tuple, uint64_t *cookie);
/* In the place of an address. */
uint64_t cw_unix_inode(const struct in6_addr *address);
bool cw_unix_lives(const struct cw_tuple *tuple, uint64_t cookie);

/* service_closing.c */
/* Close a descriptor that a program has sent (NULL: none): at once where that can't block, else in a thread. */
void cw_close_foreign(struct cw_program *program, int fd);
void cw_close_tcp(struct cw_program *program, int fd);
void cw_close_elsewhere(struct cw_program *program, int fd);
void cw_close_of_user(uid_t uid, int fd); /* what came from no program that lives */
/* The same; closed is called when that is done, or it takes too long, and nothing that the program says is read before. */
void cw_close_and_wait(struct cw_program *program, int fd, void (*closed)(struct cw_program *program));
bool cw_closing_has_much(const struct cw_program *program);
bool cw_closing_holds(struct cw_program *program); /* it is not to be read, and will be again */
void cw_closing_forget(struct cw_program *program);
/*
 * It has asked for something that costs the loop, by so many entries of a book that were looked at: a user who has
 * asked for much, without a pause, has to rest, which the program that asked last does. What it says meanwhile waits in its own queue.
 */
void cw_program_asked_for(struct cw_program *program, uint64_t entries);

/* service_offers.c */
void cw_offer(struct cw_program *program, const struct cw_message *message, int fd);
void cw_offer_taken(struct cw_program *program); /* the program is told that its descriptor is closed */
void cw_withdraw(struct cw_program *program, const struct cw_message *message);
void cw_offers_drop(struct cw_program *program);
void cw_offer_drop(struct cw_offer *offer);
bool cw_offered(const struct cw_program *program, uint32_t index);
void cw_offers_retry(void); /* those who wait for memory */

/* service_flows.c */
void cw_flow_offered(struct cw_program *program, const struct cw_message *message, int fd);
void cw_flow_withdrawn(struct cw_program *program, const struct cw_message *message);
void cw_flow_offers_drop(struct cw_program *program);

/* service_arenas.c */
struct cw_arena_record *cw_arena_for(struct cw_program *a, struct cw_program *b); /* with a free slot; NULL: no memory */
struct cw_mapping *cw_mapping_find(const struct cw_program *program, uint64_t arena);
struct cw_mapping *cw_mapping_make(struct cw_program *program, struct cw_arena_record *record);
void cw_mapping_drop(struct cw_mapping *mapping);
int cw_mappings_inherit(struct cw_program *child, const struct cw_program *parent);
void cw_arena_emptied(struct cw_arena_record *record);          /* of slots in use */
void cw_arena_unused(struct cw_arena_record *record);           /* nobody could be told of it */
void cw_arena_count(struct cw_arena_record *record, int slots); /* in use, more or less */
struct cw_arena_record *cw_arena_record_new(uint32_t slots, int fd);
void cw_arena_record_free(struct cw_arena_record *record);
struct cw_arena_record *cw_arena_record_find(uint64_t id); /* made here */

/* service_place.c: memory nodes */
void cw_place_begin(void);
void cw_place_slot(const struct cw_arena_record *record, uint32_t slot, struct cw_program *const ends[2]);
/* What this thread touches first lies near the program; until anywhere. */
void cw_place_near(struct cw_program *program);
void cw_place_anywhere(void);
void cw_place_forget(struct cw_program *program);

/* service_slots.c */
bool cw_slot_give(struct cw_offer *first, struct cw_offer *second);
void cw_release(struct cw_program *program, const struct cw_message *message);
void cw_mapping_let_go(struct cw_mapping *mapping); /* its program died: all ends it held */
bool cw_mapping_holds(const struct cw_mapping *mapping, uint32_t slot, uint32_t end);
void cw_slot_let_go(struct cw_mapping *mapping, uint32_t slot, uint32_t end);
/* A slot that another node gave: the program is its holder, and is told. */
void cw_slot_take(const struct cw_offer *offer, struct cw_mapping *mapping, uint32_t slot, uint32_t end);
/* Nothing is heard of the mapping's program: its slots' streams go back to the kernel, and are given to nobody else. */
void cw_mapping_lose(struct cw_mapping *mapping);

/* Keep a slot from being given out, as if one more program held that end; and no more. */
void cw_slot_pin(struct cw_arena_record *record, uint32_t slot, uint32_t end);
void cw_slot_unpin(struct cw_arena_record *record, uint32_t slot, uint32_t end);

/* service_resend.c */
void cw_reset_here(const struct cw_arena_record *record); /* the connections of this node's programs in it */
void cw_resend_asked(struct cw_program *reader, const struct cw_message *message);
/* By a program of this node that holds the writer's end; false: there is none, or it can't be done. */
bool cw_resend_here(struct cw_arena_record *record, uint32_t slot, uint32_t end);

/* service_users.c */
struct cw_user *cw_user_enter(uid_t uid); /* a connection of that user's; NULL: too many */
void cw_user_leave(struct cw_user *user);
uint64_t cw_last_client(void); /* until when somebody was there */
uint32_t cw_most_arenas(void);
struct cw_user *cw_user_find(uid_t uid);
struct cw_user *cw_user_of(uid_t uid); /* found, or made; NULL: no memory */
void cw_user_forget_unused(struct cw_user *user);
bool cw_user_owns(uid_t uid); /* root, or who runs the service */
bool cw_user_must_rest(struct cw_user *user, uint64_t entries);
bool cw_user_is_full(const struct cw_user *user);

/* service_guests.c */
void cw_guest(const struct cw_program *client);

/* service_memory.c */
struct cw_memory_use {
	uint64_t promised, resident;
};
bool cw_memory_admits(uid_t a, uid_t b); /* one more slot of theirs */
void cw_memory_charge(const struct cw_arena_record *record);
void cw_memory_return(const struct cw_arena_record *record);
struct cw_memory_use cw_memory_use(void);

/* service_worker.c: work(fd, argument) in a child; done(context, its result) here, 0 if it failed. -1: it could not be started. */
int cw_worker(uint64_t (*work)(int fd, void *argument), void *argument, int fd, void (*done)(void *context, uint64_t result),
	      void *context);
/* The same for what anybody may ask for as often as he likes: it leaves some to the others. */
int cw_worker_asked(uid_t uid, uint64_t (*work)(int fd, void *argument), void *argument, int fd,
		    void (*done)(void *context, uint64_t result), void *context);

/* service_run.c */
void cw_run_begin(struct cw_program *sender, struct cw_received *received);
void cw_run_join(struct cw_program *program, uint64_t number);
void cw_run_leave(struct cw_program *program);
void cw_run_unkept(struct cw_program *keeper);
void cw_runs_end(void);
uint32_t cw_runs_count(void);

/* service_addresses.c */
int cw_addresses_begin(void);  /* makes service.node_page */
void cw_addresses_peers(void); /* nodes came or went */
uint32_t cw_addresses_own(const struct in6_addr **list);

#endif
