/* auth/: passwords and the throttle of failed logins, without a database. */
#include "auth/internal.h"
#include "base/clock.h"
#include "test.h"

static void passwords(void **state)
{
	char hash[384], again[384];
	char *dummy = password_setting();
	char longest[PASSWORD_LIMIT + 2];

	(void)state;
	assert_int_equal(auth_password_hash("correct horse", hash), ERR_OK);
	assert_int_equal(strncmp(hash, "$y$", 3), 0);
	assert_int_equal(auth_password_hash("correct horse", again), ERR_OK);
	assert_string_not_equal(hash, again);
	assert_true(password_matches("correct horse", hash, dummy));
	assert_true(password_matches("correct horse", again, dummy));
	assert_false(password_matches("correct horsf", hash, dummy));
	assert_false(password_matches("", hash, dummy));
	/* An unknown name: the dummy is computed, and nothing matches it. */
	assert_false(password_matches("correct horse", "", dummy));
	assert_false(password_matches("correct horse", "not a hash", dummy));
	assert_false(password_matches("x", "*", dummy));

	assert_int_equal(auth_password_hash("short77", again), ERR_INPUT);
	assert_int_equal(auth_password_hash("bad\xff\xfeutf8", again), ERR_INPUT);
	memset(longest, 'a', sizeof longest);
	longest[PASSWORD_LIMIT + 1] = '\0';
	assert_int_equal(auth_password_hash(longest, again), ERR_INPUT);
	longest[PASSWORD_LIMIT] = '\0';
	assert_int_equal(auth_password_hash(longest, again), ERR_OK);
	assert_true(password_matches(longest, again, dummy));
	free(dummy);
}

static int64_t offset;

static void pass(int64_t us)
{
	offset += us;
	clock_test_offset(offset, offset);
}

static void throttle_grows(void **state)
{
	struct throttle *t = throttle_new();
	int64_t last = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(throttle_begin(t, "own:alice", "192.0.2.1"), 0);
	/* The fourth waits, and asking again does not make it longer. */
	last = throttle_begin(t, "own:alice", "192.0.2.1");
	assert_true(last > 0 && last <= CLOCK_SECOND);
	assert_true(throttle_begin(t, "own:alice", "192.0.2.1") <= last);
	/* Another person from the same address, and the same person from elsewhere, are not held up. */
	assert_int_equal(throttle_begin(t, "own:bob", "192.0.2.1"), 0);
	assert_int_equal(throttle_begin(t, "own:alice", "192.0.2.2"), 0);
	/* Waiting helps, each failure waits longer than the one before, never past a minute. */
	for (int i = 0; i < 12; i++) {
		int64_t wait = throttle_begin(t, "own:alice", "192.0.2.1");

		assert_true(wait <= 60 * CLOCK_SECOND);
		pass(wait + 1);
		assert_int_equal(throttle_begin(t, "own:alice", "192.0.2.1"), 0);
	}
	assert_true(throttle_begin(t, "own:alice", "192.0.2.1") > 30 * CLOCK_SECOND);
	/* After a rest it is forgotten. */
	pass(16 * 60 * CLOCK_SECOND);
	for (int i = 0; i < 3; i++)
		assert_int_equal(throttle_begin(t, "own:alice", "192.0.2.1"), 0);
	throttle_free(t);
}

static void throttle_never_locks_out(void **state)
{
	struct throttle *t = throttle_new();
	char address[32];

	(void)state;
	assert_int_equal(throttle_begin(t, "own:alice", "198.51.100.7"), 0);
	throttle_success(t, "own:alice", "198.51.100.7");
	/* Strangers from everywhere try against her name. */
	for (int i = 0; i < 200; i++) {
		snprintf(address, sizeof address, "203.0.113.%d", i);
		throttle_begin(t, "own:alice", address);
	}
	assert_true(throttle_begin(t, "own:alice", "203.0.113.250") > 0);
	assert_int_equal(throttle_begin(t, "own:alice", "198.51.100.7"), 0);
	throttle_success(t, "own:alice", "198.51.100.7");
	/* One address that tries many names is slowed down as well. */
	for (int i = 0; i < 30; i++) {
		char name[32];

		snprintf(name, sizeof name, "own:user%d", i);
		assert_int_equal(throttle_begin(t, name, "203.0.113.99"), 0);
	}
	assert_true(throttle_begin(t, "own:carol", "203.0.113.99") > 0);
	throttle_free(t);
}

static void throttle_takes_back(void **state)
{
	struct throttle *t = throttle_new();

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(throttle_begin(t, "own:dave", "192.0.2.9"), 0);
		throttle_cancel(t, "own:dave", "192.0.2.9");
	}
	for (int i = 0; i < 50; i++) {
		assert_int_equal(throttle_begin(t, "own:dave", "192.0.2.9"), 0);
		throttle_success(t, "own:dave", "192.0.2.9");
	}
	throttle_free(t);
}

static void *log_in(void *arg)
{
	struct throttle *t = arg;
	static _Atomic int next;
	char name[32];

	snprintf(name, sizeof name, "login:p%d", atomic_fetch_add(&next, 1));
	for (int i = 0; i < 20000; i++) {
		if (throttle_begin(t, name, "192.0.2.77"))
			return t;
		throttle_success(t, name, "192.0.2.77");
	}
	return NULL;
}

/* Sixteen people behind one address, all with the right password: none of them waits. */
static void throttle_many_at_once(void **state)
{
	struct throttle *t = throttle_new();
	pthread_t threads[16];
	void *result;

	(void)state;
	for (int i = 0; i < 16; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_in, t), 0);
	for (int i = 0; i < 16; i++) {
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
	throttle_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passwords),
		cmocka_unit_test(throttle_grows),
		cmocka_unit_test(throttle_never_locks_out),
		cmocka_unit_test(throttle_takes_back),
		cmocka_unit_test(throttle_many_at_once),
	};

	return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
