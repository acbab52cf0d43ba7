/* A person's own account: the places where he is logged in, and his API tokens. */
#include <string.h>

#include "base/clock.h"
#include "view/show.h"
#include "web/pages/pages.h"
#include "web/tokens.h"

/* --- sessions ------------------------------------------------------------------------------------------------------ */

struct session_rows {
	struct req *r;
	struct view_list *list;
	int64_t now;
	bool found; /* page_account_sessions: the id is one of his */
	const char *wanted;
	struct sha256 id;
};

/* "Firefox on Linux" from what browsers say of themselves; programs are named as they name themselves. */
static const char *agent_words(struct req *r, const char *agent)
{
	static const char *const names[][2] = { { "Firefox/", "Firefox" }, { "Edg/", "Edge" }, { "OPR/", "Opera" },
		{ "Chromium/", "Chromium" }, { "Chrome/", "Chrome" }, { "Safari/", "Safari" } };
	static const char *const systems[][2] = { { "Android", "Android" }, { "iPhone", "iPhone" }, { "iPad", "iPad" },
		{ "Windows", "Windows" }, { "Mac OS X", "macOS" }, { "Linux", "Linux" } };
	const char *name = NULL, *machine = NULL;

	for (size_t i = 0; !name && i < sizeof names / sizeof *names; i++)
		if (strstr(agent, names[i][0]))
			name = names[i][1];
	for (size_t i = 0; !machine && i < sizeof systems / sizeof *systems; i++)
		if (strstr(agent, systems[i][0]))
			machine = systems[i][1];
	if (!name)
		return *agent ? arena_dupn(r->arena, agent, strcspn(agent, " ")) : "not known";
	return machine ? arena_printf(r->arena, "%s on %s", name, machine) : name;
}

static bool session_row(void *arg, const struct db_session *s)
{
	struct session_rows *rows = arg;
	char id[SHA256_HEX];

	hex_of(id, s->id_hash.b, sizeof s->id_hash.b);
	if (rows->wanted) {
		if (strcmp(id, rows->wanted) == 0) {
			rows->found = true;
			rows->id = s->id_hash;
		}
		return true;
	}
	struct view_map *m = view_list_add(rows->list);
	view_set(m, VIEW_agent, agent_words(rows->r, s->agent));
	view_set_bool(m, VIEW_here, rows->r->has_session && sha256_equal(&s->id_hash, &rows->r->session.id_hash));
	view_set(m, VIEW_address, arena_dup(rows->r->arena, s->address));
	show_time(m, VIEW_at, s->created_at, rows->now);
	show_time(m, VIEW_seen, s->seen_at, rows->now);
	view_set(m, VIEW_id, arena_dup(rows->r->arena, id));
	return true;
}

static const char *place_words(struct req *r, const struct rules *rules)
{
	const enum role role = role_on(rules, &r->person->who, path_root());

	if (role >= ROLE_VIEW)
		return arena_printf(r->arena, "you %s", role_words(role));
	return "some parts of it";
}

/* --- tokens -------------------------------------------------------------------------------------------------------- */

struct token_rows {
	struct req *r;
	struct view_list *list;
	int64_t now;
};

static bool token_row(void *arg, const struct db_token *t)
{
	struct token_rows *rows = arg;
	struct arena *a = rows->r->arena;
	struct view_map *m = view_list_add(rows->list);

	view_set(m, VIEW_label, arena_dup(a, t->label));
	view_set(m, VIEW_who, page_person(rows->r, arena_dup(a, t->principal)));
	view_set(m, VIEW_role, t->role <= ROLE_ADMIN ? role_name((enum role)t->role) : "none");
	view_set(m, VIEW_where, *t->site ? arena_printf(a, "%s: %s", t->site, t->path) : arena_printf(a, "every site: %s", t->path));
	show_time(m, VIEW_until, t->expires_at, rows->now);
	view_set_bool(m, VIEW_expired, t->expires_at <= rows->now);
	if (t->used_at)
		show_time(m, VIEW_seen, t->used_at, rows->now);
	else
		view_set(m, VIEW_seen, NULL);
	view_set(m, VIEW_address, *t->used_from ? arena_dup(a, t->used_from) : NULL);
	view_set(m, VIEW_id, arena_dup(a, t->id));
	return true;
}

static void put_choices(struct req *r, struct view_map *m, const char *role)
{
	struct view_list *roles = view_set_list(m, VIEW_roles);

	for (int i = ROLE_VIEW; i <= ROLE_ADMIN; i++) {
		struct view_map *c = view_list_add(roles);
		view_set(c, VIEW_value, role_name((enum role)i));
		view_set(c, VIEW_word, role_words((enum role)i));
		view_set_bool(c, VIEW_here, role && strcmp(role, role_name((enum role)i)) == 0);
	}
	view_set(m, VIEW_label_value, req_form(r, "label"));
	view_set(m, VIEW_path_value, r->has_path ? r->path.s : "/");
	view_set(m, VIEW_expires_value, req_form(r, "expires") ? req_form(r, "expires") : TOKEN_EXPIRES);
	view_set(m, VIEW_op, page_op(r));
}

static enum err put_tokens(struct req *r, struct view_map *m)
{
	struct token_rows rows = { .r = r, .list = view_set_list(m, VIEW_tokens), .now = clock_wall() };
	enum err e = tokens_each(r, false, token_row, &rows);

	view_set_bool(m, VIEW_has_tokens, view_list_count(rows.list) > 0);
	rows.list = view_set_list(m, VIEW_others);
	if (!e)
		e = tokens_each(r, true, token_row, &rows);
	view_set_bool(m, VIEW_has_others, view_list_count(rows.list) > 0);
	view_set_bool(m, VIEW_can_add, strcmp(r->person->who.provider, "proxy") != 0);
	put_choices(r, m, req_form(r, "role"));
	return e;
}

/* --- the page ------------------------------------------------------------------------------------------------------ */

/* made: a token that was just made; error: why it was not */
static enum err show_account(struct req *r, unsigned status, const struct token_made *made, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	const struct web_site *sites;
	const size_t n = web_sites(r->web, &sites);
	struct buf groups = BUF_INIT(1 << 20);
	enum err e;

	for (size_t i = 0; i < r->person->who.n_groups; i++)
		buf_fmt(&groups, "%s%s", i ? ", " : "", r->person->who.groups[i]);
	view_set(m, VIEW_groups_text, arena_dup(r->arena, buf_text(&groups)));
	buf_release(&groups);
	struct view_list *places = view_set_list(m, VIEW_places);
	for (size_t i = 0; i < n; i++) {
		struct rules *rules = site_rules(sites[i].site);
		if (role_on(rules, &r->person->who, path_root()) == ROLE_ADMIN)
			view_set(m, VIEW_events_href, "/events");
		if (role_sees_below(rules, &r->person->who, path_root())) {
			struct view_map *p = view_list_add(places);
			view_set(p, VIEW_href, arena_printf(r->arena, "/s/%s/", sites[i].site->name));
			view_set(p, VIEW_name, sites[i].site->name);
			view_set(p, VIEW_role, place_words(r, rules));
		}
		rules_unref(rules);
	}
	struct session_rows rows = { .r = r, .list = view_set_list(m, VIEW_sessions), .now = clock_wall() };
	e = db_session_list(tools_db(r->tools), r->person->who.user, session_row, &rows);
	view_set_bool(m, VIEW_has_sessions, view_list_count(rows.list) > 0);
	if (!e)
		e = put_tokens(r, m);
	view_set(m, VIEW_error, error);
	if (made)
		view_set(m, VIEW_new_token, arena_dup(r->arena, made->text));
	return e ? e : reply_page(r, status, "account", "Your account", m);
}

/* GET /account */
enum err page_account(struct req *r)
{
	return show_account(r, 200, NULL, NULL);
}

/* POST /account/tokens: label, role, site, path, expires */
enum err page_account_tokens(struct req *r)
{
	struct act_request rq;
	struct token_wish wish;
	struct token_made made;
	struct act_answer done;
	enum err e = page_act_request(r, &rq);

	if (!e)
		e = token_wish(r, req_form(r, "label"), req_form(r, "role"), req_form(r, "site"), req_form(r, "expires"), &wish);
	if (!e)
		e = act_token_add(web_installation(r->web), r->tools, &rq, &wish, &made, &done);
	if (e == ERR_INPUT || e == ERR_NOT_FOUND || e == ERR_TOO_BIG)
		return show_account(r, e == ERR_INPUT ? 400 : 409, NULL, arena_dup(r->arena, err_text()));
	if (e)
		return e;
	/* The same form again: the token is there, its text is gone. */
	if (done.repeated)
		return reply_redirect(r, "/account#tokens");
	e = show_account(r, 200, &made, NULL);
	explicit_bzero(&made, sizeof made);
	return e;
}

/* POST /account/tokens/revoke: id */
enum err page_account_token_revoke(struct req *r)
{
	const char *id = req_form(r, "id");
	struct act_request rq;
	struct act_answer done;
	enum err e = page_act_request(r, &rq);

	if (!e && !id)
		e = err_set(ERR_INPUT, "Which token is to be revoked?");
	if (!e)
		e = act_token_revoke(web_installation(r->web), r->tools, &rq, id, &done);
	if (e && e != ERR_NOT_FOUND)
		return e;
	return reply_redirect(r, "/account#tokens"); /* one that is gone already is revoked */
}

/* POST /account/sessions: id of one, or all=1 */
enum err page_account_sessions(struct req *r)
{
	const char *user = r->person->who.user;
	struct session_rows rows = { .r = r, .wanted = req_form(r, "id") };
	enum err e;

	if (req_form(r, "all")) {
		e = auth_session_end_all(web_auth(r->web), tools_db(r->tools), user);
		if (e)
			return e;
		if (!r->has_session)
			return reply_redirect(r, "/account");
		reply_cookie(r, NULL, true);
		return reply_redirect(r, "/login");
	}
	if (!rows.wanted)
		return err_set(ERR_INPUT, "Which session is to end?");
	e = db_session_list(tools_db(r->tools), user, session_row, &rows);
	if (!e && rows.found)
		e = auth_session_end(web_auth(r->web), tools_db(r->tools), &rows.id);
	if (e && e != ERR_NOT_FOUND)
		return e;
	return reply_redirect(r, "/account"); /* one that is gone already has ended */
}
