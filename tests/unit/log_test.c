#include "test.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"

static int saved_stderr, end_of_log;

static void capture(void)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	end_of_log = fds[0];
}

/* What was written since capture(), terminated. */
static const char *captured(void)
{
	static char text[65536];

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	ssize_t n = read(end_of_log, text, sizeof(text) - 1);
	close(end_of_log);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* The line behind its time and level. */
static const char *after_event(const char *line)
{
	const char *at = strstr(line, "event=");

	assert_non_null(at);
	return at;
}

static void test_values(void **state)
{
	static const struct {
		const char *value, *shown;
	} cases[] = {
		{ "plain/1.2", "plain/1.2" },
		{ "", "\"\"" },
		{ "two words", "\"two words\"" },
		{ "a=b", "\"a=b\"" },
		{ "say \"hi\" \\", "\"say \\\"hi\\\" \\\\\"" },
		{ "a\nb\tc\r", "\"a\\nb\\tc\\x0d\"" },
		{ "\x1b[31m", "\"\\x1b[31m\"" },
		{ "\xff\xc3", "\"\\xff\\xc3\"" },
		{ "sch\xc3\xb6n", "\"sch\xc3\xb6n\"" },
		{ "\xc2\x9b", "\"\\xc2\\x9b\"" }, /* C1: a terminal takes it for ESC [ */
		{ "\xe2\x80\xae" "abc", "\"\\xe2\\x80\\xaeabc\"" }, /* right-to-left override */
		{ NULL, "-" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char want[200];
		capture();
		log_event(LOG_LEVEL_INFO, "test.value", "v", cases[i].value, NULL);
		snprintf(want, sizeof(want), "event=test.value v=%s\n", cases[i].shown);
		assert_string_equal(after_event(captured()), want);
	}
}

static void test_line(void **state)
{
	(void)state;
	capture();
	log_request_set("r1");
	log_event(LOG_LEVEL_WARN, "sync.done", "run", log_u64(12), "files", log_u64(0), NULL);
	log_request_set(NULL);
	log_level_set(LOG_LEVEL_WARN);
	log_event(LOG_LEVEL_INFO, "not.shown", NULL);
	log_level_set(LOG_LEVEL_INFO);
	log_event(LOG_LEVEL_DEBUG, "not.shown", NULL);
	const char *text = captured();
	char at[CLOCK_TEXT_SIZE] = "";
	int64_t t;
	assert_memory_equal(text, "time=", 5);
	memcpy(at, text + 5, sizeof(at) - 1);
	assert_ok(clock_parse(&t, at));
	assert_string_equal(strchr(text, ' '), " level=warn event=sync.done req=r1 run=12 files=0\n");
}

/* Hostile lengths: one line, one newline at its end, still valid text, and no byte written outside. */
static void test_bound(void **state)
{
	(void)state;
	for (size_t n = 2000; n < 2100; n++) {
		char *huge = malloc(n + 1);
		for (size_t i = 0; i < n; i++)
			huge[i] = "\xe2\x82\xac"[i % 3];
		huge[n] = '\0';
		capture();
		log_event(LOG_LEVEL_INFO, "big", "a", huge, "b", huge, "c", huge, "d", huge, "e", "\x01\x02", "f", huge, NULL);
		const char *text = captured();
		size_t len = strlen(text);
		assert_true(len <= 8192);
		assert_ptr_equal(strchr(text, '\n'), text + len - 1);
		assert_true(utf8_valid(text, len));
		free(huge);
	}
	char controls[2049];
	memset(controls, 1, sizeof(controls) - 1);
	controls[sizeof(controls) - 1] = '\0';
	capture();
	log_event(LOG_LEVEL_INFO, "big", "a", controls, "b", controls, "c", "end", NULL);
	const char *text = captured();
	assert_true(strlen(text) <= 8192);
	assert_non_null(strstr(text, "...\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
