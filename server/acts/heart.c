/* heart: the thread that says that this server lives, from its first join on: while it opens, however long that takes, and while it stops. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "acts/turn.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

struct heart {
	struct turns *turns;
	struct db *db;
	pthread_t thread;
	pthread_mutex_t lock; /* around stop */
	pthread_cond_t wake;
	bool stop;
	atomic_bool silent;
};

static void beat(struct heart *h)
{
	const bool failed = turns_beat(h->turns, h->db) != ERR_OK;

	if (failed != atomic_exchange(&h->silent, failed))
		log_event(failed ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, failed ? "turn.silent" : "turn.heard", "why", failed ? err_text() : "", NULL);
}

static void *live(void *arg)
{
	struct heart *h = arg;

	(void)pthread_mutex_lock(&h->lock);
	while (!h->stop) {
		struct timespec until;

		(void)pthread_mutex_unlock(&h->lock);
		beat(h);
		(void)pthread_mutex_lock(&h->lock);
		clock_deadline(TURN_BEAT, &until);
		if (!h->stop)
			(void)pthread_cond_timedwait(&h->wake, &h->lock, &until);
	}
	(void)pthread_mutex_unlock(&h->lock);
	return NULL;
}

static void heart_free(struct heart *h)
{
	(void)pthread_cond_destroy(&h->wake);
	(void)pthread_mutex_destroy(&h->lock);
	if (h->db)
		db_close(h->db);
	db_library_stop();
	free(h);
}

enum err heart_start(struct heart **out, struct turns *turns, const struct db_address *database)
{
	struct heart *h = mem_alloc(sizeof *h);
	enum err e = db_library_start();

	*out = NULL;
	if (e) {
		free(h);
		return e;
	}
	h->turns = turns;
	(void)pthread_mutex_init(&h->lock, NULL);
	clock_cond_init(&h->wake);
	e = db_open(&h->db, database);
	if (!e && pthread_create(&h->thread, NULL, live, h))
		e = err_set(ERR_FAILED, "A thread cannot be started");
	if (e) {
		heart_free(h);
		return e;
	}
	*out = h;
	return ERR_OK;
}

void heart_stop(struct heart *h)
{
	if (!h)
		return;
	(void)pthread_mutex_lock(&h->lock);
	h->stop = true;
	(void)pthread_cond_broadcast(&h->wake);
	(void)pthread_mutex_unlock(&h->lock);
	(void)pthread_join(h->thread, NULL);
	heart_free(h);
}

bool heart_silent(const struct heart *h)
{
	return atomic_load(&h->silent);
}
