/*
 * test: what every unit test includes: cmocka with its own includes, and a few checks in the words of this program.
 */
#ifndef DRYDOCK_TESTS_UNIT_TEST_H
#define DRYDOCK_TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define assert_ok(call)                                                                                                \
	do {                                                                                                           \
		enum err test_e_ = (call);                                                                             \
		if (test_e_)                                                                                           \
			fail_msg("%s: %s: %s", #call, err_name(test_e_), err_text());                                  \
	} while (0)
#define assert_err(code, call)                                                                                         \
	do {                                                                                                           \
		enum err test_e_ = (call);                                                                             \
		if (test_e_ != (code))                                                                                 \
			fail_msg("%s: %s instead of %s", #call, err_name(test_e_), err_name(code));                    \
	} while (0)

#endif
