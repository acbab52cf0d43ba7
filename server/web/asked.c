#include "web/asked.h"

#include <string.h>

#include "web/history.h"

bool asked_visible(struct req *r, struct path path)
{
	return req_role_on(r, path) >= ROLE_VIEW || role_sees_below(r->rules, &r->person->who, path);
}

enum err asked_one(struct req *r, const char *act, struct path path, struct field_ask *out)
{
	field_ask_begin(out, r->rules, act, r->arena);
	field_ask_path(out, path);
	return field_ask_end(out);
}

enum err asked_selection(struct req *r, const char *act, const struct selection *s, struct field_ask *out)
{
	field_ask_begin(out, r->rules, act, r->arena);
	for (size_t i = 0; i < s->n; i++)
		field_ask_path(out, s->items[i].path);
	return field_ask_end(out);
}

static enum err acts_parse(const char *text, unsigned *out)
{
	char word[16];

	*out = text && *text ? 0 : FIELD_SIGN;
	for (const char *p = text ? text : ""; *(p += strspn(p, ", "));) {
		const size_t n = strcspn(p, ", ");
		unsigned bit = 0;

		if (n < sizeof word) {
			memcpy(word, p, n);
			word[n] = '\0';
			bit = field_act_parse(word);
		}
		if (!bit)
			return err_set(ERR_INPUT, "A field is asked for with sign, review or revoke, or several of them.");
		*out |= bit;
		p += n;
	}
	return ERR_OK;
}

enum err asked_definition(struct path path, const struct asked_wish *w, struct field_def *out)
{
	enum err e;

	*out = (struct field_def){ .path = path, .name = w->name ? w->name : "", .label = w->label ? w->label : "", .choices = w->choices,
		.n_choices = w->n_choices, .required = w->required, .node = "" };
	if (w->type && *w->type && !field_type_parse(&out->type, w->type))
		return err_set(ERR_INPUT, "A field is a text, a choice, a checkbox or a date.");
	if (w->place > FIELD_PLACE_LIMIT)
		return err_set(ERR_INPUT, "The place is a number from 0 to %d.", FIELD_PLACE_LIMIT);
	out->place = (unsigned)w->place;
	e = acts_parse(w->acts, &out->acts);
	return e ? e : field_def_check(out);
}

/* --- of a record ------------------------------------------------------------------------------------------------------ */

/* The definition as that record set it: label and type; false if the record is not there, or is about something else. */
static enum err then_find(struct req *r, const char *node, struct asked_then *f)
{
	struct db_record_row row;
	struct record rec;
	bool bad = false;
	enum err e = db_record_get(tools_db(r->tools), r->site->name, node, f->version, &row, r->arena);

	if (e == ERR_NOT_FOUND)
		return ERR_OK;
	if (!e)
		e = record_decode(&rec, row.body, row.body_len, r->arena);
	if (e)
		return e;
	const char *name = json_get_str(rec.fields, "name", &bad), *path = json_get_str(rec.fields, "path", &bad);
	const char *label = json_get_str(rec.fields, "label", &bad), *type = json_get_str(rec.fields, "type", &bad);

	if (!bad && strcmp(rec.act, "field") == 0 && name && path && label && type && strcmp(name, f->name) == 0 && strcmp(path, f->path) == 0 &&
	    field_type_parse(&f->type, type))
		f->label = arena_dup(r->arena, label);
	json_decref(rec.fields);
	return ERR_OK;
}

enum err asked_then(struct req *r, const struct history_item *item, void (*fn)(void *arg, const struct asked_then *f), void *arg)
{
	const json_t *list = json_object_get(item->record.fields, RECORD_FIELD_ASKED);
	enum err e = ERR_OK;

	for (size_t i = 0; i < json_array_size(list) && !e; i++) {
		struct asked_then f = { .label = NULL };
		struct field_ref ref;

		if (!field_ref_parse(&ref, json_string_value(json_array_get(list, i)), r->arena))
			continue;
		f.name = ref.name;
		f.path = arena_dup(r->arena, ref.path);
		f.version = ref.version;
		f.value = json_object_get(item->record.fields, ref.name);
		e = then_find(r, *ref.node ? ref.node : item->row->node, &f);
		if (!e)
			fn(arg, &f);
	}
	return e;
}
