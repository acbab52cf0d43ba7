/*
 * approve: what sign, revoke, review and pick-up have in common: the expected states asked again inside the
 * transaction, the change of the approved tree, the rows, and what is kept in memory afterwards.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/weaken.h"

#define SUPERSEDED_BYTES (512u << 10) /* their paths stand in the record itself, which holds at most 1 MiB */

/* --- a file where a directory was, and the other way round --------------------------------------------------------- */

static void superseded_add(struct superseded *x, struct path path)
{
	x->paths = mem_grow(x->paths, &x->cap, x->n + 1, sizeof *x->paths);
	x->paths[x->n++] = path;
	x->bytes += path.len + 3;
}

struct below {
	struct superseded *out;
	struct arena *a;
	struct path dir;
};

static bool take_below(void *arg, const struct catalog_entry *e)
{
	struct below *b = arg;

	if (!e->is_dir && e->has_approved && approval_stands(e->approved.approval) && !path_equal(e->path, b->dir))
		superseded_add(b->out, path_copy(e->path, b->a));
	return b->out->bytes <= SUPERSEDED_BYTES;
}

static bool is_approved_file(struct catalog *c, struct path path, struct arena *a)
{
	struct catalog_entry e;

	return catalog_get_file(c, path, &e, a) == ERR_OK && e.has_approved && approval_stands(e.approved.approval);
}

static int by_path(const void *a, const void *b)
{
	return path_compare(*(const struct path *)a, *(const struct path *)b);
}

enum err superseded_find(struct site *s, const struct path *paths, size_t n, struct arena *a, struct superseded *out)
{
	struct arena *scratch;
	struct path last = path_root(); /* the directory looked at last: neighbours share it */
	size_t kept = 0;
	enum err err = ERR_OK;

	*out = (struct superseded){ 0 };
	if (!s->approved_files)
		return ERR_OK;
	scratch = arena_new();
	for (size_t i = 0; i < n && !err && out->bytes <= SUPERSEDED_BYTES; i++) {
		struct catalog_query q = { .dir = paths[i], .recursive = true };
		struct below b = { out, a, paths[i] };
		struct path up = paths[i], parent;

		if (arena_used(scratch) > (1u << 20)) {
			arena_free(scratch);
			scratch = arena_new();
			last = path_root();
		}
		while (path_parent(up, &parent, scratch) && !path_is_root(parent)) {
			if (path_covers(parent, last))
				break;
			if (is_approved_file(s->catalog, parent, scratch))
				superseded_add(out, path_copy(parent, a));
			up = parent;
		}
		if (path_parent(paths[i], &parent, scratch))
			last = parent;
		err = catalog_list(s->catalog, &q, NULL, take_below, &b);
		if (err == ERR_NOT_FOUND || err == ERR_INPUT)
			err = ERR_OK;
	}
	arena_free(scratch);
	if (!err && out->bytes > SUPERSEDED_BYTES)
		err = err_set(ERR_TOO_BIG, "Too many approved files stand in the way of these names: revoke them first.");
	if (out->n)
		qsort(out->paths, out->n, sizeof *out->paths, by_path);
	for (size_t i = 0; i < out->n; i++)
		if (!i || !path_equal(out->paths[i], out->paths[kept - 1]))
			out->paths[kept++] = out->paths[i];
	out->n = kept;
	return err;
}

void superseded_release(struct superseded *x)
{
	free(x->paths);
	*x = (struct superseded){ 0 };
}

/* --- inside the transaction ---------------------------------------------------------------------------------------- */

void approve_init(struct approve *x)
{
	x->arena = arena_new();
	plan_init(&x->changes);
}

void approve_release(struct approve *x)
{
	superseded_release(&x->superseded);
	plan_release(&x->changes);
	free(x->record_files);
	free(x->rows);
	arena_free(x->arena);
	x->record_files = NULL;
	x->rows = NULL;
	x->arena = NULL;
}

struct seen_state {
	struct approve *x;
	struct db_state_row *found; /* by index in the list of paths; path.s NULL: no row */
	const struct path *paths;
	size_t n;
};

static bool see_state(void *arg, const struct db_state_row *row)
{
	struct seen_state *s = arg;
	const struct path *hit = bsearch(&row->path, s->paths, s->n, sizeof *s->paths, by_path);

	if (hit) {
		struct db_state_row *to = &s->found[hit - s->paths];

		*to = *row;
		to->path = *hit;
		to->actor = arena_dup(s->x->arena, row->actor ? row->actor : "");
	}
	return true;
}

static bool same_rule(const struct rule *a, const struct rule *b)
{
	return strcmp(a->principal, b->principal) == 0 && path_equal(a->path, b->path) && a->role == b->role;
}

/* The roles, path by path. The record names the rule of the first file; if others had another, fields lists them. */
static enum err check_roles(struct decision *d, struct approve *x, const struct path *paths, size_t n)
{
	const struct identity *who = request_identity(d->rq);
	struct rule first = { 0 };
	const struct rule *seen[64];
	size_t n_seen = 0;
	json_t *list = NULL;
	enum err err;

	for (size_t i = 0; i < n; i++) {
		struct rule rule = { 0 };
		bool known = false;

		err = act_role(d->rules, who, paths[i], x->need, &rule);
		if (err == ERR_NOT_FOUND && i >= x->n)
			err = err_set(ERR_DENIED, "Approved files on which you have no rights stand in the way of these names.");
		if (err) {
			json_decref(list);
			return err;
		}
		if (!first.principal)
			first = rule;
		for (size_t k = 0; k < n_seen && !known; k++)
			known = same_rule(seen[k], &rule);
		if (!known && n_seen < sizeof seen / sizeof *seen) {
			struct rule *keep = arena_alloc(x->arena, sizeof *keep);

			*keep = rule;
			seen[n_seen++] = keep;
			if (n_seen == 2) {
				list = json_array();
				json_array_append_new(list, json_string(arena_printf(x->arena, "%s %s %s", role_name(first.role), first.principal, first.path.s)));
			}
			if (n_seen > 1)
				json_array_append_new(list, json_string(arena_printf(x->arena, "%s %s %s", role_name(rule.role), rule.principal, rule.path.s)));
		}
	}
	d->rule = first;
	if (list)
		json_object_set_new(d->fields, "rules", list);
	return ERR_OK;
}

/* What this file is after the act. */
static enum approval approval_after(const struct approve *x, const struct approve_file *f)
{
	return f->gone ? APPROVAL_REVOKED : x->approval;
}

/* Is the database's side of this file what the person was shown? */
static enum err check_expected(struct approve *x, const struct approve_file *f, const struct db_state_row *row)
{
	const enum approval after = approval_after(x, f);
	bool stands = row->path.s && approval_stands(row->approval);
	char when[CLOCK_TEXT_SIZE];

	x->stale_path = f->path.s;
	if (after == APPROVAL_REVOKED && !stands)
		return err_set(ERR_STALE, "%s is not approved any more: there is nothing to revoke.", f->path.s);
	if (after == APPROVAL_SIGNED && stands && row->approval == APPROVAL_SIGNED && fingerprint_equal(&row->print, &f->print)) {
		clock_text(row->at, when);
		return err_set(ERR_STALE, "%s is signed already with these bytes, by %s at %s.", f->path.s, row->actor, when);
	}
	if ((stands ? !blob_id_equal(&row->blob, &f->was) : !blob_id_zero(&f->was)) && !WEAK(shown_approved)) {
		if (!row->path.s)
			return err_set(ERR_STALE, "%s was approved when it was shown, and is not any more.", f->path.s);
		clock_text(row->at, when);
		return err_set(ERR_STALE, "%s was changed meanwhile by %s at %s: look at it again.", f->path.s, row->actor, when);
	}
	x->stale_path = NULL;
	return ERR_OK;
}

struct sorted_item {
	struct path path;
	enum plan_kind kind;
	struct blob_id blob;
	bool exec;
};

static int by_item(const void *a, const void *b)
{
	return path_compare(((const struct sorted_item *)a)->path, ((const struct sorted_item *)b)->path);
}

static void make_changes(struct approve *x, const struct db_state_row *found)
{
	size_t more = x->superseded.n, n = 0;
	struct sorted_item *list = mem_array(x->n + more + 1, sizeof *list);

	plan_release(&x->changes);
	plan_init(&x->changes);
	x->files_delta = 0;
	for (size_t i = 0; i < x->n && x->approval != APPROVAL_NONE; i++) {
		const struct approve_file *f = &x->files[i];
		bool stands = found[i].path.s && approval_stands(found[i].approval);

		if (approval_after(x, f) == APPROVAL_REVOKED) {
			list[n++] = (struct sorted_item){ f->path, PLAN_REMOVE, found[i].blob, found[i].print.exec };
			x->files_delta--;
		} else if (!stands) {
			list[n++] = (struct sorted_item){ f->path, PLAN_ADD, f->blob, f->print.exec };
			x->files_delta++;
		} else if (!blob_id_equal(&f->blob, &found[i].blob) || f->print.exec != found[i].print.exec) {
			list[n++] = (struct sorted_item){ f->path, PLAN_CHANGE, f->blob, f->print.exec };
		}
	}
	for (size_t i = 0; i < more; i++) {
		const struct db_state_row *row = &found[x->n + i];

		if (!row->path.s || !approval_stands(row->approval))
			continue;
		list[n++] = (struct sorted_item){ row->path, PLAN_REMOVE, row->blob, row->print.exec };
		x->files_delta--;
	}
	qsort(list, n, sizeof *list, by_item);
	for (size_t i = 0; i < n; i++)
		plan_add(&x->changes, list[i].kind, list[i].path, &list[i].blob, list[i].exec);
	free(list);
}

/* What the rows will say; seq, at and actor are known after the record is built (approve_write). */
static void make_rows(struct approve *x, const struct db_state_row *found)
{
	size_t more = x->superseded.n;

	free(x->rows);
	free(x->record_files);
	x->rows = mem_array(x->n + more + 1, sizeof *x->rows);
	x->record_files = mem_array(x->n + 1, sizeof *x->record_files);
	x->n_rows = 0;
	for (size_t i = 0; i < x->n; i++) {
		const struct approve_file *f = &x->files[i];
		struct db_state_row *row = &x->rows[x->n_rows++];

		if (found[i].path.s)
			*row = found[i];
		else
			*row = (struct db_state_row){ .actor = "" };
		row->path = f->path;
		x->record_files[i] = (struct record_file){ f->path, f->print, f->mtime, f->blob, 0 };
		if (x->approval == APPROVAL_NONE) {
			row->reviewed = f->print.sha256;
			continue;
		}
		x->record_files[i].replaces = row->seq;
		/* In one record with files that it approves: which of them it took away. */
		if (f->gone)
			x->record_files[i].blob = (struct blob_id){ 0 };
		row->approval = approval_after(x, f);
		row->print = f->print;
		row->blob = f->blob;
	}
	for (size_t i = 0; i < more; i++) {
		const struct db_state_row *was = &found[x->n + i];

		if (!was->path.s || !approval_stands(was->approval))
			continue;
		x->rows[x->n_rows] = *was;
		/* Nobody took it away for what it says: if the name comes back, it is a new file to be signed. */
		x->rows[x->n_rows++].approval = APPROVAL_NONE;
	}
}

static bool within(const struct approve *x, struct path path)
{
	for (size_t i = 0; i < x->n_within; i++)
		if (preapproved_takes(&x->within[i], path, 0))
			return true;
	return false;
}

enum err approve_check(struct decision *d, void *arg)
{
	struct approve *x = arg;
	struct path *paths = mem_array(x->n + 1, sizeof *paths);
	struct db_state_row *found = NULL;
	struct seen_state seen;
	size_t more, n;
	enum err err = ERR_OK;

	d->fields = json_object();
	for (size_t i = 0; i < x->n; i++)
		paths[i] = x->files[i].path;
	/* The catalog's approved side moves only with the writer lock held, as it is now. */
	superseded_release(&x->superseded);
	if (approval_stands(x->approval) && !x->exact)
		err = superseded_find(d->s, paths, x->n, x->arena, &x->superseded);
	more = x->superseded.n;
	n = x->n + more;
	free(paths);
	paths = mem_array(n + 1, sizeof *paths);
	found = mem_array(n + 1, sizeof *found);
	seen = (struct seen_state){ x, found, paths, x->n };
	for (size_t i = 0; i < x->n; i++)
		paths[i] = x->files[i].path;
	for (size_t i = 0; i < more; i++)
		paths[x->n + i] = x->superseded.paths[i];
	for (size_t i = 0; i < more && !err && x->within; i++)
		if (!within(x, x->superseded.paths[i]))
			err = err_set(ERR_STALE, "%s stands in the way and is not pre-approved.", x->superseded.paths[i].s);
	if (!err && x->need != ROLE_NONE)
		err = check_roles(d, x, paths, n);
	if (!err && x->need != ROLE_NONE && x->approval == APPROVAL_SIGNED)
		err = require_check(d, x);
	if (!err && x->given)
		err = field_check(d->rules, d->act, paths, x->n, x->given, node_key_id(d->s->key), d->fields, &x->again);
	if (!err)
		err = db_state_get_many(d->db, d->s->name, paths, x->n, see_state, &seen);
	if (!err && more) {
		json_t *list = json_array();

		for (size_t i = 0; i < more; i++)
			json_array_append_new(list, json_stringn(paths[x->n + i].s, paths[x->n + i].len));
		json_object_set_new(d->fields, "superseded", list);
		seen = (struct seen_state){ x, found + x->n, paths + x->n, more };
		err = db_state_get_many(d->db, d->s->name, paths + x->n, more, see_state, &seen);
	}
	for (size_t i = 0; i < x->n && !err; i++)
		err = check_expected(x, &x->files[i], &found[i]);
	if (!err) {
		make_changes(x, found);
		make_rows(x, found);
		d->changes = &x->changes;
		d->files = x->record_files;
		d->n_files = x->n;
		d->approval = x->approval != APPROVAL_NONE;
	}
	free(found);
	free(paths);
	return err;
}

enum err approve_write(struct decision *d, void *arg)
{
	struct approve *x = arg;

	for (size_t i = 0; i < x->n_rows; i++) {
		struct db_state_row *row = &x->rows[i];

		if (x->approval == APPROVAL_NONE) {
			row->review_seq = d->record.seq;
			continue;
		}
		row->seq = d->record.seq;
		row->at = d->record.at;
		row->actor = request_identity(d->rq)->user;
	}
	enum err err = db_state_put(d->db, d->s->name, node_key_id(d->s->key), x->rows, x->n_rows);

	FAILPOINT_OR(err, approve_rows);
	return err;
}

struct approved approved_of(const struct db_state_row *row)
{
	return (struct approved){
		.approval = (enum approval)row->approval,
		.print = row->print,
		.blob = row->blob,
		.seq = row->seq,
		.at = row->at,
		.by = row->actor,
		.review_seq = row->review_seq,
		.reviewed = row->reviewed,
	};
}

void approve_after(struct decision *d, void *arg)
{
	struct approve *x = arg;

	catalog_batch_begin(d->s->catalog);
	for (size_t i = 0; i < x->n_rows; i++) {
		struct approved a = approved_of(&x->rows[i]);

		catalog_set_approved(d->s->catalog, x->rows[i].path, &a);
	}
	catalog_batch_end(d->s->catalog);
	d->s->approved_files = (uint64_t)((int64_t)d->s->approved_files + x->files_delta);
}
