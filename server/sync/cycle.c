/*
 * One cycle: pick-up, release, the export held still at it, each target's kit, the records of what came of it.
 *
 * A target's row says `sending`, with no commit, from before its kit starts until it is known to have succeeded: after a
 * crash or a failure its state is not known, and the next kit compares everything instead of trusting a list. Whoever ends before
 * the others is recorded then: a slow target keeps nobody else's state from being seen.
 */
#include <stdio.h>
#include <string.h>

#include "acts/turn.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "sync/internal.h"

#define FIRST_RETRY (15 * CLOCK_SECOND)
#define LONGEST_RETRY (30 * 60 * CLOCK_SECOND)
#define SETTLE_TRIES 30 /* seconds that a finished run waits for a database that is gone */

struct target_run {
	struct cycle *c;
	const struct conf_target *conf;
	struct db_target row; /* before the run; number 0: never sent to */
	struct plan plan; /* from what it holds to the release */
	bool planned, started;
	struct kit_run kit;
	struct kit_facts facts;
	struct early *early; /* NULL: its kit starts with the run */
	pthread_t thread;
	int64_t started_at, finished_at;
	struct kit_result result;
	bool over; /* with the cycle's lock */
	bool recorded; /* while others were still sent to */
	bool news; /* of what production found */
};

struct cycle {
	struct sync *y;
	struct arena *a;
	enum window_reason why;
	struct db_schedule schedule; /* as it was when the cycle began */
	int64_t start;
	int64_t seen; /* when the newest approval before the cut was: later than start where the wall clock went back */
	struct db_release release, before; /* number 0: none */
	bool cut;
	struct db_run run;
	struct target_run *targets;
	size_t n;
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a target's kit */
	struct early **early; /* one for each target of the configuration, until a target_run has it; NULL: none */
	bool begun; /* the run has a row */
	bool failed, interrupted;
	bool stopped; /* before anything was cut */
	char message[512];
};

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

enum err cycle_rows(struct sync *y, struct db *db, struct db_target **out, struct arena *a)
{
	const struct conf_site *cs = y->s->conf;
	struct rows x = { cs, arena_alloc(a, (cs->n_targets + 1) * sizeof(**out)), a };

	for (size_t i = 0; i < cs->n_targets; i++)
		x.list[i] = (struct db_target){ .target = cs->targets[i].name, .state = "" };
	*out = x.list;
	return db_target_list(db, y->s->name, take_row, &x);
}

static bool holds(const struct db_target *t, uint64_t release)
{
	return !blob_id_zero(&t->log_commit) && t->number == release;
}

int64_t cycle_retry_at(const struct db_target *rows, size_t n, uint64_t newest)
{
	int64_t at = 0;

	for (size_t i = 0; newest && i < n; i++) {
		const int64_t t = rows[i].retry_at ? rows[i].retry_at : 1;

		if (!holds(&rows[i], newest) && (!at || t < at))
			at = t;
	}
	return at;
}

enum err cycle_unconfirmed(struct sync *y, struct db *db, const struct db_target *rows, const struct db_release *newest, int64_t *since, struct arena *a)
{
	struct db_release rel = *newest;
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
	return e ? e : db_unconfirmed_since(db, y->s->name, rel.number ? rel.node : node_key_id(y->s->key), rel.number ? rel.as_of : 0, since);
}

static bool take_before(void *arg, const struct db_release *r)
{
	struct cycle *c = arg;

	c->before.number = r->number;
	c->before.main_commit = r->main_commit;
	return false;
}

static bool may_send(struct site *s)
{
	return !s->turns || (!atomic_load(&s->turn_lost) && !turns_unsure(s->turns));
}

static struct kit_run kit_of(struct cycle *c, const struct conf_target *t)
{
	struct sync *y = c->y;
	const bool papers = *t->host || t->place[0] == '/';

	return (struct kit_run){
		.conf = y->conf,
		.site = y->s->name,
		.target = t,
		.export_dir = export_path(y->s->export),
		.work_dir = arena_printf(c->a, "%s/run/%s", y->s->dir, t->name),
		.papers = papers ? arena_printf(c->a, "%s/papers/%s", y->s->dir, t->name) : NULL,
		.key = y->s->key,
		.y = y,
		.cancel = &y->cancel,
	};
}

/* The kits that wait for what is cut now: of machines that could be reached the last time. */
static enum err start_early(struct cycle *c)
{
	const struct conf_site *cs = c->y->s->conf;
	struct db_target *rows;
	enum err e = ERR_OK;

	c->early = arena_alloc(c->a, (cs->n_targets + 1) * sizeof(*c->early));
	memset(c->early, 0, (cs->n_targets + 1) * sizeof(*c->early));
	if (c->why == WINDOW_RETRY || (c->why == WINDOW_FORCED && c->schedule.forced.release) || !may_send(c->y->s))
		return ERR_OK;
	e = cycle_rows(c->y, tools_db(c->y->tools), &rows, c->a);
	for (size_t i = 0; i < cs->n_targets && !e; i++) {
		struct kit_run k = kit_of(c, &cs->targets[i]);

		if (blob_id_zero(&rows[i].log_commit) || !kit_waits(&k))
			continue;
		e = papers_begin(k.papers);
		if (!e)
			c->early[i] = early_begin(&k);
	}
	return e;
}

/* Those that have nothing to send after all. */
static void drop_early(struct cycle *c)
{
	for (size_t i = 0; c->early && i < c->y->s->conf->n_targets; i++) {
		early_drop(c->early[i]);
		c->early[i] = NULL;
	}
}

/* Which targets do not hold the release, and what each of them lacks. */
static enum err choose_targets(struct cycle *c)
{
	const struct conf_site *cs = c->y->s->conf;
	struct db *db = tools_db(c->y->tools);
	struct db_target *rows;
	struct repo *repo;
	enum err e = tools_repo(c->y->tools, c->y->s, &repo);

	if (!e)
		e = cycle_rows(c->y, db, &rows, c->a);
	c->targets = arena_alloc(c->a, (cs->n_targets + 1) * sizeof(*c->targets));
	for (size_t i = 0; i < cs->n_targets && !e; i++) {
		struct target_run *t = &c->targets[c->n];
		const bool active = !blob_id_zero(&rows[i].log_commit);

		*t = (struct target_run){ .row = rows[i] };
		if (holds(&t->row, c->release.number))
			continue;
		/* An ordinary retry leaves those alone whose time has not come. */
		if ((c->why == WINDOW_RETRY || (c->why == WINDOW_DOWN && c->y->down_tried)) && t->row.retry_at > c->start)
			continue;
		t->c = c;
		t->conf = &cs->targets[i];
		t->early = c->early[i];
		c->early[i] = NULL;
		c->n++;
		if (active) {
			plan_init(&t->plan);
			t->planned = true;
			e = repo_plan(repo, &t->row.log_commit, &c->release.main_commit, &t->plan);
		}
		t->kit = kit_of(c, t->conf);
		if (!e && t->kit.papers) {
			t->facts.list_from = active ? t->row.number : 0;
			e = t->early ? ERR_OK : papers_begin(t->kit.papers);
			if (!e)
				e = papers_write(c->y->s, c->y->tools, t->kit.papers, &c->release, *t->conf->host, &t->facts.list_from, &t->facts.head);
		}
		t->facts.release = c->release.number;
		t->facts.previous = t->row.number;
		t->facts.changes = t->planned ? &t->plan : NULL;
	}
	FAILPOINT_OR(e, cycle_targets);
	return e;
}

/* What the release changes against the one before: what people are told about the run. */
static enum err count_changes(struct cycle *c)
{
	struct plan plan;
	struct repo *repo;
	enum err e = tools_repo(c->y->tools, c->y->s, &repo);

	plan_init(&plan);
	if (!e)
		e = db_release_list(tools_db(c->y->tools), c->y->s->name, c->release.number, 1, take_before, c);
	if (!e)
		e = repo_plan(repo, &c->before.main_commit, &c->release.main_commit, &plan);
	if (!e) {
		c->run.added = plan.added;
		c->run.changed = plan.changed;
		c->run.removed = plan.removed;
	}
	plan_release(&plan);
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
		row.tries++;
		/* What the server itself broke off is not the target's fault. */
		row.retry_at = c->interrupted ? row.changed_at : row.changed_at + (delay < LONGEST_RETRY ? delay : LONGEST_RETRY);
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

static enum err tx_begin_run(struct db *db, void *arg)
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

/* A take-down stays one until all targets have what it cut. */
static enum err clear_down(struct db *db, struct cycle *c)
{
	struct db_schedule now;
	enum err e;

	if (!c->schedule.down.at || c->failed)
		return ERR_OK;
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

static enum err tx_end_target(struct db *db, void *arg)
{
	const struct target_run *t = arg;
	enum err e = turn_check(t->c->y->s, db);

	if (!e)
		e = put_end(db, t->c, t);
	FAILPOINT_OR(e, run_target_alone);
	return e;
}

static enum err tx_end_run(struct db *db, void *arg)
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
	if (!e && c->why != WINDOW_RETRY && c->why != WINDOW_DOWN && !(c->why == WINDOW_FORCED && c->schedule.forced.release) && !c->interrupted)
		e = db_schedule_started(db, c->y->s->name, c->start, c->seen);
	FAILPOINT_OR(e, run_schedule_row);
	if (!e && !c->interrupted && c->why == WINDOW_DOWN)
		e = clear_down(db, c);
	else if (!e && !c->interrupted)
		e = clear_force(db, c);
	return e;
}

/* --- kits ------------------------------------------------------------------------------------------------------------ */

static void send_to(struct target_run *t)
{
	if (t->early && early_go(t->early, &t->facts, &t->result)) {
		t->early = NULL;
		return;
	}
	early_drop(t->early);
	t->early = NULL;
	atomic_store(&t->kit.facts, &t->facts);
	kit_run(&t->kit, &t->result);
}

static void run_target(struct target_run *t)
{
	struct sync *y = t->c->y;

	FAILPOINT(run_kit);
	/* A machine that slept in between. */
	if (y->cancel)
		snprintf(t->result.message, sizeof(t->result.message), "not sent: %s", y->cancel_why);
	else if (may_send(y->s))
		send_to(t);
	else
		t->result = (struct kit_result){ .status = -1, .message = "not sent: another server may have taken over" };
	FAILPOINT(run_kit_ended);
	t->finished_at = clock_wall();
	log_event(t->result.ok ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, t->result.ok ? "sync.target.active" : "sync.target.failed", "state", kit_outcome_name(t->result.outcome), "site", y->s->name, "target",
	    t->conf->name, "release", log_u64(t->c->release.number), "why", t->result.message, NULL);
}

static void *run_beside(void *arg)
{
	struct target_run *t = arg;

	run_target(t);
	(void)pthread_mutex_lock(&t->c->lock);
	t->over = true;
	(void)pthread_cond_signal(&t->c->ended);
	(void)pthread_mutex_unlock(&t->c->lock);
	return NULL;
}

/* others: there are some that have not ended. The last one's rows are those of the run. */
static void target_ended(struct cycle *c, struct target_run *t, bool others)
{
	/* A report that cannot be judged now comes again with the next run. */
	if (report_settle(c->y->s, c->y->tools, &t->result, t->facts.live))
		log_event(LOG_LEVEL_WARN, "sync.report.unknown", "site", c->y->s->name, "target", t->conf->name, "why", err_text(), NULL);
	if (!others)
		return;
	if (tx_run(tools_db(c->y->tools), tx_end_target, t, NULL))
		log_event(LOG_LEVEL_WARN, "sync.record.later", "site", c->y->s->name, "target", t->conf->name, "why", err_text(), NULL);
	else
		t->recorded = true;
	sync_news(c->y);
}

static struct target_run *wait_for_one(struct cycle *c)
{
	struct target_run *found = NULL;

	(void)pthread_mutex_lock(&c->lock);
	for (;;) {
		for (size_t i = 0; i < c->n && !found; i++)
			if (c->targets[i].started && c->targets[i].over)
				found = &c->targets[i];
		if (found)
			break;
		(void)pthread_cond_wait(&c->ended, &c->lock);
	}
	(void)pthread_mutex_unlock(&c->lock);
	(void)pthread_join(found->thread, NULL);
	found->started = false;
	return found;
}

static void run_targets(struct cycle *c)
{
	size_t left = c->n, beside = 0;

	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->ended, NULL);
	for (size_t i = 0; c->n > 1 && i < c->n; i++) {
		c->targets[i].started = !pthread_create(&c->targets[i].thread, NULL, run_beside, &c->targets[i]);
		beside += c->targets[i].started;
	}
	/* The only one needs no other thread; nor does one that none could be had for. */
	for (size_t i = 0; i < c->n; i++)
		if (!c->targets[i].started) {
			run_target(&c->targets[i]);
			target_ended(c, &c->targets[i], --left > 0);
		}
	for (; beside; beside--)
		target_ended(c, wait_for_one(c), --left > 0);
	(void)pthread_cond_destroy(&c->ended);
	(void)pthread_mutex_destroy(&c->lock);
}

static void show_live(struct cycle *c)
{
	struct sync *y = c->y;

	(void)pthread_mutex_lock(&y->lock);
	y->live = mem_array(c->n, sizeof(*y->live));
	y->n_live = c->n;
	for (size_t i = 0; i < c->n; i++) {
		struct live *l = &y->live[i];

		snprintf(l->target, sizeof(l->target), "%s", c->targets[i].conf->name);
		(void)pthread_mutex_init(&l->lock, NULL);
		l->text = BUF_INIT(OUTPUT_LIMIT);
		c->targets[i].facts.live = l;
		c->targets[i].started_at = c->run.started_at;
		c->targets[i].result.status = -1;
	}
	(void)pthread_mutex_unlock(&y->lock);
}

static void hide_live(struct sync *y)
{
	(void)pthread_mutex_lock(&y->lock);
	for (size_t i = 0; i < y->n_live; i++) {
		buf_release(&y->live[i].text);
		(void)pthread_mutex_destroy(&y->live[i].lock);
	}
	free(y->live);
	y->live = NULL;
	y->n_live = 0;
	(void)pthread_mutex_unlock(&y->lock);
}

static void sum_up(struct cycle *c)
{
	size_t bad = 0;
	size_t used = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct target_run *t = &c->targets[i];

		if (t->result.ok)
			continue;
		bad++;
		if (used < sizeof(c->message))
			used += (size_t)snprintf(c->message + used, sizeof(c->message) - used, "%s%s: %s", used ? "; " : "", t->conf->name, t->result.message);
	}
	c->interrupted = bad && c->y->cancel;
	c->failed = bad > 0;
}

/* Send the release to those that lack it. The export stands still meanwhile. */
static enum err send(struct cycle *c)
{
	struct sync *y = c->y;
	enum err e = site_export_hold(y->s, y->tools, &c->release.main_commit);

	if (e)
		return err_prefix(e, "The export could not be brought to release %llu", (unsigned long long)c->release.number);
	FAILPOINT(run_held);
	e = tx_run(tools_db(y->tools), tx_begin_run, c, NULL);
	if (!e) {
		c->begun = true;
		(void)pthread_mutex_lock(&y->lock);
		y->run = c->run.run;
		(void)pthread_mutex_unlock(&y->lock);
		show_live(c);
		sync_news(y);
		run_targets(c);
		sum_up(c);
		FAILPOINT(run_sent);
	}
	if (site_export_release(y->s, y->tools))
		log_event(LOG_LEVEL_ERROR, "sync.export.behind", "site", y->s->name, "why", err_text(), NULL);
	return e;
}

/* --- the cycle ------------------------------------------------------------------------------------------------------- */

/* What was approved while the release was cut is not in it, and stays pending. */
static enum err leave_pending(struct cycle *c)
{
	struct db_record_row row;
	enum err e;

	if (!c->cut || c->release.as_of + 1 >= c->release.seq)
		return ERR_OK;
	e = db_record_get(tools_db(c->y->tools), c->y->s->name, c->release.node, c->release.as_of + 1, &row, c->a);
	if (!e && row.at <= c->start)
		c->start = row.at - 1;
	return e;
}

static enum err cut_release(struct cycle *c)
{
	struct sync *y = c->y;
	const bool planned = c->why == WINDOW_FORCED && !sha256_zero(&c->schedule.forced.plan);
	struct db_schedule now;
	uint64_t n = 0;
	enum err e = ERR_OK;

	if (c->why == WINDOW_RETRY || (c->why == WINDOW_FORCED && c->schedule.forced.release)) {
		e = db_release_get(tools_db(y->tools), y->s->name, 0, &c->release, c->a);
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	}
	if (c->why == WINDOW_DOWN)
		return act_release_as(y->s, y->tools, true, NULL, &c->release, &c->cut);
	/* A file that cannot be picked up now must not keep what people signed from going out. */
	if (act_pickup(y->s, y->tools, &n)) {
		log_event(LOG_LEVEL_ERROR, "sync.pickup.failed", "site", y->s->name, "why", err_text(), NULL);
		snprintf(c->message, sizeof(c->message), "pre-approved files were not picked up: %s", err_text());
	}
	FAILPOINT_OR(e, cycle_picked_up);
	if (e)
		return e;
	c->start = clock_wall();
	e = db_schedule_get(tools_db(y->tools), y->s->name, &now, c->a);
	if (e)
		return e;
	c->seen = now.last_approval;
	e = act_release_as(y->s, y->tools, false, planned ? &c->schedule.forced.plan : NULL, &c->release, &c->cut);
	return e ? e : leave_pending(c);
}

/* An act, or an end of the run. Not y->reload: a report that is kept sets it, too. */
static bool has_news(struct sync *y)
{
	bool news;

	(void)pthread_mutex_lock(&y->lock);
	news = y->carry || y->cancel;
	(void)pthread_mutex_unlock(&y->lock);
	return news;
}

/*
 * A site where nothing happens: what its receivers found would wait for the next release. Nothing depends on the answer; one
 * that cannot be reached says so when there is something to send.
 */
static void ask_reports(const struct cycle *c)
{
	const struct conf_site *cs = c->y->s->conf;

	/* Whoever forces a sync meanwhile does not wait for more than one that cannot be reached. */
	for (size_t i = 0; i < cs->n_targets && !has_news(c->y); i++) {
		struct buf text = BUF_INIT(OUTPUT_LIMIT);
		char why[512];
		bool sent = false, ok = true;

		for (size_t k = 0; k < c->n; k++)
			sent |= c->targets[k].conf == &cs->targets[i];
		if (!sent && *cs->targets[i].receiver_key && (sync_ask(c->y, c->y->tools, cs->targets[i].name, &c->y->cancel, &text, &ok, why) || !ok))
			log_event(LOG_LEVEL_WARN, "sync.report.unknown", "site", c->y->s->name, "target", cs->targets[i].name, "why", ok ? err_text() : why, NULL);
		buf_release(&text);
	}
}

/* The run is over in fact: a database that comes back within reason shall know it. */
static enum err end_run(struct cycle *c)
{
	struct sync *y = c->y;
	enum err e;

	c->run.number = c->release.number;
	c->run.finished_at = clock_wall();
	c->run.state = c->interrupted ? "interrupted" : c->failed ? "failed" : c->n || c->cut ? "ok" : "nothing";
	c->run.message = c->message;
	for (unsigned i = 0;; i++) {
		e = tx_run(tools_db(y->tools), tx_end_run, c, NULL);
		if (!e || i == SETTLE_TRIES || y->cancel || atomic_load(&y->s->turn_lost))
			break;
		log_event(LOG_LEVEL_ERROR, "sync.record.failed", "site", y->s->name, "why", err_text(), NULL);
		clock_sleep(CLOCK_SECOND);
	}
	FAILPOINT(run_recorded);
	(void)pthread_mutex_lock(&y->lock);
	y->run = c->run.run;
	y->release = c->release.number;
	(void)pthread_mutex_unlock(&y->lock);
	return e;
}

enum err cycle_run(struct sync *y, enum window_reason why)
{
	struct cycle c = { .y = y, .a = arena_new(), .why = why, .start = clock_wall() };
	enum err e = db_schedule_get(tools_db(y->tools), y->s->name, &c.schedule, c.a);

	if (e)
		goto out;
	c.run = (struct db_run){ .trigger = window_reason_name(why), .actor = "", .reason = "", .started_at = c.start, .state = "running", .message = "" };
	if (why == WINDOW_DOWN) {
		c.run.actor = c.schedule.down.by;
		c.run.reason = c.schedule.down.reason;
	}
	if (why == WINDOW_FORCED) {
		c.run.actor = c.schedule.forced.by;
		c.run.reason = c.schedule.forced.reason;
	}
	FAILPOINT_OR(e, cycle_begun);
	if (!e)
		e = site_carry(y->s, y->tools);
	FAILPOINT_OR(e, cycle_carried);
	if (!e)
		e = start_early(&c);
	if (!e)
		e = cut_release(&c);
	/* Not what was asked for, or an admin has to look first: a run that says so and sends nothing. */
	if (e == ERR_STALE) {
		c.stopped = c.failed = true;
		snprintf(c.message, sizeof(c.message), "%s", err_text());
		e = db_release_get(tools_db(y->tools), y->s->name, 0, &c.release, c.a);
		if (e == ERR_NOT_FOUND)
			e = ERR_OK;
	}
	FAILPOINT_OR(e, cycle_cut);
	if (e)
		goto out;
	c.run.number = c.release.number;
	if (c.release.number && !c.stopped) {
		e = choose_targets(&c);
		drop_early(&c);
		if (!e && (c.cut || c.n))
			e = count_changes(&c);
		if (!e && c.n)
			e = send(&c);
	}
	FAILPOINT_OR(e, cycle_sent);
	/* A retry that finds nobody whose time has come, since clocks differ a little, is no run. */
	if (!e && (c.n || why != WINDOW_RETRY))
		e = end_run(&c);
	if (!e)
		log_event(c.failed ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "sync.done", "site", y->s->name, "run", log_u64(c.run.run), "trigger", c.run.trigger, "state",
		    c.run.state, "release", log_u64(c.release.number), NULL);
	if (!e && why == WINDOW_LONGEST)
		ask_reports(&c);
out:
	drop_early(&c);
	for (size_t i = 0; i < c.n; i++) {
		early_drop(c.targets[i].early);
		if (c.targets[i].planned)
			plan_release(&c.targets[i].plan);
		kit_result_release(&c.targets[i].result);
	}
	hide_live(y);
	arena_free(c.a);
	return e;
}
