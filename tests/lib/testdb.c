#include "testdb.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

/*
 * A process that does nothing but wait for the end of this one: a test that crashes must not leave its server running.
 * The write end of the pipe is the life line; it is never written to.
 */
static int guard(struct testdb *t)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		return -1;
	t->guard = fork();
	if (t->guard < 0)
		return -1;
	if (t->guard) {
		close(fd[0]);
		t->life_line = fd[1];
		return 0;
	}
	char c, name[128];
	struct buf pid = BUF_INIT(32);
	close(fd[1]);
	setsid();
	while (read(fd[0], &c, 1) < 0 && errno == EINTR)
		;
	snprintf(name, sizeof(name), "%s/db.pid", t->dir);
	if (!file_read(AT_FDCWD, name, &pid)) {
		kill((pid_t)atoi(buf_text(&pid)), SIGKILL);
		clock_sleep(CLOCK_SECOND / 10);
	}
	_exit(file_remove_tree(AT_FDCWD, t->dir) ? 1 : 0);
}

int testdb_start_empty(struct testdb **out)
{
	struct testdb *t = mem_alloc(sizeof(*t));
	enum err e;

	snprintf(t->dir, sizeof(t->dir), "%s/drydock-testdb-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(t->dir)) {
		perror(t->dir);
		free(t);
		return -1;
	}
	if (guard(t)) {
		perror("guard");
		rmdir(t->dir);
		free(t);
		return -1;
	}
	e = db_library_start();
	if (!e)
		e = private_db_start(&t->server, t->dir, 40);
	if (e) {
		fprintf(stderr, "# testdb: %s\n", err_text());
		testdb_stop(t);
		return -1;
	}
	private_db_owner(t->server, &t->owner);
	private_db_program(t->server, &t->program);
	*out = t;
	return 0;
}

int testdb_start(struct testdb **out)
{
	struct testdb *t;
	struct db *db;
	enum err e;

	if (testdb_start_empty(&t))
		return -1;
	db = testdb_connect_owner(t);
	e = db_migrate(db, DRYDOCK_SRCDIR "/sql", t->program.user);
	if (!e)
		e = db_schema_check(db, DRYDOCK_SRCDIR "/sql");
	db_close(db);
	if (e) {
		fprintf(stderr, "# testdb: %s\n", err_text());
		testdb_stop(t);
		return -1;
	}
	*out = t;
	return 0;
}

static struct db *connect_as(const struct db_address *a)
{
	struct db *db;

	if (db_open(&db, a) || db_ping(db)) {
		fprintf(stderr, "# testdb: %s\n", err_text());
		abort();
	}
	return db;
}

struct db *testdb_connect(const struct testdb *t)
{
	return connect_as(&t->program);
}

struct db *testdb_connect_owner(const struct testdb *t)
{
	return connect_as(&t->owner);
}

void testdb_stop(struct testdb *t)
{
	/* A group's teardown is called after a setup that failed, too. */
	if (!t)
		return;
	private_db_stop(t->server, false);
	if (file_remove_tree(AT_FDCWD, t->dir))
		fprintf(stderr, "# testdb: %s\n", err_text());
	db_library_stop();
	close(t->life_line);
	waitpid(t->guard, NULL, 0);
	free(t);
}
