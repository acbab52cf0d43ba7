/*
 * form: what stands behind "?" and in an application/x-www-form-urlencoded body, decoded exactly once.
 *
 * A field is a name and a value: valid UTF-8 without NUL. A name given twice is refused, unless it ends in "[]". Text
 * without "=" is a name with an empty value; an empty piece ("a=1&&b=2", a trailing "&") is skipped.
 */
#ifndef DRYDOCK_WEB_FORM_H
#define DRYDOCK_WEB_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

#define FORM_NAMES 64 /* different names */
#define FORM_VALUES 50000 /* values in all: check boxes of a long list */

struct fields {
	struct field *list;
	size_t n;
};

/* ERR_INPUT with a sentence. text is not changed; everything is copied into the arena. */
enum err fields_parse(struct fields *out, const char *text, size_t len, struct arena *a) MUST_CHECK;
const char *fields_get(const struct fields *f, const char *name); /* NULL if absent; the first of a list */
const char *fields_name(const struct fields *f, size_t i); /* NULL past the end */
size_t fields_count(const struct fields *f, const char *name);
const char *fields_at(const struct fields *f, const char *name, size_t i); /* NULL past the end */

/* "%41" → "A", and with plus "+" → " ". False on a broken triplet or a NUL. out: len bytes are enough; may be in. */
bool percent_decode(char *out, size_t *out_len, const char *in, size_t len, bool plus);

/*
 * The path of a request's target, decoded once: "/" and parts between slashes. ERR_INPUT, with a sentence, if a part is
 * empty (the last may be), "." or "..", or holds an encoded slash, a control character or anything but UTF-8.
 */
enum err target_decode(const char **out, const char *target, size_t len, struct arena *a) MUST_CHECK;

#endif
