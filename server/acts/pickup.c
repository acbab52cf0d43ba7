/*
 * pickup: what changed below pre-approved paths is recorded and approved, as an act of the system, before each sync.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/weaken.h"

struct candidates {
	struct arena *a;
	const struct rules *rules;
	struct preapproved_list below;
	struct read_item *items;
	struct blob_id *was;
	uint64_t *seqs; /* of the records that approved what stands; 0: nothing does */
	size_t n, cap, was_cap, seqs_cap;
};

static bool is_below(const struct candidates *c, struct path path, uint64_t size)
{
	for (size_t i = 0; i < c->below.n; i++)
		if (preapproved_takes(&c->below.list[i], path, size))
			return true;
	return false;
}

/* Sorted by path, a covering one comes first: each file is looked at below the first only. */
static bool looked_at(const struct candidates *c, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (path_covers(c->below.list[k].path, c->below.list[i].path))
			return true;
	return false;
}

static bool take_entry(void *arg, const struct catalog_entry *e)
{
	struct candidates *c = arg;
	bool stands = e->has_approved && approval_stands(e->approved.approval);

	struct required q;

	if (e->is_dir || !e->staged || e->problem != PROBLEM_NONE || !is_below(c, e->path, e->print.size))
		return true;
	/* Reviews were asked for after the pre-approval: then a person signs. */
	q = rules_required(c->rules, e->path);
	if ((q.reviews || q.not_alone) && !WEAK(require_pickup))
		return true;
	/* A revoked file was taken away by a person: only a person brings it back. */
	if (e->has_approved && e->approved.approval == APPROVAL_REVOKED)
		return true;
	if (stands && fingerprint_equal(&e->print, &e->approved.print))
		return true;
	c->items = mem_grow(c->items, &c->cap, c->n + 1, sizeof *c->items);
	c->was = mem_grow(c->was, &c->was_cap, c->n + 1, sizeof *c->was);
	c->seqs = mem_grow(c->seqs, &c->seqs_cap, c->n + 1, sizeof *c->seqs);
	c->seqs[c->n] = stands ? e->approved.seq : 0;
	c->items[c->n] = (struct read_item){ .path = path_copy(e->path, c->a), .print = e->print };
	c->was[c->n++] = stands ? e->approved.blob : (struct blob_id){ 0 };
	return c->n < RECORD_FILES_LIMIT;
}

static void candidates_release(struct candidates *c)
{
	free(c->below.list);
	free(c->items);
	free(c->was);
	free(c->seqs);
	arena_free(c->a);
}

/* What pick-up would take now. Nothing while the staging directory is in trouble. */
static enum err candidates_look(struct site *s, struct actor_tools *t, struct candidates *c)
{
	char trouble[256];
	enum err err;

	c->below.a = c->a;
	err = preapproved_live(s, tools_db(t), &c->below);
	if (err || !c->below.n)
		return err;
	/* Without a watcher each look is a scan: only what is pre-approved is looked at. */
	for (size_t i = 0; i < c->below.n && !err; i++) {
		if (looked_at(c, i))
			continue;
		err = catalog_refresh(s->catalog, c->below.list[i].path);
		if (err == ERR_NOT_FOUND)
			err = ERR_OK;
	}
	if (err)
		return err;
	catalog_trouble(s->catalog, trouble);
	if (trouble[0]) {
		log_event(LOG_LEVEL_WARN, "pickup.trouble", "site", s->name, "why", trouble, NULL);
		return ERR_OK;
	}
	for (size_t i = 0; i < c->below.n && !err && c->n < RECORD_FILES_LIMIT; i++) {
		const struct path path = c->below.list[i].path;
		struct catalog_query q = { .dir = path, .recursive = true };
		struct catalog_entry e;
		struct arena *a;

		if (looked_at(c, i))
			continue;
		a = arena_new();
		err = catalog_get_file(s->catalog, path, &e, a);
		if (!err)
			take_entry(c, &e);
		if (!err || err == ERR_NOT_FOUND)
			err = catalog_list(s->catalog, &q, NULL, take_entry, c);
		if (err == ERR_NOT_FOUND)
			err = ERR_OK;
		arena_free(a);
	}
	return err;
}

/* Whoever went back to an earlier version meant it: what is staged waits for a signature then. */
static enum err leave_what_went_back(struct site *s, struct actor_tools *t, struct candidates *c)
{
	struct arena *a = arena_new();
	uint64_t known = 0;
	bool back = false;
	size_t kept = 0;
	enum err err = ERR_OK;

	for (size_t i = 0; i < c->n && !err; i++) {
		struct db_record_row row;

		if (c->seqs[i] && c->seqs[i] != known) {
			err = db_record_get(tools_db(t), s->name, node_key_id(s->key), c->seqs[i], &row, a);
			known = c->seqs[i];
			/* Of another node's log: not known here. */
			back = !err && (strcmp(row.act, "rollback") == 0 || strcmp(row.act, "reapprove") == 0);
			if (err == ERR_NOT_FOUND)
				err = ERR_OK;
		}
		if (c->seqs[i] && back)
			continue;
		c->items[kept] = c->items[i];
		c->was[kept] = c->was[i];
		c->seqs[kept++] = c->seqs[i];
	}
	c->n = kept;
	arena_free(a);
	return err;
}

static enum err candidates_find(struct site *s, struct actor_tools *t, struct candidates *c)
{
	struct rules *rules = site_rules(s);
	enum err err;

	*c = (struct candidates){ .a = arena_new(), .rules = rules };
	err = candidates_look(s, t, c);
	if (!err)
		err = leave_what_went_back(s, t, c);
	c->rules = NULL;
	rules_unref(rules);
	return err;
}

static int by_item_path(const void *a, const void *b)
{
	return path_compare(((const struct approve_file *)a)->path, ((const struct approve_file *)b)->path);
}

/*
 * A pre-approval does not take away what a person approved outside of it: a file whose name is in the way of such a
 * file, or the other way round, waits for a person.
 */
static enum err drop_blocked(struct site *s, struct candidates *c, struct approve_file *files, size_t *n)
{
	struct path *paths = mem_array(*n + 1, sizeof *paths);
	struct superseded x = { 0 };
	size_t kept = 0;
	enum err err;

	for (size_t i = 0; i < *n; i++)
		paths[i] = files[i].path;
	err = superseded_find(s, paths, *n, c->a, &x);
	for (size_t i = 0; i < *n && !err; i++) {
		bool blocked = false;

		for (size_t k = 0; k < x.n && !blocked; k++)
			blocked = !is_below(c, x.paths[k], 0) &&
			          (path_covers(x.paths[k], files[i].path) || path_covers(files[i].path, x.paths[k]));
		if (blocked)
			log_event(LOG_LEVEL_WARN, "pickup.blocked", "site", s->name, "path", files[i].path.s, NULL);
		else
			files[kept++] = files[i];
	}
	if (!err)
		*n = kept;
	superseded_release(&x);
	free(paths);
	return err;
}

/* Once more in the transaction: a pre-approval that was taken back meanwhile lets nothing out. */
static enum err pickup_check(struct decision *d, void *arg)
{
	struct approve *x = arg;
	struct candidates now = { .a = arena_new() };
	enum err err;

	now.below.a = now.a;
	err = preapproved_live(d->s, d->db, &now.below);
	for (size_t i = 0; i < x->n && !err; i++)
		if (!is_below(&now, x->files[i].path, x->files[i].print.size))
			err = err_set(ERR_STALE, "%s is not pre-approved any more.", x->files[i].path.s);
	candidates_release(&now);
	return err ? err : approve_check(d, arg);
}

static enum err pickup_list(struct site *s, struct actor_tools *t, struct candidates *c, uint64_t *n)
{
	struct act_request rq = { .note = "" };
	struct reading r = { .s = s, .items = c->items, .n = c->n, .lenient = true };
	struct approve x = { .approval = APPROVAL_PREAPPROVED, .need = ROLE_NONE, .within = c->below.list, .n_within = c->below.n };
	struct decision d = {
		.s = s, .t = t, .rq = &rq, .act = "pickup", .shown = "", .bulk = c->n > 1,
		.check = pickup_check, .write = approve_write, .after = approve_after, .arg = &x,
	};
	struct approve_file *files = mem_array(c->n, sizeof *files);
	struct act_answer answer;
	struct request request;
	struct repo *repo;
	enum err err;

	uuid_new(&rq.op);
	request_begin(&request, "pickup");
	request_end(&request, &d.request);
	err = tools_repo(t, s, &repo);
	if (!err)
		err = repo_pack_begin(repo, &rq.op, &d.pack);
	r.pack = d.pack;
	FAILPOINT_OR(err, pickup_found);
	if (!err)
		err = reading_run(&r, NULL);
	FAILPOINT_OR(err, pickup_read);
	for (size_t i = 0; i < c->n && !err; i++) {
		const struct read_item *item = &c->items[i];

		if (item->err) {
			log_event(LOG_LEVEL_WARN, "pickup.skipped", "site", s->name, "path", item->path.s, "why", err_name(item->err), NULL);
			continue;
		}
		files[x.n++] = (struct approve_file){ item->path, item->print, item->mtime, item->blob, c->was[i] };
	}
	if (!err && x.n) {
		qsort(files, x.n, sizeof *files, by_item_path);
		err = drop_blocked(s, c, files, &x.n);
	}
	if (err || !x.n) {
		export_discard(s->export);
		repo_pack_free(d.pack);
		free(files);
		return err;
	}
	x.files = files;
	approve_init(&x);
	err = decide(&d, &answer);
	approve_release(&x);
	FAILPOINT(pickup_done);
	if (!err)
		*n = answer.files;
	free(files);
	return err;
}

enum err act_pickup(struct site *s, struct actor_tools *t, uint64_t *n)
{
	struct candidates c;
	enum err err = candidates_find(s, t, &c);

	*n = 0;
	if (!err && c.n)
		err = pickup_list(s, t, &c, n);
	candidates_release(&c);
	return err;
}

/* --- the plan of a sync -------------------------------------------------------------------------------------------- */

struct planned {
	enum plan_kind kind;
	struct path path;
	struct blob_id blob;
	bool exec;
};

static int by_planned(const void *a, const void *b)
{
	return path_compare(((const struct planned *)a)->path, ((const struct planned *)b)->path);
}

static struct planned *planned_find(struct planned *list, size_t n, struct path path)
{
	struct planned key = { .path = path };

	return bsearch(&key, list, n, sizeof *list, by_planned);
}

/* Lay what pick-up would add over the difference of the approved tree to the newest release. */
static enum err plan_pickup(struct repo *repo, const struct blob_id *released, const struct candidates *c, const struct sluice *g, const struct plan *base, struct plan *out)
{
	struct planned *list = mem_array(base->n + c->n + 1, sizeof *list);
	size_t n = base->n;
	enum err err = ERR_OK;

	for (size_t i = 0; i < base->n; i++)
		list[i] = (struct planned){ base->items[i].kind, base->items[i].path, base->items[i].blob, base->items[i].exec };
	for (size_t i = 0; i < c->n && !err; i++) {
		const struct read_item *item = &c->items[i];
		struct planned *at = planned_find(list, base->n, item->path);
		struct planned p = { PLAN_ADD, item->path, { { 0 } }, item->print.exec };
		struct blob_id was;
		bool exec;

		if (sluice_hold(g, item->path))
			continue;
		/* The bytes are not in git yet: the first part of their SHA-256 stands for the id. */
		memcpy(p.blob.b, item->print.sha256.b, sizeof p.blob.b);
		if (!blob_id_zero(released)) {
			err = repo_find(repo, released, item->path, &was, &exec);
			if (!err)
				p.kind = PLAN_CHANGE;
			else if (err == ERR_NOT_FOUND)
				err = ERR_OK;
		}
		if (at)
			*at = p;
		else
			list[n++] = p;
	}
	if (!err) {
		qsort(list, n, sizeof *list, by_planned);
		for (size_t i = 0; i < n; i++)
			plan_add(out, list[i].kind, list[i].path, &list[i].blob, list[i].exec);
	}
	free(list);
	return err;
}

/* Of what pick-up will take, its fingerprint; the rest is in the records. */
static enum err plan_who(struct site *s, struct db *db, const struct candidates *c, struct site_plan *out)
{
	enum err err = sluice_who(s, db, &out->plan, out->who, out->plan.arena);

	for (size_t i = 0; i < out->plan.n && !err; i++)
		for (size_t k = 0; k < c->n; k++)
			if (path_equal(out->plan.items[i].path, c->items[k].path)) {
				out->who[i] = (struct plan_who){ .user = "", .sha256 = c->items[k].print.sha256 };
				break;
			}
	sluice_digest(&out->plan, out->who, &out->digest);
	return err;
}

enum err site_plan(struct site *s, struct actor_tools *t, struct site_plan *out)
{
	struct arena *a = arena_new();
	struct candidates c = { .a = NULL };
	struct db_release newest = { .number = 0 };
	struct db_head head;
	struct repo *repo;
	struct plan base;
	enum err err;

	*out = (struct site_plan){ .sluice = { .a = arena_new() } };
	plan_init(&out->plan);
	plan_init(&base);
	err = tools_repo(t, s, &repo);
	if (!err)
		err = db_head_get(tools_db(t), s->name, node_key_id(s->key), &head);
	if (!err) {
		err = db_release_get(tools_db(t), s->name, 0, &newest, a);
		if (err == ERR_NOT_FOUND) {
			newest = (struct db_release){ .number = 0 };
			err = ERR_OK;
		}
	}
	if (!err)
		err = sluice_plan(s, t, &newest, &head.commit, &out->sluice, &base);
	if (!err)
		err = candidates_find(s, t, &c);
	if (!err)
		err = plan_pickup(repo, release_tree(&newest), &c, &out->sluice, &base, &out->plan);
	out->who = mem_array(out->plan.n + 1, sizeof *out->who);
	if (!err)
		err = plan_who(s, tools_db(t), &c, out);
	plan_release(&base);
	if (c.a)
		candidates_release(&c);
	arena_free(a);
	return err;
}

void site_plan_release(struct site_plan *p)
{
	plan_release(&p->plan);
	free(p->who);
	arena_free(p->sluice.a);
	*p = (struct site_plan){ .who = NULL };
}
