/*
 * field: what acts on files ask for beside the note, laid down for a path by its admins. It stands in the rule set, so
 * that the log has it, and each record's policy says which fields were in force.
 */
#include "acts/internal.h"
#include "base/failpoint.h"

struct wanted {
	struct field_def d;
};

static json_t *acts_json(unsigned acts)
{
	json_t *list = json_array();

	for (unsigned bit = 1; bit < 1u << FIELD_ACTS; bit <<= 1)
		if (acts & bit)
			json_array_append_new(list, json_string(field_act_name(bit)));
	return list;
}

static void describe(json_t *fields, const struct field_def *d)
{
	json_t *choices = json_array();

	for (size_t i = 0; i < d->n_choices; i++)
		json_array_append_new(choices, json_string(d->choices[i]));
	json_object_set_new(fields, "label", json_string(d->label));
	json_object_set_new(fields, "type", json_string(field_type_name(d->type)));
	if (d->n_choices)
		json_object_set(fields, "choices", choices);
	json_object_set_new(fields, "acts", acts_json(d->acts));
	json_object_set_new(fields, "required", json_boolean(d->required));
	json_object_set_new(fields, "place", json_integer(d->place));
	json_decref(choices);
}

static enum err wanted_check(struct decision *d, void *arg)
{
	struct wanted *w = arg;
	const struct identity *who = request_identity(d->rq);
	const struct field_def *was = rules_field_find(d->rules, w->d.path, w->d.name);
	enum err err = act_role(d->rules, who, w->d.path, ROLE_VIEW, NULL);

	if (!err)
		err = field_change_allowed(d->rules, who, &w->d);
	if (err)
		return err;
	d->rule = *role_resolve(d->rules, who, w->d.path).rule;
	w->d.version = d->head.seq + 1;
	w->d.node = node_key_id(d->s->key);
	d->rules_after = rules_field(d->rules, &w->d);
	d->fields = json_object();
	json_object_set_new(d->fields, "path", json_stringn(w->d.path.s, w->d.path.len));
	json_object_set_new(d->fields, "name", json_string(w->d.name));
	if (w->d.acts)
		describe(d->fields, &w->d);
	else
		json_object_set_new(d->fields, "removed", json_true());
	if (was)
		json_object_set_new(d->fields, "before", json_integer((json_int_t)was->version));
	return ERR_OK;
}

static enum err wanted_write(struct decision *d, void *arg)
{
	const struct wanted *w = arg;

	enum err err = w->d.acts ? db_field_set(d->db, d->s->name, &w->d) : db_field_remove(d->db, d->s->name, w->d.path, w->d.name);

	FAILPOINT_OR(err, field_row);
	return err;
}

enum err act_field(struct site *s, struct actor_tools *t, const struct act_request *rq, const struct field_def *def, struct act_answer *out)
{
	struct wanted w = { *def };
	struct decision d = { .s = s, .t = t, .rq = rq, .act = "field", .shown = "", .check = wanted_check, .write = wanted_write, .arg = &w };
	struct request r;
	enum err err = request_check(rq);

	*out = (struct act_answer){ 0 };
	if (!err && def->acts)
		err = field_def_check(def);
	else if (!err && !field_name_valid(def->name))
		err = err_set(ERR_NOT_FOUND, "There is no such field: that is no name of one.");
	if (err)
		return err;
	if (!rq->actor || !s->catalog)
		return err_set(ERR_INPUT, "Only a person can say what acts ask for.");
	request_begin(&r, "field");
	request_bytes(&r, def->path.s, def->path.len);
	request_text(&r, def->name);
	request_number(&r, def->acts);
	if (def->acts) {
		request_text(&r, def->label);
		request_number(&r, def->type);
		request_number(&r, def->required);
		request_number(&r, def->place);
		request_number(&r, (int64_t)def->n_choices);
		for (size_t i = 0; i < def->n_choices; i++)
			request_text(&r, def->choices[i]);
	}
	request_text(&r, rq->note);
	request_end(&r, &d.request);
	err = act_seen(s, t, rq, &d.request, out);
	return err == ERR_NOT_FOUND ? decide(&d, out) : err;
}
