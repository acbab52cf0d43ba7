/*
 * What a receiver found when it read every live file, as its kit brought it: judged against the releases of this server,
 * and kept. A report is a word of production about a time: one that is older than what is known changes nothing.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/weaken.h"
#include "sync/internal.h"

#define CLOCK_AHEAD (10 * 60 * CLOCK_SECOND) /* of production: one from next year would be the last one for a year */

static enum err credible(struct site *s, struct actor_tools *t, const struct receiver_report *r, struct arena *a)
{
	const unsigned long long number = r->number;
	struct release_papers papers;
	struct db_release rel;
	enum err e;

	if (r->at > clock_wall() + CLOCK_AHEAD)
		return err_set(ERR_DENIED, "production's clock is ahead of ours by more than ten minutes");
	e = db_release_get(tools_db(t), s->name, r->number, &rel, a);
	if (e == ERR_NOT_FOUND)
		return err_set(ERR_DENIED, "it is about release %llu, which this server has not cut", number);
	if (!e)
		e = release_papers(s, t, &rel, &papers, a);
	if (e)
		return e;
	/* Before a restored server cut it once more, another one may have had that number. */
	if (papers.has_head && sha256_equal(&papers.digest, &r->head))
		return ERR_OK;
	return err_set(ERR_DENIED, "it is about another release %llu than this server's", number);
}

static void forget(struct receiver_report *r)
{
	free(r->text);
	free(r->signature);
	*r = (struct receiver_report){ .at = 0 };
}

static void forget_held(struct receiver_holds *h)
{
	free(h->receipt);
	free(h->signature);
	*h = (struct receiver_holds){ .at = 0 };
}

/* It may be one that was accepted and whose receipt was lost: only what this server never cut is unknown. */
static enum err settle_held(struct site *s, struct actor_tools *t, struct receiver_holds *h, struct arena *a)
{
	struct release_papers papers;
	struct db_release rel;
	enum err e;

	if (!h->receipt)
		return ERR_OK;
	e = db_release_get(tools_db(t), s->name, h->number, &rel, a);
	if (!e)
		e = release_papers(s, t, &rel, &papers, a);
	h->unknown = e == ERR_NOT_FOUND || (!e && papers.has_head && !sha256_equal(&papers.digest, &h->head));
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err held_put(struct db *db, const char *site, const char *target, const struct kit_result *r)
{
	const struct receiver_holds *h = &r->held;

	/* With a receipt for what was sent now, that is what it holds. */
	if (!h->receipt || (h->unknown && r->receipt))
		return r->receipt ? db_held_remove(db, site, target) : ERR_OK;
	if (!h->unknown)
		return db_held_remove(db, site, target);
	return db_held_put(db, site, &(struct db_held){ .target = target, .at = h->at, .number = h->number, .head = h->head, .receipt = h->receipt,
	    .signature = h->signature });
}

enum err report_settle(struct site *s, struct actor_tools *t, struct kit_result *r, struct live *live)
{
	struct arena *a;
	enum err e;

	a = arena_new();
	e = settle_held(s, t, &r->held, a);
	if (e)
		forget_held(&r->held);
	if (!e && r->report.text)
		e = credible(s, t, &r->report, a);
	arena_free(a);
	if (e == ERR_DENIED && !WEAK(report_credible)) {
		(void)pthread_mutex_lock(&live->lock);
		buf_fmt(&live->text, "The report of production was not taken: %s.\n", err_text());
		(void)pthread_mutex_unlock(&live->lock);
		log_event(LOG_LEVEL_WARN, "sync.report.refused", "site", s->name, "target", live->target, "why", err_text(), NULL);
		forget(&r->report);
	}
	/* Not judged is not believed. */
	if (e && e != ERR_DENIED)
		forget(&r->report);
	return e == ERR_DENIED ? ERR_OK : e;
}

static enum err put_event(struct db *db, const char *site, const char *target, const struct db_target_report *now)
{
	char detail[256];

	if (now->since)
		snprintf(detail, sizeof(detail), "%s: %llu live files differ from release %llu%s", target, (unsigned long long)now->bad,
		    (unsigned long long)now->number, now->rolled_back ? "; the release before was made live by hand" : "");
	else
		snprintf(detail, sizeof(detail), "%s: every live file is as release %llu has it", target, (unsigned long long)now->number);
	return db_event_add(db, &(struct db_event){ .site = site, .at = clock_wall(), .kind = now->since ? "production-differs" : "production-well",
	    .detail = detail });
}

enum err report_put(struct db *db, const char *site, const char *target, const struct kit_result *r, bool *news)
{
	const struct receiver_report *p = &r->report;
	struct db_target_report now = { .target = target, .at = p->at, .number = p->number, .bad = p->bad, .rolled_back = p->rolled_back,
		.body = p->text, .signature = p->signature };
	struct arena *a = arena_new();
	struct db_target_report last;
	enum err e = ERR_OK;

	*news = false;
	if (p->text)
		e = db_target_report_get(db, site, target, &last, a);
	if (e == ERR_NOT_FOUND)
		e = ERR_OK;
	if (e || !p->text || (p->at <= last.at && !WEAK(report_newer)))
		goto out;
	now.since = !now.bad && !now.rolled_back ? 0 : last.since ? last.since : now.at;
	*news = !now.since != !last.since;
	e = db_target_report_put(db, site, &now);
	if (!e && *news)
		e = put_event(db, site, target, &now);
out:
	arena_free(a);
	return e;
}
