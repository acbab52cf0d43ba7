/* Counters and queues: the database as a store of core/named. */
#include "db/internal.h"

#include <string.h>

#include "base/clock.h"
#include "core/named.h"

#define PAUSE_US 2000 /* before the second try, at the most; rises with each */
#define MEMBERS_BYTES (NAMED_MEMBERS * (NAMED_PROCESS_LIMIT + 24))

DB_STMT(LOAD, "counter_load", "SELECT kind, version, value, members FROM counter WHERE id = ?");
/* In a transaction the row is held from here on, so that its store does not come too late. */
DB_STMT(LOCK, "counter_lock", "SELECT kind, version, value, members FROM counter WHERE id = ? FOR UPDATE");
static enum err load(void *arg, const char *id, struct named *out)
{
	struct db *db = arg;
	struct cursor c;
	enum err e = ERR_OK, closed;

	*out = (struct named){ 0 };
	cursor_open(&c, db, db->in_tx ? &LOCK : &LOAD, ARGS(a_name(id)));
	if (cursor_next(&c)) {
		const void *members;
		size_t n;
		const uint64_t kind = cursor_u64(&c, 0);

		out->version = cursor_u64(&c, 1);
		out->value = cursor_u64(&c, 2);
		out->kind = kind <= NAMED_QUEUE ? (enum named_kind)kind : NAMED_NONE;
		members = cursor_bytes(&c, 3, &n);
		e = kind > NAMED_QUEUE ? err_set(ERR_FAILED, "the row %s of the table counter is of an unknown kind", id) :
		    named_members_parse(out, members, n);
	}
	closed = cursor_close(&c);
	if (!e)
		e = closed;
	if (e)
		named_release(out);
	return e;
}

DB_STMT(PUT, "counter_put", "INSERT INTO counter (id, kind, value, members, version) VALUES (?, ?, ?, ?, 1)");
DB_STMT(STORE, "counter_store", "UPDATE counter SET kind = ?, value = ?, members = ?, version = version + 1 WHERE id = ? AND version = ?");
static enum err store(void *arg, const char *id, const struct named *v, uint64_t version)
{
	struct db *db = arg;
	struct buf members = BUF_INIT(MEMBERS_BYTES);
	uint64_t affected = 1;
	enum err e;

	named_members_write(v, &members);
	e = buf_check(&members);
	if (!e && version == 0)
		e = db_run(db, &PUT, ARGS(a_name(id), a_u64(v->kind), a_u64(v->value), a_bytes(buf_text(&members), members.len)), NULL);
	else if (!e)
		e = db_run(db, &STORE,
		    ARGS(a_u64(v->kind), a_u64(v->value), a_bytes(buf_text(&members), members.len), a_name(id), a_u64(version)), &affected);
	/* A statement by itself that lost a deadlock changed nothing: somebody else was faster. */
	if ((!e && affected == 0) || (e == ERR_RETRY && !db->in_tx))
		e = err_set(ERR_STALE, "%s was changed meanwhile", id);
	buf_release(&members);
	return e;
}

static void pause_before(void *arg, unsigned tries)
{
	uint32_t r;

	(void)arg;
	random_bytes(&r, sizeof(r));
	clock_sleep(1 + (int64_t)(r % (PAUSE_US * tries)));
}

struct named_store db_named(struct db *db)
{
	return (struct named_store){ .load = load, .store = store, .pause = pause_before, .arg = db };
}

enum err db_counter_next(struct db *db, const char *id, uint64_t *value)
{
	const struct named_store s = db_named(db);

	return named_next(&s, id, value);
}

enum err db_counter_raise(struct db *db, const char *id, uint64_t least)
{
	struct named v;
	enum err e = load(db, id, &v);

	if (e)
		return e;
	if (v.kind == NAMED_QUEUE)
		e = err_set(ERR_STALE, "%s is a queue", id);
	else if (v.value < least) {
		v.kind = NAMED_COUNTER;
		v.value = least;
		e = store(db, id, &v, v.version);
	}
	named_release(&v);
	return e;
}
