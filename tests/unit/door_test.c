/* The door to the staging tree: what it lets through, what it refuses, and with which reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "stage/door.h"

#define MIB (UINT64_C(1) << 20)

static char top[64]; /* private directory; staging is top/s */
static struct door *door;

static const char *at(const char *name)
{
	static char text[16][512];
	static unsigned i;
	char *s = text[i++ % 16];
	snprintf(s, sizeof text[0], "%s/s/%s", top, name);
	return s;
}

static void put(const char *name, const char *bytes)
{
	int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof top, "/tmp/drydock-door-XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(chmod(top, 0755), 0);
	assert_int_equal(mkdir(at(""), 0755), 0);
	assert_int_equal(door_open(&door, at("."), 64 * MIB), ERR_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	door_close(door);
	assert_int_equal(file_remove_tree(AT_FDCWD, top), ERR_OK);
	return 0;
}

static struct path P(const char *s)
{
	struct path p;
	assert_int_equal(path_check(&p, s), ERR_OK);
	return p;
}

/* Reads; the problem if it is refused, -1 if it is not there. */
static int problem_at(const char *s)
{
	struct fingerprint print;
	enum problem problem = PROBLEM_COUNT;
	enum err e = door_read(door, P(s), &print, NULL, &problem, NULL, NULL);
	if (e == ERR_NOT_FOUND)
		return -1;
	if (e == ERR_OK)
		assert_int_equal(problem, PROBLEM_NONE);
	else
		assert_int_equal(e, problem == PROBLEM_BUSY ? ERR_BUSY : ERR_INPUT);
	return (int)problem;
}

static enum err gather(void *arg, const void *p, size_t n, uint64_t size)
{
	(void)size;
	if (!p)
		buf_reset(arg);
	else
		buf_add(arg, p, n);
	return ERR_OK;
}

static void reads_a_file_once(void **state)
{
	(void)state;
	put("a.txt", "hello\n");
	struct fingerprint print;
	struct stage_stat st;
	enum problem problem;
	struct buf got = BUF_INIT(1000);
	assert_int_equal(door_read(door, P("/a.txt"), &print, &st, &problem, gather, &got), ERR_OK);
	char hex[SHA256_HEX];
	hex_of(hex, print.sha256.b, 32);
	assert_string_equal(hex, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
	hex_of(hex, print.md5.b, 16);
	assert_string_equal(hex, "b1946ac92492d2347c6235b4d2611184");
	assert_int_equal(print.size, 6);
	assert_false(print.exec);
	assert_int_equal(st.size, 6);
	assert_string_equal(buf_text(&got), "hello\n");
	buf_release(&got);

	assert_int_equal(chmod(at("a.txt"), 0744), 0);
	assert_int_equal(door_read(door, P("/a.txt"), &print, &st, NULL, NULL, NULL), ERR_OK);
	assert_true(print.exec && st.exec);

	put("empty", "");
	assert_int_equal(door_read(door, P("/empty"), &print, NULL, NULL, NULL, NULL), ERR_OK);
	hex_of(hex, print.sha256.b, 32);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(problem_at("/nothing"), -1);
	assert_int_equal(problem_at("/a.txt/below"), -1);
}

static void refuses_links_at_each_level(void **state)
{
	(void)state;
	mkdir(at("d"), 0755);
	mkdir(at("d/e"), 0755);
	put("d/e/f", "x");
	assert_int_equal(symlink("f", at("d/e/last")), 0);
	assert_int_equal(symlink("e", at("d/middle")), 0);
	assert_int_equal(symlink("d", at("first")), 0);
	assert_int_equal(symlink("/etc", at("outside")), 0);
	assert_int_equal(symlink("/etc/passwd", at("passwd")), 0);
	assert_int_equal(symlink("../..", at("d/up")), 0);
	assert_int_equal(symlink("/proc/self/fd/0", at("magic")), 0);
	assert_int_equal(symlink("gone", at("dangling")), 0);
	assert_int_equal(problem_at("/d/e/f"), PROBLEM_NONE);
	assert_int_equal(problem_at("/d/e/last"), PROBLEM_SYMLINK);
	assert_int_equal(problem_at("/d/middle/f"), PROBLEM_SYMLINK);
	assert_int_equal(problem_at("/first/e/f"), PROBLEM_SYMLINK);
	assert_int_equal(problem_at("/outside/passwd"), PROBLEM_SYMLINK);
	assert_int_equal(problem_at("/passwd"), PROBLEM_SYMLINK);
	assert_int_equal(problem_at("/d/up/s/d/e/f"), PROBLEM_SYMLINK);
	assert_int_equal(problem_at("/magic"), PROBLEM_SYMLINK);
	assert_int_equal(problem_at("/dangling"), PROBLEM_SYMLINK);
	struct path p;
	assert_int_equal(path_check(&p, "/../x"), ERR_INPUT);
	assert_int_equal(path_check(&p, "/d/../../x"), ERR_INPUT);
	/* A path that passed no check stays beneath all the same. */
	put("../outside-file", "secret");
	p = (struct path){ "/../outside-file", 16 };
	struct fingerprint print;
	assert_int_not_equal(door_read(door, p, &print, NULL, NULL, NULL, NULL), ERR_OK);
	p = (struct path){ "/d/../../outside-file", 21 };
	assert_int_not_equal(door_read(door, p, &print, NULL, NULL, NULL, NULL), ERR_OK);
	p = (struct path){ "//etc/passwd", 12 };
	assert_int_not_equal(door_read(door, p, &print, NULL, NULL, NULL, NULL), ERR_OK);
}

static void refuses_what_is_no_plain_file(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(at("fifo"), 0644), 0);
	assert_int_equal(problem_at("/fifo"), PROBLEM_SPECIAL);

	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	snprintf(sa.sun_path, sizeof sa.sun_path, "%s", at("sock"));
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(s, (struct sockaddr *)&sa, sizeof sa), 0);
	assert_int_equal(problem_at("/sock"), PROBLEM_SPECIAL);
	close(s);

	if (mknod(at("zero"), S_IFCHR | 0644, makedev(1, 5)) == 0)
		assert_int_equal(problem_at("/zero"), PROBLEM_SPECIAL);
	else
		print_message("no right to make a device: the socket stands for it\n");

	put("one", "x");
	assert_int_equal(link(at("one"), at("two")), 0);
	assert_int_equal(problem_at("/one"), PROBLEM_HARDLINK);
	assert_int_equal(problem_at("/two"), PROBLEM_HARDLINK);
	unlink(at("two"));
	assert_int_equal(problem_at("/one"), PROBLEM_NONE);

	mkdir(at("dir"), 0755);
	assert_int_equal(problem_at("/dir"), -1);
	assert_int_equal(problem_at("/"), -1);

	/* A mount point: the file system inside is not the site's. */
	mkdir(at("mnt"), 0755);
	if (mount("none", at("mnt"), "tmpfs", 0, "size=64k") == 0) {
		put("mnt/f", "x");
		assert_int_equal(problem_at("/mnt/f"), PROBLEM_OTHER_FS);
		int fd;
		enum problem problem;
		assert_int_equal(door_dir_open(door, P("/mnt"), &fd, &problem), ERR_INPUT);
		assert_int_equal(problem, PROBLEM_OTHER_FS);
		umount(at("mnt"));
	} else {
		print_message("no right to mount: mount points are not tried\n");
	}
}

static void five_gigabytes_are_not_read(void **state)
{
	(void)state;
	put("huge", "");
	assert_int_equal(truncate(at("huge"), INT64_C(5) << 30), 0);
	int64_t start = clock_boot();
	assert_int_equal(problem_at("/huge"), PROBLEM_TOO_BIG);
	assert_true(clock_boot() - start < CLOCK_SECOND / 10);
	assert_int_equal(truncate(at("huge"), (off_t)(64 * MIB)), 0);
	assert_int_equal(problem_at("/huge"), PROBLEM_NONE);
	assert_int_equal(truncate(at("huge"), (off_t)(64 * MIB + 1)), 0);
	assert_int_equal(problem_at("/huge"), PROBLEM_TOO_BIG);
}

/* Root may read everything, so the look is taken as somebody else, in a child. */
static void unreadable(void **state)
{
	(void)state;
	put("shut", "x");
	mkdir(at("closed"), 0755);
	put("closed/f", "x");
	assert_int_equal(chmod(at("shut"), 0), 0);
	assert_int_equal(chmod(at("closed"), 0), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0))
			_exit(10);
		struct fingerprint print;
		enum problem problem;
		int fd;
		if (door_read(door, P("/shut"), &print, NULL, &problem, NULL, NULL) != ERR_INPUT || problem != PROBLEM_UNREADABLE)
			_exit(11);
		if (door_read(door, P("/closed/f"), &print, NULL, &problem, NULL, NULL) != ERR_INPUT || problem != PROBLEM_UNREADABLE)
			_exit(12);
		if (door_dir_open(door, P("/closed"), &fd, &problem) != ERR_INPUT || problem != PROBLEM_UNREADABLE)
			_exit(13);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	chmod(at("closed"), 0755);
}

static atomic_bool writing;

static void *keep_writing(void *arg)
{
	(void)arg;
	int fd = open(at("moving"), O_WRONLY);
	for (unsigned i = 0; atomic_load(&writing); i++)
		if (pwrite(fd, &i, sizeof i, (off_t)(i % 1000)) < 0)
			break;
	close(fd);
	return NULL;
}

static enum err slow(void *arg, const void *p, size_t n, uint64_t size)
{
	(void)n;
	(void)size;
	if (!p)
		++*(int *)arg;
	clock_sleep(20000); /* so that the writer surely gets in between */
	return ERR_OK;
}

static void changes_while_it_is_read(void **state)
{
	(void)state;
	put("moving", "");
	assert_int_equal(truncate(at("moving"), 300000), 0);
	atomic_store(&writing, true);
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, keep_writing, NULL), 0);
	clock_sleep(20000);
	int again = 0;
	struct fingerprint print;
	enum problem problem;
	assert_int_equal(door_read(door, P("/moving"), &print, NULL, &problem, slow, &again), ERR_BUSY);
	assert_int_equal(problem, PROBLEM_BUSY);
	assert_int_equal(again, 2);
	atomic_store(&writing, false);
	pthread_join(t, NULL);
	assert_int_equal(problem_at("/moving"), PROBLEM_NONE);
}

static enum err refuse(void *arg, const void *p, size_t n, uint64_t size)
{
	(void)arg;
	(void)p;
	(void)n;
	(void)size;
	return err_set(ERR_FAILED, "the disk is full");
}

static void sinks_and_limits(void **state)
{
	(void)state;
	put("s", "0123456789");
	struct fingerprint print;
	assert_int_equal(door_read(door, P("/s"), &print, NULL, NULL, refuse, NULL), ERR_FAILED);
	assert_string_equal(err_text(), "the disk is full");
	struct buf b = BUF_INIT(10);
	assert_int_equal(door_read_all(door, P("/s"), &b, &print), ERR_OK);
	assert_string_equal(buf_text(&b), "0123456789");
	b.limit = 9;
	assert_int_equal(door_read_all(door, P("/s"), &b, &print), ERR_TOO_BIG);
	buf_release(&b);
}

struct seen {
	unsigned n, files, dirs, links, special;
};

static enum err list(const char *dir, struct seen *s)
{
	struct door_reader *r = door_reader_new();
	const struct door_entry *entries;
	enum problem problem;
	size_t n = 0;
	int fd = -1;
	enum err e = door_dir_open(door, P(dir), &fd, &problem);

	if (!e)
		e = door_dir_list(door, r, fd, &entries, &n);
	for (size_t i = 0; i < n; i++) {
		s->n++;
		s->files += entries[i].kind == ENTRY_FILE && entries[i].problem == PROBLEM_NONE;
		s->dirs += entries[i].kind == ENTRY_DIR;
		s->links += entries[i].problem == PROBLEM_SYMLINK;
		s->special += entries[i].problem == PROBLEM_SPECIAL;
	}
	door_reader_free(r);
	if (fd >= 0)
		close(fd);
	return e;
}

static void lists_every_name(void **state)
{
	(void)state;
	mkdir(at("l"), 0755);
	put("l/it's \"quoted\" <b>&amp;", "x");
	put("l/two\nlines", "x");
	put("l/bad\xff\xfeutf8", "x");
	put("l/.git", "x");
	put("l/\xe2\x80\x8c.GIT", "x");
	put("l/.hidden", "x");
	put("l/-rf", "x");
	mkdir(at("l/sub"), 0755);
	assert_int_equal(symlink("x", at("l/link")), 0);
	assert_int_equal(mkfifo(at("l/fifo"), 0644), 0);
	struct seen s = { 0 };
	assert_int_equal(list("/l", &s), ERR_OK);
	assert_int_equal(s.n, 10);
	assert_int_equal(s.files, 7);
	assert_int_equal(s.dirs, 1);
	assert_int_equal(s.links, 1);
	assert_int_equal(s.special, 1);
	assert_int_equal(problem_at("/l/it's \"quoted\" <b>&amp;"), PROBLEM_NONE);
	assert_int_equal(list("/l/-rf", &s), ERR_NOT_FOUND);
	assert_int_equal(list("/l/link", &s), ERR_NOT_FOUND);
}

static void follows_a_replaced_directory(void **state)
{
	(void)state;
	put("who", "old");
	char away[128], staging[128];
	snprintf(away, sizeof away, "%s/away", top);
	snprintf(staging, sizeof staging, "%s/s", top);
	unsigned moved = 7;
	assert_int_equal(door_check(door, &moved), ERR_OK);
	assert_int_equal(moved, 0);
	assert_int_equal(rename(staging, away), 0);
	struct buf b = BUF_INIT(100);
	assert_int_equal(door_read_all(door, P("/who"), &b, NULL), ERR_BUSY);
	assert_int_equal(mkdir(staging, 0755), 0);
	put("who", "new");
	assert_int_equal(door_read_all(door, P("/who"), &b, NULL), ERR_OK);
	assert_string_equal(buf_text(&b), "new");
	assert_int_equal(door_check(door, &moved), ERR_OK);
	assert_int_equal(moved, 1);
	buf_release(&b);
}

static void opening(void **state)
{
	(void)state;
	struct door *d;
	assert_int_equal(door_open(&d, "relative", MIB), ERR_INPUT);
	assert_non_null(strstr(err_text(), "absolute"));
	assert_int_equal(door_open(&d, at("not-there"), MIB), ERR_INPUT);
	assert_non_null(strstr(err_text(), "does not exist"));
	put("plain", "x");
	assert_int_equal(door_open(&d, at("plain"), MIB), ERR_INPUT);
	assert_non_null(strstr(err_text(), "not a directory"));
	assert_null(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening),
		cmocka_unit_test(reads_a_file_once),
		cmocka_unit_test(refuses_links_at_each_level),
		cmocka_unit_test(refuses_what_is_no_plain_file),
		cmocka_unit_test(five_gigabytes_are_not_read),
		cmocka_unit_test(unreadable),
		cmocka_unit_test(changes_while_it_is_read),
		cmocka_unit_test(sinks_and_limits),
		cmocka_unit_test(lists_every_name),
		cmocka_unit_test(follows_a_replaced_directory),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
