#include "web/rights.h"

#include <string.h>

/* --- who gains and who loses -------------------------------------------------------------------------------------------- */

struct preview {
	struct req *r;
	uint64_t from, limit, at;
	bool enabled, more;
	void (*fn)(void *arg, const struct rule_effect *e);
	void *arg;
};

static bool effect(void *arg, const struct identity *who, struct path path, enum role before, enum role after)
{
	struct preview *p = arg;
	const struct rule_effect e = { who->user, p->enabled, path, before, after };

	/* A part that was hidden from the admin of the whole keeps its rules to itself. */
	if (req_role_on(p->r, path) < ROLE_VIEW || p->at++ < p->from)
		return true;
	p->more = p->at > p->from + p->limit;
	if (!p->more)
		p->fn(p->arg, &e);
	return !p->more;
}

enum err rights_preview(struct req *r, const struct rule_wish *w, uint64_t from, uint64_t limit,
    void (*fn)(void *arg, const struct rule_effect *e), void *arg, bool *more, const char **refused)
{
	struct preview p = { .r = r, .from = from, .limit = limit, .fn = fn, .arg = arg };
	struct rules *after = rules_with(r->rules, w->principal, w->path, w->role);
	/* Those whom the rules name, before and after: taking one away concerns somebody whom no other may name. */
	struct rules *both = rules_with(r->rules, w->principal, w->path, w->role < 0 ? (int)ROLE_NONE : w->role);
	struct auth_members all = { 0 };
	enum err e = auth_members(web_auth(r->web), tools_db(r->tools), both, &all);

	*refused = NULL;
	*more = false;
	if (!e && w->role < 0 && !rules_find(r->rules, w->principal, w->path))
		*refused = "There is no such rule any more.";
	else if (!e && role_change_allowed(r->rules, &r->person->who, w->principal, w->path, w->role, all.members, all.n))
		*refused = arena_dup(r->arena, err_text());
	for (size_t i = 0; !e && i < all.n && !p.more; i++) {
		p.enabled = all.members[i].enabled;
		role_differences(r->rules, after, all.members[i].who, w->path, effect, &p);
	}
	*more = p.more;
	auth_members_release(&all);
	rules_unref(both);
	rules_unref(after);
	return e;
}

/* --- rules that do nothing ---------------------------------------------------------------------------------------------- */

static enum err principal_exists(struct req *r, const char *principal, bool *exists)
{
	char full[PRINCIPAL_LIMIT + 1];
	enum err e = auth_principal(web_auth(r->web), tools_db(r->tools), principal, full);

	*exists = !e;
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err rights_lint(struct req *r, uint64_t from, uint64_t limit,
    void (*fn)(void *arg, const struct rule *rule, enum rule_doubt doubt, const struct rule *above), void *arg, uint64_t *next)
{
	struct auth_members all;
	uint64_t told = 0;
	enum err e = auth_members(web_auth(r->web), tools_db(r->tools), r->rules, &all);

	*next = 0;
	for (size_t i = from; !e && i < rules_count(r->rules) && !*next; i++) {
		const struct rule *rule = rules_at(r->rules, i), *above;
		enum rule_doubt doubt;
		bool exists;

		if (req_role_on(r, rule->path) < ROLE_ADMIN || (r->has_path && !path_covers(r->path, rule->path)))
			continue;
		e = principal_exists(r, rule->principal, &exists);
		if (e)
			break;
		doubt = rule_doubt_of(r->rules, rule, exists, all.members, all.n, &above);
		if (doubt == RULE_FINE)
			continue;
		if (told == limit)
			*next = i;
		else
			fn(arg, rule, doubt, above && req_role_on(r, above->path) >= ROLE_VIEW ? above : NULL);
		told++;
	}
	auth_members_release(&all);
	return e;
}

/* --- what a signature needs --------------------------------------------------------------------------------------------- */

static enum err look(struct req *r, struct sign_need *list, size_t n)
{
	const char *user = r->person->who.user;
	uid_t uid;
	const bool known = rules_requirements(r->rules) && auth_uid(web_auth(r->web), user, &uid) == ERR_OK;

	for (size_t i = 0; i < n && rules_requirements(r->rules); i++)
		list[i].may_own = sign_may_own(r->site, r->rules, known ? &uid : NULL, list[i].path);
	return sign_needs(tools_db(r->tools), r->site, r->rules, user, list, n, r->arena);
}

enum err rights_needs(struct req *r, const struct selection *s, struct needs *out)
{
	enum err e;

	*out = (struct needs){ .n = s->n };
	out->list = arena_alloc(r->arena, (s->n + 1) * sizeof *out->list);
	for (size_t i = 0; i < s->n; i++)
		out->list[i] = (struct sign_need){ .path = path_copy(s->items[i].path, r->arena), .print = &s->items[i].print };
	e = look(r, out->list, s->n);
	for (size_t i = 0; i < s->n; i++) {
		out->any |= out->list[i].need > 0;
		out->open += out->list[i].have < out->list[i].need;
	}
	return e;
}

enum err rights_needs_one(struct req *r, struct path path, const struct fingerprint *print, struct sign_need *out)
{
	*out = (struct sign_need){ .path = path, .print = print };
	return look(r, out, 1);
}
