/*
 * dump: the database's rows as a file, for backup and restore: a line "T table columns" for each table, then a line a row,
 * numbers as n123, bytes as xHEX. And files copied with their SHA-256, for the same.
 */
#ifndef DRYDOCK_DAEMON_DUMP_H
#define DRYDOCK_DAEMON_DUMP_H

#include <sys/types.h>

#include "base/digest.h"
#include "db/db.h"

/* All tables that are not apart, as they are at this moment: between db_still_begin and db_still_end. */
enum err dump_write(struct db *db, int fd) MUST_CHECK;
/* Into a database that has no rows (ERR_STALE), in one transaction. ERR_INPUT: it is not a dump of this schema. */
enum err dump_read(struct db *owner, const char *file) MUST_CHECK;

/* A regular file, never through a link: copied, and what it has. to_dir < 0: only read. */
enum err copy_file(int from_dir, const char *from, int to_dir, const char *to, mode_t mode, struct sha256 *sha256, uint64_t *size) MUST_CHECK;

#endif
