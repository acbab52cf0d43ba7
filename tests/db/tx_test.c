/* The transaction runner, and what happens when the server does not play along. */
#include "onedb.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "db/internal.h"

/* A name as the argument of a callback; it stays what it is. */
#define ID(name) ((void *)(uintptr_t)(name))

/* Another one than that has come up. */
static void server_back(pid_t killed)
{
	for (int i = 0; i < 6000; i++) {
		if (!private_db_supervise(t->server) && server_pid() != killed)
			return;
		clock_sleep(CLOCK_SECOND / 100);
	}
	fail_msg("the server does not come back: %s", err_text());
}

static uint64_t value_of(struct db *db, const char *id)
{
	uint64_t v;

	/* The counter's own next is the way to see it. */
	OK(db_counter_next(db, id, &v));
	return v - 1;
}

/* --- ordinary life ------------------------------------------------------------------------------------------------- */

static enum err add(struct db *db, void *arg)
{
	uint64_t v;

	assert_true(tx_open(db));
	return db_counter_next(db, arg, &v);
}

static enum err add_then_fail(struct db *db, void *arg)
{
	enum err e = add(db, arg);

	return e ? e : err_set(ERR_DENIED, "no");
}

/* An error that the caller ignores: a value that the server refuses. */
static enum err add_and_ignore(struct db *db, void *arg)
{
	enum err e = add(db, arg);
	uint64_t v;

	if (e)
		return e;
	GIVES(ERR_INPUT, db_schedule_force(db, "x", &(struct db_force){ .at = 1, .by = "own:zoe", .reason = "\xff\xfe" }));
	GIVES(ERR_INPUT, db_counter_next(db, "never", &v)); /* nothing runs any more */
	return ERR_OK;
}

static enum err twice(struct db *db, void *arg)
{
	enum err e = db_group_create(db, arg, 1, 1);

	if (e)
		return e;
	GIVES(ERR_STALE, db_group_create(db, arg, 1, 1));
	return db_member_add(db, arg, "own:zoe", 1);
}

static enum err nested(struct db *db, void *arg)
{
	return tx_run(db, add, arg, NULL);
}

static void commit_and_roll_back(void **state)
{
	(void)state;
	struct db *db = testdb_connect(t);
	bool unknown = true;

	assert_false(tx_open(db));
	OK(tx_run(db, add, ID("plain"), &unknown));
	assert_false(unknown);
	assert_false(tx_open(db));
	assert_int_equal(value_of(db, "plain"), 1);
	GIVES(ERR_DENIED, tx_run(db, add_then_fail, ID("denied"), NULL));
	assert_int_equal(value_of(db, "denied"), 0);
	GIVES(ERR_INPUT, tx_run(db, add_and_ignore, ID("ignored"), NULL));
	assert_int_equal(value_of(db, "ignored"), 0);
	assert_int_equal(value_of(db, "never"), 0);
	/* A key that exists does not end the transaction. */
	OK(tx_run(db, twice, ID("g"), NULL));
	GIVES(ERR_FAILED, tx_run(db, nested, ID("nested"), NULL));
	assert_int_equal(value_of(db, "nested"), 0);
	db_close(db);
}

/* --- two at once --------------------------------------------------------------------------------------------------- */

struct rival {
	const char *first, *second;
	pthread_barrier_t *both;
	int calls;
	enum err e;
};

static enum err cross(struct db *db, void *arg)
{
	struct rival *r = arg;
	uint64_t v;
	enum err e = db_counter_next(db, r->first, &v);

	if (e)
		return e;
	if (r->calls++ == 0)
		pthread_barrier_wait(r->both);
	return db_counter_next(db, r->second, &v);
}

static void *rival_run(void *arg)
{
	struct rival *r = arg;
	struct db *db = testdb_connect(t);

	r->e = tx_run(db, cross, r, NULL);
	db_close(db);
	return NULL;
}

static void a_deadlock_is_run_again(void **state)
{
	(void)state;
	struct db *db = testdb_connect(t);
	pthread_barrier_t both;
	struct rival r[2] = { { "left", "right", &both, 0, ERR_OK }, { "right", "left", &both, 0, ERR_OK } };
	pthread_t thread[2];
	uint64_t v;

	OK(db_counter_next(db, "left", &v));
	OK(db_counter_next(db, "right", &v));
	assert_int_equal(pthread_barrier_init(&both, NULL, 2), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, rival_run, &r[i]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	pthread_barrier_destroy(&both);
	OK(r[0].e);
	OK(r[1].e);
	assert_true(r[0].calls + r[1].calls >= 3);
	assert_int_equal(value_of(db, "left"), 3);
	assert_int_equal(value_of(db, "right"), 3);
	db_close(db);
}

static enum err always_again(struct db *db, void *arg)
{
	(void)db;
	++*(int *)arg;
	return err_set(ERR_RETRY, "again");
}

static void tries_are_bounded(void **state)
{
	(void)state;
	struct db *db = testdb_connect(t);
	int calls = 0;

	GIVES(ERR_BUSY, tx_run(db, always_again, &calls, NULL));
	assert_int_equal(calls, 8);
	db_close(db);
}

/* --- a connection that breaks -------------------------------------------------------------------------------------- */

static void kill_connection(unsigned long id)
{
	struct db *owner = testdb_connect_owner(t);
	char sql[64];

	snprintf(sql, sizeof(sql), "KILL %lu", id);
	OK(db_plain(owner, sql, "kill"));
	db_close(owner);
	clock_sleep(CLOCK_SECOND / 20);
}

struct cut {
	int calls, cut_at;
};

static enum err cut_connection(struct db *db, void *arg)
{
	struct cut *c = arg;
	enum err e = add(db, ID("cut"));

	if (e)
		return e;
	if (c->calls++ < c->cut_at) {
		kill_connection(mysql_thread_id(db->my));
		e = add(db, ID("cut"));
		assert_int_equal(e, ERR_BUSY);
		assert_int_equal(add(db, ID("cut")), ERR_BUSY); /* not on a new connection in the middle */
		return e;
	}
	return ERR_OK;
}

static void a_lost_connection(void **state)
{
	(void)state;
	struct db *db = testdb_connect(t);
	struct cut c = { 0, 1 };

	/* Idle: the next statement, and the next transaction, just work. */
	kill_connection(mysql_thread_id(db->my));
	assert_int_equal(value_of(db, "idle"), 0);
	kill_connection(mysql_thread_id(db->my));
	OK(tx_run(db, add, ID("idle"), NULL));
	assert_int_equal(value_of(db, "idle"), 2);
	/* Inside a transaction: all of it once more. */
	OK(tx_run(db, cut_connection, &c, NULL));
	assert_int_equal(c.calls, 2);
	assert_int_equal(value_of(db, "cut"), 1);
	/* Twice is an error. */
	c = (struct cut){ 0, 2 };
	GIVES(ERR_BUSY, tx_run(db, cut_connection, &c, NULL));
	assert_false(tx_open(db));
	assert_int_equal(value_of(db, "cut"), 2); /* value_of itself added one */
	db_close(db);
}

struct nested {
	struct db *db;
	unsigned rows;
};

static bool cut_below(void *arg, const struct db_state_row *row)
{
	struct nested *n = arg;
	struct arena *a = arena_new();
	struct db_state_row got;

	if (n->rows++ == 0)
		kill_connection(mysql_thread_id(n->db->my));
	/* A new connection, while the old one's answer is still being read. */
	OK(db_state_get(n->db, "cut", row->path, &got, a));
	arena_free(a);
	return true;
}

static bool in_stream(void *arg, const struct db_state_row *row)
{
	struct nested *n = arg;

	(void)row;
	n->rows++;
	GIVES(ERR_FAILED, tx_run(n->db, add, ID("stream"), NULL));
	GIVES(ERR_FAILED, db_ping(n->db));
	return true;
}

static bool cut_stream(void *arg, const struct db_state_row *row)
{
	struct nested *n = arg;

	(void)row;
	if (n->rows++ == 0)
		kill_connection(mysql_thread_id(n->db->my));
	return true;
}

static void a_connection_lost_below_its_reader(void **state)
{
	(void)state;
	enum { ROWS = 20000 };
	struct db *db = testdb_connect(t);
	struct arena *a = arena_new();
	struct db_state_row *rows = mem_array(ROWS, sizeof(*rows));
	struct path paths[20];
	struct nested n = { db, 0 };

	for (int i = 0; i < ROWS; i++)
		rows[i] = (struct db_state_row){ .path = { arena_printf(a, "/%0150d/%0150d", i, i), 302 }, .actor = "own:zoe" };
	OK(db_state_put(db, "cut", NODE_A, rows, ROWS));
	for (int i = 0; i < 20; i++)
		paths[i] = rows[i].path;
	/* The first row is followed by an error, not by silence; and the new connection is as good as new. */
	GIVES(ERR_BUSY, db_state_get_many(db, "cut", paths, 20, cut_below, &n));
	n.rows = 1;
	OK(db_state_get_many(db, "cut", paths, 20, cut_below, &n));
	assert_int_equal(n.rows, 21);
	n.rows = 0;
	OK(db_state_all(db, "cut", in_stream, &n));
	assert_int_equal(n.rows, ROWS);
	/* Cut in the middle of a stream: an error, not an end. */
	n.rows = 0;
	GIVES(ERR_BUSY, db_state_all(db, "cut", cut_stream, &n));
	assert_true(n.rows < ROWS);
	n.rows = 1;
	OK(db_state_all(db, "cut", cut_stream, &n));
	assert_int_equal(n.rows, ROWS + 1);
	free(rows);
	arena_free(a);
	db_close(db);
}

static enum err kill_server(struct db *db, void *arg)
{
	enum err e = add(db, arg);

	if (e)
		return e;
	pid_t pid = server_pid();
	kill(pid, SIGKILL);
	/* It is gone when its socket is. */
	for (int i = 0; i < 1000 && mysql_ping(db->my) == 0; i++)
		clock_sleep(CLOCK_SECOND / 100);
	return ERR_OK;
}

static void an_unknown_outcome_is_flagged(void **state)
{
	(void)state;
	struct db *db = testdb_connect(t);
	bool unknown = false;

	OK(db_counter_next(db, "unknown", &(uint64_t){ 0 }));
	pid_t pid = server_pid();
	GIVES(ERR_FAILED, tx_run(db, kill_server, ID("unknown"), &unknown));
	assert_true(unknown);
	GIVES(ERR_BUSY, tx_run(db, add, ID("unknown"), &unknown));
	assert_false(unknown);
	GIVES(ERR_BUSY, db_ping(db));
	server_back(pid);
	OK(db_ping(db));
	assert_int_equal(value_of(db, "unknown"), 1);
	db_close(db);
}

/* One of its threads takes the signal up, when it gets a processor, and stops the others: until then they answer. */
static void stop_server(pid_t pid)
{
	char *name = mem_printf("/proc/%d/stat", (int)pid);
	bool stopped = false;

	kill(pid, SIGSTOP);
	for (int i = 0; i < 1000 && !stopped; i++) {
		struct buf text = BUF_INIT(4096);

		OK(file_read(AT_FDCWD, name, &text));
		stopped = strstr(buf_text(&text), ") T ") != NULL;
		buf_release(&text);
		clock_sleep(CLOCK_SECOND / 100);
	}
	free(name);
	assert_true(stopped);
}

static void a_hanging_server_is_an_error(void **state)
{
	(void)state;
	struct db *db, *fresh;
	pid_t pid = server_pid();
	int64_t from;

	OK(db_open(&db, &t->program));
	db->read_timeout = 1;
	OK(db_ping(db));
	OK(db_open(&fresh, &t->program));
	fresh->read_timeout = 1;
	stop_server(pid);
	from = clock_boot();
	enum err e = tx_run(db, add, ID("hang"), NULL), e2 = db_ping(fresh);
	int64_t took = clock_boot() - from;
	kill(pid, SIGCONT);
	assert_int_equal(e, ERR_BUSY);
	assert_int_equal(e2, ERR_BUSY);
	printf("# two hanging calls took %lld ms\n", (long long)took / 1000);
	assert_true(took < 25 * CLOCK_SECOND);
	db->read_timeout = 30;
	OK(tx_run(db, add, ID("hang"), NULL));
	db_close(db);
	db_close(fresh);
}

/* --- killed under load --------------------------------------------------------------------------------------------- */

static atomic_bool stop;

struct worker {
	char id[2][16]; /* two counters, always changed together */
	uint64_t acknowledged, unknown, refused, other;
	pthread_t thread;
};

static enum err add_both(struct db *db, void *arg)
{
	struct worker *w = arg;
	enum err e = add(db, w->id[0]);

	return e ? e : add(db, w->id[1]);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct db *db = NULL;

	if (db_open(&db, &t->program))
		return NULL;
	while (!atomic_load(&stop)) {
		bool unknown = false;
		enum err e = tx_run(db, add_both, w, &unknown);

		if (!e)
			w->acknowledged++;
		else if (unknown)
			w->unknown++;
		else if (e == ERR_BUSY)
			w->refused++;
		else
			w->other++;
		if (e)
			clock_sleep(2000);
	}
	db_close(db);
	return NULL;
}

static void killed_under_load(void **state)
{
	(void)state;
	enum { WORKERS = 4, SHARE = 3 };
	struct worker w[WORKERS] = { 0 };
	const char *soak = getenv("DRYDOCK_SOAK"); /* how many kills; the suite has its share of them */
	const int rounds = soak ? atoi(soak) : SHARE;
	uint32_t r;

	assert_true(rounds > 0);
	for (int i = 0; i < WORKERS; i++) {
		for (int k = 0; k < 2; k++)
			snprintf(w[i].id[k], sizeof(w[i].id[k]), "load%d%c", i, 'a' + k);
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (int round = 0; round < rounds; round++) {
		random_bytes(&r, sizeof(r));
		clock_sleep(CLOCK_SECOND / 20 + (int64_t)(r % (CLOCK_SECOND / 2)));
		pid_t pid = server_pid();
		kill(pid, SIGKILL);
		server_back(pid);
	}
	clock_sleep(CLOCK_SECOND / 2);
	atomic_store(&stop, true);
	/* One that was just dying when it was looked at is noticed now. */
	server_back(0);
	struct db *db = testdb_connect(t);
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
		uint64_t a = value_of(db, w[i].id[0]), b = value_of(db, w[i].id[1]);

		printf("# %s: %llu acknowledged, %llu unknown, %llu refused; found %llu\n", w[i].id[0], (unsigned long long)w[i].acknowledged,
		    (unsigned long long)w[i].unknown, (unsigned long long)w[i].refused, (unsigned long long)a);
		assert_true(w[i].acknowledged > 0);
		assert_int_equal(w[i].other, 0);
		/* All that was acknowledged, what was not at the most, and never half of one. */
		assert_true(a >= w[i].acknowledged && a <= w[i].acknowledged + w[i].unknown);
		assert_int_equal(a, b);
	}
	db_close(db);
	printf("# %d kills\n", rounds);
}

#define FILL_ROWS 12000

/* Each table's rows are sent by a thread beside the caller's: two of them must not talk to the server at once. */
static enum err fill_two(struct db *db, void *arg)
{
	struct db_fill *dirs = db_fill_open(db, TABLE_record_dir), *ids = db_fill_open(db, TABLE_act_id);
	struct sha256 hash = { { 0 } };
	enum err e, other;

	(void)arg;
	for (uint64_t i = 1; i <= FILL_ROWS; i++) {
		const struct db_value site = { .p = "fill", .n = 4 }, node = { .p = NODE_A, .n = 64 }, seq = { .number = true, .u = i }, none = { .number = true };

		memcpy(hash.b, &i, sizeof(i));
		const struct db_value sum = { .p = hash.b, .n = sizeof(hash.b) }, op = { .p = hash.b, .n = 16 };
		db_fill_row(dirs, (const struct db_value[]){ site, node, seq, sum, none });
		db_fill_row(ids, (const struct db_value[]){ site, node, seq, site, op, sum, none });
		/* and whoever asks something meanwhile */
		if (i == FILL_ROWS / 2)
			OK(db_counter_next(db, "fill", &(uint64_t){ 0 }));
	}
	e = db_fill_close(dirs);
	other = db_fill_close(ids);
	return e ? e : other;
}

static bool count_row(void *arg, const struct db_value *row)
{
	(void)row;
	++*(unsigned *)arg;
	return true;
}

static void two_tables_are_filled_at_once(void **state)
{
	struct db *db = testdb_connect_owner(t);
	unsigned n = 0;

	(void)state;
	for (int i = 0; i < 3; i++) {
		OK(db_table_clear(db, TABLE_record_dir, "fill"));
		OK(db_table_clear(db, TABLE_act_id, "fill"));
		OK(tx_run(db, fill_two, NULL, NULL));
	}
	OK(db_table_rows(db, TABLE_record_dir, "fill", count_row, &n));
	OK(db_table_rows(db, TABLE_act_id, "fill", count_row, &n));
	assert_int_equal(n, 2 * FILL_ROWS);
	db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commit_and_roll_back),
		cmocka_unit_test(a_deadlock_is_run_again),
		cmocka_unit_test(tries_are_bounded),
		cmocka_unit_test(a_lost_connection),
		cmocka_unit_test(a_connection_lost_below_its_reader),
		cmocka_unit_test(an_unknown_outcome_is_flagged),
		cmocka_unit_test(a_hanging_server_is_an_error),
		cmocka_unit_test(two_tables_are_filled_at_once),
		cmocka_unit_test(killed_under_load),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
