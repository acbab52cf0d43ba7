/* What of the approved tree a release takes up: holds, take-downs, plans that were shown, and too many files that would go. */
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

static struct db_release release_now(void)
{
	struct db_release rel;
	bool cut;

	assert_ok(act_release(w.s, w.t, &rel, &cut));
	assert_true(cut);
	return rel;
}

static void nothing_to_release(void)
{
	struct db_release rel;
	bool cut;

	assert_ok(act_release(w.s, w.t, &rel, &cut));
	assert_false(cut);
}

/* The bytes of a file in the newest release; want NULL: it is not there. */
static void released(const char *path, const char *want)
{
	struct buf bytes = BUF_INIT(1 << 16);
	struct arena *a = arena_new();
	struct db_release rel;
	struct blob_id blob;
	struct repo *repo;
	bool exec;

	assert_ok(tools_repo(w.t, w.s, &repo));
	assert_ok(db_release_get(tools_db(w.t), w.s->name, 0, &rel, a));
	if (!want) {
		assert_err(ERR_NOT_FOUND, repo_find(repo, &rel.main_commit, path_of(path), &blob, &exec));
	} else {
		assert_ok(repo_find(repo, &rel.main_commit, path_of(path), &blob, &exec));
		assert_ok(repo_blob_read(repo, &blob, &bytes));
		assert_string_equal(buf_text(&bytes), want);
	}
	buf_release(&bytes);
	arena_free(a);
}

static void check(void *arg, const char *what, const char *why)
{
	(void)arg;
	if (*why)
		fail_msg("release: %s: %s", what, why);
}

static void all_verify(uint64_t newest)
{
	for (uint64_t n = 1; n <= newest; n++)
		assert_ok(release_verify(w.s, w.t, n, check, NULL));
	check_all(&w);
}

static enum err hold(struct person *who, const char *path, int64_t us, const char *why)
{
	struct act_request rq = request_of(who, why);
	struct act_answer a;

	return act_hold(w.s, w.t, &rq, path_of(path), us ? clock_wall() + us : 0, &a);
}

static enum err take_down(struct person *who, const char *path, const char *why)
{
	struct act_request rq = request_of(who, why);
	const struct path p = path_of(path);
	const struct file_act fa = { .act = "revoke", .paths = &p, .n_paths = 1, .recursive = true, .as_staged = true, .take_down = true };
	struct act_answer a;

	return act_files(w.s, w.t, &rq, &fa, &a, NULL);
}

#define HOUR (3600 * CLOCK_SECOND)

static void path_hold(void **state)
{
	struct act_answer a;
	struct site_plan plan;

	(void)state;
	put(&w, "/index.html", "one");
	put(&w, "/docs/a.html", "a one");
	put(&w, "/docs/b.html", "b one");
	put(&w, "/turn/x", "x");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	release_now();
	assert_err(ERR_DENIED, hold(w.editor, "/docs", HOUR, "lawyers look at it"));
	assert_err(ERR_NOT_FOUND, hold(w.stranger, "/docs", HOUR, "lawyers look at it"));
	assert_err(ERR_INPUT, hold(w.admin, "/docs", HOUR, ""));
	assert_err(ERR_INPUT, hold(w.admin, "/docs", 400 * 24 * HOUR, "too long"));
	assert_err(ERR_NOT_FOUND, hold(w.admin, "/docs", 0, ""));
	assert_ok(hold(w.admin, "/docs", HOUR, "lawyers look at it"));
	/* Changed, new and revoked files of the path wait; others go. */
	put(&w, "/index.html", "two");
	put(&w, "/docs/a.html", "a two");
	put(&w, "/docs/new.html", "new");
	assert_ok(act_now(&w, w.editor, "revoke", "/docs/b.html", false, &a));
	assert_ok(sign_now(&w, w.editor, "/index.html", false, &a));
	assert_ok(sign_now(&w, w.editor, "/docs/a.html", false, &a));
	assert_ok(sign_now(&w, w.editor, "/docs/new.html", false, &a));
	assert_ok(site_plan(w.s, w.t, &plan));
	assert_int_equal(plan.plan.n, 1);
	assert_int_equal(plan.sluice.kept, 3);
	assert_string_equal(plan.who[0].user, "own:editor");
	site_plan_release(&plan);
	release_now();
	released("/index.html", "two");
	released("/docs/a.html", "a one");
	released("/docs/b.html", "b one");
	released("/docs/new.html", NULL);
	nothing_to_release();
	all_verify(2);
	/* The list, made again from nothing, is that of the release. */
	char *kept = mem_printf("%s/releases", w.s->dir);
	assert_ok(file_remove_tree(AT_FDCWD, kept));
	free(kept);
	w.s->manifest_checked = false;
	all_verify(2);
	/* A file in the place of the held path's directory above waits as well. */
	assert_ok(hold(w.admin, "/turn/x", HOUR, "and this"));
	take(&w, "/turn");
	put(&w, "/turn", "a file");
	assert_ok(sign_now(&w, w.editor, "/turn", false, &a));
	nothing_to_release();
	assert_ok(hold(w.admin, "/turn/x", 0, ""));
	release_now();
	released("/turn", "a file");
	/* Taken down, it leaves in spite of the hold, alone. */
	assert_err(ERR_INPUT, take_down(w.editor, "/docs/new.html", ""));
	put(&w, "/index.html", "three");
	assert_ok(sign_now(&w, w.editor, "/index.html", false, &a));
	assert_ok(take_down(w.editor, "/docs/a.html", "a court says so"));
	struct db_release rel;
	bool cut;
	assert_ok(act_release_as(w.s, w.t, true, NULL, &rel, &cut));
	assert_true(cut);
	released("/docs/a.html", NULL);
	released("/docs/b.html", "b one");
	released("/index.html", "two");
	assert_ok(act_release_as(w.s, w.t, true, NULL, &rel, &cut));
	assert_false(cut);
	/* A rollback cannot be exact while something is held. */
	const struct back_to to = { .release = 1, .path = path_root(), .whole = true };
	struct act_request rq = request_of(w.admin, "back");
	struct sha256 digest;
	struct plan back;
	assert_ok(site_back(w.s, w.t, &to, &w.admin->who, &back, &digest));
	plan_release(&back);
	assert_err(ERR_DENIED, act_rollback(w.s, w.t, &rq, 1, &digest, &a));
	/* Lifted, what waited goes. */
	assert_ok(hold(w.admin, "/docs", 0, ""));
	release_now();
	released("/docs/new.html", "new");
	released("/docs/b.html", NULL);
	released("/index.html", "three");
	all_verify(5);
}

/* A hold ends by itself. */
static void hold_ends(void **state)
{
	struct db_hold h = { .path = path_of("/docs"), .actor = "own:admin", .note = "over", .at = 1, .until = clock_wall() - 1, .seq = 1 };
	struct act_answer a;

	(void)state;
	put(&w, "/docs/a.html", "a one");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	assert_ok(hold(w.admin, "/docs", HOUR, "wait"));
	nothing_to_release();
	h.until = clock_wall() - 1;
	assert_ok(db_hold_put(tools_db(w.t), w.s->name, &h));
	release_now();
	released("/docs/a.html", "a one");
}

static void guard(void **state)
{
	struct act_request rq;
	struct act_answer a;
	struct site_plan plan;
	struct sha256 list;
	struct db_release rel;
	bool cut;
	char name[32];

	(void)state;
	w.site_conf.removal_share = 20;
	w.site_conf.removal_least = 10;
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "/%s/f%d.html", i < 12 ? "old" : "new", i);
		put(&w, name, name);
	}
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	release_now();
	/* Gone from staging is not gone: nothing leaves. */
	take(&w, "/old");
	take(&w, "/new");
	nothing_to_release();
	assert_int_equal(state_now(&w, "/old/f1.html"), STATE_MISSING);
	/* Ten may go, twelve of forty may not. */
	assert_ok(act_now(&w, w.editor, "revoke", "/old", true, &a));
	assert_err(ERR_STALE, act_release(w.s, w.t, &rel, &cut));
	assert_non_null(strstr(err_text(), "12 files"));
	released("/old/f1.html", "/old/f1.html");
	assert_ok(site_plan(w.s, w.t, &plan));
	assert_true(plan.sluice.too_many);
	assert_false(plan.sluice.confirmed);
	list = plan.sluice.removal;
	site_plan_release(&plan);
	rq = request_of(w.editor, "spring cleaning");
	assert_err(ERR_DENIED, act_confirm_removal(w.s, w.t, &rq, &list, &a));
	rq = request_of(w.admin, "");
	assert_err(ERR_INPUT, act_confirm_removal(w.s, w.t, &rq, &list, &a));
	/* Another list than the one that was shown. */
	assert_ok(act_now(&w, w.editor, "revoke", "/new/f13.html", false, &a));
	rq = request_of(w.admin, "spring cleaning");
	assert_err(ERR_STALE, act_confirm_removal(w.s, w.t, &rq, &list, &a));
	assert_ok(site_plan(w.s, w.t, &plan));
	list = plan.sluice.removal;
	site_plan_release(&plan);
	rq = request_of(w.admin, "spring cleaning");
	assert_ok(act_confirm_removal(w.s, w.t, &rq, &list, &a));
	/* Confirmed is that list and no other. */
	assert_ok(act_now(&w, w.editor, "revoke", "/new/f14.html", false, &a));
	assert_err(ERR_STALE, act_release(w.s, w.t, &rel, &cut));
	assert_ok(site_plan(w.s, w.t, &plan));
	list = plan.sluice.removal;
	site_plan_release(&plan);
	rq = request_of(w.admin, "and one more");
	assert_ok(act_confirm_removal(w.s, w.t, &rq, &list, &a));
	rel = release_now();
	assert_int_equal(rel.files_count, 26);
	all_verify(2);
}

static void exact_plan(void **state)
{
	struct act_request rq = request_of(w.admin, "feeds");
	struct act_answer a;
	struct site_plan plan;
	struct sha256 shown;
	struct db_release rel;
	uint64_t n;
	bool cut;

	(void)state;
	put(&w, "/index.html", "one");
	put(&w, "/feed/a.xml", "a");
	assert_ok(act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/feed"), "", 0, 0 }, false, &a));
	assert_ok(sign_now(&w, w.editor, "/index.html", false, &a));
	assert_ok(site_plan(w.s, w.t, &plan));
	shown = plan.digest;
	assert_int_equal(plan.plan.n, 2);
	assert_string_equal(plan.who[0].user, "");
	site_plan_release(&plan);
	/* Something comes between: nothing is cut. */
	put(&w, "/late.html", "late");
	assert_ok(sign_now(&w, w.editor, "/late.html", false, &a));
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_err(ERR_STALE, act_release_as(w.s, w.t, false, &shown, &rel, &cut));
	assert_ok(act_now(&w, w.editor, "revoke", "/late.html", false, &a));
	/* What pick-up takes was in the plan as it was staged. */
	assert_ok(act_release_as(w.s, w.t, false, &shown, &rel, &cut));
	assert_true(cut);
	assert_int_equal(rel.files_count, 2);
	all_verify(1);
}

static void site_hold(void **state)
{
	struct act_request rq = request_of(w.admin, "now");
	struct act_answer a;
	struct db_release rel;
	struct db_schedule schedule;
	struct arena *arena = arena_new();
	bool cut;

	(void)state;
	put(&w, "/a.html", "a");
	put(&w, "/b.html", "b");
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	release_now();
	assert_ok(hold(w.admin, "/", HOUR, "the election"));
	assert_err(ERR_DENIED, act_force(w.s, w.t, &rq, NULL, &a));
	put(&w, "/a.html", "a two");
	assert_ok(sign_now(&w, w.editor, "/a.html", false, &a));
	nothing_to_release();
	assert_ok(take_down(w.editor, "/b.html", "a court says so"));
	assert_ok(db_schedule_get(tools_db(w.t), w.s->name, &schedule, arena));
	assert_true(schedule.down.at > 0);
	assert_string_equal(schedule.down.by, "own:editor");
	assert_ok(act_release_as(w.s, w.t, true, NULL, &rel, &cut));
	assert_true(cut);
	released("/b.html", NULL);
	released("/a.html", "a");
	assert_err(ERR_DENIED, take_down(w.reviewer, "/a.html", "no right"));
	all_verify(2);
	arena_free(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(path_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(hold_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(guard, setup, teardown),
		cmocka_unit_test_setup_teardown(exact_plan, setup, teardown),
		cmocka_unit_test_setup_teardown(site_hold, setup, teardown),
	};

	cmocka_set_test_filter(getenv("DRYDOCK_TEST")); /* one of them, by name: tests/weaken/run */
	const int rc = cmocka_run_group_tests_name("sluice", tests, NULL, NULL);

	world_end();
	return rc;
}
