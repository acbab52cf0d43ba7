/* repo_maintain() of one repository: repack_driver REPOSITORY PACKS. For tests/crash/walking.py, which stops it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "repo/repo.h"

int main(int argc, char **argv)
{
	struct repo *r;
	bool done = false;
	enum err e;

	if (argc != 3)
		return 2;
	e = repo_open(&r, argv[1]);
	if (!e) {
		e = repo_maintain(r, (unsigned)strtoul(argv[2], NULL, 10), &done);
		repo_close(r);
	}
	if (e || !done)
		fprintf(stderr, "%s\n", e ? err_text() : "nothing to put together");
	return e || !done;
}
