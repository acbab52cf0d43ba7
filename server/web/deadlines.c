#include "web/life.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/weaken.h"

#define LOOK (CLOCK_SECOND / 2)
#define CROWDED_LOOK (CLOCK_SECOND / 50)
#define BUCKETS 4096u

struct conns {
	pthread_mutex_t lock;
	pthread_cond_t some; /* the first connection came, a listener became crowded, or stopping */
	struct conn *first;
	LIST_HEAD(, conn) by_address[BUCKETS];
	size_t n, of[LISTENER_COUNT], slow[LISTENER_COUNT], limit[LISTENER_COUNT]; /* of, slow: with libmicrohttpd */
	bool slow_wait[LISTENER_COUNT], crowded, stopping;
	pthread_t thread;
};

/* Of each phase: how long a peer may take although others wait for its place (0: as long as its deadline), and its name. */
static const struct { int64_t patience; const char *name; } PHASES[] = {
	[PHASE_HEADERS] = { CLOCK_SECOND / 20, "headers" },
	[PHASE_PLACE] = { 0, "a place" },
	[PHASE_IDLE] = { CLOCK_SECOND / 20, "idle" },
	[PHASE_BODY] = { CLOCK_SECOND, "body" },
	[PHASE_WORK] = { 0, "work" },
	[PHASE_REPLY] = { 5 * CLOCK_SECOND, "reply" },
	[PHASE_STREAM] = { 0, "stream" },
};

static void cut(struct conn *x, const char *event, enum phase phase)
{
	x->cut = true;
	shutdown(x->fd, SHUT_RDWR);
	/* One that did nothing any more after its request is no event. */
	log_event(phase == PHASE_IDLE ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, event, "from", x->address, "waited_for", PHASES[phase].name, NULL);
}

static void look(struct conns *c, int64_t now)
{
	for (struct conn *x = c->first; x; x = x->next) {
		int64_t deadline = atomic_load_explicit(&x->deadline, memory_order_relaxed);
		if (deadline && deadline <= now && !x->cut && !WEAK(conn_deadline))
			cut(x, "http.deadline", atomic_load_explicit(&x->phase, memory_order_relaxed));
	}
}

/* --- crowds -------------------------------------------------------------------------------------------------------- */

struct waiting {
	struct conn *conn;
	int64_t since;
};

static int longest_first(const void *a, const void *b)
{
	const struct waiting *x = a, *y = b;

	return x->since < y->since ? -1 : x->since > y->since;
}

static size_t high(const struct conns *c, int kind)
{
	return c->limit[kind] - c->limit[kind] / 4;
}

/* Of the places that a body may hold while it comes. */
static size_t slow_limit(const struct conns *c, int kind)
{
	return c->limit[kind] / 2;
}

static bool slow_crowd(const struct conns *c, int kind)
{
	return c->slow_wait[kind] && c->slow[kind] >= slow_limit(c, kind);
}

/* True if more would have to go, but all have only just come. */
static bool thin_out(struct conns *c, int kind, int64_t now)
{
	struct waiting *list = mem_array(c->of[kind], sizeof(*list));
	size_t n = 0, gone = 0;
	const bool all = c->of[kind] > high(c, kind);

	for (struct conn *x = c->first; x; x = x->next) {
		if ((int)x->listener->kind != kind || !x->inside || (!all && !x->slow))
			continue;
		int64_t since = atomic_load_explicit(&x->since, memory_order_relaxed);
		int64_t patience = PHASES[atomic_load_explicit(&x->phase, memory_order_relaxed)].patience;
		if (x->cut)
			gone++;
		else if (patience && now - since >= patience)
			list[n++] = (struct waiting){ x, since };
	}
	qsort(list, n, sizeof(*list), longest_first);
	size_t there = (all ? c->of[kind] : c->slow[kind]) - gone;
	/* Down to a half: each look makes room for many at once. */
	for (size_t i = 0; i < n && there > (all ? c->limit[kind] : slow_limit(c, kind)) / 2; i++, there--)
		cut(list[i].conn, "http.crowded", atomic_load_explicit(&list[i].conn->phase, memory_order_relaxed));
	free(list);
	return there > (all ? high(c, kind) : slow_limit(c, kind) / 2);
}

static void crowds(struct conns *c, int64_t now)
{
	c->crowded = false;
	for (int kind = 0; kind < LISTENER_COUNT; kind++)
		if (c->limit[kind] && !WEAK(conn_crowded) && (c->of[kind] > high(c, kind) || slow_crowd(c, kind)) && thin_out(c, kind, now))
			c->crowded = true;
}

/* --- the thread ---------------------------------------------------------------------------------------------------- */

static void *watch(void *c_)
{
	struct conns *c = c_;

	pthread_setname_np(pthread_self(), "deadlines");
	pthread_mutex_lock(&c->lock);
	while (!c->stopping) {
		if (!c->first) {
			pthread_cond_wait(&c->some, &c->lock);
			continue;
		}
		struct timespec until;
		clock_deadline(c->crowded ? CROWDED_LOOK : LOOK, &until);
		/* Woken for a crowd and for the end only: other new connections have time. */
		bool crowded = c->crowded;
		while (!c->stopping && c->crowded == crowded && pthread_cond_timedwait(&c->some, &c->lock, &until) == 0)
			;
		if (c->stopping)
			break;
		int64_t now = clock_boot();
		look(c, now);
		crowds(c, now);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

struct conns *conns_new(void)
{
	struct conns *c = mem_alloc(sizeof(*c));

	pthread_mutex_init(&c->lock, NULL);
	clock_cond_init(&c->some);
	int rc = pthread_create(&c->thread, NULL, watch, c);
	if (rc) {
		/* Without deadlines a slow client could hold the server: better not to run. */
		log_event(LOG_LEVEL_ERROR, "web.thread", "text", "cannot make the thread of the deadlines", NULL);
		abort();
	}
	return c;
}

void conns_free(struct conns *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	pthread_cond_signal(&c->some);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->some);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static unsigned bucket(const char *address)
{
	unsigned h = 2166136261u;

	for (const char *p = address; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	return h % BUCKETS;
}

void conns_add(struct conns *c, struct conn *conn)
{
	pthread_mutex_lock(&c->lock);
	conn->prev = NULL;
	conn->next = c->first;
	if (c->first)
		c->first->prev = conn;
	else
		pthread_cond_signal(&c->some);
	c->first = conn;
	LIST_INSERT_HEAD(&c->by_address[bucket(conn->address)], conn, same);
	c->n++;
	pthread_mutex_unlock(&c->lock);
}

/* Of the local socket everybody is somebody of this machine, and an act may wait there for long: 0, no limit. */
static size_t limit_of(const struct listener *l)
{
	return l->kind == LISTENER_LOCAL ? 0 : l->web->o.conf->connections;
}

void conns_enter(struct conns *c, struct conn *conn)
{
	const int kind = (int)conn->listener->kind;

	pthread_mutex_lock(&c->lock);
	conn->inside = true;
	conn->cut = true;
	c->of[kind]++;
	c->slow[kind] += conn->slow;
	c->limit[kind] = limit_of(conn->listener);
	if (c->limit[kind] && c->of[kind] > high(c, kind) && !c->crowded) {
		c->crowded = true;
		pthread_cond_signal(&c->some);
	}
	pthread_mutex_unlock(&c->lock);
}

void conns_begin(struct conns *c, struct conn *conn)
{
	pthread_mutex_lock(&c->lock);
	conn->cut = false;
	pthread_mutex_unlock(&c->lock);
}

void conns_remove(struct conns *c, struct conn *conn)
{
	pthread_mutex_lock(&c->lock);
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		c->first = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	LIST_REMOVE(conn, same);
	c->n--;
	if (conn->inside) {
		c->of[conn->listener->kind]--;
		c->slow[conn->listener->kind] -= conn->slow;
	}
	pthread_mutex_unlock(&c->lock);
}

bool conns_room(struct conns *c, const struct listener *l, bool slow)
{
	const size_t limit = limit_of(l);

	pthread_mutex_lock(&c->lock);
	bool room = c->of[l->kind] < limit && (!slow || c->slow[l->kind] < limit / 2);
	pthread_mutex_unlock(&c->lock);
	return room;
}

void conns_slow_wait(struct conns *c, int kind, bool some)
{
	pthread_mutex_lock(&c->lock);
	c->slow_wait[kind] = some;
	pthread_mutex_unlock(&c->lock);
}

bool conns_quick(struct conns *c, struct conn *conn)
{
	pthread_mutex_lock(&c->lock);
	bool was = conn->slow;
	c->slow[conn->listener->kind] -= was;
	conn->slow = false;
	pthread_mutex_unlock(&c->lock);
	return was;
}

size_t conns_of(struct conns *c, const char *address)
{
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	const struct conn *x;
	LIST_FOREACH(x, &c->by_address[bucket(address)], same)
		n += strcmp(x->address, address) == 0;
	pthread_mutex_unlock(&c->lock);
	return n;
}

size_t conns_count(struct conns *c)
{
	pthread_mutex_lock(&c->lock);
	size_t n = c->n;
	pthread_mutex_unlock(&c->lock);
	return n;
}

void conn_phase(struct conn *c, enum phase phase, int64_t us_from_now)
{
	int64_t now = clock_boot();

	atomic_store_explicit(&c->phase, phase, memory_order_relaxed);
	atomic_store_explicit(&c->since, now, memory_order_relaxed);
	atomic_store_explicit(&c->deadline, us_from_now ? now + us_from_now : 0, memory_order_relaxed);
}
