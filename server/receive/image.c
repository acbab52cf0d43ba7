/*
 * Bringing the idle image to a release: removals, then what is new or changed, each file written beside its place and
 * renamed; what should not have changed is compared with what was noted when it was written.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"
#include "receive/receive.h"

#define BLOCK (256 * 1024)
#define TEMPORARY ".drydock-new"
#define SYNCS_MOST 64 /* files and directories of an image that are synced one by one; more of them: one syncfs */

int open_below(int dir, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

	while (*path == '/')
		path++;
	return (int)syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));
}

enum err file_sha256(int fd, struct sha256 *out, uint64_t *size)
{
	struct sha256_stream *s = sha256_stream_new();
	char *block = mem_alloc(BLOCK);
	ssize_t n;

	*size = 0;
	while ((n = read(fd, block, BLOCK)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		sha256_stream_add(s, block, (size_t)n);
		*size += (uint64_t)n;
	}
	free(block);
	sha256_stream_end_free(s, out);
	return n < 0 ? err_sys(ERR_FAILED, "a file") : ERR_OK;
}

/* A file that was put into the image or removed from it. */
struct touched {
	char *path;
	bool gone;
};

#define PAIRS_MOST 64 /* that the first pass keeps, so that there need not be a second one */

struct kept_pair {
	struct manifest_line x, y;
	bool has_x, has_y;
};

struct bringing {
	struct receiver *r;
	int image, base; /* directories: the idle image, and the accepted one to copy from; -1: none */
	int parent;
	char parent_name[PATH_LIMIT + 1];
	bool removing; /* the first pass */
	struct kept_pair pairs[PAIRS_MOST]; /* each with something to do: copies */
	size_t n_pairs; /* more than PAIRS_MOST: there are others */
	bool all_lines; /* the list is written anew */
	struct manifest_writing delta;
	struct manifest_reading accepted; /* the accepted list, read along for what can be copied */
	struct manifest_line at;
	bool has_at;
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

/* --- directories ------------------------------------------------------------------------------------------------------------ */

static int make_dirs(struct bringing *b, const char *dir)
{
	char *copy = mem_dup(dir);
	int fd = -1;

	for (char *p = copy + 1;; p++) {
		const char was = *p;
		char *name;
		int up;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		name = strrchr(copy, '/') + 1;
		up = fd >= 0 ? fd : b->image;
		if ((sys_mkdir(up, name, 0755) && errno != EEXIST)) {
			if (fd >= 0)
				(void)close(fd);
			fd = -1;
			break;
		}
		if (fd >= 0)
			(void)close(fd);
		fd = open_below(b->image, copy, O_RDONLY | O_DIRECTORY);
		if (fd < 0 || sys_fchmod(fd, 0755) || was == '\0')
			break;
		*p = was;
	}
	free(copy);
	return fd;
}

static int parent_of(struct bringing *b, const char *path, bool make, const char **name)
{
	const char *slash = strrchr(path, '/');
	const size_t len = (size_t)(slash - path);

	*name = slash + 1;
	if (!len)
		return b->image;
	if (b->parent >= 0 && !strncmp(b->parent_name, path, len) && !b->parent_name[len])
		return b->parent;
	if (b->parent >= 0)
		(void)close(b->parent);
	memcpy(b->parent_name, path, len);
	b->parent_name[len] = '\0';
	b->parent = open_below(b->image, b->parent_name, O_RDONLY | O_DIRECTORY);
	if (b->parent < 0 && make && errno == ENOENT)
		b->parent = make_dirs(b, b->parent_name);
	return b->parent;
}

static void forget_parent(struct bringing *b)
{
	if (b->parent >= 0)
		(void)close(b->parent);
	b->parent = -1;
}

static enum err remove_path(struct bringing *b, const char *path)
{
	char *up = mem_dup(path), *slash;
	const char *name;
	int dir = parent_of(b, path, false, &name);

	if (dir >= 0 && sys_unlink(dir, name, 0) && errno != ENOENT) {
		free(up);
		return err_sys(ERR_FAILED, "%s cannot be removed", path);
	}
	b->counts.removed++;
	touch(b, path, true);
	forget_parent(b);
	/* Directories that became empty, upwards. */
	while ((slash = strrchr(up, '/')) && slash != up) {
		*slash = '\0';
		dir = parent_of(b, up, false, &name);
		if (dir < 0 || sys_unlink(dir, name, AT_REMOVEDIR))
			break;
		forget_parent(b);
	}
	forget_parent(b);
	free(up);
	return ERR_OK;
}

/* --- one file -------------------------------------------------------------------------------------------------------------------- */

static int64_t ns(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static mode_t mode_of(const struct manifest_line *l)
{
	return l->exec ? 0755 : 0644;
}

/* As it was when it was written? */
static bool as_noted(struct bringing *b, const struct manifest_line *x)
{
	const char *name;
	struct stat st;
	int dir = parent_of(b, x->path.s, false, &name);

	return dir >= 0 && !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) && st.st_nlink == 1 && (st.st_mode & 07777) == mode_of(x) &&
	    (uint64_t)st.st_size == x->size && ns(&st.st_mtim) == x->mtime && ns(&st.st_ctim) == x->ctime && st.st_ino == x->inode;
}

/* Found without notes: by its bytes. *st: as it is. */
static bool as_signed(struct bringing *b, const struct manifest_line *y, struct stat *st)
{
	int fd = open_below(b->image, y->path.s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	struct sha256 sha;
	uint64_t size;
	bool same = fd >= 0 && !fstat(fd, st) && S_ISREG(st->st_mode) && st->st_nlink == 1 && (st->st_mode & 07777) == mode_of(y) &&
	    !file_sha256(fd, &sha, &size) && sha256_equal(&sha, &y->sha256);

	if (fd >= 0)
		(void)close(fd);
	return same;
}

static enum err note(struct bringing *b, const struct manifest_line *y, const struct stat *st)
{
	struct manifest_line l = *y;

	/* A raw line may have notes about the other image's file: they are written from here. */
	l.noted = l.notes = true;
	l.mtime = ns(&st->st_mtim);
	l.ctime = ns(&st->st_ctim);
	l.inode = st->st_ino;
	return manifest_writing_add(&b->delta, &l);
}

/* The accepted list's line of a path; the calls come in order. */
static enum err accepted_line(struct bringing *b, struct path path, const struct manifest_line **out)
{
	enum err e = ERR_OK;

	while (!e && b->has_at && path_compare(b->at.path, path) < 0)
		e = b->accepted.source.next(b->accepted.source.arg, &b->at, &b->has_at);
	*out = !e && b->has_at && path_equal(b->at.path, path) ? &b->at : NULL;
	return e || !*out ? e : manifest_notes(&b->at);
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
static int64_t time_for(const struct manifest_line *y, const struct manifest_line *live)
{
	int64_t t = y->at * 1000;

	if (live && live->noted && manifest_same_bytes(live, y))
		return live->mtime;
	if (live && live->noted && t < live->mtime + 1000000000)
		t = live->mtime + 1000000000;
	return t;
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
	dir = parent_of(b, y->path.s, true, &name);
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
	if (!e && (sys_fchmod(fd, mode_of(y)) || sys_futimens(fd, time_for(y, live)) || sys_rename(dir, TEMPORARY, dir, name) || fstat(fd, &st)))
		e = err_sys(ERR_FAILED, "%s cannot be written", y->path.s);
	if (fd >= 0)
		(void)close(fd);
	touch(b, y->path.s, false);
	return e ? e : note(b, y, &st);
}

/* --- durable -------------------------------------------------------------------------------------------------------------------------- */

static enum err sync_below(struct bringing *b, const char *path, uint64_t flags, bool gone)
{
	int fd = open_below(b->image, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | flags);
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
	if (!e && (sys_fsync(b->image) || sys_fsync(r->incoming) || sys_fsync(r->images)))
		e = err_sys(ERR_FAILED, "%s/images/%s", r->dir_name, IMAGE_NAME(image));
	return e ? e : image_list_sync(r, image);
}

/* --- all of it ----------------------------------------------------------------------------------------------------------------------- */

static bool same_file(const struct manifest_line *x, const struct manifest_line *y)
{
	return x->noted && manifest_same_bytes(x, y) && x->exec == y->exec;
}

/* Nothing to do: the file is as it was noted, and so is its line. */
static enum err nothing_to_do(struct bringing *b, const struct manifest_line *x, const struct manifest_line *y, bool *out)
{
	struct manifest_line was;
	enum err e;

	*out = false;
	if (!x || !y || !same_file(x, y) || !manifest_same_text(x, y))
		return ERR_OK;
	was = *x;
	e = manifest_notes(&was);
	*out = !e && as_noted(b, &was);
	return e;
}

static struct manifest_line line_copy(const struct manifest_line *l)
{
	struct manifest_line out = *l;
	char *text = mem_alloc(l->len + 1);

	memcpy(text, l->text, l->len);
	text[l->len] = '\0';
	out.text = text;
	out.path.s = text + (l->path.s - l->text);
	return out;
}

static enum err keep_pair(struct bringing *b, const struct manifest_line *x, const struct manifest_line *y)
{
	struct kept_pair *p;
	bool nothing;
	enum err e;

	if (b->n_pairs > PAIRS_MOST)
		return ERR_OK;
	e = nothing_to_do(b, x, y, &nothing);
	if (e || nothing)
		return e;
	if (b->n_pairs++ < PAIRS_MOST) {
		p = &b->pairs[b->n_pairs - 1];
		p->has_x = x != NULL;
		p->has_y = y != NULL;
		if (x)
			p->x = line_copy(x);
		if (y)
			p->y = line_copy(y);
	}
	return ERR_OK;
}

static void forget_pairs(struct bringing *b)
{
	for (size_t i = 0; i < b->n_pairs && i < PAIRS_MOST; i++) {
		if (b->pairs[i].has_x)
			free((void *)(uintptr_t)b->pairs[i].x.text);
		if (b->pairs[i].has_y)
			free((void *)(uintptr_t)b->pairs[i].y.text);
	}
}

static enum err bring_pair(void *arg, const struct manifest_line *x, const struct manifest_line *y)
{
	struct bringing *b = arg;
	struct manifest_full full;
	struct manifest_line l, was;
	struct stat st;
	enum err e;

	if (b->removing) {
		e = y ? ERR_OK : remove_path(b, x->path.s);
		/* The lines of a walk are no text. */
		return e || b->all_lines ? e : keep_pair(b, x, y);
	}
	if (!y) {
		l = (struct manifest_line){ .gone = true, .signer = "", .path = x->path };
		return b->all_lines ? ERR_OK : manifest_writing_add(&b->delta, &l);
	}
	if (!x)
		return put(b, y);
	if (!x->noted) {
		e = manifest_full(&full, y);
		return e ? e : as_signed(b, &full.line, &st) ? note(b, y, &st) : put(b, y);
	}
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

static enum err pass(struct bringing *b, int image, bool whole, bool dirty)
{
	struct manifest_reading old = { .n = 0 };
	struct manifest_source from;
	struct walk *walk = NULL;
	struct new_list l;
	enum err e = new_list_begin(b->r, whole, &l);

	if (dirty)
		walk = walk_new(b->image, &from);
	else if (!e) {
		e = image_list(b->r, image, true, &old);
		from = old.source;
	}
	if (!e)
		e = manifest_pairs(&from, &l.source, bring_pair, b);
	walk_free(walk);
	manifest_reading_end(&old);
	new_list_end(&l);
	return e;
}

/* In place of the second pass. */
static enum err bring_kept(struct bringing *b)
{
	enum err e = ERR_OK;

	for (size_t i = 0; i < b->n_pairs && !e; i++)
		e = bring_pair(b, b->pairs[i].has_x ? &b->pairs[i].x : NULL, b->pairs[i].has_y ? &b->pairs[i].y : NULL);
	return e;
}

/* What is written in the second pass; what it lacks is an error in the end. */
static enum err write_all(struct bringing *b, int image, bool whole, bool dirty)
{
	enum err e = manifest_writing_begin(&b->lacking, b->r->incoming, LACKING_FILE);

	if (!e)
		e = manifest_writing_end(&b->lacking, LACKING_FILE, dirty || b->n_pairs > PAIRS_MOST ? pass(b, image, whole, dirty) : bring_kept(b));
	if (!e && b->first)
		e = err_set(ERR_FAILED, "%s%s altered in the live image: the next delivery brings it again", b->first,
		    b->lacking.lines > 1 ? " and other files were" : " was");
	free(b->first);
	return e;
}

#define DELTA "delta"

enum err image_bring(struct receiver *r, int image, const struct offer *o, struct image_counts *out)
{
	struct bringing b = { .r = r, .parent = -1, .base = -1 };
	const bool dirty = image_dirty(r, image);
	enum err e = ERR_OK;

	b.image = open_below(r->images, IMAGE_NAME(image), O_RDONLY | O_DIRECTORY);
	if (r->accepted.number && r->accepted.image != image)
		b.base = open_below(r->images, IMAGE_NAME(r->accepted.image), O_RDONLY | O_DIRECTORY);
	if (b.image < 0)
		e = err_sys(ERR_FAILED, "%s/images/%s", r->dir_name, IMAGE_NAME(image));
	if (!e)
		e = image_set_dirty(r, image, true);
	receive_step("dirty");
	b.removing = true;
	b.all_lines = dirty;
	if (!e)
		e = pass(&b, image, o->whole, dirty);
	forget_parent(&b);
	receive_step("removed");
	b.removing = false;
	if (!e)
		e = image_list(r, r->accepted.image, true, &b.accepted);
	if (!e)
		e = b.accepted.source.next(b.accepted.source.arg, &b.at, &b.has_at);
	if (!e)
		e = manifest_writing_begin(&b.delta, r->dir, DELTA);
	if (!e)
		e = manifest_writing_end(&b.delta, DELTA, write_all(&b, image, o->whole, dirty));
	receive_step("written");
	manifest_reading_end(&b.accepted);
	forget_parent(&b);
	if (!e)
		e = image_list_update(r, image, DELTA, dirty);
	if (!e)
		e = sync_image(&b, image, dirty);
	receive_step("synced");
	if (!e)
		e = image_set_dirty(r, image, false);
	if (b.image >= 0)
		(void)close(b.image);
	if (b.base >= 0)
		(void)close(b.base);
	for (size_t i = 0; i < b.n_touched; i++)
		free(b.touched[i].path);
	forget_pairs(&b);
	*out = b.counts;
	return e;
}
