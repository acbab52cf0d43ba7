/* Sync: the clocks, the plan, force, runs, releases, targets. */
#include <string.h>

#include "acts/turn.h"
#include "web/api/api.h"
#include "web/targets.h"

static void run_members(struct json_out *o, const struct db_run *run)
{
	json_out_kint(o, "run", (int64_t)run->run);
	json_out_kint(o, "release", (int64_t)run->number);
	json_out_kstr(o, "trigger", run->trigger);
	json_out_kstr(o, "user", *run->actor ? run->actor : NULL);
	json_out_kstr(o, "reason", run->reason);
	answer_time(o, "started_at", run->started_at);
	answer_time(o, "finished_at", run->finished_at);
	json_out_kstr(o, "state", run->state);
}

/* How many files a release touched is a total, and what failed may name any of them: for those only who may view the whole site. */
static void run_totals(struct req *r, struct json_out *o, const struct db_run *run)
{
	const bool all = targets_see_all(r);

	json_out_kstr(o, "message", all ? run->message : NULL);
	if (!all)
		return;
	json_out_kint(o, "added", (int64_t)run->added);
	json_out_kint(o, "changed", (int64_t)run->changed);
	json_out_kint(o, "removed", (int64_t)run->removed);
}

void answer_report(struct req *r, struct json_out *o, const struct target_now *t)
{
	json_out_name(o, "report");
	if (!t->has_report) {
		json_out_null(o);
		return;
	}
	json_out_begin(o, '{');
	answer_time(o, "at", t->report_at);
	json_out_kint(o, "release", (int64_t)t->report_number);
	if (targets_see_all(r))
		json_out_kint(o, "differences", (int64_t)t->report_bad);
	answer_time(o, "since", t->report_since);
	json_out_kbool(o, "rolled_back", t->rolled_back);
	json_out_name(o, "items");
	json_out_begin(o, '[');
	for (size_t i = 0; i < t->n_differences; i++) {
		json_out_begin(o, '{');
		json_out_kstr(o, "what", t->differences[i].what);
		json_out_kstr(o, "path", t->differences[i].path);
		json_out_kstr(o, "user", t->differences[i].signer);
		json_out_end(o, '}');
	}
	json_out_end(o, ']');
	json_out_end(o, '}');
}

/* How far it is, while it runs and if it says so. Like all numbers of files, for those who see the whole site. */
static void progress_members(struct req *r, struct json_out *o, uint64_t run, const char *target)
{
	struct sync_progress far;
	const bool told = targets_progress(r, run, target, &far);

	json_out_name(o, "done");
	if (told)
		json_out_int(o, far.done);
	else
		json_out_null(o);
	json_out_name(o, "total");
	if (told && far.total)
		json_out_int(o, far.total);
	else
		json_out_null(o);
}

/* waits_until: the next try, or the next sync. */
static void target_item(struct req *r, struct json_out *o, const struct target_now *t, const struct sync_status *st)
{
	const int64_t next = t->retry_at ? t->retry_at : st->next.due == WINDOW_NEVER ? 0 : st->next.due;
	const bool there = sync_is_there(t->state) || !strcmp(t->state, "sending");

	json_out_begin(o, '{');
	json_out_kstr(o, "name", t->conf->name);
	json_out_kstr(o, "kit", req_role_on(r, path_root()) == ROLE_ADMIN ? t->conf->kit : NULL);
	json_out_kint(o, "release", (int64_t)t->number);
	json_out_kstr(o, "state", t->state);
	answer_time(o, "waits_until", there ? 0 : next);
	progress_members(r, o, st->run, t->conf->name);
	json_out_kint(o, "tries", t->tries);
	answer_time(o, "retry_at", t->retry_at);
	answer_time(o, "changed_at", t->changed_at);
	json_out_kbool(o, "confirmed", t->receipt.number != 0);
	answer_time(o, "confirmed_at", t->receipt.number ? t->receipt.at : 0);
	json_out_kbool(o, "receiver", *t->conf->receiver_key);
	answer_report(r, o, t);
	json_out_name(o, "unknown");
	if (t->held.number) {
		json_out_begin(o, '{');
		json_out_kint(o, "release", (int64_t)t->held.number);
		answer_hash(o, "head", &t->held.head);
		answer_time(o, "at", t->held.at);
		json_out_kstr(o, "refused", t->held_refused);
		json_out_end(o, '}');
	} else {
		json_out_null(o);
	}
	json_out_end(o, '}');
}

static enum err target_items(struct req *r, struct json_out *o, const struct sync_status *st)
{
	struct target_now *list;
	size_t n;
	enum err e = targets_now(r, &list, &n);

	for (size_t i = 0; i < n && !e; i++)
		target_item(r, o, &list[i], st);
	return e;
}

/* Only where more than one server takes part, for admins: the first has the turn. */
static enum err servers(struct req *r, struct json_out *o)
{
	struct turn_member *list;
	size_t n;
	enum err e;

	if (!turn_shared(r->site) || req_role_on(r, path_root()) < ROLE_ADMIN)
		return ERR_OK;
	e = turn_list(r->site, tools_db(r->tools), &list, &n, r->arena);
	if (e)
		return e;
	json_out_name(o, "servers");
	json_out_begin(o, '[');
	for (size_t i = 0; i < n; i++) {
		json_out_begin(o, '{');
		json_out_kstr(o, "server", list[i].process);
		json_out_kint(o, "ticket", (int64_t)list[i].ticket);
		json_out_kbool(o, "turn", i == 0);
		json_out_kbool(o, "here", list[i].me);
		json_out_kbool(o, "stopped", list[i].seen_us < 0);
		json_out_kint(o, "seen_seconds", list[i].seen_us < 0 ? 0 : list[i].seen_us / 1000000);
		json_out_end(o, '}');
	}
	json_out_end(o, ']');
	return ERR_OK;
}

/* GET /api/v1/sites/:site/sync */
enum err api_sync(struct req *r)
{
	struct sync_status st;
	struct answer a;
	enum err e;

	sync_status(r->sync, &st);
	answer_begin(&a);
	json_out_kstr(&a.out, "site", r->site->name);
	answer_time(&a.out, "now", st.now);
	answer_time(&a.out, "next", st.next.due == WINDOW_NEVER ? 0 : st.next.due);
	answer_time(&a.out, "at_latest", st.next.at_latest == WINDOW_NEVER ? 0 : st.next.at_latest);
	json_out_kstr(&a.out, "because", window_reason_name(st.next.reason));
	json_out_kint(&a.out, "quiet_seconds", st.quiet_us / 1000000);
	json_out_kint(&a.out, "longest_seconds", st.longest_us / 1000000);
	json_out_kbool(&a.out, "running", st.running);
	json_out_kint(&a.out, "run", (int64_t)st.run);
	json_out_kint(&a.out, "release", (int64_t)st.release);
	answer_time(&a.out, "held_until", st.held_until);
	answer_time(&a.out, "pending_since", st.pending_since);
	answer_time(&a.out, "unconfirmed_since", st.unconfirmed_since);
	json_out_kbool(&a.out, "export_behind", st.export_behind);
	json_out_kstr(&a.out, "trouble", *st.trouble && req_role_on(r, path_root()) == ROLE_ADMIN ? st.trouble : NULL);
	e = servers(r, &a.out);
	json_out_name(&a.out, "targets");
	json_out_begin(&a.out, '[');
	if (!e)
		e = target_items(r, &a.out, &st);
	json_out_end(&a.out, ']');
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}

/* GET /api/v1/sites/:site/targets */
enum err api_targets(struct req *r)
{
	struct sync_status st;
	struct answer a;

	sync_status(r->sync, &st);
	answer_items(&a);
	return answer_items_send(r, &a, target_items(r, &a.out, &st));
}

/* POST /api/v1/sites/:site/targets/:name/test {} : asks its kit, and answers when it has */
enum err api_target_test(struct req *r)
{
	const char *name = req_segment(r, "name");
	struct buf text = BUF_INIT(1 << 20);
	struct answer a;
	char why[512];
	bool ok;
	enum err e = sync_test(r->sync, r->tools, name, &text, &ok, why);

	if (e) {
		buf_release(&text);
		return reply_error(r, e, NULL);
	}
	answer_begin(&a);
	json_out_kstr(&a.out, "name", name);
	json_out_kbool(&a.out, "ok", ok);
	json_out_kstr(&a.out, "error", ok ? NULL : why);
	json_out_name(&a.out, "output");
	json_out_strn(&a.out, buf_text(&text), text.len);
	buf_release(&text);
	return answer_send(r, &a, 200);
}

/* POST /api/v1/sites/:site/targets/:name/catch-up {reason, head} */
enum err api_catch_up(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct sha256 head;
	const char *text;
	enum err e = api_act_request(r, &rq);

	if (!e)
		e = api_text(r, "reason", true, &rq.note);
	if (!e)
		e = api_text(r, "head", true, &text);
	if (!e && !hex_parse(head.b, sizeof head.b, text))
		e = err_set(ERR_INPUT, "\"head\" is the digest that the target's member \"unknown\" shows.");
	if (!e)
		e = act_catch_up(r->site, r->tools, &rq, req_segment(r, "name"), &head, &done);
	return answer_act_send(r, e, &done, 202);
}

static void plan_items(struct req *r, struct json_out *o, const struct site_plan *plan)
{
	json_out_name(o, "items");
	json_out_begin(o, '[');
	for (size_t i = 0; i < plan->plan.n; i++) {
		const struct plan_item *it = &plan->plan.items[i];
		const struct plan_who *who = &plan->who[i];

		if (req_role_on(r, it->path) < ROLE_VIEW)
			continue;
		json_out_begin(o, '{');
		json_out_kstr(o, "change", plan_kind_name(it->kind));
		json_out_kstr(o, "path", it->path.s);
		json_out_kstr(o, "user", *who->user ? who->user : NULL);
		answer_time(o, "at", who->at);
		json_out_kint(o, "seq", (int64_t)who->seq);
		json_out_end(o, '}');
	}
	json_out_end(o, ']');
}

static enum err put_plan(struct req *r, struct json_out *o)
{
	struct site_plan plan;
	enum err e = site_plan(r->site, r->tools, &plan);

	if (!e)
		plan_items(r, o, &plan);
	if (!e && req_role_on(r, path_root()) == ROLE_ADMIN) {
		answer_hash(o, "digest", &plan.digest);
		json_out_kint(o, "held_back", (int64_t)plan.sluice.kept);
		json_out_kint(o, "removed", (int64_t)plan.sluice.removed);
		if (plan.sluice.too_many)
			answer_hash(o, "removal", &plan.sluice.removal);
		json_out_kbool(o, "removal_confirmed", plan.sluice.confirmed);
	}
	site_plan_release(&plan);
	return e;
}

/* GET /api/v1/sites/:site/sync/plan : his paths only; the digest is of the whole plan, and for admins */
enum err api_plan(struct req *r)
{
	struct answer a;
	enum err e;

	answer_begin(&a);
	e = put_plan(r, &a.out);
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}

/* Another plan than the one that was shown: the answer has the one of now. */
static enum err force_refused(struct req *r, enum err err)
{
	struct buf b = BUF_INIT(API_ANSWER_LIMIT);
	struct json_out o = { .b = &b };
	json_t *extra = NULL, *now = NULL;
	const char *why = arena_dup(r->arena, err_text());

	if (err != ERR_STALE)
		return reply_error(r, err, NULL);
	json_out_begin(&o, '{');
	if (!put_plan(r, &o)) {
		json_out_end(&o, '}');
		if (!buf_check(&b) && !json_parse(&now, b.p, b.len))
			extra = json_pack("{s:o}", "now", now);
	}
	buf_release(&b);
	return reply_error(r, err_set(err, "%s", why), extra);
}

/* POST /api/v1/sites/:site/sync/force {reason, plan} */
enum err api_force(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	const char *reason, *plan;
	struct sha256 digest;
	enum err e;

	e = api_act_request(r, &rq);
	if (!e)
		e = api_text(r, "reason", true, &reason);
	if (!e)
		e = api_text(r, "plan", false, &plan);
	if (!e && plan && !hex_parse(digest.b, sizeof digest.b, plan))
		e = err_set(ERR_INPUT, "\"plan\" is the digest that the plan was shown with.");
	if (!e) {
		rq.note = reason;
		e = act_force(r->site, r->tools, &rq, plan ? &digest : NULL, &done);
	}
	if (e)
		return force_refused(r, e);
	return answer_act_send(r, ERR_OK, &done, 202);
}

struct run_list {
	struct req *r;
	struct json_out *out;
	unsigned n;
	uint64_t last;
};

static bool run_item(void *arg, const struct db_run *run)
{
	struct run_list *l = arg;

	json_out_begin(l->out, '{');
	run_members(l->out, run);
	run_totals(l->r, l->out, run);
	json_out_end(l->out, '}');
	l->last = run->run;
	l->n++;
	return true;
}

static bool release_item(void *arg, const struct db_release *rel)
{
	struct run_list *l = arg;
	char commit[2 * BLOB_ID_SIZE + 1];

	hex_of(commit, rel->main_commit.b, sizeof rel->main_commit.b);
	json_out_begin(l->out, '{');
	json_out_kint(l->out, "number", (int64_t)rel->number);
	json_out_kint(l->out, "seq", (int64_t)rel->seq);
	answer_time(l->out, "at", rel->at);
	json_out_kstr(l->out, "commit", commit);
	if (req_role_on(l->r, path_root()) >= ROLE_VIEW && role_uniform_below(l->r->rules, &l->r->person->who, path_root()))
		json_out_kint(l->out, "files", (int64_t)rel->files_count);
	json_out_end(l->out, '}');
	l->last = rel->number;
	l->n++;
	return true;
}

/* What became of a run on one target. */
static void outcome_members(struct req *r, struct json_out *o, const struct db_run_target *t)
{
	json_out_kstr(o, "name", t->target);
	json_out_kstr(o, "state", t->state);
	answer_time(o, "started_at", t->started_at);
	answer_time(o, "finished_at", t->finished_at);
	json_out_kint(o, "exit_status", t->exit_status);
	progress_members(r, o, t->run, t->target);
}

static bool target_run_item(void *arg, const struct db_run *run, const struct db_run_target *t)
{
	struct run_list *l = arg;

	json_out_begin(l->out, '{');
	run_members(l->out, run);
	run_totals(l->r, l->out, run);
	json_out_name(l->out, "target");
	json_out_begin(l->out, '{');
	outcome_members(l->r, l->out, t);
	json_out_end(l->out, '}');
	json_out_end(l->out, '}');
	l->last = run->run;
	l->n++;
	return true;
}

/* One shape for both lists: newest first, `before` as cursor. target: only the runs that sent to it; NULL: all. */
static enum err numbered_list(struct req *r, bool releases, const char *target)
{
	struct answer a;
	struct run_list l = { .r = r, .out = &a.out };
	uint64_t before, limit;
	enum err e;

	e = req_number(r, "before", 1, INT64_MAX, 0, &before);
	if (!e)
		e = req_number(r, "limit", 1, 500, 50, &limit);
	if (!e && target)
		e = target_known(r, target);
	if (e)
		return reply_error(r, e, NULL);
	answer_items(&a);
	if (target)
		e = db_run_of_target(tools_db(r->tools), r->site->name, target, before, (unsigned)limit, target_run_item, &l);
	else if (releases)
		e = db_release_list(tools_db(r->tools), r->site->name, before, (unsigned)limit, release_item, &l);
	else
		e = db_run_list(tools_db(r->tools), r->site->name, before, (unsigned)limit, run_item, &l);
	return answer_page_send(r, &a, l.n == limit && l.last > 1 ? l.last : 0, e);
}

/* GET /api/v1/sites/:site/sync/runs?target=&before=&limit= */
enum err api_runs(struct req *r)
{
	return numbered_list(r, false, req_query(r, "target"));
}

/* GET /api/v1/sites/:site/releases?before=&limit= */
enum err api_releases(struct req *r)
{
	return numbered_list(r, true, NULL);
}

/* GET /api/v1/sites/:site/releases/:number */
enum err api_release(struct req *r)
{
	struct db_release rel;
	uint64_t number;
	struct answer a;
	struct run_list l = { .r = r, .out = &a.out };
	enum err e;

	e = req_segment_number(r, "number", &number);
	if (!e)
		e = db_release_get(tools_db(r->tools), r->site->name, number, &rel, r->arena);
	if (e)
		return reply_error(r, e == ERR_NOT_FOUND ? err_set(e, "There is no such release.") : e, NULL);
	answer_begin(&a);
	json_out_name(&a.out, "release");
	release_item(&l, &rel);
	return answer_send(r, &a, 200);
}

struct target_outputs {
	struct json_out *out;
	bool admin; /* the raw output of a kit names paths: admins on "/" only */
	struct req *r;
	uint64_t release;
	enum err e;
};

/* As they were signed, for ssh-keygen -Y verify -n drydock-receipt. */
static enum err receipt_members(struct target_outputs *l, const struct db_run_target *t)
{
	struct db_receipt receipt;
	enum err e = db_receipt_of_run(tools_db(l->r->tools), l->r->site->name, t->target, l->release, t->run, &receipt, l->r->arena);

	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	json_out_kstr(l->out, "receipt", receipt.receipt);
	json_out_kstr(l->out, "signature", receipt.signature);
	return ERR_OK;
}

static bool run_target_item(void *arg, const struct db_run_target *t)
{
	struct target_outputs *l = arg;

	json_out_begin(l->out, '{');
	outcome_members(l->r, l->out, t);
	if (l->admin) {
		json_out_name(l->out, "output");
		json_out_strn(l->out, t->output, t->output_len);
		if (strcmp(t->state, "confirmed") == 0)
			l->e = receipt_members(l, t);
	}
	json_out_end(l->out, '}');
	return true;
}

/* GET /api/v1/sites/:site/sync/runs/:run */
enum err api_run(struct req *r)
{
	struct db_run run;
	uint64_t number;
	struct answer a;
	struct target_outputs l = { .out = &a.out, .admin = req_role_on(r, path_root()) == ROLE_ADMIN, .r = r };
	enum err e;

	e = req_segment_number(r, "run", &number);
	if (!e)
		e = db_run_get(tools_db(r->tools), r->site->name, number, &run, r->arena);
	if (e)
		return reply_error(r, e == ERR_NOT_FOUND ? err_set(e, "There is no such run.") : e, NULL);
	answer_begin(&a);
	run_members(&a.out, &run);
	run_totals(r, &a.out, &run);
	json_out_name(&a.out, "targets");
	json_out_begin(&a.out, '[');
	l.release = run.number;
	e = db_run_target_list(tools_db(r->tools), r->site->name, number, run_target_item, &l);
	if (!e)
		e = l.e;
	json_out_end(&a.out, ']');
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}
