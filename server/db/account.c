/* DryDock's own accounts and groups. */
#include "db/internal.h"

#include <string.h>

static void account_read(struct cursor *c, struct db_account *out)
{
	out->name = cursor_text(c, 0);
	out->password = cursor_text(c, 1);
	out->display = cursor_text(c, 2);
	out->enabled = cursor_u64(c, 3) != 0;
	out->created_at = cursor_i64(c, 4);
	out->seq = cursor_u64(c, 5);
}

DB_STMT(GET, "account_get", "SELECT name, password, display, enabled, created_at, seq FROM account WHERE name = ?");
enum err db_account_get(struct db *db, const char *name, struct db_account *out, struct arena *a)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_open(&c, db, &GET, ARGS(a_name(name)));
	if (cursor_next(&c)) {
		account_read(&c, out);
		out->name = arena_dup(a, out->name);
		out->password = arena_dup(a, out->password);
		out->display = arena_dup(a, out->display);
	}
	return cursor_close_found(&c, "there is no account with that name");
}

DB_STMT(PUT, "account_put", "INSERT INTO account (name, password, display, enabled, created_at, seq) VALUES (?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE password = VALUES(password), display = VALUES(display), enabled = VALUES(enabled), seq = VALUES(seq)");
enum err db_account_put(struct db *db, const struct db_account *account)
{
	return db_run(db, &PUT,
	    ARGS(a_name(account->name), a_name(account->password), a_text(account->display), a_u64(account->enabled), a_i64(account->created_at),
		a_u64(account->seq)),
	    NULL);
}

DB_STMT(LIST_ALL, "account_list", "SELECT name, password, display, enabled, created_at, seq FROM account ORDER BY name");
enum err db_account_list(struct db *db, bool (*fn)(void *arg, const struct db_account *a), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &LIST_ALL, NULL, 0);
	while (cursor_next(&c)) {
		struct db_account row;

		account_read(&c, &row);
		if (!fn(arg, &row))
			break;
	}
	return cursor_close(&c);
}

DB_STMT(GROUP_CREATE, "group_create", "INSERT INTO own_group (name, created_at, seq) VALUES (?, ?, ?)");
enum err db_group_create(struct db *db, const char *name, int64_t at, uint64_t seq)
{
	return db_run(db, &GROUP_CREATE, ARGS(a_name(name), a_i64(at), a_u64(seq)), NULL);
}

DB_STMT(GROUP_EMPTY, "group_empty", "DELETE FROM membership WHERE name = ?");
DB_STMT(GROUP_REMOVE, "group_remove", "DELETE FROM own_group WHERE name = ?");
static enum err group_remove(struct db *db, void *arg)
{
	const char *name = arg;
	enum err e = db_run(db, &GROUP_EMPTY, ARGS(a_name(name)), NULL);

	return e ? e : db_run_found(db, &GROUP_REMOVE, ARGS(a_name(name)), "there is no group with that name");
}

enum err db_group_remove(struct db *db, const char *name)
{
	return db_within(db, group_remove, (void *)(uintptr_t)name);
}

DB_STMT(GROUP_LIST, "group_list", "SELECT g.name, COUNT(m.principal) FROM own_group g LEFT JOIN membership m ON m.name = g.name GROUP BY g.name ORDER BY g.name");
enum err db_group_list(struct db *db, bool (*fn)(void *arg, const char *name, uint64_t members), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &GROUP_LIST, NULL, 0);
	while (cursor_next(&c))
		if (!fn(arg, cursor_text(&c, 0), cursor_u64(&c, 1)))
			break;
	return cursor_close(&c);
}

/* From the group's own row, so that no membership of a group that does not exist can come to be. */
DB_STMT(MEMBER_ADD, "member_add", "INSERT INTO membership (name, principal, seq) SELECT name, ?, ? FROM own_group WHERE name = ? "
	"ON DUPLICATE KEY UPDATE membership.seq = membership.seq");
enum err db_member_add(struct db *db, const char *group, const char *principal, uint64_t seq)
{
	return db_run_found(db, &MEMBER_ADD, ARGS(a_name(principal), a_u64(seq), a_name(group)), "there is no group with that name");
}

DB_STMT(MEMBER_REMOVE, "member_remove", "DELETE FROM membership WHERE name = ? AND principal = ?");
enum err db_member_remove(struct db *db, const char *group, const char *principal)
{
	return db_run_found(db, &MEMBER_REMOVE, ARGS(a_name(group), a_name(principal)), "the group has no such member");
}

static enum err names(struct db *db, const struct db_stmt *s, const char *key, bool (*fn)(void *arg, const char *name), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, s, ARGS(a_name(key)));
	while (cursor_next(&c))
		if (!fn(arg, cursor_text(&c, 0)))
			break;
	return cursor_close(&c);
}

DB_STMT(MEMBER_LIST, "member_list", "SELECT principal FROM membership WHERE name = ? ORDER BY principal");
enum err db_member_list(struct db *db, const char *group, bool (*fn)(void *arg, const char *principal), void *arg)
{
	return names(db, &MEMBER_LIST, group, fn, arg);
}

DB_STMT(GROUPS_OF, "groups_of", "SELECT name FROM membership WHERE principal = ? ORDER BY name");
enum err db_groups_of(struct db *db, const char *principal, bool (*fn)(void *arg, const char *group), void *arg)
{
	return names(db, &GROUPS_OF, principal, fn, arg);
}
