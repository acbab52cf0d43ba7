/*
 * rule: who may do what, changed. The judgement is core's role_change_allowed(), asked with the rules of the locked
 * version and with everybody whom the change could touch.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/failpoint.h"

struct rule_change {
	struct site *s;
	const char *principal;
	struct path path;
	int role; /* < 0: removed */
	const struct identity *actor; /* NULL: the offline command, which asks nobody */
	const struct auth_members *members;
	uint64_t version; /* of the rules that members were gathered for */
	bool moved; /* another change came between: gather again */
};

static enum err rule_check(struct decision *d, void *arg)
{
	struct rule_change *c = arg;
	const struct rule *was = rules_find(d->rules, c->principal, c->path);
	enum err err = ERR_OK;

	if (c->actor) {
		if (d->rules_version != c->version) {
			c->moved = true;
			return err_set(ERR_STALE, "The rules changed meanwhile. Try again.");
		}
		err = act_role(d->rules, c->actor, c->path, ROLE_ADMIN, &d->rule);
		if (!err)
			err = role_change_allowed(d->rules, c->actor, c->principal, c->path, c->role, c->members->members, c->members->n);
	}
	if (!err && c->role < 0 && !was)
		err = err_set(ERR_NOT_FOUND, "There is no rule for %s on %s.", c->principal, c->path.s);
	if (err)
		return err;
	d->rules_after = rules_with(d->rules, c->principal, c->path, c->role);
	d->fields = json_object();
	json_object_set_new(d->fields, "principal", json_string(c->principal));
	json_object_set_new(d->fields, "path", json_stringn(c->path.s, c->path.len));
	if (c->role < 0)
		json_object_set_new(d->fields, "removed", json_true());
	else
		json_object_set_new(d->fields, "role", json_string(role_name((enum role)c->role)));
	if (was)
		json_object_set_new(d->fields, "before", json_string(role_name(was->role)));
	if (!c->actor)
		json_object_set_new(d->fields, "offline", json_true());
	return ERR_OK;
}

static enum err rule_write(struct decision *d, void *arg)
{
	const struct rule_change *c = arg;
	struct rule rule = { c->principal, c->path, c->role < 0 ? ROLE_NONE : (enum role)c->role };

	enum err err = c->role < 0 ? db_rule_remove(d->db, d->s->name, c->principal, c->path) : db_rule_set(d->db, d->s->name, &rule, d->record.seq);

	FAILPOINT_OR(err, rule_row);
	return err;
}

static void rule_request(const struct rule_change *c, const struct act_request *rq, struct sha256 *out)
{
	struct request r;

	request_begin(&r, "rule");
	request_text(&r, c->principal);
	request_bytes(&r, c->path.s, c->path.len);
	request_number(&r, c->role < 0 ? -1 : c->role);
	request_text(&r, rq->note);
	request_end(&r, out);
}

/* Everybody, with the rules before and after: a UNIX group named for the first time has members too. */
static enum err gather(struct rule_change *c, struct actor_tools *t, struct auth *auth, struct auth_members *members)
{
	struct rules *before, *with;
	enum err err;

	pthread_mutex_lock(&c->s->rules_lock);
	before = rules_ref(c->s->rules);
	c->version = c->s->rules_version;
	pthread_mutex_unlock(&c->s->rules_lock);
	with = rules_with(before, c->principal, c->path, c->role < 0 ? ROLE_NONE : c->role);
	err = auth_members(auth, tools_db(t), with, members);
	rules_unref(with);
	rules_unref(before);
	return err;
}

enum err act_rule(struct site *s, struct actor_tools *t, struct auth *auth, const struct act_request *rq, const char *principal, struct path path, int role, struct act_answer *out)
{
	struct rule_change c = { .s = s, .principal = principal, .path = path, .role = role };
	struct sha256 request;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (!rq->actor)
		return err_set(ERR_INPUT, "Only a person can change rules.");
	if (!err && !principal_valid(principal))
		err = err_set(ERR_INPUT, "“%s” is not the full name of a user or group.", principal);
	if (!err && role > ROLE_ADMIN)
		err = err_set(ERR_INPUT, "There is no such role.");
	if (err)
		return err;
	c.actor = &rq->actor->who;
	rule_request(&c, rq, &request);
	err = act_seen(s, t, rq, &request, out);
	if (err != ERR_NOT_FOUND)
		return err;
	for (int i = 0; i < 4; i++) {
		struct auth_members members;
		struct decision d = {
			.s = s, .t = t, .rq = rq, .act = "rule", .request = request, .shown = "",
			.check = rule_check, .write = rule_write, .arg = &c,
		};

		/* Outside the transaction: NSS may wait for a network. */
		pthread_mutex_lock(&act_rights_lock);
		err = gather(&c, t, auth, &members);
		c.members = &members;
		c.moved = false;
		FAILPOINT_OR(err, rule_gathered);
		if (!err)
			err = decide(&d, out);
		pthread_mutex_unlock(&act_rights_lock);
		auth_members_release(&members);
		if (err != ERR_STALE || !c.moved)
			break;
	}
	return err;
}

enum err act_admin_offline(struct site *s, struct actor_tools *t, const char *principal, struct act_answer *out)
{
	struct rule_change c = { .s = s, .principal = principal, .path = path_root(), .role = ROLE_ADMIN };
	struct act_request rq = { .note = "" };
	struct decision d = {
		.s = s, .t = t, .rq = &rq, .act = "rule", .shown = "", .check = rule_check, .write = rule_write, .arg = &c,
	};

	if (!principal_valid(principal))
		return err_set(ERR_INPUT, "“%s” is not the full name of a user or group.", principal);
	uuid_new(&rq.op);
	rule_request(&c, &rq, &d.request);
	return decide(&d, out);
}
