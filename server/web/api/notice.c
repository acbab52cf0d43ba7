/* Messages about targets that fail: the channels, and a test. For admins of the whole site. */
#include "notice/notice.h"
#include "web/api/api.h"

/* GET /api/v1/sites/:site/notices */
enum err api_notices(struct req *r)
{
	struct notice_channel ch;
	struct db_notice n;
	struct answer a;
	enum err e = ERR_OK;

	answer_items(&a);
	for (size_t i = 0; !e && notice_channel(r->site->conf, i, &ch); i++) {
		e = db_notice_get(tools_db(r->tools), r->site->name, &ch.key, &n, r->arena);
		json_out_begin(&a.out, '{');
		json_out_kstr(&a.out, "channel", ch.shown);
		json_out_kstr(&a.out, "failing", notice_targets(n.failing, false, r->arena));
		json_out_kstr(&a.out, "differing", notice_targets(n.failing, true, r->arena));
		answer_time(&a.out, "told_at", n.told_at);
		json_out_kint(&a.out, "tries", n.tries);
		answer_time(&a.out, "retry_at", n.retry_at);
		json_out_kstr(&a.out, "error", *n.why ? n.why : NULL);
		json_out_end(&a.out, '}');
	}
	return answer_items_send(r, &a, e);
}

/* POST /api/v1/sites/:site/notices/test : answers when each channel has taken its test, or not */
enum err api_notice_test(struct req *r)
{
	struct notice_channel ch;
	struct answer a;

	answer_items(&a);
	for (size_t i = 0; notice_channel(r->site->conf, i, &ch); i++) {
		const bool ok = !notice_test(web_conf(r->web), r->site->conf, &ch, r->person->who.user);

		json_out_begin(&a.out, '{');
		json_out_kstr(&a.out, "channel", ch.shown);
		json_out_kbool(&a.out, "ok", ok);
		json_out_kstr(&a.out, "error", ok ? NULL : err_text());
		json_out_end(&a.out, '}');
	}
	return answer_items_send(r, &a, ERR_OK);
}
