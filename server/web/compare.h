/*
 * compare: the approved and the staged version of one file side by side, each with the fingerprint of the very bytes
 * that are shown. For the file page, the API and the terminal alike.
 */
#ifndef DRYDOCK_WEB_COMPARE_H
#define DRYDOCK_WEB_COMPARE_H

#include "web/web.h"

#define COMPARE_LIMIT (4 * 1024 * 1024) /* bytes of a side; larger files are compared by their properties */

struct comparison {
	struct catalog_entry entry; /* in the request's arena */
	bool has_approved, has_staged; /* there is such a version */
	bool too_big; /* a side is over COMPARE_LIMIT: no bytes are held */
	struct fingerprint staged; /* of the staged bytes held here */
	struct buf approved_bytes, staged_bytes;
};

/* Looks at the file now. ERR_NOT_FOUND if nothing is there. */
enum err compare_load(struct req *r, struct path path, struct comparison *c) MUST_CHECK;
void compare_release(struct comparison *c);

#endif
