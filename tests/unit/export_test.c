#include "repo_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/sys.h"
#include "export/export.h"

/* --- what there must be ------------------------------------------------------------------------------------------- */

static char base[96]; /* the site's directory */
static int64_t put_at = FIXTURE_AT;

static int64_t when(void *arg, struct path path)
{
	(void)arg;
	(void)path;
	return put_at;
}

static const char *at(const char *path)
{
	static char text[4][PATH_LIMIT + 256];
	static unsigned turn;
	char *out = text[turn++ % 4];

	snprintf(out, sizeof(text[0]), "%s%s", base, path);
	return out;
}

static const char *in_export(const char *path)
{
	static char text[2][PATH_LIMIT + 256];
	static unsigned turn;
	char *out = text[turn++ % 2];

	snprintf(out, sizeof(text[0]), "%s/export%s", base, path);
	return out;
}

static struct export_dir *open_export(struct fixture *f)
{
	struct export_dir *e;

	snprintf(base, sizeof(base), "%s/data", f->dir);
	assert_ok(export_open(&e, base));
	assert_ok(export_clean(e));
	return e;
}

static unsigned files, dirs;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (type == FTW_D && (st->st_mode & 07777) != 0755)
		fail_msg("%s has mode %o", path, st->st_mode);
	files += type != FTW_D;
	dirs += type == FTW_D;
	return 0;
}

/* The directory is the tree of that commit, byte by byte, with nothing beside it and no empty directory. */
static void expect_tree(struct fixture *f, struct export_dir *e, const struct blob_id *commit)
{
	char *list = blob_id_zero(commit) ? mem_dup("") : fixture_list(f, commit), *line = list;
	char last[PATH_LIMIT + 1] = "";
	unsigned n = 0, n_dirs = 1;
	struct blob_id held;

	export_at(e, &held);
	assert_true(blob_id_equal(&held, commit));
	while (*line) {
		char *end = strchr(line, '\n'), *path = strchr(line, '/');
		struct buf want = BUF_INIT(1024 * 1024), got = BUF_INIT(1024 * 1024);
		struct blob_id id;
		struct stat st;
		size_t common = 0;

		*end = '\0';
		path[-1] = '\0';
		assert_true(hex_parse(id.b, BLOB_ID_SIZE, line + 7));
		if (lstat(in_export(path), &st) != 0)
			fail_msg("%s is missing", path);
		assert_true(S_ISREG(st.st_mode));
		assert_int_equal(st.st_nlink, 1);
		assert_int_equal(st.st_mode & 07777, line[3] == '7' ? 0755 : 0644);
		assert_int_equal(st.st_mtim.tv_nsec, 0);
		assert_true(st.st_mtim.tv_sec >= FIXTURE_AT / CLOCK_SECOND);
		assert_ok(repo_blob_read(f->r, &id, &want));
		assert_ok(file_read(AT_FDCWD, in_export(path), &got));
		assert_int_equal(got.len, want.len);
		assert_memory_equal(buf_text(&got), buf_text(&want), want.len);
		for (size_t i = 0; path[i] && path[i] == last[i]; i++)
			if (path[i] == '/')
				common = i + 1;
		for (char *s = path + common; (s = strchr(s, '/')) != NULL; s++)
			n_dirs += s > path;
		snprintf(last, sizeof(last), "%s", path);
		n++;
		buf_release(&want);
		buf_release(&got);
		line = end + 1;
	}
	files = dirs = 0;
	assert_int_equal(nftw(at("/export"), count_one, 16, FTW_PHYS), 0);
	assert_int_equal(files, n);
	assert_int_equal(dirs, n_dirs);
	free(list);
}

static bool has_foreign(void)
{
	return file_exists(AT_FDCWD, at("/export.foreign"));
}

static int64_t mtime(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(at(path), &st), 0);
	return st.st_mtim.tv_sec;
}

static void steps_act(struct fixture *f, struct blob_id *head, const char *change)
{
	char text[512], *word, *rest;
	struct act a;

	act_begin(&a, f);
	snprintf(text, sizeof(text), "%s", change);
	for (word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (*word == '+')
			act_text(&a, word + 1, change);
		else if (*word == '*')
			act_put(&a, word + 1, change, strlen(change), true);
		else
			act_remove(&a, word + 1);
	}
	act_end(&a, head);
}

/* --- cases -------------------------------------------------------------------------------------------------------- */

static void follows_acts(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 }, first, none = { 0 };
	static const char *const steps[] = {
		"+/index.html +/a/b/c */cgi",
		"-/a/b/c +/a/b",
		"-/a/b +/a/b/c/d +/a/b/c/e",
		"-/a/b/c/d -/a/b/c/e -/index.html +/a +/index.html/x",
		"-/a +/a/b +/a-b +/a0 +/z/1 +/z/2 +/z/3 +/z/4 +/z/5 +/z/6 +/z/7 +/z/8 +/z/9",
		"-/z/1 -/z/2 -/z/3 -/z/4 -/z/5 -/z/6 -/z/7 -/z/8 -/z/9 +/z -/a/b */a-c",
		"-/z */z/1",
	};

	export_at(e, &first);
	assert_true(blob_id_zero(&first));
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		steps_act(f, &head, steps[i]);
		if (i == 0)
			first = head;
		assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
		expect_tree(f, e, &head);
		assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	}
	/* back and forth, and to nothing */
	assert_ok(export_bring(e, f->r, &first, NULL, when, NULL));
	expect_tree(f, e, &first);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	expect_tree(f, e, &head);
	assert_ok(export_bring(e, f->r, &none, NULL, when, NULL));
	expect_tree(f, e, &none);
	assert_false(has_foreign());
	/* and what it holds survives */
	assert_ok(export_bring(e, f->r, &first, NULL, when, NULL));
	export_close(e);
	e = open_export(f);
	expect_tree(f, e, &first);
	export_close(e);
}

/* How many files wait with that id. */
static unsigned prepared(const struct blob_id *id, struct stat *st)
{
	char hex[41];
	unsigned n = 0;
	DIR *d = opendir(at("/export.tmp"));

	assert_non_null(d);
	fixture_id_hex(id, hex);
	for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
		if (strncmp(entry->d_name, hex, 40) != 0)
			continue;
		n++;
		if (st)
			assert_int_equal(fstatat(dirfd(d), entry->d_name, st, AT_SYMLINK_NOFOLLOW), 0);
	}
	closedir(d);
	return n;
}

static void prepared_are_used(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 }, one, two, old;
	struct stat before, after;
	struct act a;

	act_begin(&a, f);
	one = act_put(&a, "/a/one", "the one", 7, true);
	act_put(&a, "/a/same", "the one", 7, false);
	two = act_text(&a, "/two", "the other");
	assert_ok(export_prepare(e, &one, "the one", 7));
	assert_ok(export_prepare(e, &one, "the one", 7));
	assert_ok(export_prepare(e, &two, "the other", 9));
	assert_int_equal(prepared(&one, &before), 1);
	assert_int_equal(before.st_size, 7);
	old = head;
	act_end(&a, &head);
	/* with the act's own plan, which says "add" for all */
	(void)old;
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	expect_tree(f, e, &head);
	assert_int_equal(lstat(at("/export/a/one"), &after), 0);
	if (before.st_ino != after.st_ino)
		assert_int_equal(lstat(at("/export/a/same"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(prepared(&one, NULL), 0);
	assert_int_equal(prepared(&two, NULL), 0);
	/* an act that came to nothing */
	assert_ok(export_prepare(e, &one, "the one", 7));
	assert_int_equal(prepared(&one, NULL), 1);
	export_discard(e);
	assert_int_equal(prepared(&one, NULL), 0);
	assert_false(has_foreign());
	export_close(e);
}

/* --- directories that are made before their act is decided ---------------------------------------------------------------- */

#define AHEAD_FILES 1100 /* more than EXPORT_AHEAD; of 4 kB, so that their pack is not in memory */

static void put_new(struct act *a, const char *top, struct plan *all)
{
	char path[64], bytes[4096];

	snprintf(path, sizeof(path), "/%s/again", top);
	act_text(a, path, "known");
	for (int i = 0; i < AHEAD_FILES; i++) {
		random_bytes(bytes, sizeof(bytes));
		snprintf(path, sizeof(path), "/%s/d%02d/f%04d", top, i / 50, i);
		act_put(a, path, bytes, sizeof(bytes), i % 7 == 0);
	}
	plan_init(all);
	for (size_t i = 0; i < a->plan.n; i++)
		plan_add(all, PLAN_ADD, a->plan.items[i].path, &a->plan.items[i].blob, a->plan.items[i].exec);
}

static unsigned count_in(const char *dir)
{
	unsigned n = 0;
	DIR *d = opendir(at(dir));

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static unsigned beside_export(void)
{
	return count_in("/export.tmp");
}

static void begin_ahead(struct export_dir *e, struct act *a, struct plan *all)
{
	struct repo_shelf *shelf;

	assert_ok(repo_pack_shelf(a->pack, &shelf));
	assert_non_null(shelf);
	assert_true(export_ahead(e, shelf, all, AHEAD_FILES * 4096));
}

static void made_ahead(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 }, swapped;
	struct stat before, after;
	struct plan all;
	struct act a;

	act_begin(&a, f);
	act_text(&a, "/old", "known");
	act_end(&a, &head);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	/* its file is the one that was made while the act was not decided */
	act_begin(&a, f);
	put_new(&a, "new", &all);
	begin_ahead(e, &a, &all);
	/* the name after that of the one file that was put before */
	before = (struct stat){ 0 };
	for (int i = 0; i < 30000 && before.st_size < 4096; i++) {
		clock_sleep(CLOCK_SECOND / 1000);
		(void)!lstat(at("/export.tmp/new.2/d21/f1099"), &before);
	}
	assert_int_not_equal(lstat(at("/export/new"), &after), 0);
	act_end(&a, &head);
	export_ahead_end(e, true);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_int_equal(lstat(at("/export/new/d21/f1099"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	expect_tree(f, e, &head);
	assert_int_equal(beside_export(), 0);
	/* what is decided is something else */
	act_begin(&a, f);
	put_new(&a, "other", &all);
	swapped = all.items[20].blob;
	all.items[20].blob = all.items[21].blob;
	all.items[21].blob = swapped;
	begin_ahead(e, &a, &all);
	act_end(&a, &head);
	export_ahead_end(e, true);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	expect_tree(f, e, &head);
	assert_int_equal(beside_export(), 0);
	/* it is stopped in the middle, and what is left made by others */
	act_begin(&a, f);
	put_new(&a, "half", &all);
	act_commit(&a, &head, &swapped);
	begin_ahead(e, &a, &all);
	assert_ok(repo_pack_publish(a.pack, true));
	assert_ok(repo_ref_move(f->r, LOG_REF, &head, &swapped));
	act_drop(&a);
	head = swapped;
	export_ahead_end(e, true);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	expect_tree(f, e, &head);
	assert_int_equal(beside_export(), 0);
	/* and nothing is */
	act_begin(&a, f);
	put_new(&a, "third", &all);
	begin_ahead(e, &a, &all);
	act_drop(&a);
	export_ahead_end(e, false);
	assert_int_equal(beside_export(), 0);
	expect_tree(f, e, &head);
	/* the same with nobody's help, by two threads */
	act_begin(&a, f);
	put_new(&a, "fourth", &all);
	plan_release(&all);
		act_end(&a, &head);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	expect_tree(f, e, &head);
	assert_int_equal(beside_export(), 0);
	assert_false(has_foreign());
	export_close(e);
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/* Another act makes its files ahead while a change is carried out that had no such help: the two have nothing to do with each other. */
static struct {
	struct export_dir *e;
	struct act act;
	struct plan all;
	bool begun;
} beginning;

static void begin_in_between(const char *step)
{
	if (beginning.begun || strcmp(step, "export_noted") != 0)
		return;
	beginning.begun = true;
	begin_ahead(beginning.e, &beginning.act, &beginning.all);
}

static void ahead_begins_in_between(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = beginning.e = open_export(f);
	struct blob_id head = { 0 };
	struct act a;

	act_begin(&a, f);
	put_new(&a, "first", &beginning.all);
	plan_release(&beginning.all);
	act_end(&a, &head);
	act_begin(&beginning.act, f);
	put_new(&beginning.act, "second", &beginning.all);
	failpoint_hook = begin_in_between;
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	failpoint_hook = NULL;
	assert_true(beginning.begun);
	expect_tree(f, e, &head);
	act_end(&beginning.act, &head);
	export_ahead_end(e, true);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	expect_tree(f, e, &head);
	assert_int_equal(beside_export(), 0);
	export_close(e);
}
#endif

/* A repair beside no server begins with what a killed one left in export.tmp/: that was never decided. */
static void leftovers_stay_out(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 };

	steps_act(f, &head, "+/new/1 +/new/2 +/new/3 +/new/4 +/new/5 +/new/6 +/new/7 +/new/8 +/new/9");
	export_close(e);
	/* the names that its directories would have */
	for (int i = 1; i <= 3; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/export.tmp/new.%d", i);
		assert_int_equal(mkdir(at(path), 0755), 0);
		snprintf(path, sizeof(path), "/export.tmp/new.%d/undecided", i);
		assert_ok(file_write(AT_FDCWD, at(path), "x", 1, 0644));
	}
	assert_ok(export_open(&e, base));
	assert_ok(export_repair(e, f->r, &head, when, NULL));
	assert_false(file_exists(AT_FDCWD, at("/export/new/undecided")));
	expect_tree(f, e, &head);
	assert_int_equal(beside_export(), 3);
	export_close(e);
}

static void times_rise(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 };
	int64_t second = FIXTURE_AT / CLOCK_SECOND;

	put_at = FIXTURE_AT + 999999;
	steps_act(f, &head, "+/a +/b");
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_int_equal(mtime("/export/a"), second);
	/* another version within the same second, and one whose record says it is older */
	steps_act(f, &head, "+/a */x/y");
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_int_equal(mtime("/export/a"), second + 1);
	assert_int_equal(mtime("/export/b"), second);
	put_at = FIXTURE_AT - 100 * CLOCK_SECOND;
	/* only the executable bit */
	steps_act(f, &head, "*/a");
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_int_equal(mtime("/export/a"), second + 2);
	put_at = FIXTURE_AT + 60 * CLOCK_SECOND;
	steps_act(f, &head, "+/a");
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_int_equal(mtime("/export/a"), second + 60);
	/* a time that somebody set to the end of the world */
	{
		struct timespec far[2] = { { .tv_sec = INT64_C(12000000000) }, { .tv_sec = INT64_C(12000000000) } };
		assert_int_equal(utimensat(AT_FDCWD, at("/export/a"), far, 0), 0);
		steps_act(f, &head, "+/a +/c");
		assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
		assert_int_equal(mtime("/export/a"), 9000000000);
	}
	put_at = FIXTURE_AT;
	export_close(e);
}

static void foreign_things_move_away(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 };
	char outside[128], victim[160];

	snprintf(outside, sizeof(outside), "%s/outside", f->dir);
	snprintf(victim, sizeof(victim), "%s/victim", outside);
	assert_ok(file_mkdirs(outside, 0700));
	assert_ok(file_write(AT_FDCWD, victim, "untouched", 9, 0600));
	steps_act(f, &head, "+/keep +/dir/gone");
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	/* a link in the way of a file, a link in the way of a directory, a pipe, a directory, a file */
	assert_int_equal(symlink(victim, at("/export/file")), 0);
	assert_int_equal(symlink(outside, at("/export/linked")), 0);
	assert_int_equal(mkfifo(at("/export/pipe"), 0600), 0);
	assert_int_equal(mkdir(at("/export/taken"), 0700), 0);
	assert_ok(file_write(AT_FDCWD, at("/export/taken/inside"), "x", 1, 0600));
	assert_ok(file_write(AT_FDCWD, at("/export/plain"), "x", 1, 0600));
	assert_ok(file_write(AT_FDCWD, at("/export/way"), "x", 1, 0600));
	/* something foreign in a directory that is to go, and a hard link on what is replaced */
	assert_ok(file_write(AT_FDCWD, at("/export/dir/foreign"), "x", 1, 0600));
	assert_int_equal(link(at("/export/keep"), at("/second-name")), 0);
	steps_act(f, &head, "+/keep -/dir/gone +/file +/linked/victim +/pipe +/taken +/plain +/way/below/here");
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	expect_tree(f, e, &head);
	assert_true(has_foreign());
	{
		struct buf b = BUF_INIT(100);
		assert_ok(file_read(AT_FDCWD, victim, &b));
		assert_string_equal(b.p, "untouched");
		buf_reset(&b);
		assert_ok(file_read(AT_FDCWD, at("/second-name"), &b));
		assert_string_equal(b.p, "+/keep +/dir/gone");
		buf_release(&b);
	}
	/* removing: a link where the file was, and a link where the directory was */
	assert_int_equal(unlink(at("/export/file")), 0);
	assert_int_equal(symlink(victim, at("/export/file")), 0);
	assert_int_equal(unlink(at("/export/linked/victim")), 0);
	assert_int_equal(rmdir(at("/export/linked")), 0);
	assert_int_equal(symlink(outside, at("/export/linked")), 0);
	steps_act(f, &head, "-/file -/linked/victim");
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_true(file_exists(AT_FDCWD, victim));
	assert_false(file_exists(AT_FDCWD, at("/export/file")));
	export_close(e);
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/* What stands in the way of a directory that both threads need goes away once, and never the directory that one has made. */
static void foreign_in_the_way_of_two(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id empty = { 0 }, full;
	char path[32];
	struct act a;

	steps_act(f, &empty, "+/keep");
	full = empty;
	act_begin(&a, f);
	for (int i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "/way/%d/%03d", i / 64, i);
		act_text(&a, path, "x");
	}
	act_end(&a, &full);
	for (int round = 0; round < 3; round++) {
		assert_ok(export_bring(e, f->r, &empty, NULL, when, NULL));
		assert_ok(file_write(AT_FDCWD, at("/export/way"), "x", 1, 0600));
		/* the one that has seen it is slow to move it */
		failpoint_arm(FAILPOINT_DELAY, FAIL_export_foreign_found, 1, 100);
		assert_ok(export_bring(e, f->r, &full, NULL, when, NULL));
		failpoint_arm(FAILPOINT_NOTHING, 0, 0, 0);
		expect_tree(f, e, &full);
	}
	assert_int_equal(count_in("/export.foreign"), 3);
	export_close(e);
}
#endif

static struct buf differences;

static void on_difference(void *arg, enum export_difference kind, const char *path, const char *what)
{
	(void)arg;
	(void)kind;
	buf_fmt(&differences, "%s %s\n", path, what);
}

static const char *compare(struct export_dir *e, struct fixture *f, bool deep)
{
	differences.limit = 65536;
	buf_reset(&differences);
	assert_ok(export_compare(e, f->r, deep, NULL, on_difference, NULL));
	return buf_text(&differences);
}

static void damage_is_found_and_repaired(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 };

	steps_act(f, &head, "+/a/1 +/a/2 +/a/3 +/b */x +/y +/z/z/z");
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_string_equal(compare(e, f, true), "");
	for (int round = 0; round < 2; round++) {
		assert_int_equal(unlink(at("/export/a/1")), 0);
		assert_ok(file_write(AT_FDCWD, at("/export/a/2"), "other bytes", 11, 0644));
		assert_ok(file_write(AT_FDCWD, at("/export/a/3"), "-/a/1 +/a/2 +/a/3 +/b */x +/y +/z/z/z", 37, 0644));
		assert_ok(file_write(AT_FDCWD, at("/export/a/30"), "new", 3, 0644));
		assert_int_equal(chmod(at("/export/x"), 0644), 0);
		assert_int_equal(link(at("/export/y"), at("/hard")), 0);
		assert_int_equal(unlink(at("/export/b")), 0);
		assert_int_equal(symlink("/etc/passwd", at("/export/b")), 0);
		assert_int_equal(mkdir(at("/export/empty"), 0755), 0);
		assert_int_equal(unlink(at("/export/z/z/z")), 0);
		assert_int_equal(rmdir(at("/export/z/z")), 0);
		assert_ok(file_write(AT_FDCWD, at("/export/z/z"), "", 0, 0644));
		assert_string_equal(compare(e, f, false), "/a/2 has another size than the approved version\n"
							  "/a/30 is not part of the approved tree\n"
							  "/b is not a regular file\n"
							  "/empty is not part of the approved tree\n"
							  "/x has another mode than 0755\n"
							  "/y has a second name (hard link)\n"
							  "/z/z is not a directory\n"
							  "/a/1 is missing\n"
							  "/z/z/z is missing\n");
		assert_non_null(strstr(compare(e, f, true), "/a/3 has other bytes than the approved version\n"));
		if (round == 0) {
			assert_ok(export_repair(e, f->r, &head, when, NULL));
		} else {
			/* export.at is lost, or damaged */
			export_close(e);
			assert_ok(file_write(AT_FDCWD, at("/export.at"), "nonsense", 8, 0600));
			e = open_export(f);
			assert_non_null(strstr(compare(e, f, true), "was being changed"));
			export_close(e);
			assert_int_equal(unlink(at("/export.at")), 0);
			e = open_export(f);
			assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
		}
		expect_tree(f, e, &head);
		assert_string_equal(compare(e, f, true), "");
		assert_int_equal(unlink(at("/hard")), 0);
	}
	buf_release(&differences);
	export_close(e);
}

/* Acts read and prepare on several threads while another one is carried out. */
struct preparing {
	struct export_dir *e;
	const struct blob_id *ids;
	int stop, failed;
};

static void prepare_on(void *arg, size_t i)
{
	struct preparing *p = arg;

	for (unsigned k = 0; !__atomic_load_n(&p->stop, __ATOMIC_RELAXED); k++) {
		char text[16];
		snprintf(text, sizeof(text), "%u", k % 8);
		if (export_prepare(p->e, &p->ids[k % 8], text, strlen(text)) != ERR_OK)
			__atomic_store_n(&p->failed, 1, __ATOMIC_RELAXED);
		if (k % 50 == i)
			export_discard(p->e);
	}
}

static void *prepare_threads(void *arg)
{
	pool_each(2, 2, prepare_on, arg);
	return NULL;
}

static void prepared_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 }, ids[8];
	struct preparing p = { .e = e, .ids = ids };
	pthread_t thread;
	struct act a;

	act_begin(&a, f);
	for (unsigned k = 0; k < 8; k++) {
		char path[16], text[16];
		snprintf(path, sizeof(path), "/%u", k);
		snprintf(text, sizeof(text), "%u", k);
		ids[k] = act_text(&a, path, text);
	}
	act_end(&a, &head);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_int_equal(pthread_create(&thread, NULL, prepare_threads, &p), 0);
	for (unsigned round = 0; round < 60; round++) {
		act_begin(&a, f);
		for (unsigned k = 0; k < 8; k++) {
			char path[16], text[16];
			snprintf(path, sizeof(path), "/%u", k);
			snprintf(text, sizeof(text), "%u", (k + round) % 8);
			act_text(&a, path, text);
		}
		act_end(&a, &head);
		assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
		expect_tree(f, e, &head);
	}
	__atomic_store_n(&p.stop, 1, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(p.failed, 0);
	export_discard(e);
	for (unsigned k = 0; k < 8; k++)
		assert_int_equal(prepared(&ids[k], NULL), 0);
	export_close(e);
}

static void longest_paths(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id head = { 0 }, first;
	char deep[PATH_LIMIT + 1], wide[PATH_LIMIT + 1];
	struct act a;

	fixture_longest_paths(deep, wide);
	act_begin(&a, f);
	act_text(&a, deep, "deep");
	act_text(&a, wide, "wide");
	act_end(&a, &head);
	first = head;
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	assert_string_equal(compare(e, f, true), "");
	act_begin(&a, f);
	act_remove(&a, deep);
	act_remove(&a, wide);
	act_text(&a, "/d", "a file now");
	act_end(&a, &head);
	assert_ok(export_bring(e, f->r, &head, NULL, when, NULL));
	expect_tree(f, e, &head);
	assert_ok(export_repair(e, f->r, &first, when, NULL));
	assert_string_equal(compare(e, f, true), "");
	assert_true(has_foreign()); /* "/d", since a repair takes nothing for its own */
	export_close(e);
	buf_release(&differences);
}

/* --- crashes ------------------------------------------------------------------------------------------------------ */

#define VERSIONS 12

/* Trees that differ in all ways that hurt. */
static const char *const versions[VERSIONS] = {
	"+/a +/b/c +/b/d +/e/f/g +/same +/x",
	"+/a -/b/c -/b/d +/b -/e/f/g +/e/f +/y/1 +/y/2",
	"-/a +/a/a +/a/b -/b +/b/c -/e/f +/e -/y/1",
	"-/a/a -/a/b -/b/c -/e +/e/f/g +/a -/x +/x/x +/w/1 +/w/2 */w/v/1 +/w/v/2 +/w/v/u/3 +/w/4 +/w/5 +/w/6 +/w/7",
	"+/1 +/2 +/3 +/4 +/5 +/6 +/7 +/8 +/9 +/d/1 +/d/2 -/y/2 -/x/x",
	"-/1 +/1/1 -/2 +/2/2 -/3 +/3/3 -/d/1 -/d/2 +/d */a",
	"-/1/1 +/1 -/2/2 -/3/3 -/d +/d/d/d/d -/a +/a -/w/1 -/w/2 -/w/v/1 -/w/v/2 -/w/v/u/3 -/w/4 -/w/5 -/w/6 -/w/7 +/w",
	"-/same",
	"+/same -/4 -/5 -/6 -/7 -/8 -/9",
	"-/d/d/d/d +/d -/e/f/g +/e/f",
	"+/a",
	"-/d +/d/d/d/d -/e/f +/e/f/g",
};

static struct blob_id commits[VERSIONS];

static void make_versions(struct fixture *f)
{
	struct blob_id head = { 0 };

	for (size_t i = 0; i < VERSIONS; i++) {
		steps_act(f, &head, versions[i]);
		commits[i] = head;
	}
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/* Each call that changes something fails in turn; then DryDock starts again and brings what is wanted now. */
static void failing_calls(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	unsigned failed = 0, n_moves = 0;

	make_versions(f);
	for (size_t i = 0; i + 1 < VERSIONS; i++) {
		unsigned in_a_row = 0; /* a failing close or unlink does no harm */
		for (long n = 1; in_a_row < 10; n++) {
			/* what is wanted after the restart: the same, the one before, one far away */
			const struct blob_id *then = n % 3 == 0 ? &commits[i + 1] : n % 3 == 1 ? &commits[i] : &commits[(i + 5) % VERSIONS];
			enum err err;

			assert_ok(export_bring(e, f->r, &commits[i], NULL, when, NULL));
			failpoint_arm(FAILPOINT_SYS, 0, (int)(n), EIO);
			err = export_bring(e, f->r, &commits[i + 1], NULL, when, NULL);
			failpoint_arm(FAILPOINT_NOTHING, 0, 0, 0);
			in_a_row = err ? 0 : in_a_row + 1;
			if (err) {
				failed++;
				assert_int_equal(err, ERR_FAILED);
				struct blob_id held;
				export_at(e, &held);
				assert_true(blob_id_zero(&held));
				if (n % 2) { /* the process ended there, and the next one finds what it left */
					export_close(e);
					e = open_export(f);
				}
			}
			n_moves++;
			if (n % 5 == 0) { /* and the next try fails too */
				failpoint_arm(FAILPOINT_SYS, 0, (int)(n / 2), ENOSPC);
				enum err again = export_bring(e, f->r, then, NULL, when, NULL);
				failpoint_arm(FAILPOINT_NOTHING, 0, 0, 0);
				(void)again;
			}
			assert_ok(export_bring(e, f->r, then, NULL, when, NULL));
			if (n % 7 == 0 || err)
				expect_tree(f, e, then);
		}
	}
	assert_true(failed > 150);
	assert_false(has_foreign());
	export_close(e);
}
#endif

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/* Whatever fails while a new directory is filled with prepared files, nothing of it stays beside the export. */
static void failing_aside(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);
	struct blob_id empty = { 0 }, full, ids[9];
	unsigned failed = 0, in_a_row = 0;
	char path[16], text[16];
	struct act a;

	steps_act(f, &empty, "+/keep");
	full = empty;
	act_begin(&a, f);
	for (int i = 0; i < 9; i++) {
		snprintf(path, sizeof(path), "/new/%d", i);
		snprintf(text, sizeof(text), "text %d", i);
		ids[i] = act_text(&a, path, text);
	}
	act_end(&a, &full);
	for (int n = 1; in_a_row < 10; n++) {
		enum err err;

		assert_ok(export_bring(e, f->r, &empty, NULL, when, NULL));
		for (int i = 0; i < 9; i++) {
			snprintf(text, sizeof(text), "text %d", i);
			assert_ok(export_prepare(e, &ids[i], text, strlen(text)));
		}
		failpoint_arm(FAILPOINT_SYS, 0, n, EIO);
		err = export_bring(e, f->r, &full, NULL, when, NULL);
		failpoint_arm(FAILPOINT_NOTHING, 0, 0, 0);
		export_discard(e);
		in_a_row = err ? 0 : in_a_row + 1;
		failed += err != ERR_OK;
		if (err)
			assert_int_equal(beside_export(), 0);
	}
	assert_true(failed > 9);
	assert_ok(export_bring(e, f->r, &full, NULL, when, NULL));
	expect_tree(f, e, &full);
	assert_int_equal(beside_export(), 0);
	export_close(e);
}
#endif

static uint32_t seed = 42;

static uint32_t any(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* export.at as it was in the middle of a change. */
static struct buf in_between;

static int64_t when_and_save(void *arg, struct path path)
{
	(void)arg;
	(void)path;
	buf_reset(&in_between);
	assert_ok(file_read(AT_FDCWD, at("/export.at"), &in_between));
	return put_at;
}

/*
 * A machine that lost power: any of the paths that differ may be as before or as after, or be torn; files of unfinished
 * writes lie about; export.at says that the change was under way.
 */
static void partial_states(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);

	make_versions(f);
	in_between.limit = 65536;
	for (unsigned round = 0; round < 150; round++) {
		size_t from = any(VERSIONS), to = any(VERSIONS), then = any(3) ? to : any(VERSIONS);
		struct plan plan;
		char name[64];

		if (from == to)
			continue;
		assert_ok(export_bring(e, f->r, &commits[from], NULL, when, NULL));
		buf_reset(&in_between);
		assert_ok(export_bring(e, f->r, &commits[to], NULL, when_and_save, NULL));
		export_close(e);
		if (in_between.len == 0) { /* removals only: nobody asked for a time */
			e = open_export(f);
			continue;
		}
		assert_ok(file_write(AT_FDCWD, at("/export.at"), in_between.p, in_between.len, 0600));
		plan_init(&plan);
		assert_ok(repo_plan(f->r, &commits[from], &commits[to], &plan));
		for (size_t i = 0; i < plan.n; i++) {
			const char *path = in_export(plan.items[i].path.s);
			if (plan.items[i].kind == PLAN_REMOVE)
				continue;
			switch (any(4)) {
			case 0: /* not yet there */
				assert_int_equal(unlink(path), 0);
				break;
			case 1: { /* still the one before */
				struct blob_id old;
				struct buf b = BUF_INIT(65536);
				if (repo_find(f->r, &commits[from], plan.items[i].path, &old, NULL) == ERR_OK) {
					assert_ok(repo_blob_read(f->r, &old, &b));
					assert_ok(file_write_fast(AT_FDCWD, path, b.p, b.len, 0644));
				}
				buf_release(&b);
				break;
			}
			case 2: /* torn */
				assert_int_equal(truncate(path, 0), 0);
				break;
			}
		}
		snprintf(name, sizeof(name), "/export.tmp/leftover%u", round);
		assert_ok(file_write_fast(AT_FDCWD, at(name), "junk", 4, 0600));
		plan_release(&plan);
		e = open_export(f);
		assert_ok(export_bring(e, f->r, &commits[then], NULL, when, NULL));
		expect_tree(f, e, &commits[then]);
		assert_false(file_exists(AT_FDCWD, at(name)));
	}
	assert_false(has_foreign());
	buf_release(&in_between);
	export_close(e);
}

/* How many commits the newest set of export.at has; slot: where it is. */
static unsigned long newest_set(unsigned *slot)
{
	struct buf text = BUF_INIT(65536);
	unsigned long number, best = 0, count = 0;

	assert_ok(file_read(AT_FDCWD, at("/export.at"), &text));
	assert_int_equal(text.len, 8192);
	for (unsigned i = 0; i < 2; i++) {
		char *p = text.p + i * 4096;
		if (strncmp(p, "drydock-export ", 15) != 0)
			continue;
		number = strtoul(p + 15, &p, 10);
		if (best > 0 && number < best)
			continue;
		best = number;
		count = strtoul(p, NULL, 10);
		*slot = i;
	}
	buf_release(&text);
	return count;
}

/*
 * Several small changes that were never synced, then the power failed: each path in which any of those versions differ
 * is as one of them has it, or torn, or gone; export.at is what was synced last.
 */
static void unsynced_changes(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);

	make_versions(f);
	for (unsigned round = 0; round < 60; round++) {
		size_t first = any(VERSIONS), chain[8], n = 0, last = first, then;
		unsigned slot;
		struct buf saved = BUF_INIT(65536);
		struct plan all;

		assert_ok(export_bring(e, f->r, &commits[first], NULL, when, NULL));
		export_close(e);
		e = open_export(f);
		chain[n++] = first;
		while (n < 2 + any(6)) {
			last = any(VERSIONS);
			assert_ok(export_bring(e, f->r, &commits[last], NULL, when, NULL));
			if (newest_set(&slot) == 1)
				n = 0; /* a large change: it was synced */
			chain[n++] = last;
		}
		expect_tree(f, e, &commits[last]);
		assert_ok(file_read(AT_FDCWD, at("/export.at"), &saved));
		export_close(e);
		assert_ok(file_write(AT_FDCWD, at("/export.at"), saved.p, saved.len, 0600));
		/* every path of every version: as some version on the way has it, where that is possible */
		for (size_t k = 0; k + 1 < n; k++) {
			plan_init(&all);
			assert_ok(repo_plan(f->r, &commits[chain[k]], &commits[chain[k + 1]], &all));
			for (size_t i = 0; i < all.n; i++) {
				const char *path = in_export(all.items[i].path.s);
				struct blob_id blob;
				struct buf b = BUF_INIT(65536);
				if (any(3) == 0)
					continue;
				if (repo_find(f->r, &commits[chain[any((uint32_t)n)]], all.items[i].path, &blob, NULL) != ERR_OK) {
					if (any(2))
						unlink(path);
				} else {
					assert_ok(repo_blob_read(f->r, &blob, &b));
					/* fails where a directory is in the way now, which is one of the possible states too */
					if (file_write_fast(AT_FDCWD, path, b.p, any(4) ? b.len : 0, 0644) != ERR_OK)
						unlink(path);
				}
				buf_release(&b);
			}
			plan_release(&all);
		}
		buf_release(&saved);
		then = any(2) ? last : any(VERSIONS);
		e = open_export(f);
		assert_ok(export_bring(e, f->r, &commits[then], NULL, when, NULL));
		expect_tree(f, e, &commits[then]);
	}
	assert_false(has_foreign());
	export_close(e);
}

/* The newest set of export.at was not synced, and is torn: the one before it says enough. */
static void torn_state(void **state)
{
	struct fixture *f = *state;
	struct export_dir *e = open_export(f);

	make_versions(f);
	for (unsigned round = 0; round < 40; round++) {
		size_t one = any(VERSIONS), two = any(VERSIONS);
		char junk[300];
		unsigned slot;
		int fd;

		assert_ok(export_bring(e, f->r, &commits[one], NULL, when, NULL));
		export_close(e);
		assert_int_equal(newest_set(&slot), 1);
		random_bytes(junk, sizeof(junk));
		fd = open(at("/export.at"), O_WRONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(pwrite(fd, junk, sizeof(junk), slot * 4096L), sizeof(junk));
		close(fd);
		e = open_export(f);
		assert_ok(export_bring(e, f->r, &commits[two], NULL, when, NULL));
		expect_tree(f, e, &commits[two]);
	}
	assert_false(has_foreign());
	export_close(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(follows_acts, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(prepared_are_used, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(made_ahead, fixture_begin, fixture_end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(ahead_begins_in_between, fixture_begin, fixture_end),
#endif
		cmocka_unit_test_setup_teardown(leftovers_stay_out, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(times_rise, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(foreign_things_move_away, fixture_begin, fixture_end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(foreign_in_the_way_of_two, fixture_begin, fixture_end),
#endif
		cmocka_unit_test_setup_teardown(damage_is_found_and_repaired, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(prepared_meanwhile, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(longest_paths, fixture_begin, fixture_end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(failing_calls, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(failing_aside, fixture_begin, fixture_end),
#endif
		cmocka_unit_test_setup_teardown(partial_states, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(unsynced_changes, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(torn_state, fixture_begin, fixture_end),
	};
	log_level_set(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("export", tests, NULL, NULL);
}
