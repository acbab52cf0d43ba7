/*
 * life: what the files of this room share about a running server, a connection and a request. Not for pages/ and api/.
 *
 * Threads: a request belongs to the network thread of its connection, except between life_suspend() and
 * MHD_resume_connection(), when it belongs to one worker. Nothing of it is touched by both at once.
 */
#ifndef DRYDOCK_WEB_LIFE_H
#define DRYDOCK_WEB_LIFE_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/pool.h"
#include "web/form.h"
#include "web/guard.h"
#include "web/jobs.h"
#include "web/web.h"

#define LIFE_ADDED 12 /* headers that a handler may add */
#define LIFE_SEGMENTS 6 /* ":name" parts of an address */

enum listener_kind { LISTENER_MAIN, LISTENER_LOCAL, LISTENER_PREVIEW, LISTENER_PROXY, LISTENER_COUNT };

struct listener {
	struct web *web;
	enum listener_kind kind;
	struct MHD_Daemon *daemon; /* NULL: not used */
	int fd;
	char path[108]; /* of the local socket, or the proxy's */
};

/* --- connections and their absolute deadlines (web/deadlines.c) ----------------------------------------------------- */

/* What a connection is waiting for. */
enum phase { PHASE_HEADERS, PHASE_PLACE, PHASE_IDLE, PHASE_BODY, PHASE_WORK, PHASE_REPLY, PHASE_STREAM };
enum gate_queue { QUEUE_NONE, QUEUE_QUICK, QUEUE_SLOW };

struct conn {
	struct conn *prev, *next;
	struct listener *listener;
	int fd;
	_Atomic bool cut; /* shut down by a deadline; or between gate and libmicrohttpd, where nobody may */
	bool inside, slow; /* libmicrohttpd has it; its first request came without all of its body */
	uid_t uid; /* of the local peer; (uid_t)-1 if unknown */
	_Atomic enum phase phase;
	_Atomic int64_t since; /* of the phase: clock_boot */
	_Atomic int64_t deadline; /* clock_boot; 0: none */
	char address[INET6_ADDRSTRLEN];
	LIST_ENTRY(conn) same; /* addresses of one hash */
	/* the gate's: */
	TAILQ_ENTRY(conn) at_gate, queued;
	enum gate_queue queue;
	size_t here; /* bytes that have come */
};

/*
 * libmicrohttpd's timeout measures idle time, and is renewed by each byte. These are absolute: a thread looks twice a
 * second (only while there are connections) and shuts the socket of an overdue one down, which libmicrohttpd then
 * cleans up. conns_remove() is called before the descriptor is closed, under the same lock, so that a descriptor
 * number is never shut down that already belongs to somebody else.
 *
 * When a listener has more than three quarters of its connections, those go first that have waited longest for their
 * peer: a crowd of slow ones from many addresses must not keep everybody else out until its deadlines pass.
 */
struct conns;
struct conns *conns_new(void);
void conns_free(struct conns *c);
/* NULL: more from one address than its share, which is said in the log. */
struct conn *conn_new(struct listener *l, int fd);
void conns_add(struct conns *c, struct conn *conn);
void conns_enter(struct conns *c, struct conn *conn); /* it takes one of its listener's places; not cut until conns_begin() */
void conns_begin(struct conns *c, struct conn *conn);
void conns_remove(struct conns *c, struct conn *conn);
bool conns_room(struct conns *c, const struct listener *l, bool slow); /* is there a place? */
void conns_slow_wait(struct conns *c, int kind, bool some); /* somebody waits for a place with a body that is not all here */
bool conns_quick(struct conns *c, struct conn *conn); /* its body has come; true: it had been slow */
size_t conns_count(struct conns *c);
size_t conns_of(struct conns *c, const char *address); /* how many that address has, over all listeners */
void conn_phase(struct conn *c, enum phase phase, int64_t us_from_now); /* 0: no deadline */

/* --- before libmicrohttpd (web/gate.c) ------------------------------------------------------------------------------- */

/* The server's own port and that of previews; behind the sockets of this machine there is no crowd. */
static inline bool listener_gated(const struct listener *l)
{
	return l->kind == LISTENER_MAIN || l->kind == LISTENER_PREVIEW;
}

struct gate;
enum err gate_new(struct gate **out, struct web *w, size_t places) MUST_CHECK; /* places: how many may wait */
enum err gate_open(struct gate *g) MUST_CHECK; /* the listeners have their daemons: take connections in */
void gate_close(struct gate *g); /* none comes in any more, and who waits is sent away */
void gate_free(struct gate *g); /* after the daemons */
/* libmicrohttpd begins with a connection: which one it is. NULL: none of the gate's. */
struct conn *gate_taken(struct gate *g, int fd);
void gate_room(struct gate *g); /* a place has become free */

/* --- the server ---------------------------------------------------------------------------------------------------- */

struct web {
	struct web_options o;
	struct web_site *sites; /* a copy of o.sites */
	struct listener listeners[LISTENER_COUNT];
	struct conns *conns;
	struct gate *gate;
	struct pool *pool, *patient; /* patient: for what may wait long, so that pages do not */
	struct jobs *jobs; /* acts that browsers asked for run there */
	struct view_set *views;
	struct statics *statics;
	struct page_cache *cache;
	struct streams *streams;
	struct previews *previews;
	struct demo *demo;
	char public_origin[300]; /* of conf public_url: "https://drydock.example.org", "" if not set */
	const char *public_host; /* its host part with port, in public_origin; NULL */
	size_t public_host_len; /* without the port */
	bool secure; /* public_url is https */
	uid_t proxy_uid; /* who may connect to the proxy's socket */
	const char *cookie_name;
	char policy[512]; /* Content-Security-Policy of pages */
	char id_prefix[9];
	_Atomic uint64_t next_id;
	_Atomic uint64_t body_bytes; /* of bodies that are being held */
	_Atomic uint64_t requests, by_class[6]; /* answered, and by status / 100 */
	pthread_mutex_t lock; /* around what follows */
	pthread_cond_t idle;
	bool stopping;
	uint64_t turned_away; /* connections, since it was said last */
	int64_t turned_away_said;
	size_t suspended; /* connections: libmicrohttpd aborts if one is when it is stopped */
	struct life *spare; /* request structures for reuse */
	size_t n_spare;
};

/* --- a request ----------------------------------------------------------------------------------------------------- */

enum life_stage { STAGE_HEADERS, STAGE_BODY, STAGE_WORKER, STAGE_SENT };

struct life {
	struct req r; /* first: a handler's struct req is this */
	struct life *next_spare;
	struct web *web;
	struct listener *listener;
	struct conn *conn;
	struct MHD_Connection *mhd;
	enum life_stage stage;
	bool whole_target, refused; /* refused: the connection is closed after the reply */
	const char *target_at; /* where it was received; compared, not read */
	char *target; /* as it came; in the arena */
	size_t target_len, path_len; /* path_len: up to the '?' */
	const char *decoded; /* path_len decoded once, checked; in the arena */
	char method_text[8];
	struct guard_header headers[GUARD_HEADERS];
	size_t n_headers;
	const struct guard_header *host;
	struct guard_body announced;
	struct buf body;
	uint64_t body_seen;
	bool body_over; /* more came than the row allows */
	bool parsed; /* query and form are parsed */
	struct fields query, form;
	struct { const char *name, *value; } segments[LIFE_SEGMENTS];
	size_t n_segments;
	const char *rest; /* "*path": "/..." or "/" */
	struct { const char *name, *value; } added[LIFE_ADDED];
	size_t n_added;
	struct MHD_Response *response;
	struct page *page; /* or a shared reply of the page cache */
	bool page_same; /* 304 */
	struct MHD_Response *shared; /* or one that lives as long as the server */
	bool replied;
	const char *why; /* of a refusal, for the log */
	unsigned status;
	uint64_t reply_size;
	bool patient_wanted, patient; /* req_patient(): it is to run, it runs on that pool */
	bool cache_wanted;
	uint64_t cache_generation, acts; /* acts: the site's generation when rules were asked for */
	const char *cache_key;
	size_t cache_key_len;
	struct stream *stream;
	int64_t begun;
	char id[32];
};

static inline struct life *life_of(struct req *r)
{
	return r->internal;
}

/* web/request.c: the callbacks of libmicrohttpd; cls is the struct listener. */
void *http_begin(void *cls, const char *target, struct MHD_Connection *c);
enum MHD_Result http_step(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
    const char *upload, size_t *upload_size, void **con_cls);
void http_done(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode why);
void request_spares_free(struct web *w);
/* web/answer.c */
/* Body and all are here: one reply comes out of this, or false: it must run on a worker. */
bool request_run(struct life *l);
void request_forget_person(struct life *l);
/* Session or peer, as they are now; on a worker (r->tools) through the database. ERR_RETRY: it must be asked there. */
enum err request_person(struct life *l);
/* Rules and role as they are now; ERR_NOT_FOUND or ERR_DENIED if the row's right is not given. */
enum err request_rights(struct life *l);
/* Under the server's lock: suspend, unless the server is stopping. Counted: life_resumed() for each. */
bool life_suspend(struct web *w, struct MHD_Connection *c);
void life_resume(struct web *w, struct MHD_Connection *c);

/* web/routes.c */
/* The row for the decoded path, and its parts. NULL: none; then *allow has the methods that other rows of it take. */
const struct route *route_find(struct life *l, enum method method, unsigned *allow);
enum err routes_check(void) MUST_CHECK; /* every writing row has its token; rights only where there is a site */

/* web/csrf.c */
enum err csrf_origin(struct life *l); /* of every request: a write from elsewhere, a GET that embeds what is private */
enum err csrf_token(struct life *l);
bool host_known(struct life *l); /* a name of ours: else somebody else's name points here */
/* The session's token from the Cookie header; NULL if absent or given twice. */
const char *cookie_token(struct life *l);

/* web/reply.c */
/* Nothing of these is used by a page, and a preview must not ask for any of it in our name. */
#define REPLY_PERMISSIONS \
	"accelerometer=(), autoplay=(), camera=(), display-capture=(), fullscreen=(), geolocation=(), gyroscope=(), magnetometer=(), " \
	"microphone=(), midi=(), payment=(), publickey-credentials-get=(), screen-wake-lock=(), usb=(), xr-spatial-tracking=()"
/* The security headers that are on every answer but previews; false: no memory. cache NULL: no-store. */
bool reply_dress(const struct web *w, struct MHD_Response *m, const char *cache) MUST_CHECK;
/* Takes the response; with the security headers, and without any. cache NULL: no-store. */
void reply_raw(struct life *l, unsigned status, struct MHD_Response *response, uint64_t size, const char *cache);
void reply_bare(struct life *l, unsigned status, struct MHD_Response *response, uint64_t size);
void reply_plain(struct life *l, unsigned status, const char *text); /* before there is a session */
void reply_status(struct life *l, unsigned status, const char *title, const char *detail, json_t *extra);
void reply_body(struct life *l, unsigned status, const char *type, struct buf *body, const char *cache);
unsigned reply_status_of(enum err code);

/* web/cache.c */
struct page;
struct page_cache *page_cache_new(size_t limit);
void page_cache_free(struct page_cache *c);
/* Takes the response; l gets a reference. */
void page_cache_put(struct life *l, struct MHD_Response *response, uint64_t size, const char *etag);
void page_unref(struct page *p);
struct MHD_Response *page_response(const struct page *p, bool same);

/* web/static.c */
enum err statics_load(struct web *w, const char *dir) MUST_CHECK;
enum err statics_dress(struct web *w) MUST_CHECK; /* after the policy is made: the replies */
void statics_free(struct statics *s);
const char *statics_version(const struct statics *s); /* one for all files */

/* web/stream.c */
#define STREAM_PATIENCE (60 * CLOCK_SECOND) /* a client that does not take what was sent is cut off */
struct streams *streams_new(struct web *w);
void streams_stop(struct streams *s); /* end all: before libmicrohttpd is stopped */
void streams_free(struct streams *s);
size_t streams_count(struct streams *s);
void stream_done(struct life *l); /* the request is over */

/* web/preview.c */
struct previews *previews_new(struct web *w);
void previews_free(struct previews *p);
void previews_forget(struct previews *p, const struct sha256 *session);
void previews_policy(struct web *w, struct buf *out); /* what frame-src says */
/* A request on the preview listener: the row for its host, or NULL after a reply. */
const struct route *preview_route(struct life *l);

/* web/demo.c */
enum err demo_start(struct demo **out, const struct conf *conf) MUST_CHECK;
void demo_stop(struct demo *d);

/* web/listen.c */
enum err listen_tcp(const char *address, unsigned port, int *fd) MUST_CHECK;

#endif
