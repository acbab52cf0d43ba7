/*
 * One statement for many rows: a MariaDB server takes them as arrays in one message; for another server they go one by
 * one. Rows are collected up to a number of rows or bytes, then sent by a thread beside the caller's, who collects the
 * next ones meanwhile. The last ones, which for a small act are all, the caller sends himself.
 */
#include "db/internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"

#define ROWS 2000
#define BYTES (1u << 20) /* well below any server's max_allowed_packet */

struct rows {
	struct arena *a; /* their bytes */
	struct db_arg *args; /* row by row */
	size_t n, bytes, cap;
};

struct bulk {
	struct db *db;
	const struct db_stmt *what;
	struct stmt *st;
	struct rows sets[2]; /* one is filled while the other is sent */
	unsigned filling;
	size_t n_cols;
	enum err e;
	struct pool_beside sender;
	bool sending; /* then connection, statement, the other set, sent and why are the sender's */
	enum err sent;
	char why[1024];
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
	b->sets[0].a = arena_new();
	return b;
}

/* One column of all rows, the way the library wants it: numbers side by side, or pointers and lengths. */
static void column_bind(const struct bulk *b, struct rows *r, size_t column, MYSQL_BIND *bind)
{
	enum db_arg_kind kind = r->args[column].kind;

	memset(bind, 0, sizeof(*bind));
	if (kind == DB_U64 || kind == DB_I64) {
		uint64_t *v = arena_alloc(r->a, r->n * sizeof(*v));

		for (size_t i = 0; i < r->n; i++)
			v[i] = r->args[i * b->n_cols + column].u;
		bind->buffer_type = MYSQL_TYPE_LONGLONG;
		bind->is_unsigned = kind == DB_U64;
		bind->buffer = v;
		return;
	}
	const void **p = arena_alloc(r->a, r->n * sizeof(*p));
	unsigned long *n = arena_alloc(r->a, r->n * sizeof(*n));
	for (size_t i = 0; i < r->n; i++) {
		p[i] = r->args[i * b->n_cols + column].p;
		n[i] = r->args[i * b->n_cols + column].n;
	}
	bind->buffer_type = kind == DB_TEXT ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
	bind->buffer = p;
	bind->length = n;
}

static enum err send_arrays(struct bulk *b, struct rows *r)
{
	MYSQL_STMT *h = stmt_handle(b->st);
	unsigned rows = (unsigned)r->n, none = 0;
	size_t n;
	MYSQL_BIND *binds = stmt_binds(b->st, &n);
	enum err e = ERR_OK;

	for (size_t c = 0; c < n; c++)
		column_bind(b, r, c, &binds[c]);
	if (mysql_stmt_attr_set(h, STMT_ATTR_ARRAY_SIZE, &rows) || mysql_stmt_bind_param(h, binds) || mysql_stmt_execute(h))
		e = stmt_error(b->db, b->st, b->what);
	/* The same statement may be run for one row next time. */
	if (mysql_stmt_attr_set(h, STMT_ATTR_ARRAY_SIZE, &none) && !e)
		e = stmt_error(b->db, b->st, b->what);
	return e;
}

static enum err send_singly(struct bulk *b, struct rows *r)
{
	MYSQL_STMT *h = stmt_handle(b->st);
	size_t n;
	MYSQL_BIND *binds = stmt_binds(b->st, &n);

	for (size_t i = 0; i < r->n; i++) {
		for (size_t c = 0; c < n; c++)
			stmt_bind(&binds[c], &r->args[i * n + c]);
		if (mysql_stmt_bind_param(h, binds) || mysql_stmt_execute(h))
			return stmt_error(b->db, b->st, b->what);
	}
	return ERR_OK;
}

static enum err send_rows(struct bulk *b, struct rows *r)
{
	enum err e = ERR_OK;

	if (r->n && b->db->in_tx && b->db->tx_error)
		e = err_set(b->db->tx_error, "%s: the transaction has failed already", b->what->name);
	else if (r->n)
		e = b->db->is_mariadb && r->n > 1 ? send_arrays(b, r) : send_singly(b, r);
	r->n = r->bytes = 0;
	arena_reset(r->a);
	return e;
}

/* The sender's thread: what it has to say is kept, since a sentence belongs to a thread. */
static void send_beside(void *arg)
{
	struct bulk *b = arg;

	b->sent = send_rows(b, &b->sets[1 - b->filling]);
	snprintf(b->why, sizeof(b->why), "%s", b->sent ? err_text() : "");
}

static void wait_sent(struct bulk *b)
{
	if (!b->sending)
		return;
	pool_beside_wait(&b->sender);
	b->sending = false;
	b->db->sender = NULL;
	if (b->sent && !b->e)
		b->e = err_set(b->sent, "%s", b->why);
}

void bulk_settle(struct db *db)
{
	if (db->sender)
		wait_sent(db->sender);
}

/* The set is full: send it, and fill the other one. */
static void turn(struct bulk *b)
{
	bulk_settle(b->db);
	if (b->e)
		return;
	b->filling = 1 - b->filling;
	if (!b->sets[b->filling].a)
		b->sets[b->filling].a = arena_new();
	b->sending = true;
	b->db->sender = b;
	pool_beside_start(&b->sender, send_beside, b);
}

void bulk_row(struct bulk *b, const struct db_arg *args, size_t n)
{
	struct rows *r = &b->sets[b->filling];

	if (b->e)
		return;
	if (n != b->n_cols) {
		b->e = err_set(ERR_FAILED, "%s: %zu arguments for %zu places", b->what->name, n, b->n_cols);
		return;
	}
	if ((r->n + 1) * n > r->cap)
		r->args = mem_grow(r->args, &r->cap, (r->n + 1) * n, sizeof(*r->args));
	struct db_arg *row = r->args + r->n * n;
	for (size_t i = 0; i < n; i++) {
		if (args[i].kind != (r->n ? r->args[i].kind : args[i].kind) || args[i].kind == DB_NULL) {
			b->e = err_set(ERR_FAILED, "%s: column %zu changes its kind", b->what->name, i);
			return;
		}
		row[i] = args[i];
		r->bytes += 16;
		if (args[i].kind == DB_TEXT || args[i].kind == DB_BYTES) {
			row[i].p = arena_dupn(r->a, args[i].p, args[i].n);
			r->bytes += args[i].n;
		}
	}
	r->n++;
	if (r->n == ROWS || r->bytes >= BYTES)
		turn(b);
}

enum err bulk_close(struct bulk *b)
{
	enum err e;

	bulk_settle(b->db);
	if (!b->e)
		b->e = send_rows(b, &b->sets[b->filling]);
	e = b->e;
	stmt_put(b->db, b->st);
	for (size_t i = 0; i < 2; i++) {
		arena_free(b->sets[i].a);
		free(b->sets[i].args);
	}
	free(b);
	return e;
}
