#include "web/extract.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/confine.h"
#include "base/log.h"
#include "base/spawn.h"

#define DEADLINE (10 * CLOCK_SECOND)
#define PROCESSOR_SECONDS 8
#define MEMORY (UINT64_C(512) << 20)
#define XML_LIMIT (8u << 20) /* of an office file: mostly marks */

struct extractor {
	const char *suffix;
	const char *package; /* Debian's, for who has to install it */
	bool xml; /* what comes is XML, whose text is between its marks */
	const char *argv[8];
};

/* Office files are zip archives; a pattern may fit several members, which come one behind the other. */
static const struct extractor EXTRACTORS[] = {
	{ ".pdf", "poppler-utils", false, { "pdftotext", "-q", "-nopgbrk", "-enc", "UTF-8", "-", "-" } },
	{ ".odt", "libarchive-tools", true, { "bsdtar", "-xOf", "-", "content.xml" } },
	{ ".ods", "libarchive-tools", true, { "bsdtar", "-xOf", "-", "content.xml" } },
	{ ".odp", "libarchive-tools", true, { "bsdtar", "-xOf", "-", "content.xml" } },
	{ ".docx", "libarchive-tools", true, { "bsdtar", "-xOf", "-", "word/document.xml" } },
	{ ".xlsx", "libarchive-tools", true, { "bsdtar", "-xOf", "-", "xl/sharedStrings.xml" } },
	{ ".pptx", "libarchive-tools", true, { "bsdtar", "-xOf", "-", "ppt/slides/slide*.xml" } },
};

static const struct extractor *extractor_of(const char *name)
{
	const size_t n = strlen(name);

	for (size_t i = 0; i < sizeof EXTRACTORS / sizeof *EXTRACTORS; i++) {
		const size_t k = strlen(EXTRACTORS[i].suffix);

		if (n > k && strcasecmp(name + n - k, EXTRACTORS[i].suffix) == 0)
			return &EXTRACTORS[i];
	}
	return NULL;
}

bool extract_can(const char *name)
{
	return extractor_of(name) != NULL;
}

/* --- the text of XML ------------------------------------------------------------------------------------------------- */

/* Marks behind which a line ends: paragraphs, headings, breaks, rows, strings of a sheet. Without their prefix. */
static bool ends_line(const char *mark, size_t n)
{
	static const char *const CLOSING[] = { "p", "h", "tr", "table-row", "si" }, *const ALONE[] = { "br", "line-break" };
	const bool closing = n && *mark == '/';
	const char *name = mark + closing, *colon;
	size_t len = 0;

	n -= closing;
	while (len < n && !strchr(" \t\r\n/", name[len]))
		len++;
	colon = memchr(name, ':', len);
	if (colon) {
		len -= (size_t)(colon + 1 - name);
		name = colon + 1;
	}
	const char *const *list = closing ? CLOSING : ALONE;
	const size_t n_list = closing ? sizeof CLOSING / sizeof *CLOSING : sizeof ALONE / sizeof *ALONE;
	for (size_t i = 0; i < n_list; i++)
		if (strlen(list[i]) == len && memcmp(list[i], name, len) == 0)
			return true;
	return false;
}

static void put_utf8(struct buf *out, unsigned long c)
{
	if (c < 0x80) {
		buf_char(out, (char)c);
	} else if (c < 0x800) {
		buf_char(out, (char)(0xc0 | c >> 6));
		buf_char(out, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		buf_char(out, (char)(0xe0 | c >> 12));
		buf_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_char(out, (char)(0x80 | (c & 0x3f)));
	} else {
		buf_char(out, (char)(0xf0 | c >> 18));
		buf_char(out, (char)(0x80 | (c >> 12 & 0x3f)));
		buf_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_char(out, (char)(0x80 | (c & 0x3f)));
	}
}

/* An entity at s (behind the '&'): how many bytes it takes; 0: it is none, and stays as it is. No others are defined. */
static size_t put_entity(struct buf *out, const char *s, size_t n)
{
	static const struct {
		const char *name;
		char c;
	} NAMED[] = { { "lt;", '<' }, { "gt;", '>' }, { "amp;", '&' }, { "quot;", '"' }, { "apos;", '\'' } };
	unsigned long c = 0;
	size_t i = 1;

	for (size_t k = 0; k < sizeof NAMED / sizeof *NAMED; k++) {
		const size_t len = strlen(NAMED[k].name);

		if (n >= len && memcmp(s, NAMED[k].name, len) == 0) {
			buf_char(out, NAMED[k].c);
			return len;
		}
	}
	if (n < 3 || *s != '#')
		return 0;
	const bool hex = s[1] == 'x';
	for (i += hex; i < n && i < 10 && s[i] != ';'; i++) {
		const char *digit = strchr("0123456789abcdef", s[i] | 0x20);

		if (!digit || !s[i] || (!hex && digit[0] > '9'))
			return 0;
		c = c * (hex ? 16 : 10) + (unsigned long)(digit[0] > '9' ? digit[0] - 'a' + 10 : digit[0] - '0');
	}
	if (i >= n || s[i] != ';' || c > 0x10ffff)
		return 0;
	if (c)
		put_utf8(out, c);
	return i + 1;
}

static void xml_text(struct buf *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		if (s[i] == '<') {
			const char *end = memchr(s + i, '>', n - i);
			const size_t len = (end ? (size_t)(end - (s + i)) : n - i) - 1;

			if (ends_line(s + i + 1, len))
				buf_char(out, '\n');
			i += len + 2;
		} else if (s[i] == '&') {
			const size_t used = put_entity(out, s + i + 1, n - i - 1);

			if (!used)
				buf_char(out, '&');
			i += used + 1;
		} else {
			/* line ends of the XML itself mean nothing */
			buf_char(out, s[i] == '\n' || s[i] == '\r' ? ' ' : s[i]);
			i++;
		}
	}
}

/* --- running the program --------------------------------------------------------------------------------------------- */

static enum err run(const struct extractor *x, const void *bytes, size_t len, struct buf *raw)
{
	struct confine_reader jail = { .fd = -1, .memory = MEMORY, .seconds = PROCESSOR_SECONDS };
	struct buf said = BUF_INIT(4096);
	struct spawn s = { .argv = x->argv, .input = bytes, .input_len = len, .deadline_us = DEADLINE, .out = raw, .err_out = &said,
		.before_exec = confine_reader, .before_arg = &jail };
	struct spawn_result result = { 0 };
	enum err e = confine_open(NULL, 0, &jail.fd);

	if (e)
		return e;
	e = spawn_run(&s, &result);
	if (jail.fd >= 0)
		(void)close(jail.fd);
	if (e == ERR_NOT_FOUND)
		e = err_set(e, "The text cannot be shown: %s is not installed on this server (Debian: %s).", x->argv[0], x->package);
	else if (!e && result.timed_out)
		e = err_set(ERR_INPUT, "The text cannot be shown: extracting it took too long.");
	else if (!e && result.status && raw->len == 0)
		e = err_set(ERR_INPUT, "The text cannot be shown: the file is damaged, protected, or not what its name says.");
	if (e || result.status)
		log_event(LOG_LEVEL_INFO, "extract", "program", x->argv[0], "status", log_u64((unsigned long long)result.status), "text", buf_text(&said), NULL);
	buf_release(&said);
	return e;
}

enum err extract_text(const char *name, const void *bytes, size_t len, struct buf *out, bool *cut)
{
	const struct extractor *x = extractor_of(name);
	struct buf raw = BUF_INIT(XML_LIMIT), text = BUF_INIT(XML_LIMIT);
	enum err e = x ? run(x, bytes, len, &raw) : err_set(ERR_INPUT, "no text is extracted from such a file");
	const struct buf *from = &raw;

	*cut = !e && buf_check(&raw) != ERR_OK;
	if (!e && x->xml) {
		xml_text(&text, buf_text(&raw), raw.len);
		from = &text;
	}
	if (!e && from->len > EXTRACT_LIMIT)
		*cut = true;
	/* A NUL would make a difference of it "not text". */
	for (size_t i = 0; !e && i < from->len && i < EXTRACT_LIMIT; i++)
		if (from->p[i])
			buf_char(out, from->p[i]);
	buf_release(&raw);
	buf_release(&text);
	return e;
}
