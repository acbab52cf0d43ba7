/*
 * The export directory looked at: names, types, sizes and modes with the directory held still, so that acts wait for that
 * long and no longer; bytes afterwards, beside acts, on two threads. What differs then is looked at once more, held still.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"
#include "base/sys.h"
#include "export/internal.h"

#define THREADS 2
#define TURN 64 /* files that a thread takes up at a time: most of them share a directory */

struct compare {
	struct export_dir *e;
	struct repo *r;
	export_differs_fn *fn;
	void *arg;
	atomic_int *stop;
	struct plan plan; /* all files that ought to be there */
	bool *seen; /* there, and as far as one can see without reading right */
	uint64_t *sizes;
	/* bytes */
	bool *other;
	size_t next;
	enum err err;
};

static void tell(struct compare *c, enum export_difference kind, const char *path, const char *what)
{
	c->fn(c->arg, kind, path, what);
}

static enum err compare_file(struct compare *c, size_t i, const struct stat *st)
{
	const struct plan_item *item = &c->plan.items[i];
	const char *what = NULL;
	enum err err = repo_blob_size(c->r, &item->blob, &c->sizes[i]);

	c->seen[i] = true;
	if (err)
		what = "cannot be compared, because the repository has not got the approved version";
	else if (!S_ISREG(st->st_mode))
		what = "is not a regular file";
	else if (st->st_nlink != 1)
		what = "has a second name (hard link)";
	else if ((uint64_t)st->st_size != c->sizes[i])
		what = "has another size than the approved version";
	if (what) {
		tell(c, EXPORT_OTHER, item->path.s, what);
		c->sizes[i] = UINT64_MAX;
	} else if ((st->st_mode & 07777) != (item->exec ? 0755 : 0644)) {
		tell(c, EXPORT_OTHER, item->path.s, item->exec ? "has another mode than 0755" : "has another mode than 0644");
	}
	return ERR_OK;
}

static enum err compare_one(void *arg, int dir, const char *name, const char *path, const struct stat *st, bool *enter)
{
	struct compare *c = arg;
	char *full = mem_printf("/%s/", path);
	size_t n = strlen(full), i;
	enum err err = ERR_OK;
	bool is_dir;

	(void)dir;
	(void)name;
	full[n - 1] = '\0';
	i = place_lower_bound(&c->plan, full);
	if (i < c->plan.n && strcmp(c->plan.items[i].path.s, full) == 0) {
		err = compare_file(c, i, st);
		free(full);
		return err;
	}
	full[n - 1] = '/';
	i = place_lower_bound(&c->plan, full);
	is_dir = i < c->plan.n && strncmp(c->plan.items[i].path.s, full, n) == 0;
	full[n - 1] = '\0';
	if (!is_dir)
		tell(c, EXPORT_ALIEN, full, S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) ? "is not part of the approved tree" :
		    "is a link or special file, and not part of the approved tree");
	else if (!S_ISDIR(st->st_mode))
		tell(c, EXPORT_OTHER, full, "is not a directory");
	else
		*enter = true;
	free(full);
	return err;
}

static enum err compare_names(struct compare *c)
{
	static const struct blob_id none;
	enum err err = repo_plan(c->r, &none, &c->e->held, &c->plan);

	c->seen = mem_array(c->plan.n + 1, sizeof(*c->seen));
	c->sizes = mem_array(c->plan.n + 1, sizeof(*c->sizes));
	c->other = mem_array(c->plan.n + 1, sizeof(*c->other));
	if (!err)
		err = place_walk(c->e, compare_one, c);
	for (size_t i = 0; i < c->plan.n && !err; i++)
		if (!c->seen[i])
			tell(c, EXPORT_OTHER, c->plan.items[i].path.s, "is missing");
	return err;
}

/* --- bytes ----------------------------------------------------------------------------------------------------------- */

/* The directory of the last file stays open for the next. */
struct parent {
	int fd; /* -1: none */
	const char *path; /* of a file in it */
	size_t n; /* bytes of it that are the directory's name */
};

static int parent_of(struct export_dir *e, struct parent *p, struct path path)
{
	const size_t n = path.len - strlen(path_name(path));

	if (p->fd >= 0 && p->n == n && memcmp(p->path, path.s, n) == 0)
		return p->fd;
	if (p->fd >= 0)
		sys_close(p->fd);
	p->path = path.s;
	p->n = n;
	if (place_parent(e, path, &p->fd))
		p->fd = -1;
	return p->fd;
}

/* Are these the bytes? A file that is gone or has changed its size has not got them. */
static bool has_bytes(struct export_dir *e, struct parent *parent, struct path path, const struct blob_id *blob, uint64_t size)
{
	const int dir = parent_of(e, parent, path);
	struct blob_id is;
	struct stat st;
	int fd;
	bool same = false;

	fd = dir < 0 ? -1 : openat(dir, path_name(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size && !repo_blob_id_of(fd, size, &is))
		same = blob_id_equal(&is, blob);
	sys_close(fd);
	return same;
}

static void compare_some(void *arg, size_t nth)
{
	struct compare *c = arg;
	struct parent parent = { .fd = -1 };

	(void)nth;
	for (;;) {
		const size_t from = __atomic_fetch_add(&c->next, TURN, __ATOMIC_RELAXED);

		if (from >= c->plan.n)
			break;
		for (size_t i = from; i < c->plan.n && i < from + TURN && !(c->stop && *c->stop); i++)
			if (c->seen[i] && c->sizes[i] != UINT64_MAX)
				c->other[i] = !has_bytes(c->e, &parent, c->plan.items[i].path, &c->plan.items[i].blob, c->sizes[i]);
	}
	if (parent.fd >= 0)
		sys_close(parent.fd);
}

/* Held still, is it what the directory ought to hold by now? An act may have come between. */
static void look_again(struct compare *c, struct path path)
{
	struct parent parent = { .fd = -1 };
	struct blob_id blob;
	uint64_t size;
	bool exec;

	if (c->e->known && !repo_find(c->r, &c->e->held, path, &blob, &exec) && !repo_blob_size(c->r, &blob, &size) &&
	    !has_bytes(c->e, &parent, path, &blob, size))
		tell(c, EXPORT_OTHER, path.s, "has other bytes than the approved version");
	if (parent.fd >= 0)
		sys_close(parent.fd);
}

enum err export_compare(struct export_dir *e, struct repo *r, bool deep, atomic_int *stop, export_differs_fn *fn, void *arg)
{
	struct compare c = { .e = e, .r = r, .fn = fn, .arg = arg, .stop = stop };
	enum err err;

	pthread_mutex_lock(&e->lock);
	if (!e->known) {
		pthread_mutex_unlock(&e->lock);
		tell(&c, EXPORT_IN_DOUBT, "/", "was being changed when DryDock stopped, and has not been brought along since");
		return ERR_OK;
	}
	plan_init(&c.plan);
	err = compare_names(&c);
	pthread_mutex_unlock(&e->lock);
	if (!err && deep) {
		pool_each(THREADS, THREADS, compare_some, &c);
		pthread_mutex_lock(&e->lock);
		for (size_t i = 0; i < c.plan.n; i++)
			if (c.other[i])
				look_again(&c, c.plan.items[i].path);
		pthread_mutex_unlock(&e->lock);
	}
	free(c.seen);
	free(c.sizes);
	free(c.other);
	plan_release(&c.plan);
	return err;
}
