/* One's own sessions and API tokens. */
#include <string.h>

#include "base/clock.h"
#include "base/weaken.h"
#include "web/api/api.h"
#include "web/tokens.h"

/* --- sessions ------------------------------------------------------------------------------------------------------ */

struct session_items {
	struct req *r;
	struct json_out *o;
};

static bool session_item(void *arg, const struct db_session *s)
{
	struct session_items *x = arg;
	const bool here = x->r->has_session && sha256_equal(&s->id_hash, &x->r->session.id_hash);

	json_out_begin(x->o, '{');
	answer_hash(x->o, "id", &s->id_hash);
	json_out_kstr(x->o, "address", s->address);
	json_out_kstr(x->o, "agent", s->agent);
	answer_time(x->o, "created_at", s->created_at);
	answer_time(x->o, "seen_at", s->seen_at);
	json_out_kbool(x->o, "here", here);
	json_out_end(x->o, '}');
	return true;
}

/* GET /api/v1/sessions : his own */
enum err api_sessions(struct req *r)
{
	struct answer a;
	struct session_items x = { r, &a.out };

	answer_items(&a);
	return answer_items_send(r, &a, db_session_list(tools_db(r->tools), r->person->who.user, session_item, &x));
}

struct wanted {
	const struct sha256 *id;
	bool found;
};

static bool is_wanted(void *arg, const struct db_session *s)
{
	struct wanted *w = arg;

	w->found = sha256_equal(&s->id_hash, w->id);
	return !w->found;
}

/* POST /api/v1/sessions/end {id} or {all: true}: only his own */
enum err api_session_end(struct req *r)
{
	struct db *db = tools_db(r->tools);
	struct sha256 id;
	struct wanted w = { &id, false };
	const char *text;
	bool all;
	enum err e = api_bool(r, "all", false, &all);

	if (!e)
		e = api_text(r, "id", !all, &text);
	if (!e && all) {
		e = auth_session_end_all(web_auth(r->web), db, r->person->who.user);
	} else if (!e) {
		if (!hex_parse(id.b, sizeof id.b, text))
			e = err_set(ERR_INPUT, "\"id\" is not the id of a session.");
		if (!e)
			e = db_session_list(db, r->person->who.user, is_wanted, &w);
		if (!e)
			e = w.found || WEAK(session_own) ? auth_session_end(web_auth(r->web), db, &id) : err_set(ERR_NOT_FOUND, "You have no such session.");
	}
	return e ? reply_error(r, e, NULL) : reply_empty(r, 204);
}

/* --- tokens -------------------------------------------------------------------------------------------------------- */

static bool token_item(void *arg, const struct db_token *t)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kstr(o, "id", t->id);
	json_out_kstr(o, "user", t->principal);
	json_out_kstr(o, "label", t->label);
	json_out_kstr(o, "role", t->role <= ROLE_ADMIN ? role_name((enum role)t->role) : "none");
	json_out_kstr(o, "site", *t->site ? t->site : NULL);
	json_out_kstr(o, "path", t->path);
	answer_time(o, "created_at", t->created_at);
	answer_time(o, "expires_at", t->expires_at);
	answer_time(o, "used_at", t->used_at);
	json_out_kstr(o, "used_from", *t->used_from ? t->used_from : NULL);
	json_out_kbool(o, "expired", t->expires_at <= clock_wall());
	json_out_end(o, '}');
	return true;
}

/* GET /api/v1/tokens?all=1 : his own; all: those of others too that he may revoke */
enum err api_tokens(struct req *r)
{
	struct answer a;
	uint64_t all;
	enum err e = req_number(r, "all", 0, 1, 0, &all);

	answer_items(&a);
	if (!e)
		e = tokens_each(r, false, token_item, &a.out);
	if (!e && all)
		e = tokens_each(r, true, token_item, &a.out);
	return answer_items_send(r, &a, e);
}

/* POST /api/v1/tokens {label, role, site, path, expires}: the answer has the text, once */
enum err api_token_add(struct req *r)
{
	const char *label, *role, *site, *expires;
	struct act_request rq;
	struct token_wish wish;
	struct token_made made;
	struct act_answer done;
	struct answer a;
	enum err e = api_act_request(r, &rq);

	if (!e)
		e = api_text(r, "label", true, &label);
	if (!e)
		e = api_text(r, "role", false, &role);
	if (!e)
		e = api_text(r, "site", false, &site);
	if (!e)
		e = api_text(r, "expires", false, &expires);
	if (!e)
		e = token_wish(r, label, role, site, expires, &wish);
	if (!e)
		e = act_token_add(web_installation(r->web), r->tools, &rq, &wish, &made, &done);
	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	if (*made.text) {
		json_out_kstr(&a.out, "token", made.text);
		json_out_kstr(&a.out, "token_id", made.id);
		answer_time(&a.out, "expires_at", wish.expires_at);
	}
	answer_act(&a.out, &done);
	explicit_bzero(&made, sizeof made);
	return answer_send(r, &a, 200);
}

/* POST /api/v1/tokens/revoke {token} */
enum err api_token_revoke(struct req *r)
{
	const char *id;
	struct act_request rq;
	struct act_answer done;
	enum err e = api_act_request(r, &rq);

	if (!e)
		e = api_text(r, "token", true, &id);
	if (!e)
		e = act_token_revoke(web_installation(r->web), r->tools, &rq, id, &done);
	return answer_act_send(r, e, &done, 200);
}
