/* The thread of a server that shares its database that looks at the others (acts/turn.h). */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "acts/turn.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/internal.h"
#include "sync/sync.h"

struct turn_keeper {
	struct installation *in;
	struct sync **syncs;
	pthread_t thread;
	pthread_mutex_t lock; /* around stop */
	pthread_cond_t wake;
	bool stop;
	atomic_bool wants;
};

/* The installation itself is the last. */
static struct site *site_at(const struct turn_keeper *k, size_t i)
{
	return i < k->in->n_sites ? k->in->sites[i] : k->in->self;
}

static void lose(struct turn_keeper *k, size_t i)
{
	struct site *s = site_at(k, i);

	if (!s->read_only)
		log_event(LOG_LEVEL_ERROR, "turn.lost", "site", s->name, "server", s->server, NULL);
	turn_lose(s);
	if (i < k->in->n_sites)
		sync_break(k->syncs[i]);
	atomic_store(&k->wants, true);
}

static void look(struct turn_keeper *k, struct actor_tools *tools, size_t i)
{
	struct site *s = site_at(k, i);
	enum turn now = TURN_WAITS;

	if (!s->waits && atomic_load(&s->turn_lost))
		lose(k, i);
	else if (turn_look(s, tools, &now))
		log_event(LOG_LEVEL_WARN, "turn.look", "site", s->name, "why", err_text(), NULL);
	else if (s->waits && now != TURN_WAITS)
		atomic_store(&k->wants, true);
	else if (s->waits && turn_follow(s, tools))
		log_event(LOG_LEVEL_WARN, "turn.follow", "site", s->name, "why", err_text(), NULL);
	else if (!s->waits && now != TURN_MINE)
		lose(k, i);
}

static void look_at_all(struct turn_keeper *k, struct actor_tools *tools)
{
	const bool silent = heart_silent(k->in->heart);

	for (size_t i = 0; i <= k->in->n_sites && !silent; i++)
		look(k, tools, i);
	/* Who cannot say that he lives may have been taken for dead. */
	for (size_t i = 0; i < k->in->n_sites && silent && turns_unsure(k->in->turns); i++)
		sync_break(k->syncs[i]);
}

static void *keep(void *arg)
{
	struct turn_keeper *k = arg;
	struct actor_tools *tools = tools_new(&k->in->program);

	(void)pthread_mutex_lock(&k->lock);
	while (!k->stop && !atomic_load(&k->wants)) {
		struct timespec until;

		(void)pthread_mutex_unlock(&k->lock);
		look_at_all(k, tools);
		(void)pthread_mutex_lock(&k->lock);
		clock_deadline(TURN_BEAT, &until);
		if (!k->stop && !atomic_load(&k->wants))
			(void)pthread_cond_timedwait(&k->wake, &k->lock, &until);
	}
	(void)pthread_mutex_unlock(&k->lock);
	tools_free(tools);
	return NULL;
}

enum err turn_keeper_start(struct turn_keeper **out, struct installation *in, struct sync **syncs)
{
	struct turn_keeper *k = mem_alloc(sizeof(*k));

	k->in = in;
	k->syncs = syncs;
	(void)pthread_mutex_init(&k->lock, NULL);
	clock_cond_init(&k->wake);
	if (pthread_create(&k->thread, NULL, keep, k)) {
		(void)pthread_cond_destroy(&k->wake);
		(void)pthread_mutex_destroy(&k->lock);
		free(k);
		return err_set(ERR_FAILED, "A thread cannot be started");
	}
	*out = k;
	return ERR_OK;
}

void turn_keeper_stop(struct turn_keeper *k)
{
	if (!k)
		return;
	(void)pthread_mutex_lock(&k->lock);
	k->stop = true;
	(void)pthread_cond_broadcast(&k->wake);
	(void)pthread_mutex_unlock(&k->lock);
	(void)pthread_join(k->thread, NULL);
	(void)pthread_cond_destroy(&k->wake);
	(void)pthread_mutex_destroy(&k->lock);
	free(k);
}

bool turn_keeper_wants(struct turn_keeper *k)
{
	return k && atomic_load(&k->wants);
}
