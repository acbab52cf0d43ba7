/*
 * Where everything is, for who reads much: the indexes of all packs in one table, and objects that are stored whole read
 * with one call each. libgit2 asks one pack after the other, and there may be hundreds.
 *
 * Nothing is taken on trust: an index that is not in order is left out, a pack is used only if its head and end fit its
 * index, and bytes are handed out only if they have their id. Whatever is not found here, is stored as a difference or
 * is not as it should be, is asked of libgit2, which has the sentence about it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "repo/internal.h"

#define HEAD 12
#define SHA1_SIZE 20
#define INDEX_LIMIT ((size_t)1 << 30)
#define FAN 8 /* where an index's tables begin */
#define IDS (FAN + 256 * 4)
#define ENTRY_HEAD 16 /* bytes: type and size of an object */
#define LARGEST ((uint64_t)64 << 20)
#define OPEN_MOST 32 /* packs that a handle has open */
#define AHEAD ((size_t)128 * 1024) /* bytes that are read at once where objects are asked for about as they lie */

struct place {
	struct blob_id id;
	uint32_t pack;
	uint64_t at, len; /* with head, compressed */
};

struct one_pack {
	char *name; /* "pack-....pack" */
	uint64_t end; /* of its objects */
	uint32_t n;
	uint8_t sum[SHA1_SIZE];
};

struct packs {
	unsigned refs; /* atomic */
	char *dir;
	struct one_pack *packs;
	size_t n_packs, cap_packs;
	struct place *places;
	size_t n, cap;
	uint32_t *slots; /* open addressing by id: place + 1 */
	size_t n_slots;
};

struct packs_hand {
	struct packs *all;
	struct { int fd; uint32_t pack; } open[OPEN_MOST]; /* fd -1: none; of the pack's number mod OPEN_MOST */
	struct libdeflate_decompressor *inflate;
	uint8_t *raw; /* of one object */
	char *plain; /* the same inflated */
	size_t cap, plain_cap;
	uint8_t *ahead; /* n_ahead bytes of a pack, from ahead_at on */
	size_t n_ahead;
	uint64_t ahead_at, last; /* last: where the object asked for last lies */
	uint32_t ahead_pack, last_pack;
};

static uint32_t u32_at(const char *p)
{
	const uint8_t *u = (const uint8_t *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

/* --- the table -------------------------------------------------------------------------------------------------------- */

/* Ids rise, and each stands where the fan-out says; so whoever searches it finds them all. */
static bool index_in_order(const char *idx, uint32_t n)
{
	for (unsigned b = 1; b < 256; b++)
		if (u32_at(idx + FAN + 4 * b) < u32_at(idx + FAN + 4 * (b - 1)))
			return false;
	for (uint32_t i = 0; i < n; i++) {
		const char *id = idx + IDS + (size_t)i * BLOB_ID_SIZE;
		unsigned b = (uint8_t)*id;

		if (i >= u32_at(idx + FAN + 4 * b) || (b && i < u32_at(idx + FAN + 4 * (b - 1))) || (i && memcmp(id - BLOB_ID_SIZE, id, BLOB_ID_SIZE) >= 0))
			return false;
	}
	return true;
}

static int by_offset(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static bool add_index(struct packs *p, int dir, const char *name, const struct buf *b)
{
	const char *idx = b->p;
	char pack[300];
	struct stat st;
	uint32_t n, n_long = 0;
	size_t offsets, longs, first = p->n;

	if (b->len < IDS + 2 * SHA1_SIZE || memcmp(idx, "\377tOc\0\0\0\2", 8) != 0)
		return false;
	n = u32_at(idx + FAN + 4 * 255);
	if ((b->len - IDS - 2 * SHA1_SIZE) / (BLOB_ID_SIZE + 8) < n || !index_in_order(idx, n))
		return false;
	offsets = IDS + (size_t)n * (BLOB_ID_SIZE + 4);
	longs = offsets + (size_t)n * 4;
	for (uint32_t i = 0; i < n; i++)
		n_long += u32_at(idx + offsets + 4 * (size_t)i) >> 31;
	snprintf(pack, sizeof(pack), "%.*s.pack", (int)(strlen(name) - 4), name);
	if (b->len != longs + 8 * (size_t)n_long + 2 * SHA1_SIZE || fstatat(dir, pack, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_size < HEAD + SHA1_SIZE)
		return false;
	p->places = mem_grow(p->places, &p->cap, p->n + n, sizeof(*p->places));
	for (uint32_t i = 0; i < n; i++) {
		struct place *to = &p->places[first + i];
		uint32_t at = u32_at(idx + offsets + 4 * (size_t)i);

		memcpy(to->id.b, idx + IDS + (size_t)i * BLOB_ID_SIZE, BLOB_ID_SIZE);
		to->pack = (uint32_t)p->n_packs;
		to->at = at;
		if (at >> 31) {
			at &= INT32_MAX;
			if (at >= n_long)
				return false;
			to->at = (uint64_t)u32_at(idx + longs + 8 * (size_t)at) << 32 | u32_at(idx + longs + 8 * (size_t)at + 4);
		}
	}
	if (n)
		qsort(p->places + first, n, sizeof(*p->places), by_offset);
	for (uint32_t i = 0; i < n; i++) {
		struct place *to = &p->places[first + i];
		uint64_t end = i + 1 < n ? to[1].at : (uint64_t)st.st_size - SHA1_SIZE;

		if (to->at < HEAD || end <= to->at)
			return false;
		to->len = end - to->at;
	}
	p->packs = mem_grow(p->packs, &p->cap_packs, p->n_packs + 1, sizeof(*p->packs));
	p->packs[p->n_packs] = (struct one_pack){ .name = mem_dup(pack), .end = (uint64_t)st.st_size - SHA1_SIZE, .n = n };
	memcpy(p->packs[p->n_packs++].sum, idx + b->len - 2 * SHA1_SIZE, SHA1_SIZE);
	p->n += n;
	return true;
}

static size_t slot_of(const struct packs *p, const struct blob_id *id)
{
	size_t at;

	memcpy(&at, id->b, sizeof(at));
	for (at &= p->n_slots - 1; p->slots[at] && !blob_id_equal(&p->places[p->slots[at] - 1].id, id); at = (at + 1) & (p->n_slots - 1))
		;
	return at;
}

static void make_slots(struct packs *p)
{
	p->n_slots = 1024;
	while (p->n_slots < 2 * p->n)
		p->n_slots *= 2;
	p->slots = mem_array(p->n_slots, sizeof(*p->slots));
	/* One that stands in two packs is read from the first. */
	for (size_t i = 0; i < p->n && i < UINT32_MAX; i++) {
		size_t at = slot_of(p, &p->places[i].id);

		if (!p->slots[at])
			p->slots[at] = (uint32_t)i + 1;
	}
}

static struct packs *packs_new(const char *repo)
{
	struct packs *p = mem_alloc(sizeof(*p));
	struct buf idx = BUF_INIT(INDEX_LIMIT);
	struct dirent *entry;
	DIR *d;

	p->refs = 1;
	p->dir = mem_printf("%s/objects/pack", repo);
	d = opendir(p->dir);
	while (d && (entry = readdir(d))) {
		size_t len = strlen(entry->d_name);

		if (len < 9 || len > 250 || strncmp(entry->d_name, "pack-", 5) != 0 || strcmp(entry->d_name + len - 4, ".idx") != 0)
			continue;
		buf_reset(&idx);
		if (!file_read(dirfd(d), entry->d_name, &idx))
			(void)add_index(p, dirfd(d), entry->d_name, &idx);
	}
	if (d)
		closedir(d);
	buf_release(&idx);
	make_slots(p);
	return p;
}

static void packs_unref(struct packs *p)
{
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	for (size_t i = 0; i < p->n_packs; i++)
		free(p->packs[i].name);
	free(p->packs);
	free(p->places);
	free(p->slots);
	free(p->dir);
	free(p);
}

/* --- a handle's hand on it --------------------------------------------------------------------------------------------- */

static void learn(struct repo *r, struct packs *all)
{
	struct packs_hand *h = mem_alloc(sizeof(*h));

	h->all = all;
	h->inflate = libdeflate_alloc_decompressor();
	h->ahead = mem_alloc(AHEAD);
	for (size_t i = 0; i < OPEN_MOST; i++)
		h->open[i].fd = -1;
	pthread_mutex_lock(&r->lock);
	packs_drop(r);
	r->packs = h;
	pthread_mutex_unlock(&r->lock);
}

void repo_learn(struct repo *r)
{
	learn(r, packs_new(r->dir));
}

enum err repo_open_like(struct repo **out, const struct repo *r)
{
	enum err e = repo_open(out, r->dir);

	if (!e && r->packs) {
		__atomic_add_fetch(&r->packs->all->refs, 1, __ATOMIC_RELAXED);
		learn(*out, r->packs->all);
	}
	return e;
}

void packs_drop(struct repo *r)
{
	struct packs_hand *h = r->packs;

	r->packs = NULL;
	if (!h)
		return;
	for (size_t i = 0; i < OPEN_MOST; i++)
		if (h->open[i].fd >= 0)
			sys_close(h->open[i].fd);
	if (h->inflate)
		libdeflate_free_decompressor(h->inflate);
	free(h->raw);
	free(h->plain);
	free(h->ahead);
	packs_unref(h->all);
	free(h);
}

bool packs_read_at(int fd, void *to, size_t n, uint64_t at)
{
	for (size_t got = 0; got < n;) {
		ssize_t k = pread(fd, (char *)to + got, n - got, (off_t)(at + got));

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		got += (size_t)k;
	}
	return true;
}

/* Its head and its end are those that the index was made for. -1: not to be used. */
static int pack_open(const struct packs *all, uint32_t nth)
{
	const struct one_pack *pack = &all->packs[nth];
	char *name = mem_printf("%s/%s", all->dir, pack->name), head[HEAD], sum[SHA1_SIZE];
	int fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	free(name);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && st.st_size >= HEAD + SHA1_SIZE && packs_read_at(fd, head, HEAD, 0) && packs_read_at(fd, sum, SHA1_SIZE, (uint64_t)st.st_size - SHA1_SIZE) &&
	    memcmp(head, "PACK\0\0\0\2", 8) == 0 && u32_at(head + 8) == pack->n && memcmp(sum, pack->sum, SHA1_SIZE) == 0)
		return fd;
	sys_close(fd);
	return -1;
}

static const struct place *place_of(const struct packs_hand *h, const struct blob_id *id)
{
	const uint32_t at = h->all->slots[slot_of(h->all, id)];

	return at ? &h->all->places[at - 1] : NULL;
}

static int fd_of(struct packs_hand *h, uint32_t pack)
{
	const size_t i = pack % OPEN_MOST;

	if (h->open[i].fd >= 0 && h->open[i].pack == pack)
		return h->open[i].fd;
	if (h->open[i].fd >= 0)
		sys_close(h->open[i].fd);
	h->open[i].pack = pack;
	h->open[i].fd = pack_open(h->all, pack);
	return h->open[i].fd;
}

size_t object_head(const uint8_t *p, size_t n, git_object_t *type, uint64_t *size)
{
	size_t i = 0;
	unsigned shift = 4;

	if (n == 0)
		return 0;
	*type = (git_object_t)(p[0] >> 4 & 7);
	*size = p[0] & 15;
	while (p[i++] & 0x80) {
		if (i == n || shift > 56)
			return 0;
		*size |= (uint64_t)(p[i] & 0x7f) << shift;
		shift += 7;
	}
	return *type == GIT_OBJECT_COMMIT || *type == GIT_OBJECT_TREE || *type == GIT_OBJECT_BLOB || *type == GIT_OBJECT_TAG ? i : 0;
}

/* The first n bytes of an object as it is stored, until the next call; NULL: they cannot be read. */
static const uint8_t *stored(struct packs_hand *h, const struct place *at, size_t n)
{
	const bool near = h->last_pack == at->pack && at->at < h->last + AHEAD && at->at + AHEAD > h->last;
	const uint64_t left = h->all->packs[at->pack].end - at->at;
	int fd;

	h->last_pack = at->pack;
	h->last = at->at;
	if (h->ahead_pack == at->pack && at->at >= h->ahead_at && at->at + n <= h->ahead_at + h->n_ahead)
		return h->ahead + (at->at - h->ahead_at);
	fd = fd_of(h, at->pack);
	if (fd < 0)
		return NULL;
	if (near && n <= AHEAD / 2) {
		h->n_ahead = 0;
		if (!packs_read_at(fd, h->ahead, left < AHEAD ? (size_t)left : AHEAD, at->at))
			return NULL;
		h->n_ahead = left < AHEAD ? (size_t)left : AHEAD;
		h->ahead_at = at->at;
		h->ahead_pack = at->pack;
		return h->ahead;
	}
	if (n > h->cap)
		h->raw = mem_grow(h->raw, &h->cap, n, 1);
	return packs_read_at(fd, h->raw, n, at->at) ? h->raw : NULL;
}

static bool has_id(git_object_t type, const char *p, size_t n, const struct blob_id *id)
{
	struct object_hash *hash = object_hash_new(git_object_type2string(type), n);
	struct blob_id is;

	object_hash_add(hash, p, n);
	object_hash_end_free(hash, &is);
	return blob_id_equal(&is, id);
}

/* An object of at most `most` bytes, until the next call; NULL: it cannot be given so. */
static const char *inflated(struct packs_hand *h, const struct blob_id *id, uint64_t most, git_object_t *type, size_t *n)
{
	const struct place *at = h ? place_of(h, id) : NULL;
	const uint8_t *raw = !at || at->len > LARGEST || !h->inflate ? NULL : stored(h, at, (size_t)at->len);
	uint64_t size;
	size_t head = raw ? object_head(raw, (size_t)at->len, type, &size) : 0;

	if (!head || size > most)
		return NULL;
	if (size + 1 > h->plain_cap)
		h->plain = mem_grow(h->plain, &h->plain_cap, (size_t)size + 1, 1);
	if (libdeflate_zlib_decompress(h->inflate, raw + head, (size_t)at->len - head, h->plain, (size_t)size, n) != LIBDEFLATE_SUCCESS || *n != size ||
	    !has_id(*type, h->plain, *n, id))
		return NULL;
	return h->plain;
}

bool packs_read(struct repo *r, const struct blob_id *id, struct object *out)
{
	const char *bytes;

	pthread_mutex_lock(&r->lock);
	bytes = inflated(r->packs, id, LARGEST, &out->type, &out->n);
	if (bytes)
		out->p = out->own = mem_dupn(bytes, out->n);
	pthread_mutex_unlock(&r->lock);
	return bytes != NULL;
}

bool packs_blob(struct repo *r, const struct blob_id *id, struct buf *out)
{
	const size_t room = out->limit - out->len;
	git_object_t type = GIT_OBJECT_ANY;
	const char *bytes;
	size_t n;

	pthread_mutex_lock(&r->lock);
	bytes = inflated(r->packs, id, room < LARGEST ? room : LARGEST, &type, &n);
	if (bytes && type == GIT_OBJECT_BLOB)
		buf_add(out, bytes, n);
	pthread_mutex_unlock(&r->lock);
	return bytes && type == GIT_OBJECT_BLOB;
}

bool packs_size(struct repo *r, const struct blob_id *id, git_object_t *type, uint64_t *size)
{
	const struct place *at;
	bool done = false;

	pthread_mutex_lock(&r->lock);
	if (r->packs && (at = place_of(r->packs, id))) {
		const size_t n = at->len < ENTRY_HEAD ? (size_t)at->len : ENTRY_HEAD;
		const uint8_t *head = stored(r->packs, at, n);

		done = head && object_head(head, n, type, size);
	}
	pthread_mutex_unlock(&r->lock);
	return done;
}

uint64_t packs_place(struct repo *r, const struct blob_id *id)
{
	const struct place *at = r->packs ? place_of(r->packs, id) : NULL;

	return at ? (uint64_t)at->pack << 40 | at->at : 0;
}
