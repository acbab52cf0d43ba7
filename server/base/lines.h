/*
 * lines: a file read line by line, however long it is, in a fixed amount of memory.
 */
#ifndef DRYDOCK_BASE_LINES_H
#define DRYDOCK_BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define LINES_LONGEST 8192 /* bytes of one line of a list, without its newline */
#define LINES_MOST (200 * 1024) /* of any */

struct lines;
/* Reads fd from its position; it stays the caller's. longest: bytes of a line, at most LINES_MOST. */
struct lines *lines_new(int fd, size_t longest);
void lines_free(struct lines *l); /* NULL is allowed */
/*
 * The next line, terminated, without its newline; it may be written to and lives until the next call. *line NULL: the end.
 * ERR_INPUT: a line that is too long, holds a NUL, or is not ended.
 */
enum err lines_next(struct lines *l, char **line, size_t *len) MUST_CHECK;

#endif
