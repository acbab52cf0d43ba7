/*
 * A kit that is started before its release is cut. To reach a machine, log in there and start its receiver takes longer
 * than to cut a release, and needs nothing of it; both go on at the same time, and then the kit is told the rest on its
 * standard input (sync-scripts/README). Until it is told it can send nothing. One that has ended meanwhile, or has waited for
 * too long, never was: the run starts the kit as any other.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "sync/internal.h"

#define FACTS_LIMIT (32 * 1024) /* bytes: a pipe takes them at once, whether or not somebody reads */

struct early {
	struct kit_run k;
	struct kit_result result;
	pthread_t thread;
	int64_t begun;
	int facts[2];
	atomic_bool over;
};

static void *run(void *arg)
{
	struct early *x = arg;

	kit_run(&x->k, &x->result);
	atomic_store(&x->over, true);
	return NULL;
}

struct early *early_begin(const struct kit_run *k)
{
	struct early *x;

	if (!kit_waits(k))
		return NULL;
	x = mem_alloc(sizeof(*x));
	x->k = *k;
	x->k.facts_from = &x->facts[0];
	atomic_init(&x->k.facts, NULL);
	x->begun = clock_boot();
	atomic_init(&x->over, false);
	if (pipe2(x->facts, O_CLOEXEC)) {
		free(x);
		return NULL;
	}
	if (pthread_create(&x->thread, NULL, run, x)) {
		(void)close(x->facts[0]);
		(void)close(x->facts[1]);
		free(x);
		return NULL;
	}
	return x;
}

/* Waits for its end. Did it read what it was told, if it was? */
static bool end(struct early *x)
{
	int left = 1;

	if (x->facts[1] >= 0)
		(void)close(x->facts[1]);
	(void)pthread_join(x->thread, NULL);
	if (ioctl(x->facts[0], FIONREAD, &left))
		left = 1;
	(void)close(x->facts[0]);
	return !left;
}

static bool tell(struct early *x, const struct kit_facts *facts)
{
	struct buf text = BUF_INIT(FACTS_LIMIT);
	bool told = !atomic_load(&x->over) && clock_boot() - x->begun < EARLY_MOST;

	kit_facts_text(&x->k, facts, &text);
	told = told && !buf_check(&text);
	/* First, since what it answers is judged by them. */
	if (told)
		atomic_store(&x->k.facts, facts);
	told = told && !sys_write_all(x->facts[1], text.p, text.len);
	buf_release(&text);
	return told;
}

/* It ended, and nobody has heard of it. */
static void forget(struct live *live)
{
	(void)pthread_mutex_lock(&live->lock);
	buf_reset(&live->text);
	live->ended = false;
	(void)pthread_mutex_unlock(&live->lock);
}

bool early_go(struct early *x, const struct kit_facts *facts, struct kit_result *out)
{
	bool told = tell(x, facts);

	told = end(x) && told;
	if (told) {
		*out = x->result;
	} else {
		kit_result_release(&x->result);
		forget(facts->live);
	}
	free(x);
	return told;
}

void early_drop(struct early *x)
{
	if (!x)
		return;
	(void)end(x);
	kit_result_release(&x->result);
	free(x);
}
