/* Before going back to an old release, or to an earlier version of a file or a directory: what would change; and the act. */
#include "base/clock.h"
#include "view/show.h"
#include "web/pages/pages.h"
#include "web/signing.h"

#define BACK_BYTES 38000 /* of rows: the page stays below 50 kB */
#define ROW_BYTES 120 /* of the template, without names */

static const char *kind_word(enum plan_kind k)
{
	return k == PLAN_ADD ? "comes back" : k == PLAN_CHANGE ? "earlier version" : "leaves";
}

static void put_plan(struct req *r, struct view_map *m, const struct plan *plan)
{
	struct view_list *l = view_set_list(m, VIEW_plan);
	size_t count[3] = { 0 }, bytes = 0, all = 0, shown = 0;

	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_item *it = &plan->items[i];
		struct view_map *row;
		const char *href;
		struct path p;

		if (req_role_on(r, it->path) < ROLE_VIEW)
			continue;
		all++;
		count[it->kind]++;
		if (bytes > BACK_BYTES)
			continue;
		p = path_copy(it->path, r->arena);
		href = page_href(r, p, false);
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
	if (all > shown)
		view_set(m, VIEW_plan_more, number_text(r->arena, all - shown));
}

/* error: why the act was not done; the difference is the one of now. */
static enum err back_page(struct req *r, unsigned status, const struct back_to *to, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	const char *title;
	struct sha256 digest;
	struct plan plan;
	enum err e = site_back(r->site, r->tools, to, &r->person->who, &plan, &digest);

	if (!e) {
		put_plan(r, m, &plan);
		show_hex(m, VIEW_plan_digest, digest.b, sizeof digest.b);
	}
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
		view_set(m, VIEW_record_href, page_record_href(r, to->seq));
		view_set(m, VIEW_verb, "Approve again");
		view_set(m, VIEW_href, addr(r, "/reapprove", NULL, NULL));
		view_set(m, VIEW_back_href, page_history_href(r, to->path, plan.n != 1));
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

/* GET /s/:site/reapprove?path=&record= */
enum err page_reapprove(struct req *r)
{
	struct back_to to = { .path = r->path };
	enum err e = req_number(r, "record", 1, INT64_MAX, 0, &to.seq);

	if (!e && !to.seq)
		e = err_set(ERR_INPUT, "Which version? Choose one in the history of the file.");
	return e ? e : back_page(r, 200, &to, NULL);
}

/* POST /s/:site/reapprove {op, path, record, note, plan, password} */
enum err page_reapprove_post(struct req *r)
{
	struct back_to to = { .path = r->path };
	struct act_request rq;
	struct act_answer done;
	struct catalog_entry entry;
	struct sha256 shown;
	enum err e = posted(r, &rq, &shown);

	if (!e)
		e = req_number(r, "record", 1, INT64_MAX, 0, &to.seq);
	if (!e && !to.seq)
		e = err_set(ERR_INPUT, "The form is not complete: it does not say which version.");
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
