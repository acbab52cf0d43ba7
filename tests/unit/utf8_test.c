#include "test.h"

#include "base/utf8.h"

static void test_valid(void **state)
{
	static const struct {
		const char *s;
		bool valid;
	} cases[] = {
		{ "", true }, { "plain ascii, longer than eight bytes", true }, { "\xc2\x80", true }, { "\xdf\xbf", true },
		{ "\xe0\xa0\x80", true }, { "\xed\x9f\xbf", true }, { "\xee\x80\x80", true }, { "\xef\xbf\xbf", true },
		{ "\xf0\x90\x80\x80", true }, { "\xf4\x8f\xbf\xbf", true }, { "12345678\xc3\xa4" "12345678", true },
		{ "\x80", false }, { "\xbf", false }, { "\xc0\x80", false }, { "\xc1\xbf", false }, /* overlong */
		{ "\xe0\x80\x80", false }, { "\xe0\x9f\xbf", false }, { "\xf0\x80\x80\x80", false }, { "\xf0\x8f\xbf\xbf", false },
		{ "\xed\xa0\x80", false }, { "\xed\xbf\xbf", false }, /* surrogates */
		{ "\xf4\x90\x80\x80", false }, { "\xf5\x80\x80\x80", false }, { "\xff", false }, { "\xfe", false },
		{ "\xc3", false }, { "\xe2\x82", false }, { "\xf0\x9f\x9a", false }, { "\xc3" "a", false }, { "12345678\xff", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (utf8_valid(cases[i].s, strlen(cases[i].s)) != cases[i].valid)
			fail_msg("case %zu", i);
}

static void test_every_character(void **state)
{
	(void)state;
	for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
		char s[4];
		uint32_t back;
		size_t n;
		if (cp < 0x80) {
			s[0] = (char)cp, n = 1;
		} else if (cp < 0x800) {
			s[0] = (char)(0xc0 | cp >> 6), s[1] = (char)(0x80 | (cp & 63)), n = 2;
		} else if (cp < 0x10000) {
			s[0] = (char)(0xe0 | cp >> 12), s[1] = (char)(0x80 | (cp >> 6 & 63)), s[2] = (char)(0x80 | (cp & 63)), n = 3;
		} else {
			s[0] = (char)(0xf0 | cp >> 18), s[1] = (char)(0x80 | (cp >> 12 & 63));
			s[2] = (char)(0x80 | (cp >> 6 & 63)), s[3] = (char)(0x80 | (cp & 63)), n = 4;
		}
		bool surrogate = cp >= 0xd800 && cp <= 0xdfff;
		size_t got = utf8_decode(s, n, &back);
		if (got != (surrogate ? 0 : n) || (got && back != cp) || (n > 1 && utf8_decode(s, n - 1, &back) != 0))
			fail_msg("U+%04X", (unsigned)cp);
	}
}

static void test_clean(void **state)
{
	(void)state;
	assert_true(utf8_clean("sch\xc3\xb6n", 6, false));
	assert_true(utf8_clean("", 0, false));
	assert_false(utf8_clean("a\nb", 3, false));
	assert_true(utf8_clean("a\nb\tc", 5, true));
	assert_false(utf8_clean("a\tb", 3, false));
	assert_true(utf8_clean("a\r\nb", 4, true));
	assert_false(utf8_clean("a\rb", 3, true));
	assert_false(utf8_clean("a\r", 2, true));
	assert_false(utf8_clean("\x7f", 1, true));
	assert_false(utf8_clean("\xc2\x85", 2, true));
	assert_false(utf8_clean("\0", 1, true));
	assert_false(utf8_clean("\xff", 1, true));
	assert_false(utf8_clean("\xe2\x80\xa8", 3, false));
}

static void test_visible(void **state)
{
	static const struct {
		const char *s, *lines, *flat;
	} cases[] = {
		{ "plain", "plain", "plain" },
		{ "a\nb\tc", "a\nb\tc", "a\xe2\x90\x8a" "b\xe2\x90\x89" "c" },
		{ "\x1b[0m", "\xe2\x90\x9b[0m", "\xe2\x90\x9b[0m" },
		{ "\x7f\x1f", "\xe2\x90\xa1\xe2\x90\x9f", "\xe2\x90\xa1\xe2\x90\x9f" },
		{ "\xc2\x9b", "\xef\xbf\xbd", "\xef\xbf\xbd" },
		{ "\xff\xe2\x82x", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int lines = 0; lines < 2; lines++) {
			struct buf b = BUF_INIT(100);
			utf8_visible(&b, cases[i].s, strlen(cases[i].s), lines);
			assert_string_equal(buf_text(&b), lines ? cases[i].lines : cases[i].flat);
			assert_true(utf8_clean(b.p, b.len, lines));
			buf_release(&b);
		}
	struct buf b = BUF_INIT(100);
	utf8_visible(&b, "a\0b", 3, true);
	assert_string_equal(buf_text(&b), "a\xe2\x90\x80" "b");
	buf_release(&b);
}

static void test_unseen(void **state)
{
	static const struct { const char *s; size_t len; const char *told; } cases[] = {
		{ "\u202e", 3, "[U+202E]" }, { "\u2066x", 3, "[U+2066]" }, { "\u200b", 3, "[U+200B]" }, { "\u00ad", 2, "[U+00AD]" },
		{ "\ufeff", 3, "[U+FEFF]" }, { "\u2028", 3, "[U+2028]" }, { "\u2060", 3, "[U+2060]" },
		{ "\u200d", 0, NULL }, { "\u200f", 0, NULL }, { "\u00e9", 0, NULL }, { "\u20ac", 0, NULL }, { "\uff1d", 0, NULL }, { "a", 0, NULL },
		{ "\xe2\x80", 0, NULL }, { "\xe2", 0, NULL }, { "", 0, NULL }, { "\xef\xbb", 0, NULL },
	};
	char text[UTF8_UNSEEN_TEXT];
	uint32_t cp;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(utf8_unseen(cases[i].s, strlen(cases[i].s), &cp), cases[i].len);
		if (!cases[i].told)
			continue;
		utf8_unseen_text(text, cp);
		assert_string_equal(text, cases[i].told);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_every_character),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_visible),
		cmocka_unit_test(test_unseen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
