/*
 * Whom the receiver believes. allowed_signers, which a person put here, lists keys; a node's key may have been changed since: each
 * change is a statement by the key before (repo/keychain.h), comes with a delivery, and is kept in the file `keys` from then on. Once it
 * is known, the old key speaks for the releases up to the one that the statement names, and for no other.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/weaken.h"
#include "receive/receive.h"
#include "repo/sshsig.h"

#define KEYS_FILE "keys"
#define KEYS_FILE_LIMIT ((size_t)1 << 20)

/* --- allowed_signers --------------------------------------------------------------------------------------------------------- */

/* The value of name="..." in the options of an allowed signer; false: there is none. */
static bool option(const char *options, const char *name, char out[256])
{
	const char *at = strstr(options, name), *end;

	if (!at || (at != options && at[-1] != ',') || at[strlen(name)] != '=' || at[strlen(name) + 1] != '"')
		return false;
	at += strlen(name) + 2;
	end = strchr(at, '"');
	if (!end || end - at >= 256)
		return false;
	memcpy(out, at, (size_t)(end - at));
	out[end - at] = '\0';
	return true;
}

static bool names_space(const char *list)
{
	for (const char *p = list; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ','))
		if (strcspn(p, ",") == strlen(HEAD_SPACE) && !strncmp(p, HEAD_SPACE, strlen(HEAD_SPACE)))
			return true;
	return false;
}

/* YYYYMMDD[HHMM[SS]], as ssh-keygen(1) has it, with or without Z: all of it, with the zeros that are left out. */
static bool stamp_parse(char out[15], const char *text)
{
	const size_t n = strspn(text, "0123456789");

	if ((n != 8 && n != 12 && n != 14) || (text[n] && strcmp(text + n, "Z") != 0))
		return false;
	memset(out, '0', 14);
	out[14] = '\0';
	memcpy(out, text, n);
	return true;
}

/* May a key with these options sign releases of that time? Up to its end, with it: a change of the key is of that second. */
static bool options_allow(const char *options, int64_t at)
{
	char value[256], now[CLOCK_TEXT_SIZE], stamp[16], end[15];

	clock_text(at, now);
	snprintf(stamp, sizeof(stamp), "%.4s%.2s%.2s%.2s%.2s%.2s", now, now + 5, now + 8, now + 11, now + 14, now + 17);
	if (strstr(options, "cert-authority"))
		return false;
	if (option(options, "namespaces", value) && !names_space(value))
		return false;
	if (option(options, "valid-after", value) && (!stamp_parse(end, value) || strcmp(stamp, end) < 0))
		return false;
	return !option(options, "valid-before", value) || (stamp_parse(end, value) && strcmp(stamp, end) <= 0);
}

struct listed {
	bool found; /* and its options allow releases of that time */
	bool ended; /* it has an end: whoever wrote the file knew of the next key */
	uint8_t key[32];
};

/* "principals [options] ssh-ed25519 AAAA... comment". want: that key; node: or the one with that id. */
static bool line_is(char *line, const uint8_t *want, const char *node, int64_t at, struct listed *out)
{
	const char *type = strstr(line, "ssh-ed25519 ");
	char id[SHA256_HEX], value[256], *options;
	uint8_t key[32];

	if (*line == '#' || !type || type == line || sshsig_parse_public(key, type))
		return false;
	key_id(key, id);
	if (want ? memcmp(key, want, 32) != 0 : strcmp(id, node) != 0)
		return false;
	line += strcspn(line, " \t");
	options = line < type ? mem_dupn(line, (size_t)(type - line)) : mem_dup("");
	memcpy(out->key, key, 32);
	out->found |= options_allow(options + strspn(options, " \t"), at);
	out->ended |= option(options + strspn(options, " \t"), "valid-before", value);
	free(options);
	return out->found;
}

static enum err look_up(struct receiver *r, const uint8_t *want, const char *node, int64_t at, struct listed *out)
{
	struct buf text = BUF_INIT(1 << 20);
	enum err e = file_read(r->dir, "allowed_signers", &text);
	bool done = false;

	*out = (struct listed){ .found = false };
	for (char *line = text.p, *end; !e && line && *line && !done; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = '\0';
		done = line_is(line, want, node, at, out);
	}
	buf_release(&text);
	return e;
}

/* --- changes that are known ------------------------------------------------------------------------------------------- */

static enum err follow(struct keychain *c, const struct receiver *r, const char *text, size_t n, const char *armored, struct arena *a)
{
	struct key_change x;
	enum err e = key_change_decode(&x, text, n, a);
	const bool before = !e && strcmp(x.site, r->site) != 0;

	if (!e && before && strcmp(x.site, "installation") != 0)
		e = err_set(ERR_DENIED, "the change of the key is of another site");
	/* The installation's changes led to the first key of this site's log: they come first. */
	if (!e && before && c->n && keychain_last(c)->after)
		e = err_set(ERR_DENIED, "a change of the key of another log is not the first");
	return e ? e : keychain_follow(c, &x, text, n, armored, strlen(armored), before);
}

enum err signers_load(struct receiver *r)
{
	struct buf text = BUF_INIT(KEYS_FILE_LIMIT);
	enum err e = file_read(r->dir, KEYS_FILE, &text);

	r->keys = mem_alloc(sizeof(*r->keys));
	if (e == ERR_NOT_FOUND) {
		r->statements = json_array();
		return ERR_OK;
	}
	if (!e)
		e = json_parse(&r->statements, text.p, text.len);
	for (size_t i = 0; !e && i < json_array_size(r->statements); i += 2) {
		const char *statement = json_string_value(json_array_get(r->statements, i)), *armored = json_string_value(json_array_get(r->statements, i + 1));

		e = statement && armored ? follow(r->keys, r, statement, strlen(statement), armored, r->a) : err_set(ERR_INPUT, "it has half a change");
	}
	buf_release(&text);
	return e ? err_prefix(ERR_FAILED, "%s/" KEYS_FILE " is damaged", r->dir_name) : ERR_OK;
}

uint64_t keychain_release(const struct receiver *r)
{
	return r->keys->n ? keychain_last(r->keys)->release : 0;
}

/*
 * May the keys of this chain up to the i-th be believed? A key in the file may, and one that was named by one that may. But where the file gives
 * a key's end, whoever wrote it knew the next one: then no other one follows.
 */
static enum err believed(struct receiver *r, const struct keychain *c, size_t i, int64_t at, bool *answer)
{
	struct listed now, before = { .found = false };
	bool yes = false;

	for (size_t k = 0; k <= i; k++) {
		enum err e = look_up(r, c->keys[k].key, NULL, k < i ? c->keys[k + 1].at : at, &now);

		if (e)
			return e;
		yes = now.found || (yes && !before.ended);
		before = now;
	}
	*answer = yes;
	return ERR_OK;
}

/* --- and those that come ------------------------------------------------------------------------------------------------ */

static enum err save(struct receiver *r)
{
	struct buf text = BUF_INIT(KEYS_FILE_LIMIT);
	enum err e = json_canonical(&text, r->statements);

	if (!e)
		e = file_write(r->dir, KEYS_FILE, text.p, text.len, 0600);
	buf_release(&text);
	return e;
}

static bool member_is(const struct tar *t, size_t n, const char *tail)
{
	char name[64];

	snprintf(name, sizeof(name), "key/%zu%s", n, tail);
	return strcmp(t->name, name) == 0;
}

static enum err take(struct receiver *r, struct keychain *c, size_t n, const struct buf *text, const struct buf *armored)
{
	const char *known = json_string_value(json_array_get(r->statements, 2 * (n - 1)));
	enum err e;

	if (known)
		return strcmp(known, buf_text(text)) == 0 ? ERR_OK : err_set(ERR_DENIED, "change %zu of the key is another one than this receiver knows", n);
	e = follow(c, r, buf_text(text), text->len, buf_text(armored), r->a);
	/* What was accepted was signed by the key that goes: a statement that denies it is of another history. */
	if (!e && keychain_last(c)->release < r->accepted.number && !WEAK(receive_key_history))
		e = err_set(ERR_DENIED, "change %zu of the key says that release %llu was the last before it, and release %llu was accepted here", n,
		    (unsigned long long)keychain_last(c)->release, (unsigned long long)r->accepted.number);
	if (!e) {
		json_array_append_new(r->statements, json_string(buf_text(text)));
		json_array_append_new(r->statements, json_string(buf_text(armored)));
	}
	return e;
}

enum err signers_take(struct receiver *r, struct tar *t, bool *got)
{
	const size_t before = json_array_size(r->statements);
	struct keychain *c = mem_alloc(sizeof(*c));
	size_t n = 0;
	bool begun = false, yes = true;
	enum err e;

	*c = *r->keys;
	while (!(e = tar_next(t, got)) && *got && strncmp(t->name, "key/", 4) == 0) {
		struct buf text = BUF_INIT(KEY_CHANGE_LIMIT), armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);

		/* The sender leaves out what the greeting says is known. */
		if (!begun)
			n = member_is(t, 1, "") ? 0 : before / 2;
		begun = true;
		if (++n >= KEYS_MOST || !member_is(t, n, ""))
			e = err_set(ERR_INPUT, "%.200s is not where a change of the key belongs", t->name);
		if (!e)
			e = tar_text(t, &text);
		if (!e)
			e = tar_next(t, got);
		if (!e && (!*got || !member_is(t, n, ".sig")))
			e = err_set(ERR_INPUT, "the signature of change %zu of the key is missing", n);
		if (!e)
			e = tar_text(t, &armored);
		if (!e)
			e = take(r, c, n, &text, &armored);
		buf_release(&text);
		buf_release(&armored);
		if (e)
			break;
	}
	/* The newest has to be led to from the file: not each step, for the file may have but the newest. */
	if (!e && n && c->n)
		e = believed(r, c, c->n - 1, keychain_last(c)->at, &yes);
	if (!e && !yes && !WEAK(receive_key_believed))
		e = err_set(ERR_DENIED, "the change of the key is by a key that is not in allowed_signers, or goes to another one than stands there");
	/* Known from now on, whatever becomes of this delivery. */
	if (!e && json_array_size(r->statements) > before)
		e = save(r);
	if (!e)
		*r->keys = *c;
	free(c);
	return e;
}

/* --- heads ------------------------------------------------------------------------------------------------------------------ */

static enum err old_key(const struct head *h, uint64_t last)
{
	return err_set(ERR_DENIED, "release %llu is signed by a key of node %.12s that was changed after release %llu", (unsigned long long)h->number, h->node,
	    (unsigned long long)last);
}

static enum err chain_key(struct receiver *r, const struct head *h, const struct sha256 *digest, uint8_t key[32])
{
	const struct keychain *c = r->keys;
	const struct key_time *k = keychain_at(c, h->seq), *next = k + 1 < c->keys + c->n ? k + 1 : NULL;
	bool yes = false;
	enum err e;

	if (!WEAK(receive_old_key)) {
		if (next && h->number > next->release)
			return old_key(h, next->release);
		if (next && h->number == next->release && !sha256_zero(&next->head) && !sha256_equal(&next->head, digest))
			return err_set(ERR_DENIED, "release %llu is another one than the last that the old key signed", (unsigned long long)h->number);
		if (h->number <= k->release)
			return err_set(ERR_DENIED, "release %llu was signed before the key was changed", (unsigned long long)h->number);
	}
	e = believed(r, c, (size_t)(k - c->keys), h->at, &yes);
	if (!e && !yes)
		e = err_set(ERR_DENIED, "release %llu is by a key of node %.12s that allowed_signers does not lead to", (unsigned long long)h->number, h->node);
	memcpy(key, k->key, 32);
	return e;
}

enum err signer_check(struct receiver *r, const struct head *h, const struct sha256 *digest, const struct buf *bytes, const struct buf *armored)
{
	struct listed l;
	uint8_t key[32];
	enum err e;

	if (r->keys->n && strcmp(r->keys->node, h->node) == 0) {
		e = chain_key(r, h, digest, key);
	} else {
		e = look_up(r, NULL, h->node, h->at, &l);
		memcpy(key, l.key, 32);
		if (!e && !l.found)
			e = err_set(ERR_DENIED, "release %llu is by node %.12s, which is not in allowed_signers", (unsigned long long)h->number, h->node);
	}
	return e ? e : sshsig_verify(key, HEAD_SPACE, bytes->p, bytes->len, buf_text(armored), armored->len);
}
