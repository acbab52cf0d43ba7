/*
 * force: an admin wants a sync now, and says why.
 */
#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/weaken.h"

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
	struct forcing *f = arg;
	struct db_force force = { .at = d->record.at, .by = request_identity(d->rq)->user, .reason = d->rq->note };
	enum err err;

	if (f->plan)
		force.plan = *f->plan;
	err = db_schedule_force(d->db, d->s->name, &force);

	FAILPOINT_OR(err, force_row);
	return err;
}

/* Is the plan still the one that he was shown? The run that sends it asks once more. */
static enum err plan_same(struct site *s, struct actor_tools *t, const struct sha256 *shown)
{
	struct site_plan plan;
	enum err err = site_plan(s, t, &plan);

	if (!err && !sha256_equal(&plan.digest, shown) && !WEAK(shown_plan))
		err = err_set(ERR_STALE, "The plan changed since it was shown: look at it again.");
	site_plan_release(&plan);
	return err;
}

/* What cannot be sent is not asked for. */
static enum err may_run(struct site *s, struct actor_tools *t)
{
	struct sluice g = { .a = arena_new() };
	char until[CLOCK_TEXT_SIZE];
	const struct db_hold *hold;
	enum err err = sluice_holds(s, tools_db(t), &g);

	hold = err ? NULL : sluice_hold(&g, path_root());
	if (hold) {
		clock_text(hold->until, until);
		err = err_set(ERR_DENIED, "The syncs of %s are held by %s until %s: lift the hold first.", s->name, hold->actor, until);
	}
	arena_free(g.a);
	return err;
}

enum err act_force(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct sha256 *plan, struct act_answer *out)
{
	struct forcing f = { plan };
	struct decision d = {
		.s = s, .t = t, .rq = rq, .act = "force", .shown = "", .check = force_check, .write = force_write, .arg = &f,
	};
	struct rules *rules;
	struct request r;
	bool admin;
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
	admin = role_on(rules, &rq->actor->who, path_root()) == ROLE_ADMIN;
	rules_unref(rules);
	err = admin ? may_run(s, t) : ERR_OK;
	if (!err && admin && plan)
		err = plan_same(s, t, plan);
	FAILPOINT_OR(err, force_planned);
	return err ? err : decide(&d, out);
}
