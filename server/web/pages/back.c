/* Before going back to an old release, or to an earlier version of a file or a directory: what would change; and the act. */
#include <string.h>

#include "base/clock.h"
#include "view/show.h"
#include "web/compare.h"
#include "web/pages/marked.h"
#include "web/pages/pages.h"
#include "web/signing.h"

#define BACK_BYTES 38000 /* of rows: the page stays below 50 kB, but for a difference that is asked for */
#define ROW_BYTES 120 /* of the template, without names */

static const char *kind_word(enum plan_kind k)
{
	return k == PLAN_ADD ? "comes back" : k == PLAN_CHANGE ? "earlier version" : "leaves";
}

/* This page again, about one file of the difference, or from one on: "?path=...&record=3&NAME=". */
static const char *again(struct req *r, const struct back_to *to, const char *name, struct path path)
{
	struct buf q = BUF_INIT(6 * PATH_LIMIT + 256);
	const char *out;

	buf_char(&q, '?');
	if (!to->whole) {
		buf_str(&q, "path=");
		percent_encode(&q, to->path.s, false);
		buf_fmt(&q, "&%s=%llu&", to->release ? "release" : "record", (unsigned long long)(to->release ? to->release : to->seq));
	}
	buf_fmt(&q, "%s=", name);
	percent_encode(&q, path.s, false);
	out = arena_dup(r->arena, buf_text(&q));
	buf_release(&q);
	return out;
}

/* A path that the address names; false: none. ERR_INPUT. */
static enum err path_asked(struct req *r, const char *name, struct path *out, bool *given)
{
	const char *text = r->method == METHOD_GET ? req_query(r, name) : NULL;

	*given = text && *text;
	return *given ? path_parse(out, text, strlen(text), r->arena) : ERR_OK;
}

/* old, now: NULL: there is no such version. */
static enum err put_marked(struct req *r, struct view_map *m, const struct buf *old, const struct buf *now)
{
	struct buf html = BUF_INIT(4 * MARKED_LIMIT + 65536);
	struct marked_counts n;
	enum err e = marked_source(old ? buf_text(old) : "", old ? old->len : 0, now ? buf_text(now) : "", now ? now->len : 0, &html, &n);

	if (!e && n.binary) {
		view_set(m, VIEW_nothing, arena_printf(r->arena, "It is not text: %s now, %s then.", old ? size_text(r->arena, old->len) : "nothing",
		    now ? size_text(r->arena, now->len) : "nothing"));
	} else if (!e && !html.len) {
		view_set(m, VIEW_nothing, "The text is the same: only the right to execute it differs, or it is empty.");
	} else if (!e) {
		view_set(m, VIEW_diff_caption, arena_printf(r->arena, "%s removed, %zu added%s", count_text(r->arena, n.removed, "line"), n.added,
		    n.cut ? "; the rest is not shown" : ""));
		e = buf_check(&html);
		if (!e)
			view_set_html(m, VIEW_diff, arena_dupn(r->arena, buf_text(&html), html.len));
	}
	buf_release(&html);
	return e;
}

/* What is approved now; staging does not matter here. */
static enum err approved_blob(struct req *r, const struct plan_item *it, struct blob_id *out)
{
	struct catalog_entry entry;
	enum err e = ERR_OK;

	*out = it->blob;
	if (it->kind == PLAN_CHANGE && !(e = catalog_get_file(r->site->catalog, it->path, &entry, r->arena)))
		*out = entry.approved.blob;
	return e;
}

static enum err read_side(struct repo *repo, const struct blob_id *blob, struct buf *bytes, bool *too_big)
{
	uint64_t size;
	enum err e = repo_blob_size(repo, blob, &size);

	*too_big |= !e && size > COMPARE_LIMIT;
	return e || *too_big ? e : repo_blob_read(repo, blob, bytes);
}

/* One file: what is approved now against what would come back. */
static enum err put_file(struct req *r, struct view_map *m, const struct plan_item *it)
{
	const bool comes = it->kind != PLAN_REMOVE, is = it->kind != PLAN_ADD;
	struct buf then = BUF_INIT(COMPARE_LIMIT), now = BUF_INIT(COMPARE_LIMIT);
	bool too_big = false;
	struct blob_id blob;
	struct repo *repo;
	enum err e = tools_repo(r->tools, r->site, &repo);

	if (!e && is)
		e = approved_blob(r, it, &blob);
	if (!e && is)
		e = read_side(repo, &blob, &now, &too_big);
	if (!e && comes)
		e = read_side(repo, &it->blob, &then, &too_big);
	if (!e && too_big)
		view_set(m, VIEW_nothing, arena_printf(r->arena, "It is compared up to %s only.", size_text(r->arena, COMPARE_LIMIT)));
	else if (!e)
		e = put_marked(r, m, is ? &now : NULL, comes ? &then : NULL);
	buf_release(&now);
	buf_release(&then);
	return e;
}

static enum err put_difference(struct req *r, struct view_map *m, const struct plan *plan)
{
	struct view_map *about;
	struct path path;
	bool given;
	size_t i;
	enum err e = path_asked(r, "file", &path, &given);

	if (e || !given)
		return e;
	if (!plan_find(plan, path, &i) || req_role_on(r, path) < ROLE_VIEW)
		return err_set(ERR_NOT_FOUND, "This file does not change by it.");
	about = view_set_map(m, VIEW_file);
	view_set(about, VIEW_path, path.s);
	view_set(about, VIEW_href, page_href(r, path, false));
	return put_file(r, about, &plan->items[i]);
}

static void put_plan(struct req *r, struct view_map *m, const struct back_to *to, const struct plan *plan, const struct path *from)
{
	struct view_list *l = view_set_list(m, VIEW_plan);
	size_t count[3] = { 0 }, bytes = 0, all = 0, shown = 0, before = 0;
	const struct plan_item *last = NULL, *cut = NULL;

	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_item *it = &plan->items[i];
		struct view_map *row;
		const char *href;
		struct path p;

		if (req_role_on(r, it->path) < ROLE_VIEW)
			continue;
		all++;
		count[it->kind]++;
		if (from && path_compare(it->path, *from) <= 0) {
			before++;
			continue;
		}
		if (bytes > BACK_BYTES) {
			cut = cut ? cut : last;
			continue;
		}
		last = it;
		p = path_copy(it->path, r->arena);
		href = again(r, to, "file", p);
		row = view_list_add(l);
		view_set(row, VIEW_kind, plan_kind_name(it->kind));
		view_set(row, VIEW_word, kind_word(it->kind));
		view_set(row, VIEW_path, p.s);
		view_set(row, VIEW_href, href);
		bytes += ROW_BYTES + page_bytes(p.s) + page_bytes(href);
		shown++;
	}
	view_set_bool(m, VIEW_plan_empty, all == 0);
	view_set(m, VIEW_count_word, count_text(r->arena, all, "file"));
	view_set(m, VIEW_added, number_text(r->arena, count[PLAN_ADD]));
	view_set(m, VIEW_changed, number_text(r->arena, count[PLAN_CHANGE]));
	view_set(m, VIEW_removed, number_text(r->arena, count[PLAN_REMOVE]));
	if (all > shown) {
		view_set(m, VIEW_plan_more, number_text(r->arena, all - shown));
		view_set(m, VIEW_shown, arena_printf(r->arena, "%zu to %zu of %zu", before + 1, before + shown, all));
		view_set(m, VIEW_first_href, before ? again(r, to, "after", path_root()) : NULL);
		view_set(m, VIEW_next_href, cut ? again(r, to, "after", path_copy(cut->path, r->arena)) : NULL);
	}
}

/* error: why the act was not done; the difference is the one of now. */
static enum err back_page(struct req *r, unsigned status, const struct back_to *to, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	const char *title;
	struct sha256 digest;
	struct plan plan;
	struct path from;
	bool given = false, one;
	enum err e = site_back(r->site, r->tools, to, &r->person->who, &plan, &digest);

	if (!e)
		e = path_asked(r, "after", &from, &given);
	if (!e)
		e = put_difference(r, m, &plan);
	if (!e) {
		put_plan(r, m, to, &plan, given ? &from : NULL);
		show_hex(m, VIEW_plan_digest, digest.b, sizeof digest.b);
	}
	one = !e && plan.n == 1 && path_equal(plan.items[0].path, to->path);
	plan_release(&plan);
	if (e)
		return e;
	if (to->whole) {
		title = arena_printf(r->arena, "Roll back to release %llu", (unsigned long long)to->release);
		view_set_int(m, VIEW_number, (int64_t)to->release);
		view_set(m, VIEW_verb, "Roll back");
		view_set(m, VIEW_href, addr(r, arena_printf(r->arena, "/rollback/%llu", (unsigned long long)to->release), NULL, NULL));
		view_set(m, VIEW_back_href, addr(r, "/sync", NULL, NULL));
	} else {
		title = arena_printf(r->arena, "Approve again: %s", to->path.s);
		view_set(m, VIEW_path_value, to->path.s);
		view_set_int(m, VIEW_seq, (int64_t)to->seq);
		view_set_int(m, VIEW_release, (int64_t)to->release);
		view_set(m, VIEW_record_href, to->seq ? page_record_href(r, to->seq) : NULL);
		view_set(m, VIEW_verb, "Approve again");
		view_set(m, VIEW_href, addr(r, "/reapprove", NULL, NULL));
		view_set(m, VIEW_back_href, page_history_href(r, to->path, !one));
		sign_model(r, m, NULL);
		view_set_bool(m, VIEW_ask_meaning, false);
	}
	view_set(m, VIEW_heading, title);
	view_set(m, VIEW_conflict, error);
	view_set(m, VIEW_op, page_op(r));
	if (r->method == METHOD_POST)
		view_set(m, VIEW_reason, req_form(r, "note"));
	return reply_page(r, status, "back", title, m);
}

static enum err posted(struct req *r, struct act_request *rq, struct sha256 *shown)
{
	const char *plan = req_form(r, "plan");
	enum err e = page_act_request(r, rq);

	if (!e && (!plan || !hex_parse(shown->b, sizeof shown->b, plan)))
		e = err_set(ERR_INPUT, "The form is not complete: it does not say what you were shown.");
	return e;
}

/* What is left of an act that was refused: the page again where that helps. */
static enum err not_done(struct req *r, enum err e, const struct back_to *to)
{
	const char *why = arena_dup(r->arena, err_text());

	if (e == ERR_STALE)
		return back_page(r, 409, to, why);
	return e == ERR_DENIED ? back_page(r, 403, to, why) : reply_error(r, e, NULL);
}

/* --- the whole site ------------------------------------------------------------------------------------------------------ */

static enum err release_asked(struct req *r, struct back_to *to)
{
	*to = (struct back_to){ .path = path_root(), .whole = true };
	return req_segment_number(r, "number", &to->release);
}

/* GET /s/:site/rollback/:number */
enum err page_rollback(struct req *r)
{
	struct back_to to;
	enum err e = release_asked(r, &to);

	return e ? e : back_page(r, 200, &to, NULL);
}

/* POST /s/:site/rollback/:number {op, note, plan} */
enum err page_rollback_post(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct sha256 shown;
	struct back_to to;
	enum err e = release_asked(r, &to);

	if (!e)
		e = posted(r, &rq, &shown);
	if (e)
		return reply_error(r, e, NULL);
	if (!*rq.note)
		return back_page(r, 400, &to, "Say why: the reason is recorded.");
	e = act_rollback(r->site, r->tools, &rq, to.release, &shown, &done);
	return e ? not_done(r, e, &to) : page_done(r, "/sync", NULL, NULL, &done);
}

/* --- a file or a directory ------------------------------------------------------------------------------------------------ */

static enum err version_asked(struct req *r, struct back_to *to)
{
	enum err e = req_number(r, "record", 1, INT64_MAX, 0, &to->seq);

	if (!e)
		e = req_number(r, "release", 1, INT64_MAX, 0, &to->release);
	if (!e && !to->seq == !to->release)
		e = err_set(ERR_INPUT, "Which version? Choose one in the history of the file, or a release.");
	return e;
}

/* GET /s/:site/reapprove?path=&record= or &release= */
enum err page_reapprove(struct req *r)
{
	struct back_to to = { .path = r->path };
	enum err e = version_asked(r, &to);

	return e ? e : back_page(r, 200, &to, NULL);
}

/* POST /s/:site/reapprove {op, path, record or release, note, plan, password} */
enum err page_reapprove_post(struct req *r)
{
	struct back_to to = { .path = r->path };
	struct act_request rq;
	struct act_answer done;
	struct catalog_entry entry;
	struct sha256 shown;
	enum err e = posted(r, &rq, &shown);

	if (!e)
		e = version_asked(r, &to);
	if (e)
		return reply_error(r, e, NULL);
	e = sign_password(r, "sign", req_form(r, "password"));
	if (e == ERR_RETRY)
		return e;
	if (e == ERR_BUSY)
		return back_page(r, 429, &to, arena_dup(r->arena, err_text()));
	if (!e)
		e = act_reapprove(r->site, r->tools, &rq, &to, &shown, &done);
	if (e)
		return not_done(r, e, &to);
	e = catalog_get(r->site->catalog, to.path, &entry, r->arena);
	return page_done(r, !e && entry.is_dir ? "/tree" : "/file", &to.path, NULL, &done);
}
