/*
 * marked: differences as HTML. The only place besides the layout that makes HTML, so every byte of text goes through one
 * escape function here. Read by a screen reader as "removed: ..., added: ...".
 */
#ifndef DRYDOCK_WEB_PAGES_MARKED_H
#define DRYDOCK_WEB_PAGES_MARKED_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

#define MARKED_LIMIT (1 << 20) /* bytes of HTML; a longer difference is cut with a sentence */

struct marked_counts {
	size_t added, removed; /* lines, or words */
	bool binary, cut;
};

/* Rows of a source difference: line numbers, the line, and in changed pairs of lines the words that changed. */
enum err marked_source(const char *a, size_t a_len, const char *b, size_t b_len, struct buf *html, struct marked_counts *n) MUST_CHECK;
/* The visible text of two HTML pages, with changed words marked. */
enum err marked_text(const char *a, size_t a_len, const char *b, size_t b_len, struct buf *html, struct marked_counts *n) MUST_CHECK;
/* A source with line numbers. */
void marked_plain(const char *s, size_t len, struct buf *html);

#endif
