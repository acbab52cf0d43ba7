#include "web/pages/marked.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "repo/repo.h"

#define LINE_SHOWN 2000 /* bytes of one line */

static void escape(struct buf *out, const char *s, size_t n)
{
	struct buf clean = BUF_INIT(8 * (n + 8));

	utf8_visible(&clean, s, n, true);
	char text[UTF8_UNSEEN_TEXT];
	uint32_t cp;
	for (size_t i = 0; i < clean.len; i++) {
		size_t len = utf8_unseen(clean.p + i, clean.len - i, &cp);
		if (len) {
			/* What is signed is seen, also where it would hide or reorder other text. */
			utf8_unseen_text(text, cp);
			buf_fmt(out, "<b class=\"unseen\">%s</b>", text);
			i += len - 1;
			continue;
		}
		switch (clean.p[i]) {
		case '&': buf_str(out, "&amp;"); break;
		case '<': buf_str(out, "&lt;"); break;
		case '>': buf_str(out, "&gt;"); break;
		case '"': buf_str(out, "&quot;"); break;
		case '\'': buf_str(out, "&#39;"); break;
		default: buf_char(out, clean.p[i]);
		}
	}
	buf_release(&clean);
}

static size_t shown_len(size_t n)
{
	return n > LINE_SHOWN ? LINE_SHOWN : n;
}

static bool word_byte(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* How much of two lines is the same at either end, in whole words. */
static void same_ends(const char *a, size_t an, const char *b, size_t bn, size_t *head, size_t *tail)
{
	const size_t most = an < bn ? an : bn;
	size_t h = 0, t = 0;

	while (h < most && a[h] == b[h])
		h++;
	while (h > 0 && word_byte(a[h - 1]) && ((h < an && word_byte(a[h])) || (h < bn && word_byte(b[h]))))
		h--;
	while (t < most - h && a[an - 1 - t] == b[bn - 1 - t])
		t++;
	while (t > 0 && word_byte(a[an - t]) && ((an - t > h && word_byte(a[an - t - 1])) || (bn - t > h && word_byte(b[bn - t - 1]))))
		t--;
	*head = h;
	*tail = t;
}

/* One row. tag: NULL, or the element around the part that changed. */
static void row(struct buf *out, const char *class, int old_no, int new_no, const char *s, size_t n, size_t head, size_t tail, const char *tag)
{
	const size_t shown = shown_len(n);

	buf_fmt(out, "<tr class=\"%s\"><td class=\"no\">", class);
	if (old_no)
		buf_fmt(out, "%d", old_no);
	buf_str(out, "</td><td class=\"no\">");
	if (new_no)
		buf_fmt(out, "%d", new_no);
	buf_str(out, "</td><td class=\"line\">");
	if (*class == 'd' || *class == 'a')
		buf_fmt(out, "<span class=\"vh\">%s: </span>", *class == 'd' ? "removed" : "added");
	if (!tag || n != shown || head + tail >= n) {
		escape(out, s, shown);
	} else {
		escape(out, s, head);
		buf_fmt(out, "<%s>", tag);
		escape(out, s + head, n - head - tail);
		buf_fmt(out, "</%s>", tag);
		escape(out, s + n - tail, tail);
	}
	if (n != shown)
		buf_fmt(out, "<span class=\"quiet\"> … %zu bytes more</span>", n - shown);
	buf_str(out, "</td></tr>\n");
}

/* Removed lines wait until the added ones behind them are known, so that pairs can show their words. */
struct source {
	struct buf *out;
	struct marked_counts *n;
	struct diff_line *removed, *added;
	size_t n_removed, n_added, cap_removed, cap_added;
	bool no_newline;
};

static void flush(struct source *s)
{
	const bool pairs = s->n_removed == s->n_added;
	size_t head = 0, tail = 0;

	for (size_t i = 0; i < s->n_removed; i++) {
		const struct diff_line *l = &s->removed[i];

		if (pairs)
			same_ends(l->text, l->len, s->added[i].text, s->added[i].len, &head, &tail);
		row(s->out, "del", l->old_no, 0, l->text, l->len, head, tail, pairs ? "del" : NULL);
	}
	for (size_t i = 0; i < s->n_added; i++) {
		const struct diff_line *l = &s->added[i];

		if (pairs)
			same_ends(s->removed[i].text, s->removed[i].len, l->text, l->len, &head, &tail);
		row(s->out, "add", 0, l->new_no, l->text, l->len, head, tail, pairs ? "ins" : NULL);
	}
	s->n_removed = s->n_added = 0;
}

static enum err source_line(void *arg, const struct diff_line *l)
{
	struct source *s = arg;

	if (s->out->len > MARKED_LIMIT) {
		s->n->cut = true;
		return ERR_OK;
	}
	switch (l->kind) {
	case DIFF_REMOVED:
		if (s->n_added)
			flush(s);
		if (s->n_removed == s->cap_removed)
			s->removed = mem_grow(s->removed, &s->cap_removed, s->n_removed + 1, sizeof *s->removed);
		s->removed[s->n_removed++] = *l;
		s->n->removed++;
		break;
	case DIFF_ADDED:
		if (s->n_added == s->cap_added)
			s->added = mem_grow(s->added, &s->cap_added, s->n_added + 1, sizeof *s->added);
		s->added[s->n_added++] = *l;
		s->n->added++;
		break;
	case DIFF_CONTEXT:
		flush(s);
		row(s->out, "ctx", l->old_no, l->new_no, l->text, l->len, 0, 0, NULL);
		break;
	case DIFF_NO_NEWLINE: /* stands between the lines of a pair: said once, at the end */
		s->no_newline = true;
		break;
	case DIFF_HUNK:
		flush(s);
		row(s->out, "hunk", 0, 0, l->text, l->len, 0, 0, NULL);
		break;
	}
	return ERR_OK;
}

enum err marked_source(const char *a, size_t a_len, const char *b, size_t b_len, struct buf *html, struct marked_counts *n)
{
	struct source s = { .out = html, .n = n };
	enum err e;

	memset(n, 0, sizeof *n);
	e = repo_diff(a, a_len, b, b_len, 3, source_line, &s, &n->binary);
	if (!e) {
		static const char last[] = "The last line of one side has no newline at its end.";

		flush(&s);
		if (s.no_newline)
			row(html, "hunk", 0, 0, last, sizeof last - 1, 0, 0, NULL);
	}
	free(s.removed);
	free(s.added);
	return e;
}

/* --- visible text ------------------------------------------------------------------------------------------------------ */

static size_t skip_element(const char *s, size_t i, size_t n, const char *name)
{
	const size_t len = strlen(name);

	for (; i + len + 2 < n; i++)
		if (s[i] == '<' && s[i + 1] == '/' && strncasecmp(s + i + 2, name, len) == 0)
			break;
	return i;
}

/*
 * The words that a reader sees, one a line. Tags are dropped, script and style with their content. This is no parser of
 * HTML and decides nothing: it serves people who compare two versions; the source difference beside it shows all.
 */
static void visible_words(const char *s, size_t n, struct buf *out)
{
	bool in_word = false;

	for (size_t i = 0; i < n; i++) {
		if (s[i] == '<' && i + 1 < n && (s[i + 1] == '/' || s[i + 1] == '!' || s[i + 1] == '?' || word_byte(s[i + 1]))) {
			size_t end;

			if (i + 7 < n && strncasecmp(s + i + 1, "script", 6) == 0)
				i = skip_element(s, i + 7, n, "script");
			else if (i + 6 < n && strncasecmp(s + i + 1, "style", 5) == 0)
				i = skip_element(s, i + 6, n, "style");
			else if (i + 3 < n && memcmp(s + i, "<!--", 4) == 0) {
				const char *close = memmem(s + i, n - i, "-->", 3);

				i = close ? (size_t)(close - s) : n;
			}
			for (end = i; end < n && s[end] != '>'; end++)
				;
			i = end;
			if (in_word)
				buf_char(out, '\n');
			in_word = false;
		} else if (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r' || s[i] == '\f') {
			if (in_word)
				buf_char(out, '\n');
			in_word = false;
		} else {
			buf_char(out, s[i]);
			in_word = true;
		}
	}
	if (in_word)
		buf_char(out, '\n');
}

struct words {
	struct buf *out;
	struct marked_counts *n;
	enum diff_kind open; /* the kind of the element that is open; DIFF_CONTEXT: none */
};

static void close_mark(struct words *w)
{
	if (w->open == DIFF_ADDED)
		buf_str(w->out, "</ins> ");
	else if (w->open == DIFF_REMOVED)
		buf_str(w->out, "</del> ");
	w->open = DIFF_CONTEXT;
}

static enum err word_line(void *arg, const struct diff_line *l)
{
	struct words *w = arg;

	if (w->out->len > MARKED_LIMIT) {
		w->n->cut = true;
		return ERR_OK;
	}
	if (l->kind != w->open || l->kind == DIFF_HUNK)
		close_mark(w);
	if (l->kind == DIFF_NO_NEWLINE)
		return ERR_OK;
	if (l->kind == DIFF_HUNK) {
		buf_str(w->out, w->out->len ? "<span class=\"quiet\"> … </span>" : "");
		return ERR_OK;
	}
	if (l->kind == DIFF_ADDED || l->kind == DIFF_REMOVED) {
		const bool added = l->kind == DIFF_ADDED;

		if (w->open != l->kind)
			buf_fmt(w->out, "<%s><span class=\"vh\">%s: </span>", added ? "ins" : "del", added ? "added" : "removed");
		w->open = l->kind;
		w->n->added += added;
		w->n->removed += !added;
	}
	escape(w->out, l->text, shown_len(l->len));
	buf_char(w->out, ' ');
	return ERR_OK;
}

enum err marked_text(const char *a, size_t a_len, const char *b, size_t b_len, struct buf *html, struct marked_counts *n)
{
	struct buf wa = BUF_INIT(2 * a_len + 16), wb = BUF_INIT(2 * b_len + 16);
	struct words w = { .out = html, .n = n, .open = DIFF_CONTEXT };
	enum err e;

	memset(n, 0, sizeof *n);
	visible_words(a, a_len, &wa);
	visible_words(b, b_len, &wb);
	e = repo_diff(buf_text(&wa), wa.len, buf_text(&wb), wb.len, 12, word_line, &w, &n->binary);
	if (!e)
		close_mark(&w);
	buf_release(&wa);
	buf_release(&wb);
	return e;
}

void marked_plain(const char *s, size_t len, struct buf *html)
{
	int no = 0;

	buf_str(html, "<table class=\"diff\"><tbody>\n");
	for (size_t i = 0; i < len && html->len < MARKED_LIMIT;) {
		const char *nl = memchr(s + i, '\n', len - i);
		const size_t n = nl ? (size_t)(nl - (s + i)) : len - i;

		no++;
		row(html, "ctx", 0, no, s + i, n, 0, 0, NULL);
		i += n + 1;
	}
	buf_str(html, "</tbody></table>");
}
