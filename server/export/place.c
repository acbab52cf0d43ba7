#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/sys.h"
#include "export/internal.h"

#define FOREIGN "export.foreign"

int place_open_at(int dir, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
	long fd;

	do
		fd = syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return (int)fd;
}

/* The directory part of a path, without its leading slash: "" for a file at the top. */
static void directory_of(struct path path, char out[PATH_LIMIT + 1])
{
	const size_t n = path_above(path);

	if (n > 0)
		memcpy(out, path.s + 1, n - 1);
	out[n > 0 ? n - 1 : 0] = '\0';
}

enum err place_parent(const struct export_dir *e, struct path path, int *fd)
{
	char dir[PATH_LIMIT + 1];

	directory_of(path, dir);
	*fd = place_open_at(e->root, dir);
	if (*fd >= 0)
		return ERR_OK;
	if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EXDEV)
		return err_set(ERR_NOT_FOUND, "there is no directory %s in the export", dir);
	return err_sys(ERR_FAILED, "cannot open %s in the export", dir);
}

/* One directory below another that is open. */
static enum err make_one(struct export_dir *e, int above, const char *name, const char *path, int *fd)
{
	struct stat st;
	enum err err;

	if (fstatat(above, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode)) {
		err = place_move_foreign(e, above, name, path);
		if (err)
			return err;
	}
	if (sys_mkdir(above, name, 0755) != 0 && errno != EEXIST)
		return err_sys(ERR_FAILED, "cannot create %s in the export", path);
	*fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return err_sys(ERR_FAILED, "cannot open %s in the export", path);
	if (fstat(*fd, &st) != 0 || ((st.st_mode & 07777) != 0755 && sys_fchmod(*fd, 0755) != 0)) {
		err = err_sys(ERR_FAILED, "cannot set the mode of %s in the export", path);
		sys_close(*fd);
		return err;
	}
	return ERR_OK;
}

enum err place_make_parent(struct export_dir *e, struct path path, int *fd)
{
	char dir[PATH_LIMIT + 1];
	int above;
	enum err err = ERR_OK;

	directory_of(path, dir);
	*fd = place_open_at(e->root, dir);
	if (*fd >= 0)
		return ERR_OK;
	if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != EXDEV)
		return err_sys(ERR_FAILED, "cannot open %s in the export", dir);
	above = place_open_at(e->root, "");
	if (above < 0)
		return err_sys(ERR_FAILED, "cannot open %s", e->path);
	for (char *part = dir; part && !err;) {
		char *slash = strchr(part, '/');
		int below = -1;
		if (slash)
			*slash = '\0';
		err = make_one(e, above, part, dir, &below);
		sys_close(above);
		above = below;
		if (slash)
			*slash = '/';
		part = slash ? slash + 1 : NULL;
	}
	*fd = err ? -1 : above;
	return err;
}

enum err place_move_foreign(struct export_dir *e, int dir, const char *name, const char *path)
{
	char at[CLOCK_TEXT_SIZE], to[96];
	int foreign;
	enum err err = ERR_OK;

	FAILPOINT(export_foreign_found);
	if (sys_mkdir(e->base, FOREIGN, 0700) != 0 && errno != EEXIST)
		return err_sys(ERR_FAILED, "cannot create " FOREIGN);
	foreign = openat(e->base, FOREIGN, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (foreign < 0)
		return err_sys(ERR_FAILED, "cannot open " FOREIGN);
	clock_text(clock_wall(), at);
	snprintf(to, sizeof(to), "%s-%u", at, __atomic_add_fetch(&e->counter, 1, __ATOMIC_RELAXED));
	/* times may repeat, and a rename must not replace what was found before */
	for (int i = 0; faccessat(foreign, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && i < 1000; i++)
		snprintf(to, sizeof(to), "%s-%u", at, __atomic_add_fetch(&e->counter, 1, __ATOMIC_RELAXED));
	if (sys_rename(dir, name, foreign, to) != 0)
		err = err_sys(ERR_FAILED, "cannot move %s out of the export: it does not belong there", path);
	else
		log_event(LOG_LEVEL_WARN, "export.foreign", "export", e->path, "path", path, "moved_to", to, NULL);
	FAILPOINT_OR(err, export_foreign);
	sys_close(foreign);
	return err;
}

enum err place_same(struct repo *r, int dir, const char *name, const struct blob_id *id, bool *same)
{
	struct blob_id found;
	struct stat st;
	uint64_t size;
	enum err err = repo_blob_size(r, id, &size);
	int fd;

	*same = false;
	if (err)
		return err;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 || (uint64_t)st.st_size != size) {
		if (fd >= 0)
			sys_close(fd);
		return ERR_OK;
	}
	err = repo_blob_id_of(fd, size, &found);
	sys_close(fd);
	if (err)
		return err;
	*same = blob_id_equal(&found, id);
	return ERR_OK;
}

/* --- the walk ----------------------------------------------------------------------------------------------------- */

struct walk {
	struct export_dir *e;
	enum err (*fn)(void *arg, int dir, const char *name, const char *path, const struct stat *st, bool *enter);
	void *arg;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All names first: fn may rename what it is shown, and a descriptor is not kept while going deeper. */
static enum err read_names(int fd, const char *path, char ***names, size_t *n)
{
	DIR *d = fdopendir(fd);
	struct dirent *entry;
	size_t cap = 0;
	enum err err = ERR_OK;

	*names = NULL;
	*n = 0;
	if (!d) {
		err = err_sys(ERR_FAILED, "cannot read %s in the export", path);
		sys_close(fd);
		return err;
	}
	while (errno = 0, (entry = readdir(d)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (*n == cap)
			*names = mem_grow(*names, &cap, *n + 1, sizeof(**names));
		(*names)[(*n)++] = mem_dup(entry->d_name);
	}
	if (errno != 0)
		err = err_sys(ERR_FAILED, "cannot read %s in the export", path);
	closedir(d);
	if (*n > 0)
		qsort(*names, *n, sizeof(**names), by_name);
	return err;
}

static enum err walk_dir(struct walk *w, const char *path)
{
	char **names = NULL;
	size_t n = 0;
	int fd = place_open_at(w->e->root, path), again = -1; /* the second is let go of while one of its directories is walked */
	enum err err;

	if (fd < 0)
		return err_sys(ERR_FAILED, "cannot open %s in the export", path);
	err = read_names(fd, path, &names, &n);
	for (size_t i = 0; i < n && !err; i++) {
		char *below = mem_printf("%s%s%s", path, *path ? "/" : "", names[i]);
		struct stat st;
		bool enter = false;
		if (again < 0)
			again = place_open_at(w->e->root, path);
		if (again < 0)
			err = err_sys(ERR_FAILED, "cannot open %s in the export", path);
		else if (fstatat(again, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			err = w->fn(w->arg, again, names[i], below, &st, &enter);
		else if (errno != ENOENT)
			err = err_sys(ERR_FAILED, "cannot examine %s in the export", below);
		if (!err && enter) {
			sys_close(again);
			again = -1;
			err = walk_dir(w, below);
		}
		free(below);
	}
	if (again >= 0)
		sys_close(again);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return err;
}

enum err place_walk(struct export_dir *e,
    enum err (*fn)(void *arg, int dir, const char *name, const char *path, const struct stat *st, bool *enter), void *arg)
{
	struct walk w = { e, fn, arg };
	return walk_dir(&w, "");
}

size_t place_lower_bound(const struct plan *plan, const char *path)
{
	size_t low = 0, high = plan->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(plan->items[mid].path.s, path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}
