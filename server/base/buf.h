/*
 * buf: bytes that grow, up to a ceiling.
 *
 * Adding never fails on the spot: what would pass the ceiling is dropped and the buffer is marked, and buf_check() at
 * the end says so. The content is always terminated by a NUL that is not counted in len (content may hold NULs too).
 */
#ifndef DRYDOCK_BASE_BUF_H
#define DRYDOCK_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
	char *p; /* NULL until the first byte; use buf_text() for a string that is never NULL */
	size_t len, cap, limit;
	bool over;
};

#define BUF_INIT(limit_) ((struct buf){ .limit = (limit_) })

void buf_release(struct buf *b);
void buf_reset(struct buf *b); /* empty, keeps the memory */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_u64(struct buf *b, uint64_t v);
void buf_fmt(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_hex(struct buf *b, const void *p, size_t n);
const char *buf_text(const struct buf *b);
char *buf_take(struct buf *b, size_t *len); /* the caller frees; len may be NULL */
enum err buf_check(const struct buf *b) MUST_CHECK; /* ERR_TOO_BIG if anything was dropped */
/* Read all of fd from its position; ERR_TOO_BIG past the ceiling. */
enum err buf_read_fd(struct buf *b, int fd) MUST_CHECK;

#endif
