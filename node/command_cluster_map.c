/* causeway cluster init, invite, export, remove: what is done where the cluster's key is. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "command_cluster.h"

/* The address with which this machine speaks to the world; nothing is sent. */
static void add_own_address(struct cw_cluster_task *task, const char *world)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	char text[CW_ADDRESS_TEXT], *port;
	int fd;

	if (!cw_address_read(world, &address))
		return;
	fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, cw_address_length(&address)) == 0 &&
	    getsockname(fd, (struct sockaddr *)&address, &length) == 0) {
		cw_address_write(&address, text);
		port = strrchr(text, ':');
		*port = 0;
		task->addresses += cw_address_read(text, &task->address[task->addresses]);
	}
	if (fd >= 0)
		close(fd);
}

static bool have_addresses(struct cw_cluster_task *task)
{
	if (!task->addresses) {
		add_own_address(task, "192.0.2.1");
		add_own_address(task, "2001:db8::1");
	}
	if (!task->addresses)
		cw_complain("this machine has no address by which it speaks to all others: give those of the node with --address");
	return task->addresses;
}

static void fill(struct cw_map_node *node, const struct cw_cluster_task *task, const struct cw_identity *identity)
{
	memset(node, 0, sizeof(*node));
	strcpy(node->name, identity->name);
	memcpy(node->id, identity->id, CW_ID);
	memcpy(node->key, identity->keys.public, CW_KEY);
	node->addresses = task->addresses;
	memcpy(node->address, task->address, task->addresses * sizeof(task->address[0]));
}

static bool may_be_made(const struct cw_cluster_task *task)
{
	static const char *const files[] = {CW_FILE_NODE, CW_FILE_MAP, CW_FILE_CLUSTER};

	for (size_t i = 0; i < CW_ARRAY_SIZE(files); i++)
		if (cw_file_exists(task->directory, files[i])) {
			cw_complain("this node is in a cluster already (%s/%s): `causeway cluster leave` first", task->directory, files[i]);
			return false;
		}
	return true;
}

/* The node's key last: a directory without it is none of a cluster. */
static bool save_new(const struct cw_cluster_task *task, const struct cw_identity *identity, struct cw_map *map,
		     const unsigned char secret[64])
{
	char why[CW_WHY];

	if (cw_directory_make(task->directory, why) == 0 && cw_cluster_key_save(task->directory, secret, why) == 0 &&
	    cw_map_save(task->directory, map, why) == 0 && cw_identity_save(task->directory, identity, why) == 0)
		return true;
	cw_complain("%s", why);
	return false;
}

int cw_cluster_init(struct cw_cluster_task *task)
{
	const char *cluster = task->cluster ? task->cluster : "cluster";
	unsigned char public[CW_KEY], secret[64];
	char name[CW_CLUSTER_NAME];
	struct cw_identity identity;
	struct cw_map_node node;
	struct cw_map *map;
	json_t *json;
	bool fine;

	if (!cw_name_is_fine(cluster)) {
		cw_complain("%s is no name for a cluster", cluster);
		return 2;
	}
	if (!cw_cluster_name(task, name) || !have_addresses(task) || !may_be_made(task))
		return 1;
	crypto_sign_keypair(public, secret);
	cw_identity_make(&identity, name, public);
	fill(&node, task, &identity);
	map = cw_map_begin(cluster, public);
	fine = map && cw_map_add(map, &node) == CW_REFUSED_none && cw_map_sign(map, secret) &&
	       (task->dry_run || save_new(task, &identity, map, secret));
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(&identity, sizeof(identity));
	cw_map_free(map);
	if (!fine)
		return 1;
	json = json_pack("{s:s, s:s, s:s, s:o}", "cluster", cluster, "name", name, "directory", task->directory, "addresses",
			 cw_cluster_addresses(task->address, task->addresses));
	cw_cluster_done(task, json, "cluster %s, with this node as %s; its keys are in %s", cluster, name, task->directory);
	if (!task->dry_run)
		cw_cluster_tell_service(task);
	return 0;
}

int cw_cluster_invite(struct cw_cluster_task *task)
{
	struct cw_cluster_files files;
	struct cw_invitation invitation;
	const struct cw_map_node *self;
	unsigned char secret[64];
	char text[CW_INVITATION_TEXT], address[CW_ADDRESS_TEXT] = "ADDRESS", why[CW_WHY];
	int result = 1;
	json_t *json;

	if (!cw_cluster_open(task, &files))
		return 1;
	self = cw_map_by_id(files.map, files.identity.id);
	if (self && self->addresses)
		cw_address_write(&self->address[0], address);
	randombytes_buf(invitation.secret, sizeof(invitation.secret));
	cw_digest16(invitation.host, files.identity.keys.public, CW_KEY);
	cw_digest16(invitation.cluster, files.identity.cluster, CW_KEY);
	cw_invitation_write(&invitation, text);
	if (!cw_cluster_key(task, &files, secret)) {
		;
	} else if (!task->dry_run && cw_invitation_keep(task->directory, &invitation, time(NULL) + task->seconds, why) < 0) {
		cw_complain("%s", why);
	} else {
		if (task->dry_run)
			strcpy(text, "INVITATION");
		json = json_pack("{s:s, s:s, s:I}", "address", address, "invitation", text, "seconds", (json_int_t)task->seconds);
		result = cw_cluster_done(task, json, "causeway cluster join %s %s", address, text);
	}
	sodium_memzero(secret, sizeof(secret));
	cw_cluster_close(&files);
	return result;
}

/* ---- changes of the map ---- */

static bool sign(struct cw_map *map, const unsigned char secret[64])
{
	if (cw_map_sign(map, secret))
		return true;
	cw_complain("the map grew too large");
	return false;
}

static bool keep_map(const struct cw_cluster_task *task, const struct cw_map *map)
{
	char why[CW_WHY];

	if (task->dry_run || cw_map_save(task->directory, map, why) == 0)
		return true;
	cw_complain("%s", why);
	return false;
}

static bool write_export(const struct cw_cluster_task *task, const struct cw_identity *identity, const struct cw_map *map)
{
	json_t *json = cw_identity_json(identity);
	char why[CW_WHY];
	bool fine;

	json_object_set_new(json, "map", json_stringn(map->text, map->length));
	fine = cw_json_save(task->file, json, 0600, why) == 0;
	if (!fine)
		cw_complain("%s", why);
	json_decref(json);
	return fine;
}

static bool add_exported(struct cw_cluster_task *task, struct cw_cluster_files *files, const unsigned char secret[64],
			 struct cw_identity *identity)
{
	struct cw_map_node node;
	enum cw_cluster_reason reason;

	cw_identity_make(identity, task->argument[0], files->identity.cluster);
	fill(&node, task, identity);
	reason = cw_map_add(files->map, &node);
	if (reason == CW_REFUSED_none)
		return sign(files->map, secret);
	cw_complain("node %s can't be added: %s", task->argument[0], cw_cluster_reason_text(reason));
	return false;
}

int cw_cluster_export(struct cw_cluster_task *task)
{
	struct cw_cluster_files files;
	struct cw_identity identity;
	unsigned char secret[64];
	bool fine;

	if (!task->file || !task->addresses || !cw_name_is_fine(task->argument[0])) {
		cw_complain("cluster export takes the new node's name, --address and --file");
		return 2;
	}
	if (!cw_cluster_open(task, &files))
		return 1;
	fine = cw_cluster_key(task, &files, secret) && add_exported(task, &files, secret, &identity) &&
	       (task->dry_run || write_export(task, &identity, files.map)) && keep_map(task, files.map);
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(&identity, sizeof(identity));
	cw_cluster_close(&files);
	if (!fine)
		return 1;
	cw_cluster_done(task, json_pack("{s:s, s:s}", "name", task->argument[0], "file", task->file),
			"node %s can join with `causeway cluster join --file`; %s is its secret", task->argument[0], task->file);
	if (!task->dry_run)
		cw_cluster_tell_service(task);
	return 0;
}

int cw_cluster_remove(struct cw_cluster_task *task)
{
	struct cw_cluster_files files;
	const struct cw_map_node *node;
	const char *name = task->argument[0];
	unsigned char secret[64];
	bool fine = false;

	if (!cw_cluster_open(task, &files))
		return 1;
	node = cw_map_by_name(files.map, name);
	if (!node)
		cw_complain("there is no node %s: causeway cluster show lists them", name);
	else if (memcmp(node->id, files.identity.id, CW_ID) == 0)
		cw_complain("%s is this node itself: causeway cluster leave", name);
	else if (cw_cluster_key(task, &files, secret))
		fine = cw_map_remove(files.map, node->id) && sign(files.map, secret) && keep_map(task, files.map);
	sodium_memzero(secret, sizeof(secret));
	cw_cluster_close(&files);
	if (!fine)
		return 1;
	cw_cluster_done(task, json_pack("{s:s}", "name", name),
			"node %s is no node of the cluster any more: the others refuse it, and streams with it go by the kernel", name);
	if (!task->dry_run)
		cw_cluster_tell_service(task);
	return 0;
}
