/*
 * answer: everything between body and handler: fields, who he is, tokens, the path, his right on it.
 */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/weaken.h"
#include "web/life.h"

void request_forget_person(struct life *l)
{
	struct req *r = &l->r;

	if (r->has_session)
		person_unref(r->session.person);
	else
		person_unref(r->person);
	r->person = NULL;
	r->has_session = false;
	r->by_token = r->by_proxy = false;
	memset(&r->session, 0, sizeof(r->session));
}

static enum err refuse_token(struct life *l, const char *why)
{
	char *text = arena_dup(l->r.arena, why);

	log_event(LOG_LEVEL_WARN, "auth.token.refused", "from", l->r.address, "why", text, NULL);
	reply_header(&l->r, "WWW-Authenticate", "Bearer");
	l->status = 401;
	return err_set(ERR_DENIED, "%s", text);
}

/* Who comes with a token is nobody but that, whatever cookie lies beside it. */
static enum err token_person(struct life *l, const char *token)
{
	struct req *r = &l->r;
	struct auth *auth = l->web->o.auth;
	enum err e;

	if (!auth_token_cached(auth, token, &r->session)) {
		if (!r->tools)
			return ERR_RETRY;
		e = auth_token_find(auth, tools_db(r->tools), token, r->address, &r->session);
		if (e == ERR_NOT_FOUND)
			return refuse_token(l, err_text());
		if (e)
			return e;
	}
	r->has_session = r->by_token = true;
	r->person = r->session.person;
	return ERR_OK;
}

/*
 * "Authorization: Bearer": on the API only, so that no page is ever shown by it; another scheme is between the browser
 * and a proxy. NULL if there is none.
 */
static enum err bearer_token(struct life *l, const char **token)
{
	const char *value = NULL;

	*token = NULL;
	if (!l->r.route || (l->r.route->needs & NEED_NO_SESSION))
		return ERR_OK; /* where it does not matter who asks */
	for (size_t i = 0; i < l->n_headers; i++) {
		const struct guard_header *h = &l->headers[i];

		if (h->name_len != 13 || strncasecmp(h->name, "Authorization", 13) != 0 || strncasecmp(h->value, "Bearer", 6) != 0 ||
		    (h->value[6] && h->value[6] != ' '))
			continue;
		if (value && !WEAK(token_two))
			return refuse_token(l, "There are two tokens.");
		value = h->value + 6;
	}
	if (!value)
		return ERR_OK;
	/* Headers do not count there; who believes to act within a token's limit would not. */
	if (l->r.local && !WEAK(token_local))
		return refuse_token(l, "On the local socket you are who the kernel says; a token is for the server's address.");
	if (!(l->r.route->needs & ROUTE_API) && !WEAK(token_pages))
		return refuse_token(l, "A token is for the addresses below /api/ only.");
	value += strspn(value, " ");
	*token = arena_dupn(l->r.arena, value, strcspn(value, " "));
	return ERR_OK;
}

/* A header that the proxy sets: ERR_INPUT if it came twice, since one of them may be the client's. "" if it is not there. */
static enum err proxy_header(const struct life *l, const char *name, const char **value)
{
	bool found = false;

	*value = "";
	for (size_t i = 0; *name && i < l->n_headers; i++) {
		const struct guard_header *h = &l->headers[i];

		if (h->name_len != strlen(name) || strncasecmp(h->name, name, h->name_len) != 0)
			continue;
		if (found && !WEAK(proxy_twice))
			return err_set(ERR_INPUT, "The proxy's header %s came twice: the proxy has to replace what a client sends.", name);
		found = true;
		*value = h->value;
	}
	return ERR_OK;
}

/* *named: the proxy says who it is. */
static enum err proxy_person(struct life *l, bool *named)
{
	const struct conf *conf = l->web->o.conf;
	struct req *r = &l->r;
	const char *name, *groups;
	enum err e = proxy_header(l, conf->proxy_user_header, &name);

	*named = false;
	if (!e)
		e = proxy_header(l, conf->proxy_groups_header, &groups);
	if (e) {
		log_event(LOG_LEVEL_WARN, "auth.proxy.refused", "from", r->address, "why", err_text(), NULL);
		return e;
	}
	if (!*name)
		return ERR_OK;
	*named = true;
	e = auth_proxy_person(l->web->o.auth, r->tools ? tools_db(r->tools) : NULL, name, groups, &r->session);
	if (e == ERR_DENIED)
		log_event(LOG_LEVEL_WARN, "auth.proxy.refused", "from", r->address, "why", err_text(), NULL);
	if (e)
		return e;
	r->has_session = r->by_proxy = true;
	r->person = r->session.person;
	return ERR_OK;
}

enum err request_person(struct life *l)
{
	struct req *r = &l->r;
	struct db *db = r->tools ? tools_db(r->tools) : NULL;
	enum err e;

	const char *token;

	request_forget_person(l);
	if ((e = bearer_token(l, &token)))
		return e;
	if (token && !(WEAK(token_cookie) && cookie_token(l)))
		return token_person(l, token);
	if (r->local) {
		if (!db)
			return ERR_RETRY;
		if (!l->conn || l->conn->uid == (uid_t)-1)
			return err_set(ERR_DENIED, "The kernel did not say who is at the other end of the socket.");
		return auth_unix_peer(l->web->o.auth, db, l->conn->uid, &r->person);
	}
	if (l->listener->kind == LISTENER_PROXY || WEAK(proxy_elsewhere)) {
		bool named;

		if ((e = proxy_person(l, &named)) || named)
			return e;
	}
	token = cookie_token(l);
	if (!token)
		return ERR_OK;
	if (l->stream || !auth_session_cached(l->web->o.auth, token, &r->session)) {
		if (!db)
			return ERR_RETRY;
		e = (l->stream ? auth_session_watch : auth_session_find)(l->web->o.auth, db, token, &r->session);
		if (e)
			return e == ERR_NOT_FOUND ? ERR_OK : e;
	}
	r->has_session = true;
	r->person = r->session.person;
	return ERR_OK;
}

static bool admin_somewhere(struct life *l)
{
	for (size_t i = 0; i < l->web->o.n_sites; i++) {
		if (!req_site_open(&l->r, l->web->sites[i].site))
			continue;
		struct rules *rules = site_rules(l->web->sites[i].site);
		bool admin = role_on(rules, &l->r.person->who, path_root()) == ROLE_ADMIN;
		rules_unref(rules);
		if (admin)
			return true;
	}
	return false;
}

enum err request_rights(struct life *l)
{
	struct req *r = &l->r;
	const struct route *route = r->route;

	if (r->rules)
		rules_unref(r->rules);
	r->rules = NULL;
	r->role = ROLE_NONE;
	/* What belongs to no site is not within a token for one. */
	if ((route->needs & ROUTE_ANY_SITE_ADMIN) && r->by_token && *r->person->who.limit->site && !WEAK(token_accounts))
		return err_set(ERR_DENIED, "This token is for the site %s only.", r->person->who.limit->site);
	if ((route->needs & ROUTE_ANY_SITE_ADMIN) && (!r->person || !admin_somewhere(l)) && !WEAK(route_any_admin))
		return err_set(ERR_DENIED, "Only an admin of a whole site may do this.");
	if (!r->site)
		return ERR_OK;
	l->acts = atomic_load(&r->site->generation);
	/* The version first: an older one beside newer rules only makes a kept page stale too soon. */
	pthread_mutex_lock(&r->site->rules_lock);
	r->rules_version = r->site->rules_version;
	pthread_mutex_unlock(&r->site->rules_lock);
	r->rules = site_rules(r->site);
	if (!r->rules)
		return err_set(ERR_FAILED, "the site has no rules");
	if (!r->person)
		return ERR_OK;
	r->role = role_on(r->rules, &r->person->who, r->path);
	if (r->role < ROLE_VIEW) {
		/* What he may not see does not exist for him, nor does a site of which he sees nothing. */
		bool ancestor = (route->needs & ROUTE_ANCESTOR) && route->right <= ROLE_VIEW;
		struct path from = r->has_path && ancestor ? r->path : path_root();
		if ((!role_sees_below(r->rules, &r->person->who, from) || (r->has_path && !ancestor)) && !WEAK(route_hidden))
			return err_set(ERR_NOT_FOUND, "There is nothing at this address.");
		if (ancestor && !(route->needs & NEED_SITE_ADMIN))
			return ERR_OK;
	}
	if (r->role < route->right)
		return err_set(ERR_DENIED, "You need the right to %s %s for this.", role_name(route->right), r->has_path ? r->path.s : "the whole site");
	if ((route->needs & NEED_SITE_ADMIN) && role_on(r->rules, &r->person->who, path_root()) != ROLE_ADMIN && !WEAK(route_site_admin))
		return err_set(ERR_DENIED, "Only an admin of the whole site may do this.");
	return ERR_OK;
}

static enum err parse_fields(struct life *l)
{
	struct req *r = &l->r;
	const struct guard_header *type;
	enum err e;

	if (l->parsed)
		return ERR_OK;
	l->parsed = true;
	if (l->path_len < l->target_len &&
	    (e = fields_parse(&l->query, l->target + l->path_len + 1, l->target_len - l->path_len - 1, r->arena)))
		return e;
	if (!l->body.len)
		return ERR_OK;
	type = guard_find(l->headers, l->n_headers, "Content-Type");
	size_t n = type ? strcspn(type->value, "; \t") : 0;
	if (n == 33 && strncasecmp(type->value, "application/x-www-form-urlencoded", n) == 0)
		return fields_parse(&l->form, l->body.p, l->body.len, r->arena);
	if (n == 16 && strncasecmp(type->value, "application/json", n) == 0)
		return json_parse(&r->body, l->body.p, l->body.len);
	l->status = 415;
	return err_set(ERR_INPUT, "The body must be application/json or application/x-www-form-urlencoded.");
}

static enum err find_path(struct life *l)
{
	struct req *r = &l->r;
	const char *text = l->rest;
	bool bad = false;

	r->path = path_root();
	r->has_path = false;
	if (!text) {
		text = fields_get(&l->query, "path");
		const char *other = fields_get(&l->form, "path");
		if (!other && json_is_object(r->body))
			other = json_get_str(r->body, "path", &bad);
		if (bad)
			return err_set(ERR_INPUT, "\"path\" must be a string.");
		if (text && other && strcmp(text, other) != 0)
			return err_set(ERR_INPUT, "The address and the body name different paths.");
		if (!text)
			text = other;
		if (text && !*text)
			text = NULL; /* a field of a form that was left empty */
	}
	if (!text)
		return ERR_OK;
	size_t n = strlen(text);
	if (n > 1 && text[n - 1] == '/')
		n--; /* people write directories with a slash at the end */
	r->has_path = true;
	return path_parse(&r->path, text, n, r->arena);
}

/* Does this site exist for him at all? */
static bool sees_site(const struct life *l, struct site *s)
{
	if (!req_site_open(&l->r, s))
		return false;
	struct rules *rules = site_rules(s);
	const struct identity *who = &l->r.person->who;
	const bool sees = role_on(rules, who, path_root()) >= ROLE_VIEW || role_sees_below(rules, who, path_root());

	rules_unref(rules);
	return sees;
}

/* The API takes "-" for the only site that somebody sees, so that the terminal need not ask for its name first. */
static enum err only_site(const struct life *l, const struct web_site **out)
{
	const struct web_site *all, *found = NULL;
	const size_t n = web_sites(l->web, &all);

	for (size_t i = 0; i < n; i++) {
		if (!l->r.person || !sees_site(l, all[i].site))
			continue;
		if (found)
			return err_set(ERR_INPUT, "There are several sites: say which one (drydock site list, --site NAME).");
		found = &all[i];
	}
	*out = found;
	return found ? ERR_OK : err_set(ERR_NOT_FOUND, "There is no site that you may see.");
}

static enum err find_site(struct life *l)
{
	const char *name = req_segment(&l->r, "site");
	const struct web_site *s = NULL;
	enum err e;

	if (!name)
		return ERR_OK;
	if ((l->r.route->needs & ROUTE_API) && strcmp(name, "-") == 0) {
		if ((e = only_site(l, &s)))
			return e;
	} else {
		s = web_site(l->web, name);
	}
	if (!s || !req_site_open(&l->r, s->site))
		return err_set(ERR_NOT_FOUND, "There is nothing at this address.");
	l->r.site = s->site;
	l->r.sync = s->sync;
	return ERR_OK;
}

static bool wants_login(const struct life *l)
{
	return !(l->r.route->needs & (NEED_NO_SESSION | ROUTE_API | ROUTE_STREAM)) && !l->r.local;
}

static enum err reply_login(struct life *l)
{
	struct buf b = BUF_INIT(3 * GUARD_TARGET + 64);

	buf_str(&b, "/login");
	if (l->r.method == METHOD_GET && strcmp(l->target, "/") != 0) {
		buf_str(&b, "?next=");
		percent_encode(&b, l->target, true);
	}
	const char *location = arena_dup(l->r.arena, buf_text(&b));
	buf_release(&b);
	if (cookie_token(l))
		reply_why(&l->r, "There is no such session, or it has ended.");
	return reply_redirect(&l->r, location);
}

/* Everything between body and handler. May run twice: on the network thread, then (ERR_RETRY) on a worker. */
static enum err answer(struct life *l)
{
	struct req *r = &l->r;
	const struct route *route = r->route;
	enum err e;

	if (!route) {
		/* Only for the page that says so; who cannot be told at once is nobody. */
		if (request_person(l))
			request_forget_person(l);
		return err_set(ERR_NOT_FOUND, "There is nothing at this address.");
	}
	if (l->body_over) {
		if (l->body_seen > l->body.limit)
			return err_set(ERR_TOO_BIG, "What was sent is larger than this address takes.");
		return err_set(ERR_BUSY, "The server is taking in too much at once. Try again in a moment.");
	}
	if ((e = parse_fields(l)))
		return e;
	if (l->listener->kind != LISTENER_PREVIEW) {
		e = request_person(l);
		/* Who anybody is does not matter for an open address: it must not fail by it, nor wait for it. */
		if (e && (route->needs & NEED_NO_SESSION) && (e != ERR_RETRY || (route->needs & ROUTE_MEMORY))) {
			request_forget_person(l);
			e = ERR_OK;
		}
		if (e || (e = csrf_origin(l)))
			return e;
		if (!(route->needs & NEED_NO_SESSION) && !r->person && !WEAK(route_person)) {
			if (wants_login(l))
				return reply_login(l);
			l->status = 401;
			return err_set(ERR_DENIED, "Log in first.");
		}
		if (r->by_token && (route->needs & NEED_NO_TOKEN) && !WEAK(token_routes))
			return err_set(ERR_DENIED, "A token may not do this: log in.");
		/* A browser adds cookies by itself, but never a token. */
		if ((route->needs & NEED_CSRF) && !r->by_token && (e = csrf_token(l)))
			return e;
	}
	if ((e = find_site(l)) || (e = find_path(l)))
		return e;
	if (!(route->needs & NEED_NO_SESSION) && (e = request_rights(l)))
		return e;
	return route->handler(r);
}

bool request_run(struct life *l)
{
	struct req *r = &l->r;

	log_request_set(l->id);
	enum err e = answer(l);
	bool retry = e == ERR_RETRY && !l->replied && (!r->tools || (l->patient_wanted && !l->patient));
	if (!retry && !l->replied) {
		if (e) {
			unsigned status = l->status ? l->status : reply_status_of(e);
			if (status >= 500 && e != ERR_BUSY)
				log_event(LOG_LEVEL_ERROR, "http.failed", "code", err_name(e), "text", err_text(), NULL);
			if (l->status)
				reply_status(l, status, NULL, err_text(), NULL);
			else
				(void)!reply_error(r, e, NULL);
		} else {
			log_event(LOG_LEVEL_ERROR, "http.failed", "text", "a handler made no reply", NULL);
			reply_status(l, 500, NULL, "The server failed to answer. Nothing was changed by showing this.", NULL);
		}
	}
	log_request_set("");
	return !retry;
}
