#include "repo/keychain.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/weaken.h"
#include "repo/sshsig.h"

#define FORMAT 1
#define INSTALLATION "installation"

/* --- keys as text ----------------------------------------------------------------------------------------------------- */

void key_text(const uint8_t key[32], char out[KEY_TEXT])
{
	uint8_t blob[SSHSIG_BLOB_SIZE];
	char b64[96];

	sshsig_blob(blob, key);
	base64_of(b64, blob, sizeof(blob));
	snprintf(out, KEY_TEXT, "ssh-ed25519 %s", b64);
}

static void blob_digest(const uint8_t key[32], struct sha256 *out)
{
	uint8_t blob[SSHSIG_BLOB_SIZE];

	sshsig_blob(blob, key);
	sha256_of(out, blob, sizeof(blob));
}

void key_id(const uint8_t key[32], char out[SHA256_HEX])
{
	struct sha256 digest;

	blob_digest(key, &digest);
	hex_of(out, digest.b, sizeof(digest.b));
}

const char *key_print(const uint8_t key[32], char out[KEY_PRINT])
{
	struct sha256 digest;
	char b64[64];

	blob_digest(key, &digest);
	base64_of(b64, digest.b, sizeof(digest.b));
	b64[strcspn(b64, "=")] = '\0';
	snprintf(out, KEY_PRINT, "SHA256:%s", b64);
	return out;
}

/* "2026-11-21T06:10:20.123456Z" becomes 20261121061020Z */
static void put_time(struct buf *out, const char *name, int64_t at)
{
	char text[CLOCK_TEXT_SIZE];

	clock_text(at, text);
	buf_fmt(out, ",%s=\"%.4s%.2s%.2s%.2s%.2s%.2sZ\"", name, text, text + 5, text + 8, text + 11, text + 14, text + 17);
}

void key_signer_line(const char *spaces, const char *public_key, int64_t from, int64_t until, struct buf *out)
{
	buf_fmt(out, "node@drydock.invalid namespaces=\"%s\"", spaces);
	if (from)
		put_time(out, "valid-after", from);
	if (until)
		put_time(out, "valid-before", until);
	buf_fmt(out, " %s\n", public_key);
}

/* --- the statement ---------------------------------------------------------------------------------------------------- */

enum err key_change_encode(const struct key_change *c, struct buf *out)
{
	char at[CLOCK_TEXT_SIZE], head[SHA256_HEX] = "";
	json_t *v;
	enum err e;

	clock_text(c->at, at);
	if (!sha256_zero(&c->head))
		hex_of(head, c->head.b, sizeof(c->head.b));
	v = json_pack("{s:i, s:s, s:s, s:I, s:s, s:s, s:s, s:I, s:s}", "v", FORMAT, "site", c->site, "node", c->node, "seq", (json_int_t)c->seq, "at", at, "from",
	    c->from, "to", c->to, "release", (json_int_t)c->release, "head", head);
	if (!v)
		return err_set(ERR_INPUT, "not a change of a key: a text that is not valid UTF-8");
	e = json_canonical(out, v);
	json_decref(v);
	buf_char(out, '\n');
	return e ? e : buf_check(out);
}

static const char *text_of(const json_t *v, const char *name, struct arena *a, bool *bad)
{
	const char *s = json_get_str(v, name, bad);

	*bad = *bad || !s;
	return s ? arena_dup(a, s) : "";
}

/* A public key in the one form that it has. */
static bool key_parse(uint8_t key[32], const char *text)
{
	char again[KEY_TEXT];

	if (sshsig_parse_public(key, text))
		return false;
	key_text(key, again);
	return strcmp(text, again) == 0;
}

static void read_members(struct key_change *c, const json_t *v, struct arena *a, bool *bad)
{
	const char *at, *head;
	int64_t seq, release;
	uint8_t key[32];

	c->site = text_of(v, "site", a, bad);
	c->node = text_of(v, "node", a, bad);
	c->from = text_of(v, "from", a, bad);
	c->to = text_of(v, "to", a, bad);
	at = text_of(v, "at", a, bad);
	head = text_of(v, "head", a, bad);
	seq = json_get_int(v, "seq", 0, bad);
	release = json_get_int(v, "release", -1, bad);
	c->seq = seq > 0 ? (uint64_t)seq : 0;
	c->release = release > 0 ? (uint64_t)release : 0;
	if (*bad || seq < 1 || release < 0 || strlen(c->node) + 1 != SHA256_HEX || clock_parse(&c->at, at) || (*head && !hex_parse(c->head.b, sizeof(c->head.b), head)) ||
	    (!site_name_valid(c->site) && strcmp(c->site, INSTALLATION) != 0) || !key_parse(key, c->from) || !key_parse(key, c->to))
		*bad = true;
}

enum err key_change_decode(struct key_change *c, const char *bytes, size_t n, struct arena *a)
{
	struct buf again = BUF_INIT(KEY_CHANGE_LIMIT);
	json_t *v = NULL;
	bool bad = false;
	enum err e;

	memset(c, 0, sizeof(*c));
	if (!n || n > KEY_CHANGE_LIMIT || bytes[n - 1] != '\n')
		return err_set(ERR_INPUT, "This is not a change of a key.");
	e = json_parse(&v, bytes, n - 1);
	if (!e)
		read_members(c, v, a, &bad);
	if (!e && (bad || key_change_encode(c, &again) || again.len != n || memcmp(again.p, bytes, n) != 0))
		e = err_set(ERR_INPUT, "This is not a change of a key, or not as DryDock writes it.");
	json_decref(v);
	buf_release(&again);
	return e;
}

/* --- the chain -------------------------------------------------------------------------------------------------------- */

void keychain_begin(struct keychain *c, const uint8_t key[32], int64_t at)
{
	c->n = 1;
	c->keys[0] = (struct key_time){ .at = at };
	memcpy(c->keys[0].key, key, 32);
	key_id(key, c->node);
}

const struct key_time *keychain_last(const struct keychain *c)
{
	return c->n ? &c->keys[c->n - 1] : NULL;
}

const struct key_time *keychain_at(const struct keychain *c, uint64_t seq)
{
	size_t i = c->n;

	while (i > 1 && c->keys[i - 1].after >= seq)
		i--;
	return i ? &c->keys[i - 1] : NULL;
}

bool keychain_has(const struct keychain *c, const uint8_t key[32])
{
	for (size_t i = 0; i < c->n; i++)
		if (memcmp(c->keys[i].key, key, 32) == 0)
			return true;
	return false;
}

enum err keychain_follow(struct keychain *c, const struct key_change *x, const char *bytes, size_t n, const char *armored, size_t len, bool before)
{
	const struct key_time *last = keychain_last(c);
	char text[KEY_TEXT], print[KEY_PRINT];
	uint8_t to[32];
	enum err e;

	if (!last) {
		if (!key_parse(to, x->from))
			return err_set(ERR_DENIED, "the first key is not known");
		/* Nothing of a log that begins after the change is signed by it. */
		keychain_begin(c, to, before ? x->at : 0);
		last = keychain_last(c);
	}
	if (c->n == KEYS_MOST)
		return err_set(ERR_DENIED, "the key was changed more than %d times", KEYS_MOST - 1);
	key_text(last->key, text);
	if (strcmp(x->node, c->node) != 0)
		return err_set(ERR_DENIED, "the change of the key is of another node");
	if (strcmp(x->from, text) != 0)
		return err_set(ERR_DENIED, "the change is of another key than %s", key_print(last->key, print));
	if (!key_parse(to, x->to))
		return err_set(ERR_DENIED, "the new key is not one that DryDock uses");
	if (keychain_has(c, to))
		return err_set(ERR_DENIED, "the new key, %s, was there before", key_print(to, print));
	if (!before && (x->seq <= last->after || x->release < last->release))
		return err_set(ERR_DENIED, "the change of the key is older than the one before");
	e = sshsig_verify(last->key, KEY_SPACE, bytes, n, armored, len);
	if (e && !WEAK(key_statement))
		return err_prefix(ERR_DENIED, "the change of the key");
	c->keys[c->n] = (struct key_time){ .at = x->at, .after = before ? 0 : x->seq, .release = before ? 0 : x->release };
	if (!before)
		c->keys[c->n].head = x->head;
	memcpy(c->keys[c->n++].key, to, 32);
	return ERR_OK;
}

enum err key_expect(const struct keychain *c, uint64_t seq, const uint8_t signer[32])
{
	const struct key_time *k = c ? keychain_at(c, seq) : NULL;
	char print[KEY_PRINT], other[KEY_PRINT];

	if (!k)
		return err_set(ERR_DENIED, "which key signs it is not known");
	if (memcmp(k->key, signer, 32) == 0 || WEAK(key_order))
		return ERR_OK;
	return err_set(ERR_DENIED, "it is signed by the key %s, and the node's key was %s then", key_print(signer, print), key_print(k->key, other));
}

/* --- what records say ------------------------------------------------------------------------------------------------- */

enum err key_armor(struct buf *out, const char *from, const char *raw)
{
	uint8_t key[32], bytes[SSHSIG_RAW_SIZE + 1];
	size_t n = 0;

	buf_reset(out);
	if (!key_parse(key, from) || !raw || strlen(raw) + 1 != base64_size(SSHSIG_RAW_SIZE) || !base64_parse(bytes, sizeof(bytes), &n, raw) || n != SSHSIG_RAW_SIZE)
		return err_set(ERR_DENIED, "it does not have the signature of the change of the key");
	return sshsig_armor(key, KEY_SPACE, bytes, out);
}

static enum err genesis_statements(const struct record *r, key_change_fn *fn, void *arg)
{
	const json_t *list = json_object_get(r->fields, "keys");
	struct arena *a = arena_new();
	struct buf armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	enum err e = ERR_OK;

	if (list && (!json_is_array(list) || json_array_size(list) % 2))
		e = err_set(ERR_DENIED, "its field keys is not a list of changes");
	for (size_t i = 0; !e && i < json_array_size(list); i += 2) {
		const char *text = json_string_value(json_array_get(list, i));
		const size_t n = text ? strlen(text) : 0;
		struct key_change x;

		e = key_change_decode(&x, text, n, a);
		if (!e && strcmp(x.site, INSTALLATION) != 0)
			e = err_set(ERR_DENIED, "its field keys names a change in another site");
		if (!e)
			e = key_armor(&armored, x.from, json_string_value(json_array_get(list, i + 1)));
		if (!e)
			e = fn(arg, &x, text, n, &armored);
	}
	buf_release(&armored);
	arena_free(a);
	return e;
}

static enum err change_statement(const struct keychain *before, const struct record *r, key_change_fn *fn, void *arg)
{
	const struct key_time *last = keychain_last(before);
	const char *to = json_string_value(json_object_get(r->fields, "key")), *head = json_string_value(json_object_get(r->fields, "head"));
	const json_int_t release = json_integer_value(json_object_get(r->fields, "release"));
	struct buf text = BUF_INIT(KEY_CHANGE_LIMIT), armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	struct key_change x = { .site = r->site, .node = r->node, .seq = r->seq, .at = r->at, .to = to ? to : "", .release = release > 0 ? (uint64_t)release : 0 };
	char from[KEY_TEXT];
	enum err e;

	if (!last)
		return err_set(ERR_DENIED, "the first key is not known");
	if (!to || release < 0 || (head && !hex_parse(x.head.b, sizeof(x.head.b), head)))
		return err_set(ERR_DENIED, "its fields are not those of a change of the key");
	key_text(last->key, from);
	x.from = from;
	e = key_change_encode(&x, &text);
	if (!e)
		e = key_armor(&armored, from, json_string_value(json_object_get(r->fields, "signature")));
	if (!e)
		e = fn(arg, &x, buf_text(&text), text.len, &armored);
	buf_release(&text);
	buf_release(&armored);
	return e;
}

enum err keychain_statements(const struct keychain *before, const struct record *r, key_change_fn *fn, void *arg)
{
	if (r->seq == 1)
		return genesis_statements(r, fn, arg);
	return strcmp(r->act, KEY_ACT) == 0 ? change_statement(before, r, fn, arg) : ERR_OK;
}

struct following {
	struct keychain *c;
	bool first; /* of a first record: the changes were before this log */
};

static enum err follow(void *arg, const struct key_change *x, const char *bytes, size_t n, const struct buf *armored)
{
	const struct following *f = arg;

	return keychain_follow(f->c, x, bytes, n, armored->p, armored->len, f->first);
}

enum err keychain_take(struct keychain *c, const struct record *r)
{
	struct keychain next;
	struct following f = { .c = &next, .first = r->seq == 1 };
	const char *text;
	uint8_t key[32];
	enum err e;

	/* Nearly every record says nothing of keys, and the chain is long. */
	if (r->seq != 1 && strcmp(r->act, KEY_ACT) != 0)
		return ERR_OK;
	next = *c;
	if (r->seq != 1) {
		e = keychain_statements(c, r, follow, &f);
		if (!e)
			*c = next;
		return e;
	}
	next.n = 0;
	text = json_string_value(json_object_get(r->fields, "key"));
	if (strcmp(r->act, "genesis") != 0 || !text || !key_parse(key, text))
		return err_set(ERR_DENIED, "the first record of the log does not name its key");
	e = keychain_statements(c, r, follow, &f);
	if (e)
		return e;
	if (!next.n)
		keychain_begin(&next, key, r->at);
	if (strcmp(next.node, r->node) != 0)
		return err_set(ERR_DENIED, "the key that the first record names is not that of its node");
	if (memcmp(keychain_last(&next)->key, key, 32) != 0)
		return err_set(ERR_DENIED, "the key that the first record names is not the one that the node's was changed to");
	next.keys[next.n - 1].at = r->at;
	*c = next;
	return ERR_OK;
}
