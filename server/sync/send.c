/*
 * The targets of a run and their kits. A target's row says `sending`, with no commit, from before its kit starts until it is known
 * to have succeeded: after a crash or a failure its state is not known, and the next kit compares everything instead of trusting a
 * list. Whoever ends before the others is recorded then: a slow target keeps nobody else's state from being seen.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "acts/turn.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "sync/cycle.h"

#define LOOK_EVERY CLOCK_SECOND /* whether the next cycle is due, and this one keeps it waiting */
#define HEADS_BACK 200 /* at least, for a target whose state is not known: it may have been set back */

/* --- who is sent to --------------------------------------------------------------------------------------------------- */

static bool may_send(struct site *s)
{
	return !s->turns || (!atomic_load(&s->turn_lost) && !turns_unsure(s->turns));
}

static struct kit_run kit_of(struct cycle *c, const struct conf_target *t, const struct db_target *row)
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
		.hurry = &y->hurry,
		.failed = row->tries > 0,
	};
}

/* The kits that wait for what is cut now: of machines that could be reached the last time. */
enum err send_early(struct cycle *c)
{
	const struct conf_site *cs = c->y->s->conf;
	struct db_target *rows;
	enum err e = ERR_OK;

	c->early = arena_alloc(c->a, (cs->n_targets + 1) * sizeof(*c->early));
	/* Nothing is cut, or hardly ever: at a site where nothing happens the receivers are asked for their reports then. */
	if (c->why == WINDOW_RETRY || (c->why == WINDOW_FORCED && c->schedule.forced.release) || (c->why == WINDOW_LONGEST && !c->schedule.first_pending) ||
	    !may_send(c->y->s))
		return ERR_OK;
	e = rows_get(c->y, tools_db(c->y->tools), &rows, c->a);
	for (size_t i = 0; i < cs->n_targets && !e; i++) {
		struct kit_run k = kit_of(c, &cs->targets[i], &rows[i]);

		if (blob_id_zero(&rows[i].log_commit) || !kit_waits(&k))
			continue;
		/* What keeps it from that is told where the run comes to it. */
		if (!papers_begin(k.papers))
			c->early[i] = early_begin(&k);
	}
	return e;
}

void send_drop_early(struct cycle *c)
{
	for (size_t i = 0; c->early && i < c->y->s->conf->n_targets; i++) {
		early_drop(c->early[i]);
		c->early[i] = NULL;
	}
}

/* The heads that its receiver may lack are those after this release. */
static uint64_t heads_after(const struct cycle *c, const struct target_run *t, bool active)
{
	const uint64_t back = c->release.number > HEADS_BACK ? c->release.number - HEADS_BACK : 0;

	if (!*t->conf->host)
		return c->release.number - 1;
	if (active)
		return t->row.number;
	return t->row.number && t->row.number < back ? t->row.number : back;
}

static enum err prepare(struct cycle *c, struct target_run *t, struct repo *repo)
{
	const bool active = !blob_id_zero(&t->row.log_commit);
	enum err e = ERR_OK;

	if (active) {
		plan_init(&t->plan);
		t->planned = true;
		e = repo_plan(repo, &t->row.log_commit, &c->release.main_commit, &t->plan);
	}
	t->kit = kit_of(c, t->conf, &t->row);
	if (!e && t->kit.papers) {
		t->facts.list_from = active ? t->row.number : 0;
		e = t->early ? ERR_OK : papers_begin(t->kit.papers);
		if (!e)
			e = papers_write(c->y->s, c->y->tools, t->kit.papers, &c->release, heads_after(c, t, active), &t->facts.list_from, &t->facts.head);
	}
	t->facts.release = c->release.number;
	t->facts.previous = t->row.number;
	t->facts.changes = t->planned ? &t->plan : NULL;
	return e;
}

enum err send_choose(struct cycle *c)
{
	const struct conf_site *cs = c->y->s->conf;
	const bool again = c->why == WINDOW_RETRY || (c->why == WINDOW_DOWN && c->y->down_release && c->y->down_tried == c->schedule.down.at);
	struct db_target *rows;
	struct repo *repo;
	const uint64_t down = again && c->why == WINDOW_DOWN ? c->y->down_release : 0;
	int64_t due = c->start, first = 0;
	enum err e = tools_repo(c->y->tools, c->y->s, &repo);

	if (!e)
		e = rows_get(c->y, tools_db(c->y->tools), &rows, c->a);
	/* A retry leaves those alone whose time has not come. That the first one's has is the scheduler's word, not the wall clock's. */
	if (!e && again)
		first = down ? rows_older_retry_at(rows, cs->n_targets, down, false) : rows_retry_at(rows, cs->n_targets, c->release.number, false);
	if (first > due)
		due = first;
	c->targets = arena_alloc(c->a, (cs->n_targets + 1) * sizeof(*c->targets));
	for (size_t i = 0; i < cs->n_targets && !e; i++) {
		struct target_run *t = &c->targets[c->n];

		*t = (struct target_run){ .row = rows[i] };
		if (rows_hold(&t->row, c->release.number))
			continue;
		/* Who has the take-down waits for what is ordinary, which a hold may keep back. */
		if (again && (t->row.retry_at > due || (down && t->row.number >= down)))
			continue;
		t->c = c;
		t->conf = &cs->targets[i];
		t->early = c->early[i];
		c->early[i] = NULL;
		c->n++;
		e = prepare(c, t, repo);
		FAILPOINT_OR(e, cycle_target);
		/* What is wrong with one of them keeps nothing from the others. */
		if (e && e != ERR_BUSY) {
			snprintf(t->refused, sizeof(t->refused), "not sent: %s", err_text());
			e = ERR_OK;
		}
	}
	FAILPOINT_OR(e, cycle_targets);
	return e;
}

/* --- kits ------------------------------------------------------------------------------------------------------------ */

static void send_to(struct target_run *t)
{
	struct early *early = t->early;

	t->early = NULL;
	if (t->refused[0]) {
		early_drop(early);
		t->result = (struct kit_result){ .status = -1 };
		snprintf(t->result.message, sizeof(t->result.message), "%s", t->refused);
		return;
	}
	if (early && early_go(early, &t->facts, &t->result))
		return;
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
	if (tx_run(tools_db(c->y->tools), rows_end_target, t, NULL))
		log_event(LOG_LEVEL_WARN, "sync.record.later", "site", c->y->s->name, "target", t->conf->name, "why", err_text(), NULL);
	else
		t->recorded = true;
	sync_news(c->y);
}

/* Who would be sent to at once, were it not for a kit that may be hung: those that this run is not about, or that have ended. */
static bool others_wait(const struct cycle *c)
{
	size_t beside = 0;

	for (size_t i = 0; i < c->n; i++)
		beside += c->targets[i].started && !c->targets[i].over;
	return beside < c->y->s->conf->n_targets && !c->y->hurry;
}

/* Does something wait that this run is not about? others: somebody could be sent to at once. */
static void look_up(struct cycle *c, bool others)
{
	struct sync *y = c->y;
	const bool due = sync_next_due(c);

	(void)pthread_mutex_lock(&y->lock);
	if (c->why == WINDOW_DOWN && y->down && y->down != c->schedule.down.at && !y->cancel) {
		y->cancel_why = "ended for another take-down";
		y->cancel = 1;
	} else if (due && others) {
		y->hurry = 1;
	}
	(void)pthread_mutex_unlock(&y->lock);
}

static struct target_run *wait_for_one(struct cycle *c)
{
	struct target_run *found = NULL;
	struct timespec until;
	bool others;

	(void)pthread_mutex_lock(&c->lock);
	for (;;) {
		for (size_t i = 0; i < c->n && !found; i++)
			if (c->targets[i].started && c->targets[i].over)
				found = &c->targets[i];
		if (found)
			break;
		clock_deadline(LOOK_EVERY, &until);
		if (pthread_cond_timedwait(&c->ended, &c->lock, &until) != ETIMEDOUT)
			continue;
		others = others_wait(c);
		if (!others && c->why != WINDOW_DOWN)
			continue;
		(void)pthread_mutex_unlock(&c->lock);
		look_up(c, others);
		(void)pthread_mutex_lock(&c->lock);
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
	clock_cond_init(&c->ended);
	for (size_t i = 0; i < c->n; i++) {
		c->targets[i].started = !pthread_create(&c->targets[i].thread, NULL, run_beside, &c->targets[i]);
		beside += c->targets[i].started;
	}
	/* One that no thread could be had for. */
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

enum err send_all(struct cycle *c)
{
	struct sync *y = c->y;
	enum err e = site_export_hold(y->s, y->tools, &c->release.main_commit);

	if (e)
		return err_prefix(e, "The export could not be brought to release %llu", (unsigned long long)c->release.number);
	FAILPOINT(run_held);
	e = tx_run(tools_db(y->tools), rows_begin, c, NULL);
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

void send_release(struct cycle *c)
{
	send_drop_early(c);
	for (size_t i = 0; i < c->n; i++) {
		early_drop(c->targets[i].early);
		if (c->targets[i].planned)
			plan_release(&c->targets[i].plan);
		kit_result_release(&c->targets[i].result);
	}
	hide_live(c->y);
}
