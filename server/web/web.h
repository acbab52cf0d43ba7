/*
 * web: the listeners, the life of a request, routes, replies. microhttpd.h is included in this room only (through
 * web/life.h, which the files of pages/ and api/ do not see).
 *
 * The order is the same for all: guard (smuggling shapes, bad targets) → row of the route table (404, 405 with Allow from
 * the table, 413) → body up to the row's limit → session → CSRF and Origin → path parsed → right on that path →
 * handler → exactly one reply → completion: no transaction open, one log line, arena dropped.
 * Rows marked ROUTE_MEMORY run on the network thread: they touch memory only and never wait. All others run on a worker
 * (its own database connection and repository handles), the connection suspended meanwhile.
 */
#ifndef DRYDOCK_WEB_WEB_H
#define DRYDOCK_WEB_WEB_H

#include <stdbool.h>
#include <stdint.h>

#include "acts/acts.h"
#include "auth/auth.h"
#include "base/json.h"
#include "check/keeper.h"
#include "conf/conf.h"
#include "sync/sync.h"
#include "view/view.h"

#define WEB_PATIENT 16 /* threads for requests that wait for a password to be checked, each with a database connection */

struct web;
struct web_site { struct site *site; struct sync *sync; };
struct web_options {
	const struct conf *conf;
	struct auth *auth;
	struct site *installation;
	const struct web_site *sites;
	size_t n_sites;
	const struct node_key *key;
	const struct db_address *database;
	const char *socket; /* <data>/drydock.sock */
	struct keeper *keeper; /* of checks */
};
/* Listens (ERR_INPUT "port 8087 is in use: ..."), answers from then on. */
enum err web_start(struct web **out, const struct web_options *o) MUST_CHECK;
/* No new requests; those running end (bounded), streams are closed; frees. */
void web_stop(struct web *w);

/* --- one request --------------------------------------------------------------------------------------------------- */

enum method { METHOD_GET = 1, METHOD_POST = 2, METHOD_PUT = 4, METHOD_DELETE = 8 }; /* HEAD is answered as GET */

enum route_needs {
	NEED_CSRF = 1, /* writes from a browser: token in the form or X-CSRF-Token, and Origin. The socket is exempt */
	NEED_NO_SESSION = 2, /* anybody, logged in or not */
	NEED_SITE_ADMIN = 4, /* admin on "/" of the site, whatever the path is */
	ROUTE_MEMORY = 8, /* see above */
	ROUTE_API = 16, /* errors as problem+json, never a redirect to the login page */
	ROUTE_STREAM = 32, /* server-sent events */
	ROUTE_ANY_SITE_ADMIN = 64, /* installation-wide pages: admin on "/" of some site */
	/*
	 * Lists of a directory: somebody without a role on it, but with one below it, gets through with r->role ==
	 * ROLE_NONE, since ancestors of what is visible are shown by name (req_view() keeps the rest out). Without this a
	 * path on which the role is below ROLE_VIEW does not exist: 404.
	 */
	ROUTE_ANCESTOR = 128,
	NEED_NO_TOKEN = 256, /* an API token may not do this: passwords, tokens, sessions */
};

struct req;
/*
 * Makes exactly one reply and returns what the reply call returned; or makes none and returns a code, which becomes
 * reply_error(). A ROUTE_MEMORY handler that finds that it must wait after all returns ERR_RETRY before it has replied:
 * it is called again on a worker, with r->tools set.
 */
typedef enum err handler_fn(struct req *r);

struct route {
	unsigned method;
	/* ":site" a site's name, ":name" one segment, "*path" the rest of the target, decoded once: a DryDock path */
	const char *address;
	enum role right; /* on the path in *path, else in the query's or form's "path", else "/" (ROLE_NONE: only a session) */
	unsigned needs;
	size_t body_limit;
	handler_fn *handler;
};
/*
 * web/routes.c; ends with a row of zeroes. Rows are added in web/pages/routes.def and web/api/routes.def:
 *   ROUTE(METHOD_GET, "/s/:site/history", ROLE_VIEW, ROUTE_ANCESTOR, 0, page_history)
 * The handler's prototype is made from the row. The first row that fits wins. "*path" fits nothing at all too: "/".
 * A row that writes (not GET) has NEED_CSRF, or NEED_NO_SESSION (login); the server refuses to start otherwise.
 */
extern const struct route routes[];

struct req {
	struct web *web;
	const struct route *route;
	struct arena *arena; /* dropped when the reply is sent */
	struct actor_tools *tools; /* NULL in a ROUTE_MEMORY handler */
	enum method method;
	bool head;
	bool local; /* came in by the local socket */
	struct person *person; /* NULL: nobody */
	struct session session; /* zero on the local socket */
	bool has_session;
	bool by_proxy; /* the proxy said who he is: there is nothing to log out of */
	bool by_token; /* came with an API token: session is the token's, without CSRF token; person->who.limit bounds it */
	const char *address; /* of the peer */
	const char *id; /* for the log */
	/* of the route */
	struct site *site; /* NULL: the route has none */
	struct sync *sync;
	struct rules *rules; /* of the site, as they were when the request began */
	uint64_t rules_version;
	struct path path; /* parsed; "/" if none was given */
	bool has_path;
	enum role role; /* his on path */
	json_t *body; /* parsed JSON body, or NULL */
	void *internal;
};

/*
 * Decoded exactly once, valid UTF-8 without NUL; NULL if absent. A name given twice is refused before the handler runs,
 * except names that end in "[]" (check boxes: name="path[]"), which are read with the _count and _at calls.
 */
const char *req_segment(struct req *r, const char *name); /* ":name" of the route */
const char *req_query(struct req *r, const char *name);
const char *req_form(struct req *r, const char *name); /* application/x-www-form-urlencoded */
const char *req_form_name(struct req *r, size_t i); /* of the i-th field; NULL past the end */
size_t req_form_count(struct req *r, const char *name); /* name with its "[]" */
const char *req_form_at(struct req *r, const char *name, size_t i);
const char *req_header(struct req *r, const char *name);
const char *req_target(struct req *r); /* as it came: "/s/www/tree/a%20b?show=changed"; for links back to here */
/* A number from query or form within bounds, or the fallback. */
enum err req_number(struct req *r, const char *name, uint64_t low, uint64_t high, uint64_t fallback, uint64_t *out) MUST_CHECK;
/* A ":name" of the address that must be a number above 0: ERR_NOT_FOUND otherwise. */
enum err req_segment_number(struct req *r, const char *name, uint64_t *out) MUST_CHECK;
/* His role on another path; visibility of it. */
enum role req_role_on(struct req *r, struct path p);
struct catalog_view req_view(struct req *r);
/*
 * Before a handler waits for what may take seconds (a password): if it is false, return ERR_RETRY; the handler is called
 * again on a thread that nobody else needs.
 */
bool req_patient(struct req *r);
/* Forget the text of a password that came with this request, which is a string of its form or body. */
void req_wipe(struct req *r, const char *secret);
/* False for the sites that his token is not for; a role is to be asked for besides. */
bool req_site_open(const struct req *r, const struct site *s);

/* The site of that name, or NULL; all of them: web_sites(). Rights are the caller's matter. */
const struct web_site *web_site(struct web *w, const char *name);
size_t web_sites(struct web *w, const struct web_site **out);
const struct conf *web_conf(struct web *w);
struct auth *web_auth(struct web *w);
struct site *web_installation(struct web *w);
const struct node_key *web_key(struct web *w);
struct keeper *web_keeper(struct web *w);
struct jobs *web_jobs(struct web *w); /* web/jobs.h */

/* --- replies (web/reply.c): each handler makes exactly one, and returns what the call returns ----------------------- */

/* Render a page: the layout's names (title, user, site, csrf, nav ...) are filled in here; m: the page's own model. */
enum err reply_page(struct req *r, unsigned status, const char *stem, const char *title, struct view_map *m);
enum err reply_json(struct req *r, unsigned status, struct buf *body); /* takes the buffer's bytes */
enum err reply_bytes(struct req *r, unsigned status, const char *type, struct buf *body, const char *download_name); /* takes; download_name NULL: inline */
enum err reply_redirect(struct req *r, const char *location); /* 303, our own addresses only */
enum err reply_empty(struct req *r, unsigned status);
/* A code and err_text() as a page or problem+json; the only place that maps codes to statuses. extra: members of the problem, taken (NULL: none). */
enum err reply_error(struct req *r, enum err code, json_t *extra);
void reply_header(struct req *r, const char *name, const char *value); /* before the reply */
void reply_retry_after(struct req *r); /* of the thread's last ERR_WAIT; before the reply */
void reply_why(struct req *r, const char *why); /* of a page that refuses: for the log's line; lives as long as the request */
/* The session's cookie; end: take it back (token NULL), and the previews of that session with it. */
void reply_cookie(struct req *r, const char *token, bool end);
/* A file larger than memory: streamed from a descriptor, which is taken. */
enum err reply_fd(struct req *r, const char *type, int fd, uint64_t size, const char *download_name);

/*
 * A page (status 200) kept in memory for the same target, person, session, rules, act and sync state and minute.
 * reply_cached(): true if it was there: the reply is made, return ERR_OK. generation: of what the page shows, e.g.
 * catalog_generation() of its directory. If it is false, build the page, and call reply_cache_put() just before
 * reply_page(), with the generation that was read before the page was built.
 */
bool reply_cached(struct req *r, uint64_t generation);
void reply_cache_put(struct req *r, uint64_t generation);

/*
 * Server-sent events: next() is called on a worker when the site or the sync changed; it appends events. A comment
 * goes out every 15 s. Before each call session, rules and role are asked again; the stream ends if they no longer let
 * him in. During next() r->arena is a fresh one, dropped afterwards: what lives longer belongs into state, which is
 * made in r->arena before reply_stream().
 */
typedef enum err stream_fn(struct req *r, void *state, struct buf *out, bool *end);
enum err reply_stream(struct req *r, stream_fn *next, void *state);
/* The same, and next() is called too when mark(), asked four times a second, gives another number. mark: memory only. */
enum err reply_stream_marked(struct req *r, stream_fn *next, uint64_t (*mark)(void *state), void *state);

/* --- addresses (web/address.c): the one place that writes them ------------------------------------------------------ */

/* "/s/<site><tail><path, percent-encoded>[?query]" in the arena: addr(r, "/tree", &path, NULL). */
const char *addr(struct req *r, const char *tail, const struct path *path, const char *query);
void percent_encode(struct buf *out, const char *s, bool slash_too);
/* Text that came from outside as an address of ours, for redirects (?next=): itself, or "/" if it leads elsewhere. */
const char *address_of_ours(const char *text);

/*
 * A capability of ten minutes for a preview, bound to session, site, person, path and fingerprint: the address of its
 * frame. version: "staged" (the bytes must still have that SHA-256 when they are served), "approved", or "@SEQ": the
 * approved version of that record. Linked files are the approved ones.
 */
const char *preview_address(struct req *r, struct path path, const char *version, const struct sha256 *print);
/*
 * One capability for the files of a selection: what of it is unsigned, changed or revoked is served as staged, with the
 * fingerprint that it has there, and everything else as production has it. So a page looks as it will when all of them
 * are signed. At most 10,000 files are taken, from the given one on. An address without a path: put one behind it.
 */
const char *preview_selection(struct req *r, const struct selection *s, size_t from);

#endif
