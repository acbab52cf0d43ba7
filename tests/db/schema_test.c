/* Migrations, every statement, grants, and what lists cost. */
#include "testlib.h"

#include <glob.h>
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "db/internal.h"

#define SQL DRYDOCK_SRCDIR "/sql"

static struct testdb *t;

static int setup(void **state)
{
	int64_t from = clock_boot();

	(void)state;
	if (testdb_start(&t))
		return -1;
	printf("# installed, started and migrated in %lld ms\n", (long long)(clock_boot() - from) / 1000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	testdb_stop(t);
	return 0;
}

/* A value that the owner reads. */
static long long number(struct db *db, const char *sql)
{
	OK(db_ping(db));
	if (mysql_real_query(db->my, sql, strlen(sql)))
		fail_msg("%s: %s", sql, mysql_error(db->my));
	MYSQL_RES *res = mysql_store_result(db->my);
	assert_non_null(res);
	MYSQL_ROW row = mysql_fetch_row(res);
	long long v = row && row[0] ? atoll(row[0]) : -1;
	mysql_free_result(res);
	return v;
}

static void run_as(enum err want, struct db *db, const char *sql)
{
	OK(db_ping(db));
	GIVES(want, db_plain(db, sql, "test"));
}

static void every_statement_prepares(void **state)
{
	(void)state;
	struct db *db = testdb_connect(t), *owner = testdb_connect_owner(t);
	size_t n;
	const struct db_stmt *all = db_stmts(&n);

	printf("# %zu statements\n", n);
	assert_true(n >= 70);
	for (size_t i = 0; i < n; i++) {
		struct stmt *st = NULL;

		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(all[i].name, all[k].name);
		if (!strncmp(all[i].name, "meta_", 5) && strcmp(all[i].name, "meta_get"))
			continue; /* the owner's */
		/* Whole tables are for rebuild, which is the owner's. */
		struct db *who = strncmp(all[i].name, "table_", 6) ? db : owner;
		OK(stmt_get(who, &all[i], &st));
		stmt_put(who, st);
	}
	db_close(db);
	db_close(owner);
}

/* --- grants -------------------------------------------------------------------------------------------------------- */

/* "table right" lines, as the migrations say and as the server has them. */
static void grants_of_file(struct buf *out, const char *file)
{
	struct buf text = BUF_INIT(1 << 20);
	char table[64] = "";

	OK(file_read(AT_FDCWD, file, &text));
	for (char *line = text.p, *nl; line && *line; line = nl ? nl + 1 : NULL) {
		nl = strchr(line, '\n');
		if (nl)
			*nl = '\0';
		sscanf(line, "CREATE TABLE %63[a-z_]", table);
		if (strncmp(line, "-- grant ", 9))
			continue;
		for (char *right = line + 9; *right;) {
			size_t len = strcspn(right, ",");

			buf_fmt(out, "%s %.*s\n", table, (int)len, right);
			right += len + strspn(right + len, ", ");
		}
		table[0] = '\0';
	}
	buf_release(&text);
}

static void grants_of_files(struct buf *out)
{
	glob_t files;

	assert_int_equal(glob(SQL "/[0-9]*.sql", 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++)
		grants_of_file(out, files.gl_pathv[i]);
	globfree(&files);
	buf_str(out, "meta SELECT\n");
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *sorted_lines(struct buf *b)
{
	char *lines[500];
	size_t n = 0;
	struct buf out = BUF_INIT(1 << 20);

	for (char *p = b->p, *nl; (nl = strchr(p, '\n')); p = nl + 1) {
		*nl = '\0';
		assert_true(n < 500);
		lines[n++] = p;
	}
	qsort(lines, n, sizeof(*lines), by_text);
	for (size_t i = 0; i < n; i++)
		buf_fmt(&out, "%s\n", lines[i]);
	buf_release(b);
	return buf_take(&out, NULL);
}

static void grants_are_those_of_the_files(void **state)
{
	(void)state;
	static const char sql[] = "SELECT table_name, privilege_type FROM information_schema.table_privileges WHERE grantee = '''drydock_program''@''localhost'''";
	struct db *owner = testdb_connect_owner(t), *db = testdb_connect(t);
	struct buf want = BUF_INIT(1 << 20), have = BUF_INIT(1 << 20);

	grants_of_files(&want);
	assert_int_equal(mysql_real_query(owner->my, sql, sizeof(sql) - 1), 0);
	MYSQL_RES *res = mysql_store_result(owner->my);
	for (MYSQL_ROW row; (row = mysql_fetch_row(res));)
		buf_fmt(&have, "%s %s\n", row[0], row[1]);
	mysql_free_result(res);
	char *w = sorted_lines(&want), *h = sorted_lines(&have);
	assert_string_equal(w, h);
	free(w);
	free(h);
	assert_int_equal(number(owner, "SELECT COUNT(*) FROM information_schema.user_privileges WHERE grantee = '''drydock_program''@''localhost''' AND privilege_type <> 'USAGE'"), 0);
	assert_int_equal(number(owner, "SELECT COUNT(*) FROM information_schema.schema_privileges WHERE grantee = '''drydock_program''@''localhost'''"), 0);
	/* Records cannot be changed, nor anything that would lead there. */
	static const char *const refused[] = { "UPDATE record SET note = 'x'", "DELETE FROM record", "DELETE FROM record_file", "TRUNCATE record",
		"DROP TABLE record", "ALTER TABLE record ADD x INT", "CREATE TABLE x (y INT)", "UPDATE meta SET v = '0'", "DELETE FROM release_",
		"CREATE TRIGGER x BEFORE INSERT ON record FOR EACH ROW SET NEW.note = ''", "GRANT ALL ON record TO drydock_program@localhost",
		"REPLACE INTO record_dir VALUES ('a', 'b', 'c', 1, 1)", "SELECT * FROM mysql.global_priv", "SELECT LOAD_FILE('/etc/passwd')",
		"SET GLOBAL innodb_flush_log_at_trx_commit = 0", "INSERT INTO counter SELECT 1, 2, 3, 4, 5 INTO OUTFILE '/tmp/x'" };
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		if (strstr(refused[i], "LOAD_FILE"))
			assert_int_equal(number(db, refused[i]), -1);
		else
			run_as(ERR_FAILED, db, refused[i]);
	}
	db_close(owner);
	db_close(db);
}

/* --- migrating again, interrupted, changed, newer ------------------------------------------------------------------- */

struct place {
	char dir[300];
	struct db *db; /* the owner's, in a database of its own */
};

static void file_put(const struct place *p, const char *name, const char *text)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	OK(file_write(AT_FDCWD, path, text, strlen(text), 0600));
}

static void place_open(struct place *p, const char *name)
{
	struct buf first = BUF_INIT(1 << 20);
	struct db_address a = t->owner;
	char sql[200];

	snprintf(p->dir, sizeof(p->dir), "%s/%s", t->dir, name);
	OK(file_mkdirs(p->dir, 0700));
	OK(file_read(AT_FDCWD, SQL "/0001-first.sql", &first));
	file_put(p, "0001-first.sql", first.p);
	file_put(p, "README", "not a migration");
	buf_release(&first);
	snprintf(sql, sizeof(sql), "CREATE OR REPLACE DATABASE `%s`", name);
	struct db *db = testdb_connect_owner(t);
	run_as(ERR_OK, db, sql);
	db_close(db);
	snprintf(a.name, sizeof(a.name), "%s", name);
	db_schema_expect(0); /* another database than the one that was checked */
	OK(db_open(&p->db, &a));
	OK(db_ping(p->db));
}

static void place_close(struct place *p)
{
	db_close(p->db);
}

#define SECOND \
	"-- A comment; with a semicolon;\nCREATE TABLE extra ( -- another;\n  a INT NOT NULL PRIMARY KEY,\n  b VARBINARY(20) NOT NULL -- ';\n) ENGINE=InnoDB;\n" \
	"-- grant SELECT, DELETE\n\nINSERT INTO extra VALUES (1, 'a;\n-- b');\nINSERT INTO extra VALUES (2, '--c');\n" \
	"ALTER TABLE extra ADD COLUMN c INT NOT NULL DEFAULT 7;\nALTER TABLE extra ADD KEY by_c (c);\nUPDATE extra SET a = a + 10;\n"

static void check_second(struct place *p)
{
	unsigned v;

	OK(db_ping(p->db));
	OK(db_schema_version(p->db, &v));
	assert_int_equal(v, 2);
	assert_int_equal(number(p->db, "SELECT COUNT(*) FROM extra"), 2);
	assert_int_equal(number(p->db, "SELECT SUM(a) FROM extra"), 23);
	assert_int_equal(number(p->db, "SELECT b = 'a;\n-- b' FROM extra WHERE a = 11"), 1);
	assert_int_equal(number(p->db, "SELECT b = '--c' AND c = 7 FROM extra FORCE INDEX (by_c) WHERE a = 12"), 1);
	assert_int_equal(number(p->db, "SELECT COUNT(*) FROM meta WHERE k = 'at'"), 0);
	OK(db_schema_check(p->db, p->dir));
	db_schema_expect(0);
}

static void again_and_onwards(void **state)
{
	(void)state;
	struct place p;
	struct db *db;

	place_open(&p, "again");
	GIVES(ERR_STALE, db_schema_check(p.db, p.dir)); /* older: nothing yet */
	OK(db_migrate(p.db, p.dir, t->program.user));
	OK(db_migrate(p.db, p.dir, t->program.user));
	OK(db_schema_check(p.db, p.dir));
	file_put(&p, "0002-second.sql", SECOND);
	GIVES(ERR_STALE, db_schema_check(p.db, p.dir));
	OK(db_migrate(p.db, p.dir, t->program.user));
	check_second(&p);
	assert_int_equal(number(p.db, "SELECT COUNT(*) FROM information_schema.table_privileges WHERE table_schema = 'again' AND table_name = 'extra'"), 2);
	/* Another account gets its rights although nothing is to be migrated. */
	run_as(ERR_OK, p.db, "CREATE USER IF NOT EXISTS 'pro-2'@'10.%' IDENTIFIED BY 'x'");
	OK(db_migrate(p.db, p.dir, "pro-2@10.%"));
	assert_true(number(p.db, "SELECT COUNT(*) FROM information_schema.table_privileges WHERE grantee = '''pro-2''@''10.%'''") > 40);
	GIVES(ERR_INPUT, db_migrate(p.db, p.dir, "x'@'y"));
	/* A connection that is made later sees that the schema has moved on. */
	db_schema_expect(1);
	OK(db_open(&db, &p.db->address));
	GIVES(ERR_STALE, db_ping(db));
	db_schema_expect(0);
	OK(db_ping(db));
	db_close(db);
	place_close(&p);
}

/* The rows of a database from before path_key: the migration gives them the keys that the program asks for. */
static void keys_of_older_rows(void **state)
{
	(void)state;
	static const char *const paths[] = { "/top", "/a/b", "/a/b/c", "/a/b/c d/\xc3\xa4.html", "/ab/c" };
	struct place p;
	struct buf text = BUF_INIT(1 << 20);
	char sql[900];

	place_open(&p, "older");
	OK(db_migrate(p.db, p.dir, NULL));
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		snprintf(sql, sizeof(sql), "INSERT INTO file_state VALUES ('w', UNHEX(SHA2('%s', 256)), '%s', 1, REPEAT('m', 16), REPEAT('s', 32), 1, 0, "
			 "REPEAT('b', 20), '" NODE_A "', 1, 1, 'own:alice', 0, REPEAT('r', 32))", paths[i], paths[i]);
		run_as(ERR_OK, p.db, sql);
		snprintf(sql, sizeof(sql), "INSERT INTO record_file VALUES ('w', '" NODE_A "', 1, %zu, UNHEX(SHA2('%s', 256)), '%s', REPEAT('m', 16), "
			 "REPEAT('s', 32), 1, 0, 1, REPEAT('b', 20), 0)", i, paths[i], paths[i]);
		run_as(ERR_OK, p.db, sql);
	}
	OK(file_read(AT_FDCWD, SQL "/0004-path-keys.sql", &text));
	file_put(&p, "0002-path-keys.sql", text.p); /* alone behind the first */
	buf_release(&text);
	OK(db_migrate(p.db, p.dir, NULL));
	OK(db_ping(p.db));
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		struct path_key key;
		char hex[2 * PATH_KEY_SIZE + 1];

		path_key(P(paths[i]), &key);
		hex_of(hex, key.b, sizeof(key.b));
		snprintf(sql, sizeof(sql), "SELECT COUNT(*) FROM file_state NATURAL JOIN (SELECT site, path_key, ord FROM record_file) f "
			 "WHERE path_key = UNHEX('%s') AND path = '%s' AND ord = %zu", hex, paths[i], i);
		assert_int_equal(number(p.db, sql), 1);
	}
	place_close(&p);
}

static void a_changed_or_missing_file(void **state)
{
	(void)state;
	struct place p;

	place_open(&p, "changed");
	file_put(&p, "0002-second.sql", SECOND);
	OK(db_migrate(p.db, p.dir, NULL));
	file_put(&p, "0002-second.sql", SECOND "\n");
	GIVES(ERR_STALE, db_migrate(p.db, p.dir, NULL));
	assert_non_null(strstr(err_text(), "0002-second.sql"));
	file_put(&p, "0002-second.sql", SECOND);
	OK(db_migrate(p.db, p.dir, NULL));
	file_put(&p, "0004-gap.sql", "SELECT 1;\n");
	GIVES(ERR_INPUT, db_migrate(p.db, p.dir, NULL));
	file_put(&p, "4-name.sql", "SELECT 1;\n");
	GIVES(ERR_INPUT, db_migrate(p.db, p.dir, NULL));
	char name[400];
	snprintf(name, sizeof(name), "%s/4-name.sql", p.dir);
	unlink(name);
	snprintf(name, sizeof(name), "%s/0004-gap.sql", p.dir);
	unlink(name);
	snprintf(name, sizeof(name), "%s/0002-second.sql", p.dir);
	unlink(name);
	/* A program that is older than its database. */
	GIVES(ERR_STALE, db_migrate(p.db, p.dir, NULL));
	GIVES(ERR_STALE, db_schema_check(p.db, p.dir));
	GIVES(ERR_INPUT, db_migrate(p.db, "/nonexistent", NULL));
	GIVES(ERR_INPUT, db_schema_check(p.db, "/nonexistent"));
	GIVES(ERR_INPUT, db_migrate(p.db, t->dir, NULL)); /* none there */
	place_close(&p);
}

static void bad_files(void **state)
{
	(void)state;
	static const char *const bad[] = { "CREATE TABLE x (a INT PRIMARY KEY)\n", "SELECT 'open;\n", "SELECT 1;\n-- grant SELECT\n",
		"CREATE TABLE x (a INT PRIMARY KEY);\n-- grant ALL\n", "CREATE TABLE x (a INT PRIMARY KEY);\n-- grant SELECT, DROP\n",
		"CREATE TABLE x (a INT PRIMARY KEY);\n-- grant SELECT ON *.* TO y --\n" };
	struct place p;

	place_open(&p, "bad");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		file_put(&p, "0002-bad.sql", bad[i]);
		GIVES(ERR_INPUT, db_migrate(p.db, p.dir, t->program.user));
		OK(db_ping(p.db));
		assert_int_equal(number(p.db, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'bad' AND table_name = 'x'"), 0);
	}
	/* One that fails in the middle leaves a note, and goes on once the cause is gone. */
	file_put(&p, "0002-bad.sql", SECOND "INSERT INTO later VALUES (1);\n");
	GIVES(ERR_FAILED, db_migrate(p.db, p.dir, NULL));
	assert_non_null(strstr(err_text(), "0002-bad.sql, statement 7"));
	GIVES(ERR_FAILED, db_migrate(p.db, p.dir, NULL));
	run_as(ERR_OK, p.db, "CREATE TABLE later (a INT PRIMARY KEY)");
	OK(db_migrate(p.db, p.dir, NULL));
	check_second(&p);
	place_close(&p);
}

/* The same statements by hand, as a run that was interrupted in front of or behind each. */
static void interrupted(void **state)
{
	(void)state;
	static const char *const statements[] = { "CREATE TABLE extra (a INT NOT NULL PRIMARY KEY, b VARBINARY(20) NOT NULL) ENGINE=InnoDB",
		"INSERT INTO extra VALUES (1, 'a;\n-- b')", "INSERT INTO extra VALUES (2, '--c')", "ALTER TABLE extra ADD COLUMN c INT NOT NULL DEFAULT 7",
		"ALTER TABLE extra ADD KEY by_c (c)", "UPDATE extra SET a = a + 10" };
	struct sha256 digest;
	char hex[SHA256_HEX], sql[400];

	sha256_of(&digest, SECOND, strlen(SECOND));
	hex_of(hex, digest.b, sizeof(digest.b));
	for (size_t k = 0; k <= 6; k++) {
		for (int behind = 0; behind < 2; behind++) {
			struct place p;
			/* Rows are noted together with what they change: only DDL can be done without a note. */
			bool ddl = k == 0 || k == 3 || k == 4;

			if (behind && !ddl)
				continue;
			place_open(&p, "inter");
			OK(db_migrate(p.db, p.dir, NULL));
			OK(db_ping(p.db));
			for (size_t i = 0; i < k + (size_t)behind; i++)
				run_as(ERR_OK, p.db, statements[i]);
			snprintf(sql, sizeof(sql), "INSERT INTO meta VALUES ('at', '0002-second.sql %zu %s')", k, hex);
			run_as(ERR_OK, p.db, sql);
			file_put(&p, "0002-second.sql", SECOND "-- changed\n");
			GIVES(ERR_STALE, db_migrate(p.db, p.dir, NULL));
			file_put(&p, "0002-second.sql", SECOND);
			OK(db_migrate(p.db, p.dir, NULL));
			check_second(&p);
			snprintf(sql, sizeof(sql), "%s/0002-second.sql", p.dir);
			unlink(sql);
			place_close(&p);
		}
	}
}

static void an_unsafe_server_is_refused(void **state)
{
	(void)state;
	struct db *owner = testdb_connect_owner(t), *db;

	OK(db_open(&db, &t->program));
	run_as(ERR_OK, owner, "SET GLOBAL innodb_flush_log_at_trx_commit = 2");
	GIVES(ERR_FAILED, db_ping(db));
	assert_non_null(strstr(err_text(), "innodb_flush_log_at_trx_commit"));
	run_as(ERR_OK, owner, "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
	OK(db_ping(db));
	run_as(ERR_OK, owner, "CREATE TABLE memory_table (a INT PRIMARY KEY) ENGINE=Aria");
	GIVES(ERR_FAILED, db_schema_check(owner, SQL));
	assert_non_null(strstr(err_text(), "memory_table"));
	run_as(ERR_OK, owner, "DROP TABLE memory_table");
	OK(db_schema_check(owner, SQL));
	db_close(db);
	OK(db_open(&db, &t->program));
	snprintf(db->address.password, sizeof(db->address.password), "wrong");
	GIVES(ERR_DENIED, db_ping(db));
	snprintf(db->address.name, sizeof(db->address.name), "mysql");
	snprintf(db->address.password, sizeof(db->address.password), "%s", t->program.password);
	GIVES(ERR_DENIED, db_ping(db));
	assert_null(strstr(err_text(), t->program.password));
	db_close(db);
	snprintf(owner->address.name, sizeof(owner->address.name), "nothing_here");
	db_disconnect(owner);
	GIVES(ERR_NOT_FOUND, db_ping(owner));
	db_close(owner);
}

/* --- what a list costs --------------------------------------------------------------------------------------------- */

#define MANY 20000

static bool count_row(void *arg, const struct db_record_row *row)
{
	(void)row;
	++*(unsigned *)arg;
	return true;
}

/* Rows that the storage engine was asked for. */
static long long reads(struct db *db)
{
	return number(db, "SELECT SUM(variable_value) FROM information_schema.session_status WHERE variable_name LIKE 'Handler_read%'");
}

static void costs(struct db *db, struct db_record_query q, unsigned rows, long long most)
{
	unsigned n = 0;

	q.site = "cost";
	q.node = NODE_A;
	q.limit = 10;
	(void)reads(db); /* asking costs something itself */
	long long base = reads(db), again = reads(db), asking = again - base;
	OK(db_record_list(db, &q, count_row, &n));
	long long cost = reads(db) - again - asking;
	assert_int_equal(n, rows);
	if (cost > most)
		print_error("a list of %u rows read %lld (path %s, actor %s, act %s)\n", n, cost, q.path ? q.path->s : "-", q.actor ? q.actor : "-", q.act ? q.act : "-");
	assert_true(cost <= most);
}

static unsigned n_versions;

static bool count_version(void *arg, const struct db_version *v)
{
	(void)arg;
	assert_true(v->seq > 0);
	n_versions++;
	return true;
}

static bool count_run(void *arg, const struct db_run *run, const struct db_run_target *there)
{
	(void)run;
	(void)there;
	++*(unsigned *)arg;
	return true;
}

/* The runs of one target: the other targets, of which there may be many, are not read. */
static void runs_cost(struct db *db, const char *target, uint64_t before, unsigned rows, long long most)
{
	unsigned n = 0;

	(void)reads(db);
	long long base = reads(db), again = reads(db), asking = again - base;
	OK(db_run_of_target(db, "cost", target, before, 10, count_run, &n));
	long long cost = reads(db) - again - asking;
	assert_int_equal(n, rows);
	if (cost > most)
		print_error("%u runs of %s read %lld rows\n", n, target, cost);
	assert_true(cost <= most);
}

static void a_list_costs_what_it_shows(void **state)
{
	(void)state;
	struct db *owner = testdb_connect_owner(t), *db = testdb_connect(t);
	struct path file = P("/a/b"), dir = P("/a"), root = P("/");

	run_as(ERR_OK, owner, "INSERT INTO log_head VALUES ('cost', '" NODE_A "', 20000, '', '')");
	run_as(ERR_OK, owner, "INSERT INTO record SELECT 'cost', '" NODE_A "', seq, UNHEX(LPAD(HEX(seq), 32, '0')), IF(seq % 1000 = 0, 'revoke', 'sign'), seq * 1000, "
			      "IF(seq % 1000 = 7, 'own:rare', 'own:often'), '', 1, REPEAT('a', 32), REPEAT('c', 20), '{}' FROM seq_1_to_20000");
	run_as(ERR_OK, owner, "INSERT INTO record_file SELECT 'cost', '" NODE_A "', seq, 0, CONCAT(LEFT(UNHEX(SHA2(IF(seq % 100 = 0, '/a', '/x'), 256)), 4), LEFT(UNHEX(SHA2(IF(seq % 100 = 0, '/a', '/x'), 256)), 4), "
			      "UNHEX(SHA2(IF(seq % 100 = 0, '/a/b', CONCAT('/x/', seq)), 256))), "
			      "IF(seq % 100 = 0, '/a/b', CONCAT('/x/', seq)), REPEAT('m', 16), REPEAT('s', 32), 1, 0, 1, REPEAT('b', 20), 0 FROM seq_1_to_20000");
	run_as(ERR_OK, owner, "INSERT INTO record_dir SELECT 'cost', UNHEX(SHA2('/', 256)), '" NODE_A "', seq, 1 FROM seq_1_to_20000");
	run_as(ERR_OK, owner, "INSERT INTO record_dir SELECT 'cost', UNHEX(SHA2('/a', 256)), '" NODE_A "', seq * 100, 1 FROM seq_1_to_200");
	for (int k = 0; k < 2; k++) {
		uint64_t before = k ? 15000 : 0;

		costs(db, (struct db_record_query){ .before_seq = before }, 10, 40);
		costs(db, (struct db_record_query){ .before_seq = before, .path = &file }, 10, 60);
		costs(db, (struct db_record_query){ .before_seq = before, .path = &dir, .is_dir = true }, 10, 60);
		costs(db, (struct db_record_query){ .before_seq = before, .path = &root, .is_dir = true }, 10, 60);
		costs(db, (struct db_record_query){ .before_seq = before, .actor = "own:rare" }, 10, 80);
		costs(db, (struct db_record_query){ .before_seq = before, .actor = "own:often" }, 10, 80);
		costs(db, (struct db_record_query){ .before_seq = before, .actor = "own:nobody" }, 0, 80);
		costs(db, (struct db_record_query){ .before_seq = before, .act = "revoke" }, 10, 80);
		costs(db, (struct db_record_query){ .before_seq = before, .act = "sign" }, 10, 80);
	}
	/* A range of time costs what lies in it. */
	costs(db, (struct db_record_query){ .since = 5000000, .until = 5020000 }, 10, 120);
	costs(db, (struct db_record_query){ .since = 5000000, .until = 5005000 }, 5, 80);
	costs(db, (struct db_record_query){ .until = 20000 }, 10, 120);
	costs(db, (struct db_record_query){ .since = 19990000 }, 10, 120);
	costs(db, (struct db_record_query){ .since = 20001000 }, 0, 80);
	/* A rare act of a frequent person costs that person's index entries at the most. */
	costs(db, (struct db_record_query){ .actor = "own:rare", .act = "revoke" }, 0, 80);
	/* How files came to be what they are costs the acts on them. */
	struct path others[] = { P("/x/1"), P("/x/12345"), P("/x/19999"), P("/none") };
	n_versions = 0;
	long long base = reads(db), again = reads(db), asking = again - base;
	OK(db_record_versions(db, "cost", others, 4, count_version, NULL));
	long long cost = reads(db) - again - asking;
	assert_int_equal(n_versions, 3);
	if (cost > 40)
		print_error("the versions of 4 files read %lld\n", cost);
	assert_true(cost <= 40);
	run_as(ERR_OK, owner, "INSERT INTO run SELECT 'cost', seq, seq, 'quiet', '', '', seq, seq, 'ok', 0, 0, 0, '' FROM seq_1_to_20000");
	run_as(ERR_OK, owner, "INSERT INTO run_target SELECT 'cost', seq, 'often', 'active', seq, seq, 0, '' FROM seq_1_to_20000");
	run_as(ERR_OK, owner, "INSERT INTO run_target SELECT 'cost', seq, 'second', 'active', seq, seq, 0, '' FROM seq_1_to_20000");
	run_as(ERR_OK, owner, "INSERT INTO run_target SELECT 'cost', seq, 'rare', 'failed', seq, seq, 1, REPEAT('o', 1000) FROM seq_1_to_20000 WHERE seq % 1000 = 0");
	for (uint64_t before = 0; before <= 15000; before += 15000) {
		runs_cost(db, "often", before, 10, 40);
		runs_cost(db, "rare", before, 10, 40);
		runs_cost(db, "nowhere", before, 0, 5);
	}
	int64_t from = clock_boot();
	for (int i = 0; i < 100; i++)
		costs(db, (struct db_record_query){ .path = &file }, 10, 60);
	printf("# 100 times the history of a file, with the counting: %lld ms\n", (long long)(clock_boot() - from) / 1000);
	db_close(db);
	db_close(owner);
}

/* --- addresses ----------------------------------------------------------------------------------------------------- */

static void addresses(void **state)
{
	(void)state;
	struct db_address a;
	static const char *const bad[] = { "", "http://u@h/n", "mysql://", "mysql://u@h", "mysql://h/n", "mysql://@h/n", "mysql://u@/n", "mysql://u@h/",
		"mysql://u@h:0/n", "mysql://u@h:65536/n", "mysql://u@h:x/n", "mysql://u@h:/n", "mysql://u@h:-1/n", "mysql://u%zz@h/n", "mysql://u%0@h/n",
		"mysql://u%00@h/n", "mysql://u@[::1/n", "mysql://u@[::1]x/n", "mysql://u@h/n?x=1", "mysql://u@h/n?tls_verify=yes", "mysql://u@h/n?socket",
		"mysql://u@h/n?socket=/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"mysql://u@h/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn" };

	OK(db_address_parse(&a, "mysql://user:p%40ss%3aw@db.example.org:3307/name?tls_verify=1"));
	assert_string_equal(a.user, "user");
	assert_string_equal(a.password, "p@ss:w");
	assert_string_equal(a.host, "db.example.org");
	assert_string_equal(a.name, "name");
	assert_int_equal(a.port, 3307);
	assert_true(a.tls_verify);
	OK(db_address_parse(&a, "mariadb://u@[::1]/n"));
	assert_string_equal(a.host, "::1");
	assert_int_equal(a.port, 3306);
	assert_string_equal(a.password, "");
	OK(db_address_parse(&a, "mysql://u@localhost/n?socket=/run/x.sock&tls_verify=0"));
	assert_string_equal(a.socket, "/run/x.sock");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (db_address_parse(&a, bad[i]) != ERR_INPUT)
			fail_msg("accepted: %s", bad[i]);
	/* Nobody listens there. */
	struct db *db;
	OK(db_address_parse(&a, "mysql://u@127.0.0.1:1/n"));
	OK(db_open(&db, &a));
	GIVES(ERR_BUSY, db_ping(db));
	db_close(db);
}

/* --- whole tables --------------------------------------------------------------------------------------------------- */

static bool in_list(const char *list, const char *name)
{
	const size_t n = strlen(name);

	for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 2 : NULL)
		if (strcspn(p, ",") == n && strncmp(p, name, n) == 0)
			return true;
	return false;
}

/*
 * A table or a column that server/db/tables.def does not know would be neither checked by drydockd fsck nor made again by
 * drydockd rebuild. Whoever adds one says there what it is, and in server/check/replay_rows.c where its rows come from.
 */
static void every_table_and_column_is_accounted_for(void **state)
{
	(void)state;
	struct db *owner = testdb_connect_owner(t);
	static const char sql[] = "SELECT CONCAT(table_name, ' ', column_name) FROM information_schema.columns WHERE table_schema = DATABASE()";
	size_t in_schema = 0, in_list_n = 0;
	MYSQL_RES *res;
	MYSQL_ROW row;

	assert_int_equal(mysql_query(owner->my, sql), 0);
	res = mysql_store_result(owner->my);
	while ((row = mysql_fetch_row(res))) {
		char *column = strchr(row[0], ' ');
		int found = -1;

		*column++ = '\0';
		for (int id = 0; id < TABLE_COUNT; id++)
			if (!strcmp(db_tables[id].name, row[0]))
				found = id;
		if (found < 0)
			fail_msg("the table %s is not in server/db/tables.def", row[0]);
		if (db_tables[found].kind == TABLE_APART)
			continue;
		if (!in_list(db_tables[found].columns, column))
			fail_msg("the column %s.%s is not in server/db/tables.def", row[0], column);
		in_schema++;
	}
	mysql_free_result(res);
	for (int id = 0; id < TABLE_COUNT; id++) {
		if (db_tables[id].kind >= TABLE_KEPT)
			assert_true(strlen(db_tables[id].why) > 10);
		if (db_tables[id].kind == TABLE_APART)
			continue;
		in_list_n += db_table_columns((enum db_table_id)id);
		if (db_tables[id].kind == TABLE_KEPT)
			continue;
		assert_true(db_tables[id].n_key >= 1 && db_tables[id].n_key <= db_table_columns((enum db_table_id)id));
		assert_true(db_table_columns((enum db_table_id)id) <= TABLE_MOST_COLUMNS);
	}
	assert_int_equal(in_schema, in_list_n);
	db_close(owner);
}

/* Two sites never share a row, and two paths never a key: collations of text would take some for equal. */
static void sites_and_paths_are_kept_apart(void **state)
{
	(void)state;
	struct db *owner = testdb_connect_owner(t);

	/* Events and tokens are counted by themselves; a site is something that they may be about. */
	assert_int_equal(number(owner, "SELECT COUNT(*) FROM information_schema.columns c WHERE table_schema = DATABASE() AND column_name = 'site' "
		"AND table_name NOT IN ('event', 'token') AND NOT EXISTS (SELECT 1 FROM information_schema.statistics s WHERE s.table_schema = c.table_schema "
		"AND s.table_name = c.table_name AND s.index_name = 'PRIMARY' AND s.column_name = 'site')"), 0);
	/* Of the installation as a whole, and nothing else. */
	assert_int_equal(number(owner, "SELECT COUNT(DISTINCT table_name) FROM information_schema.columns c WHERE table_schema = DATABASE() AND table_name "
		"NOT IN ('account', 'counter', 'membership', 'meta', 'own_group', 'session') AND NOT EXISTS (SELECT 1 FROM information_schema.columns s "
		"WHERE s.table_schema = c.table_schema AND s.table_name = c.table_name AND s.column_name = 'site')"), 0);
	assert_int_equal(number(owner, "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND column_name LIKE '%path%' "
		"AND character_set_name IS NOT NULL"), 0);
	assert_true(number(owner, "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND column_name = 'path' AND data_type = 'varbinary'") > 3);
	db_close(owner);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_statement_prepares),
		cmocka_unit_test(grants_are_those_of_the_files),
		cmocka_unit_test(every_table_and_column_is_accounted_for),
		cmocka_unit_test(sites_and_paths_are_kept_apart),
		cmocka_unit_test(again_and_onwards),
		cmocka_unit_test(keys_of_older_rows),
		cmocka_unit_test(a_changed_or_missing_file),
		cmocka_unit_test(bad_files),
		cmocka_unit_test(interrupted),
		cmocka_unit_test(an_unsafe_server_is_refused),
		cmocka_unit_test(a_list_costs_what_it_shows),
		cmocka_unit_test(addresses),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
