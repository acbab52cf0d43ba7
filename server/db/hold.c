/* Holds: paths that no release changes until a time. */
#include "db/internal.h"

#include <stdlib.h>
#include <string.h>

DB_STMT(PUT, "hold_put", "INSERT INTO hold (site, path_hash, path, actor, at, until, note, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE actor = VALUES(actor), at = VALUES(at), until = VALUES(until), note = VALUES(note), seq = VALUES(seq)");
enum err db_hold_put(struct db *db, const char *site, const struct db_hold *h)
{
	struct sha256 hash;

	path_hash(h->path, &hash);
	return db_run(db, &PUT, ARGS(a_name(site), a_fixed(&hash), a_path(h->path), a_name(h->actor), a_i64(h->at), a_i64(h->until), a_text(h->note), a_u64(h->seq)), NULL);
}

DB_STMT(REMOVE, "hold_remove", "DELETE FROM hold WHERE site = ? AND path_hash = ?");
enum err db_hold_remove(struct db *db, const char *site, struct path path)
{
	struct sha256 hash;

	path_hash(path, &hash);
	return db_run_found(db, &REMOVE, ARGS(a_name(site), a_fixed(&hash)), "that path is not held");
}

static int by_path(const void *a, const void *b)
{
	return path_compare(((const struct db_hold *)a)->path, ((const struct db_hold *)b)->path);
}

DB_STMT(LISTING, "hold_list", "SELECT path, actor, at, until, note, seq FROM hold WHERE site = ?");
enum err db_hold_list(struct db *db, const char *site, struct db_hold **out, size_t *n, struct arena *a)
{
	struct db_hold *list = NULL;
	size_t cap = 0;
	struct cursor c;
	enum err e;

	*n = 0;
	cursor_open(&c, db, &LISTING, ARGS(a_name(site)));
	while (cursor_next(&c)) {
		struct db_hold h = { .at = 0 };

		cursor_path(&c, 0, &h.path);
		if (c.e)
			break;
		h.path = path_copy(h.path, a);
		h.actor = arena_dup(a, cursor_text(&c, 1));
		h.at = cursor_i64(&c, 2);
		h.until = cursor_i64(&c, 3);
		h.note = arena_dup(a, cursor_text(&c, 4));
		h.seq = cursor_u64(&c, 5);
		list = mem_grow(list, &cap, *n + 1, sizeof(*list));
		list[(*n)++] = h;
	}
	e = cursor_close(&c);
	if (*n)
		qsort(list, *n, sizeof(*list), by_path);
	*out = arena_alloc(a, (*n + 1) * sizeof(**out));
	if (*n)
		memcpy(*out, list, *n * sizeof(*list));
	free(list);
	return e;
}
