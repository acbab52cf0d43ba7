/*
 * sys: every system call that writes, in one place, so that the N-th of them can be made to fail in tests.
 *
 * They behave like the calls they are named for (-1 and errno), except: EINTR is retried where that is right,
 * sys_write_all writes everything or fails, and a failed fsync must never be retried by the caller.
 */
#ifndef DRYDOCK_BASE_SYS_H
#define DRYDOCK_BASE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int sys_open(int dirfd, const char *name, int flags, mode_t mode); /* for writing or creating; O_CLOEXEC added */
int sys_write_all(int fd, const void *p, size_t n);
int sys_pwrite_all(int fd, const void *p, size_t n, off_t at);
int sys_fsync(int fd);
int sys_fdatasync(int fd);
int sys_syncfs(int fd);
int sys_rename(int olddir, const char *old, int newdir, const char *new_name);
int sys_unlink(int dirfd, const char *name, int flags); /* flags: 0 or AT_REMOVEDIR */
int sys_mkdir(int dirfd, const char *name, mode_t mode);
int sys_symlink(const char *target, int dirfd, const char *name);
int sys_fchmod(int fd, mode_t mode);
int sys_futimens(int fd, int64_t mtime_ns); /* sets atime and mtime */
int sys_ftruncate(int fd, off_t size);
int sys_close(int fd);

/* Tests only: the nth call from now (1: the next) fails with that errno, once. 0 switches it off. */
void sys_test_fail(long nth, int error);

#endif
