/*
 * inside: what the files about roles share of a rule set. Nobody outside core/ includes it.
 */
#ifndef DRYDOCK_CORE_INSIDE_H
#define DRYDOCK_CORE_INSIDE_H

#include <stdint.h>

#include "core/role.h"

/*
 * A path with all the directories above it, each hashed once: a walk for several principals then costs one look into a
 * table for each of them and directory. Not longer than its path lives.
 */
#define WAY_LIMIT (PATH_LIMIT / 2 + 1)
struct way {
	struct path path;
	size_t n; /* the last one is the path itself, the first is "/" */
	struct { uint64_t hash; size_t len; } at[WAY_LIMIT];
};
void way_make(struct way *w, struct path path);

/* From the end of the way upwards: the first rule of this principal that is not skip, or NULL. */
const struct rule *rules_walk_on(const struct rules *r, const char *principal, const struct way *w, const struct rule *skip);
const struct rule *rules_walk(const struct rules *r, const char *principal, struct path path);
struct role_answer role_resolve_without(const struct rules *r, const struct identity *who, struct path path, const struct rule *skip);

/* Rules of a principal strictly below dir are rules_by_principal(i) from here on, as long as rules_is_below() says so. */
size_t rules_first_below(const struct rules *r, const char *principal, struct path dir);
bool rules_is_below(const struct rules *r, size_t i, const char *principal, struct path dir);
const struct rule *rules_by_principal(const struct rules *r, size_t i);

/* The directory that holds path, as a part of the same bytes; not for "/". */
struct path path_above(struct path path);

/* The user and then his groups, as one list. NULL behind the last. */
static inline const char *identity_principal(const struct identity *who, size_t i)
{
	if (who->user && i-- == 0)
		return who->user;
	return i < who->n_groups ? who->groups[i] : NULL;
}

#endif
