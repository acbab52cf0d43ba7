/* What receivers signed: receipts for releases, and what they found last when they read every live file. */
#include "db/internal.h"

#include <string.h>

/* The same receipt again (a run that is recorded twice) is the same row. */
DB_STMT(PUT, "receipt_put", "INSERT IGNORE INTO receipt (site, target, number, run, at, receipt, signature) VALUES (?, ?, ?, ?, ?, ?, ?)");
enum err db_receipt_put(struct db *db, const char *site, const struct db_receipt *r)
{
	return db_run(db, &PUT,
	    ARGS(a_name(site), a_name(r->target), a_u64(r->number), a_u64(r->run), a_i64(r->at), a_bytes(r->receipt, strlen(r->receipt)),
		a_bytes(r->signature, strlen(r->signature))),
	    NULL);
}

static void row_read(struct cursor *c, struct db_receipt *r, struct arena *a)
{
	r->number = cursor_u64(c, 0);
	r->run = cursor_u64(c, 1);
	r->at = cursor_i64(c, 2);
	r->receipt = arena_dup(a, cursor_text(c, 3));
	r->signature = arena_dup(a, cursor_text(c, 4));
}

DB_STMT(SINCE, "receipt_since", "SELECT number, run, at, receipt, signature FROM receipt WHERE site = ? AND target = ? AND number >= ? "
	"ORDER BY number, run LIMIT 1");
enum err db_receipt_since(struct db *db, const char *site, const char *target, uint64_t number, struct db_receipt *out, struct arena *a)
{
	struct cursor c;

	*out = (struct db_receipt){ .target = target };
	cursor_open(&c, db, &SINCE, ARGS(a_name(site), a_name(target), a_u64(number)));
	if (cursor_next(&c))
		row_read(&c, out, a);
	return cursor_close_found(&c, "%s gave no receipt since release %llu", target, (unsigned long long)number);
}

DB_STMT(OF_RUN, "receipt_of_run", "SELECT number, run, at, receipt, signature FROM receipt WHERE site = ? AND target = ? AND number = ? AND run = ?");
enum err db_receipt_of_run(struct db *db, const char *site, const char *target, uint64_t number, uint64_t run, struct db_receipt *out, struct arena *a)
{
	struct cursor c;

	*out = (struct db_receipt){ .target = target };
	cursor_open(&c, db, &OF_RUN, ARGS(a_name(site), a_name(target), a_u64(number), a_u64(run)));
	if (cursor_next(&c))
		row_read(&c, out, a);
	return cursor_close_found(&c, "run %llu brought no receipt of %s", (unsigned long long)run, target);
}

DB_STMT(REPORT_PUT, "target_report_put", "INSERT INTO target_report (site, target, at, number, bad, since, rolled_back, body, signature) "
	"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE at = VALUES(at), number = VALUES(number), bad = VALUES(bad), since = VALUES(since), "
	"rolled_back = VALUES(rolled_back), body = VALUES(body), signature = VALUES(signature)");
enum err db_target_report_put(struct db *db, const char *site, const struct db_target_report *r)
{
	return db_run(db, &REPORT_PUT, ARGS(a_name(site), a_name(r->target), a_i64(r->at), a_u64(r->number), a_u64(r->bad), a_i64(r->since),
	    a_u64(r->rolled_back), a_bytes(r->body, strlen(r->body)), a_bytes(r->signature, strlen(r->signature))), NULL);
}

DB_STMT(REPORT_GET, "target_report_get", "SELECT at, number, bad, since, rolled_back, body, signature FROM target_report WHERE site = ? AND target = ?");
enum err db_target_report_get(struct db *db, const char *site, const char *target, struct db_target_report *out, struct arena *a)
{
	struct cursor c;

	*out = (struct db_target_report){ .target = target };
	cursor_open(&c, db, &REPORT_GET, ARGS(a_name(site), a_name(target)));
	if (cursor_next(&c)) {
		out->at = cursor_i64(&c, 0);
		out->number = cursor_u64(&c, 1);
		out->bad = cursor_u64(&c, 2);
		out->since = cursor_i64(&c, 3);
		out->rolled_back = cursor_u64(&c, 4) != 0;
		out->body = arena_dup(a, cursor_text(&c, 5));
		out->signature = arena_dup(a, cursor_text(&c, 6));
	}
	return cursor_close_found(&c, "%s has reported nothing", target);
}

DB_STMT(HELD_PUT, "target_held_put", "INSERT INTO target_held (site, target, at, number, head, receipt, signature) VALUES (?, ?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE at = VALUES(at), number = VALUES(number), head = VALUES(head), receipt = VALUES(receipt), signature = VALUES(signature)");
enum err db_held_put(struct db *db, const char *site, const struct db_held *h)
{
	return db_run(db, &HELD_PUT, ARGS(a_name(site), a_name(h->target), a_i64(h->at), a_u64(h->number), a_fixed(&h->head),
	    a_bytes(h->receipt, strlen(h->receipt)), a_bytes(h->signature, strlen(h->signature))), NULL);
}

DB_STMT(HELD_GET, "target_held_get", "SELECT at, number, head, receipt, signature FROM target_held WHERE site = ? AND target = ?");
enum err db_held_get(struct db *db, const char *site, const char *target, struct db_held *out, struct arena *a)
{
	struct cursor c;

	*out = (struct db_held){ .target = target };
	cursor_open(&c, db, &HELD_GET, ARGS(a_name(site), a_name(target)));
	if (cursor_next(&c)) {
		out->at = cursor_i64(&c, 0);
		out->number = cursor_u64(&c, 1);
		cursor_fixed(&c, 2, out->head.b, sizeof(out->head.b));
		out->receipt = arena_dup(a, cursor_text(&c, 3));
		out->signature = arena_dup(a, cursor_text(&c, 4));
	}
	return cursor_close_found(&c, "%s holds nothing that is not known", target);
}

DB_STMT(HELD_REMOVE, "target_held_remove", "DELETE FROM target_held WHERE site = ? AND target = ?");
enum err db_held_remove(struct db *db, const char *site, const char *target)
{
	return db_run(db, &HELD_REMOVE, ARGS(a_name(site), a_name(target)), NULL);
}

/* What was approved and is not in a release is after every release, so this finds it too. */
DB_STMT(UNCONFIRMED, "unconfirmed_since", "SELECT at FROM record WHERE site = ? AND node = ? AND seq > ? AND act IN ('sign', 'revoke', 'pickup', 'reapprove', 'rollback') "
	"ORDER BY seq LIMIT 1");
enum err db_unconfirmed_since(struct db *db, const char *site, const char *node, uint64_t seq, int64_t *at)
{
	struct cursor c;

	*at = 0;
	cursor_open(&c, db, &UNCONFIRMED, ARGS(a_name(site), a_text(node), a_u64(seq)));
	if (cursor_next(&c))
		*at = cursor_i64(&c, 0);
	return cursor_close(&c);
}
