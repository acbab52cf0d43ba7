/* Going back: an old release as a new one, and earlier versions of a file or a directory. */
#include "web/api/api.h"
#include "web/signing.h"

/* What would change for him to see, and the digest that goes along with the act. */
static enum err put_preview(struct req *r, struct json_out *o, const struct back_to *to)
{
	struct sha256 digest;
	struct plan plan;
	enum err e = site_back(r->site, r->tools, to, &r->person->who, &plan, &digest);

	if (!e) {
		answer_plan(r, o, &plan);
		answer_hash(o, "digest", &digest);
	}
	plan_release(&plan);
	return e;
}

static enum err preview(struct req *r, const struct back_to *to)
{
	struct answer a;
	enum err e;

	answer_begin(&a);
	e = put_preview(r, &a.out, to);
	if (e) {
		buf_release(&a.buf);
		return reply_error(r, e, NULL);
	}
	return answer_send(r, &a, 200);
}

/* A conflict shows what would change now. */
static enum err refused(struct req *r, enum err err, const struct back_to *to)
{
	struct buf b = BUF_INIT(API_ANSWER_LIMIT);
	struct json_out o = { .b = &b };
	json_t *extra = NULL, *now = NULL;
	const char *why = arena_dup(r->arena, err_text());

	if (err != ERR_STALE)
		return reply_error(r, err, NULL);
	json_out_begin(&o, '{');
	if (!put_preview(r, &o, to)) {
		json_out_end(&o, '}');
		if (!buf_check(&b) && !json_parse(&now, b.p, b.len))
			extra = json_pack("{s:o}", "now", now);
	}
	buf_release(&b);
	return reply_error(r, err_set(err, "%s", why), extra);
}

static enum err shown_digest(struct req *r, struct sha256 *out)
{
	const char *text;
	enum err e = api_text(r, "shown", true, &text);

	if (!e && !hex_parse(out->b, sizeof out->b, text))
		e = err_set(ERR_INPUT, "\"shown\" is the digest that the difference was shown with.");
	return e;
}

/* --- the whole site ------------------------------------------------------------------------------------------------------ */

static enum err release_asked(struct req *r, struct back_to *to)
{
	*to = (struct back_to){ .path = path_root(), .whole = true };
	return req_segment_number(r, "number", &to->release);
}

/* GET /api/v1/sites/:site/releases/:number/rollback */
enum err api_rollback_preview(struct req *r)
{
	struct back_to to;
	enum err e = release_asked(r, &to);

	return e ? reply_error(r, e, NULL) : preview(r, &to);
}

/* POST /api/v1/sites/:site/releases/:number/rollback {reason, shown} */
enum err api_rollback(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct sha256 shown;
	struct back_to to;
	enum err e = release_asked(r, &to);

	if (!e)
		e = api_act_request(r, &rq);
	if (!e)
		e = api_text(r, "reason", true, &rq.note);
	if (!e)
		e = shown_digest(r, &shown);
	if (e)
		return reply_error(r, e, NULL);
	e = act_rollback(r->site, r->tools, &rq, to.release, &shown, &done);
	return e ? refused(r, e, &to) : answer_act_send(r, ERR_OK, &done, 202);
}

/* --- a file or a directory ------------------------------------------------------------------------------------------------ */

/* GET /api/v1/sites/:site/reapprove?path=&record= or &release= */
enum err api_reapprove_preview(struct req *r)
{
	struct back_to to = { .path = r->path };
	enum err e = req_number(r, "record", 1, INT64_MAX, 0, &to.seq);

	if (!e)
		e = req_number(r, "release", 1, INT64_MAX, 0, &to.release);
	if (!e && !to.seq == !to.release)
		e = err_set(ERR_INPUT, "Say as of which record or which release: one of them.");
	return e ? reply_error(r, e, NULL) : preview(r, &to);
}

/* POST /api/v1/sites/:site/reapprove {path, record or release, shown, note, password} */
enum err api_reapprove(struct req *r)
{
	struct back_to to = { .path = r->path };
	struct act_request rq;
	struct act_answer done;
	struct sha256 shown;
	const char *password;
	bool bad = false;
	enum err e = api_act_request(r, &rq);
	const int64_t seq = json_get_int(r->body, "record", 0, &bad), release = json_get_int(r->body, "release", 0, &bad);

	if (!e && (bad || seq < 0 || release < 0 || !seq == !release))
		e = err_set(ERR_INPUT, "Say as of which \"record\" or which \"release\": the number of one of them.");
	to.seq = (uint64_t)seq;
	to.release = (uint64_t)release;
	if (!e)
		e = shown_digest(r, &shown);
	if (!e)
		e = api_text(r, "password", false, &password);
	if (!e)
		e = sign_password(r, "sign", password);
	if (e == ERR_RETRY)
		return e;
	if (e)
		return reply_error(r, e, NULL);
	e = act_reapprove(r->site, r->tools, &rq, &to, &shown, &done);
	return e ? refused(r, e, &to) : answer_act_send(r, ERR_OK, &done, 200);
}
