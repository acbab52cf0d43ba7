/* Paths whose files are approved by themselves. */
#include "db/internal.h"

#include <stdlib.h>

DB_STMT(PUT, "preapproval_put", "INSERT INTO preapproval (site, path_hash, path, actor, at, note, seq) VALUES (?, ?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE actor = VALUES(actor), at = VALUES(at), note = VALUES(note), seq = VALUES(seq)");
enum err db_preapproval_put(struct db *db, const char *site, const struct db_preapproval *p)
{
	struct sha256 hash;

	path_hash(p->path, &hash);
	return db_run(db, &PUT,
	    ARGS(a_name(site), a_fixed(&hash), a_path(p->path), a_name(p->actor), a_i64(p->at), a_text(p->note ? p->note : ""), a_u64(p->seq)), NULL);
}

DB_STMT(REMOVE, "preapproval_remove", "DELETE FROM preapproval WHERE site = ? AND path_hash = ?");
enum err db_preapproval_remove(struct db *db, const char *site, struct path path)
{
	struct sha256 hash;

	path_hash(path, &hash);
	return db_run_found(db, &REMOVE, ARGS(a_name(site), a_fixed(&hash)), "that path is not pre-approved");
}

static int by_path(const void *a, const void *b)
{
	return path_compare(((const struct db_preapproval *)a)->path, ((const struct db_preapproval *)b)->path);
}

/* Sorted here: the server compares only the first kilobyte of a path when it sorts. */
DB_STMT(LISTING, "preapproval_list", "SELECT path, actor, at, note, seq FROM preapproval WHERE site = ?");
enum err db_preapproval_list(struct db *db, const char *site, bool (*fn)(void *arg, const struct db_preapproval *p), void *arg)
{
	struct db_preapproval *list = NULL;
	struct arena *a = arena_new();
	size_t n = 0, cap = 0;
	struct cursor c;

	cursor_open(&c, db, &LISTING, ARGS(a_name(site)));
	while (cursor_next(&c)) {
		struct db_preapproval p = { 0 };

		cursor_path(&c, 0, &p.path);
		if (c.e)
			break;
		p.path = path_copy(p.path, a);
		p.actor = arena_dup(a, cursor_text(&c, 1));
		p.at = cursor_i64(&c, 2);
		p.note = arena_dup(a, cursor_text(&c, 3));
		p.seq = cursor_u64(&c, 4);
		if (n == cap)
			list = mem_grow(list, &cap, n + 1, sizeof(*list));
		list[n++] = p;
	}
	enum err e = cursor_close(&c);
	if (!e && n)
		qsort(list, n, sizeof(*list), by_path);
	for (size_t i = 0; !e && i < n; i++)
		if (!fn(arg, &list[i]))
			break;
	free(list);
	arena_free(a);
	return e;
}
