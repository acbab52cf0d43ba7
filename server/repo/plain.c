#include "repo/plain.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

#define NAME_LIMIT 512

bool blob_id_equal(const struct blob_id *a, const struct blob_id *b)
{
	return memcmp(a->b, b->b, BLOB_ID_SIZE) == 0;
}

bool blob_id_zero(const struct blob_id *a)
{
	static const struct blob_id zero;
	return blob_id_equal(a, &zero);
}

/* --- ids ---------------------------------------------------------------------------------------------------------- */

struct object_hash { EVP_MD_CTX *ctx; };

/* SHA-1 in memory fails only where there is none, as digest.c has it. */
static void must(int ok)
{
	if (ok == 1)
		return;
	log_event(LOG_LEVEL_ERROR, "digest", "text", "SHA-1 failed", NULL);
	abort();
}

/* Once: OpenSSL looks for it anew at each use of EVP_sha1(), which takes longer than the digest of a small object. */
static EVP_MD *sha1;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
	sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
	must(sha1 != NULL);
}

struct object_hash *object_hash_new(const char *type, uint64_t size)
{
	struct object_hash *h = mem_alloc(sizeof(*h));
	char head[64];
	int n = snprintf(head, sizeof(head), "%s %llu", type, (unsigned long long)size);

	(void)pthread_once(&fetched, fetch);
	h->ctx = EVP_MD_CTX_new();
	must(h->ctx && EVP_DigestInit_ex2(h->ctx, sha1, NULL) == 1);
	object_hash_add(h, head, (size_t)n + 1);
	return h;
}

void object_hash_add(struct object_hash *h, const void *p, size_t n)
{
	must(EVP_DigestUpdate(h->ctx, p, n));
}

void object_hash_end_free(struct object_hash *h, struct blob_id *out)
{
	uint8_t sum[EVP_MAX_MD_SIZE];

	must(EVP_DigestFinal_ex(h->ctx, sum, NULL));
	if (out)
		memcpy(out->b, sum, BLOB_ID_SIZE);
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

/* --- trees --------------------------------------------------------------------------------------------------------- */

int tree_entry_compare(const struct tree_entry *a, const struct tree_entry *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	int c = memcmp(a->name, b->name, n);
	unsigned char x, y;

	if (c != 0)
		return c;
	x = a->len > n ? (unsigned char)a->name[n] : a->mode == TREE_MODE_DIR ? '/' : 0;
	y = b->len > n ? (unsigned char)b->name[n] : b->mode == TREE_MODE_DIR ? '/' : 0;
	return (int)x - (int)y;
}

bool tree_entry_parse(struct tree_entry *e, const char **p, const char *end)
{
	const char *at = *p, *nul;
	unsigned mode = 0;

	for (; at < end && *at >= '0' && *at <= '7' && mode < 0200000; at++)
		mode = mode << 3 | (unsigned)(*at - '0');
	if (at == end || *at != ' ')
		return false;
	at++;
	nul = memchr(at, '\0', (size_t)(end - at));
	if (!nul || end - nul - 1 < BLOB_ID_SIZE)
		return false;
	e->name = at;
	e->len = (size_t)(nul - at);
	e->mode = mode;
	memcpy(e->id.b, nul + 1, BLOB_ID_SIZE);
	*p = nul + 1 + BLOB_ID_SIZE;
	return mode == TREE_MODE_FILE || mode == TREE_MODE_EXEC || mode == TREE_MODE_DIR;
}

/* --- who ---------------------------------------------------------------------------------------------------------- */

/*
 * A name that cannot end its line or its field: valid UTF-8, no control character, no '<' or '>'; no blank at either
 * end. In an address, nothing either that would need quotes there.
 */
static void put_clean(struct buf *out, const char *name, bool address)
{
	struct buf text = BUF_INIT(4 * NAME_LIMIT);
	struct buf clean = BUF_INIT(4 * NAME_LIMIT);
	const char *s;
	size_t begin = 0, end;

	utf8_visible(&text, name, strnlen(name, NAME_LIMIT), false);
	for (s = buf_text(&text); *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c < 0x20 || c == 0x7f || c == '<' || c == '>')
			continue;
		if (address && (c == ' ' || strchr("()[]\\,;:@\"", c)))
			c = '-';
		buf_char(&clean, (char)c);
	}
	end = clean.len;
	while (begin < end && (clean.p[begin] == ' ' || clean.p[begin] == '.'))
		begin++;
	while (end > begin && (clean.p[end - 1] == ' ' || clean.p[end - 1] == '.'))
		end--;
	if (begin == end)
		buf_str(out, "unknown");
	else
		buf_add(out, clean.p + begin, end - begin);
	buf_release(&text);
	buf_release(&clean);
}

static void put_time(struct buf *out, int64_t at)
{
	buf_fmt(out, " %lld +0000\n", at > 0 ? (long long)(at / CLOCK_SECOND) : 0);
}

void plain_put_node(struct buf *out, const char *field, const char *node, int64_t at)
{
	buf_fmt(out, "%s DryDock node %.12s <node@drydock.invalid>", field, node);
	put_time(out, at);
}

static void put_person(struct buf *out, const char *field, const struct identity *who, int64_t at)
{
	buf_fmt(out, "%s ", field);
	put_clean(out, who->name ? who->name : "", false);
	buf_str(out, " <");
	put_clean(out, who->name ? who->name : "", true);
	buf_char(out, '@');
	put_clean(out, who->provider ? who->provider : "", true);
	buf_str(out, ".invalid>");
	put_time(out, at);
}

void plain_put_id(struct buf *out, const char *field, const struct blob_id *id)
{
	buf_str(out, field);
	buf_char(out, ' ');
	buf_hex(out, id->b, BLOB_ID_SIZE);
	buf_char(out, '\n');
}

/* --- commits of the log --------------------------------------------------------------------------------------------- */

/* Header and message: a pure function of record, tree, parent and key. */
enum err plain_log_text(const struct record *record, const struct sha256 *digest, const struct blob_id *tree,
    const struct blob_id *parent, const char *node, struct buf *head, struct buf *body)
{
	enum err e;

	plain_put_id(head, "tree", tree);
	if (!blob_id_zero(parent))
		plain_put_id(head, "parent", parent);
	put_person(head, "author", &record->actor, record->at);
	plain_put_node(head, "committer", node, record->at);
	record_message(record, digest, body);
	e = buf_check(head);
	return e ? e : buf_check(body);
}

bool plain_id_line(const char **p, const char *end, const char *field, struct blob_id *id)
{
	char hex[2 * BLOB_ID_SIZE + 1];
	size_t n = strlen(field);

	if ((size_t)(end - *p) < n + 2 * BLOB_ID_SIZE + 1 || memcmp(*p, field, n) != 0 || (*p)[n + 2 * BLOB_ID_SIZE] != '\n')
		return false;
	memcpy(hex, *p + n, 2 * BLOB_ID_SIZE);
	hex[2 * BLOB_ID_SIZE] = '\0';
	*p += n + 2 * BLOB_ID_SIZE + 1;
	return hex_parse(id->b, BLOB_ID_SIZE, hex);
}

bool plain_commit_parse(const char *p, size_t n, struct blob_id *tree, struct blob_id *parent)
{
	const char *end = p + n;
	struct blob_id second;

	*parent = (struct blob_id){ { 0 } };
	return plain_id_line(&p, end, "tree ", tree) &&
	    (!plain_id_line(&p, end, "parent ", parent) || !plain_id_line(&p, end, "parent ", &second));
}

/* The bytes that were signed, and the armored signature. */
enum err plain_commit_split(const char *p, size_t n, struct buf *bytes, struct buf *armored)
{
	const char *end = p + n;
	bool in_signature = false, seen = false;

	while (p < end && *p != '\n') {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		const char *next = newline ? newline + 1 : end;

		if (next - p > 7 && memcmp(p, "gpgsig ", 7) == 0) {
			if (seen)
				return err_set(ERR_DENIED, "the commit has two signatures");
			in_signature = seen = true;
			buf_add(armored, p + 7, (size_t)(next - p) - 7);
		} else if (*p == ' ' && in_signature) {
			buf_add(armored, p + 1, (size_t)(next - p) - 1);
		} else {
			in_signature = false;
			buf_add(bytes, p, (size_t)(next - p));
		}
		p = next;
	}
	buf_add(bytes, p, (size_t)(end - p));
	if (!seen)
		return err_set(ERR_DENIED, "the commit has no signature");
	if (buf_check(armored))
		return err_set(ERR_DENIED, "the commit's signature is too large to be one");
	return buf_check(bytes);
}
