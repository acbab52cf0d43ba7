/*
 * acts: what a person or a clock can do. The only room that writes. Each act follows DESIGN section 3, step by step:
 * read (hash and write to git from the same bytes), decide (one transaction whose COMMIT is the decision), carry out
 * (move the log ref, bring the export directory along, tell the listeners).
 */
#ifndef DRYDOCK_ACTS_ACTS_H
#define DRYDOCK_ACTS_ACTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "auth/auth.h"
#include "base/err.h"
#include "catalog/catalog.h"
#include "conf/conf.h"
#include "core/head.h"
#include "core/record.h"
#include "db/db.h"
#include "export/export.h"
#include "repo/keychain.h"
#include "repo/repo.h"

struct turns;

/*
 * A site as it runs: made once at start by site_open, shared by all threads. Named "installation" it has neither
 * catalog nor export. writer: one act at a time; held through decide and carry out, not while reading.
 */
struct site {
	const char *name; /* also the key in the database */
	const struct conf_site *conf; /* NULL for the installation */
	const struct node_key *key;
	struct site_keys *keys; /* of its log; made at start, then only read */
	const char *dir; /* <data>/sites/<name>: repo.git, export/, export.at, ... */
	char repo_dir[4096];
	struct catalog *catalog;
	struct export_dir *export;
	pthread_mutex_t writer;
	pthread_mutex_t rules_lock; /* around rules and rules_version */
	pthread_mutex_t release_lock; /* around cutting a release: taken before writer */
	pthread_mutex_t manifest_lock; /* around releases/ below dir: taken after writer, if both */
	bool manifest_checked; /* what releases/ holds is what the release's record says; until an error with it */
	struct rules *rules;
	uint64_t rules_version;
	atomic_bool export_held; /* a sync run holds the export: acts leave it alone */
	atomic_bool export_behind; /* an act stands but the export does not have it yet: syncs wait, site_carry brings it */
	atomic_bool carrier; /* a thread calls site_carry after each act: a large one is answered before the export follows */
	atomic_bool read_only; /* database behind the log: nothing is written; see read_only_reason */
	char read_only_reason[256];
	/* The rest of what the writer keeps; touched with the lock `writer` held only. */
	bool unsettled; /* database, log ref or memory may disagree (an unknown COMMIT, a ref that could not move) */
	struct blob_id export_seen; /* a log commit with the tree that the export holds; zero: not known */
	uint64_t approved_files; /* in the approved tree */
	struct auth *auth; /* set after opening: who there is; told to forget */
	int64_t preapproval_ends; /* wall clock: then the catalog has to hear of it; 0: none ends */
	_Atomic uint64_t generation; /* rises with each act: pages and live events */
	/* Which of several servers it is (acts/turn.h). */
	struct turns *turns; /* NULL: nobody else can be there, and nothing is asked */
	char server[NAMED_PROCESS_LIMIT + 1]; /* its name in the queue */
	uint64_t term; /* its ticket while it has the turn: written into each release */
	bool waits; /* another server has the turn: then it is read_only, too */
	uint64_t followed; /* of one that waits: the newest record that it shows */
	int64_t followed_at; /* boot clock */
	_Atomic unsigned servers; /* that queue for it, as last seen */
	atomic_bool turn_lost; /* it had the turn, and has it no more: to be opened again */
	void (*changed)(void *arg, const char *what); /* tells scheduler and listeners; "act", "sync" */
	void *changed_arg;
};

/* What a thread needs to act: its own database connection; repository handles are opened per site on first use. */
struct actor_tools; /* per worker thread */
struct actor_tools *tools_new(const struct db_address *address);
void tools_free(struct actor_tools *t);
struct db *tools_db(struct actor_tools *t);
/* This thread's handle on a site's repository (or the installation's). */
enum err tools_repo(struct actor_tools *t, const struct site *s, struct repo **out) MUST_CHECK;

/* acts/site.c: create what is missing (repository, directories, genesis record), load approved side and rules, recover. */
enum err site_open(struct site **out, const struct conf *conf, const struct conf_site *cs, const struct node_key *key, struct turns *turns, struct actor_tools *t) MUST_CHECK;
enum err site_open_installation(struct site **out, const struct conf *conf, const struct node_key *key, struct turns *turns, struct actor_tools *t) MUST_CHECK;
/* The log alone of a site that has no place in the configuration any more. */
enum err site_open_log(struct site **out, const struct conf *conf, const char *name, const struct node_key *key, struct turns *turns, struct actor_tools *t) MUST_CHECK;
void site_close(struct site *s);
struct rules *site_rules(struct site *s); /* referenced: rules_unref */
/* The sites that are open, without the installation; fn until it returns false. Not from inside fn again. */
void sites_each(bool (*fn)(void *arg, struct site *s), void *arg);

/*
 * acts/recover.c: after a crash between any two steps: log ref to the database's head (the commit must be there; if the
 * log is ahead of the database: read_only), export brought to the approved tree, temporary files gone.
 */
enum err site_recover(struct site *s, struct actor_tools *t) MUST_CHECK;

/*
 * With `writer` held: somebody put the site's rows right (drydockd fsck --repair). Rules, approvals and who is who are read
 * again, and everybody is told; strayed: files whose rows were there and wrong. After an error the next act or carry does it.
 */
enum err site_reload(struct site *s, struct db *db, const struct path *strayed, size_t n) MUST_CHECK;

/*
 * acts/carry.c. What could not be carried out is tried again by whoever has time: settle what is unsettled, and bring
 * the export to the head of the log unless a sync run holds it. Cheap when there is nothing to do.
 */
enum err site_carry(struct site *s, struct actor_tools *t) MUST_CHECK;
/* Put small packs together when there are many. May take a minute; acts are not held up. */
enum err site_maintain(struct site *s, struct actor_tools *t) MUST_CHECK;
/* A sync run takes the export: exactly the tree of that commit, and no act moves it until it is released. */
enum err site_export_hold(struct site *s, struct actor_tools *t, const struct blob_id *commit) MUST_CHECK;
/* Give it back: it follows the acts again, at once. An error means that site_carry has to be called later. */
enum err site_export_release(struct site *s, struct actor_tools *t) MUST_CHECK;

/* What every act is given. */
struct act_request {
	struct person *actor; /* borrowed; NULL: the system (pick-up, release, an offline command) */
	struct uuid op; /* the id for repetition */
	bool op_is_new; /* made for this request: nobody can have used it before */
	const char *note; /* "" if none; valid UTF-8, at most RECORD_NOTE_LIMIT */
	const char *meaning; /* of a signature: one that the site lists; NULL or "": none */
	const char *address; /* for events; may be NULL */
};

struct act_answer {
	uint64_t seq;
	struct uuid op;
	int64_t at;
	uint64_t files;
	bool repeated; /* this id was done before: the same answer again */
	bool again; /* with ERR_INPUT of an act on files: what was filled in is wrong, a form may be shown again */
	char pending[256]; /* "" or what could not be carried out yet although the act stands */
};

/* --- acts on files: acts/file.c (with sign, review, revoke as rows of a table) ------------------------------------- */

struct expected_file { struct path path; struct sha256 sha256; int exec; /* -1: not said */ };
struct file_act {
	const char *act; /* "sign", "review", "revoke" */
	const struct path *paths;
	size_t n_paths;
	bool recursive;
	/* exactly one of these says what was shown: */
	const struct sha256 *selection; /* digest of the whole selection */
	const struct expected_file *expected; /* a list: then paths/recursive are ignored */
	size_t n_expected;
	bool as_staged; /* whatever is there now: recorded as such */
	/* What was filled in of what an admin asks for (core/field.h): */
	json_t *fields; /* by name, as it came from outside; borrowed; NULL: nothing */
	const struct sha256 *asked; /* the digest of what was shown as asked; NULL: not said */
	bool take_down; /* a revoke that leaves production at once: ahead of the window, past holds, and nothing else with it */
	/*
	 * How far a long act is; may be NULL; called from the acting thread. Steps, in order: "read" (files, done of
	 * total), "wait" (for another act on the site), "record", "export" (from here on it is recorded).
	 */
	void (*progress)(void *arg, const char *step, uint64_t done, uint64_t total);
	void *progress_arg;
};
/*
 * ERR_STALE: something is not as it was shown: *conflict (if given) is filled with the selection as it is now, for the
 * caller to show and release; nothing is recorded. Rights: sign needs ROLE_SIGN, review ROLE_REVIEW, revoke ROLE_SIGN.
 */
enum err act_files(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct file_act *fa,
    struct act_answer *out, struct selection *conflict) MUST_CHECK;

/* --- what a signature needs: acts/require_check.c --------------------------------------------------------------------- */

#define SIGN_NEED_NAMES (REQUIRED_REVIEWS_LIMIT + 3)
struct sign_need {
	/* given */
	struct path path;
	const struct fingerprint *print; /* of the bytes that are to be signed */
	bool may_own; /* sign_may_own() */
	/* found */
	struct required from;
	unsigned need, have; /* reviews of these bytes by others; need 0: nothing is asked for */
	const char *by[SIGN_NEED_NAMES]; /* who, at most so many; in the arena */
};
/* For each file of the list. The act itself asks again, in its transaction. */
enum err sign_needs(struct db *db, const struct site *s, const struct rules *rules, const char *signer, struct sign_need *list, size_t n,
    struct arena *a) MUST_CHECK;
/* "needs 2 reviews of this version by others, has 1: by own:bob"; NULL if nothing is needed. */
const char *sign_need_text(const struct sign_need *f, struct arena *a);
/*
 * Is the owner of the staged file asked about there, and is it he, or can it not be told? signer: his UNIX user
 * (auth_uid), NULL: not known. Accounts of DryDock's own and those of a proxy have none, so they might be anybody's.
 */
bool sign_may_own(const struct site *s, const struct rules *rules, const uid_t *signer, struct path path);

/* --- rules, requirements, fields, pre-approvals: acts/rule.c, acts/require.c, acts/field.c, acts/preapprove.c ---------------------------------------------------------- */

/* role < 0 removes (ERR_NOT_FOUND if there is none). Everybody whose rights are to be judged comes from auth. */
enum err act_rule(struct site *s, struct actor_tools *t, struct auth *auth, const struct act_request *rq, const char *principal, struct path path, int role, struct act_answer *out) MUST_CHECK;
/* Say what a signature on a path needs beside the role; it asks for nothing: taken back. See requirement_change_allowed. */
enum err act_require(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct requirement *q, struct act_answer *out) MUST_CHECK;
/* Say what acts on files ask for; acts 0 removes the field. Its version and node are set here. See field_change_allowed. */
enum err act_field(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct field_def *def, struct act_answer *out) MUST_CHECK;
/* Make somebody admin on "/" without asking anybody: `drydockd admin USER`, offline. Recorded as done by the system. */
enum err act_admin_offline(struct site *s, struct actor_tools *t, const char *principal, struct act_answer *out) MUST_CHECK;
/* Needs admin on the path. remove: take the pre-approval back (files that it let out stay approved until revoked). */
enum err act_preapprove(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct preapproved *what, bool remove, struct act_answer *out) MUST_CHECK;
/* Approve what changed below pre-approved paths, as the system. *n 0: nothing to do, no record. A revoked file stays. */
enum err act_pickup(struct site *s, struct actor_tools *t, uint64_t *n) MUST_CHECK;

/* --- the keys of a log: acts/key.c ----------------------------------------------------------------------------------- */

const struct keychain *site_keychain(const struct site *s); /* NULL: the log has not begun */
/* The statements of its changes, for receivers: strings live as long as the site. */
struct site_key_paper { const char *statement; size_t len; const char *signature; };
const struct site_key_paper *site_key_papers(const struct site *s, size_t *n);
/* The last record that the node's key signs in this log: it names the next. Offline. at: of the whole change, not before the log's newest record. */
enum err act_key(struct site *s, struct actor_tools *t, const struct node_key *next, int64_t at, const char *by, const char *reason, struct act_answer *out) MUST_CHECK;

/* --- sync: acts/release.c, acts/force.c ---------------------------------------------------------------------------- */

/* Cut a release of the approved tree as it stands; ERR_NOT_FOUND-free: *cut false if nothing changed since the last. */
enum err act_release(struct site *s, struct actor_tools *t, struct db_release *out, bool *cut) MUST_CHECK;
/* The same: of what was taken down only, or of exactly that plan (NULL: any). ERR_STALE: it is not that, or it waits for an admin. */
enum err act_release_as(struct site *s, struct actor_tools *t, bool down, const struct sha256 *plan, struct db_release *out, bool *cut) MUST_CHECK;
/* The signed head of a release, made again from its record. */
struct release_papers {
	bool has_head; /* false: it was cut before there were signed heads */
	struct head head;
	const char *bytes; /* the file `release` */
	size_t len;
	struct sha256 digest; /* of it */
	const char *signature; /* armored; NULL: another node cut it, whose key is not here, or one of ours that was replaced, and it was not kept */
	const char *actor; /* who asked for it, as the record says */
};
enum err release_papers(struct site *s, struct actor_tools *t, const struct db_release *rel, struct release_papers *out, struct arena *a) MUST_CHECK;
/*
 * Every file of a release, sorted by path, read as it is asked for. Of an older release the sums are those of the plain
 * list only: who approved a file is told as the records have it today. ERR_NOT_FOUND.
 */
enum err site_manifest(struct site *s, struct actor_tools *t, uint64_t number, struct manifest_reading *out) MUST_CHECK;
/*
 * The difference of the manifests of two releases (from 0: nothing), into a file; `to` is the newest. *whole: it is the
 * whole manifest instead, since `from` is too long ago.
 */
enum err site_manifest_difference(struct site *s, struct actor_tools *t, uint64_t from, uint64_t to, int work, const char *name, bool *whole) MUST_CHECK;
/* Who approved a file as it is in a release: path set, the rest filled (strings in the arena). ERR_NOT_FOUND: not in it. */
enum err site_whence(struct site *s, struct actor_tools *t, const struct db_release *rel, struct path path, struct manifest_line *out, struct arena *a) MUST_CHECK;
/*
 * acts/reach.c: which releases have what was approved. That a release is as of a later record does not say so: what was held,
 * and whatever was approved beside a take-down, is not in it. Told by its tree; each costs a few objects.
 */
struct approved_version { struct blob_id blob; bool exec; }; /* blob zero: nothing is approved any more */
enum err site_release_has(struct site *s, struct actor_tools *t, const struct db_release *rel, struct path path, const struct approved_version *v, bool *has) MUST_CHECK;
enum err site_release_version(struct site *s, struct actor_tools *t, const struct db_release *rel, struct path path, struct approved_version *out) MUST_CHECK; /* ERR_NOT_FOUND */
/*
 * The first release, as of record seq or later, that has what that record left at the path, which nothing has changed since. If only
 * older ones do (approved again as it had been, with no release between), the newest. ERR_NOT_FOUND: the newest does not have it.
 */
enum err site_release_first(struct site *s, struct actor_tools *t, struct path path, const struct approved_version *v, uint64_t seq, struct db_release *out, struct arena *a) MUST_CHECK;
/*
 * What was approved as of a release and is not in it: each path as the release has it instead (PLAN_REMOVE: it has none). Costs what
 * differs. Begins out itself; the caller releases it, also after an error.
 */
enum err site_kept_back(struct site *s, struct actor_tools *t, const struct db_release *rel, struct plan *out) MUST_CHECK;
/* When the oldest approval of those was given; 0: nothing was kept back. Of a release it never changes. */
enum err site_kept_since(struct site *s, struct actor_tools *t, const struct db_release *rel, int64_t *at) MUST_CHECK;
/* Is its tree the approved one of now? */
enum err site_release_current(struct site *s, struct actor_tools *t, const struct db_release *rel, bool *current) MUST_CHECK;
/* Until when a hold keeps what is approved at the path (gone: that it is revoked) from releases; 0: none does. A take-down is not held. */
enum err site_held_until(struct site *s, struct actor_tools *t, struct path path, bool gone, int64_t *until) MUST_CHECK;
/*
 * Check a release against its record, the repository and the node's key: fn for each check, why "" if it holds.
 * ERR_NOT_FOUND: no such release.
 */
enum err release_verify(struct site *s, struct actor_tools *t, uint64_t number, void (*fn)(void *arg, const char *what, const char *why), void *arg) MUST_CHECK;

/* --- going back: acts/rollback.c ------------------------------------------------------------------------------------ */

/* An approved tree of before: of a release, or as the record `seq` left it (release 0). */
struct back_to {
	uint64_t release, seq;
	struct path path; /* there and below */
	bool whole; /* a rollback: every file, also those that the actor may not see; show him only his */
};
/*
 * What would change in the approved tree, as far as `who` may see it (begins out itself; the caller releases it), and the
 * digest that goes along with the act. ERR_NOT_FOUND: no such release or record; ERR_STALE: it is like that already.
 */
enum err site_back(struct site *s, struct actor_tools *t, const struct back_to *to, const struct identity *who, struct plan *out, struct sha256 *digest) MUST_CHECK;
/*
 * Cut a new release with the tree of an old one, which is the approved tree from then on, and ask for it to be sent at
 * once. An admin on "/", with a reason (the note). ERR_STALE: it would change something else than what was shown.
 */
enum err act_rollback(struct site *s, struct actor_tools *t, const struct act_request *rq, uint64_t release, const struct sha256 *shown, struct act_answer *out) MUST_CHECK;
/* Approve a file, or all of a directory, as it was approved before, whatever is staged. Needs sign on each path. */
enum err act_reapprove(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct back_to *to, const struct sha256 *shown, struct act_answer *out) MUST_CHECK;

/* An admin on "/" wants a sync now, with a reason. plan: the digest of the plan he was shown, NULL: none. */
enum err act_force(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct sha256 *plan, struct act_answer *out) MUST_CHECK;
/* What of the approved tree the next release would take up, and what holds it up. */
struct sluice {
	struct arena *a; /* of the list */
	bool down; /* a take-down: nothing but what was taken down */
	struct db_hold *holds; /* that have not ended, by path */
	size_t n_holds;
	size_t kept; /* changes that are held back */
	uint64_t removed; /* files that would go */
	struct sha256 removal; /* the digest of their list */
	bool too_many, confirmed; /* past removal_share or removal_most; an admin has confirmed that list */
};
struct plan_who { const char *user; int64_t at; uint64_t seq; struct sha256 sha256; }; /* user "": pick-up will */
/* What a sync would send: the approved tree (with what pick-up would add) against the newest release. */
struct site_plan {
	struct plan plan;
	struct plan_who *who; /* for each item */
	struct sha256 digest; /* that goes along with a force */
	struct sluice sluice;
};
/* Begins out itself; the caller releases it, also after an error. */
enum err site_plan(struct site *s, struct actor_tools *t, struct site_plan *out) MUST_CHECK;
void site_plan_release(struct site_plan *p);
/*
 * Stop the syncs of the site ("/"), or leave what is at and below a path as the last release had it, until a time; 0:
 * lift the hold. Needs admin on the path, and a reason.
 */
enum err act_hold(struct site *s, struct actor_tools *t, const struct act_request *rq, struct path path, int64_t until, struct act_answer *out) MUST_CHECK;
/* The list of files that would go, past what may go without (gate.removal), is right: an admin on "/", with a reason. */
enum err act_confirm_removal(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct sha256 *list, struct act_answer *out) MUST_CHECK;

/*
 * Production holds a release that this server does not know, since it is an older copy of itself: go on from there, with a
 * higher number and that head as the one before. shown: its digest, as the receipt has it. An admin on "/", with a reason;
 * a sync follows. acts/catch_up.c. ERR_STALE: it is not known to hold that (any more). ERR_DENIED: no receipt of the target's
 * receiver_key says so.
 */
enum err act_catch_up(struct site *s, struct actor_tools *t, const struct act_request *rq, const char *target, const struct sha256 *shown, struct act_answer *out) MUST_CHECK;
/* Would an admin of the whole site be let do that now? The same answers; nothing is changed. */
enum err act_catch_up_check(const struct site *s, struct db *db, const char *target, const struct sha256 *shown, struct arena *a) MUST_CHECK;
/* What the newest such record before one (0: of all) says; seq 0: there is none. */
struct caught { uint64_t seq, number, term; struct sha256 head; };
enum err caught_up(struct db *db, const struct site *s, uint64_t before_seq, struct caught *out, struct arena *a) MUST_CHECK;

/* Offline: this data directory was restored from the backup of that time, and is what to go on from. acts/restore.c */
enum err act_restored(struct site *s, struct actor_tools *t, const char *backup_at, const char *reason, struct act_answer *out) MUST_CHECK;

/* --- accounts and groups of the installation: acts/account.c ------------------------------------------------------- */

/*
 * Who may: admin on "/" of any site, or the offline command (actor NULL); everybody his own password and display name.
 * But nobody takes over rights that he could not give: where the account, or the group, has a role on a path of any
 * site, the actor must be admin there. No act may leave a site without an enabled admin.
 * password NULL keeps it; display NULL too. Sessions of the account end when it is disabled or its password changes.
 */
enum err act_account_put(struct site *installation, struct actor_tools *t, const struct act_request *rq, const char *name,
    const char *password, const char *display, bool enabled, struct act_answer *out) MUST_CHECK;
enum err act_group(struct site *installation, struct actor_tools *t, const struct act_request *rq, const char *group, bool remove, struct act_answer *out) MUST_CHECK;
enum err act_membership(struct site *installation, struct actor_tools *t, const struct act_request *rq, const char *group, const char *principal, bool remove, struct act_answer *out) MUST_CHECK;

/* --- API tokens: acts/token.c -------------------------------------------------------------------------------------- */

struct token_wish {
	const char *label; /* what it is for */
	enum role role; /* at most that */
	const char *site; /* "": every site */
	struct path path; /* there and below */
	int64_t expires_at; /* at most two years ahead */
	const char *expires; /* as it was asked for: "90d" is another time each time */
};
struct token_made { char text[API_TOKEN_TEXT]; char id[TOKEN_ID]; }; /* empty if the act was done before: it is shown once */
enum err act_token_add(struct site *installation, struct actor_tools *t, const struct act_request *rq, const struct token_wish *w,
    struct token_made *made, struct act_answer *out) MUST_CHECK;
/* By its owner, or by who is admin of its site; of a token for every site: by an admin wherever its owner has a role. */
enum err act_token_revoke(struct site *installation, struct actor_tools *t, const struct act_request *rq, const char *id, struct act_answer *out) MUST_CHECK;

#endif
