/*
 * pool: a fixed number of worker threads and a bounded queue of jobs.
 */
#ifndef DRYDOCK_BASE_POOL_H
#define DRYDOCK_BASE_POOL_H

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"

struct pool;

struct pool_job {
	void (*run)(void *arg, void *worker); /* worker: what start returned on this thread */
	void *arg;
};

/* start is called once on each thread and its result given to every job there, stop at its end; both may be NULL. */
struct pool *pool_new(const char *name, unsigned threads, unsigned queue, void *(*start)(void *), void (*stop)(void *), void *arg);
/* ERR_BUSY if the queue is full or the pool is stopping. */
enum err pool_add(struct pool *p, struct pool_job job) MUST_CHECK;
/* Finish what is queued, end the threads, free. */
void pool_free(struct pool *p);
/* Run fn(arg, i) for i in 0..n-1 on up to `threads` threads, the calling one included, and wait (hashing, packing). */
void pool_each(unsigned threads, size_t n, void (*fn)(void *arg, size_t i), void *arg);

/* One thread for one piece of work beside the caller's. If there can be no other thread, start does the work itself. */
struct pool_beside {
	pthread_t thread;
	bool started;
	void (*fn)(void *arg);
	void *arg;
};
void pool_beside_start(struct pool_beside *b, void (*fn)(void *arg), void *arg);
void pool_beside_wait(struct pool_beside *b);

#endif
