#include "web/life.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"

#define LOOK_NS 500000000L

struct conns {
	pthread_mutex_t lock;
	pthread_cond_t some; /* the first connection came, or stopping */
	struct conn *first;
	size_t n;
	bool stopping;
	pthread_t thread;
};

static void look(struct conns *c, int64_t now)
{
	for (struct conn *x = c->first; x; x = x->next) {
		int64_t deadline = atomic_load_explicit(&x->deadline, memory_order_relaxed);
		if (!deadline || deadline > now || x->cut)
			continue;
		x->cut = true;
		shutdown(x->fd, SHUT_RDWR);
		log_event(LOG_LEVEL_INFO, "http.deadline", "address", x->address, NULL);
	}
}

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
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOOK_NS;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_nsec -= 1000000000L;
			until.tv_sec++;
		}
		/* Woken for the end only: new connections have time. */
		while (!c->stopping && pthread_cond_timedwait(&c->some, &c->lock, &until) == 0)
			;
		if (!c->stopping)
			look(c, clock_boot());
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

struct conns *conns_new(void)
{
	struct conns *c = mem_alloc(sizeof(*c));
	pthread_condattr_t attr;

	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->some, &attr);
	pthread_condattr_destroy(&attr);
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
	c->n++;
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
	c->n--;
	pthread_mutex_unlock(&c->lock);
}

size_t conns_count(struct conns *c)
{
	pthread_mutex_lock(&c->lock);
	size_t n = c->n;
	pthread_mutex_unlock(&c->lock);
	return n;
}

void conn_deadline(struct conn *c, int64_t us_from_now)
{
	int64_t at = us_from_now ? clock_boot() + us_from_now : 0;

	atomic_store_explicit(&c->deadline, at, memory_order_relaxed);
}
