#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/confine.h"
#include "base/mem.h"
#include "base/spawn.h"

static void nothing(void *arg)
{
	(void)arg;
}

/* A shell line of the test's own; each test runs with and without work in the child. */
#define SHELL(line_) .argv = (const char *const[]){ "/bin/sh", "-c", line_, NULL }

static void test_output(void **state)
{
	struct spawn_result r;

	(void)state;
	for (int forked = 0; forked < 2; forked++) {
		struct buf out = BUF_INIT(1000), err = BUF_INIT(1000);
		struct spawn s = { SHELL("cat; echo err >&2; exit 3"), .input = "hello", .input_len = 5, .out = &out,
			.err_out = &err, .before_exec = forked ? nothing : NULL };
		assert_ok(spawn_run(&s, &r));
		assert_int_equal(r.status, 3);
		assert_false(r.timed_out || r.cancelled);
		assert_string_equal(buf_text(&out), "hello");
		assert_string_equal(buf_text(&err), "err\n");
		buf_release(&out);
		buf_release(&err);
	}
}

static void test_merged_and_dropped(void **state)
{
	struct buf out = BUF_INIT(1000);
	struct spawn_result r;
	struct spawn s = { SHELL("echo a; echo b >&2"), .out = &out };

	(void)state;
	assert_ok(spawn_run(&s, &r));
	assert_string_equal(buf_text(&out), "a\nb\n");
	s.out = NULL;
	assert_ok(spawn_run(&s, &r));
	assert_int_equal(r.status, 0);
	buf_release(&out);
}

/* Nothing of ours comes along: environment, directory, descriptors, signal mask, group. */
static void test_clean_start(void **state)
{
	struct spawn_result r;
	sigset_t mask, old;

	(void)state;
	int leak = open("/dev/null", O_RDONLY); /* no O_CLOEXEC: somebody else's library */
	int high = fcntl(leak, F_DUPFD, 700);
	assert_true(leak >= 0 && high >= 700);
	setenv("SECRET", "1", 1);
	sigfillset(&mask);
	pthread_sigmask(SIG_SETMASK, &mask, &old);
	void (*old_pipe)(int) = signal(SIGPIPE, SIG_IGN);
	for (int forked = 0; forked < 2; forked++) {
		struct buf out = BUF_INIT(10000);
		struct spawn s = { SHELL("cd /proc/$$ && pwd >/dev/null; set -- fd/*; echo fds $#; env | sort; "
			                 "grep -E '^SigIgn:' status; readlink cwd; awk '{print $1 - $5}' stat; read x; echo $?"),
			.out = &out, .cwd = "/usr", .before_exec = forked ? nothing : NULL };
		assert_ok(spawn_run(&s, &r));
		const char *text = buf_text(&out);
		assert_null(strstr(text, "SECRET"));
		assert_non_null(strstr(text, "LANG=C.UTF-8\n"));
		assert_non_null(strstr(text, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"));
		/* all but 32 and 33, which belong to the C library and stay as they were inherited */
		const char *ignored = strstr(text, "SigIgn:\t");
		assert_non_null(ignored);
		assert_int_equal(strtoull(ignored + 8, NULL, 16) & ~UINT64_C(0x180000000), 0);
		/* end of input at once, and the program leads its own group */
		assert_non_null(strstr(text, "\n0\n1\n"));
		/* 0, 1, 2 and the directory that the shell is reading */
		assert_int_equal(strncmp(text, "fds 4\n", 6), 0);
		/* of the program itself: a shell blocks signals now and then while it waits */
		buf_reset(&out);
		s.argv = (const char *const[]){ "grep", "SigBlk", "/proc/self/status", NULL };
		assert_ok(spawn_run(&s, &r));
		assert_string_equal(buf_text(&out), "SigBlk:\t0000000000000000\n");
		buf_reset(&out);
		s.argv = (const char *const[]){ "ls", "-1", "/proc/self/fd", NULL };
		assert_ok(spawn_run(&s, &r));
		assert_string_equal(buf_text(&out), "0\n1\n2\n3\n");
		buf_reset(&out);
		s.argv = (const char *const[]){ "pwd", NULL };
		s.env = (const char *const[]){ "A=b", NULL };
		assert_ok(spawn_run(&s, &r));
		assert_string_equal(buf_text(&out), "/usr\n");
		buf_reset(&out);
		s.argv = (const char *const[]){ "env", NULL };
		assert_ok(spawn_run(&s, &r));
		assert_string_equal(buf_text(&out), "A=b\n");
		buf_release(&out);
	}
	signal(SIGPIPE, old_pipe);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(leak);
	close(high);
}

static void no_new_privileges(void *arg)
{
	prctl(PR_SET_NO_NEW_PRIVS, *(const unsigned long *)arg, 0, 0, 0);
}

/* What is done before exec holds for the child and not for us. */
static void test_before_exec(void **state)
{
	struct buf out = BUF_INIT(10000);
	unsigned long one = 1;
	struct spawn_result r;
	struct spawn s = { .argv = (const char *const[]){ "grep", "NoNewPrivs", "/proc/self/status", NULL }, .out = &out,
		.before_exec = no_new_privileges, .before_arg = &one };

	(void)state;
	assert_ok(spawn_run(&s, &r));
	assert_string_equal(buf_text(&out), "NoNewPrivs:\t1\n");
	assert_int_equal(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	buf_release(&out);
}

static void test_no_program(void **state)
{
	struct spawn_result r;

	(void)state;
	for (int forked = 0; forked < 2; forked++) {
		struct spawn s = { .argv = (const char *const[]){ "no-such-program", NULL }, .before_exec = forked ? nothing : NULL };
		assert_err(ERR_NOT_FOUND, spawn_run(&s, &r));
		s.argv = (const char *const[]){ "/no/such/program", NULL };
		assert_err(ERR_NOT_FOUND, spawn_run(&s, &r));
		s.argv = (const char *const[]){ "/etc/passwd", NULL };
		assert_err(ERR_FAILED, spawn_run(&s, &r));
		assert_non_null(strstr(err_text(), "Permission denied"));
		s.argv = (const char *const[]){ "/bin/true", NULL };
		s.cwd = "/no/such/directory";
		assert_err(ERR_FAILED, spawn_run(&s, &r));
	}
	/* no child is left to be reaped */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_ceiling(void **state)
{
	struct buf out = BUF_INIT(1000);
	struct spawn_result r;
	struct spawn s = { SHELL("head -c 3000000 /dev/zero; exit 4"), .out = &out };

	(void)state;
	assert_ok(spawn_run(&s, &r));
	assert_int_equal(r.status, 4);
	assert_int_equal(out.len, 1000);
	assert_err(ERR_TOO_BIG, buf_check(&out));
	buf_release(&out);
}

static void test_deadline(void **state)
{
	struct spawn_result r;

	(void)state;
	for (int forked = 0; forked < 2; forked++) {
		struct spawn s = { SHELL("sleep 60 & sleep 60"), .deadline_us = CLOCK_SECOND / 5, .before_exec = forked ? nothing : NULL };
		int64_t start = clock_boot();
		assert_ok(spawn_run(&s, &r));
		assert_true(r.timed_out);
		assert_false(r.cancelled);
		assert_int_equal(r.status, 128 + SIGTERM);
		assert_in_range(clock_boot() - start, CLOCK_SECOND / 5, CLOCK_SECOND * 3 / 2);
	}
	/* one that takes no notice of SIGTERM, and one that never stops writing */
	static const char *const stubborn[] = { "trap '' TERM; while :; do sleep 1; done", "trap '' TERM; yes" };
	for (size_t i = 0; i < COUNT(stubborn); i++) {
		struct buf out = BUF_INIT(100);
		struct spawn s = { SHELL(stubborn[i]), .deadline_us = CLOCK_SECOND / 10, .out = &out };
		int64_t start = clock_boot();
		assert_ok(spawn_run(&s, &r));
		assert_true(r.timed_out);
		assert_int_equal(r.status, 128 + SIGKILL);
		assert_in_range(clock_boot() - start, 2 * CLOCK_SECOND, 4 * CLOCK_SECOND);
		buf_release(&out);
	}
}

/* A grandchild that keeps the pipe does not keep us, and goes with its group. */
static void test_grandchild(void **state)
{
	struct buf out = BUF_INIT(100);
	struct spawn_result r;
	struct spawn s = { SHELL("sleep 77 & echo $!; exit 5"), .out = &out };

	(void)state;
	int64_t start = clock_boot();
	assert_ok(spawn_run(&s, &r));
	assert_int_equal(r.status, 5);
	assert_false(r.timed_out || r.cancelled);
	assert_true(clock_boot() - start < 2 * CLOCK_SECOND);
	char proc[64];
	snprintf(proc, sizeof(proc), "/proc/%d/cmdline", atoi(buf_text(&out)));
	for (int i = 0; i < 100; i++) {
		struct buf cmd = BUF_INIT(1000);
		bool gone = file_read(AT_FDCWD, proc, &cmd) || !memmem(buf_text(&cmd), cmd.len, "sleep", 5);
		buf_release(&cmd);
		if (gone)
			break;
		if (i == 99)
			fail_msg("the grandchild lives on");
		clock_sleep(10000);
	}
	buf_release(&out);
}

static void *set_soon(void *flag)
{
	clock_sleep(100000);
	*(atomic_int *)flag = 1;
	return NULL;
}

static void test_cancel(void **state)
{
	atomic_int cancel = 0;
	struct spawn_result r;
	struct spawn s = { SHELL("sleep 60"), .cancel = &cancel };
	pthread_t t;

	(void)state;
	int64_t start = clock_boot();
	assert_int_equal(pthread_create(&t, NULL, set_soon, (void *)(uintptr_t)&cancel), 0);
	assert_ok(spawn_run(&s, &r));
	pthread_join(t, NULL);
	assert_true(r.cancelled);
	assert_false(r.timed_out);
	assert_true(clock_boot() - start < CLOCK_SECOND);
}

static bool stop_at_third(void *arg, const char *piece, size_t n)
{
	int *lines = arg;

	for (size_t i = 0; i < n; i++)
		*lines += piece[i] == '\n';
	return *lines < 3;
}

/* What a reader of hostile documents may not do, tried by a shell in its place: each try must fail. */
static void test_reader_is_shut_in(void **state)
{
	static const char *const TRIES[] = {
		"exec 3<>/dev/tcp/127.0.0.1/9", "echo x > /tmp/drydock-confine-test", "echo x > /dev/shm/drydock-confine-test", "(exit 0)", "kill -0 $PPID",
		"read x < /proc/$PPID/environ", "ulimit -v unlimited",
	};
	struct confine_reader jail = { .fd = -1, .memory = UINT64_C(1) << 30, .seconds = 5 };

	(void)state;
	assert_int_equal(confine_open(NULL, 0, &jail.fd), ERR_OK);
	for (size_t i = 0; i < sizeof TRIES / sizeof *TRIES; i++) {
		char *line = mem_printf("{ %s && echo it did; } 2>/dev/null; exit 3", TRIES[i]);
		const char *const argv[] = { "bash", "-c", line, NULL };
		struct buf out = BUF_INIT(4096), errors = BUF_INIT(4096);
		struct spawn s = { .argv = argv, .out = &out, .err_out = &errors, .deadline_us = 20 * CLOCK_SECOND, .before_exec = confine_reader,
			.before_arg = &jail };
		struct spawn_result r = { 0 };

		/* As root limits of processes do not hold: what is tried by that limit is not tried then. */
		if (geteuid() != 0 || strcmp(TRIES[i], "(exit 0)") != 0) {
			assert_int_equal(spawn_run(&s, &r), ERR_OK);
			if (out.len)
				fail_msg("%s: %s", TRIES[i], buf_text(&out));
		}
		buf_release(&out);
		buf_release(&errors);
		free(line);
	}
	/* what it is for still works */
	const char *const cat[] = { "cat", NULL };
	struct buf out = BUF_INIT(4096);
	struct spawn s = { .argv = cat, .out = &out, .input = "text", .input_len = 4, .before_exec = confine_reader, .before_arg = &jail };
	struct spawn_result r = { 0 };
	assert_int_equal(spawn_run(&s, &r), ERR_OK);
	assert_string_equal(buf_text(&out), "text");
	buf_release(&out);
	if (jail.fd >= 0)
		close(jail.fd);
}

/* What a kit may do to processes, tried by a shell in its place; `outside` is a process of somebody else. */
static void try_as_kit(const char *line, pid_t outside, const char *expected)
{
	char *script = mem_printf("O=%ld; %s", (long)outside, line);
	const char *const argv[] = { "sh", "-c", script, NULL };
	struct buf out = BUF_INIT(4096), errors = BUF_INIT(4096);
	struct confine_kit jail;
	struct spawn s = { .argv = argv, .out = &out, .err_out = &errors, .deadline_us = 20 * CLOCK_SECOND, .session = true, .before_exec = confine_kit,
		.before_arg = &jail, .watch = confine_kit_watch, .answer = confine_kit_answer };
	struct spawn_result r = { 0 };

	assert_ok(confine_kit_open(&jail, NULL, 0));
	assert_ok(spawn_run(&s, &r));
	if (strcmp(buf_text(&out), expected))
		fail_msg("%s: %s%s", line, buf_text(&out), buf_text(&errors));
	confine_kit_close(&jail);
	buf_release(&out);
	buf_release(&errors);
	free(script);
}

#define OWN_CHILD "sleep 60 & kill $! && wait $!; echo $?"
#define OWN_GROUP "trap 'echo mine' TERM; kill -TERM 0"

/* Only one can: nobody if something outside of us does, such as a container. */
static int listen_to_ourselves(void)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	const struct sock_fprog program = { 1, &all };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static bool can_be_asked(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(listen_to_ourselves() < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		print_message("something outside listens already: what a kit may do to its own is not tried\n");
	return !status;
}

static void test_kit_is_shut_in(void **state)
{
	static const char *const REFUSED[] = { "kill -0 $O", "kill -0 -$O", "kill -0 -1", "kill -0 $PPID", "setsid true", "prlimit -p $O --core=0:0", "renice 19 $O",
		"chrt -i -p 0 $O", "taskset -p 1 $O", "ionice -c 3 -p $O", "strace -o /dev/null true",
		"python3 -c 'import ctypes, os, sys; sys.exit(ctypes.CDLL(None).process_vm_writev(os.getpid(), None, 0, None, 0, 0))'" };
	pid_t outside = fork();

	(void)state;
	if (!outside) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setsid();
		pause();
		_exit(0);
	}
	assert_true(outside > 0);
	while (getsid(outside) != outside)
		usleep(1000);
	for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
		char *line = mem_printf("%s >/dev/null 2>&1 && echo it did; true", REFUSED[i]);

		try_as_kit(line, outside, "");
		free(line);
	}
	try_as_kit(OWN_GROUP, outside, "mine\n");
	if (can_be_asked()) {
		try_as_kit(OWN_CHILD, outside, "143\n");
		try_as_kit("timeout 0.1 sleep 60; echo $?", outside, "124\n");
		/* The group whose number has no positive one: nobody, and no overflow of ours. */
		try_as_kit("LC_ALL=C env kill -s 0 -- -2147483648 2>&1 | grep -c 'No such process'", outside, "1\n");
	}
	try_as_kit("ulimit -c 0 && nice -n 1 true && echo yes", outside, "yes\n");
	assert_int_equal(kill(outside, SIGKILL), 0);
	(void)waitpid(outside, NULL, 0);
}

/* In a container that listens itself nobody can ask us: then a kit signals its own group only. */
static void test_kit_where_nobody_asks(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (!pid) {
		if (listen_to_ourselves() < 0 && errno != EBUSY)
			_exit(3);
		try_as_kit("kill -0 $O 2>/dev/null && echo it did; true", getpid(), "");
		try_as_kit("sleep 0.1 & kill $! 2>/dev/null || echo no", getpid(), "no\n");
		try_as_kit(OWN_GROUP, getpid(), "mine\n");
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_progress(void **state)
{
	int lines = 0;
	struct spawn_result r;
	struct spawn s = { SHELL("echo 1; echo 2; exit 0"), .progress = stop_at_third, .progress_arg = &lines };

	(void)state;
	assert_ok(spawn_run(&s, &r));
	assert_int_equal(lines, 2);
	assert_false(r.cancelled);
	lines = 0;
	s.argv = (const char *const[]){ "/bin/sh", "-c", "echo 1; echo 2; echo 3; sleep 60", NULL };
	assert_ok(spawn_run(&s, &r));
	assert_true(r.cancelled);
	assert_int_equal(r.status, 128 + SIGTERM);
}

static void test_large_input(void **state)
{
	size_t n = 5000000;
	char *input = malloc(n);
	struct buf out = BUF_INIT(n + 1);
	struct spawn_result r;

	(void)state;
	memset(input, 'x', n);
	struct spawn s = { .argv = (const char *const[]){ "cat", NULL }, .input = input, .input_len = n, .out = &out };
	assert_ok(spawn_run(&s, &r));
	assert_int_equal(out.len, n);
	/* one that does not read it */
	s.argv = (const char *const[]){ "true", NULL };
	assert_ok(spawn_run(&s, &r));
	assert_int_equal(r.status, 0);
	buf_release(&out);
	free(input);
}

static void run_one(void *failures, size_t i)
{
	char number[32];
	struct buf out = BUF_INIT(100);
	struct spawn_result r;
	struct spawn s = { .argv = (const char *const[]){ "echo", number, NULL }, .out = &out, .before_exec = i % 4 ? NULL : nothing };

	snprintf(number, sizeof(number), "%zu", i);
	if (spawn_run(&s, &r) || r.status || strtoul(buf_text(&out), NULL, 10) != i)
		atomic_fetch_add((atomic_int *)failures, 1);
	buf_release(&out);
}

static void test_many_threads(void **state)
{
	atomic_int failures = 0;

	(void)state;
	pool_each(8, 200, run_one, &failures);
	assert_int_equal(failures, 0);
}

static void test_daemon(void **state)
{
	int fds[2], status;
	char text[200] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_ok(spawn_daemon((const char *const[]){ "sh", "-c", "awk '{print $1 - $6}' /proc/$$/stat; echo err >&2; exec sleep 60", NULL },
	    NULL, NULL, fds[1], &pid));
	close(fds[1]);
	size_t len = 0;
	while (!strstr(text, "err\n") && len < sizeof(text) - 1) {
		ssize_t n = read(fds[0], text + len, sizeof(text) - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	assert_string_equal(text, "0\nerr\n");
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	close(fds[0]);
	assert_err(ERR_NOT_FOUND, spawn_daemon((const char *const[]){ "no-such-program", NULL }, NULL, NULL, 2, &pid));
}

/* With our own standard descriptors closed the child's must still be right. */
static void test_closed_stdio(void **state)
{
	int status;

	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		struct buf out = BUF_INIT(100), err = BUF_INIT(100);
		struct spawn_result r;
		struct spawn s = { SHELL("cat; echo e >&2"), .input = "in", .input_len = 2, .out = &out, .err_out = &err };
		close(0);
		close(1);
		close(2);
		enum err e = spawn_run(&s, &r);
		if (e == ERR_OK && strcmp(buf_text(&out), "in") == 0 && strcmp(buf_text(&err), "e\n") == 0) {
			s.before_exec = nothing;
			buf_reset(&out);
			buf_reset(&err);
			e = spawn_run(&s, &r);
		}
		_exit(e || strcmp(buf_text(&out), "in") != 0 || strcmp(buf_text(&err), "e\n") != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_merged_and_dropped),
		cmocka_unit_test(test_clean_start),
		cmocka_unit_test(test_before_exec),
		cmocka_unit_test(test_no_program),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_grandchild),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_reader_is_shut_in),
		cmocka_unit_test(test_kit_is_shut_in),
		cmocka_unit_test(test_kit_where_nobody_asks),
		cmocka_unit_test(test_large_input),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_daemon),
		cmocka_unit_test(test_closed_stdio),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
