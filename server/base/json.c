#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define DEPTH_LIMIT 32
/* RFC 8785 numbers are doubles: beyond this an integer would not survive another reader. */
#define INT_LIMIT INT64_C(9007199254740991)

/* A string between quotes with the shortest escapes; s is valid UTF-8. Runs that need no escape go out in one piece. */
static void put_string(struct buf *out, const char *s, size_t n)
{
	size_t start = 0;

	buf_char(out, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_add(out, s + start, i - start);
		start = i + 1;
		switch (c) {
		case '"':
			buf_str(out, "\\\"");
			break;
		case '\\':
			buf_str(out, "\\\\");
			break;
		case '\b':
			buf_str(out, "\\b");
			break;
		case '\t':
			buf_str(out, "\\t");
			break;
		case '\n':
			buf_str(out, "\\n");
			break;
		case '\f':
			buf_str(out, "\\f");
			break;
		case '\r':
			buf_str(out, "\\r");
			break;
		default:
			buf_fmt(out, "\\u%04x", c);
		}
	}
	buf_add(out, s + start, n - start);
	buf_char(out, '"');
}

static void put_int(struct buf *out, int64_t v)
{
	if (v < 0)
		buf_char(out, '-');
	buf_u64(out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/*
 * The order of UTF-16 code units on UTF-8 bytes: the same as bytewise, but for the characters from U+E000 to U+FFFF
 * (they begin with EE or EF), which come behind the supplementary ones (F0 to F4), written as surrogates in UTF-16.
 */
static unsigned utf16_rank(unsigned char c)
{
	return c == 0xee || c == 0xef ? c + 0x10u : c;
}

static int compare_keys(const void *a, const void *b)
{
	const unsigned char *x = *(const unsigned char *const *)a, *y = *(const unsigned char *const *)b;

	while (*x && *x == *y) {
		x++;
		y++;
	}
	unsigned p = utf16_rank(*x), q = utf16_rank(*y);
	return p < q ? -1 : p > q;
}

static enum err canonical(struct buf *out, const json_t *v, int depth);

static enum err canonical_object(struct buf *out, const json_t *v, int depth)
{
	size_t n = json_object_size(v), i = 0;
	const char **keys = mem_array(n, sizeof(*keys));
	enum err e = ERR_OK;

	/* jansson's iterator takes no const, and changes nothing. */
	json_t *object = (json_t *)(uintptr_t)v;
	for (void *at = json_object_iter(object); at && i < n; at = json_object_iter_next(object, at))
		keys[i++] = json_object_iter_key(at);
	qsort(keys, i, sizeof(*keys), compare_keys);
	buf_char(out, '{');
	for (size_t k = 0; k < i && !e; k++) {
		if (k)
			buf_char(out, ',');
		put_string(out, keys[k], strlen(keys[k]));
		buf_char(out, ':');
		e = canonical(out, json_object_get(v, keys[k]), depth);
	}
	buf_char(out, '}');
	free(keys);
	return e;
}

static enum err canonical(struct buf *out, const json_t *v, int depth)
{
	enum err e = ERR_OK;

	if (!v)
		return err_set(ERR_FAILED, "no JSON value");
	if (depth > DEPTH_LIMIT)
		return err_set(ERR_INPUT, "JSON nested deeper than %d", DEPTH_LIMIT);
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return canonical_object(out, v, depth + 1);
	case JSON_ARRAY:
		buf_char(out, '[');
		for (size_t i = 0; i < json_array_size(v) && !e; i++) {
			if (i)
				buf_char(out, ',');
			e = canonical(out, json_array_get(v, i), depth + 1);
		}
		buf_char(out, ']');
		return e;
	case JSON_STRING:
		put_string(out, json_string_value(v), json_string_length(v));
		return ERR_OK;
	case JSON_INTEGER:
		if (json_integer_value(v) > INT_LIMIT || json_integer_value(v) < -INT_LIMIT)
			return err_set(ERR_INPUT, "an integer past 2^53 has no canonical form");
		put_int(out, json_integer_value(v));
		return ERR_OK;
	case JSON_REAL:
		return err_set(ERR_INPUT, "a number that is not an integer");
	case JSON_TRUE:
		buf_str(out, "true");
		return ERR_OK;
	case JSON_FALSE:
		buf_str(out, "false");
		return ERR_OK;
	case JSON_NULL:
		buf_str(out, "null");
		return ERR_OK;
	}
	return err_set(ERR_FAILED, "a JSON value of an unknown type");
}

enum err json_canonical(struct buf *out, const json_t *value)
{
	enum err e = canonical(out, value, 0);

	return e ? e : buf_check(out);
}

/* How deep the brackets go; strings are skipped. Malformed text is jansson's to refuse. */
static int nesting(const char *s, size_t n)
{
	int depth = 0, most = 0;
	bool inside = false;

	for (size_t i = 0; i < n && most <= DEPTH_LIMIT; i++) {
		if (inside) {
			if (s[i] == '\\')
				i++;
			else if (s[i] == '"')
				inside = false;
		} else if (s[i] == '"') {
			inside = true;
		} else if (s[i] == '{' || s[i] == '[') {
			if (++depth > most)
				most = depth;
		} else if (s[i] == '}' || s[i] == ']') {
			depth--;
		}
	}
	return most;
}

enum err json_parse(json_t **out, const char *text, size_t len)
{
	json_error_t error;

	*out = NULL;
	if (memchr(text, '\0', len))
		return err_set(ERR_INPUT, "not JSON: a NUL byte");
	if (!utf8_valid(text, len))
		return err_set(ERR_INPUT, "not JSON: not valid UTF-8");
	if (nesting(text, len) > DEPTH_LIMIT)
		return err_set(ERR_INPUT, "JSON nested deeper than %d", DEPTH_LIMIT);
	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!*out)
		return err_set(ERR_INPUT, "not JSON: line %d: %s", error.line, error.text);
	return ERR_OK;
}

/* The member, NULL if it is absent or null. A thing that is no object is bad. */
static json_t *member(const json_t *obj, const char *name, bool *bad)
{
	if (!json_is_object(obj)) {
		*bad = true;
		return NULL;
	}
	json_t *v = json_object_get(obj, name);
	return json_is_null(v) ? NULL : v;
}

const char *json_get_str(const json_t *obj, const char *name, bool *bad)
{
	json_t *v = member(obj, name, bad);

	if (v && !json_is_string(v))
		*bad = true;
	return json_string_value(v);
}

int64_t json_get_int(const json_t *obj, const char *name, int64_t fallback, bool *bad)
{
	json_t *v = member(obj, name, bad);

	if (!v)
		return fallback;
	if (!json_is_integer(v)) {
		*bad = true;
		return fallback;
	}
	return json_integer_value(v);
}

bool json_get_bool(const json_t *obj, const char *name, bool fallback, bool *bad)
{
	json_t *v = member(obj, name, bad);

	if (!v)
		return fallback;
	if (!json_is_boolean(v)) {
		*bad = true;
		return fallback;
	}
	return json_is_true(v);
}

json_t *json_get_list(const json_t *obj, const char *name, bool *bad)
{
	json_t *v = member(obj, name, bad);

	if (!v || json_is_array(v))
		return v;
	*bad = true;
	return NULL;
}

json_t *json_get_obj(const json_t *obj, const char *name, bool *bad)
{
	json_t *v = member(obj, name, bad);

	if (!v || json_is_object(v))
		return v;
	*bad = true;
	return NULL;
}

/* --- streaming writer ------------------------------------------------------------------------------------------------ */

static void separate(struct json_out *o)
{
	if (o->comma)
		buf_char(o->b, ',');
	o->comma = true;
}

void json_out_begin(struct json_out *o, char open)
{
	separate(o);
	buf_char(o->b, open);
	o->comma = false;
}

void json_out_end(struct json_out *o, char close)
{
	buf_char(o->b, close);
	o->comma = true;
}

void json_out_name(struct json_out *o, const char *name)
{
	json_out_str(o, name);
	buf_char(o->b, ':');
	o->comma = false;
}

void json_out_str(struct json_out *o, const char *value)
{
	if (!value) {
		json_out_null(o);
		return;
	}
	json_out_strn(o, value, strlen(value));
}

void json_out_strn(struct json_out *o, const char *value, size_t len)
{
	separate(o);
	if (utf8_valid(value, len)) {
		put_string(o->b, value, len);
		return;
	}
	/* Only bad bytes are replaced here: controls have escapes in JSON. */
	struct buf fixed = BUF_INIT(3 * len);
	for (size_t i = 0; i < len;) {
		uint32_t cp;
		size_t n = utf8_decode(value + i, len - i, &cp);
		if (n)
			buf_add(&fixed, value + i, n);
		else
			buf_str(&fixed, "\xef\xbf\xbd");
		i += n ? n : 1;
	}
	put_string(o->b, buf_text(&fixed), fixed.len);
	buf_release(&fixed);
}

void json_out_int(struct json_out *o, int64_t value)
{
	separate(o);
	put_int(o->b, value);
}

void json_out_bool(struct json_out *o, bool value)
{
	separate(o);
	buf_str(o->b, value ? "true" : "false");
}

void json_out_null(struct json_out *o)
{
	separate(o);
	buf_str(o->b, "null");
}

void json_out_kstr(struct json_out *o, const char *name, const char *value)
{
	json_out_name(o, name);
	json_out_str(o, value);
}

void json_out_kint(struct json_out *o, const char *name, int64_t value)
{
	json_out_name(o, name);
	json_out_int(o, value);
}

void json_out_kbool(struct json_out *o, const char *name, bool value)
{
	json_out_name(o, name);
	json_out_bool(o, value);
}
