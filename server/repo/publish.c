/* A pack made public: its head and checksum, its index, everything durable, and then its names where git looks. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "repo/pack.h"

#define FEW_LOOSE 16 /* large blobs: so many are synced one by one */

static void put_u32(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 24);
	at[1] = (uint8_t)(v >> 16);
	at[2] = (uint8_t)(v >> 8);
	at[3] = (uint8_t)v;
}

/* The checksum of a large pack: its head is written last, so the bytes are read again, from the page cache. */
static enum err checksum_file(struct repo_pack *p, uint8_t sum[SHA1_SIZE])
{
	const size_t piece = 1024 * 1024;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t *bytes = mem_alloc(piece);
	enum err e = ERR_OK;

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) != 1) {
		e = err_set(ERR_FAILED, "SHA-1 failed");
		goto out;
	}
	for (uint64_t at = 0; at < p->end;) {
		size_t want = p->end - at < piece ? (size_t)(p->end - at) : piece;
		ssize_t got = pread(p->fd, bytes, want, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			e = err_sys(ERR_FAILED, "cannot read a pack back in %s/" TMP_DIR, p->r->dir);
			goto out;
		}
		if (EVP_DigestUpdate(ctx, bytes, (size_t)got) != 1) {
			e = err_set(ERR_FAILED, "SHA-1 failed");
			goto out;
		}
		at += (uint64_t)got;
	}
	if (EVP_DigestFinal_ex(ctx, sum, NULL) != 1)
		e = err_set(ERR_FAILED, "SHA-1 failed");
out:
	EVP_MD_CTX_free(ctx);
	free(bytes);
	return e;
}

/* Head and checksum; the pack is a complete file in drydock-tmp/ after it. */
static enum err finish_pack(struct repo_pack *p, uint8_t sum[SHA1_SIZE])
{
	uint8_t head[PACK_HEAD] = { 'P', 'A', 'C', 'K', 0, 0, 0, 2 };
	unsigned len = 0;
	bool small = p->fd < 0;
	enum err e;

	put_u32(head + 8, (uint32_t)p->written);
	if (small) {
		if (p->end + SHA1_SIZE > p->mem_cap)
			p->mem = mem_grow(p->mem, &p->mem_cap, p->end + SHA1_SIZE, 1);
		memcpy(p->mem, head, PACK_HEAD);
		if (EVP_Digest(p->mem, p->end, sum, &len, EVP_sha1(), NULL) != 1 || len != SHA1_SIZE)
			return err_set(ERR_FAILED, "SHA-1 failed");
		memcpy(p->mem + p->end, sum, SHA1_SIZE);
		p->end += SHA1_SIZE;
		e = pack_spill(p);
		if (!e && sys_pwrite_all(p->fd, p->mem, PACK_HEAD, 0) != 0)
			e = err_sys(ERR_FAILED, "cannot write a pack in %s/" TMP_DIR, p->r->dir);
		return e;
	}
	if (sys_pwrite_all(p->fd, head, PACK_HEAD, 0) != 0)
		return err_sys(ERR_FAILED, "cannot write a pack in %s/" TMP_DIR, p->r->dir);
	e = checksum_file(p, sum);
	if (!e && sys_pwrite_all(p->fd, sum, SHA1_SIZE, (off_t)p->end) != 0)
		e = err_sys(ERR_FAILED, "cannot write a pack in %s/" TMP_DIR, p->r->dir);
	p->end += SHA1_SIZE;
	return e;
}

static int by_id(const void *a, const void *b)
{
	const struct entry *const *x = a, *const *y = b;
	return memcmp((*x)->id.b, (*y)->id.b, BLOB_ID_SIZE);
}

/* Index, version 2: fan-out, ids, checksums, offsets (long ones in a table behind), both checksums. */
static enum err write_index(struct repo_pack *p, const uint8_t pack_sum[SHA1_SIZE])
{
	size_t n = 0, n_long = 0, size, at;
	struct entry **sorted = mem_array(p->written, sizeof(*sorted));
	uint8_t *idx = NULL;
	unsigned len = 0;
	uint32_t fan = 0, k = 0;
	enum err e = ERR_OK;
	int fd = -1;

	for (size_t i = p->first; i < p->n; i++) {
		if (p->entries[i].at == 0)
			continue;
		sorted[n++] = &p->entries[i];
		if (p->entries[i].at > INT32_MAX)
			n_long++;
	}
	qsort(sorted, n, sizeof(*sorted), by_id);
	size = 8 + 256 * 4 + n * (BLOB_ID_SIZE + 4 + 4) + n_long * 8 + 2 * SHA1_SIZE;
	idx = mem_alloc(size);
	memcpy(idx, "\377tOc\0\0\0\2", 8);
	at = 8;
	for (unsigned b = 0; b < 256; b++) {
		while (fan < n && sorted[fan]->id.b[0] <= b)
			fan++;
		put_u32(idx + at, fan);
		at += 4;
	}
	for (size_t i = 0; i < n; i++, at += BLOB_ID_SIZE)
		memcpy(idx + at, sorted[i]->id.b, BLOB_ID_SIZE);
	for (size_t i = 0; i < n; i++, at += 4)
		put_u32(idx + at, sorted[i]->crc);
	for (size_t i = 0; i < n; i++, at += 4)
		put_u32(idx + at, sorted[i]->at > INT32_MAX ? 0x80000000u | k++ : (uint32_t)sorted[i]->at);
	for (size_t i = 0; i < n; i++) {
		if (sorted[i]->at <= INT32_MAX)
			continue;
		put_u32(idx + at, (uint32_t)(sorted[i]->at >> 32));
		put_u32(idx + at + 4, (uint32_t)sorted[i]->at);
		at += 8;
	}
	memcpy(idx + at, pack_sum, SHA1_SIZE);
	at += SHA1_SIZE;
	if (EVP_Digest(idx, at, idx + at, &len, EVP_sha1(), NULL) != 1 || len != SHA1_SIZE) {
		e = err_set(ERR_FAILED, "SHA-1 failed");
		goto out;
	}
	p->idx_name = pack_temporary(p, "idx");
	fd = sys_open(p->tmp, p->idx_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0444);
	if (fd < 0 || sys_write_all(fd, idx, size) != 0)
		e = err_sys(ERR_FAILED, "cannot write a pack index in %s/" TMP_DIR, p->r->dir);
	if (fd >= 0 && sys_close(fd) != 0 && !e)
		e = err_sys(ERR_FAILED, "cannot write a pack index in %s/" TMP_DIR, p->r->dir);
out:
	free(sorted);
	free(idx);
	return e;
}

/*
 * What could not be synced is taken away again: a second sync might say that all is well although nothing was written, and
 * the next act would take for kept what it finds there.
 */
static enum err sync_directory(struct repo_pack *p, const char *name)
{
	int fd = openat(p->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e = ERR_OK;

	if (fd < 0 || sys_fsync(fd) != 0)
		e = err_sys(ERR_FAILED, "cannot make %s/%s durable", p->r->dir, name);
	if (fd >= 0)
		sys_close(fd);
	return e;
}

/* Loose objects to objects/xx/; each directory touched is made durable, or none of them under one syncfs. */
static enum err publish_loose(struct repo_pack *p, bool with_syncfs)
{
	enum err e = ERR_OK;

	for (size_t i = 0; i < p->n_loose && !e && !with_syncfs; i++) {
		int fd = openat(p->tmp, p->loose[i].name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || sys_fsync(fd) != 0)
			e = err_sys(ERR_FAILED, "cannot make an object durable in %s", p->r->dir);
		if (fd >= 0)
			sys_close(fd);
	}
	while (p->n_loose > 0 && !e) {
		struct loose *l = &p->loose[p->n_loose - 1];
		char id[2 * BLOB_ID_SIZE + 1], dir[16], name[64];

		hex_of(id, l->id.b, BLOB_ID_SIZE);
		snprintf(dir, sizeof(dir), "objects/%.2s", id);
		snprintf(name, sizeof(name), "objects/%.2s/%s", id, id + 2);
		FAILPOINT(pack_loose_naming);
		if (sys_mkdir(p->dir, dir, 0700) != 0 && errno != EEXIST)
			return err_sys(ERR_FAILED, "cannot create %s/%s", p->r->dir, dir);
		if (sys_rename(p->tmp, l->name, p->dir, name) != 0)
			return err_sys(ERR_FAILED, "cannot put an object into %s/%s", p->r->dir, dir);
		free(l->name);
		p->n_loose--;
		FAILPOINT_OR(e, pack_loose_named);
		if (!e)
			e = sync_directory(p, dir);
		/* each time: who made it may have ended before this */
		if (!e)
			e = sync_directory(p, "objects");
		if (e)
			sys_unlink(p->dir, name, 0);
	}
	return e;
}

static enum err publish_pack(struct repo_pack *p, const uint8_t sum[SHA1_SIZE])
{
	char id[2 * SHA1_SIZE + 1], pack[64], idx[64];
	int dir = openat(p->dir, "objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e = ERR_OK;

	if (dir < 0)
		return err_sys(ERR_FAILED, "cannot open %s/objects/pack", p->r->dir);
	hex_of(id, sum, SHA1_SIZE);
	snprintf(pack, sizeof(pack), "pack-%s.pack", id);
	snprintf(idx, sizeof(idx), "pack-%s.idx", id);
	/* the index last: a pack is there for others once its index is */
	if (sys_rename(p->tmp, p->pack_name, dir, pack) != 0)
		e = err_sys(ERR_FAILED, "cannot publish a pack in %s", p->r->dir);
	FAILPOINT_OR(e, pack_named);
	if (!e && sys_rename(p->tmp, p->idx_name, dir, idx) != 0)
		e = err_sys(ERR_FAILED, "cannot publish a pack in %s", p->r->dir);
	FAILPOINT_OR(e, pack_index_named);
	if (!e && sys_fsync(dir) != 0)
		e = err_sys(ERR_FAILED, "cannot publish a pack in %s", p->r->dir);
	if (e) {
		sys_unlink(dir, idx, 0);
		sys_unlink(dir, pack, 0);
	}
	sys_close(dir);
	return e;
}

/* What is public now may be read by every handle of the process; a next publish of this pack begins anew. */
static void begin_again(struct repo_pack *p)
{
	for (size_t i = p->first; i < p->n; i++) {
		if (p->entries[i].kept) {
			recent_ref(p->entries[i].kept);
			recent_publish(&p->r->tag, p->entries[i].kept);
		}
	}
	p->first = p->n;
	p->written = 0;
	p->end = PACK_HEAD;
	p->flushed = 0;
	if (p->fd >= 0)
		sys_close(p->fd);
	p->fd = -1;
	free(p->pack_name);
	free(p->idx_name);
	p->pack_name = p->idx_name = NULL;
}

enum err repo_pack_publish(struct repo_pack *p, bool with_syncfs)
{
	uint8_t sum[SHA1_SIZE];
	enum err e = ERR_OK;

	if (p->failed)
		return err_set(ERR_FAILED, "the pack is broken by an earlier failure");
	if (p->written == 0 && p->n_loose == 0)
		return ERR_OK;
	/* it waits for what anybody on the machine has written: only where it saves many others */
	with_syncfs = with_syncfs && p->n_loose > FEW_LOOSE;
	if (p->written > 0) {
		e = finish_pack(p, sum);
		FAILPOINT_OR(e, pack_written);
		if (!e)
			e = write_index(p, sum);
		FAILPOINT_OR(e, pack_index_written);
		/* not the index: repair.c */
		if (!e && !with_syncfs && sys_fsync(p->fd) != 0)
			e = err_sys(ERR_FAILED, "cannot make a pack durable in %s", p->r->dir);
	}
	if (!e && with_syncfs && sys_syncfs(p->tmp) != 0)
		e = err_sys(ERR_FAILED, "cannot make a pack durable in %s", p->r->dir);
	FAILPOINT_OR(e, pack_synced);
	if (!e)
		e = publish_loose(p, with_syncfs);
	if (!e && p->written > 0)
		e = publish_pack(p, sum);
	FAILPOINT_OR(e, pack_durable);
	if (e)
		p->failed = true;
	else
		begin_again(p);
	return e;
}
