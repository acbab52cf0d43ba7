/* The scheduler's times: one row a site, made by whoever writes first. */
#include "db/internal.h"

#include <string.h>

DB_STMT(GET, "schedule_get", "SELECT first_pending, last_approval, last_start, forced_at, forced_by, forced_reason, forced_release, "
	"forced_plan, down_at, down_by, down_reason, removal FROM schedule WHERE site = ?");
enum err db_schedule_get(struct db *db, const char *site, struct db_schedule *out, struct arena *a)
{
	struct cursor c;

	*out = (struct db_schedule){ .forced = { .by = "", .reason = "" }, .down = { .by = "", .reason = "" } };
	cursor_open(&c, db, &GET, ARGS(a_name(site)));
	if (cursor_next(&c)) {
		out->first_pending = cursor_i64(&c, 0);
		out->last_approval = cursor_i64(&c, 1);
		out->last_start = cursor_i64(&c, 2);
		out->forced.at = cursor_i64(&c, 3);
		out->forced.by = arena_dup(a, cursor_text(&c, 4));
		out->forced.reason = arena_dup(a, cursor_text(&c, 5));
		out->forced.release = cursor_u64(&c, 6);
		cursor_fixed(&c, 7, out->forced.plan.b, sizeof(out->forced.plan.b));
		out->down.at = cursor_i64(&c, 8);
		out->down.by = arena_dup(a, cursor_text(&c, 9));
		out->down.reason = arena_dup(a, cursor_text(&c, 10));
		cursor_fixed(&c, 11, out->removal.b, sizeof(out->removal.b));
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

/*
 * What was approved after the start is still pending: since when exactly is not kept, so no earlier than the start. The newest
 * approval that was seen before the cut is told by its very time: it lies after the start where the wall clock was set back.
 */
DB_STMT(STARTED, "schedule_started", ROW "(?, 0, 0, ?, 0, '', '') ON DUPLICATE KEY UPDATE last_start = VALUES(last_start), "
	"first_pending = IF(first_pending = 0 OR last_approval <= VALUES(last_start) OR last_approval = ?, 0, GREATEST(VALUES(last_start), LEAST(first_pending, last_approval)))");
enum err db_schedule_started(struct db *db, const char *site, int64_t start, int64_t seen)
{
	return db_run(db, &STARTED, ARGS(a_name(site), a_i64(start), a_i64(seen)), NULL);
}

#define WHO(f) a_i64((f)->at), a_name((f)->by ? (f)->by : ""), a_text((f)->reason ? (f)->reason : "")

DB_STMT(FORCE, "schedule_force", "INSERT INTO schedule (site, first_pending, last_approval, last_start, forced_at, forced_by, forced_reason, "
	"forced_release, forced_plan) VALUES (?, 0, 0, 0, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE forced_at = VALUES(forced_at), "
	"forced_by = VALUES(forced_by), forced_reason = VALUES(forced_reason), forced_release = VALUES(forced_release), forced_plan = VALUES(forced_plan)");
enum err db_schedule_force(struct db *db, const char *site, const struct db_force *f)
{
	return db_run(db, &FORCE, ARGS(a_name(site), WHO(f), a_u64(f->release), a_fixed(&f->plan)), NULL);
}

DB_STMT(DOWN, "schedule_down", "INSERT INTO schedule (site, first_pending, last_approval, last_start, forced_at, forced_by, forced_reason, "
	"down_at, down_by, down_reason) VALUES (?, 0, 0, 0, 0, '', '', ?, ?, ?) ON DUPLICATE KEY UPDATE down_at = VALUES(down_at), "
	"down_by = VALUES(down_by), down_reason = VALUES(down_reason)");
enum err db_schedule_down(struct db *db, const char *site, const struct db_force *f)
{
	return db_run(db, &DOWN, ARGS(a_name(site), WHO(f)), NULL);
}

DB_STMT(REMOVAL, "schedule_removal", "INSERT INTO schedule (site, first_pending, last_approval, last_start, forced_at, forced_by, forced_reason, "
	"removal) VALUES (?, 0, 0, 0, 0, '', '', ?) ON DUPLICATE KEY UPDATE removal = VALUES(removal)");
enum err db_schedule_removal(struct db *db, const char *site, const struct sha256 *list)
{
	return db_run(db, &REMOVAL, ARGS(a_name(site), a_fixed(list)), NULL);
}
