/*
 * provider: the table of those who know users and groups, and what is asked of all of them alike.
 */
#include <string.h>

#include "auth/internal.h"
#include "base/clock.h"
#include "base/digest.h"

static const struct provider *const providers[] = { &provider_own, &provider_unix, &provider_proxy };
#define PROVIDERS (sizeof providers / sizeof *providers)

/* --- persons ------------------------------------------------------------------------------------------------------- */

struct person_box {
	struct person person; /* first: the public face */
	atomic_uint refs;
	struct arena *arena; /* owns the strings */
};

struct person *person_new(const char *provider, const char *name, const char *display, const char *const *groups, size_t n)
{
	struct person_box *box = mem_alloc(sizeof *box);
	struct arena *a = arena_new();
	const char **copy = arena_alloc(a, (n ? n : 1) * sizeof *copy);

	for (size_t i = 0; i < n; i++)
		copy[i] = arena_dup(a, groups[i]);
	box->arena = a;
	box->person.who = (struct identity){
		.user = arena_printf(a, "%s:%s", provider, name),
		.name = arena_dup(a, name),
		.provider = arena_dup(a, provider),
		.groups = copy,
		.n_groups = n,
	};
	box->person.display = arena_dup(a, display && display[0] ? display : name);
	atomic_init(&box->refs, 1);
	return &box->person;
}

struct person *person_limited(const struct person *p, const struct role_limit *limit)
{
	struct person *out = person_new(p->who.provider, p->who.name, p->display, p->who.groups, p->who.n_groups);
	struct arena *a = ((struct person_box *)out)->arena;
	struct role_limit *copy = arena_alloc(a, sizeof *copy);

	*copy = (struct role_limit){ .role = limit->role, .path = path_copy(limit->path, a), .site = arena_dup(a, limit->site),
		.token = arena_dup(a, limit->token) };
	out->who.limit = copy;
	return out;
}

struct person *person_ref(struct person *p)
{
	if (p)
		atomic_fetch_add_explicit(&((struct person_box *)p)->refs, 1, memory_order_relaxed);
	return p;
}

void person_unref(struct person *p)
{
	struct person_box *box = (struct person_box *)p;

	if (!p || atomic_fetch_sub_explicit(&box->refs, 1, memory_order_acq_rel) != 1)
		return;
	arena_free(box->arena);
	free(box);
}

/* --- asking the providers ------------------------------------------------------------------------------------------ */

void provider_user_group(struct provider_user *u, struct arena *a, const char *principal)
{
	for (size_t i = 0; i < u->n; i++)
		if (strcmp(u->groups[i], principal) == 0)
			return;
	if (u->n == GROUPS_LIMIT)
		return;
	if (u->n == u->cap) {
		size_t cap = u->cap ? 2 * u->cap : 16;
		const char **more = arena_alloc(a, cap * sizeof *more);

		if (u->n)
			memcpy(more, u->groups, u->n * sizeof *more);
		u->groups = more;
		u->cap = cap;
	}
	u->groups[u->n++] = principal;
}

const struct provider *provider_find(const char *principal, const char **name)
{
	const char *colon = strchr(principal, ':');

	for (size_t i = 0; colon && i < PROVIDERS; i++)
		if (strlen(providers[i]->name) == (size_t)(colon - principal) &&
		    strncmp(providers[i]->name, principal, (size_t)(colon - principal)) == 0) {
			*name = colon + 1;
			return providers[i];
		}
	return NULL;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void provider_user_sort(struct provider_user *u)
{
	if (u->n)
		qsort(u->groups, u->n, sizeof *u->groups, by_text);
}

enum err auth_person(struct auth *a, struct db *db, const char *principal, struct person **out, bool *enabled)
{
	struct arena *arena = arena_new();
	struct provider_user user = { .enabled = false };
	const struct provider *p;
	const char *name;
	enum err err;

	*out = NULL;
	if (!principal_valid(principal) || principal_is_group(principal)) {
		err = err_set(ERR_INPUT, "“%s” does not name a user.", principal);
		goto out;
	}
	p = provider_find(principal, &name);
	if (!p) {
		err = err_set(ERR_NOT_FOUND, "Nobody here knows the user %s.", principal);
		goto out;
	}
	err = p->user(a, db, name, &user, arena);
	if (!err)
		err = own_memberships(db, principal, &user, arena);
	if (err)
		goto out;
	provider_user_sort(&user);
	*out = person_new(p->name, name, user.display, user.groups, user.n);
	if (enabled)
		*enabled = user.enabled;
out:
	arena_free(arena);
	return err;
}

static enum err provider_has(struct auth *au, const struct provider *p, struct db *db, const char *name, struct arena *a)
{
	struct provider_user user = { .enabled = false };

	return name[0] == '@' ? p->group(au, db, name + 1) : p->user(au, db, name, &user, a);
}

enum err auth_principal(struct auth *a, struct db *db, const char *text, char out[PRINCIPAL_LIMIT + 1])
{
	struct arena *arena = arena_new();
	const struct provider *only = NULL;
	const char *name, *full;
	enum err err = ERR_OK;

	out[0] = '\0';
	if (strlen(text) > PRINCIPAL_LIMIT) {
		err = err_set(ERR_INPUT, "The name of a user or group is too long.");
		goto out;
	}
	if (strchr(text, ':')) {
		if (!principal_valid(text)) {
			err = err_set(ERR_INPUT, "“%s” is not the name of a user or group.", text);
			goto out;
		}
		memcpy(out, text, strlen(text) + 1);
		only = provider_find(text, &name);
		if (!only)
			err = err_set(ERR_NOT_FOUND, "There is no such kind of user here: “%s”.", text);
		else if ((err = provider_has(a, only, db, name, arena)) == ERR_NOT_FOUND)
			err = err_set(ERR_NOT_FOUND, "Nobody here is named %s.", text);
		goto out;
	}
	for (size_t i = 0; i < PROVIDERS; i++) {
		/* It has every name there is: those people are named in full. */
		if (providers[i] == &provider_proxy)
			continue;
		full = arena_printf(arena, "%s:%s", providers[i]->name, text);
		if (!principal_valid(full)) {
			err = err_set(ERR_INPUT, "“%s” is not the name of a user or group.", text);
			goto out;
		}
		err = provider_has(a, providers[i], db, text, arena);
		if (err == ERR_NOT_FOUND)
			continue;
		if (err)
			goto out;
		if (only) {
			err = err_set(ERR_INPUT, "“%s” is the name of two: say %s:%s or %s:%s.", text, only->name, text,
			    providers[i]->name, text);
			goto out;
		}
		only = providers[i];
	}
	if (!only) {
		err = err_set(ERR_NOT_FOUND, "Nobody here is named %s.", text);
		goto out;
	}
	full = arena_printf(arena, "%s:%s", only->name, text);
	memcpy(out, full, strlen(full) + 1);
	err = ERR_OK;
out:
	arena_free(arena);
	return err;
}

/* --- everybody whose rights a change of rules could touch ---------------------------------------------------------- */

struct gather {
	struct auth_members *m;
	struct arena *names;
	const char **list;
	size_t n, cap;
};

static void gather_user(void *arg, const char *principal)
{
	struct gather *g = arg;

	if (principal_is_group(principal))
		return;
	g->list = mem_grow(g->list, &g->cap, g->n + 1, sizeof *g->list);
	g->list[g->n++] = arena_dup(g->names, principal);
}

static bool gather_account(void *arg, const struct db_account *account)
{
	struct gather *g = arg;

	gather_user(arg, arena_printf(g->names, "own:%s", account->name));
	return true;
}

struct own_groups {
	struct arena *a;
	const char **list;
	size_t n, cap;
};

static bool gather_own_group(void *arg, const char *name, uint64_t members)
{
	struct own_groups *o = arg;

	(void)members;
	o->list = mem_grow(o->list, &o->cap, o->n + 1, sizeof *o->list);
	o->list[o->n++] = arena_dup(o->a, name);
	return true;
}

void auth_members_release(struct auth_members *m)
{
	for (size_t i = 0; i < m->n; i++)
		person_unref(m->persons[i]);
	free(m->persons);
	free(m->members);
	*m = (struct auth_members){ 0 };
}

enum err auth_members(struct auth *a, struct db *db, const struct rules *rules, struct auth_members *out)
{
	struct gather g = { .m = out, .names = arena_new() };
	struct own_groups own = { .a = g.names };
	enum err err;

	*out = (struct auth_members){ 0 };
	err = db_account_list(db, gather_account, &g);
	/* A UNIX user may be a member of an own group without having a rule of his own. */
	if (!err)
		err = db_group_list(db, gather_own_group, &own);
	for (size_t i = 0; !err && i < own.n; i++)
		err = provider_own.members(a, db, own.list[i], gather_user, &g);
	for (size_t i = 0; !err && i < rules_count(rules); i++) {
		const char *principal = rules_at(rules, i)->principal, *name;
		const struct provider *p = provider_find(principal, &name);

		if (!principal_is_group(principal))
			gather_user(&g, principal);
		else if (p && p != &provider_own && (err = p->members(a, db, name + 1, gather_user, &g)) == ERR_NOT_FOUND)
			err = ERR_OK;
	}
	if (g.n)
		qsort(g.list, g.n, sizeof *g.list, by_text);
	out->members = mem_array(g.n + 1, sizeof *out->members);
	out->persons = mem_array(g.n + 1, sizeof *out->persons);
	for (size_t i = 0; !err && i < g.n; i++) {
		bool enabled;

		if (i && strcmp(g.list[i], g.list[i - 1]) == 0)
			continue;
		err = auth_person(a, db, g.list[i], &out->persons[out->n], &enabled);
		if (err == ERR_NOT_FOUND) {
			/* Gone, or of a provider that is not here: cannot act, so nobody is harmed. */
			err = ERR_OK;
			continue;
		}
		if (err)
			break;
		out->members[out->n] = (struct role_member){ &out->persons[out->n]->who, enabled };
		out->n++;
	}
	free(g.list);
	free(own.list);
	arena_free(g.names);
	if (err)
		auth_members_release(out);
	return err;
}
