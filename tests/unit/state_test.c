/*
 * state and fingerprint: which of the seven states a file is in.
 */
#include "test.h"

#include "core/state.h"

static const struct fingerprint one = { .sha256 = { { 1 } }, .size = 5 };
static const struct fingerprint two = { .sha256 = { { 2 } }, .size = 5 };
static const struct fingerprint one_exec = { .sha256 = { { 1 } }, .size = 5, .exec = true };
static const struct fingerprint one_md5 = { .md5 = { { 9 } }, .sha256 = { { 1 } }, .size = 5 };

enum { GONE, IS_ONE, IS_TWO, IS_EXEC, IS_LINK };

static const struct {
	const char *what;
	int staged;
	enum approval approval;
	bool preapproved; /* a pre-approval covers the path now */
	int state; /* -1: nobody knows it */
} cases[] = {
	{ "never approved", IS_ONE, APPROVAL_NONE, false, STATE_UNSIGNED },
	{ "new below a pre-approval", IS_ONE, APPROVAL_NONE, true, STATE_PREAPPROVED },
	{ "equal to what was signed", IS_ONE, APPROVAL_SIGNED, false, STATE_SIGNED },
	{ "equal to what was signed, below a pre-approval", IS_ONE, APPROVAL_SIGNED, true, STATE_SIGNED },
	{ "other bytes", IS_TWO, APPROVAL_SIGNED, false, STATE_CHANGED },
	{ "another executable bit", IS_EXEC, APPROVAL_SIGNED, false, STATE_CHANGED },
	{ "other bytes, taken up by itself", IS_TWO, APPROVAL_SIGNED, true, STATE_PREAPPROVED },
	{ "as pre-approved", IS_ONE, APPROVAL_PREAPPROVED, true, STATE_PREAPPROVED },
	{ "other than pre-approved, taken up by itself", IS_TWO, APPROVAL_PREAPPROVED, true, STATE_PREAPPROVED },
	{ "as once pre-approved", IS_ONE, APPROVAL_PREAPPROVED, false, STATE_PREAPPROVED },
	{ "other than once pre-approved", IS_TWO, APPROVAL_PREAPPROVED, false, STATE_CHANGED },
	{ "revoked, same bytes", IS_ONE, APPROVAL_REVOKED, false, STATE_REVOKED },
	{ "revoked, other bytes", IS_TWO, APPROVAL_REVOKED, false, STATE_REVOKED },
	{ "revoked below a pre-approval stays so", IS_ONE, APPROVAL_REVOKED, true, STATE_REVOKED },
	{ "signed and gone", GONE, APPROVAL_SIGNED, false, STATE_MISSING },
	{ "pre-approved and gone", GONE, APPROVAL_PREAPPROVED, true, STATE_MISSING },
	{ "revoked and gone", GONE, APPROVAL_REVOKED, false, -1 },
	{ "never approved and gone", GONE, APPROVAL_NONE, true, -1 },
	{ "a link, never approved", IS_LINK, APPROVAL_NONE, false, STATE_UNPUBLISHABLE },
	{ "a link where a signed page was", IS_LINK, APPROVAL_SIGNED, false, STATE_UNPUBLISHABLE },
	{ "a link below a pre-approval", IS_LINK, APPROVAL_NONE, true, STATE_UNPUBLISHABLE },
	{ "a link where a revoked page was", IS_LINK, APPROVAL_REVOKED, false, STATE_UNPUBLISHABLE },
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct fingerprint *staged = cases[i].staged == IS_ONE ? &one : cases[i].staged == IS_TWO ? &two
		    : cases[i].staged == IS_EXEC ? &one_exec : NULL;
		const struct fingerprint *approved = cases[i].approval == APPROVAL_NONE ? NULL : &one;
		enum file_state got;
		bool known = state_of(&got, cases[i].staged != GONE, cases[i].staged == IS_LINK ? PROBLEM_SYMLINK : PROBLEM_NONE,
		    staged, cases[i].approval, approved, cases[i].preapproved);
		if (known != (cases[i].state >= 0) || (known && (int)got != cases[i].state))
			fail_msg("%s: %s", cases[i].what, known ? state_name(got) : "unknown");
	}
}

static void test_equal(void **state)
{
	struct fingerprint longer = one;

	(void)state;
	longer.size = 6;
	assert_true(fingerprint_equal(&one, &one));
	assert_false(fingerprint_equal(&one, &two));
	assert_false(fingerprint_equal(&one, &one_exec));
	assert_false(fingerprint_equal(&one, &longer));
	assert_true(fingerprint_equal(&one, &one_md5)); /* MD5 is never compared */
}

static void test_names(void **state)
{
	enum file_state s;

	(void)state;
	for (int i = 0; i < STATE_COUNT; i++) {
		assert_true(state_parse(&s, state_name((enum file_state)i)));
		assert_int_equal(s, i);
	}
	assert_false(state_parse(&s, ""));
	assert_false(state_parse(&s, "Signed"));
	for (int i = 0; i < PROBLEM_COUNT; i++) {
		assert_true(*problem_name((enum problem)i));
		assert_true(*problem_text((enum problem)i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
