#include "core/role.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
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

/* --- rule sets -------------------------------------------------------------------------------------------------------- */

struct rules {
	atomic_uint refs;
	struct arena *arena; /* owns principals and paths */
	size_t n;
	struct rule *list; /* by path, then principal */
	const struct rule **by_principal; /* by principal, then path: what concerns one person below a directory */
	const struct rule **table; /* open addressing, by (principal, path) */
	size_t mask;
};

/* FNV-1a. Only admins make rules, so nobody gains by making them collide. */
static uint64_t hash_bytes(uint64_t h, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * UINT64_C(1099511628211);
	return h;
}

#define HASH_START UINT64_C(14695981039346656037)

/* The path first: a walk for several principals hashes each directory once. */
static uint64_t hash_key(uint64_t path_hash, const char *principal, size_t len)
{
	uint64_t h = hash_bytes(path_hash, "", 1);

	h = hash_bytes(h, principal, len);
	return h ^ h >> 32;
}

static const struct rule *find(const struct rules *r, struct path path, uint64_t path_hash, const char *principal)
{
	size_t i = hash_key(path_hash, principal, strlen(principal)) & r->mask;

	for (; r->table[i]; i = (i + 1) & r->mask)
		if (path_equal(r->table[i]->path, path) && strcmp(r->table[i]->principal, principal) == 0)
			return r->table[i];
	return NULL;
}

static int by_path(const void *a_, const void *b_)
{
	const struct rule *a = a_, *b = b_;
	int c = path_compare(a->path, b->path);

	return c ? c : strcmp(a->principal, b->principal);
}

static int by_principal(const void *a_, const void *b_)
{
	const struct rule *a = *(const struct rule *const *)a_, *b = *(const struct rule *const *)b_;
	int c = strcmp(a->principal, b->principal);

	return c ? c : path_compare(a->path, b->path);
}

/* What is sorted while a set is built: of equal keys the later one counts. */
struct entry {
	const struct rule *rule;
	size_t at;
};

static int by_entry(const void *a_, const void *b_)
{
	const struct entry *a = a_, *b = b_;
	int c = by_path(a->rule, b->rule);

	return c ? c : a->at < b->at ? -1 : a->at > b->at;
}

struct rules *rules_new(const struct rule *list, size_t n)
{
	struct rules *r = mem_alloc(sizeof(*r));
	struct entry *order = mem_array(n, sizeof(*order));

	atomic_init(&r->refs, 1);
	r->arena = arena_new();
	r->list = mem_array(n, sizeof(*r->list));
	for (size_t i = 0; i < n; i++)
		order[i] = (struct entry){ &list[i], i };
	qsort(order, n, sizeof(*order), by_entry);
	for (size_t i = 0; i < n; i++) {
		const struct rule *from = order[i].rule;
		if (i + 1 < n && by_path(from, order[i + 1].rule) == 0)
			continue;
		r->list[r->n++] = (struct rule){ arena_dup(r->arena, from->principal), path_copy(from->path, r->arena), from->role };
	}
	free(order);

	size_t size = 8;
	while (size < 2 * r->n)
		size *= 2;
	r->mask = size - 1;
	r->table = mem_array(size, sizeof(*r->table));
	r->by_principal = mem_array(r->n, sizeof(*r->by_principal));
	for (size_t i = 0; i < r->n; i++) {
		const struct rule *rule = &r->list[i];
		r->by_principal[i] = rule;
		size_t k = hash_key(hash_bytes(HASH_START, rule->path.s, rule->path.len), rule->principal, strlen(rule->principal));
		for (k &= r->mask; r->table[k]; k = (k + 1) & r->mask)
			;
		r->table[k] = rule;
	}
	qsort(r->by_principal, r->n, sizeof(*r->by_principal), by_principal);
	return r;
}

struct rules *rules_ref(struct rules *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void rules_unref(struct rules *r)
{
	if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
		return;
	free(r->list);
	free(r->by_principal);
	free(r->table);
	arena_free(r->arena);
	free(r);
}

size_t rules_count(const struct rules *r)
{
	return r->n;
}

const struct rule *rules_at(const struct rules *r, size_t i)
{
	return &r->list[i];
}

struct rules *rules_with(const struct rules *r, const char *principal, struct path path, int role)
{
	struct rule *list = mem_array(r->n + 1, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		if (!path_equal(r->list[i].path, path) || strcmp(r->list[i].principal, principal) != 0)
			list[n++] = r->list[i];
	if (role >= 0)
		list[n++] = (struct rule){ principal, path, (enum role)role };
	struct rules *changed = rules_new(list, n);
	free(list);
	return changed;
}

/* One line; a principal of 255 and a path of 4,096 bytes, each byte of which may be escaped to two. */
#define LINE_LIMIT (2 * PATH_LIMIT + 2 * PRINCIPAL_LIMIT + 128)

static void encode_line(const struct rule *rule, struct buf *out)
{
	struct json_out o = { .b = out };

	json_out_begin(&o, '{');
	json_out_name(&o, "path");
	json_out_strn(&o, rule->path.s, rule->path.len);
	json_out_kstr(&o, "principal", rule->principal);
	json_out_kstr(&o, "role", role_name(rule->role));
	json_out_end(&o, '}');
	buf_char(out, '\n');
}

void rules_encode(const struct rules *r, struct buf *out)
{
	for (size_t i = 0; i < r->n; i++)
		encode_line(&r->list[i], out);
}

void rules_digest(const struct rules *r, struct sha256 *out)
{
	struct sha256_stream *s = sha256_stream_new();
	struct buf line = BUF_INIT(LINE_LIMIT);

	for (size_t i = 0; i < r->n; i++) {
		buf_reset(&line);
		encode_line(&r->list[i], &line);
		sha256_stream_add(s, buf_text(&line), line.len);
	}
	buf_release(&line);
	sha256_stream_end_free(s, out);
}

/* --- the pure function ------------------------------------------------------------------------------------------------ */

/* The directory that holds path, as a part of the same bytes; not for "/". */
static struct path path_above(struct path path)
{
	size_t len = path.len;

	while (path.s[len - 1] != '/')
		len--;
	path.len = len > 1 ? len - 1 : 1;
	return path;
}

/* From path itself upwards to "/": the first rule of this principal, or NULL. */
static const struct rule *walk(const struct rules *r, const char *principal, struct path path)
{
	for (;;) {
		const struct rule *found = find(r, path, hash_bytes(HASH_START, path.s, path.len), principal);
		if (found || path_is_root(path))
			return found;
		path = path_above(path);
	}
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

/* What the rules say, whatever limits the one who asks. */
static struct role_answer resolve(const struct rules *r, const struct identity *who, struct path path)
{
	const struct rule *best = NULL;

	if (r->n == 0)
		return (struct role_answer){ ROLE_NONE, NULL };
	if (who->user)
		best = walk(r, who->user, path);
	if (best)
		return (struct role_answer){ best->role, best };
	for (size_t i = 0; i < who->n_groups; i++) {
		const struct rule *rule = walk(r, who->groups[i], path);
		if (rule && (!best || decides_over(rule, best)))
			best = rule;
	}
	return (struct role_answer){ best ? best->role : ROLE_NONE, best };
}

struct role_answer role_resolve(const struct rules *r, const struct identity *who, struct path path)
{
	struct role_answer answer;

	if (who->limit && !path_covers(who->limit->path, path))
		return (struct role_answer){ ROLE_NONE, NULL };
	answer = resolve(r, who, path);
	if (who->limit && answer.role > who->limit->role)
		answer.role = who->limit->role;
	return answer;
}

enum role role_on(const struct rules *r, const struct identity *who, struct path path)
{
	return role_resolve(r, who, path).role;
}

/* --- below a directory ------------------------------------------------------------------------------------------------ */

/*
 * Where a rule stands among those of one principal strictly below dir: before (-1), inside (0) or behind (1). What is
 * below dir begins with dir and a slash, so that it is one run in the order of the list.
 */
static int place(const struct rule *rule, const char *principal, struct path dir)
{
	int c = strcmp(rule->principal, principal);

	if (c)
		return c < 0 ? -1 : 1;
	if (path_is_root(dir))
		return path_is_root(rule->path) ? -1 : 0;
	size_t common = rule->path.len < dir.len ? rule->path.len : dir.len;
	c = memcmp(rule->path.s, dir.s, common);
	if (c)
		return c < 0 ? -1 : 1;
	if (rule->path.len <= dir.len)
		return -1;
	unsigned char next = (unsigned char)rule->path.s[dir.len];
	return next < '/' ? -1 : next > '/' ? 1 : 0;
}

/* Rules of a principal strictly below dir are by_principal[i] from here on, as long as is_below() says so. */
static size_t first_below(const struct rules *r, const char *principal, struct path dir)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (place(r->by_principal[mid], principal, dir) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool is_below(const struct rules *r, size_t i, const char *principal, struct path dir)
{
	return i < r->n && place(r->by_principal[i], principal, dir) == 0;
}

/* The user and then his groups, as one list. NULL behind the last. */
static const char *principal_of(const struct identity *who, size_t i)
{
	if (who->user && i-- == 0)
		return who->user;
	return i < who->n_groups ? who->groups[i] : NULL;
}

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
	for (size_t k = 0; (principal = principal_of(who, k)); k++) {
		for (size_t i = first_below(r, principal, dir); is_below(r, i, principal, dir); i++)
			if (role_on(r, who, r->by_principal[i]->path) >= ROLE_VIEW)
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
	for (size_t k = 0; (principal = principal_of(who, k)); k++) {
		for (size_t i = first_below(r, principal, dir); is_below(r, i, principal, dir); i++)
			if (role_on(r, who, r->by_principal[i]->path) != here)
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
	const struct rule *found = walk(r, principal, path);

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

void role_explain(const struct rules *r, const struct identity *who, struct path path, struct buf *out)
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

/* --- changing rules --------------------------------------------------------------------------------------------------- */

/* May a change of the principal's rules change anything for him? */
static bool concerns(const struct identity *who, const char *principal)
{
	const char *p;

	for (size_t i = 0; (p = principal_of(who, i)); i++)
		if (strcmp(p, principal) == 0)
			return true;
	return false;
}

/* The nearest rule of this principal that stands where the actor is not admin; NULL if there is none. */
static const struct rule *walk_out_of_reach(const struct rules *r, const char *principal, struct path path, const struct identity *actor)
{
	const struct rule *found = walk(r, principal, path);

	while (found && role_on(r, actor, found->path) == ROLE_ADMIN)
		found = path_is_root(found->path) ? NULL : walk(r, principal, path_above(found->path));
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
		for (size_t k = 0; !e && (principal = principal_of(who, k)); k++) {
			size_t i = first_below(sets[s], principal, path);
			for (; !e && is_below(sets[s], i, principal, path); i++)
				e = judge_at(c, who, sets[s]->by_principal[i]->path);
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
