/* Records, the files and directories they name, and the lists of them. */
#include "db/internal.h"

#include <stdlib.h>
#include <string.h>

/* --- writing ------------------------------------------------------------------------------------------------------- */

struct insert {
	const struct record *r;
	const char *body;
	size_t body_len;
	const struct sha256 *digest;
	const struct blob_id *commit;
	const struct record_file *files;
	size_t n;
};

DB_STMT(INSERT_FILE, "record_file_insert", "INSERT INTO record_file "
	"(site, node, seq, ord, path_key, path, md5, sha256, size, exec, mtime, blob_id, replaces) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
static enum err insert_files(struct db *db, const struct insert *in)
{
	const struct record *r = in->r;
	struct bulk *b;

	if (!in->n)
		return ERR_OK;
	b = bulk_open(db, &INSERT_FILE);
	for (size_t i = 0; i < in->n; i++) {
		const struct record_file *f = &in->files[i];
		struct path_key key;

		path_key(f->path, &key);
		bulk_row(b, ARGS(a_name(r->site), a_text(r->node), a_u64(r->seq), a_u64(i), a_fixed(&key), a_path(f->path),
			    a_fixed(&f->print.md5), a_fixed(&f->print.sha256), a_u64(f->print.size), a_u64(f->print.exec), a_i64(f->mtime),
			    a_fixed(&f->blob), a_u64(f->replaces)));
	}
	return bulk_close(b);
}

/* The directories that are open while the sorted list is walked, from the root down: each a prefix of the next. */
struct open_dir {
	size_t len; /* of its path; the root has 0 here, so that len is always where a '/' follows */
	uint64_t files;
};

static void close_dir(const char *path, const struct open_dir *d, void (*fn)(void *arg, const struct sha256 *dir, uint64_t files), void *arg)
{
	struct path dir = d->len ? (struct path){ path, d->len } : path_root();
	struct sha256 hash;

	path_hash(dir, &hash);
	fn(arg, &hash, d->files);
}

/*
 * In path order the files of a directory stand together, so a directory can be closed as soon as a path comes that is
 * not below it.
 */
void db_record_dirs(const struct record_file *files, size_t n, void (*fn)(void *arg, const struct sha256 *dir, uint64_t files), void *arg)
{
	struct open_dir open[PATH_LIMIT / 2 + 1];
	size_t depth = 0;
	struct path last = { "", 0 };

	for (size_t i = 0; i < n; i++) {
		struct path p = files[i].path;

		while (depth && !(p.len > open[depth - 1].len && !memcmp(p.s, last.s, open[depth - 1].len) && p.s[open[depth - 1].len] == '/'))
			close_dir(last.s, &open[--depth], fn, arg);
		for (size_t at = depth ? open[depth - 1].len + 1 : 0; at < p.len; at++)
			if (p.s[at] == '/')
				open[depth++] = (struct open_dir){ .len = at };
		for (size_t d = 0; d < depth; d++)
			open[d].files++;
		last = p;
	}
	while (depth)
		close_dir(last.s, &open[--depth], fn, arg);
}

struct insert_dir {
	struct bulk *b;
	const struct record *r;
};

DB_STMT(INSERT_DIR, "record_dir_insert", "INSERT INTO record_dir (site, dir_hash, node, seq, files) VALUES (?, ?, ?, ?, ?)");
static void insert_dir(void *arg, const struct sha256 *dir, uint64_t files)
{
	const struct insert_dir *in = arg;

	bulk_row(in->b, ARGS(a_name(in->r->site), a_fixed(dir), a_text(in->r->node), a_u64(in->r->seq), a_u64(files)));
}

static enum err insert_dirs(struct db *db, const struct insert *in)
{
	struct insert_dir to = { .r = in->r };

	if (!in->n)
		return ERR_OK;
	to.b = bulk_open(db, &INSERT_DIR);
	db_record_dirs(in->files, in->n, insert_dir, &to);
	return bulk_close(to.b);
}

DB_STMT(INSERT, "record_insert", "INSERT INTO record "
	"(site, node, seq, op, act, at, actor, note, files_count, sha256, commit_id, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
static enum err insert(struct db *db, void *arg)
{
	const struct insert *in = arg;
	const struct record *r = in->r;
	enum err e = db_run(db, &INSERT,
	    ARGS(a_name(r->site), a_text(r->node), a_u64(r->seq), a_fixed(&r->op), a_text(r->act), a_i64(r->at), a_name(r->actor.user),
		a_text(r->note), a_u64(r->files_count), a_fixed(in->digest), a_fixed(in->commit), a_bytes(in->body, in->body_len)),
	    NULL);

	if (!e)
		e = insert_files(db, in);
	return e ? e : insert_dirs(db, in);
}

enum err db_record_insert(struct db *db, const struct record *r, const char *body, size_t body_len, const struct sha256 *digest,
    const struct blob_id *commit, const struct record_file *files, size_t n)
{
	struct insert in = { r, body, body_len, digest, commit, files, n };

	for (size_t i = 1; i < n; i++)
		if (path_compare(files[i - 1].path, files[i].path) >= 0)
			return err_set(ERR_FAILED, "the files of a record are not in path order at %s", files[i].path.s);
	return db_within(db, insert, &in);
}

/* --- reading one --------------------------------------------------------------------------------------------------- */

#define COLUMNS "r.node, r.seq, r.op, r.act, r.at, r.actor, r.note, r.files_count, r.sha256, r.commit_id, r.body"
#define N_COLUMNS 11

/* Borrowed from the cursor. */
static void row_read(struct cursor *c, struct db_record_row *row)
{
	memset(row, 0, sizeof(*row));
	row->node = cursor_text(c, 0);
	row->seq = cursor_u64(c, 1);
	cursor_fixed(c, 2, row->op.b, sizeof(row->op.b));
	row->act = cursor_text(c, 3);
	row->at = cursor_i64(c, 4);
	row->actor = cursor_text(c, 5);
	row->note = cursor_text(c, 6);
	row->files_count = row->files_here = cursor_u64(c, 7);
	cursor_fixed(c, 8, row->sha256.b, sizeof(row->sha256.b));
	cursor_fixed(c, 9, row->commit.b, sizeof(row->commit.b));
	row->body = cursor_bytes(c, 10, &row->body_len);
}

static void row_keep(struct db_record_row *row, struct arena *a)
{
	row->node = arena_dup(a, row->node);
	row->act = arena_dup(a, row->act);
	row->actor = arena_dup(a, row->actor);
	row->note = arena_dup(a, row->note);
	row->body = arena_dupn(a, row->body, row->body_len);
	if (row->file) {
		struct record_file *f = arena_alloc(a, sizeof(*f));

		*f = *row->file;
		f->path = path_copy(f->path, a);
		row->file = f;
	}
}

DB_STMT(GET, "record_get", "SELECT " COLUMNS " FROM record r WHERE r.site = ? AND r.node = ? AND r.seq = ?");
enum err db_record_get(struct db *db, const char *site, const char *node, uint64_t seq, struct db_record_row *out, struct arena *a)
{
	struct cursor c;

	memset(out, 0, sizeof(*out));
	cursor_open(&c, db, &GET, ARGS(a_name(site), a_text(node), a_u64(seq)));
	if (cursor_next(&c)) {
		row_read(&c, out);
		row_keep(out, a);
	}
	return cursor_close_found(&c, "there is no record %llu", (unsigned long long)seq);
}

/* --- lists --------------------------------------------------------------------------------------------------------- */

/*
 * A statement for each index that a list can walk, since the planner would not always find it: each costs what it shows,
 * or what it is filtered from. Where the index holds the filters, rows are chosen there and fetched afterwards.
 */
#define FILTERS " AND (? IS NULL OR r.actor = ?) AND (? IS NULL OR r.act = ?) AND (? IS NULL OR r.at >= ?) AND (? IS NULL OR r.at < ?)"
#define CHOSEN(index, where) \
	"SELECT " COLUMNS " FROM (SELECT r.site, r.node, r.seq FROM record r FORCE INDEX (" index ") " \
	"WHERE r.site = ? AND r.node = ? AND r.seq < ?" where FILTERS " ORDER BY r.seq DESC LIMIT ?) k " \
	"STRAIGHT_JOIN record r ON r.site = k.site AND r.node = k.node AND r.seq = k.seq ORDER BY k.seq DESC"

DB_STMT(LISTING, "record_list", "SELECT " COLUMNS " FROM record r FORCE INDEX (PRIMARY) "
	"WHERE r.site = ? AND r.node = ? AND r.seq < ?" FILTERS " ORDER BY r.seq DESC LIMIT ?");
DB_STMT(LIST_ACTOR, "record_list_actor", CHOSEN("by_actor", " AND r.actor = ?"));
DB_STMT(LIST_ACT, "record_list_act", CHOSEN("by_act", " AND r.act = ?"));
DB_STMT(LIST_TIME, "record_list_time", CHOSEN("by_time", " AND r.at >= ? AND r.at < ?"));
DB_STMT(LIST_FILE, "record_list_file", "SELECT " COLUMNS ", f.md5, f.sha256, f.size, f.exec, f.mtime, f.blob_id, f.replaces "
	"FROM record_file f FORCE INDEX (by_path) STRAIGHT_JOIN record r ON r.site = f.site AND r.node = f.node AND r.seq = f.seq "
	"WHERE f.site = ? AND f.node = ? AND f.seq < ? AND f.path_key = ?" FILTERS " ORDER BY f.seq DESC LIMIT ?");
DB_STMT(LIST_DIR, "record_list_dir", "SELECT " COLUMNS ", d.files "
	"FROM record_dir d FORCE INDEX (PRIMARY) STRAIGHT_JOIN record r ON r.site = d.site AND r.node = d.node AND r.seq = d.seq "
	"WHERE d.site = ? AND d.node = ? AND d.seq < ? AND d.dir_hash = ?" FILTERS " ORDER BY d.seq DESC LIMIT ?");

#define MOST_ARGS 16

static void file_read(struct cursor *c, unsigned first, struct record_file *f)
{
	cursor_fixed(c, first, f->print.md5.b, sizeof(f->print.md5.b));
	cursor_fixed(c, first + 1, f->print.sha256.b, sizeof(f->print.sha256.b));
	f->print.size = cursor_u64(c, first + 2);
	f->print.exec = cursor_u64(c, first + 3) != 0;
	f->mtime = cursor_i64(c, first + 4);
	cursor_fixed(c, first + 5, f->blob.b, sizeof(f->blob.b));
	f->replaces = cursor_u64(c, first + 6);
}

static struct db_arg optional_i64(int64_t v)
{
	return v ? a_i64(v) : (struct db_arg){ .kind = DB_NULL };
}

/* One node's records. *stopped: fn has seen enough. */
static enum err list_node(struct db *db, const struct db_record_query *q, const char *node, uint64_t before,
    bool (*fn)(void *arg, const struct db_record_row *row), void *arg)
{
	struct db_arg args[MOST_ARGS];
	const struct db_stmt *s = &LISTING;
	struct sha256 hash;
	struct path_key key;
	struct cursor c;
	size_t n = 0;

	args[n++] = a_name(q->site);
	args[n++] = a_text(node);
	args[n++] = a_u64(before);
	if (q->path && q->is_dir) {
		s = &LIST_DIR;
		path_hash(*q->path, &hash);
		args[n++] = a_fixed(&hash);
	} else if (q->path) {
		s = &LIST_FILE;
		path_key(*q->path, &key);
		args[n++] = a_fixed(&key);
	} else if (q->actor) {
		s = &LIST_ACTOR;
		args[n++] = a_name(q->actor);
	} else if (q->act) {
		s = &LIST_ACT;
		args[n++] = a_text(q->act);
	} else if (q->since || q->until) {
		s = &LIST_TIME;
		args[n++] = a_i64(q->since);
		args[n++] = a_i64(q->until ? q->until : INT64_MAX);
	}
	args[n++] = a_name(q->actor);
	args[n++] = a_name(q->actor);
	args[n++] = a_text(q->act);
	args[n++] = a_text(q->act);
	args[n++] = optional_i64(q->since);
	args[n++] = optional_i64(q->since);
	args[n++] = optional_i64(q->until);
	args[n++] = optional_i64(q->until);
	args[n++] = a_u64(q->limit);
	cursor_open(&c, db, s, args, n);
	while (cursor_next(&c)) {
		struct db_record_row row;
		struct record_file f;

		row_read(&c, &row);
		if (s == &LIST_DIR) {
			row.files_here = cursor_u64(&c, N_COLUMNS);
		} else if (s == &LIST_FILE) {
			f.path = *q->path;
			file_read(&c, N_COLUMNS, &f);
			row.file = &f;
			row.files_here = 1;
		}
		if (c.e || !fn(arg, &row))
			break;
	}
	return cursor_close(&c);
}

struct many {
	struct arena *a;
	struct db_record_row *rows;
	size_t n, cap;
};

static bool many_add(void *arg, const struct db_record_row *row)
{
	struct many *m = arg;

	if (m->n == m->cap)
		m->rows = mem_grow(m->rows, &m->cap, m->n + 1, sizeof(*m->rows));
	m->rows[m->n] = *row;
	row_keep(&m->rows[m->n++], m->a);
	return true;
}

static int newest_first(const void *a, const void *b)
{
	const struct db_record_row *x = a, *y = b;

	if (x->seq != y->seq)
		return x->seq > y->seq ? -1 : 1;
	return strcmp(x->node, y->node);
}

DB_STMT(NODES, "record_nodes", "SELECT node FROM log_head WHERE site = ? ORDER BY node");
enum err db_record_list(struct db *db, const struct db_record_query *q, bool (*fn)(void *arg, const struct db_record_row *row), void *arg)
{
	uint64_t before = q->before_seq ? q->before_seq : UINT64_MAX;
	struct many m = { 0 };
	struct cursor c;
	enum err e = ERR_OK;

	if (q->limit < 1 || q->limit > 1000)
		return err_set(ERR_INPUT, "a list of records has 1 to 1000 of them");
	if (q->node)
		return list_node(db, q, q->node, before, fn, arg);
	/* Few nodes ever wrote one site: the newest of each, merged. */
	m.a = arena_new();
	cursor_open(&c, db, &NODES, ARGS(a_name(q->site)));
	while (!e && cursor_next(&c)) {
		const char *node = cursor_text(&c, 0);
		/* The cursor's own sequence number is still to come from the nodes behind it. */
		bool more = q->before_node && before < UINT64_MAX && strcmp(node, q->before_node) > 0;

		e = list_node(db, q, node, more ? before + 1 : before, many_add, &m);
	}
	if (!e)
		e = cursor_close(&c);
	else if (cursor_close(&c))
		e = c.e;
	if (m.n)
		qsort(m.rows, m.n, sizeof(*m.rows), newest_first);
	for (size_t i = 0; !e && i < m.n && i < q->limit; i++)
		if (!fn(arg, &m.rows[i]))
			break;
	free(m.rows);
	arena_free(m.a);
	return e;
}

/* --- the files of a record ----------------------------------------------------------------------------------------- */

#define FILE_COLUMNS "f.md5, f.sha256, f.size, f.exec, f.mtime, f.blob_id, f.replaces"

DB_STMT(FILE_ORD, "record_file_ord", "SELECT ord FROM record_file WHERE site = ? AND path_key = ? AND node = ? AND seq = ?");
static enum err file_ord(struct db *db, const char *site, const char *node, uint64_t seq, struct path path, uint64_t *ord)
{
	struct path_key key;
	struct cursor c;

	path_key(path, &key);
	cursor_open(&c, db, &FILE_ORD, ARGS(a_name(site), a_fixed(&key), a_text(node), a_u64(seq)));
	if (cursor_next(&c))
		*ord = cursor_u64(&c, 0);
	return cursor_close_found(&c, "record %llu does not name that file", (unsigned long long)seq);
}

/* Where the list goes on after a path, which need not be one of the record. */
DB_STMT(FILE_AFTER, "record_file_after",
	"SELECT ord FROM record_file FORCE INDEX (PRIMARY) WHERE site = ? AND node = ? AND seq = ? AND path > ? ORDER BY ord LIMIT 1");
static enum err first_after(struct db *db, const char *site, const char *node, uint64_t seq, const char *after, uint64_t *first)
{
	struct path path = { after, strlen(after) };
	struct cursor c;
	enum err e = file_ord(db, site, node, seq, path, first);

	if (e != ERR_NOT_FOUND) {
		*first = e ? 0 : *first + 1;
		return e;
	}
	*first = UINT32_MAX; /* behind the last one */
	cursor_open(&c, db, &FILE_AFTER, ARGS(a_name(site), a_text(node), a_u64(seq), a_path(path)));
	if (cursor_next(&c))
		*first = cursor_u64(&c, 0);
	return cursor_close(&c);
}

DB_STMT(FILES, "record_files", "SELECT " FILE_COLUMNS ", f.path FROM record_file f FORCE INDEX (PRIMARY) "
	"WHERE f.site = ? AND f.node = ? AND f.seq = ? AND f.ord >= ? ORDER BY f.ord LIMIT ?");
enum err db_record_files(struct db *db, const char *site, const char *node, uint64_t seq, const char *after, unsigned limit,
    bool (*fn)(void *arg, const struct record_file *f), void *arg)
{
	uint64_t first = 0;
	struct cursor c;

	if (after) {
		enum err e = first_after(db, site, node, seq, after, &first);
		if (e)
			return e;
	}
	cursor_open(&c, db, &FILES, ARGS(a_name(site), a_text(node), a_u64(seq), a_u64(first), a_u64(limit)));
	while (cursor_next(&c)) {
		struct record_file f;

		file_read(&c, 0, &f);
		cursor_path(&c, 7, &f.path);
		if (c.e || !fn(arg, &f))
			break;
	}
	return cursor_close(&c);
}

/* --- the versions of many files ------------------------------------------------------------------------------------ */

#define VERSION_ROWS(places) "SELECT f.path, f.node, f.seq, f.blob_id, f.exec, r.act, r.at FROM record_file f FORCE INDEX (by_path) " \
	"STRAIGHT_JOIN record r ON r.site = f.site AND r.node = f.node AND r.seq = f.seq " \
	"WHERE f.site = ? AND f.path_key IN (" places ") ORDER BY f.path_key, f.node, f.seq"
DB_STMT(VERSIONS_FEW, "record_versions_few", VERSION_ROWS(DB_P8));
DB_STMT(VERSIONS_MANY, "record_versions_many", VERSION_ROWS(DB_P256));

struct versions {
	bool (*fn)(void *arg, const struct db_version *v);
	void *arg;
};

static enum err each_version(struct cursor *c, void *arg, bool *stopped)
{
	const struct versions *to = arg;

	while (cursor_next(c)) {
		struct db_version v;

		cursor_path(c, 0, &v.path);
		v.node = cursor_text(c, 1);
		v.seq = cursor_u64(c, 2);
		cursor_fixed(c, 3, v.blob.b, sizeof(v.blob.b));
		v.exec = cursor_u64(c, 4) != 0;
		v.act = cursor_text(c, 5);
		v.at = cursor_i64(c, 6);
		if (c->e)
			break;
		if (!to->fn(to->arg, &v)) {
			*stopped = true;
			break;
		}
	}
	return cursor_close(c);
}

enum err db_record_versions(struct db *db, const char *site, const struct path *paths, size_t n, bool (*fn)(void *arg, const struct db_version *v), void *arg)
{
	return db_of_paths(db, &VERSIONS_FEW, &VERSIONS_MANY, site, paths, n, each_version, &(struct versions){ fn, arg });
}
