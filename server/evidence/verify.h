/*
 * verify: what the parts of the check of an archive share. verify.c goes through the whole and says what was found, members.c
 * reads the archive, history.c checks the logs from their first record on.
 */
#ifndef DRYDOCK_EVIDENCE_VERIFY_H
#define DRYDOCK_EVIDENCE_VERIFY_H

#include "evidence/inside.h"

struct byte_file { struct sha256 sha256; struct md5 md5; struct blob_id blob; uint64_t size; };

struct check {
	const struct evidence_options *o;
	uint64_t failures, records, signatures, events, bytes;
	json_t *items; /* with --json */
	struct arena *arena;
	/* from the archive */
	struct buf about_text, signers_text, md5_text, index_text, head_text;
	struct buf refs[EVIDENCE_LOGS];
	size_t n_refs;
	struct evidence_about about;
	struct sha256 versions; /* digest of the member */
	char pack_name[ARCHIVE_NAME + 1];
	int pack_fd;
	uint64_t pack_size;
	const uint8_t *map;
	struct byte_file *files; /* by SHA-256, as they came */
	size_t n_files, files_cap;
	/* of the records */
	struct pack_in pack;
	struct spine *spine;
	struct state *state;
	struct sha256_stream *made_versions;
	struct buf made_signers, lines, object;
	struct keychain *keys[EVIDENCE_LOGS];
	size_t first_key[EVIDENCE_LOGS]; /* of those, that signs this log */
	uint64_t log_length[EVIDENCE_LOGS];
	struct blob_id site;
	uint64_t mark, walked;
	bool newest_trusted; /* one of the keys that are trusted is the newest */
};

/* --- verify.c -------------------------------------------------------------------------------------------------------- */

/* A line about what does not hold: the name of the check, what it is about, what was found. The archive counts as bad then. */
void verify_failed(struct check *c, const char *name, const char *subject, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* --- members.c ------------------------------------------------------------------------------------------------------- */

/* One pass over the archive: papers kept, bytes hashed as they come, the pack put into a temporary file without a name. */
enum err verify_members(struct check *c, int fd) MUST_CHECK;

/* --- history.c -------------------------------------------------------------------------------------------------------- */

/* The n-th log of the archive, each record in turn: commit, signature, trees, files, rules. */
void verify_log(struct check *c, size_t n);

#endif
