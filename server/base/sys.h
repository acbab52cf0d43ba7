/*
 * sys: every system call that writes, in one place, so that the N-th of them can be made to fail (base/failpoint.h). Others
 * call none of them (tests/style); what goes to a terminal, the log, a socket or a pipe is not meant.
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
#include <time.h>

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
int sys_chmod(int dirfd, const char *name, mode_t mode);
int sys_fchown(int fd, uid_t uid, gid_t gid);
int sys_futimens(int fd, int64_t mtime_ns); /* sets atime and mtime */
int sys_utime_link(int dirfd, const char *name, struct timespec mtime); /* of a link itself */
void sys_write_behind(int fd, off_t from, off_t n); /* a hint: begin to write these bytes to disk */
void sys_pipe_widen(int fd); /* a hint: if it is a pipe, a megabyte, where the user may have one */
int sys_ftruncate(int fd, off_t size);
int sys_close(int fd);

#endif
