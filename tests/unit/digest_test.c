#include "test.h"

#include "base/digest.h"
#include "base/pool.h"

static const char EMPTY_SHA256[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static void assert_hex(const void *p, size_t n, const char *hex)
{
	char text[200];

	hex_of(text, p, n);
	assert_string_equal(text, hex);
}

static void test_known(void **state)
{
	struct sha256 s;
	struct md5 m;

	(void)state;
	sha256_of(&s, "", 0);
	assert_hex(s.b, 32, EMPTY_SHA256);
	sha256_of(&s, NULL, 0);
	assert_hex(s.b, 32, EMPTY_SHA256);
	sha256_of(&s, "abc", 3);
	assert_hex(s.b, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	md5_of(&m, "", 0);
	assert_hex(m.b, 16, "d41d8cd98f00b204e9800998ecf8427e");
	md5_of(&m, "message digest", 14);
	assert_hex(m.b, 16, "f96b697d7cb7938d525a2f31aaf161d0");
	/* RFC 4231, cases 2 and 6 (a key longer than a block) */
	hmac_sha256(&s, "Jefe", 4, "what do ya want for nothing?", 28);
	assert_hex(s.b, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	unsigned char key[131];
	memset(key, 0xaa, sizeof(key));
	hmac_sha256(&s, key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54);
	assert_hex(s.b, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	hmac_sha256(&s, NULL, 0, NULL, 0);
	assert_hex(s.b, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_streams(void **state)
{
	static unsigned char bytes[200000];
	struct sha256 whole, pieces;
	struct md5 whole_md5, pieces_md5;

	(void)state;
	random_bytes(bytes, sizeof(bytes));
	sha256_of(&whole, bytes, sizeof(bytes));
	md5_of(&whole_md5, bytes, sizeof(bytes));
	struct digest_stream *d = digest_stream_new();
	for (size_t piece = 1; piece <= sizeof(bytes); piece = piece * 7 + 1) {
		digest_stream_reset(d);
		struct sha256_stream *s = sha256_stream_new();
		for (size_t at = 0; at < sizeof(bytes); at += piece) {
			size_t n = sizeof(bytes) - at < piece ? sizeof(bytes) - at : piece;
			digest_stream_add(d, bytes + at, n);
			sha256_stream_add(s, bytes + at, n);
		}
		digest_stream_end(d, &pieces_md5, &pieces);
		assert_true(sha256_equal(&whole, &pieces));
		assert_memory_equal(whole_md5.b, pieces_md5.b, 16);
		sha256_stream_end_free(s, &pieces);
		assert_true(sha256_equal(&whole, &pieces));
	}
	digest_stream_reset(d);
	digest_stream_end(d, &pieces_md5, &pieces);
	assert_hex(pieces.b, 32, EMPTY_SHA256);
	digest_stream_free(d);
	digest_stream_free(NULL);
	sha256_stream_end_free(sha256_stream_new(), NULL);
	sha256_stream_end_free(NULL, NULL);
	struct sha256 zero = { { 0 } };
	assert_true(sha256_zero(&zero));
	assert_false(sha256_zero(&whole));
}

static void digest_some(void *wrong, size_t i)
{
	struct sha256 s;
	char hex[SHA256_HEX];

	(void)i;
	sha256_of(&s, "abc", 3);
	hex_of(hex, s.b, 32);
	if (strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") != 0)
		*(bool *)wrong = true;
}

static void test_threads(void **state)
{
	bool wrong = false;

	(void)state;
	pool_each(4, 1000, digest_some, &wrong);
	assert_false(wrong);
}

static void test_hex(void **state)
{
	unsigned char b[2];
	static const char *const bad[] = { "", "00f", "00ff0", "00FF", "0x00", "00 f", "00f\n", "g0ff" };

	(void)state;
	assert_true(hex_parse(b, 2, "00ff"));
	assert_memory_equal(b, "\x00\xff", 2);
	assert_true(hex_parse(b, 0, ""));
	for (size_t i = 0; i < COUNT(bad); i++)
		if (hex_parse(b, 2, bad[i]))
			fail_msg("accepted: %s", bad[i]);
}

static void test_base64(void **state)
{
	static const char *const rfc[] = { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };
	static const char *const bad[] = { "Z", "Zg", "Zg=", "Zg===", "Z===", "====", "=", "Zg==Zg==", "Zh==", "Zm9=", "Zm9v!", "Zm9-", "Zm_v" };
	char text[32];
	unsigned char b[16];
	size_t n;

	(void)state;
	for (size_t i = 0; i < COUNT(rfc); i++) {
		base64_of(text, "foobar", i);
		assert_string_equal(text, rfc[i]);
		assert_int_equal(base64_size(i), strlen(text) + 1);
		assert_true(base64_parse(b, sizeof(b), &n, text));
		assert_int_equal(n, i);
		assert_memory_equal(b, "foobar", i);
	}
	base64_of(text, "\xfb\xff\xfe", 3);
	assert_string_equal(text, "+//+");
	base64url_of(text, "\xfb\xff\xfe\x00", 4);
	assert_string_equal(text, "-__-AA");
	assert_true(base64_parse(b, sizeof(b), &n, " Zm9v\r\n\tYmFy \n"));
	assert_int_equal(n, 6);
	assert_true(base64_parse(b, 6, &n, "Zm9vYmFy"));
	assert_false(base64_parse(b, 5, &n, "Zm9vYmFy"));
	for (size_t i = 0; i < COUNT(bad); i++)
		if (base64_parse(b, sizeof(b), &n, bad[i]))
			fail_msg("accepted: %s", bad[i]);
}

static void test_uuid(void **state)
{
	static const char *const bad[] = { "", "0189d2a0-1111-4222-8333-44445555666", "0189d2a0-1111-4222-8333-4444555566667",
		"0189D2A0-1111-4222-8333-444455556666", "0189d2a01-111-4222-8333-444455556666",
		"0189d2a0-1111-4222-8333-44445555666g", "{0189d2a0-1111-4222-8333-4444555566}" };
	struct uuid u, back, other;
	char text[UUID_TEXT];

	(void)state;
	for (int i = 0; i < 100; i++) {
		uuid_new(&u);
		uuid_text(&u, text);
		assert_int_equal(strlen(text), 36);
		assert_int_equal(text[14], '4');
		assert_non_null(strchr("89ab", text[19]));
		assert_true(uuid_parse(&back, text));
		assert_memory_equal(u.b, back.b, 16);
	}
	uuid_new(&other);
	assert_memory_not_equal(u.b, other.b, 16);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (uuid_parse(&u, bad[i]))
			fail_msg("accepted: %s", bad[i]);
}

static void test_secret(void **state)
{
	(void)state;
	assert_true(bytes_equal_secret("abc", "abc", 3));
	assert_false(bytes_equal_secret("abc", "abd", 3));
	assert_true(bytes_equal_secret(NULL, NULL, 0));
}

/* Lanes of different lengths, around the block size and the padding, against the plain digest. */
static void test_md5_many(void **state)
{
	static unsigned char bytes[40][5000], large[100000];
	const void *p[150];
	size_t n[150];
	struct md5 many[150], one;

	(void)state;
	random_bytes(bytes, sizeof(bytes));
	random_bytes(large, sizeof(large));
	for (size_t i = 0; i < 150; i++)
		p[i] = bytes[i % 40];
	md5_many(many, p, n, 0);
	for (unsigned round = 0; round < 400; round++) {
		size_t count = 1 + round % 40;
		for (size_t i = 0; i < count; i++)
			n[i] = round < 200 ? (round + i * 7) % 140 : (round * 131 + i * i * 977) % 5000;
		md5_many(many, p, n, count);
		for (size_t i = 0; i < count; i++) {
			md5_of(&one, p[i], n[i]);
			assert_memory_equal(one.b, many[i].b, 16);
		}
	}
	/* Long ones among short ones, and more than are taken at a time. */
	for (size_t i = 0; i < 150; i++)
		n[i] = i * 33;
	for (size_t i = 7; i < 150; i += 40) {
		p[i] = large;
		n[i] = sizeof(large) - i * 50;
	}
	md5_many(many, p, n, 150);
	for (size_t i = 0; i < 150; i++) {
		md5_of(&one, p[i], n[i]);
		assert_memory_equal(one.b, many[i].b, 16);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_uuid),
		cmocka_unit_test(test_secret),
		cmocka_unit_test(test_md5_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
