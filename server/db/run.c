/* Runs of the scheduler, and what each target said. */
#include "db/internal.h"

#include <string.h>

/* --- runs ---------------------------------------------------------------------------------------------------------- */

struct start {
	const char *site;
	struct db_run *r;
};

#define COLUMNS "run, number, trigger_, actor, reason, started_at, finished_at, state, added, changed, removed, message"

DB_STMT(LAST, "run_last", "SELECT run FROM run WHERE site = ? ORDER BY run DESC LIMIT 1 FOR UPDATE");
DB_STMT(START, "run_start", "INSERT INTO run (site, " COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, '')");
static enum err start(struct db *db, void *arg)
{
	const struct start *s = arg;
	struct db_run *r = s->r;
	struct cursor c;
	enum err e;

	r->run = 1;
	cursor_open(&c, db, &LAST, ARGS(a_name(s->site)));
	if (cursor_next(&c))
		r->run = cursor_u64(&c, 0) + 1;
	if ((e = cursor_close(&c)))
		return e;
	return db_run(db, &START,
	    ARGS(a_name(s->site), a_u64(r->run), a_u64(r->number), a_text(r->trigger), a_name(r->actor ? r->actor : ""), a_text(r->reason ? r->reason : ""),
		a_i64(r->started_at), a_text(r->state ? r->state : "running"), a_u64(r->added), a_u64(r->changed), a_u64(r->removed)),
	    NULL);
}

enum err db_run_start(struct db *db, const char *site, struct db_run *r)
{
	struct start s = { site, r };

	return db_within(db, start, &s);
}

DB_STMT(FINISH, "run_finish", "UPDATE run SET number = ?, finished_at = ?, state = ?, added = ?, changed = ?, removed = ?, message = ? WHERE site = ? AND run = ?");
enum err db_run_finish(struct db *db, const char *site, const struct db_run *r)
{
	return db_run_found(db, &FINISH,
	    ARGS(a_u64(r->number), a_i64(r->finished_at), a_text(r->state), a_u64(r->added), a_u64(r->changed), a_u64(r->removed),
		a_cut(r->message, 1024), a_name(site), a_u64(r->run)),
	    "there is no such run");
}

static void row_read(struct cursor *c, struct db_run *r)
{
	r->run = cursor_u64(c, 0);
	r->number = cursor_u64(c, 1);
	r->trigger = cursor_text(c, 2);
	r->actor = cursor_text(c, 3);
	r->reason = cursor_text(c, 4);
	r->started_at = cursor_i64(c, 5);
	r->finished_at = cursor_i64(c, 6);
	r->state = cursor_text(c, 7);
	r->added = cursor_u64(c, 8);
	r->changed = cursor_u64(c, 9);
	r->removed = cursor_u64(c, 10);
	r->message = cursor_text(c, 11);
}

DB_STMT(GET, "run_get", "SELECT " COLUMNS " FROM run WHERE site = ? AND run = ?");
enum err db_run_get(struct db *db, const char *site, uint64_t run, struct db_run *out, struct arena *a)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_open(&c, db, &GET, ARGS(a_name(site), a_u64(run)));
	if (cursor_next(&c)) {
		row_read(&c, out);
		out->trigger = arena_dup(a, out->trigger);
		out->actor = arena_dup(a, out->actor);
		out->reason = arena_dup(a, out->reason);
		out->state = arena_dup(a, out->state);
		out->message = arena_dup(a, out->message);
	}
	return cursor_close_found(&c, "there is no run %llu", (unsigned long long)run);
}

DB_STMT(LISTING, "run_list", "SELECT " COLUMNS " FROM run WHERE site = ? AND run < ? ORDER BY run DESC LIMIT ?");
enum err db_run_list(struct db *db, const char *site, uint64_t before, unsigned limit, bool (*fn)(void *arg, const struct db_run *r), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &LISTING, ARGS(a_name(site), a_u64(before ? before : UINT64_MAX), a_u64(limit)));
	while (cursor_next(&c)) {
		struct db_run r;

		row_read(&c, &r);
		if (!fn(arg, &r))
			break;
	}
	return cursor_close(&c);
}

struct settle {
	const char *site;
	int64_t at;
};

DB_STMT(SETTLE, "run_settle", "UPDATE run SET state = 'interrupted', finished_at = ? WHERE site = ? AND state = 'running'");
DB_STMT(SETTLE_TARGET, "run_settle_target", "UPDATE run_target SET state = 'interrupted', finished_at = ? WHERE site = ? AND state = 'running'");
static enum err settle(struct db *db, void *arg)
{
	const struct settle *s = arg;
	enum err e = db_run(db, &SETTLE, ARGS(a_i64(s->at), a_name(s->site)), NULL);

	return e ? e : db_run(db, &SETTLE_TARGET, ARGS(a_i64(s->at), a_name(s->site)), NULL);
}

enum err db_run_settle(struct db *db, const char *site, int64_t at)
{
	struct settle s = { site, at };

	return db_within(db, settle, &s);
}

/* --- targets of a run ---------------------------------------------------------------------------------------------- */

DB_STMT(TARGET_PUT, "run_target_put", "INSERT INTO run_target (site, run, target, state, started_at, finished_at, exit_status, output) "
	"VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE state = VALUES(state), started_at = VALUES(started_at), "
	"finished_at = VALUES(finished_at), exit_status = VALUES(exit_status), output = VALUES(output)");
enum err db_run_target_put(struct db *db, const char *site, const struct db_run_target *t)
{
	return db_run(db, &TARGET_PUT,
	    ARGS(a_name(site), a_u64(t->run), a_name(t->target), a_text(t->state), a_i64(t->started_at), a_i64(t->finished_at), a_i64(t->exit_status),
		a_bytes(t->output, t->output_len)),
	    NULL);
}

DB_STMT(TARGET_LIST, "run_target_list", "SELECT run, target, state, started_at, finished_at, exit_status, output FROM run_target WHERE site = ? AND run = ? ORDER BY target");
enum err db_run_target_list(struct db *db, const char *site, uint64_t run, bool (*fn)(void *arg, const struct db_run_target *t), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &TARGET_LIST, ARGS(a_name(site), a_u64(run)));
	while (cursor_next(&c)) {
		struct db_run_target t = { .run = cursor_u64(&c, 0), .target = cursor_text(&c, 1), .state = cursor_text(&c, 2),
			.started_at = cursor_i64(&c, 3), .finished_at = cursor_i64(&c, 4), .exit_status = (int)cursor_i64(&c, 5) };

		t.output = cursor_bytes(&c, 6, &t.output_len);
		if (!fn(arg, &t))
			break;
	}
	return cursor_close(&c);
}

/* The primary key has the runs of a site in order too, and the planner would take it: with the rows of every other target. */
DB_STMT(OF_TARGET, "run_of_target", "SELECT r.run, r.number, r.trigger_, r.actor, r.reason, r.started_at, r.finished_at, r.state, r.added, r.changed, "
	"r.removed, r.message, t.state, t.started_at, t.finished_at, t.exit_status FROM run_target t FORCE INDEX (by_target) "
	"STRAIGHT_JOIN run r ON r.site = t.site AND r.run = t.run WHERE t.site = ? AND t.target = ? AND t.run < ? ORDER BY t.run DESC LIMIT ?");
enum err db_run_of_target(struct db *db, const char *site, const char *target, uint64_t before, unsigned limit,
    bool (*fn)(void *arg, const struct db_run *r, const struct db_run_target *t), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &OF_TARGET, ARGS(a_name(site), a_name(target), a_u64(before ? before : UINT64_MAX), a_u64(limit)));
	while (cursor_next(&c)) {
		struct db_run r;
		struct db_run_target t = { .target = target, .state = cursor_text(&c, 12), .started_at = cursor_i64(&c, 13), .finished_at = cursor_i64(&c, 14),
			.exit_status = (int)cursor_i64(&c, 15), .output = "" };

		row_read(&c, &r);
		t.run = r.run;
		if (!fn(arg, &r, &t))
			break;
	}
	return cursor_close(&c);
}
