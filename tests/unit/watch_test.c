/* The watcher: whatever happens in staging is in the catalog soon, without anybody asking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "catalog/catalog.h"
#include "staging.h"

static struct catalog *cat;

static int setup(void **state)
{
	(void)state;
	log_level_set(LOG_LEVEL_ERROR);
	staging_begin();
	put("/keep", "x");
	dir("/d");
	put("/d/f", "f");
	struct catalog_options o = { .staging = at(""), .largest_file = 1 << 20, .watch = true, .threads = 2 };
	assert_int_equal(catalog_open(&cat, &o), ERR_OK);
	assert_int_equal(catalog_refresh(cat, path_root()), ERR_OK);
	assert_true(catalog_watching(cat));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	catalog_close(cat);
	staging_end();
	return 0;
}

/* "" if there is nothing, otherwise the state; of a file that can be read, its size behind. */
static void state_text(const char *path, char out[40])
{
	struct arena *a = arena_new();
	struct catalog_entry e;
	out[0] = 0;
	if (catalog_get(cat, P(path), &e, a) == ERR_OK)
		snprintf(out, 40, "%s %llu", e.is_dir ? "dir" : state_name(e.state), (unsigned long long)e.st.size);
	arena_free(a);
}

/* Within five seconds: soon after an event, and a staging directory that was gone for a moment is looked for every two. */
static void becomes(const char *path, const char *want)
{
	char is[40];
	int64_t until = clock_boot() + 5 * CLOCK_SECOND;
	uint64_t seen = 0;
	for (;;) {
		state_text(path, is);
		if (strcmp(is, want) == 0)
			return;
		if (clock_boot() > until)
			break;
		seen = catalog_wait(cat, seen, CLOCK_SECOND / 10);
	}
	assert_string_equal(is, want);
}

/* What was done before the question is in the answer. */
static void is_now(const char *path, const char *want)
{
	char is[40];
	assert_int_equal(catalog_refresh(cat, path_root()), ERR_OK);
	state_text(path, is);
	assert_string_equal(is, want);
}

static void files_come_change_and_go(void **state)
{
	(void)state;
	put("/new", "12");
	becomes("/new", "unsigned 2");
	put("/new", "123");
	becomes("/new", "unsigned 3");
	unlink(at("/new"));
	becomes("/new", "");
	put("/d/f", "ffff");
	becomes("/d/f", "unsigned 4");
	assert_int_equal(rename(at("/d/f"), at("/g")), 0);
	becomes("/g", "unsigned 4");
	becomes("/d/f", "");
	put("/d/tmp", "by rename");
	assert_int_equal(rename(at("/d/tmp"), at("/g")), 0);
	becomes("/g", "unsigned 9");
	/* Still open, and written to from time to time. */
	int fd = open(at("/open"), O_WRONLY | O_CREAT, 0644);
	assert_int_equal(write(fd, "a", 1), 1);
	becomes("/open", "unsigned 1");
	assert_int_equal(write(fd, "b", 1), 1);
	becomes("/open", "unsigned 2");
	close(fd);
	assert_int_equal(symlink("x", at("/link")), 0);
	becomes("/link", "unpublishable 0");
}

static void directories_come_move_and_go(void **state)
{
	(void)state;
	dir("/n");
	dir("/n/deep");
	put("/n/deep/f", "1");
	becomes("/n/deep/f", "unsigned 1");
	put("/n/deep/g", "22");
	becomes("/n/deep/g", "unsigned 2");
	/* Renamed, and written to under the new name. */
	assert_int_equal(rename(at("/n"), at("/m")), 0);
	becomes("/m/deep/f", "unsigned 1");
	becomes("/n", "");
	put("/m/deep/f", "333");
	becomes("/m/deep/f", "unsigned 3");
	/* Away and another one with the same name at once. */
	assert_int_equal(rename(at("/m"), at("/a")), 0);
	dir("/m");
	dir("/m/deep");
	put("/m/deep/f", "4444");
	becomes("/m/deep/f", "unsigned 4");
	becomes("/a/deep/f", "unsigned 3");
	put("/m/deep/f", "55555");
	becomes("/m/deep/f", "unsigned 5");
	put("/a/deep/f", "666666");
	becomes("/a/deep/f", "unsigned 6");
	/* Out of staging: what is written there does not concern us; in again, it does. */
	char out[128];
	snprintf(out, sizeof out, "%s/out", top);
	assert_int_equal(rename(at("/a"), out), 0);
	becomes("/a/deep/f", "");
	dir("/a");
	dir("/a/deep");
	put("/a/deep/f", "7777777");
	becomes("/a/deep/f", "unsigned 7");
	put("/a/deep/f", "88888888");
	becomes("/a/deep/f", "unsigned 8");
	assert_int_equal(file_remove_tree(AT_FDCWD, at("/a")), ERR_OK);
	becomes("/a", "");
	assert_int_equal(rename(out, at("/a")), 0);
	becomes("/a/deep/f", "unsigned 6");
	put("/a/deep/f", "9");
	becomes("/a/deep/f", "unsigned 1");
	/* Swapped: a file and a directory change names. */
	assert_int_equal(rename(at("/a/deep"), at("/tmp")), 0);
	assert_int_equal(rename(at("/keep"), at("/a/deep")), 0);
	assert_int_equal(rename(at("/tmp"), at("/keep")), 0);
	becomes("/a/deep", "unsigned 1");
	becomes("/keep/f", "unsigned 1");
	put("/keep/f", "22");
	becomes("/keep/f", "unsigned 2");
}

static void a_question_waits_for_what_was_done(void **state)
{
	(void)state;
	char bytes[300] = "";
	for (int i = 1; i < 200; i++) {
		char want[40];
		memset(bytes, 'x', (size_t)i);
		put(i % 2 ? "/d/q" : "/q", bytes);
		snprintf(want, sizeof want, "unsigned %d", i);
		is_now(i % 2 ? "/d/q" : "/q", want);
	}
	for (int i = 0; i < 50; i++) {
		dir("/r");
		dir("/r/s");
		put("/r/s/f", "1");
		is_now("/r/s/f", "unsigned 1");
		assert_int_equal(file_remove_tree(AT_FDCWD, at("/r")), ERR_OK);
		is_now("/r", "");
	}
}

static void quiet_costs_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++) {
		char path[40];
		snprintf(path, sizeof path, "/d/many%d", i);
		put(path, "x");
	}
	assert_int_equal(catalog_refresh(cat, path_root()), ERR_OK);
	clock_sleep(700000);
	assert_int_equal(catalog_refresh(cat, path_root()), ERR_OK);
	uint64_t generation = catalog_generation(cat, path_root());
	int64_t start = clock_boot();
	for (int i = 0; i < 1000; i++)
		assert_int_equal(catalog_refresh(cat, path_root()), ERR_OK);
	assert_true(clock_boot() - start < CLOCK_SECOND / 4);
	assert_int_equal(catalog_generation(cat, path_root()), generation);
}

static void events_that_are_lost(void **state)
{
	(void)state;
	/*
	 * More than the kernel keeps (16,384), while the watcher waits for the lock that an act holds. Files that take turns
	 * cannot be merged into one event.
	 */
	bool good = true;
	put("/d/first", "1");
	catalog_batch_begin(cat); /* no assertion until its end: a failing one would leave the lock behind */
	clock_sleep(100000);
	for (int i = 0; i < 24000 && good; i++) {
		int fd = open(at(i % 2 ? "/d/a" : "/keep"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
		good = fd >= 0 && write(fd, "x", 1) == 1;
		if (fd >= 0)
			close(fd);
	}
	catalog_batch_end(cat);
	assert_true(good);
	put("/d/last", "last");
	is_now("/d/last", "unsigned 4");
	put("/d/last", "later");
	becomes("/d/last", "unsigned 5");
}

static void staging_is_replaced(void **state)
{
	(void)state;
	char away[128];
	snprintf(away, sizeof away, "%s/away", top);
	assert_int_equal(rename(at(""), away), 0);
	dir("");
	dir("/d");
	put("/d/f", "new one");
	becomes("/d/f", "unsigned 7");
	becomes("/keep", "");
	put("/d/f", "new two..");
	becomes("/d/f", "unsigned 9");
	assert_int_equal(file_remove_tree(AT_FDCWD, at("")), ERR_OK);
	assert_int_equal(rename(away, at("")), 0);
	is_now("/keep", "unsigned 1");
	put("/d/f", "x");
	becomes("/d/f", "unsigned 1");
}

static _Atomic bool stop;

static void *keep_writing(void *arg)
{
	(void)arg;
	int fd = open(at("/busy"), O_WRONLY | O_CREAT, 0644);
	for (unsigned i = 0; !stop; i++)
		if (pwrite(fd, &i, sizeof i, (off_t)(i * 7 % 900000)) < 0)
			abort();
	close(fd);
	return NULL;
}

/* A file that is written to without a pause does not keep the others from being seen, and is seen when it rests. */
static void a_file_that_is_being_written(void **state)
{
	(void)state;
	pthread_t t;
	stop = false;
	assert_int_equal(pthread_create(&t, NULL, keep_writing, NULL), 0);
	clock_sleep(300000);
	put("/d/other", "12");
	becomes("/d/other", "unsigned 2");
	stop = true;
	pthread_join(t, NULL);
	assert_int_equal(truncate(at("/busy"), 900000), 0);
	becomes("/busy", "unsigned 900000");
}

static void *stir(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	char a[200], b[200];
	while (!stop) {
		seed = seed * 1103515245 + 12345;
		snprintf(a, sizeof a, "%s/s/x%u/y%u", top, (seed >> 16) % 3, (seed >> 20) % 3);
		snprintf(b, sizeof b, "%s/s/x%u", top, (seed >> 24) % 3);
		switch ((seed >> 12) % 6) {
		case 0:
			(void)mkdir(b, 0755);
			break;
		case 1:
			(void)mkdir(a, 0755);
			break;
		case 2:
			(void)rename(a, b);
			break;
		case 3:
			(void)rename(b, a);
			break;
		case 4:
			if (file_remove_tree(AT_FDCWD, a))
				continue; /* the other one got in between */
			break;
		default: {
			char f[300];
			snprintf(f, sizeof f, "%s/f%u", (seed >> 28) % 2 ? a : b, (seed >> 26) % 4);
			int fd = open(f, O_WRONLY | O_CREAT | O_TRUNC, 0644);
			if (fd >= 0) {
				if (write(fd, f, (seed >> 22) % 9) < 0)
					abort();
				close(fd);
			}
		}
		}
	}
	return NULL;
}

static bool to_text(void *arg, const struct catalog_entry *e)
{
	buf_fmt(arg, "%s %llu\n", e->path.s, (unsigned long long)e->st.size);
	return true;
}

static void all_files(struct buf *b)
{
	struct catalog_query q = { .dir = path_root(), .recursive = true };
	buf_reset(b);
	assert_int_equal(catalog_list(cat, &q, NULL, to_text, b), ERR_OK);
}

/* The watched catalog has what a new one reads. */
static void as_if_new(void)
{
	assert_int_equal(catalog_refresh(cat, path_root()), ERR_OK);
	struct buf watched = BUF_INIT(1 << 20), fresh = BUF_INIT(1 << 20);
	all_files(&watched);
	struct catalog *old = cat;
	struct catalog_options o = { .staging = at(""), .largest_file = 1 << 20, .threads = 2 };
	assert_int_equal(catalog_open(&cat, &o), ERR_OK);
	assert_int_equal(catalog_scan(cat, path_root()), ERR_OK);
	all_files(&fresh);
	catalog_close(cat);
	cat = old;
	assert_string_equal(buf_text(&watched), buf_text(&fresh));
	buf_release(&watched);
	buf_release(&fresh);
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
static atomic_int opened;
static int slow_one;
static bool comes_again;

/* The one that is slow has opened its directory: another thread goes on, while somebody moves directories. */
static void be_slow(const char *name)
{
	if (strcmp(name, "dir_opened") != 0)
		return;
	int mine = ++opened;
	if (mine != slow_one)
		return;
	if (rename(at("/p/c"), at("/x/c")) != 0)
		abort();
	if (comes_again) {
		dir("/p/c");
		put("/p/c/g", "another");
	}
	int64_t until = clock_boot() + CLOCK_SECOND / 10;
	while (clock_boot() < until && opened < mine + 3)
		clock_sleep(1000);
	clock_sleep(10000);
}

/* One thread has opened a directory that another one, which reads the names above it, finds gone, or replaced. */
static void one_overtakes_the_other(void **state)
{
	(void)state;
	for (slow_one = 1; slow_one <= 12; slow_one++)
		for (int again = 0; again < 2; again++) {
			comes_again = again;
			dir("/p");
			dir("/p/c");
			put("/p/c/f", "1");
			dir("/x");
			as_if_new();
			/* Events in this order: what is looked at has enough for two, and the directory above comes last. */
			put("/p/f", "4");
			put("/p/c/f", "22");
			put("/p/c/h", "3");
			for (int i = 0; i < 3; i++) {
				char sub[16];
				snprintf(sub, sizeof sub, "/x/%d", i);
				dir(sub);
			}
			opened = 0;
			failpoint_hook = be_slow;
			assert_int_equal(catalog_refresh(cat, path_root()), ERR_OK);
			failpoint_hook = NULL;
			as_if_new();
			assert_int_equal(file_remove_tree(AT_FDCWD, at("/p")), ERR_OK);
			assert_int_equal(file_remove_tree(AT_FDCWD, at("/x")), ERR_OK);
			as_if_new();
		}
}
#endif

/* Directories renamed, removed and made at random by two. */
static void stirred(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 8; round++) {
		pthread_t t[2];
		stop = false;
		assert_int_equal(pthread_create(&t[0], NULL, stir, (void *)(uintptr_t)(round * 2 + 1)), 0);
		assert_int_equal(pthread_create(&t[1], NULL, stir, (void *)(uintptr_t)(round * 2 + 2)), 0);
		for (int i = 0; i < 10; i++) {
			clock_sleep(20000);
			assert_int_equal(catalog_refresh(cat, path_root()), ERR_OK);
		}
		stop = true;
		pthread_join(t[0], NULL);
		pthread_join(t[1], NULL);
		as_if_new();
	}
}

/* In a program of its own, in a user namespace where only three directories can be watched. */
static int look_with_few_watches(const char *where)
{
	snprintf(top, sizeof top, "%s", where);
	log_level_set(LOG_LEVEL_ERROR);
	if (unshare(CLONE_NEWUSER) != 0)
		return 77;
	int fd = open("/proc/sys/user/max_inotify_watches", O_WRONLY);
	if (fd < 0 || write(fd, "3", 1) != 1)
		return 77;
	close(fd);
	struct catalog_options o = { .staging = at(""), .largest_file = 1 << 20, .watch = true, .threads = 2 };
	if (catalog_open(&cat, &o) || catalog_refresh(cat, path_root()))
		return 10;
	if (catalog_watching(cat))
		return 11; /* it would say that a listing needs no look */
	char text[40];
	put("/w3/f", "22");
	if (catalog_refresh(cat, path_root()))
		return 12;
	state_text("/w3/f", text);
	if (strcmp(text, "unsigned 2") != 0)
		return 13;
	/* Fewer directories: all of them can be watched again. */
	for (int i = 0; i < 6; i++) {
		char path[20];
		snprintf(path, sizeof path, "/w%d", i);
		if (file_remove_tree(AT_FDCWD, at(path)))
			return 14;
	}
	if (catalog_scan(cat, path_root()) || catalog_scan(cat, path_root()))
		return 15;
	if (!catalog_watching(cat))
		return 16;
	catalog_close(cat);
	return 0;
}

static void too_few_watches(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++) {
		char path[20];
		snprintf(path, sizeof path, "/w%d", i);
		dir(path);
		snprintf(path, sizeof path, "/w%d/f", i);
		put(path, "1");
	}
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		execl("/proc/self/exe", "watch_test", "few", top, (char *)NULL);
		_exit(9);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		print_message("no user namespaces here: running out of watches is not tried\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "few") == 0)
		return look_with_few_watches(argv[2]);

	const struct CMUnitTest tests[] = {
		TEST(files_come_change_and_go),
		TEST(directories_come_move_and_go),
		TEST(a_question_waits_for_what_was_done),
		TEST(quiet_costs_nothing),
		TEST(events_that_are_lost),
		TEST(staging_is_replaced),
		TEST(a_file_that_is_being_written),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		TEST(one_overtakes_the_other),
#endif
		TEST(stirred),
		TEST(too_few_watches),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
