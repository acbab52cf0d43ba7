/* Whole tables, as tables.def lists them: every row read, all rows taken out, rows put in. */
#include "db/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDED(id, table, key, columns, marks) [TABLE_##id] = { table, TABLE_RECORDED, columns, key, true, "", NULL },
#define DERIVED(id, table, key, columns, marks, where, loose) \
	[TABLE_##id] = { table, TABLE_DERIVED, columns, key, sizeof(where) > 1, loose, NULL },
#define KEPT(id, table, columns, marks, why) [TABLE_##id] = { table, TABLE_KEPT, columns, 0, false, "", why },
#define APART(id, table, why) [TABLE_##id] = { table, TABLE_APART, NULL, 0, false, "", why },
const struct db_table db_tables[TABLE_COUNT] = {
#include "db/tables.def"
};
#undef RECORDED
#undef DERIVED
#undef KEPT
#undef APART

#define RECORDED(id, table, key, columns, marks) DERIVED(id, table, key, columns, marks, " WHERE site = ?", "")
#define DERIVED(id, table, key, columns, marks, where, loose) \
	DB_STMT(ALL_##id, "table_all_" #id, "SELECT " columns " FROM " table where); \
	DB_STMT(WHOLE_##id, "table_whole_" #id, "SELECT " columns " FROM " table); \
	DB_STMT(CLEAR_##id, "table_clear_" #id, "DELETE FROM " table where); \
	DB_STMT(FILL_##id, "table_fill_" #id, "INSERT INTO " table " (" columns ") VALUES (" marks ")");
#define KEPT(id, table, columns, marks, why) DERIVED(id, table, 0, columns, marks, "", "")
#define APART(...)
#include "db/tables.def"
#undef DERIVED
#undef APART

static const struct statements { const struct db_stmt *all, *whole, *clear, *fill; } STATEMENTS[TABLE_COUNT] = {
#define DERIVED(id, ...) [TABLE_##id] = { &ALL_##id, &WHOLE_##id, &CLEAR_##id, &FILL_##id },
#define APART(...)
#include "db/tables.def"
#undef RECORDED
#undef DERIVED
#undef KEPT
#undef APART
};

/* "?, ?, ?" */
static const unsigned char COLUMNS[TABLE_COUNT] = {
#define RECORDED(id, table, key, columns, marks) [TABLE_##id] = (sizeof(marks) + 1) / 3,
#define DERIVED(id, table, key, columns, marks, where, loose) [TABLE_##id] = (sizeof(marks) + 1) / 3,
#define KEPT(id, table, columns, marks, why) [TABLE_##id] = (sizeof(marks) + 1) / 3,
#define APART(...)
#include "db/tables.def"
#undef RECORDED
#undef DERIVED
#undef KEPT
#undef APART
};

unsigned db_table_columns(enum db_table_id id)
{
	return COLUMNS[id];
}

const char *db_table_column(enum db_table_id id, unsigned i, char out[64])
{
	const char *p = db_tables[id].columns;

	while (i-- && (p = strchr(p, ',')))
		p += 2;
	snprintf(out, 64, "%.*s", p ? (int)strcspn(p, ",") : 0, p ? p : "");
	return out;
}

bool db_table_loose(enum db_table_id id, unsigned i)
{
	char name[64];
	const size_t n = strlen(db_table_column(id, i, name));

	for (const char *p = db_tables[id].loose; *p; p += strcspn(p, ","), p += *p ? 2 : 0)
		if (strcspn(p, ",") == n && strncmp(p, name, n) == 0)
			return true;
	return false;
}

static enum err each_row(struct db *db, enum db_table_id id, const struct db_stmt *s, const struct db_arg *args, size_t n,
    bool (*fn)(void *arg, const struct db_value *row), void *arg)
{
	struct db_value row[TABLE_MOST_COLUMNS] = { 0 };
	const unsigned columns = db_table_columns(id);
	struct cursor c;

	cursor_open_stream(&c, db, s, args, n);
	while (cursor_next(&c)) {
		for (unsigned i = 0; i < columns; i++)
			cursor_value(&c, i, &row[i]);
		if (!fn(arg, row))
			break;
	}
	return cursor_close(&c);
}

/* Of the tables whose rows name their site. */
#define SITES(id, table) DB_STMT(SITES_##id, "table_sites_" #id, "SELECT DISTINCT site FROM " table);
#define RECORDED(id, table, ...) SITES(id, table)
#define DERIVED(id, ...)
#define KEPT(...)
#define APART(...)
#include "db/tables.def"
#undef RECORDED
SITES(site, "site")
SITES(log_head, "log_head")
SITES(file_state, "file_state")
SITES(rule, "rule")
SITES(preapproval, "preapproval")
SITES(schedule, "schedule")
#define RECORDED(id, ...) [TABLE_##id] = &SITES_##id,
static const struct db_stmt *const ALL_SITES[TABLE_COUNT] = {
#include "db/tables.def"
	[TABLE_site] = &SITES_site, [TABLE_log_head] = &SITES_log_head, [TABLE_file_state] = &SITES_file_state,
	[TABLE_rule] = &SITES_rule, [TABLE_preapproval] = &SITES_preapproval, [TABLE_schedule] = &SITES_schedule,
};
#undef RECORDED
#undef DERIVED
#undef KEPT
#undef APART
enum err db_table_sites(struct db *db, enum db_table_id id, bool (*fn)(void *arg, const char *site), void *arg)
{
	struct cursor c;

	if (!ALL_SITES[id])
		return ERR_OK;
	cursor_open(&c, db, ALL_SITES[id], NULL, 0);
	while (cursor_next(&c))
		if (!fn(arg, cursor_text(&c, 0)))
			break;
	return cursor_close(&c);
}

enum err db_table_rows(struct db *db, enum db_table_id id, const char *site, bool (*fn)(void *arg, const struct db_value *row), void *arg)
{
	const struct db_arg of_site = a_name(site);

	return each_row(db, id, STATEMENTS[id].all, &of_site, db_tables[id].of_site, fn, arg);
}

enum err db_table_rows_all(struct db *db, enum db_table_id id, bool (*fn)(void *arg, const struct db_value *row), void *arg)
{
	return each_row(db, id, STATEMENTS[id].whole, NULL, 0, fn, arg);
}

enum err db_table_clear(struct db *db, enum db_table_id id, const char *site)
{
	const struct db_arg of_site = a_name(site);

	return db_run(db, STATEMENTS[id].clear, &of_site, db_tables[id].of_site, NULL);
}

/* The tables that fsck mends, row by row: the program may take rows out of these. */
#define TAKE(id, where) DB_STMT(TAKE_##id, "table_take_" #id, "DELETE FROM " #id " WHERE " where)
TAKE(file_state, "site = ? AND path_key = ?");
TAKE(rule, "site = ? AND principal = ? AND path_hash = ?");
TAKE(requirement, "site = ? AND path_hash = ?");
TAKE(field, "site = ? AND path_hash = ? AND name = ?");
TAKE(preapproval, "site = ? AND path_hash = ? AND pattern = ?");
TAKE(hold, "site = ? AND path_hash = ?");
TAKE(own_group, "name = ?");
TAKE(membership, "name = ? AND principal = ?");
static const struct db_stmt *const TAKES[TABLE_COUNT] = {
	[TABLE_file_state] = &TAKE_file_state, [TABLE_rule] = &TAKE_rule, [TABLE_requirement] = &TAKE_requirement, [TABLE_field] = &TAKE_field,
	[TABLE_preapproval] = &TAKE_preapproval, [TABLE_hold] = &TAKE_hold, [TABLE_own_group] = &TAKE_own_group, [TABLE_membership] = &TAKE_membership,
};

bool db_table_mended(enum db_table_id id)
{
	return TAKES[id] != NULL;
}

/* Columns with numbers below 0: a file from before 1970, a kit that was killed. Others are bound without a sign: a counter needs each bit. */
static uint32_t signed_columns(enum db_table_id id)
{
	uint32_t mask = 0;
	char name[64];

	for (unsigned i = 0; i < db_table_columns(id); i++) {
		db_table_column(id, i, name);
		if (strcmp(name, "mtime") == 0 || strcmp(name, "exit_status") == 0)
			mask |= UINT32_C(1) << i;
	}
	return mask;
}

static void row_args(struct db_arg args[TABLE_MOST_COLUMNS], const struct db_value *row, unsigned n, uint32_t with_sign)
{
	for (unsigned i = 0; i < n; i++) {
		if (!row[i].number)
			args[i] = a_bytes(row[i].p, row[i].n);
		else
			args[i] = with_sign >> i & 1 ? a_i64((int64_t)row[i].u) : a_u64(row[i].u);
	}
}

enum err db_table_take(struct db *db, enum db_table_id id, const struct db_value *row)
{
	struct db_arg args[TABLE_MOST_COLUMNS];

	row_args(args, row, db_tables[id].n_key, signed_columns(id));
	return db_run(db, TAKES[id], args, db_tables[id].n_key, NULL);
}

enum err db_table_put(struct db *db, enum db_table_id id, const struct db_value *row)
{
	struct db_arg args[TABLE_MOST_COLUMNS];
	const unsigned n = db_table_columns(id);

	row_args(args, row, n, signed_columns(id));
	return db_run(db, STATEMENTS[id].fill, args, n, NULL);
}

struct db_fill {
	struct bulk *bulk;
	unsigned n;
	uint32_t with_sign; /* a bit for each column */
};

struct db_fill *db_fill_open(struct db *db, enum db_table_id id)
{
	struct db_fill *f = mem_alloc(sizeof(*f));

	f->n = db_table_columns(id);
	f->with_sign = signed_columns(id);
	f->bulk = bulk_open(db, STATEMENTS[id].fill);
	return f;
}

void db_fill_row(struct db_fill *f, const struct db_value *row)
{
	struct db_arg args[TABLE_MOST_COLUMNS];

	row_args(args, row, f->n, f->with_sign);
	bulk_row(f->bulk, args, f->n);
}

enum err db_fill_close(struct db_fill *f)
{
	enum err e = bulk_close(f->bulk);

	free(f);
	return e;
}

enum err db_still_begin(struct db *db)
{
	enum err e = db->in_tx ? err_set(ERR_FAILED, "a transaction within a transaction") : db_connect(db);

	if (!e)
		e = db_plain(db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "still");
	if (!e)
		e = db_plain(db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", "still");
	if (e)
		return e;
	db->in_tx = true;
	db->tx_error = ERR_OK;
	return ERR_OK;
}

void db_still_end(struct db *db)
{
	if (!db->in_tx)
		return;
	db->in_tx = false;
	db->tx_error = ERR_OK;
	if (db->lost || db_plain(db, "ROLLBACK", "still"))
		db_disconnect(db);
}

DB_STMT(GRANTS, "grants", "SHOW GRANTS");
enum err db_grants(struct db *db, bool (*fn)(void *arg, const char *line), void *arg)
{
	struct cursor c;

	cursor_open(&c, db, &GRANTS, NULL, 0);
	while (cursor_next(&c))
		if (!fn(arg, cursor_text(&c, 0)))
			break;
	return cursor_close(&c);
}
