/* Sync: both clocks, the plan, force, targets, runs, releases; and one run with its output. */
#include <string.h>

#include "acts/turn.h"
#include "base/utf8.h"
#include "base/clock.h"
#include "view/show.h"
#include "web/history.h"
#include "web/holds.h"
#include "web/pages/pages.h"
#include "web/targets.h"

#define PLAN_SHOWN 200
#define RUNS_SHOWN 20
#define RELEASES_SHOWN 10
#define DIFFERENCES_SHOWN 20
#define OUTPUT_SHOWN (64 * 1024)

static const char *reason_words(const char *trigger)
{
	static const struct {
		const char *name, *words;
	} words[] = { { "quiet", "the quiet period is over" }, { "longest", "the longest interval is over" }, { "forced", "asked for" },
		{ "retry", "a target does not hold the release yet" }, { "released", "a hold ends" }, { "take-down", "files are taken down" } };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(words[i].name, trigger) == 0)
			return words[i].words;
	return trigger;
}

void page_run_badge(struct view_map *m, const char *state)
{
	static const struct {
		const char *state, *shape, *word;
	} badges[] = { { "ok", "signed", "ok" }, { "nothing", "unsigned", "nothing new" }, { "running", "running", "running" },
		{ "failed", "failed", "failed" }, { "interrupted", "failed", "interrupted" }, { "active", "signed", "active" },
		{ "confirmed", "signed", "confirmed" }, { "unconfirmed", "failed", "unconfirmed" }, { "sent", "failed", "sent" }, { "waiting", "waiting", "waiting" } };

	for (size_t i = 0; i < sizeof badges / sizeof *badges; i++)
		if (strcmp(badges[i].state, state) == 0) {
			show_badge(m, badges[i].shape, badges[i].word);
			return;
		}
	show_badge(m, "waiting", "unknown");
}

const char *page_run_trigger(struct req *r, const struct db_run *run)
{
	return *run->actor ? arena_printf(r->arena, "%s by %s", reason_words(run->trigger), page_person(r, run->actor)) : reason_words(run->trigger);
}

/* For admins of the whole site: what is held back, and too many files that would go. */
static void guard_model(struct req *r, struct view_map *m, const struct sluice *s)
{
	if (req_role_on(r, path_root()) < ROLE_ADMIN)
		return;
	if (s->kept)
		view_set(m, VIEW_kept_text, arena_printf(r->arena, "%s held back.", count_text(r->arena, s->kept, "change")));
	if (s->too_many && !s->confirmed) {
		show_hex(m, VIEW_removal, s->removal.b, sizeof s->removal.b);
		view_set(m, VIEW_removal_count, count_text(r->arena, s->removed, "file"));
	}
}

static enum err holds_model(struct req *r, struct view_map *m)
{
	struct view_list *l = view_set_list(m, VIEW_holds);
	struct db_hold *list;
	size_t n;
	enum err e = holds_seen(r, &list, &n);

	for (size_t i = 0; i < n && !e; i++) {
		struct view_map *row = view_list_add(l);

		view_set(row, VIEW_path, list[i].path.s);
		view_set(row, VIEW_what, path_is_root(list[i].path) ? "The whole site" : list[i].path.s);
		view_set(row, VIEW_actor, page_person(r, list[i].actor));
		view_set(row, VIEW_reason, list[i].note);
		show_time(row, VIEW_until, list[i].until, clock_wall());
		view_set_bool(row, VIEW_can_change, req_role_on(r, list[i].path) == ROLE_ADMIN);
		view_set(row, VIEW_op, page_op(r));
	}
	return e;
}

static enum err plan_model(struct req *r, struct view_map *m)
{
	struct view_list *l = view_set_list(m, VIEW_plan);
	size_t count[3] = { 0 }, shown = 0, all = 0;
	struct site_plan plan;
	enum err e;

	e = site_plan(r->site, r->tools, &plan);
	for (size_t i = 0; !e && i < plan.plan.n; i++) {
		const struct plan_item *it = &plan.plan.items[i];
		struct view_map *row;
		struct path p;

		if (req_role_on(r, it->path) < ROLE_VIEW)
			continue;
		all++;
		count[it->kind]++;
		if (shown == PLAN_SHOWN)
			continue;
		shown++;
		row = view_list_add(l);
		p = path_copy(it->path, r->arena);
		view_set(row, VIEW_kind, plan_kind_name(it->kind));
		view_set(row, VIEW_word, it->kind == PLAN_ADD ? "added" : it->kind == PLAN_CHANGE ? "changed" : "removed");
		view_set(row, VIEW_path, p.s);
		view_set(row, VIEW_href, page_href(r, p, false));
		view_set(row, VIEW_actor, *plan.who[i].user ? page_person(r, plan.who[i].user) : "pre-approved");
	}
	if (!e) {
		guard_model(r, m, &plan.sluice);
		show_hex(m, VIEW_plan_digest, plan.digest.b, sizeof plan.digest.b);
		view_set_bool(m, VIEW_plan_empty, all == 0);
		view_set(m, VIEW_plan_count, count_text(r->arena, all, "file"));
		view_set(m, VIEW_added, arena_printf(r->arena, "%zu", count[PLAN_ADD]));
		view_set(m, VIEW_changed, arena_printf(r->arena, "%zu", count[PLAN_CHANGE]));
		view_set(m, VIEW_removed, arena_printf(r->arena, "%zu", count[PLAN_REMOVE]));
		if (all > shown)
			view_set_int(m, VIEW_plan_more, (int64_t)(all - shown));
	}
	site_plan_release(&plan);
	return e;
}

struct rows {
	struct req *r;
	struct view_list *list;
	uint64_t last, live;
	size_t n;
	bool totals;
};

static void difference_rows(struct req *r, struct view_map *row, const struct target_now *t)
{
	struct view_list *l = view_set_list(row, VIEW_differences);
	struct view_map *m;

	for (size_t i = 0; i < t->n_differences && i < DIFFERENCES_SHOWN; i++) {
		const struct target_difference *d = &t->differences[i];

		m = view_list_add(l);
		view_set(m, VIEW_word, d->what);
		view_set(m, VIEW_path, d->path);
		view_set(m, VIEW_actor, d->signer ? page_person(r, d->signer) : NULL);
	}
}

/* What the receiver found: with the time, since the next one may find something else. */
static void report_model(struct req *r, struct view_map *row, const struct target_now *t)
{
	const char *count = t->report_bad ? count_text(r->arena, t->report_bad, "difference") : "differences", *found = "";

	/* What a row lacks it would take from the page. */
	view_set(row, VIEW_trouble_text, NULL);
	view_set(row, VIEW_check, NULL);
	if (!t->has_report)
		return;
	if (t->report_good) {
		view_set(row, VIEW_check, arena_printf(r->arena, "Every live file was read at %s, and is as it was signed.", time_exact(r->arena, t->report_at)));
		return;
	}
	if (t->report_bad || t->n_differences || !t->rolled_back)
		found = arena_printf(r->arena, "%s at %s found %s from what was signed in release %llu%s.", t->conf->name, time_exact(r->arena, t->report_at), count,
		    (unsigned long long)t->report_number, t->report_old ? ", which is no longer live" : "");
	if (t->rolled_back)
		found = arena_printf(r->arena, "Somebody made the release before release %llu live on %s by hand. %s", (unsigned long long)t->report_number, t->conf->name, found);
	view_set(row, VIEW_trouble_text, arena_printf(r->arena, "%s%sProduction differs since %s.", found, *found ? " " : "", time_exact(r->arena, t->report_since)));
	difference_rows(r, row, t);
}

void page_target_badge(struct view_map *m, const char *state)
{
	show_badge(m, sync_is_there(state) ? "signed" : !strcmp(state, "sending") ? "running" : !strcmp(state, "waiting") ? "waiting" : "failed", state);
}

const char *page_target_href(struct req *r, const char *name)
{
	return addr(r, arena_printf(r->arena, "/targets/%s", name), NULL, NULL);
}

/* How far a kit is, for {{>far}}: words and numbers of the moment, which its events bring up to date. */
static void far_model(struct req *r, struct view_map *row, uint64_t run, const char *target)
{
	struct sync_progress far;
	const bool told = targets_progress(r, run, target, &far);

	view_set(row, VIEW_count_word, told ? arena_printf(r->arena, "%s when this page was made", page_far(r, &far)) : NULL);
	view_set(row, VIEW_max, NULL);
	if (told && far.total) {
		view_set_int(row, VIEW_value, far.done);
		view_set_int(row, VIEW_max, far.total);
	}
}

static void target_row(struct rows *l, const struct target_now *t, const struct sync_status *st)
{
	struct arena *a = l->r->arena;
	struct view_map *row = view_list_add(l->list);
	const int64_t next = t->retry_at ? t->retry_at : st->next.due == WINDOW_NEVER ? 0 : st->next.due;
	char rel[32];

	view_set(row, VIEW_name, t->conf->name);
	page_target_badge(row, t->state);
	view_set(row, VIEW_href, page_target_href(l->r, t->conf->name));
	view_set(row, VIEW_kit, req_role_on(l->r, path_root()) == ROLE_ADMIN ? t->conf->kit : NULL);
	if (t->number)
		view_set_int(row, VIEW_release, (int64_t)t->number);
	show_time(row, VIEW_at, t->changed_at, clock_wall());
	if (t->retry_at) {
		clock_relative(t->retry_at, clock_wall(), rel);
		view_set(row, VIEW_sentence, arena_printf(a, "Tried %u times; next try %s.", t->tries, rel));
	} else if (!strcmp(t->state, "waiting") && next) {
		clock_relative(next, clock_wall(), rel);
		view_set(row, VIEW_sentence, arena_printf(a, "Waits for the next sync, %s.", rel));
	} else if (t->receipt.number) {
		view_set(row, VIEW_sentence, arena_printf(a, "Signed for at %s.", time_exact(a, t->receipt.at)));
	}
	view_set_bool(row, VIEW_sending, !strcmp(t->state, "sending"));
	far_model(l->r, row, st->run, t->conf->name);
	report_model(l->r, row, t);
	view_set_bool(row, VIEW_ahead, t->held.number != 0);
	if (t->held.number) {
		view_set_int(row, VIEW_number, (int64_t)t->held.number);
		show_hex(row, VIEW_sha256, t->held.head.b, sizeof t->held.head.b);
		show_time(row, VIEW_since, t->held.at, clock_wall());
		view_set(row, VIEW_refused, t->held_refused);
		view_set(row, VIEW_op, page_op(l->r));
	}
	if (t->number > l->live && sync_is_there(t->state))
		l->live = t->number;
}

static enum err target_rows(struct rows *l)
{
	struct target_now *list;
	struct sync_status st;
	size_t n;
	enum err e = targets_now(l->r, &list, &n);

	sync_status(l->r->sync, &st);
	for (size_t i = 0; i < n && !e; i++)
		target_row(l, &list[i], &st);
	return e;
}

static const char *counts_words(struct req *r, const struct db_run *run)
{
	const struct {
		uint64_t n;
		const char *word;
	} parts[] = { { run->added, "added" }, { run->changed, "changed" }, { run->removed, "removed" } };
	const char *out = "";

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (parts[i].n)
			out = arena_printf(r->arena, "%s%s%llu %s", out, *out ? ", " : "", (unsigned long long)parts[i].n, parts[i].word);
	return out;
}

static bool run_row(void *arg, const struct db_run *run)
{
	struct rows *l = arg;
	struct req *r = l->r;
	struct view_map *row = view_list_add(l->list);

	view_set_int(row, VIEW_run, (int64_t)run->run);
	view_set(row, VIEW_href, addr(r, arena_printf(r->arena, "/sync/%llu", (unsigned long long)run->run), NULL, NULL));
	page_run_badge(row, run->state);
	if (run->number)
		view_set_int(row, VIEW_release, (int64_t)run->number);
	if (l->totals)
		view_set(row, VIEW_counts, counts_words(r, run));
	show_time(row, VIEW_at, run->started_at, clock_wall());
	if (run->finished_at)
		view_set(row, VIEW_took, duration_text(r->arena, run->finished_at - run->started_at));
	view_set(row, VIEW_trigger, page_run_trigger(r, run));
	if (*run->message && l->totals)
		view_set(row, VIEW_message, arena_dup(r->arena, run->message));
	l->last = run->run;
	l->n++;
	return true;
}

static bool release_row(void *arg, const struct db_release *rel)
{
	struct rows *l = arg;
	struct view_map *row = view_list_add(l->list);

	view_set_int(row, VIEW_number, (int64_t)rel->number);
	view_set(row, VIEW_href, page_record_href(l->r, rel->seq));
	show_time(row, VIEW_at, rel->at, clock_wall());
	if (l->totals)
		view_set(row, VIEW_files, count_text(l->r->arena, rel->files_count, "file"));
	view_set_bool(row, VIEW_live, rel->number == l->live);
	/* Back to the newest: there may be approvals since. */
	if (req_role_on(l->r, path_root()) == ROLE_ADMIN)
		view_set(row, VIEW_again_href, addr(l->r, arena_printf(l->r->arena, "/rollback/%llu", (unsigned long long)rel->number), NULL, NULL));
	return true;
}

static void clocks(struct req *r, struct view_map *m)
{
	struct sync_status st;

	sync_status(r->sync, &st);
	view_set(m, VIEW_live_src, addr(r, "/events", NULL, arena_printf(r->arena, "run=%llu&running=%d", (unsigned long long)st.run, st.running)));
	if (st.running) {
		struct view_map *now = view_set_map(m, VIEW_now);

		struct db_run run;

		/* Before it sends anything it has no number: the last one's would lead to the run before. */
		view_set(now, VIEW_href, NULL);
		if (st.run && db_run_get(tools_db(r->tools), r->site->name, st.run, &run, r->arena) == ERR_OK && !run.finished_at) {
			view_set_int(now, VIEW_run, (int64_t)st.run);
			view_set(now, VIEW_href, addr(r, arena_printf(r->arena, "/sync/%llu", (unsigned long long)st.run), NULL, NULL));
		}
	} else if (st.next.due != WINDOW_NEVER) {
		show_time(m, VIEW_next, st.next.due, clock_wall());
		const char *why = reason_words(window_reason_name(st.next.reason));
		const bool waits = st.next.reason == WINDOW_QUIET || st.next.reason == WINDOW_LONGEST;
		view_set(m, VIEW_next_word, waits ? arena_printf(r->arena, "when %s", why) : why);
	}
	if (st.next.at_latest != WINDOW_NEVER)
		show_time(m, VIEW_latest, st.next.at_latest, clock_wall());
	if (st.unconfirmed_since && !st.pending_since)
		show_time(m, VIEW_unconfirmed, st.unconfirmed_since, clock_wall());
	if (st.pending_since)
		show_time(m, VIEW_pending_since, st.pending_since, clock_wall());
	view_set_bool(m, VIEW_export_behind, st.export_behind);
	view_set(m, VIEW_quiet_text, period_text(r->arena, st.quiet_us));
	view_set(m, VIEW_longest_text, period_text(r->arena, st.longest_us));
	if (*st.trouble && req_role_on(r, path_root()) == ROLE_ADMIN)
		view_set(m, VIEW_trouble_text, arena_dup(r->arena, st.trouble));
}

/* "web1:0f… publishes this site (this server); web2:81… waits, heard of 3 s ago". For admins, where there are several. */
static enum err servers_model(struct req *r, struct view_map *m)
{
	struct turn_member *list;
	const char *text = "";
	size_t n;
	enum err e;

	if (!turn_shared(r->site) || req_role_on(r, path_root()) < ROLE_ADMIN)
		return ERR_OK;
	e = turn_list(r->site, tools_db(r->tools), &list, &n, r->arena);
	for (size_t i = 0; i < n && !e; i++)
		text = arena_printf(r->arena, "%s%s%s %s%s%s", text, *text ? "; " : "", list[i].process, i ? "waits" : "publishes this site", list[i].me ? " (this server)" : "",
		    list[i].me ? "" : list[i].seen_us < 0 ? ", and has stopped" : arena_printf(r->arena, ", heard of %lld s ago", (long long)(list[i].seen_us / CLOCK_SECOND)));
	if (*text)
		view_set(m, VIEW_servers_text, text);
	return e;
}

static enum err sync_page(struct req *r, unsigned status, const char *error, const char *went_well, const char *failed)
{
	struct view_map *m = view_map_new(r->arena);
	struct db *db = tools_db(r->tools);
	struct rows targets = { .r = r, .list = view_set_list(m, VIEW_targets) };
	struct rows runs = { .r = r, .list = view_set_list(m, VIEW_runs), .totals = targets_see_all(r) };
	struct rows releases = { .r = r, .list = view_set_list(m, VIEW_releases), .totals = targets_see_all(r) };
	uint64_t before;
	enum err e = req_number(r, "before", 1, INT64_MAX, 0, &before);

	if (!e)
		e = servers_model(r, m);
	if (!e)
		e = plan_model(r, m);
	if (!e)
		e = holds_model(r, m);
	if (!e)
		e = target_rows(&targets);
	if (!e)
		e = db_run_list(db, r->site->name, before, RUNS_SHOWN, run_row, &runs);
	releases.live = targets.live;
	if (!e)
		e = db_release_list(db, r->site->name, 0, RELEASES_SHOWN, release_row, &releases);
	if (e)
		return e;
	if (runs.n == RUNS_SHOWN && runs.last > 1)
		view_set(m, VIEW_runs_href, addr(r, "/sync", NULL, arena_printf(r->arena, "before=%llu", (unsigned long long)runs.last)));
	clocks(r, m);
	view_set_bool(m, VIEW_can_force, req_role_on(r, path_root()) == ROLE_ADMIN);
	if (req_role_on(r, path_root()) < ROLE_ADMIN)
		view_set(m, VIEW_why_href, page_why(r, path_root()));
	view_set(m, VIEW_op, page_op(r));
	view_set(m, VIEW_error, error);
	if (r->method == METHOD_POST)
		view_set(m, VIEW_reason, req_form(r, "reason"));
	page_notice(r, m);
	if (went_well)
		view_set(m, VIEW_notice, went_well);
	if (failed)
		view_set(m, VIEW_trouble_text, failed);
	return reply_page(r, status, "sync", "Sync", m);
}

enum err page_sync(struct req *r)
{
	return sync_page(r, 200, NULL, NULL, NULL);
}

/* Back to the page, or the page with what was wrong. */
static enum err after(struct req *r, enum err e, const struct act_answer *done)
{
	switch (e) {
	case ERR_OK:
		return page_done(r, "/sync", NULL, NULL, done);
	case ERR_INPUT:
	case ERR_TOO_BIG:
		return sync_page(r, 400, arena_dup(r->arena, err_text()), NULL, NULL);
	case ERR_STALE:
	case ERR_NOT_FOUND:
		return sync_page(r, 409, arena_dup(r->arena, err_text()), NULL, NULL);
	case ERR_DENIED:
		return sync_page(r, 403, arena_dup(r->arena, err_text()), NULL, NULL);
	default:
		return reply_error(r, e, NULL);
	}
}

/* POST /s/:site/sync/hold {op, path, until, reason}; remove=1 lifts it */
enum err page_hold(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	const char *reason = req_form(r, "reason");
	int64_t until = 0;
	enum err e = page_act_request(r, &rq);

	if (!e && !r->has_path)
		e = err_set(ERR_INPUT, "Which file or directory? “/” is the whole site.");
	if (!e && !req_form(r, "remove"))
		e = hold_until(req_form(r, "until"), &until);
	if (!e && reason)
		rq.note = reason;
	if (!e)
		e = act_hold(r->site, r->tools, &rq, r->path, until, &done);
	return after(r, e, &done);
}

/* POST /s/:site/sync/catch-up {op, reason, target, head} */
enum err page_catch_up(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct sha256 head;
	const char *reason = req_form(r, "reason"), *target = req_form(r, "target"), *text = req_form(r, "head");
	enum err e = page_act_request(r, &rq);

	if (!e && (!target || !text || !hex_parse(head.b, sizeof head.b, text)))
		e = err_set(ERR_INPUT, "The form is not complete. Open the sync page again.");
	if (!e) {
		rq.note = reason ? reason : "";
		e = act_catch_up(r->site, r->tools, &rq, target, &head, &done);
	}
	return after(r, e, &done);
}

/* POST /s/:site/sync/removal {op, reason, list} */
enum err page_removal(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct sha256 list;
	const char *reason = req_form(r, "reason"), *text = req_form(r, "list");
	enum err e = page_act_request(r, &rq);

	if (!e && (!text || !hex_parse(list.b, sizeof list.b, text)))
		e = err_set(ERR_INPUT, "The form is not complete. Open the sync page again.");
	if (!e) {
		rq.note = reason ? reason : "";
		e = act_confirm_removal(r->site, r->tools, &rq, &list, &done);
	}
	return after(r, e, &done);
}

/* POST /s/:site/sync/force {op, reason, plan} */
enum err page_force(struct req *r)
{
	const char *op = req_form(r, "op"), *reason = req_form(r, "reason"), *plan = req_form(r, "plan");
	struct act_request rq = { .actor = r->person, .note = reason ? reason : "", .address = r->address };
	struct sha256 digest;
	struct act_answer done;
	enum err e;

	if (!op || !uuid_parse(&rq.op, op) || !plan || !hex_parse(digest.b, sizeof digest.b, plan))
		return reply_error(r, err_set(ERR_INPUT, "The form is not complete. Open the sync page again."), NULL);
	if (!*rq.note)
		return sync_page(r, 400, "Say why it cannot wait: the reason is recorded.", NULL, NULL);
	e = act_force(r->site, r->tools, &rq, &digest, &done);
	if (e == ERR_STALE)
		return sync_page(r, 409, arena_dup(r->arena, err_text()), NULL, NULL);
	if (e)
		return reply_error(r, e, NULL);
	return page_done(r, "/sync", NULL, NULL, &done);
}

/* POST /s/:site/sync/test {target} */
enum err page_target_test(struct req *r)
{
	const char *name = req_form(r, "target"), *said = NULL;
	struct buf text = BUF_INIT(1 << 20);
	char why[512];
	bool ok = false;
	enum err e = sync_test(r->sync, r->tools, name ? name : "", &text, &ok, why);

	if (!e)
		said = arena_printf(r->arena, "The test of %s %s: %s", name, ok ? "went well" : "failed", ok ? buf_text(&text) : why);
	buf_release(&text);
	return e ? reply_error(r, e, NULL) : sync_page(r, 200, NULL, ok ? said : NULL, ok ? NULL : said);
}

/* --- one run ----------------------------------------------------------------------------------------------------------- */

struct outputs {
	struct req *r;
	struct view_list *list;
	bool admin;
	size_t n, good;
};

static bool run_target_row(void *arg, const struct db_run_target *t)
{
	struct outputs *l = arg;
	struct req *r = l->r;
	struct view_map *row = view_list_add(l->list);
	const size_t cut = t->output_len > OUTPUT_SHOWN ? t->output_len - OUTPUT_SHOWN : 0;
	struct buf live = BUF_INIT(OUTPUT_SHOWN * 8), text = BUF_INIT(OUTPUT_SHOWN * 8);
	bool end = true;

	view_set(row, VIEW_name, arena_dup(r->arena, t->target));
	view_set(row, VIEW_href, page_target_href(r, t->target));
	page_run_badge(row, t->state);
	show_time(row, VIEW_at, t->started_at, clock_wall());
	if (t->finished_at) {
		view_set(row, VIEW_took, duration_text(r->arena, t->finished_at - t->started_at));
		view_set(row, VIEW_exit, arena_printf(r->arena, "%d", t->exit_status));
	}
	view_set_bool(row, VIEW_sending, !t->finished_at);
	far_model(r, row, t->run, t->target);
	if (!l->admin)
		view_set(row, VIEW_output, "(the output is for admins of the whole site)");
	else if (!t->finished_at && sync_output(r->sync, tools_db(r->tools), t->run, t->target, 0, &live, &end) == ERR_OK)
		utf8_visible(&text, buf_text(&live), live.len, true);
	else
		utf8_visible(&text, t->output + cut, t->output_len - cut, true);
	if (l->admin)
		view_set(row, VIEW_output, arena_dup(r->arena, buf_text(&text)));
	view_set_bool(row, VIEW_output_cut, l->admin && cut > 0);
	buf_release(&live);
	buf_release(&text);
	l->n++;
	l->good += sync_is_there(t->state);
	return true;
}

static enum err run_load(struct req *r, struct db_run *run)
{
	uint64_t number;
	enum err e = req_segment_number(r, "run", &number);

	if (!e)
		e = db_run_get(tools_db(r->tools), r->site->name, number, run, r->arena);
	return e == ERR_NOT_FOUND ? err_set(e, "There is no such run.") : e;
}

enum err page_run(struct req *r)
{
	struct view_map *m = view_map_new(r->arena);
	struct outputs l = { .r = r, .list = view_set_list(m, VIEW_targets), .admin = req_role_on(r, path_root()) == ROLE_ADMIN };
	const char *tail;
	struct db_run run;
	enum err e = run_load(r, &run);

	if (!e)
		e = db_run_target_list(tools_db(r->tools), r->site->name, run.run, run_target_row, &l);
	if (e)
		return e;
	view_set_int(m, VIEW_run, (int64_t)run.run);
	view_set(m, VIEW_why_href, l.admin ? NULL : page_why(r, path_root()));
	page_run_badge(m, run.state);
	if (run.number) {
		view_set_int(m, VIEW_release, (int64_t)run.number);
		view_set(m, VIEW_sentence, arena_printf(r->arena, "Release %llu is on %zu of %s.", (unsigned long long)run.number, l.good,
		    count_text(r->arena, l.n, "target")));
	}
	view_set(m, VIEW_trigger, reason_words(run.trigger));
	if (*run.actor)
		view_set(m, VIEW_actor, page_person(r, run.actor));
	if (*run.reason)
		view_set(m, VIEW_reason, run.reason);
	show_time(m, VIEW_at, run.started_at, clock_wall());
	show_time(m, VIEW_finished, run.finished_at, clock_wall());
	if (run.finished_at)
		view_set(m, VIEW_took, duration_text(r->arena, run.finished_at - run.started_at));
	if (targets_see_all(r)) {
		view_set(m, VIEW_added, arena_printf(r->arena, "%llu", (unsigned long long)run.added));
		view_set(m, VIEW_changed, arena_printf(r->arena, "%llu", (unsigned long long)run.changed));
		view_set(m, VIEW_removed, arena_printf(r->arena, "%llu", (unsigned long long)run.removed));
		if (*run.message)
			view_set(m, VIEW_message, run.message);
	}
	tail = arena_printf(r->arena, "/sync/%llu/events", (unsigned long long)run.run);
	if (!run.finished_at) {
		view_set(m, VIEW_live_src, addr(r, tail, NULL, NULL));
		view_set(m, VIEW_refresh, PAGE_REFRESH);
	}
	return reply_page(r, 200, "run", arena_printf(r->arena, "Sync run %llu", (unsigned long long)run.run), m);
}
