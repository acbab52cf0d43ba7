/* Releases. */
#include "db/internal.h"

#include <string.h>

DB_STMT(PUT, "release_put", "INSERT INTO release_ (site, number, node, seq, at, log_commit, main_commit, files_count, as_of) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
enum err db_release_put(struct db *db, const char *site, const struct db_release *r)
{
	return db_run(db, &PUT,
	    ARGS(a_name(site), a_u64(r->number), a_text(r->node), a_u64(r->seq), a_i64(r->at), a_fixed(&r->log_commit), a_fixed(&r->main_commit),
		a_u64(r->files_count), a_u64(r->as_of)),
	    NULL);
}

#define COLUMNS "number, seq, node, at, log_commit, main_commit, files_count, as_of"

static void row_read(struct cursor *c, struct db_release *r)
{
	memset(r, 0, sizeof(*r));
	r->number = cursor_u64(c, 0);
	r->seq = cursor_u64(c, 1);
	r->node = cursor_text(c, 2);
	r->at = cursor_i64(c, 3);
	cursor_fixed(c, 4, r->log_commit.b, sizeof(r->log_commit.b));
	cursor_fixed(c, 5, r->main_commit.b, sizeof(r->main_commit.b));
	r->files_count = cursor_u64(c, 6);
	r->as_of = cursor_u64(c, 7);
}

DB_STMT(GET, "release_get", "SELECT " COLUMNS " FROM release_ WHERE site = ? AND number = ?");
DB_STMT(NEWEST, "release_newest", "SELECT " COLUMNS " FROM release_ WHERE site = ? ORDER BY number DESC LIMIT 1");
enum err db_release_get(struct db *db, const char *site, uint64_t number, struct db_release *out, struct arena *a)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	if (number)
		cursor_open(&c, db, &GET, ARGS(a_name(site), a_u64(number)));
	else
		cursor_open(&c, db, &NEWEST, ARGS(a_name(site)));
	if (cursor_next(&c)) {
		row_read(&c, out);
		out->node = arena_dup(a, out->node);
	}
	return number ? cursor_close_found(&c, "there is no release %llu", (unsigned long long)number) : cursor_close_found(&c, "there is no release yet");
}

DB_STMT(AFTER, "release_after", "SELECT " COLUMNS " FROM release_ WHERE site = ? AND number > ? ORDER BY number LIMIT 1");
enum err db_release_after(struct db *db, const char *site, uint64_t number, struct db_release *out, struct arena *a)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_open(&c, db, &AFTER, ARGS(a_name(site), a_u64(number)));
	if (cursor_next(&c)) {
		row_read(&c, out);
		out->node = arena_dup(a, out->node);
	}
	return cursor_close_found(&c, "there is no release after %llu", (unsigned long long)number);
}

DB_STMT(NUMBER, "release_number", "SELECT number FROM release_ WHERE site = ? ORDER BY number DESC LIMIT 1 OFFSET ?");
enum err db_release_number(struct db *db, const char *site, unsigned newer, uint64_t *number)
{
	struct cursor c;

	cursor_open(&c, db, &NUMBER, ARGS(a_name(site), a_u64(newer)));
	*number = cursor_next(&c) ? cursor_u64(&c, 0) : 0;
	return cursor_close_found(&c, "there are no more than %u releases", newer);
}

DB_STMT(LISTING, "release_list", "SELECT " COLUMNS " FROM release_ WHERE site = ? AND number < ? ORDER BY number DESC LIMIT ?");
enum err db_release_list(struct db *db, const char *site, uint64_t before, unsigned limit, bool (*fn)(void *arg, const struct db_release *r), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &LISTING, ARGS(a_name(site), a_u64(before ? before : UINT64_MAX), a_u64(limit)));
	while (cursor_next(&c)) {
		struct db_release r;

		row_read(&c, &r);
		if (c.e || !fn(arg, &r))
			break;
	}
	return cursor_close(&c);
}
