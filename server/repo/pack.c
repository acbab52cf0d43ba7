/*
 * The pack writer. An act's objects become one pack: two or three fsyncs whatever their number, where loose objects
 * would cost two each. Small packs stay in memory until they are published (publish.c); a large one is written as it
 * grows, each thread at the place that it reserved. Ids come from libgit2's SHA-1, which detects the known collision
 * attacks.
 */
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "repo/pack.h"

#define IN_MEMORY ((size_t)2 * 1024 * 1024)
#define WRITEBACK ((uint64_t)8 * 1024 * 1024) /* start writing to disk each so many bytes, so that the sync waits less */
#define LEVEL 1
#define KEEP_BLOB ((size_t)64 * 1024) /* the largest blob that is kept */
#define KEEP_BLOBS ((size_t)2 * 1024 * 1024) /* of one act: ten thousand files must not stay in memory */
#define REFRESH_AFTER (5 * CLOCK_SECOND)

static unsigned next_name; /* atomic: two acts with one id must not meet in drydock-tmp/ */

enum err repo_pack_begin(struct repo *r, const struct uuid *op, struct repo_pack **out)
{
	struct repo_pack *p = mem_alloc(sizeof(*p));
	enum err e = ERR_OK;

	*out = NULL;
	/* not each time: what is not known to be there is only written once more */
	if (clock_boot() - r->refreshed > REFRESH_AFTER)
		repo_refresh(r);
	p->r = r;
	p->fd = p->tmp = -1;
	pthread_mutex_init(&p->lock, NULL);
	uuid_text(op, p->op);
	p->end = PACK_HEAD;
	p->n_buckets = 64;
	p->buckets = mem_array(p->n_buckets, sizeof(*p->buckets));
	p->dir = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir >= 0)
		p->tmp = openat(p->dir, TMP_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (p->tmp < 0)
		e = err_sys(ERR_FAILED, "cannot open %s/" TMP_DIR, r->dir);
	if (e)
		repo_pack_free(p);
	else
		*out = p;
	FAILPOINT(pack_begun);
	return e;
}

static void drop_temporary(struct repo_pack *p)
{
	if (p->fd >= 0)
		sys_close(p->fd);
	p->fd = -1;
	if (p->pack_name)
		sys_unlink(p->tmp, p->pack_name, 0);
	if (p->idx_name)
		sys_unlink(p->tmp, p->idx_name, 0);
	free(p->pack_name);
	free(p->idx_name);
	p->pack_name = p->idx_name = NULL;
	for (size_t i = 0; i < p->n_loose; i++) {
		sys_unlink(p->tmp, p->loose[i].name, 0);
		free(p->loose[i].name);
	}
	p->n_loose = 0;
}

void repo_pack_free(struct repo_pack *p)
{
	if (!p)
		return;
	drop_temporary(p);
	while (p->idle) {
		struct worker *w = p->idle;
		p->idle = w->next;
		libdeflate_free_compressor(w->deflate);
		libdeflate_free_compressor(w->store);
		free(w->out);
		free(w);
	}
	for (size_t i = 0; i < p->n; i++)
		recent_unref(p->entries[i].kept);
	free(p->entries);
	free(p->buckets);
	free(p->loose);
	free(p->mem);
	if (p->tmp >= 0)
		sys_close(p->tmp);
	if (p->dir >= 0)
		sys_close(p->dir);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

struct repo *pack_repo(struct repo_pack *p)
{
	return p->r;
}

int pack_tmp_dir(struct repo_pack *p)
{
	return p->tmp;
}

char *pack_temporary(struct repo_pack *p, const char *suffix)
{
	return mem_printf("%s-%u.%s", p->op, __atomic_add_fetch(&next_name, 1, __ATOMIC_RELAXED), suffix);
}

/* --- which objects are in it -------------------------------------------------------------------------------------- */

static size_t bucket_start(const struct repo_pack *p, const struct blob_id *id)
{
	uint32_t h;
	memcpy(&h, id->b, sizeof(h));
	return h & (p->n_buckets - 1);
}

/* With the lock held; NULL if it is not there. */
static struct entry *entry_find(const struct repo_pack *p, const struct blob_id *id)
{
	for (size_t i = bucket_start(p, id); p->buckets[i] != 0; i = (i + 1) & (p->n_buckets - 1))
		if (blob_id_equal(&p->entries[p->buckets[i] - 1].id, id))
			return &p->entries[p->buckets[i] - 1];
	return NULL;
}

static void bucket_put(struct repo_pack *p, size_t index)
{
	size_t i = bucket_start(p, &p->entries[index].id);

	while (p->buckets[i] != 0)
		i = (i + 1) & (p->n_buckets - 1);
	p->buckets[i] = (uint32_t)index + 1;
}

static size_t entry_add(struct repo_pack *p, const struct blob_id *id)
{
	if (p->n == p->cap)
		p->entries = mem_grow(p->entries, &p->cap, p->n + 1, sizeof(*p->entries));
	p->entries[p->n] = (struct entry){ .id = *id };
	p->n++;
	if (p->n * 2 > p->n_buckets) {
		free(p->buckets);
		p->n_buckets *= 2;
		p->buckets = mem_array(p->n_buckets, sizeof(*p->buckets));
		for (size_t i = 0; i < p->n - 1; i++)
			bucket_put(p, i);
	}
	bucket_put(p, p->n - 1);
	return p->n - 1;
}

void pack_add_loose(struct repo_pack *p, const struct blob_id *id, char *name)
{
	pthread_mutex_lock(&p->lock);
	if (p->n_loose == p->cap_loose)
		p->loose = mem_grow(p->loose, &p->cap_loose, p->n_loose + 1, sizeof(*p->loose));
	p->loose[p->n_loose++] = (struct loose){ .id = *id, .name = name };
	pthread_mutex_unlock(&p->lock);
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

static struct worker *worker_get(struct repo_pack *p)
{
	struct worker *w;

	pthread_mutex_lock(&p->lock);
	w = p->idle;
	if (w)
		p->idle = w->next;
	pthread_mutex_unlock(&p->lock);
	if (w)
		return w;
	w = mem_alloc(sizeof(*w));
	w->deflate = libdeflate_alloc_compressor(LEVEL);
	w->store = libdeflate_alloc_compressor(0);
	if (!w->deflate || !w->store) {
		libdeflate_free_compressor(w->deflate);
		libdeflate_free_compressor(w->store);
		free(w);
		return NULL;
	}
	return w;
}

static void worker_put(struct repo_pack *p, struct worker *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&p->lock);
	w->next = p->idle;
	p->idle = w;
	pthread_mutex_unlock(&p->lock);
}

/* Type and size as a pack writes them: four bits of the size in the first byte, then seven each, low first. */
static size_t entry_head(uint8_t out[16], git_object_t type, size_t n)
{
	size_t len = 0;
	uint8_t c = (uint8_t)((unsigned)type << 4 | (n & 15));

	n >>= 4;
	while (n > 0) {
		out[len++] = c | 0x80;
		c = n & 0x7f;
		n >>= 7;
	}
	out[len++] = c;
	return len;
}

enum err pack_spill(struct repo_pack *p)
{
	p->pack_name = pack_temporary(p, "pack");
	p->fd = sys_open(p->tmp, p->pack_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0444);
	if (p->fd < 0) {
		enum err e = err_sys(ERR_FAILED, "cannot create a pack in %s/" TMP_DIR, p->r->dir);
		free(p->pack_name);
		p->pack_name = NULL;
		return e;
	}
	FAILPOINT(pack_file);
	if (p->end > PACK_HEAD && sys_pwrite_all(p->fd, p->mem + PACK_HEAD, p->end - PACK_HEAD, PACK_HEAD) != 0)
		return err_sys(ERR_FAILED, "cannot write a pack in %s/" TMP_DIR, p->r->dir);
	return ERR_OK;
}

/* A place for n bytes; in memory they are copied at once, in the file the caller writes them after the lock. */
static enum err append(struct repo_pack *p, size_t index, const uint8_t *bytes, size_t n, uint32_t crc)
{
	uint64_t at, from = 0, to = 0;
	enum err e = ERR_OK;
	int fd;

	pthread_mutex_lock(&p->lock);
	at = p->end;
	if (p->fd < 0 && at + n > IN_MEMORY)
		e = pack_spill(p);
	fd = p->fd;
	if (!e) {
		p->end = at + n;
		p->entries[index].at = at;
		p->entries[index].crc = crc;
		p->entries[index].len = (uint32_t)n;
		p->written++;
		if (fd < 0) {
			if (p->end > p->mem_cap)
				p->mem = mem_grow(p->mem, &p->mem_cap, p->end, 1);
			memcpy(p->mem + at, bytes, n);
		} else if (p->end - p->flushed > WRITEBACK) {
			from = p->flushed;
			to = p->flushed = p->end;
		}
	}
	pthread_mutex_unlock(&p->lock);
	if (!e && fd >= 0 && sys_pwrite_all(fd, bytes, n, (off_t)at) != 0)
		e = err_sys(ERR_FAILED, "cannot write a pack in %s/" TMP_DIR, p->r->dir);
	/* only a hint, the sync at the end decides */
	if (!e && to > from)
		sys_write_behind(fd, (off_t)from, (off_t)(to - from));
	return e;
}

/* By its first bytes, a format that is compressed already: deflating it again takes a third of an act's time for nothing. */
static bool compressed_already(const uint8_t *p, size_t n)
{
	static const struct {
		const char *bytes;
		size_t n;
	} starts[] = { { "\x1f\x8b\x08", 3 }, { "\x89PNG", 4 }, { "\xff\xd8\xff", 3 }, { "PK\3\4", 4 }, { "wOF2", 4 }, { "wOFF", 4 },
		{ "BZh", 3 }, { "\xfd" "7zXZ", 5 }, { "7z\xbc\xaf", 4 }, { "\x28\xb5\x2f\xfd", 4 }, { "GIF8", 4 } };

	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++)
		if (n >= starts[i].n && memcmp(p, starts[i].bytes, starts[i].n) == 0)
			return true;
	return n >= 12 && (memcmp(p, "RIFF", 4) == 0 ? memcmp(p + 8, "WEBP", 4) == 0 : memcmp(p + 4, "ftyp", 4) == 0);
}

static enum err deflate_and_append(struct repo_pack *p, size_t index, git_object_t type, const void *bytes, size_t n)
{
	struct worker *w = worker_get(p);
	struct libdeflate_compressor *with;
	size_t head, bound, len;
	enum err e;

	if (!w)
		return err_set(ERR_FAILED, "libdeflate cannot start");
	with = type == GIT_OBJECT_BLOB && compressed_already(bytes, n) ? w->store : w->deflate;
	bound = 16 + libdeflate_zlib_compress_bound(with, n);
	if (bound > w->cap)
		w->out = mem_grow(w->out, &w->cap, bound, 1);
	head = entry_head(w->out, type, n);
	len = libdeflate_zlib_compress(with, bytes, n, w->out + head, w->cap - head);
	if (len == 0)
		e = err_set(ERR_FAILED, "libdeflate failed");
	else
		e = append(p, index, w->out, head + len, libdeflate_crc32(0, w->out, head + len));
	worker_put(p, w);
	return e;
}

/* With the lock held. Trees and commits are read again while the act goes on; blobs only for what is shown right after. */
static bool worth_keeping(struct repo_pack *p, git_object_t type, size_t n)
{
	if (type != GIT_OBJECT_BLOB)
		return n <= RECENT_LARGEST;
	if (n > KEEP_BLOB || p->kept_blobs + n > KEEP_BLOBS)
		return false;
	p->kept_blobs += n;
	return true;
}

enum err pack_object(struct repo_pack *p, git_object_t type, const void *bytes, size_t n, struct blob_id *id)
{
	git_oid oid;
	struct recent *kept;
	size_t index;
	bool there, failed, keep;
	enum err e = ERR_OK;

	if (git_odb_hash(&oid, n > 0 ? bytes : "", n, type) != 0) {
		e = git_failed(ERR_FAILED, "cannot hash an object");
		goto out;
	}
	memcpy(id->b, oid.id, BLOB_ID_SIZE);
	pthread_mutex_lock(&p->lock);
	failed = p->failed;
	there = entry_find(p, id) != NULL;
	index = failed || there ? 0 : entry_add(p, id);
	keep = !failed && !there && worth_keeping(p, type, n);
	pthread_mutex_unlock(&p->lock);
	if (failed)
		return err_set(ERR_FAILED, "the pack is broken by an earlier failure");
	if (there || object_known(p->r, id))
		return ERR_OK;
	/* before the bytes are in the pack: another thread only finds it, nobody reads what a failed pack holds */
	kept = keep ? recent_new(id, type, bytes, n) : NULL;
	e = deflate_and_append(p, index, type, bytes, n);
	if (!e) {
		pthread_mutex_lock(&p->lock);
		p->entries[index].kept = kept;
		pthread_mutex_unlock(&p->lock);
	} else {
		recent_unref(kept);
	}
out:
	if (e) {
		pthread_mutex_lock(&p->lock);
		p->failed = true;
		pthread_mutex_unlock(&p->lock);
	}
	return e;
}

enum err repo_pack_blob(struct repo_pack *p, const void *bytes, size_t n, struct blob_id *id)
{
	if (n > REPO_LOOSE_ABOVE)
		return err_set(ERR_TOO_BIG, "a blob of %zu bytes must be streamed", n);
	return pack_object(p, GIT_OBJECT_BLOB, bytes, n, id);
}

enum err pack_read(struct repo_pack *p, const struct blob_id *id, git_object_t want, struct object *out)
{
	struct entry *entry;
	struct recent *kept = NULL;

	pthread_mutex_lock(&p->lock);
	entry = entry_find(p, id);
	if (entry && entry->kept) {
		kept = entry->kept;
		recent_ref(kept);
	}
	pthread_mutex_unlock(&p->lock);
	if (!kept)
		return object_read(p->r, id, want, out);
	*out = (struct object){ .p = kept->bytes, .n = kept->n, .type = kept->type, .recent = kept };
	if (out->type != want) {
		object_release(out);
		return err_set(ERR_FAILED, "an object is not a %s", git_object_type2string(want));
	}
	return ERR_OK;
}
