/*
 * The parts of web/ that need no server: the guard's verdicts, fields, addresses, media types.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "web/form.h"
#include "web/guard.h"
#include "web/mime.h"
#include "web/web.h"

/* lines: name, value, name, value, ... */
struct shape {
	const char *label;
	unsigned status; /* 0: fine */
	const char *version, *target;
	const char *lines[6];
	bool body, chunked;
	uint64_t length;
};

static unsigned judge(const struct shape *s, struct guard_body *body)
{
	struct guard_header headers[3];
	size_t n = 0;
	const char *why = NULL;

	for (; n < 3 && s->lines[2 * n]; n++)
		headers[n] = (struct guard_header){ s->lines[2 * n], strlen(s->lines[2 * n]), s->lines[2 * n + 1], strlen(s->lines[2 * n + 1]) };
	struct guard_facts f = {
		.method = "GET",
		.version = s->version ? s->version : "HTTP/1.1",
		.target = s->target ? s->target : "/",
		.target_len = strlen(s->target ? s->target : "/"),
		.headers = headers,
		.n_headers = n,
		.whole_target = true,
	};
	unsigned status = guard_check(&f, body, &why);
	if (status)
		assert_non_null(why);
	return status;
}

static void test_guard(void **state)
{
	static const struct shape SHAPES[] = {
		{ "plain", 0, NULL, NULL, { "Host", "localhost" } },
		{ "with port", 0, NULL, NULL, { "host", "localhost:8087" } },
		{ "six", 0, NULL, NULL, { "Host", "[::1]:8087" } },
		{ "old", 0, "HTTP/1.0", NULL, { "Host", "a" } },
		{ "no host", 400, NULL, NULL, { "X", "y" } },
		{ "two hosts", 400, NULL, NULL, { "Host", "a", "hOST", "a" } },
		{ "host with user", 400, NULL, NULL, { "Host", "u@a" } },
		{ "host with path", 400, NULL, NULL, { "Host", "a/b" } },
		{ "empty host", 400, NULL, NULL, { "Host", "" } },
		{ "port 0", 400, NULL, NULL, { "Host", "a:0" } },
		{ "port too large", 400, NULL, NULL, { "Host", "a:65536" } },
		{ "port empty", 400, NULL, NULL, { "Host", "a:" } },
		{ "length", 0, NULL, NULL, { "Host", "a", "Content-Length", "12" }, true, false, 12 },
		{ "length 0", 0, NULL, NULL, { "Host", "a", "Content-Length", "0" }, false, false, 0 },
		{ "two lengths", 400, NULL, NULL, { "Host", "a", "Content-Length", "1", "content-length", "1" } },
		{ "length with sign", 400, NULL, NULL, { "Host", "a", "Content-Length", "+1" } },
		{ "length list", 400, NULL, NULL, { "Host", "a", "Content-Length", "1,1" } },
		{ "length hex", 400, NULL, NULL, { "Host", "a", "Content-Length", "0x1" } },
		{ "length huge", 400, NULL, NULL, { "Host", "a", "Content-Length", "9999999999999999" } },
		{ "length empty", 400, NULL, NULL, { "Host", "a", "Content-Length", "" } },
		{ "chunked", 0, NULL, NULL, { "Host", "a", "Transfer-Encoding", "Chunked" }, true, true, 0 },
		{ "both", 400, NULL, NULL, { "Host", "a", "Content-Length", "1", "Transfer-Encoding", "chunked" } },
		{ "two codings", 400, NULL, NULL, { "Host", "a", "Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked" } },
		{ "unknown coding", 501, NULL, NULL, { "Host", "a", "Transfer-Encoding", "gzip" } },
		{ "coding list", 501, NULL, NULL, { "Host", "a", "Transfer-Encoding", "gzip, chunked" } },
		{ "chunked in 1.0", 400, "HTTP/1.0", NULL, { "Host", "a", "Transfer-Encoding", "chunked" } },
		{ "blank in name", 400, NULL, NULL, { "Host", "a", "Content-Length ", "1" } },
		{ "tab in name", 400, NULL, NULL, { "Host", "a", "X\ty", "1" } },
		{ "empty name", 400, NULL, NULL, { "Host", "a", "", "1" } },
		{ "control in value", 400, NULL, NULL, { "Host", "a", "X", "a\001b" } },
		{ "expect", 0, NULL, NULL, { "Host", "a", "Expect", "100-Continue" } },
		{ "other expect", 417, NULL, NULL, { "Host", "a", "Expect", "tea" } },
		{ "version", 505, "HTTP/1.2", NULL, { "Host", "a" } },
		{ "lower version", 505, "http/1.1", NULL, { "Host", "a" } },
		{ "absolute", 400, NULL, "http://a/", { "Host", "a" } },
		{ "star", 400, NULL, "*", { "Host", "a" } },
		{ "empty target", 400, NULL, "", { "Host", "a" } },
		{ "encoded", 0, NULL, "/a%20b?c=%C3%A9", { "Host", "a" } },
		{ "NUL", 400, NULL, "/a%00b", { "Host", "a" } },
		{ "NUL in query", 400, NULL, "/?a=%00", { "Host", "a" } },
		{ "short escape", 400, NULL, "/a%2", { "Host", "a" } },
		{ "broken escape", 400, NULL, "/a%g0", { "Host", "a" } },
		{ "blank", 400, NULL, "/a b", { "Host", "a" } },
		{ "raw UTF-8", 400, NULL, "/\xc3\xa9", { "Host", "a" } },
		{ "fragment", 400, NULL, "/a#b", { "Host", "a" } },
		{ "backslash", 400, NULL, "/a\\b", { "Host", "a" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(SHAPES) / sizeof(SHAPES[0]); i++) {
		struct guard_body body;
		unsigned status = judge(&SHAPES[i], &body);
		if (status != SHAPES[i].status)
			fail_msg("%s: %u", SHAPES[i].label, status);
		if (status)
			continue;
		assert_int_equal(body.present, SHAPES[i].body);
		assert_int_equal(body.chunked, SHAPES[i].chunked);
		assert_int_equal(body.length, SHAPES[i].length);
	}
}

static void test_guard_lines(void **state)
{
	static const struct guard_header HOST = { "Host", 4, "a", 1 };
	static const struct guard_header NUL = { "X", 1, "a\0b", 3 };
	struct guard_body body;
	const char *why;
	struct guard_facts fine = { .method = "GET", .version = "HTTP/1.1", .target = "/", .target_len = 1, .headers = &HOST, .n_headers = 1, .whole_target = true };
	struct guard_facts f = fine;

	(void)state;
	assert_int_equal(guard_check(&f, &body, &why), 0);
	f.folded = true;
	assert_int_equal(guard_check(&f, &body, &why), 400);
	f = fine;
	f.bare_lf = true;
	assert_int_equal(guard_check(&f, &body, &why), 400);
	f = fine;
	f.nul = true;
	assert_int_equal(guard_check(&f, &body, &why), 400);
	f = fine;
	f.too_many = true;
	assert_int_equal(guard_check(&f, &body, &why), 431);
	f = fine;
	f.whole_target = false;
	assert_int_equal(guard_check(&f, &body, &why), 414);
	f = fine;
	f.headers = &NUL;
	assert_int_equal(guard_check(&f, &body, &why), 400);
}

static void test_host_literal(void **state)
{
	(void)state;
	assert_true(guard_host_literal("127.0.0.1", 9));
	assert_true(guard_host_literal("LocalHost", 9));
	assert_true(guard_host_literal("[::1]", 5));
	assert_false(guard_host_literal("127.0.0.1.example", 17));
	assert_false(guard_host_literal("localhost.", 10));
	assert_false(guard_host_literal("2130706433", 10)); /* browsers write addresses in the usual form */
	assert_false(guard_host_literal("evil.example", 12));
}

static void test_decode(void **state)
{
	char out[64];
	size_t n;

	(void)state;
	assert_true(percent_decode(out, &n, "a%20b+c", 7, false));
	assert_int_equal(n, 5);
	assert_memory_equal(out, "a b+c", 5);
	assert_true(percent_decode(out, &n, "a%20b+c", 7, true));
	assert_memory_equal(out, "a b c", 5);
	/* once, never twice */
	assert_true(percent_decode(out, &n, "%252e", 5, false));
	assert_int_equal(n, 3);
	assert_memory_equal(out, "%2e", 3);
	assert_false(percent_decode(out, &n, "%00", 3, false));
	assert_false(percent_decode(out, &n, "%4", 2, false));
	assert_false(percent_decode(out, &n, "%", 1, false));
	assert_false(percent_decode(out, &n, "%4g", 3, false));
}

static void test_target(void **state)
{
	static const struct { const char *in, *out; } CASES[] = {
		{ "/", "/" }, { "/a", "/a" }, { "/a/", "/a/" }, { "/a/b%20c", "/a/b c" }, { "/a+b", "/a+b" }, { "/%252e", "/%2e" },
		{ "/%C3%BC", "/ü" }, { "/...", "/..." }, { "/.a", "/.a" }, { "/a%26b", "/a&b" },
		{ "", NULL }, { "a", NULL }, { "//", NULL }, { "//a", NULL }, { "/a//b", NULL }, { "/a//", NULL }, { "/.", NULL }, { "/..", NULL },
		{ "/./", NULL }, { "/%2e", NULL }, { "/%2e%2E/a", NULL }, { "/.%2e", NULL }, { "/a/..", NULL }, { "/a%2fb", NULL }, { "/%2F", NULL },
		{ "/%00", NULL }, { "/%0a", NULL }, { "/%7f", NULL }, { "/%ff", NULL }, { "/%c0%ae", NULL }, { "/%ed%a0%80", NULL }, { "/%", NULL },
		{ "/%4", NULL }, { "/%xx", NULL }, { "/%c2%85", NULL },
	};
	struct arena *a = arena_new();

	(void)state;
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		const char *out = NULL;
		enum err e = target_decode(&out, CASES[i].in, strlen(CASES[i].in), a);
		if (!CASES[i].out && e != ERR_INPUT)
			fail_msg("%s was taken", CASES[i].in);
		if (!CASES[i].out)
			continue;
		assert_int_equal(e, ERR_OK);
		assert_string_equal(out, CASES[i].out);
	}
	arena_free(a);
}

static enum err parse(struct fields *f, const char *text, struct arena *a)
{
	return fields_parse(f, text, strlen(text), a);
}

static void test_fields(void **state)
{
	struct arena *a = arena_new();
	struct fields f;

	(void)state;
	assert_int_equal(parse(&f, "", a), ERR_OK);
	assert_null(fields_get(&f, "a"));
	assert_int_equal(parse(&f, "a=1&b=x+y%26z&c=&d&&e=%3D=", a), ERR_OK);
	assert_string_equal(fields_get(&f, "a"), "1");
	assert_string_equal(fields_get(&f, "b"), "x y&z");
	assert_string_equal(fields_get(&f, "c"), "");
	assert_string_equal(fields_get(&f, "d"), ""); /* libmicrohttpd would lose it */
	assert_string_equal(fields_get(&f, "e"), "==");
	assert_int_equal(parse(&f, "a=1&a=1", a), ERR_INPUT);
	assert_int_equal(parse(&f, "a=1&%61=2", a), ERR_INPUT);
	assert_int_equal(parse(&f, "path[]=/a&x=1&path%5B%5D=/b&path[]=/c", a), ERR_OK);
	assert_int_equal(fields_count(&f, "path[]"), 3);
	assert_string_equal(fields_at(&f, "path[]", 0), "/a");
	assert_string_equal(fields_at(&f, "path[]", 2), "/c");
	assert_null(fields_at(&f, "path[]", 3));
	assert_int_equal(fields_count(&f, "none"), 0);
	assert_int_equal(parse(&f, "a=%00", a), ERR_INPUT);
	assert_int_equal(parse(&f, "a=%ff", a), ERR_INPUT);
	assert_int_equal(parse(&f, "a=%c0%80", a), ERR_INPUT);
	assert_int_equal(parse(&f, "a=%4", a), ERR_INPUT);
	arena_free(a);
}

static void test_fields_many(void **state)
{
	struct arena *a = arena_new();
	struct buf b = BUF_INIT(1u << 20);
	struct fields f;

	(void)state;
	for (int i = 0; i < FORM_NAMES; i++)
		buf_fmt(&b, "n%d=%d&", i, i);
	assert_int_equal(parse(&f, buf_text(&b), a), ERR_OK);
	assert_string_equal(fields_get(&f, "n63"), "63");
	buf_str(&b, "more=1");
	assert_int_equal(parse(&f, buf_text(&b), a), ERR_INPUT);
	buf_reset(&b);
	for (int i = 0; i < FORM_VALUES; i++)
		buf_str(&b, "p[]=/x&");
	assert_int_equal(parse(&f, buf_text(&b), a), ERR_OK);
	assert_int_equal(fields_count(&f, "p[]"), FORM_VALUES);
	buf_str(&b, "p[]=/y");
	assert_int_equal(parse(&f, buf_text(&b), a), ERR_INPUT);
	buf_release(&b);
	arena_free(a);
}

static void test_addresses(void **state)
{
	struct buf b = BUF_INIT(1000);

	(void)state;
	percent_encode(&b, "/a b/ü?&#%\"<>.html", false);
	assert_string_equal(buf_text(&b), "/a%20b/%C3%BC%3F%26%23%25%22%3C%3E.html");
	buf_reset(&b);
	percent_encode(&b, "/s/www?a=b", true);
	assert_string_equal(buf_text(&b), "%2Fs%2Fwww%3Fa%3Db");
	buf_release(&b);
	assert_string_equal(address_of_ours("/s/www/?a=b"), "/s/www/?a=b");
	assert_string_equal(address_of_ours(NULL), "/");
	assert_string_equal(address_of_ours(""), "/");
	assert_string_equal(address_of_ours("//evil.example"), "/");
	assert_string_equal(address_of_ours("/\\evil.example"), "/");
	assert_string_equal(address_of_ours("https://evil.example"), "/");
	assert_string_equal(address_of_ours("/a\r\nSet-Cookie: x"), "/");
	assert_string_equal(address_of_ours("/\t/evil.example"), "/");
}

static void test_mime(void **state)
{
	(void)state;
	assert_string_equal(mime_type("/a/index.html"), "text/html; charset=utf-8");
	assert_string_equal(mime_type("/a/STYLE.CSS"), "text/css; charset=utf-8");
	assert_string_equal(mime_type("/a/x.js"), "text/javascript; charset=utf-8");
	assert_string_equal(mime_type("/a/x.zip"), "application/zip");
	assert_string_equal(mime_type("/a/x.atom"), "application/atom+xml");
	assert_string_equal(mime_type("/a.html/x"), "application/octet-stream");
	assert_string_equal(mime_type("/a/html"), "application/octet-stream");
	assert_string_equal(mime_type("/a/x.exe"), "application/octet-stream");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_guard_lines),
		cmocka_unit_test(test_host_literal),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_target),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_fields_many),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_mime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
