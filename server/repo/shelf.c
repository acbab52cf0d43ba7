/*
 * shelf: the blobs of one large pack, read from where the pack writer put them. The file stays the same when it gets its
 * name, and stays readable when a repack takes that away.
 */
#include <fcntl.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "repo/pack.h"

struct shelf_place {
	struct blob_id id;
	uint32_t crc, len; /* with head, compressed */
	uint64_t at;
};

struct repo_shelf {
	int fd;
	size_t n;
	struct shelf_place places[]; /* sorted by id */
};

struct repo_shelf_hand {
	const struct repo_shelf *shelf;
	struct libdeflate_decompressor *inflate;
	uint8_t *raw;
	char *plain;
	size_t cap, plain_cap;
};

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, BLOB_ID_SIZE);
}

enum err repo_pack_shelf(struct repo_pack *p, struct repo_shelf **out)
{
	struct repo_shelf *s = NULL;
	enum err e = ERR_OK;

	pthread_mutex_lock(&p->lock);
	if (p->fd >= 0) {
		s = mem_alloc(sizeof(*s) + p->n * sizeof(*s->places));
		for (size_t i = p->first; i < p->n; i++)
			if (p->entries[i].at)
				s->places[s->n++] = (struct shelf_place){ p->entries[i].id, p->entries[i].crc, p->entries[i].len, p->entries[i].at };
		s->fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
		if (s->fd < 0)
			e = err_sys(ERR_FAILED, "cannot keep a pack open");
	}
	pthread_mutex_unlock(&p->lock);
	if (e) {
		free(s);
		s = NULL;
	}
	if (s && s->n)
		qsort(s->places, s->n, sizeof(*s->places), by_id);
	*out = s;
	return e;
}

void repo_shelf_free(struct repo_shelf *s)
{
	if (!s)
		return;
	sys_close(s->fd);
	free(s);
}

struct repo_shelf_hand *repo_shelf_hand_new(const struct repo_shelf *s)
{
	struct repo_shelf_hand *h = mem_alloc(sizeof(*h));

	h->shelf = s;
	h->inflate = libdeflate_alloc_decompressor();
	return h;
}

void repo_shelf_hand_free(struct repo_shelf_hand *h)
{
	if (!h)
		return;
	if (h->inflate)
		libdeflate_free_decompressor(h->inflate);
	free(h->raw);
	free(h->plain);
	free(h);
}

/* The checksum was made of the bytes that were written: whatever is not those is left to who reads the repository. */
static bool fetch(struct repo_shelf_hand *h, const struct shelf_place *at)
{
	if (at->len > h->cap)
		h->raw = mem_grow(h->raw, &h->cap, at->len, 1);
	return packs_read_at(h->shelf->fd, h->raw, at->len, at->at) && libdeflate_crc32(0, h->raw, at->len) == at->crc;
}

enum err repo_shelf_copy(struct repo_shelf_hand *h, const struct blob_id *id, int fd)
{
	const struct shelf_place *at = bsearch(id, h->shelf->places, h->shelf->n, sizeof(*at), by_id);
	git_object_t type = GIT_OBJECT_ANY;
	uint64_t size;
	size_t head, n;

	if (!at || !h->inflate || !fetch(h, at))
		return ERR_NOT_FOUND;
	head = object_head(h->raw, at->len, &type, &size);
	if (!head || type != GIT_OBJECT_BLOB || size > REPO_LOOSE_ABOVE)
		return ERR_NOT_FOUND;
	if (size + 1 > h->plain_cap)
		h->plain = mem_grow(h->plain, &h->plain_cap, (size_t)size + 1, 1);
	if (libdeflate_zlib_decompress(h->inflate, h->raw + head, at->len - head, h->plain, (size_t)size, &n) != LIBDEFLATE_SUCCESS || n != size)
		return ERR_NOT_FOUND;
	return sys_write_all(fd, h->plain, n) ? err_sys(ERR_FAILED, "cannot write a copy") : ERR_OK;
}
