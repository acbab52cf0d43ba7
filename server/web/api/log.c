/* History: records of a path, a person, an act; one record with its files. */
#include <string.h>

#include "base/clock.h"
#include "web/api/api.h"
#include "web/asked.h"
#include "web/history.h"

static enum err time_query(struct req *r, const char *name, int64_t *out)
{
	const char *text = req_query(r, name);
	enum err e;

	*out = 0;
	if (!text)
		return ERR_OK;
	e = clock_parse_loose(out, text);
	return e ? err_prefix(e, "%s", name) : ERR_OK;
}

/* A name may be a file's now and have been a directory's, or the other way round: below=0 or 1 says which life is meant. */
static enum err life_query(struct req *r, struct history_query *q)
{
	const char *below = req_query(r, "below");
	struct catalog_entry entry;

	if (below && strcmp(below, "0") != 0 && strcmp(below, "1") != 0)
		return err_set(ERR_INPUT, "below is 0 or 1.");
	if (below)
		q->is_dir = *below == '1';
	else if (!q->whole_site && catalog_get(r->site->catalog, r->path, &entry, r->arena) == ERR_OK)
		q->is_dir = entry.is_dir;
	return ERR_OK;
}

/* GET /api/v1/sites/:site/log?path=&below=&user=&act=&since=&until=&before=&limit= */
enum err api_log(struct req *r)
{
	struct history_query q = { .path = r->path, .whole_site = !r->has_path || path_is_root(r->path), .act = req_query(r, "act") };
	const char *user = req_query(r, "user");
	char principal[PRINCIPAL_LIMIT + 1];
	uint64_t limit;
	struct answer a;
	enum err e;

	e = api_visible(r, r->path);
	if (!e)
		e = life_query(r, &q);
	if (!e && user) {
		/* somebody who is no longer there still has his history: then the principal must be written out */
		e = strchr(user, ':') ? ERR_NOT_FOUND : auth_principal(web_auth(r->web), tools_db(r->tools), user, principal);
		q.actor = e ? user : principal;
		e = e == ERR_NOT_FOUND ? ERR_OK : e;
	}
	if (!e)
		e = time_query(r, "since", &q.since);
	if (!e)
		e = time_query(r, "until", &q.until);
	if (!e)
		e = req_number(r, "before", 1, INT64_MAX, 0, &q.before);
	if (!e)
		e = req_number(r, "limit", 1, 500, 50, &limit);
	if (e)
		return reply_error(r, e, NULL);
	q.limit = (unsigned)limit;
	e = answer_history(r, &a, &q);
	return e ? reply_error(r, e, NULL) : answer_send(r, &a, 200);
}

static void asked_item(void *arg, const struct asked_then *f)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kstr(o, "name", f->name);
	json_out_kstr(o, "path", f->path);
	json_out_kint(o, "version", (int64_t)f->version);
	json_out_kstr(o, "label", f->label);
	json_out_kstr(o, "type", f->label ? field_type_name(f->type) : NULL);
	json_out_name(o, "value");
	if (json_is_boolean(f->value))
		json_out_bool(o, json_is_true(f->value));
	else
		json_out_str(o, json_string_value(f->value));
	json_out_end(o, '}');
}

static bool record_file(void *arg, const struct record_file *f)
{
	answer_record_file(arg, f);
	return true;
}

/* GET /api/v1/sites/:site/records/:seq?after=&limit= : a record and a page of its files */
enum err api_record(struct req *r)
{
	struct history_item item;
	const char *after = req_query(r, "after"), *next = NULL;
	uint64_t seq, limit;
	struct answer a;
	enum err e;

	e = req_segment_number(r, "seq", &seq);
	if (!e)
		e = req_number(r, "limit", 1, API_PAGE_MOST, API_PAGE, &limit);
	if (!e)
		e = history_get(r, seq, &item);
	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	answer_record(&a.out, item.row, &item.record);
	json_out_kstr(&a.out, "signed_with", history_signer(r, item.row));
	if (item.whole)
		json_out_kint(&a.out, "files_count", (int64_t)item.row->files_count);
	json_out_name(&a.out, "asked");
	json_out_begin(&a.out, '[');
	e = asked_then(r, &item, asked_item, &a.out);
	json_out_end(&a.out, ']');
	json_out_name(&a.out, "files");
	json_out_begin(&a.out, '[');
	if (!e)
		e = history_files(r, seq, after, (unsigned)limit, record_file, &a.out, &next);
	json_out_end(&a.out, ']');
	if (next)
		json_out_kstr(&a.out, "next", next);
	json_decref(item.record.fields);
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}
