/*
 * internal: what the files of acts/ share: the one transaction that decides every act, and the steps around it.
 * Nobody else includes it.
 */
#ifndef DRYDOCK_ACTS_INTERNAL_H
#define DRYDOCK_ACTS_INTERNAL_H

#include "acts/acts.h"
#include <string.h>

#include "base/json.h"

#define INSTALLATION "installation"
#define MAIN_REF "refs/heads/main"
#define RELEASE_TAG_PREFIX "refs/tags/release/"

extern const struct identity act_system; /* the actor of pick-up, release and offline commands */

/* --- the digest of a request: the same id with another request is refused ------------------------------------------ */

struct request {
	struct sha256_stream *s;
};
void request_begin(struct request *r, const char *act);
void request_bytes(struct request *r, const void *p, size_t n);
void request_text(struct request *r, const char *text); /* NULL differs from "" */
void request_number(struct request *r, int64_t n);
void request_end(struct request *r, struct sha256 *out);

/* --- decide.c ------------------------------------------------------------------------------------------------------ */

/*
 * One act on its way. The caller fills the first part; check fills the second, inside the transaction with the site's
 * row locked. check, build and write may run more than once and start from scratch each time.
 */
struct decision {
	/* given */
	struct site *s;
	struct actor_tools *t;
	const struct act_request *rq;
	const char *act;
	struct sha256 request;
	const char *shown; /* "" if nothing was */
	struct repo_pack *pack; /* blobs of the act; NULL: begun when needed. Freed by decide() */
	bool takes_turn; /* does not need to have it already */
	bool bulk; /* one syncfs in place of many fsyncs, where there are many large files */
	/* Told when it waits for the site, is recorded, is carried out: "wait", "record", "export"; may be NULL. */
	void (*progress)(void *arg, const char *step, uint64_t done, uint64_t total);
	void *progress_arg;
	uint64_t total; /* for progress */
	int64_t at; /* of the record; 0: now */
	/* Ask the roles again, compare the expected states: the database is the truth here. */
	enum err (*check)(struct decision *d, void *arg);
	/* More objects for the pack, once the log commit is known; may be NULL. */
	enum err (*build)(struct decision *d, void *arg);
	/* The act's own rows; may be NULL. */
	enum err (*write)(struct decision *d, void *arg);
	/* After COMMIT: what is kept in memory; may be NULL. */
	void (*after)(struct decision *d, void *arg);
	void *arg;

	/* filled by check */
	struct rule rule; /* that allowed it; principal NULL: none was needed. Lives as long as rules */
	json_t *fields; /* new reference, taken over; NULL: none */
	struct rules *rules_after; /* new reference, taken over; NULL: not changed */
	const struct plan *changes; /* of the approved tree; NULL: none */
	const struct record_file *files; /* sorted by path */
	size_t n_files;
	bool approval; /* moves the scheduler's quiet period */

	/* what the transaction found, for check, build and write */
	struct db *db;
	struct repo *repo;
	struct db_head head; /* before this act */
	struct rules *rules; /* in force, referenced */
	struct record record; /* complete from build on */
	struct sha256 record_digest;
	struct blob_id commit, site_tree; /* of this act */

	/* decide's own */
	uint64_t rules_version;
	struct buf body, files_text, rules_text;
	bool built, published, repeated;
	struct blob_id built_on;
	uint64_t built_rules;
	struct act_answer answer;
};
/*
 * Held around the acts that may take rights from somebody: rules of a site, accounts and groups of the installation.
 * Each is judged by what the others have left, "/" keeps an admin for instance, so two of them must not be judged at once.
 */
extern pthread_mutex_t act_rights_lock;
/* Everything from taking the site's writer lock to the answer; releases what *d took over. Events for refusals too. */
enum err decide(struct decision *d, struct act_answer *out) MUST_CHECK;

const struct identity *request_identity(const struct act_request *rq);
/* Note and id are well-formed. */
enum err request_check(const struct act_request *rq) MUST_CHECK;
/* ERR_NOT_FOUND: not done yet. ERR_OK: done before, *out is the same answer. ERR_STALE: the id was another request. */
enum err act_seen(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct sha256 *request, struct act_answer *out) MUST_CHECK;
/* Write the event of a refusal, keeping the error's sentence; returns code. */
enum err act_refused(struct site *s, struct actor_tools *t, const struct act_request *rq, const char *act, const char *path, enum err code);
/* The role needed on one path; *rule is the one that decided. ERR_NOT_FOUND where even view is missing. */
enum err act_role(const struct rules *rules, const struct identity *who, struct path path, enum role need, struct rule *rule) MUST_CHECK;

/* --- account.c ----------------------------------------------------------------------------------------------------- */

/*
 * Is the actor admin of a whole site, and admin wherever target has a role? Then d->rule is the rule that makes him one,
 * and d->fields, which has to be there, says of which site.
 */
enum err over_sites_ask(struct decision *d, struct actor_tools *t, struct arena *a, const struct identity *target) MUST_CHECK;

/* --- site.c -------------------------------------------------------------------------------------------------------- */

#define RULES_LIMIT (64u << 20)
/*
 * Rules of the locked version: from memory, or from the database if another server changed them; then held against those that
 * the newest record of the log was made under, which count (repo may be NULL: not held against them). Referenced.
 */
enum err site_rules_at(struct site *s, struct db *db, struct repo *repo, uint64_t version, struct rules **out) MUST_CHECK;
void site_rules_stale(struct site *s); /* whoever asks for them next reads them */
void site_rules_put(struct site *s, struct rules *rules, uint64_t version); /* takes over the reference */
enum err site_load_preapprovals(struct site *s, struct db *db) MUST_CHECK;
/* Pre-approvals that have not ended, sorted by path; copies in the arena, list to be freed. */
struct preapproved_list {
	struct arena *a;
	struct preapproved *list;
	size_t n, cap;
	int64_t now, next_end; /* of the first that ends; 0: none does */
};
enum err preapproved_live(struct site *s, struct db *db, struct preapproved_list *l) MUST_CHECK;
/* The approved side from the database into the catalog; counts approved_files. */
enum err site_load_states(struct site *s, struct db *db) MUST_CHECK;
/* All that is kept of a site in memory, as the database has it: rules (repo: as for site_rules_at), states, pre-approvals. */
enum err site_load(struct site *s, struct db *db, struct repo *repo) MUST_CHECK;
const char *site_log_ref(const struct site *s, char out[128]);
struct approved approved_of(const struct db_state_row *row);
static inline bool approval_stands(unsigned approval)
{
	return approval == APPROVAL_SIGNED || approval == APPROVAL_PREAPPROVED;
}

/* --- key.c --------------------------------------------------------------------------------------------------------- */

enum err site_load_keys(struct site *s, struct db *db) MUST_CHECK; /* what is wrong with them makes it read-only */
void site_keys_free(struct site_keys *k);
bool site_key_signs(const struct site *s); /* is the node's key the newest of this log? */
bool site_key_signed(const struct site *s, const struct db_release *rel); /* did the node's key, as it is today, sign that release of its own? */
/* If not: the armored signature of its head, or its tag, as it was kept. ERR_NOT_FOUND: it was not. */
enum err site_key_kept(struct site *s, struct actor_tools *t, const struct db_release *rel, bool tag, struct buf *armored) MUST_CHECK;
enum err release_tag_signature(struct site *s, const struct db_release *rel, struct buf *armored) MUST_CHECK; /* release.c: made now */
/* recover.c */
void site_make_read_only(struct site *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* --- carry.c ------------------------------------------------------------------------------------------------------- */

/* With the writer lock held. old: the head before. plan: what the act changed, NULL: nothing. pending: 256 bytes. */
void carry_act(struct site *s, struct actor_tools *t, const struct blob_id *old, const struct blob_id *now, const struct plan *plan, int64_t at, char pending[256]);
/* Bring the export to a commit; plan NULL: computed. With the writer lock held. */
enum err carry_export(struct site *s, struct actor_tools *t, const struct blob_id *to, const struct plan *plan, int64_t at) MUST_CHECK;
/* Move the ref wherever it stands to now. */
enum err carry_ref(struct repo *repo, const char *ref, const struct blob_id *now) MUST_CHECK;
/* site_recover with the writer lock held; at_start: temporary files of others are nobody's. */
enum err recover_locked(struct site *s, struct actor_tools *t, bool at_start) MUST_CHECK;
/* refs/heads/main and the tags of the releases, as the database has them. */
enum err release_refs(struct site *s, struct actor_tools *t) MUST_CHECK;

/* --- release.c: what a release and a rollback share -------------------------------------------------------------------- */

/* A release on its way. Held around it: release_lock of the site, since manifest.c prepares one at a time. */
struct cutting {
	struct arena *a;
	struct db_release last; /* number 0: none yet */
	struct caught caught; /* newer than the last release: it goes on from there; seq 0: it was never needed */
	struct db_release now;
	struct blob_id tag;
	struct head head;
	struct db_head from; /* of the log: what was approved then is cut. seq 0: with this very record (a rollback) */
	struct blob_id prepared; /* the site tree of head.sums */
	bool last_try;
	bool down; /* what was taken down, and nothing else */
	const struct sha256 *plan; /* exactly that; NULL: whatever it is */
	struct sluice sluice;
	struct sha256 changes; /* the digest of what was prepared */
	bool moved; /* to be prepared again */
	bool nothing;
};
/* The newest release (number 0: none), and the sums for one with these changes. The long part: outside of the lock. */
enum err cutting_last(struct cutting *c, struct site *s, struct actor_tools *t) MUST_CHECK;
enum err cutting_prepare(struct cutting *c, struct site *s, struct actor_tools *t, const struct plan *changes) MUST_CHECK;
/* In check: its number, and what its record says, added to d->fields. */
enum err cutting_number(struct cutting *c, struct decision *d) MUST_CHECK;
enum err cutting_build(struct cutting *c, struct decision *d) MUST_CHECK;
enum err cutting_write(struct cutting *c, struct decision *d) MUST_CHECK;
void cutting_after(struct cutting *c, struct decision *d);
void cutting_done(struct cutting *c, struct site *s); /* after decide() */

/* --- sluice.c: what of the approved tree the next release takes up ------------------------------------------------------ */

static inline const struct blob_id *release_tree(const struct db_release *rel)
{
	static const struct blob_id none;

	/* One that was cut while a path was held has another tree than its log commit. Number 0: nothing. */
	return !rel->number ? &none : memcmp(&rel->main_commit, &none, sizeof none) ? &rel->main_commit : &rel->log_commit;
}
/* down: a take-down is asked for, and nothing else. a: for the list. */
enum err sluice_holds(struct site *s, struct db *db, struct sluice *g) MUST_CHECK; /* those that have not ended */
const struct db_hold *sluice_hold(const struct sluice *g, struct path path);
enum err sluice_plan(struct site *s, struct actor_tools *t, const struct db_release *last, const struct blob_id *head, struct sluice *g, struct plan *out) MUST_CHECK;
bool sluice_shut(const struct sluice *g); /* too many files go, and nobody confirmed it */
enum err sluice_refusal(const struct sluice *g);
/* Whose record says what is approved, or taken away, today; who: plan->n. */
enum err sluice_who(struct site *s, struct db *db, const struct plan *plan, struct plan_who *who, struct arena *a) MUST_CHECK;
void sluice_digest(const struct plan *plan, const struct plan_who *who, struct sha256 *out);

/* --- manifest.c: what site_manifest() reads --------------------------------------------------------------------------- */

/*
 * The sums of the manifest that a release with these changes would have (before: the newest release; number 0: none),
 * approved by records up to seq, and what differs, kept until it is adopted. Without the writer lock: this is the long part of a release.
 */
enum err manifest_prepare(struct site *s, struct actor_tools *t, const struct db_release *before, const struct plan *changes, uint64_t seq, struct manifest_sums *out) MUST_CHECK;
enum err manifest_adopt(struct site *s, uint64_t number) MUST_CHECK; /* it has been cut, as prepared */
/* Who approved each file of a plan (plan->n lines, those of PLAN_REMOVE gone), and its fingerprint (prints may be NULL). */
enum err manifest_find(struct site *s, struct db *db, const struct plan *plan, struct manifest_line *lines, struct fingerprint *prints, struct arena *a) MUST_CHECK;

/* --- read.c -------------------------------------------------------------------------------------------------------- */

/* A file to be approved, on its way from staging into git and export. */
struct read_item {
	struct path path;
	const struct fingerprint *want; /* what was shown; NULL: whatever is there now */
	/* results */
	struct fingerprint print;
	int64_t mtime; /* microseconds */
	uid_t owner; /* the UNIX user of the file */
	struct blob_id blob;
	enum err err; /* ERR_STALE: not what was shown; ERR_BUSY, ERR_NOT_FOUND, ERR_INPUT: from the door */
};
struct reading {
	struct site *s;
	struct repo_pack *pack; /* NULL: only the fingerprints */
	struct read_item *items;
	size_t n;
	bool lenient; /* an item that fails is marked; otherwise the first failure ends it all */
	bool later; /* the export follows later and reads the repository: nothing is laid beside it */
	void (*progress)(void *arg, const char *step, uint64_t done, uint64_t total);
	void *progress_arg;
};
/* The sentence is that of the first failure, and *failed its index. */
enum err reading_run(struct reading *r, size_t *failed) MUST_CHECK;
/* After it, all read: what export_ahead() says of these files. */
bool reading_ahead(struct reading *r);

/* --- approve.c: the part that sign and pick-up share --------------------------------------------------------------- */

/*
 * Approved paths that stand in the way: a file where a directory is wanted, files below a name that becomes a file.
 * They are gone from staging, since staging holds the new ones, and leave the approved tree in the same act.
 */
struct superseded {
	struct path *paths;
	size_t n, cap;
	size_t bytes;
};
enum err superseded_find(struct site *s, const struct path *paths, size_t n, struct arena *a, struct superseded *out) MUST_CHECK;
void superseded_release(struct superseded *x);

/* Is an act of so many files answered before the export follows? Then whoever is the site's carrier does it next. */
bool carry_later(const struct site *s, size_t files);

struct approve_file {
	struct path path;
	struct fingerprint print;
	int64_t mtime;
	struct blob_id blob;
	struct blob_id was; /* the approved blob that the person was shown beside it; zero: none */
	uid_t owner; /* the UNIX user of the staged file; sign only */
	bool gone; /* taken away, whatever the act does with the others: print and blob are those of before */
};
/* What sign, revoke, review and pick-up write. Filled before decide(), completed by approve_check. */
struct approve {
	enum approval approval; /* SIGNED, PREAPPROVED; REVOKED takes out; NONE: a review */
	struct approve_file *files; /* sorted by path */
	size_t n;
	enum role need; /* on each path; ROLE_NONE: the system */
	const struct file_act *given; /* what was filled in; NULL: nobody was asked */
	bool again; /* set with ERR_INPUT: what was filled in is wrong */
	const uid_t *signer; /* the UNIX user who signs; NULL: not known, or nobody signs */
	bool exact; /* the files are all that changes: what stands in their way is among them */
	const struct preapproved *within; /* what it supersedes must be meant by one of these; NULL: anything */
	size_t n_within;
	const char *stale_path; /* set with ERR_STALE: which */
	/* made by approve_check */
	struct arena *arena;
	struct superseded superseded;
	struct plan changes;
	struct record_file *record_files;
	struct db_state_row *rows; /* n of the files, then the superseded */
	size_t n_rows;
	int64_t files_delta;
};
void approve_init(struct approve *x);
void approve_release(struct approve *x);
enum err approve_check(struct decision *d, void *arg) MUST_CHECK;
enum err approve_write(struct decision *d, void *arg) MUST_CHECK;
void approve_after(struct decision *d, void *arg);

/* --- require_check.c: what a signature needs beside the role --------------------------------------------------------- */

/* ERR_DENIED, naming the first file that lacks something; fields tell what was asked for and who had reviewed. */
enum err require_check(struct decision *d, const struct approve *x) MUST_CHECK;

/* --- field_check.c: what an admin asks for with an act ---------------------------------------------------------------- */

/*
 * Sets members of into (a record's fields). ERR_INPUT with *again: what was filled in is wrong; ERR_STALE: something else
 * is asked for than was shown.
 */
enum err field_check(const struct rules *rules, const char *act, const struct path *paths, size_t n, const struct file_act *given, const char *node,
    json_t *into, bool *again) MUST_CHECK;

#endif
