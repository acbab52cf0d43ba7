/*
 * read: files from staging into git and export, from the same bytes that are hashed, on two threads.
 *
 * A file of up to 16 MiB is held in memory while its fingerprint is not known yet, so that nothing is kept of one that
 * is not what was shown; a larger one goes to a temporary object that is dropped again.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/failpoint.h"
#include "base/pool.h"
#include "base/weaken.h"

#define READERS 2
#define PROGRESS_STEP 512 /* files between two calls of progress */

struct loop {
	struct reading *r;
	size_t first; /* index of this round's first item */
	atomic_bool stop;
	pthread_mutex_t lock; /* around the failure */
	enum err err;
	size_t failed;
	char why[1024];
};

struct sink {
	struct repo_pack *pack;
	char *bytes; /* small files */
	size_t n, cap;
	struct repo_stream *stream; /* large ones */
	uint64_t size, streamed;
	enum err trouble; /* of ours, not of the door */
};

static void sink_reset(struct sink *k)
{
	if (k->stream)
		repo_stream_cancel(k->stream);
	k->stream = NULL;
	k->streamed = 0;
	k->n = 0;
}

static void sink_release(struct sink *k)
{
	sink_reset(k);
	free(k->bytes);
}

static enum err sink_take(void *arg, const void *p, size_t n, uint64_t size)
{
	struct sink *k = arg;

	if (!p) {
		sink_reset(k);
		return ERR_OK;
	}
	if (size > REPO_LOOSE_ABOVE) {
		if (!k->stream && (k->trouble = repo_stream_begin(k->pack, size, &k->stream)))
			return k->trouble;
		k->streamed += n;
		return k->trouble = repo_stream_add(k->stream, p, n);
	}
	/* The size is what fstat said: a file that grew meanwhile is cut here and found changed by the door. */
	if (k->n + n > REPO_LOOSE_ABOVE)
		return k->trouble = err_set(ERR_BUSY, "The file grew while it was read.");
	if (!k->bytes || k->n + n > k->cap) {
		size_t want = k->n + n > size ? k->n + n : (size_t)size;

		/* Not mem_grow: the size is known, and most files fit at once. */
		char *more = mem_alloc(want ? want : 1);

		if (k->n)
			memcpy(more, k->bytes, k->n);
		free(k->bytes);
		k->bytes = more;
		k->cap = want;
	}
	memcpy(k->bytes + k->n, p, n);
	k->n += n;
	return ERR_OK;
}

/* The bytes are what was shown: into the pack, and beside the export. */
static enum err sink_keep(struct sink *k, struct reading *r, struct read_item *item)
{
	enum err err;

	if (item->print.size > REPO_LOOSE_ABOVE) {
		struct repo_stream *stream = k->stream;

		if (!stream || k->streamed != item->print.size)
			return err_set(ERR_BUSY, "%s changed while it was read.", item->path.s);
		k->stream = NULL;
		err = repo_stream_end(stream, &item->blob);
		FAILPOINT_OR(err, read_large);
		return err;
	}
	if (k->n != item->print.size)
		return err_set(ERR_BUSY, "%s changed while it was read.", item->path.s);
	err = repo_pack_blob(r->pack, k->bytes ? k->bytes : "", k->n, &item->blob);
	FAILPOINT_OR(err, read_packed);
	if (!err && r->s->export && !r->later)
		err = export_prepare(r->s->export, &item->blob, k->bytes ? k->bytes : "", k->n);
	return err;
}

static enum err read_one(struct reading *r, struct read_item *item)
{
	struct sink k = { .pack = r->pack };
	struct stage_stat st = { 0 };
	enum problem problem = PROBLEM_NONE;
	char why[PROBLEM_SENTENCE];
	enum err err = door_read(catalog_door(r->s->catalog), item->path, &item->print, &st, &problem, r->pack ? sink_take : NULL, &k);

	if (!err && item->want && !fingerprint_equal(item->want, &item->print) && !WEAK(shown_bytes))
		err = err_set(ERR_STALE, "%s is not what was shown any more.", item->path.s);
	if (err == ERR_NOT_FOUND && item->want)
		err = err_set(ERR_STALE, "%s is gone from staging.", item->path.s);
	else if (err == ERR_INPUT && problem != PROBLEM_NONE)
		err = err_set(ERR_STALE, "%s cannot be published: %s.", item->path.s, problem_sentence(problem, r->s->conf->largest_file, why));
	/* Records know no time before 1970, and the rows say what the record says. */
	item->mtime = st.mtime_ns > 0 ? st.mtime_ns / 1000 : 0;
	item->owner = st.owner;
	if (!err && r->pack)
		err = sink_keep(&k, r, item);
	sink_release(&k);
	FAILPOINT(read_file);
	return err;
}

static void read_nth(void *arg, size_t i)
{
	struct loop *l = arg;
	struct read_item *item = &l->r->items[l->first + i];

	if (atomic_load_explicit(&l->stop, memory_order_relaxed))
		return;
	item->err = read_one(l->r, item);
	if (!item->err)
		return;
	/* What is the disk's fault ends a lenient run too. */
	if (l->r->lenient && item->err != ERR_FAILED)
		return;
	pthread_mutex_lock(&l->lock);
	/* The first in path order, if several fail at once: the same answer each time. */
	if (!l->err || l->first + i < l->failed) {
		size_t n = strnlen(err_text(), sizeof l->why - 1);

		l->err = item->err;
		l->failed = l->first + i;
		memcpy(l->why, err_text(), n);
		l->why[n] = '\0';
	}
	pthread_mutex_unlock(&l->lock);
	atomic_store_explicit(&l->stop, true, memory_order_relaxed);
}

enum err reading_run(struct reading *r, size_t *failed)
{
	struct loop l = { .r = r };
	size_t step = r->progress ? PROGRESS_STEP : r->n;

	pthread_mutex_init(&l.lock, NULL);
	for (l.first = 0; l.first < r->n && !l.err; l.first += step) {
		size_t left = r->n - l.first, n = left < step ? left : step;

		pool_each(READERS, n, read_nth, &l);
		if (r->progress && !l.err)
			r->progress(r->progress_arg, "read", l.first + n, r->n);
	}
	pthread_mutex_destroy(&l.lock);
	if (failed)
		*failed = l.failed;
	return l.err ? err_set(l.err, "%s", l.why) : ERR_OK;
}

bool reading_ahead(struct reading *r)
{
	struct repo_shelf *shelf;
	struct plan files;
	uint64_t bytes = 0;

	if (!r->s->export || !r->pack || repo_pack_shelf(r->pack, &shelf))
		return false;
	plan_init(&files);
	for (size_t i = 0; i < r->n; i++) {
		plan_add(&files, PLAN_ADD, r->items[i].path, &r->items[i].blob, r->items[i].print.exec);
		bytes += r->items[i].print.size;
	}
	return export_ahead(r->s->export, shelf, &files, bytes);
}
