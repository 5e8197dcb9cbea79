/*
 * The inside of node services together, for the service and the command.
 *
 *	cluster_noise.c		the handshake and the ciphers
 *	cluster_wire.c		frames and records, packed and taken apart with distrust
 *	cluster_map.c		the map: made, signed, checked, changed
 *	cluster_address.c	addresses as text
 *	cluster_files.c		the directory: who we are, the map, the cluster's key, invitations
 *
 * The channel. One kernel TCP connection a pair of nodes; frames of {length 16, kind 8, zero 8}, big endian, and so many bytes:
 *
 *	initiator	responder
 *	OPENING   ->			preamble in the clear (magic, protocol, cluster), then Noise's first message
 *		  <-	ANSWER		Noise's second. Or REFUSAL, in the clear: a hint for people, since anybody on the way could say it
 *	PROOF	  ->			Noise's third: now both know the other's key
 *	RECORD	  <->	RECORD		encrypted: {type 16, zero 16}, bytes
 *
 * The pattern is Noise_XX_25519_ChaChaPoly_SHA512 (noiseprotocol.org, revision 34), on libsodium's primitives; the unit test has its
 * published vectors. XX and not IK or KK, which would need less: a node that slept through a change of keys must still be able to meet
 * the others, show its key and be given the newer map; XX lets each see the other's key before either has to know it. A fresh X25519 pair
 * a connection gives forward secrecy, the transcript's hash covers the preamble (no other cluster's or version's handshake can be put
 * in its place), and keys that differ by direction refuse a record that is sent back. Records are numbered by the cipher's nonce: one
 * that is replayed, left out or moved doesn't open, and ends the connection. A stream that is cut off between records is an end like
 * any other: nothing is taken from a record that isn't whole, and what must arrive is asked for by whoever needs it.
 *
 * crypto_secretstream would do for the records, but has no handshake; Noise's own records have the same properties and published vectors.
 *
 * Meeting. Both send HELLO as their first record (or JOIN, LEAVE: the command's). Whoever has the newer map sends it to a
 * member. A key that is not in the map is refused, unless the other's map is newer: then it has until the deadline to send it. Then
 * the node with the smaller id, the *decider*, sends CONFIRM on the one connection that is to be the channel, and only that makes it up:
 * two that were begun at once never both carry messages. A connection that comes while another is up waits for a probe of that one:
 * if the old one answers the new is superfluous, or, from another instance, a copy of the node; if not, it takes its place. Who is
 * confirmed doesn't know better than that either, and doesn't read what follows CONFIRM until its own probe of the old one is answered.
 */
#ifndef CW_NODE_CLUSTER_INSIDE_H
#define CW_NODE_CLUSTER_INSIDE_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

#include "cluster.h"

#define CW_CLUSTER_PORT      7929
#define CW_CLUSTER_DIRECTORY "/etc/causeway/cluster"
#define CW_CLUSTER_PROTOCOL  1
#define CW_KEY               32
#define CW_ID                16
#define CW_TAG               16    /* of the cipher */
#define CW_MAP_MOST          60000 /* bytes, with its signature */
#define CW_MAP_REMOVED       32

/* cluster_noise.c */
struct cw_key_pair {
	unsigned char public[CW_KEY], secret[CW_KEY];
};

struct cw_cipher {
	unsigned char key[32];
	uint64_t nonce;
};

struct cw_noise {
	bool initiator;
	unsigned step; /* messages so far */
	bool keyed;
	unsigned char chain[64], hash[64];
	struct cw_cipher cipher;
	struct cw_key_pair own, ephemeral;
	unsigned char other[CW_KEY], other_ephemeral[CW_KEY];
};

#define CW_NOISE_MORE  96 /* that a message is longer than its payload, at the most */
#define CW_NOISE_STEPS 3

bool cw_noise_ready(void); /* before anything else; false: libsodium can't work here */
void cw_noise_begin(struct cw_noise *noise, bool initiator, const struct cw_key_pair *own, const void *prologue, size_t length);
/* The length of the message, or -1: the other's key is no good. */
ssize_t cw_noise_write(struct cw_noise *noise, const void *payload, size_t length, unsigned char *to);
/* The length of the payload, or -1: it isn't what it should be, and nothing more may be done with this handshake. */
ssize_t cw_noise_read(struct cw_noise *noise, const unsigned char *message, size_t length, unsigned char *payload);
void cw_noise_split(struct cw_noise *noise, struct cw_cipher *sending, struct cw_cipher *receiving);
/* In place, `bytes` with room for CW_TAG more. */
void cw_cipher_seal(struct cw_cipher *cipher, unsigned char *bytes, size_t length);
bool cw_cipher_open(struct cw_cipher *cipher, unsigned char *bytes, size_t length); /* length with the tag */

/* cluster_wire.c */
enum cw_frame_kind { CW_FRAME_OPENING = 1, CW_FRAME_ANSWER, CW_FRAME_PROOF, CW_FRAME_REFUSAL, CW_FRAME_RECORD, CW_FRAME_KINDS };

enum cw_record_type {
	CW_RECORD_HELLO = 1,
	CW_RECORD_CONFIRM,
	CW_RECORD_MAP,
	CW_RECORD_PING,
	CW_RECORD_PONG,
	CW_RECORD_REFUSED,
	CW_RECORD_JOIN,
	CW_RECORD_JOINED,
	CW_RECORD_LEAVE,
	CW_RECORD_LEFT,
	CW_RECORD_ADDRESSES
};

enum cw_cluster_reason {
#define X(name, text, remedy) CW_REFUSED_##name,
#include "cluster_reasons.def"
#undef X
	CW_CLUSTER_REASONS
};
extern const char *const cw_cluster_reason_names[CW_CLUSTER_REASONS];
const char *cw_cluster_reason_text(unsigned reason);
const char *cw_cluster_reason_remedy(unsigned reason);

#define CW_FRAME_HEAD     4
#define CW_FRAME_MOST     (CW_FRAME_HEAD + 65535)
#define CW_FRAME_EARLY    256 /* the most of a frame before both have shown their keys */
#define CW_RECORD_HEAD    4
#define CW_RECORD_LONGEST (65535 - CW_TAG - CW_RECORD_HEAD)
#define CW_PREAMBLE       24
#define CW_REFUSAL        4
#define CW_HELLO_RECORD   64

struct cw_frame {
	enum cw_frame_kind kind;
	unsigned char *bytes;
	size_t length;
};
/* How many bytes the first frame takes, 0 if it isn't all there, -1 if it can't be one of at most that many. */
ssize_t cw_frame_take(unsigned char *buffer, size_t have, size_t most, struct cw_frame *frame);
void cw_frame_head(unsigned char *to, enum cw_frame_kind kind, size_t length);

/* With the digest of the cluster's key. */
void cw_preamble_make(unsigned char to[CW_PREAMBLE], const unsigned char cluster[16]);
/* What is wrong with it, CW_REFUSED_none if nothing. */
enum cw_cluster_reason cw_preamble_check(const unsigned char *bytes, size_t length, const unsigned char own[CW_PREAMBLE]);
void cw_refusal_make(unsigned char to[CW_REFUSAL], enum cw_cluster_reason reason);
enum cw_cluster_reason cw_refusal_take(const unsigned char *bytes, size_t length);

struct cw_hello {
	uint64_t map_version, instance;
	unsigned char map_hash[16], id[CW_ID];
	char version[16];
};
void cw_hello_make(unsigned char to[CW_HELLO_RECORD], const struct cw_hello *hello);
bool cw_hello_take(const unsigned char *bytes, size_t length, struct cw_hello *hello);

/* A whole frame of a record in `to`, which has room for CW_RECORD_ROOM more than the bytes; its length. */
#define CW_RECORD_ROOM (CW_FRAME_HEAD + CW_RECORD_HEAD + CW_TAG)
size_t cw_record_seal(struct cw_cipher *cipher, uint16_t type, const void *bytes, size_t length, unsigned char *to);
/* Of a frame's bytes, which are decrypted where they are. */
bool cw_record_open(struct cw_cipher *cipher, const struct cw_frame *frame, uint16_t *type, unsigned char **bytes, size_t *length);
uint64_t cw_number_take(const unsigned char bytes[8]);
void cw_number_put(unsigned char to[8], uint64_t number);

/* cluster_address.c: 10.0.0.1, 10.0.0.1:7929, fd00::1, [fd00::1]:7929 */
#define CW_ADDRESS_TEXT 64
bool cw_address_read(const char *text, struct sockaddr_storage *address);
void cw_address_write(const struct sockaddr_storage *address, char text[CW_ADDRESS_TEXT]);
bool cw_address_same(const struct sockaddr_storage *one, const struct sockaddr_storage *other); /* with the port */
bool cw_address_plain(const struct sockaddr *address, struct in6_addr *plain);                  /* without; IPv4 as v4-mapped */
socklen_t cw_address_length(const struct sockaddr_storage *address);

/* cluster_map.c */
struct cw_map_node {
	char name[CW_CLUSTER_NAME];
	unsigned char id[CW_ID], key[CW_KEY];
	uint32_t addresses;
	struct sockaddr_storage address[CW_CLUSTER_ADDRESSES];
};

struct cw_map {
	char cluster_name[CW_CLUSTER_NAME];
	unsigned char cluster[CW_KEY]; /* the cluster's public key: its identity */
	uint64_t version;
	uint32_t nodes, removed;
	struct cw_map_node node[CW_CLUSTER_NODES];
	struct cw_map_node gone[CW_MAP_REMOVED]; /* without addresses */
	/* As it is signed, kept in files and sent: the signature's line, then JSON. */
	char *text;
	size_t length;
	unsigned char hash[16];
};

bool cw_name_is_fine(const char *name);
uint64_t cw_short_id(const unsigned char id[CW_ID]);
/* NULL and why: not signed by that key (cluster NULL: by the one it names), or not a map. */
struct cw_map *cw_map_read(const void *text, size_t length, const unsigned char *cluster, char why[200]);
void cw_map_free(struct cw_map *map);
struct cw_map *cw_map_begin(const char *cluster_name, const unsigned char cluster[CW_KEY]);
/* Counts the version up, and signs. False if it grew too large. */
bool cw_map_sign(struct cw_map *map, const unsigned char secret[64]);
/* The one that all nodes take of two; equal ones are not newer. */
bool cw_map_newer(uint64_t version, const unsigned char hash[16], const struct cw_map *than);
const struct cw_map_node *cw_map_by_name(const struct cw_map *map, const char *name);
const struct cw_map_node *cw_map_by_key(const struct cw_map *map, const unsigned char key[CW_KEY]);
const struct cw_map_node *cw_map_by_id(const struct cw_map *map, const unsigned char id[CW_ID]);
/* Why a node with that key isn't one of the map. */
enum cw_cluster_reason cw_map_stranger(const struct cw_map *map, const unsigned char key[CW_KEY], const unsigned char id[CW_ID]);
enum cw_cluster_reason cw_map_add(struct cw_map *map, const struct cw_map_node *node);
bool cw_map_remove(struct cw_map *map, const unsigned char id[CW_ID]);
json_t *cw_map_json(const struct cw_map *map);

/* cluster_files.c: `why` says which file, what is wrong and what to do. */
struct cw_identity {
	char name[CW_CLUSTER_NAME];
	unsigned char id[CW_ID];
	struct cw_key_pair keys;
	unsigned char cluster[CW_KEY];
};

#define CW_WHY          400
#define CW_FILE_NODE    "node.key"
#define CW_FILE_CLUSTER "cluster.key"
#define CW_FILE_MAP     "map"
#define CW_FILE_INVITED "invitations"

bool cw_identity_make(struct cw_identity *identity, const char *name, const unsigned char cluster[CW_KEY]);
json_t *cw_identity_json(const struct cw_identity *identity);
bool cw_identity_read(const json_t *json, struct cw_identity *identity);

bool cw_file_exists(const char *directory, const char *file);
int cw_directory_make(const char *directory, char why[CW_WHY]);
/* Nobody else changes what is in the directory until it is closed. -1: somebody does now, or why. */
int cw_directory_lock(const char *directory, bool wait, char why[CW_WHY]);
int cw_identity_save(const char *directory, const struct cw_identity *identity, char why[CW_WHY]);
int cw_identity_load(const char *directory, struct cw_identity *identity, char why[CW_WHY]);
int cw_map_save(const char *directory, const struct cw_map *map, char why[CW_WHY]);
struct cw_map *cw_map_load(const char *directory, const unsigned char *cluster, char why[CW_WHY]);
int cw_cluster_key_save(const char *directory, const unsigned char secret[64], char why[CW_WHY]);
int cw_cluster_key_load(const char *directory, const unsigned char cluster[CW_KEY], unsigned char secret[64], char why[CW_WHY]);
int cw_json_save(const char *path, const json_t *json, mode_t mode, char why[CW_WHY]);
/* A secret of this user's that others can't read; NULL and why. */
json_t *cw_secret_load(const char *path, char why[CW_WHY]);

/* An invitation: a word that is known to the node that made it and to whoever was given it, and good for one join. */
#define CW_INVITATION_SECRET 16
#define CW_INVITATION_TEXT   80
struct cw_invitation {
	unsigned char secret[CW_INVITATION_SECRET];
	unsigned char host[16];    /* digest of the inviting node's key: who may be told the secret */
	unsigned char cluster[16]; /* digest of the cluster's key */
};
void cw_invitation_write(const struct cw_invitation *invitation, char text[CW_INVITATION_TEXT]);
bool cw_invitation_read(const char *text, struct cw_invitation *invitation);
int cw_invitation_keep(const char *directory, const struct cw_invitation *invitation, int64_t until, char why[CW_WHY]);
/* Only looks, or takes it away: CW_REFUSED_none if it is good. */
enum cw_cluster_reason cw_invitation_use(const char *directory, const unsigned char secret[CW_INVITATION_SECRET], bool take);

void cw_digest16(unsigned char to[16], const void *bytes, size_t length);
void cw_hex(char *to, const unsigned char *bytes, size_t length);
bool cw_unhex(unsigned char *to, size_t length, const char *text);

#endif
