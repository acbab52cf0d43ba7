/* Each subject's functions, as the program's account. */
#include "testlib.h"

#include "base/clock.h"
#include "core/state.h"

static struct db *db;

static int setup(void **state)
{
	struct testdb *t;

	if (testdb_start(&t))
		return -1;
	*state = t;
	db = testdb_connect(t);
	return 0;
}

static int teardown(void **state)
{
	db_close(db);
	testdb_stop(*state);
	return 0;
}

/* --- site and head ------------------------------------------------------------------------------------------------- */

static enum err lock_a(struct db *d, void *arg)
{
	return db_site_lock(d, "www", NODE_A, arg);
}

static enum err lock_b(struct db *d, void *arg)
{
	return db_site_lock(d, "www", NODE_B, arg);
}

static void sites(void **state)
{
	(void)state;
	struct db_site s;
	struct db_head h = { .seq = 7 }, got;

	GIVES(ERR_NOT_FOUND, db_site_get(db, "www", &s));
	OK(db_site_create(db, "www", NODE_A, 1));
	OK(db_site_create(db, "www", NODE_B, 2)); /* the first one stays */
	OK(db_site_get(db, "www", &s));
	assert_string_equal(s.writer, NODE_A);
	assert_int_equal(s.rules_version, 0);
	OK(db_site_bump_rules(db, "www"));
	GIVES(ERR_NOT_FOUND, db_site_bump_rules(db, "WWW"));
	OK(tx_run(db, lock_a, &s, NULL));
	assert_int_equal(s.rules_version, 1);
	GIVES(ERR_BUSY, tx_run(db, lock_b, &s, NULL));
	assert_non_null(strstr(err_text(), NODE_A));

	OK(db_head_get(db, "www", NODE_A, &got));
	assert_int_equal(got.seq, 0);
	memset(h.record.b, 0xfe, sizeof(h.record.b));
	memset(h.commit.b, 0x00, sizeof(h.commit.b));
	OK(db_head_set(db, "www", NODE_A, &h));
	h.seq = 8;
	OK(db_head_set(db, "www", NODE_A, &h));
	OK(db_head_get(db, "www", NODE_A, &got));
	assert_int_equal(got.seq, 8);
	assert_memory_equal(got.record.b, h.record.b, 32);
	assert_memory_equal(got.commit.b, h.commit.b, 20);
}

/* --- records ------------------------------------------------------------------------------------------------------- */

static int64_t now_of(uint64_t seq)
{
	return (int64_t)seq * 1000;
}

static void record_add(const char *site, const char *node, uint64_t seq, const char *act, const char *user, int64_t at, const char *const *paths)
{
	struct record_file files[8];
	struct db_head head = { .seq = seq };
	struct sha256 digest;
	struct blob_id commit;
	size_t n = 0;
	char body[64];
	json_t *fields = json_object();
	struct record r = { .site = site, .node = node, .seq = seq, .act = act, .at = at, .note = "n\xc3\xb6te", .fields = fields, .shown = "", .meaning = "" };

	memset(files, 0, sizeof(files));
	for (; paths && paths[n]; n++) {
		files[n].path = P(paths[n]);
		files[n].print.size = seq * 10 + n;
		files[n].print.exec = n & 1;
		files[n].mtime = -5;
		files[n].replaces = seq - 1;
		memset(files[n].print.sha256.b, (int)seq, 32);
		memset(files[n].blob.b, (int)n, 20);
	}
	uuid_new(&r.op);
	r.actor.user = user;
	r.files_count = n;
	memset(digest.b, (int)seq, 32);
	memset(commit.b, (int)seq, 20);
	snprintf(body, sizeof(body), "{\"seq\":%llu}", (unsigned long long)seq);
	OK(db_record_insert(db, &r, body, strlen(body), &digest, &commit, files, n));
	OK(db_head_set(db, site, node, &head));
	json_decref(fields);
}

struct seen {
	char text[4096];
	unsigned n, stop_after;
};

static bool see_record(void *arg, const struct db_record_row *row)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s%c%llu/%llu", len ? " " : "", row->node[0], (unsigned long long)row->seq, (unsigned long long)row->files_here);
	if (row->file) {
		assert_int_equal(row->file->print.size / 10, row->seq);
		assert_int_equal(row->file->mtime, -5);
	}
	assert_string_equal(row->note, "n\xc3\xb6te");
	assert_int_equal(row->sha256.b[31], row->seq);
	assert_int_equal(row->body_len, strlen(row->body));
	return !s->stop_after || ++s->n < s->stop_after;
}

static void lists(const char *want, const char *node, struct db_record_query q)
{
	struct seen s = { "", 0, 0 };

	q.site = q.site ? q.site : "rec";
	q.node = node;
	q.limit = q.limit ? q.limit : 1000;
	OK(db_record_list(db, &q, see_record, &s));
	assert_string_equal(s.text, want);
}
#define LISTS(want, ...) lists(want, NODE_A, (struct db_record_query){ __VA_ARGS__ })
#define LISTS_OF(want, node_, ...) lists(want, node_, (struct db_record_query){ __VA_ARGS__ })

static bool see_version(void *arg, const struct db_version *v)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s%s %c%llu %s", len ? ", " : "", v->path.s, v->node[0], (unsigned long long)v->seq, v->act);
	return !s->stop_after || ++s->n < s->stop_after;
}

/* How each of some files came to be what it is: those of a path together, oldest first. */
static void versions(void)
{
	const struct path x = P("/x"), both[] = { P("/a"), P("/none") };
	struct path many[20];
	struct seen s = { "", 0, 0 };

	OK(db_record_versions(db, "rec", &x, 1, see_version, &s));
	assert_string_equal(s.text, "/x a1 sign, /x a4 revoke, /x a5 sign, /x b1 sign");
	s = (struct seen){ "", 0, 2 };
	OK(db_record_versions(db, "rec", &x, 1, see_version, &s));
	assert_string_equal(s.text, "/x a1 sign, /x a4 revoke");
	s = (struct seen){ "", 0, 0 };
	OK(db_record_versions(db, "rec", both, 2, see_version, &s));
	assert_string_equal(s.text, "/a a5 sign");
	/* By the statement for many. */
	for (size_t i = 0; i < 20; i++)
		many[i] = i == 11 ? P("/a-b") : P("/none");
	s = (struct seen){ "", 0, 0 };
	OK(db_record_versions(db, "rec", many, 20, see_version, &s));
	assert_string_equal(s.text, "/a-b a1 sign");
}

static void records(void **state)
{
	(void)state;
	const struct path root = P("/"), a = P("/a"), ab = P("/a/b"), adash = P("/a-b"), x = P("/x");

	record_add("rec", NODE_A, 1, "sign", "own:alice", now_of(1), (const char *[]){ "/a-b", "/a/b/1", "/a/b/2", "/a/c", "/x", NULL });
	record_add("rec", NODE_A, 2, "sign", "own:bob", now_of(2), (const char *[]){ "/a/b/1", NULL });
	record_add("rec", NODE_A, 3, "rule", "own:alice", now_of(3), NULL);
	record_add("rec", NODE_A, 4, "revoke", "own:alice", now_of(4), (const char *[]){ "/x", NULL });
	/* A clock that was set back, a name that differs in case only, another node, another site. */
	record_add("rec", NODE_A, 5, "sign", "own:Alice", now_of(2) + 1, (const char *[]){ "/a", "/x", NULL });
	record_add("rec", NODE_B, 1, "sign", "own:alice", now_of(9), (const char *[]){ "/x", NULL });
	record_add("rec", NODE_B, 4, "sign", "own:bob", now_of(9), (const char *[]){ "/x/y", NULL });
	record_add("rec2", NODE_A, 1, "sign", "own:alice", now_of(1), (const char *[]){ "/x", NULL });

	LISTS("a5/2 a4/1 a3/0 a2/1 a1/5", .limit = 0);
	LISTS("a5/2 a4/1", .limit = 2);
	LISTS("a3/0 a2/1", .limit = 2, .before_seq = 4);
	LISTS("a4/1 a3/0 a1/5", .actor = "own:alice");
	LISTS("a1/5", .actor = "own:alice", .act = "sign");
	LISTS("a5/2 a2/1 a1/5", .act = "sign");
	LISTS("a1/5", .act = "sign", .before_seq = 2);
	LISTS("a5/2 a3/0 a2/1", .since = now_of(2), .until = now_of(4));
	LISTS("a5/2 a4/1 a3/0", .since = now_of(2) + 1);
	LISTS("a4/1 a3/0", .since = now_of(3), .actor = "own:alice");
	LISTS("a5/1 a4/1 a1/1", .path = &x);
	LISTS("a1/1", .path = &x, .act = "sign", .actor = "own:alice");
	LISTS("a5/1", .path = &a);
	LISTS("a2/1 a1/3", .path = &a, .is_dir = true);
	LISTS("a2/1 a1/2", .path = &ab, .is_dir = true);
	LISTS("a5/2 a4/1 a2/1 a1/5", .path = &root, .is_dir = true);
	LISTS("a1/1", .path = &adash);
	LISTS("", .path = &adash, .is_dir = true);
	LISTS_OF("b4/1", NODE_B, .path = &x, .is_dir = true);
	/* All nodes, and paging through them: two records have number 4 and two have 1. */
	LISTS_OF("a5/2 a4/1 b4/1 a3/0 a2/1 a1/5 b1/1", NULL, .limit = 0);
	LISTS_OF("a5/2 a4/1", NULL, .limit = 2);
	LISTS_OF("b4/1 a3/0", NULL, .limit = 2, .before_seq = 4, .before_node = NODE_A);
	LISTS_OF("a5/1 a4/1 a1/1 b1/1", NULL, .path = &x);
	LISTS_OF("", NULL, .site = "nothing");
	struct seen s = { "", 0, 2 };
	struct db_record_query q = { .site = "rec", .node = NODE_A, .limit = 1000 };
	OK(db_record_list(db, &q, see_record, &s));
	assert_string_equal(s.text, "a5/2 a4/1");
	q.limit = 0;
	GIVES(ERR_INPUT, db_record_list(db, &q, see_record, &s));
	q.limit = 1001;
	GIVES(ERR_INPUT, db_record_list(db, &q, see_record, &s));
	versions();
}

static bool see_file(void *arg, const struct record_file *f)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s%s", len ? " " : "", f->path.s);
	return true;
}

static bool keep_file(void *arg, const struct record_file *f)
{
	*(struct record_file *)arg = *f;
	return true;
}

static void record_files(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	struct db_record_row row;
	struct record_file f;
	struct seen s = { "", 0, 0 };

	OK(db_record_get(db, "rec", NODE_A, 1, &row, a));
	assert_string_equal(row.actor, "own:alice");
	assert_string_equal(row.body, "{\"seq\":1}");
	assert_int_equal(row.files_count, 5);
	assert_int_equal(row.at, now_of(1));
	GIVES(ERR_NOT_FOUND, db_record_get(db, "rec", NODE_A, 77, &row, a));
	OK(db_record_files(db, "rec", NODE_A, 1, NULL, 3, see_file, &s));
	assert_string_equal(s.text, "/a-b /a/b/1 /a/b/2");
	s.text[0] = '\0';
	OK(db_record_files(db, "rec", NODE_A, 1, "/a/b/2", 3, see_file, &s));
	assert_string_equal(s.text, "/a/c /x");
	s.text[0] = '\0';
	OK(db_record_files(db, "rec", NODE_A, 1, "/a/b/15", 100, see_file, &s)); /* between two of them */
	assert_string_equal(s.text, "/a/b/2 /a/c /x");
	s.text[0] = '\0';
	OK(db_record_files(db, "rec", NODE_A, 1, "/x", 100, see_file, &s));
	OK(db_record_files(db, "rec", NODE_A, 1, "/zzz", 100, see_file, &s));
	OK(db_record_files(db, "rec", NODE_A, 3, NULL, 100, see_file, &s));
	assert_string_equal(s.text, "");
	OK(db_record_files(db, "rec", NODE_A, 1, "/a/b/15", 1, keep_file, &f));
	assert_int_equal(f.print.size, 12);
	assert_false(f.print.exec);
	assert_int_equal(f.blob.b[0], 2);
	arena_free(a);
}

static void a_record_is_written_whole_or_not_at_all(void **state)
{
	(void)state;
	struct record_file files[2] = { { .path = P("/b") }, { .path = P("/a") } };
	json_t *fields = json_object();
	struct record r = { .site = "rec", .node = NODE_A, .seq = 100, .act = "sign", .at = 1, .note = "", .fields = fields, .files_count = 2 };
	struct db_record_row row;
	struct blob_id commit = { { 0 } };
	struct arena *a = arena_new();
	struct sha256 digest = { { 0 } };

	uuid_new(&r.op);
	r.actor.user = "own:alice";
	GIVES(ERR_FAILED, db_record_insert(db, &r, "{}", 2, &digest, &commit, files, 2)); /* not in path order */
	r.seq = 1;
	GIVES(ERR_STALE, db_record_insert(db, &r, "{}", 2, &digest, &commit, NULL, 0)); /* exists */
	r.seq = 100;
	r.note = "\xff not UTF-8";
	files[0].path = P("/a");
	files[1].path = P("/b");
	GIVES(ERR_INPUT, db_record_insert(db, &r, "{}", 2, &digest, &commit, files, 2));
	GIVES(ERR_NOT_FOUND, db_record_get(db, "rec", NODE_A, 100, &row, a));
	json_decref(fields);
	arena_free(a);
}

/* --- file states --------------------------------------------------------------------------------------------------- */

static bool count_state(void *arg, const struct db_state_row *row)
{
	unsigned *n = arg;

	assert_true(row->path.len > 0);
	return ++*n < 1000000;
}

static bool first_only(void *arg, const struct db_state_row *row)
{
	unsigned *n = arg;

	(void)row;
	++*n;
	return false;
}

/* Bytes that some text collation would take for the same. */
static const char *const alike[] = { "/file", "/File", "/file ", "/f\xc3\xaele", "/fi\xcc\x82le", "/\xc3\xa4", "/a\xcc\x88", "/ae", "/ss", "/\xc3\x9f",
	"/\xe2\x93\x94", "/\xef\xbd\x81", "/\xf0\x9d\x96\x86", "/%", "/_", "/\\", "/'", "/\"", "/a;b", "/a--b" };
#define N_ALIKE (sizeof(alike) / sizeof(*alike))

static void states(void **state)
{
	(void)state;
	struct db_state_row rows[N_ALIKE], got;
	struct path paths[N_ALIKE * 20];
	struct arena *a = arena_new();
	unsigned n = 0;

	memset(rows, 0, sizeof(rows));
	for (size_t i = 0; i < N_ALIKE; i++) {
		rows[i].path = P(alike[i]);
		rows[i].approval = APPROVAL_SIGNED;
		rows[i].seq = i + 1;
		rows[i].print.size = UINT64_MAX - i;
		rows[i].print.exec = i & 1;
		rows[i].actor = "own:alice";
		memset(rows[i].print.sha256.b, (int)i, 32);
	}
	OK(db_state_put(db, "st", NODE_A, rows, N_ALIKE));
	OK(db_state_put(db, "st", NODE_A, rows, 0));
	for (size_t i = 0; i < N_ALIKE; i++) {
		OK(db_state_get(db, "st", P(alike[i]), &got, a));
		assert_int_equal(got.seq, i + 1);
		assert_true(got.print.size == UINT64_MAX - i);
		assert_string_equal(got.path.s, alike[i]);
		assert_int_equal(got.print.exec, i & 1);
	}
	GIVES(ERR_NOT_FOUND, db_state_get(db, "st", P("/FILE"), &got, a));
	GIVES(ERR_NOT_FOUND, db_state_get(db, "ST", P("/file"), &got, a));
	/* Replacing, one and many. */
	rows[0].approval = APPROVAL_REVOKED;
	rows[0].review_seq = 9;
	OK(db_state_put(db, "st", NODE_A, rows, 1));
	OK(db_state_get(db, "st", P("/file"), &got, a));
	assert_int_equal(got.approval, APPROVAL_REVOKED);
	assert_int_equal(got.review_seq, 9);
	OK(db_state_all(db, "st", count_state, &n));
	assert_int_equal(n, N_ALIKE);
	/* One that stops early leaves a connection that works. */
	n = 0;
	OK(db_state_all(db, "st", first_only, &n));
	assert_int_equal(n, 1);
	for (size_t i = 0; i < N_ALIKE * 20; i++)
		paths[i] = i < N_ALIKE ? P(alike[i]) : P(arena_printf(a, "/none/%zu", i));
	for (size_t many = 0; many <= N_ALIKE * 20; many += 7) {
		n = 0;
		OK(db_state_get_many(db, "st", paths, many, count_state, &n));
		assert_int_equal(n, many < N_ALIKE ? many : N_ALIKE);
	}
	n = 0;
	OK(db_state_get_many(db, "st", paths, N_ALIKE * 20, first_only, &n));
	assert_int_equal(n, 1);
	arena_free(a);
}

static bool ask_again(void *arg, const struct db_state_row *row)
{
	struct db_site s;

	(void)row;
	GIVES(ERR_FAILED, db_site_get(db, "www", &s));
	return (*(unsigned *)arg)++ < 1;
}

static bool ask_nested(void *arg, const struct db_state_row *row)
{
	struct db_state_row got;
	struct arena *a = arena_new();
	unsigned n = 0;

	/* The same statement, inside its own answer. */
	OK(db_state_get_many(db, "st", &row->path, 1, count_state, &n));
	assert_int_equal(n, 1);
	OK(db_state_get(db, "st", row->path, &got, a));
	arena_free(a);
	++*(unsigned *)arg;
	return true;
}

static void callbacks_may_ask_but_not_in_a_stream(void **state)
{
	(void)state;
	struct path paths[3] = { P("/file"), P("/File"), P("/ss") };
	struct db_site s;
	unsigned n = 0;

	OK(db_state_all(db, "st", ask_again, &n));
	OK(db_site_get(db, "www", &s));
	n = 0;
	OK(db_state_get_many(db, "st", paths, 3, ask_nested, &n));
	assert_int_equal(n, 3);
}

/* --- rules, pre-approvals, act ids --------------------------------------------------------------------------------- */

static void rules(void **state)
{
	(void)state;
	struct rule r = { "own:alice", P("/"), ROLE_ADMIN };
	struct rules *set;

	OK(db_rules_load(db, "ru", &set));
	assert_int_equal(rules_count(set), 0);
	rules_unref(set);
	OK(db_rule_set(db, "ru", &r, 1));
	r.role = ROLE_VIEW;
	OK(db_rule_set(db, "ru", &r, 2));
	r = (struct rule){ "own:Alice", P("/docs"), ROLE_NONE };
	OK(db_rule_set(db, "ru", &r, 3));
	OK(db_rules_load(db, "ru", &set));
	assert_int_equal(rules_count(set), 2);
	assert_int_equal(rules_at(set, 0)->role, ROLE_VIEW);
	assert_string_equal(rules_at(set, 1)->principal, "own:Alice");
	assert_string_equal(rules_at(set, 1)->path.s, "/docs");
	rules_unref(set);
	OK(db_rule_remove(db, "ru", "own:alice", P("/")));
	GIVES(ERR_NOT_FOUND, db_rule_remove(db, "ru", "own:alice", P("/")));
	GIVES(ERR_NOT_FOUND, db_rule_remove(db, "ru", "own:ALICE", P("/docs")));
}

static bool see_preapproval(void *arg, const struct db_preapproval *p)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%.1s%.1s%s", p->what.path.s + p->what.path.len - 1, p->actor, p->note);
	return true;
}

static void preapprovals(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	struct seen s = { "", 0, 0 };
	char *deep = arena_alloc(a, 2001);

	/* Two that differ only behind what the server would sort by, in the wrong order. */
	memset(deep, 'd', 2000);
	for (int i = 0; i < 2000; i += 200)
		deep[i] = '/';
	OK(db_preapproval_put(db, "pr", &(struct db_preapproval){ { P(arena_printf(a, "%sz", deep)), "", 0, 0 }, "own:alice", 1, "1", 1 }));
	OK(db_preapproval_put(db, "pr", &(struct db_preapproval){ { P(arena_printf(a, "%sy", deep)), "", 0, 0 }, "own:alice", 1, "2", 1 }));
	OK(db_preapproval_put(db, "pr", &(struct db_preapproval){ { P("/b"), "", 0, 0 }, "own:alice", 1, NULL, 1 }));
	OK(db_preapproval_put(db, "pr", &(struct db_preapproval){ { P("/b"), "", 0, 0 }, "unix:bob", 2, "3", 2 }));
	OK(db_preapproval_put(db, "pr", &(struct db_preapproval){ { P("/b"), "*.x", 7, 9 }, "own:alice", 2, "4", 2 }));
	OK(db_preapproval_list(db, "pr", see_preapproval, &s));
	assert_string_equal(s.text, "bu3bo4yo2zo1");
	GIVES(ERR_NOT_FOUND, db_preapproval_remove(db, "pr", P("/b"), "*.y"));
	OK(db_preapproval_remove(db, "pr", P("/b"), "*.x"));
	OK(db_preapproval_remove(db, "pr", P("/b"), ""));
	GIVES(ERR_NOT_FOUND, db_preapproval_remove(db, "pr", P("/b"), ""));
	arena_free(a);
}

static void act_ids(void **state)
{
	(void)state;
	struct db_act_id id = { .node = NODE_A, .seq = 5 }, got;
	struct uuid op;

	uuid_new(&op);
	memset(id.request.b, 0xaa, 32);
	GIVES(ERR_NOT_FOUND, db_act_id_get(db, "ac", "own:alice", &op, &got));
	OK(db_act_id_put(db, "ac", "own:alice", &op, &id, 10));
	GIVES(ERR_STALE, db_act_id_put(db, "ac", "own:alice", &op, &id, 10));
	OK(db_act_id_put(db, "ac", "own:bob", &op, &id, 20));
	OK(db_act_id_get(db, "ac", "own:alice", &op, &got));
	assert_int_equal(got.seq, 5);
	assert_string_equal(got.node, NODE_A);
	assert_memory_equal(got.request.b, id.request.b, 32);
	GIVES(ERR_NOT_FOUND, db_act_id_get(db, "AC", "own:alice", &op, &got));
	OK(db_act_id_get(db, "ac", "own:bob", &op, &got));
}

/* --- accounts, groups ---------------------------------------------------------------------------------------------- */

static bool see_account(void *arg, const struct db_account *a)
{
	struct seen *s = arg;

	strncat(s->text, a->name, 100);
	strncat(s->text, a->enabled ? "+ " : "- ", 100);
	return true;
}

static bool see_group(void *arg, const char *name, uint64_t members)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s=%llu ", name, (unsigned long long)members);
	return true;
}

static bool see_name(void *arg, const char *name)
{
	struct seen *s = arg;

	strncat(s->text, name, 100);
	strncat(s->text, " ", 2);
	return true;
}

static void accounts(void **state)
{
	(void)state;
	struct db_account in = { "zoe", "$y$1", "Zo\xc3\xab", true, 5, 1 }, got;
	struct arena *a = arena_new();
	struct seen s = { "", 0, 0 };

	GIVES(ERR_NOT_FOUND, db_account_get(db, "zoe", &got, a));
	OK(db_account_put(db, &in));
	in = (struct db_account){ "zoe", "$y$2", "Zoe", false, 99, 2 };
	OK(db_account_put(db, &in));
	in.name = "Zoe";
	in.enabled = true;
	OK(db_account_put(db, &in));
	OK(db_account_get(db, "zoe", &got, a));
	assert_string_equal(got.password, "$y$2");
	assert_int_equal(got.created_at, 5); /* that one never changes */
	assert_false(got.enabled);
	OK(db_account_list(db, see_account, &s));
	assert_string_equal(s.text, "Zoe+ zoe- ");
	arena_free(a);
}

static void groups(void **state)
{
	(void)state;
	struct seen s = { "", 0, 0 };

	OK(db_group_create(db, "editors", 1, 1));
	OK(db_group_create(db, "Empty", 1, 1));
	GIVES(ERR_STALE, db_group_create(db, "editors", 1, 1));
	OK(db_member_add(db, "editors", "own:zoe", 2));
	OK(db_member_add(db, "editors", "own:zoe", 3));
	OK(db_member_add(db, "editors", "unix:bob", 3));
	GIVES(ERR_NOT_FOUND, db_member_add(db, "nobody", "own:zoe", 2));
	OK(db_group_list(db, see_group, &s));
	assert_string_equal(s.text, "Empty=0 editors=2 ");
	s.text[0] = '\0';
	OK(db_member_list(db, "editors", see_name, &s));
	OK(db_groups_of(db, "unix:bob", see_name, &s));
	assert_string_equal(s.text, "own:zoe unix:bob editors ");
	OK(db_member_remove(db, "editors", "own:zoe"));
	GIVES(ERR_NOT_FOUND, db_member_remove(db, "editors", "own:zoe"));
	OK(db_group_remove(db, "editors"));
	GIVES(ERR_NOT_FOUND, db_group_remove(db, "editors"));
	s.text[0] = '\0';
	OK(db_groups_of(db, "unix:bob", see_name, &s));
	assert_string_equal(s.text, "");
}

/* --- sessions, events ---------------------------------------------------------------------------------------------- */

static bool see_session(void *arg, const struct db_session *se)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%02x ", se->id_hash.b[0]);
	return true;
}

static void sessions(void **state)
{
	(void)state;
	char *long_agent = mem_alloc(1001);
	struct db_session in = { .principal = "own:zoe", .created_at = 10, .seen_at = 10, .address = "127.0.0.1", .agent = long_agent }, got;
	struct arena *a = arena_new();
	struct seen s = { "", 0, 0 };

	for (int i = 0; i < 999; i += 3)
		memcpy(long_agent + i, "\xe2\x82\xac", 3);
	for (unsigned i = 1; i <= 3; i++) {
		in.id_hash.b[0] = (uint8_t)i;
		in.created_at = i * 10;
		in.seen_at = 100 - i;
		OK(db_session_put(db, &in));
	}
	OK(db_session_get(db, &in.id_hash, &got, a));
	assert_int_equal(strlen(got.agent), 255); /* 85 whole characters */
	OK(db_session_seen(db, &in.id_hash, 500));
	OK(db_session_list(db, "own:zoe", see_session, &s));
	assert_string_equal(s.text, "03 01 02 ");
	OK(db_session_expire(db, 99, 0)); /* 02 was seen at 98 */
	OK(db_session_expire(db, 0, 20)); /* 01 was made at 10 */
	s.text[0] = '\0';
	OK(db_session_list(db, "own:zoe", see_session, &s));
	assert_string_equal(s.text, "03 ");
	OK(db_session_end(db, &in.id_hash));
	OK(db_session_end(db, &in.id_hash));
	GIVES(ERR_NOT_FOUND, db_session_get(db, &in.id_hash, &got, a));
	GIVES(ERR_NOT_FOUND, db_session_seen(db, &in.id_hash, 500));
	OK(db_session_put(db, &in));
	OK(db_session_end_all(db, "own:zoe"));
	GIVES(ERR_NOT_FOUND, db_session_get(db, &in.id_hash, &got, a));
	arena_free(a);
	free(long_agent);
}

static bool see_token(void *arg, const struct db_token *t)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s:%s ", t->id, t->label);
	return true;
}

static void tokens(void **state)
{
	(void)state;
	struct db_token in = { .id = "0123456789ab", .principal = "own:zoe", .label = "one", .role = 3, .site = "www", .path = "/docs",
		.created_at = 10, .expires_at = 100, .used_from = "", .seq = 7 }, got;
	struct arena *a = arena_new();
	struct seen s = { "", 0, 0 };

	in.hash.b[0] = 1;
	OK(db_token_put(db, &in));
	GIVES(ERR_STALE, db_token_put(db, &in));
	OK(db_token_get(db, &in.hash, &got, a));
	assert_string_equal(got.id, "0123456789ab");
	assert_string_equal(got.path, "/docs");
	assert_int_equal(got.role, 3);
	assert_int_equal(got.used_at, 0);
	OK(db_token_used(db, &in.hash, 55, "192.0.2.1"));
	OK(db_token_named(db, "0123456789ab", &got, a));
	assert_int_equal(got.used_at, 55);
	assert_string_equal(got.used_from, "192.0.2.1");
	memcpy(in.id, "ffffffffffff", sizeof(in.id));
	in.hash.b[0] = 2;
	in.label = "two";
	in.created_at = 20;
	in.expires_at = 200;
	OK(db_token_put(db, &in));
	memcpy(in.id, "aaaaaaaaaaaa", sizeof(in.id));
	in.hash.b[0] = 3;
	in.principal = "own:adam";
	OK(db_token_put(db, &in));
	OK(db_token_list(db, "own:zoe", see_token, &s));
	assert_string_equal(s.text, "ffffffffffff:two 0123456789ab:one ");
	s.text[0] = '\0';
	OK(db_token_list(db, NULL, see_token, &s));
	assert_string_equal(s.text, "aaaaaaaaaaaa:two ffffffffffff:two 0123456789ab:one ");
	OK(db_token_expire(db, 101));
	GIVES(ERR_NOT_FOUND, db_token_named(db, "0123456789ab", &got, a));
	OK(db_token_remove(db, "ffffffffffff"));
	GIVES(ERR_NOT_FOUND, db_token_remove(db, "ffffffffffff"));
	OK(db_token_remove_all(db, "own:adam"));
	GIVES(ERR_NOT_FOUND, db_token_get(db, &in.hash, &got, a));
	arena_free(a);
}

static bool see_event(void *arg, const struct db_event *e)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s:%zu ", e->kind, strlen(e->detail));
	s->n = (unsigned)e->id;
	return true;
}

static void events(void **state)
{
	(void)state;
	char *longest = mem_alloc(9000);
	struct seen s = { "", 0, 0 };

	memset(longest, '\xff', 8999);
	OK(db_event_add(db, &(struct db_event){ .at = 1, .kind = "login" }));
	OK(db_event_add(db, &(struct db_event){ .at = 2, .kind = "refused", .site = longest, .principal = longest, .address = longest, .path = longest, .detail = longest }));
	OK(db_event_add(db, &(struct db_event){ .at = 3, .kind = "logout", .detail = "d" }));
	OK(db_event_list(db, 0, 2, see_event, &s));
	assert_string_equal(s.text, "logout:1 refused:1024 ");
	s.text[0] = '\0';
	OK(db_event_list(db, s.n, 2, see_event, &s));
	assert_string_equal(s.text, "login:0 ");
	OK(db_event_expire(db, 3));
	s.text[0] = '\0';
	OK(db_event_list(db, 0, 10, see_event, &s));
	assert_string_equal(s.text, "logout:1 ");
	free(longest);
}

/* --- schedule, counters, releases, runs, targets ------------------------------------------------------------------- */

static void schedule_is(struct arena *a, int64_t first, int64_t last, int64_t start, int64_t forced)
{
	struct db_schedule s;

	OK(db_schedule_get(db, "sch", &s, a));
	assert_int_equal(s.first_pending, first);
	assert_int_equal(s.last_approval, last);
	assert_int_equal(s.last_start, start);
	assert_int_equal(s.forced.at, forced);
}

static void schedules(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	struct db_schedule s;

	schedule_is(a, 0, 0, 0, 0);
	OK(db_schedule_approval(db, "sch", 100));
	schedule_is(a, 100, 100, 0, 0);
	OK(db_schedule_approval(db, "sch", 200));
	schedule_is(a, 100, 200, 0, 0);
	OK(db_schedule_approval(db, "sch", 300));
	OK(db_schedule_started(db, "sch", 260, 200)); /* one came after the start */
	schedule_is(a, 260, 300, 260, 0);
	OK(db_schedule_started(db, "sch", 400, 300));
	schedule_is(a, 0, 300, 400, 0);
	OK(db_schedule_force(db, "sch", &(struct db_force){ .at = 500, .by = "own:zoe", .reason = "because", .release = 7 }));
	OK(db_schedule_get(db, "sch", &s, a));
	assert_string_equal(s.forced.by, "own:zoe");
	assert_int_equal(s.forced.release, 7);
	assert_string_equal(s.forced.reason, "because");
	OK(db_schedule_force(db, "sch", &(struct db_force){ .at = 0 }));
	schedule_is(a, 0, 300, 400, 0);
	/* The wall clock was set back before the start: what was seen is not pending, what came since then is. */
	OK(db_schedule_approval(db, "sch", 900));
	OK(db_schedule_started(db, "sch", 500, 900));
	schedule_is(a, 0, 900, 500, 0);
	OK(db_schedule_approval(db, "sch", 900));
	OK(db_schedule_approval(db, "sch", 501));
	OK(db_schedule_started(db, "sch", 500, 900));
	schedule_is(a, 501, 501, 500, 0);
	OK(db_schedule_force(db, "sch2", &(struct db_force){ .at = 1, .by = "own:zoe" })); /* the first to write the row */
	OK(db_schedule_started(db, "sch3", 1, 0));
	arena_free(a);
}

static void counters(void **state)
{
	(void)state;
	uint64_t v;

	for (uint64_t i = 1; i < 5; i++) {
		OK(db_counter_next(db, "release/www", &v));
		assert_int_equal(v, i);
	}
	OK(db_counter_next(db, "Release/www", &v));
	assert_int_equal(v, 1);
}

static bool see_release(void *arg, const struct db_release *r)
{
	return see_group(arg, r->node[0] == 'a' ? "a" : "b", r->number);
}

static void releases(void **state)
{
	(void)state;
	struct db_release in = { .node = NODE_A, .seq = 3, .as_of = 2, .at = 7, .files_count = 9 }, got;
	struct arena *a = arena_new();
	struct seen s = { "", 0, 0 };
	uint64_t number;

	GIVES(ERR_NOT_FOUND, db_release_get(db, "re", 0, &got, a));
	for (in.number = 1; in.number <= 4; in.number++) {
		memset(in.main_commit.b, (int)in.number, 20);
		OK(db_release_put(db, "re", &in));
	}
	in.number = 4;
	GIVES(ERR_STALE, db_release_put(db, "re", &in));
	OK(db_release_get(db, "re", 0, &got, a));
	assert_int_equal(got.number, 4);
	OK(db_release_get(db, "re", 2, &got, a));
	assert_int_equal(got.main_commit.b[19], 2);
	assert_int_equal(got.as_of, 2);
	GIVES(ERR_NOT_FOUND, db_release_get(db, "re", 5, &got, a));
	OK(db_release_number(db, "re", 0, &number));
	assert_int_equal(number, 4);
	OK(db_release_number(db, "re", 3, &number));
	assert_int_equal(number, 1);
	GIVES(ERR_NOT_FOUND, db_release_number(db, "re", 4, &number));
	OK(db_release_list(db, "re", 0, 2, see_release, &s));
	OK(db_release_list(db, "re", 3, 10, see_release, &s));
	assert_string_equal(s.text, "a=4 a=3 a=2 a=1 ");
	arena_free(a);
}

static bool see_run(void *arg, const struct db_run *r)
{
	return see_group(arg, r->state, r->run);
}

static bool see_output(void *arg, const struct db_run_target *t)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s/%s/%d/%zu ", t->target, t->state, t->exit_status, t->output_len);
	for (size_t i = 0; i < t->output_len; i++)
		assert_int_equal((unsigned char)t->output[i], i & 0xff);
	return true;
}

static bool see_run_of_target(void *arg, const struct db_run *r, const struct db_run_target *t)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	assert_int_equal(r->run, t->run);
	snprintf(s->text + len, sizeof(s->text) - len, "%llu:%s:%s/%s/%d ", (unsigned long long)r->run, r->state, t->target, t->state, t->exit_status);
	return true;
}

static void runs(void **state)
{
	(void)state;
	struct db_run r = { .trigger = "forced", .actor = "own:zoe", .reason = "why", .started_at = 5 }, got;
	struct arena *a = arena_new();
	struct seen s = { "", 0, 0 };
	size_t size = 5u << 20;
	char *output = mem_alloc(size);

	for (size_t i = 0; i < size; i++)
		output[i] = (char)i;
	OK(db_run_start(db, "ru", &r));
	assert_int_equal(r.run, 1);
	OK(db_run_start(db, "ru", &r));
	assert_int_equal(r.run, 2);
	r.number = 12;
	r.state = "ok";
	r.finished_at = 6;
	r.removed = 3;
	r.message = output + 1; /* bytes up to 0xff, to be cut */
	OK(db_run_finish(db, "ru", &r));
	r.run = 77;
	GIVES(ERR_NOT_FOUND, db_run_finish(db, "ru", &r));
	OK(db_run_get(db, "ru", 2, &got, a));
	assert_int_equal(got.number, 12);
	assert_int_equal(got.removed, 3);
	assert_string_equal(got.reason, "why");
	OK(db_run_list(db, "ru", 0, 10, see_run, &s));
	assert_string_equal(s.text, "ok=2 running=1 ");
	GIVES(ERR_NOT_FOUND, db_run_get(db, "ru", 3, &got, a));

	s.text[0] = '\0';
	OK(db_run_target_put(db, "ru", &(struct db_run_target){ .run = 1, .target = "b", .state = "running" }));
	OK(db_run_target_put(db, "ru", &(struct db_run_target){ .run = 1, .target = "a", .state = "failed", .exit_status = -1, .output = output, .output_len = size }));
	OK(db_run_settle(db, "ru", 9));
	OK(db_run_list(db, "ru", 2, 10, see_run, &s));
	OK(db_run_target_list(db, "ru", 1, see_output, &s));
	assert_string_equal(s.text, "interrupted=1 a/failed/-1/5242880 b/interrupted/0/0 ");

	/* Of one target, with its own outcome: neither another's, nor another site's. */
	s.text[0] = '\0';
	OK(db_run_target_put(db, "ru", &(struct db_run_target){ .run = 2, .target = "a", .state = "sent", .exit_status = 7, .output = "" }));
	OK(db_run_target_put(db, "rv", &(struct db_run_target){ .run = 1, .target = "a", .state = "active", .output = "" }));
	OK(db_run_of_target(db, "ru", "a", 0, 10, see_run_of_target, &s));
	assert_string_equal(s.text, "2:ok:a/sent/7 1:interrupted:a/failed/-1 ");
	s.text[0] = '\0';
	OK(db_run_of_target(db, "ru", "a", 0, 1, see_run_of_target, &s));
	OK(db_run_of_target(db, "ru", "a", 2, 10, see_run_of_target, &s));
	OK(db_run_of_target(db, "ru", "b", 0, 10, see_run_of_target, &s));
	OK(db_run_of_target(db, "ru", "A", 0, 10, see_run_of_target, &s));
	OK(db_run_of_target(db, "rv", "a", 0, 10, see_run_of_target, &s)); /* a site without such a run */
	assert_string_equal(s.text, "2:ok:a/sent/7 1:interrupted:a/failed/-1 1:interrupted:b/interrupted/0 ");
	free(output);
	arena_free(a);
}

static bool see_target(void *arg, const struct db_target *t)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof(s->text) - len, "%s=%llu,%s,%u ", t->target, (unsigned long long)t->number, t->state, t->tries);
	return true;
}

static void targets(void **state)
{
	(void)state;
	struct seen s = { "", 0, 0 };

	OK(db_target_put(db, "ta", &(struct db_target){ .target = "www", .state = "waiting" }));
	OK(db_target_put(db, "ta", &(struct db_target){ .target = "www", .state = "active", .number = 4, .tries = 2 }));
	OK(db_target_put(db, "ta", &(struct db_target){ .target = "Www", .state = "waiting" }));
	OK(db_target_list(db, "ta", see_target, &s));
	assert_string_equal(s.text, "Www=0,waiting,0 www=4,active,2 ");
}

/* --- an act of many files ------------------------------------------------------------------------------------------ */

#define BIG 10000

struct big {
	struct record r;
	struct record_file *files;
	struct db_state_row *rows;
	int64_t record_us, state_us;
};

static enum err big_act(struct db *d, void *arg)
{
	struct big *b = arg;
	struct sha256 digest = { { 1 } };
	struct blob_id commit = { { 1 } };
	int64_t from = clock_boot(), mid;
	enum err e = db_record_insert(d, &b->r, "{}", 2, &digest, &commit, b->files, BIG);

	mid = clock_boot();
	if (!e)
		e = db_state_put(d, "big", NODE_A, b->rows, BIG);
	b->record_us = mid - from;
	b->state_us = clock_boot() - mid;
	return e;
}

static int by_path(const void *a, const void *b)
{
	return path_compare(((const struct record_file *)a)->path, ((const struct record_file *)b)->path);
}

static bool see_here(void *arg, const struct db_record_row *row)
{
	*(uint64_t *)arg = row->files_here;
	return true;
}

static void ten_thousand_files(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	json_t *fields = json_object();
	struct big b = { .r = { .site = "big", .node = NODE_A, .seq = 1, .act = "sign", .at = 1, .note = "", .fields = fields, .files_count = BIG } };
	unsigned n = 0;

	b.r.actor.user = "own:alice";
	b.files = mem_array(BIG, sizeof(*b.files));
	b.rows = mem_array(BIG, sizeof(*b.rows));
	for (unsigned i = 0; i < BIG; i++) {
		b.files[i].path = P(arena_printf(a, "/usr/share/doc/part-%u/chapter-%u/page-%u.html", i % 7, i % 200, i));
		b.files[i].print.size = i;
	}
	qsort(b.files, BIG, sizeof(*b.files), by_path);
	for (unsigned i = 0; i < BIG; i++)
		b.rows[i] = (struct db_state_row){ .path = b.files[i].path, .approval = APPROVAL_SIGNED, .seq = 1, .at = 1, .actor = "own:alice" };
	for (int round = 0; round < 3; round++) {
		int64_t from = clock_boot();

		b.r.seq = (uint64_t)round + 1;
		uuid_new(&b.r.op);
		OK(tx_run(db, big_act, &b, NULL));
		printf("# %d files: record %lld ms, states (%s) %lld ms, with commit %lld ms\n", BIG, (long long)b.record_us / 1000,
		    round ? "changed" : "new", (long long)b.state_us / 1000, (long long)(clock_boot() - from) / 1000);
	}
	int64_t from = clock_boot();
	OK(db_state_all(db, "big", count_state, &n));
	printf("# all %u states read in %lld ms\n", n, (long long)(clock_boot() - from) / 1000);
	assert_int_equal(n, BIG);
	struct path *paths = mem_array(BIG, sizeof(*paths));
	for (unsigned i = 0; i < BIG; i++)
		paths[i] = b.files[i].path;
	from = clock_boot();
	n = 0;
	OK(db_state_get_many(db, "big", paths, BIG, count_state, &n));
	printf("# %u states asked for by name in %lld ms\n", n, (long long)(clock_boot() - from) / 1000);
	assert_int_equal(n, BIG);
	free(paths);

	/* The directories add up. */
	uint64_t here = 0;
	struct path dir = P("/usr/share/doc/part-3");
	struct db_record_query q = { .site = "big", .node = NODE_A, .path = &dir, .is_dir = true, .limit = 1 };
	OK(db_record_list(db, &q, see_here, &here));
	assert_int_equal(here, 1429); /* 3, 10, 17, ... below 10000 */
	free(b.files);
	free(b.rows);
	json_decref(fields);
	arena_free(a);
}

/* More rows than are sent at once, and one that the table does not take among those that go beside the caller. */
static void a_bad_row_among_many(void **state)
{
	(void)state;
	static char longer[5000];
	struct arena *a = arena_new();
	struct db_state_row *rows = mem_array(BIG, sizeof(*rows));
	unsigned n = 0;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[0] = '/';
	for (unsigned i = 0; i < BIG; i++)
		rows[i] = (struct db_state_row){ .path = P(arena_printf(a, "/bad/page-%u.html", i)), .approval = APPROVAL_SIGNED, .seq = 1, .actor = "" };
	for (unsigned bad = 100; bad < BIG; bad += 4900) {
		struct path good = rows[bad].path;

		rows[bad].path = P(longer);
		GIVES(ERR_INPUT, db_state_put(db, "bad", NODE_A, rows, BIG));
		assert_non_null(strstr(err_text(), "state_put"));
		rows[bad].path = good;
	}
	OK(db_state_all(db, "bad", count_state, &n));
	assert_int_equal(n, 0);
	OK(db_state_put(db, "bad", NODE_A, rows, BIG));
	OK(db_state_all(db, "bad", count_state, &n));
	assert_int_equal(n, BIG);
	free(rows);
	arena_free(a);
}

/* --- an act of one file, statement by statement as acts/ does it ---------------------------------------------------- */

static enum err one_act(struct db *d, void *arg)
{
	struct record *r = arg;
	struct record_file f = { .path = P("/usr/share/doc/page.html") };
	struct db_state_row row = { .path = f.path, .approval = APPROVAL_SIGNED, .seq = r->seq, .actor = "own:alice" }, was;
	struct db_act_id id = { .node = NODE_A, .seq = r->seq };
	struct sha256 digest = { { 1 } };
	struct blob_id commit = { { 1 } };
	struct arena *a = arena_new();
	struct db_head h;
	struct db_site s;
	enum err e = db_site_lock(d, "one", NODE_A, &s);

	if (!e && (e = db_act_id_get(d, "one", "own:alice", &r->op, &id)) == ERR_NOT_FOUND)
		e = ERR_OK;
	if (!e && (e = db_state_get(d, "one", f.path, &was, a)) == ERR_NOT_FOUND)
		e = ERR_OK;
	snprintf(id.node, sizeof(id.node), NODE_A);
	if (e || (e = db_head_get(d, "one", NODE_A, &h)) || (e = db_record_insert(d, r, "{}", 2, &digest, &commit, &f, 1)) ||
	    (e = db_state_put(d, "one", NODE_A, &row, 1)) || (e = db_head_set(d, "one", NODE_A, &h)) ||
	    (e = db_act_id_put(d, "one", "own:alice", &r->op, &id, 1)) || (e = db_schedule_approval(d, "one", 1)))
		goto out;
out:
	arena_free(a);
	return e;
}

static void one_file(void **state)
{
	(void)state;
	enum { TIMES = 200 };
	json_t *fields = json_object();
	struct record r = { .site = "one", .node = NODE_A, .act = "sign", .at = 1, .note = "", .fields = fields, .files_count = 1 };

	r.actor.user = "own:alice";
	OK(db_site_create(db, "one", NODE_A, 1));
	int64_t from = clock_boot();
	for (r.seq = 1; r.seq <= TIMES; r.seq++) {
		uuid_new(&r.op);
		OK(tx_run(db, one_act, &r, NULL));
	}
	printf("# an act of one file in the database, with commit: %lld us\n", (long long)(clock_boot() - from) / TIMES);
	json_decref(fields);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sites),
		cmocka_unit_test(records),
		cmocka_unit_test(record_files),
		cmocka_unit_test(a_record_is_written_whole_or_not_at_all),
		cmocka_unit_test(states),
		cmocka_unit_test(callbacks_may_ask_but_not_in_a_stream),
		cmocka_unit_test(rules),
		cmocka_unit_test(preapprovals),
		cmocka_unit_test(act_ids),
		cmocka_unit_test(accounts),
		cmocka_unit_test(groups),
		cmocka_unit_test(sessions),
		cmocka_unit_test(tokens),
		cmocka_unit_test(events),
		cmocka_unit_test(schedules),
		cmocka_unit_test(counters),
		cmocka_unit_test(releases),
		cmocka_unit_test(runs),
		cmocka_unit_test(targets),
		cmocka_unit_test(one_file),
		cmocka_unit_test(ten_thousand_files),
		cmocka_unit_test(a_bad_row_among_many),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
