/* The thread of a site that compares what was told with what is. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "notice/internal.h"
#include "view/view.h"

#define LOOK (10 * CLOCK_SECOND) /* between looks without news */
#define RUN_PATIENCE (60 * CLOCK_SECOND) /* what ends in one run is one message, unless the run takes longer than that */
#define TROUBLE_PATIENCE (30 * CLOCK_SECOND) /* a database that restarts is no news */
#define FIRST_RETRY (10 * CLOCK_SECOND)
#define LONGEST_RETRY (60 * 60 * CLOCK_SECOND)
#define SITE_FACTS 2 /* that are told as NOTICE_SYNCS: no sync can run; the last one was stopped */

/* Why the last run that was to cut a release cut none: somebody has to look first. */
struct halt {
	bool on;
	char word[2 + 8]; /* NOTICE_SYNCS, and which reason: another list is another event */
	char why[1024];
	int64_t at;
};

struct notice {
	const struct conf *conf;
	const struct conf_site *site;
	struct sync *sync;
	struct db *db;
	pthread_t thread;
	atomic_int stop; /* ends a program that is sending, too */
	int64_t looked; /* boot clock */
	int64_t trouble_since; /* boot clock; 0: none */
	int64_t news_since; /* boot clock: that a run under way has brought, and nobody was told; 0: none */
	struct halt halt; /* as far as the runs up to this one say */
	uint64_t judged;
};

struct target_now {
	struct notice_item item;
	const char *word; /* for it, in what a channel was told */
	const char *why; /* NULL: what the last run said */
	bool settled; /* else it is being sent to, or was never: what was told stays */
};

/* How things stand. */
struct look {
	struct notice *n;
	struct arena *a;
	struct target_now *targets; /* one of each configured one, SITE_FACTS, and then what is live on each */
	size_t n_conf, n_targets;
	uint64_t run;
	const char *why; /* what the last run said, "" if it has not failed */
	bool running, patient; /* a run is on; and what it brought is not told yet */
	bool news; /* for a channel */
};

static struct target_now *halt_of(const struct look *l)
{
	return &l->targets[l->n_conf + 1];
}

static struct target_now *live_on(const struct look *l, size_t i)
{
	return &l->targets[l->n_conf + SITE_FACTS + i];
}

static bool take_target(void *arg, const struct db_target *t)
{
	struct look *l = arg;

	for (size_t i = 0; i < l->n_conf; i++) {
		struct target_now *now = &l->targets[i];

		if (strcmp(now->item.target, t->target))
			continue;
		/* What was found in a release that is gone says nothing of the one that is live now. */
		live_on(l, i)->item.release = t->number;
		now->item.failed = !strcmp(t->state, "failed") || !strcmp(t->state, "sent") || !strcmp(t->state, "unconfirmed");
		now->item.release = t->number;
		now->item.since = t->changed_at;
		now->item.next = t->retry_at;
		/* One that the server itself broke off is tried again at once: not yet a failure. */
		now->settled = now->item.failed ? t->retry_at > t->changed_at : sync_is_there(t->state);
	}
	return true;
}

static void take_syncs(struct look *l, const struct sync_status *st)
{
	struct target_now *now = &l->targets[l->n_conf];
	struct notice *n = l->n;

	if (!*st->trouble)
		n->trouble_since = 0;
	else if (!n->trouble_since)
		n->trouble_since = clock_boot();
	now->item = (struct notice_item){ .target = NOTICE_SYNCS, .failed = *st->trouble, .release = st->release, .since = st->now };
	if (now->item.failed)
		now->item.since -= clock_boot() - n->trouble_since;
	now->settled = !now->item.failed || clock_boot() - n->trouble_since >= TROUBLE_PATIENCE;
	now->why = arena_dup(l->a, st->trouble);
	now->word = NOTICE_SYNCS;
}

struct newest {
	struct arena *a;
	struct db_run run; /* run 0: there is none */
};

static bool take_run(void *arg, const struct db_run *run)
{
	struct newest *x = arg;

	x->run = *run;
	x->run.trigger = arena_dup(x->a, run->trigger);
	x->run.state = arena_dup(x->a, run->state);
	x->run.message = arena_dup(x->a, run->message);
	return false;
}

static bool take_run_target(void *arg, const struct db_run_target *t)
{
	(void)t;
	*(bool *)arg = true;
	return false;
}

static void set_halt(struct halt *out, const struct db_run *run)
{
	struct sha256 sum;

	out->on = true;
	out->at = run->finished_at;
	snprintf(out->why, sizeof(out->why), "%s", run->message);
	sha256_of(&sum, out->why, strlen(out->why));
	snprintf(out->word, sizeof(out->word), NOTICE_SYNCS "%02x%02x%02x%02x", sum.b[0], sum.b[1], sum.b[2], sum.b[3]);
}

/*
 * A run that failed and was sent to nobody was stopped before it cut anything: too many files would go, or not what an admin was
 * shown. That holds until a run cuts a release, or finds that there is none to cut: retries and take-downs do not come to it.
 * Each run is looked at once.
 */
static enum err take_runs(struct look *l)
{
	struct notice *n = l->n;
	struct newest x = { .a = l->a };
	uint64_t before = 0;
	enum err e;

	do {
		bool sent = false;

		x.run.run = 0;
		e = db_run_list(n->db, n->site->name, before, 1, take_run, &x);
		if (e || !x.run.run)
			break;
		if (!before) {
			l->run = x.run.run;
			l->why = !strcmp(x.run.state, "failed") ? x.run.message : "";
		}
		before = x.run.run;
		if (before <= n->judged)
			break;
		if (!strcmp(x.run.state, "failed")) {
			e = db_run_target_list(n->db, n->site->name, before, take_run_target, &sent);
			if (!e && !sent) {
				set_halt(&n->halt, &x.run);
				break;
			}
		}
		if (!e && strcmp(x.run.trigger, "retry") && strcmp(x.run.trigger, "take-down")) {
			n->halt.on = false;
			break;
		}
	} while (!e);
	if (!e)
		n->judged = l->run;
	return e;
}

static enum err take_halt(struct look *l, const struct sync_status *st)
{
	const struct halt *halt = &l->n->halt;
	const enum err e = take_runs(l);

	*halt_of(l) = (struct target_now){ .word = halt->word, .why = halt->why, .settled = true,
		.item = { .target = NOTICE_SYNCS, .failed = halt->on, .release = st->release, .since = halt->on ? halt->at : st->now } };
	return e;
}

static enum err take_live(struct look *l)
{
	struct db_target_report report;
	enum err e = ERR_OK;

	for (size_t i = 0; i < l->n_conf && !e; i++) {
		struct target_now *now = live_on(l, i);

		e = db_target_report_get(l->n->db, l->n->site->name, now->item.target, &report, l->a);
		if (e == ERR_NOT_FOUND)
			e = ERR_OK;
		now->settled = report.at && report.number >= now->item.release;
		now->item = (struct notice_item){ .target = now->item.target, .live = true, .failed = report.since, .differences = report.bad, .release = report.number,
			.since = report.since ? report.since : report.at };
	}
	return e;
}

/* The word for it in the list "a b! *", "": none. What halted the syncs has another one for each reason. */
static const char *told_word(const struct look *l, const char *list, const struct target_now *now)
{
	const bool halt = now == halt_of(l);

	for (size_t n; *list; list += n + (list[n] == ' ')) {
		n = strcspn(list, " ");
		if (halt ? *list == '*' && n > 1 : n == strlen(now->word) && !strncmp(list, now->word, n))
			return arena_printf(l->a, "%.*s", (int)n, list);
	}
	return "";
}

static int64_t delay(unsigned tries)
{
	int64_t d = FIRST_RETRY;

	while (--tries && d < LONGEST_RETRY)
		d *= 2;
	return d < LONGEST_RETRY ? d : LONGEST_RETRY;
}

/* And the one that is in it afterwards. */
static const char *next_word(const struct target_now *now, const char *was)
{
	return !now->settled ? was : now->item.failed ? now->word : "";
}

static void add_why(const struct look *l, struct notice_message *m, const struct target_now *now)
{
	const char *why = now->why ? now->why : l->why;

	if (*m->why && strcmp(m->why, why) != 0)
		why = arena_printf(l->a, "%s; %s", m->why, why);
	m->why = why;
}

/* What the channel would be told, in m; and what it knows afterwards. */
static const char *differences(const struct look *l, const char *told, struct notice_item *items, struct notice_message *m)
{
	const struct target_now *site = &l->targets[l->n_conf];
	const char *failing = "";
	bool site_fails = false, site_told = false;

	m->items = items;
	m->why = "";
	for (size_t i = 0; i < SITE_FACTS; i++)
		site_fails |= *next_word(&site[i], told_word(l, told, &site[i])) != '\0';
	for (size_t i = 0; i < l->n_targets; i++) {
		const struct target_now *now = &l->targets[i];
		const char *was = told_word(l, told, now), *is = next_word(now, was);
		const bool of_site = now >= site && now < site + SITE_FACTS;

		if (*is)
			failing = arena_printf(l->a, "%s%s%s", failing, *failing ? " " : "", is);
		/* The syncs of a site are well again when nothing stops them any more. */
		if (!strcmp(is, was) || (of_site && !*is && site_fails))
			continue;
		if (*is && !now->item.live)
			add_why(l, m, now);
		if (!of_site || !site_told)
			items[m->n++] = now->item;
		site_told |= of_site;
	}
	return failing;
}

static enum err tell(struct look *l, const struct notice_channel *ch)
{
	struct notice *n = l->n;
	struct notice_message m = { .conf = n->conf, .site = n->site, .run = l->run, .at = clock_wall() };
	struct notice_item *items = arena_alloc(l->a, l->n_targets * sizeof(*items));
	struct db_notice row;
	const char *failing;
	enum err e = db_notice_get(n->db, n->site->name, &ch->key, &row, l->a);

	/* Further away than any retry: the wall clock was set back. */
	if (e || (row.retry_at > m.at && row.retry_at <= m.at + LONGEST_RETRY))
		return e;
	failing = differences(l, row.failing, items, &m);
	l->news |= m.n > 0;
	/* What could not be told is not overtaken by a target's being sent to again: that is seen when it ends. */
	if (l->running ? !m.n || l->patient : !m.n && !row.tries)
		return ERR_OK;
	FAILPOINT(notice_due);
	/* What could not be told has been overtaken: then nothing waits any more. */
	if (m.n && notice_send(&m, ch, &n->stop)) {
		if (n->stop)
			return ERR_OK;
		row.tries++;
		row.retry_at = m.at + delay(row.tries);
		row.why = arena_dup(l->a, err_text());
		log_event(LOG_LEVEL_WARN, "notice.failed", "site", n->site->name, "channel", ch->shown, "tries", log_u64(row.tries), "why", row.why, NULL);
	} else {
		if (m.n) {
			log_event(LOG_LEVEL_INFO, "notice.sent", "site", n->site->name, "channel", ch->shown, "failing", failing, NULL);
			row.told_at = m.at;
		}
		row.failing = failing;
		row.tries = 0;
		row.retry_at = 0;
		row.why = "";
	}
	FAILPOINT_OR(e, notice_told);
	if (!e)
		e = db_notice_put(n->db, n->site->name, &ch->key, &row);
	FAILPOINT_OR(e, notice_row);
	return e;
}

static enum err look(struct notice *n, const struct sync_status *st)
{
	const int64_t now = clock_boot();
	struct look l = { .n = n, .a = arena_new(), .n_conf = n->site->n_targets, .n_targets = 2 * n->site->n_targets + SITE_FACTS, .why = "" };
	struct notice_channel ch;
	enum err e;

	l.targets = arena_alloc(l.a, l.n_targets * sizeof(*l.targets));
	for (size_t i = 0; i < n->site->n_targets; i++) {
		l.targets[i].word = l.targets[i].item.target = live_on(&l, i)->item.target = n->site->targets[i].name;
		live_on(&l, i)->word = arena_printf(l.a, "%s!", n->site->targets[i].name);
	}
	l.running = st->running;
	l.patient = !n->news_since || now - n->news_since < RUN_PATIENCE;
	take_syncs(&l, st);
	e = db_target_list(n->db, n->site->name, take_target, &l);
	if (!e)
		e = take_live(&l);
	if (!e)
		e = take_halt(&l, st);
	for (size_t i = 0; !e && !n->stop && notice_channel(n->site, i, &ch); i++)
		e = tell(&l, &ch);
	if (!l.running || !l.news)
		n->news_since = 0;
	else if (!n->news_since)
		n->news_since = now;
	n->looked = clock_boot();
	arena_free(l.a);
	return e;
}

static void *watch(void *arg)
{
	struct notice *n = arg;
	struct sync_status st;
	bool failed = false;
	uint64_t seen = 0;

	while (!n->stop) {
		sync_status(n->sync, &st);
		/* During a run each line of a kit's output wakes us. Who waits for its turn knows nothing. */
		if (!st.waits && (!st.running || clock_boot() - n->looked >= LOOK)) {
			const enum err e = look(n, &st);

			if (e && !failed)
				log_event(LOG_LEVEL_WARN, "notice.unknown", "site", n->site->name, "why", err_text(), NULL);
			failed = e;
		}
		sync_wait(n->sync, &seen, LOOK);
	}
	return NULL;
}

enum err notice_start(struct notice **out, const struct conf *conf, const struct conf_site *site, struct sync *y, const struct db_address *address)
{
	struct view_set *set = NULL;
	struct notice_channel ch;
	struct notice *n;
	enum err e;

	*out = NULL;
	if (!notice_channel(site, 0, &ch))
		return ERR_OK;
	/* A template with a mistake is found now, not when something fails. */
	e = view_load_text(&set, conf->templates);
	if (e)
		return e;
	view_free(set);
	n = mem_alloc(sizeof(*n));
	*n = (struct notice){ .conf = conf, .site = site, .sync = y };
	e = db_open(&n->db, address);
	if (!e && pthread_create(&n->thread, NULL, watch, n))
		e = err_set(ERR_FAILED, "A thread cannot be started");
	if (e) {
		db_close(n->db);
		free(n);
		return e;
	}
	*out = n;
	return ERR_OK;
}

void notice_stop(struct notice *n)
{
	if (!n)
		return;
	n->stop = 1;
	sync_poke(n->sync);
	(void)pthread_join(n->thread, NULL);
	db_close(n->db);
	free(n);
}
