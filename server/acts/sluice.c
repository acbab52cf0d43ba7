/*
 * sluice: what of the approved tree the next release takes up. A held path keeps what the last release had there, a
 * take-down takes what was taken down and nothing else, and too many files at once go only after an admin has seen which.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/weaken.h"

const struct db_hold *sluice_hold(const struct sluice *g, struct path path)
{
	for (size_t i = 0; i < g->n_holds; i++)
		if (path_covers(g->holds[i].path, path))
			return &g->holds[i];
	return NULL;
}

/* Also a file that has the name of a directory above a held path: both cannot be there. */
static bool kept_back(const struct sluice *g, const struct plan_item *it)
{
	if (g->down || sluice_hold(g, it->path))
		return !WEAK(hold_release);
	for (size_t i = 0; i < g->n_holds; i++)
		if (it->kind != PLAN_REMOVE && path_covers(it->path, g->holds[i].path))
			return true;
	return false;
}

/* Was this file taken away by a take-down? Nothing holds that up. */
static enum err taken_down(struct site *s, struct db *db, struct path path, bool *yes, struct arena *a)
{
	struct db_state_row row;
	struct db_record_row rec;
	struct record r = { 0 };
	enum err err = db_state_get(db, s->name, path, &row, a);

	*yes = false;
	if (err || row.approval != APPROVAL_REVOKED)
		return err == ERR_NOT_FOUND ? ERR_OK : err;
	err = db_record_get(db, s->name, node_key_id(s->key), row.seq, &rec, a);
	if (!err)
		err = record_decode(&r, rec.body, rec.body_len, a);
	*yes = !err && json_is_true(json_object_get(r.fields, "take_down"));
	json_decref(r.fields);
	return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err sluice_holds(struct site *s, struct db *db, struct sluice *g)
{
	const int64_t now = clock_wall();
	struct db_hold *all;
	size_t n;
	enum err err = db_hold_list(db, s->name, &all, &n, g->a);

	g->holds = all;
	g->n_holds = 0;
	for (size_t i = 0; i < n && !err; i++)
		if (all[i].until > now)
			g->holds[g->n_holds++] = all[i];
	return err;
}

enum err site_held_until(struct site *s, struct actor_tools *t, struct path path, bool gone, int64_t *until)
{
	struct sluice g = { .a = arena_new() };
	bool down = false;
	enum err err = sluice_holds(s, tools_db(t), &g);

	*until = 0;
	for (size_t i = 0; i < g.n_holds && !err; i++)
		if (g.holds[i].until > *until && (path_covers(g.holds[i].path, path) || (!gone && path_covers(path, g.holds[i].path))))
			*until = g.holds[i].until;
	if (!err && *until && gone)
		err = taken_down(s, tools_db(t), path, &down, g.a);
	if (down)
		*until = 0;
	arena_free(g.a);
	return err;
}

static enum err pass(struct site *s, struct db *db, struct sluice *g, const struct plan *all, struct plan *out)
{
	struct arena *a = arena_new();
	enum err err = ERR_OK;

	g->kept = 0;
	for (size_t i = 0; i < all->n && !err; i++) {
		const struct plan_item *it = &all->items[i];
		bool kept = kept_back(g, it), down = false;

		if (kept && it->kind == PLAN_REMOVE)
			err = taken_down(s, db, it->path, &down, a);
		if (kept && !down)
			g->kept++;
		else
			plan_add(out, it->kind, it->path, &it->blob, it->exec);
		if (arena_used(a) > (1u << 20)) {
			arena_free(a);
			a = arena_new();
		}
	}
	arena_free(a);
	return err;
}

static void count_removals(struct sluice *g, const struct site *s, const struct db_release *last, const struct plan *plan)
{
	struct sha256_stream *sum = sha256_stream_new();
	const struct conf_site *c = s->conf;

	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_item *it = &plan->items[i];

		if (it->kind != PLAN_REMOVE)
			continue;
		sha256_stream_add(sum, it->path.s, it->path.len + 1);
		sha256_stream_add(sum, it->blob.b, sizeof it->blob.b);
	}
	sha256_stream_end_free(sum, &g->removal);
	g->removed = plan->removed;
	g->too_many = c && last->number && plan->removed > c->removal_least &&
	              ((c->removal_share && plan->removed * 100 > (uint64_t)c->removal_share * last->files_count) ||
	                  (c->removal_most && plan->removed > c->removal_most));
}

enum err sluice_plan(struct site *s, struct actor_tools *t, const struct db_release *last, const struct blob_id *head, struct sluice *g, struct plan *out)
{
	struct db *db = tools_db(t);
	struct db_schedule schedule;
	struct repo *repo;
	struct plan all;
	enum err err = tools_repo(t, s, &repo);

	plan_init(&all);
	if (!err)
		err = sluice_holds(s, db, g);
	if (!err)
		err = repo_plan(repo, release_tree(last), head, &all);
	if (!err)
		err = pass(s, db, g, &all, out);
	plan_release(&all);
	if (err)
		return err;
	count_removals(g, s, last, out);
	if (g->too_many && !(err = db_schedule_get(db, s->name, &schedule, g->a)))
		g->confirmed = sha256_equal(&schedule.removal, &g->removal);
	FAILPOINT_OR(err, sluice_planned);
	return err;
}

bool sluice_shut(const struct sluice *g)
{
	return g->too_many && !g->confirmed && !WEAK(removal_guard);
}

enum err sluice_refusal(const struct sluice *g)
{
	return err_set(ERR_STALE, "%llu files would leave production at once: nothing is released until an admin has confirmed the list.", (unsigned long long)g->removed);
}

/* --- the digest of a plan, and who signed ---------------------------------------------------------------------------------- */

struct summing {
	const struct plan *plan;
	struct plan_who *who;
	struct arena *a;
};

static bool take_state(void *arg, const struct db_state_row *row)
{
	struct summing *x = arg;
	size_t i;

	if (!plan_find(x->plan, row->path, &i))
		return true;
	x->who[i] = (struct plan_who){ arena_dup(x->a, row->actor), row->at, row->seq, row->print.sha256 };
	return true;
}

enum err sluice_who(struct site *s, struct db *db, const struct plan *plan, struct plan_who *who, struct arena *a)
{
	struct summing x = { plan, who, a };
	struct path *paths = mem_array(plan->n + 1, sizeof *paths);
	enum err err = ERR_OK;

	for (size_t i = 0; i < plan->n; i++) {
		paths[i] = plan->items[i].path;
		who[i] = (struct plan_who){ .user = "" };
	}
	if (plan->n)
		err = db_state_get_many(db, s->name, paths, plan->n, take_state, &x);
	free(paths);
	return err;
}

void sluice_digest(const struct plan *plan, const struct plan_who *who, struct sha256 *out)
{
	static const struct sha256 none;
	struct sha256_stream *sum = sha256_stream_new();

	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_item *it = &plan->items[i];
		const char kind[2] = { (char)('0' + (int)it->kind), it->exec ? '1' : '0' };

		sha256_stream_add(sum, kind, sizeof kind);
		sha256_stream_add(sum, it->path.s, it->path.len + 1);
		sha256_stream_add(sum, it->kind == PLAN_REMOVE ? none.b : who[i].sha256.b, sizeof none.b);
	}
	sha256_stream_end_free(sum, out);
}
