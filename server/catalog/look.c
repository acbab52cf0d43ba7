#include "catalog/work.h"

#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/utf8.h"

/* --- names ------------------------------------------------------------------------------------------------------------ */

/* The name with what cannot be shown made visible, and a mark that tells apart names that look alike. */
static size_t show_name(char out[static 1024], const char *name, size_t len)
{
	struct buf b = BUF_INIT(900);
	struct sha256 hash;
	char hex[SHA256_HEX];
	utf8_visible(&b, name, len, false);
	sha256_of(&hash, name, len);
	hex_of(hex, hash.b, sizeof hash.b);
	int n = snprintf(out, 1024, "%s (%.12s)", buf_text(&b), hex);
	buf_release(&b);
	return (size_t)n;
}

/* PROBLEM_NONE: a path can be made of it. */
static enum problem name_problem(const struct dir *d, const struct door_entry *e)
{
	if ((size_t)d->path_len + 1 + e->name_len > PATH_LIMIT || e->name_len > PATH_PART_LIMIT)
		return PROBLEM_TOO_LONG;
	return path_part_problem(e->name, e->name_len) ? PROBLEM_NAME : PROBLEM_NONE;
}

/* --- looks that overtake each other ------------------------------------------------------------------------------------ */

/*
 * Directories move while they are looked at: one thread has opened what another, which lists the directory above, finds
 * gone or replaced. Under the write lock: true if what was seen since the turn is not to be put into the tree.
 */
static bool overtaken(const struct dir *d, unsigned turn)
{
	return d->turn != turn || (d->parent && !d->parent->staged);
}

/* A look was in vain. Its watch may be on what is elsewhere by now. Below one that is gone, that one is looked for first. */
static void look_anew(struct hand *h, struct dir *d, bool first)
{
	struct catalog *c = h->c;
	tree_read(c);
	bool below_none = d->parent && !d->parent->staged;
	tree_read_end(c);
	watcher_unwatch(c, d);
	if (!below_none)
		watcher_again(c, d);
	else if (first)
		work_push(h->work, (struct item){ .kind = WORK_DIR, .dir = d->parent, .first = true });
}

/* The write lock, to put in what was seen. False, and not locked: it was overtaken, and is looked at anew. */
static bool write_seen(struct hand *h, struct dir *d, unsigned turn, bool first)
{
	tree_write(h->c);
	if (!overtaken(d, turn))
		return true;
	tree_write_end(h->c);
	look_anew(h, d, first);
	return false;
}

/* --- reading files ---------------------------------------------------------------------------------------------------- */

/*
 * The file system's times have a grain: what was read within it of the last change could change again unseen.
 * now is taken before the reading.
 */
static bool racy(int64_t ctime_ns, int64_t now)
{
	int64_t grain = ctime_ns % INT64_C(1000000000) == 0 ? INT64_C(2100000000) : INT64_C(50000000);
	return now - ctime_ns < grain;
}

static void tell_progress(struct work *w)
{
	int64_t now = clock_boot();
	pthread_mutex_lock(&w->lock);
	bool tell = now - w->told > 5 * CLOCK_SECOND;
	if (tell)
		w->told = now;
	pthread_mutex_unlock(&w->lock);
	if (tell)
		log_event(LOG_LEVEL_INFO, "scan.progress", "staging", door_dir(w->c->door), "files_read",
		    log_u64(atomic_load(&w->files_read)), "bytes_read", log_u64(atomic_load(&w->bytes_read)), NULL);
}

void look_files(struct hand *h, int dirfd, unsigned turn, struct node **files, size_t n)
{
	struct catalog *c = h->c;
	struct door_result results[FILES_A_PIECE];
	const char *names[FILES_A_PIECE];

	struct dir *d = files[0]->parent;
	while (n > 0) {
		size_t k, some = n < FILES_A_PIECE ? n : FILES_A_PIECE;
		bool busy = false;
		int64_t now = clock_wall() * 1000;
		for (k = 0; k < some; k++)
			names[k] = files[k]->name;
		door_dir_read_many(c->door, h->reader, dirfd, names, some, results);
		for (k = 0; k < some; k++) {
			struct door_result *r = &results[k];
			if (r->err == ERR_OK) {
				atomic_fetch_add_explicit(&h->work->files_read, 1, memory_order_relaxed);
				atomic_fetch_add_explicit(&h->work->bytes_read, r->st.size, memory_order_relaxed);
			} else if (r->err == ERR_INPUT || r->err == ERR_BUSY) {
				/* With what stat tells, so that it is shown, and read again when that changes. */
				struct door_entry e;
				busy |= r->problem == PROBLEM_BUSY;
				if (door_dir_entry(c->door, dirfd, names[k], &e) != ERR_OK || e.kind == ENTRY_DIR)
					r->err = ERR_NOT_FOUND;
				else
					r->st = e.st;
			} else if (r->err != ERR_NOT_FOUND) {
				work_failed(h->work, r->err);
			}
		}
		tree_write(c);
		if (overtaken(d, turn)) {
			tree_write_end(c);
			watcher_again(c, d);
			return;
		}
		for (k = 0; k < some; k++) {
			struct door_result *r = &results[k];
			if (r->err == ERR_OK)
				node_stage(c, files[k], &r->st, &r->print, PROBLEM_NONE, racy(r->st.ctime_ns, now) ? NODE_RACY : 0);
			else if (r->err == ERR_INPUT || r->err == ERR_BUSY)
				node_stage(c, files[k], &r->st, NULL, r->problem, 0);
			else if (r->err == ERR_NOT_FOUND)
				node_unstage(c, files[k]);
		}
		tree_write_end(c);
		if (busy)
			watcher_again(c, d);
		files += some;
		n -= some;
		tell_progress(h->work);
	}
}

void open_dir_drop(struct open_dir *o)
{
	if (atomic_fetch_sub(&o->users, 1) != 1)
		return;
	close(o->fd);
	free(o);
}

/* Takes fd over. */
static void read_or_share(struct hand *h, struct dir *d, unsigned turn, int fd)
{
	if (h->n_again <= FILES_A_PIECE) {
		look_files(h, fd, turn, h->again, h->n_again);
		close(fd);
		return;
	}
	struct open_dir *o = mem_alloc(sizeof *o);
	o->fd = fd;
	atomic_init(&o->users, 1);
	for (size_t at = 0; at < h->n_again; at += FILES_A_PIECE) {
		size_t n = h->n_again - at < FILES_A_PIECE ? h->n_again - at : FILES_A_PIECE;
		struct node **files = mem_array(n, sizeof(struct node *));
		memcpy(files, h->again + at, n * sizeof(struct node *));
		atomic_fetch_add(&o->users, 1);
		work_push(h->work, (struct item){ .kind = WORK_FILES, .dir = d, .turn = turn, .open = o, .n = (unsigned)n, .files = files });
	}
	open_dir_drop(o);
}

/* --- directories ------------------------------------------------------------------------------------------------------ */

static bool unchanged(const struct node *n, const struct door_entry *e)
{
	struct stage_stat st;
	node_stat(n, &st);
	return (n->flags & (NODE_STAGED | NODE_RACY)) == NODE_STAGED && n->problem == e->problem && stage_stat_equal(&st, &e->st);
}

static void add_node(struct node ***list, size_t *n, size_t *cap, struct node *node)
{
	*list = mem_grow(*list, cap, *n + 1, sizeof(struct node *));
	(*list)[(*n)++] = node;
}

static void add_dir(struct dir ***list, size_t *n, size_t *cap, struct dir *d)
{
	*list = mem_grow(*list, cap, *n + 1, sizeof(struct dir *));
	(*list)[(*n)++] = d;
}

static void add_fresh(struct hand *h, size_t i)
{
	h->fresh = mem_grow(h->fresh, &h->fresh_cap, h->n_fresh + 1, sizeof(size_t));
	h->fresh[h->n_fresh++] = i;
}

/* Under the read lock: what of the list is not as the tree has it. */
static void compare(struct hand *h, const struct dir *d, const struct door_entry *list, size_t n, bool below)
{
	size_t bits = (size_t)d->n_files + d->n_dirs;
	h->n_unseen = h->n_again = h->n_unseen_dirs = h->n_subdirs = h->n_fresh = 0;
	if (h->seen_cap < bits + 1)
		h->seen = mem_grow(h->seen, &h->seen_cap, bits + 1, 1);
	memset(h->seen, 0, bits);
	unsigned char *seen_dirs = h->seen + d->n_files;

	for (size_t i = 0; i < n; i++) {
		const struct door_entry *e = &list[i];
		size_t at;
		bool enter = e->kind == ENTRY_DIR && e->problem == PROBLEM_NONE;
		struct dir *sub = enter ? dir_find(d, e->name, e->name_len, &at) : NULL;
		if (sub) {
			seen_dirs[at] = 1;
			if (sub->inode != e->st.inode || !sub->staged)
				add_fresh(h, i);
			else if (below)
				add_dir(&h->subdirs, &h->n_subdirs, &h->subdirs_cap, sub);
			continue;
		}
		struct node *file = enter ? NULL : file_find(d, e->name, e->name_len, false, &at);
		if (file) {
			h->seen[at] = 1;
			if (!unchanged(file, e))
				add_fresh(h, i);
			continue;
		}
		enum problem p = name_problem(d, e);
		if (p != PROBLEM_NONE) {
			char shown[1024];
			size_t len = show_name(shown, e->name, e->name_len);
			file = file_find(d, shown, len, true, &at);
			if (file) {
				h->seen[at] = 1;
				if ((file->flags & NODE_STAGED) && file->problem == p)
					continue;
			}
		}
		add_fresh(h, i);
	}
	for (size_t i = 0; i < d->n_files; i++) {
		struct node *file = d->files[i];
		if (h->seen[i] || !(file->flags & NODE_STAGED))
			continue;
		/* Stands for a directory: that one's own scan takes it away. */
		if (file->flags & NODE_DIR_PROBLEM) {
			bool there = false;
			for (size_t k = 0; k < n && !there; k++)
				there = list[k].kind == ENTRY_DIR && strcmp(list[k].name, file->name) == 0;
			if (there)
				continue;
		}
		add_node(&h->unseen, &h->n_unseen, &h->unseen_cap, file);
	}
	for (size_t i = 0; i < d->n_dirs; i++)
		if (!seen_dirs[i] && (d->dirs[i]->staged || d->dirs[i]->blocked))
			add_dir(&h->unseen_dirs, &h->n_unseen_dirs, &h->unseen_dirs_cap, d->dirs[i]);
}

static struct node *make(struct hand *h, struct dir *d, size_t known, bool many, const char *name, size_t len, bool bad)
{
	return many ? file_make_many(h->c, d, known, name, len, bad) : file_make(h->c, d, name, len, bad);
}

/* Under the write lock: what compare found. Fills again (files to read) and adds to subdirs. */
static void apply(struct hand *h, struct dir *d, const struct door_entry *list)
{
	struct catalog *c = h->c;
	for (size_t i = 0; i < h->n_unseen; i++)
		node_unstage(c, h->unseen[i]);
	for (size_t i = 0; i < h->n_unseen_dirs; i++) {
		watcher_unwatch(c, h->unseen_dirs[i]);
		dir_unstage_all(c, h->unseen_dirs[i]);
	}
	bool many = h->n_fresh > 64;
	size_t known = d->n_files;
	for (size_t i = 0; i < h->n_fresh; i++) {
		const struct door_entry *e = &list[h->fresh[i]];
		enum problem p = name_problem(d, e);
		if (p != PROBLEM_NONE) {
			char shown[1024];
			size_t len = show_name(shown, e->name, e->name_len);
			node_stage(c, make(h, d, known, many, shown, len, true), &e->st, NULL, p, 0);
		} else if (e->kind == ENTRY_DIR && e->problem == PROBLEM_NONE) {
			struct dir *sub = dir_make(c, d, e->name, e->name_len);
			if (sub->inode != e->st.inode) {
				watcher_unwatch(c, sub);
				sub->listed = (struct dir_stamp){ 0 };
				sub->turn++;
			}
			sub->inode = e->st.inode;
			add_dir(&h->subdirs, &h->n_subdirs, &h->subdirs_cap, sub);
		} else {
			struct node *file = make(h, d, known, many, e->name, e->name_len, false);
			if (e->problem != PROBLEM_NONE)
				node_stage(c, file, &e->st, NULL, e->problem, 0);
			else
				add_node(&h->again, &h->n_again, &h->again_cap, file);
		}
	}
	if (many)
		file_make_many_end(d, known);
}

/*
 * The names are those that are known: look at each, without reading the directory. False: they are not, after all.
 * Reading the names of a tree costs half as much as looking at its files.
 */
static bool revisit(struct hand *h, const struct dir *d, int fd, bool below)
{
	struct catalog *c = h->c;
	size_t n = 0, entries = 0;
	h->n_unseen = h->n_again = h->n_unseen_dirs = h->n_subdirs = h->n_fresh = 0;
	tree_read(c);
	h->known = mem_grow(h->known, &h->known_cap, d->n_files + 1u, sizeof(struct node *));
	for (size_t i = 0; i < d->n_files; i++) {
		struct node *f = d->files[i];
		/* What is a link or bears a bad name stays so while the names are the same. */
		if ((f->flags & NODE_STAGED) && !(f->flags & (NODE_BAD | NODE_DIR_PROBLEM)) && f->problem != PROBLEM_SYMLINK &&
		    f->problem != PROBLEM_SPECIAL)
			h->known[n++] = f;
	}
	for (size_t i = 0; i < d->n_dirs; i++)
		if (d->dirs[i]->blocked || (below && d->dirs[i]->staged))
			add_dir(&h->subdirs, &h->n_subdirs, &h->subdirs_cap, d->dirs[i]);
	tree_read_end(c);

	h->entries = mem_grow(h->entries, &h->entries_cap, n + 1, sizeof *h->entries);
	for (; entries < n; entries++)
		if (door_dir_entry(c->door, fd, h->known[entries]->name, &h->entries[entries]) || h->entries[entries].kind == ENTRY_DIR)
			return false;

	tree_read(c);
	for (size_t i = 0; i < n; i++)
		if (!unchanged(h->known[i], &h->entries[i]))
			add_fresh(h, i);
	tree_read_end(c);
	return true;
}

/* The directory is there but cannot be entered: what is known below it is not lost, and its name is shown. */
static void cannot_enter(struct hand *h, struct dir *d, unsigned turn, bool first, enum problem problem)
{
	struct catalog *c = h->c;
	if (!write_seen(h, d, turn, first))
		return;
	watcher_unwatch(c, d);
	dir_problem_all(c, d, problem);
	struct stage_stat st = { .inode = d->inode };
	node_stage(c, file_make(c, d->parent, d->name, d->name_len, false), &st, NULL, problem, NODE_DIR_PROBLEM);
	tree_write_end(c);
}

/* It is no directory (any more). */
static void is_gone(struct hand *h, struct dir *d, unsigned turn, bool first)
{
	struct catalog *c = h->c;
	if (!write_seen(h, d, turn, first))
		return;
	watcher_unwatch(c, d);
	dir_unstage_all(c, d);
	struct dir *parent = d->parent;
	tree_write_end(c);
	/* Something else may have its name. */
	if (first && parent)
		work_push(h->work, (struct item){ .kind = WORK_DIR, .dir = parent, .first = true });
}

static void root_is_gone(struct work *w)
{
	pthread_mutex_lock(&w->lock);
	snprintf(w->root_gone, sizeof w->root_gone, "%s", err_text());
	pthread_mutex_unlock(&w->lock);
}

static bool stamp_equal(const struct dir_stamp *a, const struct dir_stamp *b)
{
	return a->inode == b->inode && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

void look_dir(struct hand *h, const struct item *item)
{
	struct catalog *c = h->c;
	struct dir *d = item->dir;
	char buf[NODE_PATH_SIZE];
	int fd = -1;
	enum problem problem;
	const struct door_entry *list = NULL;
	size_t n = 0;

	struct dir_stamp stamp = { 0 };
	bool same_names = false;
	int64_t now = clock_wall() * 1000;
	unsigned turn = d->turn;
	enum err e = door_dir_open(c->door, dir_path(d, buf), &fd, &problem);
	if (!e) {
		watcher_watch(c, d, fd); /* before the look, so that nothing falls between */
		e = door_dir_stamp(c->door, fd, &stamp);
		FAILPOINT(dir_opened);
	}
	if (!e) {
		tree_read(c);
		same_names = d->staged && !h->work->list_all && d->listed.inode && stamp_equal(&d->listed, &stamp);
		tree_read_end(c);
		if (same_names && (same_names = revisit(h, d, fd, item->below)))
			list = h->entries;
	}
	if (!e && !same_names) {
		e = door_dir_list(c->door, h->reader, fd, &list, &n);
		if (e == ERR_INPUT)
			problem = PROBLEM_UNREADABLE;
	}
	if (e) {
		if (fd >= 0)
			close(fd);
		if (!d->parent)
			root_is_gone(h->work);
		else if (e == ERR_NOT_FOUND || (e == ERR_INPUT && (problem == PROBLEM_SYMLINK || problem == PROBLEM_SPECIAL)))
			is_gone(h, d, turn, item->first);
		else if (e == ERR_INPUT)
			cannot_enter(h, d, turn, item->first, problem);
		else
			work_failed(h->work, e);
		if (e == ERR_BUSY)
			watcher_again(c, d);
		return;
	}

	bool enter = false, stamped = same_names;
	if (!same_names) {
		tree_read(c);
		if (!d->parent && n == 0 && c->approved_live > 0) {
			tree_read_end(c);
			pthread_mutex_lock(&h->work->lock);
			h->work->root_empty = true;
			pthread_mutex_unlock(&h->work->lock);
			close(fd);
			return;
		}
		compare(h, d, list, n, item->below);
		enter = !d->staged;
		if (!door_dir_times(c->door) || racy(stamp.ctime_ns, now))
			stamp = (struct dir_stamp){ 0 };
		stamped = stamp_equal(&d->listed, &stamp);
		tree_read_end(c);
	}

	size_t known_subdirs = h->n_subdirs;
	if (h->n_fresh || h->n_unseen || h->n_unseen_dirs || enter || !stamped) {
		if (!write_seen(h, d, turn, item->first)) {
			close(fd);
			return;
		}
		d->turn++;
		apply(h, d, list);
		if (!same_names)
			d->listed = stamp;
		if (enter) {
			dir_stage(c, d, true);
			struct node *stands = d->parent ? file_find(d->parent, d->name, d->name_len, false, NULL) : NULL;
			if (stands && (stands->flags & NODE_DIR_PROBLEM))
				node_unstage(c, stands);
		}
		turn = d->turn;
		tree_write_end(c);
	}
	for (size_t i = 0; i < h->n_subdirs; i++)
		/* One that is new, or another than before, is looked at with all below it. */
		work_push(h->work, (struct item){ .kind = WORK_DIR, .dir = h->subdirs[i], .below = item->below || i >= known_subdirs });
	if (h->n_again)
		read_or_share(h, d, turn, fd);
	else
		close(fd);
}

bool look_name(struct catalog *c, struct dir *d, int fd, const char *name, size_t len)
{
	struct door_entry entry;
	struct node *read = NULL;
	bool rather_all = false;

	enum err e = door_dir_entry(c->door, fd, name, &entry);
	if (e && e != ERR_NOT_FOUND) {
		work_failed(c->work, e);
		return false;
	}
	tree_write(c);
	struct dir *sub = dir_find(d, name, len, NULL);
	struct node *file = file_find(d, name, len, false, NULL);
	if (!e && entry.kind == ENTRY_DIR) {
		rather_all = !sub || !sub->staged || (file && (file->flags & NODE_STAGED));
		goto out;
	}
	if (sub && (sub->staged || sub->blocked)) {
		watcher_unwatch(c, sub);
		dir_unstage_all(c, sub);
	}
	if (e) {
		if (file)
			node_unstage(c, file);
		goto out;
	}
	if (file && unchanged(file, &entry))
		goto out;
	file = file ? file : file_make(c, d, name, len, false);
	if (entry.problem != PROBLEM_NONE)
		node_stage(c, file, &entry.st, NULL, entry.problem, 0);
	else
		read = file;
out:
	tree_write_end(c);
	if (read)
		look_files(&c->work->hands[0], fd, d->turn, &read, 1);
	return rather_all;
}
