/* Where each target stands. */
#include "db/internal.h"

DB_STMT(PUT, "target_put", "INSERT INTO target (site, target, number, log_commit, state, tries, retry_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE number = VALUES(number), log_commit = VALUES(log_commit), state = VALUES(state), tries = VALUES(tries), "
	"retry_at = VALUES(retry_at), changed_at = VALUES(changed_at)");
enum err db_target_put(struct db *db, const char *site, const struct db_target *t)
{
	return db_run(db, &PUT,
	    ARGS(a_name(site), a_name(t->target), a_u64(t->number), a_fixed(&t->log_commit), a_text(t->state), a_u64(t->tries), a_i64(t->retry_at),
		a_i64(t->changed_at)),
	    NULL);
}

DB_STMT(LISTING, "target_list", "SELECT target, number, log_commit, state, tries, retry_at, changed_at FROM target WHERE site = ? ORDER BY target");
enum err db_target_list(struct db *db, const char *site, bool (*fn)(void *arg, const struct db_target *t), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &LISTING, ARGS(a_name(site)));
	while (cursor_next(&c)) {
		struct db_target t = { .target = cursor_text(&c, 0), .number = cursor_u64(&c, 1), .state = cursor_text(&c, 3),
			.tries = (unsigned)cursor_u64(&c, 4), .retry_at = cursor_i64(&c, 5), .changed_at = cursor_i64(&c, 6) };

		cursor_fixed(&c, 2, t.log_commit.b, sizeof(t.log_commit.b));
		if (c.e || !fn(arg, &t))
			break;
	}
	return cursor_close(&c);
}
