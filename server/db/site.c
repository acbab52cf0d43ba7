/* Sites, their writer, the version of their rules, and the heads of their logs. */
#include "db/internal.h"

#include <stdio.h>
#include <string.h>

#include "core/named.h"

DB_STMT(CREATE, "site_create", "INSERT INTO site (site, writer, rules_version, created_at) VALUES (?, ?, 0, ?) ON DUPLICATE KEY UPDATE site = site");
enum err db_site_create(struct db *db, const char *site, const char *node, int64_t at)
{
	return db_run(db, &CREATE, ARGS(a_name(site), a_text(node), a_i64(at)), NULL);
}

DB_STMT(CREATED, "site_created", "UPDATE site SET created_at = ? WHERE site = ?");
enum err db_site_created(struct db *db, const char *site, int64_t at)
{
	return db_run_found(db, &CREATED, ARGS(a_i64(at), a_name(site)), "there is no such site in the database");
}

static enum err site_read(struct db *db, const struct db_stmt *s, const char *site, struct db_site *out)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_open(&c, db, s, ARGS(a_name(site)));
	if (cursor_next(&c)) {
		out->rules_version = cursor_u64(&c, 0);
		snprintf(out->writer, sizeof(out->writer), "%s", cursor_text(&c, 1));
	}
	return cursor_close_found(&c, "there is no site '%s' in the database", site);
}

DB_STMT(GET, "site_get", "SELECT rules_version, writer FROM site WHERE site = ?");
enum err db_site_get(struct db *db, const char *site, struct db_site *out)
{
	return site_read(db, &GET, site, out);
}

/* Who stands at the head of the queue; nobody queues: it stays empty. */
static enum err take_head(struct cursor *c, struct db_site *out)
{
	struct named q = { .kind = NAMED_QUEUE, .value = cursor_u64(c, 2) };
	size_t n;
	const void *members = cursor_bytes(c, 3, &n);
	enum err e = named_members_parse(&q, members, n);

	if (!e && q.n)
		snprintf(out->publisher, sizeof(out->publisher), "%s", q.members[0].process);
	named_release(&q);
	return e;
}

/* The row of the queue is held with it: nobody takes the turn from an act that is under way. */
DB_STMT(LOCK, "site_lock", "SELECT s.rules_version, s.writer, c.value, c.members FROM site s LEFT JOIN counter c ON c.id = ? WHERE s.site = ? FOR UPDATE");
enum err db_site_lock(struct db *db, const char *site, const char *node, struct db_site *out)
{
	char queue[NAMED_ID_LIMIT + 1];
	struct cursor c;
	enum err e = ERR_OK, closed;

	memset(out, 0, sizeof(*out));
	snprintf(queue, sizeof(queue), PUBLISHER_QUEUE "%s", site);
	cursor_open(&c, db, &LOCK, ARGS(a_name(queue), a_name(site)));
	if (cursor_next(&c)) {
		out->rules_version = cursor_u64(&c, 0);
		snprintf(out->writer, sizeof(out->writer), "%s", cursor_text(&c, 1));
		e = take_head(&c, out);
	}
	closed = cursor_close_found(&c, "there is no site '%s' in the database", site);
	if (!e)
		e = closed;
	if (!e && strcmp(out->writer, node))
		e = err_set(ERR_BUSY, "this database belongs to another installation: %s is written with the key of node %s, and the key here is another",
		    site, out->writer);
	return e;
}

DB_STMT(BUMP, "site_bump_rules", "UPDATE site SET rules_version = rules_version + 1 WHERE site = ?");
enum err db_site_bump_rules(struct db *db, const char *site)
{
	return db_run_found(db, &BUMP, ARGS(a_name(site)), "there is no such site in the database");
}

DB_STMT(HEAD_GET, "head_get", "SELECT seq, record_sha256, commit_id FROM log_head WHERE site = ? AND node = ?");
enum err db_head_get(struct db *db, const char *site, const char *node, struct db_head *out)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_open(&c, db, &HEAD_GET, ARGS(a_name(site), a_text(node)));
	if (cursor_next(&c)) {
		out->seq = cursor_u64(&c, 0);
		cursor_fixed(&c, 1, out->record.b, sizeof(out->record.b));
		cursor_fixed(&c, 2, out->commit.b, sizeof(out->commit.b));
	}
	return cursor_close(&c);
}

DB_STMT(HEAD_SET, "head_set", "INSERT INTO log_head (site, node, seq, record_sha256, commit_id) VALUES (?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE seq = VALUES(seq), record_sha256 = VALUES(record_sha256), commit_id = VALUES(commit_id)");
enum err db_head_set(struct db *db, const char *site, const char *node, const struct db_head *head)
{
	return db_run(db, &HEAD_SET, ARGS(a_name(site), a_text(node), a_u64(head->seq), a_fixed(&head->record), a_fixed(&head->commit)), NULL);
}
