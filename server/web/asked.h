/*
 * asked: what acts ask for beside the note (core/field.h), as pages and API show it alike. Nothing that the person may
 * not see is told: a definition is there for him if it holds for anything that he may view.
 */
#ifndef DRYDOCK_WEB_ASKED_H
#define DRYDOCK_WEB_ASKED_H

#include "core/field.h"
#include "core/selection.h"
#include "view/view.h"
#include "web/web.h"

struct history_item;

bool asked_visible(struct req *r, struct path path);
/* What an act on one file, or on all of a selection, asks for; in the request's arena. */
enum err asked_one(struct req *r, const char *act, struct path path, struct field_ask *out) MUST_CHECK;
enum err asked_selection(struct req *r, const char *act, const struct selection *s, struct field_ask *out) MUST_CHECK;

/*
 * What was filled in on a page's form, as an object for struct file_act: fields "f-NAME" are texts, "b-NAME" checkboxes.
 * To be dropped with json_decref. asked: the digest of what was shown, NULL if the form does not say. ERR_INPUT, ERR_TOO_BIG.
 */
enum err asked_form(struct req *r, json_t **values, const struct sha256 **asked) MUST_CHECK;
/* asked and asks for {{>asked}}; values: as typed, or NULL. prefix: of the ids. Returns the bytes that they take, about. */
size_t asked_model(struct req *r, struct view_map *m, const struct field_ask *k, const json_t *values, const char *prefix);
/* "Ticket: A-17, Kind: large": of a record, cut short; NULL: nothing was filled in. */
const char *asked_text(struct req *r, const struct history_item *item);

/*
 * A definition from words of a form or a body: each may be NULL, which is its default. acts: words with blanks or commas
 * between them; "" or NULL: sign. ERR_INPUT.
 */
struct asked_wish { const char *name, *label, *type, *acts; const char *const *choices; size_t n_choices; bool required; uint64_t place; };
enum err asked_definition(struct path path, const struct asked_wish *w, struct field_def *out) MUST_CHECK;

/* What a record's fields hold of what was filled in: fn for each definition that was asked, as it was then. */
struct asked_then {
	const char *name, *path;
	uint64_t version; /* the record that set it */
	const char *label; /* of then; NULL: that record is not there any more, or says something else */
	enum field_type type;
	const json_t *value; /* NULL: nothing was filled in */
};
enum err asked_then(struct req *r, const struct history_item *item, void (*fn)(void *arg, const struct asked_then *f), void *arg) MUST_CHECK;

#endif
