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
#define BLOCK_LINES 256
#define BLOCK_TEXT (10 * LINES_LONGEST)
#define BLOCKS 16 /* that wait for a worker: more, and who reads the list looks too */
#define RUNGS 32

/* Lines of the list that somebody looks at. */
struct block {
	struct block *next; /* that is not used now */
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
	pthread_t threads[WORKERS];
	size_t n;
	pthread_mutex_t lock; /* around what follows */
	pthread_cond_t changed;
	bool ended; /* no block comes any more */
	struct block *waiting[BLOCKS], *spare;
	size_t first, n_waiting;
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

static struct ladder *ladder_new(int top)
{
	struct ladder *l = mem_alloc(sizeof(*l));

	l->top = top;
	return l;
}

static void ladder_free(struct ladder *l)
{
	while (l->n)
		step_up(l);
	free(l);
}

static void look_at(struct look *k, struct ladder *ladder, struct block *b)
{
	for (size_t i = 0; i < b->n && !atomic_load_explicit(&k->differs, memory_order_relaxed); i++)
		if (!line_as_noted(ladder, &b->lines[i]))
			atomic_store(&k->differs, true);
}

static struct block *next_block(struct look *k, struct block *done)
{
	struct block *b = NULL;

	(void)pthread_mutex_lock(&k->lock);
	if (done) {
		done->next = k->spare;
		k->spare = done;
	}
	while (!k->n_waiting && !k->ended)
		(void)pthread_cond_wait(&k->changed, &k->lock);
	if (k->n_waiting) {
		b = k->waiting[k->first];
		k->first = (k->first + 1) % BLOCKS;
		k->n_waiting--;
	}
	(void)pthread_mutex_unlock(&k->lock);
	return b;
}

static void *work(void *arg)
{
	struct look *k = arg;
	struct ladder *ladder = ladder_new(k->top);

	for (struct block *b = NULL; (b = next_block(k, b));)
		look_at(k, ladder, b);
	ladder_free(ladder);
	return NULL;
}

/* --- who fills the blocks --------------------------------------------------------------------------------------------------------- */

static void hand_over(struct look *k)
{
	struct block *b = k->filling;
	bool taken;

	(void)pthread_mutex_lock(&k->lock);
	taken = k->n && k->n_waiting < BLOCKS;
	if (taken) {
		k->waiting[(k->first + k->n_waiting++) % BLOCKS] = b;
		k->filling = k->spare;
		if (k->spare)
			k->spare = k->spare->next;
		(void)pthread_cond_signal(&k->changed);
	}
	(void)pthread_mutex_unlock(&k->lock);
	if (!taken)
		look_at(k, k->ladder, b);
	else if (!k->filling)
		k->filling = mem_alloc(sizeof(*k->filling));
	k->filling->n = k->filling->len = 0;
}

void look_line(struct receiver *r, const struct manifest_line *l)
{
	struct look *k = r->look;
	struct manifest_line *to;
	struct block *b;

	if (!k)
		return;
	if (k->filling->n == BLOCK_LINES || k->filling->len + l->len + 1 > BLOCK_TEXT)
		hand_over(k);
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

static void join(struct look *k)
{
	(void)pthread_mutex_lock(&k->lock);
	k->ended = true;
	(void)pthread_cond_broadcast(&k->changed);
	(void)pthread_mutex_unlock(&k->lock);
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
	k->image = image;
	k->top = top;
	k->begun = clock_boot();
	k->filling = mem_alloc(sizeof(*k->filling));
	k->ladder = ladder_new(top);
	atomic_init(&k->differs, false);
	(void)pthread_mutex_init(&k->lock, NULL);
	(void)pthread_cond_init(&k->changed, NULL);
	while (k->n < WORKERS && !pthread_create(&k->threads[k->n], NULL, work, k))
		k->n++;
	r->look = k;
}

void look_end(struct receiver *r)
{
	struct look *k = r->look;

	if (!k)
		return;
	atomic_store(&k->differs, true);
	join(k);
	while (k->n_waiting)
		free(k->waiting[(k->first + --k->n_waiting) % BLOCKS]);
	for (struct block *next; k->spare; k->spare = next) {
		next = k->spare->next;
		free(k->spare);
	}
	free(k->filling);
	ladder_free(k->ladder);
	(void)pthread_cond_destroy(&k->changed);
	(void)pthread_mutex_destroy(&k->lock);
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
	join(r->look);
	good = r->look->whole && !atomic_load(&r->look->differs);
	look_end(r);
	return good;
}
