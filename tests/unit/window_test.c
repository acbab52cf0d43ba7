/*
 * window: the scheduler's rule as a table. Times in minutes; now is minute 1000, the quiet period 5, the longest
 * interval 60.
 */
#include "test.h"

#include "base/clock.h"
#include "core/window.h"

#define NOW 1000
#define NEVER (-1)

static const struct {
	const char *what;
	int first_pending, last_approval, last_start, retry_at;
	bool forced, running;
	int due, at_latest;
	enum window_reason reason;
} cases[] = {
	{ "nothing pending: only the longest interval", NEVER, NEVER, 980, NEVER, false, false, 1040, 1040, WINDOW_LONGEST },
	{ "nothing pending, an old approval was released", NEVER, 970, 980, NEVER, false, false, 1040, 1040, WINDOW_LONGEST },
	{ "one approval: five minutes later", 998, 998, 980, NEVER, false, false, 1003, 1040, WINDOW_QUIET },
	{ "each further approval moves it", 990, 999, 980, NEVER, false, false, 1004, 1040, WINDOW_QUIET },
	{ "an approval just now", 990, 1000, 980, NEVER, false, false, 1005, 1040, WINDOW_QUIET },
	{ "the quiet period is over: at once", 990, 995, 980, NEVER, false, false, 1000, 1040, WINDOW_QUIET },
	{ "it was over while the server was down: once, at start", 900, 910, 980, NEVER, false, false, 915, 1040, WINDOW_QUIET },
	{ "the longest interval caps approvals without end", 945, 1000, 941, NEVER, false, false, 1001, 1001, WINDOW_LONGEST },
	{ "the longest interval passed", NEVER, NEVER, 900, NEVER, false, false, 960, 960, WINDOW_LONGEST },
	{ "both at the same minute: people waited for the quiet one", 990, 995, 940, NEVER, false, false, 1000, 1000, WINDOW_QUIET },
	{ "no cycle yet: now", NEVER, NEVER, NEVER, NEVER, false, false, 1000, 1000, WINDOW_LONGEST },
	{ "no cycle yet, an approval just now: now", 1000, 1000, NEVER, NEVER, false, false, 1000, 1000, WINDOW_LONGEST },
	{ "forced: now", NEVER, NEVER, 999, NEVER, true, false, 1000, 1000, WINDOW_FORCED },
	{ "forced while people sign: now", 1000, 1000, 999, NEVER, true, false, 1000, 1000, WINDOW_FORCED },
	{ "a failed target wants another try", NEVER, NEVER, 980, 1002, false, false, 1002, 1002, WINDOW_RETRY },
	{ "a retry before the quiet period ends", 999, 999, 980, 1002, false, false, 1002, 1002, WINDOW_RETRY },
	{ "the quiet period ends before the retry", 996, 996, 980, 1030, false, false, 1001, 1030, WINDOW_QUIET },
	{ "a retry behind the longest interval is none", NEVER, NEVER, 980, 1050, false, false, 1040, 1040, WINDOW_LONGEST },
	{ "running: never", 990, 990, 900, 990, false, true, NEVER, NEVER, WINDOW_NONE },
	{ "running and forced: never until it ends", 990, 990, 900, 990, true, true, NEVER, NEVER, WINDOW_NONE },
	{ "a start stored in the future: at most the longest interval away", NEVER, NEVER, 5000, NEVER, false, false, 1060, 1060, WINDOW_LONGEST },
	{ "an approval stored in the future", 5000, 5000, 980, NEVER, false, false, 1040, 1040, WINDOW_LONGEST },
	{ "both in the future", 5000, 5000, 5000, NEVER, false, false, 1060, 1060, WINDOW_QUIET },
	{ "a retry stored in the future", NEVER, NEVER, 5000, 9000, false, false, 1060, 1060, WINDOW_LONGEST },
	{ "pending without a time of approval: since it is pending", 998, NEVER, 980, NEVER, false, false, 1003, 1040, WINDOW_QUIET },
};

/* With holds and take-downs. held, end: 0: none. */
static const struct {
	const char *what;
	int first_pending, last_start, retry_at, held, end;
	bool forced, down, tried;
	int due, at_latest;
	enum window_reason reason;
} holds[] = {
	{ "held: what is pending waits for the end", 990, 980, NEVER, 1100, 0, false, false, false, 1100, 1100, WINDOW_QUIET },
	{ "held: the longest interval waits too", NEVER, 900, NEVER, 1100, 0, false, false, false, 1100, 1100, WINDOW_LONGEST },
	{ "held: and a force, and a retry", 990, 980, 1000, 1100, 0, true, false, false, 1100, 1100, WINDOW_FORCED },
	{ "a hold that ends before anything is due changes nothing", NEVER, 990, NEVER, 1010, 0, false, false, false, 1050, 1050, WINDOW_LONGEST },
	{ "a hold that ended while the server was down: once, at start", 990, 980, NEVER, 995, 0, false, false, false, 995, 1040, WINDOW_QUIET },
	{ "a path is let go then", NEVER, 990, NEVER, 0, 1020, false, false, false, 1020, 1020, WINDOW_RELEASED },
	{ "a path was let go while the server was down", NEVER, 990, NEVER, 0, 995, false, false, false, 995, 995, WINDOW_RELEASED },
	{ "taken down: now, through a hold", NEVER, 999, NEVER, 1100, 0, false, true, false, 1000, 1000, WINDOW_DOWN },
	{ "taken down: before a force", NEVER, 999, NEVER, 0, 0, true, true, false, 1000, 1000, WINDOW_DOWN },
	{ "taken down, and a target failed: with its next try", NEVER, 999, 1003, 1100, 0, false, true, true, 1003, 1003, WINDOW_DOWN },
	{ "taken down while a retry of before waits: now", NEVER, 999, 1003, 0, 0, false, true, false, 1000, 1000, WINDOW_DOWN },
	{ "taken down, and a target failed: the others go on", 997, 980, 1020, 0, 0, false, true, true, 1002, 1020, WINDOW_QUIET },
	{ "a force too", NEVER, 999, 1020, 0, 0, true, true, true, 1000, 1000, WINDOW_FORCED },
	{ "not through a hold", 990, 980, 1020, 1100, 0, true, true, true, 1020, 1020, WINDOW_DOWN },
	{ "what is due at the same time is the take-down", 995, 980, 1000, 0, 0, false, true, true, 1000, 1000, WINDOW_DOWN },
	{ "and so is what was due a while ago", 997, 980, 990, 0, 0, false, true, true, 990, 990, WINDOW_DOWN },
	{ "nobody failed it: now", NEVER, 999, NEVER, 0, 0, false, true, true, 1000, 1000, WINDOW_DOWN },
};

static int64_t minutes(int m)
{
	return m == NEVER ? WINDOW_NEVER : m * 60 * CLOCK_SECOND;
}

static void test_holds(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(holds); i++) {
		struct window_facts f = {
			.now = minutes(NOW),
			.quiet = minutes(5),
			.longest = minutes(60),
			.first_pending = minutes(holds[i].first_pending),
			.last_approval = minutes(holds[i].first_pending),
			.last_start = minutes(holds[i].last_start),
			.retry_at = minutes(holds[i].retry_at),
			.down_retry = minutes(holds[i].retry_at),
			.held_until = minutes(holds[i].held),
			.hold_end = minutes(holds[i].end),
			.forced = holds[i].forced,
			.down = holds[i].down,
			.down_tried = holds[i].tried,
		};
		struct window_answer a = window_next(&f);

		if (a.due != minutes(holds[i].due) || a.at_latest != minutes(holds[i].at_latest) || a.reason != holds[i].reason)
			fail_msg("%s: due %lld, at the latest %lld, %s", holds[i].what, (long long)(a.due / minutes(1)), (long long)(a.at_latest / minutes(1)),
			    window_reason_name(a.reason));
		f.running = true;
		assert_true(window_next(&f).due == WINDOW_NEVER);
	}
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct window_facts f = {
			.now = minutes(NOW),
			.quiet = minutes(5),
			.longest = minutes(60),
			.first_pending = minutes(cases[i].first_pending),
			.last_approval = minutes(cases[i].last_approval),
			.last_start = minutes(cases[i].last_start),
			.retry_at = minutes(cases[i].retry_at),
			.forced = cases[i].forced,
			.running = cases[i].running,
		};
		struct window_answer a = window_next(&f);
		if (a.due != minutes(cases[i].due) || a.at_latest != minutes(cases[i].at_latest) || a.reason != cases[i].reason)
			fail_msg("%s: due %lld, at latest %lld, %s", cases[i].what, (long long)(a.due / 60 / CLOCK_SECOND),
			    (long long)(a.at_latest / 60 / CLOCK_SECOND), window_reason_name(a.reason));
	}
}

/* Signing may move the due time back and forth, never past at_latest. */
static void test_at_latest_holds(void **state)
{
	(void)state;
	for (int approval = 900; approval <= NOW; approval++)
		for (int start = 900; start <= NOW; start++) {
			struct window_facts f = { .now = minutes(NOW), .quiet = minutes(5), .longest = minutes(60),
				.first_pending = minutes(900), .last_approval = minutes(approval), .last_start = minutes(start),
				.retry_at = WINDOW_NEVER };
			struct window_answer a = window_next(&f);
			assert_true(a.due <= a.at_latest);
			assert_true(a.at_latest <= minutes(start + 60));
			assert_true(a.due <= minutes(approval + 5));
		}
}

static void test_no_overflow(void **state)
{
	struct window_facts f = { .now = INT64_MAX - 1, .quiet = INT64_MAX, .longest = INT64_MAX, .first_pending = INT64_MAX - 1,
		.last_approval = INT64_MAX - 1, .last_start = INT64_MAX - 1, .retry_at = WINDOW_NEVER };

	(void)state;
	struct window_answer a = window_next(&f);
	assert_true(a.due == WINDOW_NEVER && a.at_latest == WINDOW_NEVER);
}

static void test_stored(void **state)
{
	(void)state;
	/* half an hour ago by the wall clock is half an hour ago by the running one */
	assert_true(window_stored(minutes(970), minutes(NOW), minutes(50)) == minutes(20));
	/* a machine that has run for less than that */
	assert_true(window_stored(minutes(900), minutes(NOW), minutes(50)) == minutes(50) - minutes(100));
	/* the wall clock jumped back */
	assert_true(window_stored(minutes(5000), minutes(NOW), minutes(50)) == minutes(50));
	assert_true(window_stored(WINDOW_NEVER, minutes(NOW), minutes(50)) == WINDOW_NEVER);
	assert_true(window_stored(INT64_MIN, minutes(NOW), minutes(50)) == minutes(50));
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(window_reason_name(WINDOW_NONE), "none");
	assert_string_equal(window_reason_name(WINDOW_RETRY), "retry");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_holds),
		cmocka_unit_test(test_at_latest_holds),
		cmocka_unit_test(test_no_overflow),
		cmocka_unit_test(test_stored),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
