/* preapproved: which files a pre-approval means. */
#include "test.h"

#include "core/preapproved.h"

static struct path P(const char *s)
{
	return (struct path){ s, strlen(s) };
}

static const struct {
	const char *path, *pattern;
	uint64_t largest;
	const char *file;
	uint64_t size;
	bool takes;
} cases[] = {
	{ "/", "", 0, "/a", 1, true },
	{ "/a", "", 0, "/a", 1, true },
	{ "/a", "", 0, "/ab", 1, false },
	{ "/a", "", 0, "/a/b/c", 1, true },
	{ "/a", "*.jpg", 0, "/a/b/c.jpg", 1, true },
	{ "/a", "*.jpg", 0, "/a/x.jpg/c.gif", 1, false }, /* the name, not the directory */
	{ "/a", "*.jpg", 0, "/a/.jpg", 1, true },
	{ "/a", "*.jpg", 0, "/a/c.JPG", 1, false },
	{ "/a", "*.jpg", 0, "/b/c.jpg", 1, false },
	{ "/a", "c.???", 0, "/a/c.jpg", 1, true },
	{ "/a", "[a-c].x", 0, "/a/b.x", 1, true },
	{ "/a", "[a-c].x", 0, "/a/d.x", 1, false },
	{ "/a", "*.html*", 0, "/a/x.html\xc3\xa4", 1, true },
	{ "/a.jpg", "*.jpg", 0, "/a.jpg", 1, true }, /* of a file itself */
	{ "/a.jpg", "*.gif", 0, "/a.jpg", 1, false },
	{ "/a", "", 10, "/a/b", 10, true },
	{ "/a", "", 10, "/a/b", 11, false },
	{ "/a", "*.x", 10, "/a/b.x", 11, false },
	{ "/a", "*.x", 10, "/a/b.x", 0, true },
};

static void takes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct preapproved p = { P(cases[i].path), cases[i].pattern, cases[i].largest, 0 };

		assert_ok(preapproved_check(&p));
		if (preapproved_takes(&p, P(cases[i].file), cases[i].size) != cases[i].takes)
			fail_msg("%s %s: %s", cases[i].path, cases[i].pattern, cases[i].file);
		assert_int_equal(preapproved_whole(&p), !*cases[i].pattern && !cases[i].largest);
	}
}

static void checks(void **state)
{
	static const char *const bad[] = { "a/b", "/", "a\\*", "*****", "a\nb", "\xff", "\x1b[0m" };
	char longest[PREAPPROVED_PATTERN_LIMIT + 2];
	struct preapproved p = { P("/"), "", 0, 0 };

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		p.pattern = bad[i];
		assert_err(ERR_INPUT, preapproved_check(&p));
	}
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	p.pattern = longest;
	assert_err(ERR_INPUT, preapproved_check(&p));
	longest[PREAPPROVED_PATTERN_LIMIT] = '\0';
	assert_ok(preapproved_check(&p));
	p.until = -1;
	assert_err(ERR_INPUT, preapproved_check(&p));
	p.until = 0;
	assert_false(preapproved_ended(&p, INT64_MAX));
	p.until = 10;
	assert_false(preapproved_ended(&p, 9));
	assert_true(preapproved_ended(&p, 10));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes),
		cmocka_unit_test(checks),
	};
	return cmocka_run_group_tests_name("preapproved", tests, NULL, NULL);
}
