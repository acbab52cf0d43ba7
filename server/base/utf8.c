#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

size_t utf8_decode(const char *s, size_t n, uint32_t *cp)
{
	const unsigned char *p = (const unsigned char *)s;
	uint32_t c;
	size_t len;

	if (n == 0)
		return 0;
	if (p[0] < 0x80) {
		*cp = p[0];
		return 1;
	}
	if (p[0] >= 0xc2 && p[0] <= 0xdf) {
		len = 2;
		c = p[0] & 0x1f;
	} else if (p[0] >= 0xe0 && p[0] <= 0xef) {
		len = 3;
		c = p[0] & 0x0f;
	} else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		len = 4;
		c = p[0] & 0x07;
	} else {
		return 0;
	}
	if (n < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if ((len == 3 && c < 0x800) || (len == 4 && c < 0x10000) || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*cp = c;
	return len;
}

/* Eight ASCII bytes at a time: most text is ASCII. */
static size_t ascii_run(const char *s, size_t n)
{
	size_t i = 0;
	uint64_t eight;

	for (; i + 8 <= n; i += 8) {
		memcpy(&eight, s + i, 8);
		if (eight & UINT64_C(0x8080808080808080))
			break;
	}
	while (i < n && (unsigned char)s[i] < 0x80)
		i++;
	return i;
}

bool utf8_valid(const char *s, size_t n)
{
	uint32_t cp;

	for (size_t i = ascii_run(s, n); i < n; i += ascii_run(s + i, n - i)) {
		size_t len = utf8_decode(s + i, n - i, &cp);
		if (len == 0)
			return false;
		i += len;
	}
	return true;
}

static bool is_control(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f);
}

bool utf8_clean(const char *s, size_t n, bool lines)
{
	uint32_t cp;
	size_t len;

	for (size_t i = 0; i < n; i += len) {
		len = utf8_decode(s + i, n - i, &cp);
		if (len == 0)
			return false;
		if (lines && (cp == '\n' || cp == '\t' || (cp == '\r' && i + 1 < n && s[i + 1] == '\n')))
			continue;
		/* U+2028 and U+2029 break lines as well. */
		if (is_control(cp) || (!lines && (cp == 0x2028 || cp == 0x2029)))
			return false;
	}
	return true;
}

void utf8_visible(struct buf *out, const char *s, size_t n, bool lines)
{
	uint32_t cp;

	for (size_t i = 0; i < n;) {
		size_t len = utf8_decode(s + i, n - i, &cp);
		if (len == 0) {
			buf_str(out, "\xef\xbf\xbd");
			i++;
			continue;
		}
		if (!is_control(cp) || (lines && (cp == '\n' || cp == '\t'))) {
			buf_add(out, s + i, len);
		} else if (cp >= 0x80) {
			buf_str(out, "\xef\xbf\xbd"); /* C1 has no pictures */
		} else {
			/* U+2400 + c, U+2421 for DEL: e2 90 80+c, e2 90 a1 */
			char picture[3] = { '\xe2', '\x90', (char)(cp == 0x7f ? 0xa1 : 0x80 + cp) };
			buf_add(out, picture, 3);
		}
		i += len;
	}
}

size_t utf8_unseen(const char *s, size_t n, uint32_t *cp)
{
	/* All of them begin with one of these bytes. */
	if (n < 2 || ((unsigned char)*s != 0xc2 && (unsigned char)*s != 0xe2 && (unsigned char)*s != 0xef))
		return 0;
	size_t len = utf8_decode(s, n, cp);
	if (!len)
		return 0;
	bool unseen = *cp == 0xad || *cp == 0x200b || (*cp >= 0x2028 && *cp <= 0x202e) || (*cp >= 0x2060 && *cp <= 0x206f) || *cp == 0xfeff;
	return unseen ? len : 0;
}

void utf8_unseen_text(char out[UTF8_UNSEEN_TEXT], uint32_t cp)
{
	snprintf(out, UTF8_UNSEEN_TEXT, "[U+%04X]", (unsigned)cp);
}
