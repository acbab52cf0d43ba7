/*
 * Bringing the directory along: removals, then emptied directories, then additions. Every step may be made again: after
 * a crash the paths in doubt are those in which the commits of export.at differ, and each is brought to where it
 * belongs whatever is found there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "export/internal.h"

#define FEW 16 /* changes up to here are not synced: see bring_locked() */
#define KEEP_PREPARED (3600 * CLOCK_SECOND)

void bring_parent_close(struct bring *b)
{
	if (b->parent_fd >= 0)
		sys_close(b->parent_fd);
	b->parent_fd = -1;
}

static enum err make_parent(struct bring *b, struct path path)
{
	enum err err;

	if (b->asking)
		pthread_mutex_lock(b->asking);
	err = place_make_parent(b->e, path, &b->parent_fd);
	if (b->asking)
		pthread_mutex_unlock(b->asking);
	return err;
}

enum err bring_parent(struct bring *b, struct path path, bool make)
{
	const size_t n = path_above(path);
	enum err err;

	if (b->parent_fd >= 0 && (b->parent_made || !make) && strlen(b->parent) == n && memcmp(b->parent, path.s, n) == 0)
		return ERR_OK;
	bring_parent_close(b);
	err = make ? make_parent(b, path) : place_parent(b->e, path, &b->parent_fd);
	if (err) {
		b->parent_fd = -1;
		return err;
	}
	memcpy(b->parent, path.s, n);
	b->parent[n] = '\0';
	b->parent_made = make;
	return ERR_OK;
}

/* --- removals ----------------------------------------------------------------------------------------------------- */

static enum err remove_file(struct bring *b, struct path path)
{
	const char *name = path_name(path);
	struct stat st;
	enum err err = bring_parent(b, path, false);

	if (err)
		return err == ERR_NOT_FOUND ? ERR_OK : err;
	if (fstatat(b->parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? ERR_OK : err_sys(ERR_FAILED, "cannot examine %s in the export", path.s);
	/* a directory of the wanted tree, already there, or one that is looked at when the emptied ones are */
	if (S_ISDIR(st.st_mode))
		return ERR_OK;
	if (!S_ISREG(st.st_mode))
		return place_move_foreign(b->e, b->parent_fd, name, path.s);
	if (sys_unlink(b->parent_fd, name, 0) != 0 && errno != ENOENT)
		return err_sys(ERR_FAILED, "cannot remove %s from the export", path.s);
	FAILPOINT_OR(err, export_file_gone);
	return err;
}

/* Directories that may have lost their last file: of each removed path the path itself and all above it. */
struct candidates {
	char **paths;
	size_t n, cap;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void collect(struct bring *b, struct candidates *c)
{
	const char *last = "";
	size_t kept = 0;

	for (size_t i = 0; i < b->plan->n; i++) {
		struct path path = b->plan->items[i].path;
		size_t n = path_above(path);
		if (b->plan->items[i].kind != PLAN_REMOVE)
			continue;
		if (c->cap < c->n + 1)
			c->paths = mem_grow(c->paths, &c->cap, c->n + 1, sizeof(*c->paths));
		c->paths[c->n++] = arena_dup(b->arena, path.s);
		if (strlen(last) == n && memcmp(last, path.s, n) == 0)
			continue;
		last = arena_dupn(b->arena, path.s, n);
		for (; n > 0; n = (size_t)(strrchr(c->paths[c->n - 1], '/') - c->paths[c->n - 1])) {
			if (c->cap < c->n + 1)
				c->paths = mem_grow(c->paths, &c->cap, c->n + 1, sizeof(*c->paths));
			c->paths[c->n++] = arena_dupn(b->arena, path.s, n);
		}
	}
	if (c->n == 0)
		return;
	qsort(c->paths, c->n, sizeof(*c->paths), by_text);
	for (size_t i = 0; i < c->n; i++)
		if (kept == 0 || strcmp(c->paths[kept - 1], c->paths[i]) != 0)
			c->paths[kept++] = c->paths[i];
	c->n = kept;
}

static enum err remove_directory(struct bring *b, const char *text)
{
	struct path path;
	const char *name;
	struct stat st;
	bool wanted;
	enum err err = path_check(&path, text);

	if (!err)
		err = bring_parent(b, path, false);
	if (err)
		return err == ERR_NOT_FOUND ? ERR_OK : err;
	name = path_name(path);
	if (fstatat(b->parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
		return ERR_OK;
	err = repo_has_directory(b->r, b->to, path, &wanted);
	if (err || wanted)
		return err;
	FAILPOINT(export_emptying);
	if (sys_unlink(b->parent_fd, name, AT_REMOVEDIR) == 0)
		return ERR_OK;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return err_sys(ERR_FAILED, "cannot remove the directory %s from the export", text);
	/* everything that was ours in it has been removed before */
	return place_move_foreign(b->e, b->parent_fd, name, text);
}

static enum err remove_emptied(struct bring *b)
{
	struct candidates c = { 0 };
	enum err err = ERR_OK;

	collect(b, &c);
	/* from the end: what is in a directory sorts behind it */
	for (size_t i = c.n; i > 0 && !err; i--)
		err = remove_directory(b, c.paths[i - 1]);
	free(c.paths);
	return err;
}

enum err bring_sync(struct export_dir *e)
{
	if (sys_syncfs(e->root) != 0)
		return err_sys(ERR_FAILED, "cannot make the export durable");
	return ERR_OK;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static enum err carry_out(struct bring *b)
{
	enum err err = ERR_OK;

	for (size_t i = b->plan->n; i > 0 && !err; i--)
		if (b->plan->items[i - 1].kind == PLAN_REMOVE)
			err = remove_file(b, b->plan->items[i - 1].path);
	FAILPOINT_OR(err, export_removed);
	if (!err)
		err = remove_emptied(b);
	FAILPOINT_OR(err, export_emptied);
	bring_parent_close(b);
	return err ? err : additions(b);
}

/* The paths in which any commit of export.at differs from the wanted one, as the wanted one has them. */
static enum err union_plan(struct export_dir *e, struct repo *r, const struct blob_id *to, struct plan *out)
{
	struct plan parts[STATE_COMMITS];
	size_t at[STATE_COMMITS] = { 0 }, n = e->state.n, opened = 0;
	enum err err = ERR_OK;

	for (; opened < n && !err; opened++) {
		plan_init(&parts[opened]);
		err = repo_plan(r, &e->state.commits[opened], to, &parts[opened]);
	}
	while (!err) {
		const struct plan_item *first = NULL;
		for (size_t i = 0; i < n; i++)
			if (at[i] < parts[i].n && (!first || path_compare(parts[i].items[at[i]].path, first->path) < 0))
				first = &parts[i].items[at[i]];
		if (!first)
			break;
		plan_add(out, first->kind, first->path, &first->blob, first->exec);
		struct path path = first->path;
		for (size_t i = 0; i < n; i++)
			if (at[i] < parts[i].n && path_equal(parts[i].items[at[i]].path, path))
				at[i]++;
	}
	for (size_t i = 0; i < opened; i++)
		plan_release(&parts[i]);
	return err;
}

/* --- nothing is known ----------------------------------------------------------------------------------------------- */

struct sweep {
	struct export_dir *e;
	const struct plan *plan; /* all files of the wanted tree */
};

static enum err sweep_one(void *arg, int dir, const char *name, const char *path, const struct stat *st, bool *enter)
{
	struct sweep *s = arg;
	char *full = mem_printf("/%s%s", path, S_ISDIR(st->st_mode) ? "/" : "");
	size_t i = place_lower_bound(s->plan, full);
	bool wanted = false;
	enum err err = ERR_OK;

	if (S_ISDIR(st->st_mode))
		wanted = i < s->plan->n && strncmp(s->plan->items[i].path.s, full, strlen(full)) == 0;
	else if (S_ISREG(st->st_mode))
		wanted = i < s->plan->n && strcmp(s->plan->items[i].path.s, full) == 0;
	*enter = wanted && S_ISDIR(st->st_mode);
	if (!wanted)
		err = place_move_foreign(s->e, dir, name, full);
	free(full);
	return err;
}

/*
 * A small change is not synced at all. Its commit joins those of export.at, durably and before the first step, and stays
 * there: should the machine fail, every path in doubt is compared byte by byte at the next start. So an act waits for
 * one sync here. The list is made short again, with one syncfs, when it is full, and after a large change.
 */
static enum err bring_locked(struct export_dir *e, struct repo *r, const struct blob_id *to, const struct plan *given,
    export_time_fn *when, void *arg)
{
	static const struct blob_id none;
	struct bring b = { .e = e, .r = r, .to = to, .when = when, .arg = arg, .parent_fd = -1, .replay = !e->known };
	const bool all = b.replay && e->state.n == 0;
	struct plan own;
	bool sync;
	enum err err = ERR_OK;

	if (e->known && blob_id_equal(&e->held, to))
		return ERR_OK;
	plan_init(&own);
	b.plan = b.replay || !given ? &own : given;
	if (all)
		err = repo_plan(r, &none, to, &own);
	else if (b.replay)
		err = union_plan(e, r, to, &own);
	else if (!given)
		err = repo_plan(r, &e->held, to, &own);
	if (err)
		goto out;
	if (b.plan->n == 0 && !b.replay) {
		/* the same files under another commit */
		e->held = *to;
		if (e->state.n == 1)
			err = state_settle(&e->state, to);
		goto out;
	}
	sync = b.replay || b.plan->n > FEW;
	if (b.plan->n >= EXPORT_AHEAD)
		b.ahead = ahead_stop(e);
	b.arena = arena_new();
	if (e->known && state_full(&e->state, to)) {
		err = bring_sync(e);
		if (!err)
			err = state_settle(&e->state, &e->held);
	}
	e->known = false;
	FAILPOINT_OR(err, export_planned);
	if (!err)
		err = state_begin(&e->state, to);
	FAILPOINT_OR(err, export_noted);
	if (!err && all)
		err = place_walk(e, sweep_one, &(struct sweep){ e, &own });
	if (!err)
		err = carry_out(&b);
	FAILPOINT_OR(err, export_filled);
	if (!err && sync)
		err = bring_sync(e);
	FAILPOINT_OR(err, export_synced);
	if (!err && sync)
		err = state_settle(&e->state, to);
	FAILPOINT_OR(err, export_settled);
	if (!err) {
		e->known = true;
		e->held = *to;
	}
	e->distrust = err != ERR_OK;
	prepared_drop(e, clock_boot() - KEEP_PREPARED);
	if (!err)
		ahead_drop(e, true);
out:
	arena_free(b.arena);
	plan_release(&own);
	return err;
}

enum err export_bring(struct export_dir *e, struct repo *r, const struct blob_id *to, const struct plan *plan,
    export_time_fn *when, void *arg)
{
	enum err err;

	pthread_mutex_lock(&e->lock);
	err = bring_locked(e, r, to, plan, when, arg);
	pthread_mutex_unlock(&e->lock);
	return err;
}

enum err export_repair(struct export_dir *e, struct repo *r, const struct blob_id *to, export_time_fn *when, void *arg)
{
	enum err err;

	pthread_mutex_lock(&e->lock);
	e->known = false;
	e->state.n = 0;
	err = bring_locked(e, r, to, NULL, when, arg);
	pthread_mutex_unlock(&e->lock);
	return err;
}
