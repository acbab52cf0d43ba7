/*
 * names: the names that templates may use, as small numbers.
 *
 * One table, two ways to begin: the fixed one holds exactly view/names.def, numbered as enum view_name, and does not
 * know anything else, so that a misspelt name in a template is found when the server starts. A growing one (tests,
 * fuzzing) starts empty and gives each new name the next number.
 */
#ifndef DRYDOCK_VIEW_NAMES_H
#define DRYDOCK_VIEW_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "view/view.h"

#define VIEW_NAME_LIMIT 64 /* bytes */
#define VIEW_NAMES_LIMIT 10000

struct view_names;
struct view_names *view_names_fixed(void);
struct view_names *view_names_growing(void);
void view_names_free(struct view_names *t);
/* VIEW_NONE: not known (fixed), or too long or too many (growing). s need not be terminated. */
enum view_name view_names_find(struct view_names *t, const char *s, size_t n);

#endif
