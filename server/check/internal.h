/* internal: what the files of check/ share. Nobody else includes it. */
#ifndef DRYDOCK_CHECK_INTERNAL_H
#define DRYDOCK_CHECK_INTERNAL_H

#include "check/check.h"
#include "repo/keychain.h"

#define MAIN_REF "refs/heads/main"
#define TAG_PREFIX "refs/tags/release/"
#define INSTALLATION "installation"
#define COMMIT_HEX (2 * BLOB_ID_SIZE + 1)

/* --- findings.c ---------------------------------------------------------------------------------------------------- */

#define FINDINGS_OF_A_KIND 200 /* more of one kind are counted, and told with one sentence */

struct check {
	const struct check_place *p;
	const struct check_options *o;
	struct check_result *out;
	uint64_t of_kind[FINDING_COUNT];
	bool log_damaged; /* what the records add up to cannot be told */
	bool mend; /* put right what can be derived, at the end */
	bool mended; /* something was: look again */
	bool overtaken; /* rows could not be, since acts came in between */
	struct replay *replay;
	const char *log_ref;
	struct keychain keys; /* of the log, as far as it was read */
};
void found(struct check *c, enum finding_id id, const char *subject, const char *fmt, ...) PRINTF_LIKE(4, 5);
void found_end(struct check *c); /* tell of what was only counted */
bool stopped(const struct check *c);
/* The writer's lock, if there is one. */
void hold(const struct check_place *p);
void let_go(const struct check_place *p);
/*
 * Run a pass, and if it put something right, once more: what is found no longer is told as repaired. So a repair is
 * believed only when it is seen.
 */
typedef enum err pass_fn(struct check *c, const void *arg);
enum err check_passes(const struct check_place *p, const struct check_options *o, struct check_result *out, pass_fn *fn, const void *arg) MUST_CHECK;
const char *commit_hex(const struct blob_id *id, char out[COMMIT_HEX]);

/* --- log.c: one node's log, from its first record on ---------------------------------------------------------------- */

struct log_entry {
	uint64_t seq;
	struct blob_id commit;
	struct repo_log_commit parts;
	struct record record; /* fields dropped with the entry */
	struct buf body, files_text;
	struct sha256 digest;
	struct record_file *files;
	bool rules_changed;
	struct buf rules_text; /* only if they changed */
	struct arena *arena;
	bool damaged; /* told; the record may be missing */
	bool read; /* record and body are there */
};

struct log {
	struct repo *repo; /* of the calling thread */
	const char *site;
	const struct node_key *key;
	uint64_t before; /* records ahead of the first of these */
	struct blob_id *ids; /* of seq before + 1, + 2, ... */
	size_t n;
	struct check *check; /* who is told */
};
/*
 * The commits from `tip` back to the first, or to the one behind `after`, which is record number l->before (then log_one() alone
 * is for them: the keys and rules of what came before are not known). ERR_NOT_FOUND, ERR_FAILED with *broken: the commit that cannot be read.
 */
enum err log_open(struct log *l, const struct blob_id *tip, const struct blob_id *after, struct blob_id *broken) MUST_CHECK;
void log_close(struct log *l);
/* Every record in order, verified; what is wrong is told. fn sees damaged ones too. The files are in path order. */
enum err log_each(struct log *l, enum err (*fn)(void *arg, const struct log_entry *e), void *arg) MUST_CHECK;

/*
 * The record of ids[nth], without its rules; nothing is told. fn is not called if it or its list of files cannot be read; of
 * a damaged one the list may end early.
 */
enum err log_one(struct log *l, size_t nth, enum err (*fn)(void *arg, const struct log_entry *e), void *arg) MUST_CHECK;

/* --- replay.c, replay_rows.c: what records add up to ----------------------------------------------------------------- */

typedef void row_fn(void *arg, enum db_table_id id, uint64_t seq, const struct db_value *row);

struct replay_file {
	struct sha256 hash; /* of the path */
	struct path path;
	uint8_t approval;
	bool exec;
	struct md5 md5;
	struct sha256 sha256;
	uint64_t size;
	struct blob_id blob;
	uint64_t seq, review_seq;
	int64_t at;
	const char *actor;
	struct sha256 reviewed;
};

struct replay;
struct replay *replay_new(const char *site, const struct node_key *key);
void replay_free(struct replay *r);
/* The commits of the releases in order of their numbers, as far as they are known. Borrowed. */
void replay_releases(struct replay *r, const struct blob_id *main_commits, size_t n);
/* Take up one record, the next. ERR_INPUT: its act is not known, or its fields are not those of the act. */
enum err replay_add(struct replay *r, const struct log_entry *e) MUST_CHECK;
/* The rows that a record wrote, whatever was before it. */
void replay_rows(const struct replay *r, const struct log_entry *e, row_fn *fn, void *arg);
/* The rows of what they add up to. */
void replay_end(struct replay *r, row_fn *fn, void *arg);
/* The approved side, in path order. */
const struct replay_file *const *replay_files(struct replay *r, size_t *n);
const struct replay_file *replay_file(const struct replay *r, struct path path); /* NULL */
/* What a record changed in the approved tree: sorted by path. Of the record added last. */
const struct plan *replay_changes(const struct replay *r);

/* --- rows.c: the database against them ------------------------------------------------------------------------------ */

/*
 * The rows of records are not kept: each adds its keyed digest to the sum of its record, and each row of the database takes
 * its own away. Where something is left, the rows of that record are expected once more and named one by one.
 */
struct rows;
struct rows *rows_new(struct check *c, uint64_t n_records);
void rows_free(struct rows *r);
void rows_expect(void *rows, enum db_table_id id, uint64_t seq, const struct db_value *row); /* a row_fn */
/* Read all tables: rows of what they add up to are named, and of records that there are not. */
enum err rows_compare(struct rows *r, struct db *db) MUST_CHECK;
/* The next record after seq (0: from the start) whose rows are not as expected; 0: none. At most FINDINGS_OF_A_KIND of them. */
uint64_t rows_next(const struct rows *r, uint64_t seq);
/* After the rows of those were expected once more. */
enum err rows_name(struct rows *r, struct db *db) MUST_CHECK;
/* A record that was written since the rows were read: what it may have written too is not to be put right. */
void rows_overtaken(struct rows *r, const struct log_entry *e);
/* Are there such rows? */
bool rows_left(const struct rows *r);
/* In a pass that mends: is there a row that can be put right, and do so, all in one transaction. Nobody may act meanwhile. */
bool rows_mendable(const struct rows *r);
enum err rows_mend(struct rows *r, struct db *db) MUST_CHECK;
/* The paths of files whose rows were there and wrong. Of r. */
const struct path *rows_strayed(struct rows *r, size_t *n);

/* --- other witnesses ------------------------------------------------------------------------------------------------ */

/* refs.c */
struct release_chain { struct blob_id *ids; size_t n; };
/* refs/heads/main, or the newest tag if that is missing: the releases' commits, the first one first. */
enum err releases_open(struct check *c, struct repo *repo, struct release_chain *out) MUST_CHECK;
/* Nobody else's refs; tags; each release's commit against the tree of its record. */
enum err check_refs(struct check *c, struct repo *repo, const struct release_chain *chain) MUST_CHECK;
void check_release(struct check *c, struct repo *repo, const struct release_chain *chain, size_t nth, const struct log_entry *e);

/* approved.c */
enum err check_approved(struct check *c, struct repo *repo, const struct blob_id *head) MUST_CHECK;
/* The tree of a record against the one before it and its files; before zero: the first. */
enum err check_step(struct check *c, struct repo *repo, const struct log_entry *e, const struct blob_id *before) MUST_CHECK;

/* versions.c: the versions that records name: there at all; deep: their bytes. */
struct versions;
struct versions *versions_new(struct check *c);
void versions_add(struct versions *v, struct repo *repo, const struct log_entry *e);
enum err versions_check(struct versions *v, struct repo *repo) MUST_CHECK; /* deep: reads what was added, on two threads; nothing is added afterwards */
void versions_free(struct versions *v);

/* exported.c: the comparison goes on between the two. The second tells, unless something else went wrong: that is handed on. */
struct exported;
enum err check_export_begin(struct exported **out, struct check *c, const struct repo *repo) MUST_CHECK;
enum err check_export_end(struct exported *x, struct repo *repo, enum err before) MUST_CHECK;
enum err check_schema(struct check *c) MUST_CHECK; /* schema.c: grants, rows of sites that there are not */

#endif
