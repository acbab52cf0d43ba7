/* Who is asking, sites, DryDock's own accounts and groups. */
#include <string.h>

#include "base/clock.h"
#include "web/api/api.h"

static void identity_members(struct json_out *o, const struct person *p)
{
	json_out_kstr(o, "user", p->who.user);
	json_out_kstr(o, "display", p->display);
	json_out_name(o, "groups");
	json_out_begin(o, '[');
	for (size_t i = 0; i < p->who.n_groups; i++)
		json_out_str(o, p->who.groups[i]);
	json_out_end(o, ']');
}

/* GET /api/v1/whoami */
enum err api_whoami(struct req *r)
{
	struct answer a;

	answer_begin(&a);
	identity_members(&a.out, r->person);
	if (r->by_token)
		json_out_kstr(&a.out, "token", r->person->who.limit->token);
	else if (r->has_session)
		json_out_kstr(&a.out, "csrf", r->session.csrf);
	return answer_send(r, &a, 200);
}

/* POST /api/v1/login {name, password}: sets the cookie; the answer carries the CSRF token that writes need */
enum err api_login(struct req *r)
{
	const char *name, *password;
	struct person *person = NULL;
	struct session session;
	char token[SESSION_TOKEN];
	struct answer a;
	enum err e;

	e = api_text(r, "name", true, &name);
	if (!e)
		e = api_text(r, "password", true, &password);
	if (!e && !req_patient(r))
		return ERR_RETRY;
	if (!e) {
		e = auth_login(web_auth(r->web), tools_db(r->tools), name, password, r->address, &person);
		req_wipe(r, password);
	}
	if (!e)
		e = auth_session_start(web_auth(r->web), tools_db(r->tools), person, r->address, req_header(r, "User-Agent"), token);
	person_unref(person);
	if (!e)
		e = auth_session_find(web_auth(r->web), tools_db(r->tools), token, &session);
	if (e)
		return reply_error(r, e, NULL);
	reply_cookie(r, token, false);
	answer_begin(&a);
	identity_members(&a.out, session.person);
	json_out_kstr(&a.out, "csrf", session.csrf);
	person_unref(session.person);
	return answer_send(r, &a, 200);
}

/* POST /api/v1/logout */
enum err api_logout(struct req *r)
{
	enum err e = r->has_session ? auth_session_end(web_auth(r->web), tools_db(r->tools), &r->session.id_hash) : ERR_OK;

	if (e)
		return reply_error(r, e, NULL);
	reply_cookie(r, "", true);
	return reply_empty(r, 204);
}

/* GET /api/v1/sites : those of which he may see anything */
enum err api_sites(struct req *r)
{
	const struct web_site *sites;
	const size_t n = web_sites(r->web, &sites);
	struct answer a;

	answer_begin(&a);
	json_out_name(&a.out, "items");
	json_out_begin(&a.out, '[');
	for (size_t i = 0; i < n; i++) {
		struct site *s = sites[i].site;
		struct rules *rules = site_rules(s);
		const enum role role = role_on(rules, &r->person->who, path_root());

		if (req_site_open(r, s) && (role >= ROLE_VIEW || role_sees_below(rules, &r->person->who, path_root()))) {
			json_out_begin(&a.out, '{');
			json_out_kstr(&a.out, "name", s->name);
			json_out_kstr(&a.out, "title", s->conf->title);
			json_out_kstr(&a.out, "role", role_name(role));
			json_out_kstr(&a.out, "live_url", *s->conf->live_url ? s->conf->live_url : NULL);
			json_out_kbool(&a.out, "sign_password", s->conf->sign_password);
			json_out_name(&a.out, "meanings");
			json_out_begin(&a.out, '[');
			for (size_t k = 0; k < s->conf->n_meanings; k++)
				json_out_str(&a.out, s->conf->meanings[k]);
			json_out_end(&a.out, ']');
			json_out_end(&a.out, '}');
		}
		rules_unref(rules);
	}
	json_out_end(&a.out, ']');
	return answer_send(r, &a, 200);
}

static bool user_item(void *arg, const struct db_account *account)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kstr(o, "name", account->name);
	json_out_kstr(o, "display", account->display);
	json_out_kbool(o, "enabled", account->enabled);
	answer_time(o, "created_at", account->created_at);
	json_out_end(o, '}');
	return true;
}

static bool group_item(void *arg, const char *name, uint64_t members)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kstr(o, "name", name);
	json_out_kint(o, "members", (int64_t)members);
	json_out_end(o, '}');
	return true;
}

static bool member_item(void *arg, const char *principal)
{
	json_out_str(arg, principal);
	return true;
}

/* GET /api/v1/users */
enum err api_users(struct req *r)
{
	struct answer a;

	answer_items(&a);
	return answer_items_send(r, &a, db_account_list(tools_db(r->tools), user_item, &a.out));
}

/* GET /api/v1/groups */
enum err api_groups(struct req *r)
{
	struct answer a;

	answer_items(&a);
	return answer_items_send(r, &a, db_group_list(tools_db(r->tools), group_item, &a.out));
}

/* GET /api/v1/groups/:group */
enum err api_group_members(struct req *r)
{
	struct answer a;

	answer_items(&a);
	return answer_items_send(r, &a, db_member_list(tools_db(r->tools), req_segment(r, "group"), member_item, &a.out));
}

/* POST /api/v1/users {name, password, display, enabled}: makes it or changes what is given */
enum err api_user_put(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	const char *name, *password, *display;
	bool enabled;
	enum err e;

	e = api_act_request(r, &rq);
	if (!e)
		e = api_text(r, "name", true, &name);
	if (!e)
		e = api_text(r, "password", false, &password);
	if (!e)
		e = api_text(r, "display", false, &display);
	if (!e)
		e = api_bool(r, "enabled", true, &enabled);
	if (!e)
		e = act_account_put(web_installation(r->web), r->tools, &rq, name, password, display, enabled, &done);
	auth_forget(web_auth(r->web));
	return answer_act_send(r, e, &done, 200);
}

/* POST /api/v1/groups {name, remove} */
enum err api_group_put(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	const char *name;
	bool remove;
	enum err e;

	e = api_act_request(r, &rq);
	if (!e)
		e = api_text(r, "name", true, &name);
	if (!e)
		e = api_bool(r, "remove", false, &remove);
	if (!e)
		e = act_group(web_installation(r->web), r->tools, &rq, name, remove, &done);
	auth_forget(web_auth(r->web));
	return answer_act_send(r, e, &done, 200);
}

/* POST /api/v1/groups/:group/members {principal, remove} */
enum err api_member_put(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	const char *text;
	char principal[PRINCIPAL_LIMIT + 1];
	bool remove;
	enum err e;

	e = api_act_request(r, &rq);
	if (!e)
		e = api_text(r, "principal", true, &text);
	if (!e)
		e = api_bool(r, "remove", false, &remove);
	if (!e)
		e = auth_principal(web_auth(r->web), tools_db(r->tools), text, principal);
	if (!e)
		e = act_membership(web_installation(r->web), r->tools, &rq, req_segment(r, "group"), principal, remove, &done);
	auth_forget(web_auth(r->web));
	return answer_act_send(r, e, &done, 200);
}
