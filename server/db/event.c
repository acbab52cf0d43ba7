/* Logins, failures, refusals. What they tell comes from outside, so it is cut to its columns and never an error. */
#include "db/internal.h"

DB_STMT(ADD, "event_add", "INSERT INTO event (site, at, kind, principal, address, path, detail) VALUES (?, ?, ?, ?, ?, ?, ?)");
enum err db_event_add(struct db *db, const struct db_event *e)
{
	return db_run(db, &ADD,
	    ARGS(a_cut(e->site, 64), a_i64(e->at), a_text(e->kind), a_cut(e->principal, 255), a_cut(e->address, 64), a_cut(e->path, 4096),
		a_cut(e->detail, 1024)),
	    NULL);
}

DB_STMT(LISTING, "event_list", "SELECT id, site, at, kind, principal, address, path, detail FROM event WHERE id < ? ORDER BY id DESC LIMIT ?");
enum err db_event_list(struct db *db, uint64_t before_id, unsigned limit, bool (*fn)(void *arg, const struct db_event *e), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &LISTING, ARGS(a_u64(before_id ? before_id : UINT64_MAX), a_u64(limit)));
	while (cursor_next(&c)) {
		struct db_event e = { cursor_u64(&c, 0), cursor_text(&c, 1), cursor_i64(&c, 2), cursor_text(&c, 3), cursor_text(&c, 4),
			cursor_text(&c, 5), cursor_text(&c, 6), cursor_text(&c, 7) };

		if (!fn(arg, &e))
			break;
	}
	return cursor_close(&c);
}

/* A bounded piece at a time, so that no lock is held for long. */
DB_STMT(EXPIRE, "event_expire", "DELETE FROM event WHERE at < ? ORDER BY at LIMIT 5000");
enum err db_event_expire(struct db *db, int64_t before)
{
	uint64_t n;
	enum err e;

	do
		e = db_run(db, &EXPIRE, ARGS(a_i64(before)), &n);
	while (!e && n == 5000);
	return e;
}
