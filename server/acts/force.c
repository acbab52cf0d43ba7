/*
 * force: an admin wants a sync now, and says why.
 */
#include "acts/internal.h"
#include "base/failpoint.h"

struct forcing {
	const struct sha256 *plan;
};

static enum err force_check(struct decision *d, void *arg)
{
	struct forcing *f = arg;
	char hex[SHA256_HEX];
	enum err err = act_role(d->rules, request_identity(d->rq), path_root(), ROLE_ADMIN, &d->rule);

	if (err == ERR_NOT_FOUND)
		err = err_set(ERR_DENIED, "You need to be admin of the whole site to force a sync.");
	if (err)
		return err;
	d->fields = json_object();
	if (f->plan) {
		hex_of(hex, f->plan->b, sizeof f->plan->b);
		json_object_set_new(d->fields, "plan", json_string(hex));
	}
	return ERR_OK;
}

static enum err force_write(struct decision *d, void *arg)
{
	(void)arg;
	enum err err = db_schedule_force(d->db, d->s->name,
	    &(struct db_force){ .at = d->record.at, .by = request_identity(d->rq)->user, .reason = d->rq->note });

	FAILPOINT_OR(err, force_row);
	return err;
}

/* Is the plan still the one that he was shown? */
static enum err plan_same(struct site *s, struct actor_tools *t, const struct sha256 *shown)
{
	struct plan plan;
	struct sha256 now;
	enum err err = site_plan(s, t, &plan);

	if (err)
		return err;
	plan_digest(&plan, &now);
	plan_release(&plan);
	return sha256_equal(&now, shown) ? ERR_OK : err_set(ERR_STALE, "The plan changed since it was shown: look at it again.");
}

enum err act_force(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct sha256 *plan, struct act_answer *out)
{
	struct forcing f = { plan };
	struct decision d = {
		.s = s, .t = t, .rq = rq, .act = "force", .shown = "", .check = force_check, .write = force_write, .arg = &f,
	};
	struct rules *rules;
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (err)
		return err;
	if (!rq->actor || !s->catalog)
		return err_set(ERR_INPUT, "Only a person can force the sync of a site.");
	if (!rq->note[0])
		return err_set(ERR_INPUT, "Say why the sync is forced.");
	request_begin(&r, "force");
	request_text(&r, rq->note);
	if (plan)
		request_bytes(&r, plan->b, sizeof plan->b);
	request_end(&r, &d.request);
	err = act_seen(s, t, rq, &d.request, out);
	if (err != ERR_NOT_FOUND)
		return err;
	/* The right before the plan: nobody learns from the answer what the plan is. decide() asks again and writes the event. */
	rules = site_rules(s);
	err = role_on(rules, &rq->actor->who, path_root()) == ROLE_ADMIN && plan ? plan_same(s, t, plan) : ERR_OK;
	rules_unref(rules);
	FAILPOINT_OR(err, force_planned);
	return err ? err : decide(&d, out);
}
