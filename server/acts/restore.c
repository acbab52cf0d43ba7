/*
 * restore: what an administrator says about a backup that was restored: that this is the state to go on from.
 */
#include "acts/internal.h"

static enum err restore_check(struct decision *d, void *arg)
{
	d->fields = json_object();
	json_object_set_new(d->fields, "backup", json_string(arg));
	json_object_set_new(d->fields, "offline", json_true());
	return ERR_OK;
}

enum err act_restored(struct site *s, struct actor_tools *t, const char *backup_at, const char *reason, struct act_answer *out)
{
	struct act_request rq = { .note = reason };
	union { const char *in; void *out; } at = { .in = backup_at };
	struct decision d = { .s = s, .t = t, .rq = &rq, .act = "restore", .shown = "", .check = restore_check, .arg = at.out };
	struct request r;

	uuid_new(&rq.op);
	request_begin(&r, "restore");
	request_text(&r, backup_at);
	request_text(&r, reason);
	request_end(&r, &d.request);
	return decide(&d, out);
}
