/* The look at what should not have changed. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/pool.h"
#include "receive/receive.h"

#define WORKERS 2
#define BLOCK_LINES 256
#define BLOCK_TEXT (10 * LINES_LONGEST)
#define BLOCKS 16 /* that wait for a worker: more, and who reads the list looks too */
#define RUNGS 32

/* Lines of the list that somebody looks at. */
struct block {
	struct look *look;
	size_t n, len;
	struct manifest_line lines[BLOCK_LINES];
	char text[BLOCK_TEXT];
};

struct look {
	int image, top;
	int64_t begun;
	atomic_bool differs; /* a file does, or it cannot be told: then nobody goes on */
	bool whole; /* all lines have come */
	struct block *filling;
	struct ladder *ladder; /* of who fills it */
	struct pool *pool;
};

/* --- directories, each opened from the one above ----------------------------------------------------------------------------- */

struct ladder {
	int top, fds[RUNGS];
	size_t ends[RUNGS]; /* of the directory's path; the last rung may be far below the one above it */
	size_t n;
	char path[PATH_LIMIT + 1];
};

static void step_up(struct ladder *l)
{
	(void)close(l->fds[--l->n]);
}

static bool above(const struct ladder *l, struct path p, size_t dir)
{
	const size_t end = l->ends[l->n - 1];

	return end <= dir && p.s[end] == '/' && !memcmp(l->path, p.s, end) && (l->n < RUNGS || end == dir);
}

/* The directory of a file; negative if there is none. */
static int directory_of(struct ladder *l, struct path p)
{
	const size_t dir = (size_t)(path_name(p) - p.s) - 1;

	while (l->n && !above(l, p, dir))
		step_up(l);
	memcpy(l->path, p.s, dir + 1);
	for (size_t at = l->n ? l->ends[l->n - 1] : 0; at < dir; at = l->ends[l->n++]) {
		const char *slash = l->n == RUNGS - 1 ? p.s + dir : memchr(p.s + at + 1, '/', dir - at);
		const size_t end = (size_t)(slash - p.s);
		int fd;

		l->path[end] = '\0';
		fd = open_below(l->n ? l->fds[l->n - 1] : l->top, l->path + at, O_PATH | O_DIRECTORY);
		l->path[end] = '/';
		if (fd < 0)
			return -1;
		l->fds[l->n] = fd;
		l->ends[l->n] = end;
	}
	return l->n ? l->fds[l->n - 1] : l->top;
}

/* --- the workers ---------------------------------------------------------------------------------------------------------------- */

static bool line_as_noted(struct ladder *l, struct manifest_line *line)
{
	const int dir = line->noted && !manifest_notes(line) ? directory_of(l, line->path) : -1;

	return dir >= 0 && file_as_noted(dir, path_name(line->path), line);
}

static void *ladder_new(void *top)
{
	struct ladder *l = mem_alloc(sizeof(*l));

	l->top = *(const int *)top;
	return l;
}

static void ladder_free(void *l_)
{
	struct ladder *l = l_;

	while (l->n)
		step_up(l);
	free(l);
}

static void look_at(void *b_, void *ladder)
{
	struct block *b = b_;
	atomic_bool *differs = &b->look->differs;

	for (size_t i = 0; i < b->n && !atomic_load_explicit(differs, memory_order_relaxed); i++)
		if (!line_as_noted(ladder, &b->lines[i]))
			atomic_store(differs, true);
	free(b);
}

/* --- who fills the blocks --------------------------------------------------------------------------------------------------------- */

static void hand_over(struct look *k)
{
	struct block *b = k->filling;

	k->filling = NULL;
	if (b && pool_add(k->pool, (struct pool_job){ look_at, b }))
		look_at(b, k->ladder);
}

void look_line(struct receiver *r, const struct manifest_line *l)
{
	struct look *k = r->look;
	struct manifest_line *to;
	struct block *b;

	if (!k)
		return;
	b = k->filling;
	if (b && (b->n == BLOCK_LINES || b->len + l->len + 1 > BLOCK_TEXT))
		hand_over(k);
	if (!k->filling) {
		k->filling = mem_alloc(sizeof(*b));
		k->filling->look = k;
	}
	b = k->filling;
	to = &b->lines[b->n++];
	*to = *l;
	to->text = memcpy(b->text + b->len, l->text, l->len + 1);
	to->path.s = to->text + (l->path.s - l->text);
	b->len += l->len + 1;
}

void look_whole(struct receiver *r)
{
	if (!r->look)
		return;
	hand_over(r->look);
	r->look->whole = true;
}

void look_begin(struct receiver *r, int image)
{
	const int top = open_below(r->images, IMAGE_NAME(image), O_PATH | O_DIRECTORY);
	struct look *k;

	look_end(r);
	/* A dirty image is read as a whole, and an image without a list has nothing to look at. */
	if (top < 0 || image_dirty(r, image) || !image_has_list(r, image)) {
		if (top >= 0)
			(void)close(top);
		return;
	}
	k = mem_alloc(sizeof(*k));
	k->image = image;
	k->top = top;
	k->begun = clock_boot();
	k->ladder = ladder_new(&k->top);
	atomic_init(&k->differs, false);
	k->pool = pool_new("look", WORKERS, BLOCKS, ladder_new, ladder_free, &k->top);
	r->look = k;
}

void look_end(struct receiver *r)
{
	struct look *k = r->look;

	if (!k)
		return;
	atomic_store(&k->differs, true);
	pool_free(k->pool);
	free(k->filling);
	ladder_free(k->ladder);
	(void)close(k->top);
	free(k);
	r->look = NULL;
}

/* The list once more, for this alone. */
static void read_list(struct receiver *r, int image)
{
	struct manifest_reading list;
	struct manifest_line l;
	bool got;
	enum err e = image_list(r, image, true, &list);

	while (!e && !(e = list.source.next(list.source.arg, &l, &got)) && got)
		look_line(r, &l);
	manifest_reading_end(&list);
	if (!e)
		look_whole(r);
}

bool look_says_as_noted(struct receiver *r, int image)
{
	bool good;

	if (!r->look || r->look->image != image || !r->look->whole || clock_boot() - r->look->begun > LOOK_GOOD_US) {
		look_begin(r, image);
		if (r->look)
			read_list(r, image);
	}
	if (!r->look)
		return false;
	/* Until all were looked at. */
	pool_free(r->look->pool);
	r->look->pool = NULL;
	good = r->look->whole && !atomic_load(&r->look->differs);
	look_end(r);
	return good;
}
