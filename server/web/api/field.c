/* What acts ask for beside the note: the definitions, and what an act on some paths asks for. */
#include "web/api/api.h"
#include "web/asked.h"

static void definition(struct json_out *o, const struct field_def *d, bool required)
{
	json_out_begin(o, '{');
	json_out_kstr(o, "name", d->name);
	json_out_name(o, "path");
	json_out_strn(o, d->path.s, d->path.len);
	json_out_kstr(o, "label", d->label);
	json_out_kstr(o, "type", field_type_name(d->type));
	json_out_name(o, "choices");
	json_out_begin(o, '[');
	for (size_t i = 0; i < d->n_choices; i++)
		json_out_str(o, d->choices[i]);
	json_out_end(o, ']');
	json_out_kbool(o, "required", required);
	json_out_name(o, "acts");
	json_out_begin(o, '[');
	for (unsigned bit = 1; bit < 1u << FIELD_ACTS; bit <<= 1)
		if (d->acts & bit)
			json_out_str(o, field_act_name(bit));
	json_out_end(o, ']');
	json_out_kint(o, "place", (int64_t)d->place);
	json_out_kint(o, "version", (int64_t)d->version);
	json_out_end(o, '}');
}

void answer_asked(struct json_out *o, const struct field_ask *k)
{
	json_out_name(o, "fields");
	json_out_begin(o, '[');
	for (size_t i = 0; i < k->n; i++)
		definition(o, k->list[i].def, k->list[i].required);
	json_out_end(o, ']');
	answer_hash(o, "asked", &k->digest);
}

/* GET /api/v1/sites/:site/fields?path= : those that hold for what he may view; with path, those that hold for it */
enum err api_fields(struct req *r)
{
	struct answer a;

	answer_items(&a);
	for (size_t i = 0; i < rules_fields(r->rules); i++) {
		const struct field_def *d = rules_field_at(r->rules, i);

		if (asked_visible(r, d->path) && (!r->has_path || path_covers(d->path, r->path)))
			definition(&a.out, d, d->required);
	}
	return answer_items_send(r, &a, ERR_OK);
}

static enum err words(struct req *r, const char *member, const char *const **out, size_t *n)
{
	bool bad = false;
	const json_t *list = json_get_list(r->body, member, &bad);
	const char **texts = arena_alloc(r->arena, (json_array_size(list) + 1) * sizeof *texts);

	*n = json_array_size(list);
	for (size_t i = 0; i < *n && !bad; i++) {
		texts[i] = json_string_value(json_array_get(list, i));
		bad = !texts[i] || strlen(texts[i]) != json_string_length(json_array_get(list, i));
	}
	*out = texts;
	return bad ? err_set(ERR_INPUT, "\"%s\" must be a list of strings.", member) : ERR_OK;
}

static enum err wish(struct req *r, struct path path, struct field_def *out)
{
	struct asked_wish w = { .name = NULL };
	const char *const *acts;
	struct buf joined = BUF_INIT(256);
	bool bad = false;
	size_t n;
	int64_t place;
	enum err e = api_text(r, "name", true, &w.name);

	if (!e)
		e = api_text(r, "label", true, &w.label);
	if (!e)
		e = api_text(r, "type", false, &w.type);
	if (!e)
		e = words(r, "choices", &w.choices, &w.n_choices);
	if (!e)
		e = words(r, "acts", &acts, &n);
	if (!e)
		e = api_bool(r, "required", false, &w.required);
	place = json_get_int(r->body, "place", 0, &bad);
	if (!e && (bad || place < 0 || place > FIELD_PLACE_LIMIT))
		e = err_set(ERR_INPUT, "\"place\" must be a number from 0 to %d.", FIELD_PLACE_LIMIT);
	w.place = (uint64_t)place;
	for (size_t i = 0; !e && i < n; i++) {
		buf_str(&joined, acts[i]);
		buf_char(&joined, ' ');
	}
	w.acts = arena_dup(r->arena, joined.over ? "?" : buf_text(&joined));
	buf_release(&joined);
	return e ? e : asked_definition(path, &w, out);
}

/* POST /api/v1/sites/:site/fields {path, name, label, type, choices, required, acts, place, note}, or {path, name, remove} */
enum err api_field_set(struct req *r)
{
	struct act_request rq;
	struct act_answer done;
	struct field_def d = { .node = "" };
	struct path path;
	bool remove;
	enum err e = api_act_request(r, &rq);

	if (!e)
		e = api_path(r, "path", &path);
	if (!e)
		e = api_visible(r, path);
	if (!e)
		e = api_bool(r, "remove", false, &remove);
	if (!e && remove) {
		d = (struct field_def){ .path = path, .label = "", .node = "" };
		e = api_text(r, "name", true, &d.name);
	} else if (!e) {
		e = wish(r, path, &d);
	}
	if (!e)
		e = act_field(r->site, r->tools, &rq, &d, &done);
	return answer_act_send(r, e, &done, 200);
}
