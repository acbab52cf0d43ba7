/* What a change of rules would do, rules that do nothing, and what signatures need. */
#include "web/api/api.h"
#include "web/rights.h"

#define PREVIEW 200 /* items unless asked otherwise */
#define PREVIEW_MOST 10000

static void preview_item(void *arg, const struct rule_effect *e)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kstr(o, "user", e->user);
	json_out_kbool(o, "enabled", e->enabled);
	json_out_name(o, "path");
	json_out_strn(o, e->path.s, e->path.len);
	json_out_kstr(o, "before", role_name(e->before));
	json_out_kstr(o, "after", role_name(e->after));
	json_out_end(o, '}');
}

/* POST /api/v1/sites/:site/roles/preview?from=&limit= {principal, path, role}: who gains and who loses; nothing is changed */
enum err api_role_preview(struct req *r)
{
	char principal[PRINCIPAL_LIMIT + 1];
	struct rule_wish w = { .principal = principal };
	uint64_t from, limit;
	const char *refused;
	struct answer a;
	bool more;
	enum err e;

	e = api_rule_wish(r, principal, &w.path, &w.role);
	if (!e && req_role_on(r, w.path) < ROLE_VIEW)
		e = err_set(ERR_NOT_FOUND, "There is no %s.", w.path.s);
	if (!e && req_role_on(r, w.path) < ROLE_ADMIN)
		e = err_set(ERR_DENIED, "Only an admin on %s may see what a change there would do.", w.path.s);
	if (!e)
		e = req_number(r, "from", 0, INT64_MAX / 2, 0, &from);
	if (!e)
		e = req_number(r, "limit", 1, PREVIEW_MOST, PREVIEW, &limit);
	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	json_out_name(&a.out, "items");
	json_out_begin(&a.out, '[');
	e = rights_preview(r, &w, from, limit, preview_item, &a.out, &more, &refused);
	json_out_end(&a.out, ']');
	if (more)
		json_out_kint(&a.out, "next", (int64_t)(from + limit));
	json_out_kbool(&a.out, "allowed", !refused);
	json_out_kstr(&a.out, "refused", refused ? refused : "");
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}

static void lint_item(void *arg, const struct rule *rule, enum rule_doubt doubt, const struct rule *above)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kstr(o, "principal", rule->principal);
	json_out_kstr(o, "path", rule->path.s);
	json_out_kstr(o, "role", role_name(rule->role));
	json_out_kstr(o, "doubt", rule_doubt_name(doubt));
	json_out_kstr(o, "text", rule_doubt_text(doubt));
	json_out_kstr(o, "above", above ? above->path.s : NULL);
	json_out_end(o, '}');
}

/* GET /api/v1/sites/:site/roles/lint?path=&from=&limit= : rules that do nothing, where he is admin */
enum err api_role_lint(struct req *r)
{
	uint64_t from, limit, next = 0;
	struct answer a;
	enum err e = req_number(r, "from", 0, INT64_MAX / 2, 0, &from);

	if (!e)
		e = req_number(r, "limit", 1, PREVIEW_MOST, PREVIEW, &limit);
	if (e)
		return reply_error(r, e, NULL);
	answer_items(&a);
	e = rights_lint(r, from, limit, lint_item, &a.out, &next);
	return answer_page_send(r, &a, next, e);
}

/* GET /api/v1/sites/:site/requirements?path= : on paths that he may view; with path, those that speak for it */
enum err api_requirements(struct req *r)
{
	struct answer a;

	answer_items(&a);
	for (size_t i = 0; i < rules_requirements(r->rules); i++) {
		const struct requirement *q = rules_requirement_at(r->rules, i);

		if (req_role_on(r, q->path) < ROLE_VIEW || (r->has_path && !path_covers(q->path, r->path)))
			continue;
		json_out_begin(&a.out, '{');
		json_out_kstr(&a.out, "path", q->path.s);
		json_out_kint(&a.out, "reviews", (int64_t)q->reviews);
		json_out_kbool(&a.out, "not_alone", q->not_alone);
		json_out_end(&a.out, '}');
	}
	return answer_items_send(r, &a, ERR_OK);
}

/* POST /api/v1/sites/:site/requirements {path, reviews, not_alone, note}: 0 and false take it back */
enum err api_require(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct requirement q = { .reviews = 0 };
	bool bad = false;
	int64_t reviews = 0;
	enum err e = api_act_request(r, &rq);

	if (!e)
		e = api_path(r, "path", &q.path);
	if (!e)
		e = api_visible(r, q.path);
	if (!e)
		e = api_bool(r, "not_alone", false, &q.not_alone);
	if (!e)
		reviews = json_get_int(r->body, "reviews", 0, &bad);
	if (!e && (bad || reviews < 0 || reviews > REQUIRED_REVIEWS_LIMIT))
		e = err_set(ERR_INPUT, "\"reviews\" must be a number from 0 to %d.", REQUIRED_REVIEWS_LIMIT);
	q.reviews = (unsigned)reviews;
	if (!e)
		e = act_require(r->site, r->tools, &rq, &q, &done);
	return answer_act_send(r, e, &done, 200);
}

void answer_need(struct req *r, struct json_out *o, const struct sign_need *f)
{
	if (!f->need) {
		json_out_null(o);
		return;
	}
	json_out_begin(o, '{');
	json_out_name(o, "path");
	json_out_strn(o, f->path.s, f->path.len);
	json_out_kint(o, "reviews", (int64_t)f->need);
	json_out_kint(o, "have", (int64_t)f->have);
	json_out_name(o, "by");
	json_out_begin(o, '[');
	for (unsigned i = 0; i < f->have; i++)
		json_out_str(o, f->by[i]);
	json_out_end(o, ']');
	json_out_kstr(o, "text", sign_need_text(f, r->arena));
	json_out_end(o, '}');
}
