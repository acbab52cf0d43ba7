/* The rows that records wrote, and the rows of what they add up to: the same that the acts made. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "check/replay.h"
#include "core/head.h"

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
	const json_t *as_of = json_object_get(e->record.fields, RELEASE_AS_OF);
	struct blob_id main = { { 0 } };

	/* refs/heads/main has one commit for each release, in their order. */
	for (size_t i = 0; i < r->releases.n && i < r->n_main; i++)
		if (r->releases.p[i] == number)
			main = r->main_commits[i];
	fn(arg, TABLE_release, e->seq, ROW(text(r->site), text(r->node), num(e->seq), num(number), num((uint64_t)e->record.at), FIXED(e->commit), FIXED(main), num(files),
	    num(as_of ? (uint64_t)json_integer_value(as_of) : e->seq)));
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
	if (record_cuts_release(rec->act))
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
	for (size_t i = 0; i < r->fields.n; i++) {
		const struct field_def *x = &r->fields.p[i];
		struct buf choices = BUF_INIT(FIELD_CHOICES_BYTES);
		struct sha256 hash;

		path_hash(x->path, &hash);
		field_choices_text(x, &choices);
		fn(arg, TABLE_field, x->version, ROW(text(r->site), FIXED(hash), text(x->name), bytes(x->path.s, x->path.len), text(x->label),
			text(field_type_name(x->type)), bytes(buf_text(&choices), choices.len), num(x->acts), num(x->required), num(x->place), num(x->version),
			text(x->node)));
		buf_release(&choices);
	}
	for (size_t i = 0; i < r->preapprovals.n; i++) {
		const struct one_preapproval *x = &r->preapprovals.p[i];
		struct sha256 hash;

		path_hash(x->what.path, &hash);
		fn(arg, TABLE_preapproval, x->seq, ROW(text(r->site), FIXED(hash), text(x->what.pattern), bytes(x->what.path.s, x->what.path.len),
			num(x->what.largest), num((uint64_t)x->what.until), text(x->actor), num((uint64_t)x->at), text(x->note), num(x->seq)));
	}
	for (size_t i = 0; i < r->holds.n; i++) {
		const struct one_hold *x = &r->holds.p[i];
		struct sha256 hash;

		path_hash(x->path, &hash);
		fn(arg, TABLE_hold, x->seq, ROW(text(r->site), FIXED(hash), bytes(x->path.s, x->path.len), text(x->actor), num((uint64_t)x->at),
			num((uint64_t)x->until), text(x->note), num(x->seq)));
	}
	if (r->release) {
		snprintf(id, sizeof(id), "release/%s", r->site);
		fn(arg, TABLE_counter, r->seq, ROW(text(id), num(r->release), num(r->release), num(1), text("")));
	}
	if (r->last_approval || r->last_start || r->forced.at)
		fn(arg, TABLE_schedule, r->seq, ROW(text(r->site), num((uint64_t)r->first_pending), num((uint64_t)r->last_approval), num((uint64_t)r->last_start),
			num((uint64_t)r->forced.at), text(r->forced.by), text(r->forced.reason), num(r->forced.release), FIXED(r->forced.plan),
			num((uint64_t)r->down.at), text(r->down.by), text(r->down.reason), FIXED(r->removal)));
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
