/* One file: compared, previewed, as text or source; what it is, what was done to it, and the forms to act on it. */
#include <string.h>

#include "core/selection.h"
#include "web/asked.h"
#include "web/compare.h"
#include "web/extract.h"
#include "web/mime.h"
#include "web/pages/marked.h"
#include "base/clock.h"
#include "view/show.h"
#include "web/history.h"
#include "web/pages/pages.h"
#include "web/targets.h"
#include "web/rights.h"
#include "web/signing.h"

enum file_tab { TAB_COMPARE, TAB_PREVIEW, TAB_TEXT, TAB_SOURCE, TAB_COUNT };

static const struct {
	const char *key, *name;
} TABS[TAB_COUNT] = { { "compare", "Compare" }, { "preview", "Preview" }, { "text", "Text" }, { "source", "Source" } };

static const char *sentence_of(struct req *r, const struct catalog_entry *e)
{
	switch (e->state) {
	case STATE_UNSIGNED: return "Never approved: it is not public.";
	case STATE_CHANGED: return "Staging differs from what is approved; production keeps the approved bytes.";
	case STATE_MISSING: return "Approved, but gone from staging; it stays public until somebody revokes it.";
	case STATE_REVOKED: return "Taken back: it is not public, or leaves production with the next sync.";
	case STATE_PREAPPROVED: return "Published without a signature, by a pre-approval.";
	case STATE_SIGNED: return "Staging equals what is approved.";
	case STATE_UNPUBLISHABLE: return problem_sentence(e->problem, r->site->conf->largest_file, arena_alloc(r->arena, PROBLEM_SENTENCE));
	case STATE_COUNT: break;
	}
	return "";
}

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Not every type with these letters in it: those of office files have them too. */
static bool is_xml(const char *type)
{
	return strstr(type, "/xml") || strstr(type, "+xml");
}

static bool previewable(const char *type)
{
	return starts(type, "text/") || starts(type, "image/") || is_xml(type) || strstr(type, "json");
}

static bool textual(const char *type)
{
	return starts(type, "text/") || is_xml(type) || strstr(type, "json") || strstr(type, "javascript");
}

/* --- models of the parts ------------------------------------------------------------------------------------------- */

static struct view_map *version_model(struct req *r, struct view_map *m, enum view_name name, const struct fingerprint *print, int64_t at)
{
	struct view_map *v = view_set_map(m, name);

	show_print(v, &print->sha256);
	show_md5(v, VIEW_md5, &print->md5);
	view_set(v, VIEW_size, size_text(r->arena, print->size));
	view_set_bool(v, VIEW_is_exec, print->exec);
	view_set(v, VIEW_exec, print->exec ? "1" : "0");
	show_time(v, VIEW_at, at, clock_wall());
	return v;
}

static void versions(struct req *r, struct view_map *m, const struct comparison *c)
{
	const struct catalog_entry *e = &c->entry;
	const char *content = arena_printf(r->arena, "/api/v1/sites/%s/content?path=", r->site->name);
	struct buf q = BUF_INIT(3 * PATH_LIMIT + 256);

	buf_str(&q, content);
	percent_encode(&q, e->path.s, false);
	if (c->has_staged) {
		version_model(r, m, VIEW_staged, &c->staged, e->st.mtime_ns / 1000);
		view_set(m, VIEW_download_href, arena_printf(r->arena, "%s&version=staged", buf_text(&q)));
	}
	if (c->has_approved) {
		struct view_map *v = version_model(r, m, VIEW_approved, &e->approved.print, e->approved.at);

		view_set(v, VIEW_by, page_person(r, e->approved.by));
		view_set_int(v, VIEW_seq, (int64_t)e->approved.seq);
		view_set(v, VIEW_record_href, page_record_href(r, e->approved.seq));
		view_set(m, VIEW_approved_href, arena_printf(r->arena, "%s&version=approved", buf_text(&q)));
	}
	buf_release(&q);
}

static void property(struct view_list *l, const char *name, const char *approved, const char *staged)
{
	struct view_map *p = view_list_add(l);

	view_set(p, VIEW_name, name);
	view_set(p, VIEW_approved, approved);
	view_set(p, VIEW_staged, staged);
	view_set_bool(p, VIEW_differs, strcmp(approved, staged) != 0);
}

/* What can be said of files that are not text, or too large: their properties. */
static void properties(struct req *r, struct view_map *m, const struct comparison *c)
{
	const struct fingerprint *a = &c->entry.approved.print, *s = &c->staged;
	struct view_list *l = view_set_list(m, VIEW_properties);
	char ah[SHA256_HEX] = "none", sh[SHA256_HEX] = "none";

	view_set_bool(m, VIEW_has_properties, true);
	if (c->has_approved)
		hex_of(ah, a->sha256.b, sizeof a->sha256.b);
	if (c->has_staged)
		hex_of(sh, s->sha256.b, sizeof s->sha256.b);
	property(l, "Size", c->has_approved ? size_text(r->arena, a->size) : "none", c->has_staged ? size_text(r->arena, s->size) : "none");
	property(l, "SHA-256", arena_dup(r->arena, ah), arena_dup(r->arena, sh));
	property(l, "Executable", c->has_approved ? a->exec ? "yes" : "no" : "none", c->has_staged ? s->exec ? "yes" : "no" : "none");
}

static void frame(struct req *r, struct view_list *frames, const char *name, const char *src, const char *caption)
{
	struct view_map *f = view_list_add(frames);

	view_set(f, VIEW_name, name);
	view_set(f, VIEW_src, src);
	view_set(f, VIEW_caption, caption);
	(void)r;
}

static void frames(struct req *r, struct view_map *m, const struct comparison *c, bool both)
{
	struct view_list *l = view_set_list(m, VIEW_frames);
	const struct catalog_entry *e = &c->entry;

	if (c->has_approved && both)
		frame(r, l, "Approved", preview_address(r, e->path, "approved", &e->approved.print.sha256), size_text(r->arena, e->approved.print.size));
	if (c->has_staged)
		frame(r, l, "Staged", preview_address(r, e->path, "staged", &c->staged.sha256), size_text(r->arena, c->staged.size));
	else if (c->has_approved && !both)
		frame(r, l, "Approved", preview_address(r, e->path, "approved", &e->approved.print.sha256), size_text(r->arena, e->approved.print.size));
	if (web_conf(r->web)->preview_port == 0)
		view_set_bool(m, VIEW_preview_root, true);
}

static const char *caption(struct req *r, const struct marked_counts *n, const char *what)
{
	return arena_printf(r->arena, "%s removed, %zu added%s", count_text(r->arena, n->removed, what), n->added, n->cut ? "; the rest is not shown" : "");
}

static enum err html_take(struct req *r, struct view_map *m, enum view_name name, struct buf *html)
{
	const enum err e = buf_check(html);

	if (!e)
		view_set_html(m, name, arena_dupn(r->arena, buf_text(html), html->len));
	buf_release(html);
	return e;
}

static enum err source_difference(struct req *r, struct view_map *m, const struct comparison *c)
{
	struct buf html = BUF_INIT(4 * MARKED_LIMIT + 65536);
	struct marked_counts n;
	enum err e = marked_source(buf_text(&c->approved_bytes), c->approved_bytes.len, buf_text(&c->staged_bytes), c->staged_bytes.len, &html, &n);

	if (e || n.binary) {
		buf_release(&html);
		if (!e)
			properties(r, m, c);
		return e;
	}
	view_set(m, VIEW_diff_caption, caption(r, &n, "line"));
	return html_take(r, m, VIEW_diff, &html);
}

static enum err text_difference(struct req *r, struct view_map *m, const struct comparison *c)
{
	struct buf html = BUF_INIT(4 * MARKED_LIMIT + 65536);
	struct marked_counts n;
	enum err e = marked_text(buf_text(&c->approved_bytes), c->approved_bytes.len, buf_text(&c->staged_bytes), c->staged_bytes.len, &html, &n);

	if (e) {
		buf_release(&html);
		return e;
	}
	if (n.added == 0 && n.removed == 0)
		view_set(m, VIEW_nothing, "The words that readers see are the same in both versions.");
	view_set(m, VIEW_text_caption, caption(r, &n, "word"));
	return html_take(r, m, VIEW_text_diff, &html);
}

static enum err source(struct req *r, struct view_map *m, const struct comparison *c)
{
	const struct buf *b = c->has_staged ? &c->staged_bytes : &c->approved_bytes;
	struct buf html = BUF_INIT(4 * MARKED_LIMIT + 65536);

	marked_plain(buf_text(b), b->len, &html);
	return html_take(r, m, VIEW_source, &html);
}

/* Text of one side of a PDF or office file, from the very bytes whose fingerprint is shown. */
static enum err extracted_side(const struct comparison *c, const struct buf *bytes, struct buf *text, bool *cut)
{
	bool this_cut;
	enum err e = extract_text(c->entry.path.s, buf_text(bytes), bytes->len, text, &this_cut);

	*cut |= this_cut;
	return e;
}

/* The text in a PDF or office file: of both versions what differs, of one all of it. What cannot be had is said. */
static enum err extracted(struct req *r, struct view_map *m, const struct comparison *c, bool both)
{
	struct buf a = BUF_INIT(EXTRACT_LIMIT + 1), b = BUF_INIT(EXTRACT_LIMIT + 1), html = BUF_INIT(4 * MARKED_LIMIT + 65536);
	struct marked_counts n = { 0 };
	bool cut = false;
	enum err e = ERR_OK;

	if (c->has_approved)
		e = extracted_side(c, &c->approved_bytes, &a, &cut);
	if (!e && c->has_staged)
		e = extracted_side(c, &c->staged_bytes, &b, &cut);
	if (!e && both) {
		buf_str(&html, "<table class=\"diff\"><tbody>");
		e = marked_source(buf_text(&a), a.len, buf_text(&b), b.len, &html, &n);
		buf_str(&html, "</tbody></table>");
	} else if (!e) {
		marked_plain(buf_text(c->has_staged ? &b : &a), c->has_staged ? b.len : a.len, &html);
	}
	const char *cut_words = cut || n.cut ? "; the rest is not shown" : "";
	if (e == ERR_NOT_FOUND || e == ERR_INPUT) {
		view_set(m, VIEW_extracted_note, arena_dup(r->arena, err_text()));
		e = ERR_OK;
	} else if (!e && (c->has_staged ? &b : &a)->len == 0 && a.len == 0) {
		view_set(m, VIEW_extracted_note, "There is no text in this file, only pictures or nothing at all.");
	} else if (!e && both && n.added == 0 && n.removed == 0) {
		view_set(m, VIEW_extracted_note, "The text is the same in both versions; something else differs: compare the downloads.");
	} else if (!e) {
		view_set(m, VIEW_extracted_caption, both ? caption(r, &n, "line") : arena_printf(r->arena, "of the %s version%s",
		    c->has_staged ? "staged" : "approved", cut_words));
		e = html_take(r, m, VIEW_extracted, &html);
	}
	buf_release(&a);
	buf_release(&b);
	buf_release(&html);
	return e;
}

/* What stands in the middle of the page, by tab and by kind of file. */
static enum err body(struct req *r, struct view_map *m, const struct comparison *c, enum file_tab tab, const char *type)
{
	const bool both = c->has_approved && c->has_staged;
	const bool same = both && fingerprint_equal(&c->entry.approved.print, &c->staged);

	if (!c->has_approved && !c->has_staged) {
		view_set(m, VIEW_nothing, c->entry.problem != PROBLEM_NONE ? arena_printf(r->arena, "It cannot be published: %s.", sentence_of(r, &c->entry)) :
		    "There is no version to show: the file was taken back, and it is not in staging.");
		return ERR_OK;
	}
	if (tab == TAB_PREVIEW) {
		if (previewable(type) && !extract_can(c->entry.path.s))
			frames(r, m, c, both && !same);
		else
			view_set(m, VIEW_nothing, "There is no preview of this kind of file. Download it to look at it.");
		return ERR_OK;
	}
	if (c->too_big || !textual(type) || extract_can(c->entry.path.s)) {
		if (starts(type, "image/"))
			frames(r, m, c, both && !same);
		properties(r, m, c);
		if (!extract_can(c->entry.path.s))
			return ERR_OK;
		if (!c->too_big)
			return extracted(r, m, c, both && !same);
		view_set(m, VIEW_extracted_note, arena_printf(r->arena, "Its text is not shown: that is done for files of up to %s.",
		    size_text(r->arena, COMPARE_LIMIT)));
		return ERR_OK;
	}
	if (tab == TAB_SOURCE)
		return source(r, m, c);
	if (tab == TAB_TEXT)
		return text_difference(r, m, c);
	if (same) {
		view_set(m, VIEW_nothing, "Both versions are the same, byte for byte: there is nothing to compare.");
		return ERR_OK;
	}
	if (!both)
		view_set(m, VIEW_nothing, c->has_staged ? "There is no approved version to compare with: all of it is new." :
		    "It is gone from staging: all of it would be removed.");
	return source_difference(r, m, c);
}

static void tabs(struct req *r, struct view_map *m, struct path path, enum file_tab tab)
{
	struct view_list *l = view_set_list(m, VIEW_tabs);
	struct view_map *t;

	for (int i = 0; i < TAB_COUNT; i++) {
		t = view_list_add(l);
		view_set(t, VIEW_name, TABS[i].name);
		view_set(t, VIEW_href, addr(r, "/file", &path, arena_printf(r->arena, "view=%s", TABS[i].key)));
		view_set_bool(t, VIEW_here, (int)tab == i);
	}
	t = view_list_add(l);
	view_set(t, VIEW_name, "History");
	view_set(t, VIEW_href, page_history_href(r, path, false));
}

/* What an act asks for; sent: what came back, if it was that act's form; NULL: no form was sent. */
static enum err form_asks(struct req *r, struct view_map *m, enum view_name name, const char *act, struct path path, const struct job_ask *sent)
{
	struct view_map *o = view_set_map(m, name);
	struct field_ask k;
	const bool here = sent && strcmp(sent->fa.act, act) == 0;
	enum err e = asked_one(r, act, path, &k);

	view_set_bool(o, VIEW_here, here);
	view_set(o, VIEW_note_value, here ? arena_dup(r->arena, sent->rq.note) : NULL);
	if (!e)
		(void)asked_model(r, o, &k, here ? sent->fa.fields : NULL, arena_printf(r->arena, "%s-f-", act));
	return e;
}

static enum err forms(struct req *r, struct view_map *m, const struct comparison *c, const struct job_ask *sent)
{
	const struct catalog_entry *e = &c->entry;
	const bool sign = c->has_staged && e->state != STATE_SIGNED && !selection_refusal("sign", e->state);
	struct sign_need need = { .need = 0 };
	enum err err = sign ? rights_needs_one(r, e->path, &c->staged, &need) : ERR_OK;

	if (err)
		return err;
	view_set(m, VIEW_needs, sign_need_text(&need, r->arena));
	view_set_bool(m, VIEW_can_sign, sign && r->role >= ROLE_SIGN && need.have >= need.need);
	view_set_bool(m, VIEW_can_review, (c->has_staged || c->has_approved) && r->role >= ROLE_REVIEW);
	view_set_bool(m, VIEW_can_revoke, c->has_approved && r->role >= ROLE_SIGN);
	if (r->role < ROLE_SIGN || need.have < need.need)
		view_set(m, VIEW_why_href, page_why(r, e->path));
	view_set(m, VIEW_op, page_op(r));
	view_set(m, VIEW_op_review, page_op(r));
	view_set(m, VIEW_op_revoke, page_op(r));
	show_hex(m, VIEW_review_sha256, (c->has_staged ? &c->staged.sha256 : &e->approved.print.sha256)->b, sizeof (struct sha256));
	show_hex(m, VIEW_revoke_sha256, (&e->approved.print.sha256)->b, sizeof (struct sha256));
	sign_model(r, m, sent ? sent->rq.meaning : NULL);
	err = form_asks(r, m, VIEW_ask_sign, "sign", e->path, sent);
	if (!err)
		err = form_asks(r, m, VIEW_ask_review, "review", e->path, sent);
	if (!err)
		err = form_asks(r, m, VIEW_ask_revoke, "revoke", e->path, sent);
	return err;
}

/* Where is it live, or gone from, since when, and who says so? A sentence for each target. */
static enum err target_words(struct req *r, const struct reach *x, const struct target_now *t, const char **out)
{
	const bool revoked = blob_id_zero(&x->version.blob);
	const char *name = t->conf->name;
	struct reach_target at;
	enum err e = reach_at(r, x, t, 0, &at);
	const unsigned long long number = at.since;

	if (at.confirmed_at && revoked)
		*out = arena_printf(r->arena, "Gone from %s: release %llu, confirmed %s, does not have it.", name, number, time_exact(r->arena, at.confirmed_at));
	else if (at.confirmed_at)
		*out = arena_printf(r->arena, "Live on %s since %s in release %llu, confirmed.", name, time_exact(r->arena, at.confirmed_at), number);
	else if (at.has_it && revoked)
		*out = arena_printf(r->arena, "Gone from %s with release %llu, as its kit says; nobody there can confirm it.", name, number);
	else if (at.has_it)
		*out = arena_printf(r->arena, "On %s in release %llu, as its kit says; nobody there can confirm it.", name, number);
	else
		*out = arena_printf(r->arena, revoked ? "Not yet confirmed gone from %s (%s)." : "Not yet confirmed on %s (%s).", name, at.state);
	return e;
}

static enum err live_words(struct req *r, const struct reach *x, const struct target_now *list, size_t n, const char **out)
{
	const char *words = "", *next;
	enum err e = ERR_OK;

	for (size_t i = 0; i < n && !e; i++) {
		e = target_words(r, x, &list[i], &next);
		words = arena_printf(r->arena, "%s%s%s", words, *words ? " " : "", next);
	}
	if (!n)
		words = arena_printf(r->arena, blob_id_zero(&x->version.blob) ? "It is not in release %llu of %s. No target is configured to take it from." :
		    "The approved version is in release %llu of %s. No target is configured to bring it to.",
		    (unsigned long long)x->first.number, time_exact(r->arena, x->first.at));
	*out = words;
	return e;
}

/* What production found when it read this file. */
static void differs_words(struct req *r, struct view_map *m, struct path path, const struct target_now *list, size_t n)
{
	const char *words = "";

	for (size_t i = 0; i < n; i++) {
		const struct target_difference *d = target_differs(&list[i], path);

		if (d)
			words = arena_printf(r->arena, "%sOn %s this file is %s: found at %s, when every live file was read. Production differs since %s. ", words,
			    list[i].conf->name, d->what, time_exact(r->arena, list[i].report_at), time_exact(r->arena, list[i].report_since));
	}
	view_set(m, VIEW_trouble_text, *words ? words : NULL);
}

static const char *pending_words(const struct reach *x)
{
	const bool revoked = blob_id_zero(&x->version.blob);

	if (x->held_until)
		return revoked ? "It is held back, and leaves production when the hold ends" : "The approved version is held back, and goes live when the hold ends";
	return revoked ? "It leaves production with the next sync" : "The approved version goes live with the next sync";
}

/* Is it live, and if not, when will it be? From what the releases have in them. */
static enum err live(struct req *r, struct view_map *m, const struct comparison *c)
{
	const struct catalog_entry *e = &c->entry;
	const struct approved_version version = reach_version(e);
	const char *words = NULL;
	struct target_now *list;
	struct sync_status st;
	struct reach reach;
	size_t n;
	enum err err = targets_now(r, &list, &n);

	if (err)
		return err;
	differs_words(r, m, e->path, list, n);
	if (!e->has_approved || e->approved.seq == 0)
		return ERR_OK;
	err = reach_find(r, e->path, &version, e->approved.seq, &reach);
	if (err)
		return err;
	if (reach.first.number) {
		err = live_words(r, &reach, list, n, &words);
		view_set(m, VIEW_live, words);
		return err;
	}
	sync_status(r->sync, &st);
	/* What was revoked before anything was released has nowhere to leave from. */
	if (!c->has_approved && !st.release)
		return ERR_OK;
	view_set(m, VIEW_pending, pending_words(&reach));
	if (reach.held_until)
		show_time(m, VIEW_next_sync, reach.held_until, clock_wall());
	else if (st.next.due != WINDOW_NEVER)
		show_time(m, VIEW_next_sync, st.next.due, clock_wall());
	return ERR_OK;
}

struct recent {
	struct req *r;
	struct view_list *items;
	struct path path;
};

static enum err recent_item(void *arg, const struct history_item *item)
{
	struct recent *l = arg;

	(void)page_timeline_add(l->r, l->items, item, &l->path);
	return ERR_OK;
}

static enum err file_page(struct req *r, struct path path, unsigned status, const char *moved, const struct job_ask *sent)
{
	const char *view = req_query(r, "view"), *type = mime_type(path.s);
	struct view_map *m = view_map_new(r->arena);
	struct history_query hq = { .path = path, .limit = 5 };
	struct recent recent = { .r = r, .path = path };
	enum file_tab tab = TAB_COMPARE;
	struct comparison c;
	uint64_t next;
	enum err e;

	e = compare_load(r, path, &c);
	if (e == ERR_INPUT && c.entry.is_dir)
		return reply_redirect(r, page_href(r, path, true));
	if (e)
		return e;
	/* with nothing to compare, the file itself comes first */
	if (!view && previewable(type) && (!c.has_approved || !c.has_staged || fingerprint_equal(&c.entry.approved.print, &c.staged)))
		tab = TAB_PREVIEW;
	for (int i = 0; view && i < TAB_COUNT; i++)
		if (strcmp(TABS[i].key, view) == 0)
			tab = (enum file_tab)i;
	page_crumbs(r, m, path);
	view_set(m, VIEW_path, path.s);
	show_state(m, c.entry.state);
	view_set(m, VIEW_sentence, sentence_of(r, &c.entry));
	view_set(m, VIEW_moved, moved);
	tabs(r, m, path, tab);
	versions(r, m, &c);
	e = forms(r, m, &c, sent);
	if (!e)
		e = live(r, m, &c);
	if (!e)
		e = body(r, m, &c, tab, type);
	compare_release(&c);
	recent.items = view_set_list(m, VIEW_items);
	if (!e)
		e = history_list(r, &hq, recent_item, &recent, &next);
	if (e)
		return e;
	view_set(m, VIEW_history_href, page_history_href(r, path, false));
	page_notice(r, m);
	return reply_page(r, status, "file", path_name(path), m);
}

enum err page_file(struct req *r)
{
	return file_page(r, r->path, 200, NULL, NULL);
}

enum err page_file_moved(struct req *r, const struct job_ask *ask, unsigned status, const char *sentence)
{
	/* The job's own copy may go away with the job. */
	const struct path path = path_copy(ask->dir, r->arena);

	r->role = req_role_on(r, path);
	return file_page(r, path, status, sentence, ask);
}
