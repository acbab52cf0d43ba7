#include "catalog/inside.h"
#include "base/weaken.h"

#include <stdlib.h>
#include <string.h>

/* --- who sees what ---------------------------------------------------------------------------------------------------- */

bool view_sees(const struct catalog_view *v, struct path file)
{
	return !v || !v->rules || role_on(v->rules, v->who, file) >= ROLE_VIEW || WEAK(view_sees);
}

enum sight view_sight(const struct catalog_view *v, struct path dir)
{
	if (!v || !v->rules)
		return SIGHT_ALL;
	if (role_uniform_below(v->rules, v->who, dir))
		return role_on(v->rules, v->who, dir) >= ROLE_VIEW ? SIGHT_ALL : SIGHT_NONE;
	return role_sees_below(v->rules, v->who, dir) ? SIGHT_EACH : SIGHT_NONE;
}

/* --- walking ---------------------------------------------------------------------------------------------------------- */

static struct path path_with(char *buf, size_t len, const char *name, size_t name_len)
{
	buf[len] = '/';
	memcpy(buf + len + 1, name, name_len + 1);
	return (struct path){ buf, len + 1 + name_len };
}

/* The end of a name in name_compare; 2 stands behind both kinds of file and before a directory. */
static char end_of(const struct node *n)
{
	return n->flags & NODE_BAD ? 1 : 0;
}

/* The first file behind (name, end). */
static size_t files_behind(const struct dir *d, const char *name, size_t len, char end)
{
	size_t lo = 0, hi = d->n_files;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct node *n = d->files[mid];
		if (name_compare(n->name, n->name_len, end_of(n), name, len, end) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static size_t dirs_behind(const struct dir *d, const char *name, size_t len, char end)
{
	size_t lo = 0, hi = d->n_dirs;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct dir *m = d->dirs[mid];
		if (name_compare(m->name, m->name_len, '/', name, len, end) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Is anything at or below in one of these states? The kept counts tell, so that a walk passes by what it does not want. */
static bool holds(const struct dir *d, unsigned states)
{
	for (int i = 0; i < STATE_COUNT; i++)
		if (states & (1u << i) && d->counts[i])
			return true;
	return false;
}

bool walk_files(const struct dir *d, const struct catalog_view *v, enum sight sight, unsigned states, char *buf, size_t len,
    const char *after, bool (*fn)(void *arg, const struct node *n, struct path path), void *arg)
{
	size_t f = 0, s = 0;
	if (sight == SIGHT_NONE || !holds(d, states))
		return true;
	if (after) {
		const char *slash = strchr(after, '/');
		size_t n = slash ? (size_t)(slash - after) : strlen(after);
		char end = slash ? '/' : 2;
		f = files_behind(d, after, n, end);
		s = dirs_behind(d, after, n, end);
		const struct dir *sub = slash ? dir_find(d, after, n, NULL) : NULL;
		if (sub) {
			struct path p = path_with(buf, len, sub->name, sub->name_len);
			if (!walk_files(sub, v, sight == SIGHT_ALL ? SIGHT_ALL : view_sight(v, p), states, buf, p.len, slash + 1, fn, arg))
				return false;
		}
	}
	while (f < d->n_files || s < d->n_dirs) {
		const struct node *n = f < d->n_files ? d->files[f] : NULL;
		const struct dir *sub = s < d->n_dirs ? d->dirs[s] : NULL;
		if (n && (!sub || name_compare(n->name, n->name_len, end_of(n), sub->name, sub->name_len, '/') < 0)) {
			f++;
			if (n->state == STATE_COUNT || !(states & (1u << n->state)))
				continue;
			struct path p = path_with(buf, len, n->name, n->name_len);
			if (sight == SIGHT_EACH && !view_sees(v, p))
				continue;
			if (!fn(arg, n, p))
				return false;
			continue;
		}
		s++;
		struct path p = path_with(buf, len, sub->name, sub->name_len);
		if (!walk_files(sub, v, sight == SIGHT_ALL ? SIGHT_ALL : view_sight(v, p), states, buf, p.len, NULL, fn, arg))
			return false;
	}
	return true;
}

/* A directory's path into buf; 0 for the root, as walk_files wants it. */
static size_t path_start(struct path dir, char *buf)
{
	if (path_is_root(dir))
		return 0;
	memcpy(buf, dir.s, dir.len + 1);
	return dir.len;
}

/* --- entries ---------------------------------------------------------------------------------------------------------- */

void entry_of_node(const struct node *n, struct path path, struct catalog_entry *e)
{
	*e = (struct catalog_entry){
		.path = path,
		.name = n->name,
		.state = (enum file_state)n->state,
		.problem = (enum problem)n->problem,
		.staged = (n->flags & NODE_STAGED) != 0,
		.has_approved = n->approved != NULL,
	};
	node_stat(n, &e->st);
	node_print(n, &e->print);
	if (!n->approved)
		return;
	const struct appr *a = n->approved;
	e->approved = (struct approved){
		.approval = (enum approval)a->approval,
		.blob = a->blob,
		.seq = a->seq,
		.at = a->at,
		.by = a->by,
	};
	node_approved_print(n, &e->approved.print);
	if (a->review) {
		e->approved.review_seq = a->review->seq;
		e->approved.reviewed = a->review->of;
	}
}

static bool count_one(void *arg, const struct node *n, struct path path)
{
	struct catalog_counts *counts = arg;
	(void)path;
	counts->n[n->state]++;
	if (n->flags & NODE_STAGED)
		counts->bytes += n->size;
	return true;
}

static void counts_of(const struct dir *d, const struct catalog_view *v, enum sight sight, char *buf, size_t len,
    struct catalog_counts *out)
{
	*out = (struct catalog_counts){ 0 };
	if (sight == SIGHT_EACH) {
		(void)walk_files(d, v, sight, ALL_STATES, buf, len, NULL, count_one, out);
		return;
	}
	if (sight == SIGHT_NONE)
		return;
	for (int i = 0; i < STATE_COUNT; i++)
		out->n[i] = d->counts[i];
	out->bytes = d->bytes;
}

static uint64_t counts_sum(const struct catalog_counts *counts)
{
	uint64_t n = 0;
	for (int i = 0; i < STATE_COUNT; i++)
		n += counts->n[i];
	return n;
}

/* False: there is nothing that the viewer may know of. buf holds its path. */
static bool entry_of_dir(const struct dir *d, const struct catalog_view *v, enum sight sight, char *buf, size_t len,
    struct catalog_entry *e)
{
	if (sight == SIGHT_NONE)
		return false;
	struct catalog_counts counts;
	counts_of(d, v, sight, buf, len, &counts);
	if (d->parent && !d->staged && counts_sum(&counts) == 0)
		return false;
	buf[len] = 0;
	*e = (struct catalog_entry){ .name = d->name, .is_dir = true, .staged = d->staged, .counts = counts };
	e->path = d->parent ? (struct path){ buf, len } : path_root();
	return true;
}

static void entry_keep(struct catalog_entry *e, struct arena *a)
{
	e->path = path_copy(e->path, a);
	e->name = path_name(e->path);
	if (e->approved.by)
		e->approved.by = arena_dup(a, e->approved.by);
}

enum err catalog_get(struct catalog *c, struct path path, struct catalog_entry *out, struct arena *a)
{
	char buf[NODE_PATH_SIZE];
	bool found = false;
	tree_read(c);
	struct node *n = file_at(c, path);
	struct dir *d = dir_at(c, path);
	if (n && n->state == STATE_COUNT)
		n = NULL;
	/* Both, if one took the other's name: what is staged now, rather than what is missing. */
	if (n && d && d->staged && !(n->flags & NODE_STAGED))
		n = NULL;
	if (n) {
		entry_of_node(n, path, out);
		found = true;
	} else if (d) {
		found = entry_of_dir(d, NULL, SIGHT_ALL, buf, path_start(path, buf), out);
	}
	if (found)
		entry_keep(out, a);
	tree_read_end(c);
	return found ? ERR_OK : err_set(ERR_NOT_FOUND, "%s is neither staged nor approved", path.s);
}

enum err catalog_get_file(struct catalog *c, struct path path, struct catalog_entry *out, struct arena *a)
{
	tree_read(c);
	struct node *n = file_at(c, path);
	bool found = n && n->state != STATE_COUNT;
	if (found) {
		entry_of_node(n, path, out);
		entry_keep(out, a);
	}
	tree_read_end(c);
	return found ? ERR_OK : err_set(ERR_NOT_FOUND, "%s is neither staged nor approved", path.s);
}

enum err catalog_count(struct catalog *c, struct path dir, const struct catalog_view *view, struct catalog_counts *out)
{
	char buf[NODE_PATH_SIZE];
	*out = (struct catalog_counts){ 0 };
	tree_read(c);
	struct dir *d = dir_at(c, dir);
	enum sight sight = view_sight(view, dir);
	if (d)
		counts_of(d, view, sight, buf, path_start(dir, buf), out);
	tree_read_end(c);
	if (!d || sight == SIGHT_NONE)
		return err_set(ERR_NOT_FOUND, "%s is no directory here", dir.s);
	return ERR_OK;
}

/* --- lists ------------------------------------------------------------------------------------------------------------ */

struct listing {
	const struct catalog_query *q;
	const struct catalog_view *view;
	size_t from; /* where in a path the part below q->dir begins */
	bool (*fn)(void *arg, const struct catalog_entry *e);
	void *arg;
};

static bool matches(const struct listing *l, struct path path)
{
	return !l->q->match || !*l->q->match || strcasestr(path.s + l->from, l->q->match) != NULL;
}

static bool list_file(void *arg, const struct node *n, struct path path)
{
	const struct listing *l = arg;
	if (!matches(l, path))
		return true;
	struct catalog_entry e;
	entry_of_node(n, path, &e);
	return l->fn(l->arg, &e);
}

static bool wanted_dir(const struct listing *l, const struct catalog_entry *e)
{
	if (!matches(l, e->path))
		return false;
	if (!l->q->states)
		return true;
	for (int i = 0; i < STATE_COUNT; i++)
		if (e->counts.n[i] && (l->q->states & (1u << i)))
			return true;
	return false;
}

/* False: enough. */
static bool list_dir(const struct listing *l, const struct dir *sub, enum sight sight, char *buf, size_t len)
{
	struct path p = path_with(buf, len, sub->name, sub->name_len);
	struct catalog_entry e;
	if (!entry_of_dir(sub, l->view, sight == SIGHT_ALL ? SIGHT_ALL : view_sight(l->view, p), buf, p.len, &e) || !wanted_dir(l, &e))
		return true;
	return l->fn(l->arg, &e);
}

static bool wanted_file(const struct listing *l, const struct node *n, enum sight sight, char *buf, size_t len)
{
	if (n->state == STATE_COUNT || (l->q->states && !(l->q->states & (1u << n->state))))
		return false;
	if (sight != SIGHT_EACH && !l->q->match)
		return true;
	struct path p = path_with(buf, len, n->name, n->name_len);
	return (sight != SIGHT_EACH || view_sees(l->view, p)) && matches(l, p);
}

static void list_by_name(struct listing *l, const struct dir *d, enum sight sight, char *buf, size_t len)
{
	size_t dir_lo = 0, dir_hi = d->n_dirs, lo = 0, hi = d->n_files;
	const char *after = l->q->after;
	if (after && *after) {
		size_t n = strlen(after);
		bool is_dir = after[n - 1] == '/';
		if (is_dir)
			n--;
		if (is_dir && l->q->descending) {
			(void)dir_find(d, after, n, &dir_hi);
		} else if (is_dir) {
			dir_lo = dirs_behind(d, after, n, '/');
		} else {
			dir_hi = 0;
			if (l->q->descending)
				(void)file_find(d, after, n, false, &hi);
			else
				lo = files_behind(d, after, n, 2);
		}
	}
	bool down = l->q->descending;
	for (size_t i = dir_lo; i < dir_hi; i++)
		if (!list_dir(l, d->dirs[down ? dir_hi - 1 - (i - dir_lo) : i], sight, buf, len))
			return;
	for (size_t i = lo; i < hi; i++) {
		const struct node *n = d->files[down ? hi - 1 - (i - lo) : i];
		if (wanted_file(l, n, sight, buf, len) && !list_file(l, n, path_with(buf, len, n->name, n->name_len)))
			return;
	}
}

/* By state, size or time; then by name. Directories stay first, by name. */
static int by_order(const void *pa, const void *pb, void *arg)
{
	const struct node *a = *(struct node *const *)pa, *b = *(struct node *const *)pb;
	const struct catalog_query *q = arg;
	int r = 0;
	switch (q->order) {
	case ORDER_STATE:
		r = (a->state > b->state) - (a->state < b->state);
		break;
	case ORDER_SIZE:
		r = (a->size > b->size) - (a->size < b->size);
		break;
	case ORDER_TIME:
		r = (a->mtime_ns > b->mtime_ns) - (a->mtime_ns < b->mtime_ns);
		break;
	case ORDER_NAME:
		break;
	}
	if (q->descending)
		r = -r;
	return r ? r : name_compare(a->name, a->name_len, end_of(a), b->name, b->name_len, end_of(b));
}

static void list_by_order(struct listing *l, const struct dir *d, enum sight sight, char *buf, size_t len)
{
	size_t skip = l->q->offset, n = 0;
	for (size_t i = 0; i < d->n_dirs; i++) {
		if (skip > 0) {
			struct path p = path_with(buf, len, d->dirs[i]->name, d->dirs[i]->name_len);
			struct catalog_entry e;
			if (entry_of_dir(d->dirs[i], l->view, sight == SIGHT_ALL ? SIGHT_ALL : view_sight(l->view, p), buf, p.len, &e) && wanted_dir(l, &e))
				skip--;
		} else if (!list_dir(l, d->dirs[i], sight, buf, len)) {
			return;
		}
	}
	const struct node **files = mem_array(d->n_files ? d->n_files : 1, sizeof(struct node *));
	for (size_t i = 0; i < d->n_files; i++)
		if (wanted_file(l, d->files[i], sight, buf, len))
			files[n++] = d->files[i];
	qsort_r(files, n, sizeof(struct node *), by_order, (void *)(uintptr_t)l->q);
	for (size_t i = skip; i < n; i++)
		if (!list_file(l, files[i], path_with(buf, len, files[i]->name, files[i]->name_len)))
			break;
	free(files);
}

enum err catalog_list(struct catalog *c, const struct catalog_query *q, const struct catalog_view *view,
    bool (*fn)(void *arg, const struct catalog_entry *e), void *arg)
{
	char buf[NODE_PATH_SIZE];
	enum err e = ERR_OK;
	struct listing l = { .q = q, .view = view, .from = path_is_root(q->dir) ? 1 : q->dir.len + 1, .fn = fn, .arg = arg };

	tree_read(c);
	const struct dir *d = dir_at(c, q->dir);
	enum sight sight = view_sight(view, q->dir);
	struct catalog_entry self;
	size_t len = path_start(q->dir, buf);
	if (!d || !entry_of_dir(d, view, sight, buf, len, &self)) {
		e = err_set(ERR_NOT_FOUND, "%s is no directory here", q->dir.s);
		goto out;
	}
	if (q->recursive) {
		const char *after = q->after && *q->after ? q->after : NULL;
		if (after) {
			/* A cursor from somewhere else is no reason to show what is not asked for. */
			if (strlen(after) <= l.from || memcmp(after, q->dir.s, l.from - 1) != 0 || after[l.from - 1] != '/') {
				e = err_set(ERR_INPUT, "the cursor is not from this list");
				goto out;
			}
			after += l.from;
		}
		(void)walk_files(d, view, sight, q->states ? q->states : ALL_STATES, buf, len, after, list_file, &l);
	} else if (q->order == ORDER_NAME) {
		list_by_name(&l, d, sight, buf, len);
	} else {
		list_by_order(&l, d, sight, buf, len);
	}
out:
	tree_read_end(c);
	return e;
}
