/* Counters and queues (core/named.h), for scripts and other servers. */
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "web/api/api.h"

#define TABLE "counter" /* both kinds live in one, since they share their names */
#define OF_NO_SITE "(counters)" /* where the ids of requests are kept: no site can have that name */

static const char *asked_name(struct req *r)
{
	const char *name = req_query(r, "name");

	return name ? name : ""; /* which is no name */
}

/* What DryDock counts and queues for itself can be looked at and not be touched. */
static enum err check_own(const char *id)
{
	if (strncmp(id, "release/", 8) == 0 || strncmp(id, "publisher/", 10) == 0)
		return err_set(ERR_DENIED, "%s belongs to DryDock itself and cannot be changed by hand.", id);
	return ERR_OK;
}

static void begin(struct req *r, struct answer *a, const char *id)
{
	answer_begin(a);
	json_out_kstr(&a->out, "id", id);
	json_out_kstr(&a->out, "region", web_conf(r->web)->name);
	json_out_kstr(&a->out, "table", TABLE);
}

static enum err send_value(struct req *r, const char *id, uint64_t value)
{
	struct answer a;

	begin(r, &a, id);
	json_out_kint(&a.out, "value", (int64_t)value);
	return answer_send(r, &a, 200);
}

static enum err send_removed(struct req *r, const char *id)
{
	struct answer a;

	begin(r, &a, id);
	json_out_kbool(&a.out, "removed", true);
	return answer_send(r, &a, 200);
}

static void ticket(struct json_out *o, const struct named *queue, size_t position)
{
	const struct named_member *m = &queue->members[position - 1];

	json_out_begin(o, '{');
	json_out_kstr(o, "process_id", m->process);
	json_out_kint(o, "counter", (int64_t)m->ticket);
	json_out_kint(o, "position", (int64_t)position);
	json_out_end(o, '}');
}

/* With a process that is a member: its ticket; without one: all tickets. Releases the queue. */
static enum err send_queue(struct req *r, const char *id, struct named *queue, const char *process)
{
	const size_t position = process ? named_position(queue, process) : 0;
	struct answer a;

	begin(r, &a, id);
	json_out_kint(&a.out, "fencing_token", (int64_t)queue->version);
	if (position > 0) {
		json_out_name(&a.out, "ticket");
		ticket(&a.out, queue, position);
	} else if (!process) {
		json_out_name(&a.out, "tickets");
		json_out_begin(&a.out, '[');
		for (size_t i = 1; i <= queue->n; i++)
			ticket(&a.out, queue, i);
		json_out_end(&a.out, ']');
	}
	named_release(queue);
	return answer_send(r, &a, 200);
}

/* GET /api/v1/counter?name= */
enum err api_counter(struct req *r)
{
	const struct named_store s = db_named(tools_db(r->tools));
	struct named v;
	const char *id = asked_name(r);
	uint64_t value;
	enum err e = named_get(&s, NAMED_COUNTER, id, &v);

	if (e)
		return reply_error(r, e, NULL);
	value = v.value;
	named_release(&v);
	return send_value(r, id, value);
}

struct counting {
	const struct act_request *rq;
	const char *id, *node;
	struct sha256 request;
	uint64_t value;
};

/* One transaction: a repetition of the same request gets the number that the first one got. */
static enum err count(struct db *db, void *arg)
{
	struct counting *c = arg;
	const char *actor = c->rq->actor->who.user;
	struct db_act_id known;
	enum err e = db_act_id_get(db, OF_NO_SITE, actor, &c->rq->op, &known);

	if (!e) {
		c->value = known.seq;
		return memcmp(&known.request, &c->request, sizeof c->request) == 0 ?
		    ERR_OK : err_set(ERR_STALE, "Another request had that \"id\". Take a new one.");
	}
	if (e != ERR_NOT_FOUND)
		return e;
	e = db_counter_next(db, c->id, &c->value);
	if (e)
		return e;
	known = (struct db_act_id){ .request = c->request, .seq = c->value };
	memcpy(known.node, c->node, sizeof known.node);
	return db_act_id_put(db, OF_NO_SITE, actor, &c->rq->op, &known, clock_wall());
}

/* POST /api/v1/counter {name, do: "next" | "rm", id} */
enum err api_counter_do(struct req *r)
{
	const struct named_store s = db_named(tools_db(r->tools));
	struct act_request rq;
	struct counting c = { .rq = &rq, .node = node_key_id(web_key(r->web)) };
	const char *what = NULL;
	enum err e = api_act_request(r, &rq);

	if (!e)
		e = api_text(r, "name", true, &c.id);
	if (!e)
		e = api_text(r, "do", true, &what);
	if (!e)
		e = check_own(c.id);
	if (!e && strcmp(what, "rm") == 0) {
		e = named_remove(&s, NAMED_COUNTER, c.id);
		return e ? reply_error(r, e, NULL) : send_removed(r, c.id);
	}
	if (!e && strcmp(what, "next") != 0)
		e = err_set(ERR_INPUT, "\"do\" is next or rm.");
	if (!e) {
		sha256_of(&c.request, c.id, strlen(c.id));
		e = tx_run(tools_db(r->tools), count, &c, NULL);
	}
	return e ? reply_error(r, e, NULL) : send_value(r, c.id, c.value);
}

/* GET /api/v1/queue?name=[&process=]: the tickets, or that of a process */
enum err api_queue(struct req *r)
{
	const struct named_store s = db_named(tools_db(r->tools));
	const char *id = asked_name(r), *process = req_query(r, "process");
	struct named queue;
	enum err e = named_get(&s, NAMED_QUEUE, id, &queue);

	if (!e && process && named_position(&queue, process) == 0) {
		named_release(&queue);
		e = err_set(ERR_NOT_FOUND, "%s is not a member of the queue %s.", process, id);
	}
	return e ? reply_error(r, e, NULL) : send_queue(r, id, &queue, process);
}

/* POST /api/v1/queue {name, process, do: "join" | "leave" | "rm"} */
enum err api_queue_do(struct req *r)
{
	const struct named_store s = db_named(tools_db(r->tools));
	const char *id, *what = NULL, *process = NULL;
	struct named queue;
	enum err e = api_text(r, "name", true, &id);

	if (!e)
		e = api_text(r, "do", true, &what);
	if (!e)
		e = check_own(id);
	if (!e && strcmp(what, "rm") == 0) {
		e = named_remove(&s, NAMED_QUEUE, id);
		return e ? reply_error(r, e, NULL) : send_removed(r, id);
	}
	if (!e)
		e = api_text(r, "process", true, &process);
	if (!e && strcmp(what, "join") == 0)
		e = named_join(&s, id, process, &queue);
	else if (!e && strcmp(what, "leave") == 0)
		e = named_leave(&s, id, process, &queue);
	else if (!e)
		e = err_set(ERR_INPUT, "\"do\" is join, leave or rm.");
	return e ? reply_error(r, e, NULL) : send_queue(r, id, &queue, process);
}
