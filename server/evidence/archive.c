/* gzip and ustar, in one form only: so a reader can compare what it reads with what a writer would have written. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/sys.h"
#include "evidence/inside.h"

#define PIECE ((size_t)256 * 1024)
#define SUMS_NAME EVIDENCE_PLACE "SHA256SUMS"
#define SUMS_LIMIT ((size_t)512 << 20)
#define MTIME 946684800u /* 2000-01-01: the time is in the records; older ones make tar complain */

static const uint8_t GZIP_HEAD[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255 };

static bool header_make(uint8_t h[ARCHIVE_BLOCK], const char *name, uint64_t size)
{
	char field[16];
	unsigned sum = 0;
	size_t n = strlen(name);

	if (n == 0 || n > ARCHIVE_NAME || size > ARCHIVE_MEMBER_LIMIT)
		return false;
	memset(h, 0, ARCHIVE_BLOCK);
	memcpy(h, name, n);
	memcpy(h + 100, "0000644", 8);
	memcpy(h + 108, "0000000", 8);
	memcpy(h + 116, "0000000", 8);
	snprintf(field, sizeof(field), "%011llo", (unsigned long long)size);
	memcpy(h + 124, field, 12);
	snprintf(field, sizeof(field), "%011o", MTIME);
	memcpy(h + 136, field, 12);
	h[156] = '0';
	memcpy(h + 257, "ustar\0" "00", 8);
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < ARCHIVE_BLOCK; i++)
		sum += h[i];
	snprintf(field, sizeof(field), "%06o", sum & 0777777u);
	memcpy(h + 148, field, 7);
	return true;
}

static void put_sum(struct buf *sums, const struct sha256 *digest, const char *name)
{
	buf_hex(sums, digest->b, sizeof(digest->b));
	buf_str(sums, "  ");
	/* as it is called from inside the directory */
	buf_str(sums, name + strlen(EVIDENCE_PLACE));
	buf_char(sums, '\n');
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct archive_out {
	int fd;
	z_stream z;
	bool begun;
	uint64_t left, size;
	uint32_t crc, total;
	char name[ARCHIVE_NAME + 1];
	struct sha256_stream *sum;
	struct buf sums;
	uint8_t out[PIECE];
};

struct archive_out *archive_out_new(int fd)
{
	struct archive_out *a = mem_alloc(sizeof(*a));

	a->fd = fd;
	a->sums = BUF_INIT(SUMS_LIMIT);
	return a;
}

void archive_out_free(struct archive_out *a)
{
	if (!a)
		return;
	if (a->begun)
		deflateEnd(&a->z);
	if (a->sum)
		sha256_stream_end_free(a->sum, NULL);
	buf_release(&a->sums);
	free(a);
}

static enum err put(struct archive_out *a, const void *p, size_t n, int flush)
{
	int got;

	if (!a->begun) {
		/* no gzip head of zlib's: it would name the system */
		if (deflateInit2(&a->z, 1, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
			return err_set(ERR_FAILED, "zlib cannot start");
		a->begun = true;
		a->crc = (uint32_t)crc32(0, NULL, 0);
		if (sys_write_all(a->fd, GZIP_HEAD, sizeof(GZIP_HEAD)))
			return err_sys(ERR_FAILED, "cannot write the archive");
	}
	a->z.next_in = (Bytef *)(uintptr_t)p;
	a->z.avail_in = (uInt)n;
	if (n)
		a->crc = (uint32_t)crc32(a->crc, p, (uInt)n);
	a->total += (uint32_t)n;
	do {
		a->z.next_out = a->out;
		a->z.avail_out = PIECE;
		got = deflate(&a->z, flush);
		if (got != Z_OK && got != Z_STREAM_END && got != Z_BUF_ERROR)
			return err_set(ERR_FAILED, "zlib failed: %d", got);
		if (sys_write_all(a->fd, a->out, PIECE - a->z.avail_out))
			return err_sys(ERR_FAILED, "cannot write the archive");
	} while (a->z.avail_out == 0 || (flush == Z_FINISH && got != Z_STREAM_END));
	return ERR_OK;
}

enum err archive_begin(struct archive_out *a, const char *name, uint64_t size)
{
	uint8_t h[ARCHIVE_BLOCK];

	if (!header_make(h, name, size))
		return err_set(ERR_TOO_BIG, "%s is too large for an archive", name);
	a->left = a->size = size;
	snprintf(a->name, sizeof(a->name), "%s", name);
	a->sum = sha256_stream_new();
	return put(a, h, sizeof(h), Z_NO_FLUSH);
}

enum err archive_add(struct archive_out *a, const void *p, size_t n)
{
	enum err e = ERR_OK;

	if (n > a->left)
		return err_set(ERR_FAILED, "%s is longer than its size", a->name);
	a->left -= n;
	sha256_stream_add(a->sum, p, n);
	for (const char *at = p; !e && n; ) {
		size_t now = n < PIECE ? n : PIECE;

		e = put(a, at, now, Z_NO_FLUSH);
		at += now;
		n -= now;
	}
	return e;
}

enum err archive_end(struct archive_out *a)
{
	static const uint8_t zeros[ARCHIVE_BLOCK];
	struct sha256 digest;

	if (a->left)
		return err_set(ERR_FAILED, "%s is shorter than its size", a->name);
	sha256_stream_end_free(a->sum, &digest);
	a->sum = NULL;
	put_sum(&a->sums, &digest, a->name);
	return a->size % ARCHIVE_BLOCK ? put(a, zeros, ARCHIVE_BLOCK - a->size % ARCHIVE_BLOCK, Z_NO_FLUSH) : ERR_OK;
}

enum err archive_put(struct archive_out *a, const char *name, const void *p, size_t n)
{
	enum err e = archive_begin(a, name, n);

	if (!e)
		e = archive_add(a, p, n);
	return e ? e : archive_end(a);
}

enum err archive_finish(struct archive_out *a)
{
	static const uint8_t zeros[2 * ARCHIVE_BLOCK];
	uint8_t tail[8];
	struct buf sums = a->sums;
	enum err e = buf_check(&sums);

	a->sums = BUF_INIT(SUMS_LIMIT);
	if (!e)
		e = archive_put(a, SUMS_NAME, buf_text(&sums), sums.len);
	if (!e)
		e = put(a, zeros, sizeof(zeros), Z_FINISH);
	buf_release(&sums);
	if (e)
		return e;
	for (unsigned i = 0; i < 4; i++) {
		tail[i] = (uint8_t)(a->crc >> 8 * i);
		tail[4 + i] = (uint8_t)(a->total >> 8 * i);
	}
	return sys_write_all(a->fd, tail, sizeof(tail)) ? err_sys(ERR_FAILED, "cannot write the archive") : ERR_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

struct archive_in {
	int fd;
	z_stream z;
	bool ended; /* the compressed stream is at its end */
	uint64_t left, padding;
	uint32_t crc, total;
	char name[ARCHIVE_NAME + 1];
	struct sha256_stream *sum;
	struct buf sums;
	uint8_t in[PIECE];
};

static enum err fill(struct archive_in *a)
{
	ssize_t got;

	do
		got = read(a->fd, a->in, PIECE);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(ERR_FAILED, "the archive");
	a->z.next_in = a->in;
	a->z.avail_in = (uInt)got;
	return ERR_OK;
}

/* Compressed bytes as they are. */
static enum err take_raw(struct archive_in *a, uint8_t *p, size_t n)
{
	while (n--) {
		if (!a->z.avail_in) {
			enum err e = fill(a);
			if (e)
				return e;
			if (!a->z.avail_in)
				return err_set(ERR_INPUT, "the archive is cut off");
		}
		*p++ = *a->z.next_in++;
		a->z.avail_in--;
	}
	return ERR_OK;
}

enum err archive_in_new(struct archive_in **out, int fd)
{
	struct archive_in *a = mem_alloc(sizeof(*a));
	uint8_t head[sizeof(GZIP_HEAD)];
	enum err e;

	*out = NULL;
	a->fd = fd;
	a->sums = BUF_INIT(SUMS_LIMIT);
	a->crc = (uint32_t)crc32(0, NULL, 0);
	if (inflateInit2(&a->z, -15) != Z_OK) {
		free(a);
		return err_set(ERR_FAILED, "zlib cannot start");
	}
	e = take_raw(a, head, sizeof(head));
	if (!e && memcmp(head, GZIP_HEAD, sizeof(head)) != 0)
		e = err_set(ERR_INPUT, "it does not begin as an archive of DryDock's does");
	if (e)
		archive_in_free(a);
	else
		*out = a;
	return e;
}

void archive_in_free(struct archive_in *a)
{
	if (!a)
		return;
	inflateEnd(&a->z);
	if (a->sum)
		sha256_stream_end_free(a->sum, NULL);
	buf_release(&a->sums);
	free(a);
}

static enum err take(struct archive_in *a, void *p, size_t n)
{
	a->z.next_out = p;
	a->z.avail_out = (uInt)n;
	while (a->z.avail_out) {
		int got;

		if (a->ended)
			return err_set(ERR_INPUT, "the archive is cut off");
		if (!a->z.avail_in) {
			enum err e = fill(a);
			if (e)
				return e;
		}
		got = inflate(&a->z, Z_NO_FLUSH);
		if (got == Z_STREAM_END)
			a->ended = true;
		else if (got == Z_BUF_ERROR && !a->z.avail_in)
			return err_set(ERR_INPUT, "the archive is cut off");
		else if (got != Z_OK)
			return err_set(ERR_INPUT, "the archive's compressed bytes are damaged");
	}
	if (n)
		a->crc = (uint32_t)crc32(a->crc, p, (uInt)n);
	a->total += (uint32_t)n;
	return ERR_OK;
}

/* Behind the last block: the end of the compressed stream, its sums, and nothing more. */
static enum err at_end(struct archive_in *a)
{
	uint8_t tail[8], more;
	uint32_t crc = 0, total = 0;
	enum err e;

	while (!a->ended) {
		uint8_t byte;
		int got;

		a->z.next_out = &byte;
		a->z.avail_out = 1;
		if (!a->z.avail_in && (e = fill(a)))
			return e;
		got = inflate(&a->z, Z_NO_FLUSH);
		if (got == Z_STREAM_END)
			a->ended = true;
		else if (got != Z_OK)
			return err_set(ERR_INPUT, "the archive's compressed bytes are damaged or cut off");
		if (!a->z.avail_out)
			return err_set(ERR_INPUT, "there is something behind the end of the archive");
	}
	e = take_raw(a, tail, sizeof(tail));
	if (e)
		return e;
	for (unsigned i = 0; i < 4; i++) {
		crc |= (uint32_t)tail[i] << 8 * i;
		total |= (uint32_t)tail[4 + i] << 8 * i;
	}
	if (crc != a->crc || total != a->total)
		return err_set(ERR_INPUT, "the archive's bytes are damaged: another checksum");
	e = take_raw(a, &more, 1);
	return e == ERR_INPUT ? ERR_OK : e ? e : err_set(ERR_INPUT, "there is something behind the end of the archive");
}

/* The member before ends: its padding is zeros, and its digest belongs into the sums. */
static enum err member_end(struct archive_in *a)
{
	uint8_t rest[ARCHIVE_BLOCK];
	struct sha256 digest;
	enum err e;

	if (!a->sum)
		return ERR_OK;
	if (a->left)
		return err_set(ERR_FAILED, "%s was not read to its end", a->name);
	e = take(a, rest, (size_t)a->padding);
	for (size_t i = 0; !e && i < a->padding; i++)
		if (rest[i])
			e = err_set(ERR_INPUT, "there is something behind the end of %s", a->name);
	sha256_stream_end_free(a->sum, &digest);
	a->sum = NULL;
	put_sum(&a->sums, &digest, a->name);
	return e;
}

enum err archive_next(struct archive_in *a, char name[ARCHIVE_NAME + 1], uint64_t *size, bool *got)
{
	static const uint8_t zeros[ARCHIVE_BLOCK];
	uint8_t h[ARCHIVE_BLOCK], made[ARCHIVE_BLOCK];
	enum err e = member_end(a);

	*got = false;
	if (!e)
		e = take(a, h, sizeof(h));
	if (e)
		return e;
	if (!memcmp(h, zeros, sizeof(h))) {
		e = take(a, h, sizeof(h));
		if (!e && memcmp(h, zeros, sizeof(h)) != 0)
			e = err_set(ERR_INPUT, "there is something behind the end of the archive");
		return e ? e : at_end(a);
	}
	memcpy(name, h, ARCHIVE_NAME);
	name[ARCHIVE_NAME] = '\0';
	*size = 0;
	for (size_t i = 124; i < 135; i++)
		*size = *size << 3 | (h[i] & 7u);
	/* what is not byte by byte as it would have been written is refused: links, devices, other owners, long names */
	if (!header_make(made, name, *size) || memcmp(made, h, sizeof(h)) != 0 || strncmp(name, EVIDENCE_PLACE, strlen(EVIDENCE_PLACE)) != 0)
		return err_set(ERR_INPUT, "a member of the archive is not one that DryDock writes");
	snprintf(a->name, sizeof(a->name), "%s", name);
	a->left = *size;
	a->padding = (ARCHIVE_BLOCK - *size % ARCHIVE_BLOCK) % ARCHIVE_BLOCK;
	a->sum = sha256_stream_new();
	*got = true;
	return ERR_OK;
}

enum err archive_read(struct archive_in *a, void *p, size_t n)
{
	enum err e;

	if (n > a->left)
		return err_set(ERR_FAILED, "%s was read past its end", a->name);
	e = take(a, p, n);
	if (e)
		return e;
	a->left -= n;
	sha256_stream_add(a->sum, p, n);
	return ERR_OK;
}

const struct buf *archive_sums(const struct archive_in *a)
{
	return &a->sums;
}
