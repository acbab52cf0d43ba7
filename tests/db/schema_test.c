/* Migrations, every statement, grants: against a private MariaDB of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "db/internal.h"
#include "testdb.h"

#define SQL DRYDOCK_SRCDIR "/sql"
#define OK(call) \
	do { \
		enum err e_ = (call); \
		if (e_) \
			print_error("%s: %s\n", #call, err_text()); \
		assert_int_equal(e_, ERR_OK); \
	} while (0)

static int setup(void **state)
{
	int64_t from = clock_boot();
	int rc = testdb_start((struct testdb **)state);

	printf("# installed, started and migrated in %lld ms\n", (long long)(clock_boot() - from) / 1000);
	return rc;
}

static int teardown(void **state)
{
	int64_t from = clock_boot();

	testdb_stop(*state);
	printf("# stopped in %lld ms\n", (long long)(clock_boot() - from) / 1000);
	return 0;
}

static void every_statement_prepares(void **state)
{
	struct db *db = testdb_connect(*state);
	size_t n;
	const struct db_stmt *all = db_stmts(&n);

	assert_true(n >= 60);
	for (size_t i = 0; i < n; i++) {
		struct stmt *st = NULL;

		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(all[i].name, all[k].name);
		if (!strncmp(all[i].name, "meta_", 5) && strcmp(all[i].name, "meta_get"))
			continue; /* the owner's */
		OK(stmt_get(db, &all[i], &st));
		stmt_put(db, st);
	}
	db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_statement_prepares),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
