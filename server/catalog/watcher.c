#include "catalog/inside.h"
#include "catalog/watcher.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "stage/watch.h"

/*
 * Events only say where to look: a directory with events is listed again and compared. Its look waits a little, so that
 * a burst costs one; longer while a file in it is being written; and after a costly look the next one waits.
 */
#define REST (CLOCK_SECOND / 50)
#define REST_WRITTEN (CLOCK_SECOND / 2)
#define REST_AGAIN CLOCK_SECOND /* a busy file */
#define REST_MOST (5 * CLOCK_SECOND)
/* Overlays, network file systems and mounts do not report everything. */
#define LOOK_EVERYWHERE (600 * CLOCK_SECOND)
#define LOOK_EVERYWHERE_UNWATCHED (10 * CLOCK_SECOND)
#define LOOK_IN_TROUBLE (2 * CLOCK_SECOND)

struct slot { /* of a hash table: id 0 is free, -1 was used */
	int id;
	struct dir *dir;
};

struct watcher {
	struct catalog *c;
	pthread_mutex_t events;
	struct watch *watch;
	struct slot *slots;
	size_t n_slots, used; /* a power of two; used and was used */
	struct dir **dirty; /* to look at; dir->dirty is set */
	size_t n_dirty, dirty_cap;
	bool all; /* look everywhere */
	bool working; /* what was in the list is being looked at */
	bool all_running; /* everything is, because all was set */
	bool partial; /* no more watches were to be had */
	bool refused; /* the same, since the scan of everything that goes on began */
	int64_t due; /* when the list is to be worked off; INT64_MAX: never */
	int stop;
	pthread_t thread;
	bool started;
};

/* --- the map from watches to directories; under events ------------------------------------------------------------------ */

static struct slot *slot_of(const struct watcher *w, int id)
{
	if (!w->n_slots)
		return NULL;
	for (size_t i = ((uint32_t)id * 2654435761u) & (w->n_slots - 1);; i = (i + 1) & (w->n_slots - 1)) {
		if (w->slots[i].id == id)
			return &w->slots[i];
		if (w->slots[i].id == 0)
			return NULL;
	}
}

static void slot_put(struct watcher *w, int id, struct dir *d)
{
	struct slot *s = slot_of(w, id);
	if (s) {
		s->dir = d;
		return;
	}
	if ((w->used + 1) * 4 > w->n_slots * 3) {
		struct slot *old = w->slots;
		size_t n_old = w->n_slots, live = 1;
		for (size_t i = 0; i < n_old; i++)
			live += old[i].id > 0;
		w->n_slots = 64;
		while (w->n_slots < live * 2)
			w->n_slots *= 2;
		w->slots = mem_array(w->n_slots, sizeof *w->slots);
		w->used = 0;
		for (size_t i = 0; i < n_old; i++)
			if (old[i].id > 0)
				slot_put(w, old[i].id, old[i].dir);
		free(old);
	}
	size_t i = ((uint32_t)id * 2654435761u) & (w->n_slots - 1);
	while (w->slots[i].id != 0)
		i = (i + 1) & (w->n_slots - 1);
	w->slots[i] = (struct slot){ id, d };
	w->used++;
}

static void slot_drop(struct watcher *w, int id)
{
	struct slot *s = slot_of(w, id);
	if (s)
		*s = (struct slot){ .id = -1 };
}

/* --- what is to be looked at; under events ------------------------------------------------------------------------------ */

static void due_at(struct watcher *w, int64_t at)
{
	if (at < w->due)
		w->due = at;
}

static void look_later(struct watcher *w, struct dir *d, int64_t at)
{
	due_at(w, at);
	if (d->dirty)
		return;
	d->dirty = true;
	w->dirty = mem_grow(w->dirty, &w->dirty_cap, w->n_dirty + 1, sizeof(struct dir *));
	w->dirty[w->n_dirty++] = d;
}

static void unwatch(struct watcher *w, struct dir *d)
{
	if (!d->watch)
		return;
	slot_drop(w, d->watch);
	watch_remove(w->watch, d->watch);
	d->watch = 0;
}

static void on_event(void *arg, int id, enum watch_what what)
{
	struct watcher *w = arg;
	int64_t now = clock_boot();
	if (what == WATCH_LOST) {
		log_event(LOG_LEVEL_WARN, "watch.lost", "staging", door_dir(w->c->door), "text", "events were lost: all is looked at again", NULL);
		w->all = true;
		due_at(w, now + REST);
		return;
	}
	struct slot *s = slot_of(w, id);
	if (!s)
		return; /* of a watch that is given up */
	struct dir *d = s->dir;
	if (what == WATCH_ENDED || what == WATCH_MOVED) {
		if (what == WATCH_MOVED)
			watch_remove(w->watch, id);
		slot_drop(w, id);
		d->watch = 0;
		if (d->parent)
			look_later(w, d->parent, now + REST);
	}
	look_later(w, d, now + (what == WATCH_WRITTEN ? REST_WRITTEN : REST));
}

/* --- for the scan ----------------------------------------------------------------------------------------------------- */

void watcher_watch(struct catalog *c, struct dir *d, int fd)
{
	struct watcher *w = c->watcher;
	if (!w || !w->watch)
		return;
	int id;
	pthread_mutex_lock(&w->events);
	if (d->watch)
		goto out;
	enum err e = watch_add(w->watch, fd, &id);
	if (e == ERR_OK) {
		/* Under another name so far: that one is to be looked at, and has no watch now. */
		struct slot *s = slot_of(w, id);
		if (s && s->dir != d) {
			s->dir->watch = 0;
			look_later(w, s->dir, clock_boot() + REST);
		}
		slot_put(w, id, d);
		d->watch = id;
	} else if (e != ERR_NOT_FOUND && w->partial) {
		w->refused = true;
	} else if (e != ERR_NOT_FOUND) {
		w->partial = w->refused = true;
		log_event(LOG_LEVEL_WARN, "watch.partial", "staging", door_dir(c->door), "text", err_text(), "instead",
		    "staging is looked through every 10 seconds and at each question", NULL);
	}
out:
	pthread_mutex_unlock(&w->events);
}

void watcher_unwatch(struct catalog *c, struct dir *d)
{
	struct watcher *w = c->watcher;
	if (!w || !w->watch)
		return;
	pthread_mutex_lock(&w->events);
	unwatch(w, d);
	pthread_mutex_unlock(&w->events);
}

void watcher_forget(struct catalog *c, struct dir *d)
{
	struct watcher *w = c->watcher;
	if (!w)
		return;
	pthread_mutex_lock(&w->events);
	if (w->watch)
		unwatch(w, d);
	if (d->dirty)
		for (size_t i = 0; i < w->n_dirty; i++)
			if (w->dirty[i] == d) {
				w->dirty[i] = w->dirty[--w->n_dirty];
				break;
			}
	pthread_mutex_unlock(&w->events);
}

void watcher_again(struct catalog *c, struct dir *d)
{
	struct watcher *w = c->watcher;
	if (!w)
		return;
	pthread_mutex_lock(&w->events);
	look_later(w, d, clock_boot() + REST_AGAIN);
	pthread_mutex_unlock(&w->events);
}

/* --- for the catalog -------------------------------------------------------------------------------------------------- */

bool watcher_quiet(struct catalog *c)
{
	struct watcher *w = c->watcher;
	if (!w)
		return false;
	pthread_mutex_lock(&w->events);
	bool quiet = w->watch && !w->partial && !w->all && !w->all_running && !w->working && w->n_dirty == 0 && !watch_pending(w->watch);
	pthread_mutex_unlock(&w->events);
	return quiet;
}

bool watcher_complete(struct catalog *c)
{
	struct watcher *w = c->watcher;
	if (!w)
		return false;
	pthread_mutex_lock(&w->events);
	bool complete = w->watch && !w->partial;
	pthread_mutex_unlock(&w->events);
	return complete;
}

enum err watcher_catch_up(struct catalog *c)
{
	struct watcher *w = c->watcher;
	struct dir **dirs;
	size_t n;

	pthread_mutex_lock(&w->events);
	if (w->watch)
		(void)watch_collect(w->watch, on_event, w);
	bool all = w->all;
	dirs = w->dirty;
	n = w->n_dirty;
	for (size_t i = 0; i < n; i++)
		dirs[i]->dirty = false;
	w->dirty = NULL;
	w->n_dirty = w->dirty_cap = 0;
	w->all = false;
	w->working = true;
	w->due = INT64_MAX;
	pthread_mutex_unlock(&w->events);

	enum err e = ERR_OK;
	if (all)
		e = scan_dirs(c, &c->root, 1, SCAN_BELOW);
	else if (n)
		e = scan_dirs(c, dirs, n, 0);
	pthread_mutex_lock(&w->events);
	w->working = false;
	if (e) {
		/* Not seen: not forgotten either. */
		w->all = true;
		due_at(w, clock_boot() + REST_AGAIN);
	}
	pthread_mutex_unlock(&w->events);
	free(dirs);
	return e;
}

void watcher_all_begin(struct catalog *c)
{
	struct watcher *w = c->watcher;
	if (!w)
		return;
	pthread_mutex_lock(&w->events);
	w->refused = false;
	w->all_running = w->all;
	w->all = false; /* what is lost from now on is to be looked at again */
	pthread_mutex_unlock(&w->events);
}

void watcher_all_end(struct catalog *c, bool succeeded)
{
	struct watcher *w = c->watcher;
	if (!w)
		return;
	pthread_mutex_lock(&w->events);
	if (!succeeded)
		w->all |= w->all_running;
	w->all_running = false;
	if (succeeded && w->partial && !w->refused) {
		w->partial = false;
		log_event(LOG_LEVEL_INFO, "watch.complete", "staging", door_dir(c->door), NULL);
	}
	pthread_mutex_unlock(&w->events);
}

static void log_failure(struct catalog *c, enum err e)
{
	if (e)
		log_event(LOG_LEVEL_ERROR, "scan.failed", "staging", door_dir(c->door), "text", err_text(), NULL);
}

/* What this thread has worked, which is not what it has waited. */
static int64_t worked(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * CLOCK_SECOND + t.tv_nsec / 1000;
}

static int64_t everywhere(struct watcher *w)
{
	char trouble[256];
	catalog_trouble(w->c, trouble);
	if (trouble[0])
		return LOOK_IN_TROUBLE;
	return watcher_complete(w->c) ? LOOK_EVERYWHERE : LOOK_EVERYWHERE_UNWATCHED;
}

static void *watch_loop(void *arg)
{
	struct watcher *w = arg;
	struct catalog *c = w->c;
	int64_t last_all = 0, not_before = 0;
	bool first = true;
	pthread_setname_np(pthread_self(), "watch");
	for (;;) {
		int64_t now = clock_boot();
		bool all = first || now >= last_all + everywhere(w);
		pthread_mutex_lock(&w->events);
		if (w->watch)
			(void)watch_collect(w->watch, on_event, w);
		int64_t due = w->due;
		pthread_mutex_unlock(&w->events);
		if (all || (due <= now && now >= not_before)) {
			int64_t work = worked();
			pthread_mutex_lock(&c->scan);
			/* Somebody who asked may have done the first one. */
			if (all && !(first && c->known))
				log_failure(c, scan_dirs(c, &c->root, 1, SCAN_BELOW));
			else
				log_failure(c, watcher_catch_up(c));
			pthread_mutex_unlock(&c->scan);
			int64_t end = clock_boot();
			work = 4 * (worked() - work);
			not_before = end + (work < REST_MOST ? work : REST_MOST);
			if (all) {
				first = false;
				last_all = end;
			}
			continue;
		}
		/* With a look due, more events would only wake us: they are collected from time to time. */
		int64_t until = due != INT64_MAX ? now + REST : last_all + everywhere(w);
		int64_t ms = (until - now + 999) / 1000;
		struct pollfd fds[2] = { { .fd = w->stop, .events = POLLIN },
			{ .fd = w->watch && due == INT64_MAX ? watch_fd(w->watch) : -1, .events = POLLIN } };
		(void)poll(fds, 2, ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms);
		if (fds[0].revents)
			return NULL;
	}
}

void watcher_start(struct catalog *c)
{
	struct watcher *w = mem_alloc(sizeof *w);
	w->c = c;
	w->due = INT64_MAX;
	w->all = true;
	w->stop = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&w->events, NULL);
	if (watch_open(&w->watch))
		log_event(LOG_LEVEL_WARN, "watch.none", "staging", door_dir(c->door), "text", err_text(), "instead",
		    "staging is looked through every 10 seconds and at each question", NULL);
	c->watcher = w;
	sigset_t every, old;
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &old);
	int error = w->stop < 0 ? errno : pthread_create(&w->thread, NULL, watch_loop, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	w->started = error == 0;
	if (error)
		log_event(LOG_LEVEL_WARN, "watch.thread", "staging", door_dir(c->door), "text", strerror(error), NULL);
}

void watcher_stop(struct catalog *c)
{
	struct watcher *w = c->watcher;
	if (!w)
		return;
	if (w->started) {
		uint64_t one = 1;
		if (write(w->stop, &one, sizeof one) != (ssize_t)sizeof one)
			abort();
		pthread_join(w->thread, NULL);
	}
	if (w->stop >= 0)
		close(w->stop);
	watch_close(w->watch);
	pthread_mutex_destroy(&w->events);
	free(w->slots);
	free(w->dirty);
	free(w);
	c->watcher = NULL;
}
