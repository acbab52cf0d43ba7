#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sys.h"
#include "receive/receive.h"

int open_below(int dir, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

	while (*path == '/')
		path++;
	return (int)syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));
}

static int make_dirs(int image, const char *dir)
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
		up = fd >= 0 ? fd : image;
		if ((sys_mkdir(up, name, 0755) && errno != EEXIST)) {
			if (fd >= 0)
				(void)close(fd);
			fd = -1;
			break;
		}
		if (fd >= 0)
			(void)close(fd);
		fd = open_below(image, copy, O_RDONLY | O_DIRECTORY);
		if (fd < 0 || sys_fchmod(fd, 0755) || was == '\0')
			break;
		*p = was;
	}
	free(copy);
	return fd;
}

int image_parent(struct image_dirs *d, const char *path, bool make, const char **name)
{
	const char *slash = strrchr(path, '/');
	const size_t len = (size_t)(slash - path);

	*name = slash + 1;
	if (!len)
		return d->image;
	if (d->parent >= 0 && !strncmp(d->name, path, len) && !d->name[len])
		return d->parent;
	if (d->parent >= 0)
		(void)close(d->parent);
	memcpy(d->name, path, len);
	d->name[len] = '\0';
	d->parent = open_below(d->image, d->name, O_RDONLY | O_DIRECTORY);
	if (d->parent < 0 && make && errno == ENOENT)
		d->parent = make_dirs(d->image, d->name);
	return d->parent;
}

void image_parent_forget(struct image_dirs *d)
{
	if (d->parent >= 0)
		(void)close(d->parent);
	d->parent = -1;
}
