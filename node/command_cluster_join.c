/* causeway cluster join and leave. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command_cluster.h"

static int said(const char *why)
{
	cw_complain("%s", why);
	return 1;
}

static bool is_free(const struct cw_cluster_task *task)
{
	if (!cw_file_exists(task->directory, CW_FILE_NODE))
		return true;
	cw_complain("this node is in a cluster already (%s): `causeway cluster leave` first", task->directory);
	return false;
}

/* The node's key last: a directory without it is none of a cluster. */
static bool keep(const struct cw_cluster_task *task, const struct cw_identity *identity, const struct cw_map *map)
{
	char why[CW_WHY];

	if (cw_directory_make(task->directory, why) == 0 && cw_map_save(task->directory, map, why) == 0 &&
	    cw_identity_save(task->directory, identity, why) == 0)
		return true;
	cw_complain("%s", why);
	return false;
}

static int joined(const struct cw_cluster_task *task, const struct cw_identity *identity, const struct cw_map *map)
{
	json_t *json = json_pack("{s:s, s:s}", "name", identity->name, "directory", task->directory);

	if (map)
		json_object_set_new(json, "cluster", json_string(map->cluster_name));
	cw_cluster_done(task, json, "this node is %s%s%s; its keys are in %s", identity->name, map ? " of cluster " : "",
			map ? map->cluster_name : "", task->directory);
	if (!task->dry_run)
		cw_cluster_tell_service(task);
	return 0;
}

/* ---- from a file ---- */

static int join_by_file(const struct cw_cluster_task *task)
{
	char why[CW_WHY];
	json_t *json = cw_secret_load(task->file, why);
	struct cw_identity identity;
	const char *text = json_string_value(json_object_get(json, "map"));
	struct cw_map *map = NULL;
	int result = 1;

	if (!json)
		return said(why);
	if (!text || !cw_identity_read(json, &identity))
		cw_complain("%s is not what `causeway cluster export` writes", task->file);
	else if (!(map = cw_map_read(text, strlen(text), identity.cluster, why)))
		cw_complain("%s: %s", task->file, why);
	else if (is_free(task) && (task->dry_run || keep(task, &identity, map)))
		result = joined(task, &identity, map);
	cw_map_free(map);
	json_decref(json);
	sodium_memzero(&identity, sizeof(identity));
	return result;
}

/* ---- by asking a node ---- */

struct request {
	struct cw_cluster_task *task;
	const struct cw_identity *identity;
	const struct cw_invitation *invitation;
};

/* The address with which this machine has reached the other is one by which it is reached, if nothing translates between them. */
static void use_own_address(struct cw_cluster_task *task, const struct sockaddr_storage *own)
{
	char text[CW_ADDRESS_TEXT];

	if (task->addresses)
		return;
	cw_address_write(own, text);
	*strrchr(text, ':') = 0;
	task->addresses += cw_address_read(text, &task->address[0]);
}

static json_t *request_json(void *context, const struct sockaddr_storage *own)
{
	const struct request *request = context;
	char id[2 * CW_ID + 1], secret[2 * CW_INVITATION_SECRET + 1];

	use_own_address(request->task, own);
	cw_hex(id, request->identity->id, CW_ID);
	cw_hex(secret, request->invitation->secret, CW_INVITATION_SECRET);
	return json_pack("{s:s, s:s, s:s, s:b, s:o}", "invitation", secret, "name", request->identity->name, "id", id, "try",
			 (int)request->task->dry_run, "addresses", cw_cluster_addresses(request->task->address, request->task->addresses));
}

/* NULL too where it was only tried. */
static struct cw_map *map_of(const struct cw_far *far, struct cw_identity *identity, const struct cw_invitation *invitation,
			     char why[CW_WHY])
{
	unsigned char digest[16];
	struct cw_map *map = cw_map_read(far->bytes, far->length, NULL, why);

	if (!map)
		return NULL;
	cw_digest16(digest, map->cluster, CW_KEY);
	if (memcmp(digest, invitation->cluster, sizeof(digest)) == 0 && cw_map_by_key(map, identity->keys.public)) {
		memcpy(identity->cluster, map->cluster, CW_KEY);
		return map;
	}
	strcpy(why, "what it answered is not the map of the cluster of the invitation");
	cw_map_free(map);
	return NULL;
}

static int join_by_asking(struct cw_cluster_task *task, const struct sockaddr_storage *address, const struct cw_invitation *invitation)
{
	static const unsigned char none[CW_KEY];
	char why[CW_WHY], name[CW_CLUSTER_NAME];
	struct cw_identity identity;
	struct request request = {.task = task, .identity = &identity, .invitation = invitation};
	struct cw_map *map = NULL;
	struct cw_far far;
	int result = 1;

	if (!cw_cluster_name(task, name) || !is_free(task))
		return 1;
	cw_identity_make(&identity, name, none);
	if (cw_far_ask(&far, address, &identity.keys, invitation->cluster, invitation->host, request_json, &request, CW_RECORD_JOIN, why) <
	    0)
		cw_complain("%s", why);
	else if (far.type != CW_RECORD_JOINED || (!task->dry_run && !(map = map_of(&far, &identity, invitation, why))))
		cw_complain("the answer can't be used: %s", far.type != CW_RECORD_JOINED ? "is it of the same version?" : why);
	else if (task->dry_run || keep(task, &identity, map))
		result = joined(task, &identity, map);
	cw_map_free(map);
	free(far.bytes);
	sodium_memzero(&identity, sizeof(identity));
	return result;
}

int cw_cluster_join(struct cw_cluster_task *task)
{
	struct sockaddr_storage address;
	struct cw_invitation invitation;

	if (task->file && !task->arguments)
		return join_by_file(task);
	if (task->file || task->arguments != 2) {
		cw_complain("cluster join takes the address of a node and an invitation, or --file");
		return 2;
	}
	if (!cw_address_read(task->argument[0], &address)) {
		cw_complain("%s is no address", task->argument[0]);
		return 2;
	}
	if (!cw_invitation_read(task->argument[1], &invitation)) {
		cw_complain("that is no invitation: `causeway cluster invite` prints one");
		return 2;
	}
	return join_by_asking(task, &address, &invitation);
}

/* ---- leave ---- */

/* One of the others has the cluster's key. */
static bool tell_them(const struct cw_cluster_files *files, char why[CW_WHY])
{
	unsigned char digest[16];

	cw_digest16(digest, files->identity.cluster, CW_KEY);
	strcpy(why, "there is no other node");
	for (uint32_t i = 0; i < files->map->nodes; i++) {
		const struct cw_map_node *node = &files->map->node[i];

		for (uint32_t k = 0; k < node->addresses && memcmp(node->id, files->identity.id, CW_ID) != 0; k++) {
			struct cw_far far;
			int result =
				cw_far_ask(&far, &node->address[k], &files->identity.keys, digest, NULL, NULL, NULL, CW_RECORD_LEAVE, why);

			free(far.bytes);
			if (result == 0 && far.type == CW_RECORD_LEFT)
				return true;
		}
	}
	return false;
}

static void forget(const struct cw_cluster_task *task)
{
	static const char *const files[] = {CW_FILE_NODE, CW_FILE_MAP, CW_FILE_INVITED, CW_FILE_CLUSTER};
	char path[4096];

	for (size_t i = 0; i < CW_ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", task->directory, files[i]);
		if (unlink(path) < 0 && errno != ENOENT)
			cw_complain("%s: %s", path, strerror(errno));
	}
}

static bool may_leave(const struct cw_cluster_task *task, const struct cw_cluster_files *files)
{
	if (files->map->nodes < 2 || task->force || !cw_file_exists(task->directory, CW_FILE_CLUSTER))
		return true;
	cw_complain("the cluster's key is here, and would be lost: nobody could join or be removed any more. Copy %s/" CW_FILE_CLUSTER
		    " to another node's directory first, or use --force",
		    task->directory);
	return false;
}

/* Files that can't be read can't be shown to anybody, but they can be forgotten. */
static int leave_damaged(const struct cw_cluster_task *task)
{
	if (!cw_file_exists(task->directory, CW_FILE_NODE))
		return 1;
	if (!task->force) {
		cw_complain("no node can be told; `causeway cluster leave --force` forgets it here");
		return 1;
	}
	if (!task->dry_run)
		forget(task);
	cw_cluster_done(task, json_pack("{s:s}", "directory", task->directory), "what was in %s is forgotten; no node was told",
			task->directory);
	if (!task->dry_run)
		cw_cluster_tell_service(task);
	return 0;
}

int cw_cluster_leave(struct cw_cluster_task *task)
{
	struct cw_cluster_files files;
	char why[CW_WHY];
	json_t *json;
	bool alone;

	if (!cw_cluster_open(task, &files))
		return leave_damaged(task);
	/* One that was removed, or is the only one, has nobody to tell. */
	alone = files.map->nodes < 2 || !cw_map_by_key(files.map, files.identity.keys.public);
	if (!may_leave(task, &files)) {
		cw_cluster_close(&files);
		return 1;
	}
	if (!task->dry_run && !alone && !tell_them(&files, why) && !task->force) {
		cw_complain(
			"no node takes this one out of the map (%s). With --force it is forgotten here only; then use `causeway cluster "
			"remove %s` where the cluster's key is",
			why, files.identity.name);
		cw_cluster_close(&files);
		return 1;
	}
	json = json_pack("{s:s, s:s}", "name", files.identity.name, "cluster", files.map->cluster_name);
	if (!task->dry_run)
		forget(task);
	cw_cluster_done(task, json, "node %s has left cluster %s; streams with its nodes go by the kernel", files.identity.name,
			files.map->cluster_name);
	cw_cluster_close(&files);
	if (!task->dry_run)
		cw_cluster_tell_service(task);
	return 0;
}
