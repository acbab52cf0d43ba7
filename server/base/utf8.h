/*
 * utf8: validity, and text made safe to show. RFC 3629: no surrogates, no overlong forms, at most U+10FFFF.
 */
#ifndef DRYDOCK_BASE_UTF8_H
#define DRYDOCK_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

bool utf8_valid(const char *s, size_t n);
/* The code point at s and its length in bytes; 0 if n is 0 or the bytes are not a character. */
size_t utf8_decode(const char *s, size_t n, uint32_t *cp);
/*
 * Valid, and no control character (C0, DEL, C1) nor, with lines false, a line break or tab. With lines, "\n", "\r\n"
 * and tab may stand in it (notes).
 */
bool utf8_clean(const char *s, size_t n, bool lines);
/* Copy with bad bytes as U+FFFD and control characters (but \n and \t if lines) as their Unicode pictures. */
void utf8_visible(struct buf *out, const char *s, size_t n, bool lines);
/*
 * The bytes of the character at s if it cannot be seen, or lets other text be seen in another order than it is written
 * (overrides, embeddings and isolates of direction, blanks without width, line separators, soft hyphen): 0 if it is none
 * of these. Joiners and direction marks are not meant: writing in many languages needs them.
 */
size_t utf8_unseen(const char *s, size_t n, uint32_t *cp);
/* "[U+202E]" */
#define UTF8_UNSEEN_TEXT 16
void utf8_unseen_text(char out[UTF8_UNSEEN_TEXT], uint32_t cp);

#endif
