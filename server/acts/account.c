/*
 * account: DryDock's own accounts, groups and memberships: acts of the installation, in its own log, without a secret.
 *
 * Whoever sets somebody's password can become him, and whoever puts somebody into a group gives what the group has. So
 * the actor must be admin wherever the account or group has a role, on every site.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/weaken.h"

#define DISPLAY_LIMIT 128 /* bytes */
#define NAME_LIMIT 128

/* --- rights over all sites ----------------------------------------------------------------------------------------- */

struct over_sites {
	const struct identity *actor;
	struct actor_tools *t;
	struct arena *a;
	/* the admin rule that lets him act at all */
	struct rule rule;
	const char *rule_site;
	/* whose roles must not pass over his */
	const struct identity *target;
	enum err err;
	/* what will be: for the last admin */
	const char *drop_user; /* disabled */
	const char *drop_member, *drop_group; /* drop_group loses drop_member, or everybody if that is NULL */
};

static bool find_admin(void *arg, struct site *s)
{
	struct over_sites *o = arg;
	struct rules *rules = site_rules(s);
	struct role_answer answer = role_resolve(rules, o->actor, path_root());

	if (answer.role == ROLE_ADMIN) {
		o->rule = (struct rule){ arena_dup(o->a, answer.rule->principal), path_copy(answer.rule->path, o->a), answer.rule->role };
		o->rule_site = arena_dup(o->a, s->name);
	}
	rules_unref(rules);
	return !o->rule_site;
}

static bool holds(const struct identity *who, const char *principal)
{
	if (who->user && strcmp(who->user, principal) == 0)
		return true;
	for (size_t i = 0; i < who->n_groups; i++)
		if (strcmp(who->groups[i], principal) == 0)
			return true;
	return false;
}

static bool passes_over(void *arg, struct site *s)
{
	struct over_sites *o = arg;
	struct rules *rules = site_rules(s);

	for (size_t i = 0; i < rules_count(rules) && !o->err; i++) {
		const struct rule *r = rules_at(rules, i);

		if (r->role > ROLE_NONE && holds(o->target, r->principal) && role_on(rules, o->actor, r->path) < ROLE_ADMIN && !WEAK(account_over))
			o->err = role_on(rules, o->actor, r->path) >= ROLE_VIEW
			             ? err_set(ERR_DENIED, "%s has a role on %s of the site %s, where you are not admin.", r->principal, r->path.s, s->name)
			             : err_set(ERR_DENIED, "%s has a role somewhere where you are not admin.", r->principal);
	}
	rules_unref(rules);
	return !o->err;
}

static enum role role_then(const struct over_sites *o, const struct rules *rules, const struct identity *who)
{
	const char **groups = mem_array(who->n_groups + 1, sizeof *groups);
	struct identity then = *who;
	enum role role;

	then.n_groups = 0;
	for (size_t i = 0; i < who->n_groups; i++)
		if (!o->drop_group || strcmp(o->drop_group, who->groups[i]) != 0 || (o->drop_member && strcmp(o->drop_member, who->user) != 0))
			groups[then.n_groups++] = who->groups[i];
	then.groups = groups;
	role = role_on(rules, &then, path_root());
	free(groups);
	return role;
}

static bool keeps_admin(void *arg, struct site *s)
{
	struct over_sites *o = arg;
	struct rules *rules = site_rules(s);
	struct auth_members m;
	bool before = false, kept = false;

	o->err = auth_members(s->auth, tools_db(o->t), rules, &m);
	for (size_t i = 0; i < m.n && !o->err && !kept; i++) {
		const struct role_member *member = &m.members[i];

		if (!member->enabled)
			continue;
		before |= role_on(rules, member->who, path_root()) == ROLE_ADMIN;
		if (!o->drop_user || strcmp(o->drop_user, member->who->user) != 0)
			kept = role_then(o, rules, member->who) == ROLE_ADMIN;
	}
	/* A site that has no admin yet is not made worse. */
	if (!o->err && before && !kept && !WEAK(account_last))
		o->err = err_set(ERR_DENIED, "This would leave the site %s without an admin: make somebody else admin first.", s->name);
	auth_members_release(&m);
	rules_unref(rules);
	return !o->err;
}

/* --- what the three acts share ------------------------------------------------------------------------------------- */

struct own_act {
	const struct identity *actor; /* NULL: offline */
	struct actor_tools *t;
	struct arena *a;
	/* account */
	const char *name;
	char hash[384]; /* "" keeps it */
	const char *display; /* NULL keeps it */
	bool enabled, is_new, was_enabled;
	struct db_account row;
	/* group, membership */
	const char *group, *principal;
	bool remove;
};

static enum err ask_over(struct decision *d, struct over_sites over, bool self)
{
	sites_each(find_admin, &over);
	if (over.rule_site) {
		d->rule = over.rule;
		json_object_set_new(d->fields, "site", json_string(over.rule_site));
	} else if (!self && !WEAK(account_admin)) {
		return err_set(ERR_DENIED, "You need to be admin of a whole site to change accounts and groups.");
	}
	if (!self)
		sites_each(passes_over, &over);
	return over.err;
}

enum err over_sites_ask(struct decision *d, struct actor_tools *t, struct arena *a, const struct identity *target)
{
	return ask_over(d, (struct over_sites){ .actor = &d->rq->actor->who, .t = t, .a = a, .target = target }, false);
}

static enum err ask(struct decision *d, struct own_act *o, const struct identity *target, bool self)
{
	return o->actor ? ask_over(d, (struct over_sites){ .actor = o->actor, .t = o->t, .a = o->a, .target = target }, self) : ERR_OK;
}

static enum err ask_admins(struct own_act *o, const char *drop_user, const char *drop_group, const char *drop_member)
{
	struct over_sites over = { .t = o->t, .a = o->a, .drop_user = drop_user, .drop_group = drop_group, .drop_member = drop_member };

	sites_each(keeps_admin, &over);
	return over.err;
}

static void own_after(struct decision *d, void *arg)
{
	struct own_act *o = arg;

	if (!d->s->auth)
		return;
	auth_forget(d->s->auth);
	FAILPOINT(account_forgotten);
	if (o->name && !o->is_new && (o->hash[0] || !o->enabled) && !WEAK(session_ends) &&
	    auth_session_end_all(d->s->auth, d->db, arena_printf(o->a, "own:%s", o->name)))
		log_event(LOG_LEVEL_ERROR, "account.sessions", "account", o->name, "why", err_text(), NULL);
	FAILPOINT(account_sessions_ended);
}

/* --- accounts ------------------------------------------------------------------------------------------------------ */

static enum err account_check(struct decision *d, void *arg)
{
	struct own_act *o = arg;
	struct db_account was;
	struct person *target = NULL;
	const char *user = arena_printf(o->a, "own:%s", o->name);
	struct identity fresh = { .user = user, .name = o->name, .provider = "own" };
	bool self = o->actor && strcmp(o->actor->user, user) == 0;
	bool enabled;
	enum err err = db_account_get(d->db, o->name, &was, o->a);

	d->fields = json_object();
	o->is_new = err == ERR_NOT_FOUND;
	if (err && !o->is_new)
		return err;
	if (o->is_new && !o->hash[0])
		return err_set(ERR_INPUT, "A new account needs a password.");
	o->was_enabled = !o->is_new && was.enabled;
	if (!o->is_new) {
		err = auth_person(d->s->auth, d->db, user, &target, &enabled);
		if (err)
			return err;
	}
	/* One may change one's own password and display name, but not make oneself enabled or disabled. */
	self = self && !o->is_new && o->enabled == was.enabled;
	err = ask(d, o, target ? &target->who : &fresh, self);
	person_unref(target);
	if (!err && o->was_enabled && !o->enabled)
		err = ask_admins(o, user, NULL, NULL);
	if (err)
		return err;
	o->row = (struct db_account){
		.name = o->name,
		.password = o->hash[0] ? o->hash : was.password,
		.display = o->display ? o->display : o->is_new ? o->name : was.display,
		.enabled = o->enabled,
		.created_at = o->is_new ? 0 : was.created_at, /* the record's time */
	};
	json_object_set_new(d->fields, "name", json_string(o->name));
	json_object_set_new(d->fields, "display", json_string(o->row.display));
	json_object_set_new(d->fields, "enabled", json_boolean(o->enabled));
	json_object_set_new(d->fields, "new", json_boolean(o->is_new));
	json_object_set_new(d->fields, "password_changed", json_boolean(o->hash[0] != '\0'));
	return ERR_OK;
}

static enum err account_write(struct decision *d, void *arg)
{
	struct own_act *o = arg;

	o->row.seq = d->record.seq;
	if (o->is_new)
		o->row.created_at = d->record.at;
	enum err err = db_account_put(d->db, &o->row);

	FAILPOINT_OR(err, account_row);
	return err;
}

static enum err name_check(const char *name, const char *what)
{
	struct buf b = BUF_INIT(PRINCIPAL_LIMIT);
	bool fine;

	buf_fmt(&b, "own:%s", name);
	fine = strlen(name) <= NAME_LIMIT && !b.over && name[0] != '@' && principal_valid(buf_text(&b));
	buf_release(&b);
	return fine ? ERR_OK : err_set(ERR_INPUT, "“%s” cannot be the name of %s.", name, what);
}

/* Run an act of the installation whose request was digested up to its note. */
static enum err run_act(struct decision *d, struct request *r, struct own_act *o, struct act_answer *out)
{
	enum err err;

	request_text(r, d->rq->note);
	request_end(r, &d->request);
	o->actor = d->rq->actor ? &d->rq->actor->who : NULL;
	o->t = d->t;
	o->a = arena_new();
	d->shown = "";
	d->after = own_after;
	d->arg = o;
	err = act_seen(d->s, d->t, d->rq, &d->request, out);
	if (err == ERR_NOT_FOUND) {
		pthread_mutex_lock(&act_rights_lock);
		err = decide(d, out);
		pthread_mutex_unlock(&act_rights_lock);
	}
	arena_free(o->a);
	explicit_bzero(o->hash, sizeof o->hash);
	return err;
}

enum err act_account_put(struct site *installation, struct actor_tools *t, const struct act_request *rq, const char *name,
    const char *password, const char *display, bool enabled, struct act_answer *out)
{
	struct own_act o = { .name = name, .display = display, .enabled = enabled };
	struct decision d = { .s = installation, .t = t, .rq = rq, .act = "account", .check = account_check, .write = account_write };
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (!err)
		err = name_check(name, "an account");
	if (!err && display && (strlen(display) > DISPLAY_LIMIT || !utf8_clean(display, strlen(display), false)))
		err = err_set(ERR_INPUT, "The display name must be text of at most %d bytes.", DISPLAY_LIMIT);
	if (!err && password)
		err = auth_password_hash(password, o.hash);
	FAILPOINT_OR(err, account_hashed);
	if (err)
		return err;
	request_begin(&r, "account");
	request_text(&r, name);
	request_text(&r, display);
	request_number(&r, enabled);
	/* That there is one, not which: a quick digest of a password is not kept anywhere. */
	request_number(&r, password != NULL);
	return run_act(&d, &r, &o, out);
}

/* --- groups -------------------------------------------------------------------------------------------------------- */

static enum err group_check(struct decision *d, void *arg)
{
	struct own_act *o = arg;
	const char *principal = arena_printf(o->a, "own:@%s", o->group);
	struct identity target = { .groups = &principal, .n_groups = 1 };
	enum err err;

	d->fields = json_object();
	json_object_set_new(d->fields, "group", json_string(o->group));
	if (o->remove)
		json_object_set_new(d->fields, "removed", json_true());
	err = ask(d, o, &target, false);
	if (!err && o->remove)
		err = ask_admins(o, NULL, principal, NULL);
	return err;
}

static enum err group_write(struct decision *d, void *arg)
{
	struct own_act *o = arg;
	enum err err;

	if (!o->remove) {
		err = db_group_create(d->db, o->group, d->record.at, d->record.seq);
		FAILPOINT_OR(err, group_row);
		return err == ERR_STALE ? err_set(ERR_STALE, "There is a group @%s already.", o->group) : err;
	}
	err = db_group_remove(d->db, o->group);
	FAILPOINT_OR(err, group_row_gone);
	return err == ERR_NOT_FOUND ? err_set(ERR_NOT_FOUND, "There is no group @%s.", o->group) : err;
}

enum err act_group(struct site *installation, struct actor_tools *t, const struct act_request *rq, const char *group, bool remove, struct act_answer *out)
{
	struct own_act o = { .group = group, .remove = remove };
	struct decision d = { .s = installation, .t = t, .rq = rq, .act = "group", .check = group_check, .write = group_write };
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (!err)
		err = name_check(group, "a group");
	if (err)
		return err;
	request_begin(&r, "group");
	request_text(&r, group);
	request_number(&r, remove);
	return run_act(&d, &r, &o, out);
}

/* --- memberships --------------------------------------------------------------------------------------------------- */

struct looking {
	const char *name;
	bool found;
};

static bool look_group(void *arg, const char *name, uint64_t members)
{
	struct looking *l = arg;

	(void)members;
	l->found = strcmp(l->name, name) == 0;
	return !l->found;
}

static bool look_member(void *arg, const char *principal)
{
	struct looking *l = arg;

	l->found = strcmp(l->name, principal) == 0;
	return !l->found;
}

static enum err membership_check(struct decision *d, void *arg)
{
	struct own_act *o = arg;
	const char *principal = arena_printf(o->a, "own:@%s", o->group);
	struct identity target = { .groups = &principal, .n_groups = 1 };
	struct looking group = { o->group, false }, member = { o->principal, false };
	enum err err = db_group_list(d->db, look_group, &group);

	if (!err && group.found)
		err = db_member_list(d->db, o->group, look_member, &member);
	if (err)
		return err;
	d->fields = json_object();
	json_object_set_new(d->fields, "group", json_string(o->group));
	json_object_set_new(d->fields, "principal", json_string(o->principal));
	if (o->remove)
		json_object_set_new(d->fields, "removed", json_true());
	err = ask(d, o, &target, false);
	if (err)
		return err;
	if (!group.found)
		return err_set(ERR_NOT_FOUND, "There is no group @%s.", o->group);
	if (o->remove && !member.found)
		return err_set(ERR_NOT_FOUND, "%s is not a member of @%s.", o->principal, o->group);
	if (!o->remove && member.found)
		return err_set(ERR_STALE, "%s is a member of @%s already.", o->principal, o->group);
	return o->remove ? ask_admins(o, NULL, principal, o->principal) : ERR_OK;
}

static enum err membership_write(struct decision *d, void *arg)
{
	struct own_act *o = arg;

	enum err err = o->remove ? db_member_remove(d->db, o->group, o->principal) : db_member_add(d->db, o->group, o->principal, d->record.seq);

	FAILPOINT_OR(err, membership_row);
	return err;
}

enum err act_membership(struct site *installation, struct actor_tools *t, const struct act_request *rq, const char *group, const char *principal, bool remove, struct act_answer *out)
{
	struct own_act o = { .group = group, .principal = principal, .remove = remove };
	struct decision d = { .s = installation, .t = t, .rq = rq, .act = "membership", .check = membership_check, .write = membership_write };
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (!err)
		err = name_check(group, "a group");
	if (!err && (!principal_valid(principal) || principal_is_group(principal)))
		err = err_set(ERR_INPUT, "“%s” is not the full name of a user.", principal);
	if (err)
		return err;
	request_begin(&r, "membership");
	request_text(&r, group);
	request_text(&r, principal);
	request_number(&r, remove);
	return run_act(&d, &r, &o, out);
}
