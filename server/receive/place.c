#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "receive/receive.h"

#define PLACED_FILE "placed"

static int open_image(struct receiver *r)
{
	return open_below(r->images, IMAGE_NAME(receiver_idle(r)), O_RDONLY | O_DIRECTORY);
}

enum err placing_begin(struct placing *p, struct receiver *r)
{
	enum err e;

	*p = (struct placing){ .r = r, .dirs = { .image = -1, .parent = -1 } };
	if (r->accepted.number)
		return ERR_OK;
	p->dirs.image = open_image(r);
	if (p->dirs.image < 0)
		return err_sys(ERR_FAILED, "%s/images/%s", r->dir_name, IMAGE_NAME(receiver_idle(r)));
	e = image_set_dirty(r, receiver_idle(r), true);
	if (!e)
		e = manifest_writing_begin(&p->list, r->incoming, PLACED_FILE);
	if (e) {
		(void)close(p->dirs.image);
		p->dirs.image = -1;
	}
	return e;
}

int placing_open(struct placing *p, const struct manifest_line *l)
{
	const char *name;
	int dir;

	if (p->dirs.image < 0)
		return -1;
	dir = image_parent(&p->dirs, l->path.s, true, &name);
	/* What is there, or in its way, was left by a delivery that was cut off: it is replaced when all is here. */
	return dir < 0 ? -1 : sys_open(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, file_mode(l));
}

enum err placing_add(struct placing *p, const struct manifest_line *l, int fd)
{
	struct manifest_line noted;
	struct stat st;

	/* An ACL of the directory may have had another mode in mind. */
	if (sys_futimens(fd, file_time(l, NULL)) || fstat(fd, &st) ||
	    ((st.st_mode & 07777) != file_mode(l) && (sys_fchmod(fd, file_mode(l)) || fstat(fd, &st))))
		return err_sys(ERR_FAILED, "%s cannot be written", l->path.s);
	noted = file_noted(l, &st);
	return manifest_writing_add(&p->list, &noted);
}

void placing_drop(struct placing *p, const struct manifest_line *l)
{
	const char *name;
	const int dir = image_parent(&p->dirs, l->path.s, false, &name);

	if (dir >= 0)
		(void)sys_unlink(dir, name, 0);
}

enum err placing_end(struct placing *p, enum err e)
{
	if (p->dirs.image < 0)
		return e;
	image_parent_forget(&p->dirs);
	(void)close(p->dirs.image);
	e = manifest_writing_end(&p->list, PLACED_FILE, e);
	p->r->placed = !e;
	return e;
}

static bool is_empty(int image)
{
	struct manifest_source files;
	struct manifest_line l;
	bool got = false;
	struct walk *w = walk_new(image, &files);
	const bool none = !files.next(files.arg, &l, &got) && !got;

	walk_free(w);
	return none;
}

int placing_left(struct receiver *r)
{
	int image = r->accepted.number ? -1 : open_image(r);

	if (image < 0 || !is_empty(image))
		return image;
	(void)close(image);
	return -1;
}

enum err placed_list(struct receiver *r, struct manifest_along *out)
{
	enum err e;

	out->list.raw = true;
	e = manifest_reading_add(&out->list, r->incoming, PLACED_FILE);
	return e ? e : manifest_along_begin(out);
}
