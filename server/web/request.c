/*
 * request: the life of a request, in the order of web.h. libmicrohttpd calls http_begin() with the target,
 * http_step() with the headers, with each piece of the body, at its end, and again after a resume, and
 * http_done() when the reply is sent or the connection lost.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/weaken.h"
#include "web/life.h"

#define SPARES 64
#define TOO_MUCH "The server has too much to do. Try again in a moment."
#define BODIES_LIMIT (128u << 20) /* bytes of request bodies held at once, over all requests */
#define BODY_GRACE (1u << 20) /* so much of a body that is too large is read, so that its sender sees the answer */
#define PROGRESS 4096 /* bytes of a body that are worth a crowd's patience once more */
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
	/* The first line is here: what is left of the headers has the time that headers have, on a used connection too. */
	if (l->conn && atomic_load_explicit(&l->conn->phase, memory_order_relaxed) == PHASE_IDLE)
		conn_phase(l->conn, PHASE_HEADERS, w->o.conf->header_deadline_us);
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
	l->r.local = listener->kind == LISTENER_LOCAL;
	l->r.address = l->conn ? l->conn->address : "unknown";
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

/* The last address of a list is the one that the proxy has put there. */
static void proxy_address(struct life *l)
{
	const struct guard_header *h = guard_find(l->headers, l->n_headers, l->web->o.conf->proxy_address_header);
	const char *last = h ? strrchr(h->value, ',') : NULL;
	unsigned char binary[sizeof(struct in6_addr)];
	char text[INET6_ADDRSTRLEN] = "";
	size_t n;

	for (size_t i = 0; h && i < l->n_headers; i++)
		if (&l->headers[i] != h && l->headers[i].name_len == h->name_len && strncasecmp(l->headers[i].name, h->name, h->name_len) == 0)
			return; /* two of them: which is the proxy's? */
	last = last ? last + 1 : h ? h->value : "";
	last += strspn(last, " \t");
	n = strcspn(last, " \t");
	if (!n || n >= sizeof(text))
		return;
	memcpy(text, last, n);
	if (inet_pton(AF_INET, text, binary) == 1 || inet_pton(AF_INET6, text, binary) == 1)
		l->r.address = arena_dup(l->r.arena, text);
}

/* Only he whom the configuration names may say who others are. */
static bool proxy_peer(struct life *l)
{
	if (l->conn && (l->conn->uid == l->web->proxy_uid || WEAK(proxy_peer))) {
		proxy_address(l);
		return true;
	}
	log_event(LOG_LEVEL_WARN, "auth.proxy.refused", "uid", log_u64(l->conn ? l->conn->uid : (uid_t)-1), "why", "this socket is the proxy's", NULL);
	refuse(l, 403, "This socket is the proxy's.");
	return false;
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
	if (l->listener->kind == LISTENER_PROXY && !proxy_peer(l))
		return;
	l->host = guard_find(l->headers, l->n_headers, "Host");
	l->r.method = method_of(method, &l->r.head);
	if (!l->r.method && strcmp(method, "OPTIONS") != 0) {
		refuse(l, 501, "That method is not known here.");
		return;
	}
	if (target_decode(&l->decoded, l->target, l->path_len, l->r.arena)) {
		refuse(l, 400, err_text());
		return;
	}
	if (l->listener->kind == LISTENER_PREVIEW) {
		l->r.route = preview_route(l);
		if (!l->r.route)
			return;
	} else if ((l->listener->kind == LISTENER_MAIN || l->listener->kind == LISTENER_PROXY) && !host_known(l)) {
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
	/* Who goes on sending has not waited. */
	if (l->conn && l->body_seen / PROGRESS != (l->body_seen - n) / PROGRESS)
		atomic_store_explicit(&l->conn->since, clock_boot(), memory_order_relaxed);
}

static enum MHD_Result send_reply(struct life *l)
{
	struct MHD_Response *response = l->page ? page_response(l->page, l->page_same) : l->shared ? l->shared : l->response;

	l->stage = STAGE_SENT;
	if (l->conn)
		conn_phase(l->conn, l->stream ? PHASE_STREAM : PHASE_REPLY,
		    l->stream ? STREAM_PATIENCE : l->web->o.conf->response_deadline_us + (int64_t)(l->reply_size / SLOWEST) * CLOCK_SECOND);
	if (l->stream)
		MHD_set_connection_option(l->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
	return MHD_queue_response(l->mhd, l->status, response);
}

/* --- workers -------------------------------------------------------------------------------------------------------- */

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

	bool done;

	l->r.tools = tools;
	done = request_run(l);
	if (tx_open(tools_db(tools))) {
		/* Our own bug; a transaction left open would be committed by somebody else's act. */
		log_event(LOG_LEVEL_ERROR, "http.transaction", "text", "a handler left a transaction open", "route", l->r.route ? l->r.route->address : "-", NULL);
		abort();
	}
	l->r.tools = NULL;
	if (!done) {
		/* Once it is queued it is another thread's. */
		l->patient = true;
		if (pool_add(l->web->patient, (struct pool_job){ work, l }) == ERR_OK)
			return;
		reply_plain(l, 503, TOO_MUCH);
	}
	life_resume(l->web, l->mhd);
}

static enum MHD_Result body_ended(struct life *l)
{
	const struct route *route = l->r.route;

	if (l->conn) {
		conn_phase(l->conn, PHASE_WORK, 0);
		if (conns_quick(l->web->conns, l->conn))
			gate_room(l->web->gate);
	}
	if ((!route || (route->needs & ROUTE_MEMORY)) && request_run(l))
		return send_reply(l);
	l->stage = STAGE_WORKER;
	if (!life_suspend(l->web, l->mhd)) {
		refuse(l, 503, "The server is stopping. Try again in a moment.");
		return send_reply(l);
	}
	if (pool_add(l->web->pool, (struct pool_job){ work, l })) {
		/* Resumed at once: libmicrohttpd calls again, and the reply is there. */
		reply_plain(l, 503, TOO_MUCH);
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
			conn_phase(l->conn, PHASE_BODY, l->web->o.conf->body_deadline_us);
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
	if (l->listener->kind != LISTENER_PREVIEW && strncmp(l->target, "/preview/", 9) == 0)
		return "/preview/...";
	return l->target;
}

/* A client that closes at once may have had the whole reply: that is not said to be lost. */
static const char *end_for_log(const struct life *l, enum MHD_RequestTerminationCode why)
{
	if (why == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		return NULL;
	if (why == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED)
		return "timeout";
	return l->stage == STAGE_SENT ? "closed" : "lost";
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
	log_event(LOG_LEVEL_INFO, "http", "id", l->id, "from", l->r.address, "user", l->r.person ? l->r.person->who.user : NULL, "token",
	    l->r.by_token ? l->r.person->who.limit->token : NULL, "method", l->method_text,
	    "target", target_for_log(l), "status", log_u64(l->status), "us", log_u64((unsigned long long)(clock_boot() - l->begun)), "end",
	    end_for_log(l, why), "why", l->why, NULL);
	if (l->conn)
		conn_phase(l->conn, PHASE_IDLE, w->o.conf->idle_us + w->o.conf->header_deadline_us);
	if (l->response)
		MHD_destroy_response(l->response);
	page_unref(l->page);
	request_forget_person(l);
	if (l->r.rules)
		rules_unref(l->r.rules);
	json_decref(l->r.body);
	if (l->body.len)
		atomic_fetch_sub(&w->body_bytes, l->body.len);
	buf_release(&l->body);
	life_free(l);
}
