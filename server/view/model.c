#include <string.h>

#include "view/model.h"

#define FIRST_CAP 8

static void init(struct values *of, struct arena *a)
{
	of->arena = a;
	of->v = arena_alloc(a, FIRST_CAP * sizeof *of->v);
	of->n = 0;
	of->cap = FIRST_CAP;
}

static struct value *append(struct values *of)
{
	if (of->n == of->cap) {
		struct value *more = arena_alloc(of->arena, 2 * (size_t)of->cap * sizeof *more);
		memcpy(more, of->v, of->n * sizeof *more);
		of->v = more;
		of->cap *= 2;
	}
	return &of->v[of->n++];
}

/* The value of that name, new or to be replaced. */
static struct value *slot(struct view_map *m, enum view_name name)
{
	for (uint32_t i = 0; i < m->of.n; i++)
		if (m->of.v[i].name == name)
			return &m->of.v[i];
	struct value *v = append(&m->of);
	v->name = (uint16_t)name;
	return v;
}

static void put_text(struct value *v, enum value_kind kind, const char *text)
{
	size_t n = text ? strlen(text) : 0;
	v->kind = (uint8_t)kind;
	v->text = text ? text : "";
	v->len = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static struct view_map *put_map(struct value *v, struct arena *a)
{
	v->kind = VALUE_MAP;
	v->map = view_map_new(a);
	return v->map;
}

static struct view_list *put_list(struct value *v, struct arena *a)
{
	v->kind = VALUE_LIST;
	v->list = arena_alloc(a, sizeof *v->list);
	init(&v->list->of, a);
	return v->list;
}

struct view_map *view_map_new(struct arena *a)
{
	struct view_map *m = arena_alloc(a, sizeof *m);
	init(&m->of, a);
	return m;
}

void view_set(struct view_map *m, enum view_name name, const char *value)
{
	put_text(slot(m, name), VALUE_TEXT, value);
}

void view_set_html(struct view_map *m, enum view_name name, const char *html)
{
	put_text(slot(m, name), VALUE_HTML, html);
}

void view_set_int(struct view_map *m, enum view_name name, int64_t value)
{
	struct value *v = slot(m, name);
	v->kind = VALUE_INT;
	v->number = value;
}

void view_set_bool(struct view_map *m, enum view_name name, bool value)
{
	struct value *v = slot(m, name);
	v->kind = VALUE_BOOL;
	v->number = value;
}

struct view_map *view_set_map(struct view_map *m, enum view_name name)
{
	return put_map(slot(m, name), m->of.arena);
}

struct view_list *view_set_list(struct view_map *m, enum view_name name)
{
	return put_list(slot(m, name), m->of.arena);
}

struct view_map *view_list_add(struct view_list *l)
{
	return put_map(append(&l->of), l->of.arena);
}

void view_list_add_text(struct view_list *l, const char *value)
{
	put_text(append(&l->of), VALUE_TEXT, value);
}

void view_list_add_html(struct view_list *l, const char *html)
{
	put_text(append(&l->of), VALUE_HTML, html);
}

struct view_list *view_list_add_list(struct view_list *l)
{
	return put_list(append(&l->of), l->of.arena);
}

size_t view_list_count(const struct view_list *l)
{
	return l->of.n;
}
