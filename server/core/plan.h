/*
 * plan: what a sync would add, change and remove: the difference of two lists of files, both sorted by path.
 */
#ifndef DRYDOCK_CORE_PLAN_H
#define DRYDOCK_CORE_PLAN_H

#include "base/digest.h"
#include "core/path.h"
#include "core/record.h"

enum plan_kind { PLAN_ADD, PLAN_CHANGE, PLAN_REMOVE };
const char *plan_kind_name(enum plan_kind k); /* "add", "change", "remove" */

struct plan_item {
	enum plan_kind kind;
	struct path path;
	struct blob_id blob; /* new; old one for remove */
	bool exec;
};

struct plan {
	struct arena *arena; /* owns the items and their paths */
	struct plan_item *items; /* sorted by path */
	size_t n, cap;
	size_t added, changed, removed;
};

void plan_init(struct plan *p);
void plan_release(struct plan *p);
void plan_add(struct plan *p, enum plan_kind kind, struct path path, const struct blob_id *blob, bool exec); /* copies */
bool plan_find(const struct plan *p, struct path path, size_t *i); /* where it is among the items; false: nowhere */
/* The digest that goes along with a force: SHA-256 of lines "kind path\0blob exec\n", blob in hex, exec 0 or 1. */
void plan_digest(const struct plan *p, struct sha256 *out);

#endif
