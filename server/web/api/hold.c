/* Holds, and the list of files that may go at once. */
#include "web/api/api.h"
#include "web/holds.h"

/* GET /api/v1/sites/:site/holds */
enum err api_holds(struct req *r)
{
	struct db_hold *list;
	struct answer a;
	size_t n = 0;
	enum err e = holds_seen(r, &list, &n);

	answer_items(&a);
	for (size_t i = 0; i < n && !e; i++) {
		json_out_begin(&a.out, '{');
		json_out_kstr(&a.out, "path", list[i].path.s);
		answer_time(&a.out, "until", list[i].until);
		json_out_kstr(&a.out, "user", list[i].actor);
		answer_time(&a.out, "at", list[i].at);
		json_out_kstr(&a.out, "reason", list[i].note);
		json_out_kint(&a.out, "seq", (int64_t)list[i].seq);
		json_out_end(&a.out, '}');
	}
	return answer_items_send(r, &a, e);
}

/* POST /api/v1/sites/:site/holds {path, until, reason, remove} */
enum err api_hold(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	const char *reason, *until;
	struct path path;
	int64_t end = 0;
	bool remove;
	enum err e = api_act_request(r, &rq);

	if (!e)
		e = api_path(r, "path", &path);
	if (!e)
		e = api_visible(r, path);
	if (!e)
		e = api_bool(r, "remove", false, &remove);
	if (!e)
		e = api_text(r, "reason", false, &reason);
	if (!e)
		e = api_text(r, "until", false, &until);
	if (!e && !remove)
		e = hold_until(until, &end);
	if (!e && reason)
		rq.note = reason;
	if (!e)
		e = act_hold(r->site, r->tools, &rq, path, end, &done);
	return answer_act_send(r, e, &done, 200);
}

/* POST /api/v1/sites/:site/sync/removal {reason, list} */
enum err api_removal(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct sha256 digest;
	const char *list;
	enum err e = api_act_request(r, &rq);

	if (!e)
		e = api_text(r, "reason", true, &rq.note);
	if (!e)
		e = api_text(r, "list", true, &list);
	if (!e && !hex_parse(digest.b, sizeof digest.b, list))
		e = err_set(ERR_INPUT, "\"list\" is the digest that the plan shows beside the number of files that would go.");
	if (!e)
		e = act_confirm_removal(r->site, r->tools, &rq, &digest, &done);
	return answer_act_send(r, e, &done, 202);
}
