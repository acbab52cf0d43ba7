#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/mem.h"

void buf_release(struct buf *b)
{
	free(b->p);
	b->p = NULL;
	b->len = b->cap = 0;
	b->over = false;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->over = false;
	if (b->p)
		b->p[0] = '\0';
}

/* Room for n more bytes and the NUL, as far as the ceiling goes; returns how many fit. */
static size_t room(struct buf *b, size_t n)
{
	if (b->over)
		return 0;
	if (n > b->limit - b->len) {
		n = b->limit - b->len;
		b->over = true;
	}
	if (n && b->len + n + 1 > b->cap)
		b->p = mem_grow(b->p, &b->cap, b->len + n + 1, 1);
	return n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	n = room(b, n);
	if (n == 0)
		return;
	memcpy(b->p + b->len, p, n);
	b->len += n;
	b->p[b->len] = '\0';
}

void buf_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_u64(struct buf *b, uint64_t v)
{
	char text[20];
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	buf_add(b, text + at, sizeof(text) - at);
}

void buf_fmt(struct buf *b, const char *fmt, ...)
{
	char small[256];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->over = true;
		return;
	}
	if ((size_t)n < sizeof(small)) {
		buf_add(b, small, (size_t)n);
		return;
	}
	char *big = mem_alloc((size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(big, (size_t)n + 1, fmt, ap);
	va_end(ap);
	buf_add(b, big, (size_t)n);
	free(big);
}

void buf_hex(struct buf *b, const void *p, size_t n)
{
	const unsigned char *bytes = p;
	char text[65];

	while (n) {
		size_t part = n < 32 ? n : 32;
		hex_of(text, bytes, part);
		buf_add(b, text, 2 * part);
		bytes += part;
		n -= part;
	}
}

const char *buf_text(const struct buf *b)
{
	return b->p ? b->p : "";
}

char *buf_take(struct buf *b, size_t *len)
{
	char *p = b->p ? b->p : mem_dup("");

	if (len)
		*len = b->len;
	b->p = NULL;
	b->len = b->cap = 0;
	b->over = false;
	return p;
}

enum err buf_check(const struct buf *b)
{
	if (b->over)
		return err_set(ERR_TOO_BIG, "more than the limit of %zu bytes", b->limit);
	return ERR_OK;
}

enum err buf_read_fd(struct buf *b, int fd)
{
	for (;;) {
		if (b->over)
			return buf_check(b);
		/* One byte past the ceiling is asked for, so that a file of exactly that size passes. */
		size_t want = b->limit - b->len < 65536 ? b->limit - b->len + 1 : 65536;
		if (b->cap - b->len < want + 1)
			b->p = mem_grow(b->p, &b->cap, b->len + want + 1, 1);
		ssize_t n = read(fd, b->p + b->len, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			b->p[b->len] = '\0';
			return n ? err_sys(ERR_FAILED, "read") : ERR_OK;
		}
		if ((size_t)n > b->limit - b->len) {
			b->len = b->limit;
			b->over = true;
		} else {
			b->len += (size_t)n;
		}
		b->p[b->len] = '\0';
	}
}
