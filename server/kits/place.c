#include "kits/place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/utf8.h"

#define NAMED_MOST 200 /* files that are named in the output; after them only numbers */

/* --- what is said ---------------------------------------------------------------------------------------------------- */

static void say_text(const char *text)
{
	struct buf shown = BUF_INIT(16384);

	utf8_visible(&shown, text, strlen(text), false);
	for (const char *p = buf_text(&shown); *p; p++) {
		if (*p == '"' || *p == '\\')
			putchar('\\');
		putchar(*p);
	}
	buf_release(&shown);
}

bool place_failed(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	fputs("{\"error\":\"", stdout);
	say_text(text ? text : "out of memory");
	fputs("\"}\n", stdout);
	free(text);
	return false;
}

bool place_failed_at(const char *path)
{
	return place_failed("%s: %s", path, strerror(errno));
}

void place_did(struct place *p, const char *what, const char *path)
{
	if (p->named == NAMED_MOST)
		return;
	p->named++;
	printf("{\"%s\":\"", what);
	say_text(path);
	fputs("\"}\n", stdout);
}

/* --- opening ----------------------------------------------------------------------------------------------------------- */

int place_open_below(int dir, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));
}

/* Make each directory of the path that is missing. What exists may not be a link. */
static int make_dirs(struct place *p, const char *path)
{
	char *copy = mem_dup(path);
	int fd = -1;

	for (char *end = copy;; end++) {
		char was = *end;
		int up;

		if (was != '/' && was != '\0')
			continue;
		*end = '\0';
		up = fd;
		fd = place_open_below(p->dir, copy, O_RDONLY | O_DIRECTORY);
		if (fd < 0 && errno == ENOENT) {
			const char *name = strrchr(copy, '/');

			if (!sys_mkdir(up < 0 ? p->dir : up, name ? name + 1 : copy, 0755)) {
				fd = place_open_below(p->dir, copy, O_RDONLY | O_DIRECTORY);
				/* Whatever the umask says: a web server reads it. */
				if (fd >= 0 && sys_fchmod(fd, 0755)) {
					(void)close(fd);
					fd = -1;
				}
			}
		}
		if (up >= 0)
			(void)close(up);
		if (fd < 0 || was == '\0')
			break;
		*end = was;
	}
	free(copy);
	return fd;
}

int place_parent(struct place *p, const char *path, bool make, const char **name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	char dir[sizeof(p->parent_name)];

	*name = slash ? slash + 1 : path;
	if (!slash)
		return p->dir;
	if (len >= sizeof(dir)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(dir, path, len);
	dir[len] = '\0';
	if (p->parent >= 0 && !strcmp(dir, p->parent_name))
		return p->parent;
	if (p->parent >= 0)
		(void)close(p->parent);
	p->parent = place_open_below(p->dir, dir, O_RDONLY | O_DIRECTORY);
	if (p->parent < 0 && errno == ENOENT && make)
		p->parent = make_dirs(p, dir);
	if (p->parent >= 0)
		memcpy(p->parent_name, dir, len + 1);
	return p->parent;
}

void place_forget_parent(struct place *p)
{
	if (p->parent >= 0)
		(void)close(p->parent);
	p->parent = -1;
}

/* --- one file ------------------------------------------------------------------------------------------------------------ */

static ssize_t read_block(int fd, char *block, off_t at)
{
	size_t got = 0;

	while (got < PLACE_BLOCK) {
		ssize_t n = pread(fd, block + got, PLACE_BLOCK - got, at + (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (!n)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* 1: the same bytes, 0: others, -1: errno */
static int same_bytes(struct place *p, int x, int y)
{
	off_t at = 0;

	for (;;) {
		ssize_t n = read_block(x, p->a, at), m = read_block(y, p->b, at);

		if (n < 0 || m < 0)
			return -1;
		if (n != m || memcmp(p->a, p->b, (size_t)n))
			return 0;
		if (n < PLACE_BLOCK)
			return 1;
		at += n;
		far_more(&p->far, 0);
	}
}

static bool copy_bytes(struct place *p, int from, int to)
{
	off_t at = 0;
	ssize_t n;

	do {
		n = read_block(from, p->a, at);
		if (n < 0 || (n && sys_write_all(to, p->a, (size_t)n)))
			return false;
		at += n;
		p->bytes += (uint64_t)n;
		far_more(&p->far, 0);
	} while (n == PLACE_BLOCK);
	return true;
}

static mode_t wanted_mode(const struct stat *from)
{
	return from->st_mode & 0111 ? 0755 : 0644;
}

enum place_put place_put(struct place *p, const char *path)
{
	const char *name;
	struct stat st;
	int from, dir, to = -1, same;
	enum place_put result = PLACE_FAILED;

	from = place_open_below(p->export, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (from < 0 || fstat(from, &st)) {
		(void)place_failed("the export has no %s: %s", path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		(void)place_failed("%s is not a file in the export", path);
		goto out;
	}
	dir = place_parent(p, path, true, &name);
	if (dir < 0) {
		if (errno == ENOTDIR || errno == ELOOP)
			result = PLACE_IN_THE_WAY;
		else
			(void)place_failed_at(path);
		goto out;
	}
	to = sys_open(dir, p->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (to < 0) {
		(void)place_failed_at(path);
		goto out;
	}
	if (!copy_bytes(p, from, to) || sys_fchmod(to, wanted_mode(&st)) ||
	    sys_futimens(to, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec) || (p->sync_each && sys_fsync(to))) {
		(void)place_failed_at(path);
		goto undo;
	}
	same = same_bytes(p, from, to);
	if (same != 1) {
		(void)(same < 0 ? place_failed_at(path) : place_failed("%s: what was written is not what was read: is the disk failing?", path));
		goto undo;
	}
	if (!sys_rename(dir, p->temporary, dir, name)) {
		if (p->sync_each && sys_fsync(dir))
			(void)place_failed_at(path);
		else
			result = PLACE_OK;
		goto out;
	}
	if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST)
		result = PLACE_IN_THE_WAY;
	else
		(void)place_failed_at(path);
undo:
	(void)sys_unlink(dir, p->temporary, 0);
out:
	if (from >= 0)
		(void)close(from);
	if (to >= 0)
		(void)close(to);
	return result;
}

void place_remove_emptied(struct place *p, const char *path)
{
	char *dir = mem_dup(path), *slash;

	place_forget_parent(p);
	while ((slash = strrchr(dir, '/'))) {
		const char *name;
		int up;

		*slash = '\0';
		up = place_parent(p, dir, false, &name);
		if (up < 0 || sys_unlink(up, name, AT_REMOVEDIR))
			break;
	}
	place_forget_parent(p);
	free(dir);
}

bool place_remove(struct place *p, const char *path)
{
	const char *name;
	int dir = place_parent(p, path, false, &name);

	/* Gone already, with its directory perhaps. */
	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR ? true : place_failed_at(path);
	if (sys_unlink(dir, name, 0))
		return errno == ENOENT ? true : place_failed_at(path);
	p->removed++;
	place_did(p, "removed", path);
	return true;
}

int place_has(struct place *p, const char *path)
{
	struct stat x, y;
	const char *name;
	int from, to = -1, dir, same = -1;

	from = place_open_below(p->export, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (from < 0 || fstat(from, &x)) {
		(void)place_failed("the export has no %s: %s", path, strerror(errno));
		goto out;
	}
	to = place_open_below(p->dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (to < 0 || fstat(to, &y) || !S_ISREG(y.st_mode) || x.st_size != y.st_size) {
		same = 0;
		goto out;
	}
	same = same_bytes(p, from, to);
	if (same < 0) {
		(void)place_failed_at(path);
		goto out;
	}
	/* A second name of the file could be written to from elsewhere. */
	if (same && (y.st_nlink != 1 || ((x.st_mode ^ y.st_mode) & 0111)))
		same = 0;
	if (same && !p->dry && (y.st_mode & 07777) != wanted_mode(&x) && sys_fchmod(to, wanted_mode(&x)))
		same = 0;
	if (same && !p->dry && (x.st_mtim.tv_sec != y.st_mtim.tv_sec || x.st_mtim.tv_nsec != y.st_mtim.tv_nsec)) {
		dir = place_parent(p, path, false, &name);
		if (dir < 0 || sys_utime_link(dir, name, x.st_mtim))
			same = 0;
	}
out:
	if (from >= 0)
		(void)close(from);
	if (to >= 0)
		(void)close(to);
	return same;
}
