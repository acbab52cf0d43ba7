/* Logins and refusals. */
#include "base/clock.h"
#include "web/api/api.h"
#include "web/eventlog.h"

static const char *given(const char *text)
{
	return *text ? text : NULL;
}

static void event_item(void *arg, const struct db_event *e)
{
	struct json_out *o = arg;

	json_out_begin(o, '{');
	json_out_kint(o, "id", (int64_t)e->id);
	answer_time(o, "at", e->at);
	json_out_kstr(o, "kind", e->kind);
	json_out_kstr(o, "user", given(e->principal));
	json_out_kstr(o, "address", given(e->address));
	json_out_kstr(o, "site", given(e->site));
	json_out_kstr(o, "path", given(e->path));
	json_out_kstr(o, "why", given(e->detail));
	json_out_end(o, '}');
}

/* GET /api/v1/events?before=&limit= : newest first */
enum err api_events(struct req *r)
{
	uint64_t before, limit, next = 0;
	struct answer a;
	enum err e = req_number(r, "before", 1, INT64_MAX, 0, &before);

	if (!e)
		e = req_number(r, "limit", 1, API_PAGE, 100, &limit);
	if (e)
		return e;
	answer_items(&a);
	e = eventlog_list(r, before, (unsigned)limit, event_item, &a.out, &next);
	return answer_page_send(r, &a, next, e);
}
