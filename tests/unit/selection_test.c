#include "test.h"

#include "core/selection.h"

static struct path P(const char *s)
{
	return (struct path){ s, strlen(s) };
}

static void digest(struct sha256 *out, const char *act, const char *path, enum file_state s, const struct sha256 *sha256, bool exec)
{
	struct selection_digest *d = selection_digest_new(act);

	selection_digest_add(d, P(path), s, sha256, exec);
	selection_digest_end_free(d, out);
}

static void test_digest(void **state)
{
	struct sha256 content, other, got, want;

	(void)state;
	sha256_of(&content, "abc", 3);
	sha256_of(&other, "abd", 3);
	/* the bytes that doc and DESIGN promise, so that anybody can compute it */
	static const char text[] = "{\"act\":\"sign\"}\n"
	    "{\"exec\":false,\"path\":\"/a \\\"q\\\"\",\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"state\":\"unsigned\"}\n";
	sha256_of(&want, text, strlen(text));
	digest(&got, "sign", "/a \"q\"", STATE_UNSIGNED, &content, false);
	assert_true(sha256_equal(&got, &want));
	/* whatever differs, the digest does */
	digest(&got, "review", "/a \"q\"", STATE_UNSIGNED, &content, false);
	assert_false(sha256_equal(&got, &want));
	digest(&got, "sign", "/a", STATE_UNSIGNED, &content, false);
	assert_false(sha256_equal(&got, &want));
	digest(&got, "sign", "/a \"q\"", STATE_CHANGED, &content, false);
	assert_false(sha256_equal(&got, &want));
	digest(&got, "sign", "/a \"q\"", STATE_UNSIGNED, &other, false);
	assert_false(sha256_equal(&got, &want));
	digest(&got, "sign", "/a \"q\"", STATE_UNSIGNED, &content, true);
	assert_false(sha256_equal(&got, &want));
	sha256_of(&want, "{\"act\":\"sign\"}\n", 15);
	selection_digest_end_free(selection_digest_new("sign"), &got);
	assert_true(sha256_equal(&got, &want));
	/* a path as long as they get, of what is escaped */
	char longest[PATH_LIMIT + 1];
	memset(longest, '"', PATH_LIMIT);
	for (size_t i = 0; i < PATH_LIMIT; i += 200)
		longest[i] = '/';
	longest[PATH_LIMIT] = '\0';
	digest(&got, "sign", longest, STATE_UNSIGNED, &content, false);
	longest[PATH_LIMIT - 1] = 'x';
	digest(&want, "sign", longest, STATE_UNSIGNED, &content, false);
	assert_false(sha256_equal(&got, &want));
}

/* Columns: sign, review, revoke. T: taken with its directory; n: only when named; -: refused. */
static const struct {
	enum file_state state;
	const char *acts;
} cases[] = {
	{ STATE_UNSIGNED, "TT-" },
	{ STATE_CHANGED, "TTT" },
	{ STATE_MISSING, "-TT" },
	{ STATE_REVOKED, "nT-" },
	{ STATE_PREAPPROVED, "nTT" },
	{ STATE_SIGNED, "nTT" },
	{ STATE_UNPUBLISHABLE, "--n" },
};

static void test_acts(void **state)
{
	static const char *const acts[] = { "sign", "review", "revoke" };

	(void)state;
	assert_int_equal(COUNT(cases), STATE_COUNT);
	for (size_t i = 0; i < COUNT(cases); i++)
		for (size_t k = 0; k < COUNT(acts); k++) {
			bool takes = selection_takes(acts[k], cases[i].state);
			const char *refusal = selection_refusal(acts[k], cases[i].state);
			char got = takes ? 'T' : refusal ? '-' : 'n';
			if (got != cases[i].acts[k] || (takes && refusal))
				fail_msg("%s %s: %c", acts[k], state_name(cases[i].state), got);
		}
	assert_false(selection_takes("rule", STATE_UNSIGNED));
	assert_non_null(selection_refusal("rule", STATE_UNSIGNED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_acts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
