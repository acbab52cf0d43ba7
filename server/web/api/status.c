/* The states of files: status, one file, selections. */
#include <stdlib.h>
#include <string.h>

#include "base/weaken.h"
#include "web/api/api.h"
#include "web/asked.h"
#include "web/rights.h"
#include "web/targets.h"

struct listing {
	struct req *r;
	struct json_out *out;
	unsigned limit, n;
	struct arena *arena;
	const char *last; /* the cursor of the next page */
	bool more;
};

static bool list_entry(void *arg, const struct catalog_entry *e)
{
	struct listing *l = arg;

	if (l->n == l->limit) {
		l->more = true;
		return false;
	}
	l->n++;
	if (l->n == l->limit)
		l->last = arena_dup(l->arena, e->path.s);
	answer_file(l->r, l->out, e);
	return true;
}

/* "changed,unsigned" as bits; "attention": everything that somebody may have to act on */
static enum err states_parse(const char *text, unsigned *bits)
{
	*bits = 0;
	for (const char *p = text; p && *p;) {
		size_t n = strcspn(p, ",");
		char word[32] = "";
		enum file_state s;

		if (n < sizeof word)
			memcpy(word, p, n);
		if (strcmp(word, "attention") == 0)
			*bits |= ~(1u << STATE_SIGNED | 1u << STATE_PREAPPROVED) & ((1u << STATE_COUNT) - 1);
		else if (state_parse(&s, word))
			*bits |= 1u << s;
		else
			return err_set(ERR_INPUT, "There is no state \"%s\". States: unsigned, changed, missing, revoked, preapproved, "
			    "signed, unpublishable; or attention.", word);
		p += n + (p[n] == ',');
	}
	return ERR_OK;
}

static enum err flag_parse(struct req *r, const char *name, bool *out)
{
	const char *text = req_query(r, name);

	*out = text && strcmp(text, "1") == 0;
	if (text && strcmp(text, "0") != 0 && !*out)
		return err_set(ERR_INPUT, "%s is 0 or 1.", name);
	return ERR_OK;
}

static enum err act_parse(const char *act)
{
	if (strcmp(act, "sign") == 0 || strcmp(act, "review") == 0 || strcmp(act, "revoke") == 0)
		return ERR_OK;
	return err_set(ERR_INPUT, "The act is sign, review or revoke.");
}

/* The digest of what an act on this path would take up. Where it makes no sense there is none, and that is no error. */
static enum err digest_answer(struct req *r, struct answer *a, const char *act, const struct catalog_view *view)
{
	struct selection s;
	enum err e = catalog_select_known(r->site->catalog, act, &r->path, 1, true, view, ROLE_VIEW, &s);

	if (e == ERR_INPUT || e == ERR_STALE)
		return ERR_OK;
	if (e)
		return e;
	json_out_name(&a->out, "selection");
	json_out_begin(&a->out, '{');
	json_out_kstr(&a->out, "act", act);
	answer_hash(&a->out, "digest", &s.digest);
	json_out_kint(&a->out, "files", (int64_t)s.n);
	json_out_kint(&a->out, "bytes", (int64_t)s.bytes);
	json_out_end(&a->out, '}');
	selection_release(&s);
	return ERR_OK;
}

/* Of one file: which targets have what is approved, or are rid of what was revoked. */
static enum err reach_answer(struct req *r, struct answer *a, const struct catalog_entry *entry)
{
	const struct approved_version version = reach_version(entry);
	struct reach reach;
	enum err e = reach_find(r, entry->path, &version, entry->approved.seq, &reach);

	return e ? e : answer_reach(r, &a->out, &reach);
}

/* GET /api/v1/sites/:site/status?path=&recursive=&state=&match=&after=&limit=&fresh=&selection=ACT */
enum err api_status(struct req *r)
{
	struct catalog *c = r->site->catalog;
	struct catalog_query q = { .dir = r->path, .match = req_query(r, "match"), .after = req_query(r, "after") };
	struct catalog_view view = req_view(r);
	struct listing l = { .r = r, .arena = r->arena };
	struct catalog_counts counts;
	struct catalog_entry entry;
	const char *act = req_query(r, "selection");
	char trouble[256];
	bool fresh;
	uint64_t limit;
	struct answer a;
	enum err e;

	e = api_visible(r, r->path);
	if (!e)
		e = flag_parse(r, "recursive", &q.recursive);
	if (!e)
		e = flag_parse(r, "fresh", &fresh);
	if (!e)
		e = states_parse(req_query(r, "state"), &q.states);
	if (!e && act)
		e = act_parse(act);
	if (!e)
		e = req_number(r, "limit", 1, API_PAGE_MOST, API_PAGE, &limit);
	if (!e)
		e = fresh ? catalog_scan(c, r->path) : catalog_refresh(c, r->path);
	if (!e)
		e = catalog_get(c, r->path, &entry, r->arena);
	/* Somebody with a rule below it knows its name, as one above what he sees; if it is a file, it is not his to look at. */
	if (!e && !entry.is_dir && r->role < ROLE_VIEW && !WEAK(status_name_only))
		e = err_set(ERR_NOT_FOUND, "%s is neither staged nor approved", r->path.s);
	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	l.out = &a.out;
	l.limit = (unsigned)limit;
	json_out_kstr(&a.out, "site", r->site->name);
	json_out_kstr(&a.out, "path", r->path.s);
	json_out_kbool(&a.out, "watching", catalog_watching(c));
	catalog_trouble(c, trouble);
	if (*trouble && req_role_on(r, path_root()) == ROLE_ADMIN)
		json_out_kstr(&a.out, "trouble", trouble);
	if (entry.is_dir) {
		e = catalog_count(c, r->path, &view, &counts);
		if (!e)
			answer_counts(&a.out, &counts);
	}
	json_out_name(&a.out, "items");
	json_out_begin(&a.out, '[');
	if (!e && entry.is_dir)
		e = catalog_list(c, &q, &view, list_entry, &l);
	else if (!e && (!q.states || q.states & 1u << entry.state))
		answer_file(r, &a.out, &entry);
	json_out_end(&a.out, ']');
	if (!e && !entry.is_dir && entry.has_approved && entry.approved.seq)
		e = reach_answer(r, &a, &entry);
	if (l.more)
		json_out_kstr(&a.out, "next", l.last);
	else if (!e && act)
		e = digest_answer(r, &a, act, &view);
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}

/* GET /api/v1/sites/:site/file?path= : one file, looked at now */
enum err api_file(struct req *r)
{
	struct catalog_entry entry;
	struct sign_need need = { .need = 0 };
	struct catalog_view view = req_view(r);
	struct answer a;
	enum err e;

	e = catalog_refresh_file(r->site->catalog, r->path);
	if (!e || e == ERR_NOT_FOUND)
		e = catalog_get(r->site->catalog, r->path, &entry, r->arena);
	/* A directory's kept counts are of everything below it. */
	if (!e && entry.is_dir)
		e = catalog_count(r->site->catalog, r->path, &view, &entry.counts);
	else if (!e)
		e = rights_needs_one(r, r->path, &entry.print, &need);
	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	json_out_kstr(&a.out, "site", r->site->name);
	json_out_kstr(&a.out, "role", role_name(r->role));
	json_out_name(&a.out, "file");
	answer_file(r, &a.out, &entry);
	json_out_name(&a.out, "needs");
	answer_need(r, &a.out, &need);
	return answer_send(r, &a, 200);
}

/* What signing the selection needs beside the role: the files that something is asked for of. */
static void needs_answer(struct req *r, struct answer *a, const struct needs *needs)
{
	json_out_kint(&a->out, "lacking", (int64_t)needs->open);
	json_out_name(&a->out, "needs");
	json_out_begin(&a->out, '[');
	for (size_t i = 0; i < needs->n && needs->any; i++)
		if (needs->list[i].need)
			answer_need(r, &a->out, &needs->list[i]);
	json_out_end(&a->out, ']');
}

/*
 * POST /api/v1/sites/:site/selection {act, paths, recursive, items}: what an act would take up and asks for, with its digest.
 * Writes nothing. items false: without the list.
 */
enum err api_selection(struct req *r)
{
	struct catalog_view view = req_view(r);
	struct path *paths;
	size_t n;
	const char *act;
	bool recursive;
	struct needs needs = { .n = 0 };
	struct field_ask asked;
	struct selection s;
	bool items;
	struct answer a;
	enum err e;

	e = api_text(r, "act", true, &act);
	if (!e)
		e = act_parse(act);
	if (!e)
		e = api_bool(r, "recursive", false, &recursive);
	if (!e)
		e = api_bool(r, "items", true, &items);
	if (!e)
		e = api_paths(r, &paths, &n);
	if (!e)
		e = catalog_select(r->site->catalog, act, paths, n, recursive, &view, ROLE_VIEW, &s);
	if (e)
		return reply_error(r, e, NULL);
	if (strcmp(act, "sign") == 0)
		e = rights_needs(r, &s, &needs);
	if (!e)
		e = asked_selection(r, act, &s, &asked);
	if (e) {
		selection_release(&s);
		return reply_error(r, e, NULL);
	}
	answer_begin(&a);
	json_out_kstr(&a.out, "act", act);
	answer_selection(&a.out, &s, items);
	if (items)
		needs_answer(r, &a, &needs);
	answer_asked(&a.out, &asked);
	selection_release(&s);
	return answer_send(r, &a, 200);
}
