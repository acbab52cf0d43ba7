/* Who has reviewed which version of a file. */
#include "db/internal.h"

#include <string.h>

#define P8 "?, ?, ?, ?, ?, ?, ?, ?"
#define P64 P8 ", " P8 ", " P8 ", " P8 ", " P8 ", " P8 ", " P8 ", " P8
#define FEW 8
#define MANY 256
#define SELECT "SELECT f.path, f.sha256, f.exec, r.actor FROM record_file f JOIN record r ON r.site = f.site AND r.node = f.node " \
	"AND r.seq = f.seq WHERE f.site = ? AND r.act = 'review' AND f.path_key IN "
DB_STMT(GET_FEW, "review_get_few", SELECT "(" P8 ")");
DB_STMT(GET_MANY, "review_get_many", SELECT "(" P64 ", " P64 ", " P64 ", " P64 ")");

static enum err each(struct cursor *c, bool (*fn)(void *arg, const struct db_review *review), void *arg, bool *stopped)
{
	while (cursor_next(c)) {
		struct db_review v = { .exec = cursor_u64(c, 2) != 0, .actor = cursor_text(c, 3) };

		cursor_path(c, 0, &v.path);
		cursor_fixed(c, 1, v.sha256.b, sizeof(v.sha256.b));
		if (c->e)
			break;
		if (!fn(arg, &v)) {
			*stopped = true;
			break;
		}
	}
	return cursor_close(c);
}

enum err db_review_many(struct db *db, const char *site, const struct path *paths, size_t n,
    bool (*fn)(void *arg, const struct db_review *review), void *arg)
{
	struct db_arg args[1 + MANY];
	struct path_key key[MANY];
	bool stopped = false;
	enum err e = ERR_OK;

	args[0] = a_name(site);
	for (size_t at = 0; at < n && !e && !stopped;) {
		size_t places = n - at > FEW ? MANY : FEW, have = n - at < places ? n - at : places;
		struct cursor c;

		/* Places that are left over ask for the last one again. */
		for (size_t i = 0; i < places; i++) {
			if (i < have)
				path_key(paths[at + i], &key[i]);
			args[1 + i] = a_fixed(&key[i < have ? i : have - 1]);
		}
		cursor_open(&c, db, places == FEW ? &GET_FEW : &GET_MANY, args, 1 + places);
		e = each(&c, fn, arg, &stopped);
		at += have;
	}
	return e;
}
