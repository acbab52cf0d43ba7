/* Paths whose files are approved by themselves. */
#include "db/internal.h"

#include <stdlib.h>
#include <string.h>

DB_STMT(PUT, "preapproval_put", "INSERT INTO preapproval (site, path_hash, path, pattern, largest, until, actor, at, note, seq) "
	"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE largest = VALUES(largest), until = VALUES(until), actor = VALUES(actor), "
	"at = VALUES(at), note = VALUES(note), seq = VALUES(seq)");
enum err db_preapproval_put(struct db *db, const char *site, const struct db_preapproval *p)
{
	struct sha256 hash;

	path_hash(p->what.path, &hash);
	return db_run(db, &PUT,
	    ARGS(a_name(site), a_fixed(&hash), a_path(p->what.path), a_name(p->what.pattern), a_u64(p->what.largest), a_i64(p->what.until),
	        a_name(p->actor), a_i64(p->at), a_text(p->note ? p->note : ""), a_u64(p->seq)), NULL);
}

DB_STMT(REMOVE, "preapproval_remove", "DELETE FROM preapproval WHERE site = ? AND path_hash = ? AND pattern = ?");
enum err db_preapproval_remove(struct db *db, const char *site, struct path path, const char *pattern)
{
	struct sha256 hash;

	path_hash(path, &hash);
	return db_run_found(db, &REMOVE, ARGS(a_name(site), a_fixed(&hash), a_name(pattern)), "that path is not pre-approved");
}

static int by_path(const void *a, const void *b)
{
	const struct preapproved *x = &((const struct db_preapproval *)a)->what, *y = &((const struct db_preapproval *)b)->what;
	const int c = path_compare(x->path, y->path);

	return c ? c : strcmp(x->pattern, y->pattern);
}

/* Sorted here: the server compares only the first kilobyte of a path when it sorts. */
DB_STMT(LISTING, "preapproval_list", "SELECT path, pattern, largest, until, actor, at, note, seq FROM preapproval WHERE site = ?");
enum err db_preapproval_list(struct db *db, const char *site, bool (*fn)(void *arg, const struct db_preapproval *p), void *arg)
{
	struct db_preapproval *list = NULL;
	struct arena *a = arena_new();
	size_t n = 0, cap = 0;
	struct cursor c;

	cursor_open(&c, db, &LISTING, ARGS(a_name(site)));
	while (cursor_next(&c)) {
		struct db_preapproval p = { 0 };

		cursor_path(&c, 0, &p.what.path);
		if (c.e)
			break;
		p.what.path = path_copy(p.what.path, a);
		p.what.pattern = arena_dup(a, cursor_text(&c, 1));
		p.what.largest = cursor_u64(&c, 2);
		p.what.until = cursor_i64(&c, 3);
		p.actor = arena_dup(a, cursor_text(&c, 4));
		p.at = cursor_i64(&c, 5);
		p.note = arena_dup(a, cursor_text(&c, 6));
		p.seq = cursor_u64(&c, 7);
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
