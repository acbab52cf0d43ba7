/*
 * Any bytes as a template: the parser must end, without error or with one, and what compiles must render. The input is
 * also its own partial "self", so that recursion is reached; other partials are empty.
 */
#include "view/template.h"

struct input {
	const uint8_t *p;
	size_t n;
};

static enum err open_input(void *arg, const char *stem, struct buf *out)
{
	const struct input *in = arg;
	if (!strcmp(stem, "page") || !strcmp(stem, "self"))
		buf_add(out, in->p, in->n);
	return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size < 4096 ? size : 4096 };
	struct view_source source = { .open = open_input, .arg = &in, .dir = "fuzz" };
	struct view_names *names = view_names_growing();
	struct view_set *set = view_set_new();
	struct arena *a = arena_new();
	struct view_map *m = view_map_new(a);
	struct buf out = BUF_INIT(1u << 16);

	view_set(m, view_names_find(names, "a", 1), "<&>\"'");
	view_set_html(m, view_names_find(names, "h", 1), "<b>");
	view_set_int(m, view_names_find(names, "n", 1), INT64_MIN);
	view_set_bool(m, view_names_find(names, "t", 1), true);
	view_set(view_set_map(m, view_names_find(names, "m", 1)), view_names_find(names, "a", 1), "inner");
	view_list_add_text(view_set_list(m, view_names_find(names, "l", 1)), "item");
	if (!view_compile(set, "page", names, &source) && !view_render(set, "page", m, &out) && strlen(buf_text(&out)) > out.len)
		abort();
	buf_release(&out);
	arena_free(a);
	view_free(set);
	view_names_free(names);
	return 0;
}
