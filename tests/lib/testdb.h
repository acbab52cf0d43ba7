/*
 * testdb: a private MariaDB of its own for a test program, in a directory below /tmp that goes with it.
 *
 *	static int setup(void **state) { return testdb_start((struct testdb **)state); }
 *	static int teardown(void **state) { testdb_stop(*state); return 0; }
 */
#ifndef DRYDOCK_TESTS_TESTDB_H
#define DRYDOCK_TESTS_TESTDB_H

#include <sys/types.h>

#include "db/db.h"

struct testdb {
	char dir[96];
	struct private_db *server;
	struct db_address owner, program;
	pid_t guard; /* ends the server if the test crashes */
	int life_line;
};

/* Installed, started, migrated from sql/, and db_schema_check has passed. 0, or -1 with the reason on standard error. */
int testdb_start(struct testdb **out);
/* The same without any migration. */
int testdb_start_empty(struct testdb **out);
/* A connection as the program, or as the owner. The caller closes it. */
struct db *testdb_connect(const struct testdb *t);
struct db *testdb_connect_owner(const struct testdb *t);
void testdb_stop(struct testdb *t);

#endif
