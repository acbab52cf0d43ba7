#include <string.h>

#include "base/utf8.h"
#include "view/model.h"
#include "view/template.h"

#define NESTING_LIMIT 200 /* partials and sections while rendering: recursion in data ends here */

/* The context stack, on the C stack. */
struct frame {
	const struct value *v;
	const struct frame *up;
	uint32_t *finger; /* where the last name of a map was found */
};

struct render {
	const struct view_set *set;
	struct buf *out;
	unsigned depth;
};

static inline bool fits(const struct buf *b, size_t n)
{
	return !b->over && b->cap - b->len > n && b->limit - b->len >= n;
}

/* As buf_add, without a call where the bytes fit. The terminator is written once, at the end of view_render. */
static inline void put(struct buf *b, const char *p, size_t n)
{
	if (fits(b, n)) {
		memcpy(b->p + b->len, p, n);
		b->len += n;
	} else {
		buf_add(b, p, n);
	}
}

typedef unsigned char v16 __attribute__((vector_size(16)));

/* A literal of a template: most are short, and there is TEMPLATE_SLACK behind each, so whole vectors may be copied. */
static inline void put_literal(struct buf *b, const char *p, size_t n)
{
	if (n > 128 || !fits(b, n + sizeof(v16))) {
		put(b, p, n);
		return;
	}
	char *to = b->p + b->len;
	for (size_t i = 0; i < n; i += sizeof(v16))
		memcpy(to + i, p + i, sizeof(v16));
	b->len += n;
}

static const unsigned char SPECIAL[256] = { ['&'] = 1, ['<'] = 2, ['>'] = 3, ['"'] = 4, ['\''] = 5 };
static const struct {
	const char *s;
	size_t n;
} ENTITY[] = { { "", 0 }, { "&amp;", 5 }, { "&lt;", 4 }, { "&gt;", 4 }, { "&quot;", 6 }, { "&#39;", 5 } };

/* Copy until the first byte that needs an escape; answers how many that were. to has room for n. */
static inline size_t copy_clean(char *to, const char *s, size_t n)
{
	size_t i = 0;

	for (; i + sizeof(v16) <= n; i += sizeof(v16)) {
		v16 v;
		uint64_t hit[2];
		memcpy(&v, s + i, sizeof v);
		v16 m = (v16)((v == '&') | (v == '<') | (v == '>') | (v == '"') | (v == '\''));
		memcpy(hit, &m, sizeof hit);
		if (hit[0] | hit[1])
			break;
		memcpy(to + i, &v, sizeof v);
	}
	for (; i < n && !SPECIAL[(unsigned char)s[i]]; i++)
		to[i] = s[i];
	return i;
}

static void put_escaped(struct buf *b, const char *s, size_t n)
{
	while (n) {
		if (!fits(b, n)) { /* make room, or find that there is none */
			size_t len = b->len;
			buf_add(b, s, n);
			if (b->over)
				return;
			b->len = len;
		}
		size_t run = copy_clean(b->p + b->len, s, n);
		b->len += run;
		if (run == n)
			return;
		unsigned which = SPECIAL[(unsigned char)s[run]];
		put(b, ENTITY[which].s, ENTITY[which].n);
		s += run + 1;
		n -= run + 1;
	}
}

/* What cannot be seen is told: a name must not look like another one, nor like text in another order. */
static void put_shown(struct buf *b, const char *s, size_t n)
{
	char text[UTF8_UNSEEN_TEXT];
	size_t from = 0, len;
	uint32_t cp;

	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)s[i] < 0xc2 || !(len = utf8_unseen(s + i, n - i, &cp)))
			continue;
		put_escaped(b, s + from, i - from);
		utf8_unseen_text(text, cp);
		put(b, text, strlen(text));
		i += len - 1;
		from = i + 1;
	}
	put_escaped(b, s + from, n - from);
}

static void put_int(struct buf *b, int64_t value)
{
	char text[24];
	size_t at = sizeof text;
	uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	do
		text[--at] = (char)('0' + left % 10);
	while (left /= 10);
	if (value < 0)
		text[--at] = '-';
	put(b, text + at, sizeof text - at);
}

static void put_value(struct render *r, const struct value *v, bool raw)
{
	struct buf *b = r->out;

	switch (v->kind) {
	case VALUE_HTML:
	case VALUE_TEXT:
		if (r->set->plain || (raw && v->kind == VALUE_HTML))
			put(b, v->text, v->len);
		else
			put_escaped(b, v->text, v->len);
		break;
	case VALUE_INT:
		put_int(b, v->number);
		break;
	default: /* a truth, a map or a list has no text */
		break;
	}
}

static const struct value *map_get(const struct view_map *m, uint16_t name, uint32_t *finger)
{
	const struct value *v = m->of.v;
	uint32_t n = m->of.n, from = *finger;

	for (uint32_t i = from; i < n; i++)
		if (v[i].name == name) {
			*finger = i + 1;
			return &v[i];
		}
	for (uint32_t i = 0; i < from; i++)
		if (v[i].name == name) {
			*finger = i + 1;
			return &v[i];
		}
	return NULL;
}

/* NULL: not there. The first part is looked for in all frames, the others below what was found. */
static const struct value *resolve(const struct op *op, const struct frame *f)
{
	const struct value *v = NULL;

	if (op->parts == 0)
		return f->v;
	for (; f && !v; f = f->up)
		if (f->v->kind == VALUE_MAP)
			v = map_get(f->v->map, op->name, f->finger);
	for (unsigned i = 1; v && i < op->parts; i++) {
		uint32_t none = 0;
		v = v->kind == VALUE_MAP ? map_get(v->map, op->rest[i - 1], &none) : NULL;
	}
	return v;
}

static bool truth(const struct value *v)
{
	if (!v)
		return false;
	switch (v->kind) {
	case VALUE_TEXT:
	case VALUE_HTML:
		return v->len > 0;
	case VALUE_LIST:
		return v->list->of.n > 0;
	case VALUE_MAP:
		return true;
	default:
		return v->number != 0;
	}
}

static enum err run(struct render *r, const struct template *t, uint32_t from, uint32_t to, const struct frame *f);

static enum err run_section(struct render *r, const struct template *t, uint32_t at, const struct value *v,
    const struct frame *f)
{
	uint32_t to = t->ops[at].n;

	if (v->kind == VALUE_LIST) {
		for (uint32_t i = 0; i < v->list->of.n; i++) {
			uint32_t finger = 0;
			struct frame inner = { &v->list->of.v[i], f, &finger };
			enum err e = run(r, t, at + 1, to, &inner);
			if (e)
				return e;
		}
		return ERR_OK;
	}
	uint32_t finger = 0;
	struct frame inner = { v, f, &finger };
	return run(r, t, at + 1, to, &inner);
}

static enum err run(struct render *r, const struct template *t, uint32_t from, uint32_t to, const struct frame *f)
{
	enum err e = ERR_OK;

	if (++r->depth > NESTING_LIMIT)
		return err_set(ERR_FAILED, "template %s: partials or sections nested deeper than %d", t->stem, NESTING_LIMIT);
	for (uint32_t i = from; i < to && !e; i++) {
		const struct op *op = &t->ops[i];
		const struct value *v;
		switch ((enum op_kind)op->kind) {
		case OP_TEXT:
			put_literal(r->out, op->text, op->n);
			break;
		case OP_SHOWN:
			v = resolve(op, f);
			if (v && v->kind == VALUE_TEXT && !r->set->plain)
				put_shown(r->out, v->text, v->len);
			else if (v)
				put_value(r, v, false);
			break;
		case OP_VALUE:
		case OP_RAW:
			if ((v = resolve(op, f)))
				put_value(r, v, op->kind == OP_RAW);
			break;
		case OP_SECTION:
			v = resolve(op, f);
			if (!truth(v)) {
				i = op->n;
			} else if (v->kind != VALUE_BOOL) {
				e = run_section(r, t, i, v, f);
				i = op->n;
			}
			break;
		case OP_INVERTED:
			if (truth(resolve(op, f)))
				i = op->n;
			break;
		case OP_END:
			break;
		case OP_PARTIAL: {
			const struct template *p = r->set->list[op->n];
			e = run(r, p, 0, p->n_ops, f);
			break;
		}
		}
	}
	r->depth--;
	return e;
}

enum err view_render(const struct view_set *s, const char *stem, const struct view_map *m, struct buf *out)
{
	const struct template *t = view_find(s, stem);
	uint32_t finger = 0;
	struct value root = { .kind = VALUE_MAP };
	struct frame f = { &root, NULL, &finger };
	struct render r = { .set = s, .out = out };

	if (!t)
		return err_set(ERR_NOT_FOUND, "there is no template %s", stem);
	root.map = (struct view_map *)m;
	enum err e = run(&r, t, 0, t->n_ops, &f);
	if (out->p)
		out->p[out->len] = '\0';
	return e ? e : buf_check(out);
}
