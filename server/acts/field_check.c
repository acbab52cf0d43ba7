/*
 * field_check: did the person fill in what the paths of his act ask for? Asked before anything is read, and again in the
 * transaction that records the act.
 */
#include "acts/internal.h"
#include "base/weaken.h"

enum err field_check(const struct rules *rules, const char *act, const struct path *paths, size_t n, const struct file_act *given, const char *node,
    json_t *into, bool *again)
{
	struct arena *a;
	struct field_ask ask;
	enum err err;

	*again = false;
	if (!rules_fields(rules) && !given->asked && (!given->fields || !json_object_size(given->fields)))
		return ERR_OK;
	a = arena_new();
	field_ask_begin(&ask, rules, act, a);
	for (size_t i = 0; i < n; i++)
		field_ask_path(&ask, paths[i]);
	err = field_ask_end(&ask);
	if (!err && given->asked && !sha256_equal(given->asked, &ask.digest) && !WEAK(field_asked))
		err = err_set(ERR_STALE, "What is asked for with this act was changed since it was shown: look at the fields again.");
	if (!err) {
		err = field_take(&ask, given->fields, node, into);
		*again = err == ERR_INPUT;
	}
	arena_free(a);
	return err;
}
