/*
 * While rows are written and the disk is waited for, one processor has nothing to do: what a large act makes anew is made
 * then. Nothing relies on it. An act that comes to nothing, or is decided otherwise, costs the removal.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/failpoint.h"
#include "base/pool.h"
#include "export/internal.h"

#define SPARE ((uint64_t)256 << 20) /* bytes that stay free for the act itself */

struct ahead {
	struct export_dir *e;
	struct repo_shelf *shelf;
	struct plan plan; /* until it is made */
	struct arena *arena;
	struct aside *list;
	struct pool_beside thread;
	atomic_bool stop, decided;
};

static enum err make_one(struct ahead *h, struct bring *b, struct aside *x)
{
	enum err err = aside_begin(h->e, x);

	for (size_t i = x->from; i < x->to && !err && !h->stop; i++) {
		err = aside_parent(b, x, h->plan.items[i].path);
		if (!err)
			err = additions_make(b, &h->plan.items[i], NO_TIME);
		/* the repository has had these bytes before: made with the rest */
		if (err == ERR_NOT_FOUND)
			err = ERR_OK;
	}
	bring_parent_close(b);
	return err;
}

static void make_all(void *arg)
{
	struct ahead *h = arg;
	struct bring b = { .e = h->e, .shelf = repo_shelf_hand_new(h->shelf), .plan = &h->plan, .parent_fd = -1 };
	enum err err = ERR_OK;

	for (size_t i = 0; i < h->plan.n && !err && !h->stop;) {
		struct aside *x = aside_find(h->e, &h->plan, i, i ? i - 1 : i, h->arena);

		if (!x) {
			i++;
			continue;
		}
		i = x->to;
		aside_sum(x, &h->plan);
		err = make_one(h, &b, x);
		if (err) {
			aside_drop(h->e, x);
			break;
		}
		/* if it was stopped, who takes it makes the rest */
		x->made = true;
		x->next = h->list;
		h->list = x;
	}
	repo_shelf_hand_free(b.shelf);
	plan_release(&h->plan);
}

static bool room(const struct export_dir *e, uint64_t bytes)
{
	struct statvfs fs;

	return fstatvfs(e->root, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize / 2 > bytes + SPARE;
}

bool export_ahead(struct export_dir *e, struct repo_shelf *shelf, struct plan *files, uint64_t bytes)
{
	struct ahead *h = NULL;

	pthread_mutex_lock(&e->ahead_lock);
	if (shelf && !e->ahead && files->n >= EXPORT_AHEAD && room(e, bytes)) {
		h = mem_alloc(sizeof(*h));
		h->e = e;
		h->shelf = shelf;
		h->plan = *files;
		h->arena = arena_new();
		e->ahead = h;
		pool_beside_start(&h->thread, make_all, h);
	}
	pthread_mutex_unlock(&e->ahead_lock);
	if (!h) {
		repo_shelf_free(shelf);
		plan_release(files);
	}
	*files = (struct plan){ .n = 0 };
	return h != NULL;
}

void export_ahead_end(struct export_dir *e, bool decided)
{
	if (decided) {
		pthread_mutex_lock(&e->ahead_lock);
		if (e->ahead)
			atomic_store(&e->ahead->decided, true);
		pthread_mutex_unlock(&e->ahead_lock);
		return;
	}
	pthread_mutex_lock(&e->lock);
	ahead_drop(e, false);
	pthread_mutex_unlock(&e->lock);
}

struct ahead *ahead_stop(struct export_dir *e)
{
	struct ahead *h;

	pthread_mutex_lock(&e->ahead_lock);
	h = e->ahead;
	if (h) {
		atomic_store(&h->stop, true);
		pool_beside_wait(&h->thread);
	}
	pthread_mutex_unlock(&e->ahead_lock);
	return h;
}

void ahead_match(struct ahead *h, const struct plan *plan, struct aside *x)
{
	if (!h)
		return;
	aside_sum(x, plan);
	for (struct aside *have = h->list; have; have = have->next) {
		if (!*have->name || strcmp(have->dir, x->dir) != 0 || !sha256_equal(&have->sum, &x->sum))
			continue;
		memcpy(x->name, have->name, sizeof(x->name));
		have->name[0] = '\0';
		x->made = true;
		break;
	}
}

struct repo_shelf_hand *ahead_hand(const struct ahead *h)
{
	return h ? repo_shelf_hand_new(h->shelf) : NULL;
}

void ahead_drop(struct export_dir *e, bool decided_only)
{
	struct ahead *h;

	pthread_mutex_lock(&e->ahead_lock);
	h = e->ahead;
	if (h && decided_only && !h->decided)
		h = NULL;
	if (h)
		e->ahead = NULL;
	pthread_mutex_unlock(&e->ahead_lock);
	if (!h)
		return;
	atomic_store(&h->stop, true);
	pool_beside_wait(&h->thread);
	for (struct aside *x = h->list; x; x = x->next)
		aside_drop(e, x);
	repo_shelf_free(h->shelf);
	plan_release(&h->plan);
	arena_free(h->arena);
	free(h);
}
