#include "repo_fixture.h"

/* --- swaps -------------------------------------------------------------------------------------------------------- */

struct step {
	const char *change; /* "+/a" adds, "-/a" removes; blanks between; "" none */
	const char *list; /* the paths after it */
};

static void expect_list(struct fixture *f, const struct blob_id *head, const char *want)
{
	char *got = fixture_list(f, head), *line = got;
	struct buf paths = BUF_INIT(65536);

	while (*line) {
		size_t n = strcspn(line, "\n");
		char *slash = memchr(line, '/', n);
		if (paths.len > 0)
			buf_char(&paths, ' ');
		buf_add(&paths, slash, n - (size_t)(slash - line));
		line += n + (line[n] == '\n');
	}
	assert_string_equal(buf_text(&paths), want);
	buf_release(&paths);
	free(got);
}

static void run_steps(struct fixture *f, const struct step *steps)
{
	struct blob_id head = { 0 };

	for (; steps->change; steps++) {
		char text[512], *word, *rest;
		struct act a;

		act_begin(&a, f);
		snprintf(text, sizeof(text), "%s", steps->change);
		for (word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
			if (*word == '+')
				act_text(&a, word + 1, steps->change);
			else
				act_remove(&a, word + 1);
		}
		act_end(&a, &head);
		expect_list(f, &head, steps->list);
	}
	fixture_fsck(f);
}

static void file_becomes_directory_and_back(void **state)
{
	static const struct step steps[] = {
		{ "+/a", "/a" },
		{ "-/a +/a/b", "/a/b" },
		{ "-/a/b +/a", "/a" },
		{ "+/a/b/c -/a +/a/b/d", "/a/b/c /a/b/d" },
		{ "-/a/b/c -/a/b/d +/a/b", "/a/b" },
		{ "+/a-b +/a.c +/a/x +/a0", "/a-b /a.c /a/b /a/x /a0" },
		{ "-/a/b -/a/x", "/a-b /a.c /a0" },
		{ "+/a -/a-b +/a-b/c/d", "/a /a-b/c/d /a.c /a0" },
		{ "-/a +/a/c/d/e/f +/b +/b0/x -/a-b/c/d +/a-b", "/a-b /a.c /a/c/d/e/f /a0 /b /b0/x" },
		{ "-/a/c/d/e/f +/a/c/d -/b +/b/b/b -/b0/x +/b0", "/a-b /a.c /a/c/d /a0 /b/b/b /b0" },
		/* removing what is not there changes nothing */
		{ "-/nothing -/a -/a/c -/a/c/d/e -/b/b", "/a-b /a.c /a/c/d /a0 /b/b/b /b0" },
		{ "-/a-b -/a.c -/a/c/d -/a0 -/b/b/b -/b0", "" },
		{ "+/z", "/z" },
		{ NULL },
	};
	run_steps(*state, steps);
}

static void conflicts_are_refused(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, tree;
	static const char *const bad[] = { "/dir", "/file/x", "/file/x/y", "/dir/sub" };
	struct act a;

	act_begin(&a, f);
	act_text(&a, "/dir/sub/file", "x");
	act_text(&a, "/file", "x");
	act_end(&a, &head);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		act_begin(&a, f);
		act_text(&a, bad[i], "y");
		assert_err(ERR_FAILED, repo_pack_tree(a.pack, &head, &a.plan, &tree));
		act_drop(&a);
	}
	act_begin(&a, f);
	act_text(&a, "/new", "y");
	act_text(&a, "/new/below", "y");
	assert_err(ERR_FAILED, repo_pack_tree(a.pack, &head, &a.plan, &tree));
	act_drop(&a);
}

/* --- against git, at random --------------------------------------------------------------------------------------- */

#define PLACES 400

struct place {
	char path[64];
	bool there, exec;
	struct blob_id blob;
};

static uint32_t seed;

static uint32_t any(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static bool below(const char *dir, const char *path)
{
	size_t n = strlen(dir);
	return strncmp(dir, path, n) == 0 && path[n] == '/';
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct place *)a)->path, ((const struct place *)b)->path);
}

static size_t make_places(struct place *places)
{
	static const char *const parts[] = { "a", "a-", "a.b", "a0", "b", "b b", "c", "\xc3\xa4", "~" };
	size_t n = 0;

	while (n < PLACES) {
		char path[64] = "";
		unsigned depth = 1 + any(4);
		for (unsigned d = 0; d < depth; d++) {
			size_t len = strlen(path);
			snprintf(path + len, sizeof(path) - len, "/%s", parts[any(sizeof(parts) / sizeof(parts[0]))]);
		}
		bool known = false;
		for (size_t i = 0; i < n; i++)
			known |= strcmp(places[i].path, path) == 0;
		if (!known)
			snprintf(places[n++].path, sizeof(places[0].path), "%s", path);
	}
	qsort(places, n, sizeof(*places), by_path);
	return n;
}

/* One change that makes sense: removes what stands in the way too. */
static void change_one(struct act *a, struct place *places, size_t n, bool *touched)
{
	size_t k = any((uint32_t)n);
	char text[32];

	if (touched[k])
		return;
	for (size_t i = 0; i < n; i++)
		if (touched[i] && (below(places[i].path, places[k].path) || below(places[k].path, places[i].path)))
			return;
	touched[k] = true;
	if (places[k].there && any(3) == 0) {
		places[k].there = false;
		act_remove(a, places[k].path);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (places[i].there && (below(places[i].path, places[k].path) || below(places[k].path, places[i].path))) {
			places[i].there = false;
			touched[i] = true;
			act_remove(a, places[i].path);
		}
	}
	snprintf(text, sizeof(text), "%u", any(50));
	places[k].there = true;
	places[k].exec = any(4) == 0;
	places[k].blob = act_put(a, places[k].path, text, strlen(text), places[k].exec);
}

static void expect_places(struct fixture *f, const struct blob_id *head, const struct place *places, size_t n)
{
	struct buf want = BUF_INIT(1024 * 1024);
	char *got = fixture_list(f, head);

	for (size_t i = 0; i < n; i++) {
		char hex[41];
		if (!places[i].there)
			continue;
		fixture_id_hex(&places[i].blob, hex);
		buf_fmt(&want, "%s %s %s\n", places[i].exec ? "100755" : "100644", hex, places[i].path);
	}
	assert_string_equal(got, buf_text(&want));
	buf_release(&want);
	free(got);
}

/* The difference of the two states, as the oracle knows it, is what repo_plan says. */
static void expect_plan(struct fixture *f, const struct blob_id *from, const struct blob_id *to, const struct place *a,
    const struct place *b, size_t n)
{
	struct plan plan;
	size_t k = 0;

	plan_init(&plan);
	assert_ok(repo_plan(f->r, from, to, &plan));
	for (size_t i = 0; i < n; i++) {
		const struct plan_item *item = &plan.items[k];
		if (a[i].there == b[i].there &&
		    (!a[i].there || (blob_id_equal(&a[i].blob, &b[i].blob) && a[i].exec == b[i].exec)))
			continue;
		assert_true(k < plan.n);
		assert_string_equal(item->path.s, a[i].path);
		assert_int_equal(item->kind, !b[i].there ? PLAN_REMOVE : a[i].there ? PLAN_CHANGE : PLAN_ADD);
		assert_true(blob_id_equal(&item->blob, b[i].there ? &b[i].blob : &a[i].blob));
		assert_int_equal(item->exec, b[i].there ? b[i].exec : a[i].exec);
		k++;
	}
	assert_int_equal(k, plan.n);
	plan_release(&plan);
}

struct listed {
	const struct place *places;
	size_t n, k;
};

static enum err on_file(void *arg, struct path path, const struct blob_id *blob, bool exec)
{
	struct listed *l = arg;

	while (l->k < l->n && !l->places[l->k].there)
		l->k++;
	assert_true(l->k < l->n);
	assert_string_equal(path.s, l->places[l->k].path);
	assert_int_equal(path.len, strlen(path.s));
	assert_true(blob_id_equal(blob, &l->places[l->k].blob));
	assert_int_equal(exec, l->places[l->k].exec);
	l->k++;
	return ERR_OK;
}

static void random_changes(void **state)
{
	struct fixture *f = *state;
	struct place *places = mem_array(PLACES, sizeof(*places)), *before = mem_array(PLACES, sizeof(*before));
	struct blob_id head = { 0 }, old, none = { 0 };
	bool *touched = mem_array(PLACES, sizeof(*touched));
	unsigned changes = 0;
	size_t n;

	seed = 20261121;
	n = make_places(places);
	for (unsigned round = 0; changes < 2000; round++) {
		unsigned batch = 1 + any(round % 4 == 0 ? 60 : 4);
		struct act a;

		memcpy(before, places, n * sizeof(*places));
		memset(touched, 0, n * sizeof(*touched));
		act_begin(&a, f);
		for (unsigned i = 0; i < batch; i++)
			change_one(&a, places, n, touched);
		changes += (unsigned)a.plan.n;
		old = head;
		act_end(&a, &head);
		expect_plan(f, &old, &head, before, places, n);
		if (round % 8 == 0) {
			struct listed l = { .places = places, .n = n };
			expect_places(f, &head, places, n);
			assert_ok(repo_walk(f->r, &head, on_file, &l));
			while (l.k < n && !places[l.k].there)
				l.k++;
			assert_int_equal(l.k, n);
		}
		if (round % 16 == 0) {
			memset(before, 0, n * sizeof(*before));
			for (size_t i = 0; i < n; i++)
				memcpy(before[i].path, places[i].path, sizeof(before[i].path));
			expect_plan(f, &none, &head, before, places, n);
			expect_plan(f, &head, &none, places, before, n);
		}
		if (round % 50 == 49) {
			free(fixture_git(f, "repack", "-q", "-a", "-d", NULL));
			repo_refresh(f->r);
		}
	}
	expect_places(f, &head, places, n);
	fixture_fsck(f);
	fixture_signatures(f, LOG_REF);
	free(places);
	free(before);
	free(touched);
}

static void directories_are_known(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 };
	struct act a;
	bool dir = true;

	assert_ok(repo_has_directory(f->r, &head, fixture_path(f, "/"), &dir));
	assert_false(dir);
	act_begin(&a, f);
	act_text(&a, "/a/b/c", "x");
	act_end(&a, &head);
	static const struct {
		const char *path;
		bool dir;
	} cases[] = { { "/", true }, { "/a", true }, { "/a/b", true }, { "/a/b/c", false }, { "/a/b/c/d", false }, { "/x", false } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_ok(repo_has_directory(f->r, &head, fixture_path(f, cases[i].path), &dir));
		assert_int_equal(dir, cases[i].dir);
	}
}

/* Trees that DryDock would never write are refused, whoever put them there. */
static void foreign_trees_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const trees[] = {
		"120000 blob %s\tlink\n",
		"100644 blob %s\t.git\n",
		"100644 blob %s\ta\\b\n", /* fine for git and for us: the control of this table */
		"160000 commit %s\tmodule\n",
		"100644 blob %s\tline\001break\n",
	};
	struct blob_id head = { 0 }, blob, tree, commit;
	struct plan plan;
	struct act a;
	char hex[41];

	act_begin(&a, f);
	blob = act_text(&a, "/a", "x");
	act_end(&a, &head);
	fixture_id_hex(&blob, hex);
	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
		char line[128];
		const char *argv[] = { "git", "--git-dir", f->repo, "mktree", "--missing", NULL };
		struct buf out = BUF_INIT(4096);
		struct uuid op;
		struct repo_pack *pack;
		struct record record = { .site = "t", .node = "", .act = "sign", .shown = "", .meaning = "", .note = "", .fields = NULL,
			.actor = { .name = "x", .provider = "own" } };
		struct repo_commit c = { .record = &record, .record_bytes = "", .files = "", .rules = "" };

		snprintf(line, sizeof(line), trees[i], hex);
		int status = fixture_run(f, argv, line, &out);
		if (status != 0 && i != 2) {
			buf_release(&out); /* git itself refuses to make it */
			continue;
		}
		assert_int_equal(out.len, 41);
		out.p[40] = '\0';
		assert_true(hex_parse(tree.b, BLOB_ID_SIZE, out.p));
		c.site_tree = tree;
		uuid_new(&op);
		assert_ok(repo_pack_begin(f->r, &op, &pack));
		assert_ok(repo_pack_commit(pack, &c, f->key, &commit));
		assert_ok(repo_pack_publish(pack, false));
		repo_pack_free(pack);
		plan_init(&plan);
		if (i == 2)
			assert_ok(repo_plan(f->r, &head, &commit, &plan));
		else
			assert_err(ERR_FAILED, repo_plan(f->r, &head, &commit, &plan));
		plan_release(&plan);
		buf_release(&out);
	}
}

/* As deep and as long as a path may be. */
static void longest_paths(void **state)
{
	struct fixture *f = *state;
	struct blob_id head = { 0 }, old, found;
	char deep[PATH_LIMIT + 1], wide[PATH_LIMIT + 1];
	struct plan plan;
	struct act a;
	bool exec;
	char *list;

	fixture_longest_paths(deep, wide);
	act_begin(&a, f);
	act_text(&a, deep, "deep");
	act_text(&a, wide, "wide");
	act_end(&a, &head);
	old = head;
	list = fixture_list(f, &head);
	assert_int_equal(strlen(list), 2 * (48 + PATH_LIMIT + 1));
	free(list);
	assert_ok(repo_find(f->r, &head, fixture_path(f, deep), &found, &exec));
	assert_ok(repo_find(f->r, &head, fixture_path(f, wide), &found, &exec));
	act_begin(&a, f);
	act_remove(&a, deep);
	act_text(&a, wide, "wider");
	act_end(&a, &head);
	plan_init(&plan);
	assert_ok(repo_plan(f->r, &old, &head, &plan));
	assert_int_equal(plan.n, 2);
	assert_int_equal(plan.removed, 1);
	assert_int_equal(plan.changed, 1);
	plan_release(&plan);
	fixture_fsck(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(file_becomes_directory_and_back, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(conflicts_are_refused, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(random_changes, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(longest_paths, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(directories_are_known, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(foreign_trees_are_refused, fixture_begin, fixture_end),
	};
	return cmocka_run_group_tests_name("repo tree", tests, NULL, NULL);
}
