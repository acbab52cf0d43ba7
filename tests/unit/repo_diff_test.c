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

/* Applies what it is shown to the old text: a difference is right if that gives the new one. */
struct patch {
	const char *old;
	size_t old_len, at;
	struct buf out;
	int old_line, new_line;
	unsigned lines, hunks;
};

static enum err apply_line(void *arg, const struct diff_line *line)
{
	struct patch *p = arg;

	p->lines++;
	if (line->kind == DIFF_HUNK) {
		p->hunks++;
		while (p->old_line < line->old_no) {
			const char *newline = memchr(p->old + p->at, '\n', p->old_len - p->at);
			size_t n = (size_t)(newline - (p->old + p->at)) + 1;
			buf_add(&p->out, p->old + p->at, n);
			p->at += n;
			p->old_line++;
			p->new_line++;
		}
		return ERR_OK;
	}
	if (line->kind == DIFF_NO_NEWLINE) {
		return ERR_OK;
	}
	if (line->kind != DIFF_ADDED) {
		assert_int_equal(line->old_no, p->old_line);
		assert_memory_equal(p->old + p->at, line->text, line->len);
		p->at += line->len + 1;
		p->old_line++;
	}
	if (line->kind != DIFF_REMOVED) {
		assert_int_equal(line->new_no, p->new_line);
		buf_add(&p->out, line->text, line->len);
		buf_char(&p->out, '\n');
		p->new_line++;
	}
	return ERR_OK;
}

static void patched(const char *a, size_t a_len, const char *b, size_t b_len, unsigned most)
{
	struct patch p = { .old = a, .old_len = a_len, .out = BUF_INIT(64 * 1024 * 1024), .old_line = 1, .new_line = 1 };
	bool binary;

	assert_ok(repo_diff(a, a_len, b, b_len, 3, apply_line, &p, &binary));
	assert_false(binary);
	if (p.at < a_len)
		buf_add(&p.out, a + p.at, a_len - p.at);
	if (p.out.len == b_len + 1 && p.out.p[b_len] == '\n')
		p.out.len--;
	assert_int_equal(p.out.len, b_len);
	assert_memory_equal(buf_text(&p.out), b, b_len);
	assert_true(p.lines <= most);
	buf_release(&p.out);
}

static void very_many_lines(void **state)
{
	struct buf a = BUF_INIT(64 * 1024 * 1024), b = BUF_INIT(64 * 1024 * 1024);
	uint32_t seed = 1;
	int64_t from = clock_boot();

	(void)state;
	for (unsigned i = 0; i < 300000; i++)
		buf_fmt(&a, "%u\n", i % 1000);
	/* one line in the middle; at both ends; a part of a line that is also the end of another */
	buf_add(&b, a.p, a.len);
	b.p[a.len / 2] ^= 1;
	patched(a.p, a.len, b.p, b.len, 12);
	patched(a.p, a.len, a.p, a.len, 0);
	patched(a.p, a.len, a.p, a.len - 4, 8);
	patched(a.p, a.len - 4, a.p, a.len, 8);
	patched(a.p, a.len, a.p + 2, a.len - 2, 8);
	patched(a.p + 2, a.len - 2, a.p, a.len, 8);
	patched(a.p, a.len, a.p, a.len - 1, 8);
	patched(a.p, a.len - 1, a.p, a.len, 8);
	patched(a.p, a.len, "", 0, 300001);
	patched("", 0, a.p, a.len, 300001);
	b.p[3] ^= 1;
	b.p[b.len - 5] ^= 1;
	patched(a.p, a.len, b.p, b.len, 600001);
	/* nothing in common that a search could use, as somebody would write it who wants to keep the server busy */
	buf_reset(&a);
	buf_reset(&b);
	for (unsigned i = 0; i < 700000; i++) {
		seed = seed * 1664525u + 1013904223u;
		buf_fmt(&a, "%u\n", (seed >> 8) % 10000);
		seed = seed * 1664525u + 1013904223u;
		buf_fmt(&b, "%u\n", (seed >> 8) % 10000);
	}
	patched(a.p, a.len, b.p, b.len, 1400010);
	assert_true(clock_boot() - from < 20 * CLOCK_SECOND);
	buf_release(&a);
	buf_release(&b);
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
		cmocka_unit_test(very_many_lines),
		cmocka_unit_test(binary_and_errors),
	};
	return cmocka_run_group_tests_name("repo diff", tests, NULL, NULL);
}
