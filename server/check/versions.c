/*
 * The versions that records name. Each is one blob, however many records name it: it has to be there, and, deep, to have
 * the bytes that were signed, by size, MD5 and SHA-256.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/sys.h"
#include "check/internal.h"

#define THREADS 2
#define PIECE ((size_t)1 << 20)
#define BATCH 16
#define TURN 64 /* that a thread takes up at a time, so that it finds them side by side in the pack */
#define BATCH_BYTES ((size_t)1 << 20)

struct version {
	struct blob_id blob;
	struct md5 md5;
	struct sha256 sha256;
	uint64_t size;
	uint64_t seq; /* of the first record that names it; 0: an empty slot */
	uint64_t place; /* repo_place(): once all are there */
};

struct versions {
	struct check *c;
	struct version *slots; /* open addressing by blob */
	size_t n_slots, n;
	/* while they are read */
	pthread_mutex_t lock;
	struct repo *repos[THREADS];
	size_t next;
	enum err err;
	char why[512];
};

struct versions *versions_new(struct check *c)
{
	struct versions *v = mem_alloc(sizeof(*v));

	v->c = c;
	v->n_slots = 1024;
	v->slots = mem_array(v->n_slots, sizeof(*v->slots));
	pthread_mutex_init(&v->lock, NULL);
	return v;
}

void versions_free(struct versions *v)
{
	if (!v)
		return;
	pthread_mutex_destroy(&v->lock);
	free(v->slots);
	free(v);
}

static struct version *slot_of(struct version *slots, size_t n, const struct blob_id *blob)
{
	size_t at;

	memcpy(&at, blob->b, sizeof(at));
	for (at &= n - 1; slots[at].seq && !blob_id_equal(&slots[at].blob, blob); at = (at + 1) & (n - 1))
		;
	return &slots[at];
}

static struct version *slot_for(struct versions *v, const struct blob_id *blob)
{
	struct version *slot = slot_of(v->slots, v->n_slots, blob), *more;

	if (slot->seq || 2 * (v->n + 1) <= v->n_slots)
		return slot;
	more = mem_array(v->n_slots * 2, sizeof(*more));
	for (size_t i = 0; i < v->n_slots; i++)
		if (v->slots[i].seq)
			*slot_of(more, v->n_slots * 2, &v->slots[i].blob) = v->slots[i];
	free(v->slots);
	v->slots = more;
	v->n_slots *= 2;
	return slot_of(v->slots, v->n_slots, blob);
}

void versions_add(struct versions *v, struct repo *repo, const struct log_entry *e)
{
	for (size_t i = 0; i < e->record.files_count; i++) {
		const struct record_file *f = &e->files[i];
		struct version *slot;
		char hex[COMMIT_HEX];
		uint64_t size;

		/* A review of bytes that were never approved keeps their fingerprint alone. */
		if (blob_id_zero(&f->blob))
			continue;
		slot = slot_for(v, &f->blob);
		if (slot->seq) {
			if (slot->size != f->print.size || !sha256_equal(&slot->sha256, &f->print.sha256) || memcmp(slot->md5.b, f->print.md5.b, sizeof(slot->md5.b)) != 0)
				found(v->c, FINDING_BLOB_DIFFERS, commit_hex(&f->blob, hex), "records %llu and %llu name this version with different fingerprints",
				    (unsigned long long)slot->seq, (unsigned long long)e->seq);
			continue;
		}
		*slot = (struct version){ f->blob, f->print.md5, f->print.sha256, f->print.size, e->seq, 0 };
		v->n++;
		if (repo_blob_size(repo, &f->blob, &size))
			found(v->c, FINDING_OBJECT_MISSING, commit_hex(&f->blob, hex), "record %llu approved it as %s, and the repository cannot give it: %s",
			    (unsigned long long)e->seq, f->path.s, err_text());
		else if (size != f->print.size)
			found(v->c, FINDING_BLOB_DIFFERS, commit_hex(&f->blob, hex), "record %llu approved it as %s with %llu bytes, and it has %llu",
			    (unsigned long long)e->seq, f->path.s, (unsigned long long)f->print.size, (unsigned long long)size);
	}
	v->c->out->versions = v->n;
}

/* --- bytes ------------------------------------------------------------------------------------------------------------ */

/* Large ones pass through an unnamed file, so that memory stays bounded. */
static enum err digest_large(struct repo *repo, const struct version *x, struct digest_stream *d)
{
	static const char dir[] = "/var/tmp";
	char *piece = mem_alloc(PIECE);
	int fd = sys_open(AT_FDCWD, dir, O_TMPFILE | O_RDWR, 0600);
	ssize_t got = 0;
	enum err e;

	if (fd < 0) {
		free(piece);
		return err_sys(ERR_FAILED, "%s", dir);
	}
	e = repo_blob_copy(repo, &x->blob, fd);
	if (!e && lseek(fd, 0, SEEK_SET) != 0)
		e = err_sys(ERR_FAILED, "%s", dir);
	while (!e && (got = read(fd, piece, PIECE)) > 0)
		digest_stream_add(d, piece, (size_t)got);
	if (!e && got < 0)
		e = err_sys(ERR_FAILED, "%s", dir);
	sys_close(fd);
	free(piece);
	return e;
}

static void tell_unreadable(struct versions *v, const struct version *x, enum err e)
{
	char hex[COMMIT_HEX];

	/* What is missing was told when it was added. */
	if (e == ERR_NOT_FOUND)
		return;
	pthread_mutex_lock(&v->lock);
	found(v->c, FINDING_OBJECT_DAMAGED, commit_hex(&x->blob, hex), "the version that record %llu approved cannot be read: %s",
	    (unsigned long long)x->seq, err_text());
	pthread_mutex_unlock(&v->lock);
}

static void compare(struct versions *v, const struct version *x, const struct md5 *md5, const struct sha256 *sha256)
{
	const bool same = sha256_equal(sha256, &x->sha256);
	char hex[COMMIT_HEX];

	if (same && memcmp(md5->b, x->md5.b, sizeof(md5->b)) == 0)
		return;
	pthread_mutex_lock(&v->lock);
	found(v->c, FINDING_BLOB_DIFFERS, commit_hex(&x->blob, hex), "record %llu approved it with another %s", (unsigned long long)x->seq,
	    same ? "MD5" : "SHA-256");
	pthread_mutex_unlock(&v->lock);
}

static void read_large(struct versions *v, struct repo *repo, const struct version *x)
{
	struct digest_stream *d = digest_stream_new();
	struct md5 md5;
	struct sha256 sha256;
	enum err e = digest_large(repo, x, d);

	digest_stream_end(d, &md5, &sha256);
	if (e)
		tell_unreadable(v, x, e);
	else
		compare(v, x, &md5, &sha256);
	digest_stream_free(d);
}

/* Several at a time: their MD5s are made side by side, which takes a fraction of the time. */
struct batch {
	const struct version *of[BATCH];
	size_t at[BATCH], len[BATCH], n;
	struct buf bytes;
};

static void batch_end(struct versions *v, struct batch *b)
{
	const void *p[BATCH];
	struct md5 md5[BATCH];
	struct sha256 sha256;

	if (!b->n)
		return;
	for (size_t i = 0; i < b->n; i++)
		p[i] = buf_text(&b->bytes) + b->at[i];
	md5_many(md5, p, b->len, b->n);
	for (size_t i = 0; i < b->n; i++) {
		sha256_of(&sha256, p[i], b->len[i]);
		compare(v, b->of[i], &md5[i], &sha256);
	}
	b->n = 0;
	buf_reset(&b->bytes);
}

static void batch_add(struct versions *v, struct repo *repo, struct batch *b, const struct version *x)
{
	const size_t at = b->bytes.len;
	enum err e = repo_blob_read(repo, &x->blob, &b->bytes);

	if (e) {
		tell_unreadable(v, x, e);
		return;
	}
	b->of[b->n] = x;
	b->at[b->n] = at;
	b->len[b->n++] = b->bytes.len - at;
	if (b->n == BATCH || b->bytes.len > BATCH_BYTES)
		batch_end(v, b);
}

static void read_some(void *arg, size_t nth)
{
	struct versions *v = arg;
	struct batch b = { .bytes = BUF_INIT(REPO_LOOSE_ABOVE + BATCH_BYTES) };

	for (;;) {
		const size_t from = __atomic_fetch_add(&v->next, TURN, __ATOMIC_RELAXED);

		if (from >= v->n || stopped(v->c))
			break;
		for (size_t i = from; i < v->n && i < from + TURN; i++)
			if (v->slots[i].size > REPO_LOOSE_ABOVE)
				read_large(v, v->repos[nth], &v->slots[i]);
			else
				batch_add(v, v->repos[nth], &b, &v->slots[i]);
	}
	batch_end(v, &b);
	buf_release(&b.bytes);
}

static int by_place(const void *a, const void *b)
{
	const struct version *x = a, *y = b;

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Side by side at the front, as they lie in the packs: no slots any more. */
static void put_in_order(struct versions *v, struct repo *repo)
{
	size_t n = 0;

	for (size_t i = 0; i < v->n_slots; i++)
		if (v->slots[i].seq) {
			v->slots[n] = v->slots[i];
			v->slots[n].place = repo_place(repo, &v->slots[n].blob);
			n++;
		}
	if (n)
		qsort(v->slots, n, sizeof(*v->slots), by_place);
}

enum err versions_check(struct versions *v, struct repo *repo)
{
	enum err e = ERR_OK;

	put_in_order(v, repo);
	for (size_t i = 0; i < THREADS && !e; i++)
		e = repo_open_like(&v->repos[i], repo);
	v->next = 0;
	if (!e)
		pool_each(THREADS, THREADS, read_some, v);
	for (size_t i = 0; i < THREADS; i++)
		repo_close(v->repos[i]);
	return !e && stopped(v->c) ? err_set(ERR_BUSY, "the check was ended before it was done") : e;
}
