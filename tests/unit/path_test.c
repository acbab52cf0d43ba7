#include "test.h"

#include "core/path.h"

static char long_part[300], long_path[5100];

static void test_good(void **state)
{
	static const char *const good[] = {
		"/", "/a", "/a/b", "/a b/c.html", "/.gitignore", "/.gitattributes", "/.gitmodules", "/.github/x", "/git", "/gita",
		"/.gitfoo", "/.git.foo", "/.git~1", "/git~2", "/agit~1", "/git~10", "/x.git", "/...", "/.a", "/a.", "/a ", "/ a", "/~",
		"/\xc3\xa4/\xe2\x82\xac/\xf0\x9f\x9a\xa2", "/quote\"<&'>", "/a\\b", "/con", "/a:b", "/%2e%2e", "/%00", "/-rf", "/.gitx ",
		"/a\\.gitb", "/GIT", "/\xe2\x80\x8c",
	};
	struct arena *a = arena_new();

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct path p = path_root(), q = path_root();
		if (path_parse(&p, good[i], strlen(good[i]), a) || path_check(&q, good[i]))
			fail_msg("%s: %s", good[i], err_text());
		assert_true(path_equal(p, q));
		assert_string_equal(p.s, good[i]);
		assert_ptr_equal(q.s, good[i]);
	}
	arena_free(a);
}

static void test_bad(void **state)
{
	static const struct {
		const char *s;
		size_t len;
		const char *why;
	} bad[] = {
#define BAD(s_, why_) { s_, sizeof(s_) - 1, why_ }
		BAD("", "slash"), BAD("a", "slash"), BAD("./a", "slash"), BAD("//", "empty"), BAD("/a/", "empty"), BAD("/a//b", "empty"),
		BAD("//a", "empty"), BAD("/.", "\"..\""), BAD("/..", "\"..\""), BAD("/a/../b", "\"..\""), BAD("/a/.", "\"..\""),
		BAD("/a\0b", "control"), BAD("/a\0", "control"), BAD("/\n", "control"), BAD("/a\tb", "control"), BAD("/\x7f", "control"),
		BAD("/\x1b[2J", "control"), BAD("/\xff", "UTF-8"), BAD("/\xc0\xae\xc0\xae", "UTF-8"), BAD("/\xed\xa0\x80", "UTF-8"),
		BAD("/a/\xc3", "UTF-8"), BAD("/\xc3/\xa4", "UTF-8"), BAD("/\xe2\x82", "UTF-8"),
		/* what git refuses on one file system or another */
		BAD("/.git", "git"), BAD("/.git/config", "git"), BAD("/a/.git", "git"), BAD("/a/.git/b", "git"), BAD("/.GIT", "git"),
		BAD("/.GiT", "git"), BAD("/.git.", "git"), BAD("/.git ", "git"), BAD("/.git. . .", "git"), BAD("/.git...", "git"),
		BAD("/git~1", "git"), BAD("/GIT~1", "git"), BAD("/GiT~1 ", "git"), BAD("/git~1.", "git"), BAD("/git~1/x", "git"),
		BAD("/.git:", "git"), BAD("/.git::$INDEX_ALLOCATION", "git"), BAD("/.git:$DATA", "git"), BAD("/git~1::$INDEX_ALLOCATION", "git"),
		BAD("/.git ::$INDEX_ALLOCATION", "git"), BAD("/.git\\config", "git"), BAD("/a\\.git", "git"), BAD("/a\\.GIT\\hooks", "git"),
		BAD("/\\.git", "git"), BAD("/a\\git~1", "git"), BAD("/.git.\\x", "git"), BAD("/.g\xe2\x80\x8cit", "git"), BAD("/\xe2\x80\x8d.git", "git"),
		BAD("/.git\xe2\x80\x8e", "git"), BAD("/.gi\xe2\x80\xaat", "git"), BAD("/.\xe2\x81\xafgit", "git"), BAD("/\xef\xbb\xbf.GIT", "git"),
		BAD("/.g\xe2\x81\xaa\xe2\x80\xaeI\xe2\x80\x8fT", "git"),
	};
	struct arena *a = arena_new();
	struct path p;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		if (path_parse(&p, bad[i].s, bad[i].len, a) != ERR_INPUT)
			fail_msg("accepted, case %zu: %s", i, bad[i].s);
		if (!strstr(err_text(), bad[i].why))
			fail_msg("case %zu: %s (expected: %s)", i, err_text(), bad[i].why);
	}
	assert_int_equal(arena_used(a), 0);
	arena_free(a);
}

static void test_limits(void **state)
{
	struct path p;

	(void)state;
	memset(long_part, 'x', 256);
	long_part[0] = '/';
	assert_ok(path_check(&p, long_part));
	long_part[256] = 'x';
	assert_err(ERR_INPUT, path_check(&p, long_part));
	for (size_t i = 0; i < 5000; i++)
		long_path[i] = i % 8 == 0 ? '/' : 'y';
	long_path[4096] = '\0';
	assert_err(ERR_INPUT, path_check(&p, "/"  "\x01"));
	long_path[4095] = 'y';
	assert_ok(path_check(&p, long_path));
	assert_int_equal(p.len, 4096);
	long_path[4096] = 'y';
	long_path[4097] = '\0';
	assert_err(ERR_INPUT, path_check(&p, long_path));
	long_path[4097] = 'y';
	assert_err(ERR_INPUT, path_check(&p, long_path));
	/* 255 ignorable and other bytes: the copy for git's rules is as large as the part */
	for (size_t i = 0; i < 255; i += 3)
		memcpy(long_part + 1 + i, "\xe2\x80\x8c", 3);
	long_part[256] = '\0';
	assert_ok(path_check(&p, long_part));
	long_part[1] = long_part[2] = long_part[3] = '.';
	assert_ok(path_check(&p, long_part));
}

static void test_part_problem(void **state)
{
	(void)state;
	assert_null(path_part_problem("index.html", 10));
	assert_non_null(path_part_problem("", 0));
	assert_non_null(path_part_problem("..", 2));
	assert_non_null(path_part_problem(".", 1));
	assert_non_null(path_part_problem("a/b", 3));
	assert_non_null(path_part_problem("a\0b", 3));
	/* len counts, not a NUL */
	assert_null(path_part_problem("...", 3));
	assert_non_null(path_part_problem(".gitx", 4));
	assert_null(path_part_problem(".gitx", 5));
	assert_string_equal(path_part_problem("GIT~1", 5), "reserved by git");
	assert_string_equal(path_part_problem("\xff", 1), "not valid UTF-8");
}

static struct path P(const char *s)
{
	return (struct path){ s, strlen(s) };
}

static void test_covers(void **state)
{
	static const struct {
		const char *dir, *p;
		bool covers;
	} cases[] = {
		{ "/", "/", true }, { "/", "/a", true }, { "/", "/a/b", true }, { "/a", "/a", true }, { "/a", "/a/b", true },
		{ "/a", "/ab", false }, { "/a", "/", false }, { "/a/b", "/a", false }, { "/a", "/b", false }, { "/a/b", "/a/bc/d", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (path_covers(P(cases[i].dir), P(cases[i].p)) != cases[i].covers)
			fail_msg("%s covers %s", cases[i].dir, cases[i].p);
}

static void test_relations(void **state)
{
	struct arena *a = arena_new();
	struct path p;

	(void)state;
	assert_false(path_parent(path_root(), &p, a));
	assert_true(path_parent(P("/a"), &p, a));
	assert_true(path_is_root(p));
	assert_true(path_parent(P("/a/bc/d"), &p, a));
	assert_string_equal(p.s, "/a/bc");
	assert_int_equal(p.len, 5);
	assert_string_equal(path_name(P("/a/bc")), "bc");
	assert_string_equal(path_name(P("/x")), "x");
	assert_string_equal(path_name(path_root()), "");
	assert_string_equal(path_join(path_root(), "a", a).s, "/a");
	p = path_join(P("/a"), "b", a);
	assert_string_equal(p.s, "/a/b");
	assert_int_equal(p.len, 4);
	struct path q = path_copy(p, a);
	assert_true(q.s != p.s && path_equal(p, q));
	assert_false(path_equal(P("/a"), P("/ab")));
	arena_free(a);
}

static void test_order(void **state)
{
	/* bytewise on the whole path: "/a-b" comes before what is below "/a" */
	static const char *const order[] = { "/", "/A", "/a", "/a-b", "/a/b", "/a/b/c", "/a0", "/ab", "/\xc3\xa4" };

	(void)state;
	for (size_t i = 0; i < COUNT(order); i++)
		for (size_t k = 0; k < COUNT(order); k++) {
			int c = path_compare(P(order[i]), P(order[k]));
			assert_int_equal(c < 0, i < k);
			assert_int_equal(c == 0, i == k);
		}
}

static void test_hash(void **state)
{
	struct sha256 s;
	char hex[SHA256_HEX];

	(void)state;
	path_hash(path_root(), &s);
	hex_of(hex, s.b, 32);
	assert_string_equal(hex, "8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1");
}

/* 4 bytes of the directory at the top, 4 of the directory, the whole of the path. */
static void test_key(void **state)
{
	static const struct { const char *path, *top, *dir; } cases[] = {
		{ "/a", "", "" }, { "/a/b", "/a", "/a" }, { "/a/b/c", "/a", "/a/b" }, { "/ab/c/d/e", "/ab", "/ab/c/d" }, { "/", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct path p = { cases[i].path, strlen(cases[i].path) };
		struct path_key key;
		struct sha256 top, dir, whole;

		path_key(p, &key);
		sha256_of(&top, cases[i].top, strlen(cases[i].top));
		sha256_of(&dir, cases[i].dir, strlen(cases[i].dir));
		path_hash(p, &whole);
		assert_memory_equal(key.b, top.b, 4);
		assert_memory_equal(key.b + 4, dir.b, 4);
		assert_memory_equal(key.b + 8, whole.b, sizeof whole.b);
	}
}

static void test_site_names(void **state)
{
	static const char *const good[] = { "a", "0", "www.example.org", "a-b_c", "a--", "x.y.z", "git", "a.gitx", "installation2" };
	static const char *const bad[] = { "", ".", "..", "a.", ".a", "a..b", "-a", "_a", "a.-b", "A", "a b", "a/b", "x.git", "x.lock",
		"installation", "\xc3\xa4", "a\n", "a.b.git" };
	char name[70];

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		if (!site_name_valid(good[i]))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (site_name_valid(bad[i]))
			fail_msg("accepted: %s", bad[i]);
	memset(name, 'a', 64);
	name[64] = '\0';
	assert_true(site_name_valid(name));
	name[64] = 'a';
	name[65] = '\0';
	assert_false(site_name_valid(name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_part_problem),
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_relations),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_site_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
