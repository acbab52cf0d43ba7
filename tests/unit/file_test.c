/*
 * file and sys: whole files of our own, and each writing call that fails in turn.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"

static char dir[64];
static int dirfd_;

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/drydock-file-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(dirfd_);
	return file_remove_tree(AT_FDCWD, dir) != ERR_OK;
}

static void assert_content(const char *name, const char *want)
{
	struct buf b = BUF_INIT(10000);

	assert_ok(file_read(dirfd_, name, &b));
	assert_string_equal(buf_text(&b), want);
	buf_release(&b);
}

static void test_write(void **state)
{
	struct stat st;

	(void)state;
	assert_ok(file_write(dirfd_, "a", "one", 3, 0640));
	assert_content("a", "one");
	assert_int_equal(fstatat(dirfd_, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_ok(file_write_fast(dirfd_, "a", "two", 3, 0644));
	assert_content("a", "two");
	assert_int_equal(fstatat(dirfd_, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_ok(file_write(dirfd_, "a", "", 0, 0600));
	assert_content("a", "");
	/* replacing a link replaces the link */
	assert_int_equal(symlinkat("/etc/passwd", dirfd_, "link"), 0);
	assert_ok(file_write(dirfd_, "link", "x", 1, 0600));
	assert_int_equal(fstatat(dirfd_, "link", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));
	char name[200];
	snprintf(name, sizeof(name), "%s/b", dir);
	assert_ok(file_write(AT_FDCWD, name, "abs", 3, 0600));
	assert_content("b", "abs");
	memset(name, 'n', 150);
	name[150] = '\0';
	assert_ok(file_write(dirfd_, name, "long", 4, 0600));
	assert_err(ERR_NOT_FOUND, file_write(dirfd_, "no/such", "x", 1, 0600));
	assert_err(ERR_INPUT, file_write(dirfd_, "a/", "x", 1, 0600));
	assert_err(ERR_INPUT, file_write(dirfd_, "", "x", 1, 0600));
}

static void test_read(void **state)
{
	struct buf b = BUF_INIT(3);

	(void)state;
	assert_err(ERR_NOT_FOUND, file_read(dirfd_, "none", &b));
	assert_non_null(strstr(err_text(), "none"));
	assert_ok(file_write(dirfd_, "four", "1234", 4, 0600));
	assert_err(ERR_TOO_BIG, file_read(dirfd_, "four", &b));
	buf_release(&b);
	assert_true(file_exists(dirfd_, "four"));
	assert_false(file_exists(dirfd_, "five"));
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/* Whichever call fails, the old content or the new one is there, and no temporary file stays behind. */
static void test_each_failure(void **state)
{
	int failures = 0;

	(void)state;
	assert_ok(file_write(dirfd_, "kept", "old", 3, 0600));
	for (long n = 1; n < 20; n++) {
		struct buf b = BUF_INIT(10);
		failpoint_arm(FAILPOINT_SYS, 0, (int)(n), ENOSPC);
		enum err e = file_write(dirfd_, "kept", "new", 3, 0600);
		failpoint_arm(FAILPOINT_NOTHING, 0, 0, 0);
		assert_ok(file_read(dirfd_, "kept", &b));
		if (e) {
			failures++;
			assert_int_equal(e, ERR_FAILED);
			assert_non_null(strstr(err_text(), "No space left"));
			assert_true(strcmp(buf_text(&b), "old") == 0 || strcmp(buf_text(&b), "new") == 0);
		} else {
			assert_string_equal(buf_text(&b), "new");
		}
		buf_release(&b);
		assert_ok(file_write(dirfd_, "kept", "old", 3, 0600));
	}
	/* open, write, fchmod, fsync, close, rename, fsync of the directory */
	assert_int_equal(failures, 7);
}

static void test_no_remains(void **state)
{
	(void)state;
	assert_int_equal(mkdirat(dirfd_, "alone", 0700), 0);
	for (long n = 1; n <= 6; n++) {
		failpoint_arm(FAILPOINT_SYS, 0, (int)(n), EIO);
		assert_err(ERR_FAILED, file_write(dirfd_, "alone/f", "x", 1, 0600));
		failpoint_arm(FAILPOINT_NOTHING, 0, 0, 0);
	}
	/* empty: rmdir says so */
	assert_int_equal(unlinkat(dirfd_, "alone", AT_REMOVEDIR), 0);
}
#endif

static void test_mkdirs(void **state)
{
	char path[200];
	struct stat st;

	(void)state;
	snprintf(path, sizeof(path), "%s/m/n//o/", dir);
	assert_ok(file_mkdirs(path, 0750));
	assert_ok(file_mkdirs(path, 0750));
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_ok(file_mkdirs("/", 0755));
	assert_ok(file_mkdirs(".", 0755));
	assert_ok(file_write(dirfd_, "plainfile", "", 0, 0600));
	snprintf(path, sizeof(path), "%s/plainfile", dir);
	assert_err(ERR_FAILED, file_mkdirs(path, 0750));
	snprintf(path, sizeof(path), "%s/plainfile/x", dir);
	assert_err(ERR_FAILED, file_mkdirs(path, 0750));
	assert_err(ERR_FAILED, file_mkdirs("", 0750));
}

static void test_remove_tree(void **state)
{
	(void)state;
	assert_ok(file_remove_tree(dirfd_, "missing"));
	assert_ok(file_write(dirfd_, "outside", "stays", 5, 0600));
	assert_int_equal(mkdirat(dirfd_, "keep", 0700), 0);
	assert_ok(file_write(dirfd_, "keep/f", "stays", 5, 0600));
	assert_int_equal(mkdirat(dirfd_, "tree", 0700), 0);
	int fd = openat(dirfd_, "tree", O_RDONLY | O_DIRECTORY);
	assert_int_equal(symlinkat("../keep", fd, "link"), 0);
	for (int i = 0; i < 2000; i++) {
		char name[32];
		snprintf(name, sizeof(name), "f%d", i);
		assert_ok(file_write_fast(fd, name, "x", 1, 0600));
	}
	/* deeper than the descriptors that are held, and than a path may be long */
	int at = dup(fd);
	for (int i = 0; i < 2500; i++) {
		assert_int_equal(mkdirat(at, "deep", 0700), 0);
		if (i % 500 == 0)
			assert_ok(file_write_fast(at, "f", "x", 1, 0600));
		int next = openat(at, "deep", O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	close(at);
	close(fd);
	assert_ok(file_remove_tree(dirfd_, "tree"));
	assert_false(file_exists(dirfd_, "tree"));
	assert_content("keep/f", "stays");
	/* a link is removed, not followed; a file too */
	assert_int_equal(symlinkat("keep", dirfd_, "tolink"), 0);
	assert_ok(file_remove_tree(dirfd_, "tolink"));
	assert_content("keep/f", "stays");
	assert_ok(file_remove_tree(dirfd_, "outside"));
	assert_false(file_exists(dirfd_, "outside"));
}

static void test_sys(void **state)
{
	struct stat st;

	(void)state;
	int fd = sys_open(dirfd_, "s", O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(sys_pwrite_all(fd, "abc", 3, 2), 0);
	assert_int_equal(sys_ftruncate(fd, 4), 0);
	assert_int_equal(sys_futimens(fd, INT64_C(1795241420123456789)), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(st.st_mtim.tv_sec, 1795241420);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	assert_int_equal(sys_futimens(fd, -1), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, -1);
	assert_int_equal(st.st_mtim.tv_nsec, 999999999);
	assert_int_equal(sys_symlink("s", dirfd_, "s3"), 0);
	assert_int_equal(sys_mkdir(dirfd_, "s4", 0700), 0);
	assert_int_equal(sys_unlink(dirfd_, "s4", AT_REMOVEDIR), 0);
	assert_int_equal(sys_fdatasync(fd), 0);
	assert_int_equal(sys_syncfs(fd), 0);
#ifdef DRYDOCK_ENABLE_FAILPOINTS
	/* the second call from now fails, once */
	failpoint_arm(FAILPOINT_SYS, 0, (int)(2), EIO);
	assert_int_equal(sys_fsync(fd), 0);
	errno = 0;
	assert_int_equal(sys_fsync(fd), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(sys_fsync(fd), 0);
	/* a close that fails has closed */
	failpoint_arm(FAILPOINT_SYS, 0, (int)(1), EIO);
	assert_int_equal(sys_close(fd), -1);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_read),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test(test_each_failure),
		cmocka_unit_test(test_no_remains),
#endif
		cmocka_unit_test(test_mkdirs),
		cmocka_unit_test(test_remove_tree),
		cmocka_unit_test(test_sys),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
