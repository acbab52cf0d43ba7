/*
 * rollback: going back to what was approved before: the whole site to an old release, as a new one, or a file or a
 * directory without touching staging. What is staged stays as it is and differs then: `changed`, for its signers.
 *
 * Files that the old tree does not have are revoked, so that no pre-approval brings them back by itself. In the record
 * they stand among the others, without a blob.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/weaken.h"

struct going_back {
	struct cutting cut; /* of a rollback */
	struct approve x;
	struct blob_id head_tree; /* that the plan was made for */
	const struct back_to *to;
};

/* --- what would change --------------------------------------------------------------------------------------------------- */

static enum err tree_of(struct site *s, struct actor_tools *t, const struct back_to *to, struct blob_id *commit)
{
	struct arena *a = arena_new();
	struct db_release rel;
	struct db_record_row row;
	enum err err;

	if (to->release) {
		err = db_release_get(tools_db(t), s->name, to->release, &rel, a);
		*commit = *release_tree(&rel);
		if (err == ERR_NOT_FOUND)
			err = err_set(err, "There is no release %llu.", (unsigned long long)to->release);
	} else {
		err = db_record_get(tools_db(t), s->name, node_key_id(s->key), to->seq, &row, a);
		*commit = row.commit;
		if (err == ERR_NOT_FOUND)
			err = err_set(err, "There is no record %llu.", (unsigned long long)to->seq);
	}
	arena_free(a);
	return err;
}

/* A file that stays and has the name of a directory that comes, or the other way round. */
static enum err stands_in_the_way(const struct plan *plan, const struct plan_item *stays)
{
	for (size_t i = 0; i < plan->n; i++)
		if (plan->items[i].kind != PLAN_REMOVE && (path_covers(stays->path, plan->items[i].path) || path_covers(plan->items[i].path, stays->path)))
			return err_set(ERR_DENIED, "What is approved today stands in the way of %s: go back to the directory above.", plan->items[i].path.s);
	return ERR_OK;
}

/* All that differs at and below the path, for who may see it. */
static enum err choose(const struct plan *all, const struct rules *rules, const struct back_to *to, const struct identity *who, struct plan *out)
{
	enum err err = ERR_OK;

	for (size_t i = 0; i < all->n; i++) {
		const struct plan_item *it = &all->items[i];

		if (to->whole || (path_covers(to->path, it->path) && role_on(rules, who, it->path) >= ROLE_VIEW))
			plan_add(out, it->kind, it->path, &it->blob, it->exec);
	}
	for (size_t i = 0; i < all->n && !to->whole && !err; i++) {
		const struct plan_item *it = &all->items[i];

		if (it->kind == PLAN_REMOVE && (path_covers(to->path, it->path) ? role_on(rules, who, it->path) < ROLE_VIEW : path_covers(it->path, to->path)))
			err = stands_in_the_way(out, it);
	}
	if (!err && out->n == 1 && out->items[0].kind == PLAN_REMOVE && path_equal(out->items[0].path, to->path))
		err = err_set(ERR_INPUT, "%s was not approved then: revoke it, if it is to go.", to->path.s);
	return err;
}

/* head_tree: of the approved tree that the plan begins with. */
static enum err look(struct site *s, struct actor_tools *t, const struct back_to *to, const struct identity *who, struct plan *out, struct sha256 *digest,
    struct blob_id *head_tree, struct blob_id *commit)
{
	struct rules *rules = site_rules(s);
	struct db_head head;
	struct plan all;
	struct repo *repo;
	enum err err = tools_repo(t, s, &repo);

	plan_init(out);
	plan_init(&all);
	if (!err)
		err = tree_of(s, t, to, commit);
	if (!err)
		err = db_head_get(tools_db(t), s->name, node_key_id(s->key), &head);
	if (!err)
		err = repo_site_tree(repo, &head.commit, head_tree);
	if (!err)
		err = repo_plan(repo, &head.commit, commit, &all);
	if (!err)
		err = choose(&all, rules, to, who, out);
	if (!err)
		plan_digest(out, digest);
	plan_release(&all);
	rules_unref(rules);
	return err;
}

enum err site_back(struct site *s, struct actor_tools *t, const struct back_to *to, const struct identity *who, struct plan *out, struct sha256 *digest)
{
	struct blob_id tree, commit;

	return look(s, t, to, who, out, digest, &tree, &commit);
}

/* --- the list for the transaction ---------------------------------------------------------------------------------------- */

struct states {
	const struct plan *plan;
	struct approve_file *files;
	size_t i;
};

static bool take_state(void *arg, const struct db_state_row *row)
{
	struct states *x = arg;
	size_t i;

	if (!plan_find(x->plan, row->path, &i) || !approval_stands(row->approval))
		return true;
	x->files[i].was = row->blob;
	if (x->files[i].gone) {
		x->files[i].print = row->print;
		x->files[i].blob = row->blob;
	}
	return true;
}

static enum err list_files(struct site *s, struct actor_tools *t, const struct plan *plan, struct approve *x)
{
	struct manifest_line *lines = mem_array(plan->n + 1, sizeof *lines);
	struct fingerprint *prints = mem_array(plan->n + 1, sizeof *prints);
	struct path *paths = mem_array(plan->n + 1, sizeof *paths);
	struct states states = { .plan = plan };
	enum err err = plan->n > RECORD_FILES_LIMIT ? err_set(ERR_TOO_BIG, "At most %d files in one act.", RECORD_FILES_LIMIT) : ERR_OK;

	if (!err)
		err = manifest_find(s, tools_db(t), plan, lines, prints, x->arena);
	states.files = x->files = arena_alloc(x->arena, (plan->n + 1) * sizeof *x->files);
	for (size_t i = 0; i < plan->n && !err; i++) {
		const struct plan_item *it = &plan->items[i];

		paths[i] = it->path;
		x->files[i] = (struct approve_file){ .path = it->path, .print = prints[i], .mtime = lines[i].at, .blob = it->blob, .gone = it->kind == PLAN_REMOVE };
	}
	x->n = plan->n;
	if (!err && plan->n)
		err = db_state_get_many(tools_db(t), s->name, paths, plan->n, take_state, &states);
	free(lines);
	free(prints);
	free(paths);
	return err;
}

/* --- the acts -------------------------------------------------------------------------------------------------------------- */

static enum err back_check(struct decision *d, void *arg)
{
	struct going_back *g = arg;
	struct blob_id now;
	enum err err = approve_check(d, &g->x);

	if (!err)
		err = repo_site_tree(d->repo, &d->head.commit, &now);
	if (!err && !blob_id_equal(&now, &g->head_tree))
		err = err_set(ERR_STALE, "Something was approved or revoked since this was shown: look at it again.");
	if (err)
		return err;
	json_object_set_new(d->fields, "path", json_stringn(g->to->path.s, g->to->path.len));
	json_object_set_new(d->fields, g->to->release ? "to_release" : "to_record", json_integer((json_int_t)(g->to->release ? g->to->release : g->to->seq)));
	return ERR_OK;
}

static enum err reapprove_write(struct decision *d, void *arg)
{
	return approve_write(d, &((struct going_back *)arg)->x);
}

static void reapprove_after(struct decision *d, void *arg)
{
	approve_after(d, &((struct going_back *)arg)->x);
}

/* What is held stays as the last release has it: then it cannot be as the old one had it. */
static enum err not_held(struct site *s, struct db *db, struct sluice *g)
{
	char until[CLOCK_TEXT_SIZE];
	enum err err = sluice_holds(s, db, g);

	if (err || !g->n_holds)
		return err;
	clock_text(g->holds[0].until, until);
	return err_set(ERR_DENIED, "%s is held by %s until %s: lift the hold first.", g->holds[0].path.s, g->holds[0].actor, until);
}

static enum err rollback_check(struct decision *d, void *arg)
{
	struct going_back *g = arg;
	struct rule rule = { 0 };
	struct db_release last;
	enum err err = act_role(d->rules, request_identity(d->rq), path_root(), ROLE_ADMIN, &rule);

	if (err)
		return err == ERR_NOT_FOUND ? err_set(ERR_DENIED, "You need to be admin of the whole site to roll it back.") : err;
	err = back_check(d, g);
	if (err)
		return err;
	d->rule = rule;
	/* It is released with this very record. */
	d->approval = false;
	err = db_release_get(d->db, d->s->name, 0, &last, g->x.arena);
	if (!err)
		err = not_held(d->s, d->db, &g->cut.sluice);
	if (!err && last.number != g->cut.last.number)
		err = err_set(ERR_STALE, "A release was cut meanwhile: look at it again.");
	/* It follows from what production holds, if somebody has just said so. */
	if (!err)
		err = caught_up(d->db, d->s, 0, &g->cut.caught, g->cut.a);
	return err ? err : cutting_number(&g->cut, d);
}

static enum err rollback_build(struct decision *d, void *arg)
{
	struct going_back *g = arg;

	if (!blob_id_equal(&d->site_tree, &g->cut.prepared))
		return err_set(ERR_FAILED, "What was approved does not add up to release %llu. See drydockd fsck.", (unsigned long long)g->to->release);
	return cutting_build(&g->cut, d);
}

static enum err rollback_write(struct decision *d, void *arg)
{
	struct going_back *g = arg;
	const struct db_force force = { .at = d->record.at, .by = request_identity(d->rq)->user, .reason = d->rq->note, .release = g->cut.now.number };
	enum err err = g->x.n ? approve_write(d, &g->x) : ERR_OK;

	if (!err)
		err = cutting_write(&g->cut, d);
	FAILPOINT_OR(err, rollback_rows);
	return err ? err : db_schedule_force(d->db, d->s->name, &force);
}

static void rollback_after(struct decision *d, void *arg)
{
	struct going_back *g = arg;

	approve_after(d, &g->x);
	cutting_after(&g->cut, d);
}

static void digest_request(const struct decision *d, const struct back_to *to, const struct sha256 *shown, struct sha256 *out)
{
	struct request r;

	request_begin(&r, d->act);
	request_bytes(&r, to->path.s, to->path.len);
	request_number(&r, (int64_t)to->release);
	request_number(&r, (int64_t)to->seq);
	request_bytes(&r, shown->b, sizeof shown->b);
	request_text(&r, d->rq->note);
	request_end(&r, out);
}

static enum err prepare_release(struct going_back *g, struct decision *d, const struct blob_id *commit)
{
	struct plan changes;
	struct repo *repo;
	enum err err = tools_repo(d->t, d->s, &repo);

	plan_init(&changes);
	if (!err)
		err = not_held(d->s, tools_db(d->t), &g->cut.sluice);
	if (!err)
		err = repo_plan(repo, release_tree(&g->cut.last), commit, &changes);
	if (!err)
		err = cutting_prepare(&g->cut, d->s, d->t, &changes);
	if (!err)
		err = repo_site_tree(repo, commit, &g->cut.prepared);
	plan_release(&changes);
	return err;
}

/* Everything up to the transaction. rollback: the sums of the release too. */
static enum err prepare(struct going_back *g, struct decision *d, const struct sha256 *shown, struct plan *plan)
{
	struct blob_id commit;
	struct sha256 now;
	enum err err = look(d->s, d->t, g->to, request_identity(d->rq), plan, &now, &g->head_tree, &commit);

	if (!err && !sha256_equal(&now, shown) && !WEAK(shown_back))
		err = err_set(ERR_STALE, "What this changes is not what was shown any more: look at it again.");
	if (!err && d->build)
		err = cutting_last(&g->cut, d->s, d->t);
	if (!err && d->build)
		err = prepare_release(g, d, &commit);
	return err ? err : list_files(d->s, d->t, plan, &g->x);
}

static enum err go_back(struct going_back *g, struct decision *d, const struct sha256 *shown, struct act_answer *out)
{
	/* Nobody's file: it is not about a staged one. */
	static const uid_t signer = (uid_t)-1;
	char hex[SHA256_HEX];
	struct plan plan = { 0 };
	enum err err;

	*out = (struct act_answer){ 0 };
	err = request_check(d->rq);
	if (!err && (!d->rq->actor || !d->s->catalog))
		err = err_set(ERR_INPUT, "Only a person can take the files of a site back to what they were.");
	if (err)
		return err;
	digest_request(d, g->to, shown, &d->request);
	err = act_seen(d->s, d->t, d->rq, &d->request, out);
	if (err != ERR_NOT_FOUND)
		return err;
	approve_init(&g->x);
	g->x.approval = APPROVAL_SIGNED;
	g->x.need = g->to->whole ? ROLE_NONE : ROLE_SIGN;
	g->x.exact = true;
	g->x.signer = &signer;
	err = prepare(g, d, shown, &plan);
	FAILPOINT_OR(err, rollback_prepared);
	if (!err && !plan.n && !d->build)
		err = err_set(ERR_STALE, "%s is approved like that already.", g->to->path.s);
	hex_of(hex, shown->b, sizeof shown->b);
	d->shown = plan.n ? hex : "";
	d->bulk = plan.n > 1;
	d->arg = g;
	if (!err)
		err = decide(d, out);
	plan_release(&plan);
	approve_release(&g->x);
	return err;
}

enum err act_reapprove(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct back_to *to, const struct sha256 *shown, struct act_answer *out)
{
	struct going_back g = { .to = to };
	struct decision d = {
		.s = s, .t = t, .rq = rq, .act = "reapprove",
		.check = back_check, .write = reapprove_write, .after = reapprove_after,
	};

	return go_back(&g, &d, shown, out);
}

enum err act_rollback(struct site *s, struct actor_tools *t, const struct act_request *rq, uint64_t release, const struct sha256 *shown, struct act_answer *out)
{
	const struct back_to to = { .release = release, .path = path_root(), .whole = true };
	struct going_back g = { .to = &to };
	struct decision d = {
		.s = s, .t = t, .rq = rq, .act = "rollback",
		.check = rollback_check, .build = rollback_build, .write = rollback_write, .after = rollback_after,
	};
	struct rules *rules;
	bool may;
	enum err err;

	if (!rq->note[0])
		return err_set(ERR_INPUT, "Say why the site is rolled back.");
	/* The right before the difference: nobody learns from the answer what is approved. */
	rules = site_rules(s);
	may = rq->actor && role_on(rules, &rq->actor->who, path_root()) == ROLE_ADMIN;
	rules_unref(rules);
	if (!may && !WEAK(role_act))
		return act_refused(s, t, rq, "rollback", NULL, err_set(ERR_DENIED, "You need to be admin of the whole site to roll it back."));
	g.cut.a = arena_new();
	g.cut.sluice.a = g.cut.a;
	(void)pthread_mutex_lock(&s->release_lock);
	err = go_back(&g, &d, shown, out);
	if (!err && !out->repeated)
		cutting_done(&g.cut, s);
	(void)pthread_mutex_unlock(&s->release_lock);
	arena_free(g.cut.a);
	return err;
}
