/* Who may do what where: the rules, what they mean for a person, and who gains and loses before one is saved. */
#include <inttypes.h>
#include <string.h>

#include "base/utf8.h"
#include "view/show.h"
#include "web/pages/pages.h"
#include "web/rights.h"

#define PAGE 200
#define CHANGES_SHOWN 200

static const enum role ROLES[] = { ROLE_ADMIN, ROLE_SIGN, ROLE_REVIEW, ROLE_VIEW, ROLE_NONE };

static const char *typed(struct req *r, const char *name)
{
	const char *text = r->method == METHOD_GET ? req_query(r, name) : req_form(r, name);
	return text ? text : "";
}

static void put_roles(struct view_map *m, const char *chosen)
{
	struct view_list *roles = view_set_list(m, VIEW_roles);

	for (size_t i = 0; i < sizeof ROLES / sizeof *ROLES; i++) {
		struct view_map *o = view_list_add(roles);
		view_set(o, VIEW_value, role_name(ROLES[i]));
		view_set_bool(o, VIEW_here, strcmp(role_name(ROLES[i]), *chosen ? chosen : "sign") == 0);
		view_set(o, VIEW_word, role_words(ROLES[i]));
	}
}

static const char *with(struct req *r, const char *tail, const char *name, const char *value)
{
	struct page_query q = { BUF_INIT(0) };
	page_query_add(&q, name, value);
	return addr(r, tail, NULL, page_query_end(r, &q));
}

static void put_rules(struct req *r, struct view_map *m, uint64_t from, bool can_change)
{
	struct view_list *list = view_set_list(m, VIEW_rules);
	uint64_t at = 0, shown = 0;
	bool more = false;

	for (size_t i = 0; i < rules_count(r->rules) && !more; i++) {
		const struct rule *rule = rules_at(r->rules, i);
		if (req_role_on(r, rule->path) < ROLE_VIEW || (r->has_path && !path_covers(rule->path, r->path)))
			continue;
		if (at++ < from)
			continue;
		if (shown == PAGE) {
			more = true;
			break;
		}
		shown++;
		struct view_map *o = view_list_add(list);
		view_set(o, VIEW_path_href, with(r, "/rules", "path", rule->path.s));
		view_set(o, VIEW_path, rule->path.s);
		view_set(o, VIEW_principal_href, with(r, "/history", "user", rule->principal));
		view_set(o, VIEW_principal, rule->principal);
		view_set(o, VIEW_role, role_name(rule->role));
		view_set(o, VIEW_word, role_words(rule->role));
		const bool removable = can_change && req_role_on(r, rule->path) == ROLE_ADMIN;
		view_set_bool(o, VIEW_removable, removable);
		view_set(o, VIEW_why_href, removable ? NULL : page_why(r, rule->path));
	}
	struct page_query q = { BUF_INIT(0) }, first = { BUF_INIT(0) };
	page_query_add(&q, "path", r->has_path ? r->path.s : NULL);
	page_query_add_int(&q, "from", from + shown);
	page_query_add(&first, "path", r->has_path ? r->path.s : NULL);
	const char *next_href = addr(r, "/rules", NULL, page_query_end(r, &q));
	const char *first_href = addr(r, "/rules", NULL, page_query_end(r, &first));
	view_set(m, VIEW_next_href, more ? next_href : NULL);
	view_set(m, VIEW_first_href, from ? first_href : NULL);
	view_set(m, VIEW_shown, shown ? count_text(r->arena, shown, "rule") : NULL);
}

static void put_requirements(struct req *r, struct view_map *m)
{
	struct view_list *list = view_set_list(m, VIEW_requirements);

	for (size_t i = 0; i < rules_requirements(r->rules); i++) {
		const struct requirement *q = rules_requirement_at(r->rules, i);

		if (req_role_on(r, q->path) < ROLE_VIEW || (r->has_path && !path_covers(q->path, r->path)) || view_list_count(list) == PAGE)
			continue;
		struct view_map *o = view_list_add(list);
		view_set(o, VIEW_path, q->path.s);
		view_set(o, VIEW_text, arena_printf(r->arena, "%s%s%s", q->reviews ? count_text(r->arena, q->reviews, "review") : "",
		    q->reviews ? " of the same bytes by others" : "", !q->not_alone ? "" : q->reviews ? "; nobody signs his own files alone" :
		    "Nobody signs his own files alone"));
		view_set(o, VIEW_op, page_op(r));
		const bool removable = req_role_on(r, q->path) == ROLE_ADMIN;
		view_set_bool(o, VIEW_removable, removable);
		view_set(o, VIEW_why_href, removable ? NULL : page_why(r, q->path));
	}
}

/* The page, with the form as it was typed and what was wrong with it. path_text: of the form. */
static enum err show(struct req *r, unsigned status, const char *path_text, const char *error)
{
	struct view_map *m = view_map_new(r->arena);
	const bool can_change = page_admin_somewhere(r);
	const struct role_answer mine = role_resolve(r->rules, &r->person->who, r->path);
	uint64_t from;
	enum err e = req_number(r, "from", 0, INT64_MAX, 0, &from);

	if (e)
		return e;
	if (status != 200) {
		/* after a form: the whole list again, not what counts for the path that was typed */
		r->has_path = false;
		from = 0;
	}
	page_notice(r, m);
	view_set(m, VIEW_path, r->has_path ? r->path.s : NULL);
	view_set(m, VIEW_path_value, *path_text ? path_text : r->path.s);
	view_set(m, VIEW_my_role, role_name(mine.role));
	view_set(m, VIEW_my_rule_text, mine.rule ? arena_printf(r->arena, "%s has it from the rule on %s", mine.rule->principal,
	    mine.rule->path.s) : NULL);
	view_set(m, VIEW_explain_href, page_why(r, r->path));
	view_set(m, VIEW_error, error);
	view_set_bool(m, VIEW_can_change, can_change);
	put_rules(r, m, from, can_change);
	put_requirements(r, m);
	view_set(m, VIEW_op, page_op(r));
	view_set(m, VIEW_lint_href, can_change ? addr(r, "/rules/lint", NULL, NULL) : NULL);
	view_set(m, VIEW_principal, status == 200 ? NULL : typed(r, "principal"));
	put_roles(m, typed(r, "role"));
	view_set(m, VIEW_preapprovals_href, addr(r, "/preapprovals", NULL, NULL));
	view_set(m, VIEW_fields_href, addr(r, "/fields", NULL, NULL));
	return reply_page(r, status, "rules", "Rules", m);
}

/* GET /s/:site/rules?path=&from= */
enum err page_rules(struct req *r)
{
	return show(r, 200, "", NULL);
}

/* --- changing one --------------------------------------------------------------------------------------------------- */

struct wanted {
	char principal[PRINCIPAL_LIMIT + 1];
	struct path path;
	int role; /* < 0: remove */
};

/* What the form asks for. ERR_INPUT or ERR_DENIED with a sentence for the person. */
static enum err parse(struct req *r, struct wanted *w)
{
	const char *role = typed(r, "role"), *principal = typed(r, "principal");
	enum role parsed;
	enum err e;

	if (!r->has_path)
		return err_set(ERR_INPUT, "For which path? “/” is the whole site.");
	w->path = r->path;
	if (strcmp(role, "remove") == 0)
		w->role = -1;
	else if (role_parse(&parsed, role))
		w->role = (int)parsed;
	else
		return err_set(ERR_INPUT, "A role is admin, sign, review, view or none.");
	if (!*principal)
		return err_set(ERR_INPUT, "For whom? Name a person or a group.");
	if (r->role < ROLE_ADMIN)
		return err_set(ERR_DENIED, "Only an admin on %s may change who may do what there.", w->path.s);
	e = auth_principal(web_auth(r->web), tools_db(r->tools), principal, w->principal);
	/* Rules of somebody who is gone can still be taken away, if his name is written out. */
	if (e == ERR_NOT_FOUND && w->role < 0 && principal_valid(principal)) {
		memcpy(w->principal, principal, strlen(principal) + 1);
		return ERR_OK;
	}
	return e == ERR_NOT_FOUND ? err_set(ERR_INPUT, "There is nobody called “%s”.", principal) : e;
}

struct changes {
	struct req *r;
	struct view_list *list;
};

static void put_change(void *arg, const struct rule_effect *e)
{
	struct changes *c = arg;
	struct view_map *o = view_list_add(c->list);

	view_set(o, VIEW_who, arena_printf(c->r->arena, "%s%s", e->user, e->enabled ? "" : " (may not log in)"));
	view_set(o, VIEW_path, arena_dupn(c->r->arena, e->path.s, e->path.len));
	view_set(o, VIEW_before, role_name(e->before));
	view_set(o, VIEW_after, role_name(e->after));
	view_set_bool(o, VIEW_gains, e->after > e->before);
}

/* POST /s/:site/rules/check: principal, path, role ("remove" takes it away), from */
enum err page_rules_check(struct req *r)
{
	struct view_map *m = view_map_new(r->arena);
	struct changes changes = { r, view_set_list(m, VIEW_changes) };
	const char *refused;
	struct wanted w;
	uint64_t from = 0;
	bool more;
	enum err e = parse(r, &w);

	if (!e)
		e = req_number(r, "from", 0, INT64_MAX / 2, 0, &from);
	if (e == ERR_INPUT || e == ERR_DENIED)
		return show(r, e == ERR_INPUT ? 400 : 403, typed(r, "path"), arena_dup(r->arena, err_text()));
	if (!e)
		e = rights_preview(r, &(struct rule_wish){ w.principal, w.path, w.role }, from, CHANGES_SHOWN, put_change, &changes, &more, &refused);
	if (e)
		return e;
	const struct rule *now = rules_find(r->rules, w.principal, w.path);
	const char *principal = arena_dup(r->arena, w.principal);
	view_set(m, VIEW_refused, refused);
	view_set(m, VIEW_heading, w.role < 0 ? arena_printf(r->arena, "Take away the rule of %s on %s", principal, w.path.s)
	    : arena_printf(r->arena, "Give %s the role %s on %s", principal, role_name((enum role)w.role), w.path.s));
	view_set(m, VIEW_before, now ? arena_printf(r->arena, "%s – %s", role_name(now->role), role_words(now->role)) : NULL);
	view_set(m, VIEW_path, w.path.s);
	view_set(m, VIEW_principal, principal);
	view_set(m, VIEW_role, w.role < 0 ? "remove" : role_name((enum role)w.role));
	view_set_bool(m, VIEW_remove, w.role < 0);
	view_set(m, VIEW_more, more ? arena_printf(r->arena, "%llu", (unsigned long long)(from + CHANGES_SHOWN)) : NULL);
	view_set(m, VIEW_why_href, refused ? page_why(r, w.path) : NULL);
	view_set(m, VIEW_op, page_op(r));
	return reply_page(r, 200, "rules_check", "Who gains and loses", m);
}

/* POST /s/:site/rules: principal, path, role, note, op */
enum err page_rules_set(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct wanted w;
	enum err e = parse(r, &w);

	if (!e)
		e = page_act_request(r, &rq);
	if (!e)
		e = act_rule(r->site, r->tools, web_auth(r->web), &rq, w.principal, w.path, w.role, &done);
	switch (e) {
	case ERR_OK:
		return page_done(r, "/rules", NULL, NULL, &done);
	case ERR_INPUT:
	case ERR_TOO_BIG:
		return show(r, 400, typed(r, "path"), arena_dup(r->arena, err_text()));
	case ERR_DENIED:
		return show(r, 403, typed(r, "path"), arena_dup(r->arena, err_text()));
	case ERR_NOT_FOUND:
	case ERR_STALE:
		return show(r, 409, typed(r, "path"), arena_dup(r->arena, err_text()));
	default:
		return e;
	}
}

/* --- what a signature needs --------------------------------------------------------------------------------------------- */

/* POST /s/:site/rules/require: path, reviews, not_alone, note, op; nothing asked for takes it back */
enum err page_rules_require(struct req *r)
{
	struct requirement q = { .path = r->path, .not_alone = strcmp(typed(r, "not_alone"), "1") == 0 };
	struct act_request rq;
	struct act_answer done;
	uint64_t reviews = 0;
	enum err e = r->has_path ? ERR_OK : err_set(ERR_INPUT, "For which path? “/” is the whole site.");

	if (!e)
		e = req_number(r, "reviews", 0, REQUIRED_REVIEWS_LIMIT, 0, &reviews);
	if (!e)
		e = page_act_request(r, &rq);
	q.reviews = (unsigned)reviews;
	if (!e)
		e = act_require(r->site, r->tools, &rq, &q, &done);
	switch (e) {
	case ERR_OK:
		return page_done(r, "/rules", NULL, NULL, &done);
	case ERR_INPUT:
	case ERR_TOO_BIG:
	case ERR_NOT_FOUND:
		return show(r, 400, typed(r, "path"), arena_dup(r->arena, err_text()));
	case ERR_DENIED:
		return show(r, 403, typed(r, "path"), arena_dup(r->arena, err_text()));
	case ERR_STALE:
		return show(r, 409, typed(r, "path"), arena_dup(r->arena, err_text()));
	default:
		return e;
	}
}

/* --- explaining ----------------------------------------------------------------------------------------------------- */

#define DECIDES "   <- this rule decides"

/* role_explain's lines: the first says what the page says itself. */
static void put_steps(struct req *r, struct view_map *m, const char *text)
{
	struct view_list *list = view_set_list(m, VIEW_steps);
	const char *line = strchr(text, '\n');

	while (line && *++line) {
		const char *end = strchr(line, '\n');
		size_t n = end ? (size_t)(end - line) : strlen(line);
		const size_t mark = strlen(DECIDES);
		const bool decided = n > mark && memcmp(line + n - mark, DECIDES, mark) == 0;
		struct view_map *o = view_list_add(list);
		view_set_bool(o, VIEW_decided, decided);
		view_set_bool(o, VIEW_heading, *line != ' ');
		view_set(o, VIEW_text, arena_dupn(r->arena, line, decided ? n - mark : n));
		line = end;
	}
}

static enum err explained(struct req *r, const char *user, struct view_map *m)
{
	char principal[PRINCIPAL_LIMIT + 1];
	struct person *person = NULL;
	struct buf text = BUF_INIT(1u << 20);
	bool enabled = true;
	enum err e = ERR_OK;

	/* Before anybody is looked up: who there is is not told either. */
	if (*user && r->role < ROLE_ADMIN && strcmp(user, r->person->who.user) != 0 && strcmp(user, r->person->who.name) != 0)
		return err_set(ERR_DENIED, "Only an admin on %s may see why somebody else has a role there.", r->path.s);
	if (*user)
		e = auth_principal(web_auth(r->web), tools_db(r->tools), user, principal);
	if (e)
		return e == ERR_NOT_FOUND ? err_set(ERR_INPUT, "There is nobody called “%s”.", user) : e;
	if (!*user || strcmp(principal, r->person->who.user) == 0) {
		person = person_ref(r->person);
	} else if (principal_is_group(principal)) {
		return err_set(ERR_INPUT, "Ask about a person: a group has a role only through its rules, which the list shows.");
	} else if (r->role < ROLE_ADMIN) {
		return err_set(ERR_DENIED, "Only an admin on %s may see why somebody else has a role there.", r->path.s);
	} else if ((e = auth_person(web_auth(r->web), tools_db(r->tools), principal, &person, &enabled))) {
		return e == ERR_NOT_FOUND ? err_set(ERR_INPUT, "There is nobody called “%s”.", user) : e;
	}
	const struct role_answer answer = role_resolve(r->rules, &person->who, r->path);
	role_explain(r->rules, &person->who, r->path, &text);
	view_set(m, VIEW_who, arena_dup(r->arena, person->who.user));
	view_set(m, VIEW_role, role_name(answer.role));
	view_set(m, VIEW_word, arena_printf(r->arena, "%s %s.%s", person == r->person ? "You" : "Somebody with this role", role_words(answer.role),
	    enabled ? "" : " The account is switched off, so nobody can use it."));
	put_steps(r, m, buf_text(&text));
	buf_release(&text);
	struct buf groups = BUF_INIT(1u << 20);
	for (size_t i = 0; i < person->who.n_groups; i++)
		buf_fmt(&groups, "%s%s", i ? ", " : "", person->who.groups[i]);
	view_set(m, VIEW_groups_text, arena_dup(r->arena, buf_text(&groups)));
	buf_release(&groups);
	person_unref(person);
	return ERR_OK;
}

/* GET /s/:site/rules/explain?user=&path= : his own role for anybody, another's for an admin on that path */
enum err page_explain(struct req *r)
{
	struct view_map *m = view_map_new(r->arena);
	const char *user = typed(r, "user");
	unsigned status = 200;
	enum err e = explained(r, user, m);

	if (e == ERR_INPUT || e == ERR_DENIED) {
		status = e == ERR_INPUT ? 400 : 403;
		view_set(m, VIEW_error, arena_dup(r->arena, err_text()));
	} else if (e) {
		return e;
	}
	view_set(m, VIEW_user_value, *user ? user : r->person->who.user);
	view_set(m, VIEW_path_value, r->path.s);
	return reply_page(r, status, "explain", "Explain a role", m);
}
