#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/failpoint.h"
#include "base/mem.h"
#include "base/sys.h"

#define REMOVE_DEPTH 64 /* descriptors that a removal holds at once */

enum err file_read(int dirfd, const char *name, struct buf *out)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_sys(errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_FAILED, "%s", name);
	enum err e = buf_read_fd(out, fd);
	close(fd);
	return e ? err_prefix(e, "%s", name) : ERR_OK;
}

/* The directory that holds name, and the last part of name. */
static enum err open_parent(int dirfd, const char *name, int *parent, const char **last)
{
	const char *slash = strrchr(name, '/');
	char *dir;

	*last = slash ? slash + 1 : name;
	if (**last == '\0')
		return err_set(ERR_INPUT, "%s: not the name of a file", name);
	if (!slash)
		dir = mem_dup(".");
	else
		dir = mem_dupn(name, slash == name ? 1 : (size_t)(slash - name));
	*parent = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e = ERR_OK;
	if (*parent < 0)
		e = err_sys(errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_FAILED, "%s", dir);
	free(dir);
	return e;
}

/* A name that nothing in a tree has. */
static void fresh_name(const char *prefix, char out[32])
{
	uint64_t random;
	char tag[17];

	random_bytes(&random, sizeof(random));
	hex_of(tag, &random, sizeof(random));
	snprintf(out, 32, "%s-%s", prefix, tag);
}

static enum err replace(int dirfd, const char *name, const void *p, size_t n, mode_t mode, bool durable)
{
	int dir = -1, fd = -1;
	const char *last;
	char tmp[32];
	bool made = false;
	enum err e = open_parent(dirfd, name, &dir, &last);

	if (e)
		return e;
	fresh_name(".tmp", tmp);
	fd = sys_open(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode & 0700);
	if (fd < 0) {
		e = err_sys(ERR_FAILED, "%s: cannot create a file beside it", name);
		goto out;
	}
	made = true;
	FAILPOINT(file_made);
	/* The mode is what was asked for, whatever the umask says. */
	if (sys_write_all(fd, p, n) || sys_fchmod(fd, mode) || (durable && sys_fsync(fd))) {
		e = err_sys(ERR_FAILED, "%s: cannot write", name);
		goto out;
	}
	int closing = fd;
	fd = -1;
	if (sys_close(closing)) {
		e = err_sys(ERR_FAILED, "%s: cannot write", name);
		goto out;
	}
	FAILPOINT(file_written);
	if (sys_rename(dir, tmp, dir, last)) {
		e = err_sys(ERR_FAILED, "%s: cannot rename", name);
		goto out;
	}
	made = false;
	FAILPOINT(file_named);
	if (durable && sys_fsync(dir))
		e = err_sys(ERR_FAILED, "%s: cannot sync its directory", name);
out:
	if (fd >= 0)
		close(fd);
	if (made)
		sys_unlink(dir, tmp, 0);
	close(dir);
	return e;
}

enum err file_write(int dirfd, const char *name, const void *p, size_t n, mode_t mode)
{
	return replace(dirfd, name, p, n, mode, true);
}

enum err file_write_fast(int dirfd, const char *name, const void *p, size_t n, mode_t mode)
{
	return replace(dirfd, name, p, n, mode, false);
}

enum err file_mkdirs(const char *path, mode_t mode)
{
	char *copy = mem_dup(path);
	enum err e = ERR_OK;
	struct stat st;

	for (char *p = copy + (*copy == '/'); *copy; p++) {
		char c = *p;
		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (p > copy && p[-1] != '\0' && sys_mkdir(AT_FDCWD, copy, mode) && errno != EEXIST) {
			e = err_sys(ERR_FAILED, "%s: cannot make the directory", copy);
			break;
		}
		*p = c;
		if (c == '\0')
			break;
	}
	if (!e && stat(path, &st))
		e = err_sys(ERR_FAILED, "%s", path);
	else if (!e && !S_ISDIR(st.st_mode))
		e = err_set(ERR_FAILED, "%s: is not a directory", path);
	free(copy);
	return e;
}

struct removal {
	int top; /* the directory that is removed: too deep ones are moved up to here and removed from here */
};

static enum err empty_dir(struct removal *r, int fd, int depth);

static enum err remove_entry(struct removal *r, int dir, const char *name, int depth)
{
	char up[32];

	/* Most entries are files: try that first. EISDIR on Linux, EPERM by POSIX. */
	if (sys_unlink(dir, name, 0) == 0 || errno == ENOENT)
		return ERR_OK;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(ERR_FAILED, "%s: cannot remove", name);
	if (depth >= REMOVE_DEPTH) {
		fresh_name(".remove", up);
		if (sys_rename(dir, name, r->top, up))
			return err_sys(ERR_FAILED, "%s: cannot move", name);
		return ERR_OK;
	}
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(ERR_FAILED, "%s: cannot open", name);
	enum err e = empty_dir(r, fd, depth + 1);
	if (e)
		return err_prefix(e, "%s", name);
	if (sys_unlink(dir, name, AT_REMOVEDIR) && errno != ENOENT)
		return err_sys(ERR_FAILED, "%s: cannot remove", name);
	return ERR_OK;
}

/* Takes fd. Reads again until a pass finds nothing: entries move while others are removed. */
static enum err empty_dir(struct removal *r, int fd, int depth)
{
	DIR *d = fdopendir(fd);
	enum err e = ERR_OK;
	bool found;

	if (!d) {
		e = err_sys(ERR_FAILED, "cannot list");
		close(fd);
		return e;
	}
	do {
		struct dirent *entry;
		found = false;
		rewinddir(d);
		while (!e && (errno = 0, entry = readdir(d))) {
			if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
				continue;
			found = true;
			e = remove_entry(r, fd, entry->d_name, depth);
		}
		if (!e && errno)
			e = err_sys(ERR_FAILED, "cannot list");
	} while (!e && found);
	closedir(d);
	return e;
}

enum err file_remove_tree(int dirfd, const char *name)
{
	struct removal r = { .top = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) };

	if (r.top < 0) {
		if (errno == ENOENT)
			return ERR_OK;
		if (errno != ENOTDIR && errno != ELOOP)
			return err_sys(ERR_FAILED, "%s: cannot open", name);
		if (sys_unlink(dirfd, name, 0) && errno != ENOENT)
			return err_sys(ERR_FAILED, "%s: cannot remove", name);
		return ERR_OK;
	}
	int fd = fcntl(r.top, F_DUPFD_CLOEXEC, 3);
	enum err e = fd < 0 ? err_sys(ERR_FAILED, "dup") : empty_dir(&r, fd, 0);
	close(r.top);
	if (e)
		return err_prefix(e, "%s", name);
	if (sys_unlink(dirfd, name, AT_REMOVEDIR) && errno != ENOENT)
		return err_sys(ERR_FAILED, "%s: cannot remove", name);
	return ERR_OK;
}

bool file_exists(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}
