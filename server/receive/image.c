/*
 * Bringing the idle image to a release: removals, then what is new or changed, each file written beside its place and
 * renamed; what should not have changed is compared with what was noted when it was written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sys.h"
#include "receive/receive.h"

#define BLOCK (256 * 1024)
#define TEMPORARY ".drydock-new"
#define SYNCS_MOST 64 /* files and directories of an image that are synced one by one; more of them: one syncfs */

/* A file that was put into the image or removed from it. */
struct touched {
	char *path;
	bool gone;
};

struct bringing {
	struct receiver *r;
	struct image_dirs dirs; /* of the idle image */
	int base; /* the accepted one, to copy from; -1: none */
	bool removing; /* what goes, before what comes: a file may take the name of a directory */
	bool all_lines; /* the list is written anew */
	struct manifest_writing delta;
	struct manifest_along accepted; /* the accepted list, for what can be copied */
	struct manifest_along placed; /* what this delivery has written in its place */
	struct manifest_writing lacking;
	char *first; /* that is lacking: its path; the caller frees */
	struct image_counts counts;
	struct touched touched[SYNCS_MOST / 2]; /* each counts at least twice: a file and a directory */
	size_t n_touched;
	size_t syncs; /* that all which was touched needs; past SYNCS_MOST it is not kept */
};

static void touch(struct bringing *b, const char *path, bool gone)
{
	b->syncs++;
	for (const char *p = path; *p; p++)
		b->syncs += *p == '/';
	if (b->syncs <= SYNCS_MOST)
		b->touched[b->n_touched++] = (struct touched){ mem_dup(path), gone };
}

/* --- removals ------------------------------------------------------------------------------------------------------------------- */

static enum err remove_path(struct bringing *b, const char *path)
{
	char *up = mem_dup(path), *slash;
	const char *name;
	int dir = image_parent(&b->dirs, path, false, &name);

	if (dir >= 0 && sys_unlink(dir, name, 0) && errno != ENOENT) {
		free(up);
		return err_sys(ERR_FAILED, "%s cannot be removed", path);
	}
	b->counts.removed++;
	touch(b, path, true);
	image_parent_forget(&b->dirs);
	/* Directories that became empty, upwards. */
	while ((slash = strrchr(up, '/')) && slash != up) {
		*slash = '\0';
		dir = image_parent(&b->dirs, up, false, &name);
		if (dir < 0 || sys_unlink(dir, name, AT_REMOVEDIR))
			break;
		image_parent_forget(&b->dirs);
	}
	image_parent_forget(&b->dirs);
	free(up);
	return ERR_OK;
}

/* --- one file -------------------------------------------------------------------------------------------------------------------- */

static int64_t ns(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

mode_t file_mode(const struct manifest_line *l)
{
	return l->exec ? 0755 : 0644;
}

bool file_as_noted(int dir, const char *name, const struct manifest_line *x)
{
	struct stat st;

	return !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) && st.st_nlink == 1 && (st.st_mode & 07777) == file_mode(x) &&
	    (uint64_t)st.st_size == x->size && ns(&st.st_mtim) == x->mtime && ns(&st.st_ctim) == x->ctime && st.st_ino == x->inode;
}

static bool as_noted(struct bringing *b, const struct manifest_line *x)
{
	const char *name;
	const int dir = image_parent(&b->dirs, x->path.s, false, &name);

	return dir >= 0 && file_as_noted(dir, name, x);
}

static bool whole_file(int fd, const struct manifest_line *y, struct stat *st)
{
	return !fstat(fd, st) && S_ISREG(st->st_mode) && st->st_nlink == 1 && (st->st_mode & 07777) == file_mode(y) && (uint64_t)st->st_size == y->size;
}

bool file_in_image(int image, const struct manifest_line *y, struct stat *st)
{
	int fd = open_below(image, y->path.s, O_PATH | O_NOFOLLOW);
	bool there = fd >= 0 && whole_file(fd, y, st);

	if (fd >= 0)
		(void)close(fd);
	return there;
}

bool file_as_signed(int image, const struct manifest_line *y, struct stat *st)
{
	int fd = open_below(image, y->path.s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	struct sha256 sha;
	uint64_t size;
	bool same = fd >= 0 && whole_file(fd, y, st) && !file_sha256(fd, &sha, &size) && sha256_equal(&sha, &y->sha256);

	if (fd >= 0)
		(void)close(fd);
	return same;
}

struct manifest_line file_noted(const struct manifest_line *y, const struct stat *st)
{
	struct manifest_line l = *y;

	/* A raw line may have notes about the other image's file: they are written from here. */
	l.noted = l.notes = true;
	l.mtime = ns(&st->st_mtim);
	l.ctime = ns(&st->st_ctim);
	l.inode = st->st_ino;
	return l;
}

static enum err note(struct bringing *b, const struct manifest_line *y, const struct stat *st)
{
	const struct manifest_line l = file_noted(y, st);

	return manifest_writing_add(&b->delta, &l);
}

/* The accepted list's line of a path, with its notes. */
static enum err accepted_line(struct bringing *b, struct path path, const struct manifest_line **out)
{
	struct manifest_line *found;
	enum err e = manifest_along_find(&b->accepted, path, &found);

	*out = found;
	return e || !found ? e : manifest_notes(found);
}

/* Copy from the live image, hashing what is written. */
static enum err copy_bytes(int from, int to, struct sha256 *sha)
{
	struct sha256_stream *s = sha256_stream_new();
	char *block = mem_alloc(BLOCK);
	enum err e = ERR_OK;
	ssize_t n;

	while (!e && ((n = read(from, block, BLOCK)) > 0 || (n < 0 && errno == EINTR))) {
		if (n < 0)
			continue;
		sha256_stream_add(s, block, (size_t)n);
		if (sys_write_all(to, block, (size_t)n))
			e = err_sys(ERR_FAILED, "a file of the image cannot be written");
		receive_goes_on();
	}
	free(block);
	sha256_stream_end_free(s, sha);
	return e;
}

/* ERR_STALE: it is not there as it was signed. */
static enum err copy_file(struct bringing *b, const struct manifest_line *y, int dir)
{
	struct sha256 sha = { { 0 } };
	int from = b->base >= 0 ? open_below(b->base, y->path.s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) : -1, to;
	enum err e;

	if (from < 0)
		return err_set(ERR_STALE, "%s is gone", y->path.s);
	to = sys_open(dir, TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	e = to < 0 ? err_sys(ERR_FAILED, "%s", y->path.s) : copy_bytes(from, to, &sha);
	if (!e && !sha256_equal(&sha, &y->sha256))
		e = err_set(ERR_STALE, "%s is altered", y->path.s);
	if (to >= 0)
		(void)sys_close(to);
	(void)close(from);
	b->counts.copied += !e;
	return e;
}

/* Never earlier than a second after the version before, so that no cache takes the two for one. */
int64_t file_time(const struct manifest_line *y, const struct manifest_line *live)
{
	int64_t t = y->at * 1000;

	if (live && live->noted && manifest_same_bytes(live, y))
		return live->mtime;
	if (live && live->noted && t < live->mtime + 1000000000)
		t = live->mtime + 1000000000;
	return t;
}

bool file_timed(const struct manifest_line *y, const struct stat *st)
{
	return ns(&st->st_mtim) == file_time(y, NULL);
}

/* All of them are found in one pass: each would cost a delivery of its own. */
static enum err lack(struct bringing *b, const struct manifest_line *y)
{
	struct manifest_line l = *y;

	if (!b->first)
		b->first = mem_dup(y->path.s);
	l.noted = false;
	return manifest_writing_add(&b->lacking, &l);
}

/* Over whatever has the name: a directory there is nothing of the release's. */
static int move_in(int dir, const char *name)
{
	if (!sys_rename(dir, TEMPORARY, dir, name))
		return 0;
	return errno != EISDIR || file_remove_tree(dir, name) || sys_rename(dir, TEMPORARY, dir, name) ? -1 : 0;
}

static enum err put(struct bringing *b, const struct manifest_line *line)
{
	const struct manifest_line *live, *y;
	struct manifest_full full;
	const char *name;
	char spool[104];
	struct stat st;
	int dir, fd = -1;
	enum err e = manifest_full(&full, line);

	y = &full.line;
	if (!e)
		e = accepted_line(b, y->path, &live);
	if (e)
		return e;
	dir = image_parent(&b->dirs, y->path.s, true, &name);
	if (dir < 0)
		return err_sys(ERR_FAILED, "%s cannot be written", y->path.s);
	spool_name(y, spool);
	if (!sys_rename(b->r->incoming, spool, dir, TEMPORARY))
		b->counts.written++;
	else if (errno == ENOENT)
		e = copy_file(b, y, dir);
	else
		e = err_sys(ERR_FAILED, "%s", y->path.s);
	if (e == ERR_STALE)
		return lack(b, y);
	if (!e && (fd = openat(dir, TEMPORARY, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		e = err_sys(ERR_FAILED, "%s", y->path.s);
	if (!e && (sys_fchmod(fd, file_mode(y)) || sys_futimens(fd, file_time(y, live)) || move_in(dir, name) || fstat(fd, &st)))
		e = err_sys(ERR_FAILED, "%s cannot be written", y->path.s);
	if (fd >= 0)
		(void)close(fd);
	touch(b, y->path.s, false);
	return e ? e : note(b, y, &st);
}

/* --- durable -------------------------------------------------------------------------------------------------------------------------- */

static enum err sync_below(struct bringing *b, const char *path, uint64_t flags, bool gone)
{
	int fd = open_below(b->dirs.image, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | flags);
	enum err e = ERR_OK;

	/* The directory of what was removed: it became empty and went too, or is a file now, which was touched itself. */
	if (fd < 0 && gone && (errno == ENOENT || errno == ENOTDIR))
		return ERR_OK;
	if (fd < 0 || sys_fsync(fd))
		e = err_sys(ERR_FAILED, "%s", path);
	if (fd >= 0)
		(void)close(fd);
	return e;
}

/* A file, and each directory above it below the image: it may be new, or have lost one that became empty. */
static enum err sync_touched(struct bringing *b, const struct touched *t, const char *before)
{
	char *path = mem_dup(t->path), *slash;
	enum err e = t->gone ? ERR_OK : sync_below(b, path, 0, false);

	while (!e && (slash = strrchr(path, '/')) != path) {
		*slash = '\0';
		/* The path before was below it too: it is synced, with all above. Nothing changes any more. */
		if (!strncmp(before, path, (size_t)(slash - path)) && before[slash - path] == '/')
			break;
		e = sync_below(b, path, O_DIRECTORY, t->gone);
	}
	free(path);
	return e;
}

/*
 * The image and its list, before the image may count as whole (no "dirty"), be accepted and be switched to. Few changes one
 * by one, since a syncfs waits for what everybody wrote. What was not touched is on disk since it was touched last: unless
 * the image was left half-way, and somebody else's writes in it may not be.
 */
static enum err sync_image(struct bringing *b, int image, bool dirty)
{
	struct receiver *r = b->r;
	enum err e = ERR_OK;

	if (dirty || b->syncs > SYNCS_MOST)
		return sys_syncfs(r->images) ? err_sys(ERR_FAILED, "%s/images", r->dir_name) : ERR_OK;
	for (size_t i = 0; i < b->n_touched && !e; i++)
		e = sync_touched(b, &b->touched[i], i ? b->touched[i - 1].path : "");
	/* incoming: what was renamed out of it is in one place only. images: receiver_init syncs no entry of it. */
	if (!e && (sys_fsync(b->dirs.image) || sys_fsync(r->incoming) || sys_fsync(r->images)))
		e = err_sys(ERR_FAILED, "%s/images/%s", r->dir_name, IMAGE_NAME(image));
	return e ? e : image_list_sync(r, image);
}

/* --- all of it ----------------------------------------------------------------------------------------------------------------------- */

static bool same_file(const struct manifest_line *x, const struct manifest_line *y)
{
	return x->noted && manifest_same_bytes(x, y) && x->exec == y->exec;
}

/* Without notes: by its bytes, unless this delivery has written it itself. */
static enum err unnoted(struct bringing *b, const struct manifest_line *y)
{
	struct manifest_full full;
	struct manifest_line *placed;
	struct stat st;
	enum err e = manifest_along_find(&b->placed, y->path, &placed);

	if (!e && placed)
		e = manifest_notes(placed);
	if (!e && placed && as_noted(b, placed)) {
		b->counts.written++;
		return manifest_writing_add(&b->delta, placed);
	}
	if (!e)
		e = manifest_full(&full, y);
	if (e)
		return e;
	if (!file_as_signed(b->dirs.image, &full.line, &st) || (!b->r->accepted.number && !file_timed(&full.line, &st)))
		return put(b, y);
	return note(b, y, &st);
}

static enum err bring_pair(void *arg, const struct manifest_line *x, const struct manifest_line *y)
{
	struct bringing *b = arg;
	struct manifest_line l, was;
	enum err e;

	receive_goes_on();
	if (b->removing)
		return y ? ERR_OK : remove_path(b, x->path.s);
	if (!y) {
		l = (struct manifest_line){ .gone = true, .signer = "", .path = x->path };
		return b->all_lines ? ERR_OK : manifest_writing_add(&b->delta, &l);
	}
	if (!x)
		return put(b, y);
	if (!x->noted)
		return unnoted(b, y);
	if (!same_file(x, y))
		return put(b, y);
	was = *x;
	e = manifest_notes(&was);
	if (e)
		return e;
	if (!as_noted(b, &was)) {
		b->counts.mended++;
		return put(b, y);
	}
	/* The same bytes, approved once more: the line is what changes. */
	if (manifest_same_text(x, y))
		return ERR_OK;
	l = *y;
	l.noted = l.notes = true;
	l.mtime = was.mtime;
	l.ctime = was.ctime;
	l.inode = was.inode;
	return manifest_writing_add(&b->delta, &l);
}

static enum err each_pair(struct receiver *r, int image, bool whole, const struct manifest_source *found, manifest_pair_fn *fn, void *arg)
{
	struct manifest_reading old = { .n = 0 };
	struct new_list l;
	enum err e = new_list_begin(r, whole, &l);

	if (!e && !found)
		e = image_list(r, image, true, &old);
	if (!e)
		e = manifest_pairs(found ? found : &old.source, &l.source, fn, arg);
	manifest_reading_end(&old);
	new_list_end(&l);
	return e;
}

#define CHANGES_MOST 64

struct changes {
	struct receiver *r;
	struct {
		struct manifest_line x, y;
		bool has_x, has_y;
	} pairs[CHANGES_MOST];
	size_t n; /* more than CHANGES_MOST: there are others */
};

static void keep_change(struct changes *c, const struct manifest_line *x, const struct manifest_line *y)
{
	if (c->n > CHANGES_MOST || (x && y && x->noted && manifest_same_text(x, y)))
		return;
	if (c->n < CHANGES_MOST) {
		c->pairs[c->n].has_x = x != NULL;
		c->pairs[c->n].has_y = y != NULL;
		if (x)
			c->pairs[c->n].x = line_kept(c->r, x);
		if (y)
			c->pairs[c->n].y = line_kept(c->r, y);
	}
	c->n++;
}

static enum err idle_next(struct comparing *c)
{
	enum err e = c->idle.source.next(c->idle.source.arg, &c->at, &c->has);

	if (!e && c->has)
		look_line(c->changes->r, &c->at);
	return e;
}

enum err comparing_begin(struct comparing *c, struct receiver *r, struct offer *o)
{
	const int image = receiver_idle(r);
	enum err e;

	*c = (struct comparing){ .changes = NULL };
	if (image_dirty(r, image))
		return ERR_OK;
	o->changes = arena_alloc(r->a, sizeof(*o->changes));
	*o->changes = (struct changes){ .r = r };
	c->changes = o->changes;
	e = image_list(r, image, true, &c->idle);
	return e ? e : idle_next(c);
}

enum err comparing_line(struct comparing *c, const struct manifest_line *y)
{
	int order = -1;
	enum err e = ERR_OK;

	if (!c->changes)
		return ERR_OK;
	/* Then all is gone through, and every file looked at, anyhow. */
	if (c->changes->n > CHANGES_MOST) {
		look_end(c->changes->r);
		return ERR_OK;
	}
	while (!e && c->has && (order = y ? path_compare(c->at.path, y->path) : -1) < 0) {
		keep_change(c->changes, &c->at, NULL);
		e = idle_next(c);
	}
	if (e || !y)
		return e;
	order = c->has ? order : 1;
	keep_change(c->changes, order ? NULL : &c->at, y);
	return order ? ERR_OK : idle_next(c);
}

enum err comparing_end(struct comparing *c, enum err e)
{
	if (!e)
		e = comparing_line(c, NULL);
	manifest_reading_end(&c->idle);
	if (!e && c->changes)
		look_whole(c->changes->r);
	return e;
}

/* What there is to do, if it is little, and if nothing else in the image was touched. NULL: everything has to be gone through. */
static const struct changes *few_changes(struct receiver *r, int image, bool dirty, const struct offer *o)
{
	const struct changes *c = o->changes;

	if (!c || dirty || c->n > CHANGES_MOST || !look_says_as_noted(r, image))
		c = NULL;
	look_end(r);
	return c;
}

static enum err pass(struct bringing *b, int image, bool whole, const struct changes *few)
{
	struct manifest_source found;
	struct walk *walk = NULL;
	enum err e = ERR_OK;

	for (size_t i = 0; few && i < few->n && !e; i++)
		e = bring_pair(b, few->pairs[i].has_x ? &few->pairs[i].x : NULL, few->pairs[i].has_y ? &few->pairs[i].y : NULL);
	if (few)
		return e;
	if (b->all_lines)
		walk = walk_new(b->dirs.image, &found);
	e = each_pair(b->r, image, whole, walk ? &found : NULL, bring_pair, b);
	walk_free(walk);
	return e;
}

/* What is written in the second pass; what it lacks is an error in the end. */
static enum err write_all(struct bringing *b, int image, bool whole, const struct changes *few)
{
	enum err e = manifest_writing_begin(&b->lacking, b->r->incoming, LACKING_FILE);

	if (!e)
		e = manifest_writing_end(&b->lacking, LACKING_FILE, pass(b, image, whole, few));
	if (!e && b->first)
		e = err_set(ERR_FAILED, "%s%s altered in the live image: the next delivery brings it again", b->first,
		    b->lacking.lines > 1 ? " and other files were" : " was");
	free(b->first);
	return e;
}

#define DELTA "delta"

enum err image_bring(struct receiver *r, int image, const struct offer *o, struct image_counts *out)
{
	struct bringing b = { .r = r, .dirs = { .parent = -1 }, .base = -1 };
	const bool dirty = image_dirty(r, image);
	const struct changes *few = few_changes(r, image, dirty, o);
	enum err e = ERR_OK;

	b.dirs.image = open_below(r->images, IMAGE_NAME(image), O_RDONLY | O_DIRECTORY);
	if (r->accepted.number && r->accepted.image != image)
		b.base = open_below(r->images, IMAGE_NAME(r->accepted.image), O_RDONLY | O_DIRECTORY);
	if (b.dirs.image < 0)
		e = err_sys(ERR_FAILED, "%s/images/%s", r->dir_name, IMAGE_NAME(image));
	b.all_lines = dirty;
	if (!e)
		e = image_set_dirty(r, image, true);
	receive_step("dirty");
	b.removing = true;
	if (!e)
		e = pass(&b, image, o->whole, few);
	image_parent_forget(&b.dirs);
	receive_step("removed");
	b.removing = false;
	if (!e)
		e = image_list(r, r->accepted.image, true, &b.accepted.list);
	if (!e)
		e = manifest_along_begin(&b.accepted);
	if (!e && r->placed)
		e = placed_list(r, &b.placed);
	if (!e)
		e = manifest_writing_begin(&b.delta, r->dir, DELTA);
	if (!e)
		e = manifest_writing_end(&b.delta, DELTA, write_all(&b, image, o->whole, few));
	receive_step("written");
	manifest_reading_end(&b.accepted.list);
	manifest_reading_end(&b.placed.list);
	image_parent_forget(&b.dirs);
	if (!e)
		e = image_list_update(r, image, DELTA, dirty);
	if (!e)
		e = sync_image(&b, image, dirty);
	receive_step("synced");
	if (!e)
		e = image_set_dirty(r, image, false);
	if (b.dirs.image >= 0)
		(void)close(b.dirs.image);
	if (b.base >= 0)
		(void)close(b.base);
	for (size_t i = 0; i < b.n_touched; i++)
		free(b.touched[i].path);
	*out = b.counts;
	return e;
}
