#include "test.h"

#include "core/plan.h"

static struct path P(const char *s)
{
	return (struct path){ s, strlen(s) };
}

static void test_plan(void **state)
{
	struct blob_id blob = { { 1, 2, 0xff } };
	char name[32];
	struct plan p;
	struct sha256 got, want;

	(void)state;
	plan_init(&p);
	plan_digest(&p, &got);
	assert_false(plan_find(&p, P("/a"), &(size_t){ 0 }));
	sha256_of(&want, "", 0);
	assert_true(sha256_equal(&got, &want));
	strncpy(name, "/a", sizeof(name));
	plan_add(&p, PLAN_ADD, P(name), &blob, false);
	name[1] = 'z'; /* it keeps a copy */
	plan_add(&p, PLAN_CHANGE, P("/b"), &blob, true);
	plan_add(&p, PLAN_REMOVE, P("/c"), &blob, false);
	assert_string_equal(p.items[0].path.s, "/a");
	assert_int_equal(p.n, 3);
	assert_true(p.added == 1 && p.changed == 1 && p.removed == 1);
	static const char text[] = "add /a\0" "0102ff0000000000000000000000000000000000 0\n"
	    "change /b\0" "0102ff0000000000000000000000000000000000 1\n"
	    "remove /c\0" "0102ff0000000000000000000000000000000000 0\n";
	sha256_of(&want, text, sizeof(text) - 1);
	plan_digest(&p, &got);
	assert_true(sha256_equal(&got, &want));
	size_t at = 9;
	assert_false(plan_find(&p, P("/"), &at) || plan_find(&p, P("/aa"), &at) || plan_find(&p, P("/d"), &at));
	assert_int_equal(at, 9);
	for (size_t i = 0; i < 3; i++)
		assert_true(plan_find(&p, p.items[i].path, &at) && at == i);
	for (int i = 0; i < 1000; i++)
		plan_add(&p, PLAN_ADD, P("/many"), &blob, false);
	assert_int_equal(p.n, 1003);
	plan_release(&p);
	assert_null(p.items);
	plan_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_plan) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
