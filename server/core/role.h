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

/* A rule set: immutable once built, shared between threads by reference count. Keyed by (principal, path). */
struct rules;
struct rules *rules_new(const struct rule *list, size_t n); /* copies; a later rule of the same key replaces */
struct rules *rules_ref(struct rules *r);
void rules_unref(struct rules *r);
size_t rules_count(const struct rules *r);
const struct rule *rules_at(const struct rules *r, size_t i); /* sorted by path, then principal */
/* A copy with one rule set (or, role < 0, removed). */
struct rules *rules_with(const struct rules *r, const char *principal, struct path path, int role);
/* Canonical JSON, one object a line {"path","principal","role"}, sorted: the `rules` file of each log commit. */
void rules_encode(const struct rules *r, struct buf *out);
void rules_digest(const struct rules *r, struct sha256 *out); /* of those bytes: a record's policy */

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

#endif
