/*
 * view: the Mustache renderer (logic-less: values, sections, inverted sections, partials, comments, delimiters), and
 * the page model that it renders.
 *
 * Templates are parsed and checked once at start: an unknown name or a missing partial stops the server with file and
 * line. Every value is escaped (& < > " '). Raw HTML takes two: the value is of the type HTML (view_set_html), which
 * only our own difference and layout code makes, and the template asks for it with {{{x}}} or {{&x}}. A plain string in
 * {{{x}}} is escaped, and so is HTML in {{x}}.
 * A value counts as false for {{#x}} and {{^x}} if it is absent, false, 0, an empty string or an empty list. A section
 * over a map opens it, over a list repeats; inside a list of strings, or a section over a string or number, {{.}} is it.
 * A name is looked for in the innermost map and then outwards: where a row may lack a value that the page has under the
 * same name, set it to NULL or false in the row.
 * Known names are the list in view/names.def: a page's keys are enum constants, so that rendering compares integers.
 */
#ifndef DRYDOCK_VIEW_VIEW_H
#define DRYDOCK_VIEW_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum view_name {
	VIEW_NONE,
#define X(n) VIEW_##n,
#include "view/names.def"
#undef X
	VIEW_NAME_COUNT
};

/*
 * A map of names to values: string, HTML, number, boolean, map, list. In the arena; strings are borrowed. Setting a
 * name again replaces its value. Fastest if set in the order in which the template uses them.
 */
struct view_map;
struct view_list;

struct view_map *view_map_new(struct arena *a);
void view_set(struct view_map *m, enum view_name name, const char *value); /* NULL: empty; hides an outer value too */
void view_set_html(struct view_map *m, enum view_name name, const char *html);
void view_set_int(struct view_map *m, enum view_name name, int64_t value);
void view_set_bool(struct view_map *m, enum view_name name, bool value);
struct view_map *view_set_map(struct view_map *m, enum view_name name); /* a new map below */
struct view_list *view_set_list(struct view_map *m, enum view_name name);
struct view_map *view_list_add(struct view_list *l); /* a new map at the end */
void view_list_add_text(struct view_list *l, const char *value);
void view_list_add_html(struct view_list *l, const char *html);
struct view_list *view_list_add_list(struct view_list *l); /* a new list at the end */
size_t view_list_count(const struct view_list *l);

/* All templates of a directory (*.html; stem = template name, also as partial). Immutable afterwards; thread-safe. */
struct view_set;
enum err view_load(struct view_set **out, const char *dir) MUST_CHECK;
/*
 * The same of all *.txt: text for mail, in which nothing is escaped. Whoever fills the model takes control characters
 * and line ends out of what people typed.
 */
enum err view_load_text(struct view_set **out, const char *dir) MUST_CHECK;
void view_free(struct view_set *s);
/*
 * Render a template by its stem, behind what is in out. ERR_NOT_FOUND for an unknown stem, ERR_TOO_BIG past the ceiling
 * of out, ERR_FAILED if partials and sections nest without end.
 */
enum err view_render(const struct view_set *s, const char *stem, const struct view_map *m, struct buf *out) MUST_CHECK;

#endif
