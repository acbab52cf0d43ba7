#include "core/inside.h"

#include <string.h>

#include "base/utf8.h"
#include "base/weaken.h"

#define PRINCIPAL_NAME_LIMIT 128

static const char *const role_names[] = { "none", "view", "review", "sign", "admin" };

const char *role_name(enum role r)
{
	return role_names[r];
}

bool role_parse(enum role *out, const char *name)
{
	for (int i = ROLE_NONE; i <= ROLE_ADMIN; i++)
		if (strcmp(role_names[i], name) == 0) {
			*out = (enum role)i;
			return true;
		}
	return false;
}

bool principal_valid(const char *text)
{
	size_t n = strnlen(text, PRINCIPAL_LIMIT + 1), i = 0;

	if (n > PRINCIPAL_LIMIT)
		return false;
	while (text[i] >= 'a' && text[i] <= 'z')
		i++;
	if (i == 0 || text[i] != ':')
		return false;
	const char *name = text + i + 1;
	if (*name == '@')
		name++;
	size_t len = n - (size_t)(name - text);
	if (len == 0 || len > PRINCIPAL_NAME_LIMIT || *name == '@' || name[0] == ' ' || name[len - 1] == ' ')
		return false;
	return !memchr(name, '/', len) && !memchr(name, ':', len) && utf8_clean(name, len, false);
}

bool principal_is_group(const char *text)
{
	const char *colon = strchr(text, ':');

	return colon && colon[1] == '@';
}

/* --- the pure function ------------------------------------------------------------------------------------------------ */

/* From path itself upwards to "/": the first rule of this principal, or NULL. */
const struct rule *rules_walk(const struct rules *r, const char *principal, struct path path)
{
	struct way way;

	way_make(&way, path);
	return rules_walk_on(r, principal, &way, NULL);
}

/* Which of two group rules decides: the higher; then, so that the order of the groups says nothing, by path and name. */
static bool decides_over(const struct rule *a, const struct rule *b)
{
	if (a->role != b->role)
		return a->role > b->role;
	if (a->path.len != b->path.len)
		return a->path.len > b->path.len;
	return strcmp(a->principal, b->principal) < 0;
}

/* What the rules say, whatever limits the one who asks. skip: a rule that is to be thought away; NULL: none. */
struct role_answer role_resolve_without(const struct rules *r, const struct identity *who, struct path path, const struct rule *skip)
{
	const struct rule *best = NULL;
	struct way way;

	if (rules_count(r) == 0)
		return (struct role_answer){ ROLE_NONE, NULL };
	way_make(&way, path);
	if (who->user)
		best = rules_walk_on(r, who->user, &way, skip);
	if (best)
		return (struct role_answer){ best->role, best };
	for (size_t i = 0; i < who->n_groups; i++) {
		const struct rule *rule = rules_walk_on(r, who->groups[i], &way, skip);
		if (rule && (!best || decides_over(rule, best)))
			best = rule;
	}
	return (struct role_answer){ best ? best->role : ROLE_NONE, best };
}

struct role_answer role_resolve(const struct rules *r, const struct identity *who, struct path path)
{
	struct role_answer answer;

	if (who->limit && !path_covers(who->limit->path, path) && !WEAK(token_path))
		return (struct role_answer){ ROLE_NONE, NULL };
	answer = role_resolve_without(r, who, path, NULL);
	if (who->limit && answer.role > who->limit->role && !WEAK(token_role))
		answer.role = who->limit->role;
	return answer;
}

enum role role_on(const struct rules *r, const struct identity *who, struct path path)
{
	return role_resolve(r, who, path).role;
}

/* --- below a directory ------------------------------------------------------------------------------------------------ */

/* Where a limit begins, a role may change without a rule. */
static bool limit_below(const struct identity *who, struct path dir)
{
	return who->limit && path_covers(dir, who->limit->path) && !path_equal(dir, who->limit->path);
}

/*
 * A role changes on the way down only at a path that has a rule of one of his principals, so these paths speak for
 * everything below dir.
 */
bool role_sees_below(const struct rules *r, const struct identity *who, struct path dir)
{
	const char *principal;

	if (role_on(r, who, dir) >= ROLE_VIEW)
		return true;
	if (limit_below(who, dir) && role_on(r, who, who->limit->path) >= ROLE_VIEW)
		return true;
	for (size_t k = 0; (principal = identity_principal(who, k)); k++) {
		for (size_t i = rules_first_below(r, principal, dir); rules_is_below(r, i, principal, dir); i++)
			if (role_on(r, who, rules_by_principal(r, i)->path) >= ROLE_VIEW)
				return true;
	}
	return false;
}

bool role_uniform_below(const struct rules *r, const struct identity *who, struct path dir)
{
	const char *principal;
	enum role here = role_on(r, who, dir);

	if (limit_below(who, dir) && role_on(r, who, who->limit->path) != here)
		return false;
	for (size_t k = 0; (principal = identity_principal(who, k)); k++) {
		for (size_t i = rules_first_below(r, principal, dir); rules_is_below(r, i, principal, dir); i++)
			if (role_on(r, who, rules_by_principal(r, i)->path) != here)
				return false;
	}
	return true;
}

/* --- explaining ------------------------------------------------------------------------------------------------------- */

static void put_path(struct buf *out, struct path p)
{
	utf8_visible(out, p.s, p.len, false);
}

/* The walk of one principal, a line a step. Returns where it ended. */
static const struct rule *explain_walk(const struct rules *r, const char *principal, struct path path,
    const struct rule *deciding, struct buf *out)
{
	const struct rule *found = rules_walk(r, principal, path);

	for (;;) {
		buf_str(out, "  ");
		put_path(out, path);
		if (found && path_equal(found->path, path)) {
			buf_fmt(out, ": %s%s\n", role_name(found->role), found == deciding ? "   <- this rule decides" : "");
			return found;
		}
		buf_str(out, ": no rule\n");
		if (path_is_root(path))
			return NULL;
		path = path_above(path);
	}
}

static void explain_role(const struct rules *r, const struct identity *who, struct path path, struct buf *out)
{
	struct role_answer answer = role_resolve(r, who, path);
	const char *user = who->user ? who->user : "nobody";

	utf8_visible(out, user, strlen(user), false);
	buf_fmt(out, " has the role %s on ", role_name(answer.role));
	put_path(out, path);
	buf_str(out, "\n");
	if (who->user) {
		buf_str(out, "own rules, from the path upwards:\n");
		if (explain_walk(r, who->user, path, answer.rule, out)) {
			if (who->n_groups)
				buf_str(out, "groups: not asked, since a rule of the person's own was found\n");
			return;
		}
	}
	if (who->n_groups == 0)
		buf_str(out, "groups: none\n");
	for (size_t i = 0; i < who->n_groups; i++) {
		buf_str(out, "group ");
		utf8_visible(out, who->groups[i], strlen(who->groups[i]), false);
		buf_str(out, ":\n");
		const struct rule *found = explain_walk(r, who->groups[i], path, answer.rule, out);
		if (found && found != answer.rule)
			buf_fmt(out, "    (another group's rule decides: it gives %s%s)\n", role_name(answer.role),
			    found->role == answer.role ? " as well" : "");
	}
	if (!answer.rule)
		buf_str(out, "no rule was found: no rights\n");
}

/* What a signature needs beside the role, and where that is laid down. */
static void explain_required(const struct rules *r, struct path path, struct buf *out)
{
	struct required q = rules_required(r, path);

	if (q.reviews) {
		buf_fmt(out, "a signature here also needs %u review%s of the same bytes by others: laid down on ", q.reviews, q.reviews == 1 ? "" : "s");
		put_path(out, q.reviews_from->path);
		buf_str(out, "\n");
	}
	if (q.not_alone) {
		buf_str(out, "who owns the file does not sign it without a review by somebody else: laid down on ");
		put_path(out, q.not_alone_from->path);
		buf_str(out, "\n");
	}
}

void role_explain(const struct rules *r, const struct identity *who, struct path path, struct buf *out)
{
	explain_role(r, who, path, out);
	explain_required(r, path, out);
}
