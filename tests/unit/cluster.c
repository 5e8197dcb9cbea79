/* node/cluster_*: the handshake against its published vectors, and what comes from others: frames, records, maps, files. */
#include "unit.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "node/cluster_inside.h"

#define ROUNDS 20000

static void expect(const unsigned char *bytes, size_t length, const char *hex)
{
	char got[512];

	ck_assert_uint_lt(2 * length, sizeof(got));
	cw_hex(got, bytes, length);
	ck_assert_str_eq(got, hex);
}

static void begin(struct cw_noise *noise, bool initiator, unsigned char first_static, unsigned char first_ephemeral)
{
	struct cw_key_pair own;

	for (unsigned i = 0; i < CW_KEY; i++)
		own.secret[i] = (unsigned char)(first_static + i);
	crypto_scalarmult_base(own.public, own.secret);
	cw_noise_begin(noise, initiator, &own, "", 0);
	for (unsigned i = 0; i < CW_KEY; i++)
		noise->ephemeral.secret[i] = (unsigned char)(first_ephemeral + i);
	crypto_scalarmult_base(noise->ephemeral.public, noise->ephemeral.secret);
}

static ssize_t step(struct cw_noise *from, struct cw_noise *to, unsigned char message[256])
{
	unsigned char payload[256];
	ssize_t length = cw_noise_write(from, NULL, 0, message);

	ck_assert_int_gt(length, 0);
	ck_assert_int_eq(cw_noise_read(to, message, (size_t)length, payload), 0);
	return length;
}

/* Noise_XX_25519_ChaChaPoly_SHA512 of the published basic vectors. */
START_TEST(the_handshake_is_that_of_the_vectors)
{
	struct cw_noise i, r;
	struct cw_cipher i_sends, i_receives, r_sends, r_receives;
	unsigned char message[256], text[64] = "yellowsubmarine";

	begin(&i, true, 0x00, 0x20);
	begin(&r, false, 0x01, 0x41);
	expect(message, (size_t)step(&i, &r, message), "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254");
	expect(message, (size_t)step(&r, &i, message),
	       "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d4846692e5b8dda95b4ec55e42c2cbded11735474b3612a895298bcb02e846935"
	       "3"
	       "fe827273e4a7aadfc1aa32578b46bce2006fe1482f062e2f27e43ad23e67a304c030");
	expect(message, (size_t)step(&i, &r, message),
	       "ac3087e2342498dfa6606faf700dc5782b9612bdbc8bbb67a87181baac2d693d2f8df70600534bcbd389bbbf733550ae3e7e9a78f80aafa70d621164022"
	       "3"
	       "800d");
	cw_noise_split(&i, &i_sends, &i_receives);
	cw_noise_split(&r, &r_sends, &r_receives);
	cw_cipher_seal(&i_sends, text, 15);
	expect(text, 31, "2dcb8503b438910b2a2ffcf242ef705e6cce2d25bd30444402427981ee2064");
	ck_assert(cw_cipher_open(&r_receives, text, 31));
	memcpy(text, "submarineyellow", 15);
	cw_cipher_seal(&r_sends, text, 15);
	expect(text, 31, "56d2ce5c1e7e28b7406b99aff512114313b811e17c0af6497baa906165ba31");
	ck_assert(cw_cipher_open(&i_receives, text, 31));
}
END_TEST

/* Whatever bit is turned in whichever message, or in what both say first: the handshake fails by its last message at the latest. */
START_TEST(a_changed_handshake_fails)
{
	static const size_t lengths[CW_NOISE_STEPS] = {32, 96, 64};
	unsigned char message[256], payload[256];

	for (size_t changed = 0; changed < 32 + 96 + 64; changed++) {
		struct cw_noise ends[2];
		size_t passed = 0;
		bool failed = false;

		begin(&ends[0], true, 0x00, 0x20);
		begin(&ends[1], false, 0x01, 0x41);
		for (unsigned s = 0; s < CW_NOISE_STEPS && !failed; passed += lengths[s++]) {
			ssize_t length = cw_noise_write(&ends[s % 2], NULL, 0, message);

			ck_assert_int_eq(length, (ssize_t)lengths[s]);
			if (changed >= passed && changed < passed + lengths[s])
				message[changed - passed] ^= 1;
			failed = cw_noise_read(&ends[(s + 1) % 2], message, (size_t)length, payload) < 0;
		}
		ck_assert(failed);
	}
}
END_TEST

START_TEST(a_record_opens_once_and_in_its_place)
{
	struct cw_cipher sends = {.key = "key"}, receives = sends, again, other = {.key = "another"};
	unsigned char first[64], second[64], copy[64], *bytes;
	struct cw_frame frame;
	uint16_t type;
	size_t length, size = cw_record_seal(&sends, 17, "one", 3, first);

	cw_record_seal(&sends, 18, "two", 3, second);
	memcpy(copy, second, sizeof(copy));
	again = receives;
	ck_assert_int_eq(cw_frame_take(copy, size, CW_FRAME_MOST, &frame), (ssize_t)size);
	ck_assert(!cw_record_open(&again, &frame, &type, &bytes, &length));
	memcpy(copy, first, sizeof(copy));
	ck_assert(!cw_record_open(&other, &frame, &type, &bytes, &length));
	memcpy(copy, first, sizeof(copy));
	ck_assert(cw_record_open(&receives, &frame, &type, &bytes, &length));
	ck_assert_uint_eq(type, 17);
	ck_assert_uint_eq(length, 3);
	ck_assert_mem_eq(bytes, "one", 3);
	memcpy(copy, first, sizeof(copy));
	ck_assert(!cw_record_open(&receives, &frame, &type, &bytes, &length));
}
END_TEST

/* Exactly so much memory as came, for the sanitizers to watch. */
START_TEST(nonsense_in_frames_is_refused)
{
	uint64_t seed = 7;

	for (int round = 0; round < ROUNDS; round++) {
		size_t have = next_random(&seed) % 300, length;
		unsigned char *buffer = malloc(have + 1), *bytes;
		struct cw_cipher cipher = {0};
		struct cw_hello hello;
		struct cw_frame frame;
		uint16_t type;
		ssize_t taken;

		for (size_t i = 0; i < have; i++)
			buffer[i] = (unsigned char)next_random(&seed);
		if (have >= CW_FRAME_HEAD && round % 2)
			cw_frame_head(buffer, CW_FRAME_RECORD, next_random(&seed) % 300);
		taken = cw_frame_take(buffer, have, CW_FRAME_EARLY, &frame);
		ck_assert_int_le(taken, (ssize_t)have);
		ck_assert_int_le(taken, CW_FRAME_EARLY);
		if (taken > 0) {
			struct cw_noise noise;
			unsigned char payload[CW_FRAME_EARLY];

			cw_hello_take(frame.bytes, frame.length, &hello);
			cw_refusal_take(frame.bytes, frame.length);
			ck_assert_int_ne(cw_preamble_check(frame.bytes, frame.length, (const unsigned char[CW_PREAMBLE]){1}),
					 CW_REFUSED_none);
			if (round % 16 == 1) {
				begin(&noise, false, 1, 2);
				cw_noise_read(&noise, frame.bytes, frame.length, payload);
			}
			ck_assert(!cw_record_open(&cipher, &frame, &type, &bytes, &length));
		}
		free(buffer);
	}
}
END_TEST

static unsigned char public[CW_KEY], secret[64];

static struct cw_map_node node_of(const char *name, unsigned char number)
{
	struct cw_map_node node = {.addresses = 1};
	char address[32];

	strcpy(node.name, name);
	memset(node.id, number, sizeof(node.id));
	memset(node.key, number, sizeof(node.key));
	snprintf(address, sizeof(address), "10.0.0.%u", number);
	ck_assert(cw_address_read(address, &node.address[0]));
	return node;
}

static struct cw_map *two_nodes(void)
{
	struct cw_map_node one = node_of("one", 1), two = node_of("two", 2);
	struct cw_map *map;

	crypto_sign_keypair(public, secret);
	map = cw_map_begin("testers", public);
	ck_assert_int_eq(cw_map_add(map, &one), CW_REFUSED_none);
	ck_assert_int_eq(cw_map_add(map, &two), CW_REFUSED_none);
	ck_assert(cw_map_sign(map, secret));
	return map;
}

START_TEST(a_map_comes_back_as_it_was)
{
	struct cw_map *map = two_nodes(), *back;
	char why[200];

	back = cw_map_read(map->text, map->length, public, why);
	ck_assert_ptr_nonnull(back);
	ck_assert_uint_eq(back->version, 1);
	ck_assert_uint_eq(back->nodes, 2);
	ck_assert_mem_eq(back->node, map->node, 2 * sizeof(map->node[0]));
	ck_assert(!cw_map_newer(map->version, map->hash, back));
	ck_assert(cw_map_sign(map, secret));
	ck_assert(cw_map_newer(map->version, map->hash, back));
	ck_assert(!cw_map_newer(back->version, back->hash, map));
	cw_map_free(map);
	cw_map_free(back);
}
END_TEST

START_TEST(no_other_map_is_taken)
{
	struct cw_map *map = two_nodes();
	unsigned char other[CW_KEY], other_secret[64];
	char why[200], *text = malloc(map->length);

	for (size_t at = 0; at < map->length; at++) {
		memcpy(text, map->text, map->length);
		text[at] ^= 1;
		ck_assert_ptr_null(cw_map_read(text, map->length, public, why));
		ck_assert_ptr_null(cw_map_read(map->text, at, public, why));
	}
	crypto_sign_keypair(other, other_secret);
	ck_assert_ptr_null(cw_map_read(map->text, map->length, other, why));
	free(text);
	cw_map_free(map);
}
END_TEST

/* Signed nonsense: who has the key may still make mistakes. */
START_TEST(nonsense_in_a_signed_map_is_refused_or_harmless)
{
	struct cw_map *map = two_nodes(), *back;
	size_t head = (size_t)(strchr(map->text, '\n') - map->text) + 1, hex = head - 1 - 128;
	unsigned char signature[64];
	char why[200], *text = malloc(map->length + 1);
	uint64_t seed = 11;

	for (int round = 0; round < ROUNDS / 10; round++) {
		memcpy(text, map->text, map->length + 1);
		for (uint64_t changes = 1 + next_random(&seed) % 3; changes; changes--)
			text[head + next_random(&seed) % (map->length - head)] = (char)next_random(&seed);
		crypto_sign_detached(signature, NULL, (unsigned char *)text + head, map->length - head, secret);
		sodium_bin2hex(text + hex, 129, signature, 64);
		text[head - 1] = '\n';
		back = cw_map_read(text, map->length, public, why);
		if (back)
			ck_assert_uint_le(back->nodes, CW_CLUSTER_NODES);
		cw_map_free(back);
	}
	free(text);
	cw_map_free(map);
}
END_TEST

START_TEST(a_map_has_each_name_key_and_address_once)
{
	struct cw_map *map = two_nodes();
	struct cw_map_node three = node_of("one", 3);

	ck_assert_int_eq(cw_map_add(map, &three), CW_REFUSED_same_name);
	three = node_of("three", 3);
	three.address[0] = map->node[0].address[0];
	ck_assert_int_eq(cw_map_add(map, &three), CW_REFUSED_same_address);
	three = node_of("three", 3);
	memcpy(three.id, map->node[0].id, 8); /* the short id is what nodes are called by */
	ck_assert_int_ne(cw_map_add(map, &three), CW_REFUSED_none);
	three = node_of("three", 3);
	ck_assert_int_eq(cw_map_stranger(map, three.key, three.id), CW_REFUSED_unknown);
	ck_assert_int_eq(cw_map_stranger(map, three.key, map->node[0].id), CW_REFUSED_old_key);
	ck_assert_int_eq(cw_map_add(map, &three), CW_REFUSED_none);
	ck_assert(cw_map_remove(map, three.id));
	ck_assert(!cw_map_remove(map, three.id));
	ck_assert_int_eq(cw_map_stranger(map, three.key, three.id), CW_REFUSED_removed);
	for (unsigned char number = 3; map->nodes < CW_CLUSTER_NODES; number++) {
		char name[16];

		snprintf(name, sizeof(name), "node%u", number);
		three = node_of(name, number);
		ck_assert_int_eq(cw_map_add(map, &three), CW_REFUSED_none);
	}
	three = node_of("last", 200);
	ck_assert_int_eq(cw_map_add(map, &three), CW_REFUSED_full);
	cw_map_free(map);
}
END_TEST

START_TEST(addresses_are_read_as_they_are_written)
{
	static const char *const good[][2] = {{"10.0.0.1", "10.0.0.1:7929"},
					      {"10.0.0.1:80", "10.0.0.1:80"},
					      {"fd00::1", "[fd00::1]:7929"},
					      {"[fd00::1]", "[fd00::1]:7929"},
					      {"[fd00::1]:80", "[fd00::1]:80"}};
	static const char *const bad[] = {
		"",      "a",       "10.0.0",    "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:8x",   "[fd00::1", "[fd00::1]80",
		"[]:80", "0.0.0.0", "224.0.0.1", "::",        "fe80::1",    "ff02::1",        "::ffff:0.0.0.0"};
	struct sockaddr_storage address;
	char text[CW_ADDRESS_TEXT];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert(cw_address_read(good[i][0], &address));
		cw_address_write(&address, text);
		ck_assert_str_eq(text, good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!cw_address_read(bad[i], &address), "%s", bad[i]);
}
END_TEST

START_TEST(secrets_are_their_owners_alone)
{
	char directory[] = "/tmp/causeway-cluster-XXXXXX", path[64], why[CW_WHY] = "";
	struct cw_identity made, back;
	struct stat about;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/" CW_FILE_NODE, directory);
	ck_assert(cw_identity_make(&made, "one", (const unsigned char[CW_KEY]){9}));
	ck_assert_int_eq(cw_identity_save(directory, &made, why), 0);
	ck_assert_int_eq(stat(path, &about), 0);
	ck_assert_int_eq(about.st_mode & 0777, 0600);
	ck_assert_int_eq(cw_identity_load(directory, &back, why), 0);
	ck_assert_mem_eq(&made.keys, &back.keys, sizeof(made.keys));
	chmod(path, 0640);
	ck_assert_int_lt(cw_identity_load(directory, &back, why), 0);
	ck_assert_ptr_nonnull(strstr(why, "chmod 600"));
	unlink(path);
	rmdir(directory);
}
END_TEST

START_TEST(an_invitation_is_good_once_and_until_its_end)
{
	char directory[] = "/tmp/causeway-cluster-XXXXXX", path[64], why[CW_WHY] = "", text[CW_INVITATION_TEXT];
	struct cw_invitation invitation = {.secret = "first"}, late = {.secret = "late"}, back;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(cw_invitation_keep(directory, &invitation, time(NULL) + 3600, why), 0);
	ck_assert_int_eq(cw_invitation_keep(directory, &late, time(NULL) - 1, why), 0);
	cw_invitation_write(&invitation, text);
	ck_assert(cw_invitation_read(text, &back));
	ck_assert_mem_eq(&back, &invitation, sizeof(back));
	text[5] = 0;
	ck_assert(!cw_invitation_read(text, &back));
	ck_assert_int_eq(cw_invitation_use(directory, late.secret, true), CW_REFUSED_expired);
	ck_assert_int_eq(cw_invitation_use(directory, invitation.secret, false), CW_REFUSED_none);
	ck_assert_int_eq(cw_invitation_use(directory, invitation.secret, true), CW_REFUSED_none);
	ck_assert_int_eq(cw_invitation_use(directory, invitation.secret, true), CW_REFUSED_no_invitation);
	snprintf(path, sizeof(path), "%s/" CW_FILE_INVITED, directory);
	unlink(path);
	rmdir(directory);
}
END_TEST

int main(void)
{
	SRunner *runner;
	TCase *units = units_of("cluster", 120, &runner);

	if (!cw_noise_ready())
		return EXIT_FAILURE;
	tcase_add_test(units, the_handshake_is_that_of_the_vectors);
	tcase_add_test(units, a_changed_handshake_fails);
	tcase_add_test(units, a_record_opens_once_and_in_its_place);
	tcase_add_test(units, nonsense_in_frames_is_refused);
	tcase_add_test(units, a_map_comes_back_as_it_was);
	tcase_add_test(units, no_other_map_is_taken);
	tcase_add_test(units, nonsense_in_a_signed_map_is_refused_or_harmless);
	tcase_add_test(units, a_map_has_each_name_key_and_address_once);
	tcase_add_test(units, addresses_are_read_as_they_are_written);
	tcase_add_test(units, secrets_are_their_owners_alone);
	tcase_add_test(units, an_invitation_is_good_once_and_until_its_end);
	return run_units(runner);
}
