#include "repo/sshsig.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/mem.h"

#define KEY_TYPE "ssh-ed25519"
#define MAGIC "SSHSIG"
#define HASH "sha512"
#define HASH_SIZE 64
#define SIGNATURE_SIZE SSHSIG_RAW_SIZE
#define ARMOR_BEGIN "-----BEGIN SSH SIGNATURE-----"
#define ARMOR_END "-----END SSH SIGNATURE-----"
#define ARMOR_WIDTH 70

void sshsig_put_u32(struct buf *b, uint32_t v)
{
	char bytes[4] = { (char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v };
	buf_add(b, bytes, sizeof(bytes));
}

void sshsig_put_string(struct buf *b, const void *p, size_t n)
{
	sshsig_put_u32(b, (uint32_t)n);
	buf_add(b, p, n);
}

void sshsig_blob(uint8_t blob[SSHSIG_BLOB_SIZE], const uint8_t public_key[32])
{
	static const uint8_t head[19] = "\0\0\0\013" KEY_TYPE "\0\0\0";
	memcpy(blob, head, 18);
	blob[18] = 32;
	memcpy(blob + 19, public_key, 32);
}

enum err sshsig_parse_public(uint8_t public_key[32], const char *text)
{
	uint8_t blob[SSHSIG_BLOB_SIZE + 1], expected[SSHSIG_BLOB_SIZE];
	char word[128];
	size_t n = 0, len;

	if (strncmp(text, KEY_TYPE " ", sizeof(KEY_TYPE)) != 0)
		return err_set(ERR_INPUT, "not a public key of type " KEY_TYPE);
	text += sizeof(KEY_TYPE);
	len = strcspn(text, " \t\r\n");
	if (len >= sizeof(word))
		return err_set(ERR_INPUT, "not a public key of type " KEY_TYPE);
	memcpy(word, text, len);
	word[len] = '\0';
	if (!base64_parse(blob, sizeof(blob), &n, word) || n != SSHSIG_BLOB_SIZE)
		return err_set(ERR_INPUT, "not a public key of type " KEY_TYPE);
	sshsig_blob(expected, blob + 19);
	if (memcmp(blob, expected, SSHSIG_BLOB_SIZE) != 0)
		return err_set(ERR_INPUT, "not a public key of type " KEY_TYPE);
	memcpy(public_key, blob + 19, 32);
	return ERR_OK;
}

/* What is really signed: not the bytes but a frame around their SHA-512, so that no namespace can pass for another. */
static enum err signed_frame(struct buf *frame, const char *space, const void *p, size_t n)
{
	uint8_t hash[HASH_SIZE];
	unsigned hash_len = 0;

	if (EVP_Digest(p, n, hash, &hash_len, EVP_sha512(), NULL) != 1 || hash_len != HASH_SIZE)
		return err_set(ERR_FAILED, "SHA-512 failed");
	buf_str(frame, MAGIC);
	sshsig_put_string(frame, space, strlen(space));
	sshsig_put_string(frame, "", 0);
	sshsig_put_string(frame, HASH, strlen(HASH));
	sshsig_put_string(frame, hash, sizeof(hash));
	return buf_check(frame);
}

/* The signature file up to the 64 bytes of the signature itself: the same for everything that one key signs. */
static void put_envelope(struct buf *b, const uint8_t public_key[32], const char *space)
{
	uint8_t blob[SSHSIG_BLOB_SIZE];

	sshsig_blob(blob, public_key);
	buf_str(b, MAGIC);
	sshsig_put_u32(b, 1);
	sshsig_put_string(b, blob, sizeof(blob));
	sshsig_put_string(b, space, strlen(space));
	sshsig_put_string(b, "", 0);
	sshsig_put_string(b, HASH, strlen(HASH));
	sshsig_put_u32(b, 4 + sizeof(KEY_TYPE) - 1 + 4 + SIGNATURE_SIZE);
	sshsig_put_string(b, KEY_TYPE, sizeof(KEY_TYPE) - 1);
	sshsig_put_u32(b, SIGNATURE_SIZE);
}

enum err sshsig_armor(const uint8_t public_key[32], const char *space, const uint8_t signature[SSHSIG_RAW_SIZE], struct buf *armored)
{
	struct buf raw = BUF_INIT(1024);
	char *text = NULL;
	size_t len;
	enum err e;

	put_envelope(&raw, public_key, space);
	buf_add(&raw, signature, SIGNATURE_SIZE);
	e = buf_check(&raw);
	if (e)
		goto out;
	text = mem_alloc(base64_size(raw.len));
	base64_of(text, raw.p, raw.len);
	len = strlen(text);
	buf_str(armored, ARMOR_BEGIN "\n");
	for (size_t i = 0; i < len; i += ARMOR_WIDTH) {
		buf_add(armored, text + i, len - i < ARMOR_WIDTH ? len - i : ARMOR_WIDTH);
		buf_char(armored, '\n');
	}
	buf_str(armored, ARMOR_END "\n");
	e = buf_check(armored);
out:
	free(text);
	buf_release(&raw);
	return e;
}

enum err sshsig_sign(const uint8_t seed[32], const uint8_t public_key[32], const char *space, const void *p, size_t n,
    struct buf *armored)
{
	struct buf frame = BUF_INIT(1024);
	EVP_PKEY *key = NULL;
	EVP_MD_CTX *ctx = NULL;
	uint8_t signature[SIGNATURE_SIZE];
	size_t signature_len = sizeof(signature);
	enum err e;

	e = signed_frame(&frame, space, p, n);
	if (e)
		goto out;
	key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
	ctx = EVP_MD_CTX_new();
	if (!key || !ctx || EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) != 1 ||
	    EVP_DigestSign(ctx, signature, &signature_len, (const uint8_t *)frame.p, frame.len) != 1 ||
	    signature_len != SIGNATURE_SIZE) {
		e = err_set(ERR_FAILED, "signing with Ed25519 failed");
		goto out;
	}
	e = sshsig_armor(public_key, space, signature, armored);
out:
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	buf_release(&frame);
	return e;
}

/* The bytes between the two lines of the armor. */
static enum err dearmor(uint8_t *raw, size_t cap, size_t *raw_len, const char *armored, size_t n)
{
	char text[SSHSIG_ARMORED_LIMIT + 1];
	char *begin, *end;

	if (n > SSHSIG_ARMORED_LIMIT || memchr(armored, '\0', n))
		return err_set(ERR_DENIED, "not an SSH signature");
	memcpy(text, armored, n);
	text[n] = '\0';
	if (strncmp(text, ARMOR_BEGIN "\n", sizeof(ARMOR_BEGIN)) != 0)
		return err_set(ERR_DENIED, "not an SSH signature");
	begin = text + sizeof(ARMOR_BEGIN);
	end = strstr(begin, "\n" ARMOR_END);
	if (!end || strspn(end + sizeof(ARMOR_END), "\r\n") != strlen(end + sizeof(ARMOR_END)))
		return err_set(ERR_DENIED, "not an SSH signature");
	*end = '\0';
	if (!base64_parse(raw, cap, raw_len, begin))
		return err_set(ERR_DENIED, "not an SSH signature: bad base64");
	return ERR_OK;
}

enum err sshsig_verify(const uint8_t public_key[32], const char *space, const void *p, size_t n, const char *armored,
    size_t armored_len)
{
	struct buf frame = BUF_INIT(1024), expected = BUF_INIT(1024);
	EVP_PKEY *key = NULL;
	EVP_MD_CTX *ctx = NULL;
	uint8_t raw[1024];
	size_t raw_len = 0;
	enum err e;

	e = dearmor(raw, sizeof(raw), &raw_len, armored, armored_len);
	if (e)
		goto out;
	put_envelope(&expected, public_key, space);
	e = buf_check(&expected);
	if (e)
		goto out;
	if (raw_len != expected.len + SIGNATURE_SIZE || memcmp(raw, expected.p, expected.len) != 0) {
		e = err_set(ERR_DENIED, "the signature is by another key, or for another purpose than \"%s\"", space);
		goto out;
	}
	e = signed_frame(&frame, space, p, n);
	if (e)
		goto out;
	key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, 32);
	ctx = EVP_MD_CTX_new();
	if (!key || !ctx || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) != 1) {
		e = err_set(ERR_FAILED, "cannot set up Ed25519");
		goto out;
	}
	if (EVP_DigestVerify(ctx, raw + expected.len, SIGNATURE_SIZE, (const uint8_t *)frame.p, frame.len) != 1)
		e = err_set(ERR_DENIED, "the signature does not match the content");
out:
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	buf_release(&frame);
	buf_release(&expected);
	return e;
}

#define SIGNER_AT (sizeof(MAGIC) - 1 + 4 + 4) /* behind the version and the length of the blob */

enum err sshsig_signer(uint8_t public_key[32], const char *armored, size_t armored_len)
{
	uint8_t raw[1024], blob[SSHSIG_BLOB_SIZE];
	size_t n = 0;
	enum err e = dearmor(raw, sizeof(raw), &n, armored, armored_len);

	if (e)
		return e;
	if (n < SIGNER_AT + SSHSIG_BLOB_SIZE)
		return err_set(ERR_DENIED, "not an SSH signature");
	memcpy(public_key, raw + SIGNER_AT + SSHSIG_BLOB_SIZE - 32, 32);
	sshsig_blob(blob, public_key);
	/* Whatever else is wrong with it, sshsig_verify sees. */
	return memcmp(raw + SIGNER_AT, blob, sizeof(blob)) == 0 ? ERR_OK : err_set(ERR_DENIED, "the signature is not by a key of type " KEY_TYPE);
}

enum err sshsig_raw(uint8_t out[SSHSIG_RAW_SIZE], const char *armored, size_t armored_len)
{
	uint8_t raw[1024];
	size_t n = 0;
	enum err e = dearmor(raw, sizeof(raw), &n, armored, armored_len);

	if (!e && n < SIGNATURE_SIZE)
		e = err_set(ERR_DENIED, "not an SSH signature");
	if (!e)
		memcpy(out, raw + n - SIGNATURE_SIZE, SIGNATURE_SIZE);
	return e;
}
