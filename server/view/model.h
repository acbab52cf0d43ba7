/*
 * model: what is inside a view_map and a view_list; for the renderer. Pages use view.h.
 *
 * A map keeps its values in the order in which they were set. The renderer searches from where it last found something,
 * so that a template that uses names in that order finds each at once.
 */
#ifndef DRYDOCK_VIEW_MODEL_H
#define DRYDOCK_VIEW_MODEL_H

#include <stdint.h>

#include "view/view.h"

enum value_kind { VALUE_TEXT, VALUE_HTML, VALUE_INT, VALUE_BOOL, VALUE_MAP, VALUE_LIST };

struct value {
	union {
		const char *text;
		int64_t number; /* VALUE_INT, VALUE_BOOL */
		struct view_map *map;
		struct view_list *list;
	};
	uint32_t len; /* of text */
	uint16_t name; /* 0 in a list */
	uint8_t kind;
};

struct values {
	struct arena *arena;
	struct value *v;
	uint32_t n, cap;
};
struct view_map {
	struct values of;
};
struct view_list {
	struct values of;
};

#endif
