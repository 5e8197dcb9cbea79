/*
 * Node services together: who is in the cluster, and a channel to each of them. This is what the rest of the service knows of it;
 * cluster_inside.h has the protocol, service_channel.h the parts.
 *
 * A node has a name, an id of 128 bits made when it entered, and an X25519 key pair. The *map* lists all nodes, is signed by the
 * cluster's own key, and spreads by itself: whoever meets another with an older map sends it. Inside the service a node is called by
 * the first 64 bits of its id (never 0, and different for all nodes of a map), the same number on every node.
 *
 * What is sent to a node comes out there once, unchanged and in order, as long as the node stays up. When it goes down, what was
 * underway may have come out or not; on_state tells of down before anything of a later time comes in. A node that was started anew
 * goes down and up again. Both ends tell up before anything comes in.
 *
 * All of this is called and calls back in the one thread of the service's loop. A handler may send, to the same node too; no handler is
 * called from inside cw_cluster_send.
 */
#ifndef CW_NODE_CLUSTER_H
#define CW_NODE_CLUSTER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define CW_CLUSTER_NODES     64         /* the most of one map */
#define CW_CLUSTER_ADDRESSES 8          /* the most of one node, in the order in which they are tried */
#define CW_CLUSTER_NAME      64         /* with its end */
#define CW_CLUSTER_MESSAGE   60000      /* bytes, the most of one message */
#define CW_CLUSTER_QUEUE     (1u << 20) /* bytes that wait for one node's kernel socket, the most */

/* What a message is about. Those below CW_CLUSTER_TYPE_FIRST are the channel's own. Add to the end, on all nodes. */
enum cw_cluster_type {
	CW_CLUSTER_TYPE_FIRST = 16,
	CW_CLUSTER_TYPES = 64 /* the handlers' table */
};

struct cw_cluster_node {
	uint64_t id; /* the first 64 bits of full_id */
	unsigned char full_id[16];
	char name[CW_CLUSTER_NAME];
	bool self;
	bool up;           /* the channel to it works; true for this node itself */
	uint64_t since;    /* monotonic ns, of up or not up; 0: never seen */
	uint64_t instance; /* of its service: another number each time that one is started; 0 as long as it was never up */
	char version[16];  /* of its service; empty as long as it was never up */
	uint32_t addresses;
	struct sockaddr_storage address[CW_CLUSTER_ADDRESSES]; /* sockaddr_in or sockaddr_in6, with the channel's port */
};

typedef void cw_cluster_handler(uint64_t node, const void *bytes, uint32_t length);
typedef void cw_cluster_state_handler(uint64_t node, bool up);

/* Joins the cluster whose files are in that directory. 0 too where there are none yet: cw_cluster_reload looks again. -1: what is wrong
 * with them was said. */
int cw_cluster_start(const char *directory);
int cw_cluster_reload(void);
void cw_cluster_end(void);

/* Takes a copy. False: the node is not in the map, not up, or so much waits for it that there is no room. Not for this node itself. */
bool cw_cluster_send(uint64_t node, uint16_t type, const void *bytes, uint32_t length);

/* May be called before cw_cluster_start; one handler a type, several of states. Messages of a type without one are counted and ignored. */
void cw_cluster_on(uint16_t type, cw_cluster_handler *handler);
void cw_cluster_on_state(cw_cluster_state_handler *handler);

/* Nodes of the map now: pointers are good until the loop goes on. */
uint32_t cw_cluster_count(void); /* with this one; 0: no cluster */
const struct cw_cluster_node *cw_cluster_node_at(uint32_t index);
const struct cw_cluster_node *cw_cluster_node(uint64_t id); /* NULL: not in the map */
uint64_t cw_cluster_self(void);                             /* 0: no cluster */

/* The node of the map that has the address: by the map, else by what the nodes that are up told of themselves. 0: none; this node's own
 * id for its own. A hint where to ask, never a proof (there is NAT). IPv4 as v4-mapped; the second takes sockaddr_in and sockaddr_in6. */
uint64_t cw_cluster_node_of_address(const struct in6_addr *address);
uint64_t cw_cluster_node_of_sockaddr(const struct sockaddr *address);

/* Ask a node for a sign of life over the network; if none comes within a few seconds it goes down. */
void cw_cluster_probe(uint64_t node);

/* For `causeway nodes`: who knows the last round trip by memory. measure: begin another; it isn't waited for. */
struct cw_memory_round_trip {
	uint64_t ns; /* 0: there is none */
	bool measuring;
};
void cw_cluster_on_memory_round_trip(struct cw_memory_round_trip (*ask)(uint64_t node, bool measure));

#endif
