/* Logins and refusals, for admins. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "view/show.h"
#include "web/eventlog.h"
#include "web/pages/pages.h"

#define PAGE 25 /* below 50 kB whatever is in them */
#define SHOWN 160 /* bytes of a text; the API has it whole */

struct rows {
	struct req *r;
	struct view_list *list;
	int64_t now;
};

static const char *kind_words(struct req *r, const char *kind)
{
	static const char *const WORDS[][2] = { { "login", "logged in" }, { "login-failed", "login refused" }, { "refused", "act refused" },
		{ "production-differs", "production differs" }, { "production-well", "production is well again" } };

	for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
		if (strcmp(kind, WORDS[i][0]) == 0)
			return WORDS[i][1];
	return arena_dup(r->arena, kind);
}

/* What comes from outside may have been cut inside a character. */
static const char *clean(struct req *r, const char *text)
{
	struct buf b = BUF_INIT(32768);

	utf8_visible(&b, text, strnlen(text, SHOWN), false);
	if (strlen(text) > SHOWN)
		buf_str(&b, "…");
	const char *out = *text ? arena_dup(r->arena, buf_text(&b)) : NULL;
	buf_release(&b);
	return out;
}

static void put_event(void *arg, const struct db_event *e)
{
	struct rows *l = arg;
	struct view_map *o = view_list_add(l->list);

	show_time(o, VIEW_at, e->at, l->now);
	view_set(o, VIEW_verb, kind_words(l->r, e->kind));
	view_set(o, VIEW_who, clean(l->r, e->principal));
	view_set(o, VIEW_address, clean(l->r, e->address));
	view_set(o, VIEW_where, *e->site ? clean(l->r, arena_printf(l->r->arena, "%s %s", e->site, e->path)) : NULL);
	view_set(o, VIEW_sentence, clean(l->r, e->detail));
}

/* GET /events?before= */
enum err page_eventlog(struct req *r)
{
	struct view_map *m = view_map_new(r->arena);
	struct rows l = { r, view_set_list(m, VIEW_items), clock_wall() };
	uint64_t before, next = 0;
	enum err e = req_number(r, "before", 1, INT64_MAX, 0, &before);

	if (!e)
		e = eventlog_list(r, before, PAGE, put_event, &l, &next);
	if (e)
		return e;
	view_set(m, VIEW_shown, view_list_count(l.list) ? count_text(r->arena, view_list_count(l.list), "event") : NULL);
	view_set(m, VIEW_first_href, before ? "/events" : NULL);
	view_set(m, VIEW_next_href, next ? arena_printf(r->arena, "/events?before=%" PRIu64, next) : NULL);
	return reply_page(r, 200, "eventlog", "Logins and refusals", m);
}
