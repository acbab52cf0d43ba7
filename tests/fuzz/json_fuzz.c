/*
 * Any bytes as JSON. The canonical form of what is accepted is itself accepted, and its own canonical form. The bytes as
 * a string of the streaming writer always give valid JSON.
 */
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf once = BUF_INIT(1u << 24), twice = BUF_INIT(1u << 24);
	json_t *v = NULL, *again = NULL;

	if (json_parse(&v, (const char *)data, size) == ERR_OK && json_canonical(&once, v) == ERR_OK) {
		if (json_parse(&again, buf_text(&once), once.len) || json_canonical(&twice, again) || once.len != twice.len ||
		    memcmp(once.p, twice.p, once.len) != 0 || !json_equal(v, again))
			abort();
	}
	json_decref(v);
	json_decref(again);
	buf_reset(&once);
	if (!memchr(data, '\0', size)) {
		struct json_out o = { .b = &once };
		json_out_strn(&o, (const char *)data, size);
		if (json_parse(&v, buf_text(&once), once.len) || !json_is_string(v))
			abort();
		json_decref(v);
	}
	buf_release(&once);
	buf_release(&twice);
	return 0;
}
