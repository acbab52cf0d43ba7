/* Who has reviewed which version of a file. */
#include "db/internal.h"

#include <string.h>

#define SELECT "SELECT f.path, f.sha256, f.exec, r.actor FROM record_file f JOIN record r ON r.site = f.site AND r.node = f.node " \
	"AND r.seq = f.seq WHERE f.site = ? AND r.act = 'review' AND f.path_key IN "
DB_STMT(GET_FEW, "review_get_few", SELECT "(" DB_P8 ")");
DB_STMT(GET_MANY, "review_get_many", SELECT "(" DB_P256 ")");

struct reviews {
	bool (*fn)(void *arg, const struct db_review *review);
	void *arg;
};

static enum err each(struct cursor *c, void *arg, bool *stopped)
{
	const struct reviews *to = arg;

	while (cursor_next(c)) {
		struct db_review v = { .exec = cursor_u64(c, 2) != 0, .actor = cursor_text(c, 3) };

		cursor_path(c, 0, &v.path);
		cursor_fixed(c, 1, v.sha256.b, sizeof(v.sha256.b));
		if (c->e)
			break;
		if (!to->fn(to->arg, &v)) {
			*stopped = true;
			break;
		}
	}
	return cursor_close(c);
}

enum err db_review_many(struct db *db, const char *site, const struct path *paths, size_t n,
    bool (*fn)(void *arg, const struct db_review *review), void *arg)
{
	return db_of_paths(db, &GET_FEW, &GET_MANY, site, paths, n, each, &(struct reviews){ fn, arg });
}
