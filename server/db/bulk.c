/*
 * One statement for many rows: a MariaDB server takes them as arrays in one message; for another server they go one by
 * one. Rows are collected up to a number of rows or bytes, then sent.
 */
#include "db/internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 2000
#define BYTES (1u << 20) /* well below any server's max_allowed_packet */

struct bulk {
	struct db *db;
	const struct db_stmt *what;
	struct stmt *st;
	struct arena *a; /* the bytes of the rows that wait */
	struct db_arg *args; /* row by row */
	size_t n_cols, n_rows, bytes, cap;
	enum err e;
};

struct bulk *bulk_open(struct db *db, const struct db_stmt *s)
{
	struct bulk *b = mem_alloc(sizeof(*b));

	b->db = db;
	b->what = s;
	b->e = stmt_get(db, s, &b->st);
	if (b->e)
		return b;
	(void)stmt_binds(b->st, &b->n_cols);
	b->a = arena_new();
	return b;
}

/* One column of all rows, the way the library wants it: numbers side by side, or pointers and lengths. */
static void column_bind(struct bulk *b, size_t column, MYSQL_BIND *bind)
{
	enum db_arg_kind kind = b->args[column].kind;

	memset(bind, 0, sizeof(*bind));
	if (kind == DB_U64 || kind == DB_I64) {
		uint64_t *v = arena_alloc(b->a, b->n_rows * sizeof(*v));

		for (size_t i = 0; i < b->n_rows; i++)
			v[i] = b->args[i * b->n_cols + column].u;
		bind->buffer_type = MYSQL_TYPE_LONGLONG;
		bind->is_unsigned = kind == DB_U64;
		bind->buffer = v;
		return;
	}
	const void **p = arena_alloc(b->a, b->n_rows * sizeof(*p));
	unsigned long *n = arena_alloc(b->a, b->n_rows * sizeof(*n));
	for (size_t i = 0; i < b->n_rows; i++) {
		p[i] = b->args[i * b->n_cols + column].p;
		n[i] = b->args[i * b->n_cols + column].n;
	}
	bind->buffer_type = kind == DB_TEXT ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
	bind->buffer = p;
	bind->length = n;
}

static void send_arrays(struct bulk *b)
{
	MYSQL_STMT *h = stmt_handle(b->st);
	unsigned rows = (unsigned)b->n_rows, none = 0;
	size_t n;
	MYSQL_BIND *binds = stmt_binds(b->st, &n);

	for (size_t c = 0; c < n; c++)
		column_bind(b, c, &binds[c]);
	if (mysql_stmt_attr_set(h, STMT_ATTR_ARRAY_SIZE, &rows) || mysql_stmt_bind_param(h, binds) || mysql_stmt_execute(h))
		b->e = stmt_error(b->db, b->st, b->what);
	/* The same statement may be run for one row next time. */
	if (mysql_stmt_attr_set(h, STMT_ATTR_ARRAY_SIZE, &none) && !b->e)
		b->e = stmt_error(b->db, b->st, b->what);
}

static void send_singly(struct bulk *b)
{
	MYSQL_STMT *h = stmt_handle(b->st);
	size_t n;
	MYSQL_BIND *binds = stmt_binds(b->st, &n);

	for (size_t i = 0; i < b->n_rows && !b->e; i++) {
		for (size_t c = 0; c < n; c++)
			stmt_bind(&binds[c], &b->args[i * n + c]);
		if (mysql_stmt_bind_param(h, binds) || mysql_stmt_execute(h))
			b->e = stmt_error(b->db, b->st, b->what);
	}
}

static void flush(struct bulk *b)
{
	if (b->e || !b->n_rows)
		return;
	if (b->db->is_mariadb && b->n_rows > 1)
		send_arrays(b);
	else
		send_singly(b);
	b->n_rows = b->bytes = 0;
	arena_reset(b->a);
}

void bulk_row(struct bulk *b, const struct db_arg *args, size_t n)
{
	if (b->e)
		return;
	if (n != b->n_cols) {
		b->e = err_set(ERR_FAILED, "%s: %zu arguments for %zu places", b->what->name, n, b->n_cols);
		return;
	}
	if ((b->n_rows + 1) * n > b->cap)
		b->args = mem_grow(b->args, &b->cap, (b->n_rows + 1) * n, sizeof(*b->args));
	struct db_arg *row = b->args + b->n_rows * n;
	for (size_t i = 0; i < n; i++) {
		if (args[i].kind != (b->n_rows ? b->args[i].kind : args[i].kind) || args[i].kind == DB_NULL) {
			b->e = err_set(ERR_FAILED, "%s: column %zu changes its kind", b->what->name, i);
			return;
		}
		row[i] = args[i];
		b->bytes += 16;
		if (args[i].kind == DB_TEXT || args[i].kind == DB_BYTES) {
			row[i].p = arena_dupn(b->a, args[i].p, args[i].n);
			b->bytes += args[i].n;
		}
	}
	b->n_rows++;
	if (b->n_rows == ROWS || b->bytes >= BYTES)
		flush(b);
}

enum err bulk_close(struct bulk *b)
{
	enum err e;

	flush(b);
	e = b->e;
	stmt_put(b->db, b->st);
	arena_free(b->a);
	free(b->args);
	free(b);
	return e;
}
