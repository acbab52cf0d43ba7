/* API tokens. */
#include "db/internal.h"

#include <string.h>

#define COLUMNS "id, hash, principal, label, role, site, path, created_at, expires_at, used_at, used_from, seq"

DB_STMT(PUT, "token_put", "INSERT INTO token (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
enum err db_token_put(struct db *db, const struct db_token *t)
{
	return db_run(db, &PUT,
	    ARGS(a_text(t->id), a_fixed(&t->hash), a_name(t->principal), a_text(t->label), a_u64(t->role), a_name(t->site), a_name(t->path),
		a_i64(t->created_at), a_i64(t->expires_at), a_i64(t->used_at), a_cut(t->used_from, 64), a_u64(t->seq)),
	    NULL);
}

static void row_read(struct cursor *c, struct db_token *t)
{
	const char *id = cursor_text(c, 0);

	memset(t, 0, sizeof(*t));
	memcpy(t->id, id, strnlen(id, sizeof(t->id) - 1));
	cursor_fixed(c, 1, t->hash.b, sizeof(t->hash.b));
	t->principal = cursor_text(c, 2);
	t->label = cursor_text(c, 3);
	t->role = (unsigned)cursor_u64(c, 4);
	t->site = cursor_text(c, 5);
	t->path = cursor_text(c, 6);
	t->created_at = cursor_i64(c, 7);
	t->expires_at = cursor_i64(c, 8);
	t->used_at = cursor_i64(c, 9);
	t->used_from = cursor_text(c, 10);
	t->seq = cursor_u64(c, 11);
}

static enum err read_one(struct cursor *c, struct db_token *out, struct arena *a)
{
	memset(out, 0, sizeof(*out));
	if (cursor_next(c)) {
		row_read(c, out);
		out->principal = arena_dup(a, out->principal);
		out->label = arena_dup(a, out->label);
		out->site = arena_dup(a, out->site);
		out->path = arena_dup(a, out->path);
		out->used_from = arena_dup(a, out->used_from);
	}
	return cursor_close_found(c, "there is no such token");
}

DB_STMT(GET, "token_get", "SELECT " COLUMNS " FROM token WHERE hash = ?");
enum err db_token_get(struct db *db, const struct sha256 *hash, struct db_token *out, struct arena *a)
{
	struct cursor c;

	cursor_open(&c, db, &GET, ARGS(a_fixed(hash)));
	return read_one(&c, out, a);
}

DB_STMT(NAMED, "token_named", "SELECT " COLUMNS " FROM token WHERE id = ?");
enum err db_token_named(struct db *db, const char *id, struct db_token *out, struct arena *a)
{
	struct cursor c;

	cursor_open(&c, db, &NAMED, ARGS(a_text(id)));
	return read_one(&c, out, a);
}

static enum err rows(struct cursor *c, bool (*fn)(void *arg, const struct db_token *t), void *arg)
{
	while (cursor_next(c)) {
		struct db_token t;

		row_read(c, &t);
		if (c->e || !fn(arg, &t))
			break;
	}
	return cursor_close(c);
}

DB_STMT(OF, "token_of", "SELECT " COLUMNS " FROM token WHERE principal = ? ORDER BY created_at DESC, id");
DB_STMT(LISTING, "token_list", "SELECT " COLUMNS " FROM token ORDER BY principal, created_at DESC, id");
enum err db_token_list(struct db *db, const char *principal, bool (*fn)(void *arg, const struct db_token *t), void *arg)
{
	struct cursor c;

	if (principal)
		cursor_open(&c, db, &OF, ARGS(a_name(principal)));
	else
		cursor_open(&c, db, &LISTING, NULL, 0);
	return rows(&c, fn, arg);
}

DB_STMT(USED, "token_used", "UPDATE token SET used_at = ?, used_from = ? WHERE hash = ?");
enum err db_token_used(struct db *db, const struct sha256 *hash, int64_t at, const char *from)
{
	return db_run(db, &USED, ARGS(a_i64(at), a_cut(from, 64), a_fixed(hash)), NULL);
}

DB_STMT(REMOVE, "token_remove", "DELETE FROM token WHERE id = ?");
enum err db_token_remove(struct db *db, const char *id)
{
	return db_run_found(db, &REMOVE, ARGS(a_text(id)), "there is no such token");
}

DB_STMT(REMOVE_ALL, "token_remove_all", "DELETE FROM token WHERE principal = ?");
enum err db_token_remove_all(struct db *db, const char *principal)
{
	return db_run(db, &REMOVE_ALL, ARGS(a_name(principal)), NULL);
}

DB_STMT(EXPIRE, "token_expire", "DELETE FROM token WHERE expires_at < ?");
enum err db_token_expire(struct db *db, int64_t before)
{
	return db_run(db, &EXPIRE, ARGS(a_i64(before)), NULL);
}
