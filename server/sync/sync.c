/* The scheduler's thread of a site, and what others may ask it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "export/export.h"
#include "sync/cycle.h"

#define LONGEST_WAIT (30 * CLOCK_SECOND) /* between looks at the clock: a machine that slept has missed nothing */
#define FIRST_HOLD_OFF (2 * CLOCK_SECOND) /* after a cycle that could not do its work; doubled each time */
#define LONGEST_HOLD_OFF (5 * 60 * CLOCK_SECOND)

void sync_news(struct sync *y)
{
	(void)pthread_mutex_lock(&y->lock);
	y->news++;
	(void)pthread_cond_broadcast(&y->changed);
	(void)pthread_mutex_unlock(&y->lock);
}

void sync_poke(struct sync *y)
{
	(void)pthread_mutex_lock(&y->lock);
	y->reload = true;
	y->news++;
	(void)pthread_cond_broadcast(&y->changed);
	(void)pthread_mutex_unlock(&y->lock);
}

void sync_break(struct sync *y)
{
	(void)pthread_mutex_lock(&y->lock);
	if (y->running) {
		y->cancel_why = "ended because this server may have lost its turn";
		y->cancel = 1;
	}
	(void)pthread_mutex_unlock(&y->lock);
}

static void on_act(void *arg, const char *what)
{
	struct sync *y = arg;

	(void)pthread_mutex_lock(&y->lock);
	/* What runs sends what is to go. The run is interrupted, and the next one is the take-down's: that may be under way already. */
	if (strcmp(what, "act") != 0 && y->running && !y->downing) {
		y->cancel_why = strcmp(what, "hold") == 0 ? "ended because the site is held now" : "ended for a take-down";
		y->cancel = 1;
	}
	y->carry = true;
	(void)pthread_mutex_unlock(&y->lock);
	sync_poke(y);
}

void sync_set_periods(struct sync *y, int64_t quiet_us, int64_t longest_us)
{
	(void)pthread_mutex_lock(&y->lock);
	y->quiet_us = quiet_us;
	y->longest_us = longest_us;
	y->news++;
	(void)pthread_cond_broadcast(&y->changed);
	(void)pthread_mutex_unlock(&y->lock);
}

/* With the lock held: wait for news, or until the boot clock says so. */
static void wait_until(struct sync *y, int64_t boot)
{
	int64_t left = boot - clock_boot();
	struct timespec until;

	if (left <= 0)
		return;
	if (left > LONGEST_WAIT)
		left = LONGEST_WAIT;
	clock_deadline(left, &until);
	(void)pthread_cond_timedwait(&y->changed, &y->lock, &until);
}

/* --- facts ----------------------------------------------------------------------------------------------------------- */

/* Converted when it changes, so that a wall clock that jumps later moves nothing. */
static void set_moment(struct moment *m, int64_t wall)
{
	if (m->wall == wall)
		return;
	m->wall = wall;
	m->boot = wall ? window_stored(wall, clock_wall(), clock_boot()) : WINDOW_NEVER;
}

static void set_future(struct moment *m, int64_t wall)
{
	int64_t now = clock_wall();

	if (m->wall == wall)
		return;
	m->wall = wall;
	m->boot = wall ? clock_boot() + (wall > now ? wall - now : 0) : WINDOW_NEVER;
}

/* With the lock held. */
static void set_trouble(struct sync *y, const char *text)
{
	if (!strcmp(y->trouble, text))
		return;
	snprintf(y->trouble, sizeof(y->trouble), "%s", text);
	y->news++;
	(void)pthread_cond_broadcast(&y->changed);
}

/* held: the site; end: of a hold of a path that no cycle has looked at since it ended, or that ends next. Wall clock, 0: none. */
static enum err load_holds(struct sync *y, struct db *db, int64_t last_start, int64_t *held, int64_t *end)
{
	struct arena *a = arena_new();
	struct db_hold *list;
	size_t n = 0;
	enum err e = db_hold_list(db, y->s->name, &list, &n, a);

	*held = *end = 0;
	for (size_t i = 0; i < n && !e; i++) {
		if (path_is_root(list[i].path))
			*held = list[i].until;
		else if (!path_is_root(list[i].path) && list[i].until > last_start && (!*end || list[i].until < *end))
			*end = list[i].until;
	}
	arena_free(a);
	return e;
}

static enum err load_targets(struct sync *y, struct db *db, const struct db_target *rows, struct sync_target **out, struct arena *a)
{
	const size_t n = y->s->conf->n_targets;
	struct db_target_report report;
	enum err e = ERR_OK;

	*out = arena_alloc(a, (n + 1) * sizeof(**out));
	for (size_t i = 0; i < n && !e; i++) {
		struct sync_target *t = &(*out)[i];

		*t = (struct sync_target){ .name = rows[i].target, .number = rows[i].number };
		snprintf(t->state, sizeof(t->state), "%s", rows[i].state);
		e = db_target_report_get(db, y->s->name, t->name, &report, a);
		if (e == ERR_NOT_FOUND)
			e = ERR_OK;
		t->report_at = report.at;
		t->differs_since = report.since;
		t->differences = report.bad;
	}
	return e;
}

/* For people only: a repository that is damaged somewhere must not keep anything from being sent. */
static enum err load_unconfirmed(struct sync *y, struct db *db, const struct db_target *rows, const struct db_release *newest, bool pending, int64_t *since, struct arena *a)
{
	const enum err e = rows_unconfirmed(y, db, rows, newest, pending, since, a);

	if (e == ERR_BUSY)
		return e;
	/* Until it can be told again, it is not said to be less than it was. */
	if (e && (!*since || (y->unconfirmed && y->unconfirmed < *since)))
		*since = y->unconfirmed;
	if (e && !y->unconfirmed_unknown)
		log_event(LOG_LEVEL_ERROR, "sync.unconfirmed.unknown", "site", y->s->name, "why", err_text(), NULL);
	y->unconfirmed_unknown = e != ERR_OK;
	return ERR_OK;
}

/* What a cycle that is not recorded yet will have done, if it ends as it should. */
static void foresee(struct db_schedule *s, const struct cycle *c)
{
	if (!cycle_opens_window(c))
		return;
	s->last_start = c->start;
	if (s->last_approval <= c->start || s->last_approval == c->seen)
		s->first_pending = 0;
}

/* What the database knows. Without the lock: it may take its time. c: the cycle under way; NULL: none is. */
static enum err load(struct sync *y, const struct cycle *c)
{
	struct sync_target *targets = NULL;
	struct db *db = tools_db(y->tools);
	struct arena *a = arena_new();
	struct db_schedule schedule;
	struct db_release newest = { 0 };
	struct db_target *rows;
	int64_t unconfirmed = 0, held = 0, hold_end = 0;
	enum err e = db_schedule_get(db, y->s->name, &schedule, a);

	if (!e && c)
		foresee(&schedule, c);
	if (!e)
		e = rows_get(y, db, &rows, a);
	if (!e)
		e = db_release_get(db, y->s->name, 0, &newest, a);
	if (e == ERR_NOT_FOUND)
		e = ERR_OK;
	if (!e)
		e = load_unconfirmed(y, db, rows, &newest, schedule.first_pending != 0, &unconfirmed, a);
	if (!e)
		e = load_holds(y, db, schedule.last_start, &held, &hold_end);
	if (!e)
		e = load_targets(y, db, rows, &targets, a);
	(void)pthread_mutex_lock(&y->lock);
	if (!e) {
		set_moment(&y->first_pending, schedule.first_pending);
		set_moment(&y->last_approval, schedule.last_approval);
		set_moment(&y->last_start, schedule.last_start);
		set_future(&y->retry_at, rows_retry_at(rows, y->s->conf->n_targets, newest.number, y->running));
		set_future(&y->down_retry, rows_older_retry_at(rows, y->s->conf->n_targets, y->down_release, y->running));
		y->held_until = held;
		y->hold_end = hold_end;
		y->down = schedule.down.at;
		y->unconfirmed = unconfirmed;
		memcpy(y->targets, targets, y->s->conf->n_targets * sizeof(*targets));
		y->forced = schedule.forced.at;
		y->release = newest.number;
		y->news++;
		(void)pthread_cond_broadcast(&y->changed);
	}
	(void)pthread_mutex_unlock(&y->lock);
	arena_free(a);
	return e;
}

static int64_t or_never(const struct moment *m)
{
	return m->wall ? m->boot : WINDOW_NEVER;
}

/* The end of a hold is a time that somebody wrote: it goes by the wall clock, whoever sets that, as acts see it. 0: none. */
static int64_t by_wall(int64_t wall)
{
	const int64_t at = wall ? clock_boot() + (wall - clock_wall()) : 0;

	return wall && at <= 0 ? 1 : at;
}

/* With the lock held. */
static struct window_facts facts(const struct sync *y)
{
	return (struct window_facts){
		.now = clock_boot(),
		.quiet = y->quiet_us,
		.longest = y->longest_us,
		.first_pending = or_never(&y->first_pending),
		.last_approval = or_never(&y->last_approval),
		.last_start = or_never(&y->last_start),
		.forced = y->forced != 0,
		.running = y->running,
		.retry_at = or_never(&y->retry_at),
		.held_until = by_wall(y->held_until),
		.hold_end = by_wall(y->hold_end),
		/* One that waits for an admin is tried again when somebody has forced a sync, as he does who confirms it. */
		.down = y->down && (y->down != y->stopped.down || (y->forced && y->forced != y->stopped.forced)),
		.down_tried = y->down_tried == y->down,
		.down_retry = or_never(&y->down_retry),
	};
}

bool sync_next_due(const struct cycle *c)
{
	struct sync *y = c->y;
	struct window_facts f;

	if (load(y, c))
		return false;
	(void)pthread_mutex_lock(&y->lock);
	f = facts(y);
	f.running = false;
	/* As it will be when that one is recorded. */
	f.forced = y->forced && (y->forced != c->schedule.forced.at || !cycle_serves_force(c));
	if (c->why == WINDOW_DOWN)
		f.down_tried = y->down == c->schedule.down.at;
	/* Those that lack it are being sent to. */
	if (f.down_tried && f.down_retry == WINDOW_NEVER)
		f.down = false;
	(void)pthread_mutex_unlock(&y->lock);
	return window_next(&f).due <= f.now;
}

/* --- the thread ------------------------------------------------------------------------------------------------------ */

/* With the lock held: a cycle could not do its work, or its facts could not be read. Later, and say why. */
static void hold_off(struct sync *y, const char *why)
{
	int64_t delay = FIRST_HOLD_OFF;

	for (unsigned i = 0; i < y->failures && delay < LONGEST_HOLD_OFF; i++)
		delay *= 2;
	if (!y->failures++)
		log_event(LOG_LEVEL_ERROR, "sync.trouble", "site", y->s->name, "why", why, NULL);
	y->hold_off = clock_boot() + (delay < LONGEST_HOLD_OFF ? delay : LONGEST_HOLD_OFF);
	set_trouble(y, why);
}

static void all_well(struct sync *y)
{
	if (y->failures)
		log_event(LOG_LEVEL_INFO, "sync.trouble.over", "site", y->s->name, NULL);
	y->failures = 0;
	y->hold_off = 0;
	set_trouble(y, "");
}

/* With the lock held; gives it up meanwhile. */
static void do_load(struct sync *y)
{
	enum err e;

	y->reload = false;
	(void)pthread_mutex_unlock(&y->lock);
	e = load(y, NULL);
	(void)pthread_mutex_lock(&y->lock);
	if (e) {
		y->reload = true;
		y->load_failed = true;
		hold_off(y, err_text());
	} else if (y->load_failed) {
		y->load_failed = false;
		all_well(y);
	}
}

/* With the lock held; gives it up meanwhile. What fails here is tried again by the janitor, and before each cycle. */
static void do_carry(struct sync *y)
{
	y->carry = false;
	if (!y->s->export_behind || y->s->read_only)
		return;
	(void)pthread_mutex_unlock(&y->lock);
	if (site_carry(y->s, y->tools))
		log_event(LOG_LEVEL_WARN, "site.pending", "site", y->s->name, "why", err_text(), NULL);
	(void)pthread_mutex_lock(&y->lock);
	y->news++;
	(void)pthread_cond_broadcast(&y->changed);
}

static void do_cycle(struct sync *y, enum window_reason why)
{
	enum err e;

	y->running = true;
	y->downing = why == WINDOW_DOWN;
	y->hurry = 0;
	y->cancel_why = "ended because the server stops";
	y->news++;
	(void)pthread_cond_broadcast(&y->changed);
	(void)pthread_mutex_unlock(&y->lock);
	e = cycle_run(y, why);
	(void)pthread_mutex_lock(&y->lock);
	y->running = y->downing = false;
	/* What ended this run is over; a server that stops looks at `stop`. */
	y->cancel = y->stop;
	y->reload = true;
	y->news++;
	(void)pthread_cond_broadcast(&y->changed);
	if (e)
		hold_off(y, err_text());
	else
		all_well(y);
}

static void *scheduler(void *arg)
{
	struct sync *y = arg;

	(void)pthread_mutex_lock(&y->lock);
	while (!y->stop) {
		struct window_facts f;
		struct window_answer next;

		if (y->carry) {
			do_carry(y);
			continue;
		}
		if (y->s->read_only) {
			set_trouble(y, y->s->read_only_reason);
			wait_until(y, clock_boot() + LONGEST_WAIT);
			continue;
		}
		if (y->hold_off > clock_boot()) {
			wait_until(y, y->hold_off);
			continue;
		}
		if (y->reload) {
			do_load(y);
			continue;
		}
		f = facts(y);
		next = window_next(&f);
		if (next.due <= f.now)
			do_cycle(y, next.reason);
		else
			wait_until(y, next.due);
	}
	(void)pthread_mutex_unlock(&y->lock);
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------------------------------- */

enum err sync_start(struct sync **out, const struct conf *conf, struct site *s, const struct db_address *address)
{
	struct sync *y = mem_alloc(sizeof(*y));
	enum err e;

	y->conf = conf;
	y->s = s;
	y->address = *address;
	y->tools = tools_new(&y->address);
	y->quiet_us = s->conf->quiet_us;
	y->longest_us = s->conf->longest_us;
	y->reload = true;
	y->targets = mem_array(s->conf->n_targets + 1, sizeof(*y->targets));
	for (size_t i = 0; i < s->conf->n_targets; i++)
		y->targets[i].name = s->conf->targets[i].name;
	(void)pthread_mutex_init(&y->lock, NULL);
	clock_cond_init(&y->changed);
	e = s->waits ? ERR_OK : db_run_settle(tools_db(y->tools), s->name, clock_wall());
	FAILPOINT_OR(e, sync_runs_settled);
	if (!e) {
		/* Nobody acts yet: the site has just been opened. */
		s->changed_arg = y;
		s->changed = on_act;
		s->carrier = true;
		if (pthread_create(&y->thread, NULL, scheduler, y))
			e = err_set(ERR_FAILED, "A thread cannot be started");
	}
	if (e) {
		s->changed = NULL;
		s->carrier = false;
		tools_free(y->tools);
		free(y->targets);
		free(y);
		return e;
	}
	*out = y;
	return ERR_OK;
}

void sync_stop(struct sync *y)
{
	(void)pthread_mutex_lock(&y->lock);
	y->stop = 1;
	y->cancel = 1;
	(void)pthread_cond_broadcast(&y->changed);
	(void)pthread_mutex_unlock(&y->lock);
	(void)pthread_join(y->thread, NULL);
	y->s->changed = NULL;
	y->s->carrier = false;
	tools_free(y->tools);
	(void)pthread_cond_destroy(&y->changed);
	(void)pthread_mutex_destroy(&y->lock);
	explicit_bzero(&y->address, sizeof(y->address));
	free(y->targets);
	free(y);
}

/* --- questions -------------------------------------------------------------------------------------------------------- */

/* From the boot clock to the wall clock, as of now. */
static int64_t to_wall(int64_t boot, int64_t now_boot, int64_t now_wall)
{
	return boot == WINDOW_NEVER ? WINDOW_NEVER : now_wall + (boot - now_boot);
}

void sync_status(struct sync *y, struct sync_status *out)
{
	struct window_facts f;

	*out = (struct sync_status){ .now = clock_wall() };
	(void)pthread_mutex_lock(&y->lock);
	f = facts(y);
	out->next = window_next(&f);
	if (y->hold_off > out->next.due)
		out->next.due = y->hold_off;
	out->next.due = to_wall(out->next.due, f.now, out->now);
	out->next.at_latest = to_wall(out->next.at_latest, f.now, out->now);
	out->quiet_us = y->quiet_us;
	out->longest_us = y->longest_us;
	out->running = y->running;
	out->waits = y->s->waits;
	out->run = y->run;
	out->release = y->release;
	out->held_until = y->held_until > out->now ? y->held_until : 0;
	out->pending_since = y->first_pending.wall;
	out->unconfirmed_since = y->unconfirmed;
	out->export_behind = y->s->export_behind;
	snprintf(out->trouble, sizeof(out->trouble), "%s", y->trouble);
	(void)pthread_mutex_unlock(&y->lock);
}

void sync_targets(struct sync *y, void (*fn)(void *arg, const struct sync_target *t), void *arg)
{
	(void)pthread_mutex_lock(&y->lock);
	for (size_t i = 0; i < y->s->conf->n_targets; i++)
		fn(arg, &y->targets[i]);
	(void)pthread_mutex_unlock(&y->lock);
}

struct kept_output {
	const char *target;
	size_t from;
	struct buf *out;
	bool found, end;
};

static bool take_output(void *arg, const struct db_run_target *t)
{
	struct kept_output *k = arg;

	if (strcmp(t->target, k->target))
		return true;
	k->found = true;
	k->end = t->finished_at != 0;
	if (t->output_len > k->from)
		buf_add(k->out, t->output + k->from, t->output_len - k->from);
	return false;
}

/* What a target's kit says in the run under way, locked until live_done(); NULL: it is another run, or has no such target. */
static struct live *live_find(struct sync *y, uint64_t run, const char *target)
{
	struct live *found = NULL;

	(void)pthread_mutex_lock(&y->lock);
	for (size_t i = 0; y->running && y->run == run && i < y->n_live && !found; i++)
		if (!strcmp(y->live[i].target, target))
			found = &y->live[i];
	if (found)
		(void)pthread_mutex_lock(&found->lock);
	else
		(void)pthread_mutex_unlock(&y->lock);
	return found;
}

static void live_done(struct sync *y, struct live *l)
{
	(void)pthread_mutex_unlock(&l->lock);
	(void)pthread_mutex_unlock(&y->lock);
}

static bool live_output(struct sync *y, uint64_t run, const char *target, size_t from, struct buf *out, bool *end)
{
	struct live *l = live_find(y, run, target);

	if (!l)
		return false;
	if (l->text.len > from)
		buf_add(out, l->text.p + from, l->text.len - from);
	*end = l->ended;
	live_done(y, l);
	return true;
}

bool sync_progress(struct sync *y, uint64_t run, const char *target, struct sync_progress *out)
{
	struct live *l = live_find(y, run, target);
	bool told;

	if (!l)
		return false;
	told = l->counts && !l->ended;
	*out = l->far;
	live_done(y, l);
	return told;
}

enum err sync_output(struct sync *y, struct db *db, uint64_t run, const char *target, size_t from, struct buf *out, bool *end)
{
	struct kept_output k = { target, from, out, false, false };
	enum err e;

	if (live_output(y, run, target, from, out, end))
		return ERR_OK;
	e = db_run_target_list(db, y->s->name, run, take_output, &k);
	if (!e && !k.found)
		e = err_set(ERR_NOT_FOUND, "Run %llu did not send to %s.", (unsigned long long)run, target);
	*end = k.end;
	return e;
}

static enum err begin_test(struct sync *y)
{
	bool busy;

	(void)pthread_mutex_lock(&y->lock);
	busy = y->testing || y->stop;
	y->testing = y->testing || !busy;
	(void)pthread_mutex_unlock(&y->lock);
	return busy ? err_set(ERR_BUSY, "A target of this site is being tested already. Try again in a moment.") : ERR_OK;
}

struct asked {
	const char *site, *target;
	struct kit_result *result;
	bool news;
};

static enum err tx_report(struct db *db, void *arg)
{
	struct asked *k = arg;

	enum err e = held_put(db, k->site, k->target, k->result);

	return e ? e : report_put(db, k->site, k->target, k->result, &k->news);
}

enum err sync_keep_report(struct sync *y, struct actor_tools *t, const char *target, struct kit_result *r, struct live *live)
{
	struct asked k = { .site = y->s->name, .target = target, .result = r };
	enum err e = report_settle(y->s, t, r, live);

	if (!e && (r->report.text || r->held.receipt))
		e = tx_run(tools_db(t), tx_report, &k, NULL);
	if (!e && r->report.text)
		sync_poke(y);
	return e;
}

static enum err run_test(struct sync *y, struct actor_tools *tools, const struct conf_target *t, atomic_int *cancel, struct buf *text, bool *ok, char why[512])
{
	struct live live = { .text = BUF_INIT(OUTPUT_LIMIT) };
	char *work = mem_printf("%s/run/%s.test", y->s->dir, t->name);
	const struct kit_facts facts = { .live = &live };
	const struct kit_run k = { .test = true, .conf = y->conf, .site = y->s->name, .target = t, .export_dir = export_path(y->s->export),
		.work_dir = work, .facts = &facts, .y = y, .cancel = cancel };
	struct kit_result result;
	enum err e;

	snprintf(live.target, sizeof(live.target), "%s", t->name);
	(void)pthread_mutex_init(&live.lock, NULL);
	kit_run(&k, &result);
	e = sync_keep_report(y, tools, t->name, &result, &live);
	buf_add(text, buf_text(&live.text), live.text.len);
	*ok = result.ok;
	snprintf(why, 512, "%s", result.message);
	kit_result_release(&result);
	buf_release(&live.text);
	(void)pthread_mutex_destroy(&live.lock);
	free(work);
	return e;
}

enum err sync_ask(struct sync *y, struct actor_tools *tools, const char *target, atomic_int *cancel, struct buf *text, bool *ok, char why[512])
{
	const struct conf_target *t = conf_target(y->s->conf, target);
	enum err e;

	if (!t)
		return err_set(ERR_NOT_FOUND, "There is no target %s.", target);
	e = begin_test(y);
	if (e)
		return e;
	e = run_test(y, tools, t, cancel, text, ok, why);
	(void)pthread_mutex_lock(&y->lock);
	y->testing = false;
	(void)pthread_mutex_unlock(&y->lock);
	return e;
}

enum err sync_test(struct sync *y, struct actor_tools *t, const char *target, struct buf *text, bool *ok, char why[512])
{
	return sync_ask(y, t, target, &y->stop, text, ok, why);
}

void sync_wait(struct sync *y, uint64_t *seen, int64_t timeout_us)
{
	int64_t until = clock_boot() + timeout_us;

	(void)pthread_mutex_lock(&y->lock);
	while (y->news == *seen && !y->stop && clock_boot() < until)
		wait_until(y, until);
	*seen = y->news;
	(void)pthread_mutex_unlock(&y->lock);
}
