/*
 * auth_bench: what stands before each page, without the page: who has this session, is the form's token his, which role
 * has he there. 1,000 rules, a path of depth 8, ten groups. Prints nanoseconds, the median of several rounds.
 */
#include "acts_world.h"
#include "base/digest.h"

#include <stdlib.h>

#define ROUNDS 21
#define TIMES 20000
#define RULES 1000
#define GROUPS 10

static struct world w;

static int by_number(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static struct rules *many_rules(struct arena *a)
{
	struct rule *list = arena_alloc(a, RULES * sizeof *list);

	for (int i = 0; i < RULES; i++) {
		const char *path = i % 50 ? arena_printf(a, "/d%d/e%d/f", i % 7, i) : "/d1";

		list[i] = (struct rule){ arena_printf(a, "own:@group%d", i % 40), { path, strlen(path) }, (enum role)(1 + i % 4) };
	}
	return rules_new(list, RULES);
}

static double round_of(const char *token, const struct rules *rules, const char *csrf)
{
	const struct path page = { "/d1/d2/d3/d4/d5/d6/d7/d8", 24 };
	unsigned roles = 0;
	int64_t begin = clock_boot();

	for (int i = 0; i < TIMES; i++) {
		struct session s;

		if (!auth_session_cached(w.auth, token, &s) || !bytes_equal_secret(csrf, s.csrf, strlen(s.csrf)))
			abort();
		roles += role_on(rules, &s.person->who, page);
		person_unref(s.person);
	}
	if (!roles)
		abort();
	return (double)(clock_boot() - begin) * 1000 / TIMES;
}

int main(void)
{
	struct arena *a = arena_new();
	const char *groups[GROUPS];
	double rounds[ROUNDS];
	char token[SESSION_TOKEN];
	struct session s;

	for (int i = 0; i < GROUPS; i++)
		groups[i] = arena_printf(a, "own:@group%d", i);
	world_new(&w);
	w.auth->o.group_cache_us = 3600 * CLOCK_SECOND;
	struct person *who = person_new("own", "editor", "Editor", groups, GROUPS);
	struct rules *rules = many_rules(a);
	if (auth_session_start(w.auth, tools_db(w.t), who, "127.0.0.1", "bench", token) || !auth_session_cached(w.auth, token, &s))
		return 1;
	for (int i = 0; i < ROUNDS; i++)
		rounds[i] = round_of(token, rules, s.csrf);
	qsort(rounds, ROUNDS, sizeof *rounds, by_number);
	printf("chain %.0f ns\n", rounds[ROUNDS / 2]);
	person_unref(s.person);
	person_unref(who);
	rules_unref(rules);
	arena_free(a);
	world_free(&w);
	world_end();
	return 0;
}
