/*
 * spool: bytes on their way to a client, in an unnamed file of ours below /var/tmp: a large version never stands in memory.
 * The descriptor stands at its beginning, and is the caller's to close or to hand on; none is open after an error.
 */
#ifndef DRYDOCK_WEB_SPOOL_H
#define DRYDOCK_WEB_SPOOL_H

#include "repo/repo.h"
#include "stage/door.h"

/* An empty one. */
enum err spool_open(int *fd) MUST_CHECK;
enum err spool_rewind(int fd) MUST_CHECK;
/* limit: ERR_TOO_BIG past so many bytes. print: ERR_STALE with another SHA-256; NULL: any. */
enum err spool_blob(struct repo *repo, const struct blob_id *blob, uint64_t limit, const struct sha256 *print, int *fd, uint64_t *size) MUST_CHECK;
/* The fingerprint is that of the same bytes. Other errors, and problem, as in door_read(). */
enum err spool_staged(struct door *door, struct path path, uint64_t limit, int *fd, struct fingerprint *print, enum problem *problem) MUST_CHECK;

#endif
