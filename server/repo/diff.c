#include <string.h>

#include "repo/internal.h"

#define BINARY_PROBE 8000 /* bytes: git looks that far for a NUL */
#define TEXT_LIMIT ((size_t)64 * 1024 * 1024)
#define LINES_LIMIT 200000 /* of both sides: the search for the best difference takes about a second for so many */

struct sink {
	enum err (*fn)(void *arg, const struct diff_line *line);
	void *arg;
	enum err e;
};

static bool is_binary(const char *p, size_t n)
{
	return n > TEXT_LIMIT || (n > 0 && memchr(p, '\0', n < BINARY_PROBE ? n : BINARY_PROBE));
}

static int emit(struct sink *s, const struct diff_line *line)
{
	s->e = s->fn(s->arg, line);
	return s->e ? GIT_EUSER : 0;
}

static size_t without_newline(const char *p, size_t n)
{
	return n > 0 && p[n - 1] == '\n' ? n - 1 : n;
}

static int on_hunk(const git_diff_delta *delta, const git_diff_hunk *hunk, void *payload)
{
	struct diff_line line = { .kind = DIFF_HUNK, .old_no = hunk->old_start, .new_no = hunk->new_start,
		.text = hunk->header, .len = without_newline(hunk->header, hunk->header_len) };

	(void)delta;
	return emit(payload, &line);
}

static int on_line(const git_diff_delta *delta, const git_diff_hunk *hunk, const git_diff_line *l, void *payload)
{
	struct diff_line line = { .old_no = l->old_lineno > 0 ? l->old_lineno : 0, .new_no = l->new_lineno > 0 ? l->new_lineno : 0,
		.text = l->content, .len = without_newline(l->content, l->content_len) };

	(void)delta;
	(void)hunk;
	switch (l->origin) {
	case GIT_DIFF_LINE_CONTEXT:
		line.kind = DIFF_CONTEXT;
		break;
	case GIT_DIFF_LINE_ADDITION:
		line.kind = DIFF_ADDED;
		break;
	case GIT_DIFF_LINE_DELETION:
		line.kind = DIFF_REMOVED;
		break;
	case GIT_DIFF_LINE_CONTEXT_EOFNL:
	case GIT_DIFF_LINE_ADD_EOFNL:
	case GIT_DIFF_LINE_DEL_EOFNL:
		line = (struct diff_line){ .kind = DIFF_NO_NEWLINE, .text = "", .len = 0 };
		break;
	default:
		return 0;
	}
	return emit(payload, &line);
}

/* --- more lines than can be searched ------------------------------------------------------------------------------ */

static size_t count_lines(const char *p, size_t n)
{
	size_t lines = 0;

	if (n == 0)
		return 0; /* p may be NULL, to which nothing can be added */
	for (const char *end = p + n; p < end; lines++) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		p = newline ? newline + 1 : end;
	}
	return lines;
}

/* One side of the coarse difference: where its own lines begin and end. */
struct side {
	const char *p;
	size_t n, from, to;
};

static size_t line_before(const struct side *s, size_t at)
{
	do
		at--;
	while (at > 0 && s->p[at - 1] != '\n');
	return at;
}

static size_t line_after(const struct side *s, size_t at)
{
	const char *newline = memchr(s->p + at, '\n', s->n - at);
	return newline ? (size_t)(newline - s->p) + 1 : s->n;
}

/* Lines from..to of a side. */
static enum err emit_lines(struct sink *s, const struct side *side, size_t from, size_t to, enum diff_kind kind, int *old_no, int *new_no)
{
	enum err e = ERR_OK;

	while (from < to && !e) {
		size_t next = line_after(side, from);
		struct diff_line line = { .kind = kind, .text = side->p + from, .len = without_newline(side->p + from, next - from) };

		if (kind != DIFF_ADDED)
			line.old_no = (*old_no)++;
		if (kind != DIFF_REMOVED)
			line.new_no = (*new_no)++;
		e = s->fn(s->arg, &line);
		if (!e && next == side->n && side->p[side->n - 1] != '\n')
			e = s->fn(s->arg, &(struct diff_line){ .kind = DIFF_NO_NEWLINE, .text = "" });
		from = next;
	}
	return e;
}

/*
 * Everything between the first and the last line that differ, as one hunk: right, though not the shortest. What people
 * put into staging must not decide how long a worker is busy.
 */
static enum err diff_coarse(struct side *a, struct side *b, unsigned context, struct sink *s)
{
	const size_t shorter = a->n < b->n ? a->n : b->n;
	size_t same = 0, before, after_a, after_b;
	int old_no, new_no;
	char header[96];
	unsigned lines_before = 0, lines_after = 0;
	enum err e;

	while (same < shorter && a->p[same] == b->p[same])
		same++;
	if (same == a->n && same == b->n)
		return ERR_OK;
	/* back to the beginning of the line */
	while (same > 0 && a->p[same - 1] != '\n')
		same--;
	a->from = b->from = same;
	a->to = a->n;
	b->to = b->n;
	while (a->to > same && b->to > same && a->p[a->to - 1] == b->p[b->to - 1]) {
		a->to--;
		b->to--;
	}
	/* forward to the end of the line, on both sides if one of them stands within it */
	while ((a->to > same && a->p[a->to - 1] != '\n') || (b->to > same && b->p[b->to - 1] != '\n')) {
		if (a->to == a->n || b->to == b->n) {
			a->to = a->n;
			b->to = b->n;
			break;
		}
		a->to++;
		b->to++;
	}
	for (before = same; lines_before < context && before > 0; lines_before++)
		before = line_before(a, before);
	for (after_a = a->to, after_b = b->to; lines_after < context && after_a < a->n; lines_after++) {
		after_a = line_after(a, after_a);
		after_b = line_after(b, after_b);
	}
	old_no = new_no = (int)(count_lines(a->p, before) + 1);
	snprintf(header, sizeof(header), "@@ -%d,%zu +%d,%zu @@", old_no,
	    count_lines(a->p + before, a->to - before) + lines_after, new_no, count_lines(b->p + before, b->to - before) + lines_after);
	e = s->fn(s->arg, &(struct diff_line){ .kind = DIFF_HUNK, .old_no = old_no, .new_no = new_no, .text = header, .len = strlen(header) });
	if (!e)
		e = emit_lines(s, a, before, same, DIFF_CONTEXT, &old_no, &new_no);
	if (!e)
		e = emit_lines(s, a, same, a->to, DIFF_REMOVED, &old_no, &new_no);
	if (!e)
		e = emit_lines(s, b, same, b->to, DIFF_ADDED, &old_no, &new_no);
	if (!e)
		e = emit_lines(s, b, b->to, after_b, DIFF_CONTEXT, &old_no, &new_no);
	return e;
}

enum err repo_diff(const char *a, size_t a_len, const char *b, size_t b_len, unsigned context,
    enum err (*fn)(void *arg, const struct diff_line *line), void *arg, bool *binary)
{
	git_diff_options options;
	struct sink s = { .fn = fn, .arg = arg };
	enum err e = git_ready();

	if (e)
		return e;
	*binary = is_binary(a, a_len) || is_binary(b, b_len);
	if (*binary)
		return ERR_OK;
	if (count_lines(a, a_len) + count_lines(b, b_len) > LINES_LIMIT)
		return diff_coarse(&(struct side){ .p = a, .n = a_len }, &(struct side){ .p = b, .n = b_len }, context, &s);
	if (git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION) != 0)
		return git_failed(ERR_FAILED, "cannot compare");
	options.context_lines = context;
	options.flags = GIT_DIFF_FORCE_TEXT | GIT_DIFF_INDENT_HEURISTIC;
	if (git_diff_buffers(a_len > 0 ? a : "", a_len, NULL, b_len > 0 ? b : "", b_len, NULL, &options, NULL, NULL, on_hunk, on_line,
	        &s) != 0)
		return s.e ? s.e : git_failed(ERR_FAILED, "cannot compare");
	return ERR_OK;
}
