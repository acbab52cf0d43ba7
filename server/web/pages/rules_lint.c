/* Rules that do nothing. */
#include <inttypes.h>

#include "view/show.h"
#include "web/pages/pages.h"
#include "web/rights.h"

#define PAGE 100

struct page {
	struct req *r;
	struct view_list *list;
};

static void put_doubt(void *arg, const struct rule *rule, enum rule_doubt doubt, const struct rule *above)
{
	struct page *p = arg;
	struct view_map *o = view_list_add(p->list);

	view_set(o, VIEW_path, rule->path.s);
	view_set(o, VIEW_principal, rule->principal);
	view_set(o, VIEW_role, role_name(rule->role));
	view_set(o, VIEW_sentence, doubt == RULE_REPEATS && above ? arena_printf(p->r->arena, "%s: %s is given on %s already", rule_doubt_text(doubt),
	    role_name(above->role), above->path.s) : rule_doubt_text(doubt));
}

/* GET /s/:site/rules/lint?path=&from= : of the paths of which he is admin */
enum err page_rules_lint(struct req *r)
{
	struct view_map *m = view_map_new(r->arena);
	struct page p = { r, view_set_list(m, VIEW_rules) };
	uint64_t from, next = 0;
	enum err e = req_number(r, "from", 0, INT64_MAX / 2, 0, &from);

	if (!e)
		e = rights_lint(r, from, PAGE, put_doubt, &p, &next);
	if (e)
		return e;
	view_set(m, VIEW_next_href, next ? addr(r, "/rules/lint", NULL, arena_printf(r->arena, "from=%" PRIu64, next)) : NULL);
	view_set(m, VIEW_first_href, from ? addr(r, "/rules/lint", NULL, NULL) : NULL);
	view_set(m, VIEW_shown, view_list_count(p.list) ? count_text(r->arena, view_list_count(p.list), "rule") : NULL);
	return reply_page(r, 200, "rules_lint", "Rules that do nothing", m);
}
