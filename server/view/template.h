/*
 * template: Mustache source, parsed into a flat list of operations.
 *
 * A set holds templates by (stem, indent): a partial that stands alone on an indented line is, by the Mustache
 * specification, its source with that indentation before each line; it is compiled once more in that shape, so that
 * rendering knows nothing of indentation. Everything lives in the set's arena.
 */
#ifndef DRYDOCK_VIEW_TEMPLATE_H
#define DRYDOCK_VIEW_TEMPLATE_H

#include <stdint.h>

#include "view/names.h"
#include "view/view.h"

#define TEMPLATE_SIZE_LIMIT (256u * 1024)
#define TEMPLATE_DEPTH_LIMIT 64 /* sections within sections */
#define TEMPLATE_PARTS_LIMIT 16 /* a.b.c is three */
#define TEMPLATE_INDENT_LIMIT 64
#define TEMPLATE_SLACK 16 /* readable bytes behind each literal: the renderer copies in steps of this */
#define TEMPLATE_COUNT_LIMIT 1000

/* SHOWN: a value between tags, where people read it, not in one, nor in a field or title, where programs do. */
enum op_kind { OP_TEXT, OP_VALUE, OP_SHOWN, OP_RAW, OP_SECTION, OP_INVERTED, OP_END, OP_PARTIAL };

struct op {
	uint8_t kind;
	uint8_t parts; /* of the name; 0 is {{.}} */
	uint16_t name; /* its first part */
	uint32_t n; /* TEXT: bytes; sections: index of their END; PARTIAL: index of the template */
	union {
		const char *text;
		const uint16_t *rest; /* parts - 1 more names */
	};
};

struct template {
	const char *stem, *indent;
	const char *wanted_by; /* "file:line" of the first tag that includes it; NULL: asked for by view_compile */
	struct op *ops;
	uint32_t n_ops;
};

struct view_set {
	struct arena *arena;
	struct template **list; /* heap */
	size_t n, cap;
	size_t done; /* so many are compiled; the others wait in view_compile */
	bool plain; /* text, not HTML: values are not escaped */
};

/* Where sources come from. open adds the text of a stem to out; its error (ERR_NOT_FOUND too) ends the compilation. */
struct view_source {
	enum err (*open)(void *arg, const char *stem, struct buf *out);
	void *arg;
	const char *dir; /* for messages: "dir/stem.html:12: ..." */
};

struct view_set *view_set_new(void);
/*
 * Compile a stem and every partial that it reaches, unless that is done. ERR_INPUT with file and line; after an error
 * the set can only be freed.
 */
enum err view_compile(struct view_set *s, const char *stem, struct view_names *names, const struct view_source *source)
    MUST_CHECK;
/* The whole (not indented) template of that stem, or NULL. */
const struct template *view_find(const struct view_set *s, const char *stem);

#endif
