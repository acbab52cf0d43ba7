/*
 * The colours of the style sheet: each text colour against what it is written on, at least 4.5 to 1 as WCAG 2 reckons it,
 * in light and in dark. Read from static/drydock.css itself; and that file stays below 20 kB.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <math.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

static char *css;
static size_t css_len;

/* The value of a variable behind a point of the file, #rgb or #rrggbb. */
static unsigned colour(const char *from, const char *name)
{
	char *what = mem_printf("--%s: #", name);
	const char *at = strstr(from, what);
	if (!at)
		fail_msg("no colour %s", name);
	at += strlen(what);
	free(what);
	size_t n = strspn(at, "0123456789abcdef");
	unsigned long v = strtoul(at, NULL, 16);
	if (n == 3)
		v = (v >> 8 & 15) * 0x110000 + (v >> 4 & 15) * 0x1100 + (v & 15) * 0x11;
	else
		assert_int_equal(n, 6);
	return (unsigned)v;
}

static double linear(unsigned byte)
{
	double c = byte / 255.0;
	return c <= 0.03928 ? c / 12.92 : pow((c + 0.055) / 1.055, 2.4);
}

static double luminance(unsigned c)
{
	return 0.2126 * linear(c >> 16 & 255) + 0.7152 * linear(c >> 8 & 255) + 0.0722 * linear(c & 255);
}

static double contrast(unsigned a, unsigned b)
{
	double x = luminance(a), y = luminance(b);
	return x > y ? (x + 0.05) / (y + 0.05) : (y + 0.05) / (x + 0.05);
}

static void check(const char *from, const char *theme)
{
	static const char *const pairs[][2] = {
		{ "ink", "paper" }, { "ink", "card" }, { "ink", "soft" }, { "quiet", "paper" }, { "quiet", "card" }, { "quiet", "soft" },
		{ "link", "paper" }, { "link", "card" }, { "link", "soft" }, { "act-ink", "act" }, { "act-ink", "act-hot" },
		{ "top-ink", "top" }, { "top-quiet", "top" }, { "ink", "good-bg" }, { "ink", "amber-bg" }, { "ink", "red-bg" },
		{ "quiet", "amber-bg" }, { "quiet", "good-bg" }, { "link", "amber-bg" }, { "link", "blue-bg" }, { "ink", "blue-bg" },
		{ "good", "good-bg" }, { "good", "card" }, { "amber", "amber-bg" }, { "amber", "card" }, { "grey", "grey-bg" },
		{ "red", "red-bg" }, { "red", "card" }, { "blue", "blue-bg" },
	};

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		double c = contrast(colour(from, pairs[i][0]), colour(from, pairs[i][1]));
		if (c < 4.5)
			fail_msg("%s: %s on %s is %.2f to 1", theme, pairs[i][0], pairs[i][1], c);
	}
}

static void test_light(void **state)
{
	(void)state;
	check(css, "light");
}

static void test_dark(void **state)
{
	(void)state;
	const char *dark = strstr(css, "prefers-color-scheme: dark");
	assert_non_null(dark);
	check(dark, "dark");
}

static void test_size(void **state)
{
	(void)state;
	assert_true(css_len < 20 * 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_light), cmocka_unit_test(test_dark), cmocka_unit_test(test_size) };
	char *file = mem_printf("%s/static/drydock.css", getenv("srcdir") ? getenv("srcdir") : DRYDOCK_SRCDIR);
	struct buf b = BUF_INIT(1u << 20);

	if (file_read(AT_FDCWD, file, &b)) {
		fprintf(stderr, "contrast_test: %s\n", err_text());
		return 1;
	}
	css = buf_take(&b, &css_len);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(css);
	free(file);
	return failed;
}
