#include "check/keeper.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

#define DAY (86400 * CLOCK_SECOND)
#define HOUR (3600 * CLOCK_SECOND)

struct place {
	struct check_place place;
	bool installation;
	/* wanted; number 0: nothing is */
	uint64_t wanted;
	bool deep, repair;
	/* the last one, and the one that runs */
	struct keeper_report report, now;
	struct keeper_finding *findings, *now_findings;
	char why[512];
};

struct keeper {
	char *data;
	struct db_address database;
	struct place *places;
	size_t n;
	const char **elsewhere;
	size_t n_elsewhere;
	unsigned hour;
	uint64_t numbers;
	int64_t tonight; /* wall clock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	atomic_int stop;
};

/* --- one check ------------------------------------------------------------------------------------------------------- */

static void note(void *arg, const struct check_finding *f)
{
	struct place *p = arg;

	log_event(f->repaired ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "check.found", "site", p->place.name, "name", finding_name(f->id), "subject", f->subject,
	    "what", f->what, "repaired", f->repaired ? "yes" : "no", NULL);
	if (p->now.n_findings == KEEPER_FINDINGS)
		return;
	p->now_findings[p->now.n_findings++] = (struct keeper_finding){ f->id, mem_dup(f->subject), mem_dup(f->what), f->repaired };
}

static void findings_free(struct keeper_finding *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].subject);
		free(list[i].what);
	}
	free(list);
}

static enum err check_it(struct keeper *k, struct place *p)
{
	const struct check_options o = { .deep = p->now.deep, .repair = p->now.repair, .found = note, .arg = p, .stop = &k->stop };
	struct check_result data = { 0 };
	enum err e = db_open(&p->place.db, &k->database);

	if (e)
		return e;
	e = check_site(&p->place, &o, &p->now.result);
	if (!e && p->installation) {
		e = check_data(k->data, &o, &data);
		p->now.result.findings += data.findings;
		p->now.result.repaired += data.repaired;
	}
	db_close(p->place.db);
	p->place.db = NULL;
	return e;
}

/* With the lock held, which is let go of meanwhile. */
static void run(struct keeper *k, struct place *p)
{
	enum err e;

	p->now = (struct keeper_report){ .number = p->wanted, .started_at = clock_wall(), .deep = p->deep, .repair = p->repair };
	p->wanted = 0;
	p->deep = p->repair = false;
	p->report.running = true;
	p->now_findings = mem_array(KEEPER_FINDINGS, sizeof(*p->now_findings));
	pthread_mutex_unlock(&k->lock);
	e = check_it(k, p);
	pthread_mutex_lock(&k->lock);
	findings_free(p->findings, p->report.n_findings);
	p->report = p->now;
	p->report.findings = p->findings = p->now_findings;
	p->report.finished_at = clock_wall();
	p->report.err = e;
	snprintf(p->why, sizeof(p->why), "%.500s", e ? err_text() : "");
	p->report.why = p->why;
	log_event(e ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "check.done", "site", p->place.name, "deep", p->report.deep ? "yes" : "no", "findings",
	    log_u64(p->report.result.findings), "repaired", log_u64(p->report.result.repaired), "ms",
	    log_u64((uint64_t)(p->report.finished_at - p->report.started_at) / 1000), "why", p->why, NULL);
}

/* --- the thread ------------------------------------------------------------------------------------------------------- */

static int64_t next_night(unsigned hour, int64_t now)
{
	int64_t at = now - now % DAY + (int64_t)hour * HOUR;

	return hour > 23 ? INT64_MAX : at > now ? at : at + DAY;
}

/* The first of January 1970 was a Thursday. */
static bool is_sunday(int64_t at)
{
	return at / DAY % 7 == 3;
}

static void ask(struct keeper *k, struct place *p, bool deep, bool repair)
{
	if (!p->wanted)
		p->wanted = ++k->numbers;
	p->deep |= deep;
	p->repair |= repair;
}

static void *watch(void *arg)
{
	struct keeper *k = arg;

	pthread_mutex_lock(&k->lock);
	while (!k->stop) {
		struct place *p = NULL;
		struct timespec until;

		if (clock_wall() >= k->tonight) {
			for (size_t i = 0; i < k->n; i++)
				ask(k, &k->places[i], is_sunday(k->tonight), false);
			k->tonight = next_night(k->hour, clock_wall());
		}
		for (size_t i = 0; i < k->n; i++)
			if (k->places[i].wanted && (!p || k->places[i].wanted < p->wanted))
				p = &k->places[i];
		if (p) {
			run(k, p);
			continue;
		}
		clock_deadline(60 * CLOCK_SECOND, &until); /* the wall clock may be set */
		pthread_cond_timedwait(&k->wake, &k->lock, &until);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

enum err keeper_start(struct keeper **out, const struct keeper_options *o)
{
	struct keeper *k = mem_alloc(sizeof(*k));

	*out = NULL;
	k->data = mem_dup(o->data);
	k->database = *o->database;
	k->n = o->n_places;
	k->places = mem_array(k->n + 1, sizeof(*k->places));
	for (size_t i = 0; i < k->n; i++) {
		k->places[i].place = o->places[i];
		k->places[i].installation = strcmp(o->places[i].name, "installation") == 0;
		k->places[i].report.why = "";
	}
	k->n_elsewhere = o->n_elsewhere;
	k->elsewhere = mem_array(k->n_elsewhere + 1, sizeof(*k->elsewhere));
	for (size_t i = 0; i < k->n_elsewhere; i++)
		k->elsewhere[i] = o->elsewhere[i];
	k->hour = o->hour;
	k->tonight = next_night(k->hour, clock_wall());
	pthread_mutex_init(&k->lock, NULL);
	clock_cond_init(&k->wake);
	if (pthread_create(&k->thread, NULL, watch, k)) {
		pthread_cond_destroy(&k->wake);
		pthread_mutex_destroy(&k->lock);
		k->n = 0;
		free(k->elsewhere);
		free(k->places);
		free(k->data);
		free(k);
		return err_set(ERR_FAILED, "A thread cannot be started");
	}
	*out = k;
	return ERR_OK;
}

void keeper_stop(struct keeper *k)
{
	if (!k)
		return;
	k->stop = 1;
	pthread_mutex_lock(&k->lock);
	pthread_cond_broadcast(&k->wake);
	pthread_mutex_unlock(&k->lock);
	(void)pthread_join(k->thread, NULL);
	for (size_t i = 0; i < k->n; i++)
		findings_free(k->places[i].findings, k->places[i].report.n_findings);
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->lock);
	explicit_bzero(&k->database, sizeof(k->database));
	free(k->elsewhere);
	free(k->places);
	free(k->data);
	free(k);
}

static enum err place_named(struct keeper *k, const char *name, struct place **out)
{
	for (size_t i = 0; k && i < k->n; i++)
		if (strcmp(k->places[i].place.name, name) == 0) {
			*out = &k->places[i];
			return ERR_OK;
		}
	for (size_t i = 0; k && i < k->n_elsewhere; i++)
		if (strcmp(k->elsewhere[i], name) == 0)
			return err_set(ERR_BUSY, "Another server has the turn of %s and checks it: ask there.", name);
	return err_set(ERR_NOT_FOUND, "There is no site %s.", name);
}

enum err keeper_ask(struct keeper *k, const char *name, bool deep, bool repair, uint64_t *number)
{
	struct place *p;
	enum err e = place_named(k, name, &p);

	if (e)
		return e;
	pthread_mutex_lock(&k->lock);
	ask(k, p, deep, repair);
	*number = p->wanted;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
	return ERR_OK;
}

enum err keeper_read(struct keeper *k, const char *name, void (*fn)(void *arg, const struct keeper_report *r), void *arg)
{
	struct place *p;
	enum err e = place_named(k, name, &p);

	if (e)
		return e;
	pthread_mutex_lock(&k->lock);
	fn(arg, &p->report);
	pthread_mutex_unlock(&k->lock);
	return ERR_OK;
}
