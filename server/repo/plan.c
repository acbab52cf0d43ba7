/*
 * The difference of two approved trees. Directories with the same id are the same and are not opened, so it costs what
 * differs. git's order of a tree, followed into its directories, is the bytewise order of whole paths.
 */
#include <string.h>

#include "repo/internal.h"

struct walk {
	struct repo *r;
	struct plan *plan;
	char text[PATH_LIMIT + 1];
};

static enum err differ(struct walk *w, const struct blob_id *from, const struct blob_id *to, size_t len);

static enum err one(struct walk *w, const struct tree_entry *a, const struct tree_entry *b, size_t len)
{
	static const struct blob_id none;
	const struct tree_entry *any = a ? a : b;
	size_t now = len + 1 + any->len;
	struct path path = { .s = w->text, .len = now };

	if (a && b && a->mode == b->mode && blob_id_equal(&a->id, &b->id))
		return ERR_OK;
	if (now > PATH_LIMIT)
		return err_set(ERR_FAILED, "a path in the repository is too long");
	w->text[len] = '/';
	memcpy(w->text + len + 1, any->name, any->len);
	w->text[now] = '\0';
	if (any->mode == TREE_MODE_DIR)
		return differ(w, a ? &a->id : &none, b ? &b->id : &none, now);
	if (!b)
		plan_add(w->plan, PLAN_REMOVE, path, &a->id, a->mode == TREE_MODE_EXEC);
	else
		plan_add(w->plan, a ? PLAN_CHANGE : PLAN_ADD, path, &b->id, b->mode == TREE_MODE_EXEC);
	return ERR_OK;
}

static enum err differ(struct walk *w, const struct blob_id *from, const struct blob_id *to, size_t len)
{
	struct tree a, b;
	size_t i = 0, k = 0;
	enum err e = repo_tree_read(w->r, from, &a);

	if (e)
		return e;
	e = repo_tree_read(w->r, to, &b);
	while (!e && (i < a.n || k < b.n)) {
		int c = i == a.n ? 1 : k == b.n ? -1 : tree_entry_compare(&a.entries[i], &b.entries[k]);
		e = one(w, c <= 0 ? &a.entries[i] : NULL, c >= 0 ? &b.entries[k] : NULL, len);
		i += c <= 0;
		k += c >= 0;
	}
	tree_release(&a);
	tree_release(&b);
	return e;
}

enum err repo_plan_trees(struct repo *r, const struct blob_id *from, const struct blob_id *to, struct plan *out)
{
	struct walk w = { .r = r, .plan = out };

	return blob_id_equal(from, to) ? ERR_OK : differ(&w, from, to, 0);
}

enum err repo_plan(struct repo *r, const struct blob_id *from, const struct blob_id *to, struct plan *out)
{
	struct blob_id a = { 0 }, b = { 0 };
	enum err e = ERR_OK;

	if (!blob_id_zero(from))
		e = repo_site_tree(r, from, &a);
	if (!e && !blob_id_zero(to))
		e = repo_site_tree(r, to, &b);
	return e ? e : repo_plan_trees(r, &a, &b, out);
}
