#include <string.h>

#include "web/life.h"

void percent_encode(struct buf *out, const char *s, bool slash_too)
{
	static const char HEX[] = "0123456789ABCDEF";

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_' || c == '~' ||
		    (c == '/' && !slash_too)) {
			buf_char(out, *s);
		} else {
			buf_char(out, '%');
			buf_char(out, HEX[c >> 4]);
			buf_char(out, HEX[c & 15]);
		}
	}
}

const char *addr(struct req *r, const char *tail, const struct path *path, const char *query)
{
	struct buf b = BUF_INIT(3 * PATH_LIMIT + 4096);

	buf_str(&b, "/s/");
	buf_str(&b, r->site ? r->site->name : "");
	buf_str(&b, tail);
	if (path)
		percent_encode(&b, path->s, false);
	if (query && query[0]) {
		buf_char(&b, '?');
		buf_str(&b, query);
	}
	/* Cut short it would lead somewhere else; it can only be cut by a query that no page of ours makes. */
	const char *text = buf_check(&b) ? "/" : arena_dup(r->arena, buf_text(&b));
	buf_release(&b);
	return text;
}

const char *address_of_ours(const char *text)
{
	/* "//elsewhere" and "/\elsewhere" are other hosts to a browser, which also drops tabs and line breaks. */
	if (!text || text[0] != '/' || text[1] == '/' || text[1] == '\\')
		return "/";
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p <= 0x20 || *p >= 0x7f || *p == '\\')
			return "/";
	return text;
}
