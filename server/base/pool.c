#include "base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

/* A thread that waits for work. */
struct idle {
	struct idle *below;
	pthread_cond_t wake;
	bool called; /* off the list: there was a job, or the pool is stopping */
};

struct pool {
	pthread_mutex_t lock;
	struct idle *idle; /* who became idle last is called first */
	bool stopping;
	struct pool_job *queue; /* a ring */
	unsigned head, count, size;
	pthread_t *threads;
	unsigned n_threads;
	char name[16];
	void *(*start)(void *);
	void (*stop)(void *);
	void *arg;
};

/* Threads of ours take no signals: main() waits for them. */
static int thread_new(pthread_t *t, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(t, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

/*
 * Not in turn, as a shared condition would have it: one job after another is then one thread's, whose database connection
 * has its statements prepared already, and its handles open.
 */
static void wait_for_work(struct pool *p, struct idle *me)
{
	me->called = false;
	me->below = p->idle;
	p->idle = me;
	while (!me->called)
		pthread_cond_wait(&me->wake, &p->lock);
}

static void call_one(struct pool *p)
{
	struct idle *i = p->idle;

	if (!i)
		return;
	p->idle = i->below;
	i->called = true;
	pthread_cond_signal(&i->wake);
}

static void *work(void *p_)
{
	struct pool *p = p_;
	struct idle me = { .wake = PTHREAD_COND_INITIALIZER };

	pthread_setname_np(pthread_self(), p->name);
	void *worker = p->start ? p->start(p->arg) : NULL;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (p->count == 0 && !p->stopping)
			wait_for_work(p, &me);
		if (p->count == 0)
			break;
		struct pool_job job = p->queue[p->head];
		p->head = (p->head + 1) % p->size;
		p->count--;
		pthread_mutex_unlock(&p->lock);
		job.run(job.arg, worker);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	pthread_cond_destroy(&me.wake);
	if (p->stop)
		p->stop(worker);
	return NULL;
}

struct pool *pool_new(const char *name, unsigned threads, unsigned queue, void *(*start)(void *), void (*stop)(void *), void *arg)
{
	struct pool *p = mem_alloc(sizeof(*p));

	pthread_mutex_init(&p->lock, NULL);
	p->size = queue ? queue : 1;
	p->queue = mem_array(p->size, sizeof(*p->queue));
	p->threads = mem_array(threads ? threads : 1, sizeof(*p->threads));
	snprintf(p->name, sizeof(p->name), "%s", name);
	p->start = start;
	p->stop = stop;
	p->arg = arg;
	for (unsigned i = 0; i < (threads ? threads : 1); i++) {
		int rc = thread_new(&p->threads[p->n_threads], work, p);
		if (rc == 0) {
			p->n_threads++;
			continue;
		}
		/* Fewer threads do the same work; without any, the program cannot run. */
		log_event(p->n_threads ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "pool.thread", "pool", name, "text", strerror(rc), NULL);
		if (p->n_threads == 0)
			abort();
		break;
	}
	return p;
}

enum err pool_add(struct pool *p, struct pool_job job)
{
	enum err e = ERR_OK;

	pthread_mutex_lock(&p->lock);
	if (p->stopping || p->count == p->size) {
		e = ERR_BUSY;
	} else {
		p->queue[(p->head + p->count) % p->size] = job;
		p->count++;
		call_one(p);
	}
	pthread_mutex_unlock(&p->lock);
	return e ? err_set(e, "too much is going on at once: try again shortly") : ERR_OK;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	while (p->idle)
		call_one(p);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_mutex_destroy(&p->lock);
	free(p->queue);
	free(p->threads);
	free(p);
}

struct each {
	atomic_size_t next;
	size_t n;
	void (*fn)(void *arg, size_t i);
	void *arg;
};

static void *each_work(void *e_)
{
	struct each *e = e_;

	for (size_t i; (i = atomic_fetch_add(&e->next, 1)) < e->n;)
		e->fn(e->arg, i);
	return NULL;
}

void pool_each(unsigned threads, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
	struct each e = { .n = n, .fn = fn, .arg = arg };
	unsigned started = 0, want = threads < n ? threads : (unsigned)n;
	pthread_t *ids = mem_array(want ? want : 1, sizeof(*ids));

	/* The calling thread is one of them, and does all if no other can be had. */
	while (started + 1 < want && thread_new(&ids[started], each_work, &e) == 0)
		started++;
	each_work(&e);
	for (unsigned i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	free(ids);
}

static void *beside_work(void *b_)
{
	struct pool_beside *b = b_;

	b->fn(b->arg);
	return NULL;
}

void pool_beside_start(struct pool_beside *b, void (*fn)(void *arg), void *arg)
{
	*b = (struct pool_beside){ .fn = fn, .arg = arg };
	b->started = thread_new(&b->thread, beside_work, b) == 0;
	if (!b->started)
		fn(arg);
}

void pool_beside_wait(struct pool_beside *b)
{
	if (b->started)
		pthread_join(b->thread, NULL);
	b->started = false;
}
