/* One target: where it stands, and what became of each run that sent to it. */
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "view/show.h"
#include "web/pages/pages.h"
#include "web/targets.h"

#define PAGE 20
#define SHOWN 200 /* bytes of a message: below 50 kB whatever is in them; the page of the run has it whole */

struct rows {
	struct req *r;
	struct view_list *list;
	uint64_t last;
	size_t n;
	bool all; /* he sees the whole site */
};

/* A message of the run names each target that failed. Where this one did not, it is not about it. */
static const char *message(const struct rows *l, const struct db_run *run, const struct db_run_target *t)
{
	struct buf b = BUF_INIT(8192);
	const char *out;

	if (!l->all || !*run->message || sync_is_there(t->state))
		return NULL;
	utf8_visible(&b, run->message, strnlen(run->message, SHOWN), false);
	if (strlen(run->message) > SHOWN)
		buf_str(&b, "…");
	out = arena_dup(l->r->arena, buf_text(&b));
	buf_release(&b);
	return out;
}

static bool target_run(void *arg, const struct db_run *run, const struct db_run_target *t)
{
	struct rows *l = arg;
	struct arena *a = l->r->arena;
	struct view_map *row = view_list_add(l->list);

	view_set_int(row, VIEW_run, (int64_t)run->run);
	view_set(row, VIEW_href, addr(l->r, arena_printf(a, "/sync/%llu", (unsigned long long)run->run), NULL, NULL));
	page_run_badge(row, t->state);
	view_set(row, VIEW_release, run->number ? arena_printf(a, "%llu", (unsigned long long)run->number) : NULL);
	show_time(row, VIEW_at, t->started_at ? t->started_at : run->started_at, clock_wall());
	view_set(row, VIEW_took, t->started_at && t->finished_at ? duration_text(a, t->finished_at - t->started_at) : NULL);
	view_set(row, VIEW_trigger, page_run_trigger(l->r, run));
	view_set(row, VIEW_message, message(l, run, t));
	l->last = run->run;
	l->n++;
	return true;
}

static enum err now_model(struct req *r, struct view_map *m, const char *name)
{
	struct target_now *list;
	size_t n;
	enum err e = targets_now(r, &list, &n);

	view_set(m, VIEW_sentence, "It is configured no longer: nothing is sent there.");
	for (size_t i = 0; i < n && !e; i++) {
		if (strcmp(list[i].conf->name, name))
			continue;
		page_target_badge(m, list[i].state);
		view_set(m, VIEW_sentence, list[i].number ? arena_printf(r->arena, "It holds release %llu.", (unsigned long long)list[i].number) :
		    "It is not known to hold any release.");
	}
	return e;
}

/* GET /s/:site/targets/:target?before= */
enum err page_target(struct req *r)
{
	const char *name = req_segment(r, "target"), *here = page_target_href(r, name);
	struct view_map *m = view_map_new(r->arena);
	struct rows l = { .r = r, .list = view_set_list(m, VIEW_runs), .all = targets_see_all(r) };
	uint64_t before;
	enum err e = req_number(r, "before", 1, INT64_MAX, 0, &before);

	if (!e)
		e = target_known(r, name);
	if (!e)
		e = now_model(r, m, name);
	if (!e)
		e = db_run_of_target(tools_db(r->tools), r->site->name, name, before, PAGE, target_run, &l);
	if (e)
		return e;
	view_set(m, VIEW_name, name);
	view_set(m, VIEW_why_href, l.all ? NULL : page_why(r, path_root()));
	view_set(m, VIEW_shown, l.n ? count_text(r->arena, l.n, "run") : NULL);
	if (before)
		view_set(m, VIEW_first_href, here);
	if (l.n == PAGE && l.last > 1)
		view_set(m, VIEW_next_href, arena_printf(r->arena, "%s?before=%llu", here, (unsigned long long)l.last));
	return reply_page(r, 200, "target", arena_printf(r->arena, "Target %s", name), m);
}
