/*
 * own: DryDock's own accounts and groups, as a provider.
 */
#include <string.h>

#include "auth/internal.h"

struct grow {
	struct provider_user *out;
	struct arena *a;
};

static bool add_group(void *arg, const char *group)
{
	struct grow *g = arg;

	provider_user_group(g->out, g->a, arena_printf(g->a, "own:@%s", group));
	return g->out->n < GROUPS_LIMIT;
}

enum err own_memberships(struct db *db, const char *principal, struct provider_user *out, struct arena *a)
{
	struct grow g = { out, a };

	return db_groups_of(db, principal, add_group, &g);
}

static enum err own_user(struct auth *au, struct db *db, const char *name, struct provider_user *out, struct arena *a)
{
	struct db_account account;
	enum err err = db_account_get(db, name, &account, a);

	(void)au;
	if (err)
		return err;
	out->display = account.display[0] ? account.display : account.name;
	out->enabled = account.enabled;
	return ERR_OK;
}

struct wanted {
	const char *name;
	bool found;
};

static bool is_wanted(void *arg, const char *name, uint64_t members)
{
	struct wanted *w = arg;

	(void)members;
	w->found = strcmp(name, w->name) == 0;
	return !w->found;
}

static enum err own_group(struct auth *au, struct db *db, const char *name)
{
	struct wanted w = { name, false };
	enum err err = db_group_list(db, is_wanted, &w);

	(void)au;
	if (err)
		return err;
	return w.found ? ERR_OK : err_set(ERR_NOT_FOUND, "There is no group named @%s.", name);
}

struct pass {
	void (*fn)(void *arg, const char *principal);
	void *arg;
};

static bool pass_on(void *arg, const char *principal)
{
	struct pass *p = arg;

	p->fn(p->arg, principal);
	return true;
}

static enum err own_members(struct auth *au, struct db *db, const char *group, void (*fn)(void *arg, const char *principal), void *arg)
{
	struct pass p = { fn, arg };

	(void)au;
	return db_member_list(db, group, pass_on, &p);
}

const struct provider provider_own = { "own", own_user, own_group, own_members };
