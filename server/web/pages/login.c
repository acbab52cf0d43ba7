/* Login and logout. */
#include "web/pages/pages.h"

static enum err show_login(struct req *r, unsigned status, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	const char *next = req_form(r, "next");

	if (!next)
		next = req_query(r, "next");
	view_set(m, VIEW_error, error);
	if (error)
		reply_why(r, error);
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
	if (r->by_proxy)
		return err_set(ERR_DENIED, "The proxy says who you are: log out there first.");
	if (!req_patient(r))
		return ERR_RETRY;
	e = auth_login(web_auth(r->web), tools_db(r->tools), name, password, r->address, &person);
	req_wipe(r, password);
	if (!e)
		e = auth_session_start(web_auth(r->web), tools_db(r->tools), person, r->address, req_header(r, "User-Agent"), token);
	person_unref(person);
	if (e == ERR_DENIED || e == ERR_INPUT || e == ERR_NOT_FOUND)
		return show_login(r, 403, arena_dup(r->arena, err_text()));
	if (e == ERR_WAIT)
		reply_retry_after(r);
	if (e == ERR_BUSY || e == ERR_WAIT)
		return show_login(r, e == ERR_WAIT ? 429 : 503, arena_dup(r->arena, err_text()));
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
