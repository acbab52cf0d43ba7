/*
 * reach: which releases have what was approved. A release is as of a record, and yet not all that was approved by then is
 * in it: a held path keeps what it had, and a take-down takes nothing else along. So its tree alone is asked.
 */
#include <stdlib.h>
#include <string.h>

#include "acts/internal.h"

static enum err tree_has(struct repo *repo, const struct db_release *rel, struct path path, const struct approved_version *v, bool *has)
{
	struct blob_id blob = { 0 };
	bool exec = false;
	enum err e = blob_id_zero(release_tree(rel)) ? ERR_NOT_FOUND : repo_find(repo, release_tree(rel), path, &blob, &exec);

	*has = e == ERR_NOT_FOUND ? blob_id_zero(&v->blob) : !e && blob_id_equal(&blob, &v->blob) && exec == v->exec;
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err site_release_has(struct site *s, struct actor_tools *t, const struct db_release *rel, struct path path, const struct approved_version *v, bool *has)
{
	struct repo *repo;
	enum err e = tools_repo(t, s, &repo);

	*has = false;
	return e ? e : tree_has(repo, rel, path, v, has);
}

enum err site_release_version(struct site *s, struct actor_tools *t, const struct db_release *rel, struct path path, struct approved_version *out)
{
	struct repo *repo;
	enum err e = tools_repo(t, s, &repo);

	*out = (struct approved_version){ .exec = false };
	return e ? e : repo_find(repo, release_tree(rel), path, &out->blob, &out->exec);
}

/*
 * What was approved by the record that counts stays in every release after the first that has it, since a release takes up what
 * differs from the one before: so the first is found by halving, in a site of ten thousand releases with fourteen looks.
 */
enum err site_release_first(struct site *s, struct actor_tools *t, struct path path, const struct approved_version *v, uint64_t seq, struct db_release *out, struct arena *a)
{
	struct db *db = tools_db(t);
	uint64_t low = 0, high; /* it is not at or below low; between them there may be one before out */
	struct repo *repo;
	bool has = false;
	enum err e = tools_repo(t, s, &repo);

	if (!e)
		e = db_release_get(db, s->name, 0, out, a);
	if (!e)
		e = tree_has(repo, out, path, v, &has);
	if (!e && !has)
		e = err_set(ERR_NOT_FOUND, "No release has %s as it is approved.", path.s);
	/* Approved again as it was before anything else was released: no release was cut for that. */
	if (e || out->as_of < seq)
		return e;
	for (high = out->number; high - low > 1;) {
		const uint64_t middle = low + (high - low) / 2;
		struct db_release rel;

		e = db_release_after(db, s->name, middle - 1, &rel, a);
		has = false;
		if (!e && rel.number < high && rel.as_of >= seq)
			e = tree_has(repo, &rel, path, v, &has);
		if (e)
			return e;
		if (rel.number < high && !has) {
			low = rel.number;
			continue;
		}
		if (has)
			*out = rel;
		high = middle;
	}
	return ERR_OK;
}

enum err site_kept_back(struct site *s, struct actor_tools *t, const struct db_release *rel, struct plan *out)
{
	struct arena *a = arena_new();
	struct db_record_row row;
	struct repo *repo;
	enum err e = tools_repo(t, s, &repo);

	plan_init(out);
	if (!e && rel->number) {
		e = db_record_get(tools_db(t), s->name, rel->node, rel->as_of, &row, a);
		if (!e)
			e = repo_plan(repo, &row.commit, release_tree(rel), out);
	}
	arena_free(a);
	return e;
}

/* --- since when ------------------------------------------------------------------------------------------------------------ */

struct keeping {
	const struct db_release *rel;
	const struct plan *plan;
	int64_t *since; /* for each item: the first approval after the version that the release has; 0: none yet */
};

static bool take_version(void *arg, const struct db_version *v)
{
	struct keeping *k = arg;
	const bool gone = !strcmp(v->act, "revoke") || blob_id_zero(&v->blob);
	const struct plan_item *it;
	size_t i;

	if (v->seq > k->rel->as_of || strcmp(v->node, k->rel->node) != 0 || !strcmp(v->act, "review") || !plan_find(k->plan, v->path, &i))
		return true;
	it = &k->plan->items[i];
	if (it->kind == PLAN_REMOVE ? gone : !gone && blob_id_equal(&v->blob, &it->blob) && v->exec == it->exec)
		k->since[i] = 0;
	else if (!k->since[i])
		k->since[i] = v->at;
	return true;
}

enum err site_kept_since(struct site *s, struct actor_tools *t, const struct db_release *rel, int64_t *at)
{
	struct keeping k = { .rel = rel };
	struct path *paths;
	struct plan plan;
	enum err e = site_kept_back(s, t, rel, &plan);

	*at = 0;
	k.plan = &plan;
	k.since = mem_array(plan.n + 1, sizeof *k.since);
	paths = mem_array(plan.n + 1, sizeof *paths);
	for (size_t i = 0; i < plan.n; i++) {
		k.since[i] = 0;
		paths[i] = plan.items[i].path;
	}
	if (!e && plan.n)
		e = db_record_versions(tools_db(t), s->name, paths, plan.n, take_version, &k);
	for (size_t i = 0; i < plan.n && !e; i++)
		if (k.since[i] && (!*at || k.since[i] < *at))
			*at = k.since[i];
	free(paths);
	free(k.since);
	plan_release(&plan);
	return e;
}

enum err site_release_current(struct site *s, struct actor_tools *t, const struct db_release *rel, bool *current)
{
	struct blob_id approved, released;
	struct db_head head;
	struct repo *repo;
	enum err e = tools_repo(t, s, &repo);

	*current = false;
	if (!e)
		e = db_head_get(tools_db(t), s->name, node_key_id(s->key), &head);
	if (e || !rel->number || !head.seq)
		return e;
	e = repo_site_tree(repo, &head.commit, &approved);
	if (!e)
		e = repo_site_tree(repo, release_tree(rel), &released);
	*current = !e && blob_id_equal(&approved, &released);
	return e;
}
