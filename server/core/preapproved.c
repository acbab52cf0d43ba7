#include "core/preapproved.h"

#include <fnmatch.h>
#include <string.h>

#include "base/utf8.h"

enum err preapproved_check(const struct preapproved *p)
{
	const size_t n = strlen(p->pattern);
	size_t stars = 0;

	for (const char *s = p->pattern; *s; s++)
		stars += *s == '*';
	if (n > PREAPPROVED_PATTERN_LIMIT)
		return err_set(ERR_INPUT, "A pattern has at most %d bytes.", PREAPPROVED_PATTERN_LIMIT);
	if (!utf8_clean(p->pattern, n, false))
		return err_set(ERR_INPUT, "A pattern is UTF-8 without control characters.");
	if (strchr(p->pattern, '/') || strchr(p->pattern, '\\'))
		return err_set(ERR_INPUT, "A pattern is for the name of a file, such as *.html: it has no slash and no backslash. "
		    "The directory is the path.");
	if (stars > PREAPPROVED_STARS)
		return err_set(ERR_INPUT, "A pattern has at most %d stars.", PREAPPROVED_STARS);
	if (p->until < 0)
		return err_set(ERR_INPUT, "The end lies before 1970.");
	return ERR_OK;
}

bool preapproved_whole(const struct preapproved *p)
{
	return !*p->pattern && p->largest == 0;
}

bool preapproved_takes(const struct preapproved *p, struct path path, uint64_t size)
{
	const char *name = strrchr(path.s, '/');

	if (!path_covers(p->path, path) || (p->largest > 0 && size > p->largest))
		return false;
	return !*p->pattern || (name && fnmatch(p->pattern, name + 1, FNM_NOESCAPE) == 0);
}

bool preapproved_ended(const struct preapproved *p, int64_t now)
{
	return p->until != 0 && p->until <= now;
}
