#include "catalog/inside.h"

#include <stdlib.h>
#include <string.h>

/* --- locks ------------------------------------------------------------------------------------------------------------ */

/* The catalog of which this thread holds the write lock by catalog_batch_begin. */
static _Thread_local struct catalog *batch;

void tree_read(struct catalog *c)
{
	if (batch != c)
		pthread_rwlock_rdlock(&c->tree);
}

void tree_read_end(struct catalog *c)
{
	if (batch != c)
		pthread_rwlock_unlock(&c->tree);
}

void tree_write(struct catalog *c)
{
	if (batch != c)
		pthread_rwlock_wrlock(&c->tree);
}

static void write_end(struct catalog *c)
{
	uint64_t now = c->generation;
	pthread_rwlock_unlock(&c->tree);
	pthread_mutex_lock(&c->news_lock);
	if (c->announced < now) {
		c->announced = now;
		pthread_cond_broadcast(&c->news);
	}
	pthread_mutex_unlock(&c->news_lock);
}

void tree_write_end(struct catalog *c)
{
	if (batch != c)
		write_end(c);
}

void catalog_batch_begin(struct catalog *c)
{
	tree_write(c);
	batch = c;
}

void catalog_batch_end(struct catalog *c)
{
	batch = NULL;
	write_end(c);
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

/* Bytewise, each name followed by its end: 0 for a file, 1 for a name that is no path, '/' for a directory. */
int name_compare(const char *a, size_t an, char aend, const char *b, size_t bn, char bend)
{
	size_t n = an < bn ? an : bn;
	int r = memcmp(a, b, n);
	if (r != 0)
		return r;
	unsigned char ac = (unsigned char)(n < an ? a[n] : aend), bc = (unsigned char)(n < bn ? b[n] : bend);
	if (ac != bc)
		return ac < bc ? -1 : 1;
	/* "x" and "x\1..." cannot both be: no name holds the byte 1, and '/' ends a name. */
	return an == bn ? 0 : an < bn ? -1 : 1;
}

static char file_end(bool bad)
{
	return bad ? 1 : 0;
}

static size_t file_slot(const struct dir *d, size_t count, const char *name, size_t len, bool bad, bool *found)
{
	size_t lo = 0, hi = count;
	*found = false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct node *n = d->files[mid];
		int r = name_compare(n->name, n->name_len, file_end(n->flags & NODE_BAD), name, len, file_end(bad));
		if (r == 0) {
			*found = true;
			return mid;
		}
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct node *file_find(const struct dir *d, const char *name, size_t len, bool bad, size_t *at)
{
	bool found;
	size_t i = file_slot(d, d->n_files, name, len, bad, &found);
	if (at)
		*at = i;
	return found ? d->files[i] : NULL;
}

struct dir *dir_find(const struct dir *d, const char *name, size_t len, size_t *at)
{
	size_t lo = 0, hi = d->n_dirs;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		struct dir *m = d->dirs[mid];
		int r = name_compare(m->name, m->name_len, '/', name, len, '/');
		if (r == 0) {
			if (at)
				*at = mid;
			return m;
		}
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (at)
		*at = lo;
	return NULL;
}

static struct node *node_new(struct dir *d, const char *name, size_t len, bool bad)
{
	struct node *n = mem_alloc(sizeof *n + len + 1);
	n->parent = d;
	n->state = STATE_COUNT;
	n->flags = bad ? NODE_BAD : 0;
	n->name_len = (uint16_t)len;
	memcpy(n->name, name, len);
	return n;
}

/* A directory mostly stays as large as it was read: room for an eighth more, not for as much again. */
static void files_room(struct dir *d)
{
	if (d->n_files < d->files_cap)
		return;
	size_t cap = d->files_cap + d->files_cap / 8 + 4;
	struct node **more = mem_array(cap, sizeof(struct node *));
	if (d->n_files)
		memcpy(more, d->files, d->n_files * sizeof(struct node *));
	free(d->files);
	d->files = more;
	d->files_cap = cap;
}

struct node *file_make(struct catalog *c, struct dir *d, const char *name, size_t len, bool bad)
{
	(void)c;
	bool found;
	size_t at = file_slot(d, d->n_files, name, len, bad, &found);
	if (found)
		return d->files[at];
	files_room(d);
	memmove(d->files + at + 1, d->files + at, (d->n_files - at) * sizeof(struct node *));
	d->n_files++;
	return d->files[at] = node_new(d, name, len, bad);
}

struct node *file_make_many(struct catalog *c, struct dir *d, size_t known, const char *name, size_t len, bool bad)
{
	(void)c;
	bool found;
	size_t at = file_slot(d, known, name, len, bad, &found);
	if (found)
		return d->files[at];
	files_room(d);
	return d->files[d->n_files++] = node_new(d, name, len, bad);
}

static int by_name(const void *pa, const void *pb)
{
	const struct node *a = *(struct node *const *)pa, *b = *(struct node *const *)pb;
	return name_compare(a->name, a->name_len, file_end(a->flags & NODE_BAD), b->name, b->name_len, file_end(b->flags & NODE_BAD));
}

void file_make_many_end(struct dir *d, size_t known)
{
	if (d->n_files > known)
		qsort(d->files, d->n_files, sizeof(struct node *), by_name);
}

struct dir *dir_new(struct dir *parent, const char *name, size_t len)
{
	struct dir *d = mem_alloc(sizeof *d + len + 1);
	d->parent = parent;
	d->name_len = (uint16_t)len;
	memcpy(d->name, name, len);
	d->path_len = (uint16_t)(!parent ? 1 : parent->parent ? parent->path_len + 1 + len : 1 + len);
	return d;
}

struct dir *dir_make(struct catalog *c, struct dir *d, const char *name, size_t len)
{
	size_t at;
	struct dir *sub = dir_find(d, name, len, &at);
	if (sub)
		return sub;
	sub = dir_new(d, name, len);
	d->dirs = mem_grow(d->dirs, &d->dirs_cap, (size_t)d->n_dirs + 1, sizeof(struct dir *));
	memmove(d->dirs + at + 1, d->dirs + at, (d->n_dirs - at) * sizeof(struct dir *));
	d->dirs[at] = sub;
	d->n_dirs++;
	dir_preapproved(c, sub);
	return sub;
}

static void appr_free(struct appr *a)
{
	if (!a)
		return;
	free(a->print);
	free(a->review);
	free(a);
}

static void node_free(struct node *n)
{
	appr_free(n->approved);
	free(n);
}

static void dir_free(struct dir *d)
{
	free(d->files);
	free(d->dirs);
	free(d);
}

void tree_free(struct dir *d)
{
	for (size_t i = 0; i < d->n_files; i++)
		node_free(d->files[i]);
	for (size_t i = 0; i < d->n_dirs; i++)
		tree_free(d->dirs[i]);
	dir_free(d);
}

/* --- paths ------------------------------------------------------------------------------------------------------------ */

/* The next part of a path from s; returns what is behind it, NULL at the end. */
static const char *part(const char *s, size_t *len)
{
	if (*s == 0)
		return NULL;
	const char *slash = strchr(s, '/');
	*len = slash ? (size_t)(slash - s) : strlen(s);
	return slash ? slash + 1 : s + *len;
}

static struct dir *walk_to(const struct catalog *c, struct path p, bool nearest, bool parent)
{
	struct dir *d = c->root;
	const char *s = p.s + 1, *next;
	size_t len;
	while ((next = part(s, &len)) != NULL) {
		if (parent && *next == 0)
			break;
		struct dir *sub = dir_find(d, s, len, NULL);
		if (!sub)
			return nearest ? d : NULL;
		d = sub;
		s = next;
	}
	return d;
}

bool dir_empty(const struct dir *d)
{
	for (int i = 0; i < STATE_COUNT; i++)
		if (d->counts[i])
			return false;
	return true;
}

struct dir *dir_at(const struct catalog *c, struct path p)
{
	return walk_to(c, p, false, false);
}

struct dir *dir_nearest(const struct catalog *c, struct path p)
{
	return walk_to(c, p, true, false);
}

struct node *file_at(const struct catalog *c, struct path p)
{
	if (path_is_root(p))
		return NULL;
	struct dir *d = walk_to(c, p, false, true);
	const char *name = path_name(p);
	return d ? file_find(d, name, p.len - (size_t)(name - p.s), false, NULL) : NULL;
}

struct path dir_path(const struct dir *d, char *out)
{
	size_t len = d->path_len;
	out[len] = 0;
	if (!d->parent)
		out[0] = '/';
	for (size_t at = len; d->parent; d = d->parent) {
		at -= d->name_len;
		memcpy(out + at, d->name, d->name_len);
		out[--at] = '/';
	}
	return (struct path){ out, len };
}

struct path node_path(const struct node *n, char *out)
{
	struct path p = dir_path(n->parent, out);
	size_t len = p.len;
	if (n->parent->parent)
		out[len++] = '/';
	memcpy(out + len, n->name, n->name_len + 1u);
	return (struct path){ out, len + n->name_len };
}

/* --- states and counts ------------------------------------------------------------------------------------------------ */

/* Those of exactly that path: the first one's place and how many. */
static size_t list_find(const struct catalog *c, struct path p, size_t *at)
{
	size_t lo = 0, hi = c->n_preapproved, n = 0;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (path_compare(c->preapproved[mid].path, p) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	while (lo + n < c->n_preapproved && path_equal(c->preapproved[lo + n].path, p))
		n++;
	return n;
}

void dir_preapproved(struct catalog *c, struct dir *d)
{
	char buf[NODE_PATH_SIZE];
	size_t at = 0, n = c->n_preapproved ? list_find(c, dir_path(d, buf), &at) : 0;
	d->preapproved = d->parent && d->parent->preapproved;
	d->preapproved_some = d->parent && d->parent->preapproved_some;
	for (size_t i = at; i < at + n; i++) {
		d->preapproved |= preapproved_whole(&c->preapproved[i]);
		d->preapproved_some |= !preapproved_whole(&c->preapproved[i]);
	}
}

static bool node_preapproved(const struct catalog *c, const struct node *n)
{
	char buf[NODE_PATH_SIZE];
	struct path path;
	size_t at, own;
	if (n->parent->preapproved || !c->n_preapproved)
		return n->parent->preapproved;
	path = node_path(n, buf);
	own = list_find(c, path, &at);
	for (size_t i = at; i < at + own; i++)
		if (preapproved_takes(&c->preapproved[i], path, n->size))
			return true;
	for (size_t i = 0; n->parent->preapproved_some && i < c->n_preapproved; i++)
		if (preapproved_takes(&c->preapproved[i], path, n->size))
			return true;
	return false;
}

void node_stat(const struct node *n, struct stage_stat *st)
{
	*st = (struct stage_stat){ .size = n->size, .inode = n->inode, .mtime_ns = n->mtime_ns, .ctime_ns = n->ctime_ns, .exec = (n->flags & NODE_EXEC) != 0 };
}

void node_print(const struct node *n, struct fingerprint *print)
{
	*print = (struct fingerprint){ n->md5, n->sha256, n->size, (n->flags & NODE_EXEC) != 0 };
}

void node_approved_print(const struct node *n, struct fingerprint *print)
{
	if (n->approved->print)
		*print = *n->approved->print;
	else
		node_print(n, print);
}

static enum approval node_approval(const struct node *n)
{
	return n->approved ? (enum approval)n->approved->approval : APPROVAL_NONE;
}

static uint8_t node_state(const struct catalog *c, const struct node *n)
{
	struct fingerprint staged, approved;
	enum file_state state;
	enum approval approval = node_approval(n);
	bool there = (n->flags & NODE_STAGED) != 0;
	if (n->approved)
		node_approved_print(n, &approved);
	if (!there && !c->known) {
		if (approval != APPROVAL_SIGNED && approval != APPROVAL_PREAPPROVED)
			return STATE_COUNT;
		staged = approved;
		there = true;
	} else {
		node_print(n, &staged);
	}
	if (!state_of(&state, there, (enum problem)n->problem, &staged, approval, &approved, there && node_preapproved(c, n)))
		return STATE_COUNT;
	return (uint8_t)state;
}

void tree_changed(struct catalog *c, struct dir *d)
{
	c->generation++;
	for (; d; d = d->parent)
		d->generation = c->generation;
}

static uint64_t node_bytes(const struct node *n)
{
	return n->flags & NODE_STAGED ? n->size : 0;
}

/* Before and after a change of a node. */
struct was {
	uint8_t state;
	uint64_t bytes;
};

static struct was node_was(const struct node *n)
{
	return (struct was){ n->state, node_bytes(n) };
}

static void node_is(struct catalog *c, struct node *n, struct was was)
{
	n->state = node_state(c, n);
	uint64_t bytes = node_bytes(n);
	c->generation++;
	for (struct dir *d = n->parent; d; d = d->parent) {
		d->generation = c->generation;
		if (was.state != n->state) {
			if (was.state != STATE_COUNT)
				d->counts[was.state]--;
			if (n->state != STATE_COUNT)
				d->counts[n->state]++;
		}
		d->bytes += bytes - was.bytes;
	}
}

static void prune_later(struct catalog *c, struct dir *d)
{
	if (d->pruning)
		return;
	d->pruning = true;
	c->prune = mem_grow(c->prune, &c->prune_cap, c->n_prune + 1, sizeof(struct dir *));
	c->prune[c->n_prune++] = d;
}

/* The approved fingerprint gets a place of its own before the staged one, which stood for it, changes. */
static void print_apart(struct node *n)
{
	if (!n->approved || n->approved->print)
		return;
	n->approved->print = mem_alloc(sizeof *n->approved->print);
	node_print(n, n->approved->print);
}

static void print_together(struct node *n)
{
	if (!n->approved || !n->approved->print || !(n->flags & NODE_STAGED) || n->problem != PROBLEM_NONE)
		return;
	struct fingerprint staged;
	node_print(n, &staged);
	if (!fingerprint_equal(&staged, n->approved->print) || memcmp(&staged.md5, &n->approved->print->md5, sizeof staged.md5) != 0)
		return;
	free(n->approved->print);
	n->approved->print = NULL;
}

void node_stage(struct catalog *c, struct node *n, const struct stage_stat *st, const struct fingerprint *print,
    enum problem problem, unsigned flags)
{
	struct was was = node_was(n);
	bool same = (n->flags & NODE_STAGED) && n->problem == problem && n->size == st->size && n->mtime_ns == st->mtime_ns &&
	    ((n->flags & NODE_EXEC) != 0) == st->exec &&
	    (print ? sha256_equal(&n->sha256, &print->sha256) : sha256_zero(&n->sha256));
	if (!same)
		print_apart(n);
	n->size = st->size;
	n->inode = st->inode;
	n->mtime_ns = st->mtime_ns;
	n->ctime_ns = st->ctime_ns;
	n->problem = (uint8_t)problem;
	n->flags = (uint8_t)((n->flags & NODE_BAD) | NODE_STAGED | (st->exec ? NODE_EXEC : 0) | flags);
	if (print) {
		n->sha256 = print->sha256;
		n->md5 = print->md5;
	} else {
		memset(&n->sha256, 0, sizeof n->sha256);
		memset(&n->md5, 0, sizeof n->md5);
	}
	if (same)
		return; /* only times that nobody is shown, or the racy flag */
	print_together(n);
	node_is(c, n, was);
}

void node_unstage(struct catalog *c, struct node *n)
{
	bool live = node_approval(n) != APPROVAL_NONE;
	if (!live)
		prune_later(c, n->parent);
	if (!(n->flags & NODE_STAGED))
		return;
	struct was was = node_was(n);
	print_apart(n);
	n->size = n->inode = 0;
	n->mtime_ns = n->ctime_ns = 0;
	memset(&n->sha256, 0, sizeof n->sha256);
	memset(&n->md5, 0, sizeof n->md5);
	n->flags &= NODE_BAD;
	n->problem = PROBLEM_NONE;
	node_is(c, n, was);
}

static const char *user_keep(struct catalog *c, const char *user)
{
	size_t lo = 0, hi = c->n_users;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int r = strcmp(c->users[mid], user);
		if (r == 0)
			return c->users[mid];
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	c->users = mem_grow(c->users, &c->users_cap, c->n_users + 1, sizeof(char *));
	memmove(c->users + lo + 1, c->users + lo, (c->n_users - lo) * sizeof(char *));
	c->n_users++;
	return c->users[lo] = mem_dup(user);
}

static bool approval_live(enum approval a)
{
	return a == APPROVAL_SIGNED || a == APPROVAL_PREAPPROVED;
}

void node_approve(struct catalog *c, struct node *n, const struct approved *a)
{
	struct was was = node_was(n);
	c->approved_live -= approval_live(node_approval(n));
	c->approved_live += approval_live(a->approval);
	if (a->approval == APPROVAL_NONE && a->review_seq == 0) {
		appr_free(n->approved);
		n->approved = NULL;
		if (!(n->flags & NODE_STAGED))
			prune_later(c, n->parent);
		node_is(c, n, was);
		return;
	}
	if (!n->approved)
		n->approved = mem_alloc(sizeof *n->approved);
	struct appr *p = n->approved;
	p->approval = (uint8_t)a->approval;
	p->seq = a->seq;
	p->at = a->at;
	p->by = user_keep(c, a->by ? a->by : "");
	p->blob = a->blob;
	if (!p->print)
		p->print = mem_alloc(sizeof *p->print);
	*p->print = a->print;
	if (a->review_seq) {
		if (!p->review)
			p->review = mem_alloc(sizeof *p->review);
		*p->review = (struct review){ a->review_seq, a->reviewed };
	} else {
		free(p->review);
		p->review = NULL;
	}
	print_together(n);
	node_is(c, n, was);
}

void dir_stage(struct catalog *c, struct dir *d, bool staged)
{
	d->turn++;
	if (d->staged == staged)
		return;
	d->staged = staged;
	if (staged)
		d->blocked = false;
	tree_changed(c, d);
	if (!staged)
		prune_later(c, d);
}

void dir_unstage_all(struct catalog *c, struct dir *d)
{
	for (size_t i = 0; i < d->n_files; i++)
		node_unstage(c, d->files[i]);
	for (size_t i = 0; i < d->n_dirs; i++)
		dir_unstage_all(c, d->dirs[i]);
	dir_stage(c, d, false);
	d->blocked = false;
	prune_later(c, d);
}

void dir_problem_all(struct catalog *c, struct dir *d, enum problem problem)
{
	for (size_t i = 0; i < d->n_files; i++) {
		struct node *n = d->files[i];
		struct stage_stat st;
		node_stat(n, &st);
		if ((n->flags & NODE_STAGED) || approval_live(node_approval(n)))
			node_stage(c, n, &st, NULL, problem, n->flags & NODE_DIR_PROBLEM);
	}
	for (size_t i = 0; i < d->n_dirs; i++)
		dir_problem_all(c, d->dirs[i], problem);
	dir_stage(c, d, false);
	d->blocked = true;
	prune_later(c, d);
}

void tree_states(struct catalog *c, struct dir *d)
{
	for (size_t i = 0; i < d->n_files; i++) {
		struct node *n = d->files[i];
		struct was was = node_was(n);
		if (node_state(c, n) != was.state)
			node_is(c, n, was);
	}
	for (size_t i = 0; i < d->n_dirs; i++)
		tree_states(c, d->dirs[i]);
}

/* --- what nobody needs any more ---------------------------------------------------------------------------------------- */

void tree_prune(struct catalog *c)
{
	/* Grows while it runs: an emptied directory brings its parent. One that is freed is not in the list any more. */
	for (size_t i = 0; i < c->n_prune; i++) {
		struct dir *d = c->prune[i];
		d->pruning = false;
		uint32_t kept = 0;
		for (size_t k = 0; k < d->n_files; k++) {
			struct node *n = d->files[k];
			if (n->approved || (n->flags & NODE_STAGED))
				d->files[kept++] = n;
			else
				node_free(n);
		}
		d->n_files = kept;
		if (d->n_files || d->n_dirs || d->staged || !d->parent)
			continue;
		struct dir *parent = d->parent;
		size_t at;
		dir_find(parent, d->name, d->name_len, &at);
		memmove(parent->dirs + at, parent->dirs + at + 1, (parent->n_dirs - at - 1) * sizeof(struct dir *));
		parent->n_dirs--;
		watcher_forget(c, d);
		dir_free(d);
		prune_later(c, parent);
	}
	c->n_prune = 0;
}
