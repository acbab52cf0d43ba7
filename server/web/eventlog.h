/*
 * eventlog: logins and refusals, for admins. Who is admin of a whole site sees logins, which belong to no site, and the
 * refusals of his sites; of a site with parts that are hidden from him only those on paths that he sees, without the
 * sentence, which may name another path.
 */
#ifndef DRYDOCK_WEB_EVENTLOG_H
#define DRYDOCK_WEB_EVENTLOG_H

#include "web/web.h"

/* Newest first, of those with an id below before (0: all): at most limit calls. *next: where to go on, 0: the end. */
enum err eventlog_list(struct req *r, uint64_t before, unsigned limit, void (*fn)(void *arg, const struct db_event *e), void *arg,
    uint64_t *next) MUST_CHECK;

#endif
