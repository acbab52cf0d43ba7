/*
 * keychain: the keys of a node, one after the other, and which of them signs what.
 *
 * A node's id is that of its first key and stays. The key is changed by a record `key` in each log: it is signed by the key that
 * goes and names the one that comes, which signs every record after it. Beside that it holds a statement of the same, signed by the
 * key that goes, for who has no log: receivers, and the logs of sites that begin later. The statement names the last release
 * that the old key signed: with what it signs later, or otherwise, nobody is deceived who knows the statement.
 *
 * Linked into libbase.a, for programs that check without a git library.
 */
#ifndef DRYDOCK_REPO_KEYCHAIN_H
#define DRYDOCK_REPO_KEYCHAIN_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/record.h"

#define KEY_ACT "key" /* the record's act */
#define KEY_SPACE "drydock-key" /* the statement's namespace */
#define KEYS_MOST 100 /* of one node: a change a year for a lifetime */
#define KEY_CHANGE_LIMIT 2048 /* bytes of a statement */
#define KEY_PRINT 72 /* "SHA256:", 43 letters, as ssh-keygen -l prints a key */

/* --- the statement: one line of canonical JSON ------------------------------------------------------------------------ */

struct key_change {
	const char *site; /* or "installation": then it holds for each log that begins later */
	const char *node;
	uint64_t seq; /* of the record, in that log */
	int64_t at;
	const char *from, *to; /* "ssh-ed25519 AAAA..." without a comment */
	uint64_t release; /* the last that the old key signed; 0: none yet */
	struct sha256 head; /* of that release; zero: none */
};
enum err key_change_encode(const struct key_change *c, struct buf *out) MUST_CHECK;
enum err key_change_decode(struct key_change *c, const char *bytes, size_t n, struct arena *a) MUST_CHECK; /* ERR_INPUT */

/* --- the chain --------------------------------------------------------------------------------------------------------- */

struct key_time {
	uint8_t key[32];
	uint64_t after; /* it signs the records after this one, up to the next key's and with it; 0: from the first one on */
	uint64_t release; /* and the releases after this one */
	struct sha256 head; /* of that release, by the key before; zero: none */
	int64_t at; /* since when */
};
struct keychain {
	char node[SHA256_HEX];
	size_t n; /* 0: nothing is known yet */
	struct key_time keys[KEYS_MOST];
};

/* The first key; its id is the node's. */
void keychain_begin(struct keychain *c, const uint8_t key[32], int64_t at);
/* The armored form of a statement's signature, which records and files keep as the base64 of its bytes. ERR_DENIED. */
enum err key_armor(struct buf *out, const char *from, const char *raw) MUST_CHECK;
/*
 * The next key, by a statement and its armored signature; a chain of which nothing is known begins with the statement's old key. before: it is of another log, and this one begins after it.
 * ERR_DENIED: it is not signed by the newest key, names one that was there before, or is of another node, and which.
 */
enum err keychain_follow(struct keychain *c, const struct key_change *x, const char *bytes, size_t n, const char *armored, size_t len, bool before) MUST_CHECK;
/*
 * A first record, or a record `key`: what it says of keys; others say nothing. That the record itself is signed by the right key
 * is for the caller to see. ERR_DENIED: what is wrong, and the chain is as it was.
 */
enum err keychain_take(struct keychain *c, const struct record *r) MUST_CHECK;
/* The statements that such a record holds, in order, each with its armored signature; before: the chain without it. */
typedef enum err key_change_fn(void *arg, const struct key_change *x, const char *bytes, size_t n, const struct buf *armored);
enum err keychain_statements(const struct keychain *before, const struct record *r, key_change_fn *fn, void *arg) MUST_CHECK;
const struct key_time *keychain_at(const struct keychain *c, uint64_t seq); /* who signs that record; NULL: n is 0 */
const struct key_time *keychain_last(const struct keychain *c);
bool keychain_has(const struct keychain *c, const uint8_t key[32]);

/* "ssh-ed25519 AAAA...", the id, and what ssh-keygen -l prints. */
#define KEY_TEXT 128
void key_text(const uint8_t key[32], char out[KEY_TEXT]);
void key_id(const uint8_t key[32], char out[SHA256_HEX]);
const char *key_print(const uint8_t key[32], char out[KEY_PRINT]);

/* ERR_DENIED, saying which key signed and which one should have, unless it is that one. */
enum err key_expect(const struct keychain *c, uint64_t seq, const uint8_t signer[32]) MUST_CHECK;

/* A line of allowed_signers; from 0: always; until 0: still in use. */
void key_signer_line(const char *spaces, const char *public_key, int64_t from, int64_t until, struct buf *out);

#endif
