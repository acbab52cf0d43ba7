/* The look at what should not have changed. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "receive/receive.h"

#define WORKERS 2
#define TURN 1024 /* lines that a worker takes at a time */
#define RUNGS 32

struct look {
	struct receiver *r; /* its directories alone */
	int image, top;
	int64_t begun;
	atomic_uint_fast64_t turns; /* lines that were taken */
	atomic_bool differs; /* a file does, or it cannot be told: then nobody goes on */
	pthread_t threads[WORKERS];
	size_t n;
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

/* Each reads the whole list, which costs little, and looks at the files of its turns. */
static void *work(void *arg)
{
	struct look *k = arg;
	struct ladder *ladder = mem_alloc(sizeof(*ladder));
	struct manifest_reading list;
	struct manifest_line l;
	uint64_t mine = atomic_fetch_add(&k->turns, TURN);
	bool got = true, good = !image_list(k->r, k->image, true, &list);

	ladder->top = k->top;
	for (uint64_t i = 0; good && !atomic_load_explicit(&k->differs, memory_order_relaxed); i++) {
		good = !list.source.next(list.source.arg, &l, &got);
		if (!good || !got)
			break;
		if (i == mine + TURN)
			mine = atomic_fetch_add(&k->turns, TURN);
		good = i < mine || line_as_noted(ladder, &l);
	}
	if (!good)
		atomic_store(&k->differs, true);
	manifest_reading_end(&list);
	while (ladder->n)
		step_up(ladder);
	free(ladder);
	return NULL;
}

static void join(struct look *k)
{
	while (k->n)
		(void)pthread_join(k->threads[--k->n], NULL);
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
	k->r = r;
	k->image = image;
	k->top = top;
	k->begun = clock_boot();
	atomic_init(&k->turns, 0);
	atomic_init(&k->differs, false);
	while (k->n < WORKERS && !pthread_create(&k->threads[k->n], NULL, work, k))
		k->n++;
	if (!k->n)
		atomic_store(&k->differs, true);
	r->look = k;
}

void look_end(struct receiver *r)
{
	if (!r->look)
		return;
	atomic_store(&r->look->differs, true);
	join(r->look);
	(void)close(r->look->top);
	free(r->look);
	r->look = NULL;
}

bool look_says_as_noted(struct receiver *r, int image)
{
	bool good;

	if (!r->look || r->look->image != image || clock_boot() - r->look->begun > LOOK_GOOD_US)
		look_begin(r, image);
	if (!r->look)
		return false;
	join(r->look);
	good = !atomic_load(&r->look->differs);
	look_end(r);
	return good;
}
