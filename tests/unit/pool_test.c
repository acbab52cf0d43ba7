#include "test.h"

#include <stdatomic.h>

#include "base/clock.h"
#include "base/pool.h"

static atomic_int started, stopped, done, wrong;

static void *start(void *arg)
{
	atomic_fetch_add(&started, 1);
	return arg;
}

static void stop(void *worker)
{
	(void)worker;
	atomic_fetch_add(&stopped, 1);
}

static void job(void *arg, void *worker)
{
	if (arg != &done || worker != &wrong)
		atomic_fetch_add(&wrong, 1);
	clock_sleep(100);
	atomic_fetch_add(&done, 1);
}

static void test_jobs(void **state)
{
	int added = 0, refused = 0;

	(void)state;
	struct pool *p = pool_new("test", 3, 10, start, stop, &wrong);
	for (int i = 0; i < 500; i++) {
		enum err e = pool_add(p, (struct pool_job){ job, &done });
		if (e == ERR_OK)
			added++;
		else if (e == ERR_BUSY)
			refused++;
	}
	assert_int_equal(added + refused, 500);
	assert_true(added >= 10);
	pool_free(p);
	/* what was taken on is done, whatever comes */
	assert_int_equal(done, added);
	assert_int_equal(wrong, 0);
	assert_int_equal(started, 3);
	assert_int_equal(stopped, 3);
	pool_free(NULL);
}

static void *count_new(void *arg)
{
	static int each[4];
	static atomic_int n;

	(void)arg;
	return &each[atomic_fetch_add(&n, 1) & 3];
}

static void count(void *arg, void *worker)
{
	*(int *)worker += 1;
	*(int *)arg = *(int *)worker;
	atomic_fetch_add(&done, 1);
}

/* What its connection has prepared serves the next job too; a thread that is slow to come back may miss some. */
static void test_one_after_another(void **state)
{
	int most = 0;

	(void)state;
	struct pool *p = pool_new("four", 4, 10, count_new, NULL, NULL);
	atomic_store(&done, 0);
	for (int i = 1, by; i <= 200; i++) {
		assert_ok(pool_add(p, (struct pool_job){ count, &by }));
		while (atomic_load(&done) < i)
			clock_sleep(100);
		most = by > most ? by : most;
		clock_sleep(1000);
	}
	pool_free(p);
	assert_true(most > 100);
}

static void hold(void *arg, void *worker)
{
	(void)worker;
	while (!atomic_load((atomic_int *)arg))
		clock_sleep(1000);
}

static void test_full(void **state)
{
	atomic_int go = 0;
	int added = 0;

	(void)state;
	struct pool *p = pool_new("a name longer than fifteen bytes", 1, 2, NULL, NULL, NULL);
	/* one running, two waiting, whenever the thread takes the first */
	for (int i = 0; i < 1000 && added < 3; i++) {
		if (pool_add(p, (struct pool_job){ hold, &go }) == ERR_OK)
			added++;
		else
			clock_sleep(1000);
	}
	assert_int_equal(added, 3);
	assert_err(ERR_BUSY, pool_add(p, (struct pool_job){ hold, &go }));
	atomic_store(&go, 1);
	pool_free(p);
}

static void mark(void *arg, size_t i)
{
	((unsigned char *)arg)[i]++;
}

static void test_each(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 3, 10000 };

	(void)state;
	for (unsigned threads = 0; threads <= 4; threads++)
		for (size_t k = 0; k < COUNT(counts); k++) {
			unsigned char *seen = calloc(counts[k] + 1, 1);
			pool_each(threads, counts[k], mark, seen);
			for (size_t i = 0; i < counts[k]; i++)
				assert_int_equal(seen[i], 1);
			free(seen);
		}
}

static void set_one(void *arg)
{
	*(int *)arg = 1;
}

static void test_beside(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		struct pool_beside b;
		int flag = 0;

		pool_beside_start(&b, set_one, &flag);
		pool_beside_wait(&b);
		assert_int_equal(flag, 1);
		pool_beside_wait(&b); /* nothing to wait for */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jobs),
		cmocka_unit_test(test_one_after_another),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_each),
		cmocka_unit_test(test_beside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
