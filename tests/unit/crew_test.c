/* crew: children that hang are ended, with what they started; their callers wait no longer than they want to. */
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crew.h"
#include "base/mem.h"

/*
 * What a child of the test does is in the message: 'e' echo, 'h' hang, 'c' crash, 'f' fork something that hangs as well. A
 * caller may be gone before it has the whole answer; a child asserts nothing, since it would go on as a second run of the tests.
 */
static void work(int fd, void *arg)
{
	struct buf request = BUF_INIT(100000);
	pid_t pid;

	crew_deadline(*(int64_t *)arg);
	while (crew_receive(fd, &request, 0) == ERR_OK) {
		switch (buf_text(&request)[0]) {
		case 'e':
			if (crew_send(fd, request.p, request.len, 0))
				_exit(1);
			break;
		case 'f':
			/* In a session of its own, as pam_exec starts its program. */
			pid = fork();
			if (!pid)
				(void)setsid();
			if (pid) {
				char text[32];
				int n = snprintf(text, sizeof(text), "%d", (int)pid);

				if (crew_send(fd, text, (size_t)n, 0))
					_exit(1);
			}
			for (;;)
				pause();
		case 'c':
			abort();
		default:
			(void)signal(SIGALRM, SIG_IGN);
			(void)signal(SIGTERM, SIG_IGN);
			for (;;)
				pause();
		}
	}
}

static int control[2];
static pid_t crew;
static int64_t deadline;

static void start(unsigned most, int64_t us)
{
	const struct crew c = { .name = "test", .most = most, .work = work, .arg = &deadline };

	deadline = us;
	assert_ok(crew_pair(control));
	assert_ok(crew_fork(&c, control, NULL, NULL, &crew));
	(void)close(control[1]);
}

static void end(void)
{
	int status;

	(void)close(control[0]);
	(void)kill(crew, SIGTERM);
	assert_int_equal(waitpid(crew, &status, 0), crew);
}

static enum err say(int fd, const char *text, struct buf *answer, int64_t patience)
{
	enum err e = crew_send(fd, text, strlen(text), clock_boot() + patience);

	return e ? e : crew_receive(fd, answer, clock_boot() + patience);
}

static void test_talk(void **state)
{
	struct buf answer = BUF_INIT(100000);
	char *large = mem_alloc(90001);
	int fd, other;

	(void)state;
	memset(large, 'e', 90000);
	start(4, 60 * CLOCK_SECOND);
	assert_ok(crew_call(control[0], &fd));
	assert_ok(crew_call(control[0], &other));
	assert_ok(say(fd, "e one", &answer, 20 * CLOCK_SECOND));
	assert_string_equal(buf_text(&answer), "e one");
	assert_ok(say(fd, large, &answer, 20 * CLOCK_SECOND));
	assert_string_equal(buf_text(&answer), large);
	assert_ok(say(other, "e two", &answer, 20 * CLOCK_SECOND));
	assert_string_equal(buf_text(&answer), "e two");
	(void)close(fd);
	(void)close(other);
	end();
	free(large);
	buf_release(&answer);
}

/* One that hangs is given up by its caller at once, by the kernel at its deadline; the next one has its own. */
static void test_hang(void **state)
{
	struct buf answer = BUF_INIT(1000);
	int hung, fd;

	(void)state;
	start(8, CLOCK_SECOND / 2);
	assert_ok(crew_call(control[0], &hung));
	assert_int_equal(say(hung, "h", &answer, CLOCK_SECOND / 20), ERR_BUSY);
	assert_ok(crew_call(control[0], &fd));
	assert_ok(say(fd, "e", &answer, 20 * CLOCK_SECOND));
	/* It ignores every signal that can be ignored; its end is the end of the connection. */
	assert_int_equal(crew_receive(hung, &answer, clock_boot() + 20 * CLOCK_SECOND), ERR_FAILED);
	(void)close(hung);
	(void)close(fd);
	assert_ok(crew_call(control[0], &fd));
	assert_int_equal(say(fd, "c", &answer, 20 * CLOCK_SECOND), ERR_FAILED);
	(void)close(fd);
	assert_ok(crew_call(control[0], &fd));
	assert_ok(say(fd, "e", &answer, 20 * CLOCK_SECOND));
	(void)close(fd);
	end();
	buf_release(&answer);
}

static void test_grandchildren(void **state)
{
	struct buf answer = BUF_INIT(1000);
	int fd;
	pid_t pid;

	(void)state;
	start(2, CLOCK_SECOND / 4);
	assert_ok(crew_call(control[0], &fd));
	assert_ok(say(fd, "f", &answer, 20 * CLOCK_SECOND));
	pid = atoi(buf_text(&answer));
	assert_true(pid > 0);
	for (int i = 0; i < 2000 && kill(pid, 0) == 0; i++)
		clock_sleep(CLOCK_SECOND / 100);
	assert_true(kill(pid, 0) != 0 && errno == ESRCH);
	(void)close(fd);
	end();
	buf_release(&answer);
}

/* Those beyond `most` wait until there is room, and then get their answer. */
static void test_most(void **state)
{
	struct buf answer = BUF_INIT(1000);
	int hung[2], fd;

	(void)state;
	start(2, CLOCK_SECOND);
	for (int i = 0; i < 2; i++) {
		assert_ok(crew_call(control[0], &hung[i]));
		assert_ok(crew_send(hung[i], "h", 1, 0));
	}
	assert_ok(crew_call(control[0], &fd));
	assert_ok(say(fd, "e", &answer, 20 * CLOCK_SECOND));
	for (int i = 0; i < 2; i++)
		(void)close(hung[i]);
	(void)close(fd);
	end();
	buf_release(&answer);
}

static void test_gone(void **state)
{
	struct buf answer = BUF_INIT(10);
	int fd, status;

	(void)state;
	start(2, 20 * CLOCK_SECOND); /* nothing hangs here, whatever else the machine does */
	assert_ok(crew_call(control[0], &fd));
	assert_int_equal(say(fd, "e a long one", &answer, 20 * CLOCK_SECOND), ERR_TOO_BIG);
	(void)close(fd);
	(void)kill(crew, SIGKILL);
	assert_int_equal(waitpid(crew, &status, 0), crew);
	assert_int_equal(crew_call(control[0], &fd), ERR_BUSY);
	assert_int_equal(fd, -1);
	(void)close(control[0]);
	buf_release(&answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_talk),
		cmocka_unit_test(test_hang),
		cmocka_unit_test(test_grandchildren),
		cmocka_unit_test(test_most),
		cmocka_unit_test(test_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
