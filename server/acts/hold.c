/*
 * hold: syncs of the site, or of a path, stop until a time; and the list of files that may go at once is confirmed.
 */
#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"

#define HOLDS_MOST 200
#define HOLD_LONGEST (366 * 24 * 3600 * CLOCK_SECOND)

struct holding {
	struct path path;
	int64_t until; /* 0: lift */
};

static enum err hold_check(struct decision *d, void *arg)
{
	struct holding *h = arg;
	struct arena *a = arena_new();
	char until[CLOCK_TEXT_SIZE];
	struct db_hold *list;
	size_t n;
	enum err err = act_role(d->rules, request_identity(d->rq), h->path, ROLE_ADMIN, &d->rule);

	if (!err)
		err = db_hold_list(d->db, d->s->name, &list, &n, a);
	if (!err && h->until && n >= HOLDS_MOST)
		err = err_set(ERR_TOO_BIG, "A site has at most %d holds. Lift some, also those that have ended.", HOLDS_MOST);
	arena_free(a);
	if (err)
		return err;
	d->fields = json_object();
	json_object_set_new(d->fields, "path", json_stringn(h->path.s, h->path.len));
	if (h->until) {
		clock_text(h->until, until);
		json_object_set_new(d->fields, "until", json_string(until));
	} else {
		json_object_set_new(d->fields, "removed", json_true());
		/* What was held is news: it leaves as if it were approved now. */
		d->approval = true;
	}
	return ERR_OK;
}

static enum err hold_write(struct decision *d, void *arg)
{
	struct holding *h = arg;
	const struct db_hold row = { .path = h->path, .actor = request_identity(d->rq)->user, .at = d->record.at, .until = h->until, .note = d->rq->note,
		.seq = d->record.seq };
	enum err err;

	if (h->until) {
		err = db_hold_put(d->db, d->s->name, &row);
		FAILPOINT_OR(err, hold_row);
		return err;
	}
	err = db_hold_remove(d->db, d->s->name, h->path);
	FAILPOINT_OR(err, hold_row_gone);
	return err == ERR_NOT_FOUND ? err_set(err, "%s is not held.", h->path.s) : err;
}

enum err act_hold(struct site *s, struct actor_tools *t, const struct act_request *rq, struct path path, int64_t until, struct act_answer *out)
{
	struct holding h = { path, until };
	struct decision d = { .s = s, .t = t, .rq = rq, .act = "hold", .shown = "", .check = hold_check, .write = hold_write, .arg = &h };
	const int64_t now = clock_wall();
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (err)
		return err;
	if (!rq->actor || !s->catalog)
		return err_set(ERR_INPUT, "Only a person can hold the syncs of a site.");
	if (until && !rq->note[0])
		return err_set(ERR_INPUT, "Say why it is held.");
	if (until && (until <= now || until > now + HOLD_LONGEST))
		return err_set(ERR_INPUT, "A hold ends within a year, and not before now.");
	request_begin(&r, "hold");
	request_bytes(&r, path.s, path.len);
	request_number(&r, until != 0);
	request_text(&r, rq->note);
	request_end(&r, &d.request);
	err = act_seen(s, t, rq, &d.request, out);
	if (err != ERR_NOT_FOUND)
		return err;
	err = decide(&d, out);
	/* Of a path it is too late for a release that was cut; of the site, what is being sent need not arrive. */
	if (!err && until && path_is_root(path) && s->changed)
		s->changed(s->changed_arg, "hold");
	return err;
}

/* --- the removal guard ------------------------------------------------------------------------------------------------------ */

struct confirming {
	const struct sha256 *list;
};

static enum err confirm_check(struct decision *d, void *arg)
{
	struct confirming *c = arg;
	char hex[SHA256_HEX];
	enum err err = act_role(d->rules, request_identity(d->rq), path_root(), ROLE_ADMIN, &d->rule);

	if (err)
		return err == ERR_NOT_FOUND ? err_set(ERR_DENIED, "You need to be admin of the whole site to confirm this.") : err;
	hex_of(hex, c->list->b, sizeof c->list->b);
	d->fields = json_object();
	json_object_set_new(d->fields, "list", json_string(hex));
	return ERR_OK;
}

/* Confirmed, it goes at once. */
static enum err confirm_write(struct decision *d, void *arg)
{
	struct confirming *c = arg;
	enum err err = db_schedule_removal(d->db, d->s->name, c->list);

	FAILPOINT_OR(err, removal_row);
	if (!err)
		err = db_schedule_force(d->db, d->s->name, &(struct db_force){ .at = d->record.at, .by = request_identity(d->rq)->user, .reason = d->rq->note });
	FAILPOINT_OR(err, removal_forced);
	return err;
}

enum err act_confirm_removal(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct sha256 *list, struct act_answer *out)
{
	struct confirming c = { list };
	struct decision d = { .s = s, .t = t, .rq = rq, .act = "confirm-removal", .shown = "", .check = confirm_check, .write = confirm_write, .arg = &c };
	struct site_plan plan;
	struct rules *rules;
	struct request r;
	bool may;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (err)
		return err;
	if (!rq->actor || !s->catalog)
		return err_set(ERR_INPUT, "Only a person can confirm this.");
	if (!rq->note[0])
		return err_set(ERR_INPUT, "Say why so many files may go.");
	request_begin(&r, "confirm-removal");
	request_bytes(&r, list->b, sizeof list->b);
	request_text(&r, rq->note);
	request_end(&r, &d.request);
	err = act_seen(s, t, rq, &d.request, out);
	if (err != ERR_NOT_FOUND)
		return err;
	rules = site_rules(s);
	may = role_on(rules, &rq->actor->who, path_root()) == ROLE_ADMIN;
	rules_unref(rules);
	err = ERR_OK;
	if (may) {
		err = site_plan(s, t, &plan);
		if (!err && (!plan.sluice.too_many || !sha256_equal(&plan.sluice.removal, list)))
			err = err_set(ERR_STALE, "The files that would go are not those that were shown any more: look at them again.");
		site_plan_release(&plan);
	}
	FAILPOINT_OR(err, removal_planned);
	return err ? err : decide(&d, out);
}
