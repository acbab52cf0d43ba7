#include <string.h>

#include "repo/internal.h"

#define BINARY_PROBE 8000 /* bytes: git looks that far for a NUL */
#define TEXT_LIMIT ((size_t)64 * 1024 * 1024)

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
	if (git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION) != 0)
		return git_failed(ERR_FAILED, "cannot compare");
	options.context_lines = context;
	options.flags = GIT_DIFF_FORCE_TEXT | GIT_DIFF_INDENT_HEURISTIC;
	if (git_diff_buffers(a_len > 0 ? a : "", a_len, NULL, b_len > 0 ? b : "", b_len, NULL, &options, NULL, NULL, on_hunk, on_line,
	        &s) != 0)
		return s.e ? s.e : git_failed(ERR_FAILED, "cannot compare");
	return ERR_OK;
}
