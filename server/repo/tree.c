/*
 * Trees: reading them strictly, and making the next approved tree from the last one and the changes. Only the
 * directories on the way to a change are read or written; everything else keeps its id.
 */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "repo/internal.h"

/* --- reading ------------------------------------------------------------------------------------------------------ */

enum err tree_parse(struct tree *t)
{
	const char *p = t->object.p, *end = p + t->object.n;
	size_t cap = 0;

	while (p < end) {
		struct tree_entry *e;
		if (t->n == cap)
			t->entries = mem_grow(t->entries, &cap, t->n + 1, sizeof(*t->entries));
		e = &t->entries[t->n];
		if (!tree_entry_parse(e, &p, end) || path_part_problem(e->name, e->len) ||
		    (t->n > 0 && tree_entry_compare(e - 1, e) >= 0))
			return err_set(ERR_FAILED, "a tree in the repository is not one that DryDock wrote");
		t->n++;
	}
	return ERR_OK;
}

/* A tree that is named by another object and missing is damage, not an answer. */
static enum err finish_read(enum err e, struct tree *out)
{
	if (e == ERR_NOT_FOUND)
		e = err_prefix(ERR_FAILED, "the repository is damaged");
	if (!e)
		e = tree_parse(out);
	if (e)
		tree_release(out);
	return e;
}

enum err repo_tree_read(struct repo *r, const struct blob_id *id, struct tree *out)
{
	*out = (struct tree){ 0 };
	if (blob_id_zero(id))
		return ERR_OK;
	return finish_read(object_read(r, id, GIT_OBJECT_TREE, &out->object), out);
}

enum err pack_read_tree(struct repo_pack *p, const struct blob_id *id, struct tree *out)
{
	*out = (struct tree){ 0 };
	if (blob_id_zero(id))
		return ERR_OK;
	return finish_read(pack_read(p, id, GIT_OBJECT_TREE, &out->object), out);
}

void tree_release(struct tree *t)
{
	object_release(&t->object);
	free(t->entries);
	*t = (struct tree){ 0 };
}

const struct tree_entry *tree_find(const struct tree *t, const char *name, size_t len, bool dir)
{
	struct tree_entry want = { .name = name, .len = len, .mode = dir ? TREE_MODE_DIR : TREE_MODE_FILE };
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = tree_entry_compare(&want, &t->entries[mid]);
		if (c == 0)
			return &t->entries[mid];
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/*
 * A change on its way down: the rest of its path below the directory at hand. Sorted so that all changes below one
 * name stand together: '/' before every other byte (in the order of lists, "a-b" would part "a" from "a/x").
 */
struct change {
	const char *rest;
	const struct plan_item *item;
};

static int by_parts(const void *a, const void *b)
{
	const unsigned char *x = (const unsigned char *)((const struct change *)a)->rest;
	const unsigned char *y = (const unsigned char *)((const struct change *)b)->rest;

	while (*x && *x == *y) {
		x++;
		y++;
	}
	return (int)(*x == '/' ? 1 : *x == 0 ? 0 : *x + 1) - (int)(*y == '/' ? 1 : *y == 0 ? 0 : *y + 1);
}

static enum err write_tree(struct repo_pack *p, const struct tree_entry *entries, size_t n, struct blob_id *id)
{
	size_t size = 0, at = 0;
	char *bytes;
	enum err e;

	for (size_t i = 0; i < n; i++)
		size += 7 + entries[i].len + 1 + BLOB_ID_SIZE;
	bytes = mem_alloc(size + 1);
	for (size_t i = 0; i < n; i++) {
		at += (size_t)snprintf(bytes + at, size + 1 - at, "%o ", entries[i].mode);
		memcpy(bytes + at, entries[i].name, entries[i].len);
		at += entries[i].len;
		bytes[at++] = '\0';
		memcpy(bytes + at, entries[i].id.b, BLOB_ID_SIZE);
		at += BLOB_ID_SIZE;
	}
	e = pack_object(p, GIT_OBJECT_TREE, bytes, at, id);
	free(bytes);
	return e;
}

static int by_git(const void *a, const void *b)
{
	return tree_entry_compare(a, b);
}

/* The old entries but those dropped, and the new ones, both in git's order, as one list. */
static struct tree_entry *merge(const struct tree *old, const bool *dropped, struct tree_entry *added, size_t n_added, size_t *n)
{
	struct tree_entry *all = mem_array(old->n + n_added + 1, sizeof(*all));
	size_t i = 0, k = 0;

	*n = 0;
	qsort(added, n_added, sizeof(*added), by_git);
	while (i < old->n || k < n_added) {
		if (i < old->n && dropped[i])
			i++;
		else if (k == n_added || (i < old->n && tree_entry_compare(&old->entries[i], &added[k]) < 0))
			all[(*n)++] = old->entries[i++];
		else
			all[(*n)++] = added[k++];
	}
	return all;
}

static enum err conflict(const struct plan_item *item)
{
	return err_set(ERR_FAILED, "%s cannot be both a file and a directory of the approved tree", item->path.s);
}

/* What one name of a directory becomes. */
struct outcome {
	const struct tree_entry *file, *dir; /* the old ones; at most one of them is there */
	const struct plan_item *leaf; /* the change to the name itself */
	const struct change *below; /* the changes below it */
	size_t n_below;
};

static enum err apply(struct repo_pack *p, const struct blob_id *old_id, struct change *changes, size_t n, struct blob_id *id);

/* mode 0: the name is gone. */
static enum err decide(struct repo_pack *p, const struct outcome *o, struct tree_entry *now)
{
	static const struct blob_id none;
	bool removes = o->leaf && o->leaf->kind == PLAN_REMOVE;
	struct blob_id below = none;
	enum err e;

	now->mode = 0;
	if (o->n_below > 0) {
		struct change *deeper = mem_array(o->n_below, sizeof(*deeper));
		for (size_t i = 0; i < o->n_below; i++) {
			deeper[i] = o->below[i];
			deeper[i].rest += now->len + 1;
		}
		e = apply(p, o->dir ? &o->dir->id : &none, deeper, o->n_below, &below);
		free(deeper);
		if (e)
			return e;
	} else if (o->dir) {
		below = o->dir->id;
	}
	if (o->leaf && !removes) {
		now->mode = o->leaf->exec ? TREE_MODE_EXEC : TREE_MODE_FILE;
		now->id = o->leaf->blob;
	} else if (o->file && !removes) {
		now->mode = o->file->mode;
		now->id = o->file->id;
	}
	if (blob_id_zero(&below))
		return ERR_OK;
	if (now->mode != 0)
		return conflict(o->leaf ? o->leaf : o->below[0].item);
	now->mode = TREE_MODE_DIR;
	now->id = below;
	return ERR_OK;
}

/* id: zero if nothing is left. */
static enum err apply(struct repo_pack *p, const struct blob_id *old_id, struct change *changes, size_t n, struct blob_id *id)
{
	struct tree old;
	struct tree_entry *added, *all = NULL;
	size_t n_added = 0, n_all = 0, i = 0;
	bool *dropped;
	enum err e = pack_read_tree(p, old_id, &old);

	if (e)
		return e;
	added = mem_array(n, sizeof(*added));
	dropped = mem_array(old.n + 1, sizeof(*dropped));
	while (i < n && !e) {
		struct outcome o = { 0 };
		struct tree_entry now = { .name = changes[i].rest, .len = strcspn(changes[i].rest, "/") };

		/* the name itself sorts first; the last one given wins */
		for (; i < n && strncmp(changes[i].rest, now.name, now.len) == 0 && changes[i].rest[now.len] == '\0'; i++)
			if (!o.leaf || o.leaf->kind == PLAN_REMOVE || changes[i].item->kind != PLAN_REMOVE)
				o.leaf = changes[i].item;
		o.below = &changes[i];
		for (; i < n && strncmp(changes[i].rest, now.name, now.len) == 0 && changes[i].rest[now.len] == '/'; i++)
			o.n_below++;
		o.file = tree_find(&old, now.name, now.len, false);
		o.dir = tree_find(&old, now.name, now.len, true);
		e = decide(p, &o, &now);
		if (o.file)
			dropped[o.file - old.entries] = true;
		if (o.dir)
			dropped[o.dir - old.entries] = true;
		if (!e && now.mode != 0)
			added[n_added++] = now;
	}
	if (!e)
		all = merge(&old, dropped, added, n_added, &n_all);
	*id = (struct blob_id){ 0 };
	if (!e && n_all > 0)
		e = write_tree(p, all, n_all, id);
	free(all);
	free(dropped);
	free(added);
	tree_release(&old);
	return e;
}

enum err repo_pack_tree(struct repo_pack *p, const struct blob_id *head, const struct plan *changes, struct blob_id *site_tree)
{
	struct blob_id old = { 0 }, top;
	struct object commit = { 0 };
	struct tree tree = { 0 };
	struct change *list = NULL;
	const struct tree_entry *site;
	enum err e = ERR_OK;

	if (!blob_id_zero(head)) {
		bool log;

		e = pack_read(p, head, GIT_OBJECT_COMMIT, &commit);
		if (!e)
			e = commit_parse(&commit, &top, NULL);
		log = !e && commit_is_log(&commit);
		object_release(&commit);
		if (!e && log)
			e = pack_read_tree(p, &top, &tree);
		if (e)
			return e;
		site = log ? tree_find(&tree, "site", 4, true) : NULL;
		old = site ? site->id : top;
		if (log)
			tree_release(&tree);
		if (log && !site)
			return err_set(ERR_FAILED, "the repository is damaged: a log commit has no site/");
	}
	list = mem_array(changes->n + 1, sizeof(*list));
	for (size_t i = 0; i < changes->n; i++)
		list[i] = (struct change){ .rest = changes->items[i].path.s + 1, .item = &changes->items[i] };
	qsort(list, changes->n, sizeof(*list), by_parts);
	if (changes->n > 0)
		e = apply(p, &old, list, changes->n, site_tree);
	else
		*site_tree = old;
	/* an approved tree without files is still an object that others name */
	if (!e && blob_id_zero(site_tree))
		e = write_tree(p, NULL, 0, site_tree);
	free(list);
	return e;
}
