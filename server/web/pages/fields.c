/* What acts on files ask for beside the note: the definitions, and the form that sets one. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "view/show.h"
#include "web/asked.h"
#include "web/pages/pages.h"

#define PAGE 20
#define CHOICES_SHOWN 5

static const char *const TYPES[][2] = { { "text", "a line of text" }, { "choice", "a choice" }, { "checkbox", "a checkbox" }, { "date", "a date" } };
static const char *const ACTS[][2] = { { "sign", "asked with signing" }, { "review", "with reviewing" }, { "revoke", "with revoking" } };

/* --- the list --------------------------------------------------------------------------------------------------------- */

/* "choice: small, large, ... and 3 more" */
static const char *kind_text(struct req *r, const struct field_def *d)
{
	struct buf b = BUF_INIT(CHOICES_SHOWN * (FIELD_CHOICE_LIMIT + 2) + 64);
	const char *out;

	buf_str(&b, field_type_name(d->type));
	for (size_t i = 0; i < d->n_choices && i < CHOICES_SHOWN; i++)
		buf_fmt(&b, "%s%s", i ? ", " : ": ", d->choices[i]);
	if (d->n_choices > CHOICES_SHOWN)
		buf_fmt(&b, " and %zu more", d->n_choices - CHOICES_SHOWN);
	out = arena_dup(r->arena, buf_text(&b));
	buf_release(&b);
	return out;
}

static const char *acts_text(struct req *r, const struct field_def *d)
{
	const char *out = "";

	for (unsigned bit = 1; bit < 1u << FIELD_ACTS; bit <<= 1)
		if (d->acts & bit)
			out = arena_printf(r->arena, "%s%s%s", out, *out ? ", " : "", field_act_name(bit));
	return out;
}

/* A pre-approval that lets files out without what a signature would need there. */
struct bypass {
	struct req *r;
	const struct field_def *d;
	int64_t now;
	const char *path;
};

static bool look_bypass(void *arg, const struct db_preapproval *p)
{
	struct bypass *b = arg;

	if (!preapproved_ended(&p->what, b->now) && req_role_on(b->r, p->what.path) >= ROLE_VIEW &&
	    (path_covers(b->d->path, p->what.path) || path_covers(p->what.path, b->d->path)))
		b->path = arena_dup(b->r->arena, p->what.path.s);
	return !b->path;
}

static enum err put_one(struct req *r, struct view_list *items, const struct field_def *d)
{
	struct view_map *o = view_list_add(items);
	struct bypass b = { .r = r, .d = d, .now = clock_wall() };
	struct page_query q = { BUF_INIT(0) };
	const enum role role = req_role_on(r, d->path);
	enum err e = ERR_OK;

	if (d->required && d->acts & FIELD_SIGN)
		e = db_preapproval_list(tools_db(r->tools), r->site->name, look_bypass, &b);
	page_query_add(&q, "path", d->path.s);
	page_query_add(&q, "name", d->name);
	view_set(o, VIEW_path_href, page_href(r, d->path, true));
	view_set(o, VIEW_path, d->path.s);
	view_set(o, VIEW_label, d->label);
	view_set(o, VIEW_name, d->name);
	view_set(o, VIEW_kind, kind_text(r, d));
	view_set_bool(o, VIEW_required, d->required);
	view_set(o, VIEW_preapproved, b.path ? arena_printf(r->arena, "what is pre-approved on %s goes out without it", b.path) : NULL);
	view_set(o, VIEW_acts, acts_text(r, d));
	view_set(o, VIEW_record_href, page_record_href(r, d->version));
	view_set_int(o, VIEW_version, (int64_t)d->version);
	view_set_bool(o, VIEW_removable, role == ROLE_ADMIN);
	view_set(o, VIEW_why_href, role < ROLE_VIEW || role == ROLE_ADMIN ? NULL : page_why(r, d->path));
	view_set(o, VIEW_op, page_op(r));
	view_set(o, VIEW_change_href, addr(r, "/fields", NULL, page_query_end(r, &q)));
	return e;
}

static const char *from_href(struct req *r, uint64_t from)
{
	struct page_query q = { BUF_INIT(0) };

	page_query_add_int(&q, "from", from);
	return addr(r, "/fields", NULL, page_query_end(r, &q));
}

static enum err put_list(struct req *r, struct view_map *m)
{
	struct view_list *items = view_set_list(m, VIEW_items);
	uint64_t from = 0, at = 0;
	bool more = false;
	enum err e = r->method == METHOD_GET ? req_number(r, "from", 0, FIELDS_OF_SITE, 0, &from) : ERR_OK;

	for (size_t i = 0; i < rules_fields(r->rules) && !e && !more; i++) {
		const struct field_def *d = rules_field_at(r->rules, i);

		if (!asked_visible(r, d->path) || at++ < from)
			continue;
		more = at > from + PAGE;
		if (!more)
			e = put_one(r, items, d);
	}
	view_set(m, VIEW_shown, view_list_count(items) ? count_text(r->arena, view_list_count(items), "field") : NULL);
	view_set(m, VIEW_next_href, more ? from_href(r, from + PAGE) : NULL);
	view_set(m, VIEW_first_href, from ? from_href(r, 0) : NULL);
	return e;
}

/* --- the form --------------------------------------------------------------------------------------------------------- */

static bool form_has_act(struct req *r, const char *act)
{
	for (size_t i = 0; i < req_form_count(r, "acts[]"); i++)
		if (strcmp(req_form_at(r, "acts[]", i), act) == 0)
			return true;
	return false;
}

/* error: the form as it was typed; else the definition that is to be changed, or empty. */
static void put_form(struct req *r, struct view_map *m, bool typed)
{
	const char *name = typed ? NULL : req_query(r, "name");
	const struct field_def *d = name && r->has_path ? rules_field_find(r->rules, r->path, name) : NULL;
	struct view_list *types = view_set_list(m, VIEW_types), *acts = view_set_list(m, VIEW_acts);
	const char *type = typed ? req_form(r, "type") : d ? field_type_name(d->type) : "text";
	struct buf choices = BUF_INIT(FIELD_CHOICES_BYTES);

	if (d && !asked_visible(r, d->path))
		d = NULL;
	for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
		struct view_map *o = view_list_add(types);

		view_set(o, VIEW_value, TYPES[i][0]);
		view_set_bool(o, VIEW_here, type && strcmp(type, TYPES[i][0]) == 0);
		view_set(o, VIEW_word, TYPES[i][1]);
	}
	for (size_t i = 0; i < sizeof ACTS / sizeof *ACTS; i++) {
		struct view_map *o = view_list_add(acts);

		view_set(o, VIEW_value, ACTS[i][0]);
		view_set_bool(o, VIEW_here, typed ? form_has_act(r, ACTS[i][0]) : d ? d->acts & field_act_parse(ACTS[i][0]) : i == 0);
		view_set(o, VIEW_word, ACTS[i][1]);
	}
	if (d)
		field_choices_text(d, &choices);
	view_set(m, VIEW_path_value, typed ? req_form(r, "path") : d ? d->path.s : NULL);
	view_set(m, VIEW_name_value, typed ? req_form(r, "name") : d ? d->name : NULL);
	view_set(m, VIEW_label_value, typed ? req_form(r, "label") : d ? d->label : NULL);
	view_set(m, VIEW_choices_value, typed ? req_form(r, "choices") : arena_dup(r->arena, buf_text(&choices)));
	view_set_bool(m, VIEW_required, typed ? req_form(r, "required") != NULL : d && d->required);
	view_set(m, VIEW_place_value, typed ? req_form(r, "place") : arena_printf(r->arena, "%u", d ? d->place : 0));
	view_set(m, VIEW_note_value, typed ? req_form(r, "note") : NULL);
	view_set(m, VIEW_op, page_op(r));
	buf_release(&choices);
}

static enum err show(struct req *r, unsigned status, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	enum err e = put_list(r, m);

	if (e)
		return e;
	page_notice(r, m);
	view_set(m, VIEW_error, error);
	view_set_bool(m, VIEW_can_add, page_admin_somewhere(r));
	view_set(m, VIEW_explain_href, page_why(r, r->path));
	put_form(r, m, error != NULL);
	return reply_page(r, status, "fields", "Fields", m);
}

/* GET /s/:site/fields?from= ; path and name: of the one that is to be changed */
enum err page_fields(struct req *r)
{
	return show(r, 200, NULL);
}

/* A line each, as browsers send them; blanks around are nobody's wish. */
static const char *const *lines(struct req *r, const char *text, size_t *n)
{
	size_t most = 1;

	for (const char *c = text; *c; c++)
		most += *c == '\n';
	const char **list = arena_alloc(r->arena, most * sizeof *list);
	*n = 0;
	for (const char *p = text; *p;) {
		const size_t len = strcspn(p, "\r\n");
		const char *end = p + len;

		p += strspn(p, " ");
		while (end > p && end[-1] == ' ')
			end--;
		if (end > p)
			list[(*n)++] = arena_dupn(r->arena, p, (size_t)(end - p));
		p += strcspn(p, "\r\n");
		p += strspn(p, "\r\n");
	}
	return list;
}

static enum err wish(struct req *r, struct field_def *out)
{
	const char *choices = req_form(r, "choices"), *acts = "";
	struct asked_wish w = { .name = req_form(r, "name"), .label = req_form(r, "label"), .type = req_form(r, "type"), .required = req_form(r, "required") != NULL };
	enum err e = req_number(r, "place", 0, FIELD_PLACE_LIMIT, 0, &w.place);

	if (e)
		return e;
	if (req_form_count(r, "acts[]") == 0 || req_form_count(r, "acts[]") > FIELD_ACTS)
		return err_set(ERR_INPUT, "With which acts is it asked for? Tick at least one.");
	for (size_t i = 0; i < req_form_count(r, "acts[]"); i++)
		acts = arena_printf(r->arena, "%s %s", acts, req_form_at(r, "acts[]", i));
	w.acts = acts;
	w.choices = lines(r, choices ? choices : "", &w.n_choices);
	return asked_definition(r->path, &w, out);
}

/* POST /s/:site/fields: path, name, label, type, choices, acts[], required, place, note, op; remove=1 takes it back */
enum err page_fields_post(struct req *r)
{
	const char *name = req_form(r, "name");
	struct field_def d = { .path = r->path, .name = name ? name : "", .label = "", .node = "" };
	struct act_request rq;
	struct act_answer done;
	enum err e = r->has_path ? ERR_OK : err_set(ERR_INPUT, "For which path? “/” is the whole site.");

	if (!e)
		e = page_act_request(r, &rq);
	if (!e && !req_form(r, "remove"))
		e = wish(r, &d);
	if (!e)
		e = act_field(r->site, r->tools, &rq, &d, &done);
	switch (e) {
	case ERR_OK:
		return page_done(r, "/fields", NULL, NULL, &done);
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
