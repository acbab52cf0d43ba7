#include "base/failpoint.h"
#include "daemon/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"

#define PIECE ((size_t)1 << 20)
#define AT_ONCE ((size_t)64 << 10)
#define LINE_LIMIT ((size_t)40 << 20) /* a kit's output has megabytes, twice as many as hex */

/* --- files ------------------------------------------------------------------------------------------------------------- */

static enum err copy_bytes(int in, int out, const char *name, struct sha256 *sha256, uint64_t *size)
{
	struct sha256_stream *s = sha256_stream_new();
	char *piece = mem_alloc(PIECE);
	enum err e = ERR_OK;
	ssize_t n;

	*size = 0;
	while (!e && (n = read(in, piece, PIECE)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			e = err_sys(ERR_FAILED, "%s", name);
			break;
		}
		sha256_stream_add(s, piece, (size_t)n);
		*size += (uint64_t)n;
		if (out >= 0 && sys_write_all(out, piece, (size_t)n))
			e = err_sys(ERR_FAILED, "writing a copy of %s", name);
	}
	sha256_stream_end_free(s, sha256);
	free(piece);
	return e;
}

enum err copy_file(int from_dir, const char *from, int to_dir, const char *to, mode_t mode, struct sha256 *sha256, uint64_t *size)
{
	int in = openat(from_dir, from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), out = -1;
	struct stat st;
	enum err e = ERR_OK;

	if (in < 0)
		return err_sys(errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, "%s", from);
	if (fstat(in, &st) || !S_ISREG(st.st_mode))
		e = err_set(ERR_INPUT, "%s is not a regular file", from);
	if (!e && to_dir >= 0) {
		out = sys_open(to_dir, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
		if (out < 0 || sys_fchmod(out, mode))
			e = err_sys(ERR_FAILED, "%s", to);
	}
	if (!e)
		e = copy_bytes(in, out, from, sha256, size);
	if (out >= 0 && sys_close(out) && !e)
		e = err_sys(ERR_FAILED, "%s", to);
	sys_close(in);
	return e;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

struct writing {
	enum db_table_id id;
	int fd;
	struct buf text; /* lines, until there are enough of them to be written */
	enum err err;
};

static bool write_out(struct writing *w)
{
	if (w->text.over)
		w->err = err_set(ERR_TOO_BIG, "a row of the database is too long to be backed up");
	else if (w->text.len && sys_write_all(w->fd, w->text.p, w->text.len))
		w->err = err_sys(ERR_FAILED, "writing the dump of the database");
	buf_reset(&w->text);
	return !w->err;
}

static bool write_row(void *arg, const struct db_value *row)
{
	struct writing *w = arg;

	for (unsigned i = 0; i < db_table_columns(w->id); i++) {
		if (i)
			buf_char(&w->text, ' ');
		if (row[i].number) {
			buf_fmt(&w->text, "n%llu", (unsigned long long)row[i].u);
		} else {
			buf_char(&w->text, 'x');
			buf_hex(&w->text, row[i].p, row[i].n);
		}
	}
	buf_char(&w->text, '\n');
	return w->text.len < AT_ONCE && !w->text.over ? true : write_out(w);
}

enum err dump_write(struct db *db, int fd)
{
	struct writing w = { .fd = fd, .text = BUF_INIT(AT_ONCE + LINE_LIMIT) };
	enum err e = ERR_OK;

	for (int id = 0; id < TABLE_COUNT && !e && !w.err; id++) {
		if (db_tables[id].kind == TABLE_APART)
			continue;
		w.id = (enum db_table_id)id;
		buf_fmt(&w.text, "T %s %s\n", db_tables[id].name, db_tables[id].columns);
		/* Of tables of sites every site's rows: it is asked site by site. */
		e = db_table_rows_all(db, w.id, write_row, &w);
	}
	buf_str(&w.text, "END\n");
	if (!e && !w.err)
		write_out(&w);
	if (!e)
		e = w.err;
	buf_release(&w.text);
	return e;
}

/* --- reading ------------------------------------------------------------------------------------------------------------- */

struct reading {
	const char *file;
	struct db *db;
	struct db_fill *fill;
	int id; /* TABLE_COUNT: none yet */
	unsigned long line;
	bool any;
};

static enum err bad_line(const struct reading *r, const char *what)
{
	return err_set(ERR_INPUT, "%s, line %lu: %s", r->file, r->line, what);
}

static bool is_there(void *arg, const struct db_value *row)
{
	(void)row;
	*(bool *)arg = true;
	return false;
}

static enum err read_table(struct reading *r, char *line)
{
	char *columns = strchr(line + 2, ' ');
	enum err e;

	if (!columns)
		return bad_line(r, "not the name of a table and its columns");
	*columns++ = '\0';
	for (r->id = 0; r->id < TABLE_COUNT; r->id++)
		if (db_tables[r->id].columns && strcmp(db_tables[r->id].name, line + 2) == 0)
			break;
	if (r->id == TABLE_COUNT || strcmp(db_tables[r->id].columns, columns) != 0)
		return bad_line(r, "a table of another version of DryDock: restore with the version that made the backup");
	e = db_table_rows_all(r->db, (enum db_table_id)r->id, is_there, &r->any);
	if (!e && r->any)
		return err_set(ERR_STALE, "the database has rows already (%s): a backup is restored into an empty one", db_tables[r->id].name);
	if (!e)
		r->fill = db_fill_open(r->db, (enum db_table_id)r->id);
	return e;
}

/* In place: hex becomes bytes where it stands. */
static enum err read_row(struct reading *r, char *line)
{
	struct db_value row[TABLE_MOST_COLUMNS];
	const unsigned n = r->id < TABLE_COUNT ? db_table_columns((enum db_table_id)r->id) : 0;
	char *p = line;

	for (unsigned i = 0; i < n; i++) {
		char *end = p + strcspn(p, " ");
		const bool last = *end == '\0';

		if (last != (i == n - 1))
			return bad_line(r, "another number of columns");
		*end = '\0';
		row[i] = (struct db_value){ .number = *p == 'n' };
		if (*p == 'n') {
			char *stop;

			errno = 0;
			row[i].u = strtoull(p + 1, &stop, 10);
			if (errno || *stop || stop == p + 1)
				return bad_line(r, "not a number");
		} else {
			row[i].n = strlen(p + 1) / 2;
			row[i].p = p + 1;
			if (*p != 'x' || !hex_parse(p + 1, row[i].n, p + 1))
				return bad_line(r, "not a value");
		}
		p = end + 1;
	}
	if (!n)
		return bad_line(r, "a row before any table");
	db_fill_row(r->fill, row);
	return ERR_OK;
}

static enum err read_lines(struct db *db, void *arg)
{
	struct reading *r = arg;
	FILE *in = fopen(r->file, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = 0;
	bool ended = false;
	enum err e = ERR_OK, closed;

	*r = (struct reading){ .file = r->file, .db = db, .id = TABLE_COUNT };
	if (!in)
		return err_sys(ERR_FAILED, "%s", r->file);
	while (!e && !ended && (n = getline(&line, &cap, in)) > 0) {
		r->line++;
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		ended = strcmp(line, "END") == 0;
		if ((ended || strncmp(line, "T ", 2) == 0) && r->fill) {
			e = db_fill_close(r->fill);
			r->fill = NULL;
			FAILPOINT_OR(e, restore_table);
		}
		if (!e && !ended)
			e = strncmp(line, "T ", 2) == 0 ? read_table(r, line) : read_row(r, line);
	}
	if (!e && !ended)
		e = err_set(ERR_INPUT, "%s is cut short", r->file);
	if (r->fill) {
		closed = db_fill_close(r->fill);
		e = e ? e : closed;
	}
	free(line);
	fclose(in);
	return e;
}

enum err dump_read(struct db *owner, const char *file)
{
	struct reading r = { .file = file };

	return tx_run(owner, read_lines, &r, NULL);
}
