/*
 * field: definitions, what an act asks for, and what is taken. A set is written as lines
 * "path name type acts[!] [choice|choice]", with ! where it is required; acts by their first letters: s, r, k (revoke).
 */
#include "test.h"

#include "core/field.h"
#include "core/record.h"

#define NODE "00000000000000000000000000000000000000000000000000000000000000aa"
#define OTHER "00000000000000000000000000000000000000000000000000000000000000bb"

static struct path P(const char *s)
{
	return (struct path){ s, strlen(s) };
}

static struct field_def parse_def(struct arena *a, const char *line, size_t len, uint64_t version)
{
	char *word[5] = { NULL }, *save, *copy = arena_dupn(a, line, len);
	const char **choices = arena_alloc(a, 10 * sizeof(*choices));
	struct field_def d = { .label = "A label", .node = NODE, .version = version, .choices = choices };
	size_t n = 0;

	for (char *w = strtok_r(copy, " ", &save); w && n < 5; w = strtok_r(NULL, " ", &save))
		word[n++] = w;
	assert_true(n >= 4);
	d.path = P(word[0]);
	d.name = word[1];
	assert_true(field_type_parse(&d.type, word[2]));
	for (const char *c = word[3]; *c; c++) {
		d.acts |= *c == 's' ? FIELD_SIGN : *c == 'r' ? FIELD_REVIEW : *c == 'k' ? FIELD_REVOKE : 0;
		d.required |= *c == '!';
	}
	for (char *w = word[4] ? strtok_r(word[4], "|", &save) : NULL; w; w = strtok_r(NULL, "|", &save))
		choices[d.n_choices++] = w;
	return d;
}

static struct rules *parse(struct arena *a, const char *rules, const char *text)
{
	struct field_def list[40];
	struct rule rule[4];
	size_t n = 0, n_rules = 0;
	char *save;

	while (*text) {
		size_t len = strcspn(text, "\n");
		list[n] = parse_def(a, text, len, n + 1);
		n++;
		text += len + (text[len] == '\n');
	}
	for (char *p = strtok_r(arena_dup(a, rules), ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		char *path = strchr(p, ' ');

		*path++ = '\0';
		rule[n_rules++] = (struct rule){ p, P(path), ROLE_ADMIN };
	}
	return rules_new_full(rule, n_rules, NULL, 0, list, n);
}

/* --- definitions ------------------------------------------------------------------------------------------------------ */

static void names(void **state)
{
	(void)state;
	static const char *const good[] = { "a", "ticket", "a1", "a_b", "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd" };
	static const char *const bad[] = { "", "1a", "_a", "A", "a-b", "a b", "a.b", "tïcket", "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcde",
		"request", "superseded", "rules", "required_reviews", "reviewed_by", "token", "fields-asked", "a\n" };

	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(field_name_valid(good[i]));
	for (size_t i = 0; i < COUNT(bad); i++)
		if (field_name_valid(bad[i]))
			fail_msg("taken as a name: %s", bad[i]);
}

static void definitions(void **state)
{
	(void)state;
	static const char *const two[] = { "yes", "no" }, *const twice[] = { "a", "b", "a" }, *const blank[] = { "a", " b" }, *const wide[] = { "a  b" },
	    *const line[] = { "a\nb" }, *const hidden[] = { "a\u202eb" }, *const empty[] = { "" };
	char label[FIELD_LABEL_LIMIT + 2];
	const char *many[FIELD_CHOICES_LIMIT + 1];
	const struct field_def fine = { .path = P("/"), .name = "a", .label = "A", .acts = FIELD_SIGN, .node = NODE };
	struct field_def d = fine;

	assert_int_equal(field_def_check(&d), ERR_OK);
	static const char *const labels[] = { "", " a", "a ", "a  b", "a\tb", "a\nb", "\xff", "a\u200b", "\x7f" };
	for (size_t i = 0; i < COUNT(labels); i++) {
		d.label = labels[i];
		if (field_def_check(&d) != ERR_INPUT)
			fail_msg("taken as a label: %zu", i);
	}
	memset(label, 'x', sizeof(label));
	label[FIELD_LABEL_LIMIT + 1] = '\0';
	d.label = label;
	assert_int_equal(field_def_check(&d), ERR_INPUT);
	label[FIELD_LABEL_LIMIT] = '\0';
	assert_int_equal(field_def_check(&d), ERR_OK);
	d = fine;
	d.acts = 0;
	assert_int_equal(field_def_check(&d), ERR_INPUT);
	d.acts = 8;
	assert_int_equal(field_def_check(&d), ERR_INPUT);
	d = fine;
	d.place = FIELD_PLACE_LIMIT + 1;
	assert_int_equal(field_def_check(&d), ERR_INPUT);
	d = fine;
	d.choices = two;
	d.n_choices = 2;
	assert_int_equal(field_def_check(&d), ERR_INPUT); /* a text has none */
	d.type = FIELD_CHOICE;
	assert_int_equal(field_def_check(&d), ERR_OK);
	d.n_choices = 0;
	assert_int_equal(field_def_check(&d), ERR_INPUT); /* and a choice some */
	static const struct { const char *const *list; size_t n; } wrong[] = { { twice, 3 }, { blank, 2 }, { wide, 1 }, { line, 1 }, { hidden, 1 }, { empty, 1 } };
	for (size_t i = 0; i < COUNT(wrong); i++) {
		d.choices = wrong[i].list;
		d.n_choices = wrong[i].n;
		if (field_def_check(&d) != ERR_INPUT)
			fail_msg("taken as choices: %zu", i);
	}
	for (size_t i = 0; i <= FIELD_CHOICES_LIMIT; i++)
		many[i] = mem_printf("%zu", i);
	d.choices = many;
	d.n_choices = FIELD_CHOICES_LIMIT;
	assert_int_equal(field_def_check(&d), ERR_OK);
	d.n_choices++;
	assert_int_equal(field_def_check(&d), ERR_INPUT);
	for (size_t i = 0; i <= FIELD_CHOICES_LIMIT; i++)
		free((char *)many[i]);
}

static void dates(void **state)
{
	(void)state;
	static const char *const good[] = { "2026-02-28", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31", "2026-11-30" };
	static const char *const bad[] = { "", "2026-02-30", "2026-02-29", "1900-02-29", "2026-11-31", "2026-13-01", "2026-00-10", "2026-01-00", "0000-01-01", "2026-1-01",
		"2026-01-1", "2026-01-011", "2026/01/01", "20260101", "+026-01-01", "2026-01-0x", " 2026-01-01", "2026-01-01 ", "2026-01-01T00:00:00Z", "-026-01-01" };

	for (size_t i = 0; i < COUNT(good); i++)
		if (!field_date_valid(good[i]))
			fail_msg("no day: %s", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (field_date_valid(bad[i]))
			fail_msg("taken as a day: %s", bad[i]);
}

/* --- as bytes ---------------------------------------------------------------------------------------------------------- */

static void bytes(void **state)
{
	(void)state;
	static const char want[] =
	    "{\"path\":\"/\",\"principal\":\"own:ann\",\"role\":\"admin\"}\n"
	    "{\"acts\":[\"sign\",\"revoke\"],\"choices\":[],\"field\":\"b\",\"label\":\"A label\",\"node\":\"" NODE "\",\"path\":\"/\",\"place\":0,\"required\":true,"
	    "\"type\":\"text\",\"version\":2}\n"
	    "{\"acts\":[\"review\"],\"choices\":[\"x\",\"y\"],\"field\":\"a\",\"label\":\"A label\",\"node\":\"" NODE "\",\"path\":\"/d\",\"place\":0,\"required\":false,"
	    "\"type\":\"choice\",\"version\":1}\n";
	struct arena *a = arena_new();
	struct rules *r = parse(a, "own:ann /", "/d a choice r x|y\n/ b text sk!"), *back;
	struct buf text = BUF_INIT(100000);

	rules_encode(r, &text);
	assert_string_equal(buf_text(&text), want);
	assert_int_equal(rules_decode(&back, want, strlen(want)), ERR_OK);
	assert_int_equal(rules_fields(back), 2);
	assert_string_equal(rules_field_find(back, P("/d"), "a")->choices[1], "y");
	rules_unref(back);
	/* Each byte that is not as it would be written. */
	static const struct { const char *from, *to; } breaks[] = {
		{ "\"acts\":[\"sign\",\"revoke\"]", "\"acts\":[\"revoke\",\"sign\"]" }, { "\"acts\":[\"sign\",\"revoke\"]", "\"acts\":[\"sign\",\"sign\"]" },
		{ "\"acts\":[\"sign\",\"revoke\"]", "\"acts\":[]" }, { "\"acts\":[\"sign\",\"revoke\"]", "\"acts\":[\"rule\"]" }, { "\"acts\":[\"sign\",\"revoke\"]", "\"acts\":\"sign\"" },
		{ "\"version\":2", "\"version\":0" }, { "\"version\":2", "\"version\":\"2\"" }, { "\"place\":0", "\"place\":1000" }, { "\"place\":0", "\"place\":-1" },
		{ "\"type\":\"text\"", "\"type\":\"memo\"" }, { "\"field\":\"b\"", "\"field\":\"B\"" }, { "\"field\":\"b\"", "\"field\":\"rules\"" },
		{ "\"choices\":[]", "\"choices\":[\"a\"]" }, { "\"choices\":[\"x\",\"y\"]", "\"choices\":[\"x\",\"x\"]" }, { "\"choices\":[\"x\",\"y\"]", "\"choices\":[1]" },
		{ "\"label\":\"A label\"", "\"label\":\"\"" }, { "\"required\":true", "\"required\":1" }, { "\"required\":true", "\"required\":true,\"role\":\"view\"" },
	};
	for (size_t i = 0; i < COUNT(breaks); i++) {
		const char *at = strstr(want, breaks[i].from);
		struct buf broken = BUF_INIT(100000);

		assert_non_null(at);
		buf_add(&broken, want, (size_t)(at - want));
		buf_str(&broken, breaks[i].to);
		buf_str(&broken, at + strlen(breaks[i].from));
		if (rules_decode(&back, buf_text(&broken), broken.len) != ERR_INPUT)
			fail_msg("decoded: %s", breaks[i].to);
		buf_release(&broken);
	}
	/* One set, one removed; the rules stay. */
	struct field_def d = parse_def(a, "/ b date k", 10, 3);
	struct rules *set = rules_field(r, &d);
	assert_int_equal(rules_fields(set), 2);
	assert_int_equal(rules_field_find(set, P("/"), "b")->version, 3);
	assert_int_equal(rules_count(set), 1);
	d.acts = 0;
	struct rules *gone = rules_field(set, &d);
	assert_int_equal(rules_fields(gone), 1);
	assert_null(rules_field_find(gone, P("/"), "b"));
	/* A change of rules or requirements leaves them alone. */
	struct rules *other = rules_with(r, "own:bob", P("/d"), ROLE_VIEW), *more = rules_require(other, &(struct requirement){ P("/"), 2, false });
	assert_int_equal(rules_fields(more), 2);
	rules_unref(more);
	rules_unref(other);
	rules_unref(gone);
	rules_unref(set);
	rules_unref(r);
	buf_release(&text);
	arena_free(a);
}

/* --- who may ---------------------------------------------------------------------------------------------------------- */

static void allowed(void **state)
{
	(void)state;
	/* ann is admin of all, dora of /d. */
	static const struct { const char *who, *set; enum err want; } cases[] = {
		{ "own:ann", "/ new text s", ERR_OK },
		{ "own:ann", "/d/x new text s!", ERR_OK },
		{ "own:dora", "/d new text s!", ERR_OK },
		{ "own:dora", "/d/x new text s!", ERR_OK },
		{ "own:dora", "/ new text s", ERR_DENIED },
		{ "own:dora", "/e new text s", ERR_DENIED },
		{ "own:none", "/d new text s", ERR_DENIED },
		/* what stands above is not defined otherwise below but by who may change it there */
		{ "own:dora", "/d top date s", ERR_DENIED },
		{ "own:ann", "/d top date s", ERR_OK },
		/* a required one is not lifted by those whom it binds */
		{ "own:dora", "/d must text s", ERR_DENIED },
		{ "own:dora", "/d must text r!", ERR_DENIED },
		{ "own:dora", "/d must text s!", ERR_OK },
		{ "own:dora", "/d must text sr!", ERR_OK },
		{ "own:dora", "/d must text -", ERR_DENIED },
		{ "own:ann", "/d must text -", ERR_OK },
		{ "own:dora", "/d may text -", ERR_OK },
		{ "own:dora", "/d may text s!", ERR_OK },
		{ "own:ann", "/ top text -", ERR_OK },
		{ "own:ann", "/ gone text -", ERR_NOT_FOUND },
		{ "own:dora", "/d top text -", ERR_NOT_FOUND }, /* it stands above, not here */
	};
	struct arena *a = arena_new();
	struct rules *r = parse(a, "own:ann /,own:dora /d", "/ top text s!\n/d must text s!\n/d may text s");

	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct identity who = { .user = cases[i].who };
		struct field_def d = parse_def(a, cases[i].set, strlen(cases[i].set), 9);

		if (field_change_allowed(r, &who, &d) != cases[i].want)
			fail_msg("%s sets %s", cases[i].who, cases[i].set);
	}
	rules_unref(r);
	arena_free(a);
}

static void room(void **state)
{
	(void)state;
	const struct identity ann = { .user = "own:ann" };
	struct arena *a = arena_new();
	struct rules *r = parse(a, "own:ann /", "/d x text s");
	const char **choices = arena_alloc(a, FIELD_CHOICES_LIMIT * sizeof(*choices));
	size_t n = 0;
	enum err e = ERR_OK;

	/* Those above count for each path below, whoever came first. */
	while (!e && n < 100) {
		const char *line = arena_printf(a, "/ f%zu text s", n++);
		struct field_def d = parse_def(a, line, strlen(line), 2);

		e = field_change_allowed(r, &ann, &d);
		if (!e) {
			struct rules *more = rules_field(r, &d);
			rules_unref(r);
			r = more;
		}
	}
	assert_int_equal(e, ERR_TOO_BIG);
	assert_int_equal(rules_fields(r), FIELDS_ON_PATH);
	struct field_def beside = parse_def(a, "/e x text s", 11, 2), again = parse_def(a, "/d f1 date s", 12, 2);
	assert_int_equal(field_change_allowed(r, &ann, &beside), ERR_OK);
	assert_int_equal(field_change_allowed(r, &ann, &again), ERR_OK); /* the same name is no more than one */
	rules_unref(r);

	r = parse(a, "own:ann /", "");
	struct field_def large = parse_def(a, "/ f choice s", 12, 2);
	for (size_t i = 0; i < FIELD_CHOICES_LIMIT; i++)
		choices[i] = arena_printf(a, "%0*zu", 79, i);
	large.choices = choices;
	large.n_choices = FIELD_CHOICES_LIMIT;
	assert_int_equal(field_def_check(&large), ERR_OK);
	assert_int_equal(field_change_allowed(r, &ann, &large), ERR_OK);
	struct rules *full = rules_field(r, &large);
	large.name = "g";
	assert_int_equal(field_change_allowed(full, &ann, &large), ERR_TOO_BIG);
	rules_unref(full);
	rules_unref(r);
	arena_free(a);
}

/* --- what is asked ---------------------------------------------------------------------------------------------------- */

/* "name! name": what an act on the paths asks for, required ones marked; NULL: refused. */
static const char *asks(struct arena *a, const struct rules *r, const char *act, const char *paths, struct field_ask *k)
{
	struct buf out = BUF_INIT(4096);
	char *save, *copy = arena_dup(a, paths);

	field_ask_begin(k, r, act, a);
	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
		field_ask_path(k, P(p));
	if (field_ask_end(k))
		return NULL;
	for (size_t i = 0; i < k->n; i++)
		buf_fmt(&out, "%s%s%s", i ? " " : "", k->list[i].def->name, k->list[i].required ? "!" : "");
	const char *text = arena_dup(a, buf_text(&out));
	buf_release(&out);
	return text;
}

static void asked(void **state)
{
	(void)state;
	static const struct { const char *act, *paths, *want; } cases[] = {
		{ "sign", "/x", "all!" },
		{ "review", "/x", "" },
		{ "revoke", "/x", "why!" },
		{ "pickup", "/x", "" },
		{ "sign", "/d/x", "all! dee" },
		{ "sign", "/d", "all! dee" },
		{ "sign", "/dd/x", "all!" },
		{ "sign", "/d/e/x", "all! dee!" }, /* nearer it is required */
		{ "sign", "/d/e/f/x", "all! dee!" }, /* and further down that stands, though the nearest says no */
		{ "review", "/d/x", "look" },
		{ "sign", "/x /d/x", "all! dee" },
		{ "sign", "/d/x /x", "all! dee" },
		{ "sign", "/d/x /d/e/x", "all! dee!" },
		{ "sign", "/one.html /x", "all! only!" },
		{ "sign", "/a /b /one.html /z", "all! only!" },
		{ "sign", "/p/x /q/x", NULL }, /* which is a text and which a day is not for one form */
		{ "sign", "/p/x", "all! two" },
		{ "sign", "/q/x", "all! two" },
		{ "sign", "/p/x /s/x", "all! two!" }, /* alike in both */
		{ "sign", "", "" },
	};
	struct arena *a = arena_new();
	struct rules *r = parse(a, "", "/ all text s!\n/ why text k!\n/d dee text s\n/d look checkbox r\n/d/e dee text s!\n/d/e/f dee text s\n/one.html only text s!\n"
	    "/p two text s\n/q two date s\n/s two text s!");
	struct field_ask k, other;

	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *got = asks(a, r, cases[i].act, cases[i].paths, &k);

		if (!got != !cases[i].want || (got && strcmp(got, cases[i].want) != 0))
			fail_msg("%s %s: %s", cases[i].act, cases[i].paths, got ? got : "refused");
	}
	/* The digest is that of the form: other paths with the same fields have it too, another version has not. */
	asks(a, r, "sign", "/d/x /d/y", &k);
	asks(a, r, "sign", "/d/z", &other);
	assert_true(sha256_equal(&k.digest, &other.digest));
	asks(a, r, "sign", "/x", &other);
	assert_false(sha256_equal(&k.digest, &other.digest));
	struct field_def d = *rules_field_find(r, P("/d"), "dee");
	d.version = 77;
	struct rules *later = rules_field(r, &d);
	asks(a, later, "sign", "/d/x", &other);
	assert_false(sha256_equal(&k.digest, &other.digest));
	rules_unref(later);
	rules_unref(r);

	/* Many places, few fields each: more than a form takes. */
	struct buf text = BUF_INIT(10000), paths = BUF_INIT(10000);
	for (int i = 0; i < 39; i++) {
		buf_fmt(&text, "/%d f%d text s\n", i, i);
		buf_fmt(&paths, "/%d/x ", i);
	}
	r = parse(a, "", buf_text(&text));
	assert_non_null(asks(a, r, "sign", buf_text(&paths), &k));
	assert_int_equal(k.n, 39);
	rules_unref(r);
	buf_release(&text);
	buf_release(&paths);
	arena_free(a);
}

static void too_many(void **state)
{
	(void)state;
	struct field_def list[FIELDS_ASKED + 1];
	struct arena *a = arena_new();
	struct field_ask k;

	for (size_t i = 0; i <= FIELDS_ASKED; i++) {
		const char *line = arena_printf(a, "/%zu f%zu text s", i, i);
		list[i] = parse_def(a, line, strlen(line), 1);
	}
	struct rules *r = rules_new_full(NULL, 0, NULL, 0, list, FIELDS_ASKED + 1);
	field_ask_begin(&k, r, "sign", a);
	for (size_t i = 0; i <= FIELDS_ASKED; i++)
		field_ask_path(&k, P(arena_printf(a, "/%zu/x", i)));
	assert_int_equal(field_ask_end(&k), ERR_TOO_BIG);
	rules_unref(r);
	arena_free(a);
}

/* --- what is taken ---------------------------------------------------------------------------------------------------- */

/* The fields of the record as JSON, without the list of definitions; NULL: refused. */
static const char *taken(struct arena *a, const struct field_ask *k, const char *given)
{
	json_t *v = NULL, *into = json_object();
	struct buf out = BUF_INIT(100000);
	const char *text = NULL;

	if (!given || json_parse(&v, given, strlen(given)) == ERR_OK)
		if (field_take(k, v, NODE, into) == ERR_OK) {
			json_object_del(into, RECORD_FIELD_ASKED);
			assert_int_equal(json_canonical(&out, into), ERR_OK);
			text = arena_dup(a, buf_text(&out));
		}
	buf_release(&out);
	json_decref(v);
	json_decref(into);
	return text;
}

static void take(void **state)
{
	(void)state;
	static const struct { const char *given, *want; } cases[] = {
		{ "{\"t\":\"x\"}", "{\"b\":false,\"t\":\"x\"}" },
		{ "{\"t\":\"x\",\"b\":true,\"c\":\"two\",\"d\":\"2026-02-28\"}", "{\"b\":true,\"c\":\"two\",\"d\":\"2026-02-28\",\"t\":\"x\"}" },
		{ "{\"t\":\"x\",\"c\":\"\",\"d\":\"\",\"b\":null}", "{\"b\":false,\"t\":\"x\"}" },
		{ "{\"t\":\" <b> “x” \\u00e9 \"}", "{\"b\":false,\"t\":\" <b> “x” é \"}" },
		{ "{\"t\":\"=1+1\"}", "{\"b\":false,\"t\":\"=1+1\"}" },
		{ NULL, NULL }, /* nothing at all, and t is required */
		{ "{}", NULL },
		{ "{\"t\":\"\"}", NULL },
		{ "{\"t\":\"   \"}", NULL },
		{ "{\"t\":null}", NULL },
		{ "{\"t\":1}", NULL },
		{ "{\"t\":true}", NULL },
		{ "{\"t\":[\"x\"]}", NULL },
		{ "{\"t\":{\"x\":\"y\"}}", NULL },
		{ "{\"t\":1.5}", NULL },
		{ "{\"t\":\"a\\nb\"}", NULL },
		{ "{\"t\":\"a\\u0000b\"}", NULL },
		{ "{\"t\":\"a\\u0007b\"}", NULL },
		{ "{\"t\":\"a\\u0085b\"}", NULL },
		{ "{\"t\":\"x\",\"t\":\"y\"}", NULL }, /* twice */
		{ "{\"t\":\"x\",\"b\":\"yes\"}", NULL },
		{ "{\"t\":\"x\",\"b\":1}", NULL },
		{ "{\"t\":\"x\",\"c\":\"three\"}", NULL },
		{ "{\"t\":\"x\",\"c\":\"Two\"}", NULL },
		{ "{\"t\":\"x\",\"c\":\"one \"}", NULL },
		{ "{\"t\":\"x\",\"c\":[\"one\"]}", NULL },
		{ "{\"t\":\"x\",\"d\":\"2026-02-30\"}", NULL },
		{ "{\"t\":\"x\",\"d\":\"yesterday\"}", NULL },
		{ "{\"t\":\"x\",\"u\":\"y\"}", NULL }, /* nobody asks for it */
		{ "{\"t\":\"x\",\"rules\":[\"y\"]}", NULL },
		{ "{\"t\":\"x\",\"request\":\"y\"}", NULL },
		{ "{\"t\":\"x\",\"fields-asked\":[]}", NULL },
		{ "{\"t\":\"x\",\"T\":\"y\"}", NULL },
		{ "[\"t\"]", NULL },
		{ "\"t\"", NULL },
	};
	struct arena *a = arena_new();
	struct rules *r = parse(a, "", "/ t text s!\n/ c choice s one|two\n/ b checkbox s\n/ d date s\n/d b checkbox s!");
	struct field_ask k;
	char *text = arena_alloc(a, FIELD_TEXT_LIMIT + 20);

	asks(a, r, "sign", "/x", &k);
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *got = taken(a, &k, cases[i].given);

		if (!got != !cases[i].want || (got && strcmp(got, cases[i].want) != 0))
			fail_msg("%s: %s", cases[i].given, got ? got : err_text());
	}
	/* The last byte that fits, and one more. */
	memset(text, 'x', FIELD_TEXT_LIMIT + 20);
	memcpy(text, "{\"t\":\"", 6);
	memcpy(text + 6 + FIELD_TEXT_LIMIT, "\"}", 3);
	assert_non_null(taken(a, &k, text));
	memcpy(text + 6 + FIELD_TEXT_LIMIT, "x\"}", 4);
	assert_null(taken(a, &k, text));
	/* A checkbox that is required has to be ticked. */
	asks(a, r, "sign", "/d/x", &k);
	assert_null(taken(a, &k, "{\"t\":\"x\"}"));
	assert_null(taken(a, &k, "{\"t\":\"x\",\"b\":false}"));
	assert_non_null(taken(a, &k, "{\"t\":\"x\",\"b\":true}"));
	/* Where nothing is asked for, nothing is taken. */
	asks(a, r, "review", "/d/x", &k);
	assert_string_equal(taken(a, &k, NULL), "{}");
	assert_string_equal(taken(a, &k, "{}"), "{}");
	assert_null(taken(a, &k, "{\"t\":\"x\"}"));
	rules_unref(r);
	arena_free(a);
}

static void references(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "a", "a 1", "a 1 ", "a 0 /", "a -1 /", "a +1 /", "a 01 /", "a x /", "a 1x /", "rules 1 /", "A 1 /", "a 1 d", " a 1 /",
		"a 99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999 /" };
	struct arena *a = arena_new();
	struct rules *r = parse(a, "", "/a~b t text s!");
	json_t *into = json_object(), *given = json_pack("{s:s}", "t", "x");
	struct field_ask k;
	struct field_ref ref;

	asks(a, r, "sign", "/a~b/x", &k);
	assert_int_equal(field_take(&k, given, NODE, into), ERR_OK);
	assert_string_equal(json_string_value(json_array_get(json_object_get(into, RECORD_FIELD_ASKED), 0)), "t 1 /a~b");
	assert_int_equal(field_take(&k, given, OTHER, into), ERR_OK);
	assert_string_equal(json_string_value(json_array_get(json_object_get(into, RECORD_FIELD_ASKED), 0)), "t 1@" NODE " /a~b");
	assert_true(field_ref_parse(&ref, "t 12 /with a blank", a));
	assert_string_equal(ref.path, "/with a blank");
	assert_int_equal(ref.version, 12);
	assert_string_equal(ref.node, "");
	assert_true(field_ref_parse(&ref, "t 1@" NODE " /a~b", a));
	assert_string_equal(ref.node, NODE);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (field_ref_parse(&ref, bad[i], a))
			fail_msg("a reference: %s", bad[i]);
	json_decref(given);
	json_decref(into);
	rules_unref(r);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(definitions), cmocka_unit_test(dates), cmocka_unit_test(bytes),
		cmocka_unit_test(allowed), cmocka_unit_test(room), cmocka_unit_test(asked), cmocka_unit_test(too_many), cmocka_unit_test(take),
		cmocka_unit_test(references) };

	return cmocka_run_group_tests_name("field", tests, NULL, NULL);
}
