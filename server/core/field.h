/*
 * field: what an admin asks for with an act on files, beside the note: "Ticket", "Who checked the figures", ...
 *
 * A definition holds for a path and everything below it. Of one name the nearest definition on the way up decides what
 * it is; it is required if any on the way up says so, so that what is laid down for a directory cannot be lifted further
 * down. Definitions stand in the rule set: the log has them, and a record's policy says which were in force. A version
 * is the number of the record that made it (and that record's node): records name the versions that were asked.
 */
#ifndef DRYDOCK_CORE_FIELD_H
#define DRYDOCK_CORE_FIELD_H

#include "base/json.h"
#include "core/role.h"

#define FIELD_NAME_LIMIT 64 /* bytes, as all of these */
#define FIELD_LABEL_LIMIT 200
#define FIELD_TEXT_LIMIT 2000 /* of a value */
#define FIELD_CHOICES_LIMIT 100 /* how many */
#define FIELD_CHOICE_LIMIT 200
#define FIELD_CHOICES_BYTES (FIELD_CHOICES_LIMIT * (FIELD_CHOICE_LIMIT + 1))
#define FIELD_PLACE_LIMIT 999
#define FIELDS_ON_PATH 32 /* names that hold for one path */
#define FIELDS_BYTES 8000 /* of their labels and choices: forms stay small */
#define FIELDS_OF_SITE 1000
#define FIELDS_ASKED 40 /* names in one act, whatever its paths */
#define FIELD_NODE 65

enum field_type { FIELD_TEXT, FIELD_CHOICE, FIELD_CHECKBOX, FIELD_DATE };
enum field_act { FIELD_SIGN = 1, FIELD_REVIEW = 2, FIELD_REVOKE = 4 };
#define FIELD_ACTS 3

struct field_def {
	struct path path;
	const char *name; /* [a-z][a-z0-9_]*, and none that records use themselves */
	const char *label; /* for people */
	enum field_type type;
	const char *const *choices; /* of a FIELD_CHOICE; each once, no blanks at the ends and never two in a row */
	size_t n_choices;
	unsigned acts; /* enum field_act, one at least */
	bool required; /* of a checkbox: it has to be ticked */
	unsigned place; /* forms show the lower first, then by name */
	uint64_t version;
	const char *node; /* 64 hex */
};

const char *field_type_name(enum field_type t); /* "text", "choice", "checkbox", "date" */
bool field_type_parse(enum field_type *out, const char *name);
const char *field_act_name(unsigned bit); /* "sign", "review", "revoke"; NULL: none of them */
unsigned field_act_parse(const char *act); /* 0: another act, which has no fields */
bool field_date_valid(const char *text); /* "2026-02-28": a day that there is */
/* Is this what people wrote into a record's fields? What DryDock itself writes there has other names. */
bool field_name_valid(const char *name);

/* The choices, a line each. */
void field_choices_text(const struct field_def *d, struct buf *out);
/* ERR_INPUT with the sentence. */
enum err field_def_check(const struct field_def *d) MUST_CHECK;

/* --- in a rule set -------------------------------------------------------------------------------------------------- */

/* rules_new(), with requirements, each path once, and definitions, each path and name once. */
struct rules *rules_new_full(const struct rule *list, size_t n, const struct requirement *required, size_t n_required,
    const struct field_def *fields, size_t n_fields);
size_t rules_fields(const struct rules *r);
const struct field_def *rules_field_at(const struct rules *r, size_t i); /* sorted by path, then name */
const struct field_def *rules_field_find(const struct rules *r, struct path path, const char *name); /* on that very path, or NULL */
/* A copy with one definition set; with acts 0 it is removed. */
struct rules *rules_field(const struct rules *r, const struct field_def *d);
/*
 * May actor set d (acts 0: remove it)? He is admin there, and where a definition of that name stands above; where less is
 * required than now he is admin of the directory above. ERR_DENIED; ERR_NOT_FOUND: nothing to remove; ERR_TOO_BIG.
 */
enum err field_change_allowed(const struct rules *r, const struct identity *actor, const struct field_def *d) MUST_CHECK;

/* --- what an act asks for ------------------------------------------------------------------------------------------- */

struct field_asked {
	const struct field_def *def; /* the first by path, if it is asked in several places alike */
	bool required;
};
/* rules and arena have to live as long as it does. */
struct field_ask {
	const struct rules *rules;
	unsigned act;
	struct arena *arena;
	bool *seen, *required; /* by the index of the definition */
	struct path dir; /* looked at last */
	/* after field_ask_end() */
	struct field_asked list[FIELDS_ASKED]; /* as forms show them */
	size_t n;
	const struct field_def **defs; /* every definition that speaks, by path and name */
	size_t n_defs;
	struct sha256 digest; /* of what is asked: the same digest, the same form */
};
void field_ask_begin(struct field_ask *k, const struct rules *r, const char *act, struct arena *a);
void field_ask_path(struct field_ask *k, struct path path); /* of each file; quickest in path order */
/* ERR_INPUT: two of the paths mean different things by one name; ERR_TOO_BIG: too many. */
enum err field_ask_end(struct field_ask *k) MUST_CHECK;

/* In a record's fields: which definitions were asked, each "name version path" ("name version@node path" of another node). */
#define RECORD_FIELD_ASKED "fields-asked"
struct field_ref { const char *name, *path, *node; uint64_t version; }; /* node "": the record's own */
bool field_ref_parse(struct field_ref *out, const char *text, struct arena *a);

/*
 * given: an object by name, as it came from outside; NULL: nothing. ERR_INPUT says what is wrong with which field. Sets
 * into's members: the values as they are kept (empty ones are left out, of a checkbox there is always one), and which
 * definitions were asked. node: of the record.
 */
enum err field_take(const struct field_ask *k, json_t *given, const char *node, json_t *into) MUST_CHECK;

#endif
