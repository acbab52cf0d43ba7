/* Rules, their explanation, pre-approvals. */
#include <string.h>

#include "base/clock.h"
#include "web/api/api.h"
#include "web/preapproval.h"

static bool rule_shown(struct req *r, const struct rule *rule)
{
	return req_role_on(r, rule->path) >= ROLE_VIEW;
}

/* GET /api/v1/sites/:site/roles?path= : the rules on paths that he may view; with path, those that speak for it */
enum err api_roles(struct req *r)
{
	struct answer a;

	answer_begin(&a);
	json_out_name(&a.out, "items");
	json_out_begin(&a.out, '[');
	for (size_t i = 0; i < rules_count(r->rules); i++) {
		const struct rule *rule = rules_at(r->rules, i);

		if (!rule_shown(r, rule) || (r->has_path && !path_covers(rule->path, r->path)))
			continue;
		json_out_begin(&a.out, '{');
		json_out_kstr(&a.out, "principal", rule->principal);
		json_out_kstr(&a.out, "path", rule->path.s);
		json_out_kstr(&a.out, "role", role_name(rule->role));
		json_out_end(&a.out, '}');
	}
	json_out_end(&a.out, ']');
	return answer_send(r, &a, 200);
}

enum err api_rule_wish(struct req *r, char principal[PRINCIPAL_LIMIT + 1], struct path *path, int *out)
{
	const char *text, *role_text = NULL;
	enum role role = ROLE_NONE;
	bool remove;
	enum err e = r->body ? api_text(r, "principal", true, &text) : err_set(ERR_INPUT, "The body must be a JSON object.");

	if (!e)
		e = api_path(r, "path", path);
	if (e)
		return e;
	remove = json_is_null(json_object_get(r->body, "role"));
	if (!remove)
		e = api_text(r, "role", true, &role_text);
	if (!e && !remove && !role_parse(&role, role_text))
		e = err_set(ERR_INPUT, "\"role\" is admin, sign, review, view or none; null removes the rule.");
	*out = remove ? -1 : (int)role;
	if (!e && remove && strchr(text, ':') && strlen(text) <= PRINCIPAL_LIMIT)
		memcpy(principal, text, strlen(text) + 1); /* a principal that is gone can still lose its rules */
	else if (!e)
		e = auth_principal(web_auth(r->web), tools_db(r->tools), text, principal);
	return e;
}

/* POST /api/v1/sites/:site/roles {principal, path, role} ("role": null removes the rule) */
enum err api_role_set(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	char principal[PRINCIPAL_LIMIT + 1];
	struct path path;
	int role;
	enum err e;

	e = api_act_request(r, &rq);
	if (!e)
		e = api_rule_wish(r, principal, &path, &role);
	if (!e)
		e = act_rule(r->site, r->tools, web_auth(r->web), &rq, principal, path, role, &done);
	return answer_act_send(r, e, &done, 200);
}

/* GET /api/v1/sites/:site/access?user=&path= : his own for anybody, another's for an admin on that path */
enum err api_access(struct req *r)
{
	const char *text = req_query(r, "user");
	char principal[PRINCIPAL_LIMIT + 1];
	struct person *person = NULL;
	struct buf why = BUF_INIT(1 << 20);
	struct role_answer role;
	bool enabled = true;
	struct answer a;
	enum err e = ERR_OK;

	/* Before anybody is looked up: who there is is not told either. */
	if (text && req_role_on(r, r->path) < ROLE_ADMIN && strcmp(text, r->person->who.user) != 0 && strcmp(text, r->person->who.name) != 0)
		e = err_set(ERR_DENIED, "Only an admin on %s may see why somebody else has a role there.", r->path.s);
	if (!e && text)
		e = auth_principal(web_auth(r->web), tools_db(r->tools), text, principal);
	if (!e && text && strcmp(principal, r->person->who.user) != 0) {
		if (req_role_on(r, r->path) < ROLE_ADMIN)
			e = err_set(ERR_DENIED, "Only an admin on %s may see why somebody else has a role there.", r->path.s);
		else
			e = auth_person(web_auth(r->web), tools_db(r->tools), principal, &person, &enabled);
	} else if (!e) {
		e = api_visible(r, r->path);
		person = person_ref(r->person);
	}
	if (e) {
		person_unref(person);
		return reply_error(r, e, NULL);
	}
	role = role_resolve(r->rules, &person->who, r->path);
	role_explain(r->rules, &person->who, r->path, &why);
	answer_begin(&a);
	json_out_kstr(&a.out, "user", person->who.user);
	json_out_kstr(&a.out, "path", r->path.s);
	json_out_kbool(&a.out, "enabled", enabled);
	json_out_kstr(&a.out, "role", role_name(role.role));
	json_out_name(&a.out, "rule");
	if (role.rule) {
		json_out_begin(&a.out, '{');
		json_out_kstr(&a.out, "principal", role.rule->principal);
		json_out_kstr(&a.out, "path", role.rule->path.s);
		json_out_kstr(&a.out, "role", role_name(role.rule->role));
		json_out_end(&a.out, '}');
	} else {
		json_out_null(&a.out);
	}
	json_out_kstr(&a.out, "explanation", buf_text(&why));
	buf_release(&why);
	person_unref(person);
	return answer_send(r, &a, 200);
}

struct preapprovals {
	struct req *r;
	struct json_out *out;
};

static bool preapproval_item(void *arg, const struct db_preapproval *p)
{
	struct preapprovals *l = arg;

	if (req_role_on(l->r, p->what.path) < ROLE_VIEW)
		return true;
	json_out_begin(l->out, '{');
	json_out_kstr(l->out, "path", p->what.path.s);
	json_out_kstr(l->out, "pattern", *p->what.pattern ? p->what.pattern : NULL);
	json_out_name(l->out, "largest");
	if (p->what.largest)
		json_out_int(l->out, (int64_t)p->what.largest);
	else
		json_out_null(l->out);
	answer_time(l->out, "until", p->what.until);
	json_out_kbool(l->out, "ended", preapproved_ended(&p->what, clock_wall()));
	json_out_kstr(l->out, "user", p->actor);
	answer_time(l->out, "at", p->at);
	json_out_kstr(l->out, "note", p->note);
	json_out_kint(l->out, "seq", (int64_t)p->seq);
	json_out_end(l->out, '}');
	return true;
}

/* GET /api/v1/sites/:site/preapprovals */
enum err api_preapprovals(struct req *r)
{
	struct answer a;
	struct preapprovals l = { .r = r, .out = &a.out };
	enum err e;

	answer_items(&a);
	e = db_preapproval_list(tools_db(r->tools), r->site->name, preapproval_item, &l);
	return answer_items_send(r, &a, e);
}

/* POST /api/v1/sites/:site/preapprovals {path, pattern, largest, until, note, remove} */
enum err api_preapprove(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct preapproved what;
	const char *pattern, *largest, *until;
	struct path path;
	bool remove;
	enum err e;

	e = api_act_request(r, &rq);
	if (!e)
		e = api_path(r, "path", &path);
	if (!e)
		e = api_visible(r, path);
	if (!e)
		e = api_bool(r, "remove", false, &remove);
	if (!e)
		e = api_text(r, "pattern", false, &pattern);
	if (!e)
		e = api_text(r, "largest", false, &largest);
	if (!e)
		e = api_text(r, "until", false, &until);
	if (!e)
		e = preapproval_wish(path, pattern, largest, until, &what);
	if (!e)
		e = act_preapprove(r->site, r->tools, &rq, &what, remove, &done);
	return answer_act_send(r, e, &done, 200);
}
