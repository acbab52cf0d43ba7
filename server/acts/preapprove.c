/*
 * preapprove: paths whose files are approved at each sync without a signature.
 */
#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/weaken.h"

struct preapproval {
	const struct preapproved *what;
	bool remove;
};

static bool count(void *arg, const struct db_preapproval *p)
{
	(void)p;
	return ++*(size_t *)arg < PREAPPROVED_MOST;
}

static enum err check_number(struct decision *d)
{
	size_t n = 0;
	enum err err = db_preapproval_list(d->db, d->s->name, count, &n);

	if (!err && n >= PREAPPROVED_MOST)
		err = err_set(ERR_TOO_BIG, "A site has at most %d pre-approvals. Take some back.", PREAPPROVED_MOST);
	return err;
}

static enum err preapprove_check(struct decision *d, void *arg)
{
	struct preapproval *p = arg;
	const struct preapproved *w = p->what;
	char until[CLOCK_TEXT_SIZE];
	enum err err = act_role(d->rules, request_identity(d->rq), w->path, ROLE_ADMIN, &d->rule);

	if (!err && !p->remove)
		err = check_number(d);
	if (err)
		return err;
	if (!p->remove && rules_required_at_or_below(d->rules, w->path) && !WEAK(require_preapprove))
		return err_set(ERR_DENIED, "Signatures need reviews on %s or below: such files are not let out without a signature. "
		    "Pre-approve a path where nothing is asked for.", w->path.s);
	d->fields = json_object();
	json_object_set_new(d->fields, "path", json_stringn(w->path.s, w->path.len));
	if (*w->pattern)
		json_object_set_new(d->fields, "pattern", json_string(w->pattern));
	if (w->largest && !p->remove)
		json_object_set_new(d->fields, "largest", json_integer((json_int_t)w->largest));
	if (w->until && !p->remove) {
		clock_text(w->until, until);
		json_object_set_new(d->fields, "until", json_string(until));
	}
	if (p->remove)
		json_object_set_new(d->fields, "removed", json_true());
	return ERR_OK;
}

static enum err preapprove_write(struct decision *d, void *arg)
{
	struct preapproval *p = arg;
	struct db_preapproval row = {
		.what = *p->what,
		.actor = request_identity(d->rq)->user,
		.at = d->record.at,
		.note = d->rq->note,
		.seq = d->record.seq,
	};
	enum err err;

	if (!p->remove)
		err = db_preapproval_put(d->db, d->s->name, &row);
	else
		err = db_preapproval_remove(d->db, d->s->name, p->what->path, p->what->pattern);
	FAILPOINT_OR(err, preapprove_row);
	if (p->remove && err == ERR_NOT_FOUND)
		err = err_set(ERR_NOT_FOUND, "%s%s%s is not pre-approved.", p->what->path.s, *p->what->pattern ? " with the pattern " : "", p->what->pattern);
	return err;
}

static void preapprove_after(struct decision *d, void *arg)
{
	(void)arg;
	FAILPOINT(preapprove_decided);
	if (site_load_preapprovals(d->s, d->db)) {
		d->s->unsettled = true;
		log_event(LOG_LEVEL_WARN, "act.preapprovals", "site", d->s->name, "why", err_text(), NULL);
	}
}

enum err act_preapprove(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct preapproved *what, bool remove, struct act_answer *out)
{
	struct preapproval p = { what, remove };
	struct decision d = {
		.s = s, .t = t, .rq = rq, .act = "preapprove", .shown = "",
		.check = preapprove_check, .write = preapprove_write, .after = preapprove_after, .arg = &p,
	};
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (!err)
		err = preapproved_check(what);
	if (!err && !remove && what->until && preapproved_ended(what, clock_wall()))
		err = err_set(ERR_INPUT, "The end has to lie in the future.");
	if (err)
		return err;
	if (!rq->actor || !s->catalog)
		return err_set(ERR_INPUT, "Only a person can pre-approve paths of a site.");
	request_begin(&r, "preapprove");
	request_bytes(&r, what->path.s, what->path.len);
	request_text(&r, what->pattern);
	request_number(&r, what->largest);
	request_number(&r, (uint64_t)what->until);
	request_number(&r, remove);
	request_text(&r, rq->note);
	request_end(&r, &d.request);
	err = act_seen(s, t, rq, &d.request, out);
	return err == ERR_NOT_FOUND ? decide(&d, out) : err;
}
