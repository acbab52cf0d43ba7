#include "web/history.h"

#include <string.h>

#include "base/weaken.h"
#include "core/field.h"

/* A page of records is filtered after it is read: at most this many rows are looked at for one page. */
#define HISTORY_LOOK 5000
#define HISTORY_BATCH 200

const char *history_verb(const char *act)
{
	static const struct {
		const char *act, *verb;
	} verbs[] = {
		{ "sign", "signed" },
		{ "review", "reviewed" },
		{ "revoke", "revoked" },
		{ "rule", "changed a rule" },
		{ "preapprove", "changed a pre-approval" },
		{ "require", "changed what a signature needs" },
		{ "field", "changed what acts ask for" },
		{ "pickup", "picked up pre-approved files" },
		{ "release", "cut a release" },
		{ "hold", "held or let go" },
		{ "confirm-removal", "let many files go" },
		{ "catch-up", "caught up" },
		{ "rollback", "rolled back" },
		{ "reapprove", "approved again" },
		{ "force", "forced a sync" },
		{ "account", "changed an account" },
		{ "group", "changed a group" },
		{ "membership", "changed a membership" },
		{ "turn", "took over from another server" },
		{ "genesis", "started the record" },
		{ "key", "changed the node's key" },
	};

	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].act, act) == 0)
			return verbs[i].verb;
	return act;
}

/* He may view everything: then no list of files needs a look. */
static bool sees_all(struct req *r)
{
	return req_role_on(r, path_root()) >= ROLE_VIEW && role_uniform_below(r->rules, &r->person->who, path_root());
}

/*
 * The walk over a record's files, in path order. It stops as soon as the answer cannot change: the page is full, and
 * whether anything is hidden is known. Only a viewer with mixed rights pays for a long list.
 */
struct files_look {
	struct req *r;
	struct arena *arena;
	const struct path *below; /* NULL: no restriction */
	bool all; /* rights need no look */
	struct record_file *files;
	size_t n, cap;
	bool more; /* a visible one did not fit */
	bool hidden; /* one that he may not see was met */
	bool past; /* everything from here on sorts behind `below` */
	const char *last; /* the last path met in this step */
};

static bool look_file(void *arg, const struct record_file *f)
{
	struct files_look *l = arg;

	l->last = arena_dupn(l->arena, f->path.s, f->path.len);
	if (!l->all && req_role_on(l->r, f->path) < ROLE_VIEW) {
		l->hidden = true;
		return !l->more;
	}
	if (l->below && !path_covers(*l->below, f->path)) {
		/* names such as "/a-b" sort between "/a" and "/a/x": past only when the prefix itself is past */
		if (strncmp(f->path.s, l->below->s, l->below->len) > 0 && l->all)
			l->past = true;
		return !l->past;
	}
	if (l->n == l->cap) {
		l->more = true;
		return !l->all && !l->hidden;
	}
	l->files[l->n] = *f;
	l->files[l->n++].path = path_copy(f->path, l->arena);
	return true;
}

static enum err look_through(struct req *r, const char *node, uint64_t seq, struct files_look *look)
{
	for (const char *after = NULL;;) {
		enum err e;

		look->last = NULL;
		e = db_record_files(tools_db(r->tools), r->site->name, node, seq, after, look->all ? 64 : 1000, look_file, look);
		if (e)
			return e;
		if (!look->last || look->past || (look->more && (look->all || look->hidden)))
			return ERR_OK;
		after = look->last;
	}
}

/* Which record without files may he see? */
static bool visible_without_files(struct req *r, const struct record *rec, bool all)
{
	bool bad = false;
	const char *text = json_get_str(rec->fields, "path", &bad);
	struct path p;

	if (all)
		return true;
	if (!bad && text && path_check(&p, text) == ERR_OK)
		return req_role_on(r, p) >= ROLE_VIEW;
	return req_role_on(r, path_root()) >= ROLE_VIEW;
}

/* May he know the name: because he may view it, or as one above something that he may view? */
static bool knows(struct req *r, const char *path)
{
	struct path p;

	return path_check(&p, path) == ERR_OK && (req_role_on(r, p) >= ROLE_VIEW || role_sees_below(r->rules, &r->person->who, p));
}

/* Is a field of that name still among those of which he may know? */
static bool asked_still(const json_t *refs, const char *name)
{
	const size_t n = strlen(name);

	for (size_t i = 0; i < json_array_size(refs); i++) {
		const char *text = json_string_value(json_array_get(refs, i));

		if (text && strncmp(text, name, n) == 0 && text[n] == ' ')
			return true;
	}
	return false;
}

/* What was filled in for paths that he does not see. */
static void leave_out_asked(struct req *r, json_t *fields, struct arena *a)
{
	json_t *refs = json_object_get(fields, RECORD_FIELD_ASKED), *v;
	struct field_ref ref;
	const char *name;
	void *next;

	for (size_t i = json_array_size(refs); i-- > 0;)
		if (!field_ref_parse(&ref, json_string_value(json_array_get(refs, i)), a) || !knows(r, ref.path))
			json_array_remove(refs, i);
	json_object_foreach_safe(fields, next, name, v) {
		if (field_name_valid(name) && !asked_still(refs, name))
			json_object_del(fields, name);
	}
	if (refs && !json_array_size(refs))
		json_object_del(fields, RECORD_FIELD_ASKED);
}

/*
 * What a record says beside its files, for somebody who does not see everything: no path, rule or person that has to do
 * with files which he does not see. All that shows records gets them from here.
 */
static void leave_out(struct req *r, struct history_item *item, struct arena *a)
{
	json_t *fields = item->record.fields, *list = json_object_get(fields, "superseded");

	if (WEAK(record_fields))
		return;
	for (size_t i = json_array_size(list); i-- > 0;)
		if (!knows(r, json_string_value(json_array_get(list, i))))
			json_array_remove(list, i);
	if (list && !json_array_size(list))
		json_object_del(fields, "superseded");
	json_object_del(fields, "rules");
	if (field_act_parse(item->row->act))
		leave_out_asked(r, fields, a);
	if (!item->whole) {
		json_object_del(fields, "reviewed_by");
		json_object_del(fields, "required_reviews");
	}
	if (item->record.rule.principal && !knows(r, item->record.rule.path.s))
		item->record.rule = (struct rule){ 0 };
}

/* Fill item from a row; *visible tells whether it is for him. The caller drops item->record.fields. */
static enum err item_fill(struct req *r, const struct db_record_row *row, const struct path *below, struct arena *a,
    struct history_item *item, bool *visible)
{
	const bool all = sees_all(r);
	struct files_look look = { .r = r, .arena = a, .below = below, .all = all, .cap = HISTORY_FILES };
	enum err e;

	memset(item, 0, sizeof *item);
	item->row = row;
	item->whole = true;
	*visible = false;
	e = record_decode(&item->record, row->body, row->body_len, a);
	if (e)
		return err_prefix(e, "record %llu", (unsigned long long)row->seq);
	(void)json_object_del(item->record.fields, RECORD_FIELD_REQUEST);
	(void)json_object_del(item->record.fields, RECORD_FIELD_SIGNATURES);
	if (row->files_count == 0) {
		*visible = visible_without_files(r, &item->record, all);
		if (!all)
			leave_out(r, item, a);
		return ERR_OK;
	}
	look.files = arena_alloc(a, look.cap * sizeof *look.files);
	e = look_through(r, row->node, row->seq, &look);
	if (e)
		return e;
	item->files = look.files;
	item->n_files = look.n;
	item->more_files = look.more;
	item->whole = !look.hidden;
	*visible = look.n > 0;
	if (!all)
		leave_out(r, item, a);
	return ERR_OK;
}

/* Rows of one query to the database, copied: the connection must be free while each is looked at. */
struct rows {
	struct arena *arena;
	struct db_record_row *list;
	size_t n;
};

static bool rows_add(void *arg, const struct db_record_row *row)
{
	struct rows *rows = arg;
	struct db_record_row *copy = &rows->list[rows->n++];

	*copy = *row;
	copy->node = arena_dup(rows->arena, row->node);
	copy->act = arena_dup(rows->arena, row->act);
	copy->actor = arena_dup(rows->arena, row->actor);
	copy->note = arena_dup(rows->arena, row->note);
	copy->body = arena_dupn(rows->arena, row->body, row->body_len);
	return true;
}

enum err history_list(struct req *r, const struct history_query *q, enum err (*fn)(void *arg, const struct history_item *item),
    void *arg, uint64_t *next)
{
	uint64_t before = q->before;
	unsigned shown = 0, looked = 0;
	enum err e = ERR_OK;

	*next = 0;
	while (!e && shown < q->limit && looked < HISTORY_LOOK) {
		struct rows rows = { .arena = arena_new() };
		struct db_record_query dq = { .site = r->site->name, .node = node_key_id(r->site->key),
			.path = q->whole_site ? NULL : &q->path, .is_dir = q->is_dir, .actor = q->actor, .act = q->act,
			.since = q->since, .until = q->until, .before_seq = before, .limit = HISTORY_BATCH };

		rows.list = arena_alloc(rows.arena, HISTORY_BATCH * sizeof *rows.list);
		e = db_record_list(tools_db(r->tools), &dq, rows_add, &rows);
		for (size_t i = 0; !e && i < rows.n && shown < q->limit; i++) {
			struct history_item item;
			bool visible;

			e = item_fill(r, &rows.list[i], q->whole_site || path_is_root(q->path) ? NULL : &q->path, rows.arena, &item, &visible);
			if (!e && visible) {
				e = fn(arg, &item);
				shown++;
			}
			json_decref(item.record.fields);
			before = rows.list[i].seq;
			looked++;
		}
		if (!e && (shown == q->limit || looked >= HISTORY_LOOK))
			*next = before > 1 ? before : 0;
		if (rows.n < HISTORY_BATCH) {
			/* the end was reached unless the page filled up before the last row */
			if (rows.n == 0 || before == rows.list[rows.n - 1].seq)
				*next = 0;
			arena_free(rows.arena);
			break;
		}
		arena_free(rows.arena);
	}
	return e;
}

const char *history_signer(struct req *r, const struct db_record_row *row)
{
	const struct keychain *keys = site_keychain(r->site);
	const struct key_time *k = keys && strcmp(row->node, keys->node) == 0 ? keychain_at(keys, row->seq) : NULL;

	return k ? key_print(k->key, arena_alloc(r->arena, KEY_PRINT)) : NULL;
}

enum err history_get(struct req *r, uint64_t seq, struct history_item *out)
{
	struct db_record_row *row = arena_alloc(r->arena, sizeof *row);
	bool visible = false;
	enum err e;

	memset(out, 0, sizeof *out);
	e = db_record_get(tools_db(r->tools), r->site->name, node_key_id(r->site->key), seq, row, r->arena);
	if (!e)
		e = item_fill(r, row, NULL, r->arena, out, &visible);
	if (e || !visible) {
		json_decref(out->record.fields);
		out->record.fields = NULL;
	}
	if (e == ERR_NOT_FOUND || (!e && !visible))
		return err_set(ERR_NOT_FOUND, "There is no record %llu.", (unsigned long long)seq);
	return e;
}

struct page_look {
	struct req *r;
	bool all;
	unsigned left;
	bool (*fn)(void *arg, const struct record_file *f);
	void *arg;
	const char *last_seen, *last_shown;
	bool full, enough; /* enough: fn wants no more */
};

static bool page_file(void *arg, const struct record_file *f)
{
	struct page_look *l = arg;

	l->last_seen = arena_dupn(l->r->arena, f->path.s, f->path.len);
	if (!l->all && req_role_on(l->r, f->path) < ROLE_VIEW)
		return true;
	if (l->left == 0) {
		l->full = true;
		return false;
	}
	l->left--;
	l->last_shown = l->last_seen;
	l->enough = !l->fn(l->arg, f);
	return !l->enough;
}

enum err history_files(struct req *r, uint64_t seq, const char *after, unsigned limit,
    bool (*fn)(void *arg, const struct record_file *f), void *arg, const char **next)
{
	struct page_look look = { .r = r, .all = sees_all(r), .left = limit, .fn = fn, .arg = arg };

	*next = NULL;
	for (;;) {
		enum err e;

		look.last_seen = NULL;
		e = db_record_files(tools_db(r->tools), r->site->name, node_key_id(r->site->key), seq, after, limit + 1, page_file, &look);
		if (e)
			return e;
		if (look.full) {
			*next = look.last_shown;
			return ERR_OK;
		}
		if (!look.last_seen || look.enough)
			return ERR_OK;
		after = look.last_seen;
	}
}
