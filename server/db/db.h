/*
 * db: a connection, statements, the transaction runner, migrations. mysql.h is included in this room only.
 *
 * A struct db belongs to one thread. Statements are prepared on first use and again after a reconnect; auto-reconnect and
 * local infile are off; at each connection strict sql_mode, utf8mb4, READ COMMITTED, innodb_flush_log_at_trx_commit = 1,
 * engine and schema version are checked. A dead connection is reopened when the next transaction begins (or the next
 * statement outside one), never inside one. A server that hangs is an error after 30 s.
 *
 * ERR_BUSY: the database does not answer, was lost, or its disk is full; nothing was changed. ERR_STALE from an insert:
 * the key exists. Once a statement of a transaction has failed (a key that exists excepted), no other runs in it.
 * fn(arg, row) callbacks: what row points to lives until fn returns; fn may ask the database again, except where noted.
 * One subject a file: db/record.c, db/state.c, ... each statement, its bindings and columns in one function.
 */
#ifndef DRYDOCK_DB_DB_H
#define DRYDOCK_DB_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/field.h"
#include "core/named.h"
#include "core/preapproved.h"
#include "core/record.h"

struct db;

/*
 * Where the database is: "mysql://user:password@host:port/name", "mysql://user@localhost/name?socket=/path".
 * Passwords come from a file (conf), never from arguments.
 */
struct db_address {
	char host[256], user[128], name[64], socket[108], password[256];
	unsigned port;
	bool tls_verify;
};
enum err db_address_parse(struct db_address *out, const char *url) MUST_CHECK;

enum err db_library_start(void) MUST_CHECK; /* once, before threads */
void db_library_stop(void);
/* Does not connect yet: the first use does. Each thread its own. */
enum err db_open(struct db **out, const struct db_address *address) MUST_CHECK;
void db_close(struct db *db);
/* Connect (again) if needed: ERR_BUSY with a sentence if the server does not answer. */
enum err db_ping(struct db *db) MUST_CHECK;

/*
 * Begin, fn, COMMIT. Any error rolls the whole transaction back; ERR_RETRY (deadlock, lock wait, certification failure)
 * repeats it a bounded number of times with a short random pause. fn may run more than once: it answers nobody and
 * touches no file that it cannot write again.
 * If the connection is lost during COMMIT the outcome is unknown: ERR_FAILED with *unknown set (if given): the caller
 * settles it by the act id on a new connection.
 */
enum err tx_run(struct db *db, enum err (*fn)(struct db *db, void *arg), void *arg, bool *unknown) MUST_CHECK;
bool tx_open(const struct db *db); /* for the check at the end of each request */

/*
 * Apply numbered migrations from dir to the newest (as owner); grants the program's account what the files say.
 * program_user: "user" (at localhost) or "user@host"; NULL, or the owner himself: one account for all, with a warning.
 * ERR_STALE: the database is newer, or a file that was applied has changed. An interrupted one is taken up where it was.
 */
enum err db_migrate(struct db *owner, const char *dir, const char *program_user) MUST_CHECK;
/* The newest number in dir, and the database's: ERR_STALE with a sentence if the database is newer or older. */
enum err db_schema_check(struct db *db, const char *dir) MUST_CHECK;

/* --- the private server (db/private.c) ----------------------------------------------------------------------------- */

struct private_db;
/*
 * Start, or re-attach to, the private MariaDB below dir (datadir dir/db, socket dir/db.sock, log dir/db.log). Installs
 * on first use. Waits for a successful connect. owner: by the UNIX user on the socket; program: the account `drydock`
 * with a random password in dir/db.secret (0600), created by the owner.
 */
enum err private_db_start(struct private_db **out, const char *dir, unsigned max_connections) MUST_CHECK;
/*
 * Before all rows of a log, or of a backup, are put in: 256 MiB for its pages until it ends, where the machine has four times that.
 * With the 32 MiB that acts are content with, rows of 100,000 records wait for a page to be written and another one to be read.
 * Where it cannot be had, that takes longer, and is logged.
 */
void private_db_roomy(struct db *owner);
void private_db_owner(const struct private_db *p, struct db_address *out);
void private_db_program(const struct private_db *p, struct db_address *out);
/* Called every second or so from the main thread: notices a dead server and starts it again. */
enum err private_db_supervise(struct private_db *p) MUST_CHECK;
/* SIGTERM and wait; frees. With leave_running only lets go (a daemon about to be replaced). */
void private_db_stop(struct private_db *p, bool leave_running);

/* --- subjects ------------------------------------------------------------------------------------------------------ */
/* All take part in the caller's transaction if one is open, else run by themselves. Strings go to the arena. */

#define PUBLISHER_QUEUE "publisher/" /* and the site: the queue of the servers that want to write and publish it */
struct db_site {
	uint64_t rules_version;
	char writer[65];
	char publisher[NAMED_PROCESS_LIMIT + 1]; /* the head of the queue; "": nobody queues. Told by db_site_lock only */
};
enum err db_site_create(struct db *db, const char *site, const char *node, int64_t at) MUST_CHECK; /* existing: fine */
enum err db_site_created(struct db *db, const char *site, int64_t at) MUST_CHECK; /* what its first record says */
/* Lock the site's row (first thing of each act): ERR_NOT_FOUND; ERR_BUSY naming the writer if it is another node. */
enum err db_site_lock(struct db *db, const char *site, const char *node, struct db_site *out) MUST_CHECK;
enum err db_site_get(struct db *db, const char *site, struct db_site *out) MUST_CHECK;
enum err db_site_bump_rules(struct db *db, const char *site) MUST_CHECK;

/* Servers that share a database (db/publisher.c): when each was last heard of, by the database's clock. */
struct db_publisher { int64_t seen_at, now; }; /* microseconds; seen_at 0: it has stopped */
/* The name under which a data directory queues. ERR_NOT_FOUND: it does not yet. */
enum err db_publisher_of_place(struct db *db, const char *site, const struct sha256 *place, char process[NAMED_PROCESS_LIMIT + 1]) MUST_CHECK;
enum err db_publisher_put(struct db *db, const char *site, const char *process, const struct sha256 *place) MUST_CHECK; /* heard of now */
enum err db_publisher_beat(struct db *db, const struct sha256 *place) MUST_CHECK; /* of all its sites: heard of now */
enum err db_publisher_touch(struct db *db, const char *site, const char *process) MUST_CHECK; /* ERR_NOT_FOUND: it was removed */
enum err db_publisher_stop(struct db *db, const struct sha256 *place) MUST_CHECK;
enum err db_publisher_get(struct db *db, const char *site, const char *process, struct db_publisher *out) MUST_CHECK; /* ERR_NOT_FOUND */
/* The last heard of that are not of this place. ERR_NOT_FOUND: there are none. */
enum err db_publisher_newest(struct db *db, const struct sha256 *but, char process[NAMED_PROCESS_LIMIT + 1], struct db_publisher *out) MUST_CHECK;
/* ERR_NOT_FOUND: not there, or heard of since. */
enum err db_publisher_remove(struct db *db, const char *site, const char *process, int64_t seen_at) MUST_CHECK;

struct db_head { uint64_t seq; struct sha256 record; struct blob_id commit; };
enum err db_head_get(struct db *db, const char *site, const char *node, struct db_head *out) MUST_CHECK; /* zeroes if none */
enum err db_head_set(struct db *db, const char *site, const char *node, const struct db_head *head) MUST_CHECK;

struct db_record_row {
	const char *node;
	uint64_t seq;
	struct uuid op;
	const char *act;
	int64_t at;
	const char *actor, *note;
	uint64_t files_count;
	struct sha256 sha256;
	struct blob_id commit;
	const char *body; /* the stored bytes of `record` */
	size_t body_len;
	uint64_t files_here; /* in a list by path: how many of its files are at or below the path; else files_count */
	const struct record_file *file; /* in a list by a file's path: the file as this record has it; else NULL */
};
/* Record, its files (array-bound where the server can) and its directories. files in path order. */
enum err db_record_insert(struct db *db, const struct record *r, const char *body, size_t body_len, const struct sha256 *digest,
    const struct blob_id *commit, const struct record_file *files, size_t n) MUST_CHECK;
/* One row for each directory at or above one of the files, which are in path order: fn with its hash and how many. */
void db_record_dirs(const struct record_file *files, size_t n, void (*fn)(void *arg, const struct sha256 *dir, uint64_t files), void *arg);
enum err db_record_get(struct db *db, const char *site, const char *node, uint64_t seq, struct db_record_row *out, struct arena *a) MUST_CHECK;
/*
 * Newest first. Every filter may be left out (NULL, 0). before_seq: cursor. fn returns false to stop.
 * node NULL: of all nodes that wrote the site, by seq, then node; the cursor is then before_seq and before_node.
 */
struct db_record_query {
	const char *site, *node;
	const struct path *path; /* of a file: records that name it; of a directory: records at or below it */
	bool is_dir;
	const char *actor, *act;
	int64_t since, until; /* since <= at < until */
	uint64_t before_seq;
	const char *before_node;
	unsigned limit; /* rows to fetch at the most, 1 to 1000 */
};
enum err db_record_list(struct db *db, const struct db_record_query *q, bool (*fn)(void *arg, const struct db_record_row *row), void *arg) MUST_CHECK;
/* The files of a record in path order, after a path (NULL: from the start), at most limit. */
enum err db_record_files(struct db *db, const char *site, const char *node, uint64_t seq, const char *after, unsigned limit,
    bool (*fn)(void *arg, const struct record_file *f), void *arg) MUST_CHECK;
/* Whatever acts, reviews too, did to each of the paths: those of a path together, and of a node oldest first. fn returns false to stop. */
struct db_version { struct path path; const char *node, *act; uint64_t seq; int64_t at; struct blob_id blob; bool exec; };
enum err db_record_versions(struct db *db, const char *site, const struct path *paths, size_t n, bool (*fn)(void *arg, const struct db_version *v), void *arg) MUST_CHECK;

/* file_state */
struct db_state_row {
	struct path path;
	unsigned approval; /* enum approval */
	struct fingerprint print;
	struct blob_id blob;
	uint64_t seq;
	int64_t at;
	const char *actor;
	uint64_t review_seq;
	struct sha256 reviewed;
};
/* seq, at, actor: of the record that put or took it; review_seq 0: never reviewed. */
enum err db_state_put(struct db *db, const char *site, const char *node, const struct db_state_row *rows, size_t n) MUST_CHECK; /* replaces; array-bound */
enum err db_state_get(struct db *db, const char *site, struct path path, struct db_state_row *out, struct arena *a) MUST_CHECK;
/* The same for many; fn for each that exists, any order. */
enum err db_state_get_many(struct db *db, const char *site, const struct path *paths, size_t n, bool (*fn)(void *arg, const struct db_state_row *row), void *arg) MUST_CHECK;
/* Every row, in no order that means anything, one at a time: fn must not use this connection. */
enum err db_state_all(struct db *db, const char *site, bool (*fn)(void *arg, const struct db_state_row *row), void *arg) MUST_CHECK;

/* rules, with the requirements and fields */
enum err db_rules_load(struct db *db, const char *site, struct rules **out) MUST_CHECK;
enum err db_rule_set(struct db *db, const char *site, const struct rule *rule, uint64_t seq) MUST_CHECK;
enum err db_rule_remove(struct db *db, const char *site, const char *principal, struct path path) MUST_CHECK; /* ERR_NOT_FOUND */
enum err db_requirement_set(struct db *db, const char *site, const struct requirement *q, uint64_t seq) MUST_CHECK;
enum err db_requirement_remove(struct db *db, const char *site, struct path path) MUST_CHECK; /* ERR_NOT_FOUND */
/* *out: to be freed; what it points to lives in the arena. */
enum err db_fields_load(struct db *db, const char *site, struct field_def **out, size_t *n, struct arena *a) MUST_CHECK;
enum err db_field_set(struct db *db, const char *site, const struct field_def *d) MUST_CHECK;
enum err db_field_remove(struct db *db, const char *site, struct path path, const char *name) MUST_CHECK; /* ERR_NOT_FOUND */
/* Every review of these files, of whatever version, any order, the same person perhaps several times. */
struct db_review { struct path path; struct sha256 sha256; bool exec; const char *actor; };
enum err db_review_many(struct db *db, const char *site, const struct path *paths, size_t n,
    bool (*fn)(void *arg, const struct db_review *review), void *arg) MUST_CHECK;

/* holds: also those that have ended and were not lifted */
struct db_hold { struct path path; const char *actor; int64_t at, until; const char *note; uint64_t seq; };
enum err db_hold_put(struct db *db, const char *site, const struct db_hold *h) MUST_CHECK; /* replaces that of the same path */
enum err db_hold_remove(struct db *db, const char *site, struct path path) MUST_CHECK; /* ERR_NOT_FOUND */
enum err db_hold_list(struct db *db, const char *site, struct db_hold **out, size_t *n, struct arena *a) MUST_CHECK; /* by path, in the arena */

/* pre-approvals */
struct db_preapproval { struct preapproved what; const char *actor; int64_t at; const char *note; uint64_t seq; };
enum err db_preapproval_put(struct db *db, const char *site, const struct db_preapproval *p) MUST_CHECK; /* replaces that of the same path and pattern */
enum err db_preapproval_remove(struct db *db, const char *site, struct path path, const char *pattern) MUST_CHECK; /* ERR_NOT_FOUND */
enum err db_preapproval_list(struct db *db, const char *site, bool (*fn)(void *arg, const struct db_preapproval *p), void *arg) MUST_CHECK; /* by path */

/* act ids */
struct db_act_id { struct sha256 request; char node[65]; uint64_t seq; };
enum err db_act_id_get(struct db *db, const char *site, const char *actor, const struct uuid *op, struct db_act_id *out) MUST_CHECK; /* ERR_NOT_FOUND */
enum err db_act_id_put(struct db *db, const char *site, const char *actor, const struct uuid *op, const struct db_act_id *id, int64_t at) MUST_CHECK; /* ERR_STALE if it exists */

/* own accounts, groups */
struct db_account { const char *name, *password, *display; bool enabled; int64_t created_at; uint64_t seq; };
enum err db_account_get(struct db *db, const char *name, struct db_account *out, struct arena *a) MUST_CHECK;
enum err db_account_put(struct db *db, const struct db_account *account) MUST_CHECK;
enum err db_account_list(struct db *db, bool (*fn)(void *arg, const struct db_account *a), void *arg) MUST_CHECK;
enum err db_group_create(struct db *db, const char *name, int64_t at, uint64_t seq) MUST_CHECK; /* ERR_STALE if it exists */
enum err db_group_remove(struct db *db, const char *name) MUST_CHECK; /* with its memberships; ERR_NOT_FOUND */
enum err db_group_list(struct db *db, bool (*fn)(void *arg, const char *name, uint64_t members), void *arg) MUST_CHECK;
enum err db_member_add(struct db *db, const char *group, const char *principal, uint64_t seq) MUST_CHECK; /* existing: fine; ERR_NOT_FOUND: no such group */
enum err db_member_remove(struct db *db, const char *group, const char *principal) MUST_CHECK; /* ERR_NOT_FOUND */
enum err db_member_list(struct db *db, const char *group, bool (*fn)(void *arg, const char *principal), void *arg) MUST_CHECK;
enum err db_groups_of(struct db *db, const char *principal, bool (*fn)(void *arg, const char *group), void *arg) MUST_CHECK;

/* sessions; address and agent are cut to their columns */
struct db_session { struct sha256 id_hash; const char *principal; int64_t created_at, seen_at; const char *address, *agent; };
enum err db_session_put(struct db *db, const struct db_session *s) MUST_CHECK;
enum err db_session_get(struct db *db, const struct sha256 *id_hash, struct db_session *out, struct arena *a) MUST_CHECK;
enum err db_session_seen(struct db *db, const struct sha256 *id_hash, int64_t seen_at) MUST_CHECK;
enum err db_session_end(struct db *db, const struct sha256 *id_hash) MUST_CHECK;
enum err db_session_end_all(struct db *db, const char *principal) MUST_CHECK;
enum err db_session_list(struct db *db, const char *principal, bool (*fn)(void *arg, const struct db_session *s), void *arg) MUST_CHECK;
enum err db_session_expire(struct db *db, int64_t seen_before, int64_t created_before) MUST_CHECK;

/* API tokens. Texts live as long as the arena, or the call of fn */
#define TOKEN_ID 13 /* twelve hexadecimal digits, and NUL */
struct db_token {
	char id[TOKEN_ID];
	struct sha256 hash; /* of the text, which is kept nowhere */
	const char *principal, *label;
	unsigned role;
	const char *site, *path; /* site "": every site */
	int64_t created_at, expires_at, used_at; /* used_at 0: never */
	const char *used_from;
	uint64_t seq;
};
enum err db_token_put(struct db *db, const struct db_token *t) MUST_CHECK;
enum err db_token_get(struct db *db, const struct sha256 *hash, struct db_token *out, struct arena *a) MUST_CHECK; /* ERR_NOT_FOUND */
enum err db_token_named(struct db *db, const char *id, struct db_token *out, struct arena *a) MUST_CHECK; /* ERR_NOT_FOUND */
enum err db_token_list(struct db *db, const char *principal, bool (*fn)(void *arg, const struct db_token *t), void *arg) MUST_CHECK; /* NULL: everybody's */
enum err db_token_used(struct db *db, const struct sha256 *hash, int64_t at, const char *from) MUST_CHECK;
enum err db_token_remove(struct db *db, const char *id) MUST_CHECK; /* ERR_NOT_FOUND */
enum err db_token_remove_all(struct db *db, const char *principal) MUST_CHECK;
enum err db_token_expire(struct db *db, int64_t before) MUST_CHECK;

/* events */
struct db_event { uint64_t id; const char *site; int64_t at; const char *kind, *principal, *address, *path, *detail; };
/* Texts are cut to their columns; NULL is "". */
enum err db_event_add(struct db *db, const struct db_event *e) MUST_CHECK;
enum err db_event_list(struct db *db, uint64_t before_id, unsigned limit, bool (*fn)(void *arg, const struct db_event *e), void *arg) MUST_CHECK;
enum err db_event_expire(struct db *db, int64_t before) MUST_CHECK;

/* scheduler, releases, runs, targets, counters */
struct db_force {
	int64_t at; /* 0: nobody asked */
	const char *by, *reason;
	uint64_t release; /* send this one and cut none; 0: cut one */
	struct sha256 plan; /* what is cut has to be this; zero: whatever it is */
};
struct db_schedule {
	int64_t first_pending, last_approval, last_start; /* 0: none */
	struct db_force forced;
	struct db_force down; /* a take-down: release and plan are not used */
	struct sha256 removal; /* the list of files that may go, which an admin confirmed */
};
enum err db_schedule_get(struct db *db, const char *site, struct db_schedule *out, struct arena *a) MUST_CHECK; /* zeroes if none */
enum err db_schedule_approval(struct db *db, const char *site, int64_t at) MUST_CHECK; /* in each sign, revoke, pick-up */
enum err db_schedule_started(struct db *db, const char *site, int64_t start, int64_t seen) MUST_CHECK; /* end of a cycle; seen: the newest approval before the cut, which nothing pends before */
enum err db_schedule_force(struct db *db, const char *site, const struct db_force *f) MUST_CHECK; /* at 0 clears */
enum err db_schedule_removal(struct db *db, const char *site, const struct sha256 *list) MUST_CHECK;
enum err db_schedule_down(struct db *db, const char *site, const struct db_force *f) MUST_CHECK; /* at 0 clears */

/* Counters and queues (core/named.h). In the caller's transaction if one is open. */
struct named_store db_named(struct db *db);
/* Add one and return the new value. */
enum err db_counter_next(struct db *db, const char *id, uint64_t *value) MUST_CHECK;
/* At least that, within a transaction; a higher one stays. */
enum err db_counter_raise(struct db *db, const char *id, uint64_t least) MUST_CHECK;

/* as_of: the last record that it has in it: seq, its own, or an earlier one if acts were recorded while it was cut. */
struct db_release { uint64_t number, seq, as_of; const char *node; int64_t at; struct blob_id log_commit, main_commit; uint64_t files_count; };
enum err db_release_put(struct db *db, const char *site, const struct db_release *r) MUST_CHECK;
enum err db_release_get(struct db *db, const char *site, uint64_t number, struct db_release *out, struct arena *a) MUST_CHECK; /* 0: newest */
enum err db_release_after(struct db *db, const char *site, uint64_t number, struct db_release *out, struct arena *a) MUST_CHECK; /* the next; ERR_NOT_FOUND */
enum err db_release_number(struct db *db, const char *site, unsigned newer, uint64_t *number) MUST_CHECK; /* of the one that has so many newer ones; ERR_NOT_FOUND */
enum err db_release_list(struct db *db, const char *site, uint64_t before, unsigned limit, bool (*fn)(void *arg, const struct db_release *r), void *arg) MUST_CHECK;

struct db_run {
	uint64_t run, number;
	const char *trigger, *actor, *reason;
	int64_t started_at, finished_at;
	const char *state;
	uint64_t added, changed, removed;
	const char *message;
};
enum err db_run_start(struct db *db, const char *site, struct db_run *r) MUST_CHECK; /* sets r->run */
enum err db_run_finish(struct db *db, const char *site, const struct db_run *r) MUST_CHECK;
enum err db_run_get(struct db *db, const char *site, uint64_t run, struct db_run *out, struct arena *a) MUST_CHECK;
enum err db_run_list(struct db *db, const char *site, uint64_t before, unsigned limit, bool (*fn)(void *arg, const struct db_run *r), void *arg) MUST_CHECK;
/* At start: runs that a crash left `running` become `interrupted`. */
enum err db_run_settle(struct db *db, const char *site, int64_t at) MUST_CHECK;

struct db_run_target {
	uint64_t run;
	const char *target, *state;
	int64_t started_at, finished_at;
	int exit_status;
	const char *output;
	size_t output_len;
};
enum err db_run_target_put(struct db *db, const char *site, const struct db_run_target *t) MUST_CHECK; /* replaces */
enum err db_run_target_list(struct db *db, const char *site, uint64_t run, bool (*fn)(void *arg, const struct db_run_target *t), void *arg) MUST_CHECK;
/* The runs that sent to it, newest first, each with what became of it there; without output. */
enum err db_run_of_target(struct db *db, const char *site, const char *target, uint64_t before, unsigned limit,
    bool (*fn)(void *arg, const struct db_run *r, const struct db_run_target *t), void *arg) MUST_CHECK;

/* What a channel of messages was last told: db/notice.c. failing: names, sorted, a blank between. */
struct db_notice { const char *failing; int64_t told_at; unsigned tries; int64_t retry_at; const char *why; };
enum err db_notice_get(struct db *db, const char *site, const struct sha256 *channel, struct db_notice *out, struct arena *a) MUST_CHECK; /* never told: all empty */
enum err db_notice_put(struct db *db, const char *site, const struct sha256 *channel, const struct db_notice *n) MUST_CHECK;

struct db_target { const char *target; uint64_t number; struct blob_id log_commit; const char *state; unsigned tries; int64_t retry_at, changed_at; };
enum err db_target_put(struct db *db, const char *site, const struct db_target *t) MUST_CHECK;
enum err db_target_list(struct db *db, const char *site, bool (*fn)(void *arg, const struct db_target *t), void *arg) MUST_CHECK;

/* What a target's receiver signed (db/receipt.c): number 0 there is none. */
struct db_receipt {
	const char *target;
	uint64_t number, run;
	int64_t at; /* by the receiver's clock */
	const char *receipt, *signature;
};
enum err db_receipt_put(struct db *db, const char *site, const struct db_receipt *r) MUST_CHECK; /* again is the same */
/* The first for that release or a later one: since then the target has what is in it. ERR_NOT_FOUND. */
enum err db_receipt_since(struct db *db, const char *site, const char *target, uint64_t number, struct db_receipt *out, struct arena *a) MUST_CHECK;
enum err db_receipt_of_run(struct db *db, const char *site, const char *target, uint64_t number, uint64_t run, struct db_receipt *out, struct arena *a) MUST_CHECK;
/* What a target's receiver signed for, and is none of this server's releases. */
struct db_held { const char *target; int64_t at; uint64_t number; struct sha256 head; const char *receipt, *signature; };
enum err db_held_put(struct db *db, const char *site, const struct db_held *h) MUST_CHECK; /* replaces */
enum err db_held_get(struct db *db, const char *site, const char *target, struct db_held *out, struct arena *a) MUST_CHECK; /* ERR_NOT_FOUND: all zero */
enum err db_held_remove(struct db *db, const char *site, const char *target) MUST_CHECK; /* there may be none */
struct db_target_report {
	const char *target;
	int64_t at;
	uint64_t number, bad;
	int64_t since; /* the first report in a row that found a difference, or another release live; 0: all is well */
	bool rolled_back;
	const char *body, *signature; /* as they were signed: canonical JSON */
};
enum err db_target_report_put(struct db *db, const char *site, const struct db_target_report *r) MUST_CHECK; /* replaces */
enum err db_target_report_get(struct db *db, const char *site, const char *target, struct db_target_report *out, struct arena *a) MUST_CHECK; /* ERR_NOT_FOUND: all zero */
/* When the first approval after a record was given (the one that cut the last release known to be live); 0: none. */
enum err db_unconfirmed_since(struct db *db, const char *site, const char *node, uint64_t seq, int64_t *at) MUST_CHECK;

/* --- whole tables (db/tables.c): for drydockd fsck, rebuild and backup ----------------------------------------------- */

/* What becomes of each table, from db/tables.def. */
enum db_table_kind { TABLE_RECORDED, TABLE_DERIVED, TABLE_KEPT, TABLE_APART };
enum db_table_id {
#define RECORDED(id, ...) TABLE_##id,
#define DERIVED(id, ...) TABLE_##id,
#define KEPT(id, ...) TABLE_##id,
#define APART(id, ...) TABLE_##id,
#include "db/tables.def"
#undef RECORDED
#undef DERIVED
#undef KEPT
#undef APART
	TABLE_COUNT
};
#define TABLE_MOST_COLUMNS 24
struct db_value {
	bool number;
	uint64_t u; /* of a number; signed ones as they are in memory */
	const void *p;
	size_t n;
};
struct db_table {
	const char *name;
	enum db_table_kind kind;
	const char *columns; /* "site, node, ..."; NULL for one apart */
	unsigned n_key; /* how many columns at the front identify a row */
	bool of_site; /* its rows belong to sites */
	const char *loose; /* of one derived: columns that the records do not tell exactly: "value, version" */
	const char *why; /* of one kept or apart */
};
extern const struct db_table db_tables[TABLE_COUNT];
unsigned db_table_columns(enum db_table_id id);
const char *db_table_column(enum db_table_id id, unsigned i, char out[64]); /* its name */
bool db_table_loose(enum db_table_id id, unsigned i);
/* Every row, one at a time, in no order that means anything: fn must not use this connection. site: NULL for a table of the installation. */
enum err db_table_rows(struct db *db, enum db_table_id id, const char *site, bool (*fn)(void *arg, const struct db_value *row), void *arg) MUST_CHECK;
/* The same, of all sites. */
enum err db_table_rows_all(struct db *db, enum db_table_id id, bool (*fn)(void *arg, const struct db_value *row), void *arg) MUST_CHECK;
/* The sites that have rows in it; nothing for a table of the installation. */
enum err db_table_sites(struct db *db, enum db_table_id id, bool (*fn)(void *arg, const char *site), void *arg) MUST_CHECK;
/* Take all rows out. Of recorded tables only the owner may. */
enum err db_table_clear(struct db *db, enum db_table_id id, const char *site) MUST_CHECK;
/* Tables that fsck mends: one row taken out by its key (the first n_key columns), one put in. */
bool db_table_mended(enum db_table_id id);
enum err db_table_take(struct db *db, enum db_table_id id, const struct db_value *row) MUST_CHECK;
enum err db_table_put(struct db *db, enum db_table_id id, const struct db_value *row) MUST_CHECK;
/* Put rows in, many at a time. The first error stops everything after it; db_fill_close gives it and frees. */
struct db_fill;
struct db_fill *db_fill_open(struct db *db, enum db_table_id id);
void db_fill_row(struct db_fill *f, const struct db_value *row);
enum err db_fill_close(struct db_fill *f) MUST_CHECK;
/* Everything asked until db_still_end() is answered from one moment (REPEATABLE READ, nothing is locked). */
enum err db_still_begin(struct db *db) MUST_CHECK;
void db_still_end(struct db *db);
/* "SHOW GRANTS" of the account that asks, a line each. */
enum err db_grants(struct db *db, bool (*fn)(void *arg, const char *line), void *arg) MUST_CHECK;

#endif
