/*
 * progress: how far a kit is, in its own words: a line {"done":N,"total":M} of its output. A kit can print anything.
 */
#ifndef DRYDOCK_CORE_PROGRESS_H
#define DRYDOCK_CORE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"

struct sync_progress {
	int64_t done, total; /* files, as a rule. 0 <= done <= total; total 0: it does not know of how many */
};
/* False: the line does not say it, or what makes no sense. *only: and it says nothing else. */
bool progress_of(const json_t *line, struct sync_progress *out, bool *only);

#endif
