/* Named counters. */
#include "db/internal.h"

struct next {
	const char *id;
	uint64_t *value;
};

/* The first statement locks the row, so the second reads what it wrote. */
DB_STMT(ADD, "counter_add", "INSERT INTO counter (id, value, version, present) VALUES (?, 1, 1, 1) ON DUPLICATE KEY UPDATE "
	"value = IF(present, value + 1, 1), version = version + 1, present = 1");
DB_STMT(GET, "counter_get", "SELECT value FROM counter WHERE id = ?");
static enum err next(struct db *db, void *arg)
{
	const struct next *n = arg;
	struct cursor c;
	enum err e = db_run(db, &ADD, ARGS(a_name(n->id)), NULL);

	if (e)
		return e;
	cursor_open(&c, db, &GET, ARGS(a_name(n->id)));
	if (cursor_next(&c))
		*n->value = cursor_u64(&c, 0);
	return cursor_close_found(&c, "the counter %s is gone", n->id);
}

enum err db_counter_next(struct db *db, const char *id, uint64_t *value)
{
	struct next n = { id, value };

	return db_within(db, next, &n);
}
