/*
 * key: the keys of a site's log, as its records tell; the record that changes the key; and what the old key signed of releases,
 * which cannot be made again without it: signatures of heads and tags are kept in that record.
 */
#include <string.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "repo/keychain.h"
#include "repo/sshsig.h"

/* With its signatures, 132 bytes of a release become 176 letters: the record stays below its limit. */
#define KEPT_MOST 5000
#define KEPT_SIZE (4 + 2 * SSHSIG_RAW_SIZE) /* number, of the head, of the tag */
#define RAW_LIMIT ((size_t)KEPT_MOST * KEPT_SIZE)

/* --- the keys of a log -------------------------------------------------------------------------------------------------- */

struct site_keys {
	struct keychain chain;
	struct arena *arena;
	struct site_key_paper papers[KEYS_MOST];
	size_t n_papers;
	bool wrong; /* they are not in order */
};

void site_keys_free(struct site_keys *k)
{
	if (!k)
		return;
	arena_free(k->arena);
	free(k);
}

static enum err keep_paper(void *arg, const struct key_change *x, const char *bytes, size_t n, const struct buf *armored)
{
	struct site_keys *k = arg;

	(void)x;
	if (k->n_papers == KEYS_MOST)
		return err_set(ERR_DENIED, "the key was changed more than %d times", KEYS_MOST);
	k->papers[k->n_papers++] = (struct site_key_paper){ .statement = arena_dupn(k->arena, bytes, n), .len = n, .signature = arena_dupn(k->arena, armored->p, armored->len) };
	return ERR_OK;
}

static enum err take_record(struct site_keys *k, struct db *db, const struct site *s, uint64_t seq)
{
	struct arena *a = arena_new();
	struct db_record_row row;
	struct record r = { .fields = NULL };
	enum err e = db_record_get(db, s->name, node_key_id(s->key), seq, &row, a);

	if (!e)
		e = record_decode(&r, row.body, row.body_len, a);
	if (!e && seq != 1 && strcmp(r.act, KEY_ACT) != 0)
		e = err_set(ERR_DENIED, "its row says that it changes the key, and it does not");
	if (!e)
		e = keychain_statements(&k->chain, &r, keep_paper, k);
	if (!e)
		e = keychain_take(&k->chain, &r);
	json_decref(r.fields);
	arena_free(a);
	return e ? err_prefix(e, "record %llu", (unsigned long long)seq) : ERR_OK;
}

struct changes { uint64_t seqs[KEYS_MOST]; size_t n; };

static bool see_change(void *arg, const struct db_record_row *row)
{
	struct changes *c = arg;

	c->seqs[c->n++] = row->seq;
	return c->n < KEYS_MOST;
}

enum err site_load_keys(struct site *s, struct db *db)
{
	struct db_record_query q = { .site = s->name, .node = node_key_id(s->key), .act = KEY_ACT, .limit = KEYS_MOST };
	struct site_keys *k = mem_alloc(sizeof *k);
	struct changes changes = { .n = 0 };
	char print[KEY_PRINT];
	enum err e = db_record_list(db, &q, see_change, &changes);

	k->arena = arena_new();
	if (!e)
		e = take_record(k, db, s, 1);
	while (!e && changes.n)
		e = take_record(k, db, s, changes.seqs[--changes.n]);
	if (!e && !node_key_is(s->key, keychain_last(&k->chain)->key))
		e = err_set(ERR_DENIED, "its newest key is %s, and that is not the node's (node.key)", key_print(keychain_last(&k->chain)->key, print));
	/* One that is not in order signs nothing: see decide(). The reader wants to know why, not to find the door shut. */
	if (e == ERR_DENIED || e == ERR_INPUT || e == ERR_NOT_FOUND) {
		site_make_read_only(s, "the keys of the log of %s are not in order: %.150s. See drydockd fsck.", s->name, err_text());
		k->wrong = true;
		e = ERR_OK;
	}
	if (s->keys)
		site_keys_free(s->keys);
	s->keys = k;
	return e;
}

const struct keychain *site_keychain(const struct site *s)
{
	return s->keys ? &s->keys->chain : NULL;
}

const struct site_key_paper *site_key_papers(const struct site *s, size_t *n)
{
	*n = s->keys ? s->keys->n_papers : 0;
	return s->keys ? s->keys->papers : NULL;
}

bool site_key_signs(const struct site *s)
{
	const struct key_time *last = s->keys ? keychain_last(&s->keys->chain) : NULL;

	return !s->keys || (!s->keys->wrong && last && memcmp(last->key, node_key_bytes(s->key), 32) == 0);
}

/* --- what an old key signed of a release ---------------------------------------------------------------------------------- */

bool site_key_signed(const struct site *s, const struct db_release *rel)
{
	const struct key_time *k = s->keys ? keychain_at(&s->keys->chain, rel->seq) : NULL;

	return !k || memcmp(k->key, node_key_bytes(s->key), 32) == 0;
}

static uint64_t number_of(const uint8_t *p)
{
	return (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
}

/* The record that ended the time of the key which signed that release. */
static enum err kept_bytes(struct site *s, struct db *db, const struct db_release *rel, uint8_t **out, size_t *n, uint8_t key[32])
{
	const struct keychain *c = &s->keys->chain;
	const struct key_time *k = keychain_at(c, rel->seq);
	const uint64_t seq = k + 1 < c->keys + c->n ? k[1].after : 0;
	struct arena *a = arena_new();
	struct db_record_row row;
	struct record r = { .fields = NULL };
	const char *text;
	enum err e = seq ? db_record_get(db, s->name, node_key_id(s->key), seq, &row, a) : err_set(ERR_NOT_FOUND, "no record changed its key");

	memcpy(key, k->key, 32);
	*out = mem_alloc(RAW_LIMIT);
	*n = 0;
	if (!e)
		e = record_decode(&r, row.body, row.body_len, a);
	text = e ? NULL : json_string_value(json_object_get(r.fields, RECORD_FIELD_SIGNATURES));
	if (!e && (!text || !base64_parse(*out, RAW_LIMIT, n, text) || *n % KEPT_SIZE))
		e = err_set(ERR_FAILED, "record %llu does not have the signatures of releases", (unsigned long long)seq);
	json_decref(r.fields);
	arena_free(a);
	return e;
}

enum err site_key_kept(struct site *s, struct actor_tools *t, const struct db_release *rel, bool tag, struct buf *armored)
{
	uint8_t key[32], *kept;
	size_t n;
	enum err e = kept_bytes(s, tools_db(t), rel, &kept, &n, key);
	bool found = false;

	for (size_t at = 0; !e && at < n && !found; at += KEPT_SIZE)
		if (number_of(kept + at) == rel->number) {
			found = true;
			e = sshsig_armor(key, tag ? "git" : HEAD_SPACE, kept + at + 4 + (tag ? SSHSIG_RAW_SIZE : 0), armored);
		}
	if (!e && !found)
		e = err_set(ERR_NOT_FOUND, "the signature of release %llu, by a key that was replaced, was not kept", (unsigned long long)rel->number);
	free(kept);
	return e;
}

/* --- changing it ------------------------------------------------------------------------------------------------------------ */

struct key_acting {
	const struct node_key *next;
	const char *by;
	struct actor_tools *t;
	char *kept; /* base64; NULL: no release yet */
	uint64_t release;
	struct sha256 head;
};

struct keeping {
	struct site *s;
	struct db_release *list;
	size_t n, cap;
};

static bool see_release(void *arg, const struct db_release *r)
{
	struct keeping *k = arg;

	/* Those of keys before have theirs in the record that ended them. */
	if (strcmp(r->node, node_key_id(k->s->key)) != 0 || !site_key_signed(k->s, r))
		return false;
	k->list = mem_grow(k->list, &k->cap, k->n + 1, sizeof *k->list);
	k->list[k->n] = *r;
	k->list[k->n++].node = node_key_id(k->s->key);
	return true;
}

static enum err keep_release(struct key_acting *x, struct site *s, const struct db_release *rel, uint8_t *to)
{
	struct arena *a = arena_new();
	struct release_papers papers;
	struct buf tag = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	enum err e = release_papers(s, x->t, rel, &papers, a);

	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(rel->number >> (24 - 8 * i));
	memset(to + 4, 0, 2 * SSHSIG_RAW_SIZE);
	if (!e && papers.has_head)
		e = sshsig_raw(to + 4, papers.signature, strlen(papers.signature));
	if (!e)
		e = release_tag_signature(s, rel, &tag);
	if (!e)
		e = sshsig_raw(to + 4 + SSHSIG_RAW_SIZE, tag.p, tag.len);
	if (!e && rel->number > x->release) {
		x->release = rel->number;
		x->head = papers.has_head ? papers.digest : (struct sha256){ 0 };
	}
	buf_release(&tag);
	arena_free(a);
	return e;
}

static enum err keep_releases(struct key_acting *x, struct site *s)
{
	struct keeping k = { .s = s };
	uint8_t *raw;
	enum err e = db_release_list(tools_db(x->t), s->name, 0, KEPT_MOST, see_release, &k);

	if (!e && k.n && k.list[0].number > UINT32_MAX)
		e = err_set(ERR_TOO_BIG, "release numbers above %u cannot be kept", UINT32_MAX);
	raw = mem_array(k.n + 1, KEPT_SIZE);
	for (size_t i = 0; i < k.n && !e; i++)
		e = keep_release(x, s, &k.list[i], raw + i * KEPT_SIZE);
	if (!e && k.n) {
		x->kept = mem_alloc(base64_size(k.n * KEPT_SIZE));
		base64_of(x->kept, raw, k.n * KEPT_SIZE);
	}
	free(raw);
	free(k.list);
	/* Nothing was released with this key: what the one before signed last stays the last. */
	if (!e && !x->release && s->keys) {
		x->release = keychain_last(&s->keys->chain)->release;
		x->head = keychain_last(&s->keys->chain)->head;
	}
	return e;
}

static enum err key_check(struct decision *d, void *arg)
{
	struct key_acting *x = arg;
	struct key_change c = { .site = d->s->name, .node = node_key_id(d->s->key), .seq = d->head.seq + 1, .at = d->at, .from = node_key_public(d->s->key),
		.to = node_key_public(x->next), .release = x->release, .head = x->head };
	struct buf text = BUF_INIT(KEY_CHANGE_LIMIT), armored = BUF_INIT(SSHSIG_ARMORED_LIMIT);
	char signature[128], head[SHA256_HEX];
	uint8_t raw[SSHSIG_RAW_SIZE];
	enum err e = key_change_encode(&c, &text);

	if (!e)
		e = node_key_sign(d->s->key, KEY_SPACE, text.p, text.len, &armored);
	if (!e)
		e = sshsig_raw(raw, armored.p, armored.len);
	if (!e) {
		base64_of(signature, raw, sizeof raw);
		d->fields = json_pack("{s:s, s:s, s:s, s:I, s:b}", "key", c.to, "signature", signature, "by", x->by, "release", (json_int_t)x->release, "offline", true);
		if (!d->fields)
			e = err_set(ERR_INPUT, "who changes the key is not a name");
	}
	if (!e && !sha256_zero(&x->head)) {
		hex_of(head, x->head.b, sizeof x->head.b);
		json_object_set_new(d->fields, "head", json_string(head));
	}
	if (!e && x->kept)
		json_object_set_new(d->fields, RECORD_FIELD_SIGNATURES, json_string(x->kept));
	buf_release(&text);
	buf_release(&armored);
	return e;
}

enum err act_key(struct site *s, struct actor_tools *t, const struct node_key *next, int64_t at, const char *by, const char *reason, struct act_answer *out)
{
	struct act_request rq = { .note = reason };
	struct key_acting x = { .next = next, .by = by, .t = t };
	struct decision d = { .s = s, .t = t, .rq = &rq, .act = KEY_ACT, .shown = "", .check = key_check, .arg = &x, .at = at };
	struct request r;
	enum err e = keep_releases(&x, s);

	if (!e) {
		uuid_new(&rq.op);
		request_begin(&r, KEY_ACT);
		request_text(&r, node_key_public(next));
		request_text(&r, reason);
		request_end(&r, &d.request);
		e = decide(&d, out);
	}
	if (!e && out->pending[0])
		e = err_set(ERR_FAILED, "%s", out->pending);
	if (!e)
		e = site_load_keys(s, tools_db(t));
	free(x.kept);
	return e;
}
