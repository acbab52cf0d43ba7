#include "catalog/work.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* --- the stack -------------------------------------------------------------------------------------------------------- */

void work_push(struct work *w, struct item item)
{
	pthread_mutex_lock(&w->lock);
	w->stack = mem_grow(w->stack, &w->cap, w->n + 1, sizeof *w->stack);
	w->stack[w->n++] = item;
	/* One piece the caller does himself sooner than a helper wakes. */
	if (w->waiting && w->n > 1)
		pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
}

void work_failed(struct work *w, enum err e)
{
	pthread_mutex_lock(&w->lock);
	w->list_all_next = true;
	if (!w->err) {
		w->err = e;
		snprintf(w->err_text, sizeof w->err_text, "%s", err_text());
	}
	pthread_mutex_unlock(&w->lock);
}

static void work_item(struct hand *h, struct item *item)
{
	if (item->kind == WORK_DIR) {
		look_dir(h, item);
		return;
	}
	look_files(h, item->open->fd, item->turn, item->files, item->n);
	open_dir_drop(item->open);
	free(item->files);
}

/* Until nothing is left and nobody can bring more; helpers stay for the next scan. */
static void work_loop(struct hand *h, bool helper)
{
	struct work *w = h->work;
	pthread_mutex_lock(&w->lock);
	for (;;) {
		if (w->n > 0) {
			struct item item = w->stack[--w->n];
			w->busy++;
			pthread_mutex_unlock(&w->lock);
			work_item(h, &item);
			pthread_mutex_lock(&w->lock);
			if (--w->busy == 0 && w->n == 0)
				pthread_cond_broadcast(&w->more);
			continue;
		}
		if (helper ? w->stop : w->busy == 0)
			break;
		w->waiting++;
		pthread_cond_wait(&w->more, &w->lock);
		w->waiting--;
	}
	pthread_mutex_unlock(&w->lock);
}

static void *helper(void *arg)
{
	pthread_setname_np(pthread_self(), "scan");
	work_loop(arg, true);
	return NULL;
}

struct work *work_new(struct catalog *c, unsigned threads)
{
	struct work *w = mem_alloc(sizeof *w);
	unsigned want = threads ? threads : 1;
	w->c = c;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	w->hands = mem_array(want, sizeof *w->hands);
	for (unsigned i = 0; i < want; i++) {
		struct hand *h = &w->hands[i];
		h->c = c;
		h->work = w;
		h->reader = door_reader_new();
		w->n_hands = i + 1;
		if (i == 0)
			continue;
		sigset_t all, old;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		int error = pthread_create(&h->thread, NULL, helper, h);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		if (error) {
			log_event(LOG_LEVEL_WARN, "scan.thread", "text", strerror(error), NULL);
			door_reader_free(h->reader);
			w->n_hands = i;
			break;
		}
	}
	return w;
}

void work_free(struct work *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->n_hands; i++) {
		struct hand *h = &w->hands[i];
		if (i > 0)
			pthread_join(h->thread, NULL);
		door_reader_free(h->reader);
		free(h->unseen);
		free(h->again);
		free(h->unseen_dirs);
		free(h->subdirs);
		free(h->fresh);
		free(h->seen);
		free(h->known);
		free(h->entries);
	}
	free(w->hands);
	free(w->stack);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* --- one scan --------------------------------------------------------------------------------------------------------- */

uint64_t scan_files_read(struct catalog *c)
{
	return atomic_load_explicit(&c->work->files_read, memory_order_relaxed);
}

static void set_trouble(struct catalog *c, const char *text)
{
	tree_write(c);
	bool news = strncmp(c->trouble, text, sizeof c->trouble - 1) != 0;
	if (news) {
		snprintf(c->trouble, sizeof c->trouble, "%s", text);
		tree_changed(c, c->root);
	}
	tree_write_end(c);
	if (news && *text)
		log_event(LOG_LEVEL_WARN, "staging.trouble", "staging", door_dir(c->door), "text", text, NULL);
	else if (news)
		log_event(LOG_LEVEL_INFO, "staging.fine", "staging", door_dir(c->door), NULL);
}

static void begin(struct work *w)
{
	w->err = ERR_OK;
	w->list_all |= w->list_all_next;
	w->list_all_next = false;
	w->root_empty = false;
	w->root_gone[0] = 0;
	atomic_store(&w->files_read, 0);
	atomic_store(&w->bytes_read, 0);
	w->began = w->told = clock_boot();
}

static enum err end(struct catalog *c, bool whole)
{
	struct work *w = c->work;
	if (w->root_gone[0]) {
		set_trouble(c, w->root_gone);
		return ERR_OK;
	}
	if (w->root_empty) {
		set_trouble(c, "the staging directory is empty although files are approved: nothing is taken for missing; is it mounted?");
		return ERR_OK;
	}
	if (c->trouble[0] && whole && !w->err)
		set_trouble(c, "");
	bool first = whole && !c->known && !w->err;
	tree_read(c);
	bool prune = c->n_prune > 0;
	tree_read_end(c);
	if (prune || first) {
		tree_write(c);
		tree_prune(c);
		if (first) {
			c->known = true;
			tree_states(c, c->root);
			tree_changed(c, c->root);
		}
		tree_write_end(c);
	}
	uint64_t files = atomic_load(&w->files_read);
	if (files)
		c->cache_stale = true;
	if (whole && files >= 1000) {
		log_event(LOG_LEVEL_INFO, "scan.done", "staging", door_dir(c->door), "files_read", log_u64(files), "bytes_read",
		    log_u64(atomic_load(&w->bytes_read)), "ms", log_u64((uint64_t)((clock_boot() - w->began) / 1000)), NULL);
		cache_save(c);
	}
	return w->err ? err_set(w->err, "%s", w->err_text) : ERR_OK;
}

static void unwatch_all(struct catalog *c, struct dir *d)
{
	watcher_unwatch(c, d);
	for (size_t i = 0; i < d->n_dirs; i++)
		unwatch_all(c, d->dirs[i]);
}

enum err scan_dirs(struct catalog *c, struct dir **dirs, size_t n, unsigned flags)
{
	struct work *w = c->work;
	begin(w);
	unsigned moved;
	if (door_check(c->door, &moved)) {
		set_trouble(c, err_text());
		return ERR_OK;
	}
	bool whole = (flags & SCAN_BELOW) && n == 1 && !dirs[0]->parent;
	if (moved != c->door_moved || c->trouble[0] || !c->known) {
		/* Another directory than the one the tree was made from: everything is to be looked at. */
		if (moved != c->door_moved) {
			/* By their inodes alone, directories of two file systems cannot be told apart. */
			tree_read(c);
			unwatch_all(c, c->root);
			tree_read_end(c);
		}
		w->list_all = true;
		c->door_moved = moved;
		dirs = &c->root;
		n = 1;
		flags = SCAN_BELOW;
		whole = true;
	}
	if (whole)
		watcher_all_begin(c);
	uint64_t number = whole ? atomic_fetch_add(&c->scans_begun, 1) + 1 : 0;
	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < n; i++) {
		w->stack = mem_grow(w->stack, &w->cap, w->n + 1, sizeof *w->stack);
		w->stack[w->n++] = (struct item){ .kind = WORK_DIR, .dir = dirs[i], .below = flags & SCAN_BELOW, .first = true };
	}
	pthread_mutex_unlock(&w->lock);
	work_loop(&w->hands[0], false);
	enum err e = end(c, whole);
	if (whole)
		watcher_all_end(c, !e);
	if (whole && !e) {
		c->scan_done = number;
		w->list_all = w->list_all_next || w->root_empty || w->root_gone[0];
	}
	return e;
}

enum err scan_file(struct catalog *c, struct path path)
{
	char buf[NODE_PATH_SIZE];
	const char *name = path_name(path);
	size_t len = path.len - (size_t)(name - path.s), parent_len = path.len - len > 1 ? path.len - len - 1 : 1;
	int fd;
	enum problem problem;
	unsigned moved;

	begin(c->work);
	if (door_check(c->door, &moved) || moved != c->door_moved || c->trouble[0] || !c->known || path_is_root(path))
		return scan_dirs(c, &c->root, 1, path_is_root(path) ? 0 : SCAN_BELOW);
	memcpy(buf, path.s, parent_len);
	buf[parent_len] = 0;
	tree_read(c);
	struct dir *d = dir_nearest(c, (struct path){ buf, parent_len });
	bool known = d->staged && d->path_len == parent_len;
	tree_read_end(c);
	if (!known || door_dir_open(c->door, (struct path){ buf, parent_len }, &fd, &problem))
		return scan_dirs(c, &d, 1, 0);
	bool rather_all = look_name(c, d, fd, name, len);
	close(fd);
	return rather_all ? scan_dirs(c, &d, 1, 0) : end(c, false);
}
