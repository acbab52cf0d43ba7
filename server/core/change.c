/*
 * change: what a change of rules may be, what it does to whom, and which rules do nothing.
 */
#include "core/inside.h"

#include <stdlib.h>
#include <string.h>

#include "base/weaken.h"

/* --- may it be? ------------------------------------------------------------------------------------------------------- */

/* May a change of the principal's rules change anything for him? */
static bool concerns(const struct identity *who, const char *principal)
{
	const char *p;

	for (size_t i = 0; (p = identity_principal(who, i)); i++)
		if (strcmp(p, principal) == 0)
			return true;
	return false;
}

/* The nearest rule of this principal that stands where the actor is not admin; NULL if there is none. */
static const struct rule *walk_out_of_reach(const struct rules *r, const char *principal, struct path path, const struct identity *actor)
{
	const struct rule *found = rules_walk(r, principal, path);

	while (found && role_on(r, actor, found->path) == ROLE_ADMIN)
		found = path_is_root(found->path) ? NULL : rules_walk(r, principal, path_above(found->path));
	return found;
}

/*
 * The rule that makes him admin on path without anything that the actor could have written himself; NULL if there is
 * none. What the actor may write is left out: otherwise he gives an admin from above the same role again at his own
 * path, and then takes that away.
 */
static const struct rule *admin_out_of_reach(const struct rules *r, const struct identity *who, struct path path,
    const struct identity *actor)
{
	const struct rule *own = who->user ? walk_out_of_reach(r, who->user, path, actor) : NULL;

	if (own)
		return own->role == ROLE_ADMIN ? own : NULL;
	for (size_t i = 0; i < who->n_groups; i++) {
		const struct rule *rule = walk_out_of_reach(r, who->groups[i], path, actor);
		if (rule && rule->role == ROLE_ADMIN)
			return rule;
	}
	return NULL;
}

struct change {
	const struct rules *before, *after;
	const struct identity *actor;
};

static enum err judge_at(const struct change *c, const struct identity *who, struct path path)
{
	if (role_on(c->before, who, path) < ROLE_ADMIN || role_on(c->after, who, path) == ROLE_ADMIN)
		return ERR_OK;
	const struct rule *source = admin_out_of_reach(c->before, who, path, c->actor);
	if (!source || WEAK(role_change_lowers))
		return ERR_OK;
	return err_set(ERR_DENIED, "this would take admin on %s from %s, who has it from %s, where you are not admin", path.s,
	    who->user ? who->user : source->principal, source->path.s);
}

/* At the changed path and at each path below that has a rule for him, before or after: nothing changes between. */
static enum err judge(const struct change *c, const struct identity *who, struct path path)
{
	const struct rules *const sets[] = { c->before, c->after };
	const char *principal;
	enum err e = judge_at(c, who, path);

	for (size_t s = 0; s < 2; s++)
		for (size_t k = 0; !e && (principal = identity_principal(who, k)); k++) {
			size_t i = rules_first_below(sets[s], principal, path);
			for (; !e && rules_is_below(sets[s], i, principal, path); i++)
				e = judge_at(c, who, rules_by_principal(sets[s], i)->path);
		}
	return e;
}

enum err role_change_allowed(const struct rules *r, const struct identity *actor, const char *principal, struct path path,
    int role, const struct role_member *members, size_t n_members)
{
	struct path root = path_root();
	enum role own = role_on(r, actor, path);
	enum err e = ERR_OK;

	if (!principal_valid(principal))
		return err_set(ERR_INPUT, "not a principal: write for instance own:alice or unix:@web");
	if (role > ROLE_ADMIN)
		return err_set(ERR_INPUT, "not a role");
	if (own < ROLE_ADMIN && !WEAK(role_change_admin))
		return err_set(ERR_DENIED, "rules on %s are changed by its admins, and you are not one", path.s);
	if (role > (int)own)
		return err_set(ERR_DENIED, "nobody gives a role above his own");

	struct rules *after = rules_with(r, principal, path, role);
	struct change c = { r, after, actor };
	/*
	 * The principal by itself, known or not: members of a UNIX group who have never been here are in no list, and
	 * their rights count too.
	 */
	const struct identity alone = principal_is_group(principal)
	                                  ? (struct identity){ .groups = &principal, .n_groups = 1 }
	                                  : (struct identity){ .user = principal };
	bool listed = false;
	for (size_t i = 0; !e && i < n_members; i++) {
		const struct identity *who = members[i].who;
		listed |= who->user && strcmp(who->user, principal) == 0;
		if (concerns(who, principal))
			e = judge(&c, who, path);
	}
	/* A user in the list was judged with his groups, which is the truth about him. */
	if (!e && !listed)
		e = judge(&c, &alone, path);
	if (!e && path_is_root(path)) {
		bool kept = role_on(after, actor, root) == ROLE_ADMIN;
		for (size_t i = 0; !kept && i < n_members; i++)
			kept = members[i].enabled && role_on(after, members[i].who, root) == ROLE_ADMIN;
		if (!kept && !WEAK(role_change_last))
			e = err_set(ERR_DENIED, "this would leave the site without an admin: make somebody else admin on / first");
	}
	rules_unref(after);
	return e;
}

enum err requirement_change_allowed(const struct rules *r, const struct identity *actor, const struct requirement *q)
{
	const struct requirement *now = rules_requirement_find(r, q->path);
	bool less = now && (q->reviews < now->reviews || (now->not_alone && !q->not_alone));

	if (q->reviews > REQUIRED_REVIEWS_LIMIT)
		return err_set(ERR_INPUT, "at most %d reviews can be asked for", REQUIRED_REVIEWS_LIMIT);
	if (role_on(r, actor, q->path) < ROLE_ADMIN && !WEAK(require_admin))
		return err_set(ERR_DENIED, "what a signature needs on %s is laid down by its admins, and you are not one", q->path.s);
	/* It binds the admins of the path as well, so they cannot lift it. On "/" there is nobody above. */
	if (less && !path_is_root(q->path) && role_on(r, actor, path_above(q->path)) < ROLE_ADMIN && !WEAK(require_less))
		return err_set(ERR_DENIED, "only an admin of the directory above %s asks for less there than before", q->path.s);
	if (!now && !q->reviews && !q->not_alone)
		return err_set(ERR_NOT_FOUND, "nothing is asked for on %s itself", q->path.s);
	return ERR_OK;
}

/* --- who gains and who loses -------------------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
	return path_compare(*(const struct path *)a, *(const struct path *)b);
}

/* path and each place below it that has a rule of his in one of the two sets: between those nothing changes. */
static struct path *places(const struct rules *before, const struct rules *after, const struct identity *who, struct path path, size_t *n)
{
	const struct rules *const sets[] = { before, after };
	struct path *list = NULL;
	size_t cap = 0, kept = 0;
	const char *principal;

	*n = 0;
	list = mem_grow(list, &cap, 1, sizeof(*list));
	list[(*n)++] = path;
	for (size_t s = 0; s < 2; s++)
		for (size_t k = 0; (principal = identity_principal(who, k)); k++) {
			size_t i = rules_first_below(sets[s], principal, path);
			for (; rules_is_below(sets[s], i, principal, path); i++) {
				list = mem_grow(list, &cap, *n + 1, sizeof(*list));
				list[(*n)++] = rules_by_principal(sets[s], i)->path;
			}
		}
	qsort(list, *n, sizeof(*list), by_place);
	for (size_t i = 0; i < *n; i++)
		if (!i || !path_equal(list[i], list[kept - 1]))
			list[kept++] = list[i];
	*n = kept;
	return list;
}

bool role_differences(const struct rules *before, const struct rules *after, const struct identity *who, struct path path,
    bool (*fn)(void *arg, const struct identity *who, struct path at, enum role before, enum role after), void *arg)
{
	bool more = true;
	size_t n;
	struct path *list = places(before, after, who, path, &n);

	for (size_t i = 0; i < n && more; i++) {
		enum role was = role_on(before, who, list[i]), then = role_on(after, who, list[i]);

		if (was == then)
			continue;
		/* The same as in the directory that holds it: said already. */
		if (!path_equal(list[i], path)) {
			struct path above = path_above(list[i]);
			if (role_on(before, who, above) == was && role_on(after, who, above) == then)
				continue;
		}
		more = fn(arg, who, list[i], was, then);
	}
	free(list);
	return more;
}

/* --- rules that do nothing ---------------------------------------------------------------------------------------------- */

static const struct { const char *name, *text; } doubts[] = {
	[RULE_FINE] = { "fine", "does what it says" },
	[RULE_REPEATS] = { "repeats", "says again what holds anyway" },
	[RULE_GONE] = { "gone", "names somebody who does not exist" },
	[RULE_EMPTY] = { "empty", "names a group without members" },
	[RULE_SHADOWED] = { "shadowed", "changes nothing for anybody: other rules decide" },
};

const char *rule_doubt_name(enum rule_doubt d)
{
	return doubts[d].name;
}

const char *rule_doubt_text(enum rule_doubt d)
{
	return doubts[d].text;
}

/* Would his rights be the same anywhere at or below the rule if it were not there? */
static bool same_without(const struct rules *r, const struct rule *rule, const struct identity *who)
{
	size_t n;
	struct path *list = places(r, r, who, rule->path, &n);
	bool same = true;

	for (size_t i = 0; i < n && same; i++)
		same = role_resolve_without(r, who, list[i], rule).role == role_resolve_without(r, who, list[i], NULL).role;
	free(list);
	return same;
}

enum rule_doubt rule_doubt_of(const struct rules *r, const struct rule *rule, bool exists, const struct role_member *members,
    size_t n_members, const struct rule **above)
{
	const bool group = principal_is_group(rule->principal);
	size_t concerned = 0;

	*above = path_is_root(rule->path) ? NULL : rules_walk(r, rule->principal, path_above(rule->path));
	if (!exists)
		return RULE_GONE;
	if (*above ? (*above)->role == rule->role : group && rule->role == ROLE_NONE)
		return RULE_REPEATS;
	for (size_t i = 0; i < n_members; i++) {
		if (!concerns(members[i].who, rule->principal))
			continue;
		concerned++;
		if (!same_without(r, rule, members[i].who))
			return RULE_FINE;
	}
	if (!concerned)
		return group ? RULE_EMPTY : RULE_FINE;
	return RULE_SHADOWED;
}
