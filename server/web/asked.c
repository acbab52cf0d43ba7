#include "web/asked.h"

#include <string.h>

#include "base/utf8.h"
#include "view/show.h"
#include "web/history.h"
#include "web/pages/pages.h"

#define VALUE_MOST 16000 /* bytes of a field of a form: what is too long is said with the form, what is absurd without */
#define TEXT_LIMIT 160 /* of asked_text() */
#define ROW_BYTES 200 /* of a field's row in a form, without what is typed and chosen */

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

/* --- forms ------------------------------------------------------------------------------------------------------------ */

enum err asked_form(struct req *r, json_t **values, const struct sha256 **asked)
{
	const char *digest = req_form(r, "asked"), *name;
	struct sha256 *shown = arena_alloc(r->arena, sizeof *shown);

	*values = json_object();
	*asked = NULL;
	if (digest && !hex_parse(shown->b, sizeof shown->b, digest))
		return err_set(ERR_INPUT, "The form is damaged: it does not say what it asked for. Load the page again.");
	for (size_t i = 0; (name = req_form_name(r, i)); i++) {
		const char *value = req_form(r, name);

		if ((name[0] != 'f' && name[0] != 'b') || name[1] != '-')
			continue;
		if (strlen(value) > VALUE_MOST)
			return err_set(ERR_TOO_BIG, "What was filled in is too long: at most %d bytes are kept of a field.", FIELD_TEXT_LIMIT);
		json_object_set_new(*values, name + 2, name[0] == 'b' ? json_true() : json_string(value));
	}
	*asked = digest ? shown : NULL;
	return ERR_OK;
}

size_t asked_model(struct req *r, struct view_map *m, const struct field_ask *k, const json_t *values, const char *prefix)
{
	struct view_list *list;
	size_t bytes = 0;

	show_hex(m, VIEW_asked, k->digest.b, sizeof k->digest.b);
	list = view_set_list(m, VIEW_asks);
	for (size_t i = 0; i < k->n; i++) {
		const struct field_def *d = k->list[i].def;
		const json_t *v = json_object_get(values, d->name);
		const char *typed = json_is_string(v) ? arena_dup(r->arena, json_string_value(v)) : "";
		struct view_map *o = view_list_add(list);

		view_set_bool(o, VIEW_is_checkbox, d->type == FIELD_CHECKBOX);
		view_set(o, VIEW_id, arena_printf(r->arena, "%s%s", prefix, d->name));
		view_set(o, VIEW_name, arena_printf(r->arena, "%c-%s", d->type == FIELD_CHECKBOX ? 'b' : 'f', d->name));
		view_set(o, VIEW_label, d->label);
		view_set_bool(o, VIEW_required, k->list[i].required);
		view_set_bool(o, VIEW_here, json_is_true(v));
		view_set_bool(o, VIEW_is_choice, d->type == FIELD_CHOICE);
		view_set_bool(o, VIEW_is_date, d->type == FIELD_DATE);
		view_set_bool(o, VIEW_is_text, d->type == FIELD_TEXT);
		view_set(o, VIEW_value, typed);
		bytes += ROW_BYTES + 2 * strlen(d->name) + page_bytes(d->label) + page_bytes(typed);
		struct view_list *choices = view_set_list(o, VIEW_choices);
		for (size_t c = 0; c < d->n_choices; c++) {
			struct view_map *one = view_list_add(choices);

			view_set(one, VIEW_value, d->choices[c]);
			view_set_bool(one, VIEW_here, strcmp(d->choices[c], typed) == 0);
			bytes += 17 + page_bytes(d->choices[c]);
		}
	}
	return bytes;
}

/* --- definitions ------------------------------------------------------------------------------------------------------ */

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
	const struct field_def *now = NULL;
	struct db_record_row row;
	struct record rec;
	struct path at;
	bool bad = false;
	enum err e;

	/* Mostly it is the one of now. */
	if (path_check(&at, f->path) == ERR_OK && (now = rules_field_find(r->rules, at, f->name)) && now->version == f->version && strcmp(now->node, node) == 0) {
		f->label = now->label;
		f->type = now->type;
		return ERR_OK;
	}
	e = db_record_get(tools_db(r->tools), r->site->name, node, f->version, &row, r->arena);

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

struct text {
	struct buf b;
	const char *last;
};

static void text_add(void *arg, const struct asked_then *f)
{
	struct text *t = arg;
	const char *label = f->label ? f->label : f->name;

	/* Asked in two places, it was filled in once. */
	if (!f->value || (t->last && strcmp(t->last, f->name) == 0))
		return;
	t->last = f->name;
	buf_str(&t->b, t->b.len ? ", " : "");
	utf8_visible(&t->b, label, strlen(label), false);
	buf_str(&t->b, ": ");
	if (json_is_boolean(f->value))
		buf_str(&t->b, json_is_true(f->value) ? "yes" : "no");
	else if (json_is_string(f->value))
		utf8_visible(&t->b, json_string_value(f->value), json_string_length(f->value), false);
}

const char *asked_text(struct req *r, const struct history_item *item)
{
	struct text t = { .b = BUF_INIT(FIELDS_ASKED * (FIELD_TEXT_LIMIT + FIELD_LABEL_LIMIT + 8) * 3) };
	const char *out = NULL;
	uint32_t cp;
	size_t n = 0, len;

	if (json_object_get(item->record.fields, RECORD_FIELD_ASKED) && asked_then(r, item, text_add, &t) == ERR_OK && t.b.len) {
		while (n < t.b.len && (len = utf8_decode(t.b.p + n, t.b.len - n, &cp)) && n + len <= TEXT_LIMIT)
			n += len;
		out = arena_printf(r->arena, "%.*s%s", (int)n, buf_text(&t.b), n < t.b.len ? "…" : "");
	}
	buf_release(&t.b);
	return out;
}
