/* Sessions in the browser. */
#include "db/internal.h"

#include <string.h>

DB_STMT(PUT, "session_put", "INSERT INTO session (id_hash, principal, created_at, seen_at, address, agent) VALUES (?, ?, ?, ?, ?, ?)");
enum err db_session_put(struct db *db, const struct db_session *s)
{
	return db_run(db, &PUT,
	    ARGS(a_fixed(&s->id_hash), a_name(s->principal), a_i64(s->created_at), a_i64(s->seen_at), a_cut(s->address, 64), a_cut(s->agent, 255)), NULL);
}

static void row_read(struct cursor *c, struct db_session *s)
{
	cursor_fixed(c, 0, s->id_hash.b, sizeof(s->id_hash.b));
	s->principal = cursor_text(c, 1);
	s->created_at = cursor_i64(c, 2);
	s->seen_at = cursor_i64(c, 3);
	s->address = cursor_text(c, 4);
	s->agent = cursor_text(c, 5);
}

DB_STMT(GET, "session_get", "SELECT id_hash, principal, created_at, seen_at, address, agent FROM session WHERE id_hash = ?");
enum err db_session_get(struct db *db, const struct sha256 *id_hash, struct db_session *out, struct arena *a)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_open(&c, db, &GET, ARGS(a_fixed(id_hash)));
	if (cursor_next(&c)) {
		row_read(&c, out);
		out->principal = arena_dup(a, out->principal);
		out->address = arena_dup(a, out->address);
		out->agent = arena_dup(a, out->agent);
	}
	return cursor_close_found(&c, "there is no such session");
}

DB_STMT(SEEN, "session_seen", "UPDATE session SET seen_at = ? WHERE id_hash = ?");
enum err db_session_seen(struct db *db, const struct sha256 *id_hash, int64_t seen_at)
{
	return db_run_found(db, &SEEN, ARGS(a_i64(seen_at), a_fixed(id_hash)), "there is no such session");
}

/* Ending one that is gone already is fine. */
DB_STMT(END, "session_end", "DELETE FROM session WHERE id_hash = ?");
enum err db_session_end(struct db *db, const struct sha256 *id_hash)
{
	return db_run(db, &END, ARGS(a_fixed(id_hash)), NULL);
}

DB_STMT(END_ALL, "session_end_all", "DELETE FROM session WHERE principal = ?");
enum err db_session_end_all(struct db *db, const char *principal)
{
	return db_run(db, &END_ALL, ARGS(a_name(principal)), NULL);
}

DB_STMT(LISTING, "session_list", "SELECT id_hash, principal, created_at, seen_at, address, agent FROM session WHERE principal = ? ORDER BY seen_at DESC, id_hash");
enum err db_session_list(struct db *db, const char *principal, bool (*fn)(void *arg, const struct db_session *s), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &LISTING, ARGS(a_name(principal)));
	while (cursor_next(&c)) {
		struct db_session s;

		row_read(&c, &s);
		if (c.e || !fn(arg, &s))
			break;
	}
	return cursor_close(&c);
}

DB_STMT(EXPIRE_IDLE, "session_expire_idle", "DELETE FROM session WHERE seen_at < ?");
DB_STMT(EXPIRE_OLD, "session_expire_old", "DELETE FROM session WHERE created_at < ?");
enum err db_session_expire(struct db *db, int64_t seen_before, int64_t created_before)
{
	enum err e = db_run(db, &EXPIRE_IDLE, ARGS(a_i64(seen_before)), NULL);

	return e ? e : db_run(db, &EXPIRE_OLD, ARGS(a_i64(created_before)), NULL);
}
