/* testlib: what the programs of tests/db share: an assertion that says why, and short ways to values. */
#ifndef DRYDOCK_TESTS_DB_TESTLIB_H
#define DRYDOCK_TESTS_DB_TESTLIB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/db.h"
#include "testdb.h"

#define NODE_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define NODE_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

#define GIVES(want, call) \
	do { \
		enum err e_ = (call); \
		if (e_ != (want)) \
			print_error("%s: %s: %s\n", #call, err_name(e_), err_text()); \
		assert_int_equal(e_, want); \
	} while (0)
#define OK(call) GIVES(ERR_OK, call)

static inline struct path P(const char *s)
{
	return (struct path){ s, strlen(s) };
}

#endif
