/* Noise_XX_25519_ChaChaPoly_SHA512, of the Noise specification (revision 34), with libsodium's primitives. The names are the
 * specification's. */
#include <sodium.h>
#include <string.h>

#include "cluster_inside.h"

static const char protocol_name[] = "Noise_XX_25519_ChaChaPoly_SHA512";

/* 5.3: what each message of the pattern carries. */
enum token { END, E, S, EE, ES, SE };
static const enum token pattern[CW_NOISE_STEPS][5] = {{E}, {E, EE, S, ES}, {S, SE}};

bool cw_noise_ready(void)
{
	return sodium_init() >= 0;
}

static void nonce_of(const struct cw_cipher *cipher, unsigned char nonce[12])
{
	memset(nonce, 0, 4);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (unsigned char)(cipher->nonce >> (8 * i));
}

static void seal(struct cw_cipher *cipher, unsigned char *bytes, size_t length, const void *about, size_t about_length)
{
	unsigned char nonce[12];

	nonce_of(cipher, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(bytes, NULL, bytes, length, about, about_length, NULL, nonce, cipher->key);
	cipher->nonce++;
}

static bool open_sealed(struct cw_cipher *cipher, unsigned char *bytes, size_t length, const void *about, size_t about_length)
{
	unsigned char nonce[12];

	nonce_of(cipher, nonce);
	if (length < CW_TAG ||
	    crypto_aead_chacha20poly1305_ietf_decrypt(bytes, NULL, NULL, bytes, length, about, about_length, nonce, cipher->key) != 0)
		return false;
	cipher->nonce++;
	return true;
}

void cw_cipher_seal(struct cw_cipher *cipher, unsigned char *bytes, size_t length)
{
	seal(cipher, bytes, length, NULL, 0);
}

bool cw_cipher_open(struct cw_cipher *cipher, unsigned char *bytes, size_t length)
{
	return open_sealed(cipher, bytes, length, NULL, 0);
}

/* 4.3 HKDF, two outputs. */
static void derive(const unsigned char chain[64], const unsigned char *input, size_t length, unsigned char first[64],
		   unsigned char second[64])
{
	crypto_auth_hmacsha512_state state;
	unsigned char temporary[64];
	static const unsigned char one = 1, two = 2;

	crypto_auth_hmacsha512_init(&state, chain, 64);
	crypto_auth_hmacsha512_update(&state, input, length);
	crypto_auth_hmacsha512_final(&state, temporary);
	crypto_auth_hmacsha512_init(&state, temporary, 64);
	crypto_auth_hmacsha512_update(&state, &one, 1);
	crypto_auth_hmacsha512_final(&state, first);
	crypto_auth_hmacsha512_init(&state, temporary, 64);
	crypto_auth_hmacsha512_update(&state, first, 64);
	crypto_auth_hmacsha512_update(&state, &two, 1);
	crypto_auth_hmacsha512_final(&state, second);
	sodium_memzero(temporary, sizeof(temporary));
	sodium_memzero(&state, sizeof(state));
}

static void mix_hash(struct cw_noise *noise, const void *bytes, size_t length)
{
	crypto_hash_sha512_state state;

	crypto_hash_sha512_init(&state);
	crypto_hash_sha512_update(&state, noise->hash, sizeof(noise->hash));
	crypto_hash_sha512_update(&state, bytes, length);
	crypto_hash_sha512_final(&state, noise->hash);
}

/* False for a key of small order, whose product everybody knows. */
static bool mix_key(struct cw_noise *noise, const unsigned char secret[CW_KEY], const unsigned char public[CW_KEY])
{
	unsigned char product[CW_KEY], chain[64], key[64];
	bool fine = crypto_scalarmult(product, secret, public) == 0;

	derive(noise->chain, product, sizeof(product), chain, key);
	memcpy(noise->chain, chain, sizeof(chain));
	memcpy(noise->cipher.key, key, sizeof(noise->cipher.key));
	noise->cipher.nonce = 0;
	noise->keyed = true;
	sodium_memzero(product, sizeof(product));
	sodium_memzero(key, sizeof(key));
	return fine;
}

static size_t encrypt_and_hash(struct cw_noise *noise, unsigned char *bytes, size_t length)
{
	if (noise->keyed) {
		seal(&noise->cipher, bytes, length, noise->hash, sizeof(noise->hash));
		length += CW_TAG;
	}
	mix_hash(noise, bytes, length);
	return length;
}

static bool decrypt_and_hash(struct cw_noise *noise, const unsigned char *bytes, size_t length, unsigned char *to)
{
	unsigned char about[64];

	memcpy(about, noise->hash, sizeof(about));
	mix_hash(noise, bytes, length);
	if (length)
		memcpy(to, bytes, length);
	return !noise->keyed || open_sealed(&noise->cipher, to, length, about, sizeof(about));
}

void cw_noise_begin(struct cw_noise *noise, bool initiator, const struct cw_key_pair *own, const void *prologue, size_t length)
{
	*noise = (struct cw_noise){.initiator = initiator, .own = *own};
	memcpy(noise->hash, protocol_name, sizeof(protocol_name) - 1); /* shorter than the hash: zeros follow */
	memcpy(noise->chain, noise->hash, sizeof(noise->chain));
	mix_hash(noise, prologue, length);
	crypto_box_keypair(noise->ephemeral.public, noise->ephemeral.secret);
}

static bool mix_token(struct cw_noise *noise, enum token token)
{
	bool own_static = noise->initiator ? token == SE : token == ES, other_static = noise->initiator ? token == ES : token == SE;

	return mix_key(noise, own_static ? noise->own.secret : noise->ephemeral.secret,
		       other_static ? noise->other : noise->other_ephemeral);
}

ssize_t cw_noise_write(struct cw_noise *noise, const void *payload, size_t length, unsigned char *to)
{
	unsigned char *at = to;

	if (noise->step >= CW_NOISE_STEPS)
		return -1;
	for (const enum token *token = pattern[noise->step++]; *token; token++) {
		if (*token == E) {
			memcpy(at, noise->ephemeral.public, CW_KEY);
			mix_hash(noise, at, CW_KEY);
			at += CW_KEY;
		} else if (*token == S) {
			memcpy(at, noise->own.public, CW_KEY);
			at += encrypt_and_hash(noise, at, CW_KEY);
		} else if (!mix_token(noise, *token)) {
			return -1;
		}
	}
	if (length)
		memcpy(at, payload, length);
	at += encrypt_and_hash(noise, at, length);
	return at - to;
}

static bool read_static(struct cw_noise *noise, const unsigned char **message, size_t *length)
{
	unsigned char room[CW_KEY + CW_TAG];
	size_t size = noise->keyed ? sizeof(room) : CW_KEY;

	if (*length < size || !decrypt_and_hash(noise, *message, size, room))
		return false;
	memcpy(noise->other, room, CW_KEY);
	*message += size;
	*length -= size;
	return true;
}

ssize_t cw_noise_read(struct cw_noise *noise, const unsigned char *message, size_t length, unsigned char *payload)
{
	if (noise->step >= CW_NOISE_STEPS)
		return -1;
	for (const enum token *token = pattern[noise->step++]; *token; token++) {
		if (*token == E) {
			if (length < CW_KEY)
				return -1;
			memcpy(noise->other_ephemeral, message, CW_KEY);
			mix_hash(noise, message, CW_KEY);
			message += CW_KEY;
			length -= CW_KEY;
		} else if (*token == S ? !read_static(noise, &message, &length) : !mix_token(noise, *token)) {
			return -1;
		}
	}
	if (!decrypt_and_hash(noise, message, length, payload))
		return -1;
	return (ssize_t)(noise->keyed ? length - CW_TAG : length);
}

void cw_noise_split(struct cw_noise *noise, struct cw_cipher *sending, struct cw_cipher *receiving)
{
	unsigned char first[64], second[64];

	derive(noise->chain, (const unsigned char *)"", 0, first, second);
	*sending = (struct cw_cipher){0};
	*receiving = (struct cw_cipher){0};
	memcpy(sending->key, noise->initiator ? first : second, sizeof(sending->key));
	memcpy(receiving->key, noise->initiator ? second : first, sizeof(receiving->key));
	sodium_memzero(first, sizeof(first));
	sodium_memzero(second, sizeof(second));
	sodium_memzero(noise, offsetof(struct cw_noise, other)); /* what is left is the other's key */
}
