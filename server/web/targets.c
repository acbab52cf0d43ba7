/* Where each configured target stands. */
#include "web/targets.h"

#include <string.h>

#include "base/json.h"

bool targets_see_all(struct req *r)
{
	return req_role_on(r, path_root()) >= ROLE_VIEW && role_uniform_below(r->rules, &r->person->who, path_root());
}

bool targets_progress(struct req *r, uint64_t run, const char *target, struct sync_progress *out)
{
	return r->sync && targets_see_all(r) && sync_progress(r->sync, run, target, out);
}

struct reading {
	struct target_now *list;
	size_t n;
	struct arena *a;
};

static bool take_row(void *arg, const struct db_target *row)
{
	struct reading *x = arg;

	for (size_t i = 0; i < x->n; i++) {
		struct target_now *t = &x->list[i];

		if (strcmp(t->conf->name, row->target))
			continue;
		t->state = arena_dup(x->a, row->state);
		t->number = row->number;
		t->changed_at = row->changed_at;
		t->retry_at = row->retry_at;
		t->tries = row->tries;
	}
	return true;
}

/* A file of which the viewer knows nothing is not named to him, whatever became of it. */
static bool may_see(struct req *r, const char *text)
{
	struct path path;

	if (path_parse(&path, text, strlen(text), r->arena))
		return req_role_on(r, path_root()) == ROLE_ADMIN;
	return req_role_on(r, path) >= ROLE_VIEW;
}

static void take_differences(struct req *r, struct target_now *t, const json_t *named)
{
	size_t i;
	json_t *item;

	t->differences = arena_alloc(r->arena, (json_array_size(named) + 1) * sizeof *t->differences);
	json_array_foreach(named, i, item) {
		const char *what = json_string_value(json_object_get(item, "what")), *path = json_string_value(json_object_get(item, "path"));
		const char *signer = json_string_value(json_object_get(item, "signer"));

		if (!what || !path || !may_see(r, path))
			continue;
		t->differences[t->n_differences++] = (struct target_difference){ arena_dup(r->arena, what), arena_dup(r->arena, path),
			signer && *signer ? arena_dup(r->arena, signer) : NULL };
	}
}

static enum err take_report(struct req *r, struct target_now *t)
{
	struct db_target_report report;
	json_t *v = NULL;
	enum err e = db_target_report_get(tools_db(r->tools), r->site->name, t->conf->name, &report, r->arena);

	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	e = json_parse(&v, report.body, strlen(report.body));
	if (e)
		return e;
	take_differences(r, t, json_object_get(v, "named"));
	json_decref(v);
	t->has_report = targets_see_all(r) || t->n_differences || report.rolled_back;
	t->report_at = report.at;
	t->report_number = report.number;
	t->report_good = !report.since;
	t->report_since = report.since;
	t->rolled_back = report.rolled_back;
	t->report_old = t->number > report.number;
	t->report_bad = targets_see_all(r) ? report.bad : 0;
	t->report_body = report.body;
	t->report_signature = report.signature;
	return ERR_OK;
}

const struct target_difference *target_differs(const struct target_now *t, struct path path)
{
	for (size_t i = 0; i < t->n_differences && !t->report_old; i++)
		if (strcmp(t->differences[i].path, path.s) == 0)
			return &t->differences[i];
	return NULL;
}

static void set_state(struct target_now *t, uint64_t newest)
{
	if (!t->state)
		t->state = "waiting";
	/* There is a newer one, and no run has taken it there yet. */
	else if (sync_is_there(t->state) && t->number < newest)
		t->state = "waiting";
}

/* What is offered has to work; what does not says why. */
static enum err take_refusal(struct req *r, struct target_now *t)
{
	const enum err e = act_catch_up_check(r->site, tools_db(r->tools), t->conf->name, &t->held.head, r->arena);

	if (e != ERR_STALE && e != ERR_DENIED)
		return e;
	t->held_refused = arena_dup(r->arena, err_text());
	return ERR_OK;
}

enum err targets_now(struct req *r, struct target_now **out, size_t *n)
{
	const struct conf_site *cs = r->site->conf;
	struct db *db = tools_db(r->tools);
	struct reading x = { arena_alloc(r->arena, (cs->n_targets + 1) * sizeof(struct target_now)), cs->n_targets, r->arena };
	struct db_release newest;
	enum err e = db_release_get(db, r->site->name, 0, &newest, r->arena);

	if (e == ERR_NOT_FOUND)
		e = ERR_OK;
	for (size_t i = 0; i < x.n; i++)
		x.list[i] = (struct target_now){ .conf = &cs->targets[i] };
	if (!e)
		e = db_target_list(db, r->site->name, take_row, &x);
	for (size_t i = 0; i < x.n && !e; i++) {
		struct target_now *t = &x.list[i];

		set_state(t, newest.number);
		if (t->number)
			e = db_receipt_since(db, r->site->name, t->conf->name, t->number, &t->receipt, r->arena);
		if (e == ERR_NOT_FOUND)
			e = ERR_OK;
		if (t->receipt.number != t->number)
			t->receipt.number = 0;
		if (!e && req_role_on(r, path_root()) == ROLE_ADMIN)
			e = db_held_get(db, r->site->name, t->conf->name, &t->held, r->arena);
		if (e == ERR_NOT_FOUND)
			e = ERR_OK;
		if (!e && t->held.number)
			e = take_refusal(r, t);
		if (!e)
			e = take_report(r, t);
	}
	*out = x.list;
	*n = x.n;
	return e;
}

/* --- where an approval has got to -------------------------------------------------------------------------------------- */

struct approved_version reach_version(const struct catalog_entry *e)
{
	const bool stands = e->has_approved && (e->approved.approval == APPROVAL_SIGNED || e->approved.approval == APPROVAL_PREAPPROVED);

	return stands ? (struct approved_version){ e->approved.blob, e->approved.print.exec } : (struct approved_version){ .exec = false };
}

enum err reach_find(struct req *r, struct path path, const struct approved_version *v, uint64_t seq, struct reach *out)
{
	enum err e;

	*out = (struct reach){ .path = path, .version = *v };
	e = site_release_first(r->site, r->tools, path, v, seq, &out->first, r->arena);
	if (e == ERR_NOT_FOUND) {
		out->first.number = 0;
		e = site_held_until(r->site, r->tools, path, blob_id_zero(&v->blob), &out->held_until);
	}
	return e;
}

static enum err target_has(struct req *r, const struct reach *x, const struct target_now *t, bool *has)
{
	struct db_release rel;
	enum err e;

	*has = false;
	if (!t->number)
		return ERR_OK;
	/* It may have something newer than it has confirmed: but that has it, too, if nothing was approved in between. */
	if (!sync_is_there(t->state) && strcmp(t->state, "waiting")) {
		*has = x->first.number && x->first.number <= t->number;
		return ERR_OK;
	}
	e = db_release_get(tools_db(r->tools), r->site->name, t->number, &rel, r->arena);
	if (!e)
		e = site_release_has(r->site, r->tools, &rel, x->path, &x->version, has);
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* It stays in every release after the first, so the first receipt from then on is one for it. */
static enum err take_since(struct req *r, const struct reach *x, const struct target_now *t, struct reach_target *out)
{
	struct db_receipt receipt;
	enum err e;

	out->since = x->first.number && x->first.number <= t->number ? x->first.number : t->number;
	e = db_receipt_since(tools_db(r->tools), r->site->name, t->conf->name, out->since, &receipt, r->arena);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	out->since = receipt.number;
	out->confirmed_at = receipt.at;
	return ERR_OK;
}

enum err reach_at(struct req *r, const struct reach *x, const struct target_now *t, int64_t next, struct reach_target *out)
{
	enum err e;

	*out = (struct reach_target){ .state = t->state };
	e = target_has(r, x, t, &out->has_it);
	if (!e && out->has_it)
		return take_since(r, x, t, out);
	/* What the target has confirmed, or is being sent now, is not this. */
	if (!x->first.number && (sync_is_there(t->state) || !strcmp(t->state, "sending")))
		out->state = "waiting";
	if (strcmp(out->state, "sending") != 0)
		out->waits_until = x->first.number && t->retry_at ? t->retry_at : next;
	if (out->waits_until < x->held_until)
		out->waits_until = x->held_until;
	return e;
}

static bool take_any(void *arg, const struct db_run *run, const struct db_run_target *t)
{
	(void)run;
	(void)t;
	*(bool *)arg = true;
	return false;
}

enum err target_known(struct req *r, const char *name)
{
	bool known = conf_target(r->site->conf, name) != NULL;
	enum err e = known ? ERR_OK : db_run_of_target(tools_db(r->tools), r->site->name, name, 0, 1, take_any, &known);

	return e || known ? e : err_set(ERR_NOT_FOUND, "There is no target %s.", name);
}
