#include "core/field.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/weaken.h"
#include "core/inside.h"
#include "core/record.h"

static const char *const types[] = { "text", "choice", "checkbox", "date" };
static const char *const acts[FIELD_ACTS] = { "sign", "review", "revoke" };

const char *field_type_name(enum field_type t)
{
	return types[t];
}

bool field_type_parse(enum field_type *out, const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (strcmp(types[i], name) == 0) {
			*out = (enum field_type)i;
			return true;
		}
	return false;
}

const char *field_act_name(unsigned bit)
{
	for (size_t i = 0; i < FIELD_ACTS; i++)
		if (bit == 1u << i)
			return acts[i];
	return NULL;
}

unsigned field_act_parse(const char *act)
{
	for (size_t i = 0; i < FIELD_ACTS; i++)
		if (strcmp(acts[i], act) == 0)
			return 1u << i;
	return 0;
}

/* --- one definition --------------------------------------------------------------------------------------------------- */

bool field_name_valid(const char *name)
{
	/* What records of acts on files have in their fields; newer ones have a '-' in their names. */
	static const char *const taken[] = { RECORD_FIELD_REQUEST, "superseded", "rules", "required_reviews", "reviewed_by", "token" };
	const size_t n = strnlen(name, FIELD_NAME_LIMIT + 1);

	if (n == 0 || n > FIELD_NAME_LIMIT || name[0] < 'a' || name[0] > 'z' || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != n)
		return false;
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
		if (strcmp(taken[i], name) == 0)
			return false;
	return true;
}

/* Text in one line that reads as it looks: no blanks at the ends or two in a row, nothing that cannot be seen. */
static bool line_valid(const char *s, size_t most)
{
	const size_t n = strnlen(s, most + 1);
	uint32_t cp;

	if (n == 0 || n > most || !utf8_clean(s, n, false) || s[0] == ' ' || s[n - 1] == ' ' || strstr(s, "  "))
		return false;
	for (size_t i = 0; i < n; i += utf8_decode(s + i, n - i, &cp))
		if (utf8_unseen(s + i, n - i, &cp))
			return false;
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum err choices_check(const struct field_def *d)
{
	const char **sorted;
	const char *twice = NULL;

	if ((d->type == FIELD_CHOICE) != (d->n_choices > 0))
		return err_set(ERR_INPUT, d->n_choices ? "Only a field of the type choice has choices." : "A choice needs choices: name at least one.");
	if (d->n_choices > FIELD_CHOICES_LIMIT)
		return err_set(ERR_INPUT, "A field has at most %d choices.", FIELD_CHOICES_LIMIT);
	for (size_t i = 0; i < d->n_choices; i++)
		if (!line_valid(d->choices[i], FIELD_CHOICE_LIMIT))
			return err_set(ERR_INPUT, "Choice %zu is not a line of visible text of 1 to %d bytes, without blanks at its ends or two in a row.", i + 1,
			    FIELD_CHOICE_LIMIT);
	sorted = mem_array(d->n_choices + 1, sizeof(*sorted));
	for (size_t i = 0; i < d->n_choices; i++)
		sorted[i] = d->choices[i];
	qsort(sorted, d->n_choices, sizeof(*sorted), by_text);
	for (size_t i = 1; i < d->n_choices && !twice; i++)
		if (strcmp(sorted[i - 1], sorted[i]) == 0)
			twice = sorted[i];
	free(sorted);
	return twice ? err_set(ERR_INPUT, "The choice “%s” is named twice.", twice) : ERR_OK;
}

enum err field_def_check(const struct field_def *d)
{
	if (!field_name_valid(d->name))
		return err_set(ERR_INPUT, "A field's name has a to z, 0 to 9 and _, begins with a letter, has at most %d characters, and is none that "
		    "records use themselves (such as rules or token).", FIELD_NAME_LIMIT);
	if (!line_valid(d->label, FIELD_LABEL_LIMIT))
		return err_set(ERR_INPUT, "The label is a line of visible text of 1 to %d bytes, without blanks at its ends or two in a row.", FIELD_LABEL_LIMIT);
	if (d->type > FIELD_DATE)
		return err_set(ERR_INPUT, "A field is a text, a choice, a checkbox or a date.");
	if (!d->acts || d->acts >= 1u << FIELD_ACTS)
		return err_set(ERR_INPUT, "Say with which acts it is asked for: sign, review, revoke.");
	if (d->place > FIELD_PLACE_LIMIT)
		return err_set(ERR_INPUT, "The place is a number from 0 to %d.", FIELD_PLACE_LIMIT);
	return choices_check(d);
}

void field_choices_text(const struct field_def *d, struct buf *out)
{
	for (size_t i = 0; i < d->n_choices; i++) {
		buf_str(out, i ? "\n" : "");
		buf_str(out, d->choices[i]);
	}
}

/* --- may it be? ------------------------------------------------------------------------------------------------------- */

/* The nearest definition of that name above path that is asked with one of those acts; NULL: none. */
static const struct field_def *above(const struct rules *r, struct path path, const char *name, unsigned with)
{
	while (!path_is_root(path)) {
		path = path_above(path);
		const struct field_def *d = rules_field_find(r, path, name);
		if (d && d->acts & with)
			return d;
	}
	return NULL;
}

/* Names that hold for a path, whatever the act, and how long they are. */
static void count_on(const struct rules *r, struct path path, size_t *names, size_t *bytes)
{
	*names = *bytes = 0;
	for (size_t i = 0; i < rules_fields(r); i++) {
		const struct field_def *d = rules_field_at(r, i);

		if (!path_covers(d->path, path))
			continue;
		/* Other acts may ask for the one above: it is not counted as a name, but as text. */
		*names += above(r, d->path, d->name, ~0u) == NULL;
		*bytes += strlen(d->label);
		for (size_t k = 0; k < d->n_choices; k++)
			*bytes += strlen(d->choices[k]);
	}
}

static enum err room_for(const struct rules *r, const struct field_def *d)
{
	struct rules *after = rules_field(r, d);
	enum err e = ERR_OK;

	if (rules_fields(after) > FIELDS_OF_SITE)
		e = err_set(ERR_TOO_BIG, "A site has at most %d fields. Remove some.", FIELDS_OF_SITE);
	for (size_t i = 0; !e && i < rules_fields(after); i++) {
		const struct field_def *below = rules_field_at(after, i);
		size_t names, bytes;

		if (!path_covers(d->path, below->path))
			continue;
		count_on(after, below->path, &names, &bytes);
		if (names > FIELDS_ON_PATH)
			e = err_set(ERR_TOO_BIG, "At most %d fields hold for one path, with those from above. Remove some.", FIELDS_ON_PATH);
		else if (bytes > FIELDS_BYTES)
			e = err_set(ERR_TOO_BIG, "The labels and choices that hold for one path have at most %d bytes together: shorten or remove some.", FIELDS_BYTES);
	}
	rules_unref(after);
	return e;
}

enum err field_change_allowed(const struct rules *r, const struct identity *actor, const struct field_def *d)
{
	const struct field_def *now = rules_field_find(r, d->path, d->name), *other;
	const unsigned then = d->acts && d->required ? d->acts : 0;

	if (role_on(r, actor, d->path) < ROLE_ADMIN && !WEAK(field_admin))
		return err_set(ERR_DENIED, "What an act asks for on %s is laid down by its admins, and you are not one.", d->path.s);
	if (!d->acts && !now)
		return err_set(ERR_NOT_FOUND, "There is no field “%s” on %s itself.", d->name, d->path.s);
	/* It binds the admins of the path as well, so they cannot lift it. On "/" there is nobody above. */
	if (now && now->required && now->acts & ~then && !path_is_root(d->path) && role_on(r, actor, path_above(d->path)) < ROLE_ADMIN &&
	    !WEAK(field_less))
		return err_set(ERR_DENIED, "Only an admin of the directory above %s asks for less there than before.", d->path.s);
	other = above(r, d->path, d->name, ~0u);
	if (d->acts && other && role_on(r, actor, other->path) < ROLE_ADMIN && !WEAK(field_above))
		return err_set(ERR_DENIED, "A field “%s” is asked for here by an admin of a directory above: take another name.", d->name);
	return d->acts ? room_for(r, d) : ERR_OK;
}

/* --- what an act asks for --------------------------------------------------------------------------------------------- */

void field_ask_begin(struct field_ask *k, const struct rules *r, const char *act, struct arena *a)
{
	const size_t n = rules_fields(r);

	memset(k, 0, sizeof(*k));
	k->rules = r;
	k->act = field_act_parse(act);
	k->arena = a;
	if (n && k->act) {
		k->seen = arena_alloc(a, n * sizeof(*k->seen));
		k->required = arena_alloc(a, n * sizeof(*k->required));
	}
}

/* The first definition at path; or where it would stand. */
static size_t first_at(const struct rules *r, struct path path)
{
	size_t low = 0, high = rules_fields(r);

	while (low < high) {
		const size_t mid = low + (high - low) / 2;

		if (path_compare(rules_field_at(r, mid)->path, path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool is_at(const struct rules *r, size_t i, struct path path)
{
	return i < rules_fields(r) && path_equal(rules_field_at(r, i)->path, path);
}

void field_ask_path(struct field_ask *k, struct path path)
{
	size_t nearest[FIELDS_OF_SITE], n = 0;

	if (!k->seen)
		return;
	/* Neighbours are asked for the same, unless one has a definition of its own. */
	if (!path_is_root(path) && !is_at(k->rules, first_at(k->rules, path), path)) {
		path = path_above(path);
		if (k->dir.s && path_equal(path, k->dir))
			return;
		k->dir = path;
	}
	for (;; path = path_above(path)) {
		for (size_t i = first_at(k->rules, path); is_at(k->rules, i, path); i++) {
			const struct field_def *d = rules_field_at(k->rules, i);
			size_t at = 0;

			if (!(d->acts & k->act))
				continue;
			while (at < n && strcmp(rules_field_at(k->rules, nearest[at])->name, d->name) != 0)
				at++;
			if (at == n && n == FIELDS_OF_SITE)
				continue;
			if (at == n)
				nearest[n++] = i;
			k->seen[nearest[at]] = true;
			k->required[nearest[at]] |= d->required;
		}
		if (path_is_root(path))
			return;
	}
}

static bool alike(const struct field_def *a, const struct field_def *b)
{
	if (a->type != b->type || a->n_choices != b->n_choices)
		return false;
	for (size_t i = 0; i < a->n_choices; i++)
		if (strcmp(a->choices[i], b->choices[i]) != 0)
			return false;
	return true;
}

static int by_place(const void *a_, const void *b_)
{
	const struct field_def *a = ((const struct field_asked *)a_)->def, *b = ((const struct field_asked *)b_)->def;

	return a->place != b->place ? (a->place < b->place ? -1 : 1) : strcmp(a->name, b->name);
}

static void ask_digest(struct field_ask *k)
{
	struct sha256_stream *s = sha256_stream_new();

	for (size_t i = 0; i < rules_fields(k->rules) && k->seen; i++) {
		const struct field_def *d = rules_field_at(k->rules, i);
		char line[FIELD_NODE + 64];

		if (!k->seen[i])
			continue;
		sha256_stream_add(s, d->path.s, d->path.len + 1);
		sha256_stream_add(s, d->name, strlen(d->name) + 1);
		snprintf(line, sizeof(line), "%llu %s %d", (unsigned long long)d->version, d->node, k->required[i]);
		sha256_stream_add(s, line, strlen(line) + 1);
	}
	sha256_stream_end_free(s, &k->digest);
}

enum err field_ask_end(struct field_ask *k)
{
	k->n = k->n_defs = 0;
	k->defs = arena_alloc(k->arena, (rules_fields(k->rules) + 1) * sizeof(*k->defs));
	for (size_t i = 0; i < rules_fields(k->rules) && k->seen; i++) {
		const struct field_def *d = rules_field_at(k->rules, i);
		size_t at = 0;

		if (!k->seen[i])
			continue;
		k->defs[k->n_defs++] = d;
		while (at < k->n && strcmp(k->list[at].def->name, d->name) != 0)
			at++;
		if (at == FIELDS_ASKED)
			return err_set(ERR_TOO_BIG, "These paths ask for more than %d fields together: act on fewer of them at once.", FIELDS_ASKED);
		if (at == k->n)
			k->list[k->n++].def = d;
		else if (!alike(k->list[at].def, d))
			return err_set(ERR_INPUT, "“%s” means one thing on some of these paths and another on others: act on %s separately.",
			    d->label, d->path.s);
		k->list[at].required |= k->required[i];
	}
	qsort(k->list, k->n, sizeof(*k->list), by_place);
	ask_digest(k);
	return ERR_OK;
}

bool field_ref_parse(struct field_ref *out, const char *text, struct arena *a)
{
	const char *number = strchr(text, ' '), *path = number ? strchr(number + 1, ' ') : NULL;
	char *end;

	if (!path)
		return false;
	*out = (struct field_ref){ .name = arena_dupn(a, text, (size_t)(number - text)), .path = path + 1, .node = "" };
	number++;
	if (*number < '1' || *number > '9' || !field_name_valid(out->name) || *out->path != '/')
		return false;
	out->version = strtoull(number, &end, 10);
	if (*end == '@') {
		out->node = arena_dupn(a, end + 1, (size_t)(path - end - 1));
		end += 1 + strlen(out->node);
	}
	return end == path && end - number < 100;
}

/* --- what was given --------------------------------------------------------------------------------------------------- */

bool field_date_valid(const char *text)
{
	static const char digits[] = "0123456789";
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int v[3] = { 0 }, at = 0;

	if (strnlen(text, 11) != 10 || text[4] != '-' || text[7] != '-')
		return false;
	for (int i = 0; i < 10; i++) {
		if (i == 4 || i == 7) {
			at++;
			continue;
		}
		if (!text[i] || !strchr(digits, text[i]))
			return false;
		v[at] = 10 * v[at] + (text[i] - '0');
	}
	if (v[0] < 1 || v[1] < 1 || v[1] > 12 || v[2] < 1)
		return false;
	const bool leap = v[0] % 4 == 0 && (v[0] % 100 != 0 || v[0] % 400 == 0);
	return v[2] <= days[v[1] - 1] + (v[1] == 2 && leap);
}

static bool blank(const char *s)
{
	return s[strspn(s, " ")] == '\0';
}

static bool is_choice(const struct field_def *d, const char *value)
{
	for (size_t i = 0; i < d->n_choices; i++)
		if (strcmp(d->choices[i], value) == 0)
			return true;
	return false;
}

static enum err text_check(const struct field_def *d, const json_t *v)
{
	const char *s = json_string_value(v);
	const size_t n = json_string_length(v);

	if (!s)
		return err_set(ERR_INPUT, "“%s” (%s) is text: give a string.", d->label, d->name);
	if (n != strlen(s) || !utf8_clean(s, n, false))
		return err_set(ERR_INPUT, "“%s” has characters that cannot be kept: it is one line without control characters.", d->label);
	if (n > FIELD_TEXT_LIMIT)
		return err_set(ERR_INPUT, "“%s” is too long: %zu bytes, at most %d are kept.", d->label, n, FIELD_TEXT_LIMIT);
	if (blank(s))
		return ERR_OK;
	if (d->type == FIELD_CHOICE && !is_choice(d, s) && !WEAK(field_choice))
		return err_set(ERR_INPUT, "“%s” is not one of the choices of “%s”.", s, d->label);
	if (d->type == FIELD_DATE && !field_date_valid(s))
		return err_set(ERR_INPUT, "“%s” is a day such as 2026-11-30: “%s” is none.", d->label, s);
	return ERR_OK;
}

/* One field; sets into's member if there is something to keep. */
static enum err take_one(const struct field_asked *q, const json_t *v, json_t *into)
{
	const struct field_def *d = q->def;
	enum err e;

	if (d->type == FIELD_CHECKBOX) {
		if (v && !json_is_null(v) && !json_is_boolean(v))
			return err_set(ERR_INPUT, "“%s” (%s) is a checkbox: give true or false.", d->label, d->name);
		if (q->required && !json_is_true(v) && !WEAK(field_required))
			return err_set(ERR_INPUT, "“%s” has to be ticked.", d->label);
		json_object_set_new(into, d->name, json_boolean(json_is_true(v)));
		return ERR_OK;
	}
	e = v && !json_is_null(v) ? text_check(d, v) : ERR_OK;
	if (e)
		return e;
	if (!json_is_string(v) || blank(json_string_value(v)))
		return q->required && !WEAK(field_required) ? err_set(ERR_INPUT, "“%s” is missing: it is asked for here.", d->label) : ERR_OK;
	json_object_set_new(into, d->name, json_string(json_string_value(v)));
	return ERR_OK;
}

/* A name from outside, to be told in a sentence. */
static enum err unasked(const char *name)
{
	struct buf b = BUF_INIT(1024);

	utf8_visible(&b, name, strnlen(name, FIELD_NAME_LIMIT), false);
	err_set(ERR_INPUT, "Nobody asks here for a field “%s”: leave it out. It may have been removed or renamed; the fields of a site list what is asked.",
	    buf_text(&b));
	buf_release(&b);
	return ERR_INPUT;
}

enum err field_take(const struct field_ask *k, json_t *given, const char *node, json_t *into)
{
	json_t *refs, *v;
	const char *name;
	enum err e = ERR_OK;

	if (given && !json_is_object(given))
		return err_set(ERR_INPUT, "The fields are an object: a value for each name.");
	json_object_foreach(given, name, v) {
		bool asked = false;

		for (size_t i = 0; i < k->n && !asked; i++)
			asked = strcmp(k->list[i].def->name, name) == 0;
		if (!asked && !WEAK(field_unknown))
			return unasked(name);
	}
	for (size_t i = 0; i < k->n && !e; i++)
		e = take_one(&k->list[i], json_object_get(given, k->list[i].def->name), into);
	if (e || !k->n_defs)
		return e;
	refs = json_array();
	/* In the order of the form. */
	for (size_t i = 0; i < k->n * k->n_defs; i++) {
		const struct field_def *d = k->defs[i % k->n_defs];
		const bool own = strcmp(d->node, node) == 0;

		if (strcmp(d->name, k->list[i / k->n_defs].def->name) == 0)
			json_array_append_new(refs, json_string(arena_printf(k->arena, "%s %llu%s%s %s", d->name, (unsigned long long)d->version, own ? "" : "@",
			    own ? "" : d->node, d->path.s)));
	}
	json_object_set_new(into, RECORD_FIELD_ASKED, refs);
	return ERR_OK;
}
