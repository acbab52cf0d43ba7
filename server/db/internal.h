/*
 * db/internal: what the files of this room share: a connection's state, prepared statements, arguments, columns.
 *
 * A statement is a constant in a section of its own, so that the linker makes the table of all of them: its place there
 * is its place in each connection's cache, and a test prepares every one. Arguments are values in a list; a cursor reads
 * the rows. Whatever a cursor hands out lives until its next row. A statement that is still being read may be run again
 * (a callback that asks the same thing): it is then prepared once more for that use.
 */
#ifndef DRYDOCK_DB_INTERNAL_H
#define DRYDOCK_DB_INTERNAL_H

#include <mysql.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/db.h"

struct db_stmt {
	const char *name, *sql;
};

#define DB_STMT(id_, name_, sql_) \
	static const struct db_stmt id_ __attribute__((section("drydock_sql"), used, aligned(16))) = { name_, sql_ }

const struct db_stmt *db_stmts(size_t *n);

struct stmt; /* a prepared statement of one connection: statement.c */

struct db {
	MYSQL *my; /* NULL: not connected */
	struct db_address address;
	unsigned generation; /* counts connections: a statement of an earlier one is dead */
	bool is_mariadb;
	unsigned read_timeout; /* seconds; migrations are patient */
	bool no_database; /* the private server's owner, before there is a database */
	struct stmt **cache; /* one for each of db_stmts(), NULL until its first use */
	bool in_tx;
	enum err tx_error; /* a statement of the open transaction failed: nothing more is run in it */
	bool streaming; /* rows of a streamed result are still to come */
	bool lost; /* the connection broke; it is closed when the transaction ends */
	struct bulk *sender; /* sends rows on a thread of its own: bulk_settle() before anything else is done here */
};

/* --- connection.c -------------------------------------------------------------------------------------------------- */

enum err db_connect(struct db *db) MUST_CHECK; /* if it is not connected, or the server has hung up */
void db_disconnect(struct db *db);
/* Turn an error of the client library into ours, note what it means for transaction and connection. */
enum err db_error(struct db *db, unsigned number, const char *text, const char *what);
/* A statement without arguments or rows, as text of our own: SET, START TRANSACTION, a migration. */
enum err db_plain(struct db *db, const char *sql, const char *what) MUST_CHECK;
/* In the open transaction, or in one of its own. */
enum err db_within(struct db *db, enum err (*fn)(struct db *db, void *arg), void *arg) MUST_CHECK;
/* Any migrated schema has this number: what db_schema_check saw; a later connection must see the same. 0: not known. */
void db_schema_expect(unsigned version);
/* The number in the database; 0 without any schema. */
enum err db_schema_version(struct db *db, unsigned *version) MUST_CHECK;

/* --- statement.c --------------------------------------------------------------------------------------------------- */

enum db_arg_kind { DB_NULL, DB_U64, DB_I64, DB_TEXT, DB_BYTES };
struct db_arg {
	enum db_arg_kind kind;
	union {
		uint64_t u;
		int64_t i;
		const void *p;
	};
	size_t n;
};

static inline struct db_arg a_u64(uint64_t v)
{
	return (struct db_arg){ .kind = DB_U64, .u = v };
}
static inline struct db_arg a_i64(int64_t v)
{
	return (struct db_arg){ .kind = DB_I64, .i = v };
}
/* Columns with a character set (node, act, note). NULL is SQL's NULL. */
struct db_arg a_text(const char *s);
/* VARBINARY and BINARY columns. */
struct db_arg a_name(const char *s);
struct db_arg a_bytes(const void *p, size_t n);
static inline struct db_arg a_path(struct path p)
{
	return a_bytes(p.s, p.len);
}
/* The same cut to what a column takes, between characters; NULL is "". For text from outside that only informs. */
struct db_arg a_cut(const char *s, size_t most);
#define a_fixed(p_) a_bytes((p_)->b, sizeof((p_)->b)) /* struct sha256, uuid, blob_id */

#define ARGS(...) \
	(const struct db_arg[]){ __VA_ARGS__ }, sizeof((const struct db_arg[]){ __VA_ARGS__ }) / sizeof(struct db_arg)

/* A statement without rows. affected may be NULL; a row that an UPDATE found counts even if nothing changed. */
enum err db_run(struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n, uint64_t *affected) MUST_CHECK;
/* The same, ERR_NOT_FOUND with that sentence if no row was touched. */
enum err db_run_found(struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n, const char *missing) MUST_CHECK;

/*
 * Rows. cursor_open never fails on the spot: cursor_close gives the first error.
 *	cursor_open(&c, db, &GET, ARGS(a_name(site)));
 *	while (cursor_next(&c)) ...
 *	return cursor_close(&c);
 */
struct cursor {
	struct db *db;
	const struct db_stmt *what;
	struct stmt *st;
	enum err e;
	uint64_t rows; /* read so far */
};
void cursor_open(struct cursor *c, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n);
/*
 * Rows are not fetched ahead: for a result that may not fit into memory. The connection is busy until cursor_close:
 * nothing else may be asked meanwhile (a try is an error).
 */
void cursor_open_stream(struct cursor *c, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n);
bool cursor_next(struct cursor *c);
enum err cursor_close(struct cursor *c) MUST_CHECK;
/* The same, ERR_NOT_FOUND with that sentence if there was no row. */
enum err cursor_close_found(struct cursor *c, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;

uint64_t cursor_u64(struct cursor *c, unsigned column);
int64_t cursor_i64(struct cursor *c, unsigned column);
const char *cursor_text(struct cursor *c, unsigned column); /* terminated; "" for NULL */
const void *cursor_bytes(struct cursor *c, unsigned column, size_t *n);
/* Exactly n bytes; anything else is a damaged row, and cursor_close says so. */
void cursor_fixed(struct cursor *c, unsigned column, void *out, size_t n);
void cursor_path(struct cursor *c, unsigned column, struct path *out); /* checked again */
void cursor_value(struct cursor *c, unsigned column, struct db_value *out); /* whatever it is */

/*
 * The rows of many paths of a site, by two statements that differ in how many they ask for: site = ? first, then IN (DB_P8)
 * or IN (DB_P256) with the keys. each reads and closes one cursor; no more is asked once it set *stopped.
 */
#define DB_P8 "?, ?, ?, ?, ?, ?, ?, ?"
#define DB_P64 DB_P8 ", " DB_P8 ", " DB_P8 ", " DB_P8 ", " DB_P8 ", " DB_P8 ", " DB_P8 ", " DB_P8
#define DB_P256 DB_P64 ", " DB_P64 ", " DB_P64 ", " DB_P64
enum err db_of_paths(struct db *db, const struct db_stmt *few, const struct db_stmt *many, const char *site, const struct path *paths, size_t n,
    enum err (*each)(struct cursor *c, void *arg, bool *stopped), void *arg) MUST_CHECK;

void db_cache_free(struct db *db);

/* --- bulk.c: one statement for many rows --------------------------------------------------------------------------- */

struct bulk;
struct bulk *bulk_open(struct db *db, const struct db_stmt *s);
/* Copies what it is given. The first error stops everything after it; bulk_close gives it. */
void bulk_row(struct bulk *b, const struct db_arg *args, size_t n);
enum err bulk_close(struct bulk *b) MUST_CHECK; /* sends the rest, frees */
/* Several may be open at once: only one of them sends. What went wrong is told by its bulk_close. */
void bulk_settle(struct db *db);

/* For statement.c and bulk.c. */
enum err stmt_get(struct db *db, const struct db_stmt *s, struct stmt **out) MUST_CHECK;
void stmt_put(struct db *db, struct stmt *st);
MYSQL_STMT *stmt_handle(struct stmt *st);
MYSQL_BIND *stmt_binds(struct stmt *st, size_t *n);
enum err stmt_error(struct db *db, struct stmt *st, const struct db_stmt *s);
void stmt_bind(MYSQL_BIND *b, const struct db_arg *a);

#endif
