#include "core/head.h"

#include <string.h>

#include "base/clock.h"

#define FORMAT 1

/* --- the file ------------------------------------------------------------------------------------------------------------- */

static const char *hex(char out[SHA256_HEX], const struct sha256 *d)
{
	hex_of(out, d->b, sizeof(d->b));
	return out;
}

enum err head_encode(const struct head *h, struct buf *out)
{
	char at[CLOCK_TEXT_SIZE], expires[CLOCK_TEXT_SIZE], previous[SHA256_HEX] = "", files[SHA256_HEX], manifest[SHA256_HEX], record[SHA256_HEX];
	json_t *v;
	enum err e;

	clock_text(h->at, at);
	clock_text(h->expires, expires);
	if (!sha256_zero(&h->previous))
		hex(previous, &h->previous);
	/* clang-format off */
	v = json_pack("{s:i, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:{s:I, s:I, s:s}, s:{s:s}, s:{s:I, s:s}}",
	    "v", FORMAT,
	    "site", h->site,
	    "node", h->node,
	    "number", (json_int_t)h->number,
	    "term", (json_int_t)h->term,
	    "tree", h->tree,
	    "at", at,
	    "expires", expires,
	    "previous", previous,
	    "files", "count", (json_int_t)h->sums.count, "size", (json_int_t)h->sums.size, "sha256", hex(files, &h->sums.files),
	    "manifest", "sha256", hex(manifest, &h->sums.manifest),
	    "record", "seq", (json_int_t)h->seq, "sha256", hex(record, &h->record));
	/* clang-format on */
	if (!v)
		return err_set(ERR_INPUT, "not a release: a text that is not valid UTF-8");
	e = json_canonical(out, v);
	json_decref(v);
	buf_char(out, '\n');
	return e ? e : buf_check(out);
}

/* --- members -------------------------------------------------------------------------------------------------------------- */

static void get_hex(const json_t *v, const char *name, struct sha256 *out, bool *bad)
{
	const char *s = json_get_str(v, name, bad);

	if (!s || !hex_parse(out->b, sizeof(out->b), s))
		*bad = true;
}

static uint64_t get_number(const json_t *v, const char *name, bool *bad)
{
	int64_t n = json_get_int(v, name, -1, bad);

	if (n < 0)
		*bad = true;
	return n < 0 ? 0 : (uint64_t)n;
}

static void get_time(const json_t *v, const char *name, int64_t *out, bool *bad)
{
	const char *s = json_get_str(v, name, bad);

	if (!s || clock_parse(out, s))
		*bad = true;
}

static const char *get_id(const json_t *v, const char *name, size_t digits, struct arena *a, bool *bad)
{
	const char *s = json_get_str(v, name, bad);

	if (!s || strlen(s) != digits || strspn(s, "0123456789abcdef") != digits) {
		*bad = true;
		return "";
	}
	return arena_dup(a, s);
}

static void read_members(struct head *h, const json_t *v, struct arena *a, bool *bad)
{
	const json_t *files = json_get_obj(v, "files", bad), *manifest = json_get_obj(v, "manifest", bad), *record = json_get_obj(v, "record", bad);
	const char *site = json_get_str(v, "site", bad), *previous = json_get_str(v, "previous", bad);

	if (!site || !site_name_valid(site) || !previous || !files || !manifest || !record) {
		*bad = true;
		return;
	}
	h->site = arena_dup(a, site);
	h->node = get_id(v, "node", 64, a, bad);
	h->tree = get_id(v, "tree", 2 * BLOB_ID_SIZE, a, bad);
	h->number = get_number(v, "number", bad);
	h->term = get_number(v, "term", bad);
	get_time(v, "at", &h->at, bad);
	get_time(v, "expires", &h->expires, bad);
	if (*previous)
		get_hex(v, "previous", &h->previous, bad);
	h->sums.count = get_number(files, "count", bad);
	h->sums.size = get_number(files, "size", bad);
	get_hex(files, "sha256", &h->sums.files, bad);
	get_hex(manifest, "sha256", &h->sums.manifest, bad);
	h->seq = get_number(record, "seq", bad);
	get_hex(record, "sha256", &h->record, bad);
	if (!h->number || !h->term || !h->seq)
		*bad = true;
}

enum err head_decode(struct head *h, const char *bytes, size_t n, struct arena *a)
{
	struct buf again = BUF_INIT(HEAD_LIMIT);
	json_t *v = NULL;
	bool bad = false;
	enum err e = ERR_OK;

	memset(h, 0, sizeof(*h));
	if (!n || n > HEAD_LIMIT || bytes[n - 1] != '\n')
		return err_set(ERR_INPUT, "This is not the head of a release.");
	e = json_parse(&v, bytes, n - 1);
	if (!e)
		read_members(h, v, a, &bad);
	if (!e && (bad || head_encode(h, &again) || again.len != n || memcmp(again.p, bytes, n)))
		e = err_set(ERR_INPUT, "This is not the head of a release, or not as DryDock writes it.");
	json_decref(v);
	buf_release(&again);
	return e;
}

/* --- the record ------------------------------------------------------------------------------------------------------------ */

json_t *head_fields(const struct head *h, uint64_t previous_number)
{
	char expires[CLOCK_TEXT_SIZE], files[SHA256_HEX], manifest[SHA256_HEX], previous[SHA256_HEX];
	json_t *v;

	clock_text(h->expires, expires);
	v = json_pack("{s:I, s:I, s:s, s:s, s:I, s:I, s:s, s:s}", "number", (json_int_t)h->number, "term", (json_int_t)h->term, "tree", h->tree,
	    "expires", expires, "files", (json_int_t)h->sums.count, "size", (json_int_t)h->sums.size, "files_sha256", hex(files, &h->sums.files),
	    "manifest_sha256", hex(manifest, &h->sums.manifest));
	if (v && previous_number)
		json_object_set_new(v, "previous", json_integer((json_int_t)previous_number));
	if (v && !sha256_zero(&h->previous))
		json_object_set_new(v, "previous_sha256", json_string(hex(previous, &h->previous)));
	return v;
}

enum err head_of_record(struct head *h, const struct record *r, const struct sha256 *record, bool *signed_)
{
	bool bad = false;
	const char *tree, *previous;

	*signed_ = json_object_get(r->fields, "manifest_sha256") != NULL;
	*h = (struct head){ .site = r->site, .node = r->node, .at = r->at, .seq = r->seq, .record = *record };
	h->number = get_number(r->fields, "number", &bad);
	if (!*signed_)
		return bad ? err_set(ERR_FAILED, "Record %llu is not of a release.", (unsigned long long)r->seq) : ERR_OK;
	h->term = get_number(r->fields, "term", &bad);
	tree = json_get_str(r->fields, "tree", &bad);
	h->tree = tree ? tree : "";
	get_time(r->fields, "expires", &h->expires, &bad);
	h->sums.count = get_number(r->fields, "files", &bad);
	h->sums.size = get_number(r->fields, "size", &bad);
	get_hex(r->fields, "files_sha256", &h->sums.files, &bad);
	get_hex(r->fields, "manifest_sha256", &h->sums.manifest, &bad);
	previous = json_get_str(r->fields, "previous_sha256", &bad);
	if (previous)
		get_hex(r->fields, "previous_sha256", &h->previous, &bad);
	return bad ? err_set(ERR_FAILED, "Record %llu is not of a release as DryDock writes it.", (unsigned long long)r->seq) : ERR_OK;
}
