/* The private MariaDB: installed, found again, started again, stopped; and what must not go wrong. */
#include "onedb.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "db/internal.h"

#define SQL DRYDOCK_SRCDIR "/sql"

static int unmounted(void **state)
{
	/* Left by a test that failed. */
	umount2(in_dir("full"), MNT_DETACH);
	return teardown(state);
}

static void works(void)
{
	struct db *db = testdb_connect(t);
	uint64_t v;

	OK(db_counter_next(db, "works", &v));
	db_close(db);
}

/* Again with the same directory; the address must stay the same. */
static void start_again(void)
{
	struct db_address a;

	OK(private_db_start(&t->server, t->dir, 40));
	private_db_program(t->server, &a);
	assert_string_equal(a.socket, t->program.socket);
	private_db_program(t->server, &t->program);
}

static void closed_to_others(void **state)
{
	(void)state;
	static const char *const names[] = { "", "db", "db.secret", "db.tmp", "db.log" };
	struct stat st;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		assert_int_equal(stat(in_dir(names[i]), &st), 0);
		assert_int_equal(st.st_mode & 077, 0);
	}
	struct db *owner = testdb_connect_owner(t);
	/* Nobody without a name, nobody without a password but the owner, no network. */
	const char *const sql[] = { "SELECT 1 FROM mysql.global_priv WHERE user = '' LIMIT 1",
		"SELECT 1 FROM mysql.global_priv WHERE user NOT IN ('root', 'mariadb.sys', 'drydock_program', SUBSTRING_INDEX(USER(), '@', 1)) LIMIT 1",
		"SELECT 1 FROM DUAL WHERE NOT @@skip_networking OR @@local_infile OR @@log_bin OR @@port <> 0 AND NOT @@skip_networking" };
	for (size_t i = 0; i < sizeof(sql) / sizeof(*sql); i++) {
		assert_int_equal(mysql_real_query(owner->my, sql[i], strlen(sql[i])), 0);
		MYSQL_RES *res = mysql_store_result(owner->my);
		if (mysql_num_rows(res))
			fail_msg("%s", sql[i]);
		mysql_free_result(res);
	}
	db_close(owner);
}

static void found_again(void **state)
{
	(void)state;
	pid_t pid = server_pid();

	/* The daemon was killed: the server is there, and is used. */
	private_db_stop(t->server, true);
	start_again();
	assert_int_equal(server_pid(), pid);
	OK(private_db_supervise(t->server));
	works();
	/* The same without its pid file. */
	private_db_stop(t->server, true);
	assert_int_equal(unlink(in_dir("db.pid")), 0);
	start_again();
	works();
	/* One that was found is stopped like one that was started. */
	private_db_stop(t->server, false);
	assert_int_equal(kill(pid, 0) == 0 && waitpid(pid, NULL, WNOHANG) == 0, 0);
	start_again();
	assert_int_not_equal(server_pid(), pid);
	works();
}

static void started_again(void **state)
{
	(void)state;
	pid_t pid = server_pid();

	OK(private_db_supervise(t->server));
	kill(pid, SIGKILL);
	int64_t from = clock_boot();
	/* Its end, its successor's start: each may take its time on a busy machine. */
	while (private_db_supervise(t->server) || server_pid() == pid) {
		assert_true(clock_boot() < from + 60 * CLOCK_SECOND);
		clock_sleep(CLOCK_SECOND / 100);
	}
	printf("# back after %lld ms\n", (long long)(clock_boot() - from) / 1000);
	works();
}

/* Where the machine has the memory; and no trouble if it is asked again. */
static void roomy(void **state)
{
	(void)state;
	struct db *owner = testdb_connect_owner(t), *fresh;
	static const char sql[] = "SELECT @@innodb_buffer_pool_size >> 20";

	OK(db_open(&fresh, &t->owner));
	private_db_roomy(fresh);
	private_db_roomy(fresh);
	assert_int_equal(mysql_real_query(owner->my, sql, strlen(sql)), 0);
	MYSQL_RES *res = mysql_store_result(owner->my);
	const bool small = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) < INT64_C(1) << 30;
	assert_int_equal(atoi(mysql_fetch_row(res)[0]), small ? 32 : 256);
	mysql_free_result(res);
	db_close(fresh);
	db_close(owner);
	works();
	/* The next one is as it was. */
	private_db_stop(t->server, false);
	start_again();
	works();
}

/* The data and the daemon are both gone without a good-bye; what lies about is from another life. */
static void leftovers(void **state)
{
	(void)state;
	char text[32];
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	private_db_stop(t->server, false);
	/* A pid file that names a living process which is none of ours, and a socket without a listener. */
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	OK(file_write(AT_FDCWD, in_dir("db.pid"), text, (size_t)n, 0600));
	unlink(t->program.socket);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", t->program.socket);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	/* An installation that was interrupted. */
	OK(file_mkdirs(in_dir("db.new-1234/mysql"), 0700));
	start_again();
	works();
	assert_int_not_equal(server_pid(), getpid());
}

/* --- the installer's temporary tables ------------------------------------------------------------------------------ */

struct installing {
	char dir[300];
	enum err e;
	atomic_bool done;
};

static void *install_there(void *arg)
{
	struct installing *in = arg;
	struct private_db *p;

	in->e = private_db_start(&p, in->dir, 10);
	if (in->e)
		print_error("%s\n", err_text());
	else
		private_db_stop(p, false);
	atomic_store(&in->done, true);
	return NULL;
}

/* Of the server that runs the installer's statements for that directory: has it been seen, and does it have arg? */
static void look_for(const char *datadir, const char *arg, bool *seen, bool *has)
{
	DIR *d = opendir("/proc");

	assert_non_null(d);
	for (struct dirent *de; (de = readdir(d));) {
		char name[300], line[8192];
		bool ours = false, bootstrap = false, with = false;

		if (de->d_name[0] < '1' || de->d_name[0] > '9')
			continue;
		snprintf(name, sizeof(name), "/proc/%s/cmdline", de->d_name);
		int fd = open(name, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
		if (fd >= 0)
			close(fd);
		if (n <= 0)
			continue;
		line[n] = '\0';
		for (char *p = line; p < line + n; p += strlen(p) + 1) {
			ours |= !strncmp(p, datadir, strlen(datadir));
			bootstrap |= !strcmp(p, "--bootstrap");
			with |= !strncmp(p, arg, strlen(arg));
		}
		*seen |= ours && bootstrap;
		*has |= ours && bootstrap && with;
	}
	closedir(d);
}

/*
 * A mariadbd that starts clears its place for temporary tables. Two that shared /tmp, of whatever directory, took away
 * each other's tables in the middle of an installation.
 */
static void installed_with_tables_of_its_own(void **state)
{
	(void)state;
	struct installing in = { .e = ERR_FAILED };
	char datadir[400], tmpdir[400];
	bool seen = false, has = false;
	pthread_t thread;
	struct stat st;

	snprintf(in.dir, sizeof(in.dir), "%s", in_dir("own"));
	snprintf(datadir, sizeof(datadir), "--datadir=%s/db.new-", in.dir);
	snprintf(tmpdir, sizeof(tmpdir), "--tmpdir=%s/db.new-", in.dir);
	assert_int_equal(pthread_create(&thread, NULL, install_there, &in), 0);
	while (!atomic_load(&in.done) && !has)
		look_for(datadir, tmpdir, &seen, &has);
	assert_int_equal(pthread_join(thread, NULL), 0);
	OK(in.e);
	assert_true(seen);
	assert_true(has);
	/* Nothing of it stays. */
	DIR *d = opendir(in.dir);
	assert_non_null(d);
	for (struct dirent *de; (de = readdir(d));)
		assert_true(strncmp(de->d_name, "db.new-", 7) != 0);
	closedir(d);
	assert_int_equal(stat(in_dir("own/db"), &st), 0);
	OK(file_remove_tree(AT_FDCWD, in.dir));
}

static void killed_while_it_starts(void **state)
{
	(void)state;
	/* A daemon that dies right after starting the server: the next one meets it half-way. */
	for (int ms = 0; ms <= 60; ms += 20) {
		private_db_stop(t->server, false);
		pid_t child = fork();
		assert_true(child >= 0);
		if (!child) {
			struct private_db *p;

			alarm(30);
			if (private_db_start(&p, t->dir, 40))
				_exit(1);
			pause();
		}
		clock_sleep(ms * 1000);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		start_again();
		works();
	}
}

static void lost_secret(void **state)
{
	(void)state;
	char old[256];

	memcpy(old, t->program.password, sizeof(old));
	private_db_stop(t->server, true);
	assert_int_equal(unlink(in_dir("db.secret")), 0);
	start_again();
	assert_string_not_equal(old, t->program.password);
	works();
	/* One that others can read is refused. */
	private_db_stop(t->server, true);
	assert_int_equal(chmod(in_dir("db.secret"), 0644), 0);
	GIVES(ERR_FAILED, private_db_start(&t->server, t->dir, 40));
	assert_non_null(strstr(err_text(), "chmod 600"));
	assert_int_equal(chmod(in_dir("db.secret"), 0600), 0);
	/* One that was cut. */
	assert_int_equal(truncate(in_dir("db.secret"), 10), 0);
	start_again();
	works();
}

static void other_versions(void **state)
{
	(void)state;
	struct buf text = BUF_INIT(200);

	/* Data of an older server: its system tables are upgraded, once. */
	private_db_stop(t->server, false);
	OK(file_write(AT_FDCWD, in_dir("db.version"), "10.6.1-MariaDB", 14, 0600));
	int64_t from = clock_boot();
	start_again();
	printf("# upgraded in %lld ms\n", (long long)(clock_boot() - from) / 1000);
	OK(file_read(AT_FDCWD, in_dir("db.version"), &text));
	assert_null(strstr(text.p, "10.6.1"));
	works();
	/* Of a newer one: a warning, and the file stays. */
	private_db_stop(t->server, true);
	OK(file_write(AT_FDCWD, in_dir("db.version"), "99.1.1-MariaDB", 14, 0600));
	start_again();
	works();
	buf_reset(&text);
	OK(file_read(AT_FDCWD, in_dir("db.version"), &text));
	assert_non_null(strstr(text.p, "99.1.1"));
	buf_release(&text);
}

static void bad_places(void **state)
{
	(void)state;
	struct private_db *p;
	char name[300];

	snprintf(name, sizeof(name), "%s/%0100d", t->dir, 0);
	GIVES(ERR_INPUT, private_db_start(&p, name, 40));
	assert_non_null(strstr(err_text(), "shorter --data"));
	/* A file where a directory should be. */
	OK(file_write(AT_FDCWD, in_dir("file"), "x", 1, 0600));
	GIVES(ERR_FAILED, private_db_start(&p, in_dir("file"), 40));
	GIVES(ERR_FAILED, private_db_start(&p, in_dir("file/below"), 40));
	/* Data that is none. */
	OK(file_mkdirs(in_dir("odd/db/mysql"), 0700));
	OK(file_write(AT_FDCWD, in_dir("odd/db/ibdata1"), "nonsense", 8, 0600));
	GIVES(ERR_FAILED, private_db_start(&p, in_dir("odd"), 40));
	assert_non_null(strstr(err_text(), "db.log"));
	printf("# %s\n", err_text());
}

/* As an ordinary user: a directory that he may not write. */
static void read_only_directory(void **state)
{
	(void)state;
	OK(file_mkdirs(in_dir("ro"), 0755));
	assert_int_equal(chmod(t->dir, 0755), 0);
	assert_int_equal(chmod(in_dir("ro"), 0555), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (!child) {
		struct private_db *p;

		if (geteuid() == 0 && setuid(65534))
			_exit(2);
		_exit(private_db_start(&p, in_dir("ro"), 40) == ERR_FAILED && strstr(err_text(), "ro/db") ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(chmod(t->dir, 0700), 0);
	assert_int_equal(chmod(in_dir("ro"), 0700), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

struct fill {
	struct db_state_row *rows;
	size_t n;
	struct db_run_target output;
};

static enum err fill(struct db *db, void *arg)
{
	const struct fill *f = arg;

	return f->n ? db_state_put(db, "full", NODE_A, f->rows, f->n) : db_run_target_put(db, "full", &f->output);
}

static unsigned rows_in(struct db *db, const char *sql)
{
	OK(db_ping(db));
	assert_int_equal(mysql_real_query(db->my, sql, strlen(sql)), 0);
	MYSQL_RES *res = mysql_store_result(db->my);
	unsigned n = (unsigned)atoi(mysql_fetch_row(res)[0]);
	mysql_free_result(res);
	return n;
}

/* Until the disk is full, which may even end the server (InnoDB gives up when it cannot undo); then somebody makes room. */
static void fill_up(struct private_db *p, struct db *db, struct fill *f, const char *count)
{
	char *ballast = mem_alloc(24u << 20);
	struct arena *a = arena_new();
	enum err e = ERR_OK;
	unsigned i = 0;

	random_bytes(ballast, 24u << 20);
	OK(file_write(AT_FDCWD, in_dir("full/ballast"), ballast, 24u << 20, 0600));
	free(ballast);
	for (; i < 5000 && !e; i++) {
		arena_reset(a);
		for (size_t k = 0; k < f->n; k++)
			f->rows[k] = (struct db_state_row){ .path = P(arena_printf(a, "/directory-%u/%0500zu", i, k)), .actor = "own:alice" };
		f->output.run = i + 1;
		e = tx_run(db, fill, f, NULL);
	}
	printf("# full after %u transactions: %s: %s\n", i, err_name(e), err_text());
	assert_int_equal(e, ERR_BUSY);
	/* Whatever is asked now is answered or refused, and the daemon stays. */
	for (int k = 0; k < 3; k++) {
		f->output.run = 100000;
		e = tx_run(db, fill, f, NULL);
		assert_true(e == ERR_OK || e == ERR_BUSY);
		if (private_db_supervise(p))
			printf("# supervise: %s\n", err_text());
	}
	assert_int_equal(unlink(in_dir("full/ballast")), 0);
	bool up = false;
	for (int k = 0; k < 100 && !up; k++) {
		up = !private_db_supervise(p) && !db_ping(db);
		if (!up)
			clock_sleep(CLOCK_SECOND / 5);
	}
	assert_true(up);
	/* Everything that was acknowledged, and nothing by halves. */
	unsigned rows = rows_in(db, count);
	unsigned each = f->n ? (unsigned)f->n : 1;
	assert_true(rows >= (i - 1) * each);
	assert_int_equal(rows % each, 0);
	OK(db_counter_next(db, "room", &(uint64_t){ 0 }));
	arena_free(a);
}

/* Become somebody who may mount, for himself alone: a user namespace in which he has the number that he has. */
static bool own_namespace(void)
{
	char map[64];
	int n = snprintf(map, sizeof(map), "%u %u 1\n", (unsigned)geteuid(), (unsigned)geteuid());
	gid_t gid = getegid();

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return false;
	FILE *f = fopen("/proc/self/uid_map", "w");
	bool ok = f && fwrite(map, (size_t)n, 1, f) == 1;
	ok = f && !fclose(f) && ok;
	f = fopen("/proc/self/setgroups", "w");
	ok = f && fputs("deny", f) >= 0 && ok;
	ok = f && !fclose(f) && ok;
	n = snprintf(map, sizeof(map), "%u %u 1\n", (unsigned)gid, (unsigned)gid);
	f = fopen("/proc/self/gid_map", "w");
	ok = f && fwrite(map, (size_t)n, 1, f) == 1 && ok;
	ok = f && !fclose(f) && ok;
	return ok && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static bool small_file_system(const char *where)
{
	static const char options[] = "size=192m";

	return !mount("drydock-test", where, "tmpfs", MS_NOSUID | MS_NODEV, options) ||
	    (errno == EPERM && own_namespace() && !mount("drydock-test", where, "tmpfs", MS_NOSUID | MS_NODEV, options));
}

/* Needs a file system of its own; where none can be had it says so, and fails in CI. */
static void full_disk(void **state)
{
	(void)state;
	struct fill small = { .n = 500 }, big = { .output = { .target = "t", .state = "ok", .output_len = 1u << 20 } };
	struct private_db *p = NULL;
	struct db_address a;
	char *output = mem_alloc(big.output.output_len);
	struct db *db;

	OK(file_mkdirs(in_dir("full"), 0700));
	if (!small_file_system(in_dir("full"))) {
		const char *ci = getenv("CI");

		printf("# full_disk: no file system of its own can be mounted here (%s): left out\n", strerror(errno));
		free(output);
		if (ci && !strcmp(ci, "true"))
			fail();
		return;
	}
	OK(private_db_start(&p, in_dir("full"), 40));
	private_db_owner(p, &a);
	OK(db_open(&db, &a));
	db_schema_expect(0);
	OK(db_migrate(db, SQL, NULL));
	small.rows = mem_array(small.n, sizeof(*small.rows));
	fill_up(p, db, &small, "SELECT COUNT(*) FROM file_state WHERE site = 'full'");
	OK(db_plain(db, "TRUNCATE TABLE file_state", "make room"));
	random_bytes(output, big.output.output_len);
	big.output.output = output;
	fill_up(p, db, &big, "SELECT COUNT(*) FROM run_target WHERE site = 'full'");
	db_close(db);
	private_db_stop(p, false);
	assert_int_equal(umount2(in_dir("full"), MNT_DETACH), 0);
	free(small.rows);
	free(output);
}

/* --- what it costs ------------------------------------------------------------------------------------------------- */

/* A number of /proc: resident kilobytes, or ticks of CPU. */
static long resident(pid_t pid)
{
	char name[64], line[256];
	long kb = -1;

	snprintf(name, sizeof(name), "/proc/%d/status", (int)pid);
	FILE *f = fopen(name, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "VmRSS: %ld", &kb);
	fclose(f);
	return kb;
}

static long ticks(pid_t pid)
{
	char name[64], line[1024];
	long user, sys;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	FILE *f = fopen(name, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	assert_int_equal(sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &sys), 2);
	return user + sys;
}

#define ROWS 120000

static void memory_and_idle_cpu(void **state)
{
	(void)state;
	struct db *db = testdb_connect(t);
	struct db_state_row *rows = mem_array(10000, sizeof(*rows));
	struct arena *a = arena_new();
	pid_t pid;

	/* A large site's worth of rows, from several connections. */
	for (int at = 0; at < ROWS; at += 10000) {
		arena_reset(a);
		for (int i = 0; i < 10000; i++)
			rows[i] = (struct db_state_row){ .path = P(arena_printf(a, "/usr/share/doc/part-%d/chapter-%d/page-%d.html", at % 7, i % 200, at + i)), .actor = "own:alice" };
		OK(db_state_put(db, "large", NODE_A, rows, 10000));
	}
	struct db *more[8];
	for (int i = 0; i < 8; i++) {
		more[i] = testdb_connect(t);
		OK(db_counter_next(more[i], "works", &(uint64_t){ 0 }));
	}
	pid = server_pid();
	long kb = resident(pid);
	for (int i = 0; i < 8; i++)
		db_close(more[i]);
	db_close(db);
	clock_sleep(CLOCK_SECOND);
	long before = ticks(pid);
	clock_sleep(3 * CLOCK_SECOND);
	long used = ticks(pid) - before;
	printf("# resident %ld MB with %d rows; %ld ticks of CPU in 3 idle seconds\n", kb / 1024, ROWS, used);
	assert_true(kb < 128 * 1024);
	/* Pages may still be on their way to the disk; it must come to rest. */
	for (int i = 0; used > 1 && i < 10; i++) {
		before = ticks(pid);
		clock_sleep(3 * CLOCK_SECOND);
		used = ticks(pid) - before;
		printf("# %ld ticks in the next 3 seconds\n", used);
	}
	assert_true(used <= 1);
	free(rows);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closed_to_others),
		cmocka_unit_test(found_again),
		cmocka_unit_test(started_again),
		cmocka_unit_test(roomy),
		cmocka_unit_test(leftovers),
		cmocka_unit_test(installed_with_tables_of_its_own),
		cmocka_unit_test(killed_while_it_starts),
		cmocka_unit_test(lost_secret),
		cmocka_unit_test(other_versions),
		cmocka_unit_test(bad_places),
		cmocka_unit_test(read_only_directory),
		cmocka_unit_test(memory_and_idle_cpu),
		cmocka_unit_test(full_disk), /* may change namespaces: the last one */
	};
	return cmocka_run_group_tests(tests, setup, unmounted);
}
