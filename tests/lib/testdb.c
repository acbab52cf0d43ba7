#include "testdb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

int testdb_start_empty(struct testdb **out)
{
	struct testdb *t = mem_alloc(sizeof(*t));
	enum err e;

	snprintf(t->dir, sizeof(t->dir), "/tmp/drydock-testdb-XXXXXX");
	if (!mkdtemp(t->dir)) {
		perror(t->dir);
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
	private_db_stop(t->server, false);
	if (file_remove_tree(AT_FDCWD, t->dir))
		fprintf(stderr, "# testdb: %s\n", err_text());
	db_library_stop();
	free(t);
}
