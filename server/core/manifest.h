/*
 * manifest: every file of a release with who approved it, and the plain list that stock sha256sum checks.
 *
 * A manifest is a text, sorted by path (path_compare), one file a line, its members separated by tabs:
 *
 *     + SHA256 SIZE MODE AT SEQ SIGNER PATH
 *
 * MODE is x (executable) or -, AT microseconds UTC and SEQ the record that approved these bytes at this path, SIGNER its
 * actor. Neither a path nor a principal can hold a tab. In a difference between two manifests the line of a path that
 * has gone is "- PATH", and a "+" stands for what is new as well as for what is changed.
 *
 * Where a list is kept for files on a disk its lines are "* MTIME CTIME INODE SHA256 ..." (server/receive).
 *
 * A line that is decoded has been checked: its path is a path, and encoding it again gives the same bytes. That costs more
 * than everything else about a long list. A list of our own, which was checked before, can be read raw: then only where a
 * line's members are is looked at, and lines that stay as they are go on as the bytes they came as.
 */
#ifndef DRYDOCK_CORE_MANIFEST_H
#define DRYDOCK_CORE_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/lines.h"
#include "core/path.h"

struct manifest_line {
	bool gone; /* then only the path counts */
	bool noted; /* of a file as it lies on a disk: the last three members count, and the line begins with "*" */
	struct sha256 sha256;
	uint64_t size;
	bool exec;
	int64_t at; /* microseconds */
	uint64_t seq;
	const char *signer; /* terminated */
	struct path path;
	int64_t mtime, ctime; /* nanoseconds */
	uint64_t inode;
	/* Read raw: sha256, at, seq, signer and notes are not filled in, manifest_full() has them; path is not checked to be one. */
	bool raw, notes; /* notes: of a raw line they are filled in all the same */
	const char *text; /* raw: the line as it stands, len bytes; its SHA-256 begins at tail, and what is behind is no note */
	size_t len, tail;
};

void manifest_encode(const struct manifest_line *l, struct buf *out);
/* line is terminated, without newline, and is written to; the result points into it. ERR_INPUT. */
enum err manifest_decode(struct manifest_line *out, char *line) MUST_CHECK;
/* The file's line of the plain list, escaped as sha256sum does, with its newline. */
void manifest_plain(const struct manifest_line *l, struct buf *out);

/* All members of a line, raw or not, checked. out->line lives as long as l and out. ERR_INPUT. */
struct manifest_full {
	struct manifest_line line;
	char text[LINES_LONGEST + 1];
};
enum err manifest_full(struct manifest_full *out, const struct manifest_line *l) MUST_CHECK;
/* The notes of a raw line alone. ERR_INPUT. */
enum err manifest_notes(struct manifest_line *l) MUST_CHECK;
bool manifest_same_bytes(const struct manifest_line *x, const struct manifest_line *y); /* the SHA-256 of both */
/* All but the notes is the same; false if they are not both raw. */
bool manifest_same_text(const struct manifest_line *x, const struct manifest_line *y);

/* Lines that come one by one, sorted. next: *got false at the end; what out points to lives until the next call. */
struct manifest_source {
	enum err (*next)(void *arg, struct manifest_line *out, bool *got);
	void *arg;
};

/* From a file. ERR_INPUT if it is not sorted, or says a path twice. */
struct manifest_file;
struct manifest_file *manifest_file_new(int fd, bool raw, struct manifest_source *out); /* fd stays the caller's */
void manifest_file_free(struct manifest_file *f);

/* Two sources at a time: fn with one line, or both where both have the path. */
typedef enum err manifest_pair_fn(void *arg, const struct manifest_line *x, const struct manifest_line *y);
enum err manifest_pairs(const struct manifest_source *x, const struct manifest_source *y, manifest_pair_fn *fn, void *arg) MUST_CHECK;

/* older with the difference newer applied, as a source itself. keep_gone: what is gone stays as a line (two differences). */
struct manifest_merge {
	struct manifest_source older, newer;
	bool keep_gone;
	struct manifest_line a, b;
	bool has_a, has_b; /* a: read, and behind what was handed out; b: the next of newer */
	bool begun, b_out, a_ended; /* b_out: b was handed out */
};
void manifest_merge_init(struct manifest_merge *m, const struct manifest_source *older, const struct manifest_source *newer, bool keep_gone,
    struct manifest_source *out);

/* Several files of a directory, each a difference on top of those before, read as one. */
#define MANIFEST_FILES_MOST 64
struct manifest_reading {
	bool raw; /* set before the first is added */
	struct manifest_source source;
	size_t n;
	int fds[MANIFEST_FILES_MOST];
	struct manifest_file *files[MANIFEST_FILES_MOST];
	struct manifest_merge merges[MANIFEST_FILES_MOST];
};
enum err manifest_reading_add(struct manifest_reading *r, int dir, const char *name) MUST_CHECK; /* ERR_NOT_FOUND; the first: r zeroed */
void manifest_reading_end(struct manifest_reading *r);

/* A list that is read along with another one. */
struct manifest_along {
	struct manifest_reading list; /* nothing was added: it has no lines */
	struct manifest_line at;
	bool has;
};
enum err manifest_along_begin(struct manifest_along *a) MUST_CHECK; /* a->list is open */
/* The line of a path, until the next call; NULL: there is none. The calls come in the order of paths. */
enum err manifest_along_find(struct manifest_along *a, struct path path, struct manifest_line **out) MUST_CHECK;

/* A file in the making, beside its name until it is whole. Not synced. */
struct manifest_writing {
	int dir, fd;
	uint64_t lines;
	char temporary[80];
	struct buf text;
};
enum err manifest_writing_begin(struct manifest_writing *w, int dir, const char *name) MUST_CHECK;
enum err manifest_writing_add(struct manifest_writing *w, const struct manifest_line *l) MUST_CHECK;
enum err manifest_writing_end(struct manifest_writing *w, const char *name, enum err e) MUST_CHECK; /* e set: it is dropped, and e returned */
enum err manifest_file_write(int dir, const char *name, const struct manifest_source *src, uint64_t *lines) MUST_CHECK;
/* newer on top of older, both files of that directory, and our own: they are read raw. */
enum err manifest_file_merge(int dir, const char *name, const char *older, const char *newer, bool keep_gone, uint64_t *lines) MUST_CHECK;

/* What a release's record and head say about its files. */
struct manifest_sums {
	uint64_t count, size; /* files, and their bytes together */
	struct sha256 files; /* of the plain list */
	struct sha256 manifest;
};
struct manifest_summing {
	struct sha256_stream *files, *manifest;
	struct manifest_sums sums;
	struct buf files_text, manifest_text; /* a piece of each, not hashed yet */
};
void manifest_sum_begin(struct manifest_summing *s);
void manifest_sum_add(struct manifest_summing *s, const struct manifest_line *l);
void manifest_sum_end(struct manifest_summing *s, struct manifest_sums *out); /* frees; out may be NULL */
enum err manifest_sum(const struct manifest_source *src, struct manifest_sums *out) MUST_CHECK;

#endif
