/*
 * require: what a signature needs beside the role, laid down for a path by its admins. It stands in the rule set, so that
 * the log has it and it moves with the version of the rules.
 */
#include "acts/internal.h"
#include "base/failpoint.h"

struct wanted {
	struct requirement q;
};

static enum err wanted_check(struct decision *d, void *arg)
{
	const struct wanted *w = arg;
	const struct identity *who = request_identity(d->rq);
	const struct requirement *was = rules_requirement_find(d->rules, w->q.path);
	enum err err = act_role(d->rules, who, w->q.path, ROLE_VIEW, NULL);

	if (!err)
		err = requirement_change_allowed(d->rules, who, &w->q);
	if (err)
		return err;
	d->rule = *role_resolve(d->rules, who, w->q.path).rule;
	d->rules_after = rules_require(d->rules, &w->q);
	d->fields = json_object();
	json_object_set_new(d->fields, "path", json_stringn(w->q.path.s, w->q.path.len));
	json_object_set_new(d->fields, "reviews", json_integer(w->q.reviews));
	json_object_set_new(d->fields, "not_alone", json_boolean(w->q.not_alone));
	if (was) {
		json_object_set_new(d->fields, "before_reviews", json_integer(was->reviews));
		json_object_set_new(d->fields, "before_not_alone", json_boolean(was->not_alone));
	}
	return ERR_OK;
}

static enum err wanted_write(struct decision *d, void *arg)
{
	const struct wanted *w = arg;

	bool none = !w->q.reviews && !w->q.not_alone;
	enum err err = none ? db_requirement_remove(d->db, d->s->name, w->q.path) : db_requirement_set(d->db, d->s->name, &w->q, d->record.seq);

	FAILPOINT_OR(err, require_row);
	return err;
}

enum err act_require(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct requirement *q, struct act_answer *out)
{
	struct wanted w = { *q };
	struct decision d = { .s = s, .t = t, .rq = rq, .act = "require", .shown = "", .check = wanted_check, .write = wanted_write, .arg = &w };
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (err)
		return err;
	if (!rq->actor || !s->catalog)
		return err_set(ERR_INPUT, "Only a person can say what a signature needs.");
	request_begin(&r, "require");
	request_bytes(&r, q->path.s, q->path.len);
	request_number(&r, q->reviews);
	request_number(&r, q->not_alone);
	request_text(&r, rq->note);
	request_end(&r, &d.request);
	err = act_seen(s, t, rq, &d.request, out);
	return err == ERR_NOT_FOUND ? decide(&d, out) : err;
}
