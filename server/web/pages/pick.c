#include "web/pages/pick.h"

#include <string.h>

#include "base/weaken.h"
#include "core/selection.h"
#include "view/show.h"
#include "web/pages/pages.h"

static enum err visible(struct req *r, struct path p)
{
	if (req_role_on(r, p) >= ROLE_VIEW || role_sees_below(r->rules, &r->person->who, p))
		return ERR_OK;
	return err_set(ERR_NOT_FOUND, "There is nothing at %s.", p.s);
}

/* dir: what a name without a slash in front is in. */
static enum err path_of(struct req *r, struct path dir, const char *text, struct path *out)
{
	size_t n;
	enum err e;

	if (*text && *text != '/')
		text = arena_printf(r->arena, "%s/%s", path_is_root(dir) ? "" : dir.s, text);
	n = strlen(text);
	/* a directory's page writes its path with a slash at the end */
	n -= n > 1 && text[n - 1] == '/';
	e = path_parse(out, text, n, r->arena);
	return e ? e : visible(r, *out);
}

struct in_state {
	struct arena *arena;
	struct path *paths;
	size_t n, cap;
};

static bool in_state_add(void *arg, const struct catalog_entry *e)
{
	struct in_state *l = arg;

	if (l->n == RECORD_FILES_LIMIT)
		return false;
	if (l->n == l->cap)
		l->paths = mem_grow(l->paths, &l->cap, l->n + 1, sizeof *l->paths);
	l->paths[l->n++] = path_copy(e->path, l->arena);
	return true;
}

/* The files of a directory that are in one state, each named: a directory as such would take up others too. */
static enum err pick_state(struct req *r, struct pick *p, enum file_state s)
{
	struct catalog_view view = req_view(r);
	struct catalog_query q = { .dir = p->dir, .recursive = true, .states = 1u << s };
	struct in_state l = { .arena = r->arena };
	struct path *copy;
	enum err e = catalog_list(r->site->catalog, &q, &view, in_state_add, &l);

	if (!e && l.n == 0)
		e = err_set(ERR_STALE, "No file below %s is %s any more.", p->dir.s, state_name(s));
	copy = arena_alloc(r->arena, (l.n + 1) * sizeof *copy);
	if (l.n)
		memcpy(copy, l.paths, l.n * sizeof *copy);
	free(l.paths);
	p->paths = copy;
	p->n = l.n;
	return e;
}

/*
 * Why a file that was ticked is left out; NULL: it is not. A directory never is: it takes up what fits. Nor is a file that
 * he may not view (its name is known to him from a rule below it): that there is none for him is said by the selection.
 */
static const char *left_out(struct req *r, const char *act, struct path p)
{
	struct catalog_entry e;

	if ((req_role_on(r, p) < ROLE_VIEW && !WEAK(tick_name_only)) || catalog_get(r->site->catalog, p, &e, r->arena) || e.is_dir)
		return NULL;
	if (strcmp(act, "sign") == 0 && e.state == STATE_SIGNED)
		return "signed already with exactly these bytes";
	return selection_refusal(act, e.state);
}

static void skip(struct req *r, struct pick *p, struct path *paths, const char *act)
{
	const char *why = NULL;
	size_t kept = 0, others = 0;

	for (size_t i = 0; i < p->n; i++) {
		const char *reason = left_out(r, act, paths[i]);

		if (!reason) {
			paths[kept++] = paths[i];
		} else if (!why || strcmp(why, reason) == 0) {
			why = reason;
			others++;
		} else {
			why = "nothing that this act concerns";
			others++;
		}
	}
	if (others)
		p->skipped = arena_printf(r->arena, "%s that you ticked %s left as %s: %s.", count_text(r->arena, others, "file"),
		    others == 1 ? "is" : "are", others == 1 ? "it is" : "they are", why);
	p->n = kept;
}

enum err pick_whole(struct req *r, struct path dir, const char *state, struct pick *p)
{
	enum file_state s;

	*p = (struct pick){ .dir = dir, .state = state, .whole = true };
	if (*state) {
		if (!state_parse(&s, state))
			return err_set(ERR_INPUT, "There is no state \"%s\".", state);
		return pick_state(r, p, s);
	}
	p->recursive = true;
	p->paths = &p->dir;
	p->n = 1;
	return ERR_OK;
}

enum err pick_parse(struct req *r, const char *act, struct pick *p)
{
	const char *dir = req_form(r, "dir"), *state = req_form(r, "state"), *all = req_form(r, "all");
	const size_t n = req_form_count(r, "path[]");
	struct path *paths;
	enum err e;

	*p = (struct pick){ .dir = path_root(), .state = state ? state : "", .whole = all && *all };
	if (dir) {
		e = path_of(r, path_root(), dir, &p->dir);
		if (e)
			return e;
	}
	if (p->whole)
		return pick_whole(r, p->dir, p->state, p);
	p->recursive = true;
	if (n == 0)
		return err_set(ERR_INPUT, "Nothing is selected. Go back and tick at least one file.");
	paths = arena_alloc(r->arena, n * sizeof *paths);
	for (size_t i = 0; i < n; i++) {
		e = path_of(r, p->dir, req_form_at(r, "path[]", i), &paths[i]);
		if (e)
			return e;
	}
	p->paths = paths;
	p->n = n;
	skip(r, p, paths, act);
	return p->n ? ERR_OK : err_set(ERR_INPUT, "There is nothing to %s. %s", act, p->skipped);
}
