/*
 * Any bytes as a record and as a line of files. What is decoded must be written again with exactly these bytes.
 */
#include "core/record.h"

static void must_equal(const struct buf *b, const uint8_t *data, size_t size)
{
	if (b->over || b->len != size || memcmp(b->p, data, size) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out = BUF_INIT(1u << 21);
	struct arena *a = arena_new();
	struct record r;
	struct record_file f;

	if (record_decode(&r, (const char *)data, size, a) == ERR_OK) {
		if (record_encode(&r, &out))
			abort();
		must_equal(&out, data, size);
		buf_reset(&out);
		record_message(&r, &r.prev, &out);
		json_decref(r.fields);
	}
	buf_reset(&out);
	if (record_file_decode(&f, (const char *)data, size, a) == ERR_OK) {
		record_file_encode(&f, &out);
		must_equal(&out, data, size);
	}
	buf_release(&out);
	arena_free(a);
	return 0;
}
