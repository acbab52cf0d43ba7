/* inside: what the files of this room share. Nobody else includes it. */
#ifndef DRYDOCK_EVIDENCE_INSIDE_H
#define DRYDOCK_EVIDENCE_INSIDE_H

#include <zlib.h>

#include "base/mem.h"
#include "evidence/evidence.h"
#include "repo/keychain.h"

/* --- archive.c: gzip and tar, one way to write each archive -------------------------------------------------------- */

#define ARCHIVE_NAME 100 /* bytes of a member's name */
#define ARCHIVE_MEMBER_LIMIT (((uint64_t)8 << 30) - 1)
#define ARCHIVE_BLOCK 512

struct archive_out;
struct archive_out *archive_out_new(int fd);
void archive_out_free(struct archive_out *a);
enum err archive_begin(struct archive_out *a, const char *name, uint64_t size) MUST_CHECK;
enum err archive_add(struct archive_out *a, const void *p, size_t n) MUST_CHECK;
enum err archive_end(struct archive_out *a) MUST_CHECK; /* of the member; ERR_FAILED if it was not size bytes */
enum err archive_put(struct archive_out *a, const char *name, const void *p, size_t n) MUST_CHECK; /* all three */
/* SHA256SUMS of what was written, and the end. */
enum err archive_finish(struct archive_out *a) MUST_CHECK;

/* Reading: every byte has to be what the writer above would write for these members. ERR_INPUT says what is not. */
struct archive_in;
enum err archive_in_new(struct archive_in **out, int fd) MUST_CHECK;
void archive_in_free(struct archive_in *a);
enum err archive_next(struct archive_in *a, char name[ARCHIVE_NAME + 1], uint64_t *size, bool *got) MUST_CHECK;
enum err archive_read(struct archive_in *a, void *p, size_t n) MUST_CHECK; /* exactly n of the member's bytes */
const struct buf *archive_sums(const struct archive_in *a); /* SHA256SUMS for what was read so far */

/* --- papers.c: what follows from the records ------------------------------------------------------------------------ */

#define EVIDENCE_PLACE "evidence/"
#define EVIDENCE_REPO EVIDENCE_PLACE "repo.git/"
extern const char EVIDENCE_README[], EVIDENCE_CONFIG[];

/* One thing that was done to a file; f NULL: another file or directory took its place ("superseded"). */
void papers_version(const struct record *rec, const struct blob_id *commit, struct path path, const struct record_file *f, struct buf *out);
void papers_signers(const struct keychain *c, size_t first, struct buf *out); /* the keys that signed something of this log: from the first-th on */
enum err papers_about(const struct evidence_about *a, struct buf *out) MUST_CHECK; /* evidence.json */
enum err papers_about_read(struct evidence_about *out, const struct buf *text, struct arena *a) MUST_CHECK;

/* What an act does to the files that its record lists. */
enum papers_act { PAPERS_NOTHING, PAPERS_APPROVES, PAPERS_REVOKES, PAPERS_REVIEWS, PAPERS_UNKNOWN };
enum papers_act papers_act(const struct record *rec);
/* Is the file approved after it? Who goes back takes out what the old tree did not have: such a file has no blob. */
bool papers_stands(const struct record *rec, const struct record_file *f);

/* --- state.c: what is approved, at or below the path ------------------------------------------------------------------ */

/* Some bytes; the same ones may be many versions. */
struct version {
	struct sha256 sha256;
	struct md5 md5;
	struct blob_id blob;
	uint64_t size;
	bool bad, seen; /* told already; its bytes came */
};
struct approved {
	struct sha256 hash; /* of the path */
	struct blob_id blob;
	struct sha256 sha256;
	bool stands, exec;
	uint64_t mark; /* of the walk that met it */
};
struct state;
struct state *state_new(void);
void state_free(struct state *s);
struct approved *state_file(struct state *s, struct path path, bool make); /* NULL: not known */
uint64_t state_standing(const struct state *s);
/* The version with these bytes, known from now on. *same false: it was known with another MD5, size or blob. */
struct version *state_version(struct state *s, const struct record_file *f, bool *same);
struct version *state_version_find(const struct state *s, const struct sha256 *sha256);
/* All versions, or those that stand, by SHA-256; the array is the caller's to free. */
struct version **state_versions(const struct state *s, bool standing, size_t *n);

/* --- spine.c: trees on the way to paths that come in order ------------------------------------------------------------- */

typedef enum err spine_read(void *arg, const struct blob_id *tree, struct buf *out);
struct spine;
struct spine *spine_new(spine_read *read, void *arg);
void spine_free(struct spine *s);
void spine_reset(struct spine *s, const struct blob_id *site_tree);
/* *found false: nothing of that name. A path on whose way a file stands is not there. */
enum err spine_find(struct spine *s, struct path path, struct tree_entry *entry, bool *found) MUST_CHECK;
/* Every file at or below an entry of that path. */
typedef enum err spine_file(void *arg, struct path path, const struct tree_entry *entry);
enum err spine_walk(struct spine *s, struct path path, const struct tree_entry *entry, spine_file *fn, void *arg) MUST_CHECK;

/* --- pack.c: whole objects in a pack, and its index ----------------------------------------------------------------- */

enum pack_type { PACK_COMMIT = 1, PACK_TREE = 2, PACK_BLOB = 3 };
struct pack_entry {
	struct blob_id id;
	uint32_t crc;
	uint64_t at, size;
	enum pack_type type;
	bool used;
};
struct pack_out;
struct pack_out *pack_out_new(int fd); /* a temporary file */
void pack_out_free(struct pack_out *p);
bool pack_out_has(const struct pack_out *p, const struct blob_id *id);
/* Not a second time. */
enum err pack_out_add(struct pack_out *p, enum pack_type type, const struct blob_id *id, const void *bytes, size_t n) MUST_CHECK;
enum err pack_out_finish(struct pack_out *p, uint64_t *size, char name[2 * BLOB_ID_SIZE + 1], struct buf *index) MUST_CHECK;

/* A pack in memory (mapped). Nothing of it is believed: ids are computed, deltas refused. */
struct pack_in {
	const uint8_t *p;
	uint64_t size;
	struct pack_entry *entries; /* by id */
	size_t n;
	char name[2 * BLOB_ID_SIZE + 1];
};
enum err pack_in_open(struct pack_in *in, const uint8_t *p, uint64_t size, struct buf *index) MUST_CHECK;
void pack_in_release(struct pack_in *in);
enum err pack_in_read(struct pack_in *in, enum pack_type type, const struct blob_id *id, struct buf *out) MUST_CHECK;

#endif
