#include "stage/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/weaken.h"

/* A rename anywhere in the tree can make the kernel unsure whether the way stayed beneath: EAGAIN, and ask again. */
#define OPEN_TRIES 32

int door_openat2(int dirfd, const char *name, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	for (int i = 0;; i++) {
		int fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof how);
		if (fd >= 0 || (errno != EINTR && errno != EAGAIN) || i == OPEN_TRIES)
			return fd;
	}
}

enum err door_refuse(enum problem *problem, enum problem is, const char *shown)
{
	if (problem)
		*problem = is;
	return err_set(is == PROBLEM_BUSY ? ERR_BUSY : ERR_INPUT, "%s: %s", shown, problem_text(is));
}

enum err door_open_err(int error, enum problem *problem, const char *shown)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return err_set(ERR_NOT_FOUND, "%s is not in staging", shown);
	case ELOOP:
		return door_refuse(problem, PROBLEM_SYMLINK, shown);
	case EXDEV:
		return door_refuse(problem, PROBLEM_OTHER_FS, shown);
	case ENXIO:
	case ENODEV:
	case EOPNOTSUPP:
		return door_refuse(problem, PROBLEM_SPECIAL, shown);
	case ENAMETOOLONG:
		return door_refuse(problem, PROBLEM_TOO_LONG, shown);
	case EAGAIN:
	case ETXTBSY:
		return door_refuse(problem, PROBLEM_BUSY, shown);
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		/* Ours, not the file's: it must not be taken for unpublishable. */
		errno = error;
		return err_sys(ERR_FAILED, "opening %s", shown);
	default:
		return door_refuse(problem, PROBLEM_UNREADABLE, shown);
	}
}

enum problem door_mode_problem(mode_t mode, uint64_t links, uint64_t size, uint64_t largest_file)
{
	if (S_ISLNK(mode))
		return PROBLEM_SYMLINK;
	if (!S_ISREG(mode) && !WEAK(door_kind))
		return PROBLEM_SPECIAL;
	if (links != 1 && !WEAK(door_links))
		return PROBLEM_HARDLINK;
	if (size > largest_file && !WEAK(door_size))
		return PROBLEM_TOO_BIG;
	return PROBLEM_NONE;
}

bool stage_stat_equal(const struct stage_stat *a, const struct stage_stat *b)
{
	return a->size == b->size && a->inode == b->inode && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
	    a->exec == b->exec;
}

static int open_root(const char *dir)
{
	/* The administrator wrote this path: links on the way to the staging directory are his. */
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

#define MAGIC_XFS 0x58465342

/* Local file systems of which it is known; on others (network, overlay, FUSE) names are always listed. */
static bool dir_times(int root)
{
	struct statfs fs;
	if (fstatfs(root, &fs) < 0)
		return false;
	switch ((unsigned long)fs.f_type) {
	case EXT4_SUPER_MAGIC:
	case MAGIC_XFS:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return true;
	default:
		return false;
	}
}

bool door_dir_times(struct door *d)
{
	return atomic_load_explicit(&d->dir_times, memory_order_relaxed);
}

enum err door_open(struct door **out, const char *dir, uint64_t largest_file)
{
	*out = NULL;
	if (dir[0] != '/')
		return err_set(ERR_INPUT, "staging directory %s: must be an absolute path", dir);
	int fd = open_root(dir);
	if (fd < 0) {
		if (errno == ENOENT)
			return err_set(ERR_INPUT, "staging directory %s: does not exist", dir);
		if (errno == ENOTDIR)
			return err_set(ERR_INPUT, "staging directory %s: is not a directory", dir);
		return err_sys(errno == EMFILE || errno == ENFILE ? ERR_FAILED : ERR_INPUT, "staging directory %s", dir);
	}
	struct stat st;
	if (fstat(fd, &st) < 0) {
		enum err e = err_sys(ERR_FAILED, "staging directory %s", dir);
		close(fd);
		return e;
	}
	int probe = door_openat2(fd, ".", O_RDONLY | O_DIRECTORY);
	if (probe < 0) {
		enum err e = errno == ENOSYS || errno == EPERM
		    ? err_set(ERR_FAILED, "the system call openat2 is not available: Linux 5.6 or newer is needed, and a container must allow it")
		    : err_sys(ERR_INPUT, "staging directory %s", dir);
		close(fd);
		return e;
	}
	close(probe);
	struct door *d = mem_alloc(sizeof *d);
	d->dir = mem_dup(dir);
	d->largest_file = largest_file;
	d->root = fd;
	d->dev = st.st_dev;
	d->ino = st.st_ino;
	atomic_init(&d->dir_times, dir_times(fd));
	pthread_mutex_init(&d->lock, NULL);
	*out = d;
	return ERR_OK;
}

void door_close(struct door *d)
{
	if (!d)
		return;
	close(d->root);
	pthread_mutex_destroy(&d->lock);
	free(d->dir);
	free(d);
}

const char *door_dir(const struct door *d)
{
	return d->dir;
}

uint64_t door_largest_file(const struct door *d)
{
	return d->largest_file;
}

enum err door_check(struct door *d, unsigned *moved)
{
	enum err e = ERR_OK;
	struct stat st;
	int fd = -1;
	pthread_mutex_lock(&d->lock);
	if (stat(d->dir, &st) < 0) {
		e = errno == ENOENT ? err_set(ERR_BUSY, "the staging directory %s does not exist", d->dir)
				    : err_sys(ERR_BUSY, "the staging directory %s", d->dir);
		goto out;
	}
	if (st.st_dev == d->dev && st.st_ino == d->ino)
		goto out;
	fd = open_root(d->dir);
	if (fd < 0 || fstat(fd, &st) < 0) {
		e = err_sys(ERR_BUSY, "the staging directory %s", d->dir);
		goto out;
	}
	if (dup3(fd, d->root, O_CLOEXEC) < 0) {
		e = err_sys(ERR_FAILED, "the staging directory %s", d->dir);
		goto out;
	}
	d->dev = st.st_dev;
	d->ino = st.st_ino;
	atomic_store(&d->dir_times, dir_times(fd));
	d->moved++;
out:
	if (moved)
		*moved = d->moved;
	pthread_mutex_unlock(&d->lock);
	if (fd >= 0)
		close(fd);
	return e;
}
