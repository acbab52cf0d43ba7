/* rules_text: a rule set as the bytes of the log's file `rules`, and back. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "core/field.h"

/* One line: a path of 4,096 bytes and the choices of a field, each byte of which may be escaped to two. */
#define LINE_LIMIT (2 * (PATH_LIMIT + FIELD_LABEL_LIMIT + FIELD_CHOICES_LIMIT * (FIELD_CHOICE_LIMIT + 2)) + 2 * PRINCIPAL_LIMIT + 512)

static void encode_rule(const struct rule *rule, struct buf *out)
{
	struct json_out o = { .b = out };

	json_out_begin(&o, '{');
	json_out_name(&o, "path");
	json_out_strn(&o, rule->path.s, rule->path.len);
	json_out_kstr(&o, "principal", rule->principal);
	json_out_kstr(&o, "role", role_name(rule->role));
	json_out_end(&o, '}');
	buf_char(out, '\n');
}

static void encode_requirement(const struct requirement *q, struct buf *out)
{
	struct json_out o = { .b = out };

	json_out_begin(&o, '{');
	json_out_kbool(&o, "not_alone", q->not_alone);
	json_out_name(&o, "path");
	json_out_strn(&o, q->path.s, q->path.len);
	json_out_kint(&o, "reviews", (int64_t)q->reviews);
	json_out_end(&o, '}');
	buf_char(out, '\n');
}

static void encode_field(const struct field_def *d, struct buf *out)
{
	struct json_out o = { .b = out };

	json_out_begin(&o, '{');
	json_out_name(&o, "acts");
	json_out_begin(&o, '[');
	for (unsigned bit = 1; bit < 1u << FIELD_ACTS; bit <<= 1)
		if (d->acts & bit)
			json_out_str(&o, field_act_name(bit));
	json_out_end(&o, ']');
	json_out_name(&o, "choices");
	json_out_begin(&o, '[');
	for (size_t i = 0; i < d->n_choices; i++)
		json_out_str(&o, d->choices[i]);
	json_out_end(&o, ']');
	json_out_kstr(&o, "field", d->name);
	json_out_kstr(&o, "label", d->label);
	json_out_kstr(&o, "node", d->node);
	json_out_name(&o, "path");
	json_out_strn(&o, d->path.s, d->path.len);
	json_out_kint(&o, "place", (int64_t)d->place);
	json_out_kbool(&o, "required", d->required);
	json_out_kstr(&o, "type", field_type_name(d->type));
	json_out_kint(&o, "version", (int64_t)d->version);
	json_out_end(&o, '}');
	buf_char(out, '\n');
}

void rules_encode(const struct rules *r, struct buf *out)
{
	for (size_t i = 0; i < rules_count(r); i++)
		encode_rule(rules_at(r, i), out);
	for (size_t i = 0; i < rules_requirements(r); i++)
		encode_requirement(rules_requirement_at(r, i), out);
	for (size_t i = 0; i < rules_fields(r); i++)
		encode_field(rules_field_at(r, i), out);
}

struct decoding {
	struct arena *arena;
	struct rule *rules;
	struct requirement *required;
	struct field_def *fields;
	size_t n, cap, n_required, cap_required, n_fields, cap_fields;
};

/* A word of a list that names an act; each once is seen to by writing it again. */
static bool decode_act(const json_t *v, unsigned *acts)
{
	const char *name = json_string_value(v);
	const unsigned bit = name ? field_act_parse(name) : 0;

	*acts |= bit;
	return bit != 0;
}

static bool decode_field(struct decoding *d, const json_t *v, struct path path)
{
	struct field_def f = { .path = path };
	bool bad = false;
	const char *name = json_get_str(v, "field", &bad), *label = json_get_str(v, "label", &bad);
	const char *type = json_get_str(v, "type", &bad), *node = json_get_str(v, "node", &bad);
	const json_t *choices = json_get_list(v, "choices", &bad), *acts = json_get_list(v, "acts", &bad);
	const int64_t place = json_get_int(v, "place", -1, &bad), version = json_get_int(v, "version", 0, &bad);
	const char **list = arena_alloc(d->arena, (json_array_size(choices) + 1) * sizeof(*list));
	struct sha256 any;

	f.required = json_get_bool(v, "required", false, &bad);
	if (bad || !name || !label || !type || !node || !hex_parse(any.b, sizeof(any.b), node) || !field_type_parse(&f.type, type) || place < 0 ||
	    place > FIELD_PLACE_LIMIT || version < 1)
		return false;
	for (size_t i = 0; i < json_array_size(choices); i++) {
		const char *text = json_string_value(json_array_get(choices, i));

		if (!text)
			return false;
		list[f.n_choices++] = arena_dup(d->arena, text);
	}
	for (size_t i = 0; i < json_array_size(acts); i++)
		if (!decode_act(json_array_get(acts, i), &f.acts))
			return false;
	f.name = arena_dup(d->arena, name);
	f.label = arena_dup(d->arena, label);
	f.node = arena_dup(d->arena, node);
	f.choices = list;
	f.place = (unsigned)place;
	f.version = (uint64_t)version;
	if (field_def_check(&f))
		return false;
	d->fields = mem_grow(d->fields, &d->cap_fields, d->n_fields + 1, sizeof(*d->fields));
	d->fields[d->n_fields++] = f;
	return true;
}

static enum err decode_line(struct decoding *d, const char *line, size_t n)
{
	json_t *v = NULL;
	bool bad = false;
	struct path path;
	enum role role = ROLE_NONE;
	enum err e = n > LINE_LIMIT ? err_set(ERR_INPUT, "too long") : json_parse(&v, line, n);

	if (e)
		return err_prefix(e, "not a line of rules");
	const char *text = json_get_str(v, "path", &bad), *principal = json_get_str(v, "principal", &bad), *name = json_get_str(v, "role", &bad);
	int64_t reviews = json_get_int(v, "reviews", 0, &bad);
	bool not_alone = json_get_bool(v, "not_alone", false, &bad);
	bad |= !text || path_parse(&path, text, strlen(text), d->arena);
	if (!bad && principal) {
		bad = !principal_valid(principal) || !name || !role_parse(&role, name);
		d->rules = mem_grow(d->rules, &d->cap, d->n + 1, sizeof(*d->rules));
		d->rules[d->n++] = (struct rule){ arena_dup(d->arena, principal), path, role };
	} else if (!bad && json_object_get(v, "field")) {
		bad = !decode_field(d, v, path);
	} else if (!bad) {
		bad = reviews < 0 || reviews > REQUIRED_REVIEWS_LIMIT;
		d->required = mem_grow(d->required, &d->cap_required, d->n_required + 1, sizeof(*d->required));
		d->required[d->n_required++] = (struct requirement){ path, (unsigned)reviews, not_alone };
	}
	json_decref(v);
	return bad ? err_set(ERR_INPUT, "not a line of rules in the form that DryDock writes") : ERR_OK;
}

enum err rules_decode(struct rules **out, const char *text, size_t len)
{
	struct decoding d = { .arena = arena_new() };
	struct buf again = BUF_INIT(len + 1);
	enum err e = ERR_OK;

	*out = NULL;
	for (size_t at = 0, n; at < len && !e; at += n + 1) {
		const char *end = memchr(text + at, '\n', len - at);

		n = end ? (size_t)(end - (text + at)) : len - at;
		e = decode_line(&d, text + at, n);
	}
	if (!e) {
		*out = rules_new_full(d.rules, d.n, d.required, d.n_required, d.fields, d.n_fields);
		/* Written again it is the same bytes, or it was not ours. */
		rules_encode(*out, &again);
		if (again.over || again.len != len || (len && memcmp(buf_text(&again), text, len) != 0)) {
			rules_unref(*out);
			*out = NULL;
			e = err_set(ERR_INPUT, "not a list of rules in the form that DryDock writes");
		}
	}
	buf_release(&again);
	free(d.rules);
	free(d.required);
	free(d.fields);
	arena_free(d.arena);
	return e;
}
