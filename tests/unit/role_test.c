/*
 * role: DESIGN section 2 as tables. A rule set is written as lines "principal path role"; "who" as a user and his groups
 * with blanks between.
 */
#include "test.h"

#include "core/role.h"

static struct path P(const char *s)
{
	return (struct path){ s, strlen(s) };
}

/* What a test reads from its tables; dropped at the end of the test. */
struct world {
	struct arena *arena;
	struct rules *rules;
};

static struct rule parse_rule(struct arena *a, const char *line, size_t n)
{
	char *copy = arena_dupn(a, line, n);
	char *path = strchr(copy, ' ');
	char *role = path ? strchr(path + 1, ' ') : NULL;
	struct rule r;

	assert_non_null(role);
	*path++ = *role++ = '\0';
	r.principal = copy;
	r.path = P(path);
	assert_true(principal_valid(copy));
	assert_true(role_parse(&r.role, role));
	return r;
}

static struct rules *parse_rules(struct arena *a, const char *text)
{
	struct rule list[40];
	size_t n = 0;

	while (*text) {
		size_t len = strcspn(text, "\n");
		list[n++] = parse_rule(a, text, len);
		text += len + (text[len] == '\n');
	}
	return rules_new(list, n);
}

static struct identity *parse_who(struct arena *a, const char *text)
{
	struct identity *who = arena_alloc(a, sizeof(*who));
	const char **groups = arena_alloc(a, 10 * sizeof(*groups));

	while (*text) {
		size_t len = strcspn(text, " ");
		const char *word = arena_dupn(a, text, len);
		if (principal_is_group(word))
			groups[who->n_groups++] = word;
		else
			who->user = word;
		text += len + (text[len] == ' ');
	}
	who->groups = groups;
	return who;
}

static struct world make(const char *rules)
{
	struct world w = { arena_new(), NULL };

	w.rules = parse_rules(w.arena, rules);
	return w;
}

static void drop(struct world *w)
{
	rules_unref(w->rules);
	arena_free(w->arena);
}

/* --- the role of a user on a path -------------------------------------------------------------------------------------- */

static const struct {
	const char *what, *rules, *who, *path;
	enum role role;
	const char *decides; /* "principal path", NULL: no rule */
} resolve_cases[] = {
	/* clause 1: own rules, upwards, the first found decides */
	{ "no rules at all", "", "own:a", "/x", ROLE_NONE, NULL },
	{ "a rule on the path itself", "own:a /x sign", "own:a", "/x", ROLE_SIGN, "own:a /x" },
	{ "a rule above covers everything below", "own:a / sign", "own:a", "/x/y/z", ROLE_SIGN, "own:a /" },
	{ "on the root itself", "own:a / admin", "own:a", "/", ROLE_ADMIN, "own:a /" },
	{ "the nearer one decides, higher", "own:a / view\nown:a /x admin", "own:a", "/x/y", ROLE_ADMIN, "own:a /x" },
	{ "the nearer one decides, lower", "own:a / admin\nown:a /x view", "own:a", "/x/y", ROLE_VIEW, "own:a /x" },
	{ "none is a decision", "own:a / admin\nown:a /x none", "own:a", "/x/y", ROLE_NONE, "own:a /x" },
	{ "and above it nothing changed", "own:a / admin\nown:a /x none", "own:a", "/y", ROLE_ADMIN, "own:a /" },
	{ "/ab is not below /a", "own:a /a sign", "own:a", "/ab", ROLE_NONE, NULL },
	{ "nor the other way round", "own:a /ab sign", "own:a", "/a", ROLE_NONE, NULL },
	{ "/a-b is not below /a either", "own:a /a sign", "own:a", "/a-b/c", ROLE_NONE, NULL },
	{ "a rule below says nothing above", "own:a /x/y admin", "own:a", "/x", ROLE_NONE, NULL },
	{ "somebody else's rule", "own:b / admin", "own:a", "/x", ROLE_NONE, NULL },
	{ "the same name of another provider", "unix:a / admin", "own:a", "/x", ROLE_NONE, NULL },
	{ "names are compared whole", "own:ab / admin", "own:a", "/x", ROLE_NONE, NULL },
	{ "a later rule of the same key replaces", "own:a / view\nown:a / sign", "own:a", "/x", ROLE_SIGN, "own:a /" },
	/* clause 2: only if the whole walk finds nothing, the groups, each by itself, the highest */
	{ "a group's rule", "own:@g /x review", "own:a own:@g", "/x/y", ROLE_REVIEW, "own:@g /x" },
	{ "not his group", "own:@h / admin", "own:a own:@g", "/x", ROLE_NONE, NULL },
	{ "a user named like a group's name", "own:g / admin", "own:a own:@g", "/x", ROLE_NONE, NULL },
	{ "the same group of another provider", "unix:@g / admin", "own:a own:@g", "/x", ROLE_NONE, NULL },
	{ "own rule above beats a group's nearer one", "own:a / view\nown:@g /x/y admin", "own:a own:@g", "/x/y/z", ROLE_VIEW, "own:a /" },
	{ "own none above beats a group's nearer admin", "own:a / none\nown:@g /x admin", "own:a own:@g", "/x", ROLE_NONE, "own:a /" },
	{ "the highest over the groups", "own:@g / view\nown:@h / sign", "own:a own:@g own:@h", "/x", ROLE_SIGN, "own:@h /" },
	{ "whatever order the host lists them in", "own:@g / view\nown:@h / sign", "own:a own:@h own:@g", "/x", ROLE_SIGN, "own:@h /" },
	{ "each group by its nearest rule", "own:@g / admin\nown:@g /x view\nown:@h / sign", "own:a own:@g own:@h", "/x", ROLE_SIGN, "own:@h /" },
	{ "a group's none does not lower another's", "own:@g /x none\nown:@h / sign", "own:a own:@g own:@h", "/x", ROLE_SIGN, "own:@h /" },
	{ "a group's none is a decision for itself", "own:@g / sign\nown:@g /x none", "own:a own:@g", "/x", ROLE_NONE, "own:@g /x" },
	{ "the nearer of two equal ones is named", "own:@g / sign\nown:@h /x sign", "own:a own:@g own:@h", "/x", ROLE_SIGN, "own:@h /x" },
	{ "on one path the first by name is named", "own:@h /x sign\nown:@g /x sign", "own:a own:@h own:@g", "/x", ROLE_SIGN, "own:@g /x" },
	{ "groups of two providers", "unix:@w / view\nown:@g / review", "unix:a unix:@w own:@g", "/", ROLE_REVIEW, "own:@g /" },
	/* clause 3 */
	{ "otherwise no rights", "own:a /x sign\nown:@g /y sign", "own:a own:@g", "/z", ROLE_NONE, NULL },
	{ "nobody", "own:a / admin", "", "/", ROLE_NONE, NULL },
};

static void test_resolve(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(resolve_cases); i++) {
		struct world w = make(resolve_cases[i].rules);
		const struct identity *who = parse_who(w.arena, resolve_cases[i].who);
		struct role_answer a = role_resolve(w.rules, who, P(resolve_cases[i].path));
		const char *decides = a.rule ? arena_printf(w.arena, "%s %s", a.rule->principal, a.rule->path.s) : NULL;

		if (a.role != resolve_cases[i].role)
			fail_msg("%s: %s", resolve_cases[i].what, role_name(a.role));
		if (!decides != !resolve_cases[i].decides || (decides && strcmp(decides, resolve_cases[i].decides) != 0))
			fail_msg("%s: decided by %s", resolve_cases[i].what, decides ? decides : "nothing");
		assert_int_equal(role_on(w.rules, who, P(resolve_cases[i].path)), a.role);
		/* the explanation says the same */
		struct buf out = BUF_INIT(10000);
		role_explain(w.rules, who, P(resolve_cases[i].path), &out);
		const char *mark = strstr(buf_text(&out), "<- this rule decides");
		if (!mark != !decides || (mark && strstr(mark + 1, "<- ")))
			fail_msg("%s: explained as\n%s", resolve_cases[i].what, buf_text(&out));
		const char *says = arena_printf(w.arena, "the role %s on", role_name(a.role));
		assert_non_null(strstr(buf_text(&out), says));
		buf_release(&out);
		drop(&w);
	}
}

static void test_explain(void **state)
{
	struct world w = make("own:a /x/y none\nown:@g / sign\nown:@h /x view");
	struct buf out = BUF_INIT(10000);

	(void)state;
	role_explain(w.rules, parse_who(w.arena, "own:a own:@g own:@h"), P("/x"), &out);
	assert_string_equal(buf_text(&out), "own:a has the role sign on /x\n"
	                                    "own rules, from the path upwards:\n"
	                                    "  /x: no rule\n"
	                                    "  /: no rule\n"
	                                    "group own:@g:\n"
	                                    "  /x: no rule\n"
	                                    "  /: sign   <- this rule decides\n"
	                                    "group own:@h:\n"
	                                    "  /x: view\n"
	                                    "    (another group's rule decides: it gives sign)\n");
	buf_reset(&out);
	role_explain(w.rules, parse_who(w.arena, "own:a own:@g"), P("/x/y"), &out);
	assert_string_equal(buf_text(&out), "own:a has the role none on /x/y\n"
	                                    "own rules, from the path upwards:\n"
	                                    "  /x/y: none   <- this rule decides\n"
	                                    "groups: not asked, since a rule of the person's own was found\n");
	buf_release(&out);
	drop(&w);
}

/* --- what is below ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *what, *rules, *who, *dir;
	bool sees, uniform;
} below_cases[] = {
	{ "no rule below", "own:a / view", "own:a", "/", true, true },
	{ "nothing anywhere", "", "own:a", "/", false, true },
	{ "a deep rule opens the way down", "own:a /x/y/z sign", "own:a", "/", true, false },
	{ "from its parent as well", "own:a /x/y/z sign", "own:a", "/x/y", true, false },
	{ "but not beside it", "own:a /x/y/z sign", "own:a", "/w", false, true },
	{ "/x-y is not below /x", "own:a /x-y sign", "own:a", "/x", false, true },
	{ "/xy is not below /x", "own:a /xy sign", "own:a", "/x", false, true },
	{ "/x0 is not below /x", "own:a /x0 sign\nown:a /x- view", "own:a", "/x", false, true },
	{ "its own rule is not below itself", "own:a /x sign", "own:a", "/x", true, true },
	{ "a none below opens nothing", "own:a /x/y none", "own:a", "/x", false, true },
	{ "a none below makes a difference", "own:a / sign\nown:a /x/y none", "own:a", "/x", true, false },
	{ "the same role below makes none", "own:a / sign\nown:a /x/y sign", "own:a", "/x", true, true },
	{ "a group's rule below", "own:@g /x/y view", "own:a own:@g", "/x", true, false },
	{ "not where an own rule above decides", "own:a / none\nown:@g /x/y view", "own:a own:@g", "/x", false, true },
	{ "a higher one of another group covers it", "own:@g / sign\nown:@h /x view", "own:a own:@g own:@h", "/", true, true },
	{ "other people's rules do not count", "own:b /x admin\nown:@h /x none", "own:a own:@g", "/", false, true },
	{ "below the root, but not the root's own", "own:a / view\nown:@g /x sign", "own:b own:@g", "/", true, false },
};

static void test_below(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(below_cases); i++) {
		struct world w = make(below_cases[i].rules);
		const struct identity *who = parse_who(w.arena, below_cases[i].who);
		if (role_sees_below(w.rules, who, P(below_cases[i].dir)) != below_cases[i].sees)
			fail_msg("%s: sees", below_cases[i].what);
		if (role_uniform_below(w.rules, who, P(below_cases[i].dir)) != below_cases[i].uniform)
			fail_msg("%s: uniform", below_cases[i].what);
		drop(&w);
	}
}

/* --- against a slow reading of the same rule ---------------------------------------------------------------------------- */

static const char *const some_paths[] = { "/", "/a", "/a-", "/a/b", "/a/b/c", "/a0", "/ab", "/ab/c", "/b", "/b/a" };
static const char *const some_principals[] = { "own:a", "own:b", "own:@g", "own:@h", "unix:@g" };

static int slow_walk(const struct rule *list, size_t n, const char *principal, struct path path)
{
	int role = -1;
	size_t longest = 0;

	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].principal, principal) == 0 && path_covers(list[i].path, path) && list[i].path.len >= longest) {
			longest = list[i].path.len;
			role = (int)list[i].role;
		}
	return role;
}

static enum role slow_role(const struct rule *list, size_t n, const struct identity *who, struct path path)
{
	int role = slow_walk(list, n, who->user, path);

	if (role >= 0)
		return (enum role)role;
	for (size_t i = 0; i < who->n_groups; i++) {
		int g = slow_walk(list, n, who->groups[i], path);
		role = g > role ? g : role;
	}
	return role < 0 ? ROLE_NONE : (enum role)role;
}

/* A limit (of a token) is never more than the rules give, nothing outside its path, and seen from above. */
static void test_limit(void **state)
{
	(void)state;
	static const char *const sets[] = { "own:a / admin", "own:a / view\nown:a /a sign", "own:a /a/b none\nown:@g / sign", "own:@g /ab review", "" };

	for (size_t s = 0; s < COUNT(sets); s++)
		for (size_t at = 0; at < COUNT(some_paths); at++)
			for (int most = ROLE_VIEW; most <= ROLE_ADMIN; most++) {
				struct world w = make(sets[s]);
				struct identity *who = parse_who(w.arena, "own:a own:@g"), free_one = *who;
				const struct role_limit limit = { .role = (enum role)most, .path = P(some_paths[at]), .site = "", .token = "t" };

				who->limit = &limit;
				for (size_t p = 0; p < COUNT(some_paths); p++) {
					struct path path = P(some_paths[p]);
					enum role without = role_on(w.rules, &free_one, path), with = role_on(w.rules, who, path);
					bool sees = false, uniform = true;

					assert_int_equal(with, !path_covers(limit.path, path) ? ROLE_NONE : (int)without < most ? (int)without : most);
					for (size_t q = 0; q < COUNT(some_paths); q++)
						if (path_covers(path, P(some_paths[q]))) {
							sees |= role_on(w.rules, who, P(some_paths[q])) >= ROLE_VIEW;
							uniform &= role_on(w.rules, who, P(some_paths[q])) == with;
						}
					assert_int_equal(role_sees_below(w.rules, who, path), sees);
					/* It may be careful, but never say so where there is a difference. */
					if (!uniform)
						assert_false(role_uniform_below(w.rules, who, path));
				}
				drop(&w);
			}
}

static void test_random(void **state)
{
	static const char *const groups[] = { "own:@g", "own:@h" };
	const struct identity who = { .user = "own:a", .groups = groups, .n_groups = 2 };
	unsigned seed = 1;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		struct rule list[12];
		size_t n = 0, count = (size_t)round % 12;
		while (n < count) {
			seed = seed * 1103515245 + 12345;
			unsigned x = seed >> 8;
			list[n++] = (struct rule){ some_principals[x % 5], P(some_paths[x / 5 % 10]), (enum role)(x / 50 % 5) };
		}
		struct rules *r = rules_new(list, n);
		for (size_t i = 0; i < COUNT(some_paths); i++) {
			struct path dir = P(some_paths[i]);
			enum role here = slow_role(list, n, &who, dir);
			bool sees = here >= ROLE_VIEW, uniform = true;
			assert_int_equal(role_on(r, &who, dir), here);
			/* a made-up leaf below each path, so that every place is asked */
			for (size_t k = 0; k < COUNT(some_paths); k++) {
				struct path p = P(some_paths[k]);
				if (!path_covers(dir, p))
					continue;
				sees |= slow_role(list, n, &who, p) >= ROLE_VIEW;
				uniform &= slow_role(list, n, &who, p) == here;
			}
			assert_int_equal(role_sees_below(r, &who, dir), sees);
			assert_int_equal(role_uniform_below(r, &who, dir), uniform);
		}
		rules_unref(r);
	}
}

/* --- rule sets ---------------------------------------------------------------------------------------------------------- */

static void test_sets(void **state)
{
	struct world w = make("own:b /a sign\nown:a /a view\nown:a / admin\nown:a /a-b none\nown:a /a/x review");
	struct buf out = BUF_INIT(10000);

	(void)state;
	static const char text[] = "{\"path\":\"/\",\"principal\":\"own:a\",\"role\":\"admin\"}\n"
	                           "{\"path\":\"/a\",\"principal\":\"own:a\",\"role\":\"view\"}\n"
	                           "{\"path\":\"/a\",\"principal\":\"own:b\",\"role\":\"sign\"}\n"
	                           "{\"path\":\"/a-b\",\"principal\":\"own:a\",\"role\":\"none\"}\n"
	                           "{\"path\":\"/a/x\",\"principal\":\"own:a\",\"role\":\"review\"}\n";
	rules_encode(w.rules, &out);
	assert_string_equal(buf_text(&out), text);
	assert_int_equal(rules_count(w.rules), 5);
	assert_string_equal(rules_at(w.rules, 2)->principal, "own:b");

	struct rules *changed = rules_with(w.rules, "own:a", P("/a"), ROLE_SIGN);
	assert_int_equal(rules_count(changed), 5);
	assert_int_equal(rules_at(changed, 1)->role, ROLE_SIGN);
	assert_int_equal(rules_at(w.rules, 1)->role, ROLE_VIEW);
	struct rules *removed = rules_with(changed, "own:a", P("/a"), -1);
	rules_unref(changed);
	assert_int_equal(rules_count(removed), 4);
	struct rules *same = rules_with(removed, "own:z", P("/none"), -1);
	assert_int_equal(rules_count(same), 4);
	struct rules *added = rules_with(same, "own:z", P("/z"), ROLE_VIEW);
	assert_int_equal(rules_count(added), 5);
	struct rules *ref = rules_ref(added);
	rules_unref(added);
	assert_int_equal(rules_count(ref), 5);
	rules_unref(ref);
	rules_unref(same);
	rules_unref(removed);
	rules_unref(NULL);
	buf_release(&out);
	drop(&w);
	struct rules *none = rules_new(NULL, 0);
	rules_encode(none, &out);
	assert_int_equal(out.len, 0);
	rules_unref(none);
}

static void test_principals(void **state)
{
	static const char *const good[] = { "own:alice", "unix:bob", "proxy:carol@example.org", "own:@editors", "unix:@web team",
		"unix:DOM\\user", "own:\xc3\xa4", "ldap:x" };
	static const char *const bad[] = { "", "alice", ":alice", "own:", "own:@", "own:@@x", "Own:a", "own :a", "own:a/b", "own:a:b",
		"own: a", "own:a ", "own:@ a", "own:a\n", "own:\xff", "own:a\tb", "own:\x7f", "own2:a" };
	char text[400] = "own:";

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		if (!principal_valid(good[i]))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (principal_valid(bad[i]))
			fail_msg("accepted: %s", bad[i]);
	memset(text + 4, 'x', 128);
	assert_true(principal_valid(text));
	text[132] = 'x';
	assert_false(principal_valid(text));
	memset(text + 4, 'x', 395);
	assert_false(principal_valid(text));
	assert_true(principal_is_group("own:@g"));
	assert_false(principal_is_group("own:g@"));
	assert_false(principal_is_group("@g"));
	enum role r;
	for (int i = ROLE_NONE; i <= ROLE_ADMIN; i++) {
		assert_true(role_parse(&r, role_name((enum role)i)));
		assert_int_equal(r, i);
	}
	assert_false(role_parse(&r, "Admin"));
	assert_false(role_parse(&r, ""));
}

/* --- requirements -------------------------------------------------------------------------------------------------------- */

static struct rules *require(struct rules *r, const char *path, unsigned reviews, bool not_alone)
{
	const struct requirement q = { P(path), reviews, not_alone };
	struct rules *after = rules_require(r, &q);

	rules_unref(r);
	return after;
}

static void test_required(void **state)
{
	struct world w = make("own:root / admin\nown:sub /a admin");
	const struct identity root = { .user = "own:root" }, sub = { .user = "own:sub" }, none = { .user = "own:x" };

	(void)state;
	assert_false(rules_required_at_or_below(w.rules, P("/")));
	w.rules = require(w.rules, "/a", 2, false);
	w.rules = require(w.rules, "/a/b", 1, true);
	w.rules = require(w.rules, "/ab", 3, false);
	struct required q = rules_required(w.rules, P("/a/b/c"));
	assert_int_equal(q.reviews, 2);
	assert_string_equal(q.reviews_from->path.s, "/a");
	assert_true(q.not_alone);
	assert_string_equal(q.not_alone_from->path.s, "/a/b");
	q = rules_required(w.rules, P("/a/x"));
	assert_true(q.reviews == 2 && !q.not_alone);
	q = rules_required(w.rules, P("/"));
	assert_true(q.reviews == 0 && !q.not_alone && !q.reviews_from);
	assert_true(rules_required_at_or_below(w.rules, P("/")));
	assert_true(rules_required_at_or_below(w.rules, P("/a/b/c/d")));
	assert_false(rules_required_at_or_below(w.rules, P("/b")));
	/* they travel with the rules */
	struct rules *more = rules_with(w.rules, "own:z", P("/z"), ROLE_VIEW);
	assert_int_equal(rules_requirements(more), 3);
	rules_unref(more);
	/* who may: less needs admin above */
	const struct { const struct identity *who; const char *path; unsigned reviews; bool not_alone; enum err answer; } cases[] = {
		{ &none, "/a", 3, false, ERR_DENIED }, { &sub, "/", 1, false, ERR_DENIED }, { &sub, "/ab", 4, false, ERR_DENIED },
		{ &sub, "/a", 3, false, ERR_OK }, { &sub, "/a", 2, true, ERR_OK }, { &sub, "/a", 1, true, ERR_DENIED },
		{ &sub, "/a", 0, false, ERR_DENIED }, { &sub, "/a/b", 0, false, ERR_OK }, { &sub, "/a/b", 1, false, ERR_OK },
		{ &root, "/a", 0, false, ERR_OK }, { &root, "/a", 10, false, ERR_INPUT }, { &root, "/", 1, true, ERR_OK },
		{ &root, "/c", 0, false, ERR_NOT_FOUND },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct requirement r = { P(cases[i].path), cases[i].reviews, cases[i].not_alone };
		enum err e = requirement_change_allowed(w.rules, cases[i].who, &r);
		if (e != cases[i].answer)
			fail_msg("case %zu: %s: %s", i, err_name(e), err_text());
	}
	w.rules = require(w.rules, "/a", 0, false);
	assert_int_equal(rules_requirements(w.rules), 2);
	drop(&w);
}

static void test_decode(void **state)
{
	static const char *const bad[] = { "{}\n", "x\n", "{\"path\":\"/\",\"principal\":\"own:a\",\"role\":\"admin\"}",
		"{\"path\":\"/\",\"principal\":\"own:a\",\"role\":\"king\"}\n", "{\"path\":\"/\",\"principal\":\"a\",\"role\":\"admin\"}\n",
		"{\"path\":\"/a/\",\"principal\":\"own:a\",\"role\":\"admin\"}\n", "{\"principal\":\"own:a\",\"path\":\"/\",\"role\":\"admin\"}\n",
		"{\"not_alone\":false,\"path\":\"/\",\"reviews\":10}\n", "{\"not_alone\":false,\"path\":\"/\",\"reviews\":-1}\n",
		"{\"path\":\"/b\",\"principal\":\"own:a\",\"role\":\"admin\"}\n{\"path\":\"/a\",\"principal\":\"own:a\",\"role\":\"admin\"}\n",
		"{\"not_alone\":true,\"path\":\"/\",\"reviews\":1}\n{\"path\":\"/a\",\"principal\":\"own:a\",\"role\":\"admin\"}\n", "\n" };
	struct world w = make("own:b /a sign\nown:a /a view\nown:@g / admin\nown:a /a-b none");
	struct buf out = BUF_INIT(10000);
	struct rules *again;

	(void)state;
	w.rules = require(w.rules, "/a", 2, true);
	w.rules = require(w.rules, "/", 0, true);
	rules_encode(w.rules, &out);
	assert_non_null(strstr(buf_text(&out), "{\"not_alone\":true,\"path\":\"/\",\"reviews\":0}\n{\"not_alone\":true,\"path\":\"/a\",\"reviews\":2}\n"));
	assert_ok(rules_decode(&again, buf_text(&out), out.len));
	struct buf twice = BUF_INIT(10000);
	rules_encode(again, &twice);
	assert_string_equal(buf_text(&twice), buf_text(&out));
	buf_release(&twice);
	rules_unref(again);
	assert_ok(rules_decode(&again, "", 0));
	assert_int_equal(rules_count(again), 0);
	rules_unref(again);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (rules_decode(&again, bad[i], strlen(bad[i])) != ERR_INPUT)
			fail_msg("taken: %s", bad[i]);
	buf_release(&out);
	drop(&w);
}

/* --- who gains and who loses, and rules that do nothing ------------------------------------------------------------------ */

static bool tell_difference(void *arg, const struct identity *who, struct path at, enum role before, enum role after)
{
	buf_fmt(arg, "%s %s %s>%s\n", who->user, at.s, role_name(before), role_name(after));
	return true;
}

static void test_differences(void **state)
{
	static const struct { const char *what, *before, *principal, *path; int role; const char *who, *told; } cases[] = {
		{ "nothing changes", "own:a / view", "own:b", "/", ROLE_ADMIN, "own:a", "" },
		{ "at the path", "", "own:a", "/x", ROLE_SIGN, "own:a", "own:a /x none>sign\n" },
		{ "not where a nearer one holds", "own:a /x/y view", "own:a", "/x", ROLE_SIGN, "own:a", "own:a /x none>sign\n" },
		{ "below, where a nearer one ends", "own:a / view\nown:a /x/y view\nown:a /x/y/z view", "own:a", "/x/y", ROLE_NONE, "own:a", "own:a /x/y view>none\n" },
		{ "another change below", "own:@g / view\nown:@g /x/y sign", "own:a", "/x", ROLE_REVIEW, "own:a own:@g", "own:a /x view>review\nown:a /x/y sign>review\n" },
		{ "only below", "own:@g /x review\nown:@g /x/y sign", "own:a", "/x", ROLE_REVIEW, "own:a own:@g", "own:a /x/y sign>review\n" },
		{ "a group's", "own:@h / view", "own:@g", "/x", ROLE_SIGN, "own:a own:@g own:@h", "own:a /x view>sign\n" },
		{ "a rule taken away uncovers the groups", "own:a /x none\nown:@g / admin\nown:@g /x/y view", "own:a", "/x", -1, "own:a own:@g",
		    "own:a /x none>admin\nown:a /x/y none>view\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct world w = make(cases[i].before);
		struct rules *after = rules_with(w.rules, cases[i].principal, P(cases[i].path), cases[i].role);
		struct buf out = BUF_INIT(10000);

		role_differences(w.rules, after, parse_who(w.arena, cases[i].who), P(cases[i].path), tell_difference, &out);
		if (strcmp(buf_text(&out), cases[i].told) != 0)
			fail_msg("%s: %s", cases[i].what, buf_text(&out));
		buf_release(&out);
		rules_unref(after);
		drop(&w);
	}
}

static void test_doubts(void **state)
{
	/* the first rule of the list is the one that is asked about */
	static const struct { const char *what, *rules, *members; bool exists; enum rule_doubt doubt; } cases[] = {
		{ "the only one", "own:a /x sign", "own:a", true, RULE_FINE },
		{ "said above", "own:a /x sign\nown:a / sign", "own:a", true, RULE_REPEATS },
		{ "not if another stands between", "own:a /x/y sign\nown:a / sign\nown:a /x view", "own:a", true, RULE_FINE },
		{ "a group's none that nothing is above of", "own:@g /x none", "own:a own:@g", true, RULE_REPEATS },
		{ "a group's none below its right", "own:@g /x none\nown:@g / sign", "own:a own:@g", true, RULE_FINE },
		{ "somebody who is gone", "own:a /x sign", "own:b", false, RULE_GONE },
		{ "a group without members", "own:@g /x sign", "own:b", true, RULE_EMPTY },
		{ "a group whose members have rules of their own", "own:@g /x sign\nown:a / view", "own:a own:@g", true, RULE_SHADOWED },
		{ "but not if one has none", "own:@g /x sign\nown:a / view", "own:a own:@g|own:b own:@g", true, RULE_FINE },
		{ "another group gives more", "own:@g /x sign\nown:@h / admin", "own:a own:@g own:@h", true, RULE_SHADOWED },
		{ "a person's that his group gives anyway", "own:a /x sign\nown:@g / sign", "own:a own:@g", true, RULE_SHADOWED },
		{ "a person's that keeps his group's off below", "own:a /x sign\nown:@g / sign\nown:@g /x/y admin", "own:a own:@g", true, RULE_FINE },
		{ "a person's none", "own:a /x none", "own:a", true, RULE_SHADOWED },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct world w = make(cases[i].rules);
		struct role_member members[4];
		struct rule first = parse_rule(w.arena, cases[i].rules, strcspn(cases[i].rules, "\n"));
		const struct rule *above;
		size_t n = 0;

		for (const char *p = cases[i].members; *p; p += strcspn(p, "|"), p += *p == '|')
			members[n++] = (struct role_member){ parse_who(w.arena, arena_dupn(w.arena, p, strcspn(p, "|"))), true };
		enum rule_doubt d = rule_doubt_of(w.rules, rules_find(w.rules, first.principal, first.path), cases[i].exists, members, n, &above);
		if (d != cases[i].doubt)
			fail_msg("%s: %s", cases[i].what, rule_doubt_name(d));
		drop(&w);
	}
}

/* --- changing rules ------------------------------------------------------------------------------------------------------ */

#define REMOVE (-1)

/* root is admin on "/"; sub on "/a" only; top is another admin on "/", carl through the group own:@admins. */
#define BASE "own:root / admin\nown:top / admin\nown:sub /a admin\nown:@admins / admin\nown:@team /a/t admin"
/* A member who is disabled begins with '!'. */
#define MEMBERS "own:root|own:top|own:sub|own:carl own:@admins|own:tim own:@team|own:both own:@admins own:@team|own:new"

static const struct {
	const char *what, *rules, *members, *actor, *principal, *path;
	int role;
	enum err answer;
} change_cases[] = {
	{ "an admin gives a role on his path", BASE, MEMBERS, "own:sub", "own:new", "/a", ROLE_SIGN, ERR_OK },
	{ "and below it", BASE, MEMBERS, "own:sub", "own:new", "/a/x", ROLE_ADMIN, ERR_OK },
	{ "not above it", BASE, MEMBERS, "own:sub", "own:new", "/", ROLE_VIEW, ERR_DENIED },
	{ "not beside it", BASE, MEMBERS, "own:sub", "own:new", "/ab", ROLE_VIEW, ERR_DENIED },
	{ "somebody without a role changes nothing", BASE, MEMBERS, "own:new", "own:new", "/a", ROLE_VIEW, ERR_DENIED },
	{ "who signs changes no rules", BASE "\nown:new / sign", MEMBERS, "own:new", "own:new", "/x", ROLE_VIEW, ERR_DENIED },
	{ "an admin through a group does", BASE, MEMBERS, "own:carl own:@admins", "own:new", "/x", ROLE_SIGN, ERR_OK },
	{ "not a principal", BASE, MEMBERS, "own:root", "new", "/", ROLE_VIEW, ERR_INPUT },
	/* nobody's admin that comes from above is taken away */
	{ "sub cannot shut out an admin of /", BASE, MEMBERS, "own:sub", "own:top", "/a", ROLE_NONE, ERR_DENIED },
	{ "nor lower him to sign", BASE, MEMBERS, "own:sub", "own:top", "/a/x", ROLE_SIGN, ERR_DENIED },
	{ "to say the same again is fine", BASE, MEMBERS, "own:sub", "own:top", "/a", ROLE_ADMIN, ERR_OK },
	{ "an equal admin of / may lower him", BASE, MEMBERS, "own:root", "own:top", "/a", ROLE_NONE, ERR_OK },
	{ "and on / too", BASE, MEMBERS, "own:root", "own:top", "/", REMOVE, ERR_OK },
	{ "sub cannot lower the group of admins", BASE, MEMBERS, "own:sub", "own:@admins", "/a", ROLE_VIEW, ERR_DENIED },
	{ "even if no member is known", BASE, "own:root|own:top|own:sub", "own:sub", "own:@admins", "/a", ROLE_VIEW, ERR_DENIED },
	{ "nor one of its members", BASE, MEMBERS, "own:sub", "own:carl", "/a", ROLE_VIEW, ERR_DENIED },
	{ "a disabled one neither", BASE, "own:root|!own:carl own:@admins", "own:sub", "own:carl", "/a", ROLE_VIEW, ERR_DENIED },
	{ "a member whom an own rule governs is not lowered", BASE "\nown:carl / view",
	    "own:root|own:sub|own:carl own:@admins", "own:sub", "own:carl", "/a", ROLE_SIGN, ERR_OK },
	{ "whom he made admin himself he may lower", BASE "\nown:new /a/x admin", MEMBERS, "own:sub", "own:new", "/a/x", ROLE_VIEW, ERR_OK },
	{ "a group that got it at his own path", BASE, MEMBERS, "own:sub", "own:@team", "/a/t", REMOVE, ERR_OK },
	{ "one who has it from both is not lowered by that", BASE, MEMBERS, "own:sub", "own:@team", "/a/t", ROLE_NONE, ERR_OK },
	{ "but by a rule of his own he is", BASE, MEMBERS, "own:sub", "own:both", "/a/t", ROLE_VIEW, ERR_DENIED },
	{ "a rule above does not lower where a nearer one holds", BASE "\nown:new /a/x/y admin", MEMBERS, "own:sub", "own:new", "/a/x",
	    ROLE_NONE, ERR_OK },
	{ "removing a shield lowers below", "own:root / admin\nown:sub /a admin\nown:top / none\nown:top /a admin\nown:sub /a/x admin",
	    "own:root|own:top|own:sub", "own:sub", "own:top", "/a", REMOVE, ERR_OK },
	{ "himself, where it comes from above", "own:root / admin\nown:@subs /a admin", "own:root|own:sub own:@subs", "own:sub own:@subs",
	    "own:sub", "/a/x", ROLE_VIEW, ERR_OK },
	{ "a rule for a person uncovers his group's rule above", "own:root / admin\nown:sub /a admin\nown:@boss / admin\nown:carl /a view",
	    "own:root|own:sub|own:carl own:@boss", "own:sub", "own:carl", "/a", REMOVE, ERR_OK },
	{ "a rule for a person hides it", "own:root / admin\nown:sub /a admin\nown:@boss / admin", "own:root|own:sub|own:carl own:@boss",
	    "own:sub", "own:carl", "/a", ROLE_SIGN, ERR_DENIED },
	{ "an own rule at / set by an equal hides a group's admin below", "own:root / admin\nown:@boss /a admin", "own:root|own:carl own:@boss",
	    "own:root", "own:carl", "/", ROLE_VIEW, ERR_OK },
	{ "nor take it back after giving it again himself", BASE "\nown:top /a admin", MEMBERS, "own:sub", "own:top", "/a", ROLE_NONE, ERR_DENIED },
	{ "but he may remove what he gave again", BASE "\nown:top /a admin", MEMBERS, "own:sub", "own:top", "/a", REMOVE, ERR_OK },
	{ "nor through a group, given again", BASE "\nown:@admins /a/x admin", MEMBERS, "own:sub", "own:@admins", "/a/x", ROLE_VIEW, ERR_DENIED },
	{ "nor one of its members, given again", BASE "\nown:carl /a/x admin", MEMBERS, "own:sub", "own:carl", "/a/x", ROLE_SIGN, ERR_DENIED },
	{ "whom those above lowered, he may lower again", BASE "\nown:new / admin\nown:new /a view", MEMBERS, "own:sub", "own:new", "/a", ROLE_NONE, ERR_OK },
	/* "/" keeps an enabled admin */
	{ "the only admin cannot remove himself", "own:root / admin", "own:root|own:new", "own:root", "own:root", "/", REMOVE, ERR_DENIED },
	{ "nor lower himself", "own:root / admin", "own:root|own:new", "own:root", "own:root", "/", ROLE_SIGN, ERR_DENIED },
	{ "below / he may", "own:root / admin", "own:root|own:new", "own:root", "own:root", "/a", ROLE_NONE, ERR_OK },
	{ "with another admin he may", "own:root / admin\nown:new / admin", "own:root|own:new", "own:root", "own:root", "/", REMOVE, ERR_OK },
	{ "not if the other is disabled", "own:root / admin\nown:new / admin", "own:root|!own:new", "own:root", "own:root", "/", REMOVE, ERR_DENIED },
	{ "a group with an enabled member is enough", "own:root / admin\nown:@g / admin", "own:root|own:new own:@g", "own:root", "own:root", "/",
	    REMOVE, ERR_OK },
	{ "a group without members is not", "own:root / admin\nown:@g / admin", "own:root|own:new", "own:root", "own:root", "/", REMOVE, ERR_DENIED },
	{ "an own rule may hide a member's group", "own:root / admin\nown:@g / admin\nown:new / view", "own:root|own:new own:@g", "own:root",
	    "own:root", "/", REMOVE, ERR_DENIED },
	{ "the group that makes the actor admin stays", "own:@g / admin", "own:a own:@g|own:new", "own:a own:@g", "own:@g", "/", REMOVE, ERR_DENIED },
	{ "the actor counts, listed or not", "own:@g / admin\nown:x / admin", "own:x", "own:a own:@g", "own:x", "/", REMOVE, ERR_OK },
};

static void test_change(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(change_cases); i++) {
		struct world w = make(change_cases[i].rules);
		struct role_member members[10];
		size_t n = 0;
		for (const char *at = change_cases[i].members; *at;) {
			size_t len = strcspn(at, "|");
			bool enabled = *at != '!';
			members[n].enabled = enabled;
			members[n++].who = parse_who(w.arena, arena_dupn(w.arena, at + !enabled, len - !enabled));
			at += len + (at[len] == '|');
		}
		enum err e = role_change_allowed(w.rules, parse_who(w.arena, change_cases[i].actor), change_cases[i].principal,
		    P(change_cases[i].path), change_cases[i].role, members, n);
		if (e != change_cases[i].answer)
			fail_msg("%s: %s (%s)", change_cases[i].what, err_name(e), e ? err_text() : "");
		drop(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_explain),
		cmocka_unit_test(test_below),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_principals),
		cmocka_unit_test(test_required),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_differences),
		cmocka_unit_test(test_doubts),
		cmocka_unit_test(test_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
