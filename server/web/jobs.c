#include "web/jobs.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"

#define TABLE (2 * JOBS_ALL) /* with those that are over */

struct job {
	struct jobs *all;
	struct arena *arena; /* of ask, but for its lists */
	struct arena *lists; /* paths, fingerprints; NULL: dropped */
	size_t bytes; /* of lists */
	struct job_ask ask;
	struct sha256 request; /* of ask: the same id with another request is refused */
	bool visiting; /* jobs_enter(): not ours to run */
	/* with the table's lock held */
	unsigned refs;
	bool counted; /* bytes are in the table's sum */
	bool in_table, told;
	int64_t over_at; /* clock_boot */
	struct job_now now;
};

struct jobs {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a job is over */
	struct pool *pool;
	struct job *list[TABLE]; /* oldest first */
	size_t n, active; /* active: waiting or running */
	size_t bytes; /* of lists */
	bool stopping;
};

/* --- the table: all of this with its lock held ---------------------------------------------------------------------- */

static void lists_drop(struct job *j)
{
	if (!j->lists)
		return;
	if (j->counted)
		j->all->bytes -= j->bytes;
	arena_free(j->lists);
	j->lists = NULL;
	j->bytes = 0;
	j->ask.fa.paths = NULL;
	j->ask.fa.expected = NULL;
	j->ask.fa.n_paths = j->ask.fa.n_expected = 0;
}

static void unref(struct job *j)
{
	if (--j->refs)
		return;
	lists_drop(j);
	person_unref(j->ask.rq.actor);
	json_decref(j->ask.fa.fields);
	arena_free(j->arena);
	free(j);
}

static void take_out(struct jobs *t, struct job *j)
{
	size_t i = 0;

	if (!j->in_table)
		return;
	while (t->list[i] != j)
		i++;
	memmove(&t->list[i], &t->list[i + 1], (--t->n - i) * sizeof *t->list);
	j->in_table = false;
	unref(j);
}

/* The oldest that is over; NULL: none. */
static struct job *oldest_over(struct jobs *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->list[i]->now.state == JOB_OVER)
			return t->list[i];
	return NULL;
}

static struct job *find(struct jobs *t, const struct site *s, const char *actor, const struct uuid *op)
{
	for (size_t i = t->n; i-- > 0;) {
		struct job *j = t->list[i];

		if (j->ask.site == s && memcmp(&j->ask.rq.op, op, sizeof *op) == 0 && strcmp(j->ask.rq.actor->who.user, actor) == 0)
			return j;
	}
	return NULL;
}

static size_t active_of(const struct jobs *t, const char *actor)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->list[i]->now.state != JOB_OVER && strcmp(t->list[i]->ask.rq.actor->who.user, actor) == 0;
	return n;
}

static enum err room_for(struct jobs *t, const struct job *j)
{
	struct job *old;

	if (t->stopping)
		return err_set(ERR_BUSY, "The server is stopping. Try again in a moment.");
	while ((old = oldest_over(t)) && (t->n == TABLE || t->bytes + j->bytes > JOBS_BYTES || clock_boot() - old->over_at > JOBS_KEPT))
		take_out(t, old);
	/* One list, however long, is always taken: an act may be as large as a record. */
	if (t->active >= JOBS_ALL || t->n == TABLE || (t->active && t->bytes + j->bytes > JOBS_BYTES))
		return err_set(ERR_BUSY, "The server has too many acts to do at once. Nothing was recorded: try again in a moment.");
	if (active_of(t, j->ask.rq.actor->who.user) >= JOBS_OWN)
		return err_set(ERR_BUSY, "%d acts of yours are still running: wait until one is done. Nothing was recorded.", JOBS_OWN);
	return ERR_OK;
}

static void put(struct jobs *t, struct job *j)
{
	t->list[t->n++] = j;
	t->active++;
	t->bytes += j->bytes;
	j->counted = j->in_table = true;
	j->refs++;
}

/* --- a copy of what was asked for ----------------------------------------------------------------------------------- */

static void digest_path(struct sha256_stream *s, struct path p)
{
	sha256_stream_add(s, p.s, p.len + 1);
}

static void digest_fields(struct sha256_stream *s, const json_t *fields)
{
	struct buf text = BUF_INIT(1u << 20);

	if (fields && json_canonical(&text, fields) == ERR_OK && buf_check(&text) == ERR_OK)
		sha256_stream_add(s, buf_text(&text), text.len);
	buf_release(&text);
}

static void digest_ask(struct job *j)
{
	const struct file_act *fa = &j->ask.fa;
	struct sha256_stream *s = sha256_stream_new();
	const char kind[] = { (char)fa->recursive, (char)(fa->selection != NULL), (char)fa->as_staged };

	sha256_stream_add(s, fa->act, strlen(fa->act) + 1);
	sha256_stream_add(s, j->ask.rq.note, strlen(j->ask.rq.note) + 1);
	sha256_stream_add(s, j->ask.rq.meaning, strlen(j->ask.rq.meaning) + 1);
	sha256_stream_add(s, kind, sizeof kind);
	if (fa->selection)
		sha256_stream_add(s, fa->selection->b, sizeof fa->selection->b);
	digest_fields(s, fa->fields);
	for (size_t i = 0; i < fa->n_paths; i++)
		digest_path(s, fa->paths[i]);
	for (size_t i = 0; i < fa->n_expected; i++) {
		digest_path(s, fa->expected[i].path);
		sha256_stream_add(s, fa->expected[i].sha256.b, sizeof fa->expected[i].sha256.b);
		sha256_stream_add(s, &fa->expected[i].exec, sizeof fa->expected[i].exec);
	}
	sha256_stream_end_free(s, &j->request);
}

static void copy_lists(struct job *j, const struct file_act *fa)
{
	struct path *paths;
	struct expected_file *expected;

	j->lists = arena_new();
	paths = arena_alloc(j->lists, (fa->n_paths + 1) * sizeof *paths);
	for (size_t i = 0; i < fa->n_paths; i++)
		paths[i] = path_copy(fa->paths[i], j->lists);
	expected = arena_alloc(j->lists, (fa->n_expected + 1) * sizeof *expected);
	for (size_t i = 0; i < fa->n_expected; i++) {
		expected[i] = fa->expected[i];
		expected[i].path = path_copy(fa->expected[i].path, j->lists);
	}
	j->ask.fa.paths = paths;
	j->ask.fa.expected = fa->expected ? expected : NULL;
	j->bytes = arena_used(j->lists);
}

static struct job *job_new(struct jobs *t, const struct job_ask *ask)
{
	struct job *j = mem_alloc(sizeof *j);
	struct arena *a = arena_new();

	*j = (struct job){ .all = t, .arena = a, .ask = *ask, .refs = 1, .now = { .state = JOB_WAITING, .since = clock_wall(), .version = 1 } };
	j->ask.rq.actor = person_ref(ask->rq.actor);
	j->ask.rq.note = arena_dup(a, ask->rq.note);
	j->ask.rq.meaning = arena_dup(a, ask->rq.meaning ? ask->rq.meaning : "");
	j->ask.rq.address = ask->rq.address ? arena_dup(a, ask->rq.address) : NULL;
	j->ask.dir = path_copy(ask->dir, a);
	j->ask.state = arena_dup(a, ask->state ? ask->state : "");
	j->ask.skipped = ask->skipped ? arena_dup(a, ask->skipped) : NULL;
	if (ask->fa.selection) {
		struct sha256 *digest = arena_alloc(a, sizeof *digest);

		*digest = *ask->fa.selection;
		j->ask.fa.selection = digest;
	}
	if (ask->fa.asked) {
		struct sha256 *asked = arena_alloc(a, sizeof *asked);

		*asked = *ask->fa.asked;
		j->ask.fa.asked = asked;
	}
	j->ask.fa.fields = json_deep_copy(ask->fa.fields);
	copy_lists(j, &ask->fa);
	digest_ask(j);
	return j;
}

/* --- one job -------------------------------------------------------------------------------------------------------- */

void job_progress(void *job, const char *step, uint64_t done, uint64_t total)
{
	struct job *j = job;

	pthread_mutex_lock(&j->all->lock);
	snprintf(j->now.step, sizeof j->now.step, "%s", step);
	j->now.done = done;
	j->now.total = total;
	if (total)
		j->now.files = total;
	j->now.version++;
	pthread_mutex_unlock(&j->all->lock);
}

static void over(struct job *j, enum err e, const struct act_answer *answer)
{
	struct jobs *t = j->all;

	pthread_mutex_lock(&t->lock);
	j->now.state = JOB_OVER;
	j->now.version++;
	j->now.err = e;
	if (answer)
		j->now.answer = *answer;
	if (e)
		snprintf(j->now.why, sizeof j->now.why, "%s", err_text());
	j->over_at = clock_boot();
	t->active--;
	/* A whole directory is looked at again; what was ticked is said again by the page of the conflict. */
	if (!e || j->ask.whole)
		lists_drop(j);
	if (j->visiting)
		take_out(t, j);
	pthread_cond_broadcast(&t->ended);
	unref(j);
	pthread_mutex_unlock(&t->lock);
}

/* On a thread of the table, with a reference. */
static void run(void *job, void *tools)
{
	struct job *j = job;
	struct file_act fa = j->ask.fa;
	struct act_answer answer = { 0 };
	struct selection conflict = { 0 };
	enum err e;

	pthread_mutex_lock(&j->all->lock);
	const bool stopping = j->all->stopping;
	if (!stopping)
		j->now.state = JOB_RUNNING;
	j->now.version++;
	pthread_mutex_unlock(&j->all->lock);
	if (stopping) {
		over(j, err_set(ERR_BUSY, "The server was stopped before this act began: nothing was recorded."), NULL);
		return;
	}
	fa.progress = job_progress;
	fa.progress_arg = j;
	e = act_files(j->ask.site, tools, &j->ask.rq, &fa, &answer, &conflict);
	if (tx_open(tools_db(tools))) {
		log_event(LOG_LEVEL_ERROR, "job.transaction", "text", "an act left a transaction open", NULL);
		abort();
	}
	if (e)
		log_event(LOG_LEVEL_INFO, "job.refused", "site", j->ask.site->name, "act", fa.act, "code", err_name(e), "text", err_text(), NULL);
	over(j, e, &answer);
	selection_release(&conflict);
}

enum err jobs_begin(struct jobs *t, const struct job_ask *ask, struct job **out)
{
	struct job *j = job_new(t, ask), *other;
	enum err e = ERR_OK;

	*out = NULL;
	pthread_mutex_lock(&t->lock);
	other = find(t, ask->site, ask->rq.actor->who.user, &ask->rq.op);
	if (other && other->now.state != JOB_OVER) {
		if (sha256_equal(&other->request, &j->request)) {
			other->refs++;
			*out = other;
		} else {
			e = err_set(ERR_STALE, "This id is in use, for another request.");
		}
		goto out;
	}
	e = room_for(t, j);
	if (e)
		goto out;
	/* What came to nothing is tried again. */
	if (other)
		take_out(t, other);
	put(t, j);
	j->refs++;
	e = pool_add(t->pool, (struct pool_job){ run, j });
	if (e) {
		j->refs--;
		t->active--;
		take_out(t, j);
	} else {
		j->refs++;
		*out = j;
	}
out:
	unref(j);
	pthread_mutex_unlock(&t->lock);
	return e;
}

struct job *jobs_enter(struct jobs *t, const struct job_ask *ask)
{
	struct job *j = job_new(t, ask);

	pthread_mutex_lock(&t->lock);
	j->visiting = true;
	j->now.state = JOB_RUNNING;
	lists_drop(j); /* its caller holds them */
	const struct job *other = find(t, ask->site, ask->rq.actor->who.user, &ask->rq.op);
	const bool fits = !(other && other->now.state != JOB_OVER) && !room_for(t, j);
	if (fits)
		put(t, j);
	else
		unref(j);
	pthread_mutex_unlock(&t->lock);
	return fits ? j : NULL;
}

void jobs_leave(struct job *j)
{
	if (j)
		over(j, ERR_OK, NULL);
}

bool job_wait(struct job *j, int64_t us)
{
	struct timespec until;
	bool done;

	clock_deadline(us, &until);
	pthread_mutex_lock(&j->all->lock);
	while (j->now.state != JOB_OVER && pthread_cond_timedwait(&j->all->ended, &j->all->lock, &until) == 0)
		;
	done = j->now.state == JOB_OVER;
	pthread_mutex_unlock(&j->all->lock);
	return done;
}

struct job *jobs_find(struct jobs *t, const struct site *s, const char *actor, const struct uuid *op)
{
	struct job *j;

	pthread_mutex_lock(&t->lock);
	j = find(t, s, actor, op);
	if (j)
		j->refs++;
	pthread_mutex_unlock(&t->lock);
	return j;
}

const struct job_ask *job_ask(const struct job *j)
{
	return &j->ask;
}

void job_look(struct job *j, struct job_now *out)
{
	pthread_mutex_lock(&j->all->lock);
	*out = j->now;
	pthread_mutex_unlock(&j->all->lock);
}

void job_told(struct job *j)
{
	pthread_mutex_lock(&j->all->lock);
	j->told = true;
	pthread_mutex_unlock(&j->all->lock);
}

void job_unref(struct job *j)
{
	struct jobs *t = j ? j->all : NULL;

	if (!j)
		return;
	pthread_mutex_lock(&t->lock);
	unref(j);
	pthread_mutex_unlock(&t->lock);
}

size_t jobs_list(struct jobs *t, const struct site *s, const char *actor, struct job **out, size_t most)
{
	size_t n = 0;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n && n < most; i++) {
		struct job *j = t->list[i];

		if (j->ask.site != s || strcmp(j->ask.rq.actor->who.user, actor) != 0 || (j->now.state == JOB_OVER && (j->told || !j->now.err)))
			continue;
		j->refs++;
		out[n++] = j;
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* --- start and stop -------------------------------------------------------------------------------------------------- */

static void *thread_start(void *database)
{
	return tools_new(database);
}

static void thread_stop(void *tools)
{
	tools_free(tools);
}

struct jobs *jobs_new(unsigned threads, const struct db_address *database)
{
	struct jobs *t = mem_alloc(sizeof *t);

	pthread_mutex_init(&t->lock, NULL);
	clock_cond_init(&t->ended);
	t->pool = pool_new("act", threads, JOBS_ALL, thread_start, thread_stop, (void *)(uintptr_t)database);
	return t;
}

bool jobs_stop(struct jobs *t, const struct timespec *until)
{
	bool idle;

	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	while (t->active && pthread_cond_timedwait(&t->ended, &t->lock, until) == 0)
		;
	idle = t->active == 0;
	pthread_mutex_unlock(&t->lock);
	return idle;
}

void jobs_free(struct jobs *t)
{
	if (!t)
		return;
	pool_free(t->pool);
	pthread_mutex_lock(&t->lock);
	while (t->n)
		take_out(t, t->list[0]);
	pthread_mutex_unlock(&t->lock);
	pthread_cond_destroy(&t->ended);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
