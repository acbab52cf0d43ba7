/* Just as much of tar as a delivery needs: regular files, names of any length (GNU's 'L', pax "path" and "size"). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "receive/receive.h"

#define BLOCK 512
#define META_LIMIT 16384

static enum err read_once(struct tar *t, void *p, size_t n, size_t *got)
{
	ssize_t r;

	do
		r = read(t->fd, p, n);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? err_sys(ERR_FAILED, "the stream") : err_set(ERR_INPUT, "the stream was cut off");
	*got = (size_t)r;
	return ERR_OK;
}

/* Some of what comes next, at the most n bytes; little things from what was read ahead. *got is 0 after an error. */
static enum err read_some(struct tar *t, void *p, size_t n, size_t *got)
{
	enum err e = ERR_OK;

	*got = 0;
	if (t->at == t->n && n >= sizeof(t->ahead))
		return read_once(t, p, n, got);
	if (t->at == t->n) {
		t->at = t->n = 0;
		e = read_once(t, t->ahead, sizeof(t->ahead), &t->n);
	}
	if (e)
		return e;
	*got = t->n - t->at < n ? t->n - t->at : n;
	memcpy(p, t->ahead + t->at, *got);
	t->at += *got;
	return ERR_OK;
}

static enum err read_all(struct tar *t, void *p, size_t n)
{
	size_t got;
	enum err e = ERR_OK;

	for (size_t at = 0; at < n && !e; at += got)
		e = read_some(t, (char *)p + at, n - at, &got);
	return e;
}

static enum err skip_rest(struct tar *t)
{
	char drop[4096];
	enum err e = ERR_OK;

	while (!e && t->left + t->padding) {
		uint64_t all = t->left + t->padding;
		size_t n = all < sizeof(drop) ? (size_t)all : sizeof(drop);

		e = read_all(t, drop, n);
		if (n <= t->left) {
			t->left -= n;
		} else {
			t->padding -= n - t->left;
			t->left = 0;
		}
	}
	return e;
}

/* Octal digits, or GNU's big-endian number with the highest bit set. */
static bool get_number(const unsigned char *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;

	if (p[0] & 0x80) {
		v = p[0] & 0x7f;
		for (size_t i = 1; i < n; i++) {
			if (v >> 55)
				return false;
			v = v << 8 | p[i];
		}
		*out = v;
		return true;
	}
	while (n && *p == ' ')
		p++, n--;
	for (; n && *p >= '0' && *p <= '7'; p++, n--)
		v = v << 3 | (uint64_t)(*p - '0');
	*out = v;
	return !n || *p == ' ' || !*p;
}

static bool header_sound(const unsigned char *h)
{
	uint64_t want;
	unsigned sum = 0;

	for (int i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return get_number(h + 148, 8, &want) && want == sum && !memcmp(h + 257, "ustar", 5);
}

static enum err begin_member(struct tar *t, const unsigned char *h)
{
	if (!header_sound(h) || !get_number(h + 124, 12, &t->size))
		return err_set(ERR_INPUT, "the stream is not a tar archive");
	if (t->size > UINT64_C(1) << 50)
		return err_set(ERR_TOO_BIG, "a member of the archive says that it is larger than anything");
	t->left = t->size;
	t->padding = (BLOCK - t->size % BLOCK) % BLOCK;
	return ERR_OK;
}

/* A name from the two fields of the header. */
static void short_name(struct tar *t, const unsigned char *h)
{
	char prefix[156] = "", name[101] = "";

	memcpy(name, h, 100);
	/* GNU has other things in the place of the prefix. */
	if (!memcmp(h + 257, "ustar\0", 6))
		memcpy(prefix, h + 345, 155);
	snprintf(t->name, sizeof(t->name), "%s%s%s", prefix, *prefix ? "/" : "", name);
}

static enum err pax(struct tar *t, struct buf *text, uint64_t *size)
{
	const char *p = buf_text(text), *end = p + text->len;

	while (p < end) {
		char *rest;
		unsigned long n = strtoul(p, &rest, 10);

		if (n < 5 || n > (size_t)(end - p) || *rest != ' ' || p[n - 1] != '\n')
			return err_set(ERR_INPUT, "the stream is not a tar archive");
		rest++;
		if (!strncmp(rest, "path=", 5) && (size_t)(p + n - rest) - 6 < sizeof(t->name)) {
			memcpy(t->name, rest + 5, (size_t)(p + n - rest) - 6);
			t->name[(size_t)(p + n - rest) - 6] = '\0';
		} else if (!strncmp(rest, "size=", 5)) {
			*size = strtoull(rest + 5, NULL, 10);
		}
		p += n;
	}
	return ERR_OK;
}

enum err tar_next(struct tar *t, bool *got)
{
	static const unsigned char nothing[BLOCK];
	unsigned char h[BLOCK];
	bool named = false;
	uint64_t size = UINT64_MAX;
	enum err e = skip_rest(t);

	*got = false;
	while (!e && !t->ended) {
		struct buf text = BUF_INIT(META_LIMIT);

		e = read_all(t, h, sizeof(h));
		if (!e && !memcmp(h, nothing, sizeof(h))) {
			t->ended = true;
			break;
		}
		if (!e)
			e = begin_member(t, h);
		if (e)
			break;
		if (h[156] == 'L' || h[156] == 'x') {
			e = tar_text(t, &text);
			if (!e && h[156] == 'x')
				e = pax(t, &text, &size);
			else if (!e)
				snprintf(t->name, sizeof(t->name), "%s", buf_text(&text));
			named = h[156] == 'L' || named || strstr(buf_text(&text), " path=") != NULL;
			buf_release(&text);
			continue;
		}
		if (!named)
			short_name(t, h);
		if (h[156] != '0' && h[156] != '\0')
			return err_set(ERR_INPUT, "%.200s in the archive is a link, a directory or a device", t->name);
		if (size != UINT64_MAX) {
			if (size > UINT64_C(1) << 50)
				return err_set(ERR_TOO_BIG, "a member of the archive says that it is larger than anything");
			t->size = t->left = size;
			t->padding = (BLOCK - size % BLOCK) % BLOCK;
		}
		*got = true;
		return ERR_OK;
	}
	return e;
}

enum err tar_read(struct tar *t, void *p, size_t n, size_t *got)
{
	enum err e;

	*got = 0;
	if (n > t->left)
		n = (size_t)t->left;
	if (!n)
		return ERR_OK;
	e = read_some(t, p, n, got);
	t->left -= *got;
	return e;
}

enum err tar_text(struct tar *t, struct buf *out)
{
	char piece[4096];
	size_t n;
	enum err e;

	if (t->size > out->limit)
		return err_set(ERR_TOO_BIG, "%.200s in the archive is too large", t->name);
	while (!(e = tar_read(t, piece, sizeof(piece), &n)) && n)
		buf_add(out, piece, n);
	if (!e)
		e = skip_rest(t);
	return e ? e : buf_check(out);
}
