/* Heartbeats of the servers that queue for a site (DESIGN section 7), by the database's clock. */
#include "db/internal.h"

#include <stdio.h>

#define NOW "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"

DB_STMT(FIND, "publisher_of_place", "SELECT process FROM publisher WHERE place = ? AND site = ? ORDER BY process LIMIT 1");
enum err db_publisher_of_place(struct db *db, const char *site, const struct sha256 *place, char process[NAMED_PROCESS_LIMIT + 1])
{
	struct cursor c;

	cursor_open(&c, db, &FIND, ARGS(a_fixed(place), a_name(site)));
	if (cursor_next(&c))
		snprintf(process, NAMED_PROCESS_LIMIT + 1, "%s", cursor_text(&c, 0));
	return cursor_close_found(&c, "this server does not queue for %s", site);
}

DB_STMT(PUT, "publisher_put", "INSERT INTO publisher (site, process, place, seen_at) VALUES (?, ?, ?, " NOW ") "
	"ON DUPLICATE KEY UPDATE seen_at = VALUES(seen_at)");
enum err db_publisher_put(struct db *db, const char *site, const char *process, const struct sha256 *place)
{
	return db_run(db, &PUT, ARGS(a_name(site), a_name(process), a_fixed(place)), NULL);
}

DB_STMT(BEAT, "publisher_beat", "UPDATE publisher SET seen_at = " NOW " WHERE place = ?");
enum err db_publisher_beat(struct db *db, const struct sha256 *place)
{
	return db_run(db, &BEAT, ARGS(a_fixed(place)), NULL);
}

DB_STMT(TOUCH, "publisher_touch", "UPDATE publisher SET seen_at = " NOW " WHERE site = ? AND process = ?");
enum err db_publisher_touch(struct db *db, const char *site, const char *process)
{
	return db_run_found(db, &TOUCH, ARGS(a_name(site), a_name(process)), "another server has taken over: this one was not heard of for too long");
}

DB_STMT(STOP, "publisher_stop", "UPDATE publisher SET seen_at = 0 WHERE place = ?");
enum err db_publisher_stop(struct db *db, const struct sha256 *place)
{
	return db_run(db, &STOP, ARGS(a_fixed(place)), NULL);
}

DB_STMT(GET, "publisher_get", "SELECT seen_at, " NOW " FROM publisher WHERE site = ? AND process = ?");
enum err db_publisher_get(struct db *db, const char *site, const char *process, struct db_publisher *out)
{
	struct cursor c;

	*out = (struct db_publisher){ .seen_at = 0 };
	cursor_open(&c, db, &GET, ARGS(a_name(site), a_name(process)));
	if (cursor_next(&c)) {
		out->seen_at = cursor_i64(&c, 0);
		out->now = cursor_i64(&c, 1);
	}
	return cursor_close_found(&c, "%s does not queue for %s", process, site);
}

DB_STMT(NEWEST, "publisher_newest", "SELECT process, seen_at, " NOW " FROM publisher WHERE place <> ? ORDER BY seen_at DESC LIMIT 1");
enum err db_publisher_newest(struct db *db, const struct sha256 *but, char process[NAMED_PROCESS_LIMIT + 1], struct db_publisher *out)
{
	struct cursor c;

	*out = (struct db_publisher){ .seen_at = 0 };
	cursor_open(&c, db, &NEWEST, ARGS(a_fixed(but)));
	if (cursor_next(&c)) {
		snprintf(process, NAMED_PROCESS_LIMIT + 1, "%s", cursor_text(&c, 0));
		out->seen_at = cursor_i64(&c, 1);
		out->now = cursor_i64(&c, 2);
	}
	return cursor_close_found(&c, "no other server has used this database");
}

DB_STMT(REMOVE, "publisher_remove", "DELETE FROM publisher WHERE site = ? AND process = ? AND seen_at = ?");
enum err db_publisher_remove(struct db *db, const char *site, const char *process, int64_t seen_at)
{
	return db_run_found(db, &REMOVE, ARGS(a_name(site), a_name(process), a_i64(seen_at)), "that server was heard of again");
}
