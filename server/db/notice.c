/* What each channel of a site was last told. */
#include "db/internal.h"

#define WHY_SIZE 512

DB_STMT(GET, "notice_get", "SELECT failing, told_at, tries, retry_at, why FROM notice WHERE site = ? AND channel = ?");
enum err db_notice_get(struct db *db, const char *site, const struct sha256 *channel, struct db_notice *out, struct arena *a)
{
	struct cursor c;

	*out = (struct db_notice){ .failing = "", .why = "" };
	cursor_open(&c, db, &GET, ARGS(a_name(site), a_fixed(channel)));
	if (cursor_next(&c))
		*out = (struct db_notice){ .failing = arena_dup(a, cursor_text(&c, 0)), .told_at = cursor_i64(&c, 1), .tries = (unsigned)cursor_u64(&c, 2),
			.retry_at = cursor_i64(&c, 3), .why = arena_dup(a, cursor_text(&c, 4)) };
	return cursor_close(&c);
}

DB_STMT(PUT, "notice_put", "INSERT INTO notice (site, channel, failing, told_at, tries, retry_at, why) VALUES (?, ?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE failing = VALUES(failing), told_at = VALUES(told_at), tries = VALUES(tries), retry_at = VALUES(retry_at), "
	"why = VALUES(why)");
enum err db_notice_put(struct db *db, const char *site, const struct sha256 *channel, const struct db_notice *n)
{
	return db_run(db, &PUT,
	    ARGS(a_name(site), a_fixed(channel), a_name(n->failing), a_i64(n->told_at), a_u64(n->tries), a_i64(n->retry_at), a_cut(n->why, WHY_SIZE)), NULL);
}
