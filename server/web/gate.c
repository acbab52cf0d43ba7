/*
 * gate: where a connection from the network waits until it has said what it wants.
 *
 * One thread takes connections in as fast as they come, so that the kernel's queue is never full and nobody has to try
 * again after a second. It looks at what has come without taking it (MSG_PEEK) and hands a connection to libmicrohttpd
 * when the whole head of its request is there. So those that send nothing, or half a head, hold a descriptor and a few
 * hundred bytes, and none of the places of those who are served. Of these places at most a half goes to requests whose
 * body is still to come; of those that wait with one, who has sent most goes first.
 *
 * What is read here decides when a request is looked at, and nothing else: what it says is judged by web/guard.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/weaken.h"
#include "web/life.h"

#define PEEK 32768 /* a longer head is libmicrohttpd's to refuse */
#define AT_ONCE 256
#define LOOK_MS 50 /* while somebody waits for a place */

TAILQ_HEAD(conn_list, conn);

struct gate {
	struct web *web;
	int epoll, wake;
	size_t places, n;
	struct conn_list waiting; /* all that are here, the longest first */
	struct conn_list quick[LISTENER_COUNT], slow[LISTENER_COUNT]; /* of these: who could be served if there were a place */
	_Atomic bool queued, stopping;
	bool started;
	pthread_t thread;
	pthread_mutex_t lock; /* around what follows */
	struct conn_list handed; /* libmicrohttpd has them and has not begun */
	char peek[PEEK];
};

/* --- what has come ------------------------------------------------------------------------------------------------- */

/* Where the head ends; 0: it is not whole. */
static size_t head_end(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && (p[i] == '\r' || p[i] == '\n'))
		i++;
	const char *line = memchr(p + i, '\n', n - i);
	/* What does not begin like a request gets its answer at once. */
	if (line && !memmem(p + i, (size_t)(line - p) - i, " HTTP/1.", 8))
		return n;
	for (const char *at = line; at; at = memchr(at + 1, '\n', n - (size_t)(at + 1 - p))) {
		size_t left = n - (size_t)(at + 1 - p);

		if (left && at[1] == '\n')
			return (size_t)(at + 2 - p);
		if (left > 1 && at[1] == '\r' && at[2] == '\n')
			return (size_t)(at + 3 - p);
	}
	return 0;
}

static bool begins(const char *line, size_t n, const char *name)
{
	return n > strlen(name) && strncasecmp(line, name, strlen(name)) == 0;
}

/* Is some of the body still to come, as far as the head tells? here: bytes that have come. */
static bool body_to_come(const char *p, size_t head, size_t here)
{
	const char *end = p + head, *next;
	unsigned long long length = 0;

	for (const char *line = p; line < end; line = next + 1) {
		size_t n;

		next = memchr(line, '\n', (size_t)(end - line));
		if (!next)
			break;
		n = (size_t)(next - line);
		if (begins(line, n, "Transfer-Encoding:") || begins(line, n, "Expect:"))
			return true;
		if (!begins(line, n, "Content-Length:"))
			continue;
		for (const char *d = line + 15; d < next && length < 1ull << 40; d++)
			if (*d >= '0' && *d <= '9')
				length = length * 10 + (unsigned)(*d - '0');
	}
	return head + length > here;
}

/* --- who is here ---------------------------------------------------------------------------------------------------- */

static void unqueue(struct gate *g, struct conn *x)
{
	const enum listener_kind kind = x->listener->kind;

	if (x->queue == QUEUE_QUICK)
		TAILQ_REMOVE(&g->quick[kind], x, queued);
	else if (x->queue == QUEUE_SLOW)
		TAILQ_REMOVE(&g->slow[kind], x, queued);
	x->queue = QUEUE_NONE;
}

static void leave(struct gate *g, struct conn *x)
{
	unqueue(g, x);
	TAILQ_REMOVE(&g->waiting, x, at_gate);
	g->n--;
}

/* The descriptor is closed after nobody knows it any more. */
static void drop(struct gate *g, struct conn *x)
{
	const int fd = x->fd;

	leave(g, x);
	conns_remove(g->web->conns, x);
	free(x);
	close(fd);
}

static void forget_handed(struct gate *g, struct conn *x)
{
	pthread_mutex_lock(&g->lock);
	TAILQ_REMOVE(&g->handed, x, at_gate);
	pthread_mutex_unlock(&g->lock);
	conns_remove(g->web->conns, x);
	free(x);
}

static void hand_over(struct gate *g, struct conn *x)
{
	struct sockaddr_storage a = { .ss_family = AF_INET };
	socklen_t len = sizeof(a);

	if (getpeername(x->fd, (struct sockaddr *)&a, &len)) {
		drop(g, x);
		return;
	}
	const int fd = x->fd;
	x->slow = x->queue == QUEUE_SLOW;
	leave(g, x);
	epoll_ctl(g->epoll, EPOLL_CTL_DEL, fd, NULL);
	conn_phase(x, PHASE_HEADERS, g->web->o.conf->header_deadline_us);
	conns_enter(g->web->conns, x);
	pthread_mutex_lock(&g->lock);
	TAILQ_INSERT_TAIL(&g->handed, x, at_gate);
	pthread_mutex_unlock(&g->lock);
	/* If it says no it has closed the descriptor. Else x may be gone already. */
	if (MHD_add_connection(x->listener->daemon, fd, (struct sockaddr *)&a, len) != MHD_YES)
		forget_handed(g, x);
}

struct conn *gate_taken(struct gate *g, int fd)
{
	struct conn *x;

	pthread_mutex_lock(&g->lock);
	TAILQ_FOREACH(x, &g->handed, at_gate)
		if (x->fd == fd)
			break;
	if (x)
		TAILQ_REMOVE(&g->handed, x, at_gate);
	pthread_mutex_unlock(&g->lock);
	if (x)
		conns_begin(g->web->conns, x);
	return x;
}

static struct conn *fullest(const struct conn_list *list)
{
	struct conn *x, *best = NULL;

	TAILQ_FOREACH(x, list, queued)
		if (!best || x->here > best->here)
			best = x;
	return best;
}

/* Those for whom there is a place. */
static void serve(struct gate *g)
{
	struct conns *c = g->web->conns;
	bool more = false;
	struct conn *x;

	atomic_store(&g->queued, true); /* before looking: a place that becomes free now is not missed */
	for (int kind = 0; kind < LISTENER_COUNT; kind++) {
		while ((x = TAILQ_FIRST(&g->quick[kind])) && conns_room(c, x->listener, false))
			hand_over(g, x);
		while ((x = fullest(&g->slow[kind])) && conns_room(c, x->listener, true))
			hand_over(g, x);
		conns_slow_wait(c, kind, !TAILQ_EMPTY(&g->slow[kind]));
		more |= !TAILQ_EMPTY(&g->quick[kind]) || !TAILQ_EMPTY(&g->slow[kind]);
	}
	atomic_store(&g->queued, more);
}

static void enqueue(struct gate *g, struct conn *x, bool slow)
{
	const struct conf *conf = g->web->o.conf;
	const enum gate_queue queue = slow ? QUEUE_SLOW : QUEUE_QUICK;

	if (x->queue == queue)
		return;
	unqueue(g, x);
	x->queue = queue;
	conn_phase(x, slow ? PHASE_BODY : PHASE_PLACE, slow ? conf->body_deadline_us : conf->header_deadline_us);
	if (slow)
		TAILQ_INSERT_TAIL(&g->slow[x->listener->kind], x, queued);
	else
		TAILQ_INSERT_TAIL(&g->quick[x->listener->kind], x, queued);
}

static void look_at(struct gate *g, struct conn *x, uint32_t events)
{
	const bool gone = (events & (EPOLLHUP | EPOLLERR)) || atomic_load(&x->cut), all = events & EPOLLRDHUP; /* all: no more will come */
	ssize_t n = gone ? 0 : recv(x->fd, g->peek, sizeof(g->peek), MSG_PEEK | MSG_DONTWAIT);
	int here = 0;

	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) && !all)
		return;
	if (n <= 0) {
		drop(g, x);
		return;
	}
	size_t head = head_end(g->peek, (size_t)n);
	if (!head && (size_t)n < sizeof(g->peek)) {
		if (all)
			drop(g, x);
		return;
	}
	if (ioctl(x->fd, FIONREAD, &here) || here < n)
		here = (int)n;
	x->here = (size_t)here;
	enqueue(g, x, head && !all && body_to_come(g->peek, head, x->here));
}

/* --- coming in ------------------------------------------------------------------------------------------------------ */

/* Makes room by sending away who has waited longest for himself. */
static bool make_room(struct gate *g)
{
	struct conn *x;

	TAILQ_FOREACH(x, &g->waiting, at_gate)
		if (x->queue != QUEUE_QUICK)
			break;
	if (!x || WEAK(conn_places))
		return false;
	log_event(LOG_LEVEL_INFO, "http.crowded", "from", x->address, "waited_for", x->queue == QUEUE_SLOW ? "body" : "headers", NULL);
	drop(g, x);
	return true;
}

static void come_in(struct gate *g, struct listener *l, int fd)
{
	struct conn *x, *other;

	/* libmicrohttpd may have closed one that it took and never began with. */
	pthread_mutex_lock(&g->lock);
	TAILQ_FOREACH(other, &g->handed, at_gate)
		if (other->fd == fd)
			break;
	pthread_mutex_unlock(&g->lock);
	if (other)
		forget_handed(g, other);
	if (!(x = conn_new(l, fd))) {
		close(fd);
		return;
	}
	if (g->n >= g->places && !make_room(g)) {
		free(x);
		close(fd);
		return;
	}
	conn_phase(x, PHASE_HEADERS, g->web->o.conf->header_deadline_us);
	conns_add(g->web->conns, x);
	TAILQ_INSERT_TAIL(&g->waiting, x, at_gate);
	g->n++;
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = x };
	if (epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &e))
		drop(g, x);
}

static void take_in(struct gate *g, struct listener *l)
{
	for (int i = 0; i < AT_ONCE; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			come_in(g, l, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* Without a descriptor the connection cannot even be refused. */
			if (!make_room(g)) {
				clock_sleep(CLOCK_SECOND / 50);
				return;
			}
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			return;
		}
	}
}

/* --- the thread ------------------------------------------------------------------------------------------------------ */

static struct listener *listener_of(struct gate *g, const void *p)
{
	for (int i = 0; i < LISTENER_COUNT; i++)
		if (p == &g->web->listeners[i])
			return &g->web->listeners[i];
	return NULL;
}

static void *watch(void *g_)
{
	struct gate *g = g_;
	struct epoll_event events[AT_ONCE];

	pthread_setname_np(pthread_self(), "gate");
	while (!atomic_load(&g->stopping)) {
		int n = epoll_wait(g->epoll, events, AT_ONCE, atomic_load(&g->queued) ? LOOK_MS : -1);
		eventfd_t told;

		/* Those that are here first: an event must not be about somebody who was sent away for one who came in. */
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr && !listener_of(g, events[i].data.ptr))
				look_at(g, events[i].data.ptr, events[i].events);
			else if (!events[i].data.ptr)
				(void)!eventfd_read(g->wake, &told);
		serve(g);
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr && listener_of(g, events[i].data.ptr))
				take_in(g, listener_of(g, events[i].data.ptr));
	}
	return NULL;
}

static void wake(struct gate *g)
{
	if (eventfd_write(g->wake, 1) && errno != EAGAIN)
		log_event(LOG_LEVEL_WARN, "http.gate", "text", "cannot wake the thread", NULL);
}

void gate_room(struct gate *g)
{
	if (g && atomic_load(&g->queued))
		wake(g);
}

enum err gate_new(struct gate **out, struct web *w, size_t places)
{
	struct gate *g = mem_alloc(sizeof(*g));

	*out = g;
	g->web = w;
	g->places = places;
	g->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	g->epoll = epoll_create1(EPOLL_CLOEXEC);
	TAILQ_INIT(&g->waiting);
	TAILQ_INIT(&g->handed);
	for (int kind = 0; kind < LISTENER_COUNT; kind++) {
		TAILQ_INIT(&g->quick[kind]);
		TAILQ_INIT(&g->slow[kind]);
	}
	pthread_mutex_init(&g->lock, NULL);
	struct epoll_event e = { .events = EPOLLIN };
	if (g->wake < 0 || g->epoll < 0 || epoll_ctl(g->epoll, EPOLL_CTL_ADD, g->wake, &e))
		return err_sys(ERR_FAILED, "cannot make an epoll descriptor");
	return ERR_OK;
}

enum err gate_open(struct gate *g)
{
	for (int kind = 0; kind < LISTENER_COUNT; kind++) {
		struct listener *l = &g->web->listeners[kind];
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = l };

		if (listener_gated(l) && l->daemon && epoll_ctl(g->epoll, EPOLL_CTL_ADD, l->fd, &e))
			return err_sys(ERR_FAILED, "cannot watch the listening socket");
	}
	if (pthread_create(&g->thread, NULL, watch, g))
		return err_set(ERR_FAILED, "cannot make the thread that takes connections in");
	g->started = true;
	return ERR_OK;
}

void gate_close(struct gate *g)
{
	struct conn *x;

	if (!g || !g->started)
		return;
	atomic_store(&g->stopping, true);
	wake(g);
	pthread_join(g->thread, NULL);
	g->started = false;
	while ((x = TAILQ_FIRST(&g->waiting)))
		drop(g, x);
}

void gate_free(struct gate *g)
{
	struct conn *x;

	if (!g)
		return;
	gate_close(g);
	while ((x = TAILQ_FIRST(&g->handed)))
		forget_handed(g, x);
	if (g->epoll >= 0)
		close(g->epoll);
	if (g->wake >= 0)
		close(g->wake);
	pthread_mutex_destroy(&g->lock);
	free(g);
}
