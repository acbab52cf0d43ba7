/* acts/: each act with its refusals first, against a private MariaDB; the stores are compared after each test. */
#include "acts_world.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

static struct world w;

static int begin(void **state)
{
	(void)state;
	world_new(&w);
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_free(&w);
	return 0;
}

static bool count_event(void *arg, const struct db_event *e)
{
	if (strcmp(e->kind, "refused") == 0)
		++*(int *)arg;
	return true;
}

static int refusals(void)
{
	int n = 0;

	assert_ok(db_event_list(tools_db(w.t), 0, 1000, count_event, &n));
	return n;
}

/* --- sign ---------------------------------------------------------------------------------------------------------- */

static void sign_refused(void **state)
{
	struct act_answer a;
	struct sha256 wrong = { { 1 } };
	struct selection conflict;
	struct fingerprint print;
	struct act_request rq;
	struct path path = path_of("/index.html");
	struct file_act fa = { .act = "sign", .paths = &path, .n_paths = 1, .as_staged = true };
	uint64_t before = head_seq(&w, w.s);
	char *note = mem_alloc(RECORD_NOTE_LIMIT + 2);

	(void)state;
	put(&w, "/index.html", "<h1>one</h1>");
	put(&w, "/dir/page.html", "<p>two");
	print_of(&w, "/index.html", &print);

	assert_err(ERR_DENIED, sign_now(&w, w.reviewer, "/index.html", false, &a));
	assert_err(ERR_DENIED, sign_now(&w, w.viewer, "/index.html", false, &a));
	assert_err(ERR_DENIED, act_expected(&w, w.viewer, "sign", "/index.html", &print.sha256, &a, NULL));
	assert_int_equal(refusals(), 3);
	/* What he may not see does not exist for him. */
	assert_err(ERR_NOT_FOUND, sign_now(&w, w.stranger, "/index.html", false, &a));
	assert_err(ERR_NOT_FOUND, sign_now(&w, w.editor, "/nothing.html", false, &a));
	assert_err(ERR_INPUT, sign_now(&w, w.editor, "/dir", false, &a));
	assert_err(ERR_STALE, act_expected(&w, w.editor, "sign", "/index.html", &wrong, &a, &conflict));
	assert_int_equal(conflict.n, 1);
	assert_string_equal(conflict.items[0].path.s, "/index.html");
	assert_true(sha256_equal(&conflict.items[0].print.sha256, &print.sha256));
	selection_release(&conflict);

	rq = request_of(w.editor, "");
	fa.selection = &wrong;
	assert_err(ERR_INPUT, act_files(w.s, w.t, &rq, &fa, &a, NULL)); /* two ways at once */
	fa.as_staged = false;
	assert_err(ERR_STALE, act_files(w.s, w.t, &rq, &fa, &a, &conflict));
	assert_int_equal(conflict.n, 1);
	selection_release(&conflict);
	fa.selection = NULL;
	assert_err(ERR_INPUT, act_files(w.s, w.t, &rq, &fa, &a, NULL)); /* none */
	fa.as_staged = true;
	fa.act = "publish";
	assert_err(ERR_INPUT, act_files(w.s, w.t, &rq, &fa, &a, NULL));
	fa.act = "sign";
	memset(note, 'x', RECORD_NOTE_LIMIT + 1);
	rq.note = note;
	assert_err(ERR_TOO_BIG, act_files(w.s, w.t, &rq, &fa, &a, NULL));
	rq.note = "bell \a";
	assert_err(ERR_INPUT, act_files(w.s, w.t, &rq, &fa, &a, NULL));
	rq.note = "bad \xff utf-8";
	assert_err(ERR_INPUT, act_files(w.s, w.t, &rq, &fa, &a, NULL));
	rq.note = "";
	rq.op = (struct uuid){ 0 };
	assert_err(ERR_INPUT, act_files(w.s, w.t, &rq, &fa, &a, NULL));
	rq = request_of(NULL, "");
	assert_err(ERR_INPUT, act_files(w.s, w.t, &rq, &fa, &a, NULL));

	assert_int_equal(head_seq(&w, w.s), before);
	assert_false(is_exported(&w, "/index.html"));
	free(note);
	check_all(&w);
}

static bool see_file(void *arg, const struct record_file *f)
{
	struct record_file *to = arg;

	*to = *f;
	to->path.s = NULL;
	return true;
}

static char *digest_by(const char *program, const char *path)
{
	char *full = mem_printf("%s%s", w.staging, path), *out;
	const char *argv[] = { program, "-b", full, NULL };

	out = run(argv);
	*strchr(out, ' ') = '\0';
	free(full);
	return out;
}

static void sign_one(void **state)
{
	struct act_answer a, b;
	struct fingerprint print;
	struct record_file f;
	struct arena *arena = arena_new();
	struct db_record_row row;
	struct record record;
	char hex[SHA256_HEX], *by, *bytes;

	(void)state;
	put(&w, "/index.html", "<h1>one</h1>\n");
	put(&w, "/empty", "");
	print_of(&w, "/index.html", &print);
	assert_int_equal(state_now(&w, "/index.html"), STATE_UNSIGNED);
	assert_ok(act_expected(&w, w.editor, "sign", "/index.html", &print.sha256, &a, NULL));
	assert_string_equal(a.pending, "");
	assert_false(a.repeated);
	assert_int_equal(a.files, 1);
	assert_int_equal(state_now(&w, "/index.html"), STATE_SIGNED);
	bytes = exported(&w, "/index.html");
	assert_string_equal(bytes, "<h1>one</h1>\n");
	free(bytes);

	assert_ok(db_record_files(tools_db(w.t), w.s->name, node_key_id(w.key), a.seq, NULL, 10, see_file, &f));
	hex_of(hex, f.print.md5.b, 16);
	by = digest_by("md5sum", "/index.html");
	assert_string_equal(hex, by);
	free(by);
	hex_of(hex, f.print.sha256.b, 32);
	by = digest_by("sha256sum", "/index.html");
	assert_string_equal(hex, by);
	free(by);
	assert_int_equal(f.replaces, 0);

	/* The stored bytes are what was digested, and they decode. */
	assert_ok(db_record_get(tools_db(w.t), w.s->name, node_key_id(w.key), a.seq, &row, arena));
	assert_ok(record_decode(&record, row.body, row.body_len, arena));
	assert_string_equal(record.act, "sign");
	assert_string_equal(record.actor.name, "editor");
	assert_string_equal(record.rule.principal, "own:editor");
	assert_int_equal(record.rule.role, ROLE_SIGN);
	hex_of(hex, print.sha256.b, 32);
	assert_string_equal(record.shown, hex);
	json_decref(record.fields);

	/* Staging moves on; production stays. */
	put(&w, "/index.html", "<h1>hacked</h1>\n");
	assert_int_equal(state_now(&w, "/index.html"), STATE_CHANGED);
	bytes = exported(&w, "/index.html");
	assert_string_equal(bytes, "<h1>one</h1>\n");
	free(bytes);
	/* The old fingerprint does not sign the new bytes. */
	assert_err(ERR_STALE, act_expected(&w, w.editor, "sign", "/index.html", &print.sha256, &b, NULL));
	assert_ok(sign_now(&w, w.admin, "/index.html", false, &b));
	assert_int_equal(b.seq, a.seq + 1);
	assert_ok(db_record_files(tools_db(w.t), w.s->name, node_key_id(w.key), b.seq, NULL, 10, see_file, &f));
	assert_int_equal(f.replaces, a.seq);
	/* Signed already with these bytes: no second record, and the sentence says by whom. */
	assert_err(ERR_STALE, sign_now(&w, w.editor, "/index.html", false, &b));
	assert_non_null(strstr(err_text(), "own:admin"));
	assert_ok(sign_now(&w, w.editor, "/empty", false, &b));
	bytes = exported(&w, "/empty");
	assert_string_equal(bytes, "");
	free(bytes);
	arena_free(arena);
	check_all(&w);
}

static void same_id(void **state)
{
	struct path path = path_of("/a"), other = path_of("/b");
	struct act_request rq = request_of(w.editor, "first"), rq2;
	struct file_act fa = { .act = "sign", .paths = &path, .n_paths = 1, .as_staged = true };
	struct act_answer a, b;
	uint64_t before;

	(void)state;
	put(&w, "/a", "a");
	put(&w, "/b", "b");
	assert_ok(act_files(w.s, w.t, &rq, &fa, &a, NULL));
	before = head_seq(&w, w.s);
	/* The same request: the same answer, although the file is signed by now. */
	assert_ok(act_files(w.s, w.t, &rq, &fa, &b, NULL));
	assert_true(b.repeated);
	assert_int_equal(b.seq, a.seq);
	assert_int_equal(b.at, a.at);
	assert_int_equal(b.files, 1);
	/* Another path, note or act with that id is a conflict. */
	fa.paths = &other;
	assert_err(ERR_STALE, act_files(w.s, w.t, &rq, &fa, &b, NULL));
	fa.paths = &path;
	rq2 = rq;
	rq2.note = "second";
	assert_err(ERR_STALE, act_files(w.s, w.t, &rq2, &fa, &b, NULL));
	fa.act = "revoke";
	assert_err(ERR_STALE, act_files(w.s, w.t, &rq, &fa, &b, NULL));
	/* Somebody else's id is taken: refused as well, and nothing of it is told. */
	fa.act = "sign";
	fa.paths = &other;
	rq2 = rq;
	rq2.actor = w.admin;
	assert_true(act_files(w.s, w.t, &rq2, &fa, &b, NULL) != ERR_OK);
	assert_int_equal(head_seq(&w, w.s), before);
	assert_int_equal(state_now(&w, "/b"), STATE_UNSIGNED);
	check_all(&w);
}

/* --- review, revoke ------------------------------------------------------------------------------------------------ */

static void review_and_revoke(void **state)
{
	struct act_answer a;
	struct fingerprint first, second;
	struct arena *arena = arena_new();
	struct db_state_row row;

	(void)state;
	put(&w, "/p.html", "one");
	print_of(&w, "/p.html", &first);
	assert_err(ERR_DENIED, act_now(&w, w.viewer, "review", "/p.html", false, &a));
	assert_err(ERR_STALE, act_now(&w, w.editor, "revoke", "/p.html", false, &a)); /* not approved */
	/* Before it is signed, with only a review the state is unsigned still. */
	assert_ok(act_now(&w, w.reviewer, "review", "/p.html", false, &a));
	assert_int_equal(state_now(&w, "/p.html"), STATE_UNSIGNED);
	assert_ok(db_state_get(tools_db(w.t), w.s->name, path_of("/p.html"), &row, arena));
	assert_int_equal(row.approval, APPROVAL_NONE);
	assert_int_equal(row.review_seq, a.seq);
	assert_true(sha256_equal(&row.reviewed, &first.sha256));
	assert_ok(sign_now(&w, w.editor, "/p.html", false, &a));
	/* The approved version is reviewed by its fingerprint although other bytes are staged. */
	put(&w, "/p.html", "two");
	print_of(&w, "/p.html", &second);
	assert_ok(catalog_refresh_file(w.s->catalog, path_of("/p.html")));
	assert_ok(act_expected(&w, w.reviewer, "review", "/p.html", &first.sha256, &a, NULL));
	assert_ok(db_state_get(tools_db(w.t), w.s->name, path_of("/p.html"), &row, arena));
	assert_true(sha256_equal(&row.reviewed, &first.sha256));
	assert_int_equal(row.approval, APPROVAL_SIGNED);
	assert_ok(act_expected(&w, w.reviewer, "review", "/p.html", &second.sha256, &a, NULL));
	assert_ok(db_state_get(tools_db(w.t), w.s->name, path_of("/p.html"), &row, arena));
	assert_true(sha256_equal(&row.reviewed, &second.sha256));
	/* Signing keeps the review. */
	assert_ok(sign_now(&w, w.editor, "/p.html", false, &a));
	assert_ok(db_state_get(tools_db(w.t), w.s->name, path_of("/p.html"), &row, arena));
	assert_true(sha256_equal(&row.reviewed, &second.sha256));
	check_all(&w);

	assert_err(ERR_DENIED, act_now(&w, w.reviewer, "revoke", "/p.html", false, &a));
	/* The fingerprint of what is no longer approved does not revoke. */
	assert_err(ERR_STALE, act_expected(&w, w.editor, "revoke", "/p.html", &first.sha256, &a, NULL));
	assert_ok(act_expected(&w, w.editor, "revoke", "/p.html", &second.sha256, &a, NULL));
	assert_int_equal(state_now(&w, "/p.html"), STATE_REVOKED);
	assert_false(is_exported(&w, "/p.html"));
	assert_err(ERR_STALE, act_now(&w, w.editor, "revoke", "/p.html", false, &a));
	check_all(&w);
	/* A directory does not bring it back; naming it does. */
	assert_err(ERR_INPUT, sign_now(&w, w.editor, "/", true, &a));
	assert_ok(sign_now(&w, w.editor, "/p.html", false, &a));
	assert_int_equal(state_now(&w, "/p.html"), STATE_SIGNED);
	/* Gone from staging: it stays approved until somebody revokes it. */
	take(&w, "/p.html");
	put(&w, "/other", "so that staging is not empty");
	assert_int_equal(state_now(&w, "/p.html"), STATE_MISSING);
	assert_true(is_exported(&w, "/p.html"));
	assert_err(ERR_STALE, sign_now(&w, w.editor, "/p.html", false, &a));
	assert_ok(act_now(&w, w.editor, "revoke", "/p.html", false, &a));
	assert_false(is_exported(&w, "/p.html"));
	arena_free(arena);
	check_all(&w);
}

/* --- batches ------------------------------------------------------------------------------------------------------- */

#define MANY 3000

static void batch(void **state)
{
	struct act_answer a;
	struct act_request rq = request_of(w.editor, "all of it"), rq2 = request_of(w.editor, "");
	struct path path = path_of("/");
	struct file_act fa = { .act = "sign", .paths = &path, .n_paths = 1, .recursive = true };
	struct selection shown, conflict;
	struct rules *rules = site_rules(w.s);
	struct catalog_view view = { rules, &w.editor->who };

	(void)state;
	for (int i = 0; i < MANY; i++) {
		char name[64], text[64];

		snprintf(name, sizeof name, "/d%02d/sub%d/f%d.html", i % 30, i % 7, i);
		snprintf(text, sizeof text, "<p>this is file %d of many</p>\n", i);
		put(&w, name, text);
	}
	assert_ok(catalog_select(w.s->catalog, "sign", &path, 1, true, &view, ROLE_SIGN, &shown));
	assert_int_equal(shown.n, MANY);
	fa.selection = &shown.digest;
	/* One file changed since: the whole act is a conflict, and nothing is recorded. */
	put(&w, "/d00/sub0/f0.html", "changed");
	assert_err(ERR_STALE, act_files(w.s, w.t, &rq, &fa, &a, &conflict));
	assert_int_equal(conflict.n, MANY);
	assert_false(sha256_equal(&conflict.digest, &shown.digest));
	selection_release(&shown);
	shown = conflict;
	fa.selection = &shown.digest;
	assert_ok(act_files(w.s, w.t, &rq, &fa, &a, NULL));
	assert_int_equal(a.files, MANY);
	assert_string_equal(a.pending, "");
	assert_int_equal(w.s->approved_files, MANY);
	check_all(&w);
	selection_release(&shown);
	/* One file without the right fails the whole and is named. */
	struct act_request admin = request_of(w.admin, "");
	assert_ok(act_rule(w.s, w.t, w.auth, &admin, "own:editor", path_of("/d01"), ROLE_VIEW, &a));
	put(&w, "/d00/new", "new");
	put(&w, "/d01/new", "new");
	fa.selection = NULL;
	fa.as_staged = true;
	assert_err(ERR_DENIED, act_files(w.s, w.t, &rq2, &fa, &a, NULL));
	assert_non_null(strstr(err_text(), "/d01/new"));
	/* What he may not see is not touched. */
	admin = request_of(w.admin, "");
	assert_ok(act_rule(w.s, w.t, w.auth, &admin, "own:editor", path_of("/d01"), ROLE_NONE, &a));
	assert_ok(act_files(w.s, w.t, &rq2, &fa, &a, NULL));
	assert_int_equal(a.files, 1);
	assert_int_equal(state_now(&w, "/d01/new"), STATE_UNSIGNED);
	/* Everything away again, in one act. */
	assert_ok(act_now(&w, w.admin, "revoke", "/", true, &a));
	assert_int_equal(a.files, MANY + 1);
	assert_int_equal(w.s->approved_files, 0);
	rules_unref(rules);
	check_all(&w);
}

/* A directory and a file change names, in one batch, in both directions. */
static void swap(void **state)
{
	struct act_answer a;
	struct arena *arena = arena_new();
	struct db_record_row row;
	char *bytes;

	(void)state;
	put(&w, "/docs/x.html", "x of the directory");
	put(&w, "/docs/deep/y.html", "y of the directory");
	put(&w, "/notes", "notes are a file");
	put(&w, "/same", "same");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	assert_int_equal(a.files, 4);
	check_all(&w);

	take(&w, "/docs");
	take(&w, "/notes");
	put(&w, "/docs", "docs are a file now");
	put(&w, "/notes/one.html", "one");
	put(&w, "/notes/two/three.html", "three");
	assert_ok(catalog_refresh(w.s->catalog, path_root()));
	assert_int_equal(state_now(&w, "/docs"), STATE_UNSIGNED);
	assert_int_equal(state_now(&w, "/docs/x.html"), STATE_MISSING);
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	assert_string_equal(a.pending, "");
	assert_int_equal(a.files, 3);
	bytes = exported(&w, "/docs");
	assert_string_equal(bytes, "docs are a file now");
	free(bytes);
	bytes = exported(&w, "/notes/two/three.html");
	assert_string_equal(bytes, "three");
	free(bytes);
	assert_int_equal(state_now(&w, "/docs/x.html"), STATE_COUNT);
	assert_int_equal(w.s->approved_files, 4);
	assert_ok(db_record_get(tools_db(w.t), w.s->name, node_key_id(w.key), a.seq, &row, arena));
	assert_non_null(strstr(row.body, "\"superseded\":[\"/docs/deep/y.html\",\"/docs/x.html\",\"/notes\"]"));
	check_all(&w);

	/* And back. */
	take(&w, "/docs");
	take(&w, "/notes");
	put(&w, "/docs/x.html", "x again");
	put(&w, "/notes", "notes again");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	assert_int_equal(a.files, 2);
	assert_int_equal(w.s->approved_files, 3);
	check_all(&w);

	/* He who may not sign what stands in the way does not take it out. */
	struct act_request admin = request_of(w.admin, "");
	assert_ok(act_rule(w.s, w.t, w.auth, &admin, "own:editor", path_of("/docs/x.html"), ROLE_VIEW, &a));
	take(&w, "/docs");
	put(&w, "/docs", "a file");
	assert_err(ERR_DENIED, sign_now(&w, w.editor, "/docs", false, &a));
	assert_ok(sign_now(&w, w.admin, "/docs", false, &a));
	arena_free(arena);
	check_all(&w);
}

static void large_and_executable(void **state)
{
	size_t n = REPO_LOOSE_ABOVE + 12345;
	char *bytes = mem_alloc(n), *back, *full = mem_printf("%s/tool.sh", w.staging);
	struct act_answer a;

	(void)state;
	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(i * 31 + i / 4096);
	put_bytes(&w, "/large.bin", bytes, n);
	put_bytes(&w, "/copy.bin", bytes, n);
	put(&w, "/tool.sh", "#!/bin/sh\n");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	assert_string_equal(a.pending, "");
	check_all(&w);
	/* The executable bit alone is a change. */
	assert_int_equal(chmod(full, 0755), 0);
	assert_int_equal(state_now(&w, "/tool.sh"), STATE_CHANGED);
	assert_ok(sign_now(&w, w.editor, "/tool.sh", false, &a));
	check_all(&w);
	back = exported(&w, "/large.bin");
	assert_memory_equal(back, bytes, n);
	free(back);
	free(bytes);
	free(full);
}

static void unpublishable(void **state)
{
	struct act_answer a;
	char *link = mem_printf("%s/link", w.staging), *pipe = mem_printf("%s/pipe", w.staging);

	(void)state;
	put(&w, "/fine", "fine");
	assert_int_equal(symlink("/etc/passwd", link), 0);
	assert_int_equal(mkfifo(pipe, 0644), 0);
	assert_err(ERR_INPUT, sign_now(&w, w.editor, "/link", false, &a));
	assert_err(ERR_INPUT, sign_now(&w, w.editor, "/pipe", false, &a));
	/* A directory takes what can be taken. */
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	assert_int_equal(a.files, 1);
	free(link);
	free(pipe);
	check_all(&w);
}

/* --- rules --------------------------------------------------------------------------------------------------------- */

static void rules(void **state)
{
	struct act_request rq;
	struct act_answer a;
	uint64_t before = head_seq(&w, w.s);

	(void)state;
	put(&w, "/x", "x");
	rq = request_of(w.editor, "");
	assert_err(ERR_DENIED, act_rule(w.s, w.t, w.auth, &rq, "own:editor", path_root(), ROLE_ADMIN, &a));
	rq = request_of(w.stranger, "");
	assert_true(act_rule(w.s, w.t, w.auth, &rq, "own:stranger", path_root(), ROLE_VIEW, &a) != ERR_OK);
	rq = request_of(w.admin, "");
	assert_err(ERR_INPUT, act_rule(w.s, w.t, w.auth, &rq, "nobody", path_root(), ROLE_VIEW, &a));
	assert_err(ERR_NOT_FOUND, act_rule(w.s, w.t, w.auth, &rq, "own:stranger", path_root(), -1, &a));
	/* The last admin stays. */
	assert_err(ERR_DENIED, act_rule(w.s, w.t, w.auth, &rq, "own:admin", path_root(), ROLE_SIGN, &a));
	assert_err(ERR_DENIED, act_rule(w.s, w.t, w.auth, &rq, "own:admin", path_root(), -1, &a));
	assert_int_equal(head_seq(&w, w.s), before);

	rq = request_of(w.admin, "she writes the news");
	assert_ok(act_rule(w.s, w.t, w.auth, &rq, "own:stranger", path_of("/news"), ROLE_SIGN, &a));
	assert_ok(act_rule(w.s, w.t, w.auth, &rq, "own:stranger", path_of("/news"), ROLE_SIGN, &a));
	assert_true(a.repeated);
	put(&w, "/news/today", "today");
	assert_ok(sign_now(&w, w.stranger, "/news/today", false, &a));
	assert_err(ERR_NOT_FOUND, sign_now(&w, w.stranger, "/x", false, &a));
	/* Groups: a role through an own group, and its end with the membership. */
	rq = request_of(w.admin, "");
	assert_ok(act_group(w.installation, w.t, &rq, "team", false, &a));
	rq = request_of(w.admin, "");
	assert_ok(act_rule(w.s, w.t, w.auth, &rq, "own:@team", path_of("/x"), ROLE_SIGN, &a));
	rq = request_of(w.admin, "");
	assert_ok(act_membership(w.installation, w.t, &rq, "team", "own:stranger", false, &a));
	struct person *member;
	bool enabled;
	assert_ok(auth_person(w.auth, tools_db(w.t), "own:stranger", &member, &enabled));
	assert_int_equal(member->who.n_groups, 1);
	assert_ok(sign_now(&w, member, "/x", false, &a));
	person_unref(member);
	rq = request_of(w.admin, "");
	assert_ok(act_rule(w.s, w.t, w.auth, &rq, "own:stranger", path_of("/news"), -1, &a));
	assert_err(ERR_NOT_FOUND, sign_now(&w, w.stranger, "/news/today", false, &a));
	check_all(&w);
	/* They are there after a restart. */
	world_close(&w);
	world_open(&w);
	put(&w, "/news/today", "tomorrow");
	assert_err(ERR_NOT_FOUND, sign_now(&w, w.stranger, "/news/today", false, &a));
	assert_ok(sign_now(&w, w.editor, "/news/today", false, &a));
	check_all(&w);
}

/* --- pre-approval, pick-up, release, force ------------------------------------------------------------------------- */

static void sync_acts(void **state)
{
	struct act_request rq;
	struct act_answer a;
	struct db_release release, same;
	struct db_schedule schedule;
	struct site_plan plan;
	struct sha256 digest;
	struct arena *arena = arena_new();
	uint64_t n;
	bool cut;

	(void)state;
	/* Nothing is approved: no release. */
	assert_ok(act_release(w.s, w.t, &release, &cut));
	assert_false(cut);
	put(&w, "/index.html", "one");
	put(&w, "/feed/a.xml", "a");
	put(&w, "/feed/b.xml", "b");
	rq = request_of(w.editor, "");
	assert_err(ERR_DENIED, act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/feed"), "", 0, 0 }, false, &a));
	rq = request_of(w.admin, "machines write it");
	assert_ok(act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/feed"), "", 0, 0 }, false, &a));
	rq = request_of(w.admin, "");
	assert_err(ERR_NOT_FOUND, act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/index.html"), "", 0, 0 }, true, &a));
	assert_ok(sign_now(&w, w.editor, "/index.html", false, &a));
	assert_int_equal(state_now(&w, "/feed/a.xml"), STATE_PREAPPROVED);
	assert_false(is_exported(&w, "/feed/a.xml"));
	assert_ok(site_plan(w.s, w.t, &plan));
	assert_int_equal(plan.plan.n, 3);
	assert_int_equal(plan.plan.added, 3);
	site_plan_release(&plan);
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 2);
	assert_true(is_exported(&w, "/feed/a.xml"));
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	check_all(&w);
	assert_ok(act_release(w.s, w.t, &release, &cut));
	assert_true(cut);
	assert_int_equal(release.number, 1);
	assert_int_equal(release.files_count, 3);
	assert_ok(act_release(w.s, w.t, &same, &cut));
	assert_false(cut);
	assert_int_equal(same.number, 1);
	assert_ok(site_plan(w.s, w.t, &plan));
	assert_int_equal(plan.plan.n, 0);
	site_plan_release(&plan);
	/* A review or a rule changes no file: no release. */
	assert_ok(act_now(&w, w.reviewer, "review", "/index.html", false, &a));
	assert_ok(act_release(w.s, w.t, &same, &cut));
	assert_false(cut);
	/* What a person took away a pre-approval does not bring back. */
	assert_ok(act_now(&w, w.editor, "revoke", "/feed/a.xml", false, &a));
	put(&w, "/feed/a.xml", "a new");
	put(&w, "/feed/b.xml", "b new");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 1);
	assert_false(is_exported(&w, "/feed/a.xml"));
	/* One that is gone stays, as missing, until it is revoked. */
	take(&w, "/feed/b.xml");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	assert_int_equal(state_now(&w, "/feed/b.xml"), STATE_MISSING);
	assert_ok(act_release(w.s, w.t, &release, &cut));
	assert_true(cut);
	assert_int_equal(release.number, 2);
	assert_int_equal(release.files_count, 2);
	check_all(&w);
	/* main and the tags are what any git shows; the tag is signed. */
	char *signers = mem_printf("gpg.ssh.allowedSignersFile=%s", w.signers);
	const char *tag[] = { "git", "-C", w.s->repo_dir, "-c", signers, "tag", "-v", "release/2", NULL };
	const char *count[] = { "git", "-C", w.s->repo_dir, "rev-list", "--count", "main", NULL };
	const char *list[] = { "git", "-C", w.s->repo_dir, "ls-tree", "-r", "--name-only", "main", NULL };
	char *out;
	free(run(tag));
	out = run(count);
	assert_string_equal(out, "2");
	free(out);
	out = run(list);
	assert_string_equal(out, "feed/b.xml\nindex.html");
	free(out);
	free(signers);

	/* Force: admin of the whole site, with a reason, and with the plan that he was shown. */
	rq = request_of(w.editor, "now");
	assert_err(ERR_DENIED, act_force(w.s, w.t, &rq, NULL, &a));
	rq = request_of(w.stranger, "now");
	assert_err(ERR_DENIED, act_force(w.s, w.t, &rq, NULL, &a));
	rq = request_of(w.admin, "");
	assert_err(ERR_INPUT, act_force(w.s, w.t, &rq, NULL, &a));
	put(&w, "/index.html", "two");
	assert_ok(sign_now(&w, w.editor, "/index.html", false, &a));
	assert_ok(site_plan(w.s, w.t, &plan));
	assert_int_equal(plan.plan.changed, 1);
	digest = plan.digest;
	site_plan_release(&plan);
	rq = request_of(w.admin, "the minister speaks at noon");
	assert_ok(act_force(w.s, w.t, &rq, &digest, &a));
	assert_ok(db_schedule_get(tools_db(w.t), w.s->name, &schedule, arena));
	assert_int_equal(schedule.forced.at, a.at);
	assert_string_equal(schedule.forced.by, "own:admin");
	assert_string_equal(schedule.forced.reason, "the minister speaks at noon");
	put(&w, "/more", "more");
	assert_ok(sign_now(&w, w.editor, "/more", false, &a));
	rq = request_of(w.admin, "again");
	assert_err(ERR_STALE, act_force(w.s, w.t, &rq, &digest, &a));
	arena_free(arena);
	check_all(&w);
}

/* During a run the export is the release and nothing else; signing goes on. */
static void export_held(void **state)
{
	struct act_answer a;
	struct db_release release;
	struct blob_id at;
	char *bytes;
	bool cut;

	(void)state;
	put(&w, "/a", "one");
	assert_ok(sign_now(&w, w.editor, "/a", false, &a));
	assert_ok(act_release(w.s, w.t, &release, &cut));
	assert_ok(site_export_hold(w.s, w.t, &release.log_commit));
	assert_err(ERR_BUSY, site_export_hold(w.s, w.t, &release.log_commit));
	put(&w, "/a", "two");
	put(&w, "/b", "b");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	assert_string_equal(a.pending, "");
	bytes = exported(&w, "/a");
	assert_string_equal(bytes, "one");
	free(bytes);
	assert_false(is_exported(&w, "/b"));
	assert_ok(site_carry(w.s, w.t));
	assert_false(is_exported(&w, "/b"));
	assert_ok(site_export_release(w.s, w.t));
	bytes = exported(&w, "/a");
	assert_string_equal(bytes, "two");
	free(bytes);
	export_at(w.s->export, &at);
	check_all(&w);
}

/* --- accounts ------------------------------------------------------------------------------------------------------ */

static bool find_text(void *arg, const struct db_record_row *row)
{
	if (strstr(row->body, "a long password") || strstr(row->body, "$y$"))
		*(bool *)arg = true;
	return true;
}

static void accounts(void **state)
{
	struct act_request rq;
	struct act_answer a;
	struct person *p;
	struct session session;
	char token[SESSION_TOKEN], principal[PRINCIPAL_LIMIT + 1];
	bool enabled, leaked = false;
	struct db_record_query q = { .site = "installation", .node = node_key_id(w.key), .limit = 1000 };

	(void)state;
	rq = request_of(w.editor, "");
	assert_err(ERR_DENIED, act_account_put(w.installation, w.t, &rq, "mallory", "a long password", NULL, true, &a));
	assert_err(ERR_DENIED, act_group(w.installation, w.t, &rq, "g", false, &a));
	assert_err(ERR_DENIED, act_account_put(w.installation, w.t, &rq, "admin", "a long password", NULL, true, &a));
	assert_err(ERR_DENIED, act_account_put(w.installation, w.t, &rq, "editor", NULL, NULL, false, &a));
	rq = request_of(w.admin, "");
	assert_err(ERR_INPUT, act_account_put(w.installation, w.t, &rq, "new", NULL, NULL, true, &a));
	assert_err(ERR_INPUT, act_account_put(w.installation, w.t, &rq, "new", "short", NULL, true, &a));
	assert_err(ERR_INPUT, act_account_put(w.installation, w.t, &rq, "a:b", "a long password", NULL, true, &a));
	assert_err(ERR_INPUT, act_account_put(w.installation, w.t, &rq, "@x", "a long password", NULL, true, &a));
	assert_err(ERR_INPUT, act_account_put(w.installation, w.t, &rq, "", "a long password", NULL, true, &a));
	/* The last admin is not disabled. */
	assert_err(ERR_DENIED, act_account_put(w.installation, w.t, &rq, "admin", NULL, NULL, false, &a));
	/* One's own password. */
	rq = request_of(w.viewer, "");
	assert_ok(act_account_put(w.installation, w.t, &rq, "viewer", "another password", "V. Iewer", true, &a));
	assert_err(ERR_DENIED, auth_login(w.auth, tools_db(w.t), "viewer", "a long password", "192.0.2.1", &p));
	assert_err(ERR_DENIED, auth_login(w.auth, tools_db(w.t), "nobody", "a long password", "192.0.2.1", &p));
	assert_ok(auth_login(w.auth, tools_db(w.t), "viewer", "another password", "192.0.2.1", &p));
	assert_string_equal(p->display, "V. Iewer");
	assert_ok(auth_session_start(w.auth, tools_db(w.t), p, "192.0.2.1", "test", token));
	person_unref(p);
	assert_true(auth_session_cached(w.auth, token, &session));
	assert_string_equal(session.person->who.user, "own:viewer");
	assert_int_equal(strlen(session.csrf), 43);
	person_unref(session.person);
	auth_forget(w.auth);
	assert_false(auth_session_cached(w.auth, token, &session));
	assert_ok(auth_session_find(w.auth, tools_db(w.t), token, &session));
	person_unref(session.person);
	assert_true(auth_session_cached(w.auth, token, &session));
	person_unref(session.person);
	token[5] ^= 1;
	assert_false(auth_session_cached(w.auth, token, &session));
	assert_err(ERR_NOT_FOUND, auth_session_find(w.auth, tools_db(w.t), token, &session));
	token[5] ^= 1;
	/* Disabled: his sessions end, and he does not come back. */
	rq = request_of(w.admin, "");
	assert_ok(act_account_put(w.installation, w.t, &rq, "viewer", NULL, NULL, false, &a));
	assert_false(auth_session_cached(w.auth, token, &session));
	assert_err(ERR_NOT_FOUND, auth_session_find(w.auth, tools_db(w.t), token, &session));
	assert_err(ERR_DENIED, auth_login(w.auth, tools_db(w.t), "viewer", "another password", "192.0.2.1", &p));
	assert_ok(auth_person(w.auth, tools_db(w.t), "own:viewer", &p, &enabled));
	assert_false(enabled);
	person_unref(p);
	/* Groups. */
	rq = request_of(w.admin, "");
	assert_ok(act_group(w.installation, w.t, &rq, "squad", false, &a));
	rq = request_of(w.admin, "");
	assert_err(ERR_STALE, act_group(w.installation, w.t, &rq, "squad", false, &a));
	assert_err(ERR_NOT_FOUND, act_membership(w.installation, w.t, &rq, "nogroup", "own:viewer", false, &a));
	assert_err(ERR_NOT_FOUND, act_membership(w.installation, w.t, &rq, "squad", "own:viewer", true, &a));
	assert_ok(act_membership(w.installation, w.t, &rq, "squad", "unix:root", false, &a));
	assert_ok(auth_unix_peer(w.auth, tools_db(w.t), 0, &p));
	assert_string_equal(p->who.user, "unix:root");
	enabled = false;
	for (size_t i = 0; i < p->who.n_groups; i++)
		enabled |= strcmp(p->who.groups[i], "own:@squad") == 0;
	assert_true(enabled);
	person_unref(p);
	assert_err(ERR_DENIED, auth_unix_peer(w.auth, tools_db(w.t), 65534, &p));
	assert_err(ERR_DENIED, auth_unix_peer(w.auth, tools_db(w.t), 4000000000u, &p));
	assert_err(ERR_DENIED, auth_unix_peer(w.auth, tools_db(w.t), (uid_t)-1, &p));
	/* Names. */
	assert_ok(auth_principal(w.auth, tools_db(w.t), "editor", principal));
	assert_string_equal(principal, "own:editor");
	assert_ok(auth_principal(w.auth, tools_db(w.t), "@squad", principal));
	assert_string_equal(principal, "own:@squad");
	assert_ok(auth_principal(w.auth, tools_db(w.t), "root", principal));
	assert_string_equal(principal, "unix:root");
	assert_ok(auth_principal(w.auth, tools_db(w.t), "unix:@root", principal));
	assert_err(ERR_NOT_FOUND, auth_principal(w.auth, tools_db(w.t), "own:gone", principal));
	assert_string_equal(principal, "own:gone");
	assert_err(ERR_NOT_FOUND, auth_principal(w.auth, tools_db(w.t), "nobody-of-that-name", principal));
	assert_err(ERR_INPUT, auth_principal(w.auth, tools_db(w.t), "a/b", principal));
	rq = request_of(w.admin, "");
	assert_ok(act_account_put(w.installation, w.t, &rq, "root", "a long password", NULL, true, &a));
	assert_err(ERR_INPUT, auth_principal(w.auth, tools_db(w.t), "root", principal));
	/* A site's admin who is not admin elsewhere does not take over who is something there: here, admin on a part. */
	rq = request_of(w.admin, "");
	assert_ok(act_group(w.installation, w.t, &rq, "squad", true, &a));
	assert_ok(db_record_list(tools_db(w.t), &q, find_text, &leaked));
	assert_false(leaked);
	check_all(&w);
}

/* --- crashes between two steps ------------------------------------------------------------------------------------- */

#ifdef DRYDOCK_ENABLE_FAILPOINTS
static const char *stop_at;

static void stop_here(const char *step)
{
	if (strcmp(step, stop_at) == 0)
		_exit(7);
}

static void sign_everything(void)
{
	struct act_answer a;

	if (sign_now(&w, w.editor, "/", true, &a))
		_exit(1);
}

static void cut_release(void)
{
	struct db_release r;
	bool cut;

	if (act_release(w.s, w.t, &r, &cut))
		_exit(1);
}

static const struct { const char *name; void (*act)(void); } CRASHING[] = { { "sign", sign_everything }, { "release", cut_release } };

/* This program once more, as main() is told to: do an act and stop at a step, as if the power had gone. */
static int crash_here(const char *step, const char *act, const char *dir)
{
	world_join(&w, dir);
	stop_at = step;
	failpoint_hook = stop_here;
	for (size_t i = 0; i < COUNT(CRASHING); i++)
		if (strcmp(CRASHING[i].name, act) == 0)
			CRASHING[i].act();
	return 0;
}

/* Not in a mere fork: threads and connections do not survive one, and what looks at threads (TSan) does not either. */
static void crash(const char *step, const char *act)
{
	pid_t pid;
	int status;

	world_close(&w);
	world_tell(&w);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/proc/self/exe", "acts_test", "--crash", step, act, w.dir, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	world_open(&w);
}
#endif

static void check_holds(void *arg, const char *what, const char *why)
{
	(*(unsigned *)arg)++;
	if (*why)
		fail_msg("%s: %s", what, why);
}

/* Every check of a release holds, and its tag is on main's history as the release says. */
static void verified(uint64_t number)
{
	struct arena *a = arena_new();
	struct db_release r;
	char ref[64], want[41];
	unsigned n = 0;

	assert_ok(release_verify(w.s, w.t, number, check_holds, &n));
	assert_int_equal(n, 7);
	assert_ok(db_release_get(tools_db(w.t), w.s->name, number, &r, a));
	snprintf(ref, sizeof ref, "refs/tags/release/%u^{commit}", (unsigned)number);
	const char *tag[] = { "git", "-C", w.s->repo_dir, "rev-parse", ref, NULL };
	char *got = run(tag);
	hex_of(want, r.main_commit.b, sizeof r.main_commit.b);
	assert_string_equal(got, want);
	free(got);
	arena_free(a);
}

/* What a release's manifest says, as text: "path signer seq". */
static void manifest_is(uint64_t number, const char *expected)
{
	struct buf text = BUF_INIT(65536);
	struct manifest_reading r;
	struct manifest_line l;
	bool got;

	assert_ok(site_manifest(w.s, w.t, number, &r));
	while (r.source.next(r.source.arg, &l, &got) == ERR_OK && got)
		buf_fmt(&text, "%s %s %u\n", l.path.s, l.signer, (unsigned)l.seq);
	manifest_reading_end(&r);
	assert_string_equal(buf_text(&text), expected);
	buf_release(&text);
}

static void cut_now(uint64_t number)
{
	struct db_release r;
	bool cut;

	assert_ok(act_release(w.s, w.t, &r, &cut));
	assert_true(cut);
	assert_int_equal(r.number, number);
	verified(number);
}

static void releases(void **state)
{
	struct act_answer a;
	struct db_release r;
	char *dir;
	bool cut;

	(void)state;
	put(&w, "/a-b", "x");
	put(&w, "/a/c", "x");
	put(&w, "/a\\b", "x");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	cut_now(1);
	manifest_is(1, "/a-b own:editor 6\n/a/c own:editor 6\n/a\\b own:editor 6\n");
	put(&w, "/a/c", "y");
	put(&w, "/new", "n");
	assert_ok(sign_now(&w, w.admin, "/a/c", false, &a));
	assert_ok(act_now(&w, w.reviewer, "review", "/a/c", false, &a));
	assert_ok(sign_now(&w, w.editor, "/new", false, &a));
	assert_ok(act_now(&w, w.editor, "revoke", "/a-b", false, &a));
	cut_now(2);
	manifest_is(2, "/a/c own:admin 8\n/a\\b own:editor 6\n/new own:editor 10\n");
	/* The first again, though the list that is kept is of the second. */
	manifest_is(1, "/a-b own:editor 6\n/a/c own:editor 6\n/a\\b own:editor 6\n");
	verified(1);
	/* Lost, torn or wrong: made again, and the same. */
	dir = mem_printf("%s/releases", w.s->dir);
	assert_ok(file_remove_tree(AT_FDCWD, dir));
	manifest_is(2, "/a/c own:admin 8\n/a\\b own:editor 6\n/new own:editor 10\n");
	world_close(&w);
	world_open(&w);
	free(dir);
	dir = mem_printf("%s/releases/net.2", w.s->dir);
	assert_ok(file_write(AT_FDCWD, dir, "torn", 4, 0600));
	manifest_is(2, "/a/c own:admin 8\n/a\\b own:editor 6\n/new own:editor 10\n");
	free(dir);
	/* So many tags are kept, and no more: the log has all. */
	for (uint64_t i = 3; i <= 5; i++) {
		put(&w, "/new", i % 2 ? "odd" : "even");
		assert_ok(sign_now(&w, w.editor, "/new", false, &a));
		cut_now(i);
	}
	const char *tags[] = { "git", "-C", w.s->repo_dir, "tag", NULL };
	char *out = run(tags);
	assert_string_equal(out, "release/3\nrelease/4\nrelease/5");
	free(out);
	/* Nothing new is nothing; at half of its time the same is released again. */
	assert_ok(act_release(w.s, w.t, &r, &cut));
	assert_false(cut);
	clock_test_offset(2000 * CLOCK_SECOND, 0);
	cut_now(6);
	clock_test_offset(0, 0);
	check_all(&w);
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/*
 * Who signs while a release is cut waits for nothing that costs what the site has: the release is what was approved when it
 * was begun, its record says so, and what came meanwhile is in the next one. What was revoked meanwhile is not in it.
 */
static atomic_uint signed_meanwhile;
static atomic_bool signing;

static bool revoking;
static atomic_uint sums;

static void meanwhile(const char *step)
{
	struct act_answer a;
	char text[32];

	if (!signing && !strcmp(step, "release_summed"))
		sums++;
	if (signing || strcmp(step, "release_prepared") || !signed_meanwhile)
		return;
	signing = true;
	signed_meanwhile--;
	snprintf(text, sizeof text, "%u", (unsigned)signed_meanwhile);
	put(&w, "/busy", text);
	if (revoking)
		assert_ok(act_now(&w, w.editor, "revoke", "/a", false, &a));
	else
		assert_ok(sign_now(&w, w.editor, "/busy", false, &a));
	signing = false;
}

static void release_while_signing(void **state)
{
	struct arena *a = arena_new();
	struct act_answer answer;
	struct db_release r;
	unsigned checks = 0;
	bool cut;

	(void)state;
	put(&w, "/a", "a");
	assert_ok(sign_now(&w, w.editor, "/a", false, &answer));
	failpoint_hook = meanwhile;
	/* It does not begin again for who signs on and on. */
	signed_meanwhile = 100;
	sums = 0;
	cut_now(1);
	assert_true(signed_meanwhile == 99 && sums == 1);
	manifest_is(1, "/a own:editor 6\n");
	assert_ok(db_release_get(tools_db(w.t), w.s->name, 1, &r, a));
	assert_true(r.as_of == 6 && r.seq == 8);
	signed_meanwhile = 0;
	cut_now(2);
	manifest_is(2, "/a own:editor 6\n/busy own:editor 7\n");
	assert_ok(db_release_get(tools_db(w.t), w.s->name, 2, &r, a));
	assert_true(r.as_of == r.seq && r.seq == 9);
	/* Nothing new, and then there is something: it is prepared for that. */
	signed_meanwhile = 1;
	cut_now(3);
	manifest_is(3, "/a own:editor 6\n/busy own:editor 10\n");
	/* The same bytes once more: who approved what the release has is who had done so before it. */
	put(&w, "/a", "b");
	assert_ok(sign_now(&w, w.editor, "/a", false, &answer));
	revoking = true;
	signed_meanwhile = 1;
	cut_now(4);
	manifest_is(4, "/busy own:editor 10\n");
	/* As if nothing had been kept, the list of each is the same. */
	world_close(&w);
	world_open(&w);
	manifest_is(1, "/a own:editor 6\n");
	assert_ok(release_verify(w.s, w.t, 1, check_holds, &checks));
	failpoint_hook = NULL;
	revoking = false;
	assert_ok(act_release(w.s, w.t, &r, &cut));
	assert_false(cut);
	arena_free(a);
	check_all(&w);
}

static void crashes(void **state)
{
	static const struct {
		const char *step;
		bool stands; /* the act is decided */
	} steps[] = {
		{ "files_read", false }, { "act_locked", false }, { "act_built", false }, { "act_published", false }, { "act_recorded", false },
		{ "act_committed", true }, { "carry_ref_moved", true }, { "act_done", true },
	};
	struct act_answer a;
	char text[64];

	(void)state;
	put(&w, "/keep", "keep");
	assert_ok(sign_now(&w, w.editor, "/keep", false, &a));
	for (size_t i = 0; i < COUNT(steps); i++) {
		uint64_t before = head_seq(&w, w.s);

		for (int k = 0; k < 20; k++) {
			char name[64];

			snprintf(name, sizeof name, "/step%zu/f%d", i, k);
			snprintf(text, sizeof text, "step %zu file %d", i, k);
			put(&w, name, text);
		}
		put(&w, "/keep", text);
		crash(steps[i].step, "sign");
		assert_false(w.s->read_only);
		assert_int_equal(head_seq(&w, w.s), before + steps[i].stands);
		snprintf(text, sizeof text, "/step%zu/f7", i);
		assert_int_equal(state_now(&w, text), steps[i].stands ? STATE_SIGNED : STATE_UNSIGNED);
		check_all(&w);
		if (!steps[i].stands)
			assert_ok(sign_now(&w, w.editor, "/", true, &a));
		check_all(&w);
	}
	/* A release: main, its tag and the list of files are derived again, whatever was missing. */
	static const char *const release_steps[] = { "release_prepared", "act_locked", "act_recorded", "act_committed", "release_decided", "release_main", "release_tagged", "act_done" };

	for (size_t i = 0; i < COUNT(release_steps); i++) {
		struct db_release r;
		bool cut;

		snprintf(text, sizeof text, "release step %zu", i);
		put(&w, "/keep", text);
		assert_ok(sign_now(&w, w.editor, "/keep", false, &a));
		crash(release_steps[i], "release");
		assert_ok(act_release(w.s, w.t, &r, &cut));
		assert_true(cut == (i < 3));
		assert_int_equal(r.number, i + 1);
		verified(r.number);
		check_all(&w);
	}
}
#endif

/* A database that is older than the log: nothing is written. */
static void behind(void **state)
{
	struct act_answer a;
	struct repo *repo;
	struct blob_id ref, parent;
	struct db_head head;
	char name[128];

	(void)state;
	put(&w, "/a", "a");
	assert_ok(sign_now(&w, w.editor, "/a", false, &a));
	assert_ok(tools_repo(w.t, w.s, &repo));
	assert_ok(repo_ref_get(repo, site_log_ref(w.s, name), &ref));
	assert_ok(repo_commit_parent(repo, &ref, &parent));
	assert_ok(db_head_get(tools_db(w.t), w.s->name, node_key_id(w.key), &head));
	head.seq--;
	head.commit = parent;
	assert_ok(db_head_set(tools_db(w.t), w.s->name, node_key_id(w.key), &head));
	world_close(&w);
	world_open(&w);
	assert_true(w.s->read_only);
	assert_non_null(strstr(w.s->read_only_reason, "behind"));
	put(&w, "/b", "b");
	assert_err(ERR_BUSY, sign_now(&w, w.editor, "/b", false, &a));
	assert_ok(tools_repo(w.t, w.s, &repo));
	assert_ok(repo_ref_get(repo, site_log_ref(w.s, name), &parent));
	assert_true(blob_id_equal(&ref, &parent));
}

/* --- threads ------------------------------------------------------------------------------------------------------- */

struct racer {
	struct person *who;
	struct sha256 sha256;
	enum err err;
	pthread_barrier_t *start;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct actor_tools *t = tools_new(&w.address);
	struct act_request rq = request_of(r->who, "me first");
	struct expected_file e = { path_of("/contested"), r->sha256, -1 };
	struct file_act fa = { .act = "sign", .expected = &e, .n_expected = 1 };
	struct selection conflict;
	struct act_answer a;

	pthread_barrier_wait(r->start);
	r->err = act_files(w.s, t, &rq, &fa, &a, &conflict);
	selection_release(&conflict);
	tools_free(t);
	return NULL;
}

static void two_at_once(void **state)
{
	pthread_barrier_t start;
	struct fingerprint print;

	(void)state;
	pthread_barrier_init(&start, NULL, 2);
	for (int i = 0; i < 10; i++) {
		struct racer r[2] = { { .who = w.editor, .start = &start }, { .who = w.admin, .start = &start } };
		uint64_t before = head_seq(&w, w.s);
		pthread_t threads[2];
		char text[32];

		snprintf(text, sizeof text, "round %d", i);
		put(&w, "/contested", text);
		print_of(&w, "/contested", &print);
		assert_ok(catalog_refresh_file(w.s->catalog, path_of("/contested")));
		for (int k = 0; k < 2; k++) {
			r[k].sha256 = print.sha256;
			assert_int_equal(pthread_create(&threads[k], NULL, race, &r[k]), 0);
		}
		for (int k = 0; k < 2; k++)
			pthread_join(threads[k], NULL);
		assert_int_equal((r[0].err == ERR_OK) + (r[1].err == ERR_OK), 1);
		assert_int_equal((r[0].err == ERR_STALE) + (r[1].err == ERR_STALE), 1);
		assert_int_equal(head_seq(&w, w.s), before + 1);
	}
	pthread_barrier_destroy(&start);
	check_all(&w);
}

struct load {
	int id;
	int done, failed;
	atomic_bool *stop;
};

static void *work(void *arg)
{
	struct load *l = arg;
	struct actor_tools *t = tools_new(&w.address);

	for (int i = 0; !atomic_load(l->stop); i++) {
		char name[64], text[64];
		struct act_request rq = request_of(w.editor, "");
		struct path path;
		struct file_act fa = { .act = "sign", .paths = &path, .n_paths = 1, .as_staged = true };
		struct act_answer a;

		snprintf(name, sizeof name, "/load%d/f%d", l->id, i);
		snprintf(text, sizeof text, "load %d file %d", l->id, i);
		put(&w, name, text);
		path = path_of(name);
		if (act_files(w.s, t, &rq, &fa, &a, NULL))
			l->failed++;
		else
			l->done++;
	}
	tools_free(t);
	return NULL;
}

static void kill_database(void)
{
	char *name = mem_printf("%s/db.pid", w.db->dir);
	struct buf b = BUF_INIT(64);

	assert_ok(file_read(AT_FDCWD, name, &b));
	assert_int_equal(kill((pid_t)strtol(buf_text(&b), NULL, 10), SIGKILL), 0);
	buf_release(&b);
	free(name);
}

/* Start it again, and wait until it answers. */
static void database_back(struct testdb *t)
{
	struct db *db;
	enum err err = ERR_BUSY;

	assert_ok(db_open(&db, &t->program));
	for (int i = 0; i < 120 && err; i++) {
		err = private_db_supervise(t->server);
		if (!err)
			err = db_ping(db);
		if (err)
			clock_sleep(CLOCK_SECOND / 4);
	}
	db_close(db);
	assert_ok(err);
}

/* The database is killed under load: acts fail cleanly, then work again, and no answer was a lie. */
static void database_killed(void **state)
{
	atomic_bool stop = false;
	struct load load[2] = { { .id = 0, .stop = &stop }, { .id = 1, .stop = &stop } };
	pthread_t threads[2];
	struct act_answer a;
	uint64_t before = head_seq(&w, w.s);
	enum err err = ERR_FAILED;

	(void)state;
	for (int k = 0; k < 2; k++)
		assert_int_equal(pthread_create(&threads[k], NULL, work, &load[k]), 0);
	clock_sleep(CLOCK_SECOND);
	kill_database();
	clock_sleep(CLOCK_SECOND / 2);
	database_back(w.db);
	clock_sleep(CLOCK_SECOND);
	atomic_store(&stop, true);
	for (int k = 0; k < 2; k++)
		pthread_join(threads[k], NULL);
	assert_true(load[0].done + load[1].done > 0);
	put(&w, "/after", "after");
	for (int i = 0; i < 20 && err; i++) {
		err = sign_now(&w, w.editor, "/after", false, &a);
		if (err)
			clock_sleep(CLOCK_SECOND / 2);
	}
	assert_int_equal(err, ERR_OK);
	/* Each answer "done" is a record, and there is no other. */
	assert_int_equal(head_seq(&w, w.s), before + (uint64_t)load[0].done + (uint64_t)load[1].done + 1);
	check_all(&w);
}

/* Another node writes this site: refused by name. */
static void foreign_writer(void **state)
{
	struct node_key *other;
	char *dir = mem_printf("%s/other", w.dir);
	struct conf conf = { .file = "", .data = dir };
	struct site *s;

	(void)state;
	assert_ok(file_mkdirs(dir, 0700));
	assert_ok(node_key_create(dir));
	assert_ok(node_key_load(&other, dir));
	assert_err(ERR_BUSY, site_open(&s, &conf, &w.site_conf, other, NULL, w.t));
	node_key_free(other);
	free(dir);
	check_all(&w);
}

/* --- disks and databases that fail --------------------------------------------------------------------------------- */

#ifdef DRYDOCK_ENABLE_FAILPOINTS
static void limit_files(rlim_t bytes)
{
	struct rlimit l;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
	l.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

static void shrink_disk(const char *step)
{
	if (strcmp(step, stop_at) == 0)
		limit_files(1000);
}

/* No room for the objects: the act fails, and nothing of it is left. No room for the export: the act stands. */
static void full_disk(void **state)
{
	size_t n = 300000;
	char *bytes = mem_alloc(n);
	struct act_answer a;
	uint64_t before;
	void (*old)(int) = signal(SIGXFSZ, SIG_IGN);

	(void)state;
	random_bytes(bytes, n);
	put_bytes(&w, "/noise.bin", bytes, n);
	before = head_seq(&w, w.s);
	limit_files(100000);
	assert_err(ERR_FAILED, sign_now(&w, w.editor, "/noise.bin", false, &a));
	limit_files(RLIM_INFINITY);
	assert_int_equal(head_seq(&w, w.s), before);
	assert_int_equal(state_now(&w, "/noise.bin"), STATE_UNSIGNED);
	check_all(&w);
	assert_ok(sign_now(&w, w.editor, "/noise.bin", false, &a));
	check_all(&w);

	/* Eleven changes, so that the export has to write its list, and not only to rename. */
	for (int i = 0; i < 11; i++) {
		char name[32];

		snprintf(name, sizeof name, "/more/%d", i);
		put(&w, name, name);
	}
	assert_ok(act_now(&w, w.editor, "revoke", "/noise.bin", false, &a));
	assert_ok(sign_now(&w, w.editor, "/more", true, &a));
	/* The bytes are in git, but not beside the export any more: they have to be written again. */
	assert_ok(export_clean(w.s->export));
	stop_at = "act_committed";
	failpoint_hook = shrink_disk;
	assert_ok(sign_now(&w, w.editor, "/noise.bin", false, &a));
	failpoint_hook = NULL;
	limit_files(RLIM_INFINITY);
	if (a.pending[0]) {
		assert_true(w.s->export_behind);
		assert_ok(site_carry(w.s, w.t));
	}
	assert_false(w.s->export_behind);
	signal(SIGXFSZ, old);
	free(bytes);
	check_all(&w);
}

static void lose_export(const char *step)
{
	if (strcmp(step, stop_at) == 0) {
		/* What lies ready is taken away, and new files cannot be made. */
		(void)!export_clean(w.s->export);
		limit_files(0);
	}
}

static void export_falls_behind(void **state)
{
	struct act_answer a;
	struct db_release release;
	void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
	bool cut;

	(void)state;
	put(&w, "/a", "a");
	assert_ok(sign_now(&w, w.editor, "/a", false, &a));
	put(&w, "/a", "a second time");
	stop_at = "carry_ref_moved";
	failpoint_hook = lose_export;
	assert_ok(sign_now(&w, w.editor, "/a", false, &a));
	failpoint_hook = NULL;
	limit_files(RLIM_INFINITY);
	signal(SIGXFSZ, old);
	/* Decided, and said to be pending. */
	assert_string_not_equal(a.pending, "");
	assert_true(w.s->export_behind);
	assert_int_equal(state_now(&w, "/a"), STATE_SIGNED);
	/* The next act brings both along. */
	put(&w, "/b", "b");
	assert_ok(sign_now(&w, w.editor, "/b", false, &a));
	assert_string_equal(a.pending, "");
	assert_false(w.s->export_behind);
	assert_ok(act_release(w.s, w.t, &release, &cut));
	assert_true(cut);
	check_all(&w);
}
#endif

/* 1,001 files, one more than what is exported before the answer. */
static void put_many(const char *text)
{
	char path[64];

	for (int i = 0; i < 1001; i++) {
		snprintf(path, sizeof path, "/many/part-%d/page-%d.html", i % 7, i);
		put(&w, path, text);
	}
}

static void must_export(const char *path, const char *text)
{
	char *is = exported(&w, path);

	assert_string_equal(is ? is : "(nothing)", text);
	free(is);
}

static void answered_before_the_export(void **state)
{
	struct act_answer a;
	struct db_release release;
	bool cut;

	(void)state;
	/* Nobody carries later: it is there with the answer. */
	put_many("first");
	assert_ok(sign_now(&w, w.editor, "/many", true, &a));
	assert_string_equal(a.pending, "");
	must_export("/many/part-3/page-10.html", "first");
	/* Decided and said to be pending; the export holds what was approved before, whole. */
	w.s->carrier = true;
	put_many("second");
	assert_ok(sign_now(&w, w.editor, "/many", true, &a));
	assert_int_equal(a.files, 1001);
	assert_non_null(strstr(a.pending, "1001 files"));
	assert_true(w.s->export_behind);
	must_export("/many/part-3/page-10.html", "first");
	assert_ok(site_carry(w.s, w.t));
	assert_false(w.s->export_behind);
	must_export("/many/part-3/page-10.html", "second");
	check_all(&w);
	/* Whoever comes first brings all along: the next small act, */
	put_many("third");
	assert_ok(sign_now(&w, w.editor, "/many", true, &a));
	put(&w, "/one", "one");
	assert_ok(sign_now(&w, w.editor, "/one", false, &a));
	assert_string_equal(a.pending, "");
	assert_false(w.s->export_behind);
	must_export("/many/part-3/page-10.html", "third");
	must_export("/one", "one");
	/* a release, */
	put_many("fourth");
	assert_ok(sign_now(&w, w.editor, "/many", true, &a));
	assert_ok(act_release(w.s, w.t, &release, &cut));
	assert_ok(site_export_hold(w.s, w.t, &release.log_commit));
	must_export("/many/part-3/page-10.html", "fourth");
	assert_ok(site_export_release(w.s, w.t));
	check_all(&w);
	/* or the next start. */
	put_many("fifth");
	assert_ok(sign_now(&w, w.editor, "/many", true, &a));
	assert_ok(act_now(&w, w.editor, "revoke", "/one", false, &a));
	put_many("sixth");
	assert_ok(sign_now(&w, w.editor, "/many", true, &a));
	world_close(&w);
	world_open(&w);
	must_export("/many/part-3/page-10.html", "sixth");
	assert_false(is_exported(&w, "/one"));
	check_all(&w);
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
static void *bring_back(void *arg)
{
	clock_sleep(CLOCK_SECOND);
	database_back(arg);
	return NULL;
}

static void kill_here(const char *step)
{
	if (strcmp(step, stop_at) == 0) {
		failpoint_hook = NULL;
		kill_database();
	}
}

/* The connection is lost in the COMMIT itself: what the answer says is what happened. */
static void unknown_commit(void **state)
{
	struct act_answer a;
	struct act_request rq = request_of(w.editor, "once");
	struct path path = path_of("/once");
	struct file_act fa = { .act = "sign", .paths = &path, .n_paths = 1, .as_staged = true };
	uint64_t before = head_seq(&w, w.s);
	pthread_t helper;
	enum err err;

	(void)state;
	put(&w, "/once", "once");
	stop_at = "act_recorded";
	failpoint_hook = kill_here;
	assert_int_equal(pthread_create(&helper, NULL, bring_back, w.db), 0);
	err = act_files(w.s, w.t, &rq, &fa, &a, NULL);
	failpoint_hook = NULL;
	pthread_join(helper, NULL);
	assert_int_equal(head_seq(&w, w.s), before + (err == ERR_OK));
	if (err)
		assert_int_equal(err, ERR_BUSY);
	/* The same id again: done once, whatever the first answer was. */
	assert_ok(act_files(w.s, w.t, &rq, &fa, &a, NULL));
	assert_int_equal(head_seq(&w, w.s), before + 1);
	check_all(&w);
}

static void restart_here(const char *step)
{
	if (strcmp(step, stop_at) != 0)
		return;
	failpoint_hook = NULL;
	kill_database();
	database_back(w.db);
}

/* The transaction is run a second time after its objects were published: one record, one commit. */
static void runs_twice(void **state)
{
	struct act_answer a;
	uint64_t before = head_seq(&w, w.s);

	(void)state;
	put(&w, "/twice/a", "a");
	put(&w, "/twice/b", "b");
	/* the rows fail, while beside them the objects are published */
	stop_at = "act_built";
	failpoint_hook = restart_here;
	assert_ok(sign_now(&w, w.editor, "/twice", true, &a));
	assert_null(failpoint_hook);
	assert_false(a.repeated);
	assert_int_equal(head_seq(&w, w.s), before + 1);
	check_all(&w);
	/* Before anything was built. */
	put(&w, "/twice/a", "a again");
	stop_at = "act_locked";
	failpoint_hook = restart_here;
	assert_ok(sign_now(&w, w.editor, "/twice", true, &a));
	assert_int_equal(head_seq(&w, w.s), before + 2);
	check_all(&w);
}
#endif

/* --- more than one site -------------------------------------------------------------------------------------------- */

/* The admin of one site does not get at what others have on another. */
static void two_sites(void **state)
{
	struct conf_site other = w.site_conf;
	struct site *s;
	struct act_answer a;
	struct act_request rq;
	char *name = mem_printf("%s-other", w.s->name);

	(void)state;
	other.name = name;
	assert_ok(site_open(&s, &w.conf, &other, w.key, NULL, w.t));
	assert_ok(act_admin_offline(s, w.t, "own:editor", &a));
	/* admin is admin of the first site only, editor of the second only. */
	rq = request_of(w.admin, "");
	assert_err(ERR_DENIED, act_account_put(w.installation, w.t, &rq, "editor", "mine from now on", NULL, true, &a));
	rq = request_of(w.admin, "");
	assert_err(ERR_DENIED, act_account_put(w.installation, w.t, &rq, "editor", NULL, NULL, false, &a));
	rq = request_of(w.editor, "");
	assert_err(ERR_DENIED, act_account_put(w.installation, w.t, &rq, "admin", "mine from now on", NULL, true, &a));
	/* A group that is something on the other site is not for him to fill. */
	rq = request_of(w.admin, "");
	assert_ok(act_group(w.installation, w.t, &rq, "crew", false, &a));
	rq = request_of(w.editor, "");
	assert_ok(act_rule(s, w.t, w.auth, &rq, "own:@crew", path_root(), ROLE_SIGN, &a));
	rq = request_of(w.admin, "");
	assert_err(ERR_DENIED, act_membership(w.installation, w.t, &rq, "crew", "own:admin", false, &a));
	rq = request_of(w.admin, "");
	assert_err(ERR_DENIED, act_group(w.installation, w.t, &rq, "crew", true, &a));
	/* Somebody who is nothing anywhere is for both. */
	rq = request_of(w.admin, "");
	assert_ok(act_account_put(w.installation, w.t, &rq, "stranger", "a long password", NULL, true, &a));
	rq = request_of(w.editor, "");
	assert_ok(act_account_put(w.installation, w.t, &rq, "stranger", "a long password", NULL, true, &a));
	/* The last admin of any site stays enabled, also for the offline command. */
	rq = request_of(NULL, "");
	assert_err(ERR_DENIED, act_account_put(w.installation, w.t, &rq, "editor", NULL, NULL, false, &a));
	rq = request_of(NULL, "");
	assert_ok(act_group(w.installation, w.t, &rq, "crew", true, &a));
	site_close(s);
	free(name);
	check_all(&w);
}

/* Pick-up does not take out what a person signed outside of the pre-approved path. */
static struct preapproved means(const char *path, const char *pattern, uint64_t largest, int64_t until)
{
	return (struct preapproved){ path_of(path), pattern, largest, until };
}

/* By name and by size, until a time; and nothing but that. */
static void pickup_conditions(void **state)
{
	struct act_request rq = request_of(w.admin, "");
	struct preapproved jpg = means("/img", "*.jpg", 4, 0), logs = means("/", "*.log", 0, clock_wall() + 3600 * CLOCK_SECOND), past = means("/", "", 0, 5);
	struct act_answer a;
	uint64_t n;

	(void)state;
	assert_err(ERR_INPUT, act_preapprove(w.s, w.t, &rq, &past, false, &a));
	assert_ok(act_preapprove(w.s, w.t, &rq, &jpg, false, &a));
	rq = request_of(w.admin, "");
	assert_ok(act_preapprove(w.s, w.t, &rq, &logs, false, &a));
	put(&w, "/img/a.jpg", "1234");
	put(&w, "/img/b.jpg", "12345");
	put(&w, "/img/c.gif", "1");
	put(&w, "/img/sub/d.jpg", "d");
	put(&w, "/e.jpg", "e");
	put(&w, "/img/f.log", "a long one");
	put(&w, "/keep", "keep");
	assert_int_equal(state_now(&w, "/img/a.jpg"), STATE_PREAPPROVED);
	assert_int_equal(state_now(&w, "/img/b.jpg"), STATE_UNSIGNED);
	assert_int_equal(state_now(&w, "/img/c.gif"), STATE_UNSIGNED);
	assert_int_equal(state_now(&w, "/img/sub/d.jpg"), STATE_PREAPPROVED);
	assert_int_equal(state_now(&w, "/e.jpg"), STATE_UNSIGNED);
	assert_int_equal(state_now(&w, "/img/f.log"), STATE_PREAPPROVED);
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 3);
	assert_true(is_exported(&w, "/img/a.jpg") && is_exported(&w, "/img/sub/d.jpg") && is_exported(&w, "/img/f.log"));
	assert_false(is_exported(&w, "/img/b.jpg") || is_exported(&w, "/img/c.gif") || is_exported(&w, "/e.jpg"));
	/* grown beyond the size: a person has to look */
	put(&w, "/img/a.jpg", "123456");
	assert_int_equal(state_now(&w, "/img/a.jpg"), STATE_CHANGED);
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	/* revoked: not even with other bytes, until somebody signs */
	assert_ok(act_now(&w, w.editor, "revoke", "/img/f.log", false, &a));
	put(&w, "/img/f.log", "another");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	assert_false(is_exported(&w, "/img/f.log"));
	/* ended */
	put(&w, "/img/g.log", "g");
	assert_int_equal(state_now(&w, "/img/g.log"), STATE_PREAPPROVED);
	clock_test_offset(2 * 3600 * CLOCK_SECOND, 0);
	assert_ok(site_carry(w.s, w.t));
	assert_int_equal(state_now(&w, "/img/g.log"), STATE_UNSIGNED);
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	clock_test_offset(0, 0);
	/* taken back by its pattern */
	rq = request_of(w.admin, "");
	assert_err(ERR_NOT_FOUND, act_preapprove(w.s, w.t, &rq, &(struct preapproved){ jpg.path, "", 0, 0 }, true, &a));
	rq = request_of(w.admin, "");
	assert_ok(act_preapprove(w.s, w.t, &rq, &jpg, true, &a));
	put(&w, "/img/h.jpg", "h");
	assert_int_equal(state_now(&w, "/img/h.jpg"), STATE_UNSIGNED);
	check_all(&w);
}

static void pickup_blocked(void **state)
{
	struct act_request rq = request_of(w.admin, "");
	struct act_answer a;
	uint64_t n;

	(void)state;
	put(&w, "/feed", "a file, signed by a person");
	put(&w, "/keep", "keep");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	assert_ok(act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/feed/auto"), "", 0, 0 }, false, &a));
	take(&w, "/feed");
	put(&w, "/feed/auto/x.xml", "x");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	assert_true(is_exported(&w, "/feed"));
	/* A person who signs it decides. */
	assert_ok(sign_now(&w, w.editor, "/feed/auto/x.xml", false, &a));
	assert_true(is_exported(&w, "/feed/auto/x.xml"));
	/* Below the pre-approved path itself it may. */
	take(&w, "/feed/auto/x.xml");
	put(&w, "/feed/auto/x.xml/y", "y");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 1);
	assert_true(is_exported(&w, "/feed/auto/x.xml/y"));
	/* An emptied staging tree changes nothing. */
	take(&w, "/feed");
	take(&w, "/keep");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	assert_true(is_exported(&w, "/keep"));
	check_all(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sign_refused, begin, end),
		cmocka_unit_test_setup_teardown(sign_one, begin, end),
		cmocka_unit_test_setup_teardown(same_id, begin, end),
		cmocka_unit_test_setup_teardown(review_and_revoke, begin, end),
		cmocka_unit_test_setup_teardown(batch, begin, end),
		cmocka_unit_test_setup_teardown(swap, begin, end),
		cmocka_unit_test_setup_teardown(large_and_executable, begin, end),
		cmocka_unit_test_setup_teardown(unpublishable, begin, end),
		cmocka_unit_test_setup_teardown(rules, begin, end),
		cmocka_unit_test_setup_teardown(sync_acts, begin, end),
		cmocka_unit_test_setup_teardown(export_held, begin, end),
		cmocka_unit_test_setup_teardown(accounts, begin, end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(crashes, begin, end),
#endif
		cmocka_unit_test_setup_teardown(releases, begin, end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(release_while_signing, begin, end),
#endif
		cmocka_unit_test_setup_teardown(behind, begin, end),
		cmocka_unit_test_setup_teardown(two_at_once, begin, end),
		cmocka_unit_test_setup_teardown(foreign_writer, begin, end),
		cmocka_unit_test_setup_teardown(two_sites, begin, end),
		cmocka_unit_test_setup_teardown(pickup_conditions, begin, end),
		cmocka_unit_test_setup_teardown(pickup_blocked, begin, end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(full_disk, begin, end),
		cmocka_unit_test_setup_teardown(export_falls_behind, begin, end),
#endif
		cmocka_unit_test_setup_teardown(answered_before_the_export, begin, end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(unknown_commit, begin, end),
		cmocka_unit_test_setup_teardown(runs_twice, begin, end),
#endif
		cmocka_unit_test_setup_teardown(database_killed, begin, end),
	};

#ifdef DRYDOCK_ENABLE_FAILPOINTS
	if (argc == 5 && strcmp(argv[1], "--crash") == 0)
		return crash_here(argv[2], argv[3], argv[4]);
#endif
	(void)argc;
	(void)argv;
	cmocka_set_test_filter(getenv("DRYDOCK_TEST")); /* one of them, by name: tests/weaken/run */
	int failed = cmocka_run_group_tests_name("acts", tests, NULL, NULL);

	world_end();
	return failed;
}
