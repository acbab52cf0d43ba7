/*
 * The files that a change puts into the directory: each made beside it and renamed. Of many, two threads make each a run
 * of files of one directory at a time. A directory that is not there yet is filled beside the export and renamed as one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/failpoint.h"
#include "base/pool.h"
#include "base/sys.h"
#include "export/internal.h"

#define LATEST INT64_C(9000000000) /* seconds: what nanoseconds in 64 bits can still hold (year 2255) */
#define MANY 256 /* files from which on two threads make them */
#define RUN 64 /* files that a thread takes up at once */

struct run {
	size_t from, to; /* of the plan */
	struct aside *aside; /* NULL: into the export itself */
};

struct work {
	struct bring *b;
	struct run *runs;
	size_t n, cap;
	struct aside *asides; /* arena */
	size_t next; /* atomic: of runs */
	pthread_mutex_t lock; /* of what follows, and b->asking of both */
	enum err err;
	char why[1024];
};

/* --- one file --------------------------------------------------------------------------------------------------------- */

/* Who is asked may have one connection to the database only. */
static int64_t put_at(struct bring *b, const struct plan_item *item)
{
	int64_t at;

	if (b->asking)
		pthread_mutex_lock(b->asking);
	at = b->when(b->arg, item->path);
	if (b->asking)
		pthread_mutex_unlock(b->asking);
	return at;
}

static int64_t floor_second(int64_t us)
{
	int64_t s = us / CLOCK_SECOND;
	return us % CLOCK_SECOND < 0 ? s - 1 : s;
}

/* That second, or the one after the time that a file there had. */
static int64_t later(int64_t s, const struct stat *there)
{
	if (s <= there->st_mtim.tv_sec)
		s = (int64_t)there->st_mtim.tv_sec + 1;
	return s < LATEST ? s : LATEST;
}

/* Is the regular file found there one that we put there? */
static enum err was_ours(struct bring *b, const struct plan_item *item, bool *ours)
{
	struct blob_id blob;
	enum err err;

	*ours = true;
	if (b->replay || item->kind == PLAN_CHANGE)
		return ERR_OK;
	*ours = false;
	if (blob_id_zero(&b->e->held))
		return ERR_OK;
	err = repo_find(b->r, &b->e->held, item->path, &blob, NULL);
	*ours = err == ERR_OK;
	return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err copy_bytes(struct bring *b, const struct plan_item *item, int fd)
{
	enum err err = b->shelf ? repo_shelf_copy(b->shelf, &item->blob, fd) : ERR_NOT_FOUND;

	return err == ERR_NOT_FOUND && b->r ? repo_blob_copy(b->r, &item->blob, fd) : err;
}

/* The mode is set each time: what the umask left of it is not known here. */
static enum err finish(const struct plan_item *item, int64_t mtime_s, int fd, enum err err)
{
	if (!err && (sys_fchmod(fd, item->exec ? 0755 : 0644) != 0 || (mtime_s != NO_TIME && sys_futimens(fd, mtime_s * 1000000000) != 0)))
		err = err_sys(ERR_FAILED, "cannot write to export.tmp");
	if (sys_close(fd) != 0 && !err)
		err = err_sys(ERR_FAILED, "cannot write to export.tmp");
	return err;
}

/* A file in export.tmp/ with the bytes, mode and time. */
static enum err make_temporary(struct bring *b, const struct plan_item *item, int64_t mtime_s, char name[PREPARED_NAME])
{
	const bool claimed = prepared_claim(b->e, &item->blob, name);
	const int fd = claimed ? sys_open(b->e->tmp, name, O_WRONLY | O_NOFOLLOW, 0) : temporary_create(b->e, &item->blob, name);
	enum err err = fd < 0 ? err_sys(ERR_FAILED, "cannot write to export.tmp") : ERR_OK;

	if (!err && !claimed)
		err = copy_bytes(b, item, fd);
	if (fd >= 0)
		err = finish(item, mtime_s, fd, err);
	if (err)
		sys_unlink(b->e->tmp, name, 0);
	return err;
}

/* It stands there already, from the try before: mode or time may be what is missing. */
static enum err keep(struct bring *b, const struct plan_item *item, const struct stat *st)
{
	const mode_t mode = item->exec ? 0755 : 0644;
	const int64_t at = floor_second(put_at(b, item));
	const bool bad_mode = (st->st_mode & 07777) != mode, bad_time = st->st_mtim.tv_nsec != 0 || st->st_mtim.tv_sec < at;
	enum err err = ERR_OK;
	int fd;

	if (!bad_mode && !bad_time)
		return ERR_OK;
	fd = openat(b->parent_fd, path_name(item->path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || (bad_mode && sys_fchmod(fd, mode) != 0) ||
	    (bad_time && sys_futimens(fd, later(at, st) * 1000000000) != 0))
		err = err_sys(ERR_FAILED, "cannot set mode and time of %s in the export", item->path.s);
	if (fd >= 0)
		sys_close(fd);
	return err;
}

/* By way of export.tmp/ into b->parent_fd. */
static enum err put_temporary(struct bring *b, const struct plan_item *item, int64_t mtime_s)
{
	char name[PREPARED_NAME];
	enum err err = make_temporary(b, item, mtime_s, name);

	if (err)
		return err;
	FAILPOINT(export_ready);
	if (sys_rename(b->e->tmp, name, b->parent_fd, path_name(item->path)) != 0) {
		err = err_sys(ERR_FAILED, "cannot put %s into the export", item->path.s);
		sys_unlink(b->e->tmp, name, 0);
	}
	FAILPOINT_OR(err, export_placed);
	return err;
}

static enum err put_file(struct bring *b, const struct plan_item *item)
{
	const char *name = path_name(item->path);
	int64_t mtime;
	struct stat st;
	bool there, ours, same = false;
	enum err err = bring_parent(b, item->path, true);

	if (err)
		return err;
	there = fstatat(b->parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!there && errno != ENOENT)
		return err_sys(ERR_FAILED, "cannot examine %s in the export", item->path.s);
	if (there && S_ISREG(st.st_mode) && b->replay && !b->e->distrust) {
		err = place_same(b->r, b->parent_fd, name, &item->blob, &same);
		if (err)
			return err;
		if (same)
			return keep(b, item, &st);
	}
	if (there) {
		ours = false;
		if (S_ISREG(st.st_mode))
			err = was_ours(b, item, &ours);
		if (!err && !ours) {
			err = place_move_foreign(b->e, b->parent_fd, name, item->path.s);
			there = false;
		}
		if (err)
			return err;
	}
	mtime = floor_second(put_at(b, item));
	mtime = there ? later(mtime, &st) : mtime < LATEST ? mtime : LATEST;
	return put_temporary(b, item, mtime);
}

/* --- one file of a new directory ------------------------------------------------------------------------------------------- */

enum err additions_make(struct bring *b, const struct plan_item *item, int64_t mtime_s)
{
	const char *name = path_name(item->path);
	const int fd = sys_open(b->parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
	enum err err;

	if (fd < 0)
		return err_sys(ERR_FAILED, "cannot make %s beside the export", item->path.s);
	err = finish(item, mtime_s, fd, copy_bytes(b, item, fd));
	if (err)
		sys_unlink(b->parent_fd, name, 0);
	return err;
}

static enum err put_aside(struct bring *b, struct aside *aside, const struct plan_item *item)
{
	const char *name = path_name(item->path);
	const int64_t s = floor_second(put_at(b, item)), mtime = s < LATEST ? s : LATEST;
	enum err err = aside_parent(b, aside, item->path);

	if (err)
		return err;
	if (aside->made && sys_utime_link(b->parent_fd, name, (struct timespec){ .tv_sec = (time_t)mtime }) == 0)
		return ERR_OK;
	/* it was stopped before, or the bytes were not at hand there */
	if (aside->made && errno != ENOENT)
		return err_sys(ERR_FAILED, "cannot set the time of %s beside the export", item->path.s);
	return prepared_has(b->e, &item->blob) ? put_temporary(b, item, mtime) : additions_make(b, item, mtime);
}

/* --- all of them -------------------------------------------------------------------------------------------------------------- */

static void add_run(struct work *w, size_t from, size_t to, struct aside *aside)
{
	w->runs = mem_grow(w->runs, &w->cap, w->n + 1, sizeof(*w->runs));
	w->runs[w->n++] = (struct run){ from, to, aside };
}

/* Runs of files of one directory each. */
static void split(struct work *w, size_t from, size_t to, struct aside *aside)
{
	const struct plan_item *items = w->b->plan->items;

	for (size_t i = from, k; i < to; i = k) {
		const size_t dir = path_above(items[i].path);

		for (k = i + 1; k < to && k < i + RUN && path_above(items[k].path) == dir && memcmp(items[i].path.s, items[k].path.s, dir) == 0; k++)
			;
		add_run(w, i, k, aside);
	}
}

static void plan_work(struct work *w)
{
	const struct plan *plan = w->b->plan;
	size_t start = 0, i = 0;

	while (i < plan->n) {
		struct aside *aside = plan->items[i].kind == PLAN_REMOVE ? NULL : aside_find(w->b->e, plan, i, i > start ? i - 1 : i, w->b->arena);

		if (!aside) {
			i++;
			continue;
		}
		ahead_match(w->b->ahead, plan, aside);
		split(w, start, i, NULL);
		split(w, aside->from, aside->to, aside);
		start = i = aside->to;
		aside->next = w->asides;
		w->asides = aside;
	}
	split(w, start, plan->n, NULL);
}

static void failed(struct work *w, enum err err)
{
	size_t n;

	pthread_mutex_lock(&w->lock);
	if (!w->err) {
		w->err = err;
		n = strnlen(err_text(), sizeof(w->why) - 1);
		memcpy(w->why, err_text(), n);
		w->why[n] = '\0';
	}
	pthread_mutex_unlock(&w->lock);
	__atomic_store_n(&w->next, w->n, __ATOMIC_RELAXED);
}

static void work_off(struct work *w, struct bring *b)
{
	enum err err = ERR_OK;

	for (size_t n; !err && (n = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED)) < w->n;) {
		const struct run *run = &w->runs[n];

		if (b->aside != run->aside)
			bring_parent_close(b);
		b->aside = run->aside;
		for (size_t i = run->from; i < run->to && !err; i++)
			if (b->plan->items[i].kind != PLAN_REMOVE)
				err = run->aside ? put_aside(b, run->aside, &b->plan->items[i]) : put_file(b, &b->plan->items[i]);
	}
	bring_parent_close(b);
	b->aside = NULL;
	if (err)
		failed(w, err);
}

static void work_one(void *arg, size_t nth)
{
	struct work *w = arg;
	struct bring mine = *w->b;
	struct repo *own = NULL;

	mine.parent_fd = -1;
	mine.asking = &w->lock;
	/* one thread does it all if the other has no hand on the repository */
	if (nth > 0 && repo_open_like(&own, w->b->r))
		return;
	if (own)
		mine.r = own;
	mine.shelf = ahead_hand(mine.ahead);
	work_off(w, &mine);
	repo_shelf_hand_free(mine.shelf);
	repo_close(own);
}

enum err additions(struct bring *b)
{
	struct work w = { .b = b };
	enum err err = ERR_OK;

	pthread_mutex_init(&w.lock, NULL);
	plan_work(&w);
	for (struct aside *a = w.asides; a && !err; a = a->next)
		if (!a->made)
			err = aside_begin(b->e, a);
	if (!err && b->plan->n < MANY)
		work_off(&w, b);
	else if (!err)
		pool_each(2, 2, work_one, &w);
	if (!err && w.err)
		err = err_set(w.err, "%s", w.why);
	for (struct aside *a = w.asides; a; a = a->next) {
		if (!err)
			err = aside_place(b, a);
		if (err)
			aside_drop(b->e, a);
	}
	bring_parent_close(b);
	pthread_mutex_destroy(&w.lock);
	free(w.runs);
	return err;
}
