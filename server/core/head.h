/*
 * head: the file `release`: what a numbered release is, in one line of canonical JSON (RFC 8785) and a newline, signed
 * in the namespace drydock-release.
 *
 * A pure function of the release's record. `previous` is the SHA-256 of the head before, so that the heads are a chain;
 * `files` names the plain list (sha256sum -c), `manifest` the same with who approved each file. A decoder refuses bytes
 * that the encoder would write differently.
 */
#ifndef DRYDOCK_CORE_HEAD_H
#define DRYDOCK_CORE_HEAD_H

#include "base/buf.h"
#include "base/mem.h"
#include "core/manifest.h"
#include "core/record.h"

#define HEAD_SPACE "drydock-release"
#define RECEIPT_SPACE "drydock-receipt"
#define HEAD_LIMIT 4096 /* bytes */
/* A field of its record, where acts were recorded while the release was cut: the last record that it has in it. */
#define RELEASE_AS_OF "as_of"

struct head {
	const char *site;
	const char *node; /* 64 hex */
	uint64_t number, term; /* from 1 */
	const char *tree; /* git's id of the approved tree, 40 hex */
	int64_t at, expires; /* microseconds */
	struct sha256 previous; /* zero: the first of its chain */
	struct manifest_sums sums;
	uint64_t seq; /* the record that cut it */
	struct sha256 record;
};

enum err head_encode(const struct head *h, struct buf *out) MUST_CHECK;
enum err head_decode(struct head *h, const char *bytes, size_t n, struct arena *a) MUST_CHECK; /* ERR_INPUT */

/* The members that a release's record has in its fields, and back. *signed_: it has them (older records do not). */
json_t *head_fields(const struct head *h, uint64_t previous_number);
enum err head_of_record(struct head *h, const struct record *r, const struct sha256 *record, bool *signed_) MUST_CHECK;

#endif
