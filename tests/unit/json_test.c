#include "test.h"

#include "base/json.h"

static void assert_canonical(const char *text, const char *want)
{
	struct buf out = BUF_INIT(10000);
	json_t *v;

	assert_ok(json_parse(&v, text, strlen(text)));
	assert_ok(json_canonical(&out, v));
	assert_string_equal(buf_text(&out), want);
	/* the canonical form is its own canonical form */
	json_t *again;
	struct buf twice = BUF_INIT(10000);
	assert_ok(json_parse(&again, out.p, out.len));
	assert_ok(json_canonical(&twice, again));
	assert_string_equal(buf_text(&twice), want);
	json_decref(v);
	json_decref(again);
	buf_release(&out);
	buf_release(&twice);
}

static void test_canonical(void **state)
{
	(void)state;
	assert_canonical(" { \"b\" : [ 1 , true , null ] , \"a\" : { } } ", "{\"a\":{},\"b\":[1,true,null]}");
	assert_canonical("[9007199254740991,-9007199254740991,0,-1]", "[9007199254740991,-9007199254740991,0,-1]");
	assert_canonical("\"\\u0041\\/\\u20ac\\ud83d\\udea2\"", "\"A/\xe2\x82\xac\xf0\x9f\x9a\xa2\"");
	/* RFC 8785, 3.2.2.2: the shortest escapes, lower-case hex, nothing else escaped */
	assert_canonical("\"\\b\\t\\n\\f\\r\\\"\\\\\\u001b\\u0001\\u007f\"", "\"\\b\\t\\n\\f\\r\\\"\\\\\\u001b\\u0001\x7f\"");
	/* RFC 8785, 3.2.3: names by UTF-16 code units; U+1F600 comes before U+FB33 */
	assert_canonical("{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}",
	    "{\"\\r\":2,\"1\":4,\"\xc2\x80\":6,\"\xc3\xb6\":7,\"\xe2\x82\xac\":1,\"\xf0\x9f\x98\x80\":5,\"\xef\xac\xb3\":3}");
	assert_canonical("{\"ab\":1,\"a\":2,\"\":3,\"B\":4}", "{\"\":3,\"B\":4,\"a\":2,\"ab\":1}");
}

static void test_canonical_refuses(void **state)
{
	static const char *const bad[] = { "1.5", "[1e3]", "1.0", "9007199254740992", "-9007199254740992" };
	struct buf out = BUF_INIT(1000);

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		json_t *v;
		assert_ok(json_parse(&v, bad[i], strlen(bad[i])));
		assert_err(ERR_INPUT, json_canonical(&out, v));
		json_decref(v);
	}
	struct buf small = BUF_INIT(3);
	json_t *v = json_pack("[i]", 12345);
	assert_err(ERR_TOO_BIG, json_canonical(&small, v));
	json_decref(v);
	/* a tree made by hand that is too deep */
	v = json_array();
	for (int i = 0; i < 40; i++) {
		json_t *outer = json_array();
		json_array_append_new(outer, v);
		v = outer;
	}
	assert_err(ERR_INPUT, json_canonical(&out, v));
	json_decref(v);
	buf_release(&out);
	buf_release(&small);
}

static void nested(char *out, int depth)
{
	memset(out, '[', (size_t)depth);
	memset(out + depth, ']', (size_t)depth);
	out[2 * depth] = '\0';
}

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} bad[] = {
#define BAD(s) { s, sizeof(s) - 1 }
		BAD(""), BAD(" "), BAD("{"), BAD("{}x"), BAD("{} {}"), BAD("[1,]"), BAD("{\"a\":1,\"a\":1}"),
		BAD("{\"a\":{\"b\":1,\"\\u0062\":2}}"), BAD("{}\0"), BAD("\"a\0b\""), BAD("\"\\u0000\""), BAD("\"\xff\""),
		BAD("\"\xed\xa0\x80\""), BAD("\"\\ud800\""), BAD("nul"), BAD("NaN"), BAD("01"), BAD("+1"), BAD("'a'"),
		BAD("99999999999999999999"), BAD("\"a\nb\""), BAD("// c\n1"), BAD("\xef\xbb\xbf{}"),
	};
	char deep[300];
	json_t *v;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (json_parse(&v, bad[i].text, bad[i].len) != ERR_INPUT || v)
			fail_msg("accepted: %s", bad[i].text);
	nested(deep, 32);
	assert_ok(json_parse(&v, deep, strlen(deep)));
	json_decref(v);
	nested(deep, 33);
	assert_err(ERR_INPUT, json_parse(&v, deep, strlen(deep)));
	/* brackets in a string are no depth */
	const char *text = "\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[\"";
	assert_ok(json_parse(&v, text, strlen(text)));
	json_decref(v);
	/* not terminated */
	assert_ok(json_parse(&v, "12", 1));
	assert_int_equal(json_integer_value(v), 1);
	json_decref(v);
}

static void test_getters(void **state)
{
	const char *text = "{\"s\":\"x\",\"i\":5,\"b\":true,\"l\":[1],\"o\":{},\"n\":null}";
	bool bad = false;
	json_t *v;

	(void)state;
	assert_ok(json_parse(&v, text, strlen(text)));
	assert_string_equal(json_get_str(v, "s", &bad), "x");
	assert_int_equal(json_get_int(v, "i", 0, &bad), 5);
	assert_true(json_get_bool(v, "b", false, &bad));
	assert_non_null(json_get_list(v, "l", &bad));
	assert_non_null(json_get_obj(v, "o", &bad));
	assert_null(json_get_str(v, "absent", &bad));
	assert_null(json_get_str(v, "n", &bad));
	assert_int_equal(json_get_int(v, "absent", -7, &bad), -7);
	assert_true(json_get_bool(v, "n", true, &bad));
	assert_null(json_get_list(v, "n", &bad));
	assert_null(json_get_obj(v, "absent", &bad));
	assert_false(bad);
	for (int i = 0; i < 6; i++) {
		bad = false;
		switch (i) {
		case 0:
			assert_null(json_get_str(v, "i", &bad));
			break;
		case 1:
			assert_int_equal(json_get_int(v, "s", 3, &bad), 3);
			break;
		case 2:
			assert_false(json_get_bool(v, "i", false, &bad));
			break;
		case 3:
			assert_null(json_get_list(v, "o", &bad));
			break;
		case 4:
			assert_null(json_get_obj(v, "l", &bad));
			break;
		case 5:
			assert_null(json_get_str(NULL, "x", &bad));
			break;
		}
		assert_true(bad);
		json_get_str(v, "s", &bad);
		assert_true(bad);
	}
	json_decref(v);
}

static void test_writer(void **state)
{
	struct buf b = BUF_INIT(1000);
	struct json_out o = { .b = &b };

	(void)state;
	json_out_begin(&o, '{');
	json_out_kstr(&o, "s", "q\"\n");
	json_out_kstr(&o, "none", NULL);
	json_out_kint(&o, "min", INT64_MIN);
	json_out_kbool(&o, "yes", true);
	json_out_name(&o, "items");
	json_out_begin(&o, '[');
	json_out_end(&o, ']');
	json_out_name(&o, "more");
	json_out_begin(&o, '[');
	json_out_int(&o, 0);
	json_out_begin(&o, '{');
	json_out_end(&o, '}');
	json_out_str(&o, "\xff" "a\x01");
	json_out_strn(&o, "a\0b", 3);
	json_out_null(&o);
	json_out_bool(&o, false);
	json_out_end(&o, ']');
	json_out_end(&o, '}');
	assert_string_equal(buf_text(&b), "{\"s\":\"q\\\"\\n\",\"none\":null,\"min\":-9223372036854775808,\"yes\":true,\"items\":[],"
	                                  "\"more\":[0,{},\"\xef\xbf\xbd" "a\\u0001\",\"a\\u0000b\",null,false]}");
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_canonical_refuses),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_getters),
		cmocka_unit_test(test_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
