#include "base/digest.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define BLOCK (256 * 1024)

/* Fetched once: an implicit fetch per digest costs more than digesting a small file. */
static EVP_MD *md5_md, *sha256_md;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static pthread_key_t context_key;

static _Noreturn void broken(const char *what)
{
	log_event(LOG_LEVEL_ERROR, "digest.broken", "what", what, NULL);
	abort();
}

static void context_free(void *p)
{
	EVP_MD_CTX_free(p);
}

static void fetch(void)
{
	md5_md = EVP_MD_fetch(NULL, "MD5", NULL);
	sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!md5_md || !sha256_md)
		broken("this OpenSSL has no MD5 or no SHA-256");
	if (pthread_key_create(&context_key, context_free))
		broken("no thread key");
}

static EVP_MD_CTX *context_new(void)
{
	pthread_once(&fetched, fetch);
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	if (!c)
		broken("out of memory");
	return c;
}

static void begin(EVP_MD_CTX *c, const EVP_MD *md)
{
	if (!EVP_DigestInit_ex2(c, md, NULL))
		broken("EVP_DigestInit");
}

static void add(EVP_MD_CTX *c, const void *p, size_t n)
{
	if (n && !EVP_DigestUpdate(c, p, n))
		broken("EVP_DigestUpdate");
}

static void end(EVP_MD_CTX *c, void *out)
{
	if (!EVP_DigestFinal_ex(c, out, NULL))
		broken("EVP_DigestFinal");
}

/* --- streams --------------------------------------------------------------------------------------------------------- */

struct digest_stream {
	EVP_MD_CTX *md5, *sha256;
};

struct digest_stream *digest_stream_new(void)
{
	struct digest_stream *d = mem_alloc(sizeof(*d));

	d->md5 = context_new();
	d->sha256 = context_new();
	digest_stream_reset(d);
	return d;
}

void digest_stream_reset(struct digest_stream *d)
{
	begin(d->md5, md5_md);
	begin(d->sha256, sha256_md);
}

void digest_stream_add(struct digest_stream *d, const void *p, size_t n)
{
	const char *s = p;

	/* By pieces that stay in the cache, so that the second digest does not read memory again. */
	while (n) {
		size_t part = n < 32768 ? n : 32768;
		add(d->md5, s, part);
		add(d->sha256, s, part);
		s += part;
		n -= part;
	}
}

void digest_stream_end(struct digest_stream *d, struct md5 *md5, struct sha256 *sha256)
{
	end(d->md5, md5->b);
	end(d->sha256, sha256->b);
}

void digest_stream_free(struct digest_stream *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->md5);
	EVP_MD_CTX_free(d->sha256);
	free(d);
}

struct sha256_stream {
	EVP_MD_CTX *c;
};

struct sha256_stream *sha256_stream_new(void)
{
	struct sha256_stream *s = mem_alloc(sizeof(*s));

	s->c = context_new();
	begin(s->c, sha256_md);
	return s;
}

void sha256_stream_add(struct sha256_stream *s, const void *p, size_t n)
{
	add(s->c, p, n);
}

void sha256_stream_end_free(struct sha256_stream *s, struct sha256 *out)
{
	if (!s)
		return;
	if (out)
		end(s->c, out->b);
	EVP_MD_CTX_free(s->c);
	free(s);
}

enum err file_sha256(int fd, struct sha256 *out, uint64_t *size)
{
	struct sha256_stream *s = sha256_stream_new();
	char *block = mem_alloc(BLOCK);
	ssize_t n;

	*size = 0;
	while ((n = read(fd, block, BLOCK)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		sha256_stream_add(s, block, (size_t)n);
		*size += (uint64_t)n;
	}
	free(block);
	sha256_stream_end_free(s, out);
	return n < 0 ? err_sys(ERR_FAILED, "a file") : ERR_OK;
}

/* --- one shot -------------------------------------------------------------------------------------------------------- */

/* One context a thread, kept: making one costs as much as digesting a hundred bytes. */
static EVP_MD_CTX *context_of_thread(void)
{
	pthread_once(&fetched, fetch);
	EVP_MD_CTX *c = pthread_getspecific(context_key);
	if (!c) {
		c = context_new();
		if (pthread_setspecific(context_key, c))
			broken("no thread key");
	}
	return c;
}

void sha256_of(struct sha256 *out, const void *p, size_t n)
{
	EVP_MD_CTX *c = context_of_thread();

	begin(c, sha256_md);
	add(c, p, n);
	end(c, out->b);
}

void md5_of(struct md5 *out, const void *p, size_t n)
{
	EVP_MD_CTX *c = context_of_thread();

	begin(c, md5_md);
	add(c, p, n);
	end(c, out->b);
}

void hmac_sha256(struct sha256 *out, const void *key, size_t key_len, const void *p, size_t n)
{
	struct sha256 short_key;
	unsigned len = sizeof(out->b);

	pthread_once(&fetched, fetch);
	/* What HMAC itself does with a key longer than a block, and it keeps the length inside an int. */
	if (key_len > 64) {
		sha256_of(&short_key, key, key_len);
		key = short_key.b;
		key_len = sizeof(short_key.b);
	}
	if (!HMAC(sha256_md, key_len ? key : "", (int)key_len, n ? p : (const void *)"", n, out->b, &len))
		broken("HMAC");
}

bool sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool sha256_zero(const struct sha256 *a)
{
	static const struct sha256 zero;

	return sha256_equal(a, &zero);
}

bool bytes_equal_secret(const void *a, const void *b, size_t n)
{
	return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}

/* --- text forms ------------------------------------------------------------------------------------------------------ */

size_t base64_size(size_t n)
{
	return (n + 2) / 3 * 4 + 1;
}

static void base64_write(char *out, const void *p, size_t n, const char *alphabet, bool pad)
{
	const unsigned char *s = p;

	for (; n >= 3; s += 3, n -= 3) {
		*out++ = alphabet[s[0] >> 2];
		*out++ = alphabet[(s[0] & 3) << 4 | s[1] >> 4];
		*out++ = alphabet[(s[1] & 15) << 2 | s[2] >> 6];
		*out++ = alphabet[s[2] & 63];
	}
	if (n) {
		unsigned second = n == 2 ? s[1] : 0;
		*out++ = alphabet[s[0] >> 2];
		*out++ = alphabet[(s[0] & 3) << 4 | second >> 4];
		if (n == 2)
			*out++ = alphabet[(second & 15) << 2];
		else if (pad)
			*out++ = '=';
		if (pad)
			*out++ = '=';
	}
	*out = '\0';
}

static const char STANDARD[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_of(char *out, const void *p, size_t n)
{
	base64_write(out, p, n, STANDARD, true);
}

void base64url_of(char *out, const void *p, size_t n)
{
	base64_write(out, p, n, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);
}

static int base64_digit(char c)
{
	const char *at = c ? strchr(STANDARD, c) : NULL;

	return at ? (int)(at - STANDARD) : -1;
}

bool base64_parse(void *out, size_t cap, size_t *n, const char *text)
{
	unsigned char *to = out;
	unsigned bits = 0;
	size_t len = 0, count = 0, pads = 0;

	for (; *text; text++) {
		if (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n')
			continue;
		if (*text == '=') {
			pads++;
			continue;
		}
		int v = base64_digit(*text);
		if (v < 0 || pads)
			return false;
		bits = (bits << 6 | (unsigned)v) & 0xffffff;
		count++;
		/* The digits 2, 3 and 4 of each group complete a byte. */
		if (count % 4 == 1)
			continue;
		if (len == cap)
			return false;
		to[len++] = (unsigned char)(bits >> (count % 4 == 2 ? 4 : count % 4 == 3 ? 2 : 0));
	}
	/* One text for one value: full padding, and no bits left over. */
	if (count % 4 == 1 || pads != (4 - count % 4) % 4)
		return false;
	if ((count % 4 == 2 && (bits & 15)) || (count % 4 == 3 && (bits & 3)))
		return false;
	*n = len;
	return true;
}

void uuid_new(struct uuid *u)
{
	random_bytes(u->b, sizeof(u->b));
	u->b[6] = (uint8_t)((u->b[6] & 0x0f) | 0x40);
	u->b[8] = (uint8_t)((u->b[8] & 0x3f) | 0x80);
}

void uuid_text(const struct uuid *u, char out[UUID_TEXT])
{
	static const char dash_before[16] = { [4] = 1, [6] = 1, [8] = 1, [10] = 1 };

	for (size_t i = 0; i < sizeof(u->b); i++) {
		if (dash_before[i])
			*out++ = '-';
		hex_of(out, &u->b[i], 1);
		out += 2;
	}
}

bool uuid_parse(struct uuid *u, const char *text)
{
	char hex[33];
	size_t n = 0;

	if (strnlen(text, UUID_TEXT) != UUID_TEXT - 1)
		return false;
	for (size_t i = 0; i < UUID_TEXT - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash != (text[i] == '-'))
			return false;
		if (!dash)
			hex[n++] = text[i];
	}
	hex[n] = '\0';
	return hex_parse(u->b, sizeof(u->b), hex);
}
