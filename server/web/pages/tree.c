/* A directory with states and counts, or the files that match a search. Answered from memory, on the network thread. */
#include <string.h>

#include "base/clock.h"
#include "view/show.h"
#include "web/history.h"
#include "web/pages/pages.h"

#define TREE_PAGE 200
/* A page stays below 50 kB: there are fewer rows where names are long. tests/web/test_pages_size.py measures pages. */
#define TREE_BYTES 49900
#define TREE_FEWEST 10
#define HEAD_BYTES 4500 /* all but the rows, without addresses */
#define ROW_BYTES \
	sizeof("<tr><td><label><input type=checkbox name=path[] value=\"\"><a href=\"\">/</a></label><td class=><td><time datetime=></time><td></tr>\n")
#define STATE_BYTES sizeof("<b class=preapproved>10,000 pre-approved</b>")

struct tree_page {
	struct req *r;
	struct view_list *entries;
	size_t n, limit;
	size_t bytes; /* what the rows take, about */
	const char *before; /* of a row's address, which is relative to the page's */
	const char *last; /* cursor: name or path of the last one shown; a directory's with a slash */
	bool more;
	bool by_path; /* a search shows paths */
};

/* Returns the bytes of its states in the page. */
static size_t dir_row(struct req *r, struct view_map *m, const struct catalog_entry *e)
{
	static const enum file_state shown[] = { STATE_CHANGED, STATE_UNSIGNED, STATE_MISSING, STATE_REVOKED, STATE_UNPUBLISHABLE,
		STATE_PREAPPROVED, STATE_SIGNED };
	struct view_list *states = view_set_list(m, VIEW_states);
	uint64_t files = 0;
	size_t bytes = 0;

	view_set_bool(m, VIEW_is_dir, true);
	for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
		const uint64_t n = e->counts.n[shown[i]];
		struct view_map *s;

		files += n;
		if (n == 0)
			continue;
		s = view_list_add(states);
		show_state(s, shown[i]);
		view_set(s, VIEW_count, number_text(r->arena, n));
		bytes += STATE_BYTES;
	}
	view_set(m, VIEW_files, count_text(r->arena, files, "file"));
	return bytes;
}

/* What was done last, unless the state says it already. */
static const char *last_verb(const struct catalog_entry *e)
{
	if (e->approved.approval == APPROVAL_PREAPPROVED)
		return "picked up ";
	return e->state == STATE_SIGNED || e->state == STATE_REVOKED ? "" : e->approved.approval == APPROVAL_REVOKED ? "revoked " : "signed ";
}

/* To the minute, and relative: 200 times on a page. */
static size_t row_time(struct req *r, struct view_map *m, int64_t at)
{
	struct view_map *t = view_set_map(m, VIEW_at);
	char iso[CLOCK_TEXT_SIZE], rel[32];

	clock_text(at, iso);
	clock_relative(at, clock_wall(), rel);
	view_set(t, VIEW_iso, arena_printf(r->arena, "%.16sZ", iso));
	view_set(t, VIEW_rel, arena_dup(r->arena, rel));
	return strlen("2026-11-21T10:20Z ") + strlen(rel);
}

/* Returns the bytes that it puts into the page. */
static size_t file_row(struct req *r, struct view_map *m, const struct catalog_entry *e)
{
	size_t bytes = strlen(state_name(e->state)) + strlen(state_word(e->state)) + 6;

	show_state(m, e->state);
	if (e->problem != PROBLEM_NONE) {
		const char *why = problem_sentence(e->problem, r->site->conf->largest_file, arena_alloc(r->arena, PROBLEM_SENTENCE));

		view_set(m, VIEW_reason, why);
		bytes += page_bytes(why) + sizeof("<span class=reason></span>");
	}
	if (e->staged)
		view_set(m, VIEW_size, size_text(r->arena, e->print.size));
	else if (e->has_approved)
		view_set(m, VIEW_size, size_text(r->arena, e->approved.print.size));
	if (e->has_approved && e->approved.approval != APPROVAL_NONE) {
		const char *last = arena_printf(r->arena, "%sby %s", last_verb(e), page_person(r, e->approved.by));

		view_set(m, VIEW_last, last);
		bytes += page_bytes(last) + 1 + row_time(r, m, e->approved.at);
	} else if (e->staged) {
		bytes += row_time(r, m, e->st.mtime_ns / 1000);
	}
	return bytes;
}

/* Rows link below the page's own address, so that a long path is not said 200 times. A file there leads on to its page. */
static const char *row_href(const struct tree_page *t, struct path p, bool is_dir)
{
	struct req *r = t->r;
	struct buf b = BUF_INIT(3 * PATH_LIMIT + 8);
	const char *text;

	buf_str(&b, t->before);
	percent_encode(&b, p.s + (path_is_root(r->path) ? 1 : r->path.len + 1), false);
	buf_str(&b, is_dir ? "/" : "");
	text = arena_dup(r->arena, buf_text(&b));
	buf_release(&b);
	return text;
}

/* At most what a row will take. */
static size_t row_bytes(const struct catalog_entry *e, const char *name)
{
	const size_t states = e->is_dir ? STATE_COUNT * STATE_BYTES : 120;

	return ROW_BYTES + 2 * page_bytes(name) + 6 * strlen(name) + states + (e->problem == PROBLEM_NONE ? 0 : PROBLEM_SENTENCE);
}

static bool tree_row(void *arg, const struct catalog_entry *e)
{
	struct tree_page *t = arg;
	struct req *r = t->r;
	struct view_map *m;
	struct path p;
	const char *name;

	p = path_copy(e->path, r->arena);
	name = t->by_path ? p.s : arena_dup(r->arena, e->name);
	/* This row, and its name once more as the cursor of the next page. */
	if (t->n == t->limit || (t->n >= TREE_FEWEST && t->bytes + row_bytes(e, name) > TREE_BYTES)) {
		t->more = true;
		return false;
	}
	t->n++;
	t->last = e->is_dir ? arena_printf(r->arena, "%s/", name) : name;
	t->bytes += ROW_BYTES + page_bytes(name);
	m = view_list_add(t->entries);
	view_set(m, VIEW_name, name);
	if (e->problem != PROBLEM_NAME && e->problem != PROBLEM_TOO_LONG) {
		const char *href = row_href(t, p, e->is_dir);

		t->bytes += strlen(href);
		view_set(m, VIEW_href, href);
		if (e->is_dir || e->problem == PROBLEM_NONE) {
			view_set(m, VIEW_value, name);
			t->bytes += page_bytes(name);
		}
	}
	if (e->is_dir)
		t->bytes += dir_row(r, m, e);
	else
		t->bytes += file_row(r, m, e);
	return true;
}

struct tree_query {
	const char *show, *sort, *match;
	enum catalog_order order;
	bool descending;
	unsigned states;
};

/* The address of this list with some of its filters changed; NULL leaves one out. */
static const char *tree_href(struct req *r, const char *show, const char *sort, const char *match, const char *after, uint64_t offset)
{
	struct buf q = BUF_INIT(16384);
	const struct { const char *name, *value; } parts[] = { { "show", show }, { "sort", sort }, { "q", match }, { "after", after } };
	const char *out;

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		if (!parts[i].value || !*parts[i].value)
			continue;
		buf_fmt(&q, "%s%s=", q.len ? "&" : "", parts[i].name);
		percent_encode(&q, parts[i].value, true);
	}
	if (offset)
		buf_fmt(&q, "%sfrom=%llu", q.len ? "&" : "", (unsigned long long)offset);
	out = addr(r, "/tree", &r->path, q.len ? buf_text(&q) : NULL);
	buf_release(&q);
	return out;
}

static enum err query_parse(struct req *r, struct tree_query *q)
{
	static const struct { const char *name; enum catalog_order order; } orders[] = { { "name", ORDER_NAME }, { "state", ORDER_STATE },
		{ "size", ORDER_SIZE }, { "time", ORDER_TIME } };
	const char *sort;
	enum file_state s;

	*q = (struct tree_query){ .show = req_query(r, "show"), .sort = req_query(r, "sort"), .match = req_query(r, "q") };
	if (q->match && !*q->match)
		q->match = NULL;
	if (q->show && *q->show) {
		if (!state_parse(&s, q->show))
			return err_set(ERR_INPUT, "There is no state \"%s\".", q->show);
		q->states = 1u << s;
	}
	if (!q->sort)
		return ERR_OK;
	sort = q->sort;
	if (*sort == '-') {
		q->descending = true;
		sort++;
	}
	for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
		if (strcmp(orders[i].name, sort) == 0) {
			q->order = orders[i].order;
			return ERR_OK;
		}
	return err_set(ERR_INPUT, "The list can be sorted by name, state, size or time.");
}

static void sort_links(struct req *r, struct view_map *m, const struct tree_query *q)
{
	static const struct { enum catalog_order order; const char *up, *down; enum view_name link, sorted; } columns[] = {
		{ ORDER_NAME, "name", "-name", VIEW_sort_name, VIEW_sorted_name },
		{ ORDER_STATE, "state", "-state", VIEW_sort_state, VIEW_sorted_state },
		{ ORDER_SIZE, "size", "-size", VIEW_sort_size, VIEW_sorted_size },
		{ ORDER_TIME, "time", "-time", VIEW_sort_time, VIEW_sorted_time },
	};

	for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
		const bool here = q->order == columns[i].order;

		view_set(m, columns[i].link, tree_href(r, q->show, here && !q->descending ? columns[i].down : columns[i].up, q->match, NULL, 0));
		if (here)
			view_set(m, columns[i].sorted, q->descending ? "descending" : "ascending");
	}
}

static void tabs(struct req *r, struct view_map *m, const struct tree_query *q, const struct catalog_counts *counts)
{
	static const enum file_state order[] = { STATE_CHANGED, STATE_UNSIGNED, STATE_MISSING, STATE_REVOKED, STATE_PREAPPROVED,
		STATE_SIGNED, STATE_UNPUBLISHABLE };
	struct view_list *list = view_set_list(m, VIEW_tabs);
	struct view_map *tab = view_list_add(list);
	uint64_t all = 0;

	for (int s = 0; s < STATE_COUNT; s++)
		all += counts->n[s];
	view_set(tab, VIEW_name, "All");
	view_set_int(tab, VIEW_count, (int64_t)all);
	view_set(tab, VIEW_href, tree_href(r, NULL, q->sort, q->match, NULL, 0));
	view_set_bool(tab, VIEW_here, q->states == 0);
	view_set(m, VIEW_total, count_text(r->arena, all, "file"));
	for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
		const bool here = q->states == 1u << order[i];

		if (counts->n[order[i]] == 0 && !here)
			continue;
		tab = view_list_add(list);
		view_set(tab, VIEW_name, state_word(order[i]));
		view_set(tab, VIEW_state, state_name(order[i]));
		view_set_int(tab, VIEW_count, (int64_t)counts->n[order[i]]);
		view_set(tab, VIEW_href, tree_href(r, state_name(order[i]), q->sort, q->match, NULL, 0));
		view_set_bool(tab, VIEW_here, here);
	}
}

/* What his role lets him do with a list; the batch is offered where one of these acts could take anything up. */
static void actions(struct req *r, struct view_map *m, const struct tree_query *q, const struct catalog_counts *counts)
{
	uint64_t matching = 0;

	view_set_bool(m, VIEW_can_act, r->role >= ROLE_REVIEW);
	view_set_bool(m, VIEW_can_sign, r->role >= ROLE_SIGN);
	view_set_bool(m, VIEW_can_review, r->role >= ROLE_REVIEW);
	view_set_bool(m, VIEW_can_revoke, r->role >= ROLE_SIGN);
	if (r->role < ROLE_SIGN)
		view_set(m, VIEW_why_href, page_why(r, r->path));
	for (int s = 0; s < STATE_COUNT; s++)
		if (s != STATE_UNPUBLISHABLE && (!q->states || q->states & 1u << s))
			matching += counts->n[s];
	/* a search is no selection: only what is shown can be picked there */
	if (matching == 0 || q->match)
		return;
	view_set_int(m, VIEW_matching, (int64_t)matching);
	view_set(m, VIEW_matching_word, q->states ? arena_printf(r->arena, "%s here and below that %s %s", count_text(r->arena, matching, "file"),
	    matching == 1 ? "is" : "are", q->show) : arena_printf(r->arena, "all here and below, %s", count_text(r->arena, matching, "file")));
}

static const char *shown_words(struct req *r, uint64_t from, size_t n)
{
	return n == 0 ? "" : arena_printf(r->arena, "%llu to %llu", (unsigned long long)from + 1, (unsigned long long)(from + n));
}

/* A file of a list, or a directory that became one. */
static bool leads_to_file(struct req *r)
{
	struct catalog_entry e;

	return r->role >= ROLE_VIEW && catalog_get(r->site->catalog, r->path, &e, r->arena) == ERR_OK && !e.is_dir;
}

/* The part of a relative address that leads from this page to what is in its directory. */
static const char *before_rows(struct req *r)
{
	const char *target = req_target(r);
	const size_t n = strcspn(target, "?");
	struct buf b = BUF_INIT(3 * PATH_LIMIT);
	const char *text = "";

	if (target[n - 1] != '/') {
		percent_encode(&b, path_name(r->path), true);
		buf_char(&b, '/');
		text = arena_dup(r->arena, buf_text(&b));
	}
	buf_release(&b);
	return text;
}

/* Its own address is in tabs and columns, and those above it in the crumbs. */
static size_t head_bytes(struct req *r, const struct tree_query *q)
{
	const size_t own = strlen(tree_href(r, q->show, q->sort, q->match, NULL, 0));
	size_t times = 14;

	for (const char *c = r->path.s; *c; c++)
		times += *c == '/';
	return HEAD_BYTES + times * own + (q->match ? 3 * page_bytes(q->match) : 0);
}

enum err page_tree(struct req *r)
{
	struct catalog *c = r->site->catalog;
	uint64_t generation;
	struct catalog_view view = req_view(r);
	struct tree_query q;
	struct catalog_counts counts;
	struct view_map *m;
	struct tree_page t = { .r = r, .limit = TREE_PAGE };
	struct catalog_query cq;
	uint64_t from;
	enum err e;

	if (leads_to_file(r))
		return reply_redirect(r, page_href(r, r->path, false));
	/* what has been saved a moment ago, or has no watcher, has to be looked at first, and that may wait */
	if (!catalog_current(c)) {
		if (!r->tools)
			return ERR_RETRY;
		e = catalog_refresh(c, r->path);
		if (e)
			return e;
	}
	generation = catalog_generation(c, r->path);
	if (reply_cached(r, generation))
		return ERR_OK;
	/* what an act just did is read from the database */
	if (req_query(r, "done") && !r->tools)
		return ERR_RETRY;
	e = query_parse(r, &q);
	if (!e)
		e = req_number(r, "from", 0, 100000000, 0, &from);
	if (!e)
		e = catalog_count(c, r->path, &view, &counts);
	if (e)
		return e;
	m = view_map_new(r->arena);
	cq = (struct catalog_query){ .dir = r->path, .recursive = q.match != NULL, .states = q.states, .order = q.order,
		.descending = q.descending, .match = q.match, .after = req_query(r, "after"), .offset = from };
	t.by_path = cq.recursive;
	t.before = before_rows(r);
	t.bytes = head_bytes(r, &q);
	if (cq.recursive) {
		cq.order = ORDER_NAME;
		cq.descending = false;
	}
	if (cq.order == ORDER_NAME && !cq.descending)
		cq.offset = 0;
	t.entries = view_set_list(m, VIEW_entries);
	e = catalog_list(c, &cq, &view, tree_row, &t);
	if (e)
		return e;
	page_crumbs(r, m, r->path);
	view_set(m, VIEW_path, path_is_root(r->path) ? "/" : arena_printf(r->arena, "%s/", r->path.s));
	view_set(m, VIEW_q, q.match);
	view_set(m, VIEW_reset_href, tree_href(r, NULL, NULL, NULL, NULL, 0));
	view_set(m, VIEW_states_value, q.show ? q.show : "");
	tabs(r, m, &q, &counts);
	sort_links(r, m, &q);
	actions(r, m, &q, &counts);
	if (r->role >= ROLE_VIEW)
		view_set(m, VIEW_history_href, page_history_href(r, r->path, true));
	view_set_bool(m, VIEW_has_entries, t.n > 0);
	view_set(m, VIEW_shown, shown_words(r, from, t.n));
	if (from || cq.after)
		view_set(m, VIEW_first_href, tree_href(r, q.show, q.sort, q.match, NULL, 0));
	if (t.more)
		view_set(m, VIEW_next_href, tree_href(r, q.show, q.sort, q.match, cq.order == ORDER_NAME && !cq.descending ? t.last : NULL, from + t.n));
	page_notice(r, m);
	reply_cache_put(r, generation);
	return reply_page(r, 200, "tree", path_is_root(r->path) ? "Files" : path_name(r->path), m);
}
