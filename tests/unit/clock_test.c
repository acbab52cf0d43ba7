#include "test.h"

#include "base/clock.h"

static void test_text(void **state)
{
	static const struct {
		int64_t wall;
		const char *text;
	} cases[] = {
		{ 0, "1970-01-01T00:00:00.000000Z" },
		{ 1, "1970-01-01T00:00:00.000001Z" },
		{ INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z" },
		{ INT64_C(1078012799999999), "2004-02-28T23:59:59.999999Z" },
		{ INT64_C(1795241420123456), "2026-11-21T06:10:20.123456Z" },
		{ INT64_C(4107542400000000), "2100-03-01T00:00:00.000000Z" },
		{ INT64_C(253402300799999999), "9999-12-31T23:59:59.999999Z" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[CLOCK_TEXT_SIZE];
		int64_t wall;
		clock_text(cases[i].wall, text);
		assert_string_equal(text, cases[i].text);
		assert_ok(clock_parse(&wall, text));
		assert_true(wall == cases[i].wall);
	}
	/* each day of eight centuries, both ways */
	int64_t day = 86400 * CLOCK_SECOND;
	for (int64_t t = 0; t < 800 * 366 * day; t += day + 3600 * CLOCK_SECOND + 1) {
		char text[CLOCK_TEXT_SIZE];
		int64_t back;
		clock_text(t, text);
		assert_ok(clock_parse(&back, text));
		assert_true(back == t);
	}
	char text[CLOCK_TEXT_SIZE];
	clock_text(INT64_MIN, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
	clock_text(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
}

static void test_parse_strict(void **state)
{
	static const char *const bad[] = {
		"", "2026-11-21", "2026-11-21T06:10:20Z", "2026-11-21T06:10:20.12345Z", "2026-11-21T06:10:20.1234567Z",
		"2026-11-21t06:10:20.123456Z", "2026-11-21T06:10:20.123456z", "2026-11-21T06:10:20.123456+00:00",
		"2026-11-21 06:10:20.123456Z", " 2026-11-21T06:10:20.123456Z", "2026-11-21T06:10:20.123456Z ",
		"2026-02-29T06:10:20.123456Z", "2026-13-21T06:10:20.123456Z", "2026-00-21T06:10:20.123456Z",
		"2026-11-00T06:10:20.123456Z", "2026-11-31T06:10:20.123456Z", "2026-11-21T24:10:20.123456Z",
		"2026-11-21T06:60:20.123456Z", "2026-11-21T06:10:60.123456Z", "1969-12-31T23:59:59.999999Z",
		"+026-11-21T06:10:20.123456Z", "2100-02-29T00:00:00.000000Z",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		int64_t t;
		if (clock_parse(&t, bad[i]) != ERR_INPUT)
			fail_msg("accepted: %s", bad[i]);
	}
}

static void test_parse_loose(void **state)
{
	static const struct {
		const char *text, *same;
	} cases[] = {
		{ "2026-11-21", "2026-11-21T00:00:00.000000Z" },
		{ "2026-11-21T06:10", "2026-11-21T06:10:00.000000Z" },
		{ "2026-11-21 06:10:20", "2026-11-21T06:10:20.000000Z" },
		{ "2026-11-21T06:10:20.5", "2026-11-21T06:10:20.500000Z" },
		{ "2026-11-21T06:10:20.1234567Z", "2026-11-21T06:10:20.123456Z" },
		{ "2026-11-21T06:10Z", "2026-11-21T06:10:00.000000Z" },
		{ "2026-11-21T00:10+02:00", "2026-11-20T22:10:00.000000Z" },
		{ "2026-12-31T23:00-01:30", "2027-01-01T00:30:00.000000Z" },
	};
	static const char *const bad[] = {
		"", "now", "2026", "2026-11", "2026-11-21T", "2026-11-21T06", "2026-11-21T06:10:", "2026-11-21T06:10:20.",
		"2026-11-21T06:10+2:00", "2026-11-21T06:10+0200", "2026-02-30", "h", "3", "-3h", "3x", "3hh", "3 h",
		"99999999999999999999h", "1970-01-01T00:00+01:00", "9999-12-31T23:59:59-00:01",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[CLOCK_TEXT_SIZE];
		int64_t t;
		assert_ok(clock_parse_loose(&t, cases[i].text));
		clock_text(t, text);
		assert_string_equal(text, cases[i].same);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		int64_t t;
		if (clock_parse_loose(&t, bad[i]) != ERR_INPUT)
			fail_msg("accepted: %s", bad[i]);
	}
	static const struct {
		const char *text;
		int64_t seconds;
	} ago[] = { { "10s", 10 }, { "5m", 300 }, { "3h", 3 * 3600 }, { "2d", 2 * 86400 }, { "1w", 7 * 86400 }, { "0h", 0 } };
	for (size_t i = 0; i < COUNT(ago); i++) {
		int64_t t, before = clock_wall();
		assert_ok(clock_parse_loose(&t, ago[i].text));
		assert_in_range(t - (before - ago[i].seconds * CLOCK_SECOND), 0, CLOCK_SECOND);
	}
	int64_t t;
	assert_ok(clock_parse_loose(&t, "1000000w"));
	assert_true(t == 0);
}

static void test_relative(void **state)
{
	static const struct {
		int64_t seconds; /* from now */
		const char *text;
	} cases[] = {
		{ 0, "just now" }, { -59, "just now" }, { 59, "just now" }, { -60, "1 minute ago" }, { -179, "2 minutes ago" },
		{ 7200, "in 2 hours" }, { -86400, "1 day ago" }, { 40 * 86400, "in 1 month" }, { -800 * 86400, "2 years ago" },
	};
	char out[32];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int64_t now = INT64_C(1795241420000000);
		clock_relative(now + cases[i].seconds * CLOCK_SECOND, now, out);
		assert_string_equal(out, cases[i].text);
	}
	clock_relative(INT64_MAX, INT64_MIN, out);
	clock_relative(INT64_MIN, INT64_MAX, out);
	assert_non_null(strstr(out, "years ago"));
}

static void test_clocks(void **state)
{
	(void)state;
	int64_t wall = clock_wall(), boot = clock_boot();
	clock_sleep(2000);
	assert_true(clock_boot() - boot >= 2000);
	clock_sleep(-5);
	clock_test_offset(3600 * CLOCK_SECOND, 60 * CLOCK_SECOND);
	assert_in_range(clock_wall() - wall, 3600 * CLOCK_SECOND, 3700 * CLOCK_SECOND);
	assert_in_range(clock_boot() - boot, 60 * CLOCK_SECOND, 100 * CLOCK_SECOND);
	clock_test_offset(0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_parse_strict),
		cmocka_unit_test(test_parse_loose),
		cmocka_unit_test(test_relative),
		cmocka_unit_test(test_clocks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
