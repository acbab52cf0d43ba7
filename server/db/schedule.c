/* The scheduler's times: one row a site, made by whoever writes first. */
#include "db/internal.h"

#include <string.h>

DB_STMT(GET, "schedule_get", "SELECT first_pending, last_approval, last_start, forced_at, forced_by, forced_reason FROM schedule WHERE site = ?");
enum err db_schedule_get(struct db *db, const char *site, struct db_schedule *out, struct arena *a)
{
	struct cursor c;

	*out = (struct db_schedule){ .forced_by = "", .forced_reason = "" };
	cursor_open(&c, db, &GET, ARGS(a_name(site)));
	if (cursor_next(&c)) {
		out->first_pending = cursor_i64(&c, 0);
		out->last_approval = cursor_i64(&c, 1);
		out->last_start = cursor_i64(&c, 2);
		out->forced_at = cursor_i64(&c, 3);
		out->forced_by = arena_dup(a, cursor_text(&c, 4));
		out->forced_reason = arena_dup(a, cursor_text(&c, 5));
	}
	return cursor_close(&c);
}

#define ROW "INSERT INTO schedule (site, first_pending, last_approval, last_start, forced_at, forced_by, forced_reason) VALUES "

DB_STMT(APPROVAL, "schedule_approval", ROW "(?, ?, ?, 0, 0, '', '') ON DUPLICATE KEY UPDATE "
	"first_pending = IF(first_pending = 0, VALUES(first_pending), first_pending), last_approval = VALUES(last_approval)");
enum err db_schedule_approval(struct db *db, const char *site, int64_t at)
{
	return db_run(db, &APPROVAL, ARGS(a_name(site), a_i64(at), a_i64(at)), NULL);
}

/* What was approved after the start is still pending: since when exactly is not kept, so no earlier than the start. */
DB_STMT(STARTED, "schedule_started", ROW "(?, 0, 0, ?, 0, '', '') ON DUPLICATE KEY UPDATE last_start = VALUES(last_start), "
	"first_pending = IF(? = 0 OR first_pending = 0, first_pending, IF(last_approval <= VALUES(last_start), 0, GREATEST(first_pending, VALUES(last_start))))");
enum err db_schedule_started(struct db *db, const char *site, int64_t start, bool released)
{
	return db_run(db, &STARTED, ARGS(a_name(site), a_i64(start), a_u64(released)), NULL);
}

DB_STMT(FORCE, "schedule_force", ROW "(?, 0, 0, 0, ?, ?, ?) ON DUPLICATE KEY UPDATE "
	"forced_at = VALUES(forced_at), forced_by = VALUES(forced_by), forced_reason = VALUES(forced_reason)");
enum err db_schedule_force(struct db *db, const char *site, int64_t at, const char *by, const char *reason)
{
	return db_run(db, &FORCE, ARGS(a_name(site), a_i64(at), a_name(by ? by : ""), a_text(reason ? reason : "")), NULL);
}
