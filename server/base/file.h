/*
 * file: whole small files of our own (configuration, keys, markers), and directories. Not for the staging tree: that
 * has one door, stage/door.h.
 */
#ifndef DRYDOCK_BASE_FILE_H
#define DRYDOCK_BASE_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* dirfd may be AT_FDCWD. ERR_NOT_FOUND if there is none, ERR_TOO_BIG past the buffer's ceiling. */
enum err file_read(int dirfd, const char *name, struct buf *out) MUST_CHECK;
/* Replace or create, durable when it returns: temporary name, fsync, rename, fsync of the directory. */
enum err file_write(int dirfd, const char *name, const void *p, size_t n, mode_t mode) MUST_CHECK;
/* The same without any fsync: for what can be derived again. */
enum err file_write_fast(int dirfd, const char *name, const void *p, size_t n, mode_t mode) MUST_CHECK;
/* mkdir -p for an absolute or relative path; an existing directory is fine. */
enum err file_mkdirs(const char *path, mode_t mode) MUST_CHECK;
/* Remove a directory of ours and everything below it, never following links. Missing is fine. */
enum err file_remove_tree(int dirfd, const char *name) MUST_CHECK;
bool file_exists(int dirfd, const char *name);

#endif
