/*
 * request: the life of a request, in the order of web.h. libmicrohttpd calls http_begin() with the target,
 * http_step() with the headers, with each piece of the body, at its end, and again after a resume, and
 * http_done() when the reply is sent or the connection lost.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "web/life.h"

#define SPARES 64
#define BODIES_LIMIT (128u << 20) /* bytes of request bodies held at once, over all requests */
#define BODY_GRACE (1u << 20) /* so much of a body that is too large is read, so that its sender sees the answer */
#define SLOWEST 16384 /* bytes a second: a large reply gets more time by its size */

/* --- begin, body, end ---------------------------------------------------------------------------------------------- */

static struct life *life_new(struct web *w)
{
	struct life *l;

	pthread_mutex_lock(&w->lock);
	l = w->spare;
	if (l) {
		w->spare = l->next_spare;
		w->n_spare--;
	}
	pthread_mutex_unlock(&w->lock);
	if (!l) {
		l = mem_alloc(sizeof(*l));
		l->r.arena = arena_new();
	}
	struct arena *arena = l->r.arena;
	/* All but the headers, which n_headers bounds. */
	memset(l, 0, offsetof(struct life, headers));
	memset((char *)l + offsetof(struct life, n_headers), 0, sizeof(*l) - offsetof(struct life, n_headers));
	l->r.arena = arena;
	l->r.internal = l;
	l->web = l->r.web = w;
	return l;
}

static void life_free(struct life *l)
{
	struct web *w = l->web;

	arena_reset(l->r.arena);
	pthread_mutex_lock(&w->lock);
	bool keep = w->n_spare < SPARES;
	if (keep) {
		l->next_spare = w->spare;
		w->spare = l;
		w->n_spare++;
	}
	pthread_mutex_unlock(&w->lock);
	if (!keep) {
		arena_free(l->r.arena);
		free(l);
	}
}

void request_spares_free(struct web *w)
{
	for (struct life *l = w->spare, *next; l; l = next) {
		next = l->next_spare;
		arena_free(l->r.arena);
		free(l);
	}
	w->spare = NULL;
}

void *http_begin(void *cls, const char *target, struct MHD_Connection *c)
{
	struct listener *listener = cls;
	struct web *w = listener->web;
	struct life *l = life_new(w);
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	l->listener = listener;
	l->conn = info ? info->socket_context : NULL;
	l->mhd = c;
	l->begun = clock_boot();
	size_t n = strnlen(target, GUARD_TARGET + 1);
	l->target_at = target;
	l->whole_target = n <= GUARD_TARGET;
	l->target_len = l->whole_target ? n : GUARD_TARGET;
	l->target = arena_dupn(l->r.arena, target, l->target_len);
	l->path_len = strcspn(l->target, "?");
	snprintf(l->id, sizeof(l->id), "%s-%llu", w->id_prefix, (unsigned long long)atomic_fetch_add(&w->next_id, 1) + 1);
	l->r.id = l->id;
	if (l->conn) {
		l->r.local = l->conn->local;
		l->r.address = l->conn->address;
	} else {
		l->r.address = "unknown";
	}
	return l;
}

struct collect {
	struct life *l;
	bool too_many, folded, bare_lf, nul;
	const char *end; /* of the line before, where its CR was */
};

/*
 * libmicrohttpd parses in place: its strings lie where they were received, with a NUL for each CR and LF. So what lies
 * between the end of one line and the begin of the next tells how the line ended, and whether a NUL had cut it short.
 */
static void judge_gap(struct collect *c, const char *next)
{
	unsigned nuls = 0;

	if (!c->end || (uintptr_t)next <= (uintptr_t)c->end || (uintptr_t)next - (uintptr_t)c->end > GUARD_TARGET) {
		c->nul = true; /* not in place: then nothing can be said, and nothing is believed */
		return;
	}
	for (const char *p = c->end; p < next; p++) {
		if (*p == '\0')
			nuls++;
		else if (*p != ' ' && *p != '\t')
			c->nul = true;
	}
	if (nuls < 2)
		c->bare_lf = true;
	else if (nuls > 2)
		c->nul = true;
}

/* A name whose value does not follow it was put together from more than one line. */
static enum MHD_Result collect_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value, size_t value_len)
{
	struct collect *c = cls;
	struct life *l = c->l;

	(void)kind;
	if (l->n_headers == GUARD_HEADERS) {
		c->too_many = true;
		return MHD_NO;
	}
	const char *after_name = name + name_len + 1;
	if (!value || (uintptr_t)value < (uintptr_t)after_name || (uintptr_t)value > (uintptr_t)after_name + 1024)
		c->folded = true;
	if (c->folded)
		return MHD_NO;
	judge_gap(c, name);
	c->end = value + value_len;
	l->headers[l->n_headers++] = (struct guard_header){ name, name_len, value, value_len };
	return MHD_YES;
}

static enum method method_of(const char *text, bool *head)
{
	*head = strcmp(text, "HEAD") == 0;
	if (*head || strcmp(text, "GET") == 0)
		return METHOD_GET;
	if (strcmp(text, "POST") == 0)
		return METHOD_POST;
	if (strcmp(text, "PUT") == 0)
		return METHOD_PUT;
	if (strcmp(text, "DELETE") == 0)
		return METHOD_DELETE;
	return 0;
}

/* The path, decoded once: no part may be empty, "." or "..", hold a slash that was encoded, or be anything but text. */
static enum err decode_path(struct life *l)
{
	char *out = arena_alloc(l->r.arena, l->path_len + 1);
	size_t n = 0;

	for (size_t at = 0; at < l->path_len;) {
		size_t from = at + 1, len = 0, decoded;
		while (from + len < l->path_len && l->target[from + len] != '/')
			len++;
		bool last = from + len == l->path_len;
		if (len == 0 && !last)
			return err_set(ERR_INPUT, "The address has an empty part (\"//\").");
		out[n++] = '/';
		if (!percent_decode(out + n, &decoded, l->target + from, len, false))
			return err_set(ERR_INPUT, "The address is not encoded as it should be.");
		if (memchr(out + n, '/', decoded))
			return err_set(ERR_INPUT, "The address has an encoded slash in a part.");
		if ((decoded == 1 && out[n] == '.') || (decoded == 2 && out[n] == '.' && out[n + 1] == '.'))
			return err_set(ERR_INPUT, "The address has a part \".\" or \"..\".");
		n += decoded;
		at = from + len;
	}
	if (!utf8_clean(out, n, false))
		return err_set(ERR_INPUT, "The address is not valid UTF-8, or holds a control character.");
	out[n] = '\0';
	l->decoded = out;
	return ERR_OK;
}

static void refuse(struct life *l, unsigned status, const char *why)
{
	l->refused = true;
	reply_plain(l, status, why);
}

static void refuse_method(struct life *l, unsigned allow)
{
	static const struct { unsigned m; const char *name; } NAMES[] = {
		{ METHOD_GET, "GET, HEAD" }, { METHOD_POST, "POST" }, { METHOD_PUT, "PUT" }, { METHOD_DELETE, "DELETE" },
	};
	struct buf b = BUF_INIT(64);

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		if (allow & NAMES[i].m)
			buf_fmt(&b, "%s%s", b.len ? ", " : "", NAMES[i].name);
	reply_header(&l->r, "Allow", arena_dup(l->r.arena, buf_text(&b)));
	buf_release(&b);
	refuse(l, 405, "This address does not take that method.");
}

/* Headers are here: everything that can be refused without reading a body is. */
static void headers_here(struct life *l, const char *method, const char *version)
{
	struct collect c = { .l = l, .end = version + strlen(version) };
	const char *why = "";
	unsigned status, allow = 0;

	MHD_get_connection_values_n(l->mhd, MHD_HEADER_KIND, collect_header, &c);
	struct guard_facts facts = {
		.method = method,
		.version = version,
		.target = l->target,
		.target_len = l->target_len,
		.headers = l->headers,
		.n_headers = l->n_headers,
		.too_many = c.too_many,
		.folded = c.folded,
		.bare_lf = c.bare_lf,
		/* Behind the last header comes an empty line, so that there is a byte to look at. */
		.nul = c.nul || (!c.folded && l->n_headers && c.end[1] != '\0' && c.end[1] != ' ' && c.end[1] != '\t') ||
		       (l->whole_target && version != l->target_at + l->target_len + 1),
		.whole_target = l->whole_target,
	};
	snprintf(l->method_text, sizeof(l->method_text), "%s", method);
	if ((status = guard_check(&facts, &l->announced, &why))) {
		refuse(l, status, why);
		return;
	}
	l->host = guard_find(l->headers, l->n_headers, "Host");
	l->r.method = method_of(method, &l->r.head);
	if (!l->r.method) {
		refuse(l, 501, "That method is not known here.");
		return;
	}
	if (decode_path(l)) {
		refuse(l, 400, err_text());
		return;
	}
	if (l->listener->kind == LISTENER_PREVIEW) {
		l->r.route = preview_route(l);
		if (!l->r.route)
			return;
	} else if (l->listener->kind == LISTENER_MAIN && !host_known(l)) {
		refuse(l, 421, "This server does not answer to that name. Set public_url to the address that people use.");
		return;
	} else {
		l->r.route = route_find(l, l->r.method, &allow);
	}
	if (!l->r.route) {
		if (allow)
			refuse_method(l, allow);
		else if (l->announced.present)
			refuse(l, 404, "There is nothing at this address.");
		return; /* without a body: answered like any other page, later */
	}
	if (l->announced.present && !l->announced.chunked && l->announced.length > l->r.route->body_limit) {
		refuse(l, 413, "What was sent is larger than this address takes.");
		return;
	}
	l->body = BUF_INIT(l->r.route->body_limit);
}

static void body_piece(struct life *l, const char *p, size_t n)
{
	l->body_seen += n;
	if (l->body_over)
		return;
	if (l->body_seen > l->body.limit || atomic_fetch_add(&l->web->body_bytes, n) + n > BODIES_LIMIT) {
		if (l->body_seen <= l->body.limit)
			atomic_fetch_sub(&l->web->body_bytes, n);
		l->body_over = true;
		return;
	}
	buf_add(&l->body, p, n);
}

static enum MHD_Result send_reply(struct life *l)
{
	struct MHD_Response *response = l->page ? page_response(l->page, l->page_same) : l->shared ? l->shared : l->response;

	l->stage = STAGE_SENT;
	if (l->conn)
		conn_deadline(l->conn, l->stream ? 0 : l->web->o.conf->response_deadline_us + (int64_t)(l->reply_size / SLOWEST) * CLOCK_SECOND);
	if (l->stream)
		MHD_set_connection_option(l->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
	return MHD_queue_response(l->mhd, l->status, response);
}

/* --- who, what, whether -------------------------------------------------------------------------------------------- */

static void forget_person(struct life *l)
{
	struct req *r = &l->r;

	if (r->has_session)
		person_unref(r->session.person);
	else
		person_unref(r->person);
	r->person = NULL;
	r->has_session = false;
	memset(&r->session, 0, sizeof(r->session));
}

enum err request_person(struct life *l)
{
	struct req *r = &l->r;
	struct db *db = r->tools ? tools_db(r->tools) : NULL;
	enum err e;

	forget_person(l);
	if (r->local) {
		if (!db)
			return ERR_RETRY;
		if (!l->conn || l->conn->uid == (uid_t)-1)
			return err_set(ERR_DENIED, "The kernel did not say who is at the other end of the socket.");
		return auth_unix_peer(l->web->o.auth, db, l->conn->uid, &r->person);
	}
	const char *token = cookie_token(l);
	if (!token)
		return ERR_OK;
	if (!auth_session_cached(l->web->o.auth, token, &r->session)) {
		if (!db)
			return ERR_RETRY;
		e = auth_session_find(l->web->o.auth, db, token, &r->session);
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
	if ((route->needs & ROUTE_ANY_SITE_ADMIN) && (!r->person || !admin_somewhere(l)))
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
		if (!role_sees_below(r->rules, &r->person->who, from) || (r->has_path && !ancestor))
			return err_set(ERR_NOT_FOUND, "There is nothing at this address.");
		if (ancestor)
			return ERR_OK;
	}
	if (r->role < route->right)
		return err_set(ERR_DENIED, "You need the right to %s %s for this.", role_name(route->right), r->has_path ? r->path.s : "the whole site");
	if ((route->needs & NEED_SITE_ADMIN) && role_on(r->rules, &r->person->who, path_root()) != ROLE_ADMIN)
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
	if (!s)
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
			forget_person(l);
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
			forget_person(l);
			e = ERR_OK;
		}
		if (e)
			return e;
		if (!(route->needs & NEED_NO_SESSION) && !r->person) {
			if (wants_login(l))
				return reply_login(l);
			l->status = 401;
			return err_set(ERR_DENIED, "Log in first.");
		}
		if ((e = csrf_origin(l)))
			return e;
		if ((route->needs & NEED_CSRF) && (e = csrf_token(l)))
			return e;
	}
	if ((e = find_site(l)) || (e = find_path(l)))
		return e;
	if (!(route->needs & NEED_NO_SESSION) && (e = request_rights(l)))
		return e;
	return route->handler(r);
}

/* One reply comes out of this, or false: it must run on a worker. */
static bool run(struct life *l)
{
	struct req *r = &l->r;

	log_request_set(l->id);
	enum err e = answer(l);
	bool retry = e == ERR_RETRY && !r->tools && !l->replied;
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

bool life_suspend(struct web *w, struct MHD_Connection *c)
{
	pthread_mutex_lock(&w->lock);
	bool ok = !w->stopping;
	if (ok) {
		w->suspended++;
		MHD_suspend_connection(c);
	}
	pthread_mutex_unlock(&w->lock);
	return ok;
}

void life_resume(struct web *w, struct MHD_Connection *c)
{
	pthread_mutex_lock(&w->lock);
	MHD_resume_connection(c);
	if (--w->suspended == 0)
		pthread_cond_broadcast(&w->idle);
	pthread_mutex_unlock(&w->lock);
}

static void work(void *l_, void *tools)
{
	struct life *l = l_;

	l->r.tools = tools;
	if (!run(l))
		reply_plain(l, 500, "The server failed to answer.");
	if (tx_open(tools_db(tools))) {
		/* Our own bug; a transaction left open would be committed by somebody else's act. */
		log_event(LOG_LEVEL_ERROR, "http.transaction", "text", "a handler left a transaction open", "route", l->r.route ? l->r.route->address : "-", NULL);
		abort();
	}
	l->r.tools = NULL;
	life_resume(l->web, l->mhd);
}

static enum MHD_Result body_ended(struct life *l)
{
	const struct route *route = l->r.route;

	if (l->conn)
		conn_deadline(l->conn, 0);
	if ((!route || (route->needs & ROUTE_MEMORY)) && run(l))
		return send_reply(l);
	l->stage = STAGE_WORKER;
	if (!life_suspend(l->web, l->mhd)) {
		refuse(l, 503, "The server is stopping. Try again in a moment.");
		return send_reply(l);
	}
	if (pool_add(l->web->pool, (struct pool_job){ work, l })) {
		/* Resumed at once: libmicrohttpd calls again, and the reply is there. */
		reply_plain(l, 503, "The server has too much to do. Try again in a moment.");
		life_resume(l->web, l->mhd);
	}
	return MHD_YES;
}

enum MHD_Result http_step(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
    const char *upload, size_t *upload_size, void **con_cls)
{
	struct life *l = *con_cls;

	(void)cls;
	(void)c;
	(void)url;
	if (!l)
		return MHD_NO;
	switch (l->stage) {
	case STAGE_HEADERS:
		headers_here(l, method, version);
		if (l->replied)
			return send_reply(l);
		l->stage = STAGE_BODY;
		if (l->conn)
			conn_deadline(l->conn, l->web->o.conf->body_deadline_us);
		return MHD_YES;
	case STAGE_BODY:
		if (*upload_size == 0)
			return body_ended(l);
		body_piece(l, upload, *upload_size);
		*upload_size = 0;
		return l->body_over && l->body_seen > (uint64_t)l->body.limit + BODY_GRACE ? MHD_NO : MHD_YES;
	case STAGE_WORKER:
		return l->replied ? send_reply(l) : MHD_NO;
	case STAGE_SENT:
		break;
	}
	return MHD_YES;
}

/* Capabilities are not written down: who can read the log must not be able to use them. */
static const char *target_for_log(const struct life *l)
{
	if (l->listener->kind == LISTENER_MAIN && strncmp(l->target, "/preview/", 9) == 0)
		return "/preview/...";
	return l->target;
}

void http_done(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode why)
{
	struct life *l = *con_cls;
	struct web *w = ((struct listener *)cls)->web;

	(void)c;
	if (!l)
		return;
	*con_cls = NULL;
	if (l->stream)
		stream_done(l);
	atomic_fetch_add(&w->requests, 1);
	if (l->status >= 100 && l->status < 600)
		atomic_fetch_add(&w->by_class[l->status / 100], 1);
	log_event(LOG_LEVEL_INFO, "http", "id", l->id, "from", l->r.address, "user", l->r.person ? l->r.person->who.user : NULL, "method", l->method_text,
	    "target", target_for_log(l), "status", log_u64(l->status), "us", log_u64((unsigned long long)(clock_boot() - l->begun)), "end",
	    why == MHD_REQUEST_TERMINATED_COMPLETED_OK ? NULL : why == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED ? "timeout" : "lost", NULL);
	if (l->conn)
		conn_deadline(l->conn, w->o.conf->idle_us + w->o.conf->header_deadline_us);
	if (l->response)
		MHD_destroy_response(l->response);
	page_unref(l->page);
	forget_person(l);
	if (l->r.rules)
		rules_unref(l->r.rules);
	json_decref(l->r.body);
	if (l->body.len)
		atomic_fetch_sub(&w->body_bytes, l->body.len);
	buf_release(&l->body);
	life_free(l);
}

/* --- what a handler asks ------------------------------------------------------------------------------------------- */

const char *req_segment(struct req *r, const char *name)
{
	const struct life *l = life_of(r);

	for (size_t i = 0; i < l->n_segments; i++)
		if (strcmp(l->segments[i].name, name) == 0)
			return l->segments[i].value;
	return NULL;
}

const char *req_query(struct req *r, const char *name)
{
	return fields_get(&life_of(r)->query, name);
}

size_t req_query_count(struct req *r, const char *name)
{
	return fields_count(&life_of(r)->query, name);
}

const char *req_query_at(struct req *r, const char *name, size_t i)
{
	return fields_at(&life_of(r)->query, name, i);
}

const char *req_form(struct req *r, const char *name)
{
	return fields_get(&life_of(r)->form, name);
}

size_t req_form_count(struct req *r, const char *name)
{
	return fields_count(&life_of(r)->form, name);
}

const char *req_form_at(struct req *r, const char *name, size_t i)
{
	return fields_at(&life_of(r)->form, name, i);
}

const char *req_header(struct req *r, const char *name)
{
	const struct life *l = life_of(r);
	const struct guard_header *h = guard_find(l->headers, l->n_headers, name);

	return h ? h->value : NULL;
}

const char *req_target(struct req *r)
{
	return life_of(r)->target;
}

static bool number(const char *text, uint64_t *v)
{
	*v = 0;
	for (const char *p = text; *p; p++)
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(*v, (uint64_t)10, v) || __builtin_add_overflow(*v, (uint64_t)(*p - '0'), v))
			return false;
	return text[0] != '\0';
}

enum err req_segment_number(struct req *r, const char *name, uint64_t *out)
{
	const char *text = req_segment(r, name);

	*out = 0;
	return text && number(text, out) && *out > 0 ? ERR_OK : err_set(ERR_NOT_FOUND, "There is nothing at this address.");
}

enum err req_number(struct req *r, const char *name, uint64_t low, uint64_t high, uint64_t fallback, uint64_t *out)
{
	const char *text = req_query(r, name);
	uint64_t v;

	*out = fallback;
	if (!text)
		text = req_form(r, name);
	if (!text || !text[0])
		return ERR_OK;
	if (!number(text, &v) || v < low || v > high)
		return err_set(ERR_INPUT, "\"%s\" must be a number from %llu to %llu.", name, (unsigned long long)low, (unsigned long long)high);
	*out = v;
	return ERR_OK;
}

enum role req_role_on(struct req *r, struct path p)
{
	return r->rules && r->person ? role_on(r->rules, &r->person->who, p) : ROLE_NONE;
}

struct catalog_view req_view(struct req *r)
{
	return (struct catalog_view){ r->rules, &r->person->who };
}
