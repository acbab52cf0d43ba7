#include <string.h>

#include "view/template.h"

#define DELIMITER_LIMIT 8

struct section {
	uint32_t op; /* the OP_SECTION or OP_INVERTED */
	size_t start; /* where it opens, for messages */
	const char *name; /* as written; compared with the closing tag */
	size_t len;
};

struct parser {
	struct view_set *set;
	struct view_names *names;
	const char *place; /* file, for messages */
	const char *src;
	size_t len;
	char open[DELIMITER_LIMIT + 1], close[DELIMITER_LIMIT + 1];
	struct op *ops; /* heap while growing */
	size_t n, cap;
	struct section stack[TEMPLATE_DEPTH_LIMIT];
	size_t depth;
	char inside; /* what of HTML the text so far has left open: '>' a tag, '"' or '\'' a value in it, 't' title or textarea */
	bool field; /* that tag is one of title or textarea */
};

/* One tag as found in the source. */
struct tag {
	size_t start, end; /* of the whole tag */
	char sigil; /* # ^ / > ! = & { or 0 for a plain value */
	const char *text; /* what is inside, trimmed */
	size_t len;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void trim(const char **s, size_t *n)
{
	while (*n && blank(**s))
		(*s)++, (*n)--;
	while (*n && blank((*s)[*n - 1]))
		(*n)--;
}

static const char *find(const char *s, size_t n, const char *what)
{
	return memmem(s, n, what, strlen(what));
}

/* Lines are counted only when something is wrong. The indentation adds no lines. */
static size_t line_of(const struct parser *p, size_t at)
{
	size_t line = 1;
	for (size_t i = 0; i < at && i < p->len; i++)
		line += p->src[i] == '\n';
	return line;
}

static enum err wrong(const struct parser *p, size_t at, const char *what, const char *s, size_t n)
{
	if (n > 80)
		n = 80;
	return err_set(ERR_INPUT, "%s:%zu: %s%s%.*s%s", p->place, line_of(p, at), what, n ? " \"" : "", (int)n, n ? s : "",
	    n ? "\"" : "");
}

static struct op *emit(struct parser *p, enum op_kind kind)
{
	p->ops = mem_grow(p->ops, &p->cap, p->n + 1, sizeof *p->ops);
	struct op *op = &p->ops[p->n++];
	*op = (struct op){ .kind = (uint8_t)kind };
	return op;
}

static bool begins(const struct parser *p, size_t at, const char *what)
{
	size_t n = strlen(what);

	return p->len - at >= n && memcmp(p->src + at, what, n) == 0;
}

/* Where a value behind this text stands. Our templates are well-formed: the tests validate the pages. */
static void follow_html(struct parser *p, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		const char c = p->src[i];
		if (p->inside == '"' || p->inside == '\'') {
			if (c == p->inside)
				p->inside = '>';
		} else if (p->inside == '>') {
			if (c == '"' || c == '\'')
				p->inside = c;
			else if (c == '>')
				p->inside = p->field ? 't' : '\0';
		} else if (c == '<' && (p->inside != 't' || begins(p, i, "</"))) {
			p->field = begins(p, i, "<textarea") || begins(p, i, "<title");
			p->inside = '>';
		}
	}
}

static void emit_text(struct parser *p, size_t from, size_t to)
{
	if (from >= to)
		return;
	follow_html(p, from, to);
	struct op *op = emit(p, OP_TEXT);
	op->text = p->src + from;
	op->n = (uint32_t)(to - from);
}

/* The dotted name of a tag, into op. */
static enum err parse_name(struct parser *p, const struct tag *t, struct op *op)
{
	uint16_t part[TEMPLATE_PARTS_LIMIT];
	size_t n = 0;

	if (t->len == 0)
		return wrong(p, t->start, "a tag without a name", NULL, 0);
	if (t->len == 1 && t->text[0] == '.')
		return ERR_OK;
	for (size_t from = 0; from <= t->len;) {
		const char *dot = memchr(t->text + from, '.', t->len - from);
		size_t to = dot ? (size_t)(dot - t->text) : t->len;
		if (n == TEMPLATE_PARTS_LIMIT)
			return wrong(p, t->start, "too many parts in the name", t->text, t->len);
		for (size_t i = from; i < to; i++)
			if (blank(t->text[i]))
				return wrong(p, t->start, "not a name:", t->text, t->len);
		part[n] = (uint16_t)view_names_find(p->names, t->text + from, to - from);
		if (!part[n])
			return wrong(p, t->start, "unknown name (view/names.def has the known ones):", t->text, t->len);
		n++;
		from = to + 1;
	}
	op->parts = (uint8_t)n;
	op->name = part[0];
	if (n > 1) {
		uint16_t *rest = arena_alloc(p->set->arena, (n - 1) * sizeof *rest);
		memcpy(rest, part + 1, (n - 1) * sizeof *rest);
		op->rest = rest;
	}
	return ERR_OK;
}

/* The index of (stem, indent) in the set; a new one is compiled later, by the loop in view_compile. */
static enum err want(struct view_set *s, const char *stem, const char *indent, uint32_t *index)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->list[i]->stem, stem) && !strcmp(s->list[i]->indent, indent)) {
			*index = (uint32_t)i;
			return ERR_OK;
		}
	if (s->n == TEMPLATE_COUNT_LIMIT)
		return err_set(ERR_INPUT, "more than %d templates", TEMPLATE_COUNT_LIMIT);
	struct template *t = arena_alloc(s->arena, sizeof *t);
	t->stem = arena_dup(s->arena, stem);
	t->indent = arena_dup(s->arena, indent);
	s->list = mem_grow(s->list, &s->cap, s->n + 1, sizeof *s->list);
	s->list[s->n] = t;
	*index = (uint32_t)s->n++;
	return ERR_OK;
}

static enum err parse_delimiters(struct parser *p, const struct tag *t)
{
	const char *a = t->text, *end = t->text + t->len, *b, *mid;

	for (mid = a; mid < end && !blank(*mid); mid++)
		;
	for (b = mid; b < end && blank(*b); b++)
		;
	size_t na = (size_t)(mid - a), nb = (size_t)(end - b);
	bool fine = na > 0 && nb > 0 && na <= DELIMITER_LIMIT && nb <= DELIMITER_LIMIT;
	for (const char *c = a; c < end; c++)
		if (*c == '=' || *c == '\0' || (c >= b && blank(*c)))
			fine = false;
	if (!fine)
		return wrong(p, t->start, "delimiters are {{=OPEN CLOSE=}}, not", a, t->len);
	memcpy(p->open, a, na);
	p->open[na] = '\0';
	memcpy(p->close, b, nb);
	p->close[nb] = '\0';
	return ERR_OK;
}

/* The next tag at or behind `at`; *found false at the end. */
static enum err next_tag(struct parser *p, size_t at, struct tag *t, bool *found)
{
	const char *start = find(p->src + at, p->len - at, p->open);
	*found = start != NULL;
	if (!start)
		return ERR_OK;
	t->start = (size_t)(start - p->src);
	const char *in = start + strlen(p->open), *end = p->src + p->len;
	char closing[DELIMITER_LIMIT + 2] = { 0 };
	size_t extra = 0;

	t->sigil = in < end && memchr("#^/>!=&{", *in, 8) ? *in : '\0';
	if (t->sigil)
		in++;
	if (t->sigil == '=' || t->sigil == '{') {
		closing[0] = t->sigil == '=' ? '=' : '}';
		extra = 1;
	}
	memcpy(closing + extra, p->close, strlen(p->close) + 1);
	const char *close = find(in, (size_t)(end - in), closing);
	if (!close)
		return wrong(p, t->start, "a tag that is not closed:", start, (size_t)(end - start) < 20 ? (size_t)(end - start) : 20);
	t->text = in;
	t->len = (size_t)(close - in);
	trim(&t->text, &t->len);
	t->end = (size_t)(close - p->src) + strlen(closing);
	return ERR_OK;
}

/* Is the tag alone on its line(s)? Then [*from, *to) is what it takes with it. */
static bool standalone(const struct parser *p, const struct tag *t, size_t *from, size_t *to)
{
	size_t a = t->start, b = t->end;

	while (a > 0 && (p->src[a - 1] == ' ' || p->src[a - 1] == '\t'))
		a--;
	if (a > 0 && p->src[a - 1] != '\n')
		return false;
	while (b < p->len && (p->src[b] == ' ' || p->src[b] == '\t'))
		b++;
	if (b < p->len && p->src[b] == '\r' && b + 1 < p->len && p->src[b + 1] == '\n')
		b++;
	if (b < p->len && p->src[b] != '\n')
		return false;
	*from = a;
	*to = b < p->len ? b + 1 : b;
	return true;
}

static enum err parse_section_end(struct parser *p, const struct tag *t)
{
	if (p->depth == 0)
		return wrong(p, t->start, "closes a section that is not open:", t->text, t->len);
	const struct section *open = &p->stack[--p->depth];
	if (open->len != t->len || memcmp(open->name, t->text, t->len) != 0)
		return err_set(ERR_INPUT, "%s:%zu: closes \"%.*s\", but \"%.*s\" of line %zu is open", p->place, line_of(p, t->start),
		    (int)(t->len < 80 ? t->len : 80), t->text, (int)(open->len < 80 ? open->len : 80), open->name,
		    line_of(p, open->start));
	p->ops[open->op].n = (uint32_t)p->n;
	emit(p, OP_END);
	return ERR_OK;
}

static enum err parse_partial(struct parser *p, const struct tag *t, const char *indent, size_t n_indent)
{
	bool fine = t->len > 0 && t->len <= VIEW_NAME_LIMIT;
	for (size_t i = 0; i < t->len; i++)
		if (blank(t->text[i]) || t->text[i] == '\0')
			fine = false;
	if (!fine)
		return wrong(p, t->start, "not the name of a partial:", t->text, t->len);
	if (n_indent > TEMPLATE_INDENT_LIMIT)
		return wrong(p, t->start, "a partial that is indented too far:", t->text, t->len);
	const char *stem = arena_dupn(p->set->arena, t->text, t->len);
	uint32_t index = 0;
	size_t before = p->set->n;
	enum err e = want(p->set, stem, arena_dupn(p->set->arena, indent, n_indent), &index);
	if (e)
		return err_prefix(e, "%s:%zu", p->place, line_of(p, t->start));
	if (p->set->n > before)
		p->set->list[index]->wanted_by = arena_printf(p->set->arena, "%s:%zu", p->place, line_of(p, t->start));
	emit(p, OP_PARTIAL)->n = index;
	return ERR_OK;
}

static enum err parse_tag(struct parser *p, const struct tag *t, const char *indent, size_t n_indent)
{
	enum err e;

	switch (t->sigil) {
	case '!':
		return ERR_OK;
	case '=':
		return parse_delimiters(p, t);
	case '>':
		return parse_partial(p, t, indent, n_indent);
	case '/':
		return parse_section_end(p, t);
	case '#':
	case '^': {
		struct op op = { .kind = t->sigil == '#' ? OP_SECTION : OP_INVERTED };
		if ((e = parse_name(p, t, &op)))
			return e;
		if (p->depth == TEMPLATE_DEPTH_LIMIT)
			return wrong(p, t->start, "sections nested too deep at", t->text, t->len);
		p->stack[p->depth++] = (struct section){ (uint32_t)p->n, t->start, t->text, t->len };
		*emit(p, OP_END) = op;
		return ERR_OK;
	}
	default: {
		struct op op = { .kind = t->sigil ? OP_RAW : p->inside ? OP_VALUE : OP_SHOWN };
		if ((e = parse_name(p, t, &op)))
			return e;
		*emit(p, OP_END) = op;
		return ERR_OK;
	}
	}
}

static enum err parse(struct parser *p)
{
	size_t at = 0;

	for (;;) {
		struct tag t = { 0 };
		bool found;
		enum err e = next_tag(p, at, &t, &found);
		if (e)
			return e;
		if (!found)
			break;
		size_t from = t.start, to = t.end;
		bool alone = t.sigil && !strchr("&{", t.sigil) && standalone(p, &t, &from, &to);
		emit_text(p, at, from);
		if ((e = parse_tag(p, &t, p->src + from, alone ? t.start - from : 0)))
			return e;
		at = to;
	}
	emit_text(p, at, p->len);
	if (p->depth) {
		const struct section *open = &p->stack[p->depth - 1];
		return wrong(p, open->start, "a section that is not closed:", open->name, open->len);
	}
	return ERR_OK;
}

/* The source with the indentation before each line, in the arena. */
static enum err indented(struct view_set *s, const struct buf *raw, const char *indent, const char **src, size_t *len)
{
	struct buf b = BUF_INIT(TEMPLATE_SIZE_LIMIT);

	for (size_t at = 0; at < raw->len;) {
		const char *nl = memchr(raw->p + at, '\n', raw->len - at);
		size_t to = nl ? (size_t)(nl - raw->p) + 1 : raw->len;
		buf_str(&b, indent);
		buf_add(&b, raw->p + at, to - at);
		at = to;
	}
	enum err e = buf_check(&b);
	if (!e) {
		char *copy = arena_alloc(s->arena, b.len + TEMPLATE_SLACK);
		if (b.len)
			memcpy(copy, b.p, b.len);
		*src = copy;
		*len = b.len;
	}
	buf_release(&b);
	return e;
}

static enum err compile(struct view_set *s, struct template *t, struct view_names *names, const struct view_source *source)
{
	struct buf raw = BUF_INIT(TEMPLATE_SIZE_LIMIT);
	struct parser p = { .set = s, .names = names, .open = "{{", .close = "}}" };
	enum err e;

	p.place = arena_printf(s->arena, "%s/%s.html", source->dir, t->stem);
	if ((e = source->open(source->arg, t->stem, &raw)) || (e = buf_check(&raw)) ||
	    (e = indented(s, &raw, t->indent, &p.src, &p.len))) {
		if (t->wanted_by)
			e = err_prefix(e == ERR_NOT_FOUND ? ERR_INPUT : e, "%s: partial \"%s\"", t->wanted_by, t->stem);
		goto out;
	}
	if ((e = parse(&p)))
		goto out;
	t->ops = arena_alloc(s->arena, (p.n + 1) * sizeof *t->ops);
	if (p.n)
		memcpy(t->ops, p.ops, p.n * sizeof *t->ops);
	t->n_ops = (uint32_t)p.n;
out:
	buf_release(&raw);
	free(p.ops);
	return e;
}

struct view_set *view_set_new(void)
{
	struct view_set *s = mem_alloc(sizeof *s);
	s->arena = arena_new();
	return s;
}

void view_free(struct view_set *s)
{
	if (!s)
		return;
	arena_free(s->arena);
	free(s->list);
	free(s);
}

enum err view_compile(struct view_set *s, const char *stem, struct view_names *names, const struct view_source *source)
{
	uint32_t index;
	enum err e = want(s, stem, "", &index);

	/* Compiling one may want others, which are put at the end of the list. */
	for (; !e && s->done < s->n; s->done++)
		e = compile(s, s->list[s->done], names, source);
	return e;
}

const struct template *view_find(const struct view_set *s, const char *stem)
{
	for (size_t i = 0; i < s->n; i++)
		if (!*s->list[i]->indent && !strcmp(s->list[i]->stem, stem))
			return s->list[i];
	return NULL;
}
