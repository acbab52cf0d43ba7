/*
 * Numbered migrations. DDL commits by itself, so an interrupted file is taken up where it stopped: the table `meta` holds
 * the number of the statement that is about to run, and only that one may find its work done already. Statements that
 * change rows commit together with their successor's number. A file that was applied must never change again.
 *
 * meta: schema = number of the newest applied file; file/NAME = its SHA-256; at = "NAME STATEMENT SHA256" while one is
 * being applied; grants = SHA-256 of what was granted to whom.
 */
#include "db/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"

#define FILE_LIMIT (1u << 20)
#define PATIENCE 3600 /* seconds that one statement of a migration may take */

/* --- the files ----------------------------------------------------------------------------------------------------- */

struct migration {
	unsigned number;
	char *name;
};

struct migrations {
	struct migration *list;
	size_t n, cap;
};

static void migrations_release(struct migrations *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->list[i].name);
	free(m->list);
}

static int by_number(const void *a, const void *b)
{
	unsigned x = ((const struct migration *)a)->number, y = ((const struct migration *)b)->number;

	return x < y ? -1 : x > y;
}

/* "0001-first.sql": four digits, a name. */
static bool number_of(const char *name, size_t len, unsigned *number)
{
	*number = 0;
	for (int i = 0; i < 4; i++) {
		if (name[i] < '0' || name[i] > '9')
			return false;
		*number = *number * 10 + (unsigned)(name[i] - '0');
	}
	return name[4] == '-' && len > 9 && len < 64 && *number;
}

static enum err migrations_read(struct migrations *m, const char *dir)
{
	DIR *d = opendir(dir);
	enum err e = ERR_OK;

	*m = (struct migrations){ 0 };
	if (!d)
		return err_sys(ERR_INPUT, "the directory of database migrations %s cannot be read", dir);
	for (struct dirent *de; !e && (errno = 0, de = readdir(d));) {
		size_t len = strlen(de->d_name);
		unsigned number;

		if (len < 4 || strcmp(de->d_name + len - 4, ".sql") || de->d_name[0] == '.')
			continue;
		if (!number_of(de->d_name, len, &number)) {
			e = err_set(ERR_INPUT, "%s/%s: a migration is named like 0001-first.sql", dir, de->d_name);
			break;
		}
		if (m->n == m->cap)
			m->list = mem_grow(m->list, &m->cap, m->n + 1, sizeof(*m->list));
		m->list[m->n++] = (struct migration){ number, mem_dup(de->d_name) };
	}
	if (!e && errno)
		e = err_sys(ERR_FAILED, "the directory of database migrations %s cannot be read", dir);
	closedir(d);
	if (m->n)
		qsort(m->list, m->n, sizeof(*m->list), by_number);
	for (size_t i = 0; !e && i < m->n; i++)
		if (m->list[i].number != i + 1)
			e = err_set(ERR_INPUT, "%s: migration %zu is missing or there twice (found %s)", dir, i + 1, m->list[i].name);
	if (!e && !m->n)
		e = err_set(ERR_INPUT, "%s holds no migrations", dir);
	if (e)
		migrations_release(m);
	return e;
}

/* The statements of a file without their comments, and what its "-- grant" lines say. */
struct script {
	char **statements;
	size_t n, cap;
	struct grant {
		char *table, *rights;
	} *grants;
	size_t n_grants, cap_grants;
	struct sha256 digest;
};

static void script_release(struct script *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->statements[i]);
	for (size_t i = 0; i < s->n_grants; i++) {
		free(s->grants[i].table);
		free(s->grants[i].rights);
	}
	free(s->statements);
	free(s->grants);
	*s = (struct script){ 0 };
}

/* The length of a line without its comment and the blanks before it. quote: the one that is open across lines. */
static size_t line_end(const char *line, size_t len, char *quote)
{
	size_t n = 0;

	for (; n < len; n++) {
		char c = line[n];

		if (*quote)
			*quote = c == *quote ? '\0' : *quote;
		else if (c == '\'' || c == '"' || c == '`')
			*quote = c;
		else if (c == '-' && n + 1 < len && line[n + 1] == '-' && (n + 2 == len || line[n + 2] == ' '))
			break;
	}
	while (!*quote && n && (line[n - 1] == ' ' || line[n - 1] == '\t' || line[n - 1] == '\r'))
		n--;
	return n;
}

/* The name behind "CREATE TABLE [IF NOT EXISTS] ", or NULL. */
static char *created_table(const char *sql)
{
	static const char create[] = "CREATE TABLE ", maybe[] = "IF NOT EXISTS ";

	if (strncmp(sql, create, sizeof(create) - 1))
		return NULL;
	sql += sizeof(create) - 1;
	if (!strncmp(sql, maybe, sizeof(maybe) - 1))
		sql += sizeof(maybe) - 1;
	return mem_dupn(sql, strspn(sql, "abcdefghijklmnopqrstuvwxyz_0123456789"));
}

/* "SELECT, INSERT": single rights on a table, by name. */
static bool rights_valid(const char *rights, size_t len)
{
	static const char *const known[] = { "SELECT", "INSERT", "UPDATE", "DELETE" };

	while (len) {
		size_t n = 0, i = 0;

		while (n < len && rights[n] != ',')
			n++;
		while (i < 4 && !(strlen(known[i]) == n && !memcmp(known[i], rights, n)))
			i++;
		if (i == 4)
			return false;
		if (n == len)
			return true;
		if (len - n < 3 || rights[n + 1] != ' ')
			return false;
		rights += n + 2;
		len -= n + 2;
	}
	return false;
}

static enum err grant_line(struct script *s, const char *name, const char *rights, size_t len)
{
	char *table = s->n ? created_table(s->statements[s->n - 1]) : NULL;
	enum err e = ERR_OK;

	if (!table || !*table)
		e = err_set(ERR_INPUT, "%s: a grant line must follow a CREATE TABLE", name);
	else if (!rights_valid(rights, len))
		e = err_set(ERR_INPUT, "%s: the grant line of %s is not a list of rights", name, table);
	if (e) {
		free(table);
		return e;
	}
	if (s->n_grants == s->cap_grants)
		s->grants = mem_grow(s->grants, &s->cap_grants, s->n_grants + 1, sizeof(*s->grants));
	s->grants[s->n_grants++] = (struct grant){ table, mem_dupn(rights, len) };
	return ERR_OK;
}

static void statement_add(struct script *s, struct buf *sql)
{
	if (s->n == s->cap)
		s->statements = mem_grow(s->statements, &s->cap, s->n + 1, sizeof(*s->statements));
	s->statements[s->n++] = mem_dup(buf_text(sql));
	buf_reset(sql);
}

static enum err script_parse(struct script *s, const char *name, const struct buf *text)
{
	static const char grant[] = "-- grant ";
	struct buf sql = BUF_INIT(FILE_LIMIT);
	const char *p = buf_text(text), *end = p + text->len;
	enum err e = ERR_OK;
	char quote = '\0';

	while (p < end && !e) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = nl ? (size_t)(nl - p) : (size_t)(end - p), n;

		if (!sql.len && len > sizeof(grant) - 1 && !memcmp(p, grant, sizeof(grant) - 1)) {
			e = grant_line(s, name, p + sizeof(grant) - 1, len - (sizeof(grant) - 1));
		} else if ((n = line_end(p, len, &quote)) > 0) {
			bool last = !quote && p[n - 1] == ';';

			if (sql.len)
				buf_char(&sql, '\n');
			buf_add(&sql, p, last ? n - 1 : n);
			if (last)
				statement_add(s, &sql);
		}
		p = nl ? nl + 1 : end;
	}
	if (!e && (sql.len || quote))
		e = err_set(ERR_INPUT, "%s: the last statement does not end with a semicolon", name);
	if (!e && memchr(buf_text(text), '\0', text->len))
		e = err_set(ERR_INPUT, "%s: a NUL byte", name);
	buf_release(&sql);
	return e;
}

static enum err script_read(struct script *s, const char *dir, const char *name)
{
	struct buf text = BUF_INIT(FILE_LIMIT);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e;

	*s = (struct script){ 0 };
	if (fd < 0)
		return err_sys(ERR_INPUT, "%s", dir);
	e = file_read(fd, name, &text);
	close(fd);
	if (!e) {
		sha256_of(&s->digest, buf_text(&text), text.len);
		e = script_parse(s, name, &text);
	} else {
		e = err_prefix(e, "%s", dir);
	}
	buf_release(&text);
	if (e)
		script_release(s);
	return e;
}

/* --- meta ---------------------------------------------------------------------------------------------------------- */

DB_STMT(META_GET, "meta_get", "SELECT v FROM meta WHERE k = ?");
/* "" if there is no such key. */
static enum err meta_get(struct db *db, const char *key, char *out, size_t size)
{
	struct cursor c;

	out[0] = '\0';
	cursor_open(&c, db, &META_GET, ARGS(a_name(key)));
	if (cursor_next(&c))
		snprintf(out, size, "%s", cursor_text(&c, 0));
	return cursor_close(&c);
}

DB_STMT(META_SET, "meta_set", "INSERT INTO meta (k, v) VALUES (?, ?) ON DUPLICATE KEY UPDATE v = VALUES(v)");
static enum err meta_set(struct db *db, const char *key, const char *value)
{
	return db_run(db, &META_SET, ARGS(a_name(key), a_name(value)), NULL);
}

DB_STMT(META_REMOVE, "meta_remove", "DELETE FROM meta WHERE k = ?");
static enum err meta_remove(struct db *db, const char *key)
{
	return db_run(db, &META_REMOVE, ARGS(a_name(key)), NULL);
}

enum err db_schema_version(struct db *db, unsigned *version)
{
	static const char sql[] = "SELECT v FROM meta WHERE k = 'schema'";
	MYSQL_RES *res;

	/* Not through a prepared statement: this runs while a connection is being made. */
	*version = 0;
	if (mysql_real_query(db->my, sql, sizeof(sql) - 1)) {
		if (mysql_errno(db->my) == ER_NO_SUCH_TABLE)
			return ERR_OK;
		return db_error(db, mysql_errno(db->my), mysql_error(db->my), "reading the schema version");
	}
	res = mysql_store_result(db->my);
	if (!res)
		return db_error(db, mysql_errno(db->my), mysql_error(db->my), "reading the schema version");
	MYSQL_ROW row = mysql_fetch_row(res);
	if (row && row[0])
		*version = (unsigned)strtoul(row[0], NULL, 10);
	mysql_free_result(res);
	return ERR_OK;
}

/* --- applying ------------------------------------------------------------------------------------------------------ */

/* What a statement says that was run already, by an attempt that ended before it could note so. */
static bool done_already(unsigned number)
{
	return number == ER_TABLE_EXISTS_ERROR || number == ER_DUP_FIELDNAME || number == ER_DUP_KEYNAME || number == ER_BAD_TABLE_ERROR ||
	    number == ER_CANT_DROP_FIELD_OR_KEY;
}

struct step {
	const char *name, *sql, *next; /* next: what `at` holds afterwards */
	bool again; /* an earlier attempt may have run it */
};

static enum err step_run(struct db *db, void *arg)
{
	const struct step *s = arg;

	if (mysql_real_query(db->my, s->sql, strlen(s->sql))) {
		unsigned number = mysql_errno(db->my);

		if (!s->again || !done_already(number))
			return db_error(db, number, mysql_error(db->my), s->name);
		log_event(LOG_LEVEL_INFO, "db.migration_step_done_before", "file", s->name, "answer", mysql_error(db->my), NULL);
	}
	MYSQL_RES *res = mysql_store_result(db->my);
	if (res)
		mysql_free_result(res);
	enum err e = ERR_OK;
	FAILPOINT_OR(e, migrate_statement_run);
	return e ? e : meta_set(db, "at", s->next);
}

struct finish {
	const struct migration *m;
	const char *digest;
};

static enum err finish_run(struct db *db, void *arg)
{
	const struct finish *f = arg;
	char key[80], number[16];
	enum err e;

	snprintf(key, sizeof(key), "file/%s", f->m->name);
	snprintf(number, sizeof(number), "%u", f->m->number);
	if ((e = meta_set(db, key, f->digest)) || (e = meta_set(db, "schema", number)))
		return e;
	FAILPOINT_OR(e, migrate_schema_noted);
	if (e)
		return e;
	return meta_remove(db, "at");
}

static enum err apply(struct db *db, const struct migration *m, const struct script *s)
{
	char digest[SHA256_HEX], at[256], at_name[64], at_digest[SHA256_HEX];
	unsigned first = 0;
	bool again = false;
	enum err e = meta_get(db, "at", at, sizeof(at));

	if (e)
		return e;
	hex_of(digest, s->digest.b, sizeof(s->digest.b));
	if (*at) {
		if (sscanf(at, "%63s %u %64s", at_name, &first, at_digest) != 3)
			return err_set(ERR_FAILED, "the note of the interrupted migration is damaged: '%s'", at);
		if (strcmp(at_name, m->name) || strcmp(at_digest, digest))
			return err_set(ERR_STALE, "migration %s was interrupted; its file is another one now: bring the old one back", at_name);
		again = true;
		log_event(LOG_LEVEL_INFO, "db.migration_resumed", "file", m->name, "statement", log_u64(first + 1), NULL);
	}
	snprintf(at, sizeof(at), "%s %u %s", m->name, first, digest);
	if (!again)
		e = meta_set(db, "at", at);
	FAILPOINT_OR(e, migrate_noted);
	if (e)
		return e;
	for (size_t i = first; i < s->n; i++) {
		struct step step = { m->name, s->statements[i], at, again && i == first };

		snprintf(at, sizeof(at), "%s %zu %s", m->name, i + 1, digest);
		e = tx_run(db, step_run, &step, NULL);
		FAILPOINT_OR(e, migrate_statement_noted);
		if (e)
			return err_prefix(e, "migration %s, statement %zu", m->name, i + 1);
	}
	struct finish f = { m, digest };
	e = tx_run(db, finish_run, &f, NULL);
	FAILPOINT_OR(e, migrate_file_done);
	if (!e)
		log_event(LOG_LEVEL_INFO, "db.migrated", "file", m->name, "schema", log_u64(m->number), NULL);
	return e;
}

/* --- grants -------------------------------------------------------------------------------------------------------- */

/* It goes into a GRANT, which cannot be prepared. */
static bool account_part_valid(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_.%-:", c)))
			return false;
	}
	return n && n < 128;
}

struct grants {
	struct buf sql; /* statements, one a line */
	char account[300];
	char database[130];
};

static void grants_add(struct grants *g, const char *rights, const char *table)
{
	buf_fmt(&g->sql, "GRANT %s ON `%s`.`%s` TO %s\n", rights, g->database, table, g->account);
}

static enum err grants_apply(struct db *db, struct grants *g)
{
	struct sha256 digest;
	char text[SHA256_HEX], have[SHA256_HEX];
	enum err e = buf_check(&g->sql);

	if (e)
		return e;
	sha256_of(&digest, g->sql.p, g->sql.len);
	hex_of(text, digest.b, sizeof(digest.b));
	e = meta_get(db, "grants", have, sizeof(have));
	if (e || !strcmp(have, text))
		return e;
	for (char *p = g->sql.p, *nl; (nl = strchr(p, '\n')); p = nl + 1) {
		*nl = '\0';
		e = db_plain(db, p, "granting the program its rights");
		FAILPOINT_OR(e, migrate_granted);
		if (e)
			return e;
	}
	return meta_set(db, "grants", text);
}

/* "user" is user@localhost; "user@host" as it says. */
static enum err account_text(struct grants *g, const struct db_address *a, const char *user)
{
	const char *at = strrchr(user, '@');
	size_t n = at ? (size_t)(at - user) : strlen(user);
	const char *host = at ? at + 1 : "localhost";

	if (!account_part_valid(user, n) || !account_part_valid(host, strlen(host)))
		return err_set(ERR_INPUT, "the name of the database account '%s' holds characters that DryDock does not handle", user);
	if (strcspn(a->name, "`\\\n") != strlen(a->name))
		return err_set(ERR_INPUT, "the name of the database '%s' holds characters that DryDock does not handle", a->name);
	snprintf(g->account, sizeof(g->account), "'%.*s'@'%s'", (int)n, user, host);
	snprintf(g->database, sizeof(g->database), "%s", a->name);
	return ERR_OK;
}

/* --- all of it ----------------------------------------------------------------------------------------------------- */

/* One at a time; the lock goes with the connection. */
static enum err take_lock(struct db *db)
{
	static const char sql[] = "SELECT GET_LOCK('drydock_migrate', 60)";
	bool got = false;
	MYSQL_RES *res;

	if (mysql_real_query(db->my, sql, sizeof(sql) - 1) || !(res = mysql_store_result(db->my)))
		return db_error(db, mysql_errno(db->my), mysql_error(db->my), "waiting for another migration");
	MYSQL_ROW row = mysql_fetch_row(res);
	if (row && row[0])
		got = row[0][0] == '1';
	mysql_free_result(res);
	return got ? ERR_OK : err_set(ERR_BUSY, "another program has been migrating this database for a minute");
}

static enum err migrate(struct db *db, const char *dir, const struct migrations *m, struct grants *g)
{
	unsigned have;
	enum err e = take_lock(db);

	FAILPOINT_OR(e, migrate_locked);
	if (!e)
		e = db_plain(db, "CREATE TABLE IF NOT EXISTS meta (k VARBINARY(64) NOT NULL PRIMARY KEY, v VARBINARY(1024) NOT NULL) ENGINE=InnoDB",
		    "creating the table meta");
	FAILPOINT_OR(e, migrate_meta);
	if (!e)
		e = db_schema_version(db, &have);
	if (!e && have > m->n)
		e = err_set(ERR_STALE, "the database's schema is number %u, this program knows only %zu: it was written by a newer DryDock", have, m->n);
	for (size_t i = 0; i < m->n && !e; i++) {
		char key[80], was[SHA256_HEX], is[SHA256_HEX];
		struct script s;

		e = script_read(&s, dir, m->list[i].name);
		if (e)
			break;
		if (i < have) {
			hex_of(is, s.digest.b, sizeof(s.digest.b));
			snprintf(key, sizeof(key), "file/%s", m->list[i].name);
			e = meta_get(db, key, was, sizeof(was));
			if (!e && strcmp(is, was))
				e = err_set(ERR_STALE, "migration %s is not the file that was applied to this database: a released one never changes", m->list[i].name);
		} else {
			e = apply(db, &m->list[i], &s);
		}
		for (size_t k = 0; k < s.n_grants && !e && g; k++)
			grants_add(g, s.grants[k].rights, s.grants[k].table);
		script_release(&s);
	}
	if (!e && g) {
		grants_add(g, "SELECT", "meta");
		e = grants_apply(db, g);
	}
	return e;
}

enum err db_migrate(struct db *owner, const char *dir, const char *program_user)
{
	struct grants g = { .sql = BUF_INIT(FILE_LIMIT) };
	bool same = !program_user || !strcmp(program_user, owner->address.user);
	unsigned patience = owner->read_timeout;
	struct migrations m;
	enum err e;

	if (!same && (e = account_text(&g, &owner->address, program_user)))
		return e;
	e = migrations_read(&m, dir);
	if (e)
		return e;
	/* A connection of its own, for its patience and its lock; and whatever schema is expected is about to change. */
	db_schema_expect(0);
	db_disconnect(owner);
	owner->read_timeout = PATIENCE;
	e = db_connect(owner);
	if (!e)
		e = migrate(owner, dir, &m, same ? NULL : &g);
	owner->read_timeout = patience;
	db_disconnect(owner);
	if (!e && same)
		log_event(LOG_LEVEL_WARN, "db.one_account", "message", "the program works with the account that owns the tables: nothing keeps it from changing records", NULL);
	buf_release(&g.sql);
	migrations_release(&m);
	return e;
}

DB_STMT(ENGINES, "schema_engines", "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() "
	"AND TABLE_TYPE = 'BASE TABLE' AND ENGINE <> 'InnoDB' LIMIT 1");
static enum err engines_check(struct db *db)
{
	struct cursor c;

	cursor_open(&c, db, &ENGINES, NULL, 0);
	if (cursor_next(&c))
		c.e = err_set(ERR_FAILED, "the table %s is not kept by InnoDB", cursor_text(&c, 0));
	return cursor_close(&c);
}

enum err db_schema_check(struct db *db, const char *dir)
{
	struct migrations m;
	unsigned have;
	enum err e = migrations_read(&m, dir);
	size_t want = m.n;

	if (e)
		return e;
	migrations_release(&m);
	db_schema_expect(0);
	e = db_connect(db);
	if (!e)
		e = db_schema_version(db, &have);
	if (e)
		return e;
	if (have > want)
		return err_set(ERR_STALE, "the database's schema is number %u, this program knows only %zu: it was written by a newer DryDock", have, want);
	if (have < want)
		return err_set(ERR_STALE, "the database's schema is number %u, this program needs %zu: it is an older DryDock's. Start the server anew with this version, "
		                          "which brings the database up to it", have, want);
	e = engines_check(db);
	if (!e)
		db_schema_expect(have);
	return e;
}
