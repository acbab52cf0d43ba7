/*
 * Any bytes as the change of a node's key: the first line as a statement, the rest as its armored signature, and all of it as
 * a record of a log. Receivers get the first from outside. Nobody takes the key over without the one that goes, and what is
 * refused leaves the chain as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "repo/keychain.h"
#include "repo/sshsig.h"

static void must(int holds)
{
	if (!holds)
		abort();
}

/* RFC 8032, tests 1 and 2: the corpus is signed by the first, and changes it to the second. */
static const uint8_t old[32] = { 0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
	0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a };
static const uint8_t new[32] = { 0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
	0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c };

/* Only the first key's own word for it got another one into the chain. */
static void must_follow(const struct keychain *c, uint64_t seq)
{
	must(c->n == 2 && memcmp(c->keys[0].key, old, 32) == 0 && memcmp(c->keys[1].key, new, 32) == 0);
	must(keychain_at(c, seq) == &c->keys[0] && keychain_at(c, seq + 1) == &c->keys[1] && keychain_last(c) == &c->keys[1]);
	must(key_expect(c, seq, old) == ERR_OK && key_expect(c, seq + 1, old) == ERR_DENIED);
}

static void statement(const char *data, size_t line, size_t size)
{
	struct buf again = BUF_INIT(KEY_CHANGE_LIMIT);
	struct arena *a = arena_new();
	struct keychain *c = mem_alloc(sizeof(*c)), *was = mem_alloc(sizeof(*was));
	struct key_change x;

	if (key_change_decode(&x, data, line, a) == ERR_OK) {
		must(key_change_encode(&x, &again) == ERR_OK && again.len == line && memcmp(again.p, data, line) == 0);
		keychain_begin(c, old, 0);
		*was = *c;
		if (keychain_follow(c, &x, data, line, data + line, size - line, false) == ERR_OK) {
			must_follow(c, x.seq);
			*was = *c;
			must(keychain_follow(c, &x, data, line, data + line, size - line, false) == ERR_DENIED);
		}
		must(memcmp(c, was, sizeof(*c)) == 0);
	}
	free(was);
	free(c);
	buf_release(&again);
	arena_free(a);
}

static void record(const char *data, size_t size)
{
	struct arena *a = arena_new();
	struct keychain *c = mem_alloc(sizeof(*c)), *was = mem_alloc(sizeof(*was));
	struct record r;

	if (record_decode(&r, data, size, a) == ERR_OK) {
		keychain_begin(c, old, 0);
		*was = *c;
		if (r.seq == 1) {
			if (keychain_take(c, &r) == ERR_OK)
				must(c->n >= 1 && strcmp(c->node, r.node) == 0);
			else
				must(memcmp(c, was, sizeof(*c)) == 0);
		} else if (keychain_take(c, &r) == ERR_OK && strcmp(r.act, KEY_ACT) == 0) {
			must_follow(c, r.seq);
		} else {
			must(memcmp(c, was, sizeof(*c)) == 0);
		}
		json_decref(r.fields);
	}
	free(was);
	free(c);
	arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = BUF_INIT(1u << 20);
	const char *end;

	buf_add(&text, data, size);
	end = memchr(buf_text(&text), '\n', text.len);
	if (end)
		statement(buf_text(&text), (size_t)(end + 1 - buf_text(&text)), text.len);
	record(buf_text(&text), text.len);
	buf_release(&text);
	return 0;
}
