/*
 * preapproval: what somebody types into the form, or sends to the API, to pre-approve a path; and the same in words.
 */
#ifndef DRYDOCK_WEB_PREAPPROVAL_H
#define DRYDOCK_WEB_PREAPPROVAL_H

#include "core/preapproved.h"

/*
 * pattern NULL or "": every name; largest such as "2MiB", NULL or "": what the site takes; until a time from now such as
 * "90d" or a date, NULL or "": for ever. The strings have to live as long as *out. ERR_INPUT.
 */
enum err preapproval_wish(struct path path, const char *pattern, const char *largest, const char *until, struct preapproved *out) MUST_CHECK;
/* "*.html, at most 2MiB"; NULL for one without conditions. The end is not said. In the arena. */
const char *preapproval_condition(const struct preapproved *p, struct arena *a);

#endif
