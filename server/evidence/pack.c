/* A pack of whole objects: each stands in it as it is, so that reading one needs no other. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "evidence/inside.h"

#define HEAD 12
#define SUM 20 /* SHA-1 */
#define PIECE ((size_t)64 * 1024)

static const char *type_name(enum pack_type t)
{
	return t == PACK_COMMIT ? "commit" : t == PACK_TREE ? "tree" : "blob";
}

static void put_u32(struct buf *b, uint32_t v)
{
	const uint8_t bytes[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

	buf_add(b, bytes, sizeof(bytes));
}

/* --- the index: version 2, a pure function of the entries and the pack's checksum ---------------------------------- */

static int by_id(const void *a, const void *b)
{
	return memcmp(((const struct pack_entry *)a)->id.b, ((const struct pack_entry *)b)->id.b, BLOB_ID_SIZE);
}

static enum err index_make(const struct pack_entry *list, size_t n, const uint8_t sum[SUM], struct buf *out)
{
	uint8_t own[EVP_MAX_MD_SIZE];
	uint32_t fan = 0, k = 0;
	unsigned len = 0;

	buf_add(out, "\377tOc\0\0\0\2", 8);
	for (unsigned b = 0; b < 256; b++) {
		while (fan < n && list[fan].id.b[0] <= b)
			fan++;
		put_u32(out, fan);
	}
	for (size_t i = 0; i < n; i++)
		buf_add(out, list[i].id.b, BLOB_ID_SIZE);
	for (size_t i = 0; i < n; i++)
		put_u32(out, list[i].crc);
	for (size_t i = 0; i < n; i++)
		put_u32(out, list[i].at > INT32_MAX ? 0x80000000u | k++ : (uint32_t)list[i].at);
	for (size_t i = 0; i < n; i++)
		if (list[i].at > INT32_MAX) {
			put_u32(out, (uint32_t)(list[i].at >> 32));
			put_u32(out, (uint32_t)list[i].at);
		}
	buf_add(out, sum, SUM);
	if (buf_check(out))
		return ERR_TOO_BIG;
	if (EVP_Digest(out->p, out->len, own, &len, EVP_sha1(), NULL) != 1 || len != SUM)
		return err_set(ERR_FAILED, "SHA-1 failed");
	buf_add(out, own, SUM);
	return buf_check(out);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct pack_out {
	int fd;
	uint64_t end;
	struct pack_entry *entries;
	size_t n, cap;
	uint32_t *slots; /* entry + 1, by id */
	size_t n_slots;
	uint8_t *bytes; /* one object, deflated */
	size_t bytes_cap;
};

struct pack_out *pack_out_new(int fd)
{
	struct pack_out *p = mem_alloc(sizeof(*p));

	p->fd = fd;
	p->end = HEAD;
	p->n_slots = 1024;
	p->slots = mem_array(p->n_slots, sizeof(*p->slots));
	return p;
}

void pack_out_free(struct pack_out *p)
{
	if (!p)
		return;
	free(p->entries);
	free(p->slots);
	free(p->bytes);
	free(p);
}

static uint32_t *slot_of(const struct pack_out *p, uint32_t *slots, size_t n, const struct blob_id *id)
{
	size_t at;

	memcpy(&at, id->b, sizeof(at));
	for (at &= n - 1; slots[at] && !blob_id_equal(&p->entries[slots[at] - 1].id, id); at = (at + 1) & (n - 1))
		;
	return &slots[at];
}

bool pack_out_has(const struct pack_out *p, const struct blob_id *id)
{
	return *slot_of(p, p->slots, p->n_slots, id) != 0;
}

static void slots_double(struct pack_out *p)
{
	size_t n = p->n_slots * 2;
	uint32_t *slots = mem_array(n, sizeof(*slots));

	for (size_t i = 0; i < p->n_slots; i++)
		if (p->slots[i])
			*slot_of(p, slots, n, &p->entries[p->slots[i] - 1].id) = p->slots[i];
	free(p->slots);
	p->slots = slots;
	p->n_slots = n;
}

static size_t entry_head(uint8_t *out, enum pack_type type, uint64_t n)
{
	size_t len = 0;
	uint8_t c = (uint8_t)((unsigned)type << 4 | (n & 15));

	for (n >>= 4; n; n >>= 7) {
		out[len++] = c | 0x80;
		c = n & 0x7f;
	}
	out[len++] = c;
	return len;
}

enum err pack_out_add(struct pack_out *p, enum pack_type type, const struct blob_id *id, const void *bytes, size_t n)
{
	size_t head, bound = 16 + compressBound(n);
	uLongf len = bound - 16;
	struct pack_entry *e;

	if (pack_out_has(p, id))
		return ERR_OK;
	if (p->n == EVIDENCE_OBJECTS_LIMIT || p->end + bound > EVIDENCE_PACK_LIMIT)
		return err_set(ERR_TOO_BIG, "the history is too long for one archive");
	if (bound > p->bytes_cap)
		p->bytes = mem_grow(p->bytes, &p->bytes_cap, bound, 1);
	head = entry_head(p->bytes, type, n);
	if (compress2(p->bytes + head, &len, n ? bytes : (const void *)"", n, 6) != Z_OK)
		return err_set(ERR_FAILED, "zlib failed");
	if (p->n == p->cap)
		p->entries = mem_grow(p->entries, &p->cap, p->n + 1, sizeof(*p->entries));
	e = &p->entries[p->n++];
	*e = (struct pack_entry){ .id = *id, .at = p->end, .size = n, .type = type,
		.crc = (uint32_t)crc32(crc32(0, NULL, 0), p->bytes, (uInt)(head + len)) };
	*slot_of(p, p->slots, p->n_slots, id) = (uint32_t)p->n;
	if (2 * p->n > p->n_slots)
		slots_double(p);
	if (sys_pwrite_all(p->fd, p->bytes, head + len, (off_t)p->end))
		return err_sys(ERR_FAILED, "cannot write a temporary file");
	p->end += head + len;
	return ERR_OK;
}

enum err pack_out_finish(struct pack_out *p, uint64_t *size, char name[2 * BLOB_ID_SIZE + 1], struct buf *index)
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	uint8_t *bytes = mem_alloc(PIECE);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct buf head = BUF_INIT(HEAD);
	enum err e = ERR_OK;

	buf_add(&head, "PACK\0\0\0\2", 8);
	put_u32(&head, (uint32_t)p->n);
	if (sys_pwrite_all(p->fd, head.p, HEAD, 0))
		e = err_sys(ERR_FAILED, "cannot write a temporary file");
	if (!e && (!ctx || EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) != 1))
		e = err_set(ERR_FAILED, "SHA-1 failed");
	for (uint64_t at = 0; !e && at < p->end;) {
		ssize_t got = pread(p->fd, bytes, p->end - at < PIECE ? (size_t)(p->end - at) : PIECE, (off_t)at);

		if (got <= 0)
			e = err_sys(ERR_FAILED, "cannot read a temporary file");
		else if (EVP_DigestUpdate(ctx, bytes, (size_t)got) != 1)
			e = err_set(ERR_FAILED, "SHA-1 failed");
		at += got > 0 ? (uint64_t)got : 0;
	}
	if (!e && EVP_DigestFinal_ex(ctx, sum, NULL) != 1)
		e = err_set(ERR_FAILED, "SHA-1 failed");
	if (!e && sys_pwrite_all(p->fd, sum, SUM, (off_t)p->end))
		e = err_sys(ERR_FAILED, "cannot write a temporary file");
	if (!e) {
		*size = p->end + SUM;
		hex_of(name, sum, SUM);
		qsort(p->entries, p->n, sizeof(*p->entries), by_id);
		e = index_make(p->entries, p->n, sum, index);
	}
	buf_release(&head);
	EVP_MD_CTX_free(ctx);
	free(bytes);
	return e;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static enum err damaged(void)
{
	return err_set(ERR_INPUT, "the pack is not one that DryDock writes, or damaged");
}

/* type and size; *at moves behind them. */
static enum err head_read(const struct pack_in *in, uint64_t end, uint64_t *at, struct pack_entry *e)
{
	uint8_t made[16], c;
	const uint64_t from = *at;
	unsigned shift = 4;

	if (*at >= end)
		return damaged();
	c = in->p[(*at)++];
	e->type = (enum pack_type)(c >> 4 & 7);
	e->size = c & 15;
	while (c & 0x80) {
		if (*at >= end || shift > 32)
			return damaged();
		c = in->p[(*at)++];
		e->size |= (uint64_t)(c & 0x7f) << shift;
		shift += 7;
	}
	if (e->type < PACK_COMMIT || e->type > PACK_BLOB || e->size > EVIDENCE_BLOB_LIMIT)
		return damaged();
	/* no size in more bytes than it needs */
	return entry_head(made, e->type, e->size) == *at - from ? ERR_OK : damaged();
}

/* Inflate one object: its id, or its bytes. *at moves behind it. */
static enum err inflate_one(const struct pack_in *in, uint64_t end, uint64_t *at, struct pack_entry *e, struct buf *out)
{
	uint8_t *piece = out ? NULL : mem_alloc(PIECE);
	struct object_hash *hash = object_hash_new(type_name(e->type), e->size);
	uint64_t left = e->size;
	z_stream z = { 0 };
	int got = Z_OK;
	enum err err = inflateInit(&z) == Z_OK ? ERR_OK : err_set(ERR_FAILED, "zlib cannot start");

	if (out)
		buf_reset(out);
	z.next_in = (Bytef *)(uintptr_t)(in->p + *at);
	while (!err && got != Z_STREAM_END) {
		uint8_t small[PIECE / 16], *to = out ? small : piece;
		const size_t room = out ? sizeof(small) : PIECE;

		z.avail_in = (uInt)(end - *at < PIECE ? end - *at : PIECE);
		const uInt had = z.avail_in;
		z.next_out = to;
		z.avail_out = (uInt)room;
		got = inflate(&z, Z_NO_FLUSH);
		const size_t n = room - z.avail_out;
		if ((got != Z_OK && got != Z_STREAM_END) || n > left || (got == Z_OK && !n && had == z.avail_in)) {
			err = damaged();
			break;
		}
		*at += had - z.avail_in;
		left -= n;
		object_hash_add(hash, to, n);
		if (out)
			buf_add(out, to, n);
	}
	object_hash_end_free(hash, &e->id);
	inflateEnd(&z);
	free(piece);
	if (!err && left)
		err = damaged();
	return err ? err : out ? buf_check(out) : ERR_OK;
}

enum err pack_in_open(struct pack_in *in, const uint8_t *p, uint64_t size, struct buf *index)
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	uint64_t at = HEAD;
	unsigned len = 0;
	enum err e = ERR_OK;

	*in = (struct pack_in){ .p = p, .size = size };
	if (size < HEAD + SUM || memcmp(p, "PACK\0\0\0\2", 8) != 0)
		return damaged();
	in->n = (size_t)p[8] << 24 | (size_t)p[9] << 16 | (size_t)p[10] << 8 | p[11];
	/* an object has at least a byte of head and eight of an empty stream */
	if (in->n > EVIDENCE_OBJECTS_LIMIT || in->n > size / 9)
		return damaged();
	if (EVP_Digest(p, (size_t)(size - SUM), sum, &len, EVP_sha1(), NULL) != 1)
		return err_set(ERR_FAILED, "SHA-1 failed");
	if (len != SUM || memcmp(sum, p + size - SUM, SUM) != 0)
		return damaged();
	hex_of(in->name, sum, SUM);
	in->entries = mem_array(in->n + 1, sizeof(*in->entries));
	for (size_t i = 0; i < in->n && !e; i++) {
		struct pack_entry *x = &in->entries[i];

		x->at = at;
		e = head_read(in, size - SUM, &at, x);
		if (!e)
			e = inflate_one(in, size - SUM, &at, x, NULL);
		if (!e)
			x->crc = (uint32_t)crc32_z(crc32(0, NULL, 0), p + x->at, (z_size_t)(at - x->at));
	}
	if (!e && at != size - SUM)
		e = damaged();
	if (e)
		return e;
	if (in->n)
		qsort(in->entries, in->n, sizeof(*in->entries), by_id);
	for (size_t i = 1; i < in->n; i++)
		if (blob_id_equal(&in->entries[i - 1].id, &in->entries[i].id))
			return damaged();
	return index_make(in->entries, in->n, sum, index);
}

void pack_in_release(struct pack_in *in)
{
	free(in->entries);
	in->entries = NULL;
	in->n = 0;
}

enum err pack_in_read(struct pack_in *in, enum pack_type type, const struct blob_id *id, struct buf *out)
{
	const struct pack_entry key = { .id = *id };
	struct pack_entry *e = in->n ? bsearch(&key, in->entries, in->n, sizeof(key), by_id) : NULL, now;
	char hex[2 * BLOB_ID_SIZE + 1];
	uint64_t at;
	enum err err;

	hex_of(hex, id->b, BLOB_ID_SIZE);
	if (!e || e->type != type)
		return err_set(ERR_NOT_FOUND, "the %s %s is missing", type_name(type), hex);
	if (e->size > out->limit)
		return err_set(ERR_TOO_BIG, "the %s %s is too large to be one", type_name(type), hex);
	e->used = true;
	now = *e;
	at = e->at;
	err = head_read(in, in->size - SUM, &at, &now);
	return err ? err : inflate_one(in, in->size - SUM, &at, &now, out);
}
