/*
 * The inside of `causeway cluster`.
 *
 *	command_cluster.c	options, what all of them do, show
 *	command_cluster_map.c	init, invite, export, remove: where the cluster's key is
 *	command_cluster_join.c	join, leave
 *	command_cluster_far.c	a question to another node's service
 */
#ifndef CW_NODE_COMMAND_CLUSTER_H
#define CW_NODE_COMMAND_CLUSTER_H

#include "cluster_inside.h"
#include "command.h"

struct cw_cluster_task {
	const char *command, *service, *name, *cluster, *file;
	char directory[3000];
	int64_t seconds;
	bool json, dry_run, force;
	struct sockaddr_storage address[CW_CLUSTER_ADDRESSES];
	uint32_t addresses;
	char **argument; /* those that are no options */
	int arguments;
};

/* Each returns the exit status. */
int cw_cluster_init(struct cw_cluster_task *task);
int cw_cluster_invite(struct cw_cluster_task *task);
int cw_cluster_export(struct cw_cluster_task *task);
int cw_cluster_remove(struct cw_cluster_task *task);
int cw_cluster_join(struct cw_cluster_task *task);
int cw_cluster_leave(struct cw_cluster_task *task);

/* What was done, or would be: a sentence, or what is known of it as JSON. Takes the JSON. */
int cw_cluster_done(const struct cw_cluster_task *task, json_t *json, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Has the service look at the files; says so where none does. */
void cw_cluster_tell_service(const struct cw_cluster_task *task);
/* What is in the directory; false, and said why. */
struct cw_cluster_files {
	struct cw_identity identity;
	struct cw_map *map;
	int lock;
};
bool cw_cluster_open(const struct cw_cluster_task *task, struct cw_cluster_files *files);
void cw_cluster_close(struct cw_cluster_files *files);
bool cw_cluster_key(const struct cw_cluster_task *task, const struct cw_cluster_files *files, unsigned char secret[64]);
/* The name that was given, or this machine's. */
bool cw_cluster_name(struct cw_cluster_task *task, char name[CW_CLUSTER_NAME]);
json_t *cw_cluster_addresses(const struct sockaddr_storage *address, uint32_t addresses);

/* A question to a service: the answer's type, its bytes (the caller's) and this end's address. -1 and why; a refusal is an answer. */
struct cw_far {
	uint16_t type;
	unsigned char *bytes;
	size_t length;
	struct sockaddr_storage own;
};
int cw_far_ask(struct cw_far *far, const struct sockaddr_storage *address, const struct cw_key_pair *keys, const unsigned char cluster[16],
	       const unsigned char *host, json_t *(*question)(void *context, const struct sockaddr_storage *own), void *context,
	       uint16_t type, char why[CW_WHY]);

#endif
