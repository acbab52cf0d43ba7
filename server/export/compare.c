#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "export/internal.h"

struct compare {
	struct export_dir *e;
	struct repo *r;
	bool deep;
	void (*fn)(void *arg, const char *path, const char *what);
	void *arg;
	struct plan plan; /* all files that ought to be there */
	bool *seen;
};

static enum err compare_file(struct compare *c, int dir, const char *name, size_t i, const struct stat *st)
{
	const struct plan_item *item = &c->plan.items[i];
	uint64_t size;
	bool same = true;
	enum err err;

	c->seen[i] = true;
	if (!S_ISREG(st->st_mode)) {
		c->fn(c->arg, item->path.s, "is not a regular file");
		return ERR_OK;
	}
	if (st->st_nlink != 1)
		c->fn(c->arg, item->path.s, "has a second name (hard link)");
	if ((st->st_mode & 07777) != (item->exec ? 0755 : 0644))
		c->fn(c->arg, item->path.s, item->exec ? "has another mode than 0755" : "has another mode than 0644");
	err = repo_blob_size(c->r, &item->blob, &size);
	if (err)
		return err;
	if ((uint64_t)st->st_size != size)
		c->fn(c->arg, item->path.s, "has another size than the approved version");
	else if (c->deep && st->st_nlink == 1) {
		err = place_same(c->r, dir, name, &item->blob, &same);
		if (!err && !same)
			c->fn(c->arg, item->path.s, "has other bytes than the approved version");
	}
	return err;
}

static enum err compare_one(void *arg, int dir, const char *name, const char *path, const struct stat *st, bool *enter)
{
	struct compare *c = arg;
	char *full = mem_printf("/%s/", path);
	size_t n = strlen(full), i = place_lower_bound(&c->plan, full);
	bool is_dir = i < c->plan.n && strncmp(c->plan.items[i].path.s, full, n) == 0;
	enum err err = ERR_OK;

	full[n - 1] = '\0';
	i = place_lower_bound(&c->plan, full);
	if (i < c->plan.n && strcmp(c->plan.items[i].path.s, full) == 0)
		err = compare_file(c, dir, name, i, st);
	else if (!is_dir)
		c->fn(c->arg, full, "is not part of the approved tree");
	else if (!S_ISDIR(st->st_mode))
		c->fn(c->arg, full, "is not a directory");
	else
		*enter = true;
	free(full);
	return err;
}

enum err export_compare(struct export_dir *e, struct repo *r, bool deep, void (*fn)(void *arg, const char *path, const char *what),
    void *arg)
{
	static const struct blob_id none;
	struct compare c = { .e = e, .r = r, .deep = deep, .fn = fn, .arg = arg };
	enum err err;

	pthread_mutex_lock(&e->lock);
	if (!e->known) {
		pthread_mutex_unlock(&e->lock);
		fn(arg, "/", "was being changed when DryDock stopped, and has not been brought along since");
		return ERR_OK;
	}
	plan_init(&c.plan);
	err = repo_plan(r, &none, &e->held, &c.plan);
	c.seen = mem_array(c.plan.n + 1, sizeof(*c.seen));
	if (!err)
		err = place_walk(e, compare_one, &c);
	for (size_t i = 0; i < c.plan.n && !err; i++)
		if (!c.seen[i])
			fn(arg, c.plan.items[i].path.s, "is missing");
	pthread_mutex_unlock(&e->lock);
	free(c.seen);
	plan_release(&c.plan);
	return err;
}
