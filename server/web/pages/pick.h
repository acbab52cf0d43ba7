/*
 * pick: which files a form is about: check boxes, or a directory with everything below it that is in a state.
 */
#ifndef DRYDOCK_WEB_PAGES_PICK_H
#define DRYDOCK_WEB_PAGES_PICK_H

#include "web/web.h"

struct pick {
	const struct path *paths;
	size_t n;
	bool recursive;
	/* as the form said it, to be said again by the next form */
	struct path dir;
	bool whole; /* everything in dir (in `state`, if one is given), not the boxes */
	const char *state; /* "" or the name of a state */
	const char *skipped; /* a sentence about boxes that were ticked and that the act does not concern; NULL */
};

/*
 * From "path[]" (paths, or names in "dir") and "dir", or "all", "dir" and "state". Every path is one that he may see. Files that were ticked and on
 * which the act makes no sense (signed already, gone) are left out: who ticks a whole page means those that can be done.
 */
enum err pick_parse(struct req *r, const char *act, struct pick *p) MUST_CHECK;
/* Everything in dir, or what of it is in that state ("": any), as it is now. */
enum err pick_whole(struct req *r, struct path dir, const char *state, struct pick *p) MUST_CHECK;

#endif
