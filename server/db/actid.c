/* The ids of acts: the same request again gets the same answer. */
#include "db/internal.h"

#include <stdio.h>
#include <string.h>

DB_STMT(GET, "act_id_get", "SELECT request_sha256, node, seq FROM act_id WHERE site = ? AND actor = ? AND op = ?");
enum err db_act_id_get(struct db *db, const char *site, const char *actor, const struct uuid *op, struct db_act_id *out)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_open(&c, db, &GET, ARGS(a_name(site), a_name(actor), a_fixed(op)));
	if (cursor_next(&c)) {
		cursor_fixed(&c, 0, out->request.b, sizeof(out->request.b));
		snprintf(out->node, sizeof(out->node), "%s", cursor_text(&c, 1));
		out->seq = cursor_u64(&c, 2);
	}
	return cursor_close_found(&c, "no act has that id");
}

DB_STMT(PUT, "act_id_put", "INSERT INTO act_id (site, actor, op, request_sha256, node, seq, at) VALUES (?, ?, ?, ?, ?, ?, ?)");
enum err db_act_id_put(struct db *db, const char *site, const char *actor, const struct uuid *op, const struct db_act_id *id, int64_t at)
{
	return db_run(db, &PUT,
	    ARGS(a_name(site), a_name(actor), a_fixed(op), a_fixed(&id->request), a_text(id->node), a_u64(id->seq), a_i64(at)), NULL);
}
