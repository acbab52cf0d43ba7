/* One cycle: pick-up, release, the targets that lack it, the records of what came of it. */
#include <stdio.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "sync/cycle.h"

#define SETTLE_TRIES 30 /* seconds that a finished run waits for a database that is gone */

static bool take_before(void *arg, const struct db_release *r)
{
	struct cycle *c = arg;

	c->before.number = r->number;
	c->before.main_commit = r->main_commit;
	return false;
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

bool cycle_opens_window(const struct cycle *c)
{
	return c->why != WINDOW_RETRY && c->why != WINDOW_DOWN && !(c->why == WINDOW_FORCED && c->schedule.forced.release);
}

bool cycle_serves_force(const struct cycle *c)
{
	return c->why == WINDOW_FORCED || cycle_opens_window(c);
}

uint64_t cycle_down_release(const struct cycle *c)
{
	const struct sync *y = c->y;
	const bool tried = y->down_tried == c->schedule.down.at;

	if (!c->schedule.down.at)
		return 0;
	if (tried && y->down_release)
		return y->down_release;
	/* A take-down's cycle cuts what is needed; any release that is cut after it has it, too. */
	return !c->stopped && (c->why == WINDOW_DOWN || (tried && c->cut)) ? c->release.number : 0;
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

	/* Nobody waits for more than one that cannot be reached. */
	for (size_t i = 0; i < cs->n_targets && !has_news(c->y) && !sync_next_due(c); i++) {
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
		e = tx_run(tools_db(y->tools), rows_end, c, NULL);
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

/* What the next cycles have to know of its take-down. */
static void note_down(const struct cycle *c)
{
	struct sync *y = c->y;
	const uint64_t first = cycle_down_release(c);

	(void)pthread_mutex_lock(&y->lock);
	if (c->why == WINDOW_DOWN) {
		y->down_tried = c->schedule.down.at;
		y->stopped.down = c->stopped ? c->schedule.down.at : 0;
		y->stopped.forced = c->schedule.forced.at;
	}
	if (c->cut)
		y->stopped.down = 0;
	if (y->down_tried == c->schedule.down.at)
		y->down_release = first;
	(void)pthread_mutex_unlock(&y->lock);
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
		e = send_early(&c);
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
	if (c.release.number && !c.stopped)
		e = send_choose(&c);
	send_drop_early(&c);
	if (c.release.number && !c.stopped) {
		if (!e && (c.cut || c.n))
			e = count_changes(&c);
		if (!e && c.n)
			e = send_all(&c);
	}
	FAILPOINT_OR(e, cycle_sent);
	/* A retry whose target got a release meanwhile is no run. */
	if (!e && (c.n || why != WINDOW_RETRY))
		e = end_run(&c);
	if (!e)
		log_event(c.failed ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "sync.done", "site", y->s->name, "run", log_u64(c.run.run), "trigger", c.run.trigger, "state",
		    c.run.state, "release", log_u64(c.release.number), NULL);
	if (!e && why == WINDOW_LONGEST)
		ask_reports(&c);
out:
	send_release(&c);
	if (!e)
		note_down(&c);
	arena_free(c.a);
	return e;
}
