/* Manifests as files: a base and the differences on top of it, read and written as they stream by. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/sys.h"
#include "core/manifest.h"

#define FLUSH_AT (256 * 1024)

void manifest_reading_end(struct manifest_reading *r)
{
	for (size_t i = 0; i < r->n; i++) {
		manifest_file_free(r->files[i]);
		(void)close(r->fds[i]);
	}
	r->n = 0;
}

enum err manifest_reading_add(struct manifest_reading *r, int dir, const char *name)
{
	struct manifest_source from_file, under = r->source;
	int fd;

	if (r->n == MANIFEST_FILES_MOST)
		return err_set(ERR_TOO_BIG, "Too many lists to be read as one.");
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, "The list %s", name);
	r->fds[r->n] = fd;
	r->files[r->n] = manifest_file_new(fd, r->raw, &from_file);
	if (r->n)
		manifest_merge_init(&r->merges[r->n], &under, &from_file, false, &r->source);
	else
		r->source = from_file;
	r->n++;
	return ERR_OK;
}

static enum err along_next(struct manifest_along *a)
{
	return a->list.source.next(a->list.source.arg, &a->at, &a->has);
}

enum err manifest_along_begin(struct manifest_along *a)
{
	a->has = false;
	return a->list.n ? along_next(a) : ERR_OK;
}

enum err manifest_along_find(struct manifest_along *a, struct path path, struct manifest_line **out)
{
	enum err e = ERR_OK;

	while (!e && a->has && path_compare(a->at.path, path) < 0)
		e = along_next(a);
	*out = !e && a->has && path_equal(a->at.path, path) ? &a->at : NULL;
	return e;
}

enum err manifest_writing_begin(struct manifest_writing *w, int dir, const char *name)
{
	*w = (struct manifest_writing){ .dir = dir, .text = BUF_INIT(FLUSH_AT + 65536) };
	snprintf(w->temporary, sizeof(w->temporary), "%s.tmp", name);
	w->fd = sys_open(dir, w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	return w->fd < 0 ? err_sys(ERR_FAILED, "The list %s cannot be written", name) : ERR_OK;
}

static enum err flush(struct manifest_writing *w)
{
	enum err e = sys_write_all(w->fd, buf_text(&w->text), w->text.len) ? err_sys(ERR_FAILED, "The list %s cannot be written", w->temporary) : ERR_OK;

	buf_reset(&w->text);
	return e;
}

enum err manifest_writing_add(struct manifest_writing *w, const struct manifest_line *l)
{
	manifest_encode(l, &w->text);
	w->lines++;
	return w->text.len < FLUSH_AT ? ERR_OK : flush(w);
}

enum err manifest_writing_end(struct manifest_writing *w, const char *name, enum err e)
{
	if (w->fd >= 0) {
		if (!e)
			e = flush(w);
		if (sys_close(w->fd) && !e)
			e = err_sys(ERR_FAILED, "The list %s cannot be written", name);
		if (!e && sys_rename(w->dir, w->temporary, w->dir, name))
			e = err_sys(ERR_FAILED, "The list %s cannot be written", name);
		if (e)
			(void)sys_unlink(w->dir, w->temporary, 0);
		w->fd = -1;
	}
	buf_release(&w->text);
	return e;
}

enum err manifest_file_write(int dir, const char *name, const struct manifest_source *src, uint64_t *lines)
{
	struct manifest_line l;
	struct manifest_writing w;
	bool got;
	enum err e = manifest_writing_begin(&w, dir, name);

	while (!e && !(e = src->next(src->arg, &l, &got)) && got)
		e = manifest_writing_add(&w, &l);
	*lines = w.lines;
	return manifest_writing_end(&w, name, e);
}

enum err manifest_file_merge(int dir, const char *name, const char *older, const char *newer, bool keep_gone, uint64_t *lines)
{
	struct manifest_reading r = { .raw = true };
	enum err e = manifest_reading_add(&r, dir, older);

	if (!e)
		e = manifest_reading_add(&r, dir, newer);
	if (!e) {
		r.merges[1].keep_gone = keep_gone;
		e = manifest_file_write(dir, name, &r.source, lines);
	}
	manifest_reading_end(&r);
	return e;
}
