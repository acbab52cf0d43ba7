#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/* Every call of this file asks here first: the one place where a test makes the N-th of them fail. */
static bool refused(void)
{
	int error;

	if (!failpoint_sys(false, &error))
		return false;
	errno = error;
	return true;
}

/* The same for a write, which may also do less than it was told. */
static bool refused_write(size_t *n)
{
	int error;

	if (!failpoint_sys(true, &error))
		return false;
	if (error)
		errno = error;
	else
		*n = (*n + 1) / 2;
	return error != 0;
}
#else
static inline bool refused(void)
{
	return false;
}

static inline bool refused_write(size_t *n)
{
	(void)n;
	return false;
}
#endif

static ssize_t write_some(int fd, const void *p, size_t n)
{
	return refused_write(&n) ? -1 : write(fd, p, n);
}

static ssize_t pwrite_some(int fd, const void *p, size_t n, off_t at)
{
	return refused_write(&n) ? -1 : pwrite(fd, p, n, at);
}

int sys_open(int dirfd, const char *name, int flags, mode_t mode)
{
	int fd;

	do
		fd = refused() ? -1 : openat(dirfd, name, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

int sys_write_all(int fd, const void *p, size_t n)
{
	const char *s = p;

	while (n) {
		ssize_t done = write_some(fd, s, n);
		if (done < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		s += done;
		n -= (size_t)done;
	}
	return 0;
}

int sys_pwrite_all(int fd, const void *p, size_t n, off_t at)
{
	const char *s = p;

	while (n) {
		ssize_t done = pwrite_some(fd, s, n, at);
		if (done < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		s += done;
		at += done;
		n -= (size_t)done;
	}
	return 0;
}

int sys_fsync(int fd)
{
	return refused() ? -1 : fsync(fd);
}

int sys_fdatasync(int fd)
{
	return refused() ? -1 : fdatasync(fd);
}

int sys_syncfs(int fd)
{
	return refused() ? -1 : syncfs(fd);
}

void sys_write_behind(int fd, off_t from, off_t n)
{
	(void)sync_file_range(fd, from, n, SYNC_FILE_RANGE_WRITE);
}

int sys_rename(int olddir, const char *old, int newdir, const char *new_name)
{
	return refused() ? -1 : renameat(olddir, old, newdir, new_name);
}

int sys_unlink(int dirfd, const char *name, int flags)
{
	return refused() ? -1 : unlinkat(dirfd, name, flags);
}

int sys_mkdir(int dirfd, const char *name, mode_t mode)
{
	return refused() ? -1 : mkdirat(dirfd, name, mode);
}

int sys_symlink(const char *target, int dirfd, const char *name)
{
	return refused() ? -1 : symlinkat(target, dirfd, name);
}

int sys_fchmod(int fd, mode_t mode)
{
	return refused() ? -1 : fchmod(fd, mode);
}

int sys_chmod(int dirfd, const char *name, mode_t mode)
{
	return refused() ? -1 : fchmodat(dirfd, name, mode, 0);
}

int sys_fchown(int fd, uid_t uid, gid_t gid)
{
	return refused() ? -1 : fchown(fd, uid, gid);
}

/* Nanoseconds since 1970 may be negative: the second is the one before. */
static struct timespec timespec_of(int64_t ns)
{
	struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += 1000000000;
	}
	return t;
}

int sys_futimens(int fd, int64_t mtime_ns)
{
	struct timespec both[2] = { timespec_of(mtime_ns), timespec_of(mtime_ns) };

	return refused() ? -1 : futimens(fd, both);
}

int sys_utime_link(int dirfd, const char *name, struct timespec mtime)
{
	struct timespec both[2] = { mtime, mtime };

	return refused() ? -1 : utimensat(dirfd, name, both, AT_SYMLINK_NOFOLLOW);
}

void sys_pipe_widen(int fd)
{
	(void)fcntl(fd, F_SETPIPE_SZ, 1 << 20);
}

int sys_ftruncate(int fd, off_t size)
{
	int rc;

	do
		rc = refused() ? -1 : ftruncate(fd, size);
	while (rc < 0 && errno == EINTR);
	return rc;
}

int sys_close(int fd)
{
	if (refused()) {
		/* The descriptor is gone after a failed close as well. */
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	/* Not repeated after EINTR: Linux has closed it, and the number may belong to another thread by now. */
	return close(fd);
}
