/*
 * What records add up to: the same rows that the acts wrote. Each act of server/acts/ has a row in ACTS here; a record of an
 * act that has none cannot be taken up, so that a new kind of record is never forgotten silently.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "check/internal.h"
#include "core/state.h"

#define SYSTEM_FORM "%s:%s" /* provider, name */

struct one_rule { const char *principal; struct path path; int role; uint64_t seq; };
struct one_requirement { struct path path; unsigned reviews; bool not_alone; uint64_t seq; };
struct one_preapproval { struct preapproved what; const char *actor, *note; int64_t at; uint64_t seq; };
struct one_account { const char *name, *display; bool enabled; int64_t created_at; uint64_t seq; };
struct one_group { const char *name; int64_t created_at; uint64_t seq; };
struct one_token { const char *id, *owner, *label, *site, *path; int role; int64_t created_at, expires_at; uint64_t seq; };
struct one_member { const char *group, *principal; uint64_t seq; };

#define LIST(type) struct { type *p; size_t n, cap; }
#define LIST_ADD(list, ...) \
	do { \
		(list)->p = mem_grow((list)->p, &(list)->cap, (list)->n + 1, sizeof(*(list)->p)); \
		(list)->p[(list)->n++] = __VA_ARGS__; \
	} while (0)
/* Order means nothing: the last one takes the place. */
#define LIST_DROP(list, i) ((list)->p[i] = (list)->p[--(list)->n])

struct replay {
	const char *site, *node;
	struct arena *arena;
	struct replay_file **slots; /* open addressing by the path's hash */
	size_t n_slots, n_files;
	struct replay_file **sorted;
	bool is_sorted;
	LIST(struct one_rule) rules;
	LIST(struct one_requirement) requirements;
	LIST(struct one_preapproval) preapprovals;
	LIST(struct one_account) accounts;
	LIST(struct one_group) groups;
	LIST(struct one_member) members;
	LIST(struct one_token) tokens;
	LIST(uint64_t) releases; /* numbers */
	const struct blob_id *main_commits;
	size_t n_main;
	struct plan changes;
	/* of the last record, and sums */
	uint64_t seq, rules_version, release;
	struct sha256 digest;
	struct blob_id commit;
	int64_t created_at, first_pending, last_approval, last_start, forced_at;
	const char *forced_by, *forced_reason;
};

struct replay *replay_new(const char *site, const struct node_key *key)
{
	struct replay *r = mem_alloc(sizeof(*r));

	r->arena = arena_new();
	r->site = site;
	r->node = node_key_id(key);
	r->n_slots = 1024;
	r->slots = mem_array(r->n_slots, sizeof(struct replay_file *));
	r->forced_by = r->forced_reason = "";
	plan_init(&r->changes);
	return r;
}

void replay_free(struct replay *r)
{
	if (!r)
		return;
	plan_release(&r->changes);
	free(r->slots);
	free(r->sorted);
	free(r->rules.p);
	free(r->requirements.p);
	free(r->preapprovals.p);
	free(r->accounts.p);
	free(r->groups.p);
	free(r->members.p);
	free(r->tokens.p);
	free(r->releases.p);
	arena_free(r->arena);
	free(r);
}

void replay_releases(struct replay *r, const struct blob_id *main_commits, size_t n)
{
	r->main_commits = main_commits;
	r->n_main = n;
}

/* --- files ---------------------------------------------------------------------------------------------------------- */

static struct replay_file **slot_of(struct replay_file **slots, size_t n, const struct sha256 *hash)
{
	size_t at;

	memcpy(&at, hash->b, sizeof(at));
	for (at &= n - 1; slots[at] && !sha256_equal(&slots[at]->hash, hash); at = (at + 1) & (n - 1))
		;
	return &slots[at];
}

static struct replay_file *file_find(const struct replay *r, struct path path)
{
	struct sha256 hash;

	path_hash(path, &hash);
	return *slot_of(r->slots, r->n_slots, &hash);
}

const struct replay_file *replay_file(const struct replay *r, struct path path)
{
	return file_find(r, path);
}

static void slots_double(struct replay *r)
{
	size_t n = r->n_slots * 2;
	struct replay_file **slots = mem_array(n, sizeof(*slots));

	for (size_t i = 0; i < r->n_slots; i++)
		if (r->slots[i])
			*slot_of(slots, n, &r->slots[i]->hash) = r->slots[i];
	free(r->slots);
	r->slots = slots;
	r->n_slots = n;
}

static struct replay_file *file_make(struct replay *r, struct path path)
{
	struct replay_file **slot, *f;
	struct sha256 hash;

	path_hash(path, &hash);
	slot = slot_of(r->slots, r->n_slots, &hash);
	if (*slot)
		return *slot;
	if (2 * ++r->n_files > r->n_slots) {
		slots_double(r);
		slot = slot_of(r->slots, r->n_slots, &hash);
	}
	f = *slot = arena_alloc(r->arena, sizeof(*f));
	f->hash = hash;
	f->path = path_copy(path, r->arena);
	f->actor = "";
	r->is_sorted = false;
	return f;
}

static bool stands(const struct replay_file *f)
{
	return f && (f->approval == APPROVAL_SIGNED || f->approval == APPROVAL_PREAPPROVED);
}

static int by_path(const void *a, const void *b)
{
	return path_compare((*(struct replay_file *const *)a)->path, (*(struct replay_file *const *)b)->path);
}

const struct replay_file *const *replay_files(struct replay *r, size_t *n)
{
	size_t k = 0;

	if (!r->is_sorted) {
		free(r->sorted);
		r->sorted = mem_array(r->n_files + 1, sizeof(struct replay_file *));
		for (size_t i = 0; i < r->n_slots; i++)
			if (r->slots[i])
				r->sorted[k++] = r->slots[i];
		if (k)
			qsort(r->sorted, k, sizeof(*r->sorted), by_path);
		r->is_sorted = true;
	}
	*n = r->n_files;
	return (const struct replay_file *const *)r->sorted;
}

/* The same name again and again: most records are by few people. */
static const char *actor_keep(struct replay *r, const struct record *rec)
{
	return arena_printf(r->arena, SYSTEM_FORM, rec->actor.provider, rec->actor.name);
}

struct change {
	struct path path;
	enum plan_kind kind;
	struct blob_id blob;
	bool exec;
};

static int by_change(const void *a, const void *b)
{
	return path_compare(((const struct change *)a)->path, ((const struct change *)b)->path);
}

/* Approved paths that stood in the way of the new ones. */
static enum err supersede(struct replay *r, const struct log_entry *e, const char *actor, struct change *list, size_t *n)
{
	json_t *paths = json_object_get(e->record.fields, "superseded"), *item;
	size_t i;

	json_array_foreach(paths, i, item) {
		struct path path;
		struct replay_file *f;

		if (!json_is_string(item) || path_check(&path, json_string_value(item)))
			return err_set(ERR_INPUT, "its field superseded is not a list of paths");
		f = file_find(r, path);
		if (!stands(f))
			continue;
		list[(*n)++] = (struct change){ f->path, PLAN_REMOVE, f->blob, f->exec };
		f->approval = APPROVAL_NONE;
		f->seq = e->seq;
		f->at = e->record.at;
		f->actor = actor;
	}
	return ERR_OK;
}

static void take_up(const struct log_entry *e, const struct record_file *f, struct replay_file *to, enum approval approval,
    const char *actor, struct change *list, size_t *n)
{
	bool stood = stands(to);

	if (approval == APPROVAL_REVOKED)
		list[(*n)++] = (struct change){ to->path, PLAN_REMOVE, to->blob, to->exec };
	else if (!stood || !blob_id_equal(&to->blob, &f->blob) || to->exec != f->print.exec)
		list[(*n)++] = (struct change){ to->path, stood ? PLAN_CHANGE : PLAN_ADD, f->blob, f->print.exec };
	to->approval = (uint8_t)approval;
	to->md5 = f->print.md5;
	to->sha256 = f->print.sha256;
	to->size = f->print.size;
	to->exec = f->print.exec;
	to->blob = f->blob;
	to->seq = e->seq;
	to->at = e->record.at;
	to->actor = actor;
}

static enum err add_files(struct replay *r, const struct log_entry *e, enum approval approval)
{
	size_t most = e->record.files_count + json_array_size(json_object_get(e->record.fields, "superseded")), n = 0;
	struct change *list = mem_array(most + 1, sizeof(*list));
	const char *actor = actor_keep(r, &e->record);
	enum err err = supersede(r, e, actor, list, &n);

	for (size_t i = 0; i < e->record.files_count && !err; i++) {
		struct replay_file *f = file_make(r, e->files[i].path);

		if (approval == APPROVAL_NONE) {
			f->review_seq = e->seq;
			f->reviewed = e->files[i].print.sha256;
		} else {
			take_up(e, &e->files[i], f, approval, actor, list, &n);
		}
	}
	if (n)
		qsort(list, n, sizeof(*list), by_change);
	for (size_t i = 0; i < n && !err; i++)
		plan_add(&r->changes, list[i].kind, list[i].path, &list[i].blob, list[i].exec);
	free(list);
	if (approval != APPROVAL_NONE) {
		r->last_approval = e->record.at;
		if (!r->first_pending)
			r->first_pending = e->record.at;
	}
	return err;
}

static enum err add_sign(struct replay *r, const struct log_entry *e)
{
	return add_files(r, e, APPROVAL_SIGNED);
}

static enum err add_pickup(struct replay *r, const struct log_entry *e)
{
	return add_files(r, e, APPROVAL_PREAPPROVED);
}

static enum err add_revoke(struct replay *r, const struct log_entry *e)
{
	return add_files(r, e, APPROVAL_REVOKED);
}

static enum err add_review(struct replay *r, const struct log_entry *e)
{
	return add_files(r, e, APPROVAL_NONE);
}

/* --- fields ---------------------------------------------------------------------------------------------------------- */

/* A text of the record's fields, kept; NULL with the sentence set. */
static const char *field(struct replay *r, const struct log_entry *e, const char *name)
{
	const char *s = json_string_value(json_object_get(e->record.fields, name));

	if (!s)
		(void)err_set(ERR_INPUT, "its field %s is missing", name);
	return s ? arena_dup(r->arena, s) : NULL;
}

static bool removed(const struct log_entry *e)
{
	return json_is_true(json_object_get(e->record.fields, "removed"));
}

static enum err field_path(struct replay *r, const struct log_entry *e, struct path *out)
{
	const char *s = field(r, e, "path");

	if (!s || path_check(out, s))
		return err_set(ERR_INPUT, "its field path is not a path");
	return ERR_OK;
}

/* --- rules ---------------------------------------------------------------------------------------------------------- */

static struct one_rule *rule_find(struct replay *r, const char *principal, struct path path)
{
	for (size_t i = 0; i < r->rules.n; i++)
		if (path_equal(r->rules.p[i].path, path) && strcmp(r->rules.p[i].principal, principal) == 0)
			return &r->rules.p[i];
	return NULL;
}

static struct one_requirement *requirement_find(struct replay *r, struct path path)
{
	for (size_t i = 0; i < r->requirements.n; i++)
		if (path_equal(r->requirements.p[i].path, path))
			return &r->requirements.p[i];
	return NULL;
}

/* The rules and requirements in force after the record: whoever set one that differs from what was, set it now. */
static enum err add_rules_file(struct replay *r, const struct log_entry *e)
{
	struct replay now = { .arena = r->arena };
	struct rules *rules;
	enum err err = rules_decode(&rules, buf_text(&e->rules_text), e->rules_text.len);

	if (err)
		return err_set(ERR_INPUT, "a line of its rules is none");
	for (size_t i = 0; i < rules_count(rules); i++) {
		const struct rule *x = rules_at(rules, i);
		const struct one_rule *was = rule_find(r, x->principal, x->path);

		LIST_ADD(&now.rules, (struct one_rule){ arena_dup(r->arena, x->principal), path_copy(x->path, r->arena), (int)x->role,
			was && was->role == (int)x->role ? was->seq : e->seq });
	}
	for (size_t i = 0; i < rules_requirements(rules); i++) {
		const struct requirement *x = rules_requirement_at(rules, i);
		const struct one_requirement *was = requirement_find(r, x->path);
		const bool same = was && was->reviews == x->reviews && was->not_alone == x->not_alone;

		LIST_ADD(&now.requirements, (struct one_requirement){ path_copy(x->path, r->arena), x->reviews, x->not_alone, same ? was->seq : e->seq });
	}
	rules_unref(rules);
	free(r->rules.p);
	free(r->requirements.p);
	r->rules = now.rules;
	r->requirements = now.requirements;
	return ERR_OK;
}

/* One that is set as it was is set all the same. */
static enum err add_require(struct replay *r, const struct log_entry *e)
{
	const char *path = json_string_value(json_object_get(e->record.fields, "path"));
	struct one_requirement *now;
	struct path p;

	r->rules_version++;
	now = path && path_check(&p, path) == ERR_OK ? requirement_find(r, p) : NULL;
	if (now)
		now->seq = e->seq;
	return ERR_OK;
}

/* A rule that is set as it was is set all the same. */
static enum err add_rule(struct replay *r, const struct log_entry *e)
{
	const char *principal = json_string_value(json_object_get(e->record.fields, "principal"));
	const char *path = json_string_value(json_object_get(e->record.fields, "path"));
	struct one_rule *rule;
	struct path p;

	r->rules_version++;
	if (!principal || !path || path_check(&p, path))
		return ERR_OK;
	rule = rule_find(r, principal, p);
	if (rule)
		rule->seq = e->seq;
	return ERR_OK;
}

/* --- pre-approvals, releases, force --------------------------------------------------------------------------------- */

static enum err add_preapprove(struct replay *r, const struct log_entry *e)
{
	struct preapproved what = { .pattern = "" };
	const char *pattern, *until;
	bool broken = false;
	size_t i = 0;
	enum err err = field_path(r, e, &what.path);

	if (err)
		return err;
	pattern = json_get_str(e->record.fields, "pattern", &broken);
	until = json_get_str(e->record.fields, "until", &broken);
	what.largest = (uint64_t)json_get_int(e->record.fields, "largest", 0, &broken);
	if (broken || (until && clock_parse(&what.until, until)))
		return err_set(ERR_INPUT, "its fields pattern, largest or until are not what an act writes");
	if (pattern)
		what.pattern = arena_dup(r->arena, pattern);
	while (i < r->preapprovals.n && (!path_equal(r->preapprovals.p[i].what.path, what.path) || strcmp(r->preapprovals.p[i].what.pattern, what.pattern) != 0))
		i++;
	if (i < r->preapprovals.n)
		LIST_DROP(&r->preapprovals, i);
	if (!removed(e))
		LIST_ADD(&r->preapprovals, (struct one_preapproval){ what, actor_keep(r, &e->record), arena_dup(r->arena, e->record.note), e->record.at, e->seq });
	return ERR_OK;
}

static enum err add_release(struct replay *r, const struct log_entry *e)
{
	json_int_t number = json_integer_value(json_object_get(e->record.fields, "number"));

	if (number <= 0)
		return err_set(ERR_INPUT, "its field number is missing");
	if ((uint64_t)number > r->release)
		r->release = (uint64_t)number;
	LIST_ADD(&r->releases, (uint64_t)number);
	r->first_pending = 0;
	r->last_start = e->record.at;
	if (r->forced_at) {
		r->forced_at = 0;
		r->forced_by = r->forced_reason = "";
	}
	return ERR_OK;
}

static enum err add_force(struct replay *r, const struct log_entry *e)
{
	r->forced_at = e->record.at;
	r->forced_by = actor_keep(r, &e->record);
	r->forced_reason = arena_dup(r->arena, e->record.note);
	return ERR_OK;
}

static enum err add_nothing(struct replay *r, const struct log_entry *e)
{
	(void)r;
	(void)e;
	return ERR_OK;
}

static enum err add_genesis(struct replay *r, const struct log_entry *e)
{
	const char *key = field(r, e, "key");
	struct node_key *k = NULL;
	enum err err;

	if (!key)
		return ERR_INPUT;
	err = node_key_of_public(&k, key);
	if (!err && strcmp(node_key_id(k), e->record.node) != 0)
		err = err_set(ERR_INPUT, "the key that it names is not its node's");
	node_key_free(k);
	r->created_at = e->record.at;
	return err;
}

/* --- the installation: accounts, groups, memberships ---------------------------------------------------------------- */

static enum err add_account(struct replay *r, const struct log_entry *e)
{
	const char *name = field(r, e, "name"), *display = field(r, e, "display");
	bool enabled = json_is_true(json_object_get(e->record.fields, "enabled"));
	struct one_account now = { name, display, enabled, e->record.at, e->seq };

	if (!name || !display)
		return ERR_INPUT;
	for (size_t i = 0; i < r->accounts.n; i++)
		if (strcmp(r->accounts.p[i].name, name) == 0) {
			now.created_at = r->accounts.p[i].created_at;
			r->accounts.p[i] = now;
			return ERR_OK;
		}
	LIST_ADD(&r->accounts, now);
	return ERR_OK;
}

static void drop_members(struct replay *r, const char *group, const char *principal)
{
	for (size_t i = r->members.n; i-- > 0;)
		if (strcmp(r->members.p[i].group, group) == 0 && (!principal || strcmp(r->members.p[i].principal, principal) == 0))
			LIST_DROP(&r->members, i);
}

static enum err add_group(struct replay *r, const struct log_entry *e)
{
	const char *name = field(r, e, "group");

	if (!name)
		return ERR_INPUT;
	for (size_t i = r->groups.n; i-- > 0;)
		if (strcmp(r->groups.p[i].name, name) == 0)
			LIST_DROP(&r->groups, i);
	if (removed(e))
		drop_members(r, name, NULL);
	else
		LIST_ADD(&r->groups, (struct one_group){ name, e->record.at, e->seq });
	return ERR_OK;
}

static enum err add_membership(struct replay *r, const struct log_entry *e)
{
	const char *group = field(r, e, "group"), *principal = field(r, e, "principal");

	if (!group || !principal)
		return ERR_INPUT;
	drop_members(r, group, principal);
	if (!removed(e))
		LIST_ADD(&r->members, (struct one_member){ group, principal, e->seq });
	return ERR_OK;
}

static enum err add_token(struct replay *r, const struct log_entry *e)
{
	struct one_token t = { .id = field(r, e, "id"), .owner = field(r, e, "owner"), .label = field(r, e, "label"), .path = field(r, e, "path"),
		.created_at = e->record.at, .seq = e->seq };
	const char *role = field(r, e, "role"), *expires = field(r, e, "expires");
	enum role limit;

	if (!t.id || !t.owner || !t.label || !t.path || !role || !role_parse(&limit, role) || !expires || clock_parse(&t.expires_at, expires))
		return err_set(ERR_INPUT, "its fields are not those of a token");
	t.role = (int)limit;
	t.site = json_object_get(e->record.fields, "site") ? field(r, e, "site") : "";
	for (size_t i = r->tokens.n; i-- > 0;)
		if (strcmp(r->tokens.p[i].id, t.id) == 0)
			LIST_DROP(&r->tokens, i);
	if (!json_is_true(json_object_get(e->record.fields, "revoked")))
		LIST_ADD(&r->tokens, t);
	return ERR_OK;
}

static const struct {
	const char *act;
	enum err (*add)(struct replay *r, const struct log_entry *e);
} ACTS[] = {
	{ "sign", add_sign },
	{ "review", add_review },
	{ "revoke", add_revoke },
	{ "pickup", add_pickup },
	{ "rule", add_rule },
	{ "require", add_require },
	{ "preapprove", add_preapprove },
	{ "release", add_release },
	{ "force", add_force },
	{ "genesis", add_genesis },
	{ "account", add_account },
	{ "group", add_group },
	{ "membership", add_membership },
	{ "token", add_token },
	{ "restore", add_nothing },
};

enum err replay_add(struct replay *r, const struct log_entry *e)
{
	enum err err = ERR_OK;

	plan_release(&r->changes);
	plan_init(&r->changes);
	r->seq = e->seq;
	r->digest = e->digest;
	r->commit = e->commit;
	if (e->rules_changed)
		err = add_rules_file(r, e);
	if (err)
		return err;
	for (size_t i = 0; i < sizeof(ACTS) / sizeof(*ACTS); i++)
		if (strcmp(ACTS[i].act, e->record.act) == 0)
			return ACTS[i].add(r, e);
	return err_set(ERR_INPUT, "the act \"%s\" is not known to this version", e->record.act);
}

const struct plan *replay_changes(const struct replay *r)
{
	return &r->changes;
}

uint64_t replay_release_number(const struct replay *r)
{
	return r->release;
}

/* --- rows ----------------------------------------------------------------------------------------------------------- */

static struct db_value num(uint64_t u)
{
	return (struct db_value){ .number = true, .u = u };
}

static struct db_value text(const char *s)
{
	return (struct db_value){ .p = s, .n = strlen(s) };
}

static struct db_value bytes(const void *p, size_t n)
{
	return (struct db_value){ .p = p, .n = n };
}

#define FIXED(x) bytes((x).b, sizeof((x).b))
#define ROW(...) (const struct db_value[]){ __VA_ARGS__ }

struct dirs {
	const struct replay *r;
	const struct log_entry *e;
	row_fn *fn;
	void *arg;
};

static void dir_row(void *arg, const struct sha256 *dir, uint64_t files)
{
	const struct dirs *d = arg;

	d->fn(d->arg, TABLE_record_dir, d->e->seq, ROW(text(d->r->site), text(d->r->node), num(d->e->seq), bytes(dir->b, sizeof(dir->b)), num(files)));
}

static void release_row(const struct replay *r, const struct log_entry *e, row_fn *fn, void *arg)
{
	uint64_t number = (uint64_t)json_integer_value(json_object_get(e->record.fields, "number"));
	uint64_t files = (uint64_t)json_integer_value(json_object_get(e->record.fields, "files"));
	struct blob_id main = { { 0 } };

	/* refs/heads/main has one commit for each release, in their order. */
	for (size_t i = 0; i < r->releases.n && i < r->n_main; i++)
		if (r->releases.p[i] == number)
			main = r->main_commits[i];
	fn(arg, TABLE_release, e->seq, ROW(text(r->site), text(r->node), num(e->seq), num(number), num((uint64_t)e->record.at), FIXED(e->commit), FIXED(main), num(files)));
}

void replay_rows(const struct replay *r, const struct log_entry *e, row_fn *fn, void *arg)
{
	const struct record *rec = &e->record;
	struct value_of { struct sha256 request; } v = { { { 0 } } };
	char *actor = mem_printf(SYSTEM_FORM, rec->actor.provider, rec->actor.name);
	const char *request = json_string_value(json_object_get(rec->fields, RECORD_FIELD_REQUEST));
	struct dirs dirs = { r, e, fn, arg };

	if (request && !hex_parse(v.request.b, sizeof(v.request.b), request))
		v.request = (struct sha256){ { 0 } };
	fn(arg, TABLE_record, e->seq, ROW(text(r->site), text(r->node), num(e->seq), FIXED(rec->op), text(rec->act), num((uint64_t)rec->at), text(actor),
		text(rec->note), num(rec->files_count), FIXED(e->digest), FIXED(e->commit), bytes(buf_text(&e->body), e->body.len)));
	fn(arg, TABLE_act_id, e->seq, ROW(text(r->site), text(r->node), num(e->seq), text(actor), FIXED(rec->op), FIXED(v.request), num((uint64_t)rec->at)));
	for (size_t i = 0; i < rec->files_count; i++) {
		const struct record_file *f = &e->files[i];
		struct path_key key;

		path_key(f->path, &key);
		fn(arg, TABLE_record_file, e->seq, ROW(text(r->site), text(r->node), num(e->seq), num(i), FIXED(key), bytes(f->path.s, f->path.len),
			FIXED(f->print.md5), FIXED(f->print.sha256), num(f->print.size), num(f->print.exec), num((uint64_t)f->mtime), FIXED(f->blob), num(f->replaces)));
	}
	db_record_dirs(e->files, rec->files_count, dir_row, &dirs);
	if (strcmp(rec->act, "release") == 0)
		release_row(r, e, fn, arg);
	free(actor);
}

static void end_rows_of_site(struct replay *r, row_fn *fn, void *arg)
{
	char id[128];

	for (size_t i = 0; i < r->rules.n; i++) {
		const struct one_rule *x = &r->rules.p[i];
		struct sha256 hash;

		path_hash(x->path, &hash);
		fn(arg, TABLE_rule, x->seq, ROW(text(r->site), text(x->principal), FIXED(hash), bytes(x->path.s, x->path.len), num((uint64_t)x->role), num(x->seq)));
	}
	for (size_t i = 0; i < r->requirements.n; i++) {
		const struct one_requirement *x = &r->requirements.p[i];
		struct sha256 hash;

		path_hash(x->path, &hash);
		fn(arg, TABLE_requirement, x->seq, ROW(text(r->site), FIXED(hash), bytes(x->path.s, x->path.len), num(x->reviews), num(x->not_alone), num(x->seq)));
	}
	for (size_t i = 0; i < r->preapprovals.n; i++) {
		const struct one_preapproval *x = &r->preapprovals.p[i];
		struct sha256 hash;

		path_hash(x->what.path, &hash);
		fn(arg, TABLE_preapproval, x->seq, ROW(text(r->site), FIXED(hash), text(x->what.pattern), bytes(x->what.path.s, x->what.path.len),
			num(x->what.largest), num((uint64_t)x->what.until), text(x->actor), num((uint64_t)x->at), text(x->note), num(x->seq)));
	}
	if (r->release) {
		snprintf(id, sizeof(id), "release/%s", r->site);
		fn(arg, TABLE_counter, r->seq, ROW(text(id), num(r->release), num(r->release), num(1), text("")));
	}
	if (r->last_approval || r->last_start || r->forced_at)
		fn(arg, TABLE_schedule, r->seq, ROW(text(r->site), num((uint64_t)r->first_pending), num((uint64_t)r->last_approval), num((uint64_t)r->last_start),
			num((uint64_t)r->forced_at), text(r->forced_by), text(r->forced_reason)));
}

static void end_rows_of_installation(struct replay *r, row_fn *fn, void *arg)
{
	for (size_t i = 0; i < r->accounts.n; i++) {
		const struct one_account *x = &r->accounts.p[i];

		/* No password fits "!": somebody has to set a new one. */
		fn(arg, TABLE_account, x->seq, ROW(text(x->name), text(x->display), num(x->enabled), num((uint64_t)x->created_at), num(x->seq), text("!")));
	}
	for (size_t i = 0; i < r->groups.n; i++)
		fn(arg, TABLE_own_group, r->groups.p[i].seq, ROW(text(r->groups.p[i].name), num((uint64_t)r->groups.p[i].created_at), num(r->groups.p[i].seq)));
	for (size_t i = 0; i < r->members.n; i++)
		fn(arg, TABLE_membership, r->members.p[i].seq, ROW(text(r->members.p[i].group), text(r->members.p[i].principal), num(r->members.p[i].seq)));
	for (size_t i = 0; i < r->tokens.n; i++) {
		const struct one_token *x = &r->tokens.p[i];
		struct sha256 of_nothing;

		random_bytes(&of_nothing, sizeof(of_nothing));
		fn(arg, TABLE_token, x->seq, ROW(text(x->id), text(x->owner), text(x->label), num((uint64_t)x->role), text(x->site), text(x->path),
			num((uint64_t)x->created_at), num((uint64_t)x->expires_at), num(x->seq), FIXED(of_nothing), num(0), text("")));
	}
}

void replay_end(struct replay *r, row_fn *fn, void *arg)
{
	size_t n;
	const struct replay_file *const *files = replay_files(r, &n);

	fn(arg, TABLE_site, r->seq, ROW(text(r->site), text(r->node), num(r->rules_version), num((uint64_t)r->created_at)));
	fn(arg, TABLE_log_head, r->seq, ROW(text(r->site), text(r->node), num(r->seq), FIXED(r->digest), FIXED(r->commit)));
	for (size_t i = 0; i < n; i++) {
		const struct replay_file *f = files[i];
		struct path_key key;

		path_key(f->path, &key);
		fn(arg, TABLE_file_state, f->seq, ROW(text(r->site), FIXED(key), bytes(f->path.s, f->path.len), num(f->approval), FIXED(f->md5), FIXED(f->sha256),
			num(f->size), num(f->exec), FIXED(f->blob), text(r->node), num(f->seq), num((uint64_t)f->at), text(f->actor), num(f->review_seq), FIXED(f->reviewed)));
	}
	if (strcmp(r->site, INSTALLATION) == 0)
		end_rows_of_installation(r, fn, arg);
	else
		end_rows_of_site(r, fn, arg);
}
