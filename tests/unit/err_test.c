#include "test.h"

#include <errno.h>
#include <pthread.h>

#include "base/utf8.h"

static void test_sentence(void **state)
{
	(void)state;
	assert_int_equal(err_set(ERR_STALE, "%s changed", "/a"), ERR_STALE);
	assert_string_equal(err_text(), "/a changed");
	assert_int_equal(err_prefix(ERR_INPUT, "line %d", 3), ERR_INPUT);
	assert_string_equal(err_text(), "line 3: /a changed");
	errno = ENOENT;
	assert_int_equal(err_wait(7, "in %d s", 7), ERR_WAIT);
	assert_string_equal(err_text(), "in 7 s");
	assert_int_equal(err_wait_seconds(), 7);
	assert_int_equal(err_sys(ERR_FAILED, "open"), ERR_FAILED);
	assert_string_equal(err_text(), "open: No such file or directory");
	assert_int_equal(errno, ENOENT);
	/* the sentence itself as an argument */
	err_set(ERR_FAILED, "twice: %s", err_text());
	assert_string_equal(err_text(), "twice: open: No such file or directory");
}

static void test_cut(void **state)
{
	char text[3000];

	(void)state;
	/* whatever the offset, a cut sentence ends between characters */
	for (size_t shift = 0; shift < 4; shift++) {
		memset(text, 'x', shift);
		for (size_t i = shift; i + 4 < sizeof(text); i += 4)
			memcpy(text + i, "\xf0\x9f\x9a\xa2", 5);
		err_set(ERR_INPUT, "%s", text);
		assert_in_range(strlen(err_text()), 1018, 1023);
		assert_true(utf8_valid(err_text(), strlen(err_text())));
		err_prefix(ERR_INPUT, "prefix");
		assert_true(utf8_valid(err_text(), strlen(err_text())));
		errno = EIO;
		err_sys(ERR_INPUT, "%s", text);
		assert_true(utf8_valid(err_text(), strlen(err_text())));
	}
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_set(ERR_INPUT, "%s", text);
	assert_int_equal(strlen(err_text()), 1023);
}

static void *other_thread(void *seen)
{
	*(bool *)seen = *err_text() != '\0';
	err_set(ERR_FAILED, "mine");
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t;
	bool seen = true;

	(void)state;
	err_set(ERR_FAILED, "ours");
	assert_int_equal(pthread_create(&t, NULL, other_thread, &seen), 0);
	pthread_join(t, NULL);
	assert_false(seen);
	assert_string_equal(err_text(), "ours");
}

static void test_names(void **state)
{
	(void)state;
	for (int i = ERR_OK; i <= ERR_FAILED; i++)
		assert_string_not_equal(err_name((enum err)i), "unknown");
	assert_string_equal(err_name((enum err)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sentence),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
