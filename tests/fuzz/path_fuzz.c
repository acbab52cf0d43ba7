/*
 * Any bytes as a path. What is accepted holds what path.h promises, and taking it apart and together gives it back.
 */
#include "base/utf8.h"
#include "core/path.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *a = arena_new();
	struct path p, again, parent;

	if (path_parse(&p, (const char *)data, size, a) == ERR_OK) {
		must(p.len == size && strlen(p.s) == size && size <= PATH_LIMIT && p.s[0] == '/');
		must(utf8_valid(p.s, p.len));
		must(!strstr(p.s, "//") && !strstr(p.s, "/../") && !strstr(p.s, "/./") && !strcasestr(p.s, "/.git/"));
		must(path_check(&again, p.s) == ERR_OK && path_equal(p, again));
		must(path_covers(p, p) && path_covers(path_root(), p));
		if (path_parent(p, &parent, a)) {
			must(path_covers(parent, p) && !path_covers(p, parent) && path_compare(parent, p) < 0);
			must(path_part_problem(path_name(p), strlen(path_name(p))) == NULL);
			must(path_equal(path_join(parent, path_name(p), a), p));
			must(path_check(&again, parent.s) == ERR_OK);
		} else {
			must(path_is_root(p));
		}
	}
	char *name = arena_dupn(a, data, size);
	if (site_name_valid(name))
		must(strlen(name) <= SITE_NAME_LIMIT && !strchr(name, '/') && name[0] != '.');
	arena_free(a);
	return 0;
}
