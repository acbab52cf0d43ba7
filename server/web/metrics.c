/*
 * metrics: /healthz and /metrics, answered from memory. Names of sites and their numbers are for an admin of the site;
 * anybody gets what concerns the process, and the oldest approval that waits, over all sites, without a name.
 */
#include <string.h>

#include "acts/turn.h"
#include "base/clock.h"
#include "base/confine.h"
#include "config.h"
#include "web/life.h"
#include "web/serve.h"

enum err serve_health(struct req *r)
{
	struct buf b = BUF_INIT(64);

	buf_str(&b, "ok\n");
	return reply_bytes(r, 200, "text/plain; charset=utf-8", &b, NULL);
}

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_fmt(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static bool admin_of(struct req *r, struct site *s)
{
	if (!r->person)
		return false;
	struct rules *rules = site_rules(s);
	bool admin = role_on(rules, &r->person->who, path_root()) == ROLE_ADMIN;
	rules_unref(rules);
	return admin;
}

static double seconds_since(int64_t t, int64_t now)
{
	return t && t < now ? (double)(now - t) / (double)CLOCK_SECOND : 0;
}

struct checked {
	struct buf *b;
	const char *site;
};

static void check_metrics(void *arg, const struct keeper_report *p)
{
	struct checked *c = arg;

	if (!p->number)
		return;
	buf_fmt(c->b, "drydock_check_findings{site=\"%s\"} %llu\n", c->site, (unsigned long long)(p->result.findings - p->result.repaired));
	buf_fmt(c->b, "drydock_check_failed{site=\"%s\"} %d\n", c->site, p->err != ERR_OK);
	buf_fmt(c->b, "drydock_check_timestamp_seconds{site=\"%s\"} %lld\n", c->site, (long long)(p->finished_at / CLOCK_SECOND));
	buf_fmt(c->b, "drydock_check_seconds{site=\"%s\"} %.3f\n", c->site, (double)(p->finished_at - p->started_at) / (double)CLOCK_SECOND);
}

static void add_checks(struct web *w, const char *site, struct buf *b)
{
	struct checked c = { b, site };

	if (w->o.keeper)
		(void)keeper_read(w->o.keeper, site, check_metrics, &c);
}

struct target_lines {
	struct buf *b;
	const char *site;
};

static void target_metrics(void *arg, const struct sync_target *t)
{
	static const char *const states[] = { "waiting", "sending", "sent", "failed", "unconfirmed", "active", "confirmed" };
	const struct target_lines *l = arg;
	const char *state = *t->state ? t->state : "waiting";

	for (size_t i = 0; i < sizeof states / sizeof *states; i++)
		buf_fmt(l->b, "drydock_target_state{site=\"%s\",target=\"%s\",state=\"%s\"} %d\n", l->site, t->name, states[i], !strcmp(states[i], state));
	buf_fmt(l->b, "drydock_target_release{site=\"%s\",target=\"%s\"} %llu\n", l->site, t->name, (unsigned long long)t->number);
	if (!t->report_at)
		return;
	buf_fmt(l->b, "drydock_production_differences{site=\"%s\",target=\"%s\"} %llu\n", l->site, t->name, (unsigned long long)t->differences);
	buf_fmt(l->b, "drydock_production_differs{site=\"%s\",target=\"%s\"} %d\n", l->site, t->name, t->differs_since != 0);
	buf_fmt(l->b, "drydock_production_read_timestamp_seconds{site=\"%s\",target=\"%s\"} %lld\n", l->site, t->name, (long long)(t->report_at / CLOCK_SECOND));
}

static void site_metrics(struct buf *b, struct site *s, const struct sync_status *st)
{
	struct catalog_counts counts;

	buf_fmt(b, "drydock_pending_seconds{site=\"%s\"} %.3f\n", s->name, seconds_since(st->pending_since, st->now));
	buf_fmt(b, "drydock_unconfirmed_seconds{site=\"%s\"} %.3f\n", s->name, seconds_since(st->unconfirmed_since, st->now));
	buf_fmt(b, "drydock_release{site=\"%s\"} %llu\n", s->name, (unsigned long long)st->release);
	buf_fmt(b, "drydock_sync_running{site=\"%s\"} %d\n", s->name, st->running);
	buf_fmt(b, "drydock_read_only{site=\"%s\"} %d\n", s->name, atomic_load(&s->read_only));
	if (turn_shared(s)) {
		buf_fmt(b, "drydock_servers{site=\"%s\"} %u\n", s->name, atomic_load(&s->servers));
		buf_fmt(b, "drydock_turn{site=\"%s\"} %d\n", s->name, !s->waits && !atomic_load(&s->turn_lost));
	}
	if (!s->catalog || catalog_count(s->catalog, path_root(), NULL, &counts))
		return;
	for (int i = 0; i < STATE_COUNT; i++)
		buf_fmt(b, "drydock_files{site=\"%s\",state=\"%s\"} %llu\n", s->name, state_name((enum file_state)i), (unsigned long long)counts.n[i]);
	buf_fmt(b, "drydock_bytes{site=\"%s\"} %llu\n", s->name, (unsigned long long)counts.bytes);
}

enum err serve_metrics(struct req *r)
{
	struct web *w = r->web;
	struct buf b = BUF_INIT(1u << 20), named = BUF_INIT(1u << 20);
	double oldest = 0, unconfirmed = 0;
	struct confine_able able;
	bool admin = false;

	for (size_t i = 0; i < w->o.n_sites; i++) {
		struct sync_status st = { 0 };
		if (w->sites[i].sync)
			sync_status(w->sites[i].sync, &st);
		double age = seconds_since(st.pending_since, st.now);
		if (age > oldest)
			oldest = age;
		age = seconds_since(st.unconfirmed_since, st.now);
		if (age > unconfirmed)
			unconfirmed = age;
		if (admin_of(r, w->sites[i].site)) {
			site_metrics(&named, w->sites[i].site, &st);
			if (w->sites[i].sync)
				sync_targets(w->sites[i].sync, target_metrics, &(struct target_lines){ &named, w->sites[i].site->name });
			add_checks(w, w->sites[i].site->name, &named);
			admin = true;
		}
	}
	if (admin) {
		add_checks(w, "installation", &named);
		confine_able(&able);
		head(&named, "drydock_kits_confined", "gauge", "What keeps kits in on this kernel: their files, the processes that they may signal.");
		buf_fmt(&named, "drydock_kits_confined{what=\"files\"} %d\ndrydock_kits_confined{what=\"processes\"} %d\n", able.files, able.processes);
	}
	head(&b, "drydock_info", "gauge", "The version that runs.");
	buf_fmt(&b, "drydock_info{version=\"%s\"} 1\n", PACKAGE_VERSION);
	head(&b, "drydock_oldest_unconfirmed_seconds", "gauge", "Age of the oldest approval that is not confirmed live on every target, over all sites.");
	buf_fmt(&b, "drydock_oldest_unconfirmed_seconds %.3f\n", unconfirmed);
	head(&b, "drydock_oldest_pending_seconds", "gauge", "Age of the oldest approval that is not yet in a release, over all sites.");
	buf_fmt(&b, "drydock_oldest_pending_seconds %.3f\n", oldest);
	head(&b, "drydock_http_requests_total", "counter", "Requests answered, by class of status.");
	for (int i = 1; i < 6; i++)
		buf_fmt(&b, "drydock_http_requests_total{class=\"%dxx\"} %llu\n", i, (unsigned long long)atomic_load(&w->by_class[i]));
	head(&b, "drydock_http_connections", "gauge", "Open connections.");
	buf_fmt(&b, "drydock_http_connections %zu\n", conns_count(w->conns));
	head(&b, "drydock_http_streams", "gauge", "Open streams of events.");
	buf_fmt(&b, "drydock_http_streams %zu\n", streams_count(w->streams));
	buf_add(&b, buf_text(&named), named.len);
	buf_release(&named);
	return reply_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8", &b, NULL);
}
