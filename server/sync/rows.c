/* What the database has of targets and runs: read when a cycle begins, written as its kits start and end. */
#include <string.h>

#include "acts/turn.h"
#include "base/failpoint.h"
#include "sync/cycle.h"

#define FIRST_RETRY (15 * CLOCK_SECOND)
#define LONGEST_RETRY (30 * 60 * CLOCK_SECOND)

/* --- facts ----------------------------------------------------------------------------------------------------------- */

struct rows {
	const struct conf_site *conf;
	struct db_target *list;
	struct arena *a;
};

static bool take_row(void *arg, const struct db_target *row)
{
	struct rows *x = arg;

	for (size_t i = 0; i < x->conf->n_targets; i++)
		if (!strcmp(x->list[i].target, row->target)) {
			x->list[i] = *row;
			x->list[i].target = x->conf->targets[i].name;
			x->list[i].state = arena_dup(x->a, row->state);
		}
	return true;
}

enum err rows_get(struct sync *y, struct db *db, struct db_target **out, struct arena *a)
{
	const struct conf_site *cs = y->s->conf;
	struct rows x = { cs, arena_alloc(a, (cs->n_targets + 1) * sizeof(**out)), a };

	for (size_t i = 0; i < cs->n_targets; i++)
		x.list[i] = (struct db_target){ .target = cs->targets[i].name, .state = "" };
	*out = x.list;
	return db_target_list(db, y->s->name, take_row, &x);
}

bool rows_hold(const struct db_target *t, uint64_t release)
{
	return !blob_id_zero(&t->log_commit) && t->number == release;
}

/* The earlier of at (0: none) and when this target wants it. */
static int64_t earlier(int64_t at, const struct db_target *row, bool running)
{
	const int64_t t = row->retry_at ? row->retry_at : 1;

	if (running && !strcmp(row->state, "sending"))
		return at;
	return !at || t < at ? t : at;
}

int64_t rows_retry_at(const struct db_target *rows, size_t n, uint64_t newest, bool running)
{
	int64_t at = 0;

	for (size_t i = 0; newest && i < n; i++)
		if (!rows_hold(&rows[i], newest))
			at = earlier(at, &rows[i], running);
	return at;
}

int64_t rows_older_retry_at(const struct db_target *rows, size_t n, uint64_t least, bool running)
{
	int64_t at = 0;

	for (size_t i = 0; i < n; i++)
		if (rows[i].number < least)
			at = earlier(at, &rows[i], running);
	return at;
}

/* Is what is approved now on every target, whatever was approved and taken back in between? */
static enum err all_current(struct sync *y, struct db *db, const struct db_target *rows, const struct db_release *newest, bool *yes, struct arena *a)
{
	const size_t n = y->s->conf->n_targets;
	enum err e = ERR_OK;

	*yes = true;
	for (size_t i = 0; (i < n || !i) && *yes && !e; i++) {
		struct db_release rel = *newest;

		/* It may have something newer than it has confirmed. */
		if (n && blob_id_zero(&rows[i].log_commit)) {
			*yes = false;
			break;
		}
		if (n && i && rows[i].number == rows[i - 1].number)
			continue;
		if (n)
			rel.number = rows[i].number;
		if (rel.number && rel.number != newest->number)
			e = db_release_get(db, y->s->name, rel.number, &rel, a);
		*yes = false;
		if (!e)
			e = site_release_current(y->s, y->tools, &rel, yes);
	}
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err rows_unconfirmed(struct sync *y, struct db *db, const struct db_target *rows, const struct db_release *newest, bool pending, int64_t *since, struct arena *a)
{
	struct db_release rel = *newest;
	bool current = false;
	enum err e = ERR_OK;

	/* What is on every target: the release of the one that is furthest behind. Without targets, the newest. */
	for (size_t i = 0; i < y->s->conf->n_targets; i++)
		if (!i || rows[i].number < rel.number)
			rel.number = rows[i].number;
	if (rel.number && rel.number != newest->number)
		e = db_release_get(db, y->s->name, rel.number, &rel, a);
	if (e == ERR_NOT_FOUND) {
		rel.number = 0;
		e = ERR_OK;
	}
	if (!e)
		e = db_unconfirmed_since(db, y->s->name, rel.number ? rel.node : node_key_id(y->s->key), rel.number ? rel.as_of : 0, since);
	/* And what that release left out: asked once, since this is called after every act, and of a release it does not change. */
	if (!e && rel.number && y->kept.release != rel.number) {
		y->kept.release = 0;
		e = site_kept_since(y->s, y->tools, &rel, &y->kept.since);
		if (!e)
			y->kept.release = rel.number;
	}
	if (!e && rel.number && y->kept.since && (!*since || y->kept.since < *since))
		*since = y->kept.since;
	/* Not where a sync is due that will tell: an act is answered for here without a look at its objects. */
	if (!e && rel.number && *since && !pending)
		e = all_current(y, db, rows, newest, &current, a);
	if (current)
		*since = 0;
	return e;
}

/* --- records --------------------------------------------------------------------------------------------------------- */

static enum err put_target(struct db *db, struct cycle *c, const struct target_run *t, const char *state)
{
	struct db_target row = { .target = t->conf->name, .state = state, .changed_at = clock_wall() };

	row.number = t->row.number;
	row.tries = t->row.tries;
	if (t->result.ok) {
		row.number = c->release.number;
		row.log_commit = c->release.main_commit;
		row.tries = 0;
	} else if (strcmp(state, "sending")) {
		int64_t delay = FIRST_RETRY;

		for (unsigned i = 0; i < t->row.tries && delay < LONGEST_RETRY; i++)
			delay *= 2;
		/* What the server itself broke off is not the target's fault. */
		row.tries += !c->interrupted;
		row.retry_at = c->interrupted ? row.changed_at : row.changed_at + (delay < LONGEST_RETRY ? delay : LONGEST_RETRY);
		/* By its own receipt: the next try brings the heads from there. */
		if (t->result.held.receipt && !t->result.held.unknown)
			row.number = t->result.held.number;
	}
	return db_target_put(db, c->y->s->name, &row);
}

static enum err put_run_target(struct db *db, struct cycle *c, const struct target_run *t, const char *state)
{
	struct db_run_target row = { .run = c->run.run, .target = t->conf->name, .state = state, .started_at = t->started_at,
		.finished_at = t->finished_at, .exit_status = t->result.status, .output = "" };

	if (t->facts.live) {
		row.output = buf_text(&t->facts.live->text);
		row.output_len = t->facts.live->text.len;
	}
	return db_run_target_put(db, c->y->s->name, &row);
}

enum err rows_begin(struct db *db, void *arg)
{
	struct cycle *c = arg;
	enum err e = turn_check(c->y->s, db);

	if (!e)
		e = db_run_start(db, c->y->s->name, &c->run);
	for (size_t i = 0; i < c->n && !e; i++) {
		e = put_run_target(db, c, &c->targets[i], "running");
		if (!e)
			e = put_target(db, c, &c->targets[i], "sending");
	}
	FAILPOINT_OR(e, run_rows);
	return e;
}

/* What the receiver signed in this run. */
static enum err put_receipt(struct db *db, struct cycle *c, const struct target_run *t)
{
	const struct kit_result *r = &t->result;
	const struct db_receipt receipt = { .target = t->conf->name, .number = c->release.number, .run = c->run.run, .at = r->receipt_at,
		.receipt = r->receipt, .signature = r->signature };

	return r->receipt ? db_receipt_put(db, c->y->s->name, &receipt) : ERR_OK;
}

/* A take-down stays one until all targets have the release that it cut, or a later one. */
static enum err clear_down(struct db *db, struct cycle *c)
{
	const uint64_t first = cycle_down_release(c);
	struct db_schedule now;
	struct db_target *rows;
	enum err e;

	if (!c->schedule.down.at || !first)
		return ERR_OK;
	e = rows_get(c->y, db, &rows, c->a);
	for (size_t i = 0; i < c->y->s->conf->n_targets && !e; i++)
		if (rows[i].number < first)
			return ERR_OK;
	if (!e)
		e = db_schedule_get(db, c->y->s->name, &now, c->a);
	if (!e && now.down.at == c->schedule.down.at)
		e = db_schedule_down(db, c->y->s->name, &(struct db_force){ .at = 0 });
	return e;
}

/* A force that came while the run was under way stands for another one. */
static enum err clear_force(struct db *db, struct cycle *c)
{
	struct db_schedule now;
	enum err e;

	if (!c->schedule.forced.at)
		return ERR_OK;
	e = db_schedule_get(db, c->y->s->name, &now, c->a);
	if (!e && now.forced.at == c->schedule.forced.at)
		e = db_schedule_force(db, c->y->s->name, &(struct db_force){ .at = 0 });
	return e;
}

/* How it ended, of one target. */
static enum err put_end(struct db *db, struct cycle *c, const struct target_run *t)
{
	enum err e = put_run_target(db, c, t, kit_outcome_name(t->result.outcome));

	if (!e)
		e = put_target(db, c, t, kit_outcome_name(t->result.outcome));
	return e ? e : put_receipt(db, c, t);
}

enum err rows_end_target(struct db *db, void *arg)
{
	const struct target_run *t = arg;
	enum err e = turn_check(t->c->y->s, db);

	if (!e)
		e = put_end(db, t->c, t);
	FAILPOINT_OR(e, run_target_alone);
	return e;
}

enum err rows_end(struct db *db, void *arg)
{
	struct cycle *c = arg;
	enum err e = turn_check(c->y->s, db);

	if (!e && !c->begun)
		e = db_run_start(db, c->y->s->name, &c->run);
	for (size_t i = 0; i < c->n && !e; i++) {
		struct target_run *t = &c->targets[i];

		/* What ended a run sets another time for the next try. */
		if (!t->recorded || c->interrupted)
			e = put_end(db, c, t);
		if (!e)
			e = held_put(db, c->y->s->name, t->conf->name, &t->result);
		if (!e)
			e = report_put(db, c->y->s->name, t->conf->name, &t->result, &t->news);
	}
	FAILPOINT_OR(e, run_target_rows);
	if (!e)
		e = db_run_finish(db, c->y->s->name, &c->run);
	if (!e && cycle_opens_window(c) && !c->interrupted)
		e = db_schedule_started(db, c->y->s->name, c->start, c->seen);
	FAILPOINT_OR(e, run_schedule_row);
	if (!e)
		e = clear_down(db, c);
	if (!e && !c->interrupted && cycle_serves_force(c))
		e = clear_force(db, c);
	return e;
}
