#include "core/progress.h"

bool progress_of(const json_t *line, struct sync_progress *out, bool *only)
{
	bool bad = false;
	const struct sync_progress p = { json_get_int(line, "done", -1, &bad), json_get_int(line, "total", 0, &bad) };

	*only = false;
	if (bad || p.done < 0 || p.total < 0 || (p.total && p.done > p.total))
		return false;
	*out = p;
	*only = json_object_size(line) == 1 + (size_t)(json_object_get(line, "total") != NULL);
	return true;
}
