/* holds: what pages and API share about holds: until when one lasts, as people write it. */
#ifndef DRYDOCK_WEB_HOLDS_H
#define DRYDOCK_WEB_HOLDS_H

#include "web/web.h"

/* "2h", "3d", or a date; ERR_INPUT says what is wrong. */
enum err hold_until(const char *text, int64_t *until) MUST_CHECK;
/* Holds that have not ended and that he may see, in the request's arena. */
enum err holds_seen(struct req *r, struct db_hold **list, size_t *n) MUST_CHECK;

#endif
