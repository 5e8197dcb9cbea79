/*
 * Node services together, in the service's loop (cluster.h for the rest of it; cluster_inside.h has the protocol).
 *
 *	service_cluster.c		who is in the cluster: the directory, the map and its changes, what cluster.h declares
 *	service_channel.c		one connection: bytes in, a bounded queue out, its end
 *	service_channel_dial.c		listening, limits for those who haven't shown who they are, dialling
 *	service_channel_meet.c		the handshake, and which connection is the channel
 *	service_channel_said.c		what comes over a channel: maps, signs of life, addresses, messages
 *	service_channel_join.c		nodes that join and leave, where the cluster's key is
 *	service_nodes.c			`causeway nodes`
 *
 * A channel in UP is its peer's; there is at most one. Whoever ends a channel may be called from its own reading, so what is ended stays
 * readable until the batch of events is over.
 */
#ifndef CW_NODE_SERVICE_CHANNEL_H
#define CW_NODE_SERVICE_CHANNEL_H

#include "cluster_inside.h"
#include "service.h"

#define CW_CHANNEL_DEADLINE_NS 10000000000ull /* to show who one is, and to be confirmed */
#define CW_CHANNEL_PROBE_NS    5000000000ull
#define CW_CHANNEL_TOLD        32 /* addresses that a node tells of itself, the most */
#define CW_PATH                3000

enum cw_channel_phase {
	CW_CHANNEL_CONNECTING,
	CW_CHANNEL_OPENED,   /* initiator: OPENING sent */
	CW_CHANNEL_ACCEPTED, /* responder: nothing heard yet */
	CW_CHANNEL_ANSWERED, /* responder: ANSWER sent */
	CW_CHANNEL_KEYED,    /* both keys are known, HELLO sent */
	CW_CHANNEL_GREETED,  /* HELLO heard */
	CW_CHANNEL_UP,
	CW_CHANNEL_LEAVING, /* refused: until the other has read that */
	CW_CHANNEL_ENDED
};

struct cw_channel {
	struct cw_source source;
	struct cw_timer deadline;
	enum cw_channel_phase phase;
	bool initiator, writing;
	bool met;                        /* a member, and neither waits for the other's map */
	bool held;                       /* not read now */
	uint32_t round;                  /* of meeting again */
	struct sockaddr_storage address; /* the other's */
	struct cw_member *target;        /* whom we dialled */
	struct cw_member *peer;          /* who it is, by its key */
	struct cw_noise noise;
	struct cw_cipher sending, receiving;
	struct cw_hello hello;
	unsigned char *in, *out;
	size_t have, in_room, out_begin, out_end, out_room;
	struct cw_channel *next, *prev;
};

/* Another node of the map. */
struct cw_member {
	struct cw_cluster_node node;
	unsigned char key[CW_KEY];
	struct cw_channel *channel; /* in UP */
	struct cw_channel *dialled; /* begun by us, and not UP */
	struct cw_timer redial, probe;
	uint32_t next_address, failures;
	uint64_t pinged_at; /* 0: no answer is awaited */
	uint64_t round_trip;
	uint32_t pings, pongs;
	enum cw_cluster_reason refused; /* by it, or it by us, since it was last up */
	bool refused_by_us;
	char trouble[120]; /* of the last try */
	struct in6_addr told[CW_CHANNEL_TOLD];
	uint32_t tolds;
	struct cw_member *next; /* of those that are freed when the batch is over */
};

struct cw_cluster_state {
	char directory[CW_PATH];
	char why[CW_WHY]; /* there is no cluster; empty if there is one, or never was */
	struct cw_identity identity;
	struct cw_map *map; /* NULL: no cluster */
	unsigned char preamble[CW_PREAMBLE];
	struct cw_cluster_node self;
	struct cw_member *peer[CW_CLUSTER_NODES];
	uint32_t peers;
};
extern struct cw_cluster_state cw_cluster;

/* service_cluster.c */
int cw_cluster_set(const char *directory); /* the option */
struct cw_member *cw_member_by_key(const unsigned char key[CW_KEY]);
struct cw_member *cw_member_by_id(uint64_t id);
/* Takes the map, which is newer; from: who sent it, or NULL. It may end any channel. */
void cw_cluster_adopt(struct cw_map *map, const struct cw_channel *from);
void cw_cluster_told_state(uint64_t id, bool up); /* to all who asked for it */
struct cw_memory_round_trip cw_cluster_memory_round_trip(uint64_t node, bool measure);
void cw_cluster_hand(const struct cw_member *peer, uint16_t type, const void *bytes, size_t length);
__attribute__((format(printf, 1, 2))) void cw_cluster_log(const char *format, ...); /* a few a minute */

/* service_channel.c */
extern struct cw_channel *cw_channels; /* all that are not ended */
struct cw_channel *cw_channel_make(int fd, enum cw_channel_phase phase, const struct sockaddr_storage *address);
void cw_channel_frame(struct cw_channel *channel, enum cw_frame_kind kind, const void *bytes, size_t length);
/* False: no room. Messages have the queue's bound, the channel's own records have more. */
bool cw_channel_record(struct cw_channel *channel, uint16_t type, const void *bytes, size_t length);
void cw_channel_end(struct cw_channel *channel, const char *why);
void cw_channel_refuse(struct cw_channel *channel, enum cw_cluster_reason reason); /* says so, and ends */
void cw_channel_hold(struct cw_channel *channel, bool hold);                       /* its bytes wait */
bool cw_channel_open(const struct cw_channel *channel);                            /* neither ended nor leaving */
void cw_channels_bury(void);
void cw_member_free(struct cw_member *peer);

/* service_channel_dial.c */
int cw_channel_listen(void); /* at the addresses that the map has for this node; anew when they changed */
void cw_channel_deaf(void);
void cw_dial(struct cw_member *peer);      /* now, from its first address on */
void cw_dial_soon(struct cw_member *peer); /* after a while that is longer each time */
void cw_dial_failed(struct cw_channel *channel, const char *why);
void cw_dial_stop(struct cw_member *peer);
void cw_channel_connected(struct cw_channel *channel);

/* service_channel_meet.c */
void cw_meet_open(struct cw_channel *channel); /* the initiator's first word */
void cw_meet_frame(struct cw_channel *channel, const struct cw_frame *frame);
void cw_meet_settle(struct cw_member *peer);      /* confirm one that waits, if there is no channel */
void cw_meet_superfluous(struct cw_member *peer); /* the channel is alive: those that wait are not needed */
void cw_meet_again(void);                         /* the map is another */
void cw_channel_down(struct cw_channel *channel);

/* service_channel_said.c */
void cw_said(struct cw_channel *channel, uint16_t type, const unsigned char *bytes, size_t length);
void cw_said_map(struct cw_channel *channel, const unsigned char *bytes, size_t length);
void cw_tell_map(struct cw_channel *channel);
void cw_tell_addresses(struct cw_channel *channel);
void cw_channels_addresses(void); /* this node's have changed */

/* service_channel_join.c */
void cw_join_asked(struct cw_channel *channel, const unsigned char *bytes, size_t length);
void cw_leave_asked(struct cw_channel *channel);

/* service_nodes.c */
void cw_nodes_asked(struct cw_program *sender, const struct cw_message *message);
void cw_reload_asked(struct cw_program *sender);

#endif
