/* Before an act on several files: what exactly it will take up. */
#include <string.h>

#include "base/clock.h"
#include "view/show.h"
#include "web/asked.h"
#include "web/history.h"
#include "web/pages/pages.h"
#include "web/pages/pick.h"
#include "web/rights.h"
#include "web/signing.h"

#define NEEDS_SHOWN 20
/* The page stays below 50 kB: so much of it is rows; the others come with "Show more". */
#define CONFIRM_BYTES 41000
#define CONFIRM_FEWEST 10
#define ROW_BYTES 220 /* of the template with a fingerprint, without names; tests/web/test_pages_size.py measures pages */

struct verb {
	const char *act, *verb, *meaning;
	bool danger;
};

static const struct verb VERBS[] = {
	{ "sign", "Sign", "They go to production with the next sync.", false },
	{ "review", "Review", "A review says that you have looked at them. It changes nothing in production.", false },
	{ "revoke", "Revoke", "They leave production with the next sync. Their history stays.", true },
};

static const struct verb *verb_find(const char *act)
{
	for (size_t i = 0; act && i < sizeof VERBS / sizeof *VERBS; i++)
		if (strcmp(VERBS[i].act, act) == 0)
			return &VERBS[i];
	return NULL;
}

/* What the act means for the files of one state. */
static const char *group_words(const char *act, enum file_state s)
{
	const bool sign = strcmp(act, "sign") == 0, revoke = strcmp(act, "revoke") == 0;

	if (sign && s == STATE_CHANGED)
		return "production gets the new bytes";
	if (sign && s == STATE_UNSIGNED)
		return "new in production";
	if (sign && s == STATE_REVOKED)
		return "back in production";
	if (revoke && s == STATE_CHANGED)
		return "the approved version leaves production";
	if (revoke)
		return "out of production";
	return s == STATE_MISSING ? "the approved version" : "as staged";
}

/* One row; returns the bytes that it takes in the page, about. preview: what a path is put behind; NULL: none. */
static size_t file_row(struct req *r, struct view_list *files, const struct selection_item *it, const char *preview)
{
	struct view_map *f = view_list_add(files);
	const struct path p = path_copy(it->path, r->arena);
	const char *href = page_href(r, p, false);
	size_t bytes = ROW_BYTES + page_bytes(p.s) + strlen(href);

	view_set(f, VIEW_path, p.s);
	view_set(f, VIEW_href, href);
	show_state(f, it->state);
	show_print(f, &it->print.sha256);
	view_set(f, VIEW_size, size_text(r->arena, it->print.size));
	view_set(f, VIEW_preview_href, NULL);
	if (preview) {
		struct buf b = BUF_INIT(4 * PATH_LIMIT);

		buf_str(&b, preview);
		percent_encode(&b, p.s, false);
		view_set(f, VIEW_preview_href, arena_dup(r->arena, buf_text(&b)));
		bytes += b.len + 45;
		buf_release(&b);
	}
	return bytes;
}

/* bytes: what the form takes besides. */
static void files_model(struct req *r, struct view_map *m, const char *act, const struct selection *s, size_t from, size_t bytes)
{
	struct view_list *files = view_set_list(m, VIEW_files), *groups = view_set_list(m, VIEW_groups);
	/* Revoking is about what is in production: its file's page shows that. */
	const char *preview = strcmp(act, "revoke") == 0 ? NULL : preview_selection(r, s, from);
	uint64_t by_state[STATE_COUNT] = { 0 };
	size_t end = from;

	for (size_t i = 0; i < s->n; i++)
		by_state[s->items[i].state]++;
	while (end < s->n && (bytes < CONFIRM_BYTES || end - from < CONFIRM_FEWEST))
		bytes += file_row(r, files, &s->items[end++], preview);
	if (end - from < s->n)
		view_set(m, VIEW_shown, arena_printf(r->arena, "%s to %s of %s", number_text(r->arena, from + 1), number_text(r->arena, end),
		    count_text(r->arena, s->n, "file")));
	if (end < s->n)
		view_set_int(m, VIEW_next, (int64_t)end);
	if (from)
		view_set_bool(m, VIEW_first, true);
	for (int st = 0; st < STATE_COUNT; st++) {
		struct view_map *g;

		if (by_state[st] == 0)
			continue;
		g = view_list_add(groups);
		show_state(g, (enum file_state)st);
		view_set_int(g, VIEW_count, (int64_t)by_state[st]);
		view_set(g, VIEW_sentence, group_words(act, (enum file_state)st));
	}
}

/* What signing needs beside the role: the first few files that lack something, and whether it can be done at all. */
static enum err needs_model(struct req *r, struct view_map *m, const struct selection *s, size_t *bytes)
{
	struct view_list *list = view_set_list(m, VIEW_lacking);
	struct needs needs;
	enum err e = rights_needs(r, s, &needs);

	for (size_t i = 0; !e && needs.open && i < needs.n && view_list_count(list) < NEEDS_SHOWN; i++) {
		const struct sign_need *f = &needs.list[i];
		struct view_map *o;

		if (f->have >= f->need)
			continue;
		o = view_list_add(list);
		view_set(o, VIEW_path, f->path.s);
		view_set(o, VIEW_text, sign_need_text(f, r->arena));
		view_set(o, VIEW_why_href, page_why(r, f->path));
		*bytes += 200 + 4 * page_bytes(f->path.s);
	}
	if (!e && needs.any)
		view_set(m, VIEW_needs, needs.open ? arena_printf(r->arena, "%s cannot be signed yet", count_text(r->arena, needs.open, "file"))
		    : "All reviews that are asked for are there.");
	return e;
}

/* conflict: the sentence about what changed, with the note and fields as they were typed; NULL: shown for the first time. */
static enum err confirm_page(struct req *r, unsigned status, const struct verb *v, const struct pick *p, const struct selection *s,
    const char *conflict, const char *note, const json_t *typed, size_t from)
{
	struct field_ask asked;
	struct view_map *m = view_map_new(r->arena);
	char *digest = arena_alloc(r->arena, SHA256_HEX);
	const char *back = page_href(r, p->dir, true);
	size_t bytes = 0;
	enum err e = strcmp(v->act, "sign") == 0 ? needs_model(r, m, s, &bytes) : ERR_OK;

	if (!e)
		e = asked_selection(r, v->act, s, &asked);
	if (e)
		return e;
	hex_of(digest, s->digest.b, sizeof s->digest.b);
	view_set(m, VIEW_act, v->act);
	view_set(m, VIEW_verb, v->verb);
	view_set_bool(m, VIEW_danger, v->danger);
	view_set_int(m, VIEW_count, (int64_t)s->n);
	view_set(m, VIEW_count_word, count_text(r->arena, s->n, "file"));
	view_set(m, VIEW_bytes, size_text(r->arena, s->bytes));
	view_set(m, VIEW_where, arena_printf(r->arena, p->whole ? "in and below %s" : "selected in %s", p->dir.s));
	view_set(m, VIEW_meaning, v->meaning);
	view_set(m, VIEW_conflict, conflict);
	view_set(m, VIEW_skipped, p->skipped);
	view_set(m, VIEW_selection, digest);
	view_set(m, VIEW_selection_short, arena_dupn(r->arena, digest, 12));
	view_set(m, VIEW_op, page_op(r));
	view_set(m, VIEW_dir, p->dir.s);
	view_set(m, VIEW_states_value, p->state);
	view_set(m, VIEW_all, p->whole ? v->act : NULL);
	if (!p->whole) {
		struct view_list *paths = view_set_list(m, VIEW_paths);

		for (size_t i = 0; i < p->n; i++) {
			view_set(view_list_add(paths), VIEW_value, p->paths[i].s);
			bytes += 50 + page_bytes(p->paths[i].s);
		}
	}
	bytes += asked_model(r, m, &asked, typed, "f-");
	files_model(r, m, v->act, s, from < s->n ? from : 0, bytes + page_bytes(note ? note : ""));
	view_set(m, VIEW_note_value, note);
	if (strcmp(v->act, "sign") == 0)
		sign_model(r, m, req_form(r, "meaning"));
	view_set(m, VIEW_back_href, back);
	return reply_page(r, status, "confirm", arena_printf(r->arena, "%s %s", v->verb, count_text(r->arena, s->n, "file")), m);
}

static enum err select_now(struct req *r, const struct verb *v, const struct pick *p, struct selection *s)
{
	struct catalog_view view = req_view(r);
	enum err e = catalog_select(r->site->catalog, v->act, p->paths, p->n, p->recursive, &view,
	    strcmp(v->act, "review") == 0 ? ROLE_REVIEW : ROLE_SIGN, s);

	if (!e && s->n == 0)
		e = err_set(ERR_INPUT, "There is nothing to %s: no file there is in a state for it.", v->act);
	return e;
}

/* The form came from another part of the list: has the list changed since? */
static const char *moved_on(struct req *r, const struct selection *s)
{
	const char *shown = req_form(r, "selection");
	struct sha256 digest;

	if (!shown || !hex_parse(digest.b, sizeof digest.b, shown) || sha256_equal(&digest, &s->digest))
		return NULL;
	return "The files have changed since the list was shown.";
}

/* POST /s/:site/confirm: nothing is written; it is a POST because a selection may be long. */
enum err page_confirm(struct req *r)
{
	const char *all = req_form(r, "all");
	const struct verb *v = verb_find(all && *all ? all : req_form(r, "act"));
	struct selection s = { 0 };
	struct pick p;
	const struct sha256 *asked;
	json_t *typed = NULL;
	uint64_t from;
	enum err e;

	if (!v)
		return reply_error(r, err_set(ERR_INPUT, "The form does not say what to do: sign, review or revoke."), NULL);
	e = pick_parse(r, v->act, &p);
	if (!e)
		e = select_now(r, v, &p, &s);
	if (!e)
		e = req_number(r, "from", 0, RECORD_FILES_LIMIT, 0, &from);
	if (!e)
		e = asked_form(r, &typed, &asked);
	e = e ? reply_error(r, e, NULL) : confirm_page(r, 200, v, &p, &s, moved_on(r, &s), req_form(r, "note"), typed, (size_t)from);
	json_decref(typed);
	selection_release(&s);
	return e;
}

enum err page_conflict(struct req *r, const struct job_ask *ask, unsigned status, const char *sentence)
{
	const struct verb *v = verb_find(ask->fa.act);
	struct selection s = { 0 };
	struct pick p = { .paths = ask->fa.paths, .n = ask->fa.n_paths, .recursive = ask->fa.recursive, .dir = ask->dir, .state = ask->state,
		.skipped = ask->skipped };
	enum err e = ask->whole ? pick_whole(r, ask->dir, ask->state, &p) : ERR_OK;

	if (!e)
		e = select_now(r, v, &p, &s);
	/* Nothing is left that could be shown for another try: then only why. */
	if (e == ERR_INPUT || e == ERR_STALE)
		e = err_set(ERR_STALE, "%s", sentence);
	e = e ? reply_error(r, e, NULL) : confirm_page(r, status, v, &p, &s, sentence, ask->rq.note, ask->fa.fields, 0);
	selection_release(&s);
	return e;
}
