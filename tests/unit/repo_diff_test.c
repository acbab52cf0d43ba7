#include "repo_fixture.h"

/* The difference as `diff -u` would print it. */
static enum err print_line(void *arg, const struct diff_line *line)
{
	static const char marks[] = { [DIFF_CONTEXT] = ' ', [DIFF_ADDED] = '+', [DIFF_REMOVED] = '-' };
	struct buf *b = arg;

	switch (line->kind) {
	case DIFF_HUNK:
		buf_add(b, line->text, line->len);
		break;
	case DIFF_NO_NEWLINE:
		assert_int_equal(line->len, 0);
		buf_str(b, "\\ No newline at end of file");
		break;
	default:
		buf_char(b, marks[line->kind]);
		buf_add(b, line->text, line->len);
	}
	buf_char(b, '\n');
	return ERR_OK;
}

static const struct {
	const char *a, *b, *want;
} cases[] = {
	{ "", "", "" },
	{ "same\n", "same\n", "" },
	{ "", "new\n", "@@ -0,0 +1 @@\n+new\n" },
	{ "old\n", "", "@@ -1 +0,0 @@\n-old\n" },
	{ "a\nb\nc\n", "a\nB\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n" },
	{ "a\n", "a", "@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n" },
	{ "a", "a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n" },
	{ "x\na", "y\na", "@@ -1,2 +1,2 @@\n-x\n+y\n a\n\\ No newline at end of file\n" },
	{ "caf\xe9\r\n", "caf\xc3\xa9\r\n", "@@ -1 +1 @@\n-caf\xe9\r\n+caf\xc3\xa9\r\n" },
	{ "<script>\n", "<b>\n", "@@ -1 +1 @@\n-<script>\n+<b>\n" },
};

static void as_diff_prints(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF_INIT(65536);
		bool binary = true;
		assert_ok(repo_diff(cases[i].a, strlen(cases[i].a), cases[i].b, strlen(cases[i].b), 3, print_line, &out, &binary));
		assert_false(binary);
		assert_string_equal(buf_text(&out), cases[i].want);
		buf_release(&out);
	}
}

static void numbers_and_context(void **state)
{
	struct buf a = BUF_INIT(65536), b = BUF_INIT(65536), out = BUF_INIT(65536);
	bool binary;

	(void)state;
	for (int i = 1; i <= 100; i++) {
		buf_fmt(&a, "line %d\n", i);
		if (i == 50)
			buf_str(&b, "changed\n");
		else if (i != 90)
			buf_fmt(&b, "line %d\n", i);
	}
	assert_ok(repo_diff(a.p, a.len, b.p, b.len, 1, print_line, &out, &binary));
	assert_string_equal(out.p, "@@ -49,3 +49,3 @@ line 48\n line 49\n-line 50\n+changed\n line 51\n"
				   "@@ -89,3 +89,2 @@ line 88\n line 89\n-line 90\n line 91\n");
	buf_release(&a);
	buf_release(&b);
	buf_release(&out);
}

static enum err refuse(void *arg, const struct diff_line *line)
{
	(void)line;
	++*(int *)arg;
	return err_set(ERR_TOO_BIG, "enough");
}

static void binary_and_errors(void **state)
{
	int calls = 0;
	bool binary = false;

	(void)state;
	assert_ok(repo_diff("a\0b", 3, "text\n", 5, 3, refuse, &calls, &binary));
	assert_true(binary);
	assert_ok(repo_diff("text\n", 5, "\0", 1, 3, refuse, &calls, &binary));
	assert_true(binary);
	assert_int_equal(calls, 0);
	assert_ok(repo_diff(NULL, 0, NULL, 0, 3, refuse, &calls, &binary));
	assert_err(ERR_TOO_BIG, repo_diff("a\n", 2, "b\n", 2, 3, refuse, &calls, &binary));
	assert_int_equal(calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_diff_prints),
		cmocka_unit_test(numbers_and_context),
		cmocka_unit_test(binary_and_errors),
	};
	return cmocka_run_group_tests_name("repo diff", tests, NULL, NULL);
}
