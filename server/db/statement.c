/* Prepared statements, their arguments, and the rows that come back. */
#include "db/internal.h"

#include <assert.h>
#include <errmsg.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define CELL_START 256 /* bytes; a cell grows to what a row needs */
#define CELL_KEEP 8192 /* and is given back past this: the output of a kit may have megabytes */

/* The linker sets these around the section. */
extern const struct db_stmt __start_drydock_sql[], __stop_drydock_sql[];

struct cell {
	char *p;
	size_t cap;
	unsigned long len;
	my_bool null, cut;
	bool number;
	uint64_t u;
};

struct stmt {
	MYSQL_STMT *h;
	MYSQL_BIND *in, *out;
	struct cell *cells;
	unsigned n_in, n_out;
	unsigned generation; /* of the connection */
	bool busy; /* in use: between stmt_get and stmt_put */
	bool loose; /* not in the cache (any more): stmt_put frees it */
};

const struct db_stmt *db_stmts(size_t *n)
{
	*n = (size_t)(__stop_drydock_sql - __start_drydock_sql);
	return __start_drydock_sql;
}

static void stmt_free(struct stmt *st)
{
	if (!st)
		return;
	if (st->h)
		mysql_stmt_close(st->h);
	for (unsigned i = 0; i < st->n_out; i++)
		free(st->cells[i].p);
	free(st->cells);
	free(st->in);
	free(st->out);
	free(st);
}

void db_cache_free(struct db *db)
{
	size_t n;

	(void)db_stmts(&n);
	for (size_t i = 0; i < n; i++) {
		/* One that a cursor further up still reads is freed by that cursor. */
		if (db->cache[i] && db->cache[i]->busy)
			db->cache[i]->loose = true;
		else
			stmt_free(db->cache[i]);
		db->cache[i] = NULL;
	}
}

static void cell_size(struct stmt *st, unsigned i, size_t cap)
{
	struct cell *cell = &st->cells[i];

	free(cell->p);
	cell->cap = cap;
	cell->p = mem_alloc(cap + 1);
	st->out[i].buffer = cell->p;
	st->out[i].buffer_length = cap;
}

static bool is_number(enum enum_field_types t)
{
	return t == MYSQL_TYPE_TINY || t == MYSQL_TYPE_SHORT || t == MYSQL_TYPE_INT24 || t == MYSQL_TYPE_LONG || t == MYSQL_TYPE_LONGLONG;
}

static enum err prepare(struct db *db, const struct db_stmt *s, struct stmt **out)
{
	struct stmt *st = mem_alloc(sizeof(*st));
	enum err e = ERR_OK;
	MYSQL_RES *meta = NULL;

	st->generation = db->generation;
	st->h = mysql_stmt_init(db->my);
	if (!st->h) {
		e = err_set(ERR_FAILED, "no memory for a statement");
		goto out;
	}
	if (mysql_stmt_prepare(st->h, s->sql, strlen(s->sql))) {
		e = stmt_error(db, st, s);
		goto out;
	}
	st->n_in = (unsigned)mysql_stmt_param_count(st->h);
	st->in = mem_array(st->n_in + 1, sizeof(*st->in));
	meta = mysql_stmt_result_metadata(st->h);
	if (!meta)
		goto out;
	st->n_out = mysql_num_fields(meta);
	st->cells = mem_array(st->n_out, sizeof(*st->cells));
	st->out = mem_array(st->n_out, sizeof(*st->out));
	for (unsigned i = 0; i < st->n_out; i++) {
		const MYSQL_FIELD *f = mysql_fetch_field_direct(meta, i);
		struct cell *c = &st->cells[i];
		MYSQL_BIND *b = &st->out[i];

		c->number = is_number(f->type);
		b->length = &c->len;
		b->is_null = &c->null;
		b->error = &c->cut;
		if (c->number) {
			b->buffer_type = MYSQL_TYPE_LONGLONG;
			b->buffer = &c->u;
			b->buffer_length = sizeof(c->u);
			b->is_unsigned = (f->flags & UNSIGNED_FLAG) != 0;
		} else {
			b->buffer_type = MYSQL_TYPE_BLOB;
			cell_size(st, i, CELL_START);
		}
	}
out:
	if (meta)
		mysql_free_result(meta);
	if (e)
		stmt_free(st);
	else
		*out = st;
	return e;
}

enum err stmt_get(struct db *db, const struct db_stmt *s, struct stmt **out)
{
	size_t at = (size_t)(s - __start_drydock_sql);
	enum err e;

	bulk_settle(db);
	if (db->streaming)
		return err_set(ERR_FAILED, "%s: the connection is still reading another answer", s->name);
	if (db->in_tx) {
		if (db->tx_error)
			return err_set(db->tx_error, "%s: the transaction has failed already", s->name);
	} else if ((e = db_connect(db))) {
		return e;
	}
	if (db->cache[at] && !db->cache[at]->busy) {
		*out = db->cache[at];
	} else {
		e = prepare(db, s, out);
		if (e)
			return e;
		if (db->cache[at])
			(*out)->loose = true;
		else
			db->cache[at] = *out;
	}
	(*out)->busy = true;
	return ERR_OK;
}

void stmt_put(struct db *db, struct stmt *st)
{
	if (!st)
		return;
	/* Reads and drops rows that are still on their way. */
	if (st->generation == db->generation && mysql_stmt_field_count(st->h) && mysql_stmt_free_result(st->h))
		db->lost = true;
	for (unsigned i = 0; i < st->n_out; i++)
		if (!st->cells[i].number && st->cells[i].cap > CELL_KEEP)
			cell_size(st, i, CELL_START);
	st->busy = false;
	if (st->loose)
		stmt_free(st);
}

MYSQL_STMT *stmt_handle(struct stmt *st)
{
	return st->h;
}

MYSQL_BIND *stmt_binds(struct stmt *st, size_t *n)
{
	*n = st->n_in;
	return st->in;
}

enum err stmt_error(struct db *db, struct stmt *st, const struct db_stmt *s)
{
	unsigned number = mysql_stmt_errno(st->h);

	if (number)
		return db_error(db, number, mysql_stmt_error(st->h), s->name);
	/* A row that did not come is an error of the connection only. */
	if (mysql_errno(db->my))
		return db_error(db, mysql_errno(db->my), mysql_error(db->my), s->name);
	return db_error(db, CR_SERVER_LOST, "the answer broke off", s->name);
}

struct db_arg a_text(const char *s)
{
	return (struct db_arg){ .kind = s ? DB_TEXT : DB_NULL, .p = s, .n = s ? strlen(s) : 0 };
}

struct db_arg a_name(const char *s)
{
	return (struct db_arg){ .kind = s ? DB_BYTES : DB_NULL, .p = s, .n = s ? strlen(s) : 0 };
}

struct db_arg a_bytes(const void *p, size_t n)
{
	return (struct db_arg){ .kind = DB_BYTES, .p = n ? p : "", .n = n };
}

struct db_arg a_cut(const char *s, size_t most)
{
	size_t n = s ? strlen(s) : 0;

	if (n > most) {
		n = most;
		for (int i = 0; i < 3 && n && ((unsigned char)s[n] & 0xc0) == 0x80; i++)
			n--;
	}
	return a_bytes(s, n);
}

/* The arguments outlive the execution: it is the caller's list. */
void stmt_bind(MYSQL_BIND *b, const struct db_arg *a)
{
	memset(b, 0, sizeof(*b));
	switch (a->kind) {
	case DB_NULL:
		b->buffer_type = MYSQL_TYPE_NULL;
		break;
	case DB_U64:
	case DB_I64:
		b->buffer_type = MYSQL_TYPE_LONGLONG;
		b->buffer = (void *)(uintptr_t)&a->u;
		b->is_unsigned = a->kind == DB_U64;
		break;
	case DB_TEXT:
	case DB_BYTES:
		/* A string has the connection's character set; a blob has none, as the VARBINARY it is compared with. */
		b->buffer_type = a->kind == DB_TEXT ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
		b->buffer = (void *)(uintptr_t)a->p;
		b->buffer_length = a->n;
		break;
	}
}

static enum err execute(struct db *db, const struct db_stmt *s, struct stmt *st, const struct db_arg *args, size_t n)
{
	if (n != st->n_in)
		return err_set(ERR_FAILED, "%s: %zu arguments for %u places", s->name, n, st->n_in);
	for (size_t i = 0; i < n; i++)
		stmt_bind(&st->in[i], &args[i]);
	if (n && mysql_stmt_bind_param(st->h, st->in))
		return stmt_error(db, st, s);
	if (mysql_stmt_execute(st->h))
		return stmt_error(db, st, s);
	return ERR_OK;
}

enum err db_run(struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n, uint64_t *affected)
{
	struct stmt *st;
	enum err e = stmt_get(db, s, &st);

	if (e)
		return e;
	e = execute(db, s, st, args, n);
	if (!e && affected)
		*affected = mysql_stmt_affected_rows(st->h);
	stmt_put(db, st);
	return e;
}

enum err db_run_found(struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n, const char *missing)
{
	uint64_t affected;
	enum err e = db_run(db, s, args, n, &affected);

	return !e && !affected ? err_set(ERR_NOT_FOUND, "%s", missing) : e;
}

/* --- rows ---------------------------------------------------------------------------------------------------------- */

static void open_cursor(struct cursor *c, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n, bool stream)
{
	*c = (struct cursor){ .db = db, .what = s };
	for (int i = 0; i < 2; i++) {
		c->e = stmt_get(db, s, &c->st);
		if (!c->e)
			c->e = execute(db, s, c->st, args, n);
		if (!c->e && mysql_stmt_bind_result(c->st->h, c->st->out))
			c->e = stmt_error(db, c->st, s);
		if (!c->e && !stream && mysql_stmt_store_result(c->st->h))
			c->e = stmt_error(db, c->st, s);
		if (!c->e)
			break;
		stmt_put(db, c->st);
		c->st = NULL;
		/* A read outside a transaction can simply be asked again on a new connection. */
		if (c->e != ERR_BUSY || !db->lost || db->in_tx)
			break;
	}
	db->streaming = !c->e && stream;
}

void cursor_open(struct cursor *c, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n)
{
	open_cursor(c, db, s, args, n, false);
}

void cursor_open_stream(struct cursor *c, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n)
{
	open_cursor(c, db, s, args, n, true);
}

/* A value that was longer than its cell: fetch it again into a larger one. */
static enum err widen(struct cursor *c, unsigned i)
{
	struct stmt *st = c->st;

	cell_size(st, i, st->cells[i].len);
	if (mysql_stmt_fetch_column(st->h, &st->out[i], i, 0))
		return stmt_error(c->db, st, c->what);
	return ERR_OK;
}

bool cursor_next(struct cursor *c)
{
	bool moved = false;

	if (c->e)
		return false;
	struct stmt *st = c->st;
	/* A callback made a new connection below us. The library would follow its pointer to the old one. */
	if (st->generation != c->db->generation) {
		c->e = err_set(ERR_BUSY, "%s: the connection to the database was lost while its answer was read", c->what->name);
		return false;
	}
	int rc = mysql_stmt_fetch(st->h);
	if (rc == MYSQL_NO_DATA)
		return false;
	if (rc && rc != MYSQL_DATA_TRUNCATED) {
		c->e = stmt_error(c->db, st, c->what);
		return false;
	}
	for (unsigned i = 0; i < st->n_out && !c->e; i++) {
		struct cell *cell = &st->cells[i];

		if (cell->number)
			continue;
		if (cell->null)
			cell->len = 0;
		if (cell->len > cell->cap) {
			c->e = widen(c, i);
			moved = true;
		}
		cell->p[cell->len < cell->cap ? cell->len : cell->cap] = '\0';
	}
	if (!c->e && moved && mysql_stmt_bind_result(st->h, st->out))
		c->e = stmt_error(c->db, st, c->what);
	if (!c->e)
		c->rows++;
	return !c->e;
}

enum err cursor_close(struct cursor *c)
{
	if (c->st) {
		stmt_put(c->db, c->st);
		if (c->db->streaming)
			c->db->streaming = false;
	}
	c->st = NULL;
	return c->e;
}

enum err cursor_close_found(struct cursor *c, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	enum err e = cursor_close(c);

	if (e || c->rows)
		return e;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(ERR_NOT_FOUND, "%s", text);
}

uint64_t cursor_u64(struct cursor *c, unsigned column)
{
	assert(column < c->st->n_out && c->st->cells[column].number);
	return c->st->cells[column].null ? 0 : c->st->cells[column].u;
}

int64_t cursor_i64(struct cursor *c, unsigned column)
{
	return (int64_t)cursor_u64(c, column);
}

const void *cursor_bytes(struct cursor *c, unsigned column, size_t *n)
{
	assert(column < c->st->n_out && !c->st->cells[column].number);
	*n = c->st->cells[column].len;
	return c->st->cells[column].p;
}

const char *cursor_text(struct cursor *c, unsigned column)
{
	size_t n;

	return cursor_bytes(c, column, &n);
}

void cursor_fixed(struct cursor *c, unsigned column, void *out, size_t n)
{
	size_t have;
	const void *p = cursor_bytes(c, column, &have);

	if (have == n) {
		memcpy(out, p, n);
		return;
	}
	memset(out, 0, n);
	if (!c->e)
		c->e = err_set(ERR_FAILED, "%s: column %u has %zu bytes instead of %zu: the table was damaged or edited", c->what->name, column, have, n);
}

void cursor_value(struct cursor *c, unsigned column, struct db_value *out)
{
	assert(column < c->st->n_out);
	*out = (struct db_value){ .number = c->st->cells[column].number };
	if (out->number)
		out->u = cursor_u64(c, column);
	else
		out->p = cursor_bytes(c, column, &out->n);
}

void cursor_path(struct cursor *c, unsigned column, struct path *out)
{
	size_t n;
	const char *p = cursor_bytes(c, column, &n);
	enum err e = strlen(p) == n ? path_check(out, p) : err_set(ERR_INPUT, "a NUL in a path");

	if (!e)
		return;
	*out = path_root();
	if (!c->e)
		c->e = err_prefix(ERR_FAILED, "%s: the table was damaged or edited", c->what->name);
}

/* --- many paths ------------------------------------------------------------------------------------------------------- */

#define FEW 8
#define MANY 256

enum err db_of_paths(struct db *db, const struct db_stmt *few, const struct db_stmt *many, const char *site, const struct path *paths, size_t n,
    enum err (*each)(struct cursor *c, void *arg, bool *stopped), void *arg)
{
	struct db_arg args[1 + MANY];
	struct path_key key[MANY];
	bool stopped = false;
	enum err e = ERR_OK;

	args[0] = a_name(site);
	for (size_t at = 0; at < n && !e && !stopped;) {
		size_t places = n - at > FEW ? MANY : FEW, have = n - at < places ? n - at : places;
		struct cursor c;

		/* Places that are left over ask for the last one again. */
		for (size_t i = 0; i < places; i++) {
			if (i < have)
				path_key(paths[at + i], &key[i]);
			args[1 + i] = a_fixed(&key[i < have ? i : have - 1]);
		}
		cursor_open(&c, db, places == FEW ? few : many, args, 1 + places);
		e = each(&c, arg, &stopped);
		at += have;
	}
	return e;
}
