/*
 * digest: MD5, SHA-256, HMAC, random bytes, UUIDs, hex and base64. OpenSSL is used here and
 * in repo/ (keys, signatures, checksums of git's files) only.
 */
#ifndef DRYDOCK_BASE_DIGEST_H
#define DRYDOCK_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct md5 { uint8_t b[16]; };
struct sha256 { uint8_t b[32]; };
struct uuid { uint8_t b[16]; };

#define MD5_HEX 33
#define SHA256_HEX 65
#define UUID_TEXT 37

/* Both digests of one stream of bytes. */
struct digest_stream;
struct digest_stream *digest_stream_new(void);
void digest_stream_reset(struct digest_stream *d);
void digest_stream_add(struct digest_stream *d, const void *p, size_t n);
void digest_stream_end(struct digest_stream *d, struct md5 *md5, struct sha256 *sha256); /* then reset before reuse */
void digest_stream_free(struct digest_stream *d);

void sha256_of(struct sha256 *out, const void *p, size_t n);
void md5_of(struct md5 *out, const void *p, size_t n);
/* out[i] = MD5 of the n[i] bytes at p[i]: several times as fast as one by one. */
void md5_many(struct md5 *out, const void *const *p, const size_t *n, size_t count);
void hmac_sha256(struct sha256 *out, const void *key, size_t key_len, const void *p, size_t n);
bool sha256_equal(const struct sha256 *a, const struct sha256 *b);
bool sha256_zero(const struct sha256 *a);

/* SHA-256 of bytes that come in pieces (lists, selections). */
struct sha256_stream;
struct sha256_stream *sha256_stream_new(void);
void sha256_stream_add(struct sha256_stream *s, const void *p, size_t n);
void sha256_stream_end_free(struct sha256_stream *s, struct sha256 *out); /* out may be NULL */
enum err file_sha256(int fd, struct sha256 *out, uint64_t *size) MUST_CHECK; /* of the bytes from where it stands to its end */

void random_bytes(void *p, size_t n); /* getrandom; never fails */
bool bytes_equal_secret(const void *a, const void *b, size_t n); /* in constant time */

void hex_of(char *out, const void *p, size_t n); /* writes 2n+1 bytes, lower case */
int hex_digit(char c); /* of either case; -1: none */
bool hex_parse(void *out, size_t n, const char *hex); /* exactly 2n lower-case digits, then NUL */
size_t base64_size(size_t n); /* with the NUL */
void base64_of(char *out, const void *p, size_t n); /* with padding, one line */
void base64url_of(char *out, const void *p, size_t n); /* without padding */
bool base64_parse(void *out, size_t cap, size_t *n, const char *text); /* standard alphabet, white space skipped */

void uuid_new(struct uuid *u); /* version 4 */
void uuid_text(const struct uuid *u, char out[UUID_TEXT]);
bool uuid_parse(struct uuid *u, const char *text); /* 8-4-4-4-12 lower-case hex, any version */

#endif
