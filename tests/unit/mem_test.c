#include "test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

static void test_heap(void **state)
{
	size_t cap = 0;

	(void)state;
	char *p = mem_alloc(100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(p[i], 0);
	free(p);
	free(mem_alloc(0));
	free(mem_array(0, 8));
	int *list = NULL;
	for (size_t i = 0; i < 1000; i++) {
		list = mem_grow(list, &cap, i + 1, sizeof(*list));
		list[i] = (int)i;
	}
	assert_true(cap >= 1000 && cap < 4096);
	assert_int_equal(list[999], 999);
	free(list);
	char *s = mem_dupn("hello", 3);
	assert_string_equal(s, "hel");
	free(s);
	s = mem_dup("");
	assert_string_equal(s, "");
	free(s);
	s = mem_printf("%d-%s", 5, "x");
	assert_string_equal(s, "5-x");
	free(s);
}

static void test_arena(void **state)
{
	struct arena *a = arena_new();

	(void)state;
	assert_int_equal(arena_used(a), 0);
	for (size_t n = 0; n < 3000; n++) {
		unsigned char *p = arena_alloc(a, n);
		assert_int_equal((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, n);
	}
	assert_true(arena_used(a) >= 3000 * 2999 / 2);
	char *first = arena_dup(a, "first");
	char *big = arena_alloc(a, 1000000);
	big[999999] = 1;
	char *long_text = arena_printf(a, "%01000d", 7);
	assert_int_equal(strlen(long_text), 1000);
	assert_string_equal(arena_printf(a, "%s!", first), "first!");
	assert_string_equal(arena_dupn(a, "ab\0cd", 5), "ab");
	assert_string_equal(first, "first");
	arena_free(a);
	arena_free(NULL);
}

/* A product that does not fit ends the process; it must not come back as a small block. */
static void test_overflow(void **state)
{
	int status;

	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		const struct rlimit no_core = { 0, 0 };
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		free(mem_array(SIZE_MAX / 2, 4));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap),
		cmocka_unit_test(test_arena),
		cmocka_unit_test(test_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
