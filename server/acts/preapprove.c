/*
 * preapprove: paths whose files are approved at each sync without a signature.
 */
#include "acts/internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/weaken.h"

struct preapproval {
	struct path path;
	bool remove;
};

static enum err preapprove_check(struct decision *d, void *arg)
{
	struct preapproval *p = arg;
	enum err err = act_role(d->rules, request_identity(d->rq), p->path, ROLE_ADMIN, &d->rule);

	if (err)
		return err;
	if (!p->remove && rules_required_at_or_below(d->rules, p->path) && !WEAK(require_preapprove))
		return err_set(ERR_DENIED, "Signatures need reviews on %s or below: such files are not let out without a signature. "
		    "Pre-approve a path where nothing is asked for.", p->path.s);
	d->fields = json_object();
	json_object_set_new(d->fields, "path", json_stringn(p->path.s, p->path.len));
	if (p->remove)
		json_object_set_new(d->fields, "removed", json_true());
	return ERR_OK;
}

static enum err preapprove_write(struct decision *d, void *arg)
{
	struct preapproval *p = arg;
	struct db_preapproval row = {
		.path = p->path,
		.actor = request_identity(d->rq)->user,
		.at = d->record.at,
		.note = d->rq->note,
		.seq = d->record.seq,
	};
	enum err err;

	if (!p->remove)
		return db_preapproval_put(d->db, d->s->name, &row);
	err = db_preapproval_remove(d->db, d->s->name, p->path);
	return err == ERR_NOT_FOUND ? err_set(ERR_NOT_FOUND, "%s is not pre-approved.", p->path.s) : err;
}

static void preapprove_after(struct decision *d, void *arg)
{
	(void)arg;
	if (site_load_preapprovals(d->s, d->db)) {
		d->s->unsettled = true;
		log_event(LOG_LEVEL_WARN, "act.preapprovals", "site", d->s->name, "why", err_text(), NULL);
	}
}

enum err act_preapprove(struct site *s, struct actor_tools *t, const struct act_request *rq, struct path path, bool remove, struct act_answer *out)
{
	struct preapproval p = { path, remove };
	struct decision d = {
		.s = s, .t = t, .rq = rq, .act = "preapprove", .shown = "",
		.check = preapprove_check, .write = preapprove_write, .after = preapprove_after, .arg = &p,
	};
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (err)
		return err;
	if (!rq->actor || !s->catalog)
		return err_set(ERR_INPUT, "Only a person can pre-approve paths of a site.");
	request_begin(&r, "preapprove");
	request_bytes(&r, path.s, path.len);
	request_number(&r, remove);
	request_text(&r, rq->note);
	request_end(&r, &d.request);
	err = act_seen(s, t, rq, &d.request, out);
	return err == ERR_NOT_FOUND ? decide(&d, out) : err;
}
