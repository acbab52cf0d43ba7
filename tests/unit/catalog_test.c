/* The catalog: states, counts that are kept, what a viewer sees, selections, and what survives a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "core/selection.h"
#include "staging.h"

static struct catalog *cat;
static char cache[128];

static void open_catalog(bool with_cache)
{
	struct catalog_options o = { .staging = at(""), .cache_file = with_cache ? cache : NULL, .largest_file = 1 << 20, .threads = 2 };
	assert_int_equal(catalog_open(&cat, &o), ERR_OK);
}

static int setup(void **state)
{
	(void)state;
	log_level_set(LOG_LEVEL_ERROR);
	staging_begin();
	snprintf(cache, sizeof cache, "%s/cache", top);
	open_catalog(false);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	catalog_close(cat);
	cat = NULL;
	staging_end();
	return 0;
}

static void scan(void)
{
	assert_int_equal(catalog_scan(cat, path_root()), ERR_OK);
}

static void approve(const char *path, enum approval approval, const char *bytes)
{
	static uint64_t seq;
	struct approved a = { .approval = approval, .seq = ++seq, .at = 1, .by = "own:alice" };
	print_of(bytes, false, &a.print);
	memset(a.blob.b, (int)seq, sizeof a.blob.b);
	catalog_set_approved(cat, P(path), &a);
}

/* The state by name, "none" if there is none, "dir". */
static const char *state_at(const char *path)
{
	struct arena *a = arena_new();
	struct catalog_entry e;
	const char *s = "none";
	if (catalog_get(cat, P(path), &e, a) == ERR_OK)
		s = e.is_dir ? "dir" : state_name(e.state);
	arena_free(a);
	return s;
}

static enum problem problem_at(const char *path)
{
	struct arena *a = arena_new();
	struct catalog_entry e = { .problem = PROBLEM_COUNT };
	if (catalog_get(cat, P(path), &e, a) == ERR_OK && !e.is_dir)
		assert_int_equal(e.state == STATE_UNPUBLISHABLE, e.problem != PROBLEM_NONE);
	arena_free(a);
	return e.problem;
}

static uint64_t counted(const char *dir_path, enum file_state s)
{
	struct catalog_counts counts;
	if (catalog_count(cat, P(dir_path), NULL, &counts) != ERR_OK)
		return UINT64_MAX;
	return counts.n[s];
}

/* A list as one string: names, directories with a '/' behind, each followed by a blank. */
static bool to_text(void *arg, const struct catalog_entry *e)
{
	struct buf *b = arg;
	buf_str(b, e->name);
	buf_str(b, e->is_dir ? "/ " : " ");
	return true;
}

static bool to_paths(void *arg, const struct catalog_entry *e)
{
	buf_str(arg, e->path.s);
	buf_char(arg, ' ');
	return true;
}

static void check_list(const struct catalog_query *q, const struct catalog_view *v, const char *want)
{
	struct buf b = BUF_INIT(1 << 20);
	assert_int_equal(catalog_list(cat, q, v, q->recursive ? to_paths : to_text, &b), ERR_OK);
	assert_string_equal(buf_text(&b), want);
	buf_release(&b);
}

/* --- states ----------------------------------------------------------------------------------------------------------- */

static void states_of_one_file(void **state)
{
	(void)state;
	put("/f", "one");
	scan();
	assert_string_equal(state_at("/f"), "unsigned");
	approve("/f", APPROVAL_SIGNED, "one");
	assert_string_equal(state_at("/f"), "signed");
	put("/f", "two");
	assert_string_equal(state_at("/f"), "signed"); /* as far as is known */
	scan();
	assert_string_equal(state_at("/f"), "changed");
	put("/f", "one"); /* and back */
	scan();
	assert_string_equal(state_at("/f"), "signed");
	assert_int_equal(chmod(at("/f"), 0755), 0);
	scan();
	assert_string_equal(state_at("/f"), "changed");
	assert_int_equal(chmod(at("/f"), 0644), 0);
	scan();
	assert_string_equal(state_at("/f"), "signed");
	struct timeval times[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
	assert_int_equal(utimes(at("/f"), times), 0);
	scan();
	assert_string_equal(state_at("/f"), "signed"); /* a touch is no change */
	put("/other", "x");
	unlink(at("/f"));
	scan();
	assert_string_equal(state_at("/f"), "missing");
	approve("/f", APPROVAL_REVOKED, "one");
	assert_string_equal(state_at("/f"), "none");
	put("/f", "one");
	scan();
	assert_string_equal(state_at("/f"), "revoked");
	struct preapproved pre = { P("/"), "", 0, 0 };
	catalog_set_preapproved(cat, &pre, 1);
	assert_string_equal(state_at("/f"), "revoked");
	assert_string_equal(state_at("/other"), "preapproved");
	approve("/other", APPROVAL_PREAPPROVED, "x");
	put("/other", "y");
	scan();
	assert_string_equal(state_at("/other"), "preapproved");
	catalog_set_preapproved(cat, NULL, 0);
	assert_string_equal(state_at("/other"), "changed");
	pre = (struct preapproved){ P("/other"), "", 0, 0 };
	catalog_set_preapproved(cat, &pre, 1);
	assert_string_equal(state_at("/other"), "preapproved");
	catalog_set_preapproved(cat, NULL, 0);
	unlink(at("/other"));
	scan();
	assert_string_equal(state_at("/other"), "missing");
	approve("/other", APPROVAL_NONE, "");
	assert_string_equal(state_at("/other"), "none");
}

static void unpublishable(void **state)
{
	(void)state;
	put("/target", "x");
	assert_int_equal(symlink("target", at("/link")), 0);
	assert_int_equal(symlink("/etc", at("/etc")), 0);
	assert_int_equal(mkfifo(at("/fifo"), 0644), 0);
	put("/hard", "x");
	assert_int_equal(link(at("/hard"), at("/hard2")), 0);
	put("/big", "");
	assert_int_equal(truncate(at("/big"), (1 << 20) + 1), 0);
	scan();
	assert_int_equal(problem_at("/link"), PROBLEM_SYMLINK);
	assert_int_equal(problem_at("/etc"), PROBLEM_SYMLINK);
	assert_string_equal(state_at("/etc/passwd"), "none");
	assert_int_equal(problem_at("/fifo"), PROBLEM_SPECIAL);
	assert_int_equal(problem_at("/hard"), PROBLEM_HARDLINK);
	assert_int_equal(problem_at("/hard2"), PROBLEM_HARDLINK);
	assert_int_equal(problem_at("/big"), PROBLEM_TOO_BIG);
	assert_int_equal(counted("/", STATE_UNPUBLISHABLE), 6);
	unlink(at("/hard2"));
	unlink(at("/link"));
	put("/link", "now a file");
	assert_int_equal(truncate(at("/big"), 1 << 20), 0);
	scan();
	assert_string_equal(state_at("/hard"), "unsigned");
	assert_string_equal(state_at("/link"), "unsigned");
	assert_string_equal(state_at("/big"), "unsigned");
	assert_int_equal(counted("/", STATE_UNPUBLISHABLE), 2);
	/* An approved file that became a link is not published, and not forgotten. */
	approve("/link", APPROVAL_SIGNED, "now a file");
	unlink(at("/link"));
	assert_int_equal(symlink("target", at("/link")), 0);
	scan();
	assert_string_equal(state_at("/link"), "unpublishable");
	unlink(at("/link"));
	scan();
	assert_string_equal(state_at("/link"), "missing");
}

static bool see_bad_name(void *arg, const struct catalog_entry *e)
{
	unsigned *n = arg;
	if (e->problem == PROBLEM_NAME || e->problem == PROBLEM_TOO_LONG) {
		assert_int_equal(e->state, STATE_UNPUBLISHABLE);
		for (const char *s = e->name; *s; s++)
			assert_true((unsigned char)*s >= ' ');
		++*n;
	}
	return true;
}

static void names_that_are_no_paths(void **state)
{
	(void)state;
	put("/good", "x");
	put("/two\nlines", "x");
	put("/bad\xff", "x");
	put("/bad\xfe", "x"); /* looks the same when it is shown */
	put("/.git", "x");
	dir("/.GIT");
	put("/.GIT/inside", "x");
	put("/it's \"quoted\" <b>&", "x");
	scan();
	scan();
	assert_int_equal(counted("/", STATE_UNPUBLISHABLE), 5);
	assert_int_equal(counted("/", STATE_UNSIGNED), 2);
	unsigned n = 0;
	struct catalog_query q = { .dir = path_root() };
	assert_int_equal(catalog_list(cat, &q, NULL, see_bad_name, &n), ERR_OK);
	assert_int_equal(n, 5);
	uint64_t generation = catalog_generation(cat, path_root());
	scan();
	assert_int_equal(catalog_generation(cat, path_root()), generation);
	/* One that has the shown name of another. */
	struct selection s;
	struct path root = path_root();
	assert_int_equal(catalog_select(cat, "sign", &root, 1, true, NULL, ROLE_SIGN, &s), ERR_OK);
	assert_int_equal(s.n, 2);
	selection_release(&s);
	unlink(at("/bad\xff"));
	scan();
	assert_int_equal(counted("/", STATE_UNPUBLISHABLE), 4);

	/* Deeper than a path can say. */
	char deep[4200] = "";
	for (int i = 0; i < 20; i++) {
		size_t len = strlen(deep);
		deep[len] = '/';
		memset(deep + len + 1, 'd', 200);
		deep[len + 201] = 0;
		if (strlen(at(deep)) < 4000)
			assert_int_equal(mkdir(at(deep), 0755), 0);
	}
	char part[256];
	memset(part, 'e', 255);
	part[255] = 0;
	deep[201 * 19] = 0;
	int fd = open(at(deep), O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	assert_int_equal(mkdirat(fd, part, 0755), 0);
	int fd2 = openat(fd, part, O_RDONLY | O_DIRECTORY);
	int fd3 = openat(fd2, "f", O_WRONLY | O_CREAT, 0644);
	assert_true(fd3 >= 0);
	close(fd3);
	fd3 = openat(fd2, part, O_WRONLY | O_CREAT, 0644);
	assert_true(fd3 >= 0);
	close(fd3);
	close(fd2);
	close(fd);
	scan();
	assert_int_equal(counted("/", STATE_UNSIGNED), 3);
	assert_int_equal(counted("/", STATE_UNPUBLISHABLE), 5);
}

static void a_directory_becomes_a_file(void **state)
{
	(void)state;
	dir("/d");
	put("/d/a", "a");
	put("/d/b", "b");
	put("/f", "f");
	approve("/d/a", APPROVAL_SIGNED, "a");
	approve("/f", APPROVAL_SIGNED, "f");
	scan();
	assert_string_equal(state_at("/d/b"), "unsigned");
	assert_int_equal(rename(at("/d"), at("/tmp")), 0);
	assert_int_equal(rename(at("/f"), at("/d")), 0);
	assert_int_equal(rename(at("/tmp"), at("/f")), 0);
	scan();
	assert_string_equal(state_at("/d/a"), "missing");
	assert_string_equal(state_at("/d/b"), "none");
	assert_string_equal(state_at("/d"), "unsigned");
	assert_string_equal(state_at("/f"), "dir");
	assert_string_equal(state_at("/f/a"), "unsigned");
	struct arena *a = arena_new();
	struct catalog_entry e;
	assert_int_equal(catalog_get_file(cat, P("/f"), &e, a), ERR_OK);
	assert_int_equal(e.state, STATE_MISSING);
	assert_int_equal(catalog_get_file(cat, P("/f/none"), &e, a), ERR_NOT_FOUND);
	arena_free(a);
	assert_int_equal(counted("/", STATE_MISSING), 2);
	assert_int_equal(counted("/", STATE_UNSIGNED), 3);
	struct catalog_query q = { .dir = path_root(), .recursive = true };
	check_list(&q, NULL, "/d /d/a /f /f/a /f/b ");
	/* Revoking by name takes the file; with all below, both. */
	struct selection s;
	struct path f = P("/f"), d = P("/d");
	assert_int_equal(catalog_select(cat, "revoke", &f, 1, false, NULL, ROLE_SIGN, &s), ERR_OK);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.items[0].state, STATE_MISSING);
	selection_release(&s);
	assert_int_equal(catalog_select(cat, "sign", &f, 1, true, NULL, ROLE_SIGN, &s), ERR_OK);
	assert_int_equal(s.n, 2);
	selection_release(&s);
	assert_int_equal(catalog_select(cat, "sign", &d, 1, false, NULL, ROLE_SIGN, &s), ERR_OK);
	assert_int_equal(s.n, 1);
	selection_release(&s);
}

static void one_file_at_a_time(void **state)
{
	(void)state;
	scan();
	dir("/new");
	dir("/new/deep");
	put("/new/deep/f", "x");
	assert_int_equal(catalog_refresh_file(cat, P("/new/deep/f")), ERR_OK);
	assert_string_equal(state_at("/new/deep/f"), "unsigned");
	put("/new/deep/g", "x");
	assert_int_equal(catalog_refresh_file(cat, P("/new/deep/g")), ERR_OK);
	assert_string_equal(state_at("/new/deep/g"), "unsigned");
	approve("/new/deep/g", APPROVAL_SIGNED, "x");
	put("/new/deep/g", "changed");
	assert_int_equal(catalog_refresh_file(cat, P("/new/deep/g")), ERR_OK);
	assert_string_equal(state_at("/new/deep/g"), "changed");
	unlink(at("/new/deep/g"));
	assert_int_equal(catalog_refresh_file(cat, P("/new/deep/g")), ERR_OK);
	assert_string_equal(state_at("/new/deep/g"), "missing");
	dir("/new/deep/g");
	put("/new/deep/g/h", "x");
	assert_int_equal(catalog_refresh_file(cat, P("/new/deep/g")), ERR_OK);
	assert_string_equal(state_at("/new/deep/g/h"), "unsigned");
	assert_int_equal(file_remove_tree(AT_FDCWD, at("/new/deep/g")), ERR_OK);
	put("/new/deep/g", "x");
	assert_int_equal(catalog_refresh_file(cat, P("/new/deep/g")), ERR_OK);
	assert_string_equal(state_at("/new/deep/g"), "signed");
	assert_string_equal(state_at("/new/deep/g/h"), "none");
	assert_int_equal(file_remove_tree(AT_FDCWD, at("/new")), ERR_OK);
	assert_int_equal(catalog_refresh_file(cat, P("/new/deep/f")), ERR_OK);
	assert_string_equal(state_at("/new/deep/f"), "none");
}

/* --- the whole of staging --------------------------------------------------------------------------------------------- */

static void trouble(const char *part)
{
	char text[256];
	catalog_trouble(cat, text);
	if (!part)
		assert_string_equal(text, "");
	else
		assert_non_null(strstr(text, part));
}

static void staging_in_trouble(void **state)
{
	(void)state;
	char away[100];
	snprintf(away, sizeof away, "%s/away", top);
	approve("/f", APPROVAL_SIGNED, "f");
	approve("/gone", APPROVAL_SIGNED, "g");
	/* Nothing was ever read: nothing is missing. */
	assert_string_equal(state_at("/f"), "signed");
	scan();
	trouble("empty");
	assert_string_equal(state_at("/f"), "signed");
	put("/f", "f");
	scan();
	trouble(NULL);
	assert_string_equal(state_at("/f"), "signed");
	assert_string_equal(state_at("/gone"), "missing");
	/* Moved away: as it was, and nothing is read from the old place. */
	assert_int_equal(rename(at(""), away), 0);
	scan();
	trouble("does not exist");
	assert_string_equal(state_at("/f"), "signed");
	assert_int_equal(mkdir(at(""), 0755), 0);
	scan();
	trouble("empty");
	assert_string_equal(state_at("/f"), "signed");
	put("/new", "n");
	scan();
	trouble(NULL);
	assert_string_equal(state_at("/f"), "missing");
	assert_string_equal(state_at("/new"), "unsigned");
	/* And another in its place at once. */
	assert_int_equal(file_remove_tree(AT_FDCWD, at("")), ERR_OK);
	assert_int_equal(rename(away, at("")), 0);
	assert_int_equal(catalog_refresh_file(cat, P("/f")), ERR_OK);
	assert_string_equal(state_at("/f"), "signed");
	assert_string_equal(state_at("/new"), "none");
}

static int look_as_nobody(const char *where)
{
	snprintf(top, sizeof top, "%s", where);
	struct catalog_options o = { .staging = at(""), .largest_file = 1 << 20, .threads = 2 };
	if (geteuid() != 0)
		return 77;
	if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
		return 10;
	if (catalog_open(&cat, &o))
		return 11;
	approve("/shut/a", APPROVAL_SIGNED, "a");
	if (catalog_scan(cat, path_root()))
		return 12;
	if (strcmp(state_at("/shut"), "unpublishable") != 0 || problem_at("/shut") != PROBLEM_UNREADABLE)
		return 13;
	if (strcmp(state_at("/shut/a"), "unpublishable") != 0 || problem_at("/shut/a") != PROBLEM_UNREADABLE)
		return 14;
	if (problem_at("/closed") != PROBLEM_UNREADABLE)
		return 15;
	catalog_close(cat);
	return 0;
}

static void directories_that_cannot_be_entered(void **state)
{
	(void)state;
	dir("/m");
	put("/m/f", "f");
	approve("/m/f", APPROVAL_SIGNED, "f");
	scan();
	assert_string_equal(state_at("/m/f"), "signed");
	if (mount("none", at("/m"), "tmpfs", 0, "size=64k") == 0) {
		put("/m/hidden", "x");
		scan();
		assert_int_equal(problem_at("/m"), PROBLEM_OTHER_FS);
		assert_int_equal(problem_at("/m/f"), PROBLEM_OTHER_FS);
		assert_string_equal(state_at("/m/hidden"), "none");
		uint64_t generation = catalog_generation(cat, path_root());
		scan();
		assert_int_equal(catalog_generation(cat, path_root()), generation);
		umount(at("/m"));
		scan();
		assert_string_equal(state_at("/m"), "dir");
		assert_string_equal(state_at("/m/f"), "signed");
		assert_int_equal(counted("/", STATE_UNPUBLISHABLE), 0);
	} else {
		print_message("no right to mount: mount points are not tried\n");
	}

	dir("/shut");
	put("/shut/a", "a");
	put("/closed", "c");
	approve("/shut/a", APPROVAL_SIGNED, "a");
	scan();
	/* Root reads everything: the look is taken as somebody else, in a program of its own, since it needs threads. */
	chmod(at("/shut"), 0700);
	chmod(at("/closed"), 0600);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		execl("/proc/self/exe", "catalog_test", "look", top, (char *)NULL);
		_exit(9);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("not root: unreadable directories are not tried\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
	chmod(at("/shut"), 0755);
	chmod(at("/closed"), 0644);
}

/* --- lists ------------------------------------------------------------------------------------------------------------ */

static void lists_and_cursors(void **state)
{
	(void)state;
	dir("/a");
	dir("/a-b");
	dir("/z");
	dir("/z/empty");
	put("/a/x", "xx");
	put("/a-b/y", "y");
	put("/a.txt", "1");
	put("/B", "22222");
	put("/c", "333");
	approve("/c", APPROVAL_SIGNED, "333");
	approve("/gone/deep/f", APPROVAL_SIGNED, "f");
	scan();
	struct catalog_query q = { .dir = path_root() };
	check_list(&q, NULL, "a-b/ a/ gone/ z/ B a.txt c ");
	q.after = "a/";
	check_list(&q, NULL, "gone/ z/ B a.txt c ");
	q.after = "z/";
	check_list(&q, NULL, "B a.txt c ");
	q.after = "B";
	check_list(&q, NULL, "a.txt c ");
	q.after = "b"; /* not there (any more) */
	check_list(&q, NULL, "c ");
	q.after = NULL;
	q.descending = true;
	check_list(&q, NULL, "z/ gone/ a/ a-b/ c a.txt B ");
	q.after = "gone/";
	check_list(&q, NULL, "a/ a-b/ c a.txt B ");
	q.after = "c";
	check_list(&q, NULL, "a.txt B ");
	q = (struct catalog_query){ .dir = path_root(), .order = ORDER_SIZE };
	check_list(&q, NULL, "a-b/ a/ gone/ z/ a.txt c B ");
	q.descending = true;
	q.offset = 3;
	check_list(&q, NULL, "z/ B c a.txt ");
	q.offset = 6;
	check_list(&q, NULL, "a.txt ");
	q = (struct catalog_query){ .dir = path_root(), .states = 1u << STATE_UNSIGNED };
	check_list(&q, NULL, "a-b/ a/ B a.txt ");
	q.states = 1u << STATE_MISSING;
	check_list(&q, NULL, "gone/ ");
	q = (struct catalog_query){ .dir = path_root(), .recursive = true };
	check_list(&q, NULL, "/B /a-b/y /a.txt /a/x /c /gone/deep/f ");
	q.after = "/a-b/y";
	check_list(&q, NULL, "/a.txt /a/x /c /gone/deep/f ");
	q.after = "/a.txt";
	check_list(&q, NULL, "/a/x /c /gone/deep/f ");
	q.after = "/a/gone-meanwhile";
	check_list(&q, NULL, "/a/x /c /gone/deep/f ");
	q.after = "/c";
	check_list(&q, NULL, "/gone/deep/f ");
	q.after = NULL;
	q.match = "A/";
	check_list(&q, NULL, "/a/x ");
	q = (struct catalog_query){ .dir = P("/a"), .recursive = true, .match = "a" };
	check_list(&q, NULL, "");
	struct buf b = BUF_INIT(100);
	q = (struct catalog_query){ .dir = P("/a"), .recursive = true, .after = "/c" };
	assert_int_equal(catalog_list(cat, &q, NULL, to_text, &b), ERR_INPUT);
	q = (struct catalog_query){ .dir = P("/nothing") };
	assert_int_equal(catalog_list(cat, &q, NULL, to_text, &b), ERR_NOT_FOUND);
	q = (struct catalog_query){ .dir = P("/c") };
	assert_int_equal(catalog_list(cat, &q, NULL, to_text, &b), ERR_NOT_FOUND);
}

static void generations(void **state)
{
	(void)state;
	dir("/a");
	dir("/b");
	put("/a/x", "x");
	put("/b/y", "y");
	scan();
	uint64_t all = catalog_generation(cat, path_root()), a = catalog_generation(cat, P("/a")), b = catalog_generation(cat, P("/b"));
	scan();
	assert_int_equal(catalog_generation(cat, path_root()), all);
	put("/a/x", "changed");
	scan();
	assert_true(catalog_generation(cat, path_root()) > all);
	assert_true(catalog_generation(cat, P("/a")) > a);
	assert_int_equal(catalog_generation(cat, P("/b")), b);
	approve("/b/y", APPROVAL_SIGNED, "y");
	assert_true(catalog_generation(cat, P("/b")) > b);
	assert_int_equal(catalog_generation(cat, P("/none")), 0);
	uint64_t now = catalog_generation(cat, path_root());
	int64_t start = clock_boot();
	assert_int_equal(catalog_wait(cat, now, 30000), now);
	assert_true(clock_boot() - start >= 29000);
	assert_int_equal(catalog_wait(cat, now - 1, 5 * CLOCK_SECOND), now);
}

/* --- who sees what ---------------------------------------------------------------------------------------------------- */

static const char *const no_groups[1];
static const struct identity bob = { .user = "own:bob", .name = "bob", .provider = "own", .groups = no_groups };

static void nothing_that_may_not_be_seen(void **state)
{
	(void)state;
	dir("/open");
	dir("/open/secret");
	dir("/shut");
	dir("/shut/mine");
	dir("/other");
	put("/top", "t");
	put("/open/a", "a");
	put("/open/secret/s", "s");
	put("/open/secret.txt", "s");
	put("/shut/x", "x");
	put("/shut/mine/y", "y");
	put("/other/z", "z");
	scan();
	struct rule list[] = {
		{ "own:bob", path_root(), ROLE_NONE },
		{ "own:bob", P("/open"), ROLE_SIGN },
		{ "own:bob", P("/open/secret"), ROLE_NONE },
		{ "own:bob", P("/open/secret.txt"), ROLE_NONE },
		{ "own:bob", P("/shut/mine"), ROLE_VIEW },
	};
	struct rules *rules = rules_new(list, 5);
	struct catalog_view v = { rules, &bob };
	struct catalog_query q = { .dir = path_root() };
	check_list(&q, &v, "open/ shut/ ");
	q.dir = P("/open");
	check_list(&q, &v, "a ");
	q.dir = P("/shut");
	check_list(&q, &v, "mine/ ");
	q = (struct catalog_query){ .dir = path_root(), .recursive = true };
	check_list(&q, &v, "/open/a /shut/mine/y ");
	q.match = "s";
	check_list(&q, &v, "/shut/mine/y ");
	struct buf b = BUF_INIT(100);
	q = (struct catalog_query){ .dir = P("/other") };
	assert_int_equal(catalog_list(cat, &q, &v, to_text, &b), ERR_NOT_FOUND);
	q.dir = P("/open/secret");
	assert_int_equal(catalog_list(cat, &q, &v, to_text, &b), ERR_NOT_FOUND);
	struct catalog_counts counts;
	assert_int_equal(catalog_count(cat, path_root(), &v, &counts), ERR_OK);
	assert_int_equal(counts.n[STATE_UNSIGNED], 2);
	assert_int_equal(counts.bytes, 2);
	assert_int_equal(catalog_count(cat, P("/open"), &v, &counts), ERR_OK);
	assert_int_equal(counts.n[STATE_UNSIGNED], 1);
	assert_int_equal(catalog_count(cat, P("/other"), &v, &counts), ERR_NOT_FOUND);

	struct selection s;
	struct path p = P("/open");
	assert_int_equal(catalog_select(cat, "sign", &p, 1, true, &v, ROLE_SIGN, &s), ERR_OK);
	assert_int_equal(s.n, 1);
	assert_string_equal(s.items[0].path.s, "/open/a");
	selection_release(&s);
	/* Visible, but not his to sign: the whole fails and says which. */
	p = path_root();
	assert_int_equal(catalog_select(cat, "sign", &p, 1, true, &v, ROLE_SIGN, &s), ERR_DENIED);
	assert_non_null(strstr(err_text(), "/shut/mine/y"));
	assert_null(s.items);
	assert_int_equal(catalog_select(cat, "review", &p, 1, true, &v, ROLE_VIEW, &s), ERR_OK);
	assert_int_equal(s.n, 2);
	selection_release(&s);
	/* What he may not see is not there, named or not. */
	p = P("/other/z");
	assert_int_equal(catalog_select(cat, "sign", &p, 1, false, &v, ROLE_SIGN, &s), ERR_NOT_FOUND);
	p = P("/other");
	assert_int_equal(catalog_select(cat, "sign", &p, 1, true, &v, ROLE_SIGN, &s), ERR_NOT_FOUND);
	p = P("/none");
	assert_int_equal(catalog_select(cat, "sign", &p, 1, true, &v, ROLE_SIGN, &s), ERR_NOT_FOUND);
	rules_unref(rules);
	buf_release(&b);
}

static void selections(void **state)
{
	(void)state;
	dir("/d");
	put("/d/new", "new");
	put("/d/changed", "is");
	put("/d/signed", "same");
	put("/d/revoked", "r");
	assert_int_equal(symlink("x", at("/d/link")), 0);
	approve("/d/changed", APPROVAL_SIGNED, "was");
	approve("/d/signed", APPROVAL_SIGNED, "same");
	approve("/d/revoked", APPROVAL_REVOKED, "r");
	approve("/d/missing", APPROVAL_SIGNED, "m");
	struct selection s;
	struct path d = P("/d");
	assert_int_equal(catalog_select(cat, "sign", &d, 1, true, NULL, ROLE_SIGN, &s), ERR_OK);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.items[0].path.s, "/d/changed");
	assert_int_equal(s.items[0].state, STATE_CHANGED);
	assert_string_equal(s.items[1].path.s, "/d/new");
	assert_int_equal(s.bytes, 5);
	struct selection_digest *digest = selection_digest_new("sign");
	struct fingerprint print;
	print_of("is", false, &print);
	assert_true(fingerprint_equal(&print, &s.items[0].print));
	assert_false(s.items[0].named);
	selection_digest_add(digest, P("/d/changed"), STATE_CHANGED, &print.sha256, false);
	print_of("new", false, &print);
	selection_digest_add(digest, P("/d/new"), STATE_UNSIGNED, &print.sha256, false);
	struct sha256 want;
	selection_digest_end_free(digest, &want);
	assert_true(sha256_equal(&want, &s.digest));
	selection_release(&s);
	assert_int_equal(catalog_select(cat, "revoke", &d, 1, true, NULL, ROLE_SIGN, &s), ERR_OK);
	assert_int_equal(s.n, 3);
	print_of("was", false, &print);
	assert_true(fingerprint_equal(&print, &s.items[0].print)); /* the approved one */
	selection_release(&s);
	/* Twice the same, and below a directory that is also named. */
	struct path twice[] = { P("/d/new"), P("/d"), P("/d/new") };
	assert_int_equal(catalog_select(cat, "sign", twice, 3, true, NULL, ROLE_SIGN, &s), ERR_OK);
	assert_int_equal(s.n, 2);
	assert_true(s.items[1].named);
	assert_true(sha256_equal(&want, &s.digest));
	selection_release(&s);
	assert_int_equal(catalog_select(cat, "sign", &d, 1, false, NULL, ROLE_SIGN, &s), ERR_INPUT);
	struct path one = P("/d/link");
	assert_int_equal(catalog_select(cat, "sign", &one, 1, false, NULL, ROLE_SIGN, &s), ERR_INPUT);
	assert_non_null(strstr(err_text(), "symbolic"));
	one = P("/d/missing");
	assert_int_equal(catalog_select(cat, "sign", &one, 1, false, NULL, ROLE_SIGN, &s), ERR_STALE);
	one = P("/d/new");
	assert_int_equal(catalog_select(cat, "revoke", &one, 1, false, NULL, ROLE_SIGN, &s), ERR_STALE);
	/* It is looked at before: what is shown is what is there. */
	put("/d/new", "newer");
	assert_int_equal(catalog_select(cat, "sign", &one, 1, false, NULL, ROLE_SIGN, &s), ERR_OK);
	print_of("newer", false, &print);
	assert_true(fingerprint_equal(&print, &s.items[0].print));
	selection_release(&s);
}

/* --- change without a change of times ---------------------------------------------------------------------------------- */

static void racily_clean(void **state)
{
	(void)state;
	put("/f", "one");
	struct stat st;
	for (int i = 0; i < 200; i++) {
		char text[16];
		snprintf(text, sizeof text, "%03d", i);
		put("/f", text);
		/* As soon as it is written: perhaps within the grain of the file system's clock. */
		scan();
		put("/f", "end");
		assert_int_equal(stat(at("/f"), &st), 0);
		scan();
		struct arena *a = arena_new();
		struct catalog_entry e;
		struct fingerprint print;
		assert_int_equal(catalog_get(cat, P("/f"), &e, a), ERR_OK);
		print_of("end", false, &print);
		assert_true(fingerprint_equal(&e.print, &print));
		arena_free(a);
	}
}

/* --- restart ---------------------------------------------------------------------------------------------------------- */

static void reopen(void)
{
	catalog_close(cat);
	open_catalog(true);
}

static void spoil_cache(off_t where, int by)
{
	int fd = open(cache, O_RDWR);
	assert_true(fd >= 0);
	char c;
	if (where < 0)
		where += lseek(fd, 0, SEEK_END);
	assert_int_equal(pread(fd, &c, 1, where), 1);
	c = (char)(c + by);
	assert_int_equal(pwrite(fd, &c, 1, where), 1);
	close(fd);
}

static void restarts(void **state)
{
	(void)state;
	reopen();
	dir("/d");
	put("/d/f", "f");
	put("/\xff", "bad");
	put("/g", "g");
	clock_sleep(60000); /* not racy */
	scan();
	reopen();
	/* Known at once, from the cache. */
	assert_string_equal(state_at("/d/f"), "unsigned");
	assert_int_equal(counted("/", STATE_UNPUBLISHABLE), 1);
	/* And what is not read again is believed: the same size and times, other bytes. */
	struct stat st, now;
	assert_int_equal(stat(at("/d/f"), &st), 0);
	scan();
	put("/d/f", "F");
	scan();
	struct fingerprint print;
	struct catalog_entry e;
	struct arena *a = arena_new();
	assert_int_equal(catalog_get(cat, P("/d/f"), &e, a), ERR_OK);
	print_of("F", false, &print);
	assert_true(fingerprint_equal(&e.print, &print));
	assert_int_equal(stat(at("/d/f"), &now), 0);
	unlink(at("/g"));
	reopen();
	assert_string_equal(state_at("/g"), "unsigned"); /* as last seen */
	scan();
	assert_string_equal(state_at("/g"), "none");
	assert_string_equal(state_at("/d/f"), "unsigned");

	/* Damaged anywhere, cut short, empty, of another directory: dropped, and read anew. */
	for (off_t where = 0; where < 400; where += 13) {
		reopen();
		scan();
		reopen();
		catalog_close(cat);
		if (stat(cache, &st) != 0 || where >= st.st_size) {
			open_catalog(true);
			break;
		}
		spoil_cache(where, 1);
		open_catalog(true);
		assert_string_equal(state_at("/d/f"), "none");
		scan();
		assert_string_equal(state_at("/d/f"), "unsigned");
		put("/d/f", where % 2 ? "odd" : "even");
	}
	scan();
	catalog_close(cat);
	assert_int_equal(stat(cache, &st), 0);
	assert_int_equal(truncate(cache, st.st_size - 10), 0);
	open_catalog(true);
	assert_string_equal(state_at("/d/f"), "none");
	catalog_close(cat);
	assert_int_equal(truncate(cache, 0), 0);
	open_catalog(true);
	scan();
	assert_string_equal(state_at("/d/f"), "unsigned");
	arena_free(a);
}

/* --- random changes against a simple model ------------------------------------------------------------------------------ */

#define SLOTS 60

static struct slot {
	char path[64];
	bool staged, exec, link;
	char bytes[8];
	enum approval approval;
	char approved[8];
	bool approved_exec;
} slots[SLOTS];

static unsigned seed = 1;

static unsigned dice(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

static bool model_state(const struct slot *s, enum file_state *out)
{
	struct fingerprint staged, approved;
	print_of(s->bytes, s->exec, &staged);
	print_of(s->approved, s->approved_exec, &approved);
	bool pre = strncmp(s->path, "/d1/", 4) == 0;
	return state_of(out, s->staged, s->link ? PROBLEM_SYMLINK : PROBLEM_NONE, &staged, s->approval, &approved, pre);
}

static void check_model(const char *dir_path)
{
	struct catalog_counts want = { 0 }, is = { 0 };
	size_t len = strcmp(dir_path, "/") == 0 ? 0 : strlen(dir_path);
	for (int i = 0; i < SLOTS; i++) {
		enum file_state state;
		if (strncmp(slots[i].path, dir_path, len) != 0 || slots[i].path[len] != '/')
			continue;
		if (model_state(&slots[i], &state)) {
			want.n[state]++;
			assert_string_equal(state_at(slots[i].path), state_name(state));
		} else {
			assert_string_equal(state_at(slots[i].path), "none");
		}
		if (slots[i].staged && !slots[i].link)
			want.bytes += strlen(slots[i].bytes);
	}
	if (catalog_count(cat, P(dir_path), NULL, &is) == ERR_NOT_FOUND)
		is = (struct catalog_counts){ 0 };
	for (int i = 0; i < STATE_COUNT; i++)
		assert_int_equal(is.n[i], want.n[i]);
	assert_int_equal(is.bytes, want.bytes);
}

static void make_dirs(const char *path)
{
	char text[64];
	snprintf(text, sizeof text, "%s", path);
	for (char *s = strchr(text + 1, '/'); s; s = strchr(s + 1, '/')) {
		*s = 0;
		(void)mkdir(at(text), 0755);
		*s = '/';
	}
}

static void model_change(struct slot *s)
{
	char parent[64];
	switch (dice(8)) {
	case 0: /* staged */
	case 1:
	case 2:
		make_dirs(s->path);
		unlink(at(s->path));
		snprintf(s->bytes, sizeof s->bytes, "%u", dice(3));
		s->staged = true;
		s->link = false;
		s->exec = dice(5) == 0;
		put(s->path, s->bytes);
		assert_int_equal(chmod(at(s->path), s->exec ? 0755 : 0644), 0);
		break;
	case 3: /* removed, and emptied directories with it */
		unlink(at(s->path));
		s->staged = s->link = false;
		snprintf(parent, sizeof parent, "%s", s->path);
		while (strrchr(parent, '/') > parent) {
			*strrchr(parent, '/') = 0;
			if (rmdir(at(parent)) != 0)
				break;
		}
		break;
	case 4:
		if (dice(4))
			break;
		make_dirs(s->path);
		unlink(at(s->path));
		assert_int_equal(symlink("x", at(s->path)), 0);
		s->staged = s->link = true;
		s->exec = false;
		break;
	default: /* approved as it is, or another way */
		s->approval = (enum approval)dice(4);
		snprintf(s->approved, sizeof s->approved, "%u", dice(3));
		s->approved_exec = dice(5) == 0;
		struct approved a = { .approval = s->approval, .seq = 1, .by = "own:x" };
		print_of(s->approved, s->approved_exec, &a.print);
		catalog_set_approved(cat, P(s->path), &a);
	}
}

static void random_changes(void **state)
{
	(void)state;
	struct preapproved pre = { P("/d1"), "", 0, 0 };
	catalog_set_preapproved(cat, &pre, 1);
	put("/keep", "x"); /* staging is never empty */
	for (int i = 0; i < SLOTS; i++)
		snprintf(slots[i].path, sizeof slots[i].path, "/d%u/e%u/f%d", dice(3), dice(4), i);
	scan();
	for (int round = 0; round < 400; round++) {
		unsigned n = 1 + dice(20);
		struct slot *last = NULL;
		for (unsigned i = 0; i < n; i++)
			model_change(last = &slots[dice(SLOTS)]);
		if (round % 10 == 9 && n == 1)
			assert_int_equal(catalog_refresh_file(cat, P(last->path)), ERR_OK);
		else
			scan();
		check_model("/d0");
		check_model("/d1");
		check_model("/d2");
		check_model("/d0/e1");
		check_model("/d1/e2");
		struct catalog_query q = { .dir = path_root(), .recursive = true };
		struct buf b = BUF_INIT(1 << 20);
		assert_int_equal(catalog_list(cat, &q, NULL, to_paths, &b), ERR_OK);
		/* Page by page gives the same. */
		struct buf pages = BUF_INIT(1 << 20);
		const char *all = buf_text(&b);
		for (const char *s = all; *s;) {
			const char *end = strchr(s, ' ');
			char path[100];
			snprintf(path, sizeof path, "%.*s", (int)(end - s), s);
			q.after = path;
			buf_reset(&pages);
			assert_int_equal(catalog_list(cat, &q, NULL, to_paths, &pages), ERR_OK);
			assert_string_equal(buf_text(&pages), end + 1);
			s = end + 1;
		}
		buf_release(&b);
		buf_release(&pages);
	}
}

/* --- several at once -------------------------------------------------------------------------------------------------- */

static _Atomic bool stop;

static void *read_all_the_time(void *arg)
{
	(void)arg;
	while (!stop) {
		struct buf b = BUF_INIT(1 << 20);
		struct catalog_query q = { .dir = path_root(), .recursive = true };
		if (catalog_list(cat, &q, NULL, to_paths, &b))
			abort();
		buf_release(&b);
		struct selection s;
		struct path root = path_root();
		if (catalog_select(cat, "sign", &root, 1, true, NULL, ROLE_SIGN, &s) == ERR_OK)
			selection_release(&s);
	}
	return NULL;
}

static void *approve_all_the_time(void *arg)
{
	(void)arg;
	for (unsigned i = 0; !stop; i++) {
		struct approved a = { .approval = i % 4, .by = "own:x" };
		char text[64];
		snprintf(text, sizeof text, "/d%u/f%u", i % 3, i % 50);
		struct path p;
		if (path_check(&p, text))
			abort();
		print_of("1", false, &a.print);
		catalog_batch_begin(cat);
		catalog_set_approved(cat, p, &a);
		catalog_set_approved(cat, (struct path){ "/x/y", 4 }, &a);
		catalog_batch_end(cat);
	}
	return NULL;
}

static void many_at_once(void **state)
{
	(void)state;
	pthread_t threads[3];
	dir("/d0");
	dir("/d1");
	dir("/d2");
	put("/keep", "x");
	stop = false;
	assert_int_equal(pthread_create(&threads[0], NULL, read_all_the_time, NULL), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, read_all_the_time, NULL), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, approve_all_the_time, NULL), 0);
	for (int i = 0; i < 300; i++) {
		char text[64];
		snprintf(text, sizeof text, "/d%u/f%u", dice(3), dice(50));
		if (dice(3))
			put(text, dice(2) ? "1" : "2");
		else
			unlink(at(text));
		if (dice(10) == 0)
			assert_int_equal(catalog_refresh_file(cat, P(text)), ERR_OK);
	}
	stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

/* A directory of many new files goes through the two threads in pieces. */
static void large_directory(void **state)
{
	(void)state;
	dir("/big");
	for (int i = 0; i < 3000; i++) {
		char text[64], bytes[16];
		snprintf(text, sizeof text, "/big/f%04d", (i * 7919) % 3000);
		snprintf(bytes, sizeof bytes, "%d", i);
		put(text, bytes);
	}
	scan();
	assert_int_equal(counted("/big", STATE_UNSIGNED), 3000);
	struct catalog_query q = { .dir = P("/big"), .after = "f2997" };
	check_list(&q, NULL, "f2998 f2999 ");
	for (int i = 0; i < 3000; i += 2) {
		char text[64];
		snprintf(text, sizeof text, "/big/f%04d", i);
		unlink(at(text));
	}
	scan();
	assert_int_equal(counted("/", STATE_UNSIGNED), 1500);
	check_list(&q, NULL, "f2999 ");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "look") == 0)
		return look_as_nobody(argv[2]);

	const struct CMUnitTest tests[] = {
		TEST(states_of_one_file),
		TEST(unpublishable),
		TEST(names_that_are_no_paths),
		TEST(a_directory_becomes_a_file),
		TEST(one_file_at_a_time),
		TEST(staging_in_trouble),
		TEST(directories_that_cannot_be_entered),
		TEST(lists_and_cursors),
		TEST(generations),
		TEST(nothing_that_may_not_be_seen),
		TEST(selections),
		TEST(racily_clean),
		TEST(restarts),
		TEST(random_changes),
		TEST(many_at_once),
		TEST(large_directory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
