#include "core/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define MEMBERS 11 /* of a "*" line; a "+" line has three fewer */

/* --- one line -------------------------------------------------------------------------------------------------------- */

void manifest_encode(const struct manifest_line *l, struct buf *out)
{
	if (l->raw && l->noted && !l->notes) {
		buf_add(out, l->text, l->len);
		buf_char(out, '\n');
		return;
	}
	if (!l->gone) {
		buf_str(out, l->noted ? "*\t" : "+\t");
		if (l->noted)
			buf_fmt(out, "%lld\t%lld\t%llu\t", (long long)l->mtime, (long long)l->ctime, (unsigned long long)l->inode);
		if (l->raw) {
			buf_add(out, l->text + l->tail, l->len - l->tail);
			buf_char(out, '\n');
			return;
		}
		buf_hex(out, l->sha256.b, sizeof(l->sha256.b));
		buf_char(out, '\t');
		buf_u64(out, l->size);
		buf_str(out, l->exec ? "\tx\t" : "\t-\t");
		buf_u64(out, (uint64_t)l->at);
		buf_char(out, '\t');
		buf_u64(out, l->seq);
		buf_char(out, '\t');
		buf_str(out, l->signer);
	} else {
		buf_char(out, '-');
	}
	buf_char(out, '\t');
	buf_add(out, l->path.s, l->path.len);
	buf_char(out, '\n');
}

/* Digits as buf_u64 writes them: no sign, no zero in front. */
static bool number(const char *text, uint64_t most, uint64_t *out)
{
	uint64_t v = 0;

	if (!*text || (*text == '0' && text[1]))
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (digit > 9 || v > (most - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*out = v;
	return true;
}

static bool signer_ok(const char *s)
{
	const char *p = s;

	for (; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return p != s && p - s < 512;
}

/* The members of a line behind its kind. How many there may be says the kind, so that a path with a tab is none. */
static size_t split(char *line, char **m, size_t most)
{
	size_t n = 0;

	for (char *p = line; p && n < most;) {
		m[n++] = p;
		p = n < most ? strchr(p, '\t') : NULL;
		if (p)
			*p++ = '\0';
	}
	return n;
}

enum err manifest_decode(struct manifest_line *out, char *line)
{
	const size_t want = *line == '-' ? 2 : *line == '+' ? MEMBERS - 3 : MEMBERS;
	char *members[MEMBERS], **m = members;
	uint64_t at, mtime, ctime;
	bool ok;

	*out = (struct manifest_line){ .signer = "" };
	ok = split(line, members, want) == want && members[0][0] && !members[0][1];
	if (ok && *line == '-') {
		out->gone = true;
		return path_check(&out->path, m[1]);
	}
	out->noted = *line == '*';
	ok = ok && (*line == '+' || *line == '*');
	if (ok && out->noted) {
		ok = number(m[1], INT64_MAX, &mtime) && number(m[2], INT64_MAX, &ctime) && number(m[3], UINT64_MAX, &out->inode);
		out->mtime = ok ? (int64_t)mtime : 0;
		out->ctime = ok ? (int64_t)ctime : 0;
		m += 3;
	}
	if (!ok || !hex_parse(out->sha256.b, sizeof(out->sha256.b), m[1]) || !number(m[2], INT64_MAX, &out->size) ||
	    (strcmp(m[3], "x") && strcmp(m[3], "-")) || !number(m[4], INT64_MAX, &at) || !number(m[5], INT64_MAX, &out->seq) || !signer_ok(m[6]))
		return err_set(ERR_INPUT, "A list of files has a line that is none.");
	out->exec = m[3][0] == 'x';
	out->at = (int64_t)at;
	out->signer = m[6];
	return path_check(&out->path, m[7]);
}

/* --- a line read raw ---------------------------------------------------------------------------------------------------- */

#define DIGITS (SHA256_HEX - 1)

static enum err no_line(void)
{
	return err_set(ERR_INPUT, "A list of files has a line that is none.");
}

/* A number and the tab behind it. */
static bool take_number(const char **at, const char *end, uint64_t *out)
{
	const char *p = *at;
	uint64_t v = 0;

	for (; p < end && *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (uint64_t)(*p - '0');
	if (p == *at || p - *at > 20 || p == end || *p != '\t')
		return false;
	*at = p + 1;
	*out = v;
	return true;
}

/* line is terminated, n bytes, and stays as it is. */
static enum err raw_line(struct manifest_line *out, const char *line, size_t n)
{
	const char *const end = line + n, *path = memrchr(line, '\t', n), *at = line + 2;
	bool ok = path && n > 2 && line[1] == '\t' && path + 1 < end && path[1] == '/' && end - path <= PATH_LIMIT + 1;

	*out = (struct manifest_line){ .raw = true, .signer = "", .text = line, .len = n };
	if (ok) {
		out->gone = *line == '-';
		out->noted = *line == '*';
		out->path = (struct path){ path + 1, (size_t)(end - path - 1) };
	}
	if (ok && out->gone)
		ok = path == line + 1;
	else if (ok && (out->noted || *line == '+')) {
		for (int i = 0; out->noted && i < 3; i++) {
			at = memchr(at, '\t', (size_t)(end - at));
			if (!at)
				return no_line();
			at++;
		}
		out->tail = (size_t)(at - line);
		at += DIGITS + 1;
		ok = ok && at < path && at[-1] == '\t' && take_number(&at, path, &out->size) && at < path && (*at == 'x' || *at == '-');
		out->exec = ok && *at == 'x';
	} else
		ok = false;
	return ok ? ERR_OK : no_line();
}

enum err manifest_notes(struct manifest_line *l)
{
	const char *at = l->text + 2, *const end = l->text + l->tail;
	uint64_t mtime, ctime;

	if (!l->raw || !l->noted)
		return ERR_OK;
	if (!take_number(&at, end, &mtime) || !take_number(&at, end, &ctime) || !take_number(&at, end, &l->inode) || at != end)
		return no_line();
	l->mtime = (int64_t)mtime;
	l->ctime = (int64_t)ctime;
	l->notes = true;
	return ERR_OK;
}

enum err manifest_full(struct manifest_full *out, const struct manifest_line *l)
{
	out->line = *l;
	if (!l->raw)
		return ERR_OK;
	memcpy(out->text, l->text, l->len);
	out->text[l->len] = '\0';
	return manifest_decode(&out->line, out->text);
}

static const char *hex_of_line(const struct manifest_line *l, char out[SHA256_HEX])
{
	if (l->raw)
		return l->text + l->tail;
	hex_of(out, l->sha256.b, sizeof(l->sha256.b));
	return out;
}

bool manifest_same_bytes(const struct manifest_line *x, const struct manifest_line *y)
{
	char a[SHA256_HEX], b[SHA256_HEX];

	return !memcmp(hex_of_line(x, a), hex_of_line(y, b), DIGITS);
}

bool manifest_same_text(const struct manifest_line *x, const struct manifest_line *y)
{
	return x->raw && y->raw && x->gone == y->gone && x->len - x->tail == y->len - y->tail && !memcmp(x->text + x->tail, y->text + y->tail, x->len - x->tail);
}

/* --- the plain list ------------------------------------------------------------------------------------------------------ */

void manifest_plain(const struct manifest_line *l, struct buf *out)
{
	const char *name = l->path.s + 1;
	const bool escaped = memchr(name, '\\', l->path.len - 1) != NULL;
	char hex[SHA256_HEX];

	if (escaped)
		buf_char(out, '\\');
	buf_add(out, hex_of_line(l, hex), DIGITS);
	buf_str(out, "  ");
	/* To sha256sum a lone "-" is its standard input. */
	if (!strcmp(name, "-"))
		buf_str(out, "./");
	if (!escaped) {
		buf_add(out, name, l->path.len - 1);
	} else {
		for (; *name; name++) {
			if (*name == '\\')
				buf_char(out, '\\');
			buf_char(out, *name);
		}
	}
	buf_char(out, '\n');
}

/* --- lines from a file -------------------------------------------------------------------------------------------------- */

struct manifest_file {
	struct lines *lines;
	bool raw;
	char last[PATH_LIMIT + 1];
};

static enum err file_next(void *arg, struct manifest_line *out, bool *got)
{
	struct manifest_file *f = arg;
	char *line;
	size_t n;
	enum err e = lines_next(f->lines, &line, &n);

	*got = !e && line;
	if (!*got)
		return e;
	e = f->raw ? raw_line(out, line, n) : manifest_decode(out, line);
	if (!e && strcmp(f->last, out->path.s) >= 0)
		e = err_set(ERR_INPUT, "A list of files is not sorted, or says %s twice.", out->path.s);
	if (!e)
		memcpy(f->last, out->path.s, out->path.len + 1);
	*got = !e;
	return e;
}

struct manifest_file *manifest_file_new(int fd, bool raw, struct manifest_source *out)
{
	struct manifest_file *f = mem_alloc(sizeof(*f));

	f->raw = raw;
	f->lines = lines_new(fd, LINES_LONGEST);
	*out = (struct manifest_source){ file_next, f };
	return f;
}

void manifest_file_free(struct manifest_file *f)
{
	if (f)
		lines_free(f->lines);
	free(f);
}

/* --- two at a time -------------------------------------------------------------------------------------------------------- */

static int order(bool has_x, bool has_y, const struct manifest_line *x, const struct manifest_line *y)
{
	return !has_y ? -1 : !has_x ? 1 : path_compare(x->path, y->path);
}

enum err manifest_pairs(const struct manifest_source *x, const struct manifest_source *y, manifest_pair_fn *fn, void *arg)
{
	struct manifest_line a, b;
	bool has_a, has_b;
	enum err e = x->next(x->arg, &a, &has_a);

	if (!e)
		e = y->next(y->arg, &b, &has_b);
	while (!e && (has_a || has_b)) {
		int c = order(has_a, has_b, &a, &b);

		e = fn(arg, c <= 0 ? &a : NULL, c >= 0 ? &b : NULL);
		if (!e && c <= 0)
			e = x->next(x->arg, &a, &has_a);
		if (!e && c >= 0)
			e = y->next(y->arg, &b, &has_b);
	}
	return e;
}

/*
 * A line of older is read into *out, since nearly every one is handed out as it is: a long list with a short difference on top.
 * What was handed out last is where its source has it: a source is asked for the next by the next call only.
 */
static enum err merge_next(void *arg, struct manifest_line *out, bool *got)
{
	struct manifest_merge *m = arg;
	enum err e = ERR_OK;

	for (;;) {
		bool has_out = m->has_a;
		int c;

		if (!m->begun || m->b_out)
			e = m->newer.next(m->newer.arg, &m->b, &m->has_b);
		m->begun = true;
		m->b_out = false;
		if (m->has_a)
			*out = m->a;
		else if (!e && !m->a_ended) {
			e = m->older.next(m->older.arg, out, &has_out);
			m->a_ended = !has_out;
		}
		m->has_a = false;
		*got = !e && (has_out || m->has_b);
		if (!*got)
			return e;
		c = order(has_out, m->has_b, out, &m->b);
		if (c < 0)
			return ERR_OK;
		if (has_out && c > 0) {
			m->a = *out;
			m->has_a = true;
		}
		m->b_out = true;
		if (!m->b.gone || m->keep_gone) {
			*out = m->b;
			return ERR_OK;
		}
	}
}

void manifest_merge_init(struct manifest_merge *m, const struct manifest_source *older, const struct manifest_source *newer, bool keep_gone,
    struct manifest_source *out)
{
	*m = (struct manifest_merge){ .older = *older, .newer = *newer, .keep_gone = keep_gone };
	*out = (struct manifest_source){ merge_next, m };
}

/* --- sums ------------------------------------------------------------------------------------------------------------------ */

#define PIECE 65536

void manifest_sum_begin(struct manifest_summing *s)
{
	*s = (struct manifest_summing){ .files = sha256_stream_new(), .manifest = sha256_stream_new(),
		.files_text = BUF_INIT(2 * PIECE), .manifest_text = BUF_INIT(2 * PIECE) };
}

static void hash_piece(struct sha256_stream *s, struct buf *text)
{
	if (text->len)
		sha256_stream_add(s, text->p, text->len);
	buf_reset(text);
}

void manifest_sum_add(struct manifest_summing *s, const struct manifest_line *l)
{
	s->sums.count++;
	s->sums.size += l->size;
	manifest_plain(l, &s->files_text);
	manifest_encode(l, &s->manifest_text);
	if (s->files_text.len >= PIECE)
		hash_piece(s->files, &s->files_text);
	if (s->manifest_text.len >= PIECE)
		hash_piece(s->manifest, &s->manifest_text);
}

void manifest_sum_end(struct manifest_summing *s, struct manifest_sums *out)
{
	hash_piece(s->files, &s->files_text);
	hash_piece(s->manifest, &s->manifest_text);
	sha256_stream_end_free(s->files, &s->sums.files);
	sha256_stream_end_free(s->manifest, &s->sums.manifest);
	buf_release(&s->files_text);
	buf_release(&s->manifest_text);
	if (out)
		*out = s->sums;
}

enum err manifest_sum(const struct manifest_source *src, struct manifest_sums *out)
{
	struct manifest_summing s;
	struct manifest_line l;
	bool got;
	enum err e;

	manifest_sum_begin(&s);
	while (!(e = src->next(src->arg, &l, &got)) && got)
		manifest_sum_add(&s, &l);
	manifest_sum_end(&s, out);
	return e;
}
