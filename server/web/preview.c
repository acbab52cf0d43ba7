/*
 * preview: staged and approved bytes, shown as a page would be, on a host that holds nothing else.
 *
 * A token names what may be shown: for ten minutes, to one session of one person, one path with one fingerprint. The
 * bytes are checked against it when they are served, and rights and session are asked again each time. No cookie counts
 * here, and the answers are sandboxed: script runs, but in an origin of its own, without connections, forms, workers.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/weaken.h"
#include "web/life.h"
#include "web/mime.h"
#include "web/serve.h"
#include "web/spool.h"

#define LIFETIME (600 * CLOCK_SECOND)
#define TOKEN_BYTES 16
#define TOKEN_TEXT (2 * TOKEN_BYTES + 1)
#define BUCKETS 1024
#define TOKENS_LIMIT 8192
#define SELECTION_LIMIT 10000
#define BYTES_LIMIT (32u << 20) /* of all selections together: then the oldest previews end early */
#define FILE_LIMIT (UINT64_C(32) << 20)

enum version { VERSION_STAGED, VERSION_APPROVED, VERSION_RECORD };

struct preview {
	struct preview *next; /* in its bucket */
	struct preview *newer; /* in the order of making, which is that of ending */
	_Atomic unsigned refs;
	struct arena *arena;
	char token[TOKEN_TEXT];
	int64_t ends; /* clock_boot */
	bool has_session;
	struct sha256 session;
	struct person *person;
	struct site *site;
	struct path path;
	enum version version;
	uint64_t seq;
	struct sha256 print;
	struct expected_file *selection; /* sorted by path */
	size_t n_selection;
};

struct previews {
	struct web *web;
	pthread_mutex_t lock;
	struct preview *buckets[BUCKETS];
	struct preview *oldest, *newest;
	size_t n, bytes;
};

/* --- the table ----------------------------------------------------------------------------------------------------- */

struct previews *previews_new(struct web *w)
{
	struct previews *p = mem_alloc(sizeof(*p));

	p->web = w;
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

static void preview_unref(struct preview *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	person_unref(p->person);
	arena_free(p->arena);
	free(p);
}

static size_t bucket_of(const char *token)
{
	uint8_t b[4] = { 0 };

	/* Random digits: the first few will do. */
	for (int i = 0; i < 4; i++)
		b[i] = (uint8_t)token[i];
	return (size_t)(b[0] + 31u * b[1] + 961u * b[2] + 29791u * b[3]) % BUCKETS;
}

static void unlink_bucket(struct previews *all, struct preview *p)
{
	struct preview **at = &all->buckets[bucket_of(p->token)];

	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
}

static void drop_oldest(struct previews *all)
{
	struct preview *p = all->oldest;

	all->oldest = p->newer;
	if (!all->oldest)
		all->newest = NULL;
	all->n--;
	all->bytes -= arena_used(p->arena);
	unlink_bucket(all, p);
	preview_unref(p);
}

void previews_free(struct previews *all)
{
	if (!all)
		return;
	while (all->oldest)
		drop_oldest(all);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

static void put(struct previews *all, struct preview *p)
{
	int64_t now = clock_boot();

	pthread_mutex_lock(&all->lock);
	all->bytes += arena_used(p->arena);
	while (all->oldest && (all->oldest->ends <= now || all->n >= TOKENS_LIMIT || all->bytes > BYTES_LIMIT))
		drop_oldest(all);
	struct preview **at = &all->buckets[bucket_of(p->token)];
	p->next = *at;
	*at = p;
	if (all->newest)
		all->newest->newer = p;
	else
		all->oldest = p;
	all->newest = p;
	all->n++;
	pthread_mutex_unlock(&all->lock);
}

static struct preview *get(struct previews *all, const char *token)
{
	int64_t now = clock_boot();
	struct preview *p;

	pthread_mutex_lock(&all->lock);
	for (p = all->buckets[bucket_of(token)]; p; p = p->next)
		if (bytes_equal_secret(p->token, token, TOKEN_TEXT))
			break;
	if (p && p->ends <= now)
		p = NULL;
	if (p)
		atomic_fetch_add(&p->refs, 1);
	pthread_mutex_unlock(&all->lock);
	return p;
}

void previews_forget(struct previews *all, const struct sha256 *session)
{
	pthread_mutex_lock(&all->lock);
	for (struct preview *p = all->oldest; p; p = p->newer)
		if (p->has_session && sha256_equal(&p->session, session))
			p->ends = 0; /* found ended from now on, and dropped in its turn */
	pthread_mutex_unlock(&all->lock);
}

/* --- addresses ----------------------------------------------------------------------------------------------------- */

static bool own_machine(const struct conf *conf)
{
	return strcmp(conf->preview_host, "localhost") == 0;
}

/* "http://", name, port as browsers are to write it. */
static void put_origin(const struct web *w, struct buf *out, const char *label)
{
	const struct conf *conf = w->o.conf;
	bool secure = w->secure && !own_machine(conf);

	buf_fmt(out, "%s://%s.%s", secure ? "https" : "http", label, conf->preview_host);
	if (!secure)
		buf_fmt(out, ":%u", conf->preview_port);
}

void previews_policy(struct web *w, struct buf *out)
{
	if (w->o.conf->preview_port)
		put_origin(w, out, "*");
	else
		buf_str(out, "'self'");
}

static int by_path(const void *a, const void *b)
{
	return path_compare(((const struct expected_file *)a)->path, ((const struct expected_file *)b)->path);
}

static const char *address_of(struct req *r, const struct preview *p)
{
	struct web *w = r->web;
	struct buf b = BUF_INIT(3 * PATH_LIMIT + 512);

	if (w->o.conf->preview_port)
		put_origin(w, &b, p->token);
	else
		buf_fmt(&b, "/preview/%s", p->token);
	percent_encode(&b, p->path.s, false);
	const char *text = arena_dup(r->arena, buf_text(&b));
	buf_release(&b);
	return text;
}

static struct preview *preview_make(struct req *r, struct path path, const char *version, const struct sha256 *print)
{
	struct preview *p = mem_alloc(sizeof(*p));
	uint8_t random[TOKEN_BYTES];

	random_bytes(random, sizeof(random));
	hex_of(p->token, random, sizeof(random));
	atomic_init(&p->refs, 1);
	p->arena = arena_new();
	p->ends = clock_boot() + LIFETIME;
	p->has_session = r->has_session;
	if (r->has_session)
		p->session = r->session.id_hash;
	p->person = person_ref(r->person);
	p->site = r->site;
	p->path = path_copy(path, p->arena);
	p->version = version[0] == '@' ? VERSION_RECORD : strcmp(version, "approved") == 0 ? VERSION_APPROVED : VERSION_STAGED;
	if (p->version == VERSION_RECORD)
		p->seq = strtoull(version + 1, NULL, 10);
	p->print = *print;
	return p;
}

const char *preview_address(struct req *r, struct path path, const char *version, const struct sha256 *print)
{
	struct preview *p = preview_make(r, path, version, print);
	const char *text = address_of(r, p);

	put(r->web->previews, p);
	return text;
}

const char *preview_selection(struct req *r, const struct selection *s, size_t from)
{
	static const struct sha256 none;
	struct preview *p = preview_make(r, path_root(), "approved", &none);
	const char *text = address_of(r, p);
	size_t n = s->n - from < SELECTION_LIMIT ? s->n - from : SELECTION_LIMIT;

	p->selection = arena_alloc(p->arena, (n ? n : 1) * sizeof(*p->selection));
	for (size_t i = from; i < from + n; i++)
		if (s->items[i].state == STATE_UNSIGNED || s->items[i].state == STATE_CHANGED || s->items[i].state == STATE_REVOKED) {
			struct expected_file *f = &p->selection[p->n_selection++];
			f->path = path_copy(s->items[i].path, p->arena);
			f->sha256 = s->items[i].print.sha256;
		}
	qsort(p->selection, p->n_selection, sizeof(*p->selection), by_path);
	put(r->web->previews, p);
	/* What comes behind it begins with a slash of its own. */
	return arena_dupn(r->arena, text, strlen(text) - 1);
}

/* --- serving ------------------------------------------------------------------------------------------------------- */

static const struct route ON_HOST = { METHOD_GET, "/*path", ROLE_NONE, NEED_NO_SESSION, 0, serve_preview };

static bool token_valid(const char *text, size_t len)
{
	if (len != TOKEN_TEXT - 1)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'f'))
			return false;
	return true;
}

const struct route *preview_route(struct life *l)
{
	const char *name = l->web->o.conf->preview_host, *host;
	size_t name_len = strlen(name), len;
	unsigned port;

	l->refused = true; /* until it is found to be in order */
	if (l->r.method != METHOD_GET) {
		reply_header(&l->r, "Allow", "GET, HEAD");
		reply_plain(l, 405, "Previews are only read.");
		return NULL;
	}
	/* Exactly TOKEN.host, in lower case, as our own addresses have it. */
	if (!guard_host(l->host->value, strlen(l->host->value), &host, &len, &port) || len != TOKEN_TEXT + name_len ||
	    !token_valid(host, TOKEN_TEXT - 1) || host[TOKEN_TEXT - 1] != '.' || memcmp(host + TOKEN_TEXT, name, name_len) != 0) {
		reply_plain(l, 404, "There is nothing at this address.");
		return NULL;
	}
	if (l->announced.present) {
		reply_plain(l, 413, "Previews take nothing.");
		return NULL;
	}
	l->refused = false;
	l->segments[0].name = "token";
	l->segments[0].value = arena_dupn(l->r.arena, host, TOKEN_TEXT - 1);
	l->n_segments = 1;
	l->rest = l->decoded;
	return &ON_HOST;
}

static void put_policy(struct life *l, const struct preview *p, struct buf *out)
{
	const struct web *w = l->web;
	const struct conf *conf = w->o.conf;
	struct buf own = BUF_INIT(1024);

	if (l->listener->kind == LISTENER_PREVIEW)
		put_origin(w, &own, p->token);
	else
		buf_fmt(&own, "http://%s/preview/%s/ https://%s/preview/%s/", l->host->value, p->token, l->host->value, p->token);
	/*
	 * In a frame of ours the page cannot lead its frame elsewhere (our own frame-src), nor open another window. As a
	 * window of its own it could, and tell there what it has read here: then its scripts do not run.
	 */
	const char *dest = req_header(&l->r, "Sec-Fetch-Dest");
	bool window = dest && strcmp(dest, "document") == 0;
	buf_fmt(out,
	    "sandbox%s; default-src %s data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'none'; form-action 'none'; "
	    "worker-src 'none'; object-src 'none'; base-uri 'none'; webrtc 'block'; frame-ancestors ",
	    window && !WEAK(preview_window) ? "" : " allow-scripts", buf_text(&own));
	if (l->listener->kind != LISTENER_PREVIEW)
		buf_str(out, "'self'");
	else if (w->public_origin[0])
		buf_fmt(out, "%s http://localhost:%u http://127.0.0.1:%u", w->public_origin, conf->port, conf->port);
	else if (conf->allow_plain_http)
		buf_str(out, "http:"); /* by which name people come was not said */
	else
		buf_fmt(out, "http://localhost:%u http://127.0.0.1:%u", conf->port, conf->port);
	buf_release(&own);
}

static void serve_out(struct life *l, const struct preview *p, unsigned status, const char *type, struct MHD_Response *m, uint64_t n)
{
	struct buf policy = BUF_INIT(4096);
	bool ok = m != NULL;

	if (p)
		put_policy(l, p, &policy);
	else
		buf_str(&policy, "sandbox; default-src 'none'");
	const char *const HEADERS[][2] = {
		{ "Content-Type", type },
		{ "Content-Security-Policy", buf_text(&policy) },
		{ "X-Content-Type-Options", "nosniff" },
		{ "Cache-Control", "no-store" },
		{ "Referrer-Policy", "no-referrer" },
		{ "Permissions-Policy", REPLY_PERMISSIONS },
		{ "X-DNS-Prefetch-Control", "off" }, /* a name that is looked up tells something too */
		/* What the policy cannot say: WebRTC goes past connect-src. Browsers that do not know this do not stop it. */
		{ "Connection-Allowlist", "(response-origin)" },
		{ "Cross-Origin-Resource-Policy", "cross-origin" },
		{ "Access-Control-Allow-Origin", "*" }, /* fonts and modules are asked for by an origin without a name */
	};
	for (size_t i = 0; ok && i < sizeof(HEADERS) / sizeof(HEADERS[0]); i++)
		ok = MHD_add_response_header(m, HEADERS[i][0], HEADERS[i][1]) == MHD_YES;
	/* Without its policy nothing of this goes out. */
	ok = ok && !buf_check(&policy);
	buf_release(&policy);
	if (ok) {
		reply_bare(l, status, m, n);
		return;
	}
	if (m)
		MHD_destroy_response(m);
	reply_plain(l, 500, "The preview could not be made.");
}

static enum err say(struct life *l, const struct preview *p, unsigned status, const char *text)
{
	char *line = mem_printf("%s\n", text);
	const size_t n = strlen(line);

	serve_out(l, p, status, "text/plain; charset=utf-8", MHD_create_response_from_buffer_with_free_callback(n, line, free), n);
	return ERR_OK;
}

/* What is to be served, checked against its fingerprint before the first byte goes out. */
struct body { int fd; uint64_t size; };

/* ERR_STALE: the bytes are not those that were named. */
static enum err staged(struct preview *p, struct path path, const struct sha256 *print, struct body *out)
{
	struct fingerprint now;
	enum err e = spool_staged(catalog_door(p->site->catalog), path, FILE_LIMIT, &out->fd, &now, NULL);

	if (e)
		return e;
	out->size = now.size;
	if (sha256_equal(&now.sha256, print) || WEAK(preview_print))
		return ERR_OK;
	sys_close(out->fd);
	return err_set(ERR_STALE, "changed");
}

static enum err approved(struct req *r, struct preview *p, struct path path, const struct sha256 *print, struct body *out)
{
	struct catalog_entry entry;
	struct repo *repo;
	enum err e = catalog_get(p->site->catalog, path, &entry, r->arena);

	if (e)
		return e;
	/* A linked file is shown as production has it; a revoked one is not there. */
	if (!entry.has_approved || entry.approved.approval == APPROVAL_NONE || (!print && entry.approved.approval == APPROVAL_REVOKED))
		return err_set(ERR_NOT_FOUND, "not approved");
	if (print && !sha256_equal(&entry.approved.print.sha256, print))
		return err_set(ERR_STALE, "changed");
	if ((e = tools_repo(r->tools, p->site, &repo)))
		return e;
	return spool_blob(repo, &entry.approved.blob, FILE_LIMIT, &entry.approved.print.sha256, &out->fd, &out->size);
}

static enum err of_record(struct req *r, struct preview *p, struct path path, const struct sha256 *print, struct body *out)
{
	struct db_record_row row;
	struct blob_id blob;
	struct repo *repo;
	bool exec;
	enum err e = db_record_get(tools_db(r->tools), p->site->name, node_key_id(r->web->o.key), p->seq, &row, r->arena);

	if (e || (e = tools_repo(r->tools, p->site, &repo)) || (e = repo_find(repo, &row.commit, path, &blob, &exec)))
		return e;
	return spool_blob(repo, &blob, FILE_LIMIT, print, &out->fd, &out->size);
}

static enum err read_version(struct req *r, struct preview *p, struct path path, struct body *out)
{
	bool itself = path_equal(path, p->path);
	struct expected_file key = { .path = path };

	if (p->version == VERSION_RECORD)
		return of_record(r, p, path, itself ? &p->print : NULL, out);
	if (itself)
		return p->version == VERSION_STAGED ? staged(p, path, &p->print, out) : approved(r, p, path, &p->print, out);
	const struct expected_file *chosen =
	    p->n_selection ? bsearch(&key, p->selection, p->n_selection, sizeof(*p->selection), by_path) : NULL;
	return chosen ? staged(p, path, &chosen->sha256, out) : approved(r, p, path, NULL, out);
}

/* Session and rights, as they are now. */
static bool still_allowed(struct req *r, const struct preview *p, struct path path)
{
	struct db_session session;

	if (p->has_session && db_session_get(tools_db(r->tools), &p->session, &session, r->arena) && !WEAK(preview_session))
		return false;
	struct rules *rules = site_rules(p->site);
	bool ok = role_on(rules, &p->person->who, path) >= ROLE_VIEW || WEAK(preview_rights);
	rules_unref(rules);
	return ok;
}

static enum err serve(struct req *r, struct preview *p)
{
	struct life *l = life_of(r);
	struct body body;
	const char *rest = l->rest;
	size_t n = strlen(rest);
	struct path path;

	if (rest[n - 1] == '/')
		rest = arena_printf(r->arena, "%sindex.html", rest);
	if (path_parse(&path, rest, strlen(rest), r->arena))
		return say(l, p, 404, "There is no such file.");
	if (!still_allowed(r, p, path))
		return say(l, p, 404, "There is no such file.");
	enum err e = read_version(r, p, path, &body);
	if (!e) {
		struct MHD_Response *m = MHD_create_response_from_fd64(body.size, body.fd);

		if (!m)
			sys_close(body.fd);
		serve_out(l, p, 200, mime_type(path.s), m, body.size);
		return ERR_OK;
	}
	switch (e) {
	case ERR_STALE:
	case ERR_BUSY:
		return say(l, p, 409, "This file has changed since it was shown. Load the page again to see how it is now.");
	case ERR_TOO_BIG:
		return say(l, p, 413, "This file has more than 32 MiB, too many for a preview. It can be downloaded from its own page.");
	case ERR_FAILED:
		log_event(LOG_LEVEL_ERROR, "preview.failed", "text", err_text(), NULL);
		return say(l, p, 500, "The preview could not be made.");
	default:
		return say(l, p, 404, "There is no such file, or it is not approved.");
	}
}

enum err serve_preview(struct req *r)
{
	struct life *l = life_of(r);
	const char *token = req_segment(r, "token");
	struct preview *p = token && token_valid(token, strlen(token)) ? get(r->web->previews, token) : NULL;

	/* With a preview host there is no second way in. */
	if (p && l->listener->kind != LISTENER_PREVIEW && r->web->o.conf->preview_port) {
		preview_unref(p);
		p = NULL;
	}
	if (!p)
		return say(l, NULL, 404, "This preview has ended. Load the page again.");
	enum err e = serve(r, p);
	preview_unref(p);
	return e;
}
