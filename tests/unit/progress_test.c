/* progress: what of a kit's output says how far it is. */
#include "test.h"

#include "core/progress.h"

static const struct {
	const char *line;
	bool is, only;
	int64_t done, total;
} cases[] = {
	{ "{\"done\":0,\"total\":1}", true, true, 0, 1 },
	{ "{\"done\":7,\"total\":7}", true, true, 7, 7 },
	{ "{\"total\":9223372036854775807,\"done\":9223372036854775806}", true, true, INT64_MAX - 1, INT64_MAX },
	/* of nobody knows how many */
	{ "{\"done\":7}", true, true, 7, 0 },
	{ "{\"done\":7,\"total\":0}", true, true, 7, 0 },
	/* something else as well: that has to be kept */
	{ "{\"done\":7,\"total\":8,\"error\":\"x\"}", true, false, 7, 8 },
	{ "{\"done\":7,\"note\":\"x\"}", true, false, 7, 0 },
	/* no sense */
	{ "{\"done\":8,\"total\":7}", false, false, 0, 0 },
	{ "{\"done\":-1}", false, false, 0, 0 },
	{ "{\"done\":1,\"total\":-1}", false, false, 0, 0 },
	{ "{\"done\":\"1\"}", false, false, 0, 0 },
	{ "{\"done\":1.0,\"total\":2}", false, false, 0, 0 },
	{ "{\"done\":1,\"total\":\"<b>2</b>\"}", false, false, 0, 0 },
	{ "{\"done\":null}", false, false, 0, 0 },
	{ "{\"done\":[1],\"total\":{}}", false, false, 0, 0 },
	{ "{\"total\":7}", false, false, 0, 0 },
	{ "{}", false, false, 0, 0 },
};

static void says_how_far(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct sync_progress p = { 0 };
		json_t *v = NULL;
		bool only = true;

		/* Numbers that JSON for integers has no place for are refused before. */
		if (json_parse(&v, cases[i].line, strlen(cases[i].line))) {
			assert_false(cases[i].is);
			continue;
		}
		if (progress_of(v, &p, &only) != cases[i].is || only != cases[i].only || p.done != cases[i].done || p.total != cases[i].total)
			fail_msg("%s: %lld of %lld", cases[i].line, (long long)p.done, (long long)p.total);
		json_decref(v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_how_far),
	};
	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}

