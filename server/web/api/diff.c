/* The difference between the approved and the staged version, and the bytes of any version. */
#include <stdlib.h>
#include <string.h>

#include "web/api/api.h"
#include "web/compare.h"
#include "web/history.h"
#include "web/spool.h"

static const char *const LINE_KINDS[] = { "context", "added", "removed", "hunk", "no-newline" };

static enum err diff_line(void *arg, const struct diff_line *line)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kstr(o, "kind", LINE_KINDS[line->kind]);
	if (line->old_no)
		json_out_kint(o, "old", line->old_no);
	if (line->new_no)
		json_out_kint(o, "new", line->new_no);
	json_out_name(o, "text");
	json_out_strn(o, line->text, line->len);
	json_out_end(o, '}');
	return ERR_OK;
}

static enum err digest_answer(struct req *r, struct json_out *o)
{
	struct catalog_view view = req_view(r);
	struct selection s;
	enum err e = catalog_select(r->site->catalog, "sign", &r->path, 1, false, &view, ROLE_VIEW, &s);

	if (e == ERR_INPUT || e == ERR_STALE)
		return ERR_OK; /* nothing to sign */
	if (e)
		return e;
	json_out_name(o, "selection");
	json_out_begin(o, '{');
	json_out_kstr(o, "act", "sign");
	answer_hash(o, "digest", &s.digest);
	json_out_end(o, '}');
	selection_release(&s);
	return ERR_OK;
}

/* GET /api/v1/sites/:site/diff?path=&context= */
enum err api_diff(struct req *r)
{
	struct comparison c;
	uint64_t context;
	bool binary = false;
	struct answer a;
	enum err e;

	e = req_number(r, "context", 0, 1000, 3, &context);
	if (!e)
		e = compare_load(r, r->path, &c);
	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	json_out_name(&a.out, "file");
	answer_file(r, &a.out, &c.entry);
	json_out_name(&a.out, "items");
	json_out_begin(&a.out, '[');
	if (!c.too_big)
		e = repo_diff(buf_text(&c.approved_bytes), c.approved_bytes.len, buf_text(&c.staged_bytes), c.staged_bytes.len,
		    (unsigned)context, diff_line, &a.out, &binary);
	json_out_end(&a.out, ']');
	json_out_kbool(&a.out, "binary", binary);
	json_out_kbool(&a.out, "too_big", c.too_big);
	compare_release(&c);
	if (!e)
		e = digest_answer(r, &a.out);
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}

static enum err send_blob(struct req *r, const struct blob_id *blob)
{
	struct repo *repo;
	uint64_t size;
	int fd;
	enum err e = tools_repo(r->tools, r->site, &repo);

	if (!e)
		e = spool_blob(repo, blob, UINT64_MAX, NULL, &fd, &size);
	return e ? reply_error(r, e, NULL) : reply_fd(r, "application/octet-stream", fd, size, path_name(r->path));
}

static enum err send_staged(struct req *r)
{
	struct fingerprint print;
	enum problem problem = PROBLEM_NONE;
	char why[PROBLEM_SENTENCE];
	int fd;
	enum err e = spool_staged(catalog_door(r->site->catalog), r->path, UINT64_MAX, &fd, &print, &problem);

	if (e == ERR_INPUT && problem != PROBLEM_NONE)
		e = err_set(ERR_INPUT, "%s: %s.", r->path.s, problem_sentence(problem, r->site->conf->largest_file, why));
	return e ? reply_error(r, e, NULL) : reply_fd(r, "application/octet-stream", fd, print.size, path_name(r->path));
}

struct find_file {
	struct path path;
	struct blob_id blob;
	bool found;
};

static bool find_file(void *arg, const struct record_file *f)
{
	struct find_file *w = arg;

	w->found = path_equal(w->path, f->path);
	w->blob = f->blob;
	return !w->found;
}

/* The version that a record names for this path. */
static enum err send_recorded(struct req *r, const char *version)
{
	struct find_file want = { .path = r->path };
	struct history_item item;
	char *end;
	const uint64_t seq = strtoull(version, &end, 10);
	const char *next = NULL;
	enum err e;

	if (*version < '1' || *version > '9' || *end)
		return reply_error(r, err_set(ERR_INPUT, "The version is staged, approved, or the number of a record."), NULL);
	e = history_get(r, seq, &item);
	if (!e)
		json_decref(item.record.fields);
	do {
		if (!e)
			e = history_files(r, seq, next, 1000, find_file, &want, &next);
	} while (!e && !want.found && next);
	if (!e && !want.found)
		e = err_set(ERR_NOT_FOUND, "Record %s does not name %s.", version, r->path.s);
	return e ? reply_error(r, e, NULL) : send_blob(r, &want.blob);
}

/* GET /api/v1/sites/:site/content?path=&version=staged|approved|SEQ : always a download, never shown as a page */
enum err api_content(struct req *r)
{
	const char *version = req_query(r, "version");
	struct catalog_entry entry;
	enum err e;

	if (version && strcmp(version, "staged") != 0 && strcmp(version, "approved") != 0)
		return send_recorded(r, version);
	e = catalog_get(r->site->catalog, r->path, &entry, r->arena);
	if (!e && entry.is_dir)
		e = err_set(ERR_INPUT, "%s is a directory.", r->path.s);
	if (e)
		return reply_error(r, e, NULL);
	if (version && strcmp(version, "approved") == 0) {
		if (!entry.has_approved || (entry.approved.approval != APPROVAL_SIGNED && entry.approved.approval != APPROVAL_PREAPPROVED))
			return reply_error(r, err_set(ERR_NOT_FOUND, "%s has no approved version.", r->path.s), NULL);
		return send_blob(r, &entry.approved.blob);
	}
	return send_staged(r);
}
