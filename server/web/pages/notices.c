/* Messages: who is told when a target fails, what he was last told, and a test. For admins of the whole site. */
#include <string.h>

#include "base/clock.h"
#include "notice/notice.h"
#include "view/show.h"
#include "web/pages/pages.h"

static void channel_badge(struct view_map *m, const struct db_notice *n)
{
	if (n->tries)
		show_badge(m, "failed", "cannot be told");
	else if (n->told_at)
		show_badge(m, "signed", "told");
	else
		show_badge(m, "waiting", "nothing to tell yet");
}

static const char *told_words(struct req *r, const char *told)
{
	const char *failing = notice_words(told, false, r->arena), *differing = notice_words(told, true, r->arena);

	if (!*failing || !*differing)
		return *failing ? arena_printf(r->arena, "%s failed", failing) : *differing ? arena_printf(r->arena, "something else is live on %s", differing) : "";
	return arena_printf(r->arena, "%s failed, something else is live on %s", failing, differing);
}

/* test: send one to each, and say what became of it. */
static enum err notices(struct req *r, bool test)
{
	const struct conf_site *site = r->site->conf;
	struct view_map *m = view_map_new(r->arena);
	struct view_list *l = view_set_list(m, VIEW_items);
	const int64_t now = clock_wall();
	struct notice_channel ch;
	struct db_notice n;
	enum err e;

	for (size_t i = 0; notice_channel(site, i, &ch); i++) {
		struct view_map *row = view_list_add(l);

		e = db_notice_get(tools_db(r->tools), site->name, &ch.key, &n, r->arena);
		if (e)
			return e;
		view_set(row, VIEW_name, arena_dup(r->arena, ch.shown));
		channel_badge(row, &n);
		show_time(row, VIEW_at, n.told_at, now);
		view_set(row, VIEW_what, told_words(r, n.failing));
		view_set(row, VIEW_error, n.why);
		show_time(row, VIEW_next, n.retry_at, now);
		view_set(row, VIEW_sentence, NULL);
		if (test)
			view_set(row, VIEW_sentence, notice_test(web_conf(r->web), site, &ch, r->person->who.user) ?
			    arena_printf(r->arena, "The test could not be sent: %s", err_text()) : "The test was taken.");
	}
	view_set_bool(m, VIEW_has_entries, view_list_count(l) > 0);
	return reply_page(r, 200, "notices", "Messages", m);
}

/* GET /s/:site/notices */
enum err page_notices(struct req *r)
{
	return notices(r, false);
}

/* POST /s/:site/notices */
enum err page_notices_test(struct req *r)
{
	return notices(r, true);
}
