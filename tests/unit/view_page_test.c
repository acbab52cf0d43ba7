/*
 * Every page of templates/, rendered from the models in golden/ (layout.json, and STEM.json or STEM-variant.json over
 * it). The models are full of hostile strings. Of some pages the whole HTML is kept in golden/NAME.html and compared:
 * after a wanted change run the test once with GOLDEN_UPDATE=1 and read the difference in git.
 *
 * In a model {"html": "..."} is HTML that our own code would have made; every other string is a plain one. The pages are
 * left in pages/ of the build directory, to be looked at.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>

#include "base/file.h"
#include "base/json.h"
#include "view/names.h"

#define HOSTILE "<script>alert("

static const char *const PARTIALS[] = { "asked", "badge", "crumbs", "far", "footer", "header", "pager", "print", "shapes", "signature", "time", "timeline" };
static const char *const KEPT[] = { "confirm", "error", "file", "history", "login", "tree" };
#define COUNT(a) (sizeof (a) / sizeof (a)[0])

static const char *srcdir;
static struct view_set *set;
static struct view_names *names;

static bool among(const char *what, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i], what))
			return true;
	return false;
}

static json_t *load_model(const char *name)
{
	json_error_t where;
	char *file = mem_printf("%s/tests/unit/golden/%s.json", srcdir, name);
	json_t *model = json_load_file(file, 0, &where);
	if (!model)
		fail_msg("%s:%d: %s", file, where.line, where.text);
	free(file);
	return model;
}

static void fill(struct view_map *m, json_t *from, const char *model);

static void fill_list(struct view_list *l, json_t *from, const char *model)
{
	size_t i;
	json_t *v;

	json_array_foreach(from, i, v) {
		if (json_is_object(v))
			fill(view_list_add(l), v, model);
		else
			view_list_add_text(l, json_string_value(v));
	}
}

static void fill(struct view_map *m, json_t *from, const char *model)
{
	const char *key;
	json_t *v;

	json_object_foreach(from, key, v) {
		enum view_name name = view_names_find(names, key, strlen(key));
		if (!name)
			fail_msg("golden/%s.json: no template uses the name %s", model, key);
		if (json_is_object(v) && json_object_get(v, "html"))
			view_set_html(m, name, json_string_value(json_object_get(v, "html")));
		else if (json_is_object(v))
			fill(view_set_map(m, name), v, model);
		else if (json_is_array(v))
			fill_list(view_set_list(m, name), v, model);
		else if (json_is_integer(v))
			view_set_int(m, name, json_integer_value(v));
		else if (json_is_boolean(v))
			view_set_bool(m, name, json_is_true(v));
		else
			view_set(m, name, json_string_value(v));
	}
}

static size_t count_of(const char *text, const char *what)
{
	size_t n = 0;
	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

/* What must hold for any page. */
static void check_page(const char *name, const char *html, bool hostile)
{
	static const char *const NEVER[] = { "{{", "}}", HOSTILE, "javascript:", " style=", " onclick=", "<script>", "href=\"\"",
		"src=\"\"", "action=\"\"" };

	for (size_t i = 0; i < COUNT(NEVER); i++)
		if (strstr(html, NEVER[i]))
			fail_msg("%s has: %s", name, NEVER[i]);
	if (hostile && !strstr(html, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;"))
		fail_msg("%s: its model has a hostile string, which is not there", name);
	static const char *const PAIRS[][2] = { { "<table", "</table>" }, { "<form", "</form>" }, { "<ul", "</ul>" }, { "<ol", "</ol>" },
		{ "<div", "</div>" }, { "<section", "</section>" }, { "<a ", "</a>" }, { "<p>", NULL }, { "<tr", "</tr>" }, { "<dl", "</dl>" } };
	for (size_t i = 0; i < COUNT(PAIRS); i++)
		if (PAIRS[i][1] && count_of(html, PAIRS[i][0]) != count_of(html, PAIRS[i][1]))
			fail_msg("%s: %zu of %s, %zu of %s", name, count_of(html, PAIRS[i][0]), PAIRS[i][0], count_of(html, PAIRS[i][1]),
			    PAIRS[i][1]);
	if (count_of(html, "<h1>") != 1 || count_of(html, "id=\"main\"") != 1)
		fail_msg("%s: a page has one h1 and one main", name);
	/* every form that writes carries the token; before the login there is none, and the Origin is checked */
	if (count_of(html, "method=\"post\"") != count_of(html, "name=\"csrf\"") + !strcmp(name, "login"))
		fail_msg("%s: a form without its token", name);
	if (strlen(html) > 50 * 1024)
		fail_msg("%s: %zu bytes, a page has at most 50 kB", name, strlen(html));
}

static void compare(const char *name, const struct buf *page)
{
	char *file = mem_printf("%s/tests/unit/golden/%s.html", srcdir, name);
	struct buf kept = BUF_INIT(1u << 20);

	if (getenv("GOLDEN_UPDATE")) {
		assert_int_equal(file_write_fast(AT_FDCWD, file, page->p, page->len, 0644), ERR_OK);
	} else if (file_read(AT_FDCWD, file, &kept)) {
		fail_msg("%s: %s", file, err_text());
	} else if (strcmp(buf_text(&kept), buf_text(page)) != 0) {
		size_t at = 0, line = 1;
		while (kept.p[at] && kept.p[at] == page->p[at])
			line += kept.p[at++] == '\n';
		fail_msg("%s differs from what was rendered, first in line %zu (see pages/%s.html)", file, line, name);
	}
	buf_release(&kept);
	free(file);
}

static void test_page(void **state)
{
	const char *name = *state;
	size_t stem_len = strcspn(name, "-");
	char *stem = mem_dupn(name, stem_len);
	struct arena *a = arena_new();
	struct view_map *m = view_map_new(a);
	struct buf page = BUF_INIT(1u << 20);
	json_t *layout = load_model("layout"), *model = load_model(name);

	fill(m, layout, "layout");
	fill(m, model, name);
	if (view_render(set, stem, m, &page))
		fail_msg("%s: %s", name, err_text());
	assert_int_equal(file_mkdirs("pages", 0755), ERR_OK);
	char *out = mem_printf("pages/%s.html", name);
	assert_int_equal(file_write_fast(AT_FDCWD, out, page.p, page.len, 0644), ERR_OK);
	char *text = json_dumps(model, 0);
	check_page(name, buf_text(&page), strstr(text, "<script>") != NULL);
	if (among(name, KEPT, COUNT(KEPT)))
		compare(name, &page);
	free(text);
	free(out);
	json_decref(layout);
	json_decref(model);
	buf_release(&page);
	arena_free(a);
	free(stem);
}

/* No page without a model, and no partial that is not one. */
static void test_every_template(void **state)
{
	(void)state;
	char *dir = mem_printf("%s/templates", srcdir);
	DIR *d = opendir(dir);

	assert_non_null(d);
	for (struct dirent *entry; (entry = readdir(d));) {
		size_t n = strlen(entry->d_name);
		if (n < 6 || strcmp(entry->d_name + n - 5, ".html") != 0)
			continue;
		char *stem = mem_dupn(entry->d_name, n - 5);
		if (!among(stem, PARTIALS, COUNT(PARTIALS)))
			json_decref(load_model(stem));
		free(stem);
	}
	closedir(d);
	free(dir);
}

/* names.def is sorted, and each name in it is used by a template: else it is rubbish, or a page lacks something. */
static void test_names(void **state)
{
	(void)state;
	static const char *const known[] = {
#define X(n) #n,
#include "view/names.def"
#undef X
	};
	char *dir = mem_printf("%s/templates", srcdir);
	DIR *d = opendir(dir);
	struct buf all = BUF_INIT(4u << 20);

	assert_non_null(d);
	for (struct dirent *entry; (entry = readdir(d));) {
		char *file = mem_printf("%s/%s", dir, entry->d_name);
		if (entry->d_name[0] != '.')
			assert_int_equal(file_read(AT_FDCWD, file, &all), ERR_OK);
		free(file);
	}
	for (size_t i = 0; i < COUNT(known); i++) {
		if (i && strcmp(known[i - 1], known[i]) >= 0)
			fail_msg("names.def: %s is not in order", known[i]);
		char *uses[] = { mem_printf("{{%s}}", known[i]), mem_printf("{{#%s}}", known[i]), mem_printf("{{^%s}}", known[i]),
			mem_printf("{{{%s}}}", known[i]) };
		bool used = false;
		for (size_t k = 0; k < COUNT(uses); k++) {
			used |= strstr(buf_text(&all), uses[k]) != NULL;
			free(uses[k]);
		}
		if (!used)
			fail_msg("names.def: no template uses %s", known[i]);
	}
	buf_release(&all);
	closedir(d);
	free(dir);
}

int main(void)
{
	struct CMUnitTest tests[200];
	char *held[200] = { NULL };
	size_t n = 0;
	struct dirent **list;

	srcdir = getenv("srcdir") ? getenv("srcdir") : DRYDOCK_SRCDIR;
	char *dir = mem_printf("%s/templates", srcdir), *golden = mem_printf("%s/tests/unit/golden", srcdir);
	if (view_load(&set, dir)) {
		fprintf(stderr, "view_page_test: %s\n", err_text());
		return 1;
	}
	names = view_names_fixed();
	int found = scandir(golden, &list, NULL, alphasort);
	for (int i = 0; i < found; i++) {
		size_t len = strlen(list[i]->d_name);
		if (n < 190 && len > 5 && !strcmp(list[i]->d_name + len - 5, ".json") && strcmp(list[i]->d_name, "layout.json") != 0) {
			held[n] = mem_dupn(list[i]->d_name, len - 5);
			tests[n] = (struct CMUnitTest){ held[n], test_page, NULL, NULL, held[n] };
			n++;
		}
		free(list[i]);
	}
	if (found >= 0)
		free(list);
	size_t pages = n;
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_every_template);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_names);
	int failed = pages == 0 ? 1 : _cmocka_run_group_tests("pages", tests, n, NULL, NULL);
	for (size_t i = 0; i < pages; i++)
		free(held[i]);
	view_names_free(names);
	view_free(set);
	free(dir);
	free(golden);
	return failed;
}
