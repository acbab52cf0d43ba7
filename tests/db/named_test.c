/*
 * Counters and queues: the same tests over a store within the process and over the database, then what only several
 * connections can do to one another.
 */
#include "onedb.h"

#include <pthread.h>

#include "core/named.h"

/* --- a store within the process -------------------------------------------------------------------------------------- */

#define PLACES 16

struct place {
	char id[NAMED_ID_LIMIT + 1];
	struct named v;
	char members[4096];
	size_t len;
};

static struct place places[PLACES];
static unsigned stale_left; /* so many stores come too late */

static struct place *place_of(const char *id)
{
	for (size_t i = 0; i < PLACES; i++)
		if (!*places[i].id || strcmp(places[i].id, id) == 0) {
			snprintf(places[i].id, sizeof(places[i].id), "%s", id);
			return &places[i];
		}
	fail_msg("too many names");
	return NULL;
}

static enum err memory_load(void *arg, const char *id, struct named *out)
{
	struct place *p = place_of(id);

	(void)arg;
	*out = p->v;
	return named_members_parse(out, p->members, p->len);
}

static enum err memory_store(void *arg, const char *id, const struct named *v, uint64_t version)
{
	struct place *p = place_of(id);
	struct buf b = BUF_INIT(sizeof(p->members));

	(void)arg;
	if (stale_left > 0) {
		stale_left--;
		return err_set(ERR_STALE, "too late");
	}
	if (p->v.version != version)
		return err_set(ERR_STALE, "changed meanwhile");
	named_members_write(v, &b);
	OK(buf_check(&b));
	memcpy(p->members, buf_text(&b), b.len);
	p->len = b.len;
	buf_release(&b);
	p->v = (struct named){ .kind = v->kind, .version = version + 1, .value = v->value };
	return ERR_OK;
}

/* --- what every store has to pass ------------------------------------------------------------------------------------ */

static uint64_t version_of(const struct named_store *s, const char *id)
{
	struct named v;
	uint64_t version;

	OK(s->load(s->arg, id, &v));
	version = v.version;
	named_release(&v);
	return version;
}

static void counts(const struct named_store *s)
{
	struct named v;
	uint64_t n, before;

	GIVES(ERR_NOT_FOUND, named_get(s, NAMED_COUNTER, "c", &v));
	GIVES(ERR_NOT_FOUND, named_remove(s, NAMED_COUNTER, "c"));
	for (uint64_t i = 1; i <= 3; i++) {
		OK(named_next(s, "c", &n));
		assert_int_equal(n, i);
		assert_int_equal(version_of(s, "c"), i);
	}
	OK(named_get(s, NAMED_COUNTER, "c", &v));
	assert_int_equal(v.value, 3);
	named_release(&v);
	OK(named_next(s, "C", &n)); /* another name */
	assert_int_equal(n, 1);
	/* a removed one begins again, but its version goes on */
	before = version_of(s, "c");
	OK(named_remove(s, NAMED_COUNTER, "c"));
	assert_true(version_of(s, "c") > before);
	GIVES(ERR_NOT_FOUND, named_get(s, NAMED_COUNTER, "c", &v));
	GIVES(ERR_NOT_FOUND, named_remove(s, NAMED_COUNTER, "c"));
	OK(named_next(s, "c", &n));
	assert_int_equal(n, 1);
	assert_true(version_of(s, "c") > before + 1);
}

/* Join, and check place, ticket and the number of members. */
static void joins(const struct named_store *s, const char *process, uint64_t ticket, size_t position, size_t n)
{
	struct named q;

	OK(named_join(s, "q", process, &q));
	assert_int_equal(named_position(&q, process), position);
	assert_int_equal(q.members[position - 1].ticket, ticket);
	assert_int_equal(q.n, n);
	assert_int_equal(q.version, version_of(s, "q"));
	named_release(&q);
}

static void leaves(const struct named_store *s, const char *process)
{
	struct named q;

	OK(named_leave(s, "q", process, &q));
	assert_int_equal(named_position(&q, process), 0);
	named_release(&q);
}

static void queues(const struct named_store *s)
{
	struct named q;
	uint64_t before;

	GIVES(ERR_NOT_FOUND, named_leave(s, "q", "host-1:10", &q));
	assert_int_equal(version_of(s, "q"), 0); /* a refusal writes nothing */
	joins(s, "host-1:10", 1, 1, 1);
	joins(s, "host-2:10", 2, 2, 2);
	joins(s, "host-3:10", 3, 3, 3);
	before = version_of(s, "q");
	joins(s, "host-2:10", 2, 2, 3);
	assert_int_equal(version_of(s, "q"), before);
	leaves(s, "host-1:10"); /* the next one moves up and keeps its ticket */
	joins(s, "host-2:10", 2, 1, 2);
	joins(s, "host-1:10", 4, 3, 3); /* back at the end, with a higher one */
	GIVES(ERR_NOT_FOUND, named_leave(s, "q", "host-9:10", &q));
	before = version_of(s, "q");
	OK(named_remove(s, NAMED_QUEUE, "q"));
	assert_true(version_of(s, "q") > before);
	GIVES(ERR_NOT_FOUND, named_get(s, NAMED_QUEUE, "q", &q));
	joins(s, "host-1:10", 5, 1, 1); /* never 1 again */
	leaves(s, "host-1:10");
	OK(named_get(s, NAMED_QUEUE, "q", &q)); /* an empty queue is one */
	assert_int_equal(q.n, 0);
	named_release(&q);
}

static void kinds(const struct named_store *s)
{
	struct named v;
	uint64_t n;

	OK(named_next(s, "k", &n));
	GIVES(ERR_STALE, named_join(s, "k", "p", &v));
	assert_non_null(strstr(err_text(), "k is a counter, not a queue"));
	GIVES(ERR_STALE, named_get(s, NAMED_QUEUE, "k", &v));
	GIVES(ERR_STALE, named_remove(s, NAMED_QUEUE, "k"));
	OK(named_remove(s, NAMED_COUNTER, "k"));
	OK(named_join(s, "k", "p", &v));
	named_release(&v);
	GIVES(ERR_STALE, named_next(s, "k", &n));
	GIVES(ERR_STALE, named_remove(s, NAMED_COUNTER, "k"));
}

static void names(const struct named_store *s)
{
	char text[NAMED_ID_LIMIT + 2];
	struct named v;
	uint64_t n;
	static const char *const bad[] = { "", "a b", "a\nb", "ä", "a'b", "a%", "a\\b" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		GIVES(ERR_INPUT, named_next(s, bad[i], &n));
		GIVES(ERR_INPUT, named_join(s, "n", bad[i], &v));
	}
	memset(text, 'x', sizeof(text));
	text[NAMED_ID_LIMIT + 1] = '\0';
	GIVES(ERR_INPUT, named_next(s, text, &n));
	GIVES(ERR_INPUT, named_join(s, "n", text, &v));
	text[NAMED_ID_LIMIT] = '\0';
	OK(named_next(s, text, &n));
	OK(named_join(s, "n", text, &v));
	named_release(&v);
}

static void fills(const struct named_store *s)
{
	struct named q;
	char process[32];

	for (unsigned i = 0; i < 40; i++) {
		snprintf(process, sizeof(process), "p%u", i);
		OK(named_join(s, "full", process, &q));
		assert_int_equal(q.n, i + 1);
		named_release(&q);
	}
	for (unsigned i = 0; i < 40; i += 2) {
		snprintf(process, sizeof(process), "p%u", i);
		OK(named_leave(s, "full", process, &q));
		named_release(&q);
	}
	OK(named_get(s, NAMED_QUEUE, "full", &q));
	assert_int_equal(q.n, 20);
	for (size_t i = 0; i < q.n; i++)
		assert_int_equal(q.members[i].ticket, 2 * i + 2);
	named_release(&q);
}

static void all(const struct named_store *s)
{
	counts(s);
	queues(s);
	kinds(s);
	names(s);
	fills(s);
}

static void in_process(void **state)
{
	const struct named_store s = { .load = memory_load, .store = memory_store };
	uint64_t n;

	(void)state;
	all(&s);
	/* a bounded number of tries */
	stale_left = NAMED_TRIES - 1;
	OK(named_next(&s, "c", &n));
	stale_left = NAMED_TRIES;
	GIVES(ERR_BUSY, named_next(&s, "c", &n));
	assert_int_equal(stale_left, 0);
}

static void members_text(void **state)
{
	static const char *const bad[] = { "1", "1 \n", "x p\n", "0 p\n", "2 p\n1 q\n", "1 p\n1 q\n", "9 p\n", "1 p q\n", "-1 p\n", "1  p\n", "1 p\n\n",
		"99999999999999999999 p\n" };
	struct named v = { .value = 5 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		v.value = 5;
		GIVES(ERR_FAILED, named_members_parse(&v, bad[i], strlen(bad[i])));
	}
	v = (struct named){ .value = 5 };
	OK(named_members_parse(&v, "1 p\n5 q\n", 8));
	assert_int_equal(v.n, 2);
	assert_string_equal(v.members[1].process, "q");
	named_release(&v);
}

/* --- the database ---------------------------------------------------------------------------------------------------- */

static void in_database(void **state)
{
	struct db *db = testdb_connect(t);
	const struct named_store s = db_named(db);

	(void)state;
	all(&s);
	db_close(db);
}

#define THREADS 4
#define EACH 100

struct worker {
	pthread_t thread;
	unsigned number;
	bool in_tx;
	uint64_t seen[EACH];
};

static enum err next_in_tx(struct db *db, void *arg)
{
	return db_counter_next(db, "race", arg);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct db *db = testdb_connect(t);
	const struct named_store s = db_named(db);
	char process[32];
	struct named q;

	snprintf(process, sizeof(process), "process-%u", w->number);
	for (unsigned i = 0; i < EACH; i++) {
		enum err e;

		/* whoever is told to try again does so, like a person would */
		do
			e = w->in_tx ? tx_run(db, next_in_tx, &w->seen[i], NULL) : named_next(&s, "race", &w->seen[i]);
		while (e == ERR_BUSY);
		OK(e);
		do
			e = i % 2 ? named_leave(&s, "line", process, &q) : named_join(&s, "line", process, &q);
		while (e == ERR_BUSY);
		OK(e);
		named_release(&q);
	}
	db_close(db);
	return NULL;
}

static void many_at_once(void **state)
{
	static struct worker w[THREADS];
	bool given[THREADS * EACH + 1] = { false };
	struct db *db = testdb_connect(t);
	const struct named_store s = db_named(db);
	struct named q;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].number = i;
		w[i].in_tx = i % 2;
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		for (unsigned k = 0; k < EACH; k++) {
			assert_in_range(w[i].seen[k], 1, THREADS * EACH);
			assert_false(given[w[i].seen[k]]);
			given[w[i].seen[k]] = true;
		}
	OK(named_get(&s, NAMED_QUEUE, "line", &q));
	assert_int_equal(q.n, 0);
	assert_int_equal(q.value, THREADS * EACH / 2); /* tickets: one for each time that somebody joined */
	named_release(&q);
	db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_process),
		cmocka_unit_test(members_text),
		cmocka_unit_test(in_database),
		cmocka_unit_test(many_at_once),
	};
	return cmocka_run_group_tests_name("counters and queues", tests, setup, teardown);
}
