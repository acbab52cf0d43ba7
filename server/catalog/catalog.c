#include "catalog/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "catalog/inside.h"
#include "catalog/watcher.h"

enum err catalog_open(struct catalog **out, const struct catalog_options *o)
{
	*out = NULL;
	struct door *door;
	enum err e = door_open(&door, o->staging, o->largest_file);
	if (e)
		return e;
	struct catalog *c = mem_alloc(sizeof *c);
	c->door = door;
	c->largest_file = o->largest_file;
	c->patience_s = 20;
	c->cache_file = o->cache_file ? mem_dup(o->cache_file) : NULL;
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	/* Otherwise a stream of listings would keep every act and every scan waiting. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&c->tree, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&c->scan, NULL);
	pthread_mutex_init(&c->news_lock, NULL);
	clock_cond_init(&c->news);
	c->generation = 1;
	c->root = dir_new(NULL, "", 0);
	c->root->generation = 1;
	if (c->cache_file)
		cache_load(c);
	c->announced = c->generation;
	c->work = work_new(c, o->threads);
	if (o->watch)
		watcher_start(c);
	*out = c;
	return ERR_OK;
}

static void preapproved_drop(struct preapproved *p)
{
	free((char *)(uintptr_t)p->path.s);
	free((char *)(uintptr_t)p->pattern);
}

static void preapproved_free(struct catalog *c)
{
	for (size_t i = 0; i < c->n_preapproved; i++)
		preapproved_drop(&c->preapproved[i]);
	free(c->preapproved);
}

void catalog_close(struct catalog *c)
{
	if (!c)
		return;
	watcher_stop(c);
	pthread_mutex_lock(&c->scan);
	if (c->cache_stale)
		cache_save(c);
	pthread_mutex_unlock(&c->scan);
	work_free(c->work);
	tree_free(c->root);
	preapproved_free(c);
	for (size_t i = 0; i < c->n_users; i++)
		free(c->users[i]);
	free(c->users);
	free(c->prune);
	free(c->cache_file);
	door_close(c->door);
	pthread_cond_destroy(&c->news);
	pthread_mutex_destroy(&c->news_lock);
	pthread_mutex_destroy(&c->scan);
	pthread_rwlock_destroy(&c->tree);
	free(c);
}

struct door *catalog_door(struct catalog *c)
{
	return c->door;
}

/* --- the approved side ------------------------------------------------------------------------------------------------ */

void catalog_set_approved(struct catalog *c, struct path path, const struct approved *a)
{
	if (path_is_root(path))
		return;
	tree_write(c);
	struct dir *d = c->root;
	const char *s = path.s + 1, *slash;
	for (; (slash = strchr(s, '/')) != NULL; s = slash + 1)
		d = dir_make(c, d, s, (size_t)(slash - s));
	node_approve(c, file_make(c, d, s, strlen(s), false), a);
	tree_write_end(c);
}

static void preapproved_below(struct catalog *c, struct dir *d)
{
	dir_preapproved(c, d);
	for (size_t i = 0; i < d->n_dirs; i++)
		preapproved_below(c, d->dirs[i]);
}

void catalog_set_preapproved(struct catalog *c, const struct preapproved *list, size_t n)
{
	tree_write(c);
	preapproved_free(c);
	c->preapproved = n ? mem_array(n, sizeof *c->preapproved) : NULL;
	c->n_preapproved = n;
	for (size_t i = 0; i < n; i++) {
		c->preapproved[i] = list[i];
		c->preapproved[i].path.s = mem_dupn(list[i].path.s, list[i].path.len);
		c->preapproved[i].pattern = mem_dup(list[i].pattern);
	}
	preapproved_below(c, c->root);
	tree_states(c, c->root);
	tree_write_end(c);
}

/* --- the staged side -------------------------------------------------------------------------------------------------- */

/*
 * A scan that reads much (the first one, or after a large change) keeps the others waiting: not for ever, since each
 * has a worker of the server.
 */
static enum err scan_begin(struct catalog *c)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until); /* what pthread_mutex_timedlock counts by */
	until.tv_sec += c->patience_s;
	if (pthread_mutex_timedlock(&c->scan, &until) != 0)
		return err_set(ERR_BUSY, "staging is being read, which takes a while: %llu files so far", (unsigned long long)scan_files_read(c));
	return ERR_OK;
}

static enum err scan_below(struct catalog *c, struct path dir)
{
	tree_read(c);
	struct dir *d = dir_nearest(c, dir);
	tree_read_end(c);
	return scan_dirs(c, &d, 1, SCAN_BELOW);
}

enum err catalog_scan(struct catalog *c, struct path dir)
{
	enum err e = scan_begin(c);
	if (e)
		return e;
	e = scan_below(c, dir);
	pthread_mutex_unlock(&c->scan);
	return e;
}

enum err catalog_refresh(struct catalog *c, struct path dir)
{
	enum err e = ERR_OK;
	unsigned moved;
	uint64_t begun = atomic_load(&c->scans_begun);
	/* The directory's own name is not among what is watched. */
	if (watcher_quiet(c) && door_check(c->door, &moved) == ERR_OK && moved == c->door_moved)
		return ERR_OK;
	e = scan_begin(c);
	if (e)
		return e;
	if (watcher_complete(c) && c->known && door_check(c->door, &moved) == ERR_OK && moved == c->door_moved)
		e = watcher_catch_up(c);
	else if (c->scan_done <= begun) /* otherwise somebody began and finished one while we waited */
		e = scan_below(c, dir);
	pthread_mutex_unlock(&c->scan);
	return e;
}

enum err catalog_refresh_file(struct catalog *c, struct path path)
{
	enum err e = scan_begin(c);
	if (e)
		return e;
	e = scan_file(c, path);
	pthread_mutex_unlock(&c->scan);
	return e;
}

void catalog_trouble(struct catalog *c, char out[256])
{
	tree_read(c);
	memcpy(out, c->trouble, sizeof c->trouble);
	tree_read_end(c);
}

bool catalog_current(struct catalog *c)
{
	return watcher_quiet(c);
}

bool catalog_watching(struct catalog *c)
{
	return watcher_complete(c);
}

/* --- news ------------------------------------------------------------------------------------------------------------- */

uint64_t catalog_generation(struct catalog *c, struct path dir)
{
	tree_read(c);
	struct dir *d = dir_at(c, dir);
	uint64_t generation = d ? d->generation : 0;
	tree_read_end(c);
	return generation;
}

uint64_t catalog_wait(struct catalog *c, uint64_t seen, int64_t timeout_us)
{
	struct timespec until;

	clock_deadline(timeout_us, &until);
	pthread_mutex_lock(&c->news_lock);
	while (c->announced == seen && pthread_cond_timedwait(&c->news, &c->news_lock, &until) == 0)
		;
	uint64_t now = c->announced;
	pthread_mutex_unlock(&c->news_lock);
	return now;
}
