/* Every file below a directory, in the order of lists: one open directory a level, names of one directory at a time. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "receive/receive.h"

#define DEEPEST (PATH_LIMIT / 2)

struct entry {
	char *name; /* of a directory with a slash at its end: that is where it sorts */
	bool foreign; /* neither file nor directory */
};

struct level {
	int fd;
	struct entry *list;
	size_t n, cap, at, path_len;
};

struct walk {
	struct level *levels;
	size_t n, cap;
	char path[PATH_LIMIT + 512];
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void level_end(struct level *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->list[i].name);
	free(l->list);
	if (l->fd >= 0)
		(void)close(l->fd);
}

static enum err push(struct walk *w, int fd, size_t path_len)
{
	struct level l = { .fd = fd, .path_len = path_len };
	int again = fd < 0 ? -1 : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;
	struct stat st;

	if (!d || w->n == DEEPEST) {
		if (d)
			(void)closedir(d);
		else if (again >= 0)
			(void)close(again);
		if (fd >= 0)
			(void)close(fd);
		return err_sys(ERR_FAILED, "%s in the image cannot be read", path_len ? w->path : "/");
	}
	while ((e = readdir(d))) {
		mode_t mode = DTTOIF(e->d_type);

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (e->d_type == DT_UNKNOWN) {
			if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
				continue;
			mode = st.st_mode;
		}
		l.list = mem_grow(l.list, &l.cap, l.n + 1, sizeof(*l.list));
		l.list[l.n++] = (struct entry){ mem_printf("%s%s", e->d_name, S_ISDIR(mode) ? "/" : ""), !S_ISDIR(mode) && !S_ISREG(mode) };
	}
	(void)closedir(d);
	if (l.n)
		qsort(l.list, l.n, sizeof(*l.list), by_name);
	w->levels = mem_grow(w->levels, &w->cap, w->n + 1, sizeof(*w->levels));
	w->levels[w->n++] = l;
	return ERR_OK;
}

static enum err next(void *arg, struct manifest_line *out, bool *got)
{
	struct walk *w = arg;

	*got = false;
	while (w->n) {
		struct level *l = &w->levels[w->n - 1];
		const struct entry *e;
		size_t len;
		enum err err;

		if (l->at == l->n) {
			level_end(l);
			w->n--;
			continue;
		}
		e = &l->list[l->at++];
		len = strlen(e->name);
		if (l->path_len + 1 + len >= sizeof(w->path))
			return err_set(ERR_FAILED, "a path in the image is too long");
		w->path[l->path_len] = '/';
		memcpy(w->path + l->path_len + 1, e->name, len + 1);
		if (e->name[len - 1] != '/') {
			*out = (struct manifest_line){ .signer = "", .size = e->foreign ? UINT64_MAX : 0, .path = { w->path, l->path_len + 1 + len } };
			*got = true;
			return ERR_OK;
		}
		w->path[l->path_len + len] = '\0';
		err = push(w, openat(l->fd, w->path + l->path_len + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), l->path_len + len);
		if (err)
			return err;
	}
	return ERR_OK;
}

struct walk *walk_new(int dir, struct manifest_source *out)
{
	struct walk *w = mem_alloc(sizeof(*w));

	*out = (struct manifest_source){ next, w };
	if (push(w, openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0))
		w->n = 0;
	return w;
}

void walk_free(struct walk *w)
{
	for (size_t i = 0; w && i < w->n; i++)
		level_end(&w->levels[i]);
	if (w)
		free(w->levels);
	free(w);
}
