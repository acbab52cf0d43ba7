/*
 * require_check: does a signature have what its paths ask for? Asked for people before they sign, and again in the
 * transaction that records the act.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/weaken.h"

#define NAMED_LIMIT 64 /* reviewers that a record names */

/* --- who has reviewed -------------------------------------------------------------------------------------------------- */

struct looking {
	struct arena *a;
	const char *signer;
	struct sign_need **files; /* those that need somebody, by path */
	size_t n;
};

static int by_path(const void *a, const void *b)
{
	return path_compare((*(struct sign_need *const *)a)->path, (*(struct sign_need *const *)b)->path);
}

static bool counted(const struct sign_need *f, const char *actor)
{
	for (size_t i = 0; i < f->have && i < SIGN_NEED_NAMES; i++)
		if (strcmp(f->by[i], actor) == 0)
			return true;
	return false;
}

/* The first few different ones are enough to know that there are enough. */
static bool take_review(void *arg, const struct db_review *review)
{
	const struct looking *l = arg;
	struct sign_need key = { .path = review->path }, *wanted = &key, **hit;

	if (strcmp(review->actor, l->signer) == 0 && !WEAK(require_other))
		return true;
	hit = bsearch(&wanted, l->files, l->n, sizeof *l->files, by_path);
	if (!hit || (*hit)->have == SIGN_NEED_NAMES || counted(*hit, review->actor))
		return true;
	if ((!sha256_equal(&(*hit)->print->sha256, &review->sha256) || (*hit)->print->exec != review->exec) && !WEAK(require_version))
		return true;
	(*hit)->by[(*hit)->have++] = arena_dup(l->a, review->actor);
	return true;
}

enum err sign_needs(struct db *db, const struct site *s, const struct rules *rules, const char *signer, struct sign_need *list, size_t n,
    struct arena *a)
{
	struct looking l = { .a = a, .signer = signer };
	struct path *paths;
	enum err err = ERR_OK;

	if (!rules_requirements(rules))
		return ERR_OK;
	l.files = mem_array(n + 1, sizeof *l.files);
	for (size_t i = 0; i < n; i++) {
		struct sign_need *f = &list[i];

		f->from = rules_required(rules, f->path);
		f->need = f->from.reviews;
		if (!f->need && f->from.not_alone && f->may_own)
			f->need = 1;
		if (f->need)
			l.files[l.n++] = f;
	}
	qsort(l.files, l.n, sizeof *l.files, by_path);
	paths = mem_array(l.n + 1, sizeof *paths);
	for (size_t i = 0; i < l.n; i++)
		paths[i] = l.files[i]->path;
	if (l.n)
		err = db_review_many(db, s->name, paths, l.n, take_review, &l);
	free(paths);
	free(l.files);
	return err;
}

const char *sign_need_text(const struct sign_need *f, struct arena *a)
{
	struct buf b = BUF_INIT(SIGN_NEED_NAMES * (PRINCIPAL_LIMIT + 2) + 256);
	const char *text;

	if (!f->need)
		return NULL;
	if (!f->from.reviews)
		buf_str(&b, "who owns this file may not sign it alone: ");
	buf_fmt(&b, "needs %u review%s of this version by others, has %u", f->need, f->need == 1 ? "" : "s", f->have);
	for (unsigned i = 0; i < f->have && i < SIGN_NEED_NAMES; i++)
		buf_fmt(&b, "%s%s", i ? ", " : ": by ", f->by[i]);
	text = arena_dup(a, buf_text(&b));
	buf_release(&b);
	return text;
}

bool sign_may_own(const struct site *s, const struct rules *rules, const uid_t *signer, struct path path)
{
	uid_t owner;

	if (!rules_required(rules, path).not_alone)
		return false;
	return !signer || door_owner(catalog_door(s->catalog), path, &owner) != ERR_OK || owner == *signer;
}

/* --- in the transaction ---------------------------------------------------------------------------------------------- */

static void name_reviewers(struct decision *d, const struct sign_need *list, size_t n)
{
	json_t *by = json_array();
	const char *named[NAMED_LIMIT];
	size_t n_named = 0;
	unsigned most = 0;

	for (size_t i = 0; i < n; i++) {
		most = list[i].need > most ? list[i].need : most;
		for (unsigned k = 0; k < list[i].have && n_named < NAMED_LIMIT; k++) {
			bool known = false;

			for (size_t m = 0; m < n_named && !known; m++)
				known = strcmp(named[m], list[i].by[k]) == 0;
			if (!known)
				json_array_append_new(by, json_string(named[n_named++] = list[i].by[k]));
		}
	}
	json_object_set_new(d->fields, "required_reviews", json_integer(most));
	json_object_set_new(d->fields, "reviewed_by", by);
}

enum err require_check(struct decision *d, const struct approve *x)
{
	struct sign_need *list;
	size_t n = 0;
	bool any = false;
	enum err err;

	if (!rules_requirements(d->rules))
		return ERR_OK;
	list = mem_array(x->n + 1, sizeof *list);
	for (size_t i = 0; i < x->n; i++)
		if (!x->files[i].gone)
			list[n++] = (struct sign_need){
				.path = x->files[i].path,
				.print = &x->files[i].print,
				/* Whose UNIX user is not known might be the owner. */
				.may_own = !x->signer || *x->signer == x->files[i].owner,
			};
	err = sign_needs(d->db, d->s, d->rules, request_identity(d->rq)->user, list, n, x->arena);
	for (size_t i = 0; i < n && !err; i++) {
		const struct sign_need *f = &list[i];

		any |= f->need > 0;
		if (f->have < f->need && !(f->from.reviews ? WEAK(require_reviews) : WEAK(require_owner)))
			err = err_set(ERR_DENIED, "%s cannot be signed yet: %s. Ask somebody with the right to review it.", f->path.s,
			    sign_need_text(f, x->arena));
	}
	if (!err && any)
		name_reviewers(d, list, n);
	free(list);
	return err;
}
