/* Which of several servers on one database may write and publish a site: two of them in one process, with a lock each. */
#include "acts_world.h"

#include "acts/turn.h"

static struct world w;
static struct turns *one, *two;
static int locks[2];

static struct turns *turns_of(int i)
{
	char *name = mem_printf("%s/lock%d", w.dir, i);
	struct turns *t;

	locks[i] = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(locks[i] >= 0);
	assert_ok(turns_new(&t, locks[i], false));
	free(name);
	return t;
}

static int setup(void **state)
{
	(void)state;
	world_new(&w);
	one = turns_of(0);
	two = turns_of(1);
	/* The site of the world is the first server's from now on. */
	site_close(w.s);
	assert_ok(site_open(&w.s, &w.conf, &w.site_conf, w.key, one, w.t));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	clock_test_offset(0, 0);
	world_free(&w);
	turns_free(one);
	turns_free(two);
	(void)close(locks[0]);
	(void)close(locks[1]);
	return 0;
}

enum err db_plain(struct db *db, const char *sql, const char *what); /* db/internal.h, which wants mysql.h */

/* As the owner of the tables. */
static void sql(const char *fmt, const char *site)
{
	struct arena *a = arena_new();
	struct db *db = testdb_connect_owner(w.db);

	/* The first connects. */
	assert_ok(db_plain(db, arena_printf(a, fmt, site), "test"));
	db_close(db);
	arena_free(a);
}

static struct site *open_at(struct turns *t)
{
	struct site *s;

	assert_ok(site_open(&s, &w.conf, &w.site_conf, w.key, t, w.t));
	s->auth = w.auth;
	return s;
}

static enum turn look(struct site *s)
{
	enum turn now;

	assert_ok(turn_look(s, w.t, &now));
	return now;
}

static enum err hold_at(struct site *s)
{
	struct act_request rq = request_of(w.admin, "a test");
	struct act_answer a;

	return act_hold(s, w.t, &rq, path_of("/docs"), clock_wall() + 3600 * CLOCK_SECOND, &a);
}

static uint64_t released_term(struct site *s)
{
	struct arena *a = arena_new();
	struct release_papers papers;
	struct db_release rel;
	uint64_t term;
	bool cut;

	assert_ok(act_release(s, w.t, &rel, &cut));
	assert_true(cut);
	assert_ok(release_papers(s, w.t, &rel, &papers, a));
	term = papers.head.term;
	arena_free(a);
	return term;
}

/* Time goes by for who waits; the heartbeats are the database's. */
static void minutes_later(struct site *waits, int64_t *boot)
{
	(void)look(waits);
	*boot += 61 * CLOCK_SECOND;
	clock_test_offset(0, *boot);
}

static void takes_over(void **state)
{
	struct site *second, *third;
	struct act_answer a;
	int64_t boot = 0;

	(void)state;
	assert_false(w.s->waits);
	assert_int_equal(w.s->term, 1);
	put(&w, "/a", "one");
	assert_ok(sign_now(&w, w.editor, "/a", false, &a));
	assert_int_equal(released_term(w.s), 1);
	/* It waits, and may not write. */
	second = open_at(two);
	assert_true(second->waits && second->read_only);
	assert_int_equal(look(second), TURN_WAITS);
	assert_err(ERR_BUSY, hold_at(second));
	/* A heartbeat, and all begins again. */
	minutes_later(second, &boot);
	assert_ok(turns_beat(one, tools_db(w.t)));
	assert_int_equal(look(second), TURN_WAITS);
	assert_ok(hold_at(w.s));
	minutes_later(second, &boot);
	assert_int_equal(look(second), TURN_DUE);
	/* Looking takes nothing. */
	assert_int_equal(look(w.s), TURN_MINE);
	site_close(second);
	second = open_at(two);
	assert_false(second->waits || second->read_only);
	assert_int_equal(second->term, 2);
	assert_ok(hold_at(second));
	/* The first was away meanwhile: nothing that it writes counts. */
	assert_false(w.s->turn_lost);
	assert_err(ERR_BUSY, hold_at(w.s));
	assert_non_null(strstr(err_text(), second->server));
	assert_true(w.s->turn_lost);
	assert_int_equal(look(w.s), TURN_LOST);
	atomic_store(&w.s->turn_lost, false);
	assert_err(ERR_BUSY, turn_check(w.s, tools_db(w.t)));
	assert_true(w.s->turn_lost);
	assert_ok(turn_check(second, tools_db(w.t)));
	assert_err(ERR_BUSY, turn_sure(w.s, tools_db(w.t)));
	/* It comes back behind, with a higher ticket. */
	third = open_at(one);
	assert_true(third->waits);
	assert_int_equal(third->term, 3);
	assert_string_not_equal(third->server, w.s->server);
	/* The other says that it stops. */
	turns_stop(two, tools_db(w.t));
	assert_int_equal(look(third), TURN_DUE);
	site_close(third);
	site_close(w.s);
	w.s = open_at(one);
	assert_false(w.s->waits);
	put(&w, "/a", "two");
	assert_ok(sign_now(&w, w.editor, "/a", false, &a));
	assert_int_equal(released_term(w.s), 3);
	site_close(second);
	check_all(&w);
}

/* The lock of the data directory says that the one before is gone: its ticket goes on. */
static void starts_again(void **state)
{
	char before[sizeof w.s->server];

	(void)state;
	memcpy(before, w.s->server, sizeof before);
	site_close(w.s);
	w.s = open_at(one);
	assert_false(w.s->waits);
	assert_string_equal(w.s->server, before);
	assert_int_equal(w.s->term, 1);
}

/* A jump of the database's clock alone takes no turn. */
static void clock_jumps(void **state)
{
	struct site *second = open_at(two);

	(void)state;
	sql("UPDATE publisher SET seen_at = seen_at - 3600000000 WHERE site = '%s'", w.s->name);
	assert_int_equal(look(second), TURN_WAITS);
	clock_test_offset(0, 10 * CLOCK_SECOND);
	assert_int_equal(look(second), TURN_WAITS);
	assert_ok(turns_beat(one, tools_db(w.t)));
	clock_test_offset(0, 40 * CLOCK_SECOND);
	assert_int_equal(look(second), TURN_WAITS);
	/* Back by an hour: a heartbeat of the future counts as long as it is renewed. */
	sql("UPDATE publisher SET seen_at = seen_at + 3600000000 WHERE site = '%s'", w.s->name);
	assert_int_equal(look(second), TURN_WAITS);
	clock_test_offset(0, 101 * CLOCK_SECOND);
	assert_int_equal(look(second), TURN_DUE);
	site_close(second);
}

/* A term is never given twice, even if the queue was lost with the database. */
static void queue_lost(void **state)
{
	struct act_answer a;

	(void)state;
	put(&w, "/a", "one");
	assert_ok(sign_now(&w, w.editor, "/a", false, &a));
	assert_int_equal(released_term(w.s), 1);
	site_close(w.s);
	sql("DELETE FROM counter WHERE id = 'publisher/%s'", w.site_conf.name);
	sql("DELETE FROM publisher WHERE site = '%s'", w.site_conf.name);
	w.s = open_at(one);
	assert_false(w.s->waits);
	assert_int_equal(w.s->term, 2);
	/* With an old copy of it, a member is there that is nobody. */
	site_close(w.s);
	sql("DELETE FROM publisher WHERE site = '%s'", w.site_conf.name);
	w.s = open_at(one);
	assert_false(w.s->waits);
	assert_int_equal(w.s->term, 3);
}

/* Two that see at once that the first is gone: one of them has the turn. */
static void two_wait(void **state)
{
	struct turns *three = turns_of(1);
	struct site *second = open_at(two), *third;
	int64_t boot = 0;

	(void)state;
	third = open_at(three);
	assert_int_equal(third->term, 2); /* the same lock as the second's: the same server */
	assert_string_equal(third->server, second->server);
	site_close(third);
	minutes_later(second, &boot);
	assert_int_equal(look(second), TURN_DUE);
	/* Heard of between the look and the taking. */
	assert_ok(turns_beat(one, tools_db(w.t)));
	site_close(second);
	second = open_at(two);
	assert_true(second->waits);
	assert_ok(hold_at(w.s));
	site_close(second);
	turns_free(three);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(takes_over, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_again, setup, teardown),
		cmocka_unit_test_setup_teardown(clock_jumps, setup, teardown),
		cmocka_unit_test_setup_teardown(queue_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(two_wait, setup, teardown),
	};

	cmocka_set_test_filter(getenv("DRYDOCK_TEST")); /* one of them, by name: tests/weaken/run */
	const int rc = cmocka_run_group_tests_name("turn", tests, NULL, NULL);

	world_end();
	return rc;
}
