#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "export/internal.h"

#define FEW 8 /* files: fewer are renamed one by one */

/* The topmost directory of a path that is not there, as the length of its name; 0: all are, or something else is. */
static size_t missing(const struct export_dir *e, struct path path)
{
	char dir[PATH_LIMIT + 1];
	size_t n = path_above(path), found = 0;

	memcpy(dir, path.s, n);
	while (n > 0) {
		int fd;

		dir[n] = '\0';
		fd = place_open_at(e->root, dir + 1);
		if (fd >= 0) {
			sys_close(fd);
			break;
		}
		if (errno != ENOENT)
			return 0;
		found = n;
		n = (size_t)(strrchr(dir, '/') - dir);
	}
	return found;
}

struct aside *aside_find(const struct export_dir *e, const struct plan *plan, size_t i, size_t last, struct arena *a)
{
	const struct path path = plan->items[i].path;
	const size_t dir = path_above(path);
	struct aside *x;
	size_t n, k;

	if (last != i && path_above(plan->items[last].path) == dir && memcmp(path.s, plan->items[last].path.s, dir) == 0)
		return NULL;
	n = missing(e, path);
	for (k = i; n && k < plan->n && plan->items[k].path.len > n && memcmp(plan->items[k].path.s, path.s, n + 1) == 0; k++)
		;
	if (!n || k - i < FEW)
		return NULL;
	x = arena_alloc(a, sizeof(*x));
	*x = (struct aside){ .dir = arena_dupn(a, path.s, n), .len = n, .from = i, .to = k };
	return x;
}

void aside_sum(struct aside *x, const struct plan *plan)
{
	struct sha256_stream *s = sha256_stream_new();

	for (size_t i = x->from; i < x->to; i++) {
		const struct plan_item *item = &plan->items[i];
		const char exec = item->exec;

		sha256_stream_add(s, item->path.s, item->path.len + 1);
		sha256_stream_add(s, item->blob.b, BLOB_ID_SIZE);
		sha256_stream_add(s, &exec, 1);
	}
	sha256_stream_end_free(s, &x->sum);
}

enum err aside_begin(struct export_dir *e, struct aside *x)
{
	int made;

	do {
		/* the number may be one that a leftover of another life has, with whatever was never decided in it */
		snprintf(x->name, sizeof(x->name), "new.%u", __atomic_add_fetch(&e->counter, 1, __ATOMIC_RELAXED));
		made = sys_mkdir(e->tmp, x->name, 0755);
	} while (made != 0 && errno == EEXIST);
	if (made == 0)
		return ERR_OK;
	x->name[0] = '\0';
	return err_sys(ERR_FAILED, "cannot create a directory in export.tmp");
}

/* The mode is that of the export's directories, whatever the umask is; two threads may make the same one. */
static enum err enter(int *dir, const char *name)
{
	struct stat st;
	int fd;

	if (sys_mkdir(*dir, name, 0755) != 0 && errno != EEXIST)
		return err_sys(ERR_FAILED, "cannot create a directory in export.tmp");
	fd = openat(*dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	sys_close(*dir);
	*dir = fd;
	if (fd < 0)
		return err_sys(ERR_FAILED, "cannot open a directory in export.tmp");
	if (fstat(fd, &st) == 0 && ((st.st_mode & 07777) == 0755 || sys_fchmod(fd, 0755) == 0))
		return ERR_OK;
	return err_sys(ERR_FAILED, "cannot set the mode of a directory in export.tmp");
}

enum err aside_parent(struct bring *b, const struct aside *x, struct path path)
{
	const size_t n = path_above(path);
	char below[PATH_LIMIT + ASIDE_NAME + 1];
	enum err err = ERR_OK;
	bool there;
	int fd;

	if (b->parent_fd >= 0 && strlen(b->parent) == n && memcmp(b->parent, path.s, n) == 0)
		return ERR_OK;
	bring_parent_close(b);
	snprintf(below, sizeof(below), "%s%.*s", x->name, (int)(n - x->len), path.s + x->len);
	fd = x->made ? place_open_at(b->e->tmp, below) : -1;
	there = fd >= 0;
	if (!there && x->made && errno != ENOENT)
		return err_sys(ERR_FAILED, "cannot open a directory in export.tmp");
	if (!there)
		fd = place_open_at(b->e->tmp, "");
	if (fd < 0)
		return err_sys(ERR_FAILED, "cannot open export.tmp");
	for (char *part = below, *slash; part && !there && !err; part = slash) {
		slash = strchr(part, '/');
		if (slash)
			*slash++ = '\0';
		err = enter(&fd, part);
	}
	if (err) {
		if (fd >= 0)
			sys_close(fd);
		return err;
	}
	memcpy(b->parent, path.s, n);
	b->parent[n] = '\0';
	b->parent_fd = fd;
	return ERR_OK;
}

enum err aside_place(struct bring *b, struct aside *x)
{
	struct path path;
	enum err err = path_check(&path, x->dir);

	FAILPOINT_OR(err, export_aside_ready);
	if (!err)
		err = bring_parent(b, path, false);
	if (!err && sys_rename(b->e->tmp, x->name, b->parent_fd, path_name(path)) != 0)
		err = err_sys(ERR_FAILED, "cannot put %s into the export", x->dir);
	if (!err)
		x->name[0] = '\0';
	FAILPOINT_OR(err, export_aside_placed);
	return err;
}

void aside_drop(struct export_dir *e, struct aside *x)
{
	/* what stays is removed at the next start */
	if (*x->name)
		(void)!file_remove_tree(e->tmp, x->name);
	x->name[0] = '\0';
}
