/*
 * listen: the sockets, libmicrohttpd's daemons, start and stop.
 *
 * `poll`, not epoll, which freezes when exactly 128 connections are ready at once; a pool of two network threads for
 * browsers, one thread for the local socket and one for previews.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/weaken.h"
#include "web/life.h"

#define CONNECTION_MEMORY (40 * 1024) /* headers and target of one request, and what is sent */
#define CACHE_LIMIT (8 * 1024 * 1024)
#define STOP_PATIENCE (30 * CLOCK_SECOND)
#define BACKLOG 4096 /* the kernel takes less where net.core.somaxconn is lower */
#define GATE_FACTOR 16u /* so many more may wait at the gate than are served */
#define SPARE_PLACES 64

/* --- sockets ------------------------------------------------------------------------------------------------------- */

static bool loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24) == 127;
	return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static enum err resolve(const char *address, unsigned port, struct sockaddr_storage *out, socklen_t *len)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
	struct addrinfo *list = NULL;
	char service[8];

	snprintf(service, sizeof(service), "%u", port);
	const char *host = strcmp(address, "localhost") == 0 ? "127.0.0.1" : address;
	if (port > 65535 || getaddrinfo(host, service, &hints, &list) || !list)
		return err_set(ERR_INPUT, "address %s, port %u: write the address in figures, such as 127.0.0.1 or ::1", address, port);
	memcpy(out, list->ai_addr, list->ai_addrlen);
	*len = list->ai_addrlen;
	freeaddrinfo(list);
	return ERR_OK;
}

enum err listen_tcp(const char *address, unsigned port, int *fd)
{
	struct sockaddr_storage a;
	socklen_t len;
	int one = 1;
	enum err e = resolve(address, port, &a, &len);

	if (e)
		return e;
	int s = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s < 0)
		return err_sys(ERR_FAILED, "cannot make a socket");
	if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)))
		e = err_sys(ERR_FAILED, "SO_REUSEADDR");
	else if (bind(s, (struct sockaddr *)&a, len) || listen(s, BACKLOG))
		e = errno == EADDRINUSE ? err_set(ERR_INPUT, "port %u is in use: another program listens on %s", port, address)
		                        : err_sys(ERR_INPUT, "cannot listen on %s, port %u", address, port);
	if (e) {
		close(s);
		return e;
	}
	*fd = s;
	return ERR_OK;
}

static enum err listen_unix(const char *path, int *fd)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(a.sun_path))
		return err_set(ERR_INPUT, "%s: the path of a socket has at most %zu bytes; use a shorter data directory", path, sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path) + 1);
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s < 0)
		return err_sys(ERR_FAILED, "cannot make a socket");
	/* What a daemon that was killed left behind is removed, one that answers is not: it still has the data directory. */
	if (connect(s, (struct sockaddr *)&a, sizeof(a)) == 0) {
		close(s);
		return err_set(ERR_INPUT, "%s: another server is running on this data directory", path);
	}
	int why = errno;
	close(s);
	if (why == ECONNREFUSED && sys_unlink(AT_FDCWD, path, 0))
		return err_sys(ERR_FAILED, "cannot remove the old socket %s", path);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s < 0)
		return err_sys(ERR_FAILED, "cannot make a socket");
	/* Anybody of this machine may connect: the kernel says who it is. */
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) || sys_chmod(AT_FDCWD, path, 0666) || listen(s, BACKLOG)) {
		enum err e = err_sys(ERR_INPUT, "cannot listen on %s", path);
		close(s);
		return e;
	}
	*fd = s;
	return ERR_OK;
}

/* --- connections --------------------------------------------------------------------------------------------------- */

static void address_text(char out[INET6_ADDRSTRLEN], const struct sockaddr *a)
{
	const void *bytes = NULL;

	if (a->sa_family == AF_INET)
		bytes = &((const struct sockaddr_in *)(const void *)a)->sin_addr;
	else if (a->sa_family == AF_INET6)
		bytes = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	if (!bytes || !inet_ntop(a->sa_family, bytes, out, INET6_ADDRSTRLEN))
		snprintf(out, INET6_ADDRSTRLEN, "unknown");
}

static void peer_of(struct conn *conn)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);

	conn->uid = (uid_t)-1;
	if (conn->listener->kind == LISTENER_LOCAL || conn->listener->kind == LISTENER_PROXY) {
		struct ucred cred;
		socklen_t cred_len = sizeof(cred);
		if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == 0 && cred_len == sizeof(cred))
			conn->uid = cred.uid;
		snprintf(conn->address, sizeof(conn->address), "%s", conn->listener->kind == LISTENER_LOCAL ? "local" : "proxy");
		return;
	}
	if (getpeername(conn->fd, (struct sockaddr *)&a, &len))
		a.ss_family = AF_UNSPEC;
	address_text(conn->address, (struct sockaddr *)&a);
}

/* One line a second says that connections were refused, the last one's address, and how many: a crowd must not fill the disk. */
static void say_refused(struct web *w, const char *address)
{
	int64_t now = clock_boot();

	pthread_mutex_lock(&w->lock);
	uint64_t n = ++w->turned_away;
	bool say = now - w->turned_away_said >= CLOCK_SECOND;
	if (say) {
		w->turned_away = 0;
		w->turned_away_said = now;
	}
	pthread_mutex_unlock(&w->lock);
	if (say)
		log_event(LOG_LEVEL_WARN, "http.refused", "from", address, "connections", log_u64(n), "why",
		    "too many connections from one address", NULL);
}

struct conn *conn_new(struct listener *l, int fd)
{
	struct conn *conn = mem_alloc(sizeof(*conn));

	conn->listener = l;
	conn->fd = fd;
	peer_of(conn);
	if (!listener_gated(l) || conns_of(l->web->conns, conn->address) < l->web->o.conf->connections_per_address || WEAK(conn_address))
		return conn;
	say_refused(l->web, conn->address);
	free(conn);
	return NULL;
}

static struct conn *connection_begins(struct listener *l, int fd)
{
	struct conn *conn = listener_gated(l) ? gate_taken(l->web->gate, fd) : NULL;

	if (conn)
		return conn;
	conn = conn_new(l, fd);
	if (conn) {
		conns_add(l->web->conns, conn);
		conns_enter(l->web->conns, conn);
		conns_begin(l->web->conns, conn);
	}
	return conn;
}

static void connection_event(void *cls, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code)
{
	struct listener *l = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
		struct conn *conn = connection_begins(l, info ? info->connect_fd : -1);

		if (conn)
			conn_phase(conn, PHASE_HEADERS, l->web->o.conf->header_deadline_us);
		*context = conn;
	} else if (*context) {
		conns_remove(l->web->conns, *context);
		free(*context);
		*context = NULL;
		gate_room(l->web->gate);
	}
}

/* libmicrohttpd would decode '%' and '+' in place; the target is taken as it came and decoded once, by us. */
static size_t no_unescape(void *cls, struct MHD_Connection *c, char *s)
{
	(void)cls;
	(void)c;
	return strlen(s);
}

static void mhd_log(void *cls, const char *fmt, va_list ap)
{
	char text[512];

	(void)cls;
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	while (n > 0 && (size_t)n < sizeof(text) && text[n - 1] == '\n')
		text[--n] = '\0';
	log_event(LOG_LEVEL_DEBUG, "http.library", "text", text, NULL);
}

static enum err daemon_start(struct web *w, enum listener_kind kind, unsigned threads)
{
	struct listener *l = &w->listeners[kind];
	const struct conf *conf = w->o.conf;
	unsigned idle = (unsigned)(conf->idle_us / CLOCK_SECOND);
	const bool gated = listener_gated(l);
	const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem options[] = {
		{ MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)mhd_log, NULL },
		/* A place is free for the gate a little sooner than for libmicrohttpd. */
		{ MHD_OPTION_CONNECTION_LIMIT, (intptr_t)(conf->connections + (gated ? SPARE_PLACES : 0)), NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, idle ? (intptr_t)idle : 1, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL },
		{ MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http_begin, l },
		{ MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_done, l },
		{ MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)connection_event, l },
		{ MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)no_unescape, NULL },
		{ MHD_OPTION_END, 0, NULL }, /* and two that not all have */
		{ MHD_OPTION_END, 0, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};
	struct MHD_OptionItem *more = &options[sizeof(options) / sizeof(*options) - 3];

	if (threads > 1)
		*more++ = (struct MHD_OptionItem){ MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL };
	if (!gated)
		*more = (struct MHD_OptionItem){ MHD_OPTION_LISTEN_SOCKET, l->fd, NULL };

	l->daemon = MHD_start_daemon(flags | (gated ? MHD_USE_NO_LISTEN_SOCKET : 0), 0, NULL, NULL, http_step, l, MHD_OPTION_ARRAY, options,
	    MHD_OPTION_END);
	if (l->daemon)
		return ERR_OK;
	if (!gated)
		l->fd = -1; /* libmicrohttpd closed it */
	return err_set(ERR_FAILED, "cannot start the HTTP server");
}

/* --- start and stop ------------------------------------------------------------------------------------------------ */

static void *worker_start(void *w_)
{
	struct web *w = w_;

	return tools_new(w->o.database);
}

static void worker_stop(void *tools)
{
	tools_free(tools);
}

static enum err public_url(struct web *w)
{
	const char *url = w->o.conf->public_url, *host;
	unsigned port;
	size_t skip = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;

	if (!url[0])
		return ERR_OK;
	size_t n = strcspn(url + skip, "/");
	if (!skip || !guard_host(url + skip, n, &host, &w->public_host_len, &port) || (url[skip + n] && strcmp(url + skip + n, "/") != 0))
		return err_set(ERR_INPUT, "public_url \"%s\" is not like https://drydock.example.org", url);
	snprintf(w->public_origin, sizeof(w->public_origin), "%.*s", (int)(skip + n), url);
	/* As browsers write it. */
	for (char *c = w->public_origin; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	w->public_host = w->public_origin + skip;
	w->secure = skip == 8;
	return ERR_OK;
}

static enum err checks(struct web *w)
{
	const struct conf *conf = w->o.conf;
	struct sockaddr_storage a;
	socklen_t len;
	enum err e;

	if ((e = routes_check()) || (e = public_url(w)) || (e = resolve(conf->address, conf->port, &a, &len)))
		return e;
	if (!loopback((struct sockaddr *)&a) && !conf->allow_plain_http)
		return err_set(ERR_INPUT,
		    "address %s can be reached from other machines, and passwords would travel in the clear: put a proxy with TLS in front and "
		    "listen on 127.0.0.1, or set allow_plain_http",
		    conf->address);
	return ERR_OK;
}

/* Raises what the kernel allows; returns how many may wait at the gate. */
static size_t room_for_connections(const struct conf *conf)
{
	struct rlimit r;

	/* Previews and the local socket have as many again; a raise is tried, and what is there is used. */
	const rlim_t served = (rlim_t)conf->connections * LISTENER_COUNT + 512, want = served + (rlim_t)conf->connections * GATE_FACTOR;
	if (getrlimit(RLIMIT_NOFILE, &r))
		return conf->connections;
	if (r.rlim_cur < want) {
		const rlim_t had = r.rlim_cur;
		r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
		if (setrlimit(RLIMIT_NOFILE, &r))
			r.rlim_cur = had;
	}
	if (r.rlim_cur < served)
		log_event(LOG_LEVEL_WARN, "web.files", "text", "fewer open files are allowed than connections may need", "wanted", log_u64(want), NULL);
	if (r.rlim_cur < served + conf->connections)
		return conf->connections;
	return (size_t)((r.rlim_cur < want ? r.rlim_cur : want) - served);
}


/* The proxy's own socket. Others may try to connect; the kernel says who they are. */
static enum err proxy_listen(struct web *w)
{
	const struct conf *conf = w->o.conf;
	struct listener *l = &w->listeners[LISTENER_PROXY];
	int n = *conf->proxy_socket ? snprintf(l->path, sizeof(l->path), "%s", conf->proxy_socket)
	                            : snprintf(l->path, sizeof(l->path), "%s/proxy.sock", conf->data);
	enum err e;

	if (n >= (int)sizeof(l->path)) {
		l->path[0] = '\0';
		return err_set(ERR_INPUT, "proxy_socket: the path of a socket has at most %zu bytes", sizeof(l->path) - 1);
	}
	e = auth_unix_uid(conf->proxy_user, &w->proxy_uid);
	if (!e)
		e = listen_unix(l->path, &l->fd);
	if (e)
		l->path[0] = '\0'; /* not ours to remove */
	return e;
}

static enum err start(struct web *w)
{
	const struct conf *conf = w->o.conf;
	struct listener *main_l = &w->listeners[LISTENER_MAIN], *local = &w->listeners[LISTENER_LOCAL], *preview = &w->listeners[LISTENER_PREVIEW];
	enum err e;

	if ((e = checks(w)))
		return e;
	const size_t places = room_for_connections(conf);
	if ((e = view_load(&w->views, conf->templates)) || (e = statics_load(w, conf->static_files)))
		return e;
	/* All sockets first: a port in use must not leave half a server behind. */
	if ((e = listen_unix(w->o.socket, &local->fd)))
		return e;
	snprintf(local->path, sizeof(local->path), "%s", w->o.socket);
	if (*conf->proxy_user && (e = proxy_listen(w)))
		return e;
	if ((e = listen_tcp(conf->address, conf->port, &main_l->fd)))
		return e;
	if (conf->preview_port && (e = listen_tcp(conf->address, conf->preview_port, &preview->fd)))
		return e;
	w->cookie_name = w->secure ? "__Host-drydock" : "drydock";
	struct buf policy = BUF_INIT(sizeof(w->policy) - 1);
	buf_str(&policy, "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src ");
	previews_policy(w, &policy);
	buf_str(&policy, "; form-action 'self'; base-uri 'none'; frame-ancestors 'none'");
	if ((e = buf_check(&policy))) {
		buf_release(&policy);
		return e;
	}
	memcpy(w->policy, buf_text(&policy), policy.len + 1);
	buf_release(&policy);
	if ((e = statics_dress(w)))
		return e;
	w->cache = page_cache_new(CACHE_LIMIT);
	w->conns = conns_new();
	if ((e = gate_new(&w->gate, w, places)))
		return e;
	w->previews = previews_new(w);
	w->pool = pool_new("worker", conf->workers ? conf->workers : 1, conf->connections + 64, worker_start, worker_stop, w);
	w->jobs = jobs_new(conf->workers ? conf->workers : 1, w->o.database);
	w->patient = pool_new("patient", WEB_PATIENT, conf->connections + 64, worker_start, worker_stop, w);
	w->streams = streams_new(w);
	if (*conf->proxy_user && (e = daemon_start(w, LISTENER_PROXY, 2)))
		return e;
	if ((e = daemon_start(w, LISTENER_LOCAL, 1)) || (e = daemon_start(w, LISTENER_MAIN, 2)))
		return e;
	if (conf->preview_port && (e = daemon_start(w, LISTENER_PREVIEW, 1)))
		return e;
	if (conf->demo_port && (e = demo_start(&w->demo, conf)))
		return e;
	return gate_open(w->gate);
}

enum err web_start(struct web **out, const struct web_options *o)
{
	struct web *w = mem_alloc(sizeof(*w));
	uint8_t seed[4];
	sigset_t all, old;

	*out = NULL;
	w->o = *o;
	w->sites = mem_array(o->n_sites ? o->n_sites : 1, sizeof(*w->sites));
	memcpy(w->sites, o->sites, o->n_sites * sizeof(*w->sites));
	w->o.sites = w->sites;
	pthread_mutex_init(&w->lock, NULL);
	clock_cond_init(&w->idle);
	random_bytes(seed, sizeof(seed));
	hex_of(w->id_prefix, seed, sizeof(seed));
	for (int i = 0; i < LISTENER_COUNT; i++)
		w->listeners[i] = (struct listener){ .web = w, .kind = (enum listener_kind)i, .fd = -1 };
	/* Signals are the main thread's: those made here, libmicrohttpd's too, inherit the mask. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	enum err e = start(w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (e) {
		char *text = mem_dup(err_text());
		web_stop(w);
		e = err_set(e, "%s", text);
		free(text);
		return e;
	}
	log_event(LOG_LEVEL_INFO, "web.start", "address", o->conf->address, "port", log_u64(o->conf->port), "socket", o->socket, NULL);
	*out = w;
	return ERR_OK;
}

/* True when no request is with a worker, no stream waits and no act runs. */
static bool settle(struct web *w)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_PATIENCE / CLOCK_SECOND;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	while (w->suspended)
		if (pthread_cond_timedwait(&w->idle, &w->lock, &until))
			break;
	bool done = w->suspended == 0;
	pthread_mutex_unlock(&w->lock);
	return (!w->jobs || jobs_stop(w->jobs, &until)) && done;
}

void web_stop(struct web *w)
{
	if (!w)
		return;
	gate_close(w->gate);
	for (int i = 0; i < LISTENER_COUNT; i++)
		if (w->listeners[i].daemon && !listener_gated(&w->listeners[i]))
			MHD_quiesce_daemon(w->listeners[i].daemon);
	pthread_mutex_lock(&w->lock);
	w->stopping = true; /* from now on nothing is suspended */
	pthread_mutex_unlock(&w->lock);
	if (w->streams)
		streams_stop(w->streams);
	if (!settle(w)) {
		/* An act is running that cannot be hurried. What it has decided stands, and the process is about to end:
		 * memory that it still uses is left to it. */
		log_event(LOG_LEVEL_WARN, "web.stop", "text", "requests were still running", NULL);
		return;
	}
	demo_stop(w->demo);
	for (int i = 0; i < LISTENER_COUNT; i++) {
		struct listener *l = &w->listeners[i];
		if (l->daemon)
			MHD_stop_daemon(l->daemon);
		if (l->fd >= 0)
			close(l->fd);
		if (l->path[0] && sys_unlink(AT_FDCWD, l->path, 0))
			log_event(LOG_LEVEL_WARN, "web.stop", "text", "cannot remove the socket", "path", l->path, NULL);
	}
	pool_free(w->pool);
	jobs_free(w->jobs);
	pool_free(w->patient);
	streams_free(w->streams);
	gate_free(w->gate);
	conns_free(w->conns);
	previews_free(w->previews);
	page_cache_free(w->cache);
	statics_free(w->statics);
	view_free(w->views);
	request_spares_free(w);
	pthread_cond_destroy(&w->idle);
	pthread_mutex_destroy(&w->lock);
	free(w->sites);
	free(w);
}

/* --- what handlers may ask ----------------------------------------------------------------------------------------- */

const struct web_site *web_site(struct web *w, const char *name)
{
	for (size_t i = 0; i < w->o.n_sites; i++)
		if (strcmp(w->sites[i].site->name, name) == 0)
			return &w->sites[i];
	return NULL;
}

size_t web_sites(struct web *w, const struct web_site **out)
{
	*out = w->sites;
	return w->o.n_sites;
}

const struct conf *web_conf(struct web *w)
{
	return w->o.conf;
}

struct auth *web_auth(struct web *w)
{
	return w->o.auth;
}

struct site *web_installation(struct web *w)
{
	return w->o.installation;
}

struct keeper *web_keeper(struct web *w)
{
	return w->o.keeper;
}

const struct node_key *web_key(struct web *w)
{
	return w->o.key;
}

struct jobs *web_jobs(struct web *w)
{
	return w->jobs;
}
