#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long fail_after; /* calls until the one that fails; 0: none */
static atomic_int fail_errno;

void sys_test_fail(long nth, int error)
{
	atomic_store(&fail_errno, error);
	atomic_store(&fail_after, nth);
}

/* Every call of this file asks here first: the one place where a test makes the N-th of them fail. */
static bool refused(void)
{
	if (atomic_load_explicit(&fail_after, memory_order_relaxed) <= 0)
		return false;
	if (atomic_fetch_sub(&fail_after, 1) != 1)
		return false;
	errno = atomic_load(&fail_errno);
	return true;
}

int sys_open(int dirfd, const char *name, int flags, mode_t mode)
{
	int fd;

	if (refused())
		return -1;
	do
		fd = openat(dirfd, name, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

int sys_write_all(int fd, const void *p, size_t n)
{
	const char *s = p;

	if (refused())
		return -1;
	while (n) {
		ssize_t done = write(fd, s, n);
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

	if (refused())
		return -1;
	while (n) {
		ssize_t done = pwrite(fd, s, n, at);
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

int sys_futimens(int fd, int64_t mtime_ns)
{
	int64_t sec = mtime_ns / 1000000000, ns = mtime_ns % 1000000000;

	if (ns < 0) {
		sec--;
		ns += 1000000000;
	}
	struct timespec both[2] = { { .tv_sec = sec, .tv_nsec = ns }, { .tv_sec = sec, .tv_nsec = ns } };
	return refused() ? -1 : futimens(fd, both);
}

int sys_ftruncate(int fd, off_t size)
{
	int rc;

	if (refused())
		return -1;
	do
		rc = ftruncate(fd, size);
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
