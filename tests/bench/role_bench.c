/* role_bench: one question for a role on an unchanged rule set: 1,000 rules, depth 8, ten groups. Nothing is asked of a database. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/role.h"

#define RULES 1000
#define ROUNDS 2000000

int main(void)
{
	static char names[RULES][32], paths[RULES][96];
	static struct rule list[RULES];
	const char *groups[10];
	struct timespec from, to;
	unsigned sum = 0;

	for (int i = 0; i < RULES; i++) {
		snprintf(names[i], sizeof names[i], "own:@group%d", i % 50);
		snprintf(paths[i], sizeof paths[i], "/a%d/b%d/c%d", i % 10, i % 7, i);
		list[i] = (struct rule){ names[i], { paths[i], strlen(paths[i]) }, (enum role)(i % 5) };
	}
	for (int i = 0; i < 10; i++)
		groups[i] = names[i];
	struct rules *rules = rules_new(list, RULES);
	const struct identity who = { .user = "own:somebody", .groups = groups, .n_groups = 10 };
	/* the worst: nothing is found on the whole way up, for anybody */
	const struct path deep = { "/one/two/three/four/five/six/seven/eight.html", strlen("/one/two/three/four/five/six/seven/eight.html") };
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < ROUNDS; i++)
		sum += role_on(rules, &who, deep);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("role_on: %.0f ns (limit 1000), sum %u\n", ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / ROUNDS, sum);
	rules_unref(rules);
	return 0;
}
