#include "test.h"

#include <unistd.h>

#include "base/buf.h"

static void test_adding(void **state)
{
	struct buf b = BUF_INIT(1000);

	(void)state;
	assert_string_equal(buf_text(&b), "");
	buf_str(&b, "a");
	buf_char(&b, '\0');
	buf_u64(&b, 0);
	buf_u64(&b, UINT64_MAX);
	buf_hex(&b, "\x00\xff", 2);
	buf_fmt(&b, "<%0300d>", 5);
	assert_int_equal(b.len, 1 + 1 + 1 + 20 + 4 + 302);
	assert_memory_equal(b.p, "a\0" "018446744073709551615" "00ff<000", 31);
	assert_int_equal(b.p[b.len], '\0');
	assert_ok(buf_check(&b));
	buf_reset(&b);
	assert_string_equal(buf_text(&b), "");
	buf_str(&b, "kept");
	size_t len;
	char *p = buf_take(&b, &len);
	assert_string_equal(p, "kept");
	assert_int_equal(len, 4);
	free(p);
	p = buf_take(&b, NULL);
	assert_string_equal(p, "");
	free(p);
	buf_release(&b);
}

static void test_ceiling(void **state)
{
	struct buf b = BUF_INIT(5);

	(void)state;
	buf_str(&b, "12345");
	assert_ok(buf_check(&b));
	buf_str(&b, "");
	assert_ok(buf_check(&b));
	buf_char(&b, '6');
	assert_err(ERR_TOO_BIG, buf_check(&b));
	assert_string_equal(buf_text(&b), "12345");
	buf_reset(&b);
	buf_str(&b, "123456789");
	assert_string_equal(buf_text(&b), "12345");
	/* nothing follows what was dropped */
	b.limit = 10;
	buf_str(&b, "x");
	assert_string_equal(buf_text(&b), "12345");
	buf_release(&b);
	struct buf none = BUF_INIT(0);
	buf_str(&none, "x");
	assert_string_equal(buf_text(&none), "");
	assert_err(ERR_TOO_BIG, buf_check(&none));
	buf_release(&none);
}

static void fill(int fds[2], size_t n)
{
	assert_int_equal(pipe(fds), 0);
	char *p = malloc(n + 1);
	memset(p, 'r', n);
	assert_int_equal(write(fds[1], p, n), n);
	close(fds[1]);
	free(p);
}

static void test_reading(void **state)
{
	int fds[2];

	(void)state;
	for (size_t n = 4998; n <= 5002; n++) {
		struct buf b = BUF_INIT(5000);
		fill(fds, n);
		enum err e = buf_read_fd(&b, fds[0]);
		assert_int_equal(e, n > 5000 ? ERR_TOO_BIG : ERR_OK);
		assert_int_equal(b.len, n > 5000 ? 5000 : n);
		assert_int_equal(strspn(b.p, "r"), b.len);
		close(fds[0]);
		buf_release(&b);
	}
	struct buf b = BUF_INIT(10);
	assert_err(ERR_FAILED, buf_read_fd(&b, -1));
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_adding),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_reading),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
