/*
 * reply: how answers look: statuses, the headers that are on every one, pages, JSON, problems.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/utf8.h"
#include "config.h"
#include "view/show.h"
#include "web/life.h"

#define PAGE_LIMIT (16u << 20)
#define JSON_TYPE "application/json"
#define PROBLEM_TYPE "application/problem+json"
#define HTML_TYPE "text/html; charset=utf-8"

static void header(struct MHD_Response *m, const char *name, const char *value)
{
	/* It fails only for a value with a line break, which none of ours has; then the header is better left out. */
	if (MHD_add_response_header(m, name, value) != MHD_YES)
		log_event(LOG_LEVEL_ERROR, "http.header", "name", name, NULL);
}

bool reply_dress(const struct web *w, struct MHD_Response *m, const char *cache)
{
	const char *const HEADERS[][2] = {
		{ "Cache-Control", cache ? cache : "no-store" },
		{ "Content-Security-Policy", w->policy },
		{ "Cross-Origin-Opener-Policy", "same-origin" },
		{ "Cross-Origin-Resource-Policy", "same-origin" },
		{ "Permissions-Policy", REPLY_PERMISSIONS },
		{ "Referrer-Policy", "same-origin" },
		{ "X-Content-Type-Options", "nosniff" },
		{ "X-Frame-Options", "DENY" }, /* for those that do not know frame-ancestors */
		{ "Strict-Transport-Security", w->secure ? "max-age=15552000" : NULL },
	};
	bool ok = true;

	for (size_t i = 0; i < sizeof(HEADERS) / sizeof(HEADERS[0]); i++)
		if (HEADERS[i][1] && MHD_add_response_header(m, HEADERS[i][0], HEADERS[i][1]) != MHD_YES)
			ok = false;
	return ok;
}

static void dress(struct life *l, struct MHD_Response *m, const char *cache)
{
	if (!reply_dress(l->web, m, cache)) {
		/* Memory for a few bytes is all that it can lack; without them nothing goes out. */
		log_event(LOG_LEVEL_ERROR, "http.memory", "text", "libmicrohttpd has no memory", NULL);
		abort();
	}
	if (l->refused)
		header(m, "Connection", "close");
	for (size_t i = 0; i < l->n_added; i++)
		header(m, l->added[i].name, l->added[i].value);
}

void reply_bare(struct life *l, unsigned status, struct MHD_Response *m, uint64_t size)
{
	if (l->replied) {
		log_event(LOG_LEVEL_ERROR, "http.reply", "text", "a second reply was made and dropped", "id", l->id, NULL);
		if (m)
			MHD_destroy_response(m);
		return;
	}
	l->replied = true;
	l->status = status;
	l->reply_size = size;
	l->response = m;
}

void reply_raw(struct life *l, unsigned status, struct MHD_Response *m, uint64_t size, const char *cache)
{
	if (!l->replied)
		dress(l, m, cache);
	reply_bare(l, status, m, size);
}

static struct MHD_Response *response_of(struct buf *body, uint64_t *size)
{
	size_t n;
	char *p = buf_take(body, &n);
	struct MHD_Response *m = MHD_create_response_from_buffer_with_free_callback(n, p, free);

	*size = n;
	if (!m) {
		log_event(LOG_LEVEL_ERROR, "http.memory", "text", "libmicrohttpd has no memory", NULL);
		abort();
	}
	return m;
}

void reply_body(struct life *l, unsigned status, const char *type, struct buf *body, const char *cache)
{
	uint64_t size;
	struct MHD_Response *m = response_of(body, &size);

	if (type)
		header(m, "Content-Type", type);
	reply_raw(l, status, m, size, cache);
}

static bool for_programs(const struct life *l)
{
	if (l->r.route && (l->r.route->needs & ROUTE_API))
		return true;
	return l->r.local || strncmp(l->target, "/api/", 5) == 0;
}

void reply_plain(struct life *l, unsigned status, const char *text)
{
	struct buf b = BUF_INIT(1024);

	if (for_programs(l)) {
		reply_status(l, status, NULL, text, NULL);
		return;
	}
	l->why = arena_dup(l->r.arena, text);
	buf_str(&b, text);
	buf_char(&b, '\n');
	reply_body(l, status, "text/plain; charset=utf-8", &b, NULL);
}

/* --- errors -------------------------------------------------------------------------------------------------------- */

unsigned reply_status_of(enum err code)
{
	switch (code) {
	case ERR_OK: return 200;
	case ERR_INPUT: return 400;
	case ERR_DENIED: return 403;
	case ERR_NOT_FOUND: return 404;
	case ERR_STALE: return 409;
	case ERR_TOO_BIG: return 413;
	case ERR_WAIT: return 429;
	case ERR_BUSY:
	case ERR_RETRY: return 503;
	case ERR_FAILED: break;
	}
	return 500;
}

static const struct words {
	unsigned status;
	const char *name, *heading, *advice;
} WORDS[] = {
	{ 400, "input", "This could not be understood", "Go back and check what was entered." },
	{ 401, "login", "Log in first", NULL },
	{ 403, "denied", "You may not do this", "If you should be able to, ask an administrator of the site." },
	{ 404, "not-found", "There is nothing here", "It may never have existed, or you may not be allowed to see it." },
	{ 405, "method", "This address does not take that method", NULL },
	{ 409, "stale", "Something has changed meanwhile", "Load the page again to see how it is now." },
	{ 413, "too-big", "Too much was sent at once", NULL },
	{ 415, "type", "That kind of content is not taken here", NULL },
	{ 429, "wait", "Not so fast", NULL },
	{ 500, "failed", "Something went wrong in the server", "Try again. If it stays, tell an administrator." },
	{ 503, "busy", "The server is busy", "Try again in a moment." },
};

static const struct words *words_of(unsigned status)
{
	for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++)
		if (WORDS[i].status == status)
			return &WORDS[i];
	return NULL;
}

static void problem(struct life *l, unsigned status, const char *title, const char *detail, json_t *extra)
{
	const struct words *w = words_of(status);
	struct buf b = BUF_INIT(PAGE_LIMIT);
	json_t *o = extra && json_is_object(extra) ? json_incref(extra) : json_object();

	json_object_set_new(o, "status", json_integer(status));
	json_object_set_new(o, "title", json_string(title));
	json_object_set_new(o, "detail", json_string(detail));
	json_object_set_new(o, "code", json_string(w ? w->name : "refused"));
	json_object_set_new(o, "request", json_string(l->id));
	char *text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	buf_str(&b, text ? text : "{}");
	buf_char(&b, '\n');
	free(text);
	if (buf_check(&b)) {
		buf_reset(&b);
		buf_fmt(&b, "{\"status\":%u}\n", status);
	}
	reply_body(l, status, PROBLEM_TYPE, &b, NULL);
}

static bool page(struct life *l, unsigned status, const char *stem, const char *title, struct view_map *m);

/* Where he is refused for lack of a right: the explanation of his role on the path that it was about. */
static const char *why_href(const struct life *l)
{
	const struct req *r = &l->r;
	const char *dir = fields_get(&l->form, "dir"); /* of a batch */
	struct path path = r->path;

	if (!r->site || !r->rules || !r->person)
		return NULL;
	if (!r->has_path && dir && path_parse(&path, dir, strlen(dir) - (strlen(dir) > 1 && dir[strlen(dir) - 1] == '/'), r->arena))
		path = path_root();
	if (!role_sees_below(r->rules, &r->person->who, path))
		return NULL;
	struct buf b = BUF_INIT(3 * PATH_LIMIT + 256);
	buf_fmt(&b, "/s/%s/rules/explain?path=", r->site->name);
	percent_encode(&b, path.s, false);
	const char *href = buf_check(&b) ? NULL : arena_dup(r->arena, buf_text(&b));
	buf_release(&b);
	return href;
}

void reply_status(struct life *l, unsigned status, const char *title, const char *detail, json_t *extra)
{
	const struct words *w = words_of(status);
	const char *heading = title ? title : w ? w->heading : MHD_get_reason_phrase_for(status);

	/* A sentence that came from outside may hold bytes that are not text; borrowed from err_text(): copied first. */
	struct buf clean = BUF_INIT(8192);
	utf8_visible(&clean, detail, strnlen(detail, 2048), false);
	l->why = detail = arena_dup(l->r.arena, buf_text(&clean));
	buf_release(&clean);
	if (for_programs(l)) {
		problem(l, status, heading, detail, extra);
		return;
	}
	struct view_map *m = view_map_new(l->r.arena);
	view_set(m, VIEW_heading, heading);
	view_set(m, VIEW_sentence, detail);
	if (l->r.method && l->r.method != METHOD_GET && status < 500)
		view_set(m, VIEW_lost, "Nothing was changed.");
	view_set(m, VIEW_advice, w ? w->advice : NULL);
	view_set(m, VIEW_why_href, status == 403 ? why_href(l) : NULL);
	view_set(m, VIEW_request, l->id);
	struct view_map *link = view_list_add(view_set_list(m, VIEW_links));
	view_set(link, VIEW_name, "Home");
	view_set(link, VIEW_href, "/");
	if (page(l, status, "error", heading, m))
		return;
	struct buf b = BUF_INIT(8192);
	buf_fmt(&b, "%s\n%s\n", heading, detail);
	reply_body(l, status, "text/plain; charset=utf-8", &b, NULL);
}

/* The one failure of the machine that people meet and can do something about. git's library says it in these words too. */
static bool disk_is_full(void)
{
	return strstr(err_text(), "No space left on device") || strstr(err_text(), "Disk quota exceeded");
}

enum err reply_error(struct req *r, enum err code, json_t *extra)
{
	struct life *l = life_of(r);
	unsigned status = reply_status_of(code);

	if (code == ERR_WAIT)
		reply_retry_after(r);
	if (code == ERR_FAILED) {
		/* What is in the slot is for the log: it may name anything of the machine. */
		log_event(LOG_LEVEL_ERROR, "http.failed", "code", err_name(code), "text", err_text(), NULL);
		if (disk_is_full())
			reply_status(l, 503, "The server's disk is full", "The disk of the server is full: this could not be written. Make room there, then try again.", extra);
		else
			reply_status(l, status, NULL, "The server could not finish this. What happened is in its log.", extra);
	} else {
		reply_status(l, status, NULL, err_text()[0] ? err_text() : err_name(code), extra);
	}
	json_decref(extra);
	return ERR_OK;
}

/* --- pages --------------------------------------------------------------------------------------------------------- */

static void put_sites(struct life *l, struct view_map *m)
{
	struct web *w = l->web;
	struct view_list *list = view_set_list(m, VIEW_sites);

	for (size_t i = 0; i < w->o.n_sites; i++) {
		struct site *s = w->sites[i].site;
		struct rules *rules = site_rules(s);
		bool sees = role_sees_below(rules, &l->r.person->who, path_root());
		rules_unref(rules);
		if (!sees)
			continue;
		struct view_map *o = view_list_add(list);
		view_set(o, VIEW_name, s->name);
		view_set(o, VIEW_href, arena_printf(l->r.arena, "/s/%s/", s->name));
		view_set_bool(o, VIEW_here, s == l->r.site);
	}
	view_set_bool(m, VIEW_many_sites, view_list_count(list) > 1);
}

static void put_place(struct life *l, struct view_map *m)
{
	static const struct { const char *prefix; enum view_name name; } PLACES[] = {
		{ "/s/:site/tree", VIEW_at_tree }, { "/s/:site/file", VIEW_at_tree }, { "/s/:site/history", VIEW_at_history },
		{ "/s/:site/record", VIEW_at_history }, { "/s/:site/sync", VIEW_at_sync }, { "/s/:site/targets", VIEW_at_sync }, { "/s/:site/notices", VIEW_at_sync },
		{ "/s/:site/rules", VIEW_at_rules }, { "/s/:site/preapprovals", VIEW_at_rules }, { "/s/:site/fields", VIEW_at_rules },
		{ "/account", VIEW_at_account },
	};
	const char *address = l->r.route ? l->r.route->address : "";

	if (strcmp(address, "/s/:site/") == 0)
		view_set_bool(m, VIEW_at_home, true);
	for (size_t i = 0; i < sizeof(PLACES) / sizeof(PLACES[0]); i++)
		if (strncmp(address, PLACES[i].prefix, strlen(PLACES[i].prefix)) == 0)
			view_set_bool(m, PLACES[i].name, true);
}

static void put_site(struct life *l, struct view_map *m)
{
	struct site *s = l->r.site;
	struct sync_status st = { 0 };

	view_set(m, VIEW_site, s->name);
	if (l->r.sync) {
		sync_status(l->r.sync, &st);
		if (st.running)
			view_set_bool(m, VIEW_running, true);
		else if (st.next.due > 0 && st.next.due != WINDOW_NEVER)
			show_time(m, VIEW_clock, st.next.due, st.now);
	}
	if (atomic_load(&s->read_only)) {
		view_set(m, VIEW_trouble, arena_printf(l->r.arena, "This site is read-only: %s", s->read_only_reason));
	} else if (s->catalog && req_role_on(&l->r, path_root()) == ROLE_ADMIN) {
		char trouble[256];
		catalog_trouble(s->catalog, trouble);
		if (trouble[0])
			view_set(m, VIEW_trouble, arena_dup(l->r.arena, trouble));
		else if (st.trouble[0])
			view_set(m, VIEW_trouble, arena_dup(l->r.arena, st.trouble));
	}
}

static bool page(struct life *l, unsigned status, const char *stem, const char *title, struct view_map *m)
{
	struct buf b = BUF_INIT(PAGE_LIMIT);
	char etag[20];

	view_set(m, VIEW_title, title);
	view_set(m, VIEW_asset, statics_version(l->web->statics));
	view_set(m, VIEW_version, PACKAGE_VERSION);
	if (l->r.person) {
		view_set(m, VIEW_user, l->r.person->display);
		view_set(m, VIEW_user_id, l->r.person->who.user);
		view_set(m, VIEW_csrf, l->r.session.csrf);
		put_place(l, m);
		put_sites(l, m);
		/* The name of a site is for those who see something of it. */
		if (l->r.site && l->r.rules && role_sees_below(l->r.rules, &l->r.person->who, path_root()))
			put_site(l, m);
	}
	enum err e = view_render(l->web->views, stem, m, &b);
	if (!e)
		e = buf_check(&b);
	if (e) {
		log_event(LOG_LEVEL_ERROR, "http.page", "page", stem, "text", err_text(), NULL);
		buf_release(&b);
		return false;
	}
	if (!l->cache_wanted || status != 200 || l->n_added || l->replied) {
		reply_body(l, status, HTML_TYPE, &b, NULL);
		return true;
	}
	struct sha256 digest;
	sha256_of(&digest, b.p, b.len);
	etag[0] = '"';
	hex_of(etag + 1, digest.b, 8);
	memcpy(etag + 17, "\"", 2);
	uint64_t size;
	struct MHD_Response *response = response_of(&b, &size);
	header(response, "Content-Type", HTML_TYPE);
	header(response, "ETag", etag);
	dress(l, response, NULL);
	reply_bare(l, status, NULL, size);
	page_cache_put(l, response, size, etag);
	return true;
}

enum err reply_page(struct req *r, unsigned status, const char *stem, const char *title, struct view_map *m)
{
	if (!page(life_of(r), status, stem, title, m))
		return reply_error(r, err_set(ERR_FAILED, "the page %s could not be made", stem), NULL);
	return ERR_OK;
}

/* --- the others ---------------------------------------------------------------------------------------------------- */

enum err reply_json(struct req *r, unsigned status, struct buf *body)
{
	if (buf_check(body)) {
		buf_release(body);
		return reply_error(r, err_set(ERR_TOO_BIG, "The answer is too large. Ask for less at once."), NULL);
	}
	reply_body(life_of(r), status, JSON_TYPE, body, NULL);
	return ERR_OK;
}

/* RFC 6266: a plain name for old clients and the exact one in UTF-8. */
static void put_disposition(struct req *r, const char *name)
{
	struct buf b = BUF_INIT(4096);

	if (!name)
		return;
	buf_str(&b, "attachment; filename=\"");
	for (const char *p = name; *p; p++) {
		unsigned char c = (unsigned char)*p;
		buf_char(&b, c < 0x20 || c >= 0x7f || strchr("\"\\/%;", c) ? '_' : *p);
	}
	buf_str(&b, "\"; filename*=UTF-8''");
	percent_encode(&b, name, true);
	reply_header(r, "Content-Disposition", buf_check(&b) ? "attachment" : arena_dup(r->arena, buf_text(&b)));
	buf_release(&b);
}

enum err reply_bytes(struct req *r, unsigned status, const char *type, struct buf *body, const char *download_name)
{
	if (buf_check(body)) {
		buf_release(body);
		return reply_error(r, err_set(ERR_TOO_BIG, "The answer is too large to be shown."), NULL);
	}
	put_disposition(r, download_name);
	reply_body(life_of(r), status, type, body, NULL);
	return ERR_OK;
}

enum err reply_fd(struct req *r, const char *type, int fd, uint64_t size, const char *download_name)
{
	struct MHD_Response *m = MHD_create_response_from_fd64(size, fd);

	if (!m) {
		close(fd);
		return reply_error(r, err_set(ERR_FAILED, "no memory for a reply"), NULL);
	}
	put_disposition(r, download_name);
	header(m, "Content-Type", type);
	reply_raw(life_of(r), 200, m, size, NULL);
	return ERR_OK;
}

enum err reply_redirect(struct req *r, const char *location)
{
	struct buf b = BUF_INIT(256);

	if (strcmp(address_of_ours(location), location) != 0)
		return reply_error(r, err_set(ERR_FAILED, "a redirect that leads elsewhere"), NULL);
	reply_header(r, "Location", location);
	reply_body(life_of(r), 303, NULL, &b, NULL);
	return ERR_OK;
}

enum err reply_empty(struct req *r, unsigned status)
{
	struct buf b = BUF_INIT(1);

	reply_body(life_of(r), status, NULL, &b, NULL);
	return ERR_OK;
}

void reply_header(struct req *r, const char *name, const char *value)
{
	struct life *l = life_of(r);

	if (l->n_added == LIFE_ADDED) {
		log_event(LOG_LEVEL_ERROR, "http.header", "text", "too many", "name", name, NULL);
		return;
	}
	l->added[l->n_added].name = arena_dup(r->arena, name);
	l->added[l->n_added++].value = arena_dup(r->arena, value);
}

void reply_why(struct req *r, const char *why)
{
	life_of(r)->why = why;
}

void reply_retry_after(struct req *r)
{
	reply_header(r, "Retry-After", arena_printf(r->arena, "%u", err_wait_seconds()));
}

void reply_cookie(struct req *r, const char *token, bool end)
{
	struct web *w = r->web;

	reply_header(r, "Set-Cookie", arena_printf(r->arena, "%s=%s; Path=/; HttpOnly; SameSite=Lax%s%s", w->cookie_name, end || !token ? "" : token,
	    w->secure ? "; Secure" : "", end || !token ? "; Max-Age=0" : ""));
	if (end && r->has_session)
		previews_forget(w->previews, &r->session.id_hash);
}
