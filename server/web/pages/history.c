/* History of the site, a directory, a file or a person: one timeline, its filters in the address, as page, CSV or JSON. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "view/show.h"
#include "web/api/api.h"
#include "web/history.h"
#include "web/pages/pages.h"

#define PAGE 50
#define CSV_LIMIT (64u << 20)

static const char *const ACTS[] = { "sign", "review", "revoke", "pickup", "release", "rollback", "reapprove", "hold", "confirm-removal", "catch-up", "force", "rule", "require", "field", "preapprove",
	"turn", "key" };

/* What was asked for, as typed and as understood. */
struct asked {
	struct history_query q;
	const char *path, *act, *user, *since, *until; /* as typed; "" if not */
	const char *below; /* "1" or "0" if the address says so, else NULL */
	char principal[PRINCIPAL_LIMIT + 1];
};

static const char *typed(struct req *r, const char *name)
{
	const char *text = req_query(r, name);
	return text ? text : "";
}

static enum err time_asked(const char *text, bool end, int64_t *out)
{
	*out = 0;
	if (!*text)
		return ERR_OK;
	enum err e = clock_parse_loose(out, text);
	/* "until 30 November" means that day too. */
	if (!e && end && strlen(text) == strlen("2026-11-30") && text[4] == '-')
		*out += 86400 * CLOCK_SECOND;
	return e;
}

/* A path may name a directory now and have named a file before, or the other way round: the address can say which. */
static void kind_asked(struct req *r, struct asked *a)
{
	struct catalog_entry entry;
	const char *below = req_query(r, "below");

	a->q.path = r->path;
	a->q.whole_site = !r->has_path || path_is_root(r->path);
	if (a->q.whole_site)
		return;
	if (below && (strcmp(below, "0") == 0 || strcmp(below, "1") == 0)) {
		a->below = below;
		a->q.is_dir = *below == '1';
	} else if (catalog_get(r->site->catalog, r->path, &entry, r->arena) == ERR_OK) {
		a->q.is_dir = entry.is_dir;
	} else {
		size_t n = strlen(a->path);
		a->q.is_dir = n > 1 && a->path[n - 1] == '/';
	}
}

static enum err parse(struct req *r, struct asked *a)
{
	enum err e;

	kind_asked(r, a);
	if (*a->act) {
		bool known = strcmp(a->act, "genesis") == 0;
		for (size_t i = 0; i < sizeof ACTS / sizeof *ACTS; i++)
			known |= strcmp(a->act, ACTS[i]) == 0;
		if (!known)
			return err_set(ERR_INPUT, "There is no act called “%s”.", a->act);
		a->q.act = a->act;
	}
	if (*a->user) {
		/* Somebody who is gone still has his history: then the principal must be written out. */
		e = auth_principal(web_auth(r->web), tools_db(r->tools), a->user, a->principal);
		if (e == ERR_NOT_FOUND && *a->principal)
			e = ERR_OK;
		/* Who there is is for admins: others get the history of nobody, as that of somebody who did nothing that they may see. */
		if (e == ERR_NOT_FOUND && req_role_on(r, path_root()) < ROLE_ADMIN && strlen(a->user) + sizeof "own:" <= sizeof a->principal) {
			snprintf(a->principal, sizeof a->principal, "own:%s", a->user);
			e = ERR_OK;
		}
		if (e == ERR_NOT_FOUND)
			e = err_set(ERR_INPUT, "Nobody is called “%s”. For somebody who is gone write the provider too, as in own:%s.", a->user,
			    a->user);
		if (e)
			return e;
		a->q.actor = a->principal;
	}
	if ((e = time_asked(a->since, false, &a->q.since)))
		return err_prefix(e, "Since");
	if ((e = time_asked(a->until, true, &a->q.until)))
		return err_prefix(e, "Until");
	return req_number(r, "before", 1, INT64_MAX, 0, &a->q.before);
}

/* The address of this history, with another start, another form, or about the path's other life. */
static const char *link_to(struct req *r, const struct asked *a, uint64_t before, const char *format, const char *below)
{
	struct page_query q = { BUF_INIT(0) };

	page_query_add(&q, "path", a->path);
	page_query_add(&q, "act", a->act);
	page_query_add(&q, "user", a->user);
	page_query_add(&q, "since", a->since);
	page_query_add(&q, "until", a->until);
	page_query_add(&q, "below", below ? below : a->below);
	page_query_add_int(&q, "before", before);
	page_query_add(&q, "format", format);
	return addr(r, "/history", NULL, page_query_end(r, &q));
}

/* --- CSV ----------------------------------------------------------------------------------------------------------- */

/* Would a spreadsheet run it as a formula? The wide forms of the signs are signs too, in East Asian settings. */
static bool formula(const char *text)
{
	static const char *const WIDE[] = { "\uff1d", "\uff0b", "\uff0d", "\uff20" };

	if (*text && strchr("=+-@\t\r\n", *text))
		return true;
	for (size_t i = 0; i < sizeof WIDE / sizeof *WIDE; i++)
		if (strncmp(text, WIDE[i], strlen(WIDE[i])) == 0)
			return true;
	return false;
}

/* A cell; a formula gets an apostrophe in front. */
static void cell(struct buf *b, const char *text, bool last)
{
	buf_char(b, '"');
	if (formula(text))
		buf_char(b, '\'');
	for (const char *c = text; *c; c++) {
		if (*c == '"')
			buf_char(b, '"');
		buf_char(b, *c);
	}
	buf_str(b, last ? "\"\r\n" : "\",");
}

struct csv {
	struct req *r;
	struct buf b;
};

static void csv_act(struct csv *c, const struct history_item *item, const struct record_file *f)
{
	const struct record *rec = &item->record;
	struct page_deed deed;
	char at[CLOCK_TEXT_SIZE], md5[MD5_HEX] = "", sha256[SHA256_HEX] = "", number[24];
	struct buf fields = BUF_INIT(1u << 20);

	page_deed(c->r, item, &deed);
	clock_text(item->row->at, at);
	snprintf(number, sizeof number, "%" PRIu64, item->row->seq);
	cell(&c->b, number, false);
	cell(&c->b, at, false);
	cell(&c->b, item->row->act, false);
	cell(&c->b, item->row->actor, false);
	cell(&c->b, arena_printf(c->r->arena, "%s %s", deed.verb, deed.what), false);
	if (f) {
		hex_of(md5, f->print.md5.b, sizeof f->print.md5.b);
		hex_of(sha256, f->print.sha256.b, sizeof f->print.sha256.b);
		snprintf(number, sizeof number, "%" PRIu64, f->print.size);
	}
	cell(&c->b, f ? f->path.s : "", false);
	cell(&c->b, md5, false);
	cell(&c->b, sha256, false);
	cell(&c->b, f ? number : "", false);
	cell(&c->b, item->more_files ? "yes" : "no", false);
	cell(&c->b, item->row->note, false);
	bool fine = rec->fields && json_object_size(rec->fields) && json_canonical(&fields, rec->fields) == ERR_OK;
	cell(&c->b, fine ? buf_text(&fields) : "", false);
	buf_release(&fields);
	cell(&c->b, rec->rule.principal ? arena_printf(c->r->arena, "%s on %s for %s", role_name(rec->rule.role), rec->rule.path.s,
	    rec->rule.principal) : "", true);
}

static enum err csv_item(void *arg, const struct history_item *item)
{
	struct csv *c = arg;

	for (size_t i = 0; i < item->n_files; i++)
		csv_act(c, item, &item->files[i]);
	if (!item->n_files)
		csv_act(c, item, NULL);
	return ERR_OK;
}

static enum err reply_csv(struct req *r, struct asked *a)
{
	struct csv c = { r, BUF_INIT(CSV_LIMIT) };
	uint64_t next;

	buf_str(&c.b, "record,at,act,user,done,path,md5,sha256,size,more files in the record,note,fields,allowed by\r\n");
	enum err e = history_list(r, &a->q, csv_item, &c, &next);
	if (!e)
		e = buf_check(&c.b);
	if (e) {
		buf_release(&c.b);
		return e;
	}
	return reply_bytes(r, 200, "text/csv; charset=utf-8", &c.b, arena_printf(r->arena, "history-%s.csv", r->site->name));
}

/* As the API has it. */
static enum err reply_as_json(struct req *r, struct asked *a)
{
	struct answer answer;
	enum err e = answer_history(r, &answer, &a->q);

	return e ? e : answer_send(r, &answer, 200);
}

/* --- the page ------------------------------------------------------------------------------------------------------ */

struct listing {
	struct req *r;
	struct view_list *items;
	const struct path *about; /* the file that the page is about */
	const struct path *back; /* the file or directory, if he may take it back to earlier versions */
	uint64_t now; /* the record that approved the file as it is */
	size_t n;
};

/* Did it approve, or take away? Then there is a version to go back to. */
static bool has_version(const struct listing *l, const struct history_item *item)
{
	static const struct blob_id none;
	const char *act = item->row->act;
	bool approves = strcmp(act, "sign") == 0 || strcmp(act, "pickup") == 0 || strcmp(act, "rollback") == 0 || strcmp(act, "reapprove") == 0;

	if (!l->about)
		return approves || strcmp(act, "revoke") == 0;
	for (size_t i = 0; i < item->n_files && approves; i++)
		if (path_equal(item->files[i].path, *l->about) && memcmp(&item->files[i].blob, &none, sizeof none) == 0)
			approves = false; /* it took this one away */
	return approves && item->row->seq != l->now;
}

static enum err page_item(void *arg, const struct history_item *item)
{
	struct listing *l = arg;

	l->n++;
	if (l->items) {
		struct view_map *m = page_timeline_add(l->r, l->items, item, l->about);

		if (l->back && has_version(l, item)) {
			struct page_query q = { BUF_INIT(0) };

			page_query_add(&q, "path", l->back->s);
			page_query_add_int(&q, "record", item->row->seq);
			view_set(m, VIEW_again_href, addr(l->r, "/reapprove", NULL, page_query_end(l->r, &q)));
		}
	}
	return ERR_OK;
}

/* Had this name another life? Then its history is one click away. */
static enum err other_life(struct req *r, const struct asked *a, struct view_map *m)
{
	struct history_query q = { .path = a->q.path, .is_dir = !a->q.is_dir, .limit = 1 };
	struct listing none = { .r = r };
	uint64_t next;

	if (a->q.whole_site)
		return ERR_OK;
	enum err e = history_list(r, &q, page_item, &none, &next);
	if (e || !none.n)
		return e;
	view_set(m, VIEW_other_href, link_to(r, a, 0, NULL, q.is_dir ? "1" : "0"));
	view_set(m, VIEW_other_text, q.is_dir ? "There was also a directory of this name: its history"
	    : "There was also a file of this name: its history");
	return ERR_OK;
}

/* Of the path that the page is about: records of other filters belong to the same chain. */
static const char *evidence_link(struct req *r, const struct asked *a)
{
	struct buf query = BUF_INIT(4 * PATH_LIMIT);
	const char *out;

	buf_str(&query, "path=");
	percent_encode(&query, a->q.whole_site ? "/" : a->q.path.s, true);
	out = addr(r, "/evidence", NULL, arena_dup(r->arena, buf_text(&query)));
	buf_release(&query);
	return out;
}

static const char *heading(struct req *r, const struct asked *a)
{
	const char *of = a->q.whole_site ? NULL : a->q.path.s;

	if (a->q.actor && of)
		return arena_printf(r->arena, "What %s did in %s%s", page_person(r, a->q.actor), of, a->q.is_dir ? "/" : "");
	if (a->q.actor)
		return arena_printf(r->arena, "What %s did", page_person(r, a->q.actor));
	return of ? arena_printf(r->arena, "History of %s%s", of, a->q.is_dir ? "/" : "") : arena_printf(r->arena, "History of %s", r->site->name);
}

static enum err show(struct req *r, struct asked *a, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	struct listing l = { .r = r, .about = a->q.whole_site || a->q.is_dir ? NULL : &a->q.path };
	uint64_t next = 0;
	enum err e = ERR_OK;

	view_set(m, VIEW_heading, heading(r, a));
	view_set(m, VIEW_error, error);
	view_set(m, VIEW_path, a->path);
	view_set(m, VIEW_by, a->user);
	view_set(m, VIEW_since, a->since);
	view_set(m, VIEW_until, a->until);
	view_set(m, VIEW_below, a->below);
	struct view_list *acts = view_set_list(m, VIEW_acts);
	for (size_t i = 0; i < sizeof ACTS / sizeof *ACTS; i++) {
		struct view_map *o = view_list_add(acts);
		view_set(o, VIEW_value, ACTS[i]);
		view_set_bool(o, VIEW_here, strcmp(a->act, ACTS[i]) == 0);
		view_set(o, VIEW_word, history_verb(ACTS[i]));
	}
	view_set_bool(m, VIEW_filtered, *a->path || *a->act || *a->user || *a->since || *a->until);
	view_set(m, VIEW_clear_href, addr(r, "/history", NULL, NULL));
	if (!a->q.whole_site)
		view_set(m, VIEW_file_href, page_href(r, a->q.path, a->q.is_dir));
	l.items = view_set_list(m, VIEW_items);
	if (!a->q.whole_site && req_role_on(r, a->q.path) >= ROLE_SIGN) {
		struct catalog_entry entry;

		view_set(m, VIEW_reapprove_href, addr(r, "/reapprove", NULL, NULL));
		l.back = &a->q.path;
		if (l.about && catalog_get_file(r->site->catalog, a->q.path, &entry, r->arena) == ERR_OK && entry.has_approved)
			l.now = entry.approved.seq;
	}
	if (!error) {
		e = history_list(r, &a->q, page_item, &l, &next);
		if (!e && !a->q.before)
			e = other_life(r, a, m);
	}
	if (e)
		return e;
	view_set(m, VIEW_first_href, a->q.before ? link_to(r, a, 0, NULL, NULL) : NULL);
	view_set(m, VIEW_shown, l.n ? count_text(r->arena, l.n, "act") : NULL);
	view_set(m, VIEW_next_href, next ? link_to(r, a, next, NULL, NULL) : NULL);
	view_set(m, VIEW_csv_href, link_to(r, a, a->q.before, "csv", NULL));
	view_set(m, VIEW_json_href, link_to(r, a, a->q.before, "json", NULL));
	if (l.n && req_role_on(r, path_root()) == ROLE_ADMIN)
		view_set(m, VIEW_evidence_href, evidence_link(r, a));
	return reply_page(r, error ? 400 : 200, "history", "History", m);
}

/* GET /s/:site/history?path=&act=&user=&since=&until=&below=&before=&format= */
enum err page_history(struct req *r)
{
	struct asked a = { .path = typed(r, "path"), .act = typed(r, "act"), .user = typed(r, "user"), .since = typed(r, "since"),
		.until = typed(r, "until"), .q = { .limit = PAGE } };
	const char *format = typed(r, "format");
	enum err e = parse(r, &a);

	if (e == ERR_INPUT && !*format)
		return show(r, &a, arena_dup(r->arena, err_text()));
	if (e)
		return e;
	if (strcmp(format, "csv") == 0)
		return reply_csv(r, &a);
	if (strcmp(format, "json") == 0)
		return reply_as_json(r, &a);
	return show(r, &a, NULL);
}
