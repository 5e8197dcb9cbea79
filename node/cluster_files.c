/* The directory of a node's cluster. Files are replaced whole; secrets are their owner's alone. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cluster_inside.h"

#define PATH             4096
#define MOST_INVITATIONS 1000

static int fail(char why[CW_WHY], const char *path, const char *what)
{
	snprintf(why, CW_WHY, "%.200s: %.190s", path, what);
	return -1;
}

static bool path_of(char path[PATH], const char *directory, const char *file)
{
	return snprintf(path, PATH, "%s/%s", directory, file) < PATH - 8;
}

bool cw_file_exists(const char *directory, const char *file)
{
	char path[PATH];

	return path_of(path, directory, file) && access(path, F_OK) == 0;
}

int cw_directory_make(const char *directory, char why[CW_WHY])
{
	char path[PATH];

	snprintf(path, sizeof(path), "%s", directory);
	for (char *slash = path + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = 0;
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return fail(why, path, strerror(errno));
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? fail(why, path, strerror(errno)) : 0;
}

int cw_directory_lock(const char *directory, bool wait, char why[CW_WHY])
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) == 0)
		return fd;
	fail(why, directory, errno == EWOULDBLOCK ? "is being changed: try again" : strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool write_all(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t put = write(fd, bytes, length);

		if (put < 0)
			return false;
		bytes += put;
		length -= (size_t)put;
	}
	return true;
}

static int save(const char *path, const char *bytes, size_t length, mode_t mode, char why[CW_WHY])
{
	char made[PATH + 8];
	int fd, error;

	snprintf(made, sizeof(made), "%s.XXXXXX", path);
	fd = mkostemp(made, O_CLOEXEC);
	if (fd < 0)
		return fail(why, path, strerror(errno));
	if (fchmod(fd, mode) == 0 && write_all(fd, bytes, length) && fsync(fd) == 0 && rename(made, path) == 0) {
		close(fd);
		return 0;
	}
	error = errno;
	close(fd);
	unlink(made);
	return fail(why, path, strerror(error));
}

static int save_in(const char *directory, const char *file, const char *bytes, size_t length, mode_t mode, char why[CW_WHY])
{
	char path[PATH];

	if (!path_of(path, directory, file))
		return fail(why, directory, "the name is too long");
	return save(path, bytes, length, mode, why);
}

int cw_json_save(const char *path, const json_t *json, mode_t mode, char why[CW_WHY])
{
	char *text = json_dumps(json, JSON_INDENT(1));
	int result = text ? save(path, text, strlen(text), mode, why) : fail(why, path, "there is no memory");

	if (text) {
		sodium_memzero(text, strlen(text));
		free(text);
	}
	return result;
}

/* What others could have read or written isn't a secret of ours. */
static bool is_secret(int fd, const char *path, char why[CW_WHY])
{
	struct stat about;

	if (fstat(fd, &about) < 0)
		fail(why, path, strerror(errno));
	else if (!S_ISREG(about.st_mode))
		fail(why, path, "is not a file");
	else if (about.st_uid != geteuid() && about.st_uid != 0)
		fail(why, path, "belongs to another user: chown it to the one who runs the service");
	else if (about.st_mode & 077)
		fail(why, path, "is a secret, and others may read it: chmod 600");
	else
		return true;
	return false;
}

json_t *cw_secret_load(const char *path, char why[CW_WHY])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	json_t *json = NULL;

	if (fd < 0) {
		fail(why, path, strerror(errno));
		return NULL;
	}
	if (is_secret(fd, path, why) && !(json = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL)))
		fail(why, path, "is damaged: it is not JSON");
	close(fd);
	return json;
}

static json_t *secret_in(const char *directory, const char *file, char why[CW_WHY])
{
	char path[PATH];

	if (path_of(path, directory, file))
		return cw_secret_load(path, why);
	fail(why, directory, "the name is too long");
	return NULL;
}

bool cw_identity_make(struct cw_identity *identity, const char *name, const unsigned char cluster[CW_KEY])
{
	memset(identity, 0, sizeof(*identity));
	strcpy(identity->name, name);
	do
		randombytes_buf(identity->id, CW_ID);
	while (!cw_short_id(identity->id));
	memcpy(identity->cluster, cluster, CW_KEY);
	return crypto_box_keypair(identity->keys.public, identity->keys.secret) == 0;
}

json_t *cw_identity_json(const struct cw_identity *identity)
{
	char id[2 * CW_ID + 1], secret[2 * CW_KEY + 1], cluster[2 * CW_KEY + 1];

	cw_hex(id, identity->id, CW_ID);
	cw_hex(secret, identity->keys.secret, CW_KEY);
	cw_hex(cluster, identity->cluster, CW_KEY);
	return json_pack("{s:s, s:s, s:s, s:s}", "name", identity->name, "id", id, "secret", secret, "cluster", cluster);
}

bool cw_identity_read(const json_t *json, struct cw_identity *identity)
{
	const char *name = json_string_value(json_object_get(json, "name"));

	memset(identity, 0, sizeof(*identity));
	if (!cw_name_is_fine(name) || !cw_unhex(identity->id, CW_ID, json_string_value(json_object_get(json, "id"))) ||
	    !cw_unhex(identity->keys.secret, CW_KEY, json_string_value(json_object_get(json, "secret"))) ||
	    !cw_unhex(identity->cluster, CW_KEY, json_string_value(json_object_get(json, "cluster"))) || !cw_short_id(identity->id))
		return false;
	strcpy(identity->name, name);
	return crypto_scalarmult_base(identity->keys.public, identity->keys.secret) == 0;
}

int cw_identity_save(const char *directory, const struct cw_identity *identity, char why[CW_WHY])
{
	char path[PATH];
	json_t *json = cw_identity_json(identity);
	int result =
		path_of(path, directory, CW_FILE_NODE) ? cw_json_save(path, json, 0600, why) : fail(why, directory, "the name is too long");

	json_decref(json);
	return result;
}

int cw_identity_load(const char *directory, struct cw_identity *identity, char why[CW_WHY])
{
	json_t *json = secret_in(directory, CW_FILE_NODE, why);
	bool fine = json && cw_identity_read(json, identity);

	if (json && !fine)
		snprintf(why, CW_WHY, "%.200s/" CW_FILE_NODE ": is damaged: `causeway cluster leave --force`, and join again", directory);
	json_decref(json);
	return fine ? 0 : -1;
}

int cw_map_save(const char *directory, const struct cw_map *map, char why[CW_WHY])
{
	return save_in(directory, CW_FILE_MAP, map->text, map->length, 0644, why);
}

struct cw_map *cw_map_load(const char *directory, const unsigned char *cluster, char why[CW_WHY])
{
	char path[PATH], text[CW_MAP_MOST + 1], wrong[200];
	struct cw_map *map;
	ssize_t length;
	int fd;

	if (!path_of(path, directory, CW_FILE_MAP))
		strcpy(path, directory);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	length = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (length < 0) {
		fail(why, path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	close(fd);
	map = cw_map_read(text, (size_t)length, cluster, wrong);
	if (!map)
		fail(why, path, wrong);
	return map;
}

int cw_cluster_key_save(const char *directory, const unsigned char secret[64], char why[CW_WHY])
{
	char hex[129], path[PATH];
	json_t *json;
	int result;

	cw_hex(hex, secret, 64);
	json = json_pack("{s:s}", "secret", hex);
	result = path_of(path, directory, CW_FILE_CLUSTER) ? cw_json_save(path, json, 0600, why)
							   : fail(why, directory, "the name is too long");
	json_decref(json);
	sodium_memzero(hex, sizeof(hex));
	return result;
}

int cw_cluster_key_load(const char *directory, const unsigned char cluster[CW_KEY], unsigned char secret[64], char why[CW_WHY])
{
	json_t *json = secret_in(directory, CW_FILE_CLUSTER, why);
	bool fine = json && cw_unhex(secret, 64, json_string_value(json_object_get(json, "secret"))) &&
		    memcmp(secret + 32, cluster, CW_KEY) == 0;

	if (json && !fine)
		snprintf(why, CW_WHY, "%.200s/" CW_FILE_CLUSTER ": is not the key of this cluster", directory);
	json_decref(json);
	return fine ? 0 : -1;
}

/* The secret, the digest of the host's key, the digest of the cluster's key, as URL-safe base64. */
#define PREFIX  "cw1-"
#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

void cw_invitation_write(const struct cw_invitation *invitation, char text[CW_INVITATION_TEXT])
{
	strcpy(text, PREFIX);
	sodium_bin2base64(text + strlen(PREFIX), CW_INVITATION_TEXT - strlen(PREFIX), (const unsigned char *)invitation,
			  sizeof(*invitation), VARIANT);
}

bool cw_invitation_read(const char *text, struct cw_invitation *invitation)
{
	size_t got;

	return strncmp(text, PREFIX, strlen(PREFIX)) == 0 &&
	       sodium_base642bin((unsigned char *)invitation, sizeof(*invitation), text + strlen(PREFIX), strlen(text) - strlen(PREFIX),
				 NULL, &got, NULL, VARIANT) == 0 &&
	       got == sizeof(*invitation);
}

static void digest_of(const unsigned char secret[CW_INVITATION_SECRET], char hex[33])
{
	unsigned char digest[16];

	cw_digest16(digest, secret, CW_INVITATION_SECRET);
	cw_hex(hex, digest, sizeof(digest));
}

/* The file holds digests and until when (this node's clock alone): who reads it can't join. */
static json_t *invitations(const char *directory, char why[CW_WHY])
{
	return cw_file_exists(directory, CW_FILE_INVITED) ? secret_in(directory, CW_FILE_INVITED, why) : json_object();
}

static int keep_invitations(const char *directory, json_t *list, char why[CW_WHY])
{
	char path[PATH];
	json_t *until;
	const char *key;
	void *next;

	/* Kept for a day after their end, so that who comes late is told so. */
	json_object_foreach_safe(list, next, key, until) if (json_integer_value(until) < (json_int_t)time(NULL) - 86400)
		json_object_del(list, key);
	return path_of(path, directory, CW_FILE_INVITED) ? cw_json_save(path, list, 0600, why)
							 : fail(why, directory, "the name is too long");
}

int cw_invitation_keep(const char *directory, const struct cw_invitation *invitation, int64_t until, char why[CW_WHY])
{
	json_t *list = invitations(directory, why);
	char hex[33];
	int result = -1;

	digest_of(invitation->secret, hex);
	if (list && json_object_size(list) >= MOST_INVITATIONS)
		fail(why, directory, "there are too many open invitations");
	else if (list && json_object_set_new(list, hex, json_integer(until)) == 0)
		result = keep_invitations(directory, list, why);
	json_decref(list);
	return result;
}

enum cw_cluster_reason cw_invitation_use(const char *directory, const unsigned char secret[CW_INVITATION_SECRET], bool take)
{
	enum cw_cluster_reason reason = CW_REFUSED_no_invitation;
	char hex[33], why[CW_WHY];
	json_t *list = invitations(directory, why), *until;

	digest_of(secret, hex);
	until = json_object_get(list, hex);
	if (until)
		reason = json_integer_value(until) > (json_int_t)time(NULL) ? CW_REFUSED_none : CW_REFUSED_expired;
	if (reason == CW_REFUSED_none && take) {
		json_object_del(list, hex);
		if (keep_invitations(directory, list, why) < 0)
			reason = CW_REFUSED_failed;
	}
	json_decref(list);
	return reason;
}
