/*
 * What records add up to. Each act of server/acts/ has a row in ACTS here; a record of an act that has none cannot be
 * taken up, so that a new kind of record is never forgotten silently. The rows of it: replay_rows.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "check/replay.h"
#include "core/head.h"

struct replay *replay_new(const char *site, const struct node_key *key)
{
	struct replay *r = mem_alloc(sizeof(*r));

	r->arena = arena_new();
	r->site = site;
	r->node = node_key_id(key);
	r->n_slots = 1024;
	r->slots = mem_array(r->n_slots, sizeof(struct replay_file *));
	r->forced.by = r->forced.reason = r->down.by = r->down.reason = "";
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
	free(r->fields.p);
	free(r->field_versions.p);
	free(r->preapprovals.p);
	free(r->holds.p);
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

/* The definitions that a person was asked by: each was set by a record before this one. Of another node's nothing is known here. */
static enum err asked_check(const struct replay *r, const struct log_entry *e)
{
	const json_t *list = json_object_get(e->record.fields, RECORD_FIELD_ASKED);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		struct field_ref ref;
		bool known = false;

		if (!text || !field_ref_parse(&ref, text, r->arena))
			return err_set(ERR_INPUT, "its field " RECORD_FIELD_ASKED " does not name versions of fields");
		for (size_t k = 0; k < r->field_versions.n && !known; k++)
			known = r->field_versions.p[k].seq == ref.version && strcmp(r->field_versions.p[k].name, ref.name) == 0 &&
			        strcmp(r->field_versions.p[k].path.s, ref.path) == 0;
		if (!known && !*ref.node)
			return err_set(ERR_INPUT, "it was asked for the field \"%s\" on %s as record %llu set it, and that record did not", ref.name, ref.path,
			    (unsigned long long)ref.version);
	}
	return ERR_OK;
}

static enum err add_files(struct replay *r, const struct log_entry *e, enum approval approval)
{
	size_t most = e->record.files_count + json_array_size(json_object_get(e->record.fields, "superseded")), n = 0;
	struct change *list = mem_array(most + 1, sizeof(*list));
	const char *actor = actor_keep(r, &e->record);
	enum err err = asked_check(r, e);

	if (!err)
		err = supersede(r, e, actor, list, &n);
	for (size_t i = 0; i < e->record.files_count && !err; i++) {
		struct replay_file *f = file_make(r, e->files[i].path);

		if (approval == APPROVAL_NONE) {
			f->review_seq = e->seq;
			f->reviewed = e->files[i].print.sha256;
		} else {
			struct record_file now = e->files[i];
			/* A file that an act which approves others took away. */
			const bool gone = approval == APPROVAL_SIGNED && blob_id_zero(&now.blob);

			if (gone)
				now.blob = f->blob;
			take_up(e, &now, f, gone ? APPROVAL_REVOKED : approval, actor, list, &n);
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
	if (json_is_true(json_object_get(e->record.fields, "take_down")))
		r->down = (struct db_force){ .at = e->record.at, .by = actor_keep(r, &e->record), .reason = arena_dup(r->arena, e->record.note) };
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
	/* They say themselves which record set them. */
	for (size_t i = 0; i < rules_fields(rules); i++) {
		struct field_def own = *rules_field_at(rules, i);
		const char **choices = arena_alloc(r->arena, (own.n_choices + 1) * sizeof(*choices));

		for (size_t k = 0; k < own.n_choices; k++)
			choices[k] = arena_dup(r->arena, own.choices[k]);
		own = (struct field_def){ path_copy(own.path, r->arena), arena_dup(r->arena, own.name), arena_dup(r->arena, own.label), own.type, choices,
			own.n_choices, own.acts, own.required, own.place, own.version, arena_dup(r->arena, own.node) };
		LIST_ADD(&now.fields, own);
	}
	rules_unref(rules);
	free(r->fields.p);
	r->fields = now.fields;
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

/* The rules of the record have the field that it set, with its number; or have it no more. */
static enum err add_field(struct replay *r, const struct log_entry *e)
{
	const char *name = field(r, e, "name");
	const struct field_def *now = NULL;
	struct path path;
	enum err err = field_path(r, e, &path);

	r->rules_version++;
	if (err || !name)
		return ERR_INPUT;
	for (size_t i = 0; i < r->fields.n && !now; i++)
		if (path_equal(r->fields.p[i].path, path) && strcmp(r->fields.p[i].name, name) == 0)
			now = &r->fields.p[i];
	if (removed(e) ? now != NULL : !now || now->version != e->seq)
		return err_set(ERR_INPUT, "its rules do not say of the field \"%s\" on %s what it set", name, path.s);
	if (now)
		LIST_ADD(&r->field_versions, (struct one_version){ now->name, now->path, e->seq });
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
	/* What was approved while it was cut is in the next one; when the first of it was is not worth remembering each. */
	r->first_pending = json_object_get(e->record.fields, RELEASE_AS_OF) ? r->last_approval : 0;
	r->last_start = e->record.at;
	r->down = (struct db_force){ .by = "", .reason = "" };
	r->forced = (struct db_force){ .by = "", .reason = "" };
	return ERR_OK;
}

static enum err add_force(struct replay *r, const struct log_entry *e)
{
	r->forced = (struct db_force){ .at = e->record.at, .by = actor_keep(r, &e->record), .reason = arena_dup(r->arena, e->record.note) };
	return ERR_OK;
}

static enum err add_hold(struct replay *r, const struct log_entry *e)
{
	struct one_hold h = { .at = e->record.at, .seq = e->seq };
	const char *until;
	bool broken = false;
	size_t i = 0;
	enum err err = field_path(r, e, &h.path);

	if (err)
		return err;
	until = json_get_str(e->record.fields, "until", &broken);
	if (broken || (!until && !removed(e)) || (until && clock_parse(&h.until, until)))
		return err_set(ERR_INPUT, "its field until is not what an act writes");
	while (i < r->holds.n && !path_equal(r->holds.p[i].path, h.path))
		i++;
	if (i < r->holds.n)
		LIST_DROP(&r->holds, i);
	if (removed(e)) {
		r->last_approval = e->record.at;
		if (!r->first_pending)
			r->first_pending = e->record.at;
		return ERR_OK;
	}
	h.path = path_copy(h.path, r->arena);
	h.actor = actor_keep(r, &e->record);
	h.note = arena_dup(r->arena, e->record.note);
	LIST_ADD(&r->holds, h);
	return ERR_OK;
}

static enum err add_confirm_removal(struct replay *r, const struct log_entry *e)
{
	const char *list = field(r, e, "list");

	if (!list || !hex_parse(r->removal.b, sizeof(r->removal.b), list))
		return err_set(ERR_INPUT, "its field list is not a digest");
	return add_force(r, e);
}

static enum err add_catch_up(struct replay *r, const struct log_entry *e)
{
	const char *head = field(r, e, "held-head");
	bool broken = false;
	const int64_t number = json_get_int(e->record.fields, "held-number", 0, &broken), term = json_get_int(e->record.fields, "held-term", 0, &broken);
	struct sha256 digest;

	if (broken || number <= 0 || term <= 0 || !head || !hex_parse(digest.b, sizeof(digest.b), head))
		return err_set(ERR_INPUT, "its fields are not those of a receipt");
	if ((uint64_t)number > r->release)
		r->release = (uint64_t)number;
	return add_force(r, e);
}

static enum err add_reapprove(struct replay *r, const struct log_entry *e)
{
	return add_files(r, e, APPROVAL_SIGNED);
}

/* A release and what it takes the approved tree back to, in one. */
static enum err add_rollback(struct replay *r, const struct log_entry *e)
{
	const int64_t last = r->last_approval;
	enum err err = add_files(r, e, APPROVAL_SIGNED);

	r->last_approval = last;
	if (!err)
		err = add_release(r, e);
	if (!err)
		err = add_force(r, e);
	r->forced.release = r->release;
	return err;
}

static enum err add_nothing(struct replay *r, const struct log_entry *e)
{
	(void)r;
	(void)e;
	return ERR_OK;
}

static enum err add_genesis(struct replay *r, const struct log_entry *e)
{
	struct keychain *keys = mem_alloc(sizeof(*keys));
	enum err err = keychain_take(keys, &e->record) ? ERR_INPUT : ERR_OK;

	free(keys);
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
	{ "field", add_field },
	{ "preapprove", add_preapprove },
	{ "release", add_release },
	{ "force", add_force },
	{ "rollback", add_rollback },
	{ "reapprove", add_reapprove },
	{ "hold", add_hold },
	{ "confirm-removal", add_confirm_removal },
	{ "catch-up", add_catch_up },
	{ "genesis", add_genesis },
	{ "account", add_account },
	{ "group", add_group },
	{ "membership", add_membership },
	{ "token", add_token },
	{ "restore", add_nothing },
	{ "key", add_nothing },
	{ "turn", add_nothing },
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
