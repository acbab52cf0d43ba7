/*
 * token: making and taking back API tokens: acts of the installation, in its own log, without the secret.
 *
 * A token is its owner, within a limit. Only he makes one; he takes it back, or somebody who is admin wherever it counts.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/utf8.h"
#include "base/weaken.h"

#define LABEL_LIMIT 64 /* bytes */
#define LONGEST (2 * 366 * 24 * 3600 * CLOCK_SECOND)
#define TOKENS_LIMIT 100 /* of one owner */

struct token_act {
	struct actor_tools *t;
	struct arena *a;
	const struct token_wish *wish;
	const char *id;
	struct db_token row;
};

static enum err run(struct decision *d, struct request *r, struct token_act *o, struct act_answer *out)
{
	enum err err;

	request_text(r, d->rq->note);
	request_end(r, &d->request);
	o->t = d->t;
	o->a = arena_new();
	d->shown = "";
	d->arg = o;
	err = act_seen(d->s, d->t, d->rq, &d->request, out);
	if (err == ERR_NOT_FOUND)
		err = decide(d, out);
	arena_free(o->a);
	return err;
}

/* What the record tells of a token. */
static json_t *fields_of(const struct db_token *row)
{
	char expires[CLOCK_TEXT_SIZE];

	clock_text(row->expires_at, expires);
	return json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s, s:s}", "id", row->id, "owner", row->principal, "label", row->label, "role",
	    role_name((enum role)row->role), "site", *row->site ? row->site : NULL, "path", row->path, "expires", expires);
}

/* --- making -------------------------------------------------------------------------------------------------------- */

static bool count_one(void *arg, const struct db_token *t)
{
	(void)t;
	return ++*(size_t *)arg < TOKENS_LIMIT;
}

static bool same_site(void *arg, struct site *s)
{
	const char **name = arg;

	if (strcmp(*name, s->name) != 0)
		return true;
	*name = NULL;
	return false;
}

static enum err add_check(struct decision *d, void *arg)
{
	struct token_act *o = arg;
	size_t n = 0;
	enum err err = db_token_list(d->db, o->row.principal, count_one, &n);

	if (!err && n >= TOKENS_LIMIT)
		err = err_set(ERR_TOO_BIG, "You have %d tokens: revoke one that is not needed any more.", TOKENS_LIMIT);
	if (!err)
		d->fields = fields_of(&o->row);
	return err;
}

static enum err add_write(struct decision *d, void *arg)
{
	struct token_act *o = arg;

	o->row.seq = d->record.seq;
	o->row.created_at = d->record.at;
	enum err err = db_token_put(d->db, &o->row);

	FAILPOINT_OR(err, token_row);
	return err;
}

static enum err wish_check(const struct token_wish *w, const struct act_request *rq)
{
	const char *site = w->site;
	size_t n = strlen(w->label);
	int64_t now = clock_wall();

	if (!rq->actor || (rq->actor->who.limit && !WEAK(token_makes)))
		return err_set(ERR_DENIED, "A token is made by a person, who has logged in.");
	if (strcmp(rq->actor->who.provider, "proxy") == 0 && !WEAK(token_proxy))
		return err_set(ERR_DENIED, "People who come through the proxy have no tokens: DryDock could not tell whether they still exist.");
	if (!n || n > LABEL_LIMIT || !utf8_clean(w->label, n, false))
		return err_set(ERR_INPUT, "Say what the token is for, in at most %d bytes of text.", LABEL_LIMIT);
	if (w->role < ROLE_VIEW || w->role > ROLE_ADMIN)
		return err_set(ERR_INPUT, "The role of a token is view, review, sign or admin.");
	if (w->expires_at <= now || w->expires_at > now + LONGEST)
		return err_set(ERR_INPUT, "A token ends within two years, and not before now.");
	if (*site)
		sites_each(same_site, &site);
	return site && *site ? err_set(ERR_NOT_FOUND, "There is no site %s.", w->site) : ERR_OK;
}

enum err act_token_add(struct site *installation, struct actor_tools *t, const struct act_request *rq, const struct token_wish *w,
    struct token_made *made, struct act_answer *out)
{
	struct token_act o = { .wish = w };
	struct decision d = { .s = installation, .t = t, .rq = rq, .act = "token", .check = add_check, .write = add_write };
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	*made = (struct token_made){ "", "" };
	if (!err)
		err = wish_check(w, rq);
	if (err)
		return err;
	request_begin(&r, "token");
	request_text(&r, w->label);
	request_number(&r, w->role);
	request_text(&r, w->site);
	request_bytes(&r, w->path.s, w->path.len);
	request_text(&r, w->expires);
	o.row = (struct db_token){ .principal = rq->actor->who.user, .label = w->label, .role = w->role, .site = w->site, .path = w->path.s,
		.expires_at = w->expires_at, .used_from = "" };
	auth_token_make(made->text, &o.row.hash, made->id);
	memcpy(o.row.id, made->id, sizeof o.row.id);
	err = run(&d, &r, &o, out);
	/* Done before: that token's text is gone. */
	if (err || out->repeated) {
		explicit_bzero(made, sizeof *made);
	}
	return err;
}

/* --- taking back --------------------------------------------------------------------------------------------------- */

struct admin_of {
	const struct identity *who;
	const char *site;
	bool admin;
};

static bool is_admin_of(void *arg, struct site *s)
{
	struct admin_of *x = arg;
	struct rules *rules;

	if (strcmp(x->site, s->name) != 0)
		return true;
	rules = site_rules(s);
	x->admin = role_on(rules, x->who, path_root()) == ROLE_ADMIN;
	rules_unref(rules);
	return false;
}

static enum err revoke_ask(struct decision *d, struct token_act *o)
{
	const struct identity *actor = &d->rq->actor->who;
	struct admin_of x = { .who = actor, .site = o->row.site };
	struct person *owner = NULL;
	struct identity gone = { .user = o->row.principal };
	enum err err;

	if (strcmp(o->row.principal, actor->user) == 0)
		return ERR_OK;
	if (*o->row.site) {
		sites_each(is_admin_of, &x);
		/* What may not be seen is not there. */
		return x.admin ? ERR_OK : err_set(ERR_NOT_FOUND, "There is no token %s.", o->id);
	}
	err = auth_person(d->s->auth, d->db, o->row.principal, &owner, NULL);
	d->fields = json_object();
	if (!err || err == ERR_NOT_FOUND)
		err = over_sites_ask(d, o->t, o->a, owner ? &owner->who : &gone);
	person_unref(owner);
	return err;
}

static enum err revoke_check(struct decision *d, void *arg)
{
	struct token_act *o = arg;
	enum err err = db_token_named(d->db, o->id, &o->row, o->a);

	if (err == ERR_NOT_FOUND)
		err = err_set(ERR_NOT_FOUND, "There is no token %s.", o->id);
	if (!err && !WEAK(token_others))
		err = revoke_ask(d, o);
	if (!err) {
		json_t *was = d->fields;

		/* over_sites_ask() may have said by which site. */
		d->fields = fields_of(&o->row);
		if (was && json_object_get(was, "site"))
			json_object_set(d->fields, "admin_of", json_object_get(was, "site"));
		json_decref(was);
		json_object_set_new(d->fields, "revoked", json_true());
	}
	return err;
}

static enum err revoke_write(struct decision *d, void *arg)
{
	struct token_act *o = arg;

	enum err err = db_token_remove(d->db, o->id);

	FAILPOINT_OR(err, token_row_gone);
	return err;
}

static void revoke_after(struct decision *d, void *arg)
{
	(void)arg;
	if (d->s->auth)
		auth_forget(d->s->auth);
	FAILPOINT(token_forgotten);
}

enum err act_token_revoke(struct site *installation, struct actor_tools *t, const struct act_request *rq, const char *id, struct act_answer *out)
{
	struct token_act o = { .id = id };
	struct decision d = { .s = installation, .t = t, .rq = rq, .act = "token", .check = revoke_check, .write = revoke_write, .after = revoke_after };
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (!err && (!rq->actor || (rq->actor->who.limit && !WEAK(token_revokes))))
		err = err_set(ERR_DENIED, "A token is revoked by a person, who has logged in.");
	if (err)
		return err;
	request_begin(&r, "token-revoke");
	request_text(&r, id);
	return run(&d, &r, &o, out);
}
