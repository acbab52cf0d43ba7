/*
 * record: the immutable statement of one act, and its files list. The format is fixed for ever: DESIGN section 3.
 *
 * Encoding is canonical JSON (RFC 8785, integers only); digests are over the stored bytes; a decoder refuses bytes that
 * the encoder would write differently, unknown members included. ERR_INPUT names the member that is wrong, ERR_TOO_BIG
 * is a note over its limit. The actor of the system is "system:drydock".
 */
#ifndef DRYDOCK_CORE_RECORD_H
#define DRYDOCK_CORE_RECORD_H

#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "core/fingerprint.h"
#include "core/path.h"
#include "core/role.h"

#define RECORD_FILES_LIMIT 250000
#define RECORD_NOTE_LIMIT 8192 /* bytes */
#define BLOB_ID_SIZE 20
/*
 * In the fields of every record: the digest of the request that it answers, with which the table act_id is made again.
 * For nobody's eyes: it speaks of paths that a viewer may not see.
 */
#define RECORD_FIELD_REQUEST "request"
/* Of a record `key`: what the old key signed of releases, for machines (acts/key.c). */
#define RECORD_FIELD_SIGNATURES "signatures"

struct blob_id { uint8_t b[BLOB_ID_SIZE]; };

/*
 * act: "sign", "review", "revoke", "rule", "require", "field", "preapprove", "pickup", "release", "rollback", "reapprove", "force",
 * "account", "group", "membership", "key" (the node's key is changed), "genesis" (the first record of a log); any word of a-z and '-' is a valid one. Acts without files say what
 * they did in fields (an object of strings, integers, booleans, lists of strings). Those of sign, review and revoke hold
 * what people filled in (core/field.h): what DryDock adds there from now on has a '-' in its name, which theirs never have.
 */
struct record {
	const char *site;
	const char *node; /* 64 hex */
	uint64_t seq; /* from 1 */
	struct uuid op;
	const char *act;
	int64_t at; /* microseconds, UTC */
	struct identity actor; /* name, provider, groups (principals; written sorted); user is derived */
	struct rule rule; /* the one that allowed it; principal NULL: none was needed (system, offline admin) */
	struct sha256 policy; /* of the rules in force */
	const char *shown; /* 64 hex of the selection or fingerprint that the person was shown, "as-staged", or "" without files */
	const char *meaning; /* "" if none was asked */
	const char *note; /* "" if none */
	json_t *fields; /* an object, never NULL; borrowed */
	uint64_t files_count;
	struct sha256 files_sha256;
	struct sha256 prev; /* zero in the first */
};

bool record_cuts_release(const char *act); /* "release", "rollback" */

struct record_file {
	struct path path;
	struct fingerprint print;
	int64_t mtime; /* microseconds; for information */
	struct blob_id blob;
	uint64_t replaces; /* seq of the record superseded on that path by this node; 0: none */
};

enum err record_encode(const struct record *r, struct buf *out) MUST_CHECK;
/* Strings live in the arena; fields is a reference that the caller drops with json_decref (NULL after an error). */
enum err record_decode(struct record *r, const char *bytes, size_t n, struct arena *a) MUST_CHECK;
/* One line of files, with its newline. */
void record_file_encode(const struct record_file *f, struct buf *out);
enum err record_file_decode(struct record_file *f, const char *line, size_t n, struct arena *a) MUST_CHECK;

/* The commit message: a line for people, a blank line, then the trailers Seq, Op, Record-SHA256. */
void record_message(const struct record *r, const struct sha256 *digest, struct buf *out);

#endif
