#include "catalog/inside.h"

#include <stdlib.h>
#include <string.h>

#include "base/weaken.h"
#include "core/selection.h"

void selection_release(struct selection *s)
{
	arena_free(s->arena);
	free(s->items);
	*s = (struct selection){ 0 };
}

struct picking {
	const char *act;
	const struct catalog_view *view;
	enum role role;
	bool all_may; /* no need to ask for each: the role is the same below */
	bool named;
	uint64_t largest_file;
	struct selection *out;
	size_t cap;
	enum err err;
};

static bool pick(void *arg, const struct node *n, struct path path)
{
	struct picking *p = arg;
	enum file_state state = (enum file_state)n->state;
	/* of a file beside the directory that has taken its name */
	if (!p->named && !selection_takes(p->act, state))
		return true;
	const char *refusal = selection_refusal(p->act, state);
	if (refusal) {
		char why[PROBLEM_SENTENCE];
		if (state == STATE_UNPUBLISHABLE && n->problem == PROBLEM_BUSY)
			p->err = err_set(ERR_BUSY, "%s: %s", path.s, problem_text(PROBLEM_BUSY));
		else if (state == STATE_UNPUBLISHABLE)
			p->err = err_set(ERR_INPUT, "%s: %s: %s", path.s, refusal, problem_sentence((enum problem)n->problem, p->largest_file, why));
		else
			p->err = err_set(ERR_STALE, "%s: %s", path.s, refusal);
		return false;
	}
	if (!p->all_may && p->view && p->view->rules && role_on(p->view->rules, p->view->who, path) < p->role && !WEAK(role_select)) {
		p->err = err_set(ERR_DENIED, "%s: you have not the right to %s it", path.s, p->act);
		return false;
	}
	struct selection *s = p->out;
	/* The same file can be named twice, or below a directory that is named: the limit is checked again without those. */
	if (s->n >= 2 * (size_t)RECORD_FILES_LIMIT) {
		p->err = err_set(ERR_TOO_BIG, "more than %d files in one act: take fewer at a time", RECORD_FILES_LIMIT);
		return false;
	}
	s->items = mem_grow(s->items, &p->cap, s->n + 1, sizeof *s->items);
	struct selection_item *item = &s->items[s->n++];
	*item = (struct selection_item){ .path = path_copy(path, s->arena), .state = state, .named = p->named };
	if (n->approved)
		item->blob = n->approved->blob;
	if (n->flags & NODE_STAGED)
		node_stat(n, &item->st);
	/* Revoking is about what was approved. */
	bool approved_one = n->approved && n->approved->approval != APPROVAL_NONE &&
	    (state == STATE_MISSING || strcmp(p->act, "revoke") == 0);
	if (approved_one)
		node_approved_print(n, &item->print);
	else
		node_print(n, &item->print);
	return true;
}

/* What the act takes up of a directory that is named. */
static unsigned states_taken(const char *act)
{
	unsigned states = 0;

	for (int i = 0; i < STATE_COUNT; i++)
		if (selection_takes(act, (enum file_state)i))
			states |= 1u << i;
	return states;
}

static enum err pick_path(struct catalog *c, struct picking *p, struct path path, bool recursive)
{
	char buf[NODE_PATH_SIZE];
	struct node *n = file_at(c, path);
	struct dir *d = dir_at(c, path);
	bool seen = false;
	if (n && (n->state == STATE_COUNT || !view_sees(p->view, path)))
		n = NULL;
	enum sight sight = view_sight(p->view, path);
	if (d && (sight == SIGHT_NONE || (d->parent && !d->staged && dir_empty(d))))
		d = NULL;
	if (n) {
		/* Where a directory has taken the name of a file, "with all below" means both, as far as it makes sense. */
		p->named = !(d && recursive);
		p->all_may = false;
		seen = true;
		(void)pick(p, n, path);
		if (p->err)
			return p->err;
	}
	if (d && (recursive || !n)) {
		if (!recursive)
			return err_set(ERR_INPUT, "%s is a directory: say that all below it is meant", path.s);
		const struct catalog_view *v = p->view;
		p->named = false;
		p->all_may = !v || !v->rules ||
		    (sight == SIGHT_ALL && role_on(v->rules, v->who, path) >= p->role && role_uniform_below(v->rules, v->who, path));
		size_t len = path_is_root(path) ? 0 : path.len;
		memcpy(buf, path.s, len);
		buf[len] = 0;
		(void)walk_files(d, v, sight, states_taken(p->act), buf, len, NULL, pick, p);
		if (p->err)
			return p->err;
		seen = true;
	}
	return seen ? ERR_OK : err_set(ERR_NOT_FOUND, "%s is neither staged nor approved", path.s);
}

static int by_path(const void *pa, const void *pb)
{
	const struct selection_item *a = pa, *b = pb;
	int r = path_compare(a->path, b->path);
	return r ? r : (int)b->named - (int)a->named;
}

static enum err finish(struct selection *s, const char *act)
{
	size_t kept = 0;
	/* A walk of one directory is in order already. */
	bool sorted = true;
	for (size_t i = 1; sorted && i < s->n; i++)
		sorted = by_path(&s->items[i - 1], &s->items[i]) < 0;
	if (!sorted)
		qsort(s->items, s->n, sizeof *s->items, by_path);
	struct selection_digest *digest = selection_digest_new(act);
	for (size_t i = 0; i < s->n; i++) {
		struct selection_item *item = &s->items[i];
		if (kept && path_equal(s->items[kept - 1].path, item->path))
			continue;
		selection_digest_add(digest, item->path, item->state, &item->print.sha256, item->print.exec);
		s->bytes += item->print.size;
		s->items[kept++] = *item;
	}
	s->n = kept;
	selection_digest_end_free(digest, &s->digest);
	if (kept > RECORD_FILES_LIMIT)
		return err_set(ERR_TOO_BIG, "%zu files, and at most %d in one act: take fewer at a time", kept, RECORD_FILES_LIMIT);
	return ERR_OK;
}

enum err catalog_select(struct catalog *c, const char *act, const struct path *paths, size_t n, bool recursive,
    const struct catalog_view *view, enum role role, struct selection *out)
{
	enum err e = ERR_OK;

	*out = (struct selection){ 0 };
	/* A long list is dearer to look at name by name than in one scan. */
	if (n > 200 && !recursive)
		e = catalog_refresh(c, path_root());
	else
		for (size_t i = 0; !e && i < n; i++)
			e = recursive ? catalog_refresh(c, paths[i]) : catalog_refresh_file(c, paths[i]);
	return e ? e : catalog_select_known(c, act, paths, n, recursive, view, role, out);
}

enum err catalog_select_known(struct catalog *c, const char *act, const struct path *paths, size_t n, bool recursive,
    const struct catalog_view *view, enum role role, struct selection *out)
{
	struct picking p = { .act = act, .view = view, .role = role, .largest_file = door_largest_file(c->door), .out = out };
	enum err e = ERR_OK;

	*out = (struct selection){ .arena = arena_new() };
	tree_read(c);
	for (size_t i = 0; !e && i < n; i++)
		e = pick_path(c, &p, paths[i], recursive);
	tree_read_end(c);
	if (!e)
		e = finish(out, act);
	if (e)
		selection_release(out);
	return e;
}
