/* Home: what waits for this person, what is signed and not live, what admins must look at. */
#include <string.h>

#include "base/clock.h"
#include "view/show.h"
#include "web/history.h"
#include "web/pages/pages.h"
#include "web/targets.h"

#define HOME_WAITING 20
#define HOME_RECENT 6
/* How many files are looked at to find the oldest; beyond it the list begins anywhere and says that there are more. */
#define HOME_LOOK 5000

struct waiting {
	struct catalog_entry *list;
	size_t n, cap;
	struct req *r;
	enum role need;
};

static bool waiting_add(void *arg, const struct catalog_entry *e)
{
	struct waiting *w = arg;
	struct catalog_entry *copy;

	if (w->n == HOME_LOOK)
		return false;
	if (req_role_on(w->r, e->path) < w->need)
		return true;
	if (w->n == w->cap)
		w->list = mem_grow(w->list, &w->cap, w->n + 1, sizeof *w->list);
	copy = &w->list[w->n++];
	*copy = *e;
	copy->path = path_copy(e->path, w->r->arena);
	copy->approved.by = e->has_approved && e->approved.by ? arena_dup(w->r->arena, e->approved.by) : "";
	return true;
}

/* Oldest first: since when has it been waiting? */
static int64_t since_of(const struct catalog_entry *e)
{
	return e->staged ? e->st.mtime_ns / 1000 : e->approved.at;
}

static int by_age(const void *a, const void *b)
{
	const int64_t x = since_of(a), y = since_of(b);

	return x < y ? -1 : x > y;
}

static const char *what_of(enum file_state s)
{
	return s == STATE_UNSIGNED ? "new," : s == STATE_MISSING ? "gone from staging; approved" : "changed";
}

static enum err collect(struct req *r, unsigned states, enum role need, struct waiting *w)
{
	struct catalog_view view = req_view(r);
	struct catalog_query q = { .dir = path_root(), .recursive = true, .states = states };

	*w = (struct waiting){ .r = r, .need = need };
	return catalog_list(r->site->catalog, &q, &view, waiting_add, w);
}

static enum err waiting_model(struct req *r, struct view_map *m)
{
	struct view_list *l = view_set_list(m, VIEW_waiting);
	struct waiting w;
	bool can_sign = false;
	enum err e = collect(r, 1u << STATE_CHANGED | 1u << STATE_UNSIGNED | 1u << STATE_MISSING, ROLE_SIGN, &w);

	if (e)
		goto out;
	if (w.n)
		qsort(w.list, w.n, sizeof *w.list, by_age);
	for (size_t i = 0; i < w.n; i++) {
		const struct catalog_entry *entry = &w.list[i];
		struct view_map *row;

		can_sign |= entry->state != STATE_MISSING;
		if (i >= HOME_WAITING)
			continue;
		row = view_list_add(l);
		view_set(row, VIEW_path, entry->path.s);
		view_set(row, VIEW_href, page_href(r, entry->path, false));
		show_state(row, entry->state);
		view_set(row, VIEW_what, what_of(entry->state));
		show_time(row, VIEW_at, since_of(entry), clock_wall());
	}
	if (w.n)
		view_set(m, VIEW_waiting_count, arena_printf(r->arena, w.n == HOME_LOOK ? "more than %zu" : "%zu", w.n));
	if (w.n > HOME_WAITING)
		view_set(m, VIEW_waiting_more, addr(r, "/tree", NULL, "show=changed"));
	const bool uniform = role_uniform_below(r->rules, &r->person->who, path_root());
	view_set_bool(m, VIEW_can_sign_all, can_sign && uniform);
	view_set(m, VIEW_why_href, w.n && !uniform ? page_why(r, path_root()) : NULL);
out:
	free(w.list);
	return e;
}

static enum err unreviewed_model(struct req *r, struct view_map *m)
{
	struct view_list *l = view_set_list(m, VIEW_unreviewed);
	struct waiting w;
	size_t shown = 0, all = 0;
	enum err e = collect(r, 1u << STATE_SIGNED | 1u << STATE_CHANGED | 1u << STATE_MISSING, ROLE_REVIEW, &w);

	for (size_t i = 0; !e && i < w.n; i++) {
		const struct catalog_entry *entry = &w.list[i];
		struct view_map *row;

		if (!entry->has_approved || (entry->approved.review_seq && sha256_equal(&entry->approved.reviewed, &entry->approved.print.sha256)))
			continue;
		all++;
		if (shown >= HOME_WAITING / 2)
			continue;
		shown++;
		row = view_list_add(l);
		view_set(row, VIEW_path, entry->path.s);
		view_set(row, VIEW_href, page_href(r, entry->path, false));
		view_set(row, VIEW_by, page_person(r, entry->approved.by));
		show_time(row, VIEW_at, entry->approved.at, clock_wall());
	}
	if (all)
		view_set(m, VIEW_unreviewed_count, arena_printf(r->arena, w.n == HOME_LOOK ? "more than %zu" : "%zu", all));
	if (all > shown)
		view_set(m, VIEW_unreviewed_more, addr(r, "/tree", NULL, "show=signed"));
	view_set_bool(m, VIEW_can_review, true);
	free(w.list);
	return e;
}

struct acts_of {
	struct req *r;
	struct view_list *list;
	size_t n, files;
	const char *last_path;
	const struct db_release *since; /* what it has in it is left out; NULL: nothing is */
};

static enum err recent_item(void *arg, const struct history_item *item)
{
	struct acts_of *l = arg;
	struct view_map *row = view_list_add(l->list);
	struct page_deed deed;

	page_deed(l->r, item, &deed);
	view_set(row, VIEW_href, page_record_href(l->r, item->row->seq));
	view_set(row, VIEW_verb, deed.verb);
	view_set(row, VIEW_what, deed.what);
	show_time(row, VIEW_at, item->row->at, clock_wall());
	if (*item->row->note)
		view_set(row, VIEW_note, arena_dup(l->r->arena, item->row->note));
	return ERR_OK;
}

static void pending_add(struct acts_of *l, struct path path, const char *act, int64_t at)
{
	struct view_map *row = view_list_add(l->list);

	view_set(row, VIEW_path, path.s);
	view_set(row, VIEW_href, page_href(l->r, path, false));
	view_set(row, VIEW_verb, history_verb(act));
	show_time(row, VIEW_at, at, clock_wall());
	l->n++;
}

/* His acts since the newest release: what he signed and nobody can see yet. */
static enum err pending_item(void *arg, const struct history_item *item)
{
	struct acts_of *l = arg;

	if ((strcmp(item->row->act, "sign") != 0 && strcmp(item->row->act, "revoke") != 0) ||
	    (item->row->seq <= l->since->as_of && !strcmp(item->row->node, l->since->node)))
		return ERR_OK;
	for (size_t i = 0; i < item->n_files && l->n < HOME_WAITING / 2; i++)
		pending_add(l, path_copy(item->files[i].path, l->r->arena), item->row->act, item->row->at);
	l->files += item->whole ? item->row->files_count : item->n_files;
	return ERR_OK;
}

/* Approved by him, and not again since the release, which is told by its record. */
static bool his(struct req *r, const struct acts_of *l, const struct catalog_entry *entry)
{
	const struct approved *a = &entry->approved;

	return entry->has_approved && a->seq <= l->since->as_of && a->by && strcmp(a->by, r->person->who.user) == 0;
}

/* And what of his that release left out, since it was held or a take-down was cut. */
static enum err kept_back(struct req *r, struct acts_of *l)
{
	struct arena *a = arena_new();
	struct plan plan;
	enum err e = site_kept_back(r->site, r->tools, l->since, &plan);

	for (size_t i = 0; i < plan.n && !e; i++) {
		const struct path path = plan.items[i].path;
		struct catalog_entry entry;

		if (arena_used(a) > (1u << 20)) {
			arena_free(a);
			a = arena_new();
		}
		if (req_role_on(r, path) < ROLE_VIEW || catalog_get_file(r->site->catalog, path, &entry, a) || !his(r, l, &entry))
			continue;
		l->files++;
		if (l->n < HOME_WAITING / 2)
			pending_add(l, path_copy(path, r->arena), entry.approved.approval == APPROVAL_REVOKED ? "revoke" : "sign", entry.approved.at);
	}
	plan_release(&plan);
	arena_free(a);
	return e;
}

static enum err mine(struct req *r, struct view_map *m, const struct db_release *rel)
{
	struct history_query q = { .path = path_root(), .whole_site = true, .actor = r->person->who.user, .limit = HOME_RECENT };
	struct acts_of recent = { .r = r, .list = view_set_list(m, VIEW_recent) };
	struct acts_of pending = { .r = r, .list = view_set_list(m, VIEW_pending), .since = rel };
	struct db_record_row last = { .at = 0 };
	uint64_t next;
	enum err e = history_list(r, &q, recent_item, &recent, &next);

	if (!e && rel->as_of)
		e = db_record_get(tools_db(r->tools), r->site->name, rel->node, rel->as_of, &last, r->arena);
	q.since = last.at;
	q.limit = 50;
	if (!e)
		e = history_list(r, &q, pending_item, &pending, &next);
	if (!e)
		e = kept_back(r, &pending);
	if (pending.files)
		view_set_int(m, VIEW_pending_count, (int64_t)pending.files);
	if (pending.files > pending.n)
		view_set(m, VIEW_pending_more, addr(r, "/sync", NULL, NULL));
	return e;
}

static void target_attention(struct req *r, struct view_list *attention, const struct target_now *t)
{
	const char *sentence = NULL;
	struct view_map *a;

	if (t->held.number)
		sentence = arena_printf(r->arena, "Target %s holds release %llu, which this server does not know: somebody has to look before it takes another.", t->conf->name,
		    (unsigned long long)t->held.number);
	else if (!strcmp(t->state, "failed") || !strcmp(t->state, "sent"))
		sentence = arena_printf(r->arena, "Target %s could not be brought up to date; it holds release %llu.", t->conf->name, (unsigned long long)t->number);
	else if (!strcmp(t->state, "unconfirmed"))
		sentence = arena_printf(r->arena, "Target %s did not confirm what was sent; it confirmed release %llu.", t->conf->name, (unsigned long long)t->number);
	else if (t->has_report && !t->report_good && !t->report_old)
		sentence = arena_printf(r->arena, "On target %s live files differ from what was signed, since %s.", t->conf->name, time_exact(r->arena, t->report_since));
	if (!sentence)
		return;
	a = view_list_add(attention);
	view_set(a, VIEW_sentence, sentence);
	view_set(a, VIEW_href, addr(r, "/sync", NULL, NULL));
}

static const char *where_words(struct arena *a, size_t confirmed, size_t there, size_t all)
{
	const char *targets = count_text(a, all, "target");

	if (confirmed == there)
		return arena_printf(a, confirmed == all && all ? "Confirmed on %zu of %s." : "Confirmed on %zu of %s so far.", confirmed, targets);
	return arena_printf(a, "On %zu of %s, confirmed on %zu.", there, targets, confirmed);
}

static enum err live_model(struct req *r, struct view_map *m, const struct db_release *rel, struct view_list *attention)
{
	const bool admin = req_role_on(r, path_root()) == ROLE_ADMIN;
	struct target_now *list;
	struct view_map *live;
	size_t n, there = 0, confirmed = 0;
	enum err e = targets_now(r, &list, &n);

	for (size_t i = 0; i < n && !e; i++) {
		there += list[i].number == rel->number;
		confirmed += list[i].number == rel->number && list[i].receipt.number;
		if (admin)
			target_attention(r, attention, &list[i]);
	}
	if (e || !rel->number)
		return e;
	live = view_set_map(m, VIEW_live);
	view_set_int(live, VIEW_number, (int64_t)rel->number);
	show_time(live, VIEW_at, rel->at, clock_wall());
	view_set(live, VIEW_href, addr(r, "/sync", NULL, NULL));
	view_set(live, VIEW_sentence, n ? where_words(r->arena, confirmed, there, n) : "No target is configured.");
	return ERR_OK;
}

/* --- what the last check found ---------------------------------------------------------------------------------------- */

struct checked {
	struct req *r;
	struct view_list *attention;
	const char *href;
};

static void check_attention(void *arg, const struct keeper_report *p)
{
	struct checked *c = arg;
	struct view_map *a;
	struct buf what = BUF_INIT(512);

	if (!p->number || (!p->err && p->result.repaired >= p->result.findings))
		return;
	for (size_t i = 0; i < p->n_findings && i < 3; i++)
		buf_fmt(&what, "%s%s", i ? ", " : ": ", finding_name(p->findings[i].id));
	a = view_list_add(c->attention);
	if (p->err)
		view_set(a, VIEW_sentence, arena_printf(c->r->arena, "The last check could not be done: %s", p->why));
	else
		view_set(a, VIEW_sentence, arena_printf(c->r->arena, "The last check found %s%s%s.", count_text(c->r->arena, p->result.findings - p->result.repaired, "fault"),
		    buf_text(&what), p->n_findings > 3 ? ", ..." : ""));
	view_set(a, VIEW_href, c->href);
	buf_release(&what);
}

static void check_model(struct req *r, struct view_list *attention)
{
	struct checked c = { .r = r, .attention = attention };

	if (!web_keeper(r->web) || req_role_on(r, path_root()) != ROLE_ADMIN)
		return;
	c.href = addr(r, "/check", NULL, NULL);
	(void)keeper_read(web_keeper(r->web), r->site->name, check_attention, &c);
	(void)keeper_read(web_keeper(r->web), "installation", check_attention, &c);
}

enum err page_home(struct req *r)
{
	struct view_map *m = view_map_new(r->arena);
	struct view_list *attention = view_set_list(m, VIEW_attention);
	struct db_release rel = { 0 };
	struct sync_status st;
	enum err e = catalog_refresh(r->site->catalog, path_root());

	if (e)
		return e;
	e = db_release_get(tools_db(r->tools), r->site->name, 0, &rel, r->arena);
	if (e == ERR_NOT_FOUND)
		e = ERR_OK;
	if (!e)
		e = waiting_model(r, m);
	if (!e && r->role == ROLE_REVIEW)
		e = unreviewed_model(r, m);
	if (!e)
		e = mine(r, m, &rel);
	if (!e)
		e = live_model(r, m, &rel, attention);
	if (e)
		return e;
	check_model(r, attention);
	sync_status(r->sync, &st);
	if (!st.running && st.next.due != WINDOW_NEVER)
		show_time(m, VIEW_next_sync, st.next.due, clock_wall());
	page_running(r, m);
	page_notice(r, m);
	return reply_page(r, 200, "home", "Home", m);
}

/* GET / : to the only site, or the list of them */
enum err page_front(struct req *r)
{
	const struct web_site *sites;
	const size_t n = web_sites(r->web, &sites);
	struct view_map *m = view_map_new(r->arena);
	struct view_list *l = view_set_list(m, VIEW_places);
	const char *only = NULL;

	for (size_t i = 0; i < n; i++) {
		struct rules *rules = site_rules(sites[i].site);
		const enum role role = role_on(rules, &r->person->who, path_root());
		const bool seen = role >= ROLE_VIEW || role_sees_below(rules, &r->person->who, path_root());
		struct view_map *s;

		rules_unref(rules);
		if (!seen)
			continue;
		only = arena_printf(r->arena, "/s/%s/", sites[i].site->name);
		s = view_list_add(l);
		view_set(s, VIEW_name, sites[i].site->conf->title);
		view_set(s, VIEW_href, only);
		view_set(s, VIEW_role, role_name(role));
	}
	if (view_list_count(l) == 1)
		return reply_redirect(r, only);
	return reply_page(r, 200, "sites", "Sites", m);
}
