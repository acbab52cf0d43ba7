/* What the last checks found, and the wish for another one. */
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "check/keeper.h"
#include "view/show.h"
#include "web/pages/pages.h"

#define INSTALLATION "installation"
#define BYTES_OF_ONE 16000 /* of findings of one place on the page, which stays below 50 kB */
#define ROW 60 /* bytes of a row beside its texts */

struct place {
	struct req *r;
	struct view_map *m;
	int64_t now;
};

/* Names of files and of rows are other people's words. */
static const char *clean(struct req *r, const char *text)
{
	struct buf b = BUF_INIT(32768);

	utf8_visible(&b, text, strlen(text), false);
	const char *out = arena_dup(r->arena, buf_text(&b));
	buf_release(&b);
	return out;
}

static const char *how_it_went(struct req *r, const struct keeper_report *p)
{
	const char *running = p->running ? " Another check is running." : "";

	if (!p->number)
		return p->running ? "The first check since the server was started is running." : "There was no check since the server was started.";
	if (p->err)
		return arena_printf(r->arena, "it could not be checked: %s.%s", clean(r, p->why), running);
	if (!p->result.findings)
		return arena_printf(r->arena, "%s, and nothing is wrong%s.%s", count_text(r->arena, p->result.records, "record"), p->deep ? ", every byte included" : "", running);
	if (p->result.repaired >= p->result.findings)
		return arena_printf(r->arena, "%s, all repaired.%s", count_text(r->arena, p->result.findings, "finding"), running);
	return arena_printf(r->arena, "%s, %llu repaired.%s", count_text(r->arena, p->result.findings, "finding"), (unsigned long long)p->result.repaired, running);
}

static void put_report(void *arg, const struct keeper_report *p)
{
	struct place *x = arg;
	struct view_list *items = view_set_list(x->m, VIEW_items);
	size_t bytes = 0, i;

	view_set(x->m, VIEW_sentence, how_it_went(x->r, p));
	if (p->number)
		show_time(x->m, VIEW_at, p->finished_at, x->now);
	for (i = 0; i < p->n_findings && bytes < BYTES_OF_ONE; i++) {
		const struct keeper_finding *f = &p->findings[i];
		const char *where = clean(x->r, f->subject), *what = clean(x->r, f->what), *advice = f->repaired ? "It is repaired." : finding_repair(f->id);
		struct view_map *o = view_list_add(items);

		view_set(o, VIEW_name, finding_name(f->id));
		view_set(o, VIEW_where, where);
		view_set(o, VIEW_what, what);
		view_set(o, VIEW_sentence, advice);
		bytes += ROW + strlen(finding_name(f->id)) + page_bytes(where) + page_bytes(what) + page_bytes(advice);
	}
	view_set(x->m, VIEW_shown, i ? count_text(x->r->arena, i, "finding") : NULL);
	view_set(x->m, VIEW_more, p->result.findings > i ? arena_printf(x->r->arena, "And %llu more: `drydockd fsck` names all of them.",
	    (unsigned long long)(p->result.findings - i)) : NULL);
}

static void put_place(struct req *r, struct view_list *list, const char *name, const char *heading)
{
	struct place x = { r, view_list_add(list), clock_wall() };

	view_set(x.m, VIEW_heading, heading);
	if (keeper_read(web_keeper(r->web), name, put_report, &x))
		view_set(x.m, VIEW_sentence, arena_dup(r->arena, err_text()));
}

/* GET /s/:site/check */
enum err page_check(struct req *r)
{
	struct view_map *m = view_map_new(r->arena);
	struct view_list *list = view_set_list(m, VIEW_checks);

	if (!web_keeper(r->web))
		return err_set(ERR_NOT_FOUND, "This server does not check itself.");
	put_place(r, list, r->site->name, arena_printf(r->arena, "Site %s", r->site->name));
	put_place(r, list, INSTALLATION, "Accounts and groups, the database's rights, the data directory");
	return reply_page(r, 200, "check", "Checks", m);
}

/* POST /s/:site/check {deep} */
enum err page_check_ask(struct req *r)
{
	const bool deep = req_form(r, "deep") != NULL;
	uint64_t number;
	enum err e = keeper_ask(web_keeper(r->web), r->site->name, deep, false, &number);

	/* that of the installation is quick, and another admin's as much as his */
	if (!e)
		e = keeper_ask(web_keeper(r->web), INSTALLATION, false, false, &number);
	if (e == ERR_BUSY)
		e = ERR_OK; /* the page says where it is checked */
	return e ? e : reply_redirect(r, addr(r, "/check", NULL, NULL));
}
