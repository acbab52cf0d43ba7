/* Manifests and heads: what is written is read back, what differs by a byte is refused, two lists are merged in order. */
#include "test.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/head.h"
#include "core/manifest.h"

static struct manifest_line line_of(const char *path, char digit, uint64_t size)
{
	struct manifest_line l = { .size = size, .at = 1700000000000000, .seq = 7, .signer = "unix:alice" };

	memset(l.sha256.b, digit, sizeof l.sha256.b);
	assert_int_equal(path_check(&l.path, path), ERR_OK);
	return l;
}

static void lines_round(void **state)
{
	struct buf b = BUF_INIT(65536);
	struct manifest_line in = line_of("/a b/ü\\\"'.html", 0x1a, 12), out;
	char text[1024];

	(void)state;
	in.exec = true;
	manifest_encode(&in, &b);
	snprintf(text, sizeof text, "%.*s", (int)b.len - 1, b.p);
	assert_int_equal(manifest_decode(&out, text), ERR_OK);
	assert_true(out.exec && out.size == 12 && out.seq == 7 && !out.gone);
	assert_string_equal(out.signer, "unix:alice");
	assert_string_equal(out.path.s, in.path.s);
	in.gone = true;
	buf_reset(&b);
	manifest_encode(&in, &b);
	snprintf(text, sizeof text, "%.*s", (int)b.len - 1, b.p);
	assert_int_equal(manifest_decode(&out, text), ERR_OK);
	assert_true(out.gone);
	buf_release(&b);
}

static void bad_lines(void **state)
{
#define HEX "1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a"
	static const char *const bad[] = { "", "+", "-", "+\t", "-\t", "-\ta", "-\t/a/../b", "-\t/../a", "-\t//a", "-\t/a/", "-\t/.git/x", "*\t/a",
		"+\t" HEX "\t1\t-\t1\t1\tu\ta", "+\t" HEX "\t1\t-\t1\t1\tu\t/a/./b", "+\t" HEX "\t01\t-\t1\t1\tu\t/a", "+\t" HEX "\t-1\t-\t1\t1\tu\t/a",
		"+\t" HEX "\t1\ty\t1\t1\tu\t/a", "+\t" HEX "\t1\t-\t1\t1\t\t/a", "+\t" HEX "\t99999999999999999999\t-\t1\t1\tu\t/a",
		"+\t1A1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a\t1\t-\t1\t1\tu\t/a", "+\t" HEX "\t1\t-\t1\t1\tu",
		"+\t" HEX "\t1\t-\t1\t1\tu\t/a\t/b", "+\t" HEX "\t 1\t-\t1\t1\tu\t/a", "+\t" HEX "\t1\t-\t+1\t1\tu\t/a", "-\t/a\t/b", "-\t/a\x7f" };
	struct manifest_line out;
	char text[1024];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(text, sizeof text, "%s", bad[i]);
		if (manifest_decode(&out, text) != ERR_INPUT)
			fail_msg("accepted: %s", bad[i]);
	}
}

static void plain_names(void **state)
{
	static const char *const names[][2] = { { "/a", "  a\n" }, { "/-", "  ./-\n" }, { "/-rf", "  -rf\n" }, { "/a\\b", "  a\\\\b\n" }, { "/d/-", "  d/-\n" } };
	struct buf b = BUF_INIT(4096);

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct manifest_line l = line_of(names[i][0], 0, 1);
		const bool escaped = strchr(names[i][0], '\\') != NULL;

		buf_reset(&b);
		manifest_plain(&l, &b);
		assert_true((b.p[0] == '\\') == escaped);
		assert_string_equal(b.p + 64 + escaped, names[i][1]);
	}
	buf_release(&b);
}

static int file_of(const char *text)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);

	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

#define L(path) "+\t" HEX "\t1\t-\t1\t1\tu\t" path "\n"

/* older + newer = expected, as paths; a '-' before one that is gone */
static void merged_as(bool raw, const char *older, const char *newer, bool keep, const char *expected)
{
	struct manifest_source x, y, both;
	struct manifest_merge m;
	int a = file_of(older), b = file_of(newer);
	struct manifest_file *fa = manifest_file_new(a, raw, &x), *fb = manifest_file_new(b, raw, &y);
	struct buf out = BUF_INIT(4096);
	struct manifest_line l;
	bool got;

	manifest_merge_init(&m, &x, &y, keep, &both);
	while (both.next(both.arg, &l, &got) == ERR_OK && got)
		buf_fmt(&out, "%s%s ", l.gone ? "-" : "", l.path.s);
	assert_string_equal(buf_text(&out), expected);
	buf_release(&out);
	manifest_file_free(fa);
	manifest_file_free(fb);
	close(a);
	close(b);
}

static void merged(const char *older, const char *newer, bool keep, const char *expected)
{
	merged_as(false, older, newer, keep, expected);
	merged_as(true, older, newer, keep, expected);
}

static void merges(void **state)
{
	(void)state;
	merged("", "", false, "");
	merged(L("/a") L("/b"), "", false, "/a /b ");
	merged("", L("/a"), false, "/a ");
	merged(L("/a") L("/c"), L("/b"), false, "/a /b /c ");
	merged(L("/a") L("/b") L("/c"), "-\t/b\n", false, "/a /c ");
	merged(L("/a") L("/b") L("/c"), "-\t/a\n-\t/b\n-\t/c\n", false, "");
	merged(L("/a"), "-\t/0\n-\t/b\n", false, "/a ");
	merged(L("/a") L("/b"), L("/a") "-\t/b\n" L("/c"), true, "/a -/b /c ");
	merged("-\t/a\n", L("/a"), true, "/a ");
	/* '-' and '.' come before '/': the order is that of the whole path */
	merged(L("/a-b") L("/a/c"), L("/a.b"), false, "/a-b /a.b /a/c ");
}

static void unsorted_is_refused(void **state)
{
	static const char *const bad[] = { L("/b") L("/a"), L("/a") L("/a"), L("/a") "-\t/a\n", L("/a") "+\t" HEX "\t1\t-\t1\t1\tu\t/b", L("/a") "x" };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof bad / sizeof *bad; i++) {
		struct manifest_source src;
		struct manifest_sums sums;
		int fd = file_of(bad[i / 2]);
		struct manifest_file *f = manifest_file_new(fd, i % 2, &src);

		assert_int_equal(manifest_sum(&src, &sums), ERR_INPUT);
		manifest_file_free(f);
		close(fd);
	}
}

#define NOTED(path) "*\t1700000000000000001\t1700000000000000002\t18446744073709551615\t" HEX "\t9\tx\t1\t1\tu\t" path "\n"

/* What a list adds up to is the same, read raw or not; its notes do not count. */
static void raw_sums(void **state)
{
	struct manifest_sums sums[3];
	struct buf all = BUF_INIT(16 << 20), noted = BUF_INIT(16 << 20);

	(void)state;
	/* longer than the piece that is hashed at once, with names that the plain list escapes */
	for (unsigned i = 0; i < 5000; i++) {
		buf_fmt(&all, "+\t" HEX "\t9\tx\t1\t1\tu\t/%05u%s\n", i, i % 7 ? "" : "\\x");
		buf_fmt(&noted, "*\t%u\t17\t%u\t" HEX "\t9\tx\t1\t1\tu\t/%05u%s\n", i, i, i, i % 7 ? "" : "\\x");
	}
	for (int i = 0; i < 3; i++) {
		struct manifest_source src;
		struct manifest_summing s;
		struct manifest_line l;
		bool got;
		int fd = file_of(i < 2 ? all.p : noted.p);
		struct manifest_file *f = manifest_file_new(fd, i > 0, &src);

		manifest_sum_begin(&s);
		while (src.next(src.arg, &l, &got) == ERR_OK && got) {
			l.noted = false;
			manifest_sum_add(&s, &l);
		}
		manifest_sum_end(&s, &sums[i]);
		manifest_file_free(f);
		close(fd);
		assert_true(sums[i].count == 5000 && sums[i].size == 45000);
		assert_true(sha256_equal(&sums[i].files, &sums[0].files) && sha256_equal(&sums[i].manifest, &sums[0].manifest));
	}
	buf_release(&all);
	buf_release(&noted);
}

/* A raw line says the same as a decoded one, and is written as it stood. */
static void raw_lines(void **state)
{
	static const char *const good[] = { L("/a"), NOTED("/b c"), "-\t/gone\n" };
	struct buf b = BUF_INIT(4096);

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		char text[1024];
		struct manifest_source src;
		struct manifest_line raw, want;
		struct manifest_full full;
		bool got;
		int fd = file_of(good[i]);
		struct manifest_file *f = manifest_file_new(fd, true, &src);

		snprintf(text, sizeof text, "%.*s", (int)strlen(good[i]) - 1, good[i]);
		assert_int_equal(manifest_decode(&want, text), ERR_OK);
		assert_int_equal(src.next(src.arg, &raw, &got), ERR_OK);
		assert_true(got && raw.raw && raw.gone == want.gone && raw.noted == want.noted && raw.size == want.size && raw.exec == want.exec);
		assert_int_equal(manifest_notes(&raw), ERR_OK);
		assert_true(raw.mtime == want.mtime && raw.ctime == want.ctime && raw.inode == want.inode && path_equal(raw.path, want.path));
		buf_reset(&b);
		manifest_encode(&raw, &b);
		assert_string_equal(b.p, good[i]);
		raw.notes = false; /* as it stood, or from its members */
		buf_reset(&b);
		manifest_encode(&raw, &b);
		assert_string_equal(b.p, good[i]);
		assert_int_equal(manifest_full(&full, &raw), ERR_OK);
		assert_true(!full.line.raw && sha256_equal(&full.line.sha256, &want.sha256) && full.line.seq == want.seq && full.line.at == want.at);
		assert_string_equal(full.line.signer, want.signer);
		assert_true(raw.gone || manifest_same_bytes(&raw, &want));
		assert_true(manifest_same_text(&raw, &raw) && !manifest_same_text(&raw, &want));
		manifest_file_free(f);
		close(fd);
	}
	buf_release(&b);
}

/* What is no line is found raw too, where its members cannot be; what its members are is not looked at. */
static void bad_raw_lines(void **state)
{
	static const char *const bad[] = { "", "+", "-", "+\t", "-\t", "-\ta", "*\t/a", "+\t/a", "?\t/a", "-\t/a\t/b", "+\t" HEX "\t/a", "+\t" HEX "\t1\t/a",
		"+\t" HEX "\t1\ty\t1\t1\tu\t/a", "+\t" HEX "\t\t-\t1\t1\tu\t/a", "+\t" HEX "\t1\t-\t1\t1\tu\ta", "*\t1\t1\t" HEX "\t1\t-\t1\t1\tu\t/a",
		"+\t" HEX HEX "\t1\t-\t1\t1\tu\t/a", "+\t12\t1\t-\t1\t1\tu\t/a" };

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char text[1024];
		struct manifest_source src;
		struct manifest_line l;
		bool got;
		int fd;
		struct manifest_file *f;

		snprintf(text, sizeof text, "%s\n", bad[i]);
		fd = file_of(text);
		f = manifest_file_new(fd, true, &src);
		if (src.next(src.arg, &l, &got) != ERR_INPUT)
			fail_msg("accepted: %s", bad[i]);
		manifest_file_free(f);
		close(fd);
	}
}

static struct head a_head(void)
{
	struct head h = { .site = "www", .node = HEX, .number = 41, .term = 1, .tree = "1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a", .at = 1700000000123456,
		.expires = 1800000000000000, .seq = 99 };

	h.sums.count = 2;
	h.sums.size = 1234;
	memset(h.previous.b, 3, sizeof h.previous.b);
	return h;
}

static void heads(void **state)
{
	struct arena *a = arena_new();
	struct buf b = BUF_INIT(HEAD_LIMIT), again = BUF_INIT(HEAD_LIMIT);
	struct head h = a_head(), out;

	(void)state;
	assert_int_equal(head_encode(&h, &b), ERR_OK);
	assert_int_equal(head_decode(&out, b.p, b.len, a), ERR_OK);
	assert_int_equal(head_encode(&out, &again), ERR_OK);
	assert_string_equal(b.p, again.p);
	assert_true(out.number == 41 && sha256_equal(&out.previous, &h.previous));
	/* Every byte counts: with any one changed it is refused or is another head. */
	for (size_t i = 0; i < b.len; i++) {
		char *copy = mem_dupn(b.p, b.len);

		copy[i] ^= 1;
		buf_reset(&again);
		if (!head_decode(&out, copy, b.len, a)) {
			assert_int_equal(head_encode(&out, &again), ERR_OK);
			assert_true(again.len != b.len || memcmp(again.p, b.p, b.len));
		}
		free(copy);
	}
	for (size_t n = 0; n < b.len; n++)
		assert_int_equal(head_decode(&out, b.p, n, a), ERR_INPUT);
	/* The same from the fields of a record. */
	struct record r = { .site = h.site, .node = h.node, .seq = h.seq, .at = h.at, .fields = head_fields(&h, 40) };
	bool is_signed;

	assert_int_equal(head_of_record(&out, &r, &h.record, &is_signed), ERR_OK);
	assert_true(is_signed);
	buf_reset(&again);
	assert_int_equal(head_encode(&out, &again), ERR_OK);
	assert_string_equal(b.p, again.p);
	json_decref(r.fields);
	buf_release(&b);
	buf_release(&again);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_round), cmocka_unit_test(bad_lines), cmocka_unit_test(plain_names), cmocka_unit_test(merges),
		cmocka_unit_test(unsorted_is_refused), cmocka_unit_test(raw_sums), cmocka_unit_test(raw_lines), cmocka_unit_test(bad_raw_lines), cmocka_unit_test(heads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
