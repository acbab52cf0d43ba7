/* The approved side of each path as it stands. */
#include "db/internal.h"

#include <string.h>

struct put {
	const char *site, *node;
	const struct db_state_row *rows;
	size_t n;
};

DB_STMT(PUT, "state_put", "INSERT INTO file_state "
	"(site, path_key, path, approval, md5, sha256, size, exec, blob_id, node, seq, at, actor, review_seq, reviewed) "
	"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE approval = VALUES(approval), md5 = VALUES(md5), "
	"sha256 = VALUES(sha256), size = VALUES(size), exec = VALUES(exec), blob_id = VALUES(blob_id), node = VALUES(node), "
	"seq = VALUES(seq), at = VALUES(at), actor = VALUES(actor), review_seq = VALUES(review_seq), reviewed = VALUES(reviewed)");
static enum err put(struct db *db, void *arg)
{
	const struct put *p = arg;
	struct bulk *b = bulk_open(db, &PUT);

	for (size_t i = 0; i < p->n; i++) {
		const struct db_state_row *r = &p->rows[i];
		struct path_key key;

		path_key(r->path, &key);
		bulk_row(b, ARGS(a_name(p->site), a_fixed(&key), a_path(r->path), a_u64(r->approval), a_fixed(&r->print.md5),
			    a_fixed(&r->print.sha256), a_u64(r->print.size), a_u64(r->print.exec), a_fixed(&r->blob), a_text(p->node),
			    a_u64(r->seq), a_i64(r->at), a_name(r->actor ? r->actor : ""), a_u64(r->review_seq), a_fixed(&r->reviewed)));
	}
	return bulk_close(b);
}

enum err db_state_put(struct db *db, const char *site, const char *node, const struct db_state_row *rows, size_t n)
{
	struct put p = { site, node, rows, n };

	return n ? db_within(db, put, &p) : ERR_OK;
}

#define COLUMNS "path, approval, md5, sha256, size, exec, blob_id, seq, at, actor, review_seq, reviewed"

static void row_read(struct cursor *c, struct db_state_row *r)
{
	memset(r, 0, sizeof(*r));
	cursor_path(c, 0, &r->path);
	r->approval = (unsigned)cursor_u64(c, 1);
	cursor_fixed(c, 2, r->print.md5.b, sizeof(r->print.md5.b));
	cursor_fixed(c, 3, r->print.sha256.b, sizeof(r->print.sha256.b));
	r->print.size = cursor_u64(c, 4);
	r->print.exec = cursor_u64(c, 5) != 0;
	cursor_fixed(c, 6, r->blob.b, sizeof(r->blob.b));
	r->seq = cursor_u64(c, 7);
	r->at = cursor_i64(c, 8);
	r->actor = cursor_text(c, 9);
	r->review_seq = cursor_u64(c, 10);
	cursor_fixed(c, 11, r->reviewed.b, sizeof(r->reviewed.b));
}

struct rows {
	bool (*fn)(void *arg, const struct db_state_row *row);
	void *arg;
};

static enum err each(struct cursor *c, void *arg, bool *stopped)
{
	const struct rows *to = arg;

	while (cursor_next(c)) {
		struct db_state_row r;

		row_read(c, &r);
		if (c->e)
			break;
		if (!to->fn(to->arg, &r)) {
			*stopped = true;
			break;
		}
	}
	return cursor_close(c);
}

DB_STMT(GET, "state_get", "SELECT " COLUMNS " FROM file_state WHERE site = ? AND path_key = ?");
enum err db_state_get(struct db *db, const char *site, struct path path, struct db_state_row *out, struct arena *a)
{
	struct path_key key;
	struct cursor c;

	memset(out, 0, sizeof(*out));
	path_key(path, &key);
	cursor_open(&c, db, &GET, ARGS(a_name(site), a_fixed(&key)));
	if (cursor_next(&c)) {
		row_read(&c, out);
		out->path = path_copy(path, a);
		out->actor = arena_dup(a, out->actor);
	}
	return cursor_close_found(&c, "%s was never approved or reviewed", path.s);
}

DB_STMT(GET_FEW, "state_get_few", "SELECT " COLUMNS " FROM file_state WHERE site = ? AND path_key IN (" DB_P8 ")");
DB_STMT(GET_MANY, "state_get_many",
	"SELECT " COLUMNS " FROM file_state WHERE site = ? AND path_key IN (" DB_P256 ")");
enum err db_state_get_many(struct db *db, const char *site, const struct path *paths, size_t n, bool (*fn)(void *arg, const struct db_state_row *row), void *arg)
{
	return db_of_paths(db, &GET_FEW, &GET_MANY, site, paths, n, each, &(struct rows){ fn, arg });
}

DB_STMT(ALL, "state_all", "SELECT " COLUMNS " FROM file_state WHERE site = ?");
enum err db_state_all(struct db *db, const char *site, bool (*fn)(void *arg, const struct db_state_row *row), void *arg)
{
	struct cursor c;
	bool stopped;

	cursor_open_stream(&c, db, &ALL, ARGS(a_name(site)));
	return each(&c, &(struct rows){ fn, arg }, &stopped);
}
