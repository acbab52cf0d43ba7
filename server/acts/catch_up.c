/*
 * catch-up: this server is an older copy of itself, and production holds a release that it does not know. Its receiver
 * takes nothing whose number is not above that, and nothing that does not follow from it. An admin who has looked lets this
 * server go on from there: the next release has a higher number, a term that is not lower, and names that head as the one
 * before it. Only a receipt that the configured receiver's key signed for this site tells what it holds.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/weaken.h"
#include "core/head.h"
#include "repo/sshsig.h"

#define FURTHEST 1000000 /* releases that may be unknown: a key in wrong hands must not use the numbers up */

/* --- the newest of them ------------------------------------------------------------------------------------------------- */

struct newest {
	struct caught *out;
	struct arena *a;
	enum err err;
};

static bool read_one(void *arg, const struct db_record_row *row)
{
	struct newest *x = arg;
	struct record r = { 0 };
	const char *head;
	bool bad = false;

	x->err = record_decode(&r, row->body, row->body_len, x->a);
	if (x->err)
		return false;
	head = json_get_str(r.fields, "held-head", &bad);
	*x->out = (struct caught){ .seq = row->seq, .number = (uint64_t)json_get_int(r.fields, "held-number", 0, &bad),
		.term = (uint64_t)json_get_int(r.fields, "held-term", 0, &bad) };
	if (bad || !head || !hex_parse(x->out->head.b, sizeof x->out->head.b, head))
		x->err = err_set(ERR_FAILED, "Record %llu is not what an act writes. See drydockd fsck.", (unsigned long long)row->seq);
	json_decref(r.fields);
	return false;
}

enum err caught_up(struct db *db, const struct site *s, uint64_t before_seq, struct caught *out, struct arena *a)
{
	const struct db_record_query q = { .site = s->name, .node = node_key_id(s->key), .act = "catch-up", .before_seq = before_seq, .limit = 1 };
	struct newest x = { out, a, ERR_OK };
	enum err err;

	*out = (struct caught){ 0 };
	err = db_record_list(db, &q, read_one, &x);
	return err ? err : x.err;
}

/* --- the act ------------------------------------------------------------------------------------------------------------- */

struct catching {
	const char *target;
	const struct sha256 *shown;
	struct caught held;
	struct arena *a;
};

/* The words that were signed are read, and not what was kept beside them. */
static enum err read_receipt(const struct site *s, const struct conf_target *t, const struct db_held *row, struct caught *out)
{
	uint8_t key[32];
	bool bad = false;
	json_t *v = NULL;
	const char *site, *head;
	enum err err;

	if (!*t->receiver_key || sshsig_parse_public(key, t->receiver_key) || (sshsig_verify(key, RECEIPT_SPACE, row->receipt, strlen(row->receipt),
	        row->signature, strlen(row->signature)) && !WEAK(catch_up_receipt)))
		return err_set(ERR_DENIED, "What %s holds was not signed by its receiver_key.", t->name);
	err = json_parse(&v, row->receipt, strcspn(row->receipt, "\n"));
	if (err)
		return err;
	site = json_get_str(v, "site", &bad);
	head = json_get_str(v, "head", &bad);
	out->number = (uint64_t)json_get_int(v, "number", 0, &bad);
	out->term = (uint64_t)json_get_int(v, "term", 0, &bad);
	if (bad || !site || strcmp(site, s->name) || !head || !hex_parse(out->head.b, sizeof out->head.b, head) || !out->number || !out->term)
		err = err_set(ERR_DENIED, "What %s signed is not a receipt for this site.", t->name);
	json_decref(v);
	return err;
}

/*
 * Every target gets the same heads: what goes on from one release is refused where a later one is held, and where one is held that
 * this server knows neither. So it is the newest of all, once; a receiver that stayed behind it has to begin anew.
 */
static enum err only_newest(const struct site *s, struct db *db, const struct catching *c)
{
	const struct conf_site *conf = s->conf;
	struct caught before, other;
	struct db_held row;
	enum err err = caught_up(db, s, 0, &before, c->a);

	if (!err && conf->n_targets > 1 && c->held.number <= before.number)
		return err_set(ERR_STALE, "This server has gone on from release %llu already, and %s holds release %llu: nothing follows from that any more. "
		    "Its receiver has to begin anew, with drydock-receive init.", (unsigned long long)before.number, c->target, (unsigned long long)c->held.number);
	for (size_t i = 0; i < conf->n_targets && !err; i++) {
		err = db_held_get(db, s->name, conf->targets[i].name, &row, c->a);
		if (!err && !read_receipt(s, &conf->targets[i], &row, &other) && other.number > c->held.number)
			return err_set(ERR_STALE, "%s holds release %llu, which is newer: go on from that one.", conf->targets[i].name, (unsigned long long)other.number);
		if (err == ERR_NOT_FOUND)
			err = ERR_OK;
	}
	return err;
}

/* May somebody go on from what the target holds? */
static enum err possible(const struct site *s, struct db *db, struct catching *c, struct db_held *row)
{
	const struct conf_target *t = conf_target(s->conf, c->target);
	struct db_release last = { .number = 0 };
	enum err err;

	if (!t)
		return err_set(ERR_NOT_FOUND, "There is no target %s.", c->target);
	err = db_held_get(db, s->name, c->target, row, c->a);
	if (err)
		return err == ERR_NOT_FOUND ? err_set(ERR_STALE, "As far as is known %s holds no release that this server does not know. Test it first.", c->target) : err;
	err = read_receipt(s, t, row, &c->held);
	if (!err && !sha256_equal(&c->held.head, c->shown))
		err = err_set(ERR_STALE, "%s holds another release by now: look at it again.", c->target);
	if (!err)
		err = only_newest(s, db, c);
	if (!err)
		err = db_release_get(db, s->name, 0, &last, c->a);
	if (err == ERR_NOT_FOUND)
		err = ERR_OK;
	if (!err && c->held.number > last.number + FURTHEST)
		err = err_set(ERR_DENIED, "Release %llu is too far from release %llu, which is the newest here.", (unsigned long long)c->held.number, (unsigned long long)last.number);
	return err;
}

enum err act_catch_up_check(const struct site *s, struct db *db, const char *target, const struct sha256 *shown, struct arena *a)
{
	struct catching c = { .target = target, .shown = shown, .a = a };
	struct db_held row;

	return possible(s, db, &c, &row);
}

static enum err catch_check(struct decision *d, void *arg)
{
	struct catching *c = arg;
	char head[SHA256_HEX];
	struct db_held row;
	enum err err = act_role(d->rules, request_identity(d->rq), path_root(), ROLE_ADMIN, &d->rule);

	if (err)
		return err == ERR_NOT_FOUND ? err_set(ERR_DENIED, "You need to be admin of the whole site for this.") : err;
	err = possible(d->s, d->db, c, &row);
	if (err)
		return err;
	hex_of(head, c->held.head.b, sizeof c->held.head.b);
	d->fields = json_pack("{s:s, s:I, s:I, s:s, s:s, s:s}", "held-target", c->target, "held-number", (json_int_t)c->held.number, "held-term",
	    (json_int_t)c->held.term, "held-head", head, "held-receipt", row.receipt, "held-signature", row.signature);
	return d->fields ? ERR_OK : err_set(ERR_FAILED, "The record could not be made.");
}

static enum err catch_write(struct decision *d, void *arg)
{
	const struct catching *c = arg;
	char *id = arena_printf(c->a, "release/%s", d->s->name);
	enum err err = db_counter_raise(d->db, id, c->held.number);

	if (!err)
		err = db_held_remove(d->db, d->s->name, c->target);
	return err ? err : db_schedule_force(d->db, d->s->name, &(struct db_force){ .at = d->record.at, .by = request_identity(d->rq)->user, .reason = d->rq->note });
}

enum err act_catch_up(struct site *s, struct actor_tools *t, const struct act_request *rq, const char *target, const struct sha256 *shown, struct act_answer *out)
{
	struct catching c = { .target = target, .shown = shown, .a = arena_new() };
	struct decision d = { .s = s, .t = t, .rq = rq, .act = "catch-up", .shown = "", .check = catch_check, .write = catch_write, .arg = &c };
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (!err && (!rq->actor || !s->catalog))
		err = err_set(ERR_INPUT, "Only a person can decide this.");
	if (!err && !rq->note[0])
		err = err_set(ERR_INPUT, "Say why this server is to go on from there.");
	if (err)
		goto out;
	request_begin(&r, "catch-up");
	request_text(&r, target);
	request_bytes(&r, shown->b, sizeof shown->b);
	request_text(&r, rq->note);
	request_end(&r, &d.request);
	err = act_seen(s, t, rq, &d.request, out);
	if (err == ERR_NOT_FOUND)
		err = decide(&d, out);
out:
	arena_free(c.a);
	return err;
}
