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
	else if ((!strcmp(t->state, "confirmed") || !strcmp(t->state, "active")) && t->number < newest)
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

enum err target_since(struct req *r, const struct target_now *t, uint64_t since, uint64_t *number, int64_t *at)
{
	struct db_receipt first;
	enum err e = ERR_OK;

	*at = 0;
	*number = 0;
	if (!since || t->number < since)
		return ERR_OK;
	*number = since;
	e = db_receipt_since(tools_db(r->tools), r->site->name, t->conf->name, since, &first, r->arena);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	*number = first.number;
	*at = first.at;
	return ERR_OK;
}
