#include "web/form.h"

#include <string.h>

#include "base/digest.h"
#include "base/utf8.h"

struct field {
	const char *name;
	const char **values;
	size_t n, cap;
};

bool percent_decode(char *out, size_t *out_len, const char *in, size_t len, bool plus)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = in[i];
		if (c == '%') {
			if (len - i < 3)
				return false;
			int high = hex_digit(in[i + 1]), low = hex_digit(in[i + 2]);
			if (high < 0 || low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c == '\0')
			return false;
		out[n++] = c;
	}
	*out_len = n;
	return true;
}

static enum err decode(const char **out, const char *text, size_t len, struct arena *a)
{
	char *s = arena_dupn(a, text, len);
	size_t n;

	if (!percent_decode(s, &n, text, len, true))
		return err_set(ERR_INPUT, "A form field or a part of the address is not encoded as it should be.");
	s[n] = '\0';
	if (!utf8_valid(s, n))
		return err_set(ERR_INPUT, "A form field or a part of the address is not valid UTF-8.");
	*out = s;
	return ERR_OK;
}

static struct field *find(const struct fields *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->list[i].name, name) == 0)
			return &f->list[i];
	return NULL;
}

static bool is_list(const char *name)
{
	size_t n = strlen(name);

	return n > 2 && strcmp(name + n - 2, "[]") == 0;
}

static enum err add(struct fields *f, const char *name, const char *value, struct arena *a)
{
	struct field *field = find(f, name);

	if (field && !is_list(name))
		return err_set(ERR_INPUT, "A form field or a part of the address was given twice.");
	if (!field) {
		if (f->n == FORM_NAMES)
			return err_set(ERR_INPUT, "There are more than %d form fields.", FORM_NAMES);
		if (!f->list)
			f->list = arena_alloc(a, FORM_NAMES * sizeof(*f->list));
		field = &f->list[f->n++];
		field->name = name;
	}
	if (field->n == field->cap) {
		size_t cap = field->cap ? field->cap * 2 : 1;
		const char **values = arena_alloc(a, cap * sizeof(*values));
		if (field->n)
			memcpy(values, field->values, field->n * sizeof(*values));
		field->values = values;
		field->cap = cap;
	}
	field->values[field->n++] = value;
	return ERR_OK;
}

enum err fields_parse(struct fields *out, const char *text, size_t len, struct arena *a)
{
	size_t values = 0;
	enum err e;

	*out = (struct fields){ 0 };
	for (size_t at = 0; at < len;) {
		const char *piece = text + at, *end = memchr(piece, '&', len - at);
		size_t n = end ? (size_t)(end - piece) : len - at;
		at += n + 1;
		if (n == 0)
			continue;
		if (++values > FORM_VALUES)
			return err_set(ERR_INPUT, "There are more than %d form values.", FORM_VALUES);
		const char *name, *value = "", *equal = memchr(piece, '=', n);
		if ((e = decode(&name, piece, equal ? (size_t)(equal - piece) : n, a)))
			return e;
		if (equal && (e = decode(&value, equal + 1, n - (size_t)(equal - piece) - 1, a)))
			return e;
		if ((e = add(out, name, value, a)))
			return e;
	}
	return ERR_OK;
}

const char *fields_get(const struct fields *f, const char *name)
{
	const struct field *field = find(f, name);

	return field ? field->values[0] : NULL;
}

const char *fields_name(const struct fields *f, size_t i)
{
	return i < f->n ? f->list[i].name : NULL;
}

size_t fields_count(const struct fields *f, const char *name)
{
	const struct field *field = find(f, name);

	return field ? field->n : 0;
}

const char *fields_at(const struct fields *f, const char *name, size_t i)
{
	const struct field *field = find(f, name);

	return field && i < field->n ? field->values[i] : NULL;
}

enum err target_decode(const char **out, const char *target, size_t len, struct arena *a)
{
	char *text = arena_alloc(a, len + 1);
	size_t n = 0;

	if (len == 0 || target[0] != '/')
		return err_set(ERR_INPUT, "The address must begin with a slash.");
	for (size_t at = 0; at < len;) {
		size_t from = at + 1, part = 0, decoded;
		while (from + part < len && target[from + part] != '/')
			part++;
		if (part == 0 && from < len)
			return err_set(ERR_INPUT, "The address has an empty part (\"//\").");
		text[n++] = '/';
		if (!percent_decode(text + n, &decoded, target + from, part, false))
			return err_set(ERR_INPUT, "The address is not encoded as it should be.");
		if (memchr(text + n, '/', decoded))
			return err_set(ERR_INPUT, "The address has an encoded slash in a part.");
		if ((decoded == 1 && text[n] == '.') || (decoded == 2 && text[n] == '.' && text[n + 1] == '.'))
			return err_set(ERR_INPUT, "The address has a part \".\" or \"..\".");
		n += decoded;
		at = from + part;
	}
	if (!utf8_clean(text, n, false))
		return err_set(ERR_INPUT, "The address is not valid UTF-8, or holds a control character.");
	text[n] = '\0';
	*out = text;
	return ERR_OK;
}
