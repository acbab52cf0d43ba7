/* Checks: asked for, and what the last one found. Of a site for its admins; of the installation for an admin of any site. */
#include "check/keeper.h"
#include "web/api/api.h"

#define INSTALLATION "installation"

static const char *place_of(struct req *r)
{
	return r->site ? r->site->name : INSTALLATION;
}

static const char *report_state(const struct keeper_report *p)
{
	if (!p->number)
		return "never";
	if (p->err)
		return "unchecked";
	return !p->result.findings ? "clean" : p->result.repaired >= p->result.findings ? "repaired" : "damage";
}

static void write_report(void *arg, const struct keeper_report *p)
{
	struct json_out *o = arg;

	json_out_kint(o, "check", (int64_t)p->number);
	json_out_kbool(o, "running", p->running);
	json_out_kstr(o, "state", report_state(p));
	answer_time(o, "started_at", p->started_at);
	answer_time(o, "finished_at", p->finished_at);
	json_out_kbool(o, "deep", p->deep);
	json_out_kint(o, "records", (int64_t)p->result.records);
	json_out_kint(o, "files", (int64_t)p->result.files);
	json_out_kint(o, "versions", (int64_t)p->result.versions);
	json_out_kint(o, "findings", (int64_t)p->result.findings);
	json_out_kint(o, "repaired", (int64_t)p->result.repaired);
	json_out_kstr(o, "message", p->err ? p->why : NULL);
	json_out_name(o, "items");
	json_out_begin(o, '[');
	for (size_t i = 0; i < p->n_findings; i++) {
		const struct keeper_finding *f = &p->findings[i];

		json_out_begin(o, '{');
		json_out_kstr(o, "name", finding_name(f->id));
		json_out_kstr(o, "subject", f->subject);
		json_out_kstr(o, "what", f->what);
		json_out_kstr(o, "repair", finding_repair(f->id));
		json_out_kbool(o, "repaired", f->repaired);
		json_out_end(o, '}');
	}
	json_out_end(o, ']');
}

/* GET /api/v1/check, GET /api/v1/sites/:site/check */
enum err api_check(struct req *r)
{
	struct answer a;
	enum err e;

	answer_begin(&a);
	json_out_kstr(&a.out, "site", place_of(r));
	e = keeper_read(web_keeper(r->web), place_of(r), write_report, &a.out);
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}

/* POST the same: 202 with the number that the check will have */
enum err api_check_ask(struct req *r)
{
	struct answer a;
	uint64_t number = 0;
	bool deep, repair;
	enum err e = api_bool(r, "deep", false, &deep);

	if (!e)
		e = api_bool(r, "repair", false, &repair);
	if (!e)
		e = keeper_ask(web_keeper(r->web), place_of(r), deep, repair, &number);
	if (e)
		return reply_error(r, e, NULL);
	answer_begin(&a);
	json_out_kstr(&a.out, "site", place_of(r));
	json_out_kint(&a.out, "check", (int64_t)number);
	return answer_send(r, &a, 202);
}
