#include "web/api/api.h"

#include <string.h>

#include "base/clock.h"
#include "web/history.h"

void answer_begin(struct answer *a)
{
	a->buf = BUF_INIT(API_ANSWER_LIMIT);
	a->out = (struct json_out){ .b = &a->buf };
	json_out_begin(&a->out, '{');
}

enum err answer_send(struct req *r, struct answer *a, unsigned status)
{
	json_out_end(&a->out, '}');
	buf_char(&a->buf, '\n');
	if (buf_check(&a->buf)) {
		buf_release(&a->buf);
		return reply_error(r, err_set(ERR_TOO_BIG, "The answer is larger than %d MiB: ask for a smaller page with limit.",
		    API_ANSWER_LIMIT >> 20), NULL);
	}
	return reply_json(r, status, &a->buf);
}

void answer_items(struct answer *a)
{
	answer_begin(a);
	json_out_name(&a->out, "items");
	json_out_begin(&a->out, '[');
}

enum err answer_items_send(struct req *r, struct answer *a, enum err e)
{
	return answer_page_send(r, a, 0, e);
}

enum err answer_page_send(struct req *r, struct answer *a, uint64_t next, enum err e)
{
	json_out_end(&a->out, ']');
	if (next)
		json_out_kint(&a->out, "next", (int64_t)next);
	if (!e)
		return answer_send(r, a, 200);
	buf_release(&a->buf);
	return reply_error(r, e, NULL);
}

void answer_time(struct json_out *o, const char *name, int64_t wall)
{
	char text[CLOCK_TEXT_SIZE];

	if (wall)
		clock_text(wall, text);
	json_out_kstr(o, name, wall ? text : NULL);
}

void answer_hash(struct json_out *o, const char *name, const struct sha256 *h)
{
	char hex[SHA256_HEX];

	hex_of(hex, h->b, sizeof h->b);
	json_out_kstr(o, name, hex);
}

static void answer_md5(struct json_out *o, const struct md5 *h)
{
	char hex[MD5_HEX];

	hex_of(hex, h->b, sizeof h->b);
	json_out_kstr(o, "md5", hex);
}

void answer_counts(struct json_out *o, const struct catalog_counts *c)
{
	json_out_name(o, "counts");
	json_out_begin(o, '{');
	for (int s = 0; s < STATE_COUNT; s++)
		json_out_kint(o, state_name((enum file_state)s), (int64_t)c->n[s]);
	json_out_end(o, '}');
}

static void answer_approved(struct json_out *o, const struct catalog_entry *e)
{
	const struct approved *a = &e->approved;

	json_out_name(o, "approved");
	json_out_begin(o, '{');
	json_out_kint(o, "seq", (int64_t)a->seq);
	answer_time(o, "at", a->at);
	json_out_kstr(o, "user", a->by);
	answer_md5(o, &a->print.md5);
	answer_hash(o, "sha256", &a->print.sha256);
	json_out_kint(o, "size", (int64_t)a->print.size);
	json_out_kbool(o, "exec", a->print.exec);
	json_out_end(o, '}');
}

void answer_file(struct req *r, struct json_out *o, const struct catalog_entry *e)
{
	char why[PROBLEM_SENTENCE];

	json_out_begin(o, '{');
	json_out_kstr(o, "path", e->path.s);
	json_out_kstr(o, "type", e->is_dir ? "directory" : "file");
	if (e->is_dir) {
		answer_counts(o, &e->counts);
		json_out_end(o, '}');
		return;
	}
	json_out_kstr(o, "state", state_name(e->state));
	if (e->staged) {
		json_out_kint(o, "size", (int64_t)e->print.size);
		answer_md5(o, &e->print.md5);
		answer_hash(o, "sha256", &e->print.sha256);
		json_out_kbool(o, "exec", e->print.exec);
		answer_time(o, "mtime", e->st.mtime_ns / 1000);
	} else {
		json_out_kstr(o, "size", NULL);
		json_out_kstr(o, "md5", NULL);
		json_out_kstr(o, "sha256", NULL);
	}
	if (e->has_approved && e->approved.approval != APPROVAL_NONE && e->approved.approval != APPROVAL_REVOKED)
		answer_hash(o, "approved_sha256", &e->approved.print.sha256);
	else
		json_out_kstr(o, "approved_sha256", NULL);
	json_out_kstr(o, "reason", e->problem == PROBLEM_NONE ? NULL : problem_sentence(e->problem, r->site->conf->largest_file, why));
	json_out_kstr(o, "problem", e->problem == PROBLEM_NONE ? NULL : problem_name(e->problem));
	if (e->has_approved) {
		if (e->approved.approval != APPROVAL_NONE)
			answer_approved(o, e);
		if (e->approved.review_seq) {
			json_out_kint(o, "review_seq", (int64_t)e->approved.review_seq);
			answer_hash(o, "reviewed_sha256", &e->approved.reviewed);
		}
	}
	json_out_end(o, '}');
}

void answer_act(struct json_out *o, const struct act_answer *a)
{
	char op[UUID_TEXT];

	uuid_text(&a->op, op);
	json_out_kint(o, "seq", (int64_t)a->seq);
	json_out_kstr(o, "id", op);
	answer_time(o, "at", a->at);
	json_out_kint(o, "files", (int64_t)a->files);
	json_out_kbool(o, "repeated", a->repeated);
	json_out_kstr(o, "pending", *a->pending ? a->pending : NULL);
}

enum err answer_act_send(struct req *r, enum err e, const struct act_answer *done, unsigned status)
{
	struct answer a;

	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	answer_act(&a.out, done);
	return answer_send(r, &a, status);
}

void answer_record(struct json_out *o, const struct db_record_row *row, const struct record *rec)
{
	char op[UUID_TEXT], commit[2 * BLOB_ID_SIZE + 1];
	struct buf fields = BUF_INIT(1 << 20);

	uuid_text(&row->op, op);
	hex_of(commit, row->commit.b, sizeof row->commit.b);
	json_out_kint(o, "seq", (int64_t)row->seq);
	json_out_kstr(o, "node", row->node);
	json_out_kstr(o, "op", op);
	json_out_kstr(o, "act", row->act);
	json_out_kstr(o, "user", row->actor);
	answer_time(o, "at", row->at);
	json_out_kstr(o, "note", row->note);
	json_out_name(o, "fields");
	if (json_canonical(&fields, rec->fields) == ERR_OK && buf_check(&fields) == ERR_OK)
		buf_add(o->b, fields.p, fields.len);
	else
		buf_str(o->b, "{}");
	o->comma = true;
	buf_release(&fields);
	json_out_name(o, "rule");
	if (rec->rule.principal) {
		json_out_begin(o, '{');
		json_out_kstr(o, "principal", rec->rule.principal);
		json_out_kstr(o, "path", rec->rule.path.s);
		json_out_kstr(o, "role", role_name(rec->rule.role));
		json_out_end(o, '}');
	} else {
		json_out_null(o);
	}
	json_out_kstr(o, "meaning", *rec->meaning ? rec->meaning : NULL);
	json_out_kstr(o, "shown", rec->shown);
	answer_hash(o, "record_sha256", &row->sha256);
	json_out_kstr(o, "commit", commit);
}

void answer_record_file(struct json_out *o, const struct record_file *f)
{
	json_out_begin(o, '{');
	json_out_kstr(o, "path", f->path.s);
	answer_md5(o, &f->print.md5);
	answer_hash(o, "sha256", &f->print.sha256);
	json_out_kint(o, "size", (int64_t)f->print.size);
	json_out_kbool(o, "exec", f->print.exec);
	json_out_kint(o, "replaces", (int64_t)f->replaces);
	json_out_end(o, '}');
}

void answer_selection(struct json_out *o, const struct selection *s, bool items)
{
	answer_hash(o, "digest", &s->digest);
	json_out_kint(o, "files", (int64_t)s->n);
	json_out_kint(o, "bytes", (int64_t)s->bytes);
	if (!items)
		return;
	json_out_name(o, "items");
	json_out_begin(o, '[');
	for (size_t i = 0; i < s->n; i++) {
		json_out_begin(o, '{');
		json_out_kstr(o, "path", s->items[i].path.s);
		json_out_kstr(o, "state", state_name(s->items[i].state));
		json_out_kint(o, "size", (int64_t)s->items[i].print.size);
		answer_hash(o, "sha256", &s->items[i].print.sha256);
		json_out_kbool(o, "exec", s->items[i].print.exec);
		json_out_end(o, '}');
	}
	json_out_end(o, ']');
}

static enum err history_item(void *arg, const struct history_item *item)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	answer_record(o, item->row, &item->record);
	json_out_name(o, "files");
	json_out_begin(o, '[');
	for (size_t i = 0; i < item->n_files; i++)
		answer_record_file(o, &item->files[i]);
	json_out_end(o, ']');
	json_out_kbool(o, "more_files", item->more_files);
	if (item->whole)
		json_out_kint(o, "files_count", (int64_t)item->row->files_count);
	json_out_end(o, '}');
	return ERR_OK;
}

enum err answer_history(struct req *r, struct answer *a, const struct history_query *q)
{
	uint64_t next;
	enum err e;

	answer_begin(a);
	json_out_kstr(&a->out, "site", r->site->name);
	json_out_name(&a->out, "items");
	json_out_begin(&a->out, '[');
	e = history_list(r, q, history_item, &a->out, &next);
	json_out_end(&a->out, ']');
	if (e)
		buf_release(&a->buf);
	else if (next)
		json_out_kint(&a->out, "next", (int64_t)next);
	return e;
}

void answer_plan(struct req *r, struct json_out *o, const struct plan *plan)
{
	json_out_name(o, "items");
	json_out_begin(o, '[');
	for (size_t i = 0; i < plan->n; i++) {
		if (req_role_on(r, plan->items[i].path) < ROLE_VIEW)
			continue;
		json_out_begin(o, '{');
		json_out_kstr(o, "change", plan_kind_name(plan->items[i].kind));
		json_out_kstr(o, "path", plan->items[i].path.s);
		json_out_end(o, '}');
	}
	json_out_end(o, ']');
}

enum err api_text(struct req *r, const char *member, bool required, const char **out)
{
	bool bad = false;

	*out = r->body ? json_get_str(r->body, member, &bad) : NULL;
	if (bad)
		return err_set(ERR_INPUT, "\"%s\" must be a string.", member);
	if (required && !*out)
		return err_set(ERR_INPUT, "\"%s\" is missing.", member);
	return ERR_OK;
}

enum err api_bool(struct req *r, const char *member, bool fallback, bool *out)
{
	bool bad = false;

	*out = r->body ? json_get_bool(r->body, member, fallback, &bad) : fallback;
	return bad ? err_set(ERR_INPUT, "\"%s\" must be true or false.", member) : ERR_OK;
}

enum err api_path(struct req *r, const char *member, struct path *out)
{
	const char *text;
	enum err e = api_text(r, member, true, &text);

	return e ? e : path_check(out, text);
}

enum err api_paths(struct req *r, struct path **paths, size_t *n)
{
	bool bad = false;
	json_t *list = r->body ? json_get_list(r->body, "paths", &bad) : NULL;

	if (bad || !list || json_array_size(list) == 0)
		return err_set(ERR_INPUT, "\"paths\" must be a list with at least one path.");
	*n = json_array_size(list);
	if (*n > RECORD_FILES_LIMIT)
		return err_set(ERR_TOO_BIG, "At most %d paths at once.", RECORD_FILES_LIMIT);
	*paths = arena_alloc(r->arena, *n * sizeof **paths);
	for (size_t i = 0; i < *n; i++) {
		const json_t *v = json_array_get(list, i);
		enum err e;

		if (!json_is_string(v))
			return err_set(ERR_INPUT, "\"paths\" must hold strings.");
		e = path_parse(&(*paths)[i], json_string_value(v), json_string_length(v), r->arena);
		if (!e)
			e = api_visible(r, (*paths)[i]);
		if (e)
			return e;
	}
	return ERR_OK;
}

enum err api_act_request(struct req *r, struct act_request *rq)
{
	const char *id, *note;
	enum err e;

	if (!r->body || !json_is_object(r->body))
		return err_set(ERR_INPUT, "The body must be a JSON object (Content-Type: application/json).");
	e = api_text(r, "id", false, &id);
	if (!e)
		e = api_text(r, "note", false, &note);
	if (e)
		return e;
	*rq = (struct act_request){ .actor = r->person, .note = note ? note : "", .address = r->address };
	rq->op_is_new = !id;
	if (!id)
		uuid_new(&rq->op);
	else if (!uuid_parse(&rq->op, id))
		return err_set(ERR_INPUT, "\"id\" must be a UUID in lower case, such as 0b2a7c1e-53aa-4b43-9a4f-0d8a4c5e6f70.");
	return ERR_OK;
}

enum err api_visible(struct req *r, struct path path)
{
	if (req_role_on(r, path) >= ROLE_VIEW || role_sees_below(r->rules, &r->person->who, path))
		return ERR_OK;
	return err_set(ERR_NOT_FOUND, "There is nothing at %s.", path.s);
}
