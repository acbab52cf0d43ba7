/* Values as pages show them: tables of what goes in and what is read. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "view/show.h"

static void test_sizes(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = { { 0, "0 B" }, { 999, "999 B" }, { 1000, "1.0 kB" }, { 1049, "1.0 kB" }, { 1050, "1.1 kB" }, { 9949, "9.9 kB" },
		{ 9950, "10 kB" }, { 12345, "12 kB" }, { 999449, "999 kB" }, { 999450, "1.0 MB" }, { 3400000, "3.4 MB" },
		{ 5000000000, "5.0 GB" }, { UINT64_MAX - 100, "18 EB" } };
	struct arena *a = arena_new();

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(size_text(a, cases[i].bytes), cases[i].text);
	arena_free(a);
}

static void test_counts_and_durations(void **state)
{
	(void)state;
	struct arena *a = arena_new();

	assert_string_equal(count_text(a, 0, "file"), "0 files");
	assert_string_equal(count_text(a, 1, "file"), "1 file");
	assert_string_equal(count_text(a, 1234, "file"), "1234 files");
	assert_string_equal(count_text(a, 10000, "file"), "10,000 files");
	assert_string_equal(count_text(a, 1234567, "act"), "1,234,567 acts");
	assert_string_equal(duration_text(a, -5), "0.0 s");
	assert_string_equal(duration_text(a, 1234567), "1.2 s");
	assert_string_equal(duration_text(a, 59 * CLOCK_SECOND), "59 s");
	assert_string_equal(duration_text(a, 200 * CLOCK_SECOND), "3 min 20 s");
	assert_string_equal(duration_text(a, 7500 * CLOCK_SECOND), "2 h 5 min");
	assert_string_equal(duration_text(a, 300 * CLOCK_SECOND), "5 min");
	assert_string_equal(duration_text(a, 7200 * CLOCK_SECOND), "2 h");
	assert_string_equal(period_text(a, 300 * CLOCK_SECOND), "5 minutes");
	assert_string_equal(period_text(a, 3600 * CLOCK_SECOND), "1 hour");
	assert_string_equal(period_text(a, 90 * CLOCK_SECOND), "90 seconds");
	assert_string_equal(period_text(a, 0), "0 seconds");
	assert_string_equal(time_exact(a, 1795241420 * CLOCK_SECOND), "21 November 2026, 06:10:20 UTC");
	assert_string_equal(time_exact(a, 0), "1 January 1970, 00:00:00 UTC");
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_sizes), cmocka_unit_test(test_counts_and_durations) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
