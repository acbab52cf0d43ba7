/*
 * role: who may do what on which path. One pure function answers it; pages, API, batch acts and the transaction that
 * records an act all use it. DESIGN section 2 is the rule; tests/unit/role_test.c holds it as a table.
 */
#ifndef DRYDOCK_CORE_ROLE_H
#define DRYDOCK_CORE_ROLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/path.h"

enum role { ROLE_NONE, ROLE_VIEW, ROLE_REVIEW, ROLE_SIGN, ROLE_ADMIN };

const char *role_name(enum role r);
bool role_parse(enum role *out, const char *name);

#define PRINCIPAL_LIMIT 255
/*
 * A principal as text, always with its provider: "own:alice", "unix:bob", "proxy:carol", groups "own:@editors".
 * Name: valid UTF-8, no control, no '/', ':' or blank at the ends, not empty, at most 128 bytes.
 */
bool principal_valid(const char *text);
bool principal_is_group(const char *text);

/* What a token may at most do: no more than role, and nothing outside path. */
struct role_limit {
	enum role role;
	struct path path;
	const char *site; /* "": every site; asked by those who know which site it is about */
	const char *token; /* its id, for records and the log */
};

/* Who is asking. user: a principal; groups: group principals. Frozen into each record. */
struct identity {
	const char *user; /* "own:alice" */
	const char *name; /* "alice" */
	const char *provider; /* "own" */
	const char *const *groups;
	size_t n_groups;
	const struct role_limit *limit; /* NULL: what the rules give him */
};

struct rule {
	const char *principal;
	struct path path;
	enum role role;
};

/*
 * What a signature needs beside the role, at path and below. Everything that stands above counts as well: the strictest
 * of each, so that what is laid down for a directory cannot be lowered further down.
 */
struct requirement {
	struct path path;
	unsigned reviews; /* so many different people beside the signer have reviewed these bytes at this path; 0: none */
	bool not_alone; /* who owns the staged file signs it only after a review by somebody else */
};
#define REQUIRED_REVIEWS_LIMIT 9
struct required {
	unsigned reviews;
	bool not_alone;
	const struct requirement *reviews_from, *not_alone_from; /* which say so; NULL: none. Live as long as the rules */
};

/*
 * A rule set with its requirements and fields: immutable once built, shared between threads by reference count. Rules are keyed by
 * (principal, path), requirements by path.
 */
struct rules;
struct rules *rules_new(const struct rule *list, size_t n); /* copies; a later rule of the same key replaces */
struct rules *rules_ref(struct rules *r);
void rules_unref(struct rules *r);
size_t rules_count(const struct rules *r);
const struct rule *rules_at(const struct rules *r, size_t i); /* sorted by path, then principal */
const struct rule *rules_find(const struct rules *r, const char *principal, struct path path); /* on that very path, or NULL */
/* A copy with one rule set (or, role < 0, removed). */
struct rules *rules_with(const struct rules *r, const char *principal, struct path path, int role);
size_t rules_requirements(const struct rules *r);
const struct requirement *rules_requirement_at(const struct rules *r, size_t i); /* sorted by path */
const struct requirement *rules_requirement_find(const struct rules *r, struct path path); /* on that very path, or NULL */
/* A copy with one requirement set, or removed if it asks for nothing. */
struct rules *rules_require(const struct rules *r, const struct requirement *q);
/* What counts for a file. */
struct required rules_required(const struct rules *r, struct path path);
/* Is there any requirement that counts for something at path or below it? */
bool rules_required_at_or_below(const struct rules *r, struct path path);
/*
 * Canonical JSON: one object a line {"path","principal","role"}, sorted, then one for each requirement {"not_alone",
 * "path","reviews"}, sorted, then one for each field (core/field.h): the `rules` file of each log commit.
 */
void rules_encode(const struct rules *r, struct buf *out);
/* ERR_INPUT for bytes that would be written differently. */
enum err rules_decode(struct rules **out, const char *text, size_t len) MUST_CHECK;

struct role_answer {
	enum role role;
	const struct rule *rule; /* the rule that decided; NULL if none did. Lives as long as the rules */
};

/* The pure function. */
struct role_answer role_resolve(const struct rules *r, const struct identity *who, struct path path);
/* Shorthand: the role only. */
enum role role_on(const struct rules *r, const struct identity *who, struct path path);
/* Is anything at or below path visible to him, or may he see a rule below it (ancestors by name only)? */
bool role_sees_below(const struct rules *r, const struct identity *who, struct path dir);
/* True if no rule strictly below dir could give him another role than dir's: then one check covers the subtree. */
bool role_uniform_below(const struct rules *r, const struct identity *who, struct path dir);
/* What role explain prints: a line for each step, the deciding one marked. For people. */
void role_explain(const struct rules *r, const struct identity *who, struct path path, struct buf *out);

/* The identities that a change of rules is judged for: users known to own rules or group membership. */
struct role_member {
	const struct identity *who;
	bool enabled;
};
/*
 * May actor set (role >= 0) or remove (role < 0) the rule (principal, path)? Checks: he is admin there; no role above
 * his own; lowers nobody who is admin on that path or below and would be by the rules alone that stand where the actor
 * is not admin; "/" keeps an enabled admin among members. ERR_DENIED with the sentence.
 */
enum err role_change_allowed(const struct rules *r, const struct identity *actor, const char *principal, struct path path,
    int role, const struct role_member *members, size_t n_members) MUST_CHECK;

/* May actor lay down q (or take it back: it asks for nothing)? Less than what stands there now needs admin above. */
enum err requirement_change_allowed(const struct rules *r, const struct identity *actor, const struct requirement *q) MUST_CHECK;

/*
 * Who gains and who loses by a change: fn for each place at or below path where who's role becomes another one, not again
 * for places below that where the same happens; until it returns false. Sorted by path. Returns what fn returned last.
 */
bool role_differences(const struct rules *before, const struct rules *after, const struct identity *who, struct path path,
    bool (*fn)(void *arg, const struct identity *who, struct path at, enum role before, enum role after), void *arg);

/* What is odd about a rule. */
enum rule_doubt {
	RULE_FINE,
	RULE_REPEATS, /* the nearest rule above gives the same principal the same; a group's none above which nothing is */
	RULE_GONE, /* of a user or group that does not exist */
	RULE_EMPTY, /* of a group without members */
	RULE_SHADOWED, /* without it nobody's rights would be others: his own rules or other groups decide */
};
const char *rule_doubt_name(enum rule_doubt d); /* "repeats", ... */
const char *rule_doubt_text(enum rule_doubt d); /* for people */
/* *above: the rule that is repeated. Everybody known is in members; exists: whether the principal does. */
enum rule_doubt rule_doubt_of(const struct rules *r, const struct rule *rule, bool exists, const struct role_member *members,
    size_t n_members, const struct rule **above);

#endif
