/*
 * How long the staged side takes: fingerprints of every file of a tree, then scans of the unchanged tree, in this
 * process, without the server. usage: stage_bench DIRECTORY [rounds]
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "catalog/catalog.h"

static _Noreturn void die(void)
{
	fprintf(stderr, "stage_bench: %s\n", err_text());
	exit(1);
}

static bool count(void *arg, const struct catalog_entry *e)
{
	(void)e;
	++*(unsigned *)arg;
	return true;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: stage_bench DIRECTORY [rounds]\n");
		return 1;
	}
	int rounds = argc > 2 ? atoi(argv[2]) : 5;
	log_level_set(LOG_LEVEL_WARN);
	for (int i = 0; i < rounds; i++) {
		struct catalog *c;
		struct catalog_options o = { .staging = argv[1], .largest_file = UINT64_MAX, .threads = 2 };
		size_t before = mallinfo2().uordblks;
		if (catalog_open(&c, &o))
			die();
		int64_t t0 = clock_boot();
		if (catalog_scan(c, path_root()))
			die();
		int64_t t1 = clock_boot();
		int64_t best = INT64_MAX;
		for (int k = 0; k < 9; k++) {
			int64_t s = clock_boot();
			if (catalog_scan(c, path_root()))
				die();
			int64_t t = clock_boot() - s;
			best = t < best ? t : best;
		}
		struct catalog_counts counts;
		if (catalog_count(c, path_root(), NULL, &counts))
			die();
		unsigned n = 0;
		struct catalog_query q = { .dir = path_root(), .recursive = true };
		int64_t t2 = clock_boot();
		if (catalog_list(c, &q, NULL, count, &n))
			die();
		int64_t t3 = clock_boot();
		struct path root = path_root();
		struct selection selection;
		if (catalog_select(c, "sign", &root, 1, true, NULL, ROLE_SIGN, &selection))
			die();
		int64_t t4 = clock_boot();
		printf("files %u  bytes %llu  memory/file %zu  fingerprints %.1f ms  scan %.2f ms  list %.2f ms  select with scan %.2f ms\n", n,
		    (unsigned long long)counts.bytes, (mallinfo2().uordblks - before) / (n ? n : 1), (double)(t1 - t0) / 1000,
		    (double)best / 1000, (double)(t3 - t2) / 1000, (double)(t4 - t3) / 1000);
		selection_release(&selection);
		catalog_close(c);
	}
	return 0;
}
