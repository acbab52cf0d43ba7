/* Going back: a rollback of the site, and earlier versions of files and directories, whatever is staged. */
#include "acts_world.h"

static struct world w;

static int setup(void **state)
{
	(void)state;
	world_new(&w);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(&w);
	return 0;
}

static void release_now(uint64_t number)
{
	struct db_release rel;
	bool cut;

	assert_ok(act_release(w.s, w.t, &rel, &cut));
	assert_true(cut);
	assert_int_equal(rel.number, number);
}

/* What the digest of today is. */
static enum err preview(const struct back_to *to, struct person *who, struct plan *plan, struct sha256 *digest)
{
	return site_back(w.s, w.t, to, &who->who, plan, digest);
}

static enum err roll_back(struct person *who, uint64_t release, const char *why, struct act_answer *out)
{
	const struct back_to to = { .release = release, .path = path_root(), .whole = true };
	struct act_request rq = request_of(who, why);
	struct sha256 digest = { 0 };
	struct plan plan;

	(void)!preview(&to, w.admin, &plan, &digest);
	plan_release(&plan);
	return act_rollback(w.s, w.t, &rq, release, &digest, out);
}

static enum err again(struct person *who, const char *path, uint64_t seq, struct act_answer *out)
{
	const struct back_to to = { .seq = seq, .path = path_of(path) };
	struct act_request rq = request_of(who, "");
	struct sha256 digest = { 0 };
	struct plan plan;
	enum err err = preview(&to, who, &plan, &digest);

	plan_release(&plan);
	return err ? err : act_reapprove(w.s, w.t, &rq, &to, &digest, out);
}

static void holds(const char *path, const char *want)
{
	char *got = exported(&w, path);

	if (!want)
		assert_null(got);
	else
		assert_string_equal(got, want);
	free(got);
}

static void verified(void *arg, const char *what, const char *why)
{
	if (*why)
		fail_msg("release: %s: %s", what, why);
	++*(unsigned *)arg;
}

/* Two releases: files added, changed, removed, one made executable, a directory that became a file. */
static void two_releases(void)
{
	struct act_answer a;

	put(&w, "/index.html", "one");
	put(&w, "/gone.html", "was here");
	put(&w, "/same.html", "same");
	put(&w, "/docs/a.html", "a one");
	put(&w, "/turn/x", "x");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	release_now(1);
	put(&w, "/index.html", "two");
	put(&w, "/new.html", "new");
	put(&w, "/docs/a.html", "a two");
	take(&w, "/turn");
	put(&w, "/turn", "a file now");
	assert_ok(act_now(&w, w.editor, "revoke", "/gone.html", false, &a));
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	release_now(2);
}

static void rollback(void **state)
{
	struct act_answer a;
	struct db_release rel, first;
	struct db_schedule schedule;
	struct blob_id one, three;
	struct repo *repo;
	struct arena *arena = arena_new();
	struct site_plan sync;
	unsigned checks = 0;
	uint64_t n;
	bool cut;

	(void)state;
	two_releases();
	/* Only an admin of the whole site, with a reason, to a release that there is. */
	assert_err(ERR_DENIED, roll_back(w.editor, 1, "broken", &a));
	assert_err(ERR_DENIED, roll_back(w.stranger, 1, "broken", &a));
	assert_err(ERR_INPUT, roll_back(w.admin, 1, "", &a));
	assert_err(ERR_NOT_FOUND, roll_back(w.admin, 9, "broken", &a));
	assert_ok(db_release_get(tools_db(w.t), w.s->name, 0, &rel, arena));
	assert_int_equal(rel.number, 2);

	assert_ok(roll_back(w.admin, 1, "broken", &a));
	assert_int_equal(a.files, 6);
	holds("/index.html", "one");
	holds("/gone.html", "was here");
	holds("/docs/a.html", "a one");
	holds("/turn/x", "x");
	holds("/new.html", NULL);
	assert_int_equal(state_now(&w, "/index.html"), STATE_CHANGED);
	assert_int_equal(state_now(&w, "/docs/a.html"), STATE_CHANGED);
	assert_int_equal(state_now(&w, "/gone.html"), STATE_SIGNED);
	assert_int_equal(state_now(&w, "/same.html"), STATE_SIGNED);
	assert_int_equal(state_now(&w, "/new.html"), STATE_REVOKED);
	assert_int_equal(state_now(&w, "/turn/x"), STATE_MISSING);
	check_all(&w);
	/* A new release with the very tree of the old one, which holds in every respect. */
	assert_ok(db_release_get(tools_db(w.t), w.s->name, 0, &rel, arena));
	assert_ok(db_release_get(tools_db(w.t), w.s->name, 1, &first, arena));
	assert_int_equal(rel.number, 3);
	assert_int_equal(rel.seq, a.seq);
	assert_ok(tools_repo(w.t, w.s, &repo));
	assert_ok(repo_site_tree(repo, &first.log_commit, &one));
	assert_ok(repo_commit_tree(repo, &rel.main_commit, &three));
	assert_true(blob_id_equal(&one, &three));
	for (n = 1; n <= 3; n++)
		assert_ok(release_verify(w.s, w.t, n, verified, &checks));
	assert_int_equal(checks, 21);
	/* The list says who had signed it; made again from nothing it is the same. */
	char *kept = mem_printf("%s/releases", w.s->dir);
	assert_ok(file_remove_tree(AT_FDCWD, kept));
	free(kept);
	w.s->manifest_checked = false;
	struct manifest_reading reading;
	struct manifest_sums sums;
	struct release_papers papers;
	assert_ok(site_manifest(w.s, w.t, 3, &reading));
	assert_ok(manifest_sum(&reading.source, &sums));
	manifest_reading_end(&reading);
	assert_ok(release_papers(w.s, w.t, &rel, &papers, arena));
	assert_true(sha256_equal(&sums.manifest, &papers.head.sums.manifest));
	/* It is sent at once, and nothing is cut for that. */
	assert_ok(db_schedule_get(tools_db(w.t), w.s->name, &schedule, arena));
	assert_int_equal(schedule.forced.at, a.at);
	assert_int_equal(schedule.forced.release, 3);
	assert_ok(act_release(w.s, w.t, &rel, &cut));
	assert_false(cut);
	assert_ok(site_plan(w.s, w.t, &sync));
	assert_int_equal(sync.plan.n, 0);
	site_plan_release(&sync);
	/* Back again, and on from there. */
	assert_ok(roll_back(w.admin, 2, "no, it was right", &a));
	holds("/new.html", "new");
	holds("/turn", "a file now");
	assert_int_equal(state_now(&w, "/new.html"), STATE_SIGNED);
	assert_int_equal(state_now(&w, "/index.html"), STATE_SIGNED);
	put(&w, "/index.html", "three");
	assert_ok(sign_now(&w, w.editor, "/index.html", false, &a));
	release_now(5);
	for (n = 3; n <= 5; n++)
		assert_ok(release_verify(w.s, w.t, n, verified, &checks));
	world_close(&w);
	world_open(&w);
	check_all(&w);
	arena_free(arena);
}

/* What is approved between the look and the act is a conflict, and nothing happens. */
static void stale(void **state)
{
	const struct back_to to = { .release = 1, .path = path_root(), .whole = true }, file = { .release = 1, .path = path_of("/index.html") };
	struct act_request rq = request_of(w.admin, "broken"), mine = request_of(w.editor, "");
	struct act_answer a;
	struct sha256 digest, of_file;
	struct plan plan;
	uint64_t seq;

	(void)state;
	two_releases();
	assert_ok(preview(&to, w.admin, &plan, &digest));
	assert_int_equal(plan.n, 6);
	plan_release(&plan);
	assert_ok(preview(&file, w.editor, &plan, &of_file));
	plan_release(&plan);
	put(&w, "/index.html", "meanwhile");
	assert_ok(sign_now(&w, w.editor, "/index.html", false, &a));
	put(&w, "/other.html", "meanwhile");
	assert_ok(sign_now(&w, w.editor, "/other.html", false, &a));
	seq = head_seq(&w, w.s);
	assert_err(ERR_STALE, act_rollback(w.s, w.t, &rq, 1, &digest, &a));
	assert_int_equal(head_seq(&w, w.s), seq);
	holds("/other.html", "meanwhile");
	/* For one file it does not matter what happens to others. */
	assert_ok(act_reapprove(w.s, w.t, &mine, &file, &of_file, &a));
	/* Asked again with the same id: the same answer, once recorded. */
	assert_ok(act_reapprove(w.s, w.t, &mine, &file, &of_file, &a));
	assert_true(a.repeated);
	assert_int_equal(head_seq(&w, w.s), seq + 1);
	holds("/index.html", "one");
}

static void one_file_and_a_directory(void **state)
{
	const struct back_to gone = { .release = 2, .path = path_of("/gone.html") };
	struct act_answer a, first, second;
	struct sha256 digest;
	struct plan plan;

	(void)state;
	put(&w, "/index.html", "one");
	put(&w, "/docs/a.html", "a one");
	put(&w, "/docs/b.html", "b one");
	put(&w, "/secret/x.html", "x one");
	assert_ok(sign_now(&w, w.editor, "/", true, &first));
	release_now(1);
	put(&w, "/index.html", "two");
	put(&w, "/docs/a.html", "a two");
	put(&w, "/docs/c.html", "c two");
	put(&w, "/secret/x.html", "x two");
	assert_ok(sign_now(&w, w.editor, "/", true, &second));
	take(&w, "/docs/b.html");
	assert_ok(act_now(&w, w.editor, "revoke", "/docs/b.html", false, &a));

	assert_err(ERR_DENIED, again(w.reviewer, "/index.html", first.seq, &a));
	assert_err(ERR_NOT_FOUND, again(w.editor, "/index.html", 999, &a));
	assert_err(ERR_STALE, again(w.editor, "/index.html", second.seq, &a));
	assert_err(ERR_INPUT, again(w.editor, "/docs/c.html", first.seq, &a));
	assert_ok(again(w.editor, "/index.html", first.seq, &a));
	assert_int_equal(a.files, 1);
	holds("/index.html", "one");
	assert_int_equal(state_now(&w, "/index.html"), STATE_CHANGED);
	holds("/docs/a.html", "a two");
	/* The directory: one back, one as it was, one away; staging is not asked. */
	assert_ok(again(w.editor, "/docs", first.seq, &a));
	assert_int_equal(a.files, 3);
	holds("/docs/a.html", "a one");
	holds("/docs/b.html", "b one");
	holds("/docs/c.html", NULL);
	assert_int_equal(state_now(&w, "/docs/b.html"), STATE_MISSING);
	assert_int_equal(state_now(&w, "/docs/c.html"), STATE_REVOKED);
	holds("/secret/x.html", "x two");
	check_all(&w);
	/* Reviews that are asked for today are asked for old versions too. */
	struct act_request rq = request_of(w.admin, "");
	assert_ok(act_require(w.s, w.t, &rq, &(struct requirement){ .path = path_of("/secret"), .reviews = 1 }, &a));
	assert_err(ERR_DENIED, again(w.editor, "/secret", first.seq, &a));
	holds("/secret/x.html", "x two");
	assert_err(ERR_NOT_FOUND, preview(&gone, w.editor, &plan, &digest));
	plan_release(&plan);
}

/* A file that became a directory: the file comes back with the directory's end, or with the whole directory above only. */
static void kinds(void **state)
{
	struct act_answer a, first;

	(void)state;
	put(&w, "/x/name", "file");
	assert_ok(sign_now(&w, w.editor, "/", true, &first));
	take(&w, "/x/name");
	put(&w, "/x/name/in", "dir");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	uint64_t as_dir = a.seq;
	assert_ok(again(w.editor, "/x/name", first.seq, &a));
	holds("/x/name", "file");
	assert_err(ERR_DENIED, again(w.editor, "/x/name/in", as_dir, &a));
	assert_ok(again(w.editor, "/x", as_dir, &a));
	holds("/x/name/in", "dir");
	check_all(&w);
}

/* A pre-approval does not undo it. */
static void preapproved_paths(void **state)
{
	struct act_request rq = request_of(w.admin, "machines write it");
	struct act_answer a;
	uint64_t n;

	(void)state;
	put(&w, "/feed/a.xml", "one");
	assert_ok(act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/feed"), "", 0, 0 }, false, &a));
	assert_ok(act_pickup(w.s, w.t, &n));
	release_now(1);
	put(&w, "/feed/a.xml", "two");
	put(&w, "/feed/new.xml", "new");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 2);
	release_now(2);
	assert_ok(roll_back(w.admin, 1, "wrong feed", &a));
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	holds("/feed/a.xml", "one");
	holds("/feed/new.xml", NULL);
	put(&w, "/feed/more.xml", "more");
	put(&w, "/feed/a.xml", "three");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 1);
	/* A signature takes it up again, and the machine from then on. */
	assert_ok(sign_now(&w, w.editor, "/feed/a.xml", false, &a));
	put(&w, "/feed/a.xml", "four");
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 1);
	check_all(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rollback, setup, teardown),
		cmocka_unit_test_setup_teardown(stale, setup, teardown),
		cmocka_unit_test_setup_teardown(one_file_and_a_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(preapproved_paths, setup, teardown),
	};
	cmocka_set_test_filter(getenv("DRYDOCK_TEST")); /* one of them, by name: tests/weaken/run */
	const int rc = cmocka_run_group_tests_name("back", tests, NULL, NULL);

	world_end();
	return rc;
}
