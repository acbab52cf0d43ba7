/* Who somebody is: login, logout, his account and the places where he is logged in. */
#include "base/clock.h"
#include "view/show.h"
#include "web/pages/pages.h"

static enum err show_login(struct req *r, unsigned status, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	const char *next = req_form(r, "next");

	if (!next)
		next = req_query(r, "next");
	view_set(m, VIEW_error, error);
	view_set(m, VIEW_name, req_form(r, "name"));
	view_set(m, VIEW_next, next ? address_of_ours(next) : "/");
	return reply_page(r, status, "login", "Log in", m);
}

/* GET /login?next= */
enum err page_login(struct req *r)
{
	if (r->person)
		return reply_redirect(r, address_of_ours(req_query(r, "next")));
	return show_login(r, 200, NULL);
}

/* POST /login: name, password, next */
enum err page_login_post(struct req *r)
{
	const char *name = req_form(r, "name"), *password = req_form(r, "password");
	struct person *person = NULL;
	char token[SESSION_TOKEN];
	enum err e;

	if (!name || !*name || !password || !*password)
		return show_login(r, 400, "Enter your name and your password.");
	e = auth_login(web_auth(r->web), tools_db(r->tools), name, password, r->address, &person);
	if (!e)
		e = auth_session_start(web_auth(r->web), tools_db(r->tools), person, r->address, req_header(r, "User-Agent"), token);
	person_unref(person);
	if (e == ERR_DENIED || e == ERR_INPUT || e == ERR_NOT_FOUND)
		return show_login(r, 403, arena_dup(r->arena, err_text()));
	if (e == ERR_BUSY)
		return show_login(r, 503, arena_dup(r->arena, err_text()));
	if (e)
		return e;
	/* An older session of this browser must not go on under the new name. */
	if (r->has_session && auth_session_end(web_auth(r->web), tools_db(r->tools), &r->session.id_hash) == ERR_FAILED)
		return ERR_FAILED;
	reply_cookie(r, token, false);
	return reply_redirect(r, address_of_ours(req_form(r, "next")));
}

/* POST /logout */
enum err page_logout(struct req *r)
{
	enum err e = r->has_session ? auth_session_end(web_auth(r->web), tools_db(r->tools), &r->session.id_hash) : ERR_OK;

	if (e && e != ERR_NOT_FOUND)
		return e;
	reply_cookie(r, NULL, true);
	return reply_redirect(r, "/login");
}

/* --- account ------------------------------------------------------------------------------------------------------- */

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

/* GET /account */
enum err page_account(struct req *r)
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
	return e ? e : reply_page(r, 200, "account", "Your account", m);
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
