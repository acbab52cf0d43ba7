#include "test.h"

#include "base/clock.h"
#include "core/record.h"

#define NODE "1111111111111111111111111111111111111111111111111111111111111111"
#define SHOWN "2222222222222222222222222222222222222222222222222222222222222222"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ZERO "0000000000000000000000000000000000000000000000000000000000000000"

/* The format for ever: these bytes must decode in every version to come. */
static const char GOLDEN[] =
    "{\"act\":\"sign\",\"actor\":{\"groups\":[\"own:@editors\",\"own:@web\"],\"name\":\"alice\",\"provider\":\"own\","
    "\"rule\":{\"path\":\"/docs\",\"principal\":\"own:@web\",\"role\":\"sign\"}},\"at\":\"2026-11-21T06:10:20.123456Z\","
    "\"fields\":{\"count\":3,\"final\":true,\"tags\":[\"a\",\"b\"],\"ticket\":\"T-1\"},"
    "\"files\":{\"count\":0,\"sha256\":\"" EMPTY "\"},\"meaning\":\"approved for publication\","
    "\"node\":\"" NODE "\",\"note\":\"sch\xc3\xb6n\\nsecond line\",\"op\":\"0189d2a0-1111-4222-8333-444455556666\","
    "\"policy\":\"" EMPTY "\",\"prev\":\"" ZERO "\",\"seq\":1,\"shown\":\"" SHOWN "\",\"site\":\"www\",\"v\":1}";

static const char *const groups[] = { "own:@web", "own:@editors", "own:@web" };

static struct record example(json_t **fields)
{
	struct record r = { .site = "www", .node = NODE, .seq = 1, .act = "sign", .at = INT64_C(1795241420123456),
		.actor = { .user = "own:alice", .name = "alice", .provider = "own", .groups = groups, .n_groups = 3 },
		.rule = { "own:@web", { "/docs", 5 }, ROLE_SIGN }, .shown = SHOWN, .meaning = "approved for publication",
		.note = "sch\xc3\xb6n\nsecond line" };

	assert_true(uuid_parse(&r.op, "0189d2a0-1111-4222-8333-444455556666"));
	sha256_of(&r.policy, "", 0);
	sha256_of(&r.files_sha256, "", 0);
	*fields = json_pack("{s:s, s:i, s:b, s:[s, s]}", "ticket", "T-1", "count", 3, "final", 1, "tags", "a", "b");
	r.fields = *fields;
	return r;
}

static void test_encode(void **state)
{
	struct buf out = BUF_INIT(100000);
	json_t *fields;
	struct record r = example(&fields);

	(void)state;
	assert_ok(record_encode(&r, &out));
	assert_string_equal(buf_text(&out), GOLDEN);
	json_decref(fields);
	buf_release(&out);
}

static void test_decode(void **state)
{
	struct arena *a = arena_new();
	struct record r;

	(void)state;
	assert_ok(record_decode(&r, GOLDEN, strlen(GOLDEN), a));
	assert_string_equal(r.site, "www");
	assert_string_equal(r.node, NODE);
	assert_int_equal(r.seq, 1);
	assert_string_equal(r.act, "sign");
	assert_true(r.at == INT64_C(1795241420123456));
	assert_string_equal(r.actor.user, "own:alice");
	assert_string_equal(r.actor.name, "alice");
	assert_string_equal(r.actor.provider, "own");
	assert_int_equal(r.actor.n_groups, 2);
	assert_string_equal(r.actor.groups[0], "own:@editors");
	assert_string_equal(r.rule.principal, "own:@web");
	assert_string_equal(r.rule.path.s, "/docs");
	assert_int_equal(r.rule.role, ROLE_SIGN);
	assert_string_equal(r.shown, SHOWN);
	assert_string_equal(r.note, "sch\xc3\xb6n\nsecond line");
	assert_int_equal(json_object_size(r.fields), 4);
	assert_true(sha256_zero(&r.prev));
	json_decref(r.fields);
	arena_free(a);
}

/* A copy of GOLDEN with one text replaced by another. */
static char *changed(const char *from, const char *to)
{
	const char *at = strstr(GOLDEN, from);
	size_t size = strlen(GOLDEN) + strlen(to) + 1;
	char *out = malloc(size);

	assert_non_null(at);
	snprintf(out, size, "%.*s%s%s", (int)(at - GOLDEN), GOLDEN, to, at + strlen(from));
	return out;
}

static void test_decode_accepts(void **state)
{
	static const struct {
		const char *from, *to;
	} good[] = {
		{ "\"rule\":{\"path\":\"/docs\",\"principal\":\"own:@web\",\"role\":\"sign\"}", "\"rule\":null" },
		{ "\"groups\":[\"own:@editors\",\"own:@web\"]", "\"groups\":[]" },
		{ "\"shown\":\"" SHOWN "\"", "\"shown\":\"as-staged\"" },
		{ "\"shown\":\"" SHOWN "\"", "\"shown\":\"\"" },
		{ "\"seq\":1,", "\"seq\":9007199254740991," },
		{ "\"site\":\"www\"", "\"site\":\"installation\"" },
		{ "\"count\":0,", "\"count\":250000," },
		{ "\"act\":\"sign\"", "\"act\":\"genesis\"" },
	};
	struct arena *a = arena_new();

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct record r;
		char *text = changed(good[i].from, good[i].to);
		if (record_decode(&r, text, strlen(text), a))
			fail_msg("refused: %s: %s", good[i].to, err_text());
		json_decref(r.fields);
		free(text);
	}
	arena_free(a);
}

static void test_decode_refuses(void **state)
{
	static const struct {
		const char *from, *to;
	} bad[] = {
		/* the same meaning, written in another way */
		{ "{\"act\"", "{ \"act\"" }, { "\"v\":1}", "\"v\":1}\n" }, { "\"v\":1", "\"v\":1.0" }, { "\"seq\":1", "\"seq\":01" },
		{ "sch\xc3\xb6n", "sch\\u00f6n" }, { "sign\",\"actor\"", "\\u0073ign\",\"actor\"" }, { "\\nsecond", "\\u000asecond" },
		{ "[\"own:@editors\",\"own:@web\"]", "[\"own:@web\",\"own:@editors\"]" },
		{ "[\"own:@editors\",\"own:@web\"]", "[\"own:@web\",\"own:@web\"]" },
		{ "\"site\":\"www\",\"v\":1", "\"v\":1,\"site\":\"www\"" },
		/* members */
		{ "\"v\":1", "\"v\":2" }, { "\"v\":1", "\"v\":1,\"x\":1" }, { "\"v\":1", "\"v\":1,\"v\":1" }, { ",\"v\":1", "" },
		{ "\"note\":\"sch\xc3\xb6n\\nsecond line\",", "" }, { "\"rule\":{\"path\"", "\"rule\":{\"p\":1,\"path\"" },
		{ ",\"provider\":\"own\"", ",\"provider\":null" },
		/* values */
		{ "\"seq\":1", "\"seq\":0" }, { "\"seq\":1", "\"seq\":-1" }, { "\"seq\":1", "\"seq\":9007199254740992" },
		{ "\"seq\":1", "\"seq\":\"1\"" }, { "\"site\":\"www\"", "\"site\":\"../x\"" }, { "\"node\":\"11", "\"node\":\"1A" },
		{ "\"node\":\"11", "\"node\":\"1" }, { "0189d2a0", "0189D2A0" }, { "20.123456Z", "20Z" }, { "2026-11-21", "2026-02-30" },
		{ "\"act\":\"sign\"", "\"act\":\"Sign\"" }, { "\"act\":\"sign\"", "\"act\":\"\"" }, { "\"path\":\"/docs\"", "\"path\":\"/../docs\"" },
		{ "\"role\":\"sign\"", "\"role\":\"root\"" }, { "\"principal\":\"own:@web\"", "\"principal\":\"@web\"" },
		{ "\"name\":\"alice\"", "\"name\":\"a/b\"" }, { "\"name\":\"alice\"", "\"name\":\"@alice\"" },
		{ "\"name\":\"alice\"", "\"name\":\"\"" }, { "[\"own:@editors\"", "[\"own:editors\"" }, { "[\"own:@editors\"", "[1" },
		{ "\"shown\":\"22", "\"shown\":\"2" }, { "\"ticket\":\"T-1\"", "\"ticket\":null" }, { "\"ticket\":\"T-1\"", "\"ticket\":{}" },
		{ "\"count\":3", "\"count\":3.5" }, { "\"tags\":[\"a\"", "\"tags\":[1" }, { "\"count\":0", "\"count\":250001" },
		{ "\"note\":\"sch", "\"note\":\"\\u0007sch" }, { "\"meaning\":\"a", "\"meaning\":\"\\na" }, { "\xc3\xb6", "\xc3" },
		{ "\"files\":{\"count\":0,", "\"files\":{" },
	};
	struct arena *a = arena_new();
	struct record r;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		char *text = changed(bad[i].from, bad[i].to);
		if (record_decode(&r, text, strlen(text), a) != ERR_INPUT || r.fields)
			fail_msg("accepted: %s", bad[i].to);
		free(text);
	}
	/* cut anywhere */
	for (size_t n = 0; n < strlen(GOLDEN); n++)
		assert_err(ERR_INPUT, record_decode(&r, GOLDEN, n, a));
	static const char *const others[] = { "", "{}", "[]", "1", "null", "{\"actor\":{\"rule\":[]}}" };
	for (size_t i = 0; i < COUNT(others); i++)
		assert_err(ERR_INPUT, record_decode(&r, others[i], strlen(others[i]), a));
	arena_free(a);
}

static void test_encode_refuses(void **state)
{
	struct buf out = BUF_INIT(100000);
	json_t *fields;
	struct record good = example(&fields), r = good;
	char *note = malloc(RECORD_NOTE_LIMIT + 2);

	(void)state;
	memset(note, 'n', RECORD_NOTE_LIMIT + 1);
	note[RECORD_NOTE_LIMIT + 1] = '\0';
	r.note = note;
	assert_err(ERR_TOO_BIG, record_encode(&r, &out));
	note[RECORD_NOTE_LIMIT] = '\0';
	assert_ok(record_encode(&r, &out));
	r.note = "bell\a";
	assert_err(ERR_INPUT, record_encode(&r, &out));
	r = good;
	r.at = -1;
	assert_err(ERR_INPUT, record_encode(&r, &out));
	r = good;
	r.seq = 0;
	assert_err(ERR_INPUT, record_encode(&r, &out));
	r = good;
	r.actor.name = "\xff";
	assert_err(ERR_INPUT, record_encode(&r, &out));
	r = good;
	r.fields = json_pack("{s:f}", "x", 1.5);
	assert_err(ERR_INPUT, record_encode(&r, &out));
	json_decref(r.fields);
	r.fields = NULL;
	assert_err(ERR_INPUT, record_encode(&r, &out));
	struct buf small = BUF_INIT(100);
	assert_err(ERR_TOO_BIG, record_encode(&good, &small));
	json_decref(fields);
	buf_release(&out);
	buf_release(&small);
	free(note);
}

static const char LINE[] = "{\"blob\":\"0102030000000000000000000000000000000000\",\"exec\":true,\"md5\":\"d41d8cd98f00b204e9800998ecf8427e\","
    "\"mtime\":\"2026-11-21T06:10:20.123456Z\",\"path\":\"/a \\\"b\\\"\\\\c\",\"replaces\":7,\"sha256\":\"" EMPTY "\",\"size\":5}\n";

static void test_file(void **state)
{
	struct record_file f = { .path = { "/a \"b\"\\c", 8 }, .print = { .size = 5, .exec = true },
		.mtime = INT64_C(1795241420123456), .blob = { { 1, 2, 3 } }, .replaces = 7 }, back;
	struct buf out = BUF_INIT(10000);
	struct arena *a = arena_new();

	(void)state;
	md5_of(&f.print.md5, "", 0);
	sha256_of(&f.print.sha256, "", 0);
	record_file_encode(&f, &out);
	assert_string_equal(buf_text(&out), LINE);
	assert_ok(record_file_decode(&back, LINE, strlen(LINE), a));
	assert_true(path_equal(back.path, f.path));
	assert_true(fingerprint_equal(&back.print, &f.print));
	assert_memory_equal(back.print.md5.b, f.print.md5.b, 16);
	assert_memory_equal(back.blob.b, f.blob.b, BLOB_ID_SIZE);
	assert_true(back.mtime == f.mtime && back.replaces == 7);
	/* a file older than 1970 */
	f.mtime = -5;
	buf_reset(&out);
	record_file_encode(&f, &out);
	assert_ok(record_file_decode(&back, out.p, out.len, a));
	assert_true(back.mtime == 0);
	for (size_t n = 0; n < strlen(LINE); n++)
		assert_err(ERR_INPUT, record_file_decode(&back, LINE, n, a));
	for (size_t i = 0; i < strlen(LINE); i++) {
		/* any other byte in its place is refused, or is another valid line that writes itself */
		char text[sizeof(LINE)];
		memcpy(text, LINE, sizeof(LINE));
		text[i] ^= 1;
		if (record_file_decode(&back, text, strlen(text), a) == ERR_OK) {
			buf_reset(&out);
			record_file_encode(&back, &out);
			assert_string_equal(buf_text(&out), text);
		}
	}
	arena_free(a);
	buf_release(&out);
}

static void test_message(void **state)
{
	struct buf out = BUF_INIT(10000);
	struct sha256 digest = { { 0xab } };
	json_t *fields;
	struct record r = example(&fields);
#define TRAILERS "\n\nSeq: 1\nOp: 0189d2a0-1111-4222-8333-444455556666\nRecord-SHA256: ab00000000000000000000000000000000000000000000000000000000000000\n"

	(void)state;
	r.files_count = 2;
	record_message(&r, &digest, &out);
	assert_string_equal(buf_text(&out), "sign 2 files: sch\xc3\xb6n..." TRAILERS);
	static const struct {
		uint64_t count;
		const char *note, *subject;
	} cases[] = {
		{ 0, "", "sign" },
		{ 1, "", "sign 1 file" },
		{ 1, "ok", "sign 1 file: ok" },
		/* a note cannot write trailers of its own */
		{ 0, "x\n\nSeq: 9", "sign: x..." },
		{ 0, "\n", "sign: ..." },
		{ 0, "0123456789012345678901234567890123456789012345678901234567\xe2\x82\xac", "sign: 0123456789012345678901234567890123456789012345678901234567..." },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char want[500];
		buf_reset(&out);
		r.files_count = cases[i].count;
		r.note = cases[i].note;
		record_message(&r, &digest, &out);
		snprintf(want, sizeof(want), "%s%s", cases[i].subject, TRAILERS);
		assert_string_equal(buf_text(&out), want);
	}
	json_decref(fields);
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_decode_accepts),
		cmocka_unit_test(test_decode_refuses),
		cmocka_unit_test(test_encode_refuses),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_message),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
