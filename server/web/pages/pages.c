#include "web/pages/pages.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "view/show.h"
#include "web/asked.h"
#include "web/history.h"

#define QUERY_LIMIT (3 * PATH_LIMIT + 4096)

enum err page_act_request(struct req *r, struct act_request *rq)
{
	const char *op = req_form(r, "op"), *note = req_form(r, "note");
	size_t n = 0;

	*rq = (struct act_request){ .actor = r->person, .address = r->address, .note = "" };
	if (!op || !*op)
		uuid_new(&rq->op);
	else if (!uuid_parse(&rq->op, op))
		return err_set(ERR_INPUT, "The form is damaged: its id is not one of ours. Load the page again.");
	if (!note || !*note)
		return ERR_OK;
	/* Browsers send line ends as CR LF; a note has LF, and no blanks around it. */
	char *clean = arena_alloc(r->arena, strlen(note) + 1);
	for (const char *c = note; *c; c++)
		if (*c != '\r')
			clean[n++] = *c;
	while (n && (clean[n - 1] == '\n' || clean[n - 1] == ' ' || clean[n - 1] == '\t'))
		n--;
	clean[n] = '\0';
	if (n > RECORD_NOTE_LIMIT)
		return err_set(ERR_TOO_BIG, "The note is too long: %zu bytes, at most %d are kept.", n, RECORD_NOTE_LIMIT);
	if (!utf8_clean(clean, n, true))
		return err_set(ERR_INPUT, "The note has characters that cannot be kept (control characters).");
	rq->note = clean;
	return ERR_OK;
}

const char *page_op(struct req *r)
{
	struct uuid op;
	char text[UUID_TEXT];

	uuid_new(&op);
	uuid_text(&op, text);
	return arena_dup(r->arena, text);
}

enum err page_done(struct req *r, const char *tail, const struct path *path, const char *query, const struct act_answer *a)
{
	struct page_query q = { BUF_INIT(QUERY_LIMIT) };

	if (query)
		buf_str(&q.b, query);
	page_query_add_int(&q, "done", a->seq);
	return reply_redirect(r, addr(r, tail, path, page_query_end(r, &q)));
}

/* Only a number comes in by the address; what it stands for is read again, with the rights of who reads. */
void page_notice(struct req *r, struct view_map *m)
{
	struct history_item item;
	struct page_deed deed;
	uint64_t seq;

	if (req_number(r, "done", 1, INT64_MAX, 0, &seq) || !seq || !r->site || !r->tools)
		return;
	if (history_get(r, seq, &item))
		return;
	page_deed(r, &item, &deed);
	if (strcmp(item.row->actor, r->person->who.user) == 0)
		view_set(m, VIEW_notice, arena_printf(r->arena, "You %s %s. It is record %" PRIu64 ".", deed.verb, deed.what, seq));
	json_decref(item.record.fields);
}

const char *page_person(struct req *r, const char *principal)
{
	const char *colon = strchr(principal, ':');

	if (!colon)
		return arena_dup(r->arena, principal);
	if (strncmp(principal, "system:", 7) == 0)
		return "the system";
	if (strncmp(principal, "own:", 4) == 0)
		return arena_dup(r->arena, colon + 1);
	return arena_printf(r->arena, "%s (%.*s)", colon + 1, (int)(colon - principal), principal);
}

const char *role_words(enum role role)
{
	switch (role) {
	case ROLE_ADMIN:
		return "may do everything there, and say who may do what";
	case ROLE_SIGN:
		return "may look, review, sign and revoke";
	case ROLE_REVIEW:
		return "may look and review";
	case ROLE_VIEW:
		return "may look";
	case ROLE_NONE:
		return "sees nothing there";
	}
	return "";
}

void page_query_add(struct page_query *q, const char *name, const char *value)
{
	if (!q->b.limit)
		q->b.limit = QUERY_LIMIT;
	if (!value || !*value)
		return;
	if (q->b.len)
		buf_char(&q->b, '&');
	buf_str(&q->b, name);
	buf_char(&q->b, '=');
	percent_encode(&q->b, value, true);
}

void page_query_add_int(struct page_query *q, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, value);
	page_query_add(q, name, value ? text : NULL);
}

const char *page_query_end(struct req *r, struct page_query *q)
{
	/* Cut short it would ask for something else. */
	const char *text = buf_check(&q->b) ? "" : arena_dup(r->arena, buf_text(&q->b));
	buf_release(&q->b);
	return text;
}

static const char *field(const struct record *rec, const char *name)
{
	bool bad = false;
	const char *text = json_get_str(rec->fields, name, &bad);
	return bad || !text ? "" : text;
}

static const char *visible(struct req *r, const char *text)
{
	struct buf b = BUF_INIT(4 * PATH_LIMIT);
	utf8_visible(&b, text, strlen(text), false);
	const char *out = arena_dup(r->arena, buf_text(&b));
	buf_release(&b);
	return out;
}

static void deed_files(struct req *r, const struct history_item *item, struct page_deed *out)
{
	bool some = item->more_files;

	out->href = NULL;
	if (item->n_files == 1 && !some) {
		out->what = path_copy(item->files[0].path, r->arena).s;
		out->href = addr(r, "/file", &item->files[0].path, NULL);
	} else if (some && item->whole) {
		out->what = count_text(r->arena, item->row->files_count, "file");
	} else if (some) {
		out->what = "several files"; /* how many others there are is not for him */
	} else {
		out->what = count_text(r->arena, item->n_files, "file");
	}
}

void page_deed(struct req *r, const struct history_item *item, struct page_deed *out)
{
	const struct record *rec = &item->record;
	const char *act = item->row->act;
	bool bad = false, removed = json_get_bool(rec->fields, "removed", false, &bad);

	*out = (struct page_deed){ .verb = history_verb(act), .what = "" };
	if (strcmp(act, "rollback") == 0) {
		out->verb = "cut";
		out->what = arena_printf(r->arena, "release %" PRId64 " with the files of release %" PRId64, json_get_int(rec->fields, "number", 0, &bad),
		    json_get_int(rec->fields, "to_release", 0, &bad));
	} else if (item->row->files_count) {
		if (strcmp(act, "pickup") == 0)
			out->verb = "picked up";
		deed_files(r, item, out);
	} else if (strcmp(act, "release") == 0) {
		out->verb = "cut";
		out->what = arena_printf(r->arena, "release %" PRId64, json_get_int(rec->fields, "number", 0, &bad));
	} else if (strcmp(act, "hold") == 0) {
		out->verb = removed ? "let go" : "held";
		out->what = removed ? visible(r, field(rec, "path")) : arena_printf(r->arena, "%s until %s", visible(r, field(rec, "path")), visible(r, field(rec, "until")));
	} else if (strcmp(act, "confirm-removal") == 0) {
		out->verb = "confirmed";
		out->what = "the list of files that leave production at once";
	} else if (strcmp(act, "catch-up") == 0) {
		out->verb = "went on";
		out->what = arena_printf(r->arena, "from release %" PRId64 ", which %s holds", json_get_int(rec->fields, "held-number", 0, &bad), visible(r, field(rec, "held-target")));
	} else if (strcmp(act, "turn") == 0) {
		out->verb = "took over";
		out->what = "from a server that was not heard of";
	} else if (strcmp(act, "force") == 0) {
		out->verb = "asked for";
		out->what = "a sync at once";
	} else if (strcmp(act, "rule") == 0) {
		out->verb = removed ? "took away" : "gave";
		out->what = removed ? arena_printf(r->arena, "the rule of %s on %s", visible(r, field(rec, "principal")), visible(r, field(rec, "path")))
		    : arena_printf(r->arena, "%s the role %s on %s", visible(r, field(rec, "principal")), visible(r, field(rec, "role")),
		          visible(r, field(rec, "path")));
	} else if (strcmp(act, "require") == 0) {
		out->verb = "asked for";
		out->what = arena_printf(r->arena, "%" PRId64 " review%s before a signature on %s%s", json_get_int(rec->fields, "reviews", 0, &bad),
		    json_get_int(rec->fields, "reviews", 0, &bad) == 1 ? "" : "s", visible(r, field(rec, "path")),
		    json_get_bool(rec->fields, "not_alone", false, &bad) ? ", and that nobody signs his own files alone" : "");
	} else if (strcmp(act, "field") == 0) {
		out->verb = removed ? "removed" : "defined";
		out->what = arena_printf(r->arena, "the field “%s” on %s", visible(r, field(rec, "name")), visible(r, field(rec, "path")));
	} else if (strcmp(act, "preapprove") == 0) {
		out->verb = removed ? "took back" : "pre-approved";
		out->what = arena_printf(r->arena, "%s%s%s%s", removed ? "the pre-approval of " : "", visible(r, field(rec, "path")),
		    *field(rec, "pattern") ? ", names like " : "", visible(r, field(rec, "pattern")));
	} else if (strcmp(act, "genesis") == 0) {
		out->verb = "started";
		out->what = "the record of this site";
	}
}

struct view_map *page_timeline_add(struct req *r, struct view_list *items, const struct history_item *item, const struct path *for_file)
{
	const struct record *rec = &item->record;
	struct view_map *m = view_list_add(items);
	struct page_deed deed;
	const struct record_file *own = NULL;

	page_deed(r, item, &deed);
	for (size_t i = 0; for_file && i < item->n_files; i++)
		if (path_equal(item->files[i].path, *for_file))
			own = &item->files[i];
	view_set(m, VIEW_act, arena_dup(r->arena, item->row->act));
	view_set(m, VIEW_user, page_person(r, item->row->actor));
	view_set(m, VIEW_verb, deed.verb);
	/* On a file's own page its name is known; others that were in the same act are in the record. */
	view_set(m, VIEW_what_href, own ? NULL : deed.href);
	view_set(m, VIEW_what, own ? (item->row->files_count == 1 ? "this file" : "this file and others") : deed.what);
	show_time(m, VIEW_at, item->row->at, clock_wall());
	view_set(m, VIEW_href, addr(r, arena_printf(r->arena, "/record/%" PRIu64, item->row->seq), NULL, NULL));
	view_set_int(m, VIEW_seq, (int64_t)item->row->seq);
	view_set(m, VIEW_note, arena_dup(r->arena, item->row->note));
	view_set(m, VIEW_filled, asked_text(r, item));
	if (own || (item->n_files == 1 && !item->more_files))
		show_print(view_set_map(m, VIEW_print), own ? &own->print.sha256 : &item->files[0].print.sha256);
	else
		view_set(m, VIEW_print, NULL);
	bool list = !own && (item->n_files > 1 || item->more_files);
	view_set_bool(m, VIEW_has_files, list);
	if (list) {
		struct view_list *files = view_set_list(m, VIEW_files);
		for (size_t i = 0; i < item->n_files; i++) {
			struct view_map *f = view_list_add(files);
			view_set(f, VIEW_href, addr(r, "/file", &item->files[i].path, NULL));
			view_set(f, VIEW_path, path_copy(item->files[i].path, r->arena).s);
			show_print(f, &item->files[i].print.sha256);
		}
		view_set_bool(m, VIEW_more, item->more_files);
	}
	view_set(m, VIEW_rule, !rec->rule.principal ? NULL : arena_printf(r->arena, "%s on %s for %s", role_name(rec->rule.role),
	    rec->rule.path.s, rec->rule.principal));
	return m;
}

const char *page_href(struct req *r, struct path path, bool is_dir)
{
	return addr(r, is_dir ? "/tree" : "/file", &path, NULL);
}

const char *page_history_href(struct req *r, struct path path, bool is_dir)
{
	struct page_query q = { BUF_INIT(QUERY_LIMIT) };

	page_query_add(&q, "path", is_dir && !path_is_root(path) ? arena_printf(r->arena, "%s/", path.s) : path.s);
	return addr(r, "/history", NULL, page_query_end(r, &q));
}

const char *page_record_href(struct req *r, uint64_t seq)
{
	return addr(r, arena_printf(r->arena, "/record/%llu", (unsigned long long)seq), NULL, NULL);
}

size_t page_bytes(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '&' || *s == '\'' ? 5 : *s == '"' ? 6 : *s == '<' || *s == '>' ? 4 : 1;
	return n;
}

void page_crumbs(struct req *r, struct view_map *m, struct path path)
{
	struct view_list *crumbs = view_set_list(m, VIEW_crumbs);
	struct view_map *c;

	if (path_is_root(path)) {
		view_set(m, VIEW_leaf, r->site->name);
		return;
	}
	c = view_list_add(crumbs);
	view_set(c, VIEW_name, r->site->name);
	view_set(c, VIEW_href, page_href(r, path_root(), true));
	for (size_t i = 1; i < path.len; i++) {
		size_t start = i;
		struct path dir;

		while (i < path.len && path.s[i] != '/')
			i++;
		if (i == path.len)
			break;
		dir = (struct path){ arena_dupn(r->arena, path.s, i), i };
		c = view_list_add(crumbs);
		view_set(c, VIEW_name, arena_dupn(r->arena, path.s + start, i - start));
		view_set(c, VIEW_href, page_href(r, dir, true));
	}
	view_set(m, VIEW_leaf, path_name(path));
}

const char *page_why(struct req *r, struct path path)
{
	struct buf q = BUF_INIT(3 * PATH_LIMIT + 16);
	const char *out;

	buf_str(&q, "path=");
	percent_encode(&q, path.s, false);
	out = addr(r, "/rules/explain", NULL, buf_text(&q));
	buf_release(&q);
	return out;
}

bool page_admin_somewhere(struct req *r)
{
	for (size_t i = 0; i < rules_count(r->rules); i++)
		if (rules_at(r->rules, i)->role == ROLE_ADMIN && req_role_on(r, rules_at(r->rules, i)->path) == ROLE_ADMIN)
			return true;
	return false;
}
