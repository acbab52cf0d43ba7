/* Paths whose files go to production without a signature. */
#include "base/clock.h"
#include "view/show.h"
#include "web/pages/pages.h"
#include "web/preapproval.h"

struct listing {
	struct req *r;
	struct view_list *items;
	int64_t now;
};

static bool item(void *arg, const struct db_preapproval *p)
{
	struct listing *l = arg;
	struct req *r = l->r;

	if (req_role_on(r, p->what.path) < ROLE_VIEW)
		return true;
	struct view_map *m = view_list_add(l->items);
	const struct path path = path_copy(p->what.path, r->arena);
	view_set(m, VIEW_path_href, page_href(r, path, true));
	view_set(m, VIEW_path, path.s);
	view_set(m, VIEW_pattern, *p->what.pattern ? arena_dup(r->arena, p->what.pattern) : NULL);
	view_set(m, VIEW_condition, preapproval_condition(&p->what, r->arena));
	if (p->what.until)
		show_time(m, VIEW_until, p->what.until, l->now);
	view_set_bool(m, VIEW_ended, preapproved_ended(&p->what, l->now));
	view_set(m, VIEW_by, page_person(r, p->actor));
	show_time(m, VIEW_at, p->at, l->now);
	view_set(m, VIEW_note, arena_dup(r->arena, p->note));
	const bool removable = req_role_on(r, path) == ROLE_ADMIN;
	view_set_bool(m, VIEW_removable, removable);
	view_set(m, VIEW_why_href, removable ? NULL : page_why(r, path));
	view_set(m, VIEW_op, page_op(r));
	return true;
}

static enum err show(struct req *r, unsigned status, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	struct listing l = { r, view_set_list(m, VIEW_items), clock_wall() };
	enum err e = db_preapproval_list(tools_db(r->tools), r->site->name, item, &l);

	if (e)
		return e;
	page_notice(r, m);
	view_set(m, VIEW_error, error);
	view_set_bool(m, VIEW_can_add, page_admin_somewhere(r));
	view_set(m, VIEW_explain_href, page_why(r, r->path));
	view_set(m, VIEW_path_value, error ? req_form(r, "path") : NULL);
	view_set(m, VIEW_note_value, error ? req_form(r, "note") : NULL);
	view_set(m, VIEW_pattern_value, error ? req_form(r, "pattern") : NULL);
	view_set(m, VIEW_largest_value, error ? req_form(r, "largest") : NULL);
	view_set(m, VIEW_until_value, error ? req_form(r, "until") : NULL);
	view_set(m, VIEW_op, page_op(r));
	if (r->sync) {
		struct sync_status status_now;
		sync_status(r->sync, &status_now);
		if (!status_now.running && status_now.next.due != WINDOW_NEVER)
			show_time(m, VIEW_next_sync, status_now.next.due, status_now.now);
	}
	return reply_page(r, status, "preapprovals", "Pre-approvals", m);
}

/* GET /s/:site/preapprovals */
enum err page_preapprovals(struct req *r)
{
	return show(r, 200, NULL);
}

/* POST /s/:site/preapprovals: path, pattern, largest, until, note, op; remove=1 takes it back */
enum err page_preapprovals_post(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct preapproved what;
	const bool remove = req_form(r, "remove") != NULL;
	enum err e = ERR_OK;

	if (!r->has_path)
		e = err_set(ERR_INPUT, "Which file or directory? “/” is the whole site.");
	if (!e)
		e = page_act_request(r, &rq);
	if (!e)
		e = preapproval_wish(r->path, req_form(r, "pattern"), req_form(r, "largest"), req_form(r, "until"), &what);
	if (!e)
		e = act_preapprove(r->site, r->tools, &rq, &what, remove, &done);
	switch (e) {
	case ERR_OK:
		return page_done(r, "/preapprovals", NULL, NULL, &done);
	case ERR_INPUT:
	case ERR_TOO_BIG:
		return show(r, 400, arena_dup(r->arena, err_text()));
	case ERR_DENIED:
		return show(r, 403, arena_dup(r->arena, err_text()));
	case ERR_NOT_FOUND:
	case ERR_STALE:
		return show(r, 409, arena_dup(r->arena, err_text()));
	default:
		return e;
	}
}
